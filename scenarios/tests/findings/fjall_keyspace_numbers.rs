//! fjall 3.1.13, on the file system of the machine that runs the tests. No crash is needed.

use crate::alone::alone;
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use tempfile::TempDir;

fn open(dir: &Path) -> Database {
    Database::builder(dir).worker_threads(1).open().unwrap()
}

fn put_in_new_keyspace(dir: &Path) {
    let db = open(dir);
    let keyspace = db.keyspace("new", KeyspaceCreateOptions::default).unwrap();
    keyspace.insert("key", "value").unwrap();
    db.persist(PersistMode::SyncAll).unwrap();
}

/// docs/findings/14-fjall-keyspace-number.md
#[test]
fn fjall_deletes_a_new_keyspace_that_has_the_number_of_a_dropped_one() {
    alone(
        "fjall_keyspace_numbers::fjall_deletes_a_new_keyspace_that_has_the_number_of_a_dropped_one",
        || {
            let dir = TempDir::new().unwrap();
            {
                let db = open(dir.path());
                let data = db.keyspace("data", KeyspaceCreateOptions::default).unwrap();
                data.insert("key", "value").unwrap();
                for name in ["other", "dropped"] {
                    drop(db.keyspace(name, KeyspaceCreateOptions::default).unwrap());
                }
                let dropped = db.keyspace("dropped", KeyspaceCreateOptions::default).unwrap();
                db.delete_keyspace(dropped).unwrap();
                db.persist(PersistMode::SyncAll).unwrap();
            }
            put_in_new_keyspace(dir.path());
            assert!(!open(dir.path()).keyspace_exists("new"), "the keyspace and its persisted key are gone");
            assert!(!dir.path().join("keyspaces/3").exists(), "its directory was deleted");
        },
    );
}

/// docs/findings/14-fjall-keyspace-number.md: after the power failure of page 05.
#[test]
fn fjall_gives_a_new_keyspace_the_name_of_a_lost_one() {
    alone("fjall_keyspace_numbers::fjall_gives_a_new_keyspace_the_name_of_a_lost_one", || {
        let dir = TempDir::new().unwrap();
        {
            let db = open(dir.path());
            for name in ["data", "lost"] {
                drop(db.keyspace(name, KeyspaceCreateOptions::default).unwrap());
            }
            db.persist(PersistMode::SyncAll).unwrap();
        }
        std::fs::remove_dir_all(dir.path().join("keyspaces/2")).unwrap();
        put_in_new_keyspace(dir.path());
        let db = open(dir.path());
        assert!(!db.keyspace_exists("new"), "the keyspace is gone");
        let lost = db.keyspace("lost", KeyspaceCreateOptions::default).unwrap();
        assert_eq!(lost.get("key").unwrap().as_deref(), Some(&b"value"[..]), "it has another one's name");
    });
}
