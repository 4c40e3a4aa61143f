//! What a file system with a journal has committed. Noted on every disk, honoured only by profiles with a journal.
//!
//! The rules are those of [`Profile::Ext4Ordered`](super::Profile). A disk notes three things while it runs, since
//! they cannot be told from what is pending at a crash: up to where syncs have committed the journal; for each
//! file, up to where such a commit has flushed its data; and the moments at which ext4 allocates the blocks of a
//! file's delayed writes, which bind that data to the transaction that runs then.

use super::Disk;
use super::durability::{StartedSync, SyncScope};
use super::inode::{Attributes, FileType, InodeNumber};
use super::operation::{Change, EntryKind, PendingOperation};
use std::collections::BTreeMap;

/// The time that the clock of file times stands still, 4 ms: a change within one tick of the last one does not
/// touch the inode again (`inode_needs_update_time` and `current_time` in the kernel's fs/inode.c; `CONFIG_HZ=250`).
const TICK_NS: u64 = 4_000_000;

/// What was committed, and what is about to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits {
    /// The number of the last operation whose metadata a sync has committed, with all before it.
    pub(super) up_to: u64,
    /// Allocations that no sync has committed yet, by number.
    allocations: BTreeMap<u64, Allocation>,
    /// Allocations that ever were.
    allocated: u64,
}

/// A moment at which delayed writes of a file got their blocks: no later change of metadata is committed without
/// the data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allocation {
    pub(super) file: InodeNumber,
    /// The number of the last operation before it.
    pub(super) after: u64,
}

impl Commits {
    /// Allocations that ever were: those that a sync which begins now finds.
    pub(super) const fn allocated(&self) -> u64 {
        self.allocated
    }

    /// The number of the last allocation before the operation numbered `sequence` that no sync has committed.
    pub(super) fn allocated_before(&self, sequence: u64) -> u64 {
        let before = self.allocations.iter().rev().find(|(_, allocation)| allocation.after < sequence);
        before.map_or(0, |(&number, _)| number)
    }

    /// Allocations that no sync has committed.
    pub(super) fn open_allocations(&self) -> Vec<Allocation> {
        self.allocations.values().copied().collect()
    }

    /// What a disk on which nothing is pending knows.
    pub(super) fn settled(&self) -> Self {
        Self { allocations: BTreeMap::new(), ..*self }
    }
}

impl Disk {
    /// Takes note that the delayed writes of `file` up to the operation numbered `after` get their blocks now.
    pub(super) fn note_allocation(&mut self, file: InodeNumber, after: u64) {
        if self.file_type(file) == FileType::File && !self.inode(file).pending.is_empty() {
            self.commits.allocated += 1;
            self.commits.allocations.insert(self.commits.allocated, Allocation { file, after });
        }
    }

    /// Takes note that a file description of `file` was closed after the file had been emptied.
    pub(super) fn note_close(&mut self, file: InodeNumber) {
        if self.inode(file).emptied {
            self.inode_mut(file).emptied = false;
            self.note_allocation(file, self.sequence);
        }
    }

    /// Commits the journal, if `sync` has anything to commit.
    pub(super) fn commit_journal(&mut self, sync: &StartedSync, scope: SyncScope) {
        if self.has_metadata_to_commit(sync, scope) {
            self.commit_journal_up_to(sync.up_to, sync.allocated);
        }
    }

    /// Commits the journal up to the operation numbered `up_to`, with the data of the first `allocated` allocations.
    pub(super) fn commit_journal_up_to(&mut self, up_to: u64, allocated: u64) {
        self.commits.up_to = self.commits.up_to.max(up_to);
        while let Some(entry) =
            self.commits.allocations.first_entry().filter(|entry| *entry.key() <= allocated)
        {
            let Allocation { file, after } = entry.remove();
            if self.exists(file) {
                let node = self.inode_mut(file);
                node.flushed_up_to = node.flushed_up_to.max(after);
            }
        }
    }

    /// True where a sync finds changes of metadata of its own in the running transaction, or is one of a directory,
    /// which always commits. Otherwise ext4 flushes the data and leaves the journal alone.
    fn has_metadata_to_commit(&self, sync: &StartedSync, scope: SyncScope) -> bool {
        let node = self.inode(sync.inode);
        if node.file_type() == FileType::Directory {
            return true;
        }
        let tick = |attributes: Attributes| attributes.modified_ns / TICK_NS;
        if scope == SyncScope::All && tick(sync.attributes) != tick(node.durable_attributes) {
            return true;
        }
        let uncommitted = |sequence: u64| self.commits.up_to < sequence && sequence <= sync.up_to;
        let own = node.pending.iter().any(|operation| match &operation.change {
            Change::Write(payload) => {
                let durable = &self.file(sync.inode).durable;
                let needs_blocks = || durable.pages_missing(payload.offset(), payload.length()) > 0;
                operation.sequence <= sync.up_to
                    && operation.promised_by.is_none()
                    && (payload.end() > durable.size() || needs_blocks())
            }
            Change::SetAttributes(_) => scope == SyncScope::All && uncommitted(operation.sequence),
            Change::Resize { .. }
            | Change::Extend { .. }
            | Change::Allocate { .. }
            | Change::Punch { .. }
            | Change::Entries(_) => uncommitted(operation.sequence),
        });
        let named = || {
            node.pending_links > 0
                && self
                    .entry_operations
                    .values()
                    .any(|operation| uncommitted(operation.sequence) && names(operation, sync.inode, scope))
        };
        own || named()
    }
}

/// True where `operation` gave `inode` a name; for a sync of the data alone, its first one.
fn names(operation: &PendingOperation, inode: InodeNumber, scope: SyncScope) -> bool {
    let Some(change) = operation.entries() else { return false };
    let counts = match change.kind {
        EntryKind::Create | EntryKind::MakeDirectory => true,
        EntryKind::Link | EntryKind::Rename => scope == SyncScope::All,
        EntryKind::Unlink | EntryKind::RemoveDirectory => false,
    };
    counts && change.bindings.iter().any(|binding| binding.target == Some(inode))
}
