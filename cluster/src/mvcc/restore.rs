//! Rebuilding the store from what the engine holds.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use engines::Backend;

use super::compaction::{Kept, NEVER_COMPACTED, Scheduled};
use super::index::{KeyIndex, Revision};
use super::layout::{self, Record, RecordValue};
use super::lease_table::{LeaseChange, LeaseTable};
use super::{EMPTY_REVISION, Rules, StoreError};
use crate::design::{CompactionTombstone, RestoredRevision, RestoredTombstone};

/// What the engine holds.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) index: KeyIndex,
    pub(super) leases: LeaseTable,
    pub(super) alarms: BTreeSet<u64>,
    pub(super) revision: i64,
    pub(super) compacted_revision: i64,
    /// Whether the compaction is not finished.
    pub(super) is_compacting: bool,
    pub(super) applied_index: u64,
    pub(super) applied_term: u64,
    pub(super) format_written: bool,
}

/// Reads everything, and checks that nothing is missing in it. Above the compacted revision each write made the
/// next revision, and each record continues the life of its key; at or below it there are the records that the
/// compaction said it would keep, and perhaps others; and the last record has the revision that was written
/// down with it. An engine that lost part of a batch, or an older batch but not a newer one, shows here.
pub(super) fn restore(backend: &dyn Backend, rules: Rules) -> Result<Restored, StoreError> {
    let format_written = check_format(backend)?;
    let markers = Markers::read(backend)?;
    let mut rebuild = Rebuild {
        index: KeyIndex::default(),
        leases: leases(backend)?,
        last: None,
        compacted: markers.scheduled_revision(),
        rules,
    };
    records(backend, &mut |record| rebuild.add(record))?;
    rebuild.index.forget_empty();
    let revision = restored_revision(backend, &rebuild, &markers)?;
    let applied_index = number(backend, engines::APPLIED_INDEX_KEY, "applied index")?;
    if !format_written && (applied_index, revision) != (0, EMPTY_REVISION) {
        return Err(corrupt("the format is missing".to_owned()));
    }
    check_kept(&rebuild, &markers)?;
    check_leases(&rebuild.leases)?;
    let compacted_revision = markers.compacted(revision);
    Ok(Restored {
        index: rebuild.index,
        leases: rebuild.leases,
        alarms: alarms(backend)?,
        revision,
        compacted_revision,
        is_compacting: compacted_revision > markers.finished,
        applied_index,
        applied_term: number(backend, layout::TERM_KEY, "applied term")?,
        format_written,
    })
}

/// Visits every record in the order of their revisions.
pub(super) fn records(
    backend: &dyn Backend,
    visit: &mut dyn FnMut(Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut result = Ok(());
    backend.scan(layout::RECORDS_START, Some(layout::RECORDS_END), &mut |key, value| {
        result = match layout::decode_record(key, value) {
            Some(record) => visit(record),
            None => Err(StoreError::senseless_record(key)),
        };
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    result
}

/// The markers of compactions.
struct Markers {
    scheduled: Option<Scheduled>,
    /// [`NEVER_COMPACTED`] if none was.
    finished: i64,
}

impl Markers {
    fn read(backend: &dyn Backend) -> Result<Markers, StoreError> {
        let scheduled = match backend.get(layout::SCHEDULED_KEY)? {
            Some(bytes) => Some(Scheduled::decode(&bytes).ok_or_else(|| malformed("scheduled compaction"))?),
            None => None,
        };
        let finished = match backend.get(layout::FINISHED_KEY)? {
            Some(bytes) => layout::decode_revision(&bytes).ok_or_else(|| malformed("finished compaction"))?,
            None => NEVER_COMPACTED,
        };
        let markers = Markers { scheduled, finished };
        let scheduled = markers.scheduled_revision();
        if finished > scheduled {
            return Err(corrupt(format!(
                "the compaction at revision {finished} is finished, but {scheduled} was the last to begin"
            )));
        }
        Ok(markers)
    }

    fn scheduled_revision(&self) -> i64 {
        self.scheduled.map_or(NEVER_COMPACTED, |scheduled| scheduled.revision)
    }

    /// What reads must not lie below. A compaction above the revision is not gone on with; only the wrong design
    /// comes to that.
    fn compacted(&self, revision: i64) -> i64 {
        if self.scheduled_revision() <= revision { self.scheduled_revision() } else { self.finished }
    }
}

/// The current revision: the one that was written down, which must be that of the last record.
fn restored_revision(backend: &dyn Backend, rebuild: &Rebuild, markers: &Markers) -> Result<i64, StoreError> {
    let mut found = rebuild.last.map_or(EMPTY_REVISION, |last| last.main);
    match rebuild.rules.restored_revision {
        RestoredRevision::LastRecord => return Ok(found.max(markers.finished)),
        RestoredRevision::Recorded => {}
    }
    match rebuild.rules.compaction_tombstone {
        CompactionTombstone::Kept => {}
        CompactionTombstone::Dropped => found = found.max(rebuild.compacted),
    }
    let revision = match backend.get(layout::REVISION_KEY)? {
        Some(bytes) => layout::decode_revision(&bytes).ok_or_else(|| malformed("revision"))?,
        None => EMPTY_REVISION,
    };
    if revision == found {
        Ok(revision)
    } else {
        Err(corrupt(format!("the revision is {revision}, but the last record has {found}")))
    }
}

/// The records that the last compaction has kept must be there. The wrong designs lose some themselves.
fn check_kept(rebuild: &Rebuild, markers: &Markers) -> Result<(), StoreError> {
    let Some(Scheduled { revision, kept }) = markers.scheduled else {
        return Ok(());
    };
    match (rebuild.rules.restored_revision, rebuild.rules.restored_tombstone) {
        (RestoredRevision::Recorded, RestoredTombstone::Indexed) => {}
        (RestoredRevision::LastRecord, _) | (_, RestoredTombstone::Ignored) => return Ok(()),
    }
    let found = Kept::of(&rebuild.index, revision, rebuild.rules.compaction_tombstone);
    if found.records != kept.records {
        return Err(corrupt(format!(
            "the compaction at revision {revision} has kept {} records, but {} are there",
            kept.records, found.records
        )));
    }
    if found.digest != kept.digest {
        return Err(corrupt(format!(
            "the records are not those that the compaction at revision {revision} kept"
        )));
    }
    Ok(())
}

fn check_leases(leases: &LeaseTable) -> Result<(), StoreError> {
    match leases.stray_key() {
        None => Ok(()),
        Some((key, lease)) => Err(corrupt(format!(
            "key {} is attached to lease {lease}, which does not exist",
            key.escape_ascii()
        ))),
    }
}

/// The index and the attachments to leases, being rebuilt.
struct Rebuild {
    index: KeyIndex,
    leases: LeaseTable,
    last: Option<Revision>,
    /// At or below this main revision, records may be missing.
    compacted: i64,
    rules: Rules,
}

impl Rebuild {
    fn add(&mut self, record: Record) -> Result<(), StoreError> {
        self.check_revision(record.revision)?;
        self.leases.follow(&record);
        if record.revision.main <= self.compacted {
            self.add_compacted(record)
        } else {
            self.add_next(record)
        }
    }

    /// Adds a record above the compacted revision.
    fn add_next(&mut self, record: Record) -> Result<(), StoreError> {
        let before = self.index.get(&record.key, record.revision.main);
        let follows = match (&record.value, before) {
            (RecordValue::Put { create_revision, version, .. }, Some(before)) => {
                (*create_revision, *version) == (before.create_revision, before.version + 1)
            }
            (RecordValue::Put { create_revision, version, .. }, None) => {
                (*create_revision, *version) == (record.revision.main, 1)
            }
            (RecordValue::Tombstone, Some(_)) => true,
            (RecordValue::Tombstone, None) => false,
        };
        if !follows {
            return Err(out_of_place(&record));
        }
        self.index.insert(record.key, record.revision, record.value.is_tombstone());
        Ok(())
    }

    /// Adds a record at or below the compacted revision: of each key the newest one counts, and a deletion only
    /// where it happened at that very revision.
    fn add_compacted(&mut self, record: Record) -> Result<(), StoreError> {
        let main = record.revision.main;
        let is_kept = match record.value {
            RecordValue::Put { create_revision, version, .. } => {
                let is_first = version == 1;
                let is_plausible = is_first == (create_revision == main)
                    && (0..=main - create_revision).contains(&(version - 1));
                if !is_plausible {
                    return Err(out_of_place(&record));
                }
                true
            }
            RecordValue::Tombstone => main == self.compacted && self.keeps_tombstone(&record.key),
        };
        self.index.forget_before(&record.key, self.compacted);
        if is_kept {
            self.index.insert_first(&record);
        }
        Ok(())
    }

    fn keeps_tombstone(&self, key: &[u8]) -> bool {
        let is_kept = match self.rules.compaction_tombstone {
            CompactionTombstone::Kept => true,
            CompactionTombstone::Dropped => false,
        };
        let is_indexed = match self.rules.restored_tombstone {
            RestoredTombstone::Indexed => true,
            RestoredTombstone::Ignored => self.index.knows(key),
        };
        is_kept && is_indexed
    }

    fn check_revision(&mut self, revision: Revision) -> Result<(), StoreError> {
        let last = self.last.replace(revision);
        if revision.main <= self.compacted {
            return Ok(());
        }
        let first = Revision { main: self.compacted.max(EMPTY_REVISION) + 1, sub: 0 };
        let (same, next) = match last {
            Some(last) if last.main > self.compacted => (
                Some(Revision { main: last.main, sub: last.sub + 1 }),
                Revision { main: last.main + 1, sub: 0 },
            ),
            Some(_) | None => (None, first),
        };
        if Some(revision) != same && revision != next {
            let Revision { main, sub } = revision;
            return Err(corrupt(format!("records are missing before revision {main}.{sub}")));
        }
        Ok(())
    }
}

fn out_of_place(record: &Record) -> StoreError {
    let Revision { main, sub } = record.revision;
    corrupt(format!(
        "the record of key {} at revision {main}.{sub} does not follow the one before it",
        record.key.escape_ascii()
    ))
}

fn leases(backend: &dyn Backend) -> Result<LeaseTable, StoreError> {
    let (mut leases, mut result) = (LeaseTable::default(), Ok(()));
    backend.scan(
        layout::LEASES_START,
        Some(layout::LEASES_END),
        &mut |key, value| match LeaseChange::decode(key, value) {
            Some(change) => {
                leases.change(change);
                ControlFlow::Continue(())
            }
            None => {
                result = Err(malformed(&format!("lease under key {}", key.escape_ascii())));
                ControlFlow::Break(())
            }
        },
    )?;
    result.map(|()| leases)
}

fn alarms(backend: &dyn Backend) -> Result<BTreeSet<u64>, StoreError> {
    let (mut alarms, mut result) = (BTreeSet::new(), Ok(()));
    backend.scan(layout::ALARMS_START, Some(layout::ALARMS_END), &mut |key, _| {
        match layout::decode_numbered_key(layout::ALARMS_START, key) {
            Some(member) => {
                alarms.insert(member);
                ControlFlow::Continue(())
            }
            None => {
                result = Err(malformed(&format!("alarm under key {}", key.escape_ascii())));
                ControlFlow::Break(())
            }
        }
    })?;
    result.map(|()| alarms)
}

/// Whether the engine knows its format, which is then this one.
fn check_format(backend: &dyn Backend) -> Result<bool, StoreError> {
    match backend.get(layout::FORMAT_KEY)? {
        None => Ok(false),
        Some(bytes) if bytes == layout::FORMAT.to_le_bytes() => Ok(true),
        Some(bytes) => Err(corrupt(format!("format {} is unknown", bytes.escape_ascii()))),
    }
}

fn number(backend: &dyn Backend, key: &[u8], name: &str) -> Result<u64, StoreError> {
    match backend.get(key)? {
        None => Ok(0),
        Some(bytes) => Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| malformed(name))?)),
    }
}

fn malformed(name: &str) -> StoreError {
    corrupt(format!("the {name} is malformed"))
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt(what)
}
