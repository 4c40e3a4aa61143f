//! What the raft core reads of the log.

use raft::eraftpb::{Entry, Snapshot, SnapshotMetadata};
use raft::util::limit_size;
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::RaftLog;

/// A snapshot that raft asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The replica that is to get it.
    pub to: u64,
    /// The lowest index that helps.
    pub index: u64,
}

impl RaftLog {
    /// The entries from `low` up to but without `high`; where `max_size` is given, as many of them as have that
    /// many encoded bytes, but at least one.
    ///
    /// # Errors
    /// `Compacted` for a `low` below the first index.
    ///
    /// # Panics
    /// If `high` is above the last index plus one.
    pub fn entries(&self, low: u64, high: u64, max_size: Option<u64>) -> raft::Result<Vec<Entry>> {
        if low < self.first_index() {
            return Err(Error::Store(StorageError::Compacted));
        }
        assert!(
            high <= self.last_index() + 1,
            "entries up to {high} of a log that ends at {}",
            self.last_index()
        );
        let position = |index: u64| usize::try_from(index - self.first_index()).expect("an index in memory");
        let mut entries: Vec<Entry> =
            self.state.entries.range(position(low)..position(high.max(low))).cloned().collect();
        limit_size(&mut entries, max_size);
        Ok(entries)
    }

    /// The term of the entry at `index`, also of the last one compacted.
    ///
    /// # Errors
    /// `Compacted` below that, `Unavailable` behind the last entry.
    pub fn term(&self, index: u64) -> raft::Result<u64> {
        let missing =
            if index < self.first_index() { StorageError::Compacted } else { StorageError::Unavailable };
        self.state.term(index).ok_or(Error::Store(missing))
    }

    /// Says what the store can make a snapshot of, for [`Storage::snapshot`]; `None` withdraws it.
    pub fn offer_snapshot(&mut self, metadata: Option<SnapshotMetadata>) {
        self.offered = metadata;
    }

    /// The last request for a snapshot that no offer met, once.
    pub fn take_snapshot_request(&self) -> Option<SnapshotRequest> {
        self.wanted.take()
    }
}

impl Storage for RaftLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.state.hard_state.clone(), self.state.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        RaftLog::entries(self, low, high, max_size.into())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        RaftLog::term(self, index)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(RaftLog::first_index(self))
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(RaftLog::last_index(self))
    }

    /// The offered snapshot, without its data: the replica sends that on a stream of its own. An offer that is
    /// older than what the receiver needs, or than the first entry that could follow it, is none.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let index = request_index.max(self.state.compacted.0);
        match &self.offered {
            Some(metadata) if metadata.index >= index => {
                let mut snapshot = Snapshot::default();
                snapshot.set_metadata(metadata.clone());
                Ok(snapshot)
            }
            Some(_) | None => {
                self.wanted.set(Some(SnapshotRequest { to, index }));
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}
