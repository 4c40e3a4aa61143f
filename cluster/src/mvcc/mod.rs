//! The key-value store with revisions, as in etcd 3.5, above any storage engine.
//!
//! ```text
//! command ─► check (admission) ─► path (which branches) ─► transaction (reads, writes) ─► one batch
//! engine     0x00 "applied-index"     raft index that the store has applied (reserved by `engines`)
//!            'k'  main sub kind       one record per write: see `layout`
//!            'l'  id                  leases
//!            'a'  member              alarms
//!            'm'  name                format, revision, applied term, markers of compactions
//! memory     key ─► generations of revisions (`index`), rebuilt from the 'k' records at start
//!            leases with their keys (`lease_table`), rebuilt from both
//! ```
//!
//! Every write makes one new main revision, and inside it one sub-revision per key changed; nothing is written
//! in place. The records of an entry, the revision and the applied index stand in one batch, so that the engine
//! shows all of the entry or nothing, and an entry that comes again is recognised and skipped.

mod admission;
mod commands;
mod compaction;
mod error;
mod events;
mod hash;
mod index;
mod layout;
mod lease_table;
mod path;
#[cfg(test)]
mod reference;
mod restore;
mod sorting;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use engines::{Backend, Batch, EngineId, FlushState};

pub use admission::{REQUEST_BYTES_MAX, TXN_OPERATIONS_MAX, check};
pub use commands::without_ranges;
pub use compaction::{CompactionMetrics, CompactionProgress, NEVER_COMPACTED};
pub use error::StoreError;
pub use events::Compacted;
pub use hash::HashKv;
pub use index::Revision;
pub use layout::{Record, RecordValue};
pub use lease_table::{LEASE_TTL_MAX_S, LEASE_TTL_MIN_S, Lease, LeaseTable};

use crate::api::{Answer, Command, Refusal, Request, Response};
use crate::design::{Apply, CompactionTombstone, Defragment, Design, RestoredRevision, RestoredTombstone};
use commands::Changes;
use compaction::Running;
use index::KeyIndex;
use lease_table::LeaseChange;

/// The revision of an empty store.
pub const EMPTY_REVISION: i64 = 1;

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The store had applied it before.
    Skipped,
    /// It is applied now, and nobody can wait for an answer: the cluster itself has proposed it.
    Noted,
    /// It is applied now. A refusal has changed nothing, but the entry counts as applied.
    Done(Result<Answer, Refusal>),
}

/// A snapshot body that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its length in bytes.
    pub bytes: u64,
    /// The raft index up to which it holds every entry.
    pub index: u64,
    /// The term of the entry at that index.
    pub term: u64,
}

/// The store. It has one owner, who applies the entries of the raft log in order.
pub struct Store {
    backend: Box<dyn Backend>,
    rules: Rules,
    index: KeyIndex,
    leases: LeaseTable,
    /// The members whose disk is full.
    alarms: BTreeSet<u64>,
    revision: i64,
    compacted_revision: i64,
    /// What was compacted and is not yet forgotten by the engine.
    compaction: Option<Running>,
    /// Leases that have ended since the last compaction was finished.
    leases_ended: u64,
    /// What the last entry has written.
    last_records: Vec<Record>,
    applied_index: u64,
    applied_term: u64,
    /// How the applied index reaches the engine.
    index_writes: IndexWrites,
    /// Whether the engine has the format and term as they are; the format is written with the first entry.
    format_written: bool,
    /// The first failure of the engine.
    poison: Option<String>,
}

/// What of the design concerns compaction and what it leaves.
#[derive(Clone, Copy, Debug)]
struct Rules {
    compaction_tombstone: CompactionTombstone,
    restored_revision: RestoredRevision,
    restored_tombstone: RestoredTombstone,
}

impl Rules {
    fn of(design: &Design) -> Rules {
        Rules {
            compaction_tombstone: match design.restored_revision {
                RestoredRevision::Recorded => design.compaction_tombstone,
                // The revision was lost with the tombstone.
                RestoredRevision::LastRecord => CompactionTombstone::Dropped,
            },
            restored_revision: design.restored_revision,
            restored_tombstone: design.restored_tombstone,
        }
    }
}

/// How the applied index reaches the engine: see [`Apply`].
#[derive(Clone, Copy, Debug)]
enum IndexWrites {
    /// In the batch of the entry.
    WithData,
    /// In a batch of its own, for several entries at once.
    Apart {
        /// Entries applied since.
        behind: u64,
    },
    /// In the batch of the entry; but defragmentation goes back to that of the last flush. See [`Defragment`].
    GoesBack {
        /// Index and term that were applied when the last flush, or snapshot, began.
        flushed: (u64, u64),
        /// Whether the engine has that index, and data of later ones.
        is_behind: bool,
    },
}

impl IndexWrites {
    /// Entries for which [`IndexWrites::Apart`] writes one index.
    const ENTRIES: u64 = 8;

    fn of(design: &Design, applied: (u64, u64)) -> IndexWrites {
        match (design.apply, design.defragment) {
            (Apply::Repeats, _) => IndexWrites::Apart { behind: 0 },
            (Apply::Idempotent, Defragment::WithIndex) => IndexWrites::WithData,
            (Apply::Idempotent, Defragment::IndexBehind) => {
                IndexWrites::GoesBack { flushed: applied, is_behind: false }
            }
        }
    }
}

impl Store {
    /// Rebuilds the store from what `backend` holds, and checks that it makes sense.
    ///
    /// # Errors
    /// `Corrupt` where records or revisions contradict each other: part of what was written is lost. `Engine`.
    pub fn open(backend: Box<dyn Backend>, design: &Design) -> Result<Store, StoreError> {
        let rules = Rules::of(design);
        let restored = restore::restore(backend.as_ref(), rules)?;
        Ok(Store {
            backend,
            rules,
            index: restored.index,
            leases: restored.leases,
            alarms: restored.alarms,
            revision: restored.revision,
            compacted_revision: restored.compacted_revision,
            compaction: restored.is_compacting.then(|| Running::begin(restored.compacted_revision)),
            leases_ended: 0,
            last_records: Vec::new(),
            applied_index: restored.applied_index,
            applied_term: restored.applied_term,
            index_writes: IndexWrites::of(design, (restored.applied_index, restored.applied_term)),
            format_written: restored.format_written,
            poison: None,
        })
    }

    /// Applies the entry at `index` of `term`, which holds `command`. What it writes is visible on return, and
    /// durable after the next [`Store::flush`].
    ///
    /// # Errors
    /// `Misuse` if an entry before it is missing. `Engine`: the store serves nothing more until reopened.
    pub fn apply(&mut self, index: u64, term: u64, command: &Command) -> Result<Applied, StoreError> {
        if !self.is_next(index)? {
            return Ok(Applied::Skipped);
        }
        let (applied, changes) = match self.carry_out(command)? {
            Ok((Some(answer), changes)) => (Applied::Done(Ok(answer)), changes),
            Ok((None, changes)) => (Applied::Noted, changes),
            Err(refusal) => (Applied::Done(Err(refusal)), Changes::default()),
        };
        self.commit(index, term, changes)?;
        Ok(applied)
    }

    /// Applies an entry that holds no request: the first of a term, a change of the configuration.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn advance(&mut self, index: u64, term: u64) -> Result<(), StoreError> {
        if self.is_next(index)? { self.commit(index, term, Changes::default()) } else { Ok(()) }
    }

    /// Answers a request that can change nothing from the state as it is.
    ///
    /// # Errors
    /// `Misuse` for a request that could write; `Engine`.
    pub fn read(&self, request: &Request) -> Result<Result<Response, Refusal>, StoreError> {
        self.check_usable()?;
        if !request.is_read_only() {
            return Err(StoreError::Misuse("a request that can write is not a read".to_owned()));
        }
        if let Err(refusal) = check(request) {
            return Ok(Err(refusal));
        }
        Ok(self.execute(request)?.map(|(response, writes)| {
            assert!(writes.is_empty(), "a read writes nothing");
            response
        }))
    }

    /// The raft index of the last entry applied; zero if there was none.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// The term of the last entry applied; zero if there was none.
    pub fn applied_term(&self) -> u64 {
        self.applied_term
    }

    /// The raft index up to which everything applied is proven durable; zero if nothing is.
    ///
    /// # Errors
    /// `Engine`.
    pub fn durable_index(&self) -> Result<u64, StoreError> {
        Ok(self.backend.durable_index()?.unwrap_or(0))
    }

    /// The current revision; [`EMPTY_REVISION`] before the first write.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Begins to make everything applied durable, in the background where the engine can: see
    /// [`Backend::begin_flush`].
    ///
    /// # Errors
    /// `Engine`: the store serves nothing more until reopened.
    pub fn begin_flush(&mut self) -> Result<(), StoreError> {
        self.check_usable()?;
        self.write_index_behind()?;
        let begun = self.backend.begin_flush();
        self.poisoning(begun)
    }

    /// Whether a flush is running; one that has ended counts in [`Store::durable_index`] from then on.
    ///
    /// # Errors
    /// `Engine`, of the flush in the background: the store serves nothing more until reopened.
    pub fn poll_flush(&mut self) -> Result<FlushState, StoreError> {
        self.check_usable()?;
        let state = self.backend.poll_flush();
        self.poisoning(state)
    }

    /// Writes into the engine itself that the store is flushed up to `index`; see
    /// [`crate::design::FlushIndexPlace::InsideEngine`].
    pub(crate) fn write_flushed_index(&mut self, index: u64) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(layout::FLUSHED_KEY, index.to_le_bytes());
        self.write(&batch)
    }

    /// What [`Store::write_flushed_index`] wrote last; zero if nothing.
    pub(crate) fn flushed_index_inside(&self) -> Result<u64, StoreError> {
        restore::number(self.backend.as_ref(), layout::FLUSHED_KEY, "flushed index")
    }

    /// Makes everything applied durable.
    ///
    /// # Errors
    /// `Engine`: the store serves nothing more until reopened.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.check_usable()?;
        self.write_index_behind()?;
        let flushed = self.backend.flush();
        self.poisoning(flushed)
    }

    /// All leases.
    pub fn leases(&self) -> &LeaseTable {
        &self.leases
    }

    /// The members whose disk is full.
    pub fn alarms(&self) -> &BTreeSet<u64> {
        &self.alarms
    }

    /// Visits every record that compaction keeps, all versions of all keys, in the order of their revisions.
    ///
    /// # Errors
    /// `Corrupt` for a record that cannot be understood; `Engine`.
    pub fn contents(&self, visit: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        restore::records(self.backend.as_ref(), &mut |record| {
            if self.is_kept(&record) {
                visit(record);
            }
            Ok(())
        })
    }

    /// Writes the whole state as a snapshot body of its engine. `scratch` is for temporary files.
    ///
    /// # Errors
    /// `Engine`, also where the sink failed.
    pub fn checkpoint(&mut self, scratch: &Path, body: &mut dyn Write) -> Result<Checkpoint, StoreError> {
        self.check_usable()?;
        self.write_index_behind()?;
        let bytes = self.backend.checkpoint(scratch, body)?;
        Ok(Checkpoint { bytes, index: self.applied_index, term: self.applied_term })
    }

    /// Gives back space that deleted data still takes in the engine.
    ///
    /// # Errors
    /// `Engine`: the store serves nothing more until reopened.
    pub fn defragment(&mut self) -> Result<(), StoreError> {
        self.check_usable()?;
        if let IndexWrites::GoesBack { flushed, is_behind } = &mut self.index_writes {
            *is_behind = true;
            let flushed = *flushed;
            self.write_index(flushed)?;
        }
        let defragmented = self.backend.defragment();
        self.poisoning(defragmented)
    }

    /// Bytes that the engine takes on the disk.
    ///
    /// # Errors
    /// `Engine`.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.backend.size_bytes()?)
    }

    /// The engine below.
    pub fn engine(&self) -> EngineId {
        self.backend.engine()
    }

    /// What the engine holds, for readers that go round the store.
    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Gives the engine back. What was not flushed need not be durable.
    pub fn into_backend(self) -> Box<dyn Backend> {
        self.backend
    }

    /// Closes the store and its engine. What was not flushed need not be durable.
    ///
    /// # Errors
    /// `Engine`; the store is closed all the same.
    pub fn close(self) -> Result<(), StoreError> {
        Ok(self.backend.close()?)
    }

    fn check_usable(&self) -> Result<(), StoreError> {
        match &self.poison {
            Some(cause) => Err(StoreError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Whether the entry at `index` is the next one; otherwise it was applied before.
    fn is_next(&self, index: u64) -> Result<bool, StoreError> {
        self.check_usable()?;
        if index > self.applied_index + 1 {
            return Err(StoreError::Misuse(format!(
                "entry {index} would be applied after entry {}",
                self.applied_index
            )));
        }
        Ok(index > self.applied_index)
    }

    /// Writes what an entry has changed, and remembers it.
    fn commit(&mut self, index: u64, term: u64, changes: Changes) -> Result<(), StoreError> {
        let revision = changes.records.last().map_or(self.revision, |record| record.revision.main);
        let mut batch = self.batch_of(&changes, revision);
        match &mut self.index_writes {
            IndexWrites::WithData => layout::put_applied(&mut batch, index, term),
            IndexWrites::GoesBack { flushed: _, is_behind } => {
                layout::put_applied(&mut batch, index, term);
                *is_behind = false;
            }
            IndexWrites::Apart { behind: _ } => {}
        }
        self.write(&batch)?;
        self.format_written = true;
        self.revision = revision;
        self.remember(changes);
        self.applied_index = index;
        self.applied_term = term;
        self.count_index_behind()
    }

    fn batch_of(&self, changes: &Changes, revision: i64) -> Batch {
        let mut batch = Batch::new();
        for record in &changes.records {
            batch.put(layout::record_key(record), layout::record_value(record));
        }
        if revision != self.revision {
            batch.put(layout::REVISION_KEY, layout::encode_revision(revision));
        }
        changes.leases.iter().for_each(|change| change.add_to(&mut batch));
        if let Some((member, is_full)) = changes.alarm {
            let key = layout::numbered_key(layout::ALARMS_START, member);
            if is_full { batch.put(key, []) } else { batch.delete(key) }
        }
        if let Some(scheduled) = &changes.compaction {
            scheduled.add_to(&mut batch);
        }
        if !self.format_written {
            batch.put(layout::FORMAT_KEY, layout::FORMAT.to_le_bytes());
        }
        batch
    }

    /// Brings memory up to what was written.
    fn remember(&mut self, changes: Changes) {
        for record in &changes.records {
            self.index.insert(record.key.clone(), record.revision, record.value.is_tombstone());
            self.leases.follow(record);
        }
        self.last_records = changes.records;
        for change in changes.leases {
            self.leases.change(change);
            match change {
                LeaseChange::Set { .. } => {}
                LeaseChange::Remove { .. } => self.leases_ended += 1,
            }
        }
        match changes.alarm {
            Some((member, true)) => {
                self.alarms.insert(member);
            }
            Some((member, false)) => {
                self.alarms.remove(&member);
            }
            None => {}
        }
        if let Some(scheduled) = changes.compaction {
            self.index.compact(scheduled.revision, self.rules.compaction_tombstone);
            self.compacted_revision = scheduled.revision;
            self.compaction = Some(Running::begin(scheduled.revision));
        }
    }

    /// Counts an entry whose index is not written yet, and writes the index when there are enough.
    fn count_index_behind(&mut self) -> Result<(), StoreError> {
        match &mut self.index_writes {
            IndexWrites::WithData | IndexWrites::GoesBack { .. } => Ok(()),
            IndexWrites::Apart { behind } => {
                *behind += 1;
                if *behind < IndexWrites::ENTRIES { Ok(()) } else { self.write_index_behind() }
            }
        }
    }

    /// Writes the applied index where it is behind, for a flush or a snapshot.
    fn write_index_behind(&mut self) -> Result<(), StoreError> {
        let applied = (self.applied_index, self.applied_term);
        let (is_behind, next) = match self.index_writes {
            IndexWrites::WithData => return Ok(()),
            IndexWrites::Apart { behind } => (behind > 0, IndexWrites::Apart { behind: 0 }),
            IndexWrites::GoesBack { flushed: _, is_behind } => {
                (is_behind, IndexWrites::GoesBack { flushed: applied, is_behind: false })
            }
        };
        if is_behind {
            self.write_index(applied)?;
        }
        self.index_writes = next;
        Ok(())
    }

    fn write_index(&mut self, (index, term): (u64, u64)) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        layout::put_applied(&mut batch, index, term);
        self.write(&batch)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let written = self.backend.write(batch);
        self.poisoning(written)
    }

    /// After a failed write or flush nobody knows what the engine holds.
    fn poisoning<T>(&mut self, result: engines::Result<T>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.poison = Some(error.to_string());
        }
        Ok(result?)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Store")
            .field("engine", &self.engine())
            .field("revision", &self.revision)
            .field("applied_index", &self.applied_index)
            .finish_non_exhaustive()
    }
}
