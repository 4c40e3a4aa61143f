//! The raft log: entries, term, vote, commit index and configuration, in segment files.
//!
//! ```text
//! raft-log/00000000000000000007.log     header | batch | batch | ... | batch
//! raft-log/00000000000000000008.log     header | batch | ...                  <- written on
//! ```
//!
//! What the bytes mean is drawn in `layout`; what recovery does about damage is one table, in `decision`.
//!
//! # Order of durable steps
//! - **Append**: one write behind the last batch; where it must last, one `fdatasync`.
//! - **New segment**: sync the old one to its end; create the new one with its header and first batch (which
//!   repeats everything but the entries, so that older segments can go) and sync it; sync the directory; only
//!   then write on in it. So a segment that exists proves the one before it durable.
//! - **Compaction**: write the mark and sync it; then delete segments, oldest first; sync the directory. A
//!   crash in between leaves segments that recovery knows to be superfluous.
//! - **Snapshot**: one new segment whose first batch says where the log begins; its durable name is the switch.
//!   The older segments are then superfluous.
//!
//! A failed sync poisons the log for good.

#[cfg(test)]
mod crash_tests;
mod decision;
mod error;
mod layout;
mod recovery;
mod scan;
mod segment;
mod state;
mod storage;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use protobuf::Message;
use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};

pub use decision::{Action, Finding, Position};
pub use error::RaftLogError;
pub use recovery::{Recovery, Removed, TornTail};
pub use storage::SnapshotRequest;

use crate::design::{Design, PersistBeforeSend, SegmentDirectorySync};
use layout::{BatchBuilder, Header, VERSION};
use segment::Segment;
use state::LogState;

/// What can be set when a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes after which a segment is full and a new one is begun. The last batch may go beyond.
    pub segment_bytes: u64,
    /// The largest entry, in encoded bytes.
    pub entry_bytes_max: u64,
}

impl Default for Options {
    /// Small segments, so that short runs see several.
    fn default() -> Options {
        Options { segment_bytes: 32 << 10, entry_bytes_max: 4 << 20 }
    }
}

/// An open raft log. It has one owner and caches all of its entries.
#[derive(Debug)]
pub struct RaftLog {
    directory: PathBuf,
    options: Options,
    /// Whether a batch that must last is synced; see [`PersistBeforeSend::Lazy`].
    sync_batches: bool,
    /// Whether the directory is synced after a segment was created in it.
    sync_new_names: bool,
    /// The segments, oldest first; the last is written on.
    segments: VecDeque<Segment>,
    /// The last segment's file.
    file: File,
    /// How many bytes of it are durable.
    synced: u64,
    /// How many bytes of it the last batch says to be durable.
    proven: u64,
    state: LogState,
    /// The failure after which nothing may be written any more.
    poison: Option<String>,
    /// What the store can make a snapshot of.
    offered: Option<SnapshotMetadata>,
    /// What raft asked for and was not offered.
    wanted: Cell<Option<SnapshotRequest>>,
}

impl RaftLog {
    /// Opens the log in `directory`, or creates one there. Everything that the log then holds is durable.
    ///
    /// # Errors
    /// `Damaged` where the log holds damage that no crash explains; no file was changed then. `Io` and `Sync`.
    pub fn open(
        directory: &Path,
        options: Options,
        design: &Design,
    ) -> Result<(RaftLog, Recovery), RaftLogError> {
        segment::create_directory(directory)?;
        let mut recovered = recovery::recover(directory)?;
        let (file, synced) = match recovered.last {
            Some(last) => last,
            None => {
                let header = Header { version: VERSION, sequence: 1, first_index: 1, sealed_bytes: 0 };
                let content = first_bytes(&header, &recovered.state);
                let file = segment::create(directory, 1, &content)?;
                segment::sync_directory(directory)?;
                recovered.report.segments = 1;
                recovered.segments.push_back(Segment {
                    sequence: 1,
                    first_index: 1,
                    bytes: content.len() as u64,
                });
                (file, content.len() as u64)
            }
        };
        let log = RaftLog {
            directory: directory.to_owned(),
            options,
            sync_batches: match design.persist_before_send {
                PersistBeforeSend::Fsync | PersistBeforeSend::SendFirst => true,
                PersistBeforeSend::Lazy => false,
            },
            sync_new_names: match design.segment_directory_sync {
                SegmentDirectorySync::Synced => true,
                SegmentDirectorySync::Skipped => false,
            },
            segments: recovered.segments,
            file,
            synced,
            proven: 0,
            state: recovered.state,
            poison: None,
            offered: None,
            wanted: Cell::new(None),
        };
        Ok((log, recovered.report))
    }

    /// Appends entries without gaps, superseding those from the first one's index on, and sets the hard state:
    /// all of it or, after a crash, nothing. Where `must_sync`, it is durable on return, with everything before;
    /// otherwise with the next sync.
    ///
    /// # Errors
    /// `Misuse` for a gap, for an entry that is too large or would supersede a committed one, for a term that
    /// goes back; `Io` if the write failed; then nothing was appended, and the call can be repeated. `Sync` and
    /// `Poisoned`: the replica must stop.
    pub fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
        must_sync: bool,
    ) -> Result<(), RaftLogError> {
        self.check_usable()?;
        self.check_append(entries, hard_state)?;
        let mut batch = BatchBuilder::new();
        for entry in entries {
            batch.entry(entry);
        }
        if let Some(hard_state) = hard_state {
            batch.hard_state(hard_state);
        }
        if !batch.is_empty() {
            self.write(batch)?;
        }
        for entry in entries {
            self.state.append(entry.clone());
        }
        if let Some(hard_state) = hard_state {
            self.state.set_hard_state(hard_state);
        }
        if must_sync { self.sync() } else { Ok(()) }
    }

    /// Makes everything appended before durable.
    ///
    /// # Errors
    /// `Sync` and `Poisoned`: the replica must stop.
    pub fn sync(&mut self) -> Result<(), RaftLogError> {
        self.check_usable()?;
        if self.sync_batches { self.sync_file() } else { Ok(()) }
    }

    /// Says in the log how much of it is durable, so that later damage to it cannot pass for a torn tail. Every
    /// batch says that of those before it; this is for a log that is left in peace. Not synced itself.
    ///
    /// # Errors
    /// As [`RaftLog::append`].
    pub fn mark_synced(&mut self) -> Result<(), RaftLogError> {
        self.check_usable()?;
        if self.proven == self.synced || self.synced < self.end() {
            return Ok(());
        }
        self.write_here(BatchBuilder::new())
    }

    /// Sets the configuration, durably. `index` is that of the entry which brought it; zero at the very first start.
    ///
    /// # Errors
    /// As [`RaftLog::append`].
    pub fn set_conf_state(&mut self, conf_state: &ConfState, index: u64) -> Result<(), RaftLogError> {
        self.check_usable()?;
        let mut batch = BatchBuilder::new();
        batch.configuration(&state::configuration(conf_state, index));
        self.write(batch)?;
        self.hold_conf_state(conf_state, index);
        self.sync_file()
    }

    /// Sets the configuration in memory only; the next segment repeats it, and so writes it.
    pub(crate) fn hold_conf_state(&mut self, conf_state: &ConfState, index: u64) {
        self.state.conf_state = conf_state.clone();
        self.state.conf_index = index;
    }

    /// Forgets the entries up to `index`, which the store must hold durably, and deletes the segments that only
    /// held such entries; returns how many. What is compacted already is no error.
    ///
    /// # Errors
    /// `Misuse` for an index behind the last entry; else as [`RaftLog::append`]. Where a deletion failed, the
    /// entries are forgotten all the same, and the next compaction or recovery deletes the rest.
    pub fn compact_to(&mut self, index: u64) -> Result<usize, RaftLogError> {
        self.check_usable()?;
        if index <= self.state.compacted.0 {
            return Ok(0);
        }
        let Some(term) = self.state.term(index) else {
            return Err(RaftLogError::Misuse(format!(
                "compaction to {index}, but the last entry is {}",
                self.last_index()
            )));
        };
        let mut batch = BatchBuilder::new();
        batch.compacted(&SnapshotMetadata { index, term, ..SnapshotMetadata::default() });
        self.write(batch)?;
        self.state.compact(index, term);
        if self.superfluous_segments() == 0 {
            return Ok(0);
        }
        self.sync_file()?;
        self.delete_superfluous_segments()
    }

    /// Begins the log anew after a snapshot that the store has installed durably: no entries, the index, term
    /// and configuration of `metadata`, and `hard_state` or the present one. Durable on return; a crash before
    /// leaves the log as it was.
    ///
    /// # Errors
    /// `Misuse` for a snapshot below the commit index; else as [`RaftLog::append`].
    pub fn install_snapshot(
        &mut self,
        metadata: &SnapshotMetadata,
        hard_state: Option<&HardState>,
    ) -> Result<(), RaftLogError> {
        self.check_usable()?;
        let commit = self.state.hard_state.commit;
        if metadata.index < commit {
            return Err(RaftLogError::Misuse(format!(
                "a snapshot at {} would forget entries up to {commit}, which are committed",
                metadata.index
            )));
        }
        let mut hard_state = hard_state.unwrap_or(&self.state.hard_state).clone();
        hard_state.term = hard_state.term.max(metadata.term);
        // Entries that follow the snapshot may be committed as well, but are not in the log yet.
        hard_state.commit = metadata.index;
        let state = LogState {
            compacted: (metadata.index, metadata.term),
            entries: VecDeque::new(),
            hard_state,
            conf_state: metadata.get_conf_state().clone(),
            conf_index: metadata.index,
        };
        self.begin_segment(&self.next_segment(&state))?;
        self.state = state;
        self.offered = None;
        self.delete_superfluous_segments()?;
        Ok(())
    }

    /// The index of the first entry that is not compacted; one above the last index where there is none.
    pub fn first_index(&self) -> u64 {
        self.state.compacted.0 + 1
    }

    /// The index of the last entry, compacted or not; zero if there never was one.
    pub fn last_index(&self) -> u64 {
        self.state.last_index()
    }

    /// The index and term of the last entry that is compacted; zeros if there is none.
    pub fn compacted(&self) -> (u64, u64) {
        self.state.compacted
    }

    /// Term, vote and commit index as last appended.
    pub fn hard_state(&self) -> &HardState {
        &self.state.hard_state
    }

    /// The configuration as last set.
    pub fn conf_state(&self) -> &ConfState {
        &self.state.conf_state
    }

    /// The index of the entry or snapshot that brought the configuration; zero for the first one.
    pub fn conf_index(&self) -> u64 {
        self.state.conf_index
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The length of all segments in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether a failure has closed the log for good.
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_some()
    }

    fn check_usable(&self) -> Result<(), RaftLogError> {
        match &self.poison {
            Some(cause) => Err(RaftLogError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn check_append(&self, entries: &[Entry], hard_state: Option<&HardState>) -> Result<(), RaftLogError> {
        let misuse = |message| Err(RaftLogError::Misuse(message));
        let Some(first) = entries.first() else {
            return self.check_hard_state(hard_state, self.last_index());
        };
        let last_index = self.last_index();
        if first.index > last_index + 1 {
            return misuse(format!("entry {} would follow entry {last_index}", first.index));
        }
        if first.index <= self.state.hard_state.commit {
            return misuse(format!("entry {} would supersede a committed one", first.index));
        }
        let mut before = (first.index - 1, self.state.term(first.index - 1).unwrap_or(0));
        for entry in entries {
            if entry.index != before.0 + 1 || entry.term < before.1 {
                return misuse(format!(
                    "entry {} of term {} would follow entry {} of term {}",
                    entry.index, entry.term, before.0, before.1
                ));
            }
            let bytes = u64::from(entry.compute_size());
            if bytes > self.options.entry_bytes_max {
                return misuse(format!(
                    "entry {} has {bytes} bytes, more than the {} allowed",
                    entry.index, self.options.entry_bytes_max
                ));
            }
            before = (entry.index, entry.term);
        }
        self.check_hard_state(hard_state, before.0)
    }

    /// Checks a hard state that comes with entries up to `last_index`.
    fn check_hard_state(&self, hard_state: Option<&HardState>, last_index: u64) -> Result<(), RaftLogError> {
        let (term, commit) = match hard_state {
            Some(hard_state) => (hard_state.term, hard_state.commit),
            None => return Ok(()),
        };
        if term < self.state.hard_state.term {
            let before = self.state.hard_state.term;
            return Err(RaftLogError::Misuse(format!("term {term} would follow term {before}")));
        }
        if commit > last_index {
            return Err(RaftLogError::Misuse(format!(
                "commit index {commit} beyond the last entry {last_index}"
            )));
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        self.current().bytes
    }

    fn current(&self) -> &Segment {
        self.segments.back().expect("an open log has a segment")
    }

    /// Writes a batch, into a new segment if the last one is full.
    fn write(&mut self, batch: BatchBuilder) -> Result<(), RaftLogError> {
        if self.end() >= self.options.segment_bytes {
            self.begin_segment(&self.next_segment(&self.state))?;
        }
        self.write_here(batch)
    }

    fn write_here(&mut self, batch: BatchBuilder) -> Result<(), RaftLogError> {
        let segment = *self.current();
        let bytes = batch.finish(segment.sequence, segment.bytes, self.synced);
        if let Err(source) = self.file.write_all_at(&bytes, segment.bytes) {
            let path = segment::path(&self.directory, segment.sequence);
            // Part of the batch may stand in the file. It would be taken for a torn tail, but only as long as
            // the segment is the last.
            if let Err(error) = self.file.set_len(segment.bytes) {
                self.poison = Some(format!("{} could not be cut back: {error}", path.display()));
            }
            return Err(RaftLogError::io(format!("writing {}", path.display()))(source));
        }
        self.proven = self.synced;
        self.segments.back_mut().expect("an open log has a segment").bytes += bytes.len() as u64;
        Ok(())
    }

    fn sync_file(&mut self) -> Result<(), RaftLogError> {
        if self.synced == self.end() {
            return Ok(());
        }
        let path = segment::path(&self.directory, self.current().sequence);
        let result = self.file.sync_data().map_err(|source| RaftLogError::Sync { path, source });
        self.poisoning(result)?;
        self.synced = self.end();
        Ok(())
    }

    /// The header and content of the segment that would follow, beginning with `state`.
    fn next_segment(&self, state: &LogState) -> (Header, Vec<u8>) {
        let header = Header {
            version: VERSION,
            sequence: self.current().sequence + 1,
            first_index: state.last_index() + 1,
            sealed_bytes: self.end(),
        };
        (header, first_bytes(&header, state))
    }

    fn begin_segment(&mut self, (header, content): &(Header, Vec<u8>)) -> Result<(), RaftLogError> {
        self.sync_file()?;
        let created = segment::create(&self.directory, header.sequence, content);
        if let Err(RaftLogError::Io { .. }) = &created {
            self.undo_creation(header.sequence);
        }
        let file = self.poisoning(created)?;
        if self.sync_new_names {
            let synced = segment::sync_directory(&self.directory);
            self.poisoning(synced)?;
        }
        let (sequence, first_index, bytes) = (header.sequence, header.first_index, content.len() as u64);
        self.segments.push_back(Segment { sequence, first_index, bytes });
        self.file = file;
        self.synced = bytes;
        self.proven = 0;
        Ok(())
    }

    /// Deletes a segment whose creation failed. If it stayed, its existence would say that the one before it is
    /// durable to its end, which may grow again.
    fn undo_creation(&mut self, sequence: u64) {
        let removed = match segment::remove(&self.directory, sequence) {
            Err(RaftLogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        if let Err(error) = removed.and_then(|()| segment::sync_directory(&self.directory)) {
            self.poison = Some(error.to_string());
        }
    }

    /// How many of the oldest segments hold only entries that are compacted or superseded. What counts stands
    /// from the last segment on that began at or below the first index; one before it may have begun higher,
    /// where its entries were superseded.
    fn superfluous_segments(&self) -> usize {
        let first_index = self.first_index();
        self.segments.iter().rposition(|segment| segment.first_index <= first_index).unwrap_or(0)
    }

    fn delete_superfluous_segments(&mut self) -> Result<usize, RaftLogError> {
        let count = self.superfluous_segments();
        for _ in 0..count {
            let oldest = self.segments.front().expect("there is a segment after it").sequence;
            segment::remove(&self.directory, oldest)?;
            self.segments.pop_front();
        }
        let synced = if count > 0 { segment::sync_directory(&self.directory) } else { Ok(()) };
        self.poisoning(synced)?;
        Ok(count)
    }

    /// Closes the log for good after a failed sync.
    fn poisoning<T>(&mut self, result: Result<T, RaftLogError>) -> Result<T, RaftLogError> {
        if let Err(error @ RaftLogError::Sync { .. }) = &result {
            self.poison = Some(error.to_string());
        }
        result
    }
}

/// What a new segment holds: its header, and a batch with everything of `state` but its entries.
fn first_bytes(header: &Header, state: &LogState) -> Vec<u8> {
    let mut batch = BatchBuilder::new();
    batch.compacted(&state.compacted_record());
    batch.configuration(&state.configuration_record());
    batch.hard_state(&state.hard_state);
    let mut content = header.encode().to_vec();
    let batch = batch.finish(header.sequence, content.len() as u64, 0);
    content.extend_from_slice(&batch);
    content
}
