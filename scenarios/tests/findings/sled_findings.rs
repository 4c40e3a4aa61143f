//! sled 0.34.7.

use crate::alone::alone;
use crate::rig::{Open, Story, sync, text, words};
use std::path::Path;
use std::time::Duration;

/// Long enough for sled's own threads to let go of the files of a database that was closed.
pub(crate) const CLOSING: Duration = Duration::from_secs(2);

fn put_and_flush(db: &sled::Db, key: &str) -> Result<(), String> {
    db.insert(key, "value").map_err(text)?;
    db.flush().map(drop).map_err(text)
}

/// sled's documentation of `flush`: "it is guaranteed that all previous writes will be recovered if the system
/// crashes".
fn fill(dir: &Path) -> Result<Open, String> {
    let db = sled::open(dir).map_err(text)?;
    put_and_flush(&db, "first")?;
    Ok(Box::new(db))
}

fn check(dir: &Path) -> Result<(), String> {
    let db = sled::open(dir).map_err(text)?;
    match db.get("first").map_err(text)? {
        Some(value) if value == "value" => Ok(()),
        _ => Err("the flushed key is gone".to_string()),
    }
}

fn check_opening(dir: &Path) -> Result<(), String> {
    sled::open(dir).map(drop).map_err(text)
}

const NOT_OPENED: &str = "Read corrupted data at file offset None backtrace ()";

/// docs/findings/01-sled-flush.md
#[test]
fn sled_flush_leaves_the_log_in_the_page_cache() {
    alone("sled_findings::sled_flush_leaves_the_log_in_the_page_cache", || {
        let culprits = words(&Story::new(fill, check).culprits());
        assert!(culprits.contains("write store/db: the flushed key is gone"), "{culprits:#?}");

        let protected = words(&Story::new(fill_and_sync_log, check).culprits());
        assert!(!protected.iter().any(|culprit| culprit.starts_with("write store/db")), "{protected:#?}");
    });
}

fn fill_and_sync_log(dir: &Path) -> Result<Open, String> {
    let open = fill(dir)?;
    sync(&dir.join("db"))?;
    Ok(open)
}

/// docs/findings/02-sled-names.md
#[test]
fn sled_never_makes_its_file_names_durable() {
    alone("sled_findings::sled_never_makes_its_file_names_durable", || {
        let culprits = words(&Story::new(fill_and_sync_log, check).culprits());
        assert!(culprits.contains("create store/db: the flushed key is gone"), "{culprits:#?}");

        let reopened = words(&Story::new(fill_reopen_and_sync_files, check).culprits());
        let mismatch = "create store/db: Read corrupted data at file offset Some(Inline(71)) backtrace ()";
        assert!(reopened.contains(mismatch), "{reopened:#?}");

        let protected = Story::new(fill_and_sync_names, check).culprits();
        assert!(protected.is_empty(), "{protected:#?}");
    });
}

/// With a snapshot of the second opening, which refers to the log.
fn fill_reopen_and_sync_files(dir: &Path) -> Result<Open, String> {
    drop(fill(dir)?);
    std::thread::sleep(CLOSING);
    let db = sled::open(dir).map_err(text)?;
    put_and_flush(&db, "second")?;
    sync(&dir.join("db"))?;
    sync(&dir.join("conf"))?;
    Ok(Box::new(db))
}

fn fill_and_sync_names(dir: &Path) -> Result<Open, String> {
    let open = fill_and_sync_log(dir)?;
    sync(&dir.join("conf"))?;
    sync(dir)?;
    Ok(open)
}

/// docs/findings/03-sled-conf.md
#[test]
fn sled_never_syncs_its_configuration() {
    alone("sled_findings::sled_never_syncs_its_configuration", || {
        let culprits = words(&Story::new(fill, check).culprits());
        assert!(culprits.contains(&format!("write store/conf: {NOT_OPENED}")), "{culprits:#?}");

        let killed_between_its_two_writes = Story::new(fill, check_opening).killed_at("store/conf", 3);
        assert_eq!(killed_between_its_two_writes.verdict(), Err(NOT_OPENED.to_string()));
    });
}

/// docs/findings/04-sled-snapshot.md
#[test]
fn sled_takes_a_half_written_snapshot_for_a_whole_one() {
    alone("sled_findings::sled_takes_a_half_written_snapshot_for_a_whole_one", || {
        // Operation 1 on the file creates it, 2 to 4 write it, 5 syncs it.
        for operation in 2..=4 {
            let killed = Story::new(fill_and_reopen, check).killed_at(".generating", operation);
            assert_eq!(killed.verdict(), Err(NOT_OPENED.to_string()), "before operation {operation}");
            let protected = Story { check: tidy_and_check, ..killed };
            assert_eq!(protected.verdict(), Ok(()), "before operation {operation}");
        }
    });
}

fn fill_and_reopen(dir: &Path) -> Result<Open, String> {
    drop(fill(dir)?);
    std::thread::sleep(CLOSING);
    Ok(Box::new(sled::open(dir).map_err(text)?))
}

/// Removes what is no snapshot yet before sled sees it.
fn tidy_and_check(dir: &Path) -> Result<(), String> {
    for entry in std::fs::read_dir(dir).map_err(text)? {
        let path = entry.map_err(text)?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(path).map_err(text)?;
        }
    }
    check(dir)
}
