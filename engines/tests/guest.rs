//! An engine of somebody else. In a process of its own, since a process has one guest, and keeps it.

use std::path::Path;

use engines::{Backend, Engine, EngineError, EngineId, Options, Result};

/// Says that it is this engine, and never opens.
struct Impostor(EngineId);

impl Engine for Impostor {
    fn id(&self) -> EngineId {
        self.0
    }

    fn open(&self, _dir: &Path, _options: &Options) -> Result<Box<dyn Backend>> {
        Err(EngineError::Misuse("it never opens".to_owned()))
    }
}

fn refusal(outcome: Result<()>) -> String {
    match outcome {
        Err(EngineError::Misuse(message)) => message,
        other => panic!("registered: {other:?}"),
    }
}

#[test]
fn there_is_one_guest_and_it_says_so() {
    let unknown = engines::engine(EngineId::Guest).map(|_| ());
    assert_eq!(
        refusal(unknown),
        "this program has no engine guest (0xf0); it has sled, fjall, redb, lsm-tree, mem"
    );
    assert_eq!(refusal(engines::register_guest(&Impostor(EngineId::Redb))), "a guest says that it is redb");

    engines::register_guest(&Impostor(EngineId::Guest)).unwrap();
    assert_eq!(engines::engine(EngineId::Guest).unwrap().id(), EngineId::Guest);
    let ids: Vec<EngineId> = engines::registry().iter().map(|engine| engine.id()).collect();
    assert_eq!(ids, EngineId::ALL, "in the order of the bytes");

    let second = engines::register_guest(&Impostor(EngineId::Guest));
    assert_eq!(refusal(second), "there is a guest already; a program has one");
}
