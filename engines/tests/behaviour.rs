//! The behavioural suite on the real file system, for every engine of the build.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, functions outside #[test] included")]

use engines::{Engine, EngineId, behaviour};

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
fn lsm_tree_behaves() {
    run_all(EngineId::LsmTree);
}

#[test]
fn every_known_engine_has_an_adapter() {
    let mut known = EngineId::ALL.to_vec();
    known.retain(|id| *id != EngineId::Guest);
    let ids: Vec<_> = engines::registry().iter().map(|engine| engine.id()).collect();
    assert_eq!(ids, known);
}
