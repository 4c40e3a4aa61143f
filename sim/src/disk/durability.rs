//! How pending operations become durable, are promised falsely, or are lost.

use super::Disk;
use super::inode::{Body, Inode, InodeNumber};
use super::operation::{Change, PendingOperation};
use std::collections::BTreeSet;

/// What a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// `fsync`: data, size and attributes; of a directory, its entries.
    All,
    /// `fdatasync`: data, and size changes, without which the data could not be read back. Of a directory,
    /// its entries.
    Data,
}

/// What becomes of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFate {
    /// It does what it says, and with the device's cache flushed, whatever earlier lying syncs promised is
    /// durable, too.
    Honest,
    /// The device acknowledges what is still in its cache: a power failure may lose it until the next honest
    /// sync of this disk.
    Lying,
    /// It reports an error and the written pages are marked clean though they never reached the medium:
    /// reads still see them, a later sync does not write them, a power failure loses them. Sizes,
    /// attributes and entries stay pending. This is what Linux does (Rebello et al., "Can Applications
    /// Recover from fsync Failures?", USENIX ATC 2020, on ext4 and XFS).
    Failed,
}

impl Disk {
    /// Syncs a file or directory. The cost is that of its own pending operations.
    pub fn sync(&mut self, inode: InodeNumber, scope: SyncScope, fate: SyncFate) {
        match fate {
            SyncFate::Honest => {
                self.keep_promises();
                self.make_durable(inode, scope);
            }
            SyncFate::Lying => self.promise(inode, scope),
            SyncFate::Failed => lose_writes(self.inode_mut(inode)),
        }
    }

    /// Lets those pending operations become durable by themselves for which `choose` answers true, together
    /// with what they need: of a file, all its earlier operations. Returns how many became durable.
    pub fn write_back(&mut self, choose: &mut dyn FnMut(&PendingOperation) -> bool) -> usize {
        let before = self.pending_count();
        let chosen: Vec<(u64, InodeNumber, bool)> = self
            .pending()
            .into_iter()
            .filter(|operation| choose(operation))
            .map(|operation| (operation.sequence, operation.inode, operation.entries().is_some()))
            .collect();
        let entries =
            chosen.iter().filter(|(_, _, is_entry)| *is_entry).map(|&(sequence, ..)| sequence).collect();
        self.commit_entries(entries);
        for &(last, inode, _) in chosen.iter().filter(|(_, _, is_entry)| !is_entry) {
            // What was committed above may have taken the file's last name, and with it the file.
            if self.exists(inode) {
                let node = self.inode_mut(inode);
                take_durable(node, |operation| operation.sequence <= last);
                if node.pending.iter().all(|operation| operation.promised_by.is_none()) {
                    self.promised.inodes.remove(&inode);
                }
            }
        }
        before - self.pending_count()
    }

    /// How many operations are pending.
    pub fn pending_count(&self) -> usize {
        self.inodes.values().map(|inode| inode.pending.len()).sum::<usize>() + self.entry_operations.len()
    }

    fn make_durable(&mut self, inode: InodeNumber, scope: SyncScope) {
        let node = self.inode_mut(inode);
        match scope {
            SyncScope::All => {
                take_durable(node, |_| true);
                node.durable_attributes = node.attributes;
            }
            SyncScope::Data => take_durable(node, PendingOperation::is_data),
        }
        if let Body::Directory(directory) = &node.body
            && !directory.pending.is_empty()
        {
            let entries = directory.pending.clone();
            self.commit_entries(entries);
        }
    }

    /// Marks what a lying sync covered.
    fn promise(&mut self, inode: InodeNumber, scope: SyncScope) {
        let number = self.promised.last + 1;
        let mut covered = 0_usize;
        let node = self.inode_mut(inode);
        for operation in &mut node.pending {
            if operation.promised_by.is_none() && (scope == SyncScope::All || operation.is_data()) {
                operation.promised_by = Some(number);
                covered += 1;
            }
        }
        if covered > 0 {
            self.promised.inodes.insert(inode);
        }
        if let Body::Directory(directory) = &self.inode(inode).body {
            for sequence in self.with_needs(directory.pending.clone()) {
                let operation = self.entry_operations.get_mut(&sequence).expect("what is needed is pending");
                if operation.promised_by.is_none() {
                    operation.promised_by = Some(number);
                    self.promised.entries.insert(sequence);
                    covered += 1;
                }
            }
        }
        if covered > 0 {
            self.promised.last = number;
            self.promised.outstanding += 1;
        }
    }

    /// The device's cache is flushed: whatever lying syncs promised becomes durable.
    fn keep_promises(&mut self) {
        if self.promised.outstanding == 0 {
            return;
        }
        self.promised.outstanding = 0;
        for inode in std::mem::take(&mut self.promised.inodes) {
            take_durable(self.inode_mut(inode), |operation| operation.promised_by.is_some());
        }
        let entries = std::mem::take(&mut self.promised.entries);
        self.commit_entries(entries);
    }

    /// Makes changes of entries durable, with all that they need.
    fn commit_entries(&mut self, sequences: BTreeSet<u64>) {
        let mut touched = Vec::new();
        for sequence in self.with_needs(sequences) {
            let operation = self.entry_operations.remove(&sequence).expect("what is needed is pending");
            self.promised.entries.remove(&sequence);
            let change = operation.entries().expect("the disk's own list holds changes of entries only");
            for binding in change.bindings.iter() {
                let directory = self.directory_mut(binding.directory);
                directory.pending.remove(&sequence);
                if directory.last_change.get(&binding.name) == Some(&sequence) {
                    directory.last_change.remove(&binding.name);
                }
                let old = match binding.target {
                    Some(target) => directory.durable.insert(binding.name.clone(), target),
                    None => directory.durable.remove(&binding.name),
                };
                if let Some(target) = binding.target {
                    let node = self.inode_mut(target);
                    node.durable_links += 1;
                    node.pending_links -= 1;
                    touched.push(target);
                }
                if let Some(old) = old {
                    self.inode_mut(old).durable_links -= 1;
                    touched.push(old);
                }
            }
        }
        for inode in touched {
            self.release_unreferenced(inode);
        }
    }

    /// `sequences` and everything pending that they need, near and far.
    fn with_needs(&self, sequences: BTreeSet<u64>) -> BTreeSet<u64> {
        let mut unseen: Vec<u64> = sequences.iter().copied().collect();
        let mut all = sequences;
        while let Some(sequence) = unseen.pop() {
            let operation = &self.entry_operations[&sequence];
            let change = operation.entries().expect("the disk's own list holds changes of entries only");
            for &need in &change.needs {
                if self.entry_operations.contains_key(&need) && all.insert(need) {
                    unseen.push(need);
                }
            }
        }
        all
    }
}

/// Carries out on the medium, and takes from the list, those operations of `node` that are `covered`.
fn take_durable(node: &mut Inode, covered: impl Fn(&PendingOperation) -> bool) {
    let mut pending = std::mem::take(&mut node.pending);
    pending.retain(|operation| {
        let covered = covered(operation);
        if covered {
            node.make_durable(operation);
        }
        !covered
    });
    node.pending = pending;
}

/// Takes the writes from the list without their reaching the medium. Those that a lying sync handed to the
/// device before stay in its cache.
fn lose_writes(node: &mut Inode) {
    let Body::File(file) = &node.body else { return };
    let durable_size = file.durable.size();
    let mut lost = 0;
    node.pending.retain_mut(|operation| match &operation.change {
        Change::Write(payload) if operation.promised_by.is_none() => {
            lost += 1;
            let to = payload.end();
            operation.change = Change::Extend { to };
            to > durable_size
        }
        _ => true,
    });
    node.lost_writes += lost;
}
