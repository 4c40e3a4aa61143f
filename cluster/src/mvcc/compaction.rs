//! Forgetting what lies below a revision.
//!
//! ```text
//! entry "compact at C"   one batch: scheduled marker = C, applied index      reads below C are refused from now on
//! compact_step …         batches of deletions, in the order of the records   nothing that can be read changes
//! compact_step, the last one batch: finished marker = C
//! ```
//!
//! A crash may come between any two of them: a store that is opened and finds the markers different goes on
//! with the deletions from the beginning. Deleting what is gone changes nothing.
//!
//! The scheduled marker also says how many records at or below C stay, with a digest of them: where compaction
//! makes gaps, nothing else could tell a record that an engine has lost from one that was forgotten.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use engines::Batch;
use xxhash_rust::xxh3::Xxh3;

use super::index::KeyIndex;
use super::layout::{self, Record};
use super::{Store, StoreError};
use crate::design::CompactionTombstone;

/// The compacted revision of a store in which nothing was ever compacted, as in etcd: zero can be compacted
/// to, once.
pub const NEVER_COMPACTED: i64 = -1;

/// What a compaction keeps of the records at or below its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) records: u64,
    pub(super) digest: u64,
}

impl Kept {
    /// What a compaction of `index` at `revision` keeps, or has kept.
    pub(super) fn of(index: &KeyIndex, revision: i64, tombstones: CompactionTombstone) -> Kept {
        let (mut records, mut digest) = (0, Xxh3::new());
        for (key, kept, is_tombstone) in index.kept_at(revision, tombstones) {
            records += 1;
            digest.update(&(key.len() as u64).to_le_bytes());
            digest.update(key);
            digest.update(&kept.main.to_le_bytes());
            digest.update(&kept.sub.to_le_bytes());
            digest.update(&[u8::from(is_tombstone)]);
        }
        Kept { records, digest: digest.digest() }
    }
}

/// The marker that a compaction was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheduled {
    pub(super) revision: i64,
    pub(super) kept: Kept,
}

impl Scheduled {
    pub(super) fn add_to(&self, batch: &mut Batch) {
        let numbers = [self.revision.cast_unsigned(), self.kept.records, self.kept.digest];
        batch.put(layout::SCHEDULED_KEY, layout::encode_numbers(numbers));
    }

    /// The marker in a value, or `None` if there is none in it.
    pub(super) fn decode(value: &[u8]) -> Option<Scheduled> {
        let [revision, records, digest] = layout::decode_numbers(value)?;
        let revision = i64::try_from(revision).ok()?;
        Some(Scheduled { revision, kept: Kept { records, digest } })
    }
}

/// A compaction on its way.
#[derive(Debug)]
pub(super) struct Running {
    revision: i64,
    /// The engine's key to go on at; `None` once all records were visited.
    cursor: Option<Vec<u8>>,
    records_removed: u64,
    begun: Instant,
}

impl Running {
    pub(super) fn begin(revision: i64) -> Running {
        let cursor = Some(layout::RECORDS_START.to_vec());
        Running { revision, cursor, records_removed: 0, begun: Instant::now() }
    }
}

/// How far a compaction has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionProgress {
    /// What is compacted to.
    pub revision: i64,
    /// Whether there is nothing left to do.
    pub done: bool,
    /// Records removed from the engine so far, since the compaction was begun or the store opened.
    pub records_removed: u64,
    /// What the compaction has come to; only from the step that finished it.
    pub finished: Option<CompactionMetrics>,
}

/// What a compaction has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionMetrics {
    /// What was compacted to.
    pub revision: i64,
    /// Since it was begun or, after a restart, since the store was opened.
    pub duration: Duration,
    /// Records removed from the engine in that time.
    pub records_removed: u64,
    /// Leases that have ended since the compaction before was finished, or since the store was opened.
    pub leases_removed: u64,
}

impl Store {
    /// What reads must not lie below; [`NEVER_COMPACTED`] if nothing was ever compacted.
    pub fn compacted_revision(&self) -> i64 {
        self.compacted_revision
    }

    /// Whether the engine still holds what compaction does not keep, or may.
    pub fn is_compacting(&self) -> bool {
        self.compaction.is_some()
    }

    /// Does the next part of a compaction that was begun: visits at most `records_max` records (at least one),
    /// and removes those that are not kept; at last, in a step of its own, notes that it is finished.
    ///
    /// # Errors
    /// `Engine`: the store serves nothing more until reopened.
    pub fn compact_step(&mut self, records_max: usize) -> Result<CompactionProgress, StoreError> {
        self.check_usable()?;
        match &self.compaction {
            None => Ok(CompactionProgress {
                revision: self.compacted_revision,
                done: true,
                records_removed: 0,
                finished: None,
            }),
            Some(Running { cursor: Some(cursor), .. }) => {
                let cursor = cursor.clone();
                self.remove_from(&cursor, records_max.max(1))
            }
            Some(Running { cursor: None, .. }) => self.finish_compaction(),
        }
    }

    fn remove_from(&mut self, cursor: &[u8], records_max: usize) -> Result<CompactionProgress, StoreError> {
        let mut batch = Batch::new();
        let next = self.forgotten(cursor, records_max, &mut |key| batch.delete(key))?;
        self.write(&batch)?;
        let running = self.running();
        running.cursor = next;
        running.records_removed += batch.len() as u64;
        Ok(CompactionProgress {
            revision: running.revision,
            done: false,
            records_removed: running.records_removed,
            finished: None,
        })
    }

    /// Gives the engine's keys of records that are not kept to `remove`, looking at `records_max` from `cursor`
    /// on; returns where to go on.
    fn forgotten(
        &self,
        cursor: &[u8],
        records_max: usize,
        remove: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let end = layout::records_of(self.compacted_revision + 1);
        let (mut visited, mut next, mut corrupt) = (0, None, Ok(()));
        self.backend.scan(cursor, Some(&end), &mut |key, value| {
            if visited == records_max {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            visited += 1;
            match layout::decode_record(key, value) {
                Some(record) if self.is_kept(&record) => {}
                Some(_) => remove(key),
                None => {
                    corrupt = Err(StoreError::senseless_record(key));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        corrupt.map(|()| next)
    }

    fn finish_compaction(&mut self) -> Result<CompactionProgress, StoreError> {
        let Running { revision, records_removed, begun, .. } = *self.running();
        let mut batch = Batch::new();
        batch.put(layout::FINISHED_KEY, layout::encode_revision(revision));
        self.write(&batch)?;
        self.compaction = None;
        let leases_removed = std::mem::take(&mut self.leases_ended);
        let duration = begun.elapsed();
        let metrics = CompactionMetrics { revision, duration, records_removed, leases_removed };
        Ok(CompactionProgress { revision, done: true, records_removed, finished: Some(metrics) })
    }

    fn running(&mut self) -> &mut Running {
        self.compaction.as_mut().expect("called while a compaction is on its way")
    }

    /// Whether a record belongs to what the store holds, whatever the engine still has.
    pub(super) fn is_kept(&self, record: &Record) -> bool {
        record.revision.main > self.compacted_revision || self.index.holds(&record.key, record.revision)
    }
}
