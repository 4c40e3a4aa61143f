//! The content of a raft log in memory, and its reconstruction from the records of the segments.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};

use super::decision::Finding;
use super::layout::{Header, Record};

/// What the log remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LogState {
    /// The index and term of the last entry that is no longer in the log; zero if there was none.
    pub(super) compacted: (u64, u64),
    /// The entries after it, without gaps.
    pub(super) entries: VecDeque<Entry>,
    /// Term, vote and commit index; the commit index is never below the compacted index.
    pub(super) hard_state: HardState,
    /// The configuration.
    pub(super) conf_state: ConfState,
    /// The index of the entry or snapshot that brought it; zero at first.
    pub(super) conf_index: u64,
}

impl LogState {
    /// The index of the last entry, compacted or not.
    pub(super) fn last_index(&self) -> u64 {
        self.compacted.0 + self.entries.len() as u64
    }

    /// The entry at `index`, if the log has it.
    pub(super) fn entry(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.compacted.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The term of the entry at `index`, also of the last one compacted.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        if index == self.compacted.0 {
            Some(self.compacted.1)
        } else {
            self.entry(index).map(|entry| entry.term)
        }
    }

    /// Adds an entry, superseding every entry from its index on.
    pub(super) fn append(&mut self, entry: Entry) {
        let before = entry.index.checked_sub(self.compacted.0 + 1).expect("above the compacted index");
        let before = usize::try_from(before).expect("at most one above the last index");
        assert!(before <= self.entries.len(), "the log has no gaps");
        self.entries.truncate(before);
        self.entries.push_back(entry);
    }

    /// Forgets the entries up to `index`. Without an entry there, it forgets all and goes on after `index`.
    pub(super) fn compact(&mut self, index: u64, term: u64) {
        while self.entries.front().is_some_and(|entry| entry.index <= index) {
            self.entries.pop_front();
        }
        self.compacted = (index, term);
        self.hard_state.commit = self.hard_state.commit.max(index);
    }

    /// Sets term, vote and commit index.
    pub(super) fn set_hard_state(&mut self, hard_state: &HardState) {
        self.hard_state = hard_state.clone();
        self.hard_state.commit = self.hard_state.commit.max(self.compacted.0);
    }

    /// The index and term to go on from, as a record.
    pub(super) fn compacted_record(&self) -> SnapshotMetadata {
        SnapshotMetadata { index: self.compacted.0, term: self.compacted.1, ..Default::default() }
    }

    /// The configuration and what brought it, as a record.
    pub(super) fn configuration_record(&self) -> SnapshotMetadata {
        configuration(&self.conf_state, self.conf_index)
    }
}

/// A configuration and the index of what brought it, as they are written.
pub(super) fn configuration(conf_state: &ConfState, index: u64) -> SnapshotMetadata {
    let mut metadata = SnapshotMetadata { index, ..SnapshotMetadata::default() };
    metadata.set_conf_state(conf_state.clone());
    metadata
}

/// The reconstruction of a log from its segments, oldest first.
///
/// It begins at the last segment before which everything is compacted. Until the compaction that says so has
/// been read, the log only begins there: the term before its first entry is not known, and that first entry may
/// yet be superseded by a lower one.
#[derive(Debug)]
pub(super) struct Replay {
    state: LogState,
    begun: bool,
    /// The compacted index as read, which may be below where the log begins.
    compacted_index: u64,
}

impl Replay {
    /// Before the first segment.
    pub(super) fn new() -> Replay {
        Replay { state: LogState::default(), begun: false, compacted_index: 0 }
    }

    /// Goes on with the segment of this header, which must continue the one before it.
    pub(super) fn segment(&mut self, header: &Header) -> Result<(), Finding> {
        let expected = self.state.last_index() + 1;
        if !self.begun {
            self.begun = true;
            self.state.compacted.0 = header.first_index.saturating_sub(1);
        } else if header.first_index != expected {
            return Err(Finding::IndexGap { at: 0, expected, found: header.first_index });
        }
        Ok(())
    }

    /// Goes on with the records of the batch at offset `at`.
    pub(super) fn batch(&mut self, at: u64, records: &[Record]) -> Result<(), Finding> {
        for record in records {
            match record {
                Record::Entry(entry) => self.entry(at, entry)?,
                Record::HardState(hard_state) => {
                    self.state.hard_state = hard_state.clone();
                    self.state.hard_state.commit = hard_state.commit.max(self.compacted_index);
                }
                Record::Configuration(metadata) => {
                    self.state.conf_state = metadata.get_conf_state().clone();
                    self.state.conf_index = metadata.index;
                }
                Record::Compacted(metadata) => self.compacted(metadata),
            }
        }
        Ok(())
    }

    /// The log, whose last segment ends at offset `at`.
    pub(super) fn finish(self, at: u64) -> Result<LogState, Finding> {
        let (commit, last_index) = (self.state.hard_state.commit, self.state.last_index());
        if commit > last_index {
            return Err(Finding::CommitBeyondEnd { at, commit, last_index });
        }
        Ok(self.state)
    }

    fn entry(&mut self, at: u64, entry: &Entry) -> Result<(), Finding> {
        let state = &mut self.state;
        let expected = state.last_index() + 1;
        if entry.index > expected {
            return Err(Finding::IndexGap { at, expected, found: entry.index });
        }
        if entry.index <= state.hard_state.commit {
            return Err(Finding::CommittedSuperseded { at, index: entry.index });
        }
        if entry.index <= state.compacted.0 {
            // It supersedes entries of segments that are not read any more, since it is compacted itself.
            *state = LogState {
                compacted: (entry.index - 1, 0),
                entries: VecDeque::new(),
                ..std::mem::take(state)
            };
        }
        if state.term(entry.index - 1).is_some_and(|term| entry.term < term) {
            return Err(Finding::TermRegression { at, index: entry.index });
        }
        state.append(entry.clone());
        Ok(())
    }

    fn compacted(&mut self, metadata: &SnapshotMetadata) {
        self.compacted_index = metadata.index;
        if metadata.index >= self.state.compacted.0 {
            self.state.compact(metadata.index, metadata.term);
        }
    }
}
