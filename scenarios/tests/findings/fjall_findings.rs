//! fjall 3.1.13 with lsm-tree 3.1.10.

use crate::alone::alone;
use crate::rig::{Open, Story, sync, text, words};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use sim::PathFaults;
use sim::disk::FaultOptions;
use sim::entropy::Ratio;
use std::path::Path;

fn open(dir: &Path) -> Result<(Keyspace, Database), String> {
    let database = Database::builder(dir).worker_threads(1).open().map_err(text)?;
    let keyspace = database.keyspace("items", KeyspaceCreateOptions::default).map_err(text)?;
    Ok((keyspace, database))
}

fn put_and_persist(store: &(Keyspace, Database)) -> Result<(), String> {
    store.0.insert("first", "value").map_err(text)?;
    store.1.persist(PersistMode::SyncAll).map_err(text)
}

fn fill(dir: &Path) -> Result<Open, String> {
    let store = open(dir)?;
    put_and_persist(&store)?;
    Ok(Box::new(store))
}

fn check(dir: &Path) -> Result<(), String> {
    let store = open(dir)?;
    match store.0.get("first").map_err(text)? {
        Some(value) if *value == *b"value" => Ok(()),
        _ => Err("the persisted key is gone".to_string()),
    }
}

fn check_opening(dir: &Path) -> Result<(), String> {
    open(dir).map(drop)
}

/// docs/findings/05-fjall-keyspace-directory.md
#[test]
fn fjall_never_makes_the_name_of_a_keyspace_durable() {
    alone("fjall_findings::fjall_never_makes_the_name_of_a_keyspace_durable", || {
        let culprits = words(&Story::new(fill, check).culprits());
        let expected =
            [0, 1].map(|keyspace| format!("mkdir store/keyspaces/{keyspace}: the persisted key is gone"));
        assert_eq!(culprits.into_iter().collect::<Vec<_>>(), expected);

        let protected = Story::new(fill_and_sync_names, check).culprits();
        assert!(protected.is_empty(), "{protected:#?}");
    });
}

fn fill_and_sync_names(dir: &Path) -> Result<Open, String> {
    let store = open(dir)?;
    sync(&dir.join("keyspaces"))?;
    put_and_persist(&store)?;
    Ok(Box::new(store))
}

/// docs/findings/06-fjall-torn-journal.md
#[test]
fn fjall_does_not_open_after_its_last_batch_was_torn() {
    alone("fjall_findings::fjall_does_not_open_after_its_last_batch_was_torn", || {
        let story = Story::new(persist_one_and_write_another, check);
        assert!(story.culprits().is_empty(), "a batch that is lost whole does no harm");
        let torn = words(&story.torn_culprits());
        assert_eq!(
            torn.into_iter().collect::<Vec<_>>(),
            ["write store/0.jnl: FjallError: JournalRecovery(ChecksumMismatch)"]
        );
    });
}

/// The second batch is not persisted: it may be lost, but nothing else with it.
fn persist_one_and_write_another(dir: &Path) -> Result<Open, String> {
    let store = open(dir)?;
    sync(&dir.join("keyspaces"))?;
    put_and_persist(&store)?;
    store.0.insert("second", vec![7; 2000]).map_err(text)?;
    Ok(Box::new(store))
}

/// docs/findings/07-fjall-short-read.md
#[test]
fn fjall_takes_a_short_read_for_corruption() {
    alone("fjall_findings::fjall_takes_a_short_read_for_corruption", || {
        let options = FaultOptions { short_read: Ratio::ONE, ..FaultOptions::default() };
        let faults = vec![PathFaults { path_contains: "/tables/".to_string(), options }];
        let refusal = Story { faults, ..Story::new(fill, check) }.verdict().unwrap_err();
        assert!(refusal.contains("did not read enough bytes"), "{refusal}");
    });
}

/// docs/findings/08-creation.md
#[test]
fn fjall_does_not_open_what_it_had_not_finished_creating() {
    alone("fjall_findings::fjall_does_not_open_what_it_had_not_finished_creating", || {
        // Operation 1 on each file creates it; 2 sizes the journal, or writes the version.
        let killed = |path, operation| Story::new(fill, check_opening).killed_at(path, operation).verdict();
        let refusal = killed("0.jnl", 2).unwrap_err();
        assert!(refusal.contains("AlreadyExists"), "{refusal}");
        assert_eq!(killed("version", 2), Err("FjallError: InvalidVersion(None)".to_string()));
    });
}
