//! The same on a real file system, without the simulated machine: a directory as a crash leaves it is laid out
//! with `std::fs` alone, and the engine opens it.

use crate::alone::alone;
use crate::rig::text;
use fjall::KeyspaceCreateOptions;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::TempDir;

/// What stands in `dir`, in a directory of its own: a store is copied while it is open, as a crash finds it.
fn copy_of(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    copy_tree(dir, copy.path());
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn sled_with_a_key(dir: &Path) -> sled::Db {
    let db = sled::open(dir).unwrap();
    db.insert("first", "value").unwrap();
    db.flush().unwrap();
    db
}

fn sled_refusal(dir: &Path) -> String {
    sled::open(dir).map(drop).map_err(text).unwrap_err()
}

const SLED_CORRUPT: &str = "Read corrupted data at file offset None backtrace ()";

/// Findings 02, 03 and 04.
#[test]
fn sled_on_what_a_crash_leaves() {
    alone("on_the_host::sled_on_what_a_crash_leaves", lay_out_sled);
}

fn lay_out_sled() {
    let original = TempDir::new().unwrap();
    let db = sled_with_a_key(original.path());

    let without_log = copy_of(original.path());
    fs::remove_file(without_log.path().join("db")).unwrap();
    assert_eq!(sled::open(without_log.path()).unwrap().get("first").unwrap(), None, "it opens, empty");

    let with_half_a_configuration = copy_of(original.path());
    let path = with_half_a_configuration.path().join("conf");
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 4).unwrap();
    assert_eq!(sled_refusal(with_half_a_configuration.path()), SLED_CORRUPT);

    let with_an_empty_snapshot = copy_of(original.path());
    fs::write(with_an_empty_snapshot.path().join("snap.0000000000000073.generating"), "").unwrap();
    assert_eq!(sled_refusal(with_an_empty_snapshot.path()), SLED_CORRUPT);
    drop(db);
}

fn fjall_with_a_key(dir: &Path) -> (fjall::Keyspace, fjall::Database) {
    let database = fjall::Database::builder(dir).worker_threads(1).open().unwrap();
    let keyspace = database.keyspace("items", KeyspaceCreateOptions::default).unwrap();
    keyspace.insert("first", "value").unwrap();
    database.persist(fjall::PersistMode::SyncAll).unwrap();
    (keyspace, database)
}

fn fjall_refusal(dir: &Path) -> String {
    fjall::Database::builder(dir).worker_threads(1).open().map(drop).map_err(text).unwrap_err()
}

/// Findings 05, 06 and 08.
#[test]
fn fjall_on_what_a_crash_leaves() {
    alone("on_the_host::fjall_on_what_a_crash_leaves", lay_out_fjall);
}

fn lay_out_fjall() {
    let original = TempDir::new().unwrap();
    let (keyspace, database) = fjall_with_a_key(original.path());

    for lost in ["0", "1"] {
        let copy = copy_of(original.path());
        fs::remove_dir_all(copy.path().join("keyspaces").join(lost)).unwrap();
        let reopened = fjall::Database::builder(copy.path()).worker_threads(1).open().unwrap();
        let items = reopened.keyspace("items", KeyspaceCreateOptions::default).unwrap();
        assert_eq!(items.get("first").unwrap(), None, "it opens, empty");
    }

    keyspace.insert("second", vec![7; 2000]).unwrap();
    let torn = copy_of(original.path());
    let journal = fs::OpenOptions::new().write(true).open(torn.path().join("0.jnl")).unwrap();
    journal.write_all_at(&[0; 512], 1024).unwrap();
    assert_eq!(fjall_refusal(torn.path()), "FjallError: JournalRecovery(ChecksumMismatch)");
    drop((keyspace, database));

    let half_created = TempDir::new().unwrap();
    fs::create_dir(half_created.path().join("keyspaces")).unwrap();
    fs::write(half_created.path().join("0.jnl"), "").unwrap();
    assert!(fjall_refusal(half_created.path()).contains("AlreadyExists"));
    fs::write(half_created.path().join("version"), "").unwrap();
    assert_eq!(fjall_refusal(half_created.path()), "FjallError: InvalidVersion(None)");
}

/// Finding 08.
#[test]
fn redb_on_what_a_crash_leaves() {
    alone("on_the_host::redb_on_what_a_crash_leaves", lay_out_redb);
}

fn lay_out_redb() {
    let half_created = TempDir::new().unwrap();
    let path = half_created.path().join("data.redb");
    fs::write(&path, [0; 4096]).unwrap();
    let refusal = redb::Database::create(&path).map(drop).map_err(text).unwrap_err();
    assert_eq!(refusal, "I/O error: Not a redb database: magic number mismatch");
}
