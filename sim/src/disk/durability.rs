//! How pending operations become durable, are promised falsely, or are lost.

use super::Disk;
use super::inode::{Attributes, Body, Inode, InodeNumber};
use super::journal::Primitive;
use super::operation::{Change, PendingOperation};
use std::collections::BTreeSet;

/// What a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SyncScope {
    /// `fsync`: data, size and attributes; of a directory, its entries.
    All,
    /// `fdatasync`: data, and size changes, without which the data could not be read back. Of a directory,
    /// its entries.
    Data,
}

/// What becomes of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

/// A sync that has begun, and what it covers: the operations that were done before.
///
/// What others do while it takes its time is not covered. POSIX (fsync(): "all data for the open file descriptor")
/// and Linux promise no more than what was written before the call: a page that is written again meanwhile is dirty
/// again, and may have been written back before or after that. A sync that covered it would be the weaker test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StartedSync {
    pub(super) inode: InodeNumber,
    /// The number of the last operation that it covers.
    pub(super) up_to: u64,
    /// Mode and times as they were.
    pub(super) attributes: Attributes,
    /// Allocations of blocks that a commit of the journal takes with it.
    pub(super) allocated: u64,
    /// The first byte of the file that it covers and one past the last; nothing where it covers all.
    pub(super) range: Option<(u64, u64)>,
}

impl StartedSync {
    /// The file or directory.
    pub const fn inode(&self) -> InodeNumber {
        self.inode
    }

    fn covers(&self, scope: SyncScope, operation: &PendingOperation) -> bool {
        operation.sequence <= self.up_to
            && self.range.is_none_or(|range| touches(operation, range))
            && match scope {
                SyncScope::All => true,
                SyncScope::Data => operation.is_data(),
            }
    }
}

impl Disk {
    /// Begins a sync of a file or directory; [`Disk::sync_end`] ends it.
    pub fn sync_begin(&self, inode: InodeNumber) -> StartedSync {
        StartedSync {
            inode,
            up_to: self.sequence,
            attributes: self.inode(inode).attributes,
            allocated: self.commits.allocated(),
            range: None,
        }
    }

    /// Begins a sync of the bytes from `range.0` to before `range.1` of a file, as `msync` and a synchronous write are.
    /// It covers the writes that touch them, changes of the size, and earlier writes without which those would be
    /// undone later.
    pub fn sync_range_begin(&self, file: InodeNumber, mut range: (u64, u64)) -> StartedSync {
        // A write across the edge is covered whole, and then what lies below it must be, too; and where the file was
        // cut, what had been written there: done later, it would be back.
        loop {
            let touched = self.inode(file).pending.iter().filter(|operation| touches(operation, range));
            let hull = touched
                .filter_map(changed_bytes)
                .fold(range, |hull, (from, to)| (hull.0.min(from), hull.1.max(to)));
            if hull == range {
                return StartedSync { range: Some(range), ..self.sync_begin(file) };
            }
            range = hull;
        }
    }

    /// Ends a sync: what it covers becomes durable, or what else its fate is. Nothing of a file that went
    /// meanwhile. The cost is that of its own pending operations.
    ///
    /// The flush of the device's cache is the last thing that an honest sync does, so it keeps also what lying
    /// syncs promised meanwhile.
    pub fn sync_end(&mut self, sync: StartedSync, scope: SyncScope, fate: SyncFate) {
        self.journal.note(|| Primitive::Sync { begun: sync, scope, fate });
        if fate == SyncFate::Honest {
            self.keep_previous(sync.inode);
            self.keep_promises();
        }
        if !self.exists(sync.inode) {
            return;
        }
        if fate != SyncFate::Failed {
            self.commit_journal(&sync, scope);
        }
        match fate {
            SyncFate::Honest => self.make_durable(&sync, scope),
            SyncFate::Lying => self.promise(&sync, scope),
            SyncFate::Failed => lose_writes(self.inode_mut(sync.inode), &sync),
        }
    }

    /// A sync during which nothing else happens.
    pub fn sync(&mut self, inode: InodeNumber, scope: SyncScope, fate: SyncFate) {
        self.sync_end(self.sync_begin(inode), scope, fate);
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
        self.journal.note(|| Primitive::WriteBack(chosen.iter().map(|&(sequence, ..)| sequence).collect()));
        // A journal reaches the medium in order. That it does so also for an overwrite is more than need be.
        if let Some(last) = chosen.iter().map(|&(sequence, ..)| sequence).max() {
            self.commit_journal_up_to(last, self.commits.allocated_before(last));
        }
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

    fn make_durable(&mut self, sync: &StartedSync, scope: SyncScope) {
        let node = self.inode_mut(sync.inode);
        take_durable(node, |operation| sync.covers(scope, operation));
        if scope == SyncScope::All {
            node.make_attributes_durable(sync.attributes, sync.up_to);
        }
        if let Body::Directory(directory) = &node.body
            && !directory.pending.is_empty()
        {
            let entries = directory.pending_up_to(sync.up_to);
            self.commit_entries(entries);
        }
    }

    /// Marks what a lying sync covered.
    fn promise(&mut self, sync: &StartedSync, scope: SyncScope) {
        let inode = sync.inode;
        let number = self.promised.last + 1;
        let mut covered = 0_usize;
        let node = self.inode_mut(inode);
        for operation in &mut node.pending {
            if operation.promised_by.is_none() && sync.covers(scope, operation) {
                operation.promised_by = Some(number);
                covered += 1;
            }
        }
        if covered > 0 {
            self.promised.inodes.insert(inode);
        }
        if let Body::Directory(directory) = &self.inode(inode).body {
            for sequence in self.with_needs(directory.pending_up_to(sync.up_to)) {
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

/// The bytes that an operation changes, from the first to before the last; nothing where it changes none that another
/// one could also change.
fn changed_bytes(operation: &PendingOperation) -> Option<(u64, u64)> {
    match &operation.change {
        Change::Write(payload) => Some((payload.offset(), payload.end())),
        Change::Punch { offset, length } => Some((*offset, offset.saturating_add(*length))),
        Change::Resize { from, to } if to < from => Some((*to, u64::MAX)),
        // They change no byte that was there.
        Change::Resize { .. }
        | Change::Extend { .. }
        | Change::Allocate { .. }
        | Change::SetAttributes(_)
        | Change::Entries(_) => None,
    }
}

/// Whether a sync of these bytes of its file covers an operation: a file has one size (Linux: `i_size` in its inode), so
/// every change of it goes along, and what was cut off stays so.
fn touches(operation: &PendingOperation, range: (u64, u64)) -> bool {
    let is_size = matches!(operation.change, Change::Resize { .. });
    is_size || changed_bytes(operation).is_none_or(|(from, to)| from < range.1 && range.0 < to)
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

/// Takes the writes that a failed sync covered from the list without their reaching the medium. Those that a lying
/// sync handed to the device before stay in its cache.
fn lose_writes(node: &mut Inode, sync: &StartedSync) {
    let Body::File(file) = &node.body else { return };
    let durable_size = file.durable.size();
    let mut lost = 0;
    node.pending.retain_mut(|operation| match &operation.change {
        Change::Write(payload)
            if operation.promised_by.is_none()
                && operation.sequence <= sync.up_to
                && sync.range.is_none_or(|range| payload.offset() < range.1 && range.0 < payload.end()) =>
        {
            lost += 1;
            let to = payload.end();
            operation.change = Change::Extend { to };
            to > durable_size
        }
        Change::Write(_)
        | Change::Resize { .. }
        | Change::Extend { .. }
        | Change::Allocate { .. }
        | Change::Punch { .. }
        | Change::SetAttributes(_)
        | Change::Entries(_) => true,
    });
    node.lost_writes += lost;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Keep, Profile, Stamp, View, crash_image};

    /// A file that says `before`, and what a power failure leaves of it that loses all it may, after a sync of `fate`
    /// during which the file and its directory were changed, and a second sync of the second fate.
    fn left(scope: SyncScope, fate: SyncFate, second: Option<SyncFate>) -> (String, u32) {
        let mut disk = Disk::new();
        let at = |now_ns| Stamp::new(now_ns, 0);
        let file = disk.create_file(InodeNumber::ROOT, b"file", 0o644, at(1));
        disk.write(file, 0, b"before", at(2));
        let (sync, of_directory) = (disk.sync_begin(file), disk.sync_begin(InodeNumber::ROOT));
        disk.write(file, 6, b" meanwhile", at(3));
        let attributes = Attributes { permissions: 0o600, ..disk.metadata(file).attributes };
        disk.set_attributes(file, attributes, at(4));
        disk.create_file(InodeNumber::ROOT, b"other", 0o644, at(5));
        disk.sync_end(sync, scope, fate);
        disk.sync_end(of_directory, SyncScope::All, SyncFate::Honest);
        disk.check_invariants();
        if let Some(second) = second {
            disk.sync(file, SyncScope::All, second);
            // The one that began first ends last.
            disk.sync_end(sync, scope, SyncFate::Honest);
            disk.check_invariants();
        }
        let (image, _) = crash_image(&disk, Profile::Lying, 0, &mut |_: &PendingOperation| Keep::Drop);
        assert_eq!(image.tree(View::Durable).len(), 1, "only the file whose entry the sync covered");
        let mut bytes = [0; 32];
        let length = image.read(file, 0, &mut bytes);
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        (text, image.metadata(file).attributes.permissions)
    }

    #[test]
    fn a_sync_covers_what_was_done_before_it_began() {
        use SyncFate::{Honest, Lying};
        use SyncScope::{All, Data};
        let before = ("before".to_string(), 0o644);
        assert_eq!(left(All, Honest, None), before);
        assert_eq!(left(Data, Honest, None), before);
        assert_eq!(left(All, Lying, None), before, "the directory's honest sync flushed the device");
        assert_eq!(left(All, Honest, Some(Honest)), ("before meanwhile".to_string(), 0o600));
    }

    #[test]
    fn a_failed_sync_loses_only_what_it_covered() {
        use SyncFate::{Failed, Honest};
        assert_eq!(left(SyncScope::All, Failed, None), (String::new(), 0o644));
        let (text, permissions) = left(SyncScope::All, Failed, Some(Honest));
        assert_eq!((text.as_str(), permissions), ("\0\0\0\0\0\0 meanwhile", 0o600));
    }
}
