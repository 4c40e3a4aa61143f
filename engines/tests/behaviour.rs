//! The behavioural suite on the real file system, for every engine of the build.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, functions outside #[test] included")]

use engines::{Engine, EngineError, EngineId, behaviour};

fn run_all(id: EngineId) {
    let engine: &dyn Engine = engines::engine(id).unwrap();
    for (name, case) in behaviour::CASES {
        let dir = tempfile::tempdir().unwrap();
        println!("{id}: {name}");
        let begin = std::time::Instant::now();
        case(engine, dir.path());
        println!("  {} ms", begin.elapsed().as_millis());
    }
}

#[test]
fn sled_behaves() {
    run_all(EngineId::Sled);
}

#[test]
fn fjall_behaves() {
    run_all(EngineId::Fjall);
}

#[test]
fn redb_behaves() {
    run_all(EngineId::Redb);
}

#[test]
fn mem_behaves() {
    run_all(EngineId::Mem);
}

#[test]
fn a_reserved_engine_is_refused_by_name() {
    let error = engines::engine(EngineId::LsmTree).map(|engine| engine.id()).unwrap_err();
    assert!(matches!(error, EngineError::Misuse(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "misuse: engine lsm-tree (0x03) is reserved, but this build has no adapter for it; it has sled, fjall, \
         redb, mem"
    );
    let ids: Vec<_> = engines::registry().iter().map(|engine| engine.id()).collect();
    assert_eq!(ids, [EngineId::Sled, EngineId::Fjall, EngineId::Redb, EngineId::Mem]);
}
