//! One bit of a file has rotted.

use crate::alone::alone;
use crate::rig::{Open, Story, text};
use crate::sled_findings::CLOSING;
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, TableDefinition};
use sim::isolation::End;
use std::path::{Path, PathBuf};

const VALUE: &[u8] = &[b'v'; 100];

/// Flips a bit of the byte at `offset`.
fn rot(file: &Path, offset: usize, bit: u8) -> Result<(), String> {
    let mut bytes = std::fs::read(file).map_err(text)?;
    bytes[offset] ^= 1 << bit;
    std::fs::write(file, bytes).map_err(text)
}

/// Where the words stand in a file, for the only time.
fn only_place(file: &Path, words: &[u8]) -> Result<usize, String> {
    let bytes = std::fs::read(file).map_err(text)?;
    let mut places = bytes.windows(words.len()).enumerate().filter(|(_, window)| *window == words);
    match (places.next(), places.next()) {
        (Some((offset, _)), None) => Ok(offset),
        (first, _) => Err(format!("{}: not there once, first {first:?}", file.display())),
    }
}

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("items");

/// Closed in good order, so that redb does not look at its checksums when it opens the file again.
fn fill_and_close_redb(dir: &Path) -> Result<Open, String> {
    let database = redb::Database::create(dir.join("data.redb")).map_err(text)?;
    let transaction = database.begin_write().map_err(text)?;
    transaction.open_table(TABLE).map_err(text)?.insert("first", VALUE).map_err(text)?;
    transaction.commit().map_err(text)?;
    Ok(Box::new(()))
}

fn rot_a_value_of_redb(dir: &Path) -> Result<(), String> {
    let file = dir.join("data.redb");
    rot(&file, only_place(&file, VALUE)?, 0)?;
    let mut database = redb::Database::create(&file).map_err(text)?;
    let found = {
        let table = database.begin_read().map_err(text)?.open_table(TABLE).map_err(text)?;
        table.get("first").map_err(text)?.map(|value| value.value().to_vec())
    };
    match database.check_integrity() {
        Err(error) if found.is_some_and(|found| found != VALUE) => {
            Err(format!("another value; then {error}"))
        }
        _ => Ok(()),
    }
}

/// docs/findings/15-rot.md
#[test]
fn redb_gives_a_rotten_value_back() {
    alone("rot::redb_gives_a_rotten_value_back", || {
        let found = Story::new(fill_and_close_redb, rot_a_value_of_redb).verdict();
        let words = "another value; then DB corrupted: Primary is corrupted despite 2-phase commit";
        assert_eq!(found, Err(words.to_string()));
    });
}

/// Keys that sled was given, and flushed.
const KEYS: u32 = 400;
const SEGMENT_BYTES: usize = 1024;

fn sled_in(dir: &Path) -> Result<sled::Db, String> {
    sled::Config::default().path(dir).segment_size(SEGMENT_BYTES).open().map_err(text)
}

fn fill_sled(dir: &Path) -> Result<Open, String> {
    let db = sled_in(dir)?;
    for key in 0..KEYS {
        db.insert(key.to_be_bytes(), VALUE).map_err(text)?;
    }
    db.flush().map_err(text)?;
    drop(db);
    std::thread::sleep(CLOSING);
    Ok(Box::new(()))
}

/// Lets the header of the fourth segment rot before it counts.
fn rot_a_header_of_sled(dir: &Path) -> Result<(), String> {
    rot(&dir.join("db"), 3 * SEGMENT_BYTES + 4, 0)?;
    count_keys_of_sled(dir)
}

/// How many keys are there, as an error in words.
fn count_keys_of_sled(dir: &Path) -> Result<(), String> {
    let db = sled_in(dir)?;
    let mut there = 0;
    for key in 0..KEYS {
        there += u32::from(db.get(key.to_be_bytes()).map_err(text)?.is_some());
    }
    Err(format!("{there} of {KEYS} keys are there"))
}

/// docs/findings/15-rot.md
#[test]
fn sled_skips_a_segment_whose_header_has_rotted() {
    alone("rot::sled_skips_a_segment_whose_header_has_rotted", || {
        let found = |check| Story::new(fill_sled, check).verdict().unwrap_err();
        assert_eq!(found(count_keys_of_sled), "400 of 400 keys are there");
        assert_eq!(found(rot_a_header_of_sled), "382 of 400 keys are there");
    });
}

/// With a table file.
fn fill_fjall(dir: &Path) -> Result<Open, String> {
    let database = Database::builder(dir).worker_threads(1).open().map_err(text)?;
    let keyspace = database.keyspace("items", KeyspaceCreateOptions::default).map_err(text)?;
    keyspace.insert("first", "value").map_err(text)?;
    keyspace.rotate_memtable_and_wait().map_err(text)?;
    database.persist(PersistMode::SyncAll).map_err(text)?;
    Ok(Box::new((keyspace, database)))
}

fn tables(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let files = std::fs::read_dir(dir.join("keyspaces/1/tables")).map_err(text)?;
    files.map(|file| Ok(file.map_err(text)?.path())).collect()
}

/// The number of sections stands behind the magic of the table of contents, in four bytes, the lowest first.
fn rot_a_length_of_fjall(dir: &Path) -> Result<(), String> {
    let table = tables(dir)?.pop().ok_or("no table")?;
    rot(&table, only_place(&table, b"TOC!")? + 4 + 3, 4)?;
    Database::builder(dir).worker_threads(1).open().map(drop).map_err(text)
}

/// docs/findings/16-length-before-checksum.md
#[test]
fn fjall_asks_for_gigabytes_for_a_rotten_length() {
    alone("rot::fjall_asks_for_gigabytes_for_a_rotten_length", || {
        let ended = Story::new(fill_fjall, rot_a_length_of_fjall).ended();
        assert!(matches!(ended.end, End::OutOfMemory), "{:?}: {}", ended.end, ended.errors);
        assert!(ended.errors.contains("out of memory: 10737418440 bytes asked for"), "{}", ended.errors);
    });
}
