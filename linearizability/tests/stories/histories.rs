//! The verdicts on histories of other systems, which stand beside the workspace.

use std::path::Path;

use linearizability::formats::{jepsen::Jepsen, porcupine::Porcupine};
use linearizability::history::History;
use linearizability::specs::append_kv::AppendKv;
use linearizability::specs::register::Register;
use linearizability::{Budget, SequentialSpec, Verdict, check};

use crate::formats::read;

fn verdict<S: SequentialSpec>(spec: &S, history: &History<S::Input, S::Output>) -> &'static str {
    match check(spec, history, Budget::default()) {
        Verdict::Linearizable { .. } => "ok",
        Verdict::Violation(_) => "illegal",
        Verdict::Undecided { .. } => "undecided",
    }
}

#[test]
fn histories_of_other_systems_have_their_known_verdicts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    let Ok(expected) = std::fs::read_to_string(folder.join("expected.csv")) else {
        println!("no histories in {}: nothing was checked", folder.display());
        return;
    };
    for row in expected.lines().skip(1) {
        let [file, model, _operations, expected, _seconds] = row.split(',').collect::<Vec<_>>()[..] else {
            panic!("not a row: {row}")
        };
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let kv = |partitioned| {
            let history = read(&text, Porcupine).unwrap();
            verdict(&AppendKv::of(&history, partitioned), &history)
        };
        let found = match model {
            "etcd-register" => verdict(&Register, &read(&text, Jepsen).unwrap()),
            "kv-partitioned" => kv(true),
            "kv-nopartition" => kv(false),
            other => panic!("unknown model {other}"),
        };
        assert_eq!(found, expected, "{file} as {model}");
    }
}
