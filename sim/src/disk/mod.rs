//! The virtual disk: files and directories in memory, and what a power failure leaves of them.
//!
//! # Media contract
//!
//! Every file and every directory has a *volatile* state, which reads see, and a *durable* state, which the
//! medium holds. Between the two stands one ordered list of [`PendingOperation`]s.
//!
//! - A sync of a file makes its data, size and attributes durable, or only its data and size
//!   ([`SyncScope`]). It does not make the file's *name* durable (fsync(2): "Calling fsync() does not
//!   necessarily ensure that the entry in the directory containing the file has also reached disk").
//! - A sync of a directory makes the entries created, renamed and removed in it durable. A file is reachable
//!   after a power failure only if its entry, and every directory above it, is.
//! - A sync covers what was done before it began, and not what others do while it takes its time
//!   ([`StartedSync`]).
//! - A rename is atomic: before or after, never neither, also between two directories. POSIX does not promise that
//!   across a crash; file systems with a journal or copy-on-write do it (Pillai et al., OSDI 2014, table 1,
//!   "Directory op"). A sync of either directory makes it durable.
//! - What is pending may reach the medium by itself at any time, in any order that [`Profile`] allows.
//!
//! A crash is a function, [`crash_image`]: a disk, a profile, a time and choices in, a disk out. The disk that went
//! in stays as it was. Cloning a disk shares everything until it changes.
//!
//! This folder knows no path, no descriptor and no errno of a call's misuse: that is [`crate::vfs`]. Nothing
//! in it draws randomness or reads a clock; both are passed in.

mod choices;
mod commits;
mod content;
mod damage;
mod durability;
mod entries;
mod errno;
mod fault;
mod files;
mod fingerprint;
mod image;
mod inode;
mod journal;
mod media;
mod operation;
mod ordered;
mod profile;
mod report;
mod sectors;
mod tree;

#[cfg(test)]
mod image_tests;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod ordered_tests;

pub use choices::{CrashChoices, Keep, RandomChoices};
pub use content::{PAGE_BYTES, Payload};
pub use damage::Damage;
pub use durability::{StartedSync, SyncFate, SyncScope};
pub use errno::Errno;
pub use fault::{Decision, FaultCounters, FaultOptions, FaultState};
pub use files::Metadata;
pub use image::{choosable, crash_disk, crash_image};
pub use inode::{Attributes, FileType, InodeNumber};
pub use journal::Primitive;
pub use media::Landing;
pub use operation::{
    Binding, Bindings, Change, EntryChange, EntryKind, Name, OperationKind, PendingOperation, Stamp,
};
pub use profile::{Journalling, OrderRule, Profile, Rules};
pub use report::{CrashReport, Fate, Loss};
pub use sectors::{SECTOR_BYTES, Sectors, Tear, TornSize};
pub use tree::{Node, View};

use commits::Commits;
use inode::{Body, DirectoryBody, FileBody, Inode};
use journal::Journal;
use media::Media;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A disk with one file system.
///
/// The methods are the primitives of the media contract, by inode number. They state what must hold of their
/// arguments (a directory where one is due, a name that exists) and panic where it does not.
#[derive(Clone, Debug)]
pub struct Disk {
    inodes: BTreeMap<InodeNumber, Arc<Inode>>,
    next_inode: u64,
    /// The number of the last operation; those of a crash image go on from here.
    sequence: u64,
    /// The pending changes of directory entries, by sequence number.
    entry_operations: BTreeMap<u64, PendingOperation>,
    /// The last rename of a directory from one directory into another.
    last_directory_move: u64,
    promised: Promised,
    commits: Commits,
    /// Pages allocated in the volatile state.
    pages: u64,
    capacity_bytes: u64,
    media: Media,
    journal: Journal,
}

/// What lying syncs promised, until an honest one keeps the promise.
#[derive(Clone, Debug, Default)]
struct Promised {
    /// The number of the last lying sync of this disk.
    last: u64,
    /// Lying syncs since the last honest one.
    outstanding: u64,
    /// The files and directories with promised operations of their own.
    inodes: BTreeSet<InodeNumber>,
    /// The promised changes of entries.
    entries: BTreeSet<u64>,
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// An empty disk without limit: nothing but its root directory, which is durable.
    pub fn new() -> Self {
        let mut root =
            Inode::new(Body::Directory(DirectoryBody::new(InodeNumber::ROOT, 0)), Attributes::new(0o755, 0));
        (root.links, root.durable_links) = (1, 1);
        Self {
            inodes: BTreeMap::from([(InodeNumber::ROOT, Arc::new(root))]),
            next_inode: InodeNumber::ROOT.get() + 1,
            sequence: 0,
            entry_operations: BTreeMap::new(),
            last_directory_move: 0,
            promised: Promised::default(),
            commits: Commits::default(),
            pages: 1,
            capacity_bytes: 0,
            media: Media::default(),
            journal: Journal::default(),
        }
    }

    /// Sets how many bytes the disk can hold, counted in pages of its files and one page per directory. Zero
    /// is no limit. A limit below what is in use lets nothing more be allocated.
    pub fn set_capacity_bytes(&mut self, capacity_bytes: u64) {
        if self.capacity_bytes != capacity_bytes {
            self.capacity_bytes = capacity_bytes;
            self.journal.note(|| Primitive::SetCapacity { bytes: capacity_bytes });
        }
    }

    /// The bytes the disk can hold; zero is no limit.
    pub const fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// The bytes in use.
    pub const fn used_bytes(&self) -> u64 {
        self.pages * PAGE_BYTES
    }

    /// The number of the last operation. It grows by one with every change of the disk and goes on in crash
    /// images.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// True while `inode` exists.
    pub fn exists(&self, inode: InodeNumber) -> bool {
        self.inodes.contains_key(&inode)
    }

    /// Every pending operation, in the order in which they were done.
    pub fn pending(&self) -> Vec<&PendingOperation> {
        let own = self.inodes.values().flat_map(|inode| &inode.pending);
        let mut pending: Vec<_> = own.chain(self.entry_operations.values()).collect();
        pending.sort_unstable_by_key(|operation| operation.sequence);
        pending
    }

    /// Takes note that a file description of `inode` was opened: while it is, the inode outlives its names.
    pub fn open(&mut self, inode: InodeNumber) {
        self.inode_mut(inode).open += 1;
        self.journal.note(|| Primitive::Open(inode));
    }

    /// Takes note that a file description of `inode` was closed.
    pub fn close(&mut self, inode: InodeNumber) {
        let node = self.inode_mut(inode);
        node.open = node.open.checked_sub(1).expect("what is closed was open");
        self.note_close(inode);
        self.release_unreferenced(inode);
        self.journal.note(|| Primitive::Close(inode));
    }

    fn inode(&self, inode: InodeNumber) -> &Inode {
        self.inodes.get(&inode).unwrap_or_else(|| panic!("inode {inode} does not exist"))
    }

    fn inode_mut(&mut self, inode: InodeNumber) -> &mut Inode {
        let node = self.inodes.get_mut(&inode).unwrap_or_else(|| panic!("inode {inode} does not exist"));
        Arc::make_mut(node)
    }

    fn file(&self, inode: InodeNumber) -> &FileBody {
        match &self.inode(inode).body {
            Body::File(file) => file,
            Body::Directory(_) => panic!("inode {inode} is a directory, not a file"),
        }
    }

    fn directory(&self, inode: InodeNumber) -> &DirectoryBody {
        match &self.inode(inode).body {
            Body::Directory(directory) => directory,
            Body::File(_) => panic!("inode {inode} is a file, not a directory"),
        }
    }

    fn directory_mut(&mut self, inode: InodeNumber) -> &mut DirectoryBody {
        match &mut self.inode_mut(inode).body {
            Body::Directory(directory) => directory,
            Body::File(_) => panic!("inode {inode} is a file, not a directory"),
        }
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Forgets `inode` if nothing can reach it any more, and then what only it referred to.
    fn release_unreferenced(&mut self, inode: InodeNumber) {
        let mut candidates = vec![inode];
        while let Some(candidate) = candidates.pop() {
            if !self.inodes.get(&candidate).is_some_and(|node| node.is_unreferenced()) {
                continue;
            }
            let node = self.inodes.remove(&candidate).expect("it was just found");
            self.pages -= node.pages();
            self.promised.inodes.remove(&candidate);
            self.media.forget(candidate);
            if let Body::Directory(directory) = &node.body {
                // A directory's removal needs every earlier change in it, so none can be left.
                assert!(directory.pending.is_empty(), "directory {candidate} went with changes pending");
                for &child in directory.durable.values() {
                    self.inode_mut(child).durable_links -= 1;
                    candidates.push(child);
                }
            }
        }
    }
}
