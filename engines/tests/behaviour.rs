//! The behavioural suite on the real file system, for every engine of the build.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, functions outside #[test] included")]

use std::fs::{self, File};
use std::path::Path;
use std::thread;

use engines::{Backend, Batch, Engine, EngineId, FlushState, Options, behaviour};

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

fn write(store: &mut dyn Backend, key: &str, index: u64) {
    let mut batch = Batch::new();
    batch.put(key, "value");
    batch.put_applied_index(index);
    store.write(&batch).unwrap();
}

/// What a power failure does to journals that were never synced.
fn empty_journals(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let journals: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).collect();
    for journal in &journals {
        File::options().write(true).open(journal).unwrap().set_len(0).unwrap();
    }
    journals.len()
}

#[test]
fn without_a_log_the_tables_prove_what_was_written_when_the_flush_began() {
    let options = Options { sync_engine_log: false, ..Options::default() };
    for id in [EngineId::LsmTree, EngineId::Fjall] {
        let engine = engines::engine(id).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut store = engine.open(dir.path(), &options).unwrap();
        write(&mut *store, "flushed", 3);
        store.begin_flush().unwrap();
        write(&mut *store, "not flushed", 4);
        while store.poll_flush().unwrap() != FlushState::Idle {
            assert_eq!(store.get(b"not flushed").unwrap(), Some(b"value".to_vec()), "{id} serves meanwhile");
            thread::yield_now();
        }
        assert_eq!(store.durable_index().unwrap(), Some(3), "{id}");
        store.close().unwrap();
        if id == EngineId::Fjall {
            assert!(empty_journals(dir.path()) > 0, "there was a journal to lose");
        }

        let store = engine.open(dir.path(), &options).unwrap();
        assert_eq!(store.durable_index().unwrap(), Some(3), "{id}");
        assert_eq!(store.get(b"flushed").unwrap(), Some(b"value".to_vec()), "{id}");
        assert_eq!(store.get(b"not flushed").unwrap(), None, "{id}");
        store.close().unwrap();
    }
}
