//! The store answers as a real etcd 3.5.16 has: two recorded traces always, and all of those that stand beside
//! the workspace.

#![expect(clippy::unwrap_used, reason = "a test, functions outside #[test] included")]

// The driver belongs to `scenarios`, for it drives the model, too; this crate may not depend on it.
#[path = "../../scenarios/src/etcd_trace/mod.rs"]
#[expect(unreachable_pub, reason = "it is reachable where it belongs")]
mod etcd_trace;

use std::fs;
use std::path::{Path, PathBuf};

use cluster::Design;
use engines::EngineId;
use etcd_trace::{StoreSubject, TraceReport, follow};

fn traces(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let Ok(files) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = files.map(|file| file.unwrap().path());
    let mut traces: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).collect();
    traces.sort();
    traces
}

fn fixtures() -> Vec<PathBuf> {
    let fixtures = traces("tests/fixtures/etcd-traces");
    assert_eq!(fixtures.len(), 2);
    fixtures
}

fn report(trace: &str, engine: EngineId, calls_per_opening: usize) -> TraceReport {
    let directory = tempfile::tempdir().unwrap();
    let mut subject =
        StoreSubject::create(engine, directory.path(), Design::default(), calls_per_opening).unwrap();
    follow(trace, &mut subject).unwrap()
}

fn assert_equal(path: &Path, engine: EngineId, calls_per_opening: usize) {
    let report = report(&fs::read_to_string(path).unwrap(), engine, calls_per_opening);
    assert!(
        report.differences.is_empty(),
        "{} above {engine}: {} of {} answers differ, the first: {:#?}",
        path.display(),
        report.differences.len(),
        report.requests,
        report.differences[0]
    );
    assert_eq!((report.server.as_str(), report.requests), ("etcd 3.5.16", 500));
}

#[test]
fn every_answer_is_that_of_etcd() {
    // The workspace may be one of several checkouts, a folder deeper.
    let beside = [traces("../../shared/etcd-traces"), traces("../../../shared/etcd-traces")].concat();
    println!("{} traces stand beside the workspace", beside.len());
    for path in fixtures().iter().chain(&beside) {
        assert_equal(path, EngineId::Mem, 0);
        assert_equal(path, EngineId::Mem, 37);
    }
}

#[test]
fn every_answer_is_that_of_etcd_above_every_engine() {
    for engine in engines::registry() {
        for path in fixtures() {
            assert_equal(&path, engine.id(), 125);
        }
    }
}

#[test]
fn an_answer_that_was_altered_is_noticed() {
    let trace = fs::read_to_string(&fixtures()[0]).unwrap();
    let found = r#""status":200"#;
    let altered = trace.replacen(found, r#""status":201"#, 1);
    let report = report(&altered, EngineId::Mem, 0);
    assert_eq!(report.differences.iter().map(|difference| difference.line).collect::<Vec<_>>(), [2]);
    let altered = trace.replacen(r#""deleted":1"#, r#""deleted":2"#, 1);
    assert_eq!(self::report(&altered, EngineId::Mem, 0).differences.len(), 1);
}
