//! sled 0.34.7 as it opens by default: large values beside the log, and reads that fail while it recovers.

use crate::alone::alone;
use crate::rig::{Open, Story, sync, text, words};
use sim::disk::{Errno, Profile};
use sim::{FaultPoint, PointFault};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// More than a quarter of a segment of 512 KiB: sled stores it as a file of its own.
const LARGE_BYTES: usize = 200_000;

/// Longer than sled's own thread waits between two syncs of the log.
const SYNCED_IN_THE_BACKGROUND: Duration = Duration::from_secs(1);

/// Long enough for sled's own threads to let go of the files of a database that was closed.
const CLOSING: Duration = Duration::from_secs(2);

fn fill(dir: &Path) -> Result<Open, String> {
    let db = sled::open(dir).map_err(text)?;
    db.insert("large", vec![7; LARGE_BYTES]).map_err(text)?;
    db.flush().map_err(text)?;
    db.insert("after", "value").map_err(text)?;
    db.flush().map_err(text)?;
    std::thread::sleep(SYNCED_IN_THE_BACKGROUND);
    Ok(Box::new(db))
}

fn fill_and_sync_blobs(dir: &Path) -> Result<Open, String> {
    let open = fill(dir)?;
    for entry in std::fs::read_dir(dir.join("blobs")).map_err(text)? {
        sync(&entry.map_err(text)?.path())?;
    }
    sync(&dir.join("blobs"))?;
    Ok(open)
}

fn check(dir: &Path) -> Result<(), String> {
    let db = sled::open(dir).map_err(text)?;
    let large = db.get("large").map_err(text)?.is_some_and(|value| value.len() == LARGE_BYTES);
    let after = db.get("after").map_err(text)?.is_some_and(|value| value == "value");
    match (large, after) {
        (true, true) => Ok(()),
        (false, true) => Err("the large value is gone".to_string()),
        (true, false) => Err("the value after it is gone".to_string()),
        (false, false) => Err("both values are gone".to_string()),
    }
}

/// docs/findings/12-sled-blobs.md
#[test]
fn sled_never_syncs_its_large_values() {
    alone("sled_blobs::sled_never_syncs_its_large_values", || {
        let harmful = |fill| {
            let story = Story { profile: Profile::Ext4Ordered, ..Story::new(fill, check) };
            let blobs = |word: &String| word.contains("store/blobs/");
            words(&story.culprits()).into_iter().filter(blobs).collect::<BTreeSet<_>>()
        };
        let culprits = harmful(fill);
        let gone = culprits.iter().all(|culprit| culprit.ends_with(": both values are gone"));
        assert!(!culprits.is_empty() && gone, "{culprits:#?}");

        let protected = harmful(fill_and_sync_blobs);
        assert!(protected.is_empty(), "{protected:#?}");
    });
}

/// Opens it, whatever comes of that, and looks into it when it is opened the next time.
fn open_and_check_afterwards(dir: &Path) -> Result<(), String> {
    let first = sled::open(dir).map(drop).map_err(text);
    std::thread::sleep(CLOSING);
    check(dir).map_err(|harm| format!("{harm}; the opening before said {first:?}"))
}

/// docs/findings/13-sled-read-error.md
#[test]
fn sled_takes_a_failed_read_for_the_end_of_its_log() {
    alone("sled_blobs::sled_takes_a_failed_read_for_the_end_of_its_log", || {
        let verdicts: Vec<Result<(), String>> = (1..=16)
            .map(|operation| {
                let fault = PointFault::Error(Errno::EIO);
                let check_fault = Some(FaultPoint { fault, operation, reads: true });
                Story { check_fault, ..Story::new(fill, open_and_check_afterwards) }.verdict()
            })
            .collect();
        let silent = Err("both values are gone; the opening before said Ok(())".to_string());
        assert!(verdicts.contains(&silent), "{verdicts:#?}");
    });
}
