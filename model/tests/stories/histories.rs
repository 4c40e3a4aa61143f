//! The verdicts on histories of other systems, which stand beside the workspace.

use std::fmt::Debug;
use std::path::Path;
use std::time::Instant;

use model::history::History;
use model::jepsen;
use model::linearizability::{self, Budget, SequentialSpec, Verdict};
use model::specs::append_kv::AppendKv;
use model::specs::register::Register;

fn verdict<S: SequentialSpec>(
    spec: &S,
    history: Result<History<S::Input, S::Output>, impl Debug>,
) -> (usize, &'static str) {
    let history = history.unwrap();
    let verdict = match linearizability::check(spec, &history, Budget::default()) {
        Verdict::Linearizable { .. } => "ok",
        Verdict::Violation(_) => "illegal",
        Verdict::Undecided { .. } => "undecided",
    };
    (history.operations().len(), verdict)
}

#[test]
fn histories_of_other_systems_have_their_known_verdicts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    let Ok(expected) = std::fs::read_to_string(folder.join("expected.csv")) else {
        println!("no histories in {}: nothing was checked", folder.display());
        return;
    };
    for row in expected.lines().skip(1) {
        let [file, model, _operations, expected, porcupine_seconds] = row.split(',').collect::<Vec<_>>()[..]
        else {
            panic!("not a row: {row}")
        };
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let started = Instant::now();
        let (operations, found) = match model {
            "etcd-register" => verdict(&Register, jepsen::register(&text)),
            "kv-partitioned" => verdict(&AppendKv { partitioned: true }, jepsen::append_kv(&text)),
            "kv-nopartition" => verdict(&AppendKv { partitioned: false }, jepsen::append_kv(&text)),
            other => panic!("unknown model {other}"),
        };
        let seconds = started.elapsed().as_secs_f64();
        println!("{file} {model}: {operations} operations, {found}, {seconds:.6} s ({porcupine_seconds} s)");
        assert_eq!(found, expected, "{file} as {model}");
    }
}
