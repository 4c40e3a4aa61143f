//! Files and directories as the disk holds them: what reads see, and what the medium holds.

use super::content::Content;
use super::operation::{Change, Name, PendingOperation};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The number of a file or directory on its disk; never used again, not even after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct InodeNumber(pub(super) u64);

impl InodeNumber {
    /// The root directory of every disk (2, as on ext4).
    pub const ROOT: Self = Self(2);

    /// The number, as `st_ino` shows it.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for InodeNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// Whether an inode is a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// Mode and times, which `fsync` makes durable and `fdatasync` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attributes {
    /// Permission bits (the lowest twelve bits of `st_mode`). They are kept and shown, but every process of
    /// the simulated machine is root.
    pub permissions: u32,
    /// Last read, in virtual nanoseconds. As on a file system mounted with `noatime`, reads leave it alone.
    pub accessed_ns: u64,
    /// Last change of the content, in virtual nanoseconds.
    pub modified_ns: u64,
    /// Last change of content or attributes, in virtual nanoseconds.
    pub changed_ns: u64,
}

impl Attributes {
    pub(super) const fn new(permissions: u32, now_ns: u64) -> Self {
        Self { permissions, accessed_ns: now_ns, modified_ns: now_ns, changed_ns: now_ns }
    }
}

/// A file or directory.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) attributes: Attributes,
    pub(super) durable_attributes: Attributes,
    /// The number of the disk's last operation when the attributes were those that are durable.
    durable_attributes_as_of: u64,
    /// Changes of data, size and attributes that are not durable, in order. Changes of entries are kept by
    /// the disk, since a rename belongs to two directories.
    pub(super) pending: Vec<PendingOperation>,
    /// Entries that refer to this inode, as reads see them.
    pub(super) links: u32,
    /// Entries on the medium that refer to it.
    pub(super) durable_links: u32,
    /// Pending operations that would make an entry refer to it.
    pub(super) pending_links: u32,
    /// Open file descriptions.
    pub(super) open: u32,
    /// Writes that a failed sync took from the list without their reaching the medium.
    pub(super) lost_writes: u32,
    /// The number of the last operation whose data a commit of the journal has flushed; see `commits`.
    pub(super) flushed_up_to: u64,
    /// Whether it was cut to nothing since a file description of it was last closed.
    pub(super) emptied: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    File(FileBody),
    Directory(DirectoryBody),
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileBody {
    pub(super) content: Content,
    pub(super) durable: Content,
}

#[derive(Clone, Debug)]
pub(super) struct DirectoryBody {
    pub(super) entries: BTreeMap<Name, InodeNumber>,
    pub(super) durable: BTreeMap<Name, InodeNumber>,
    /// How many of the entries are directories.
    pub(super) subdirectories: u32,
    /// The directory that holds this one; the root holds itself.
    pub(super) parent: InodeNumber,
    /// The operation that made this directory; zero for the root.
    pub(super) birth: u64,
    /// The pending operations on entries of this directory.
    pub(super) pending: BTreeSet<u64>,
    /// For each name with pending operations, the last of them.
    pub(super) last_change: BTreeMap<Name, u64>,
}

impl DirectoryBody {
    pub(super) fn new(parent: InodeNumber, birth: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            durable: BTreeMap::new(),
            subdirectories: 0,
            parent,
            birth,
            pending: BTreeSet::new(),
            last_change: BTreeMap::new(),
        }
    }

    /// The pending operations on entries up to that numbered `last`.
    pub(super) fn pending_up_to(&self, last: u64) -> BTreeSet<u64> {
        self.pending.range(..=last).copied().collect()
    }
}

impl Inode {
    pub(super) fn new(body: Body, attributes: Attributes) -> Self {
        Self {
            body,
            attributes,
            durable_attributes: attributes,
            durable_attributes_as_of: 0,
            pending: Vec::new(),
            links: 0,
            durable_links: 0,
            pending_links: 0,
            open: 0,
            lost_writes: 0,
            flushed_up_to: 0,
            emptied: false,
        }
    }

    pub(super) const fn file_type(&self) -> FileType {
        match self.body {
            Body::File(_) => FileType::File,
            Body::Directory(_) => FileType::Directory,
        }
    }

    /// True where neither reads, nor the medium, nor any crash image can reach it.
    pub(super) const fn is_unreferenced(&self) -> bool {
        self.links == 0 && self.durable_links == 0 && self.pending_links == 0 && self.open == 0
    }

    /// True where the volatile and the durable state are the same and nothing else is known of it.
    pub(super) fn is_settled(&self) -> bool {
        let entries_settled = match &self.body {
            Body::File(_) => true,
            Body::Directory(directory) => directory.pending.is_empty(),
        };
        entries_settled
            && self.pending.is_empty()
            && self.lost_writes == 0
            && self.pending_links == 0
            && self.open == 0
            && !self.emptied
            && self.attributes == self.durable_attributes
    }

    /// Makes durable what the attributes were after the operation numbered `as_of`, unless newer ones are: of two
    /// syncs at the same time, that which began first may end last.
    pub(super) fn make_attributes_durable(&mut self, attributes: Attributes, as_of: u64) {
        if as_of >= self.durable_attributes_as_of {
            (self.durable_attributes, self.durable_attributes_as_of) = (attributes, as_of);
        }
    }

    /// Pages that count against the disk's capacity.
    pub(super) const fn pages(&self) -> u64 {
        match &self.body {
            Body::File(file) => file.content.pages(),
            Body::Directory(_) => 1,
        }
    }

    /// Carries out `operation`, one of this inode's own, on the durable state.
    pub(super) fn make_durable(&mut self, operation: &PendingOperation) {
        match (&mut self.body, &operation.change) {
            (_, Change::SetAttributes(attributes)) => {
                self.make_attributes_durable(*attributes, operation.sequence);
            }
            (Body::File(file), change) => change.apply(&mut file.durable),
            (Body::Directory(_), change) => unreachable!("a directory has no content to change: {change:?}"),
        }
    }
}

impl Change {
    /// Carries out a change of data or size.
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Self::Write(payload) => content.write(payload),
            Self::Resize { to, .. } => content.resize(*to),
            Self::Extend { to } => content.extend(*to),
            Self::Allocate { offset, length, keep_size } => content.allocate(*offset, *length, *keep_size),
            Self::Punch { offset, length } => content.punch(*offset, *length),
            Self::SetAttributes(_) | Self::Entries(_) => unreachable!("no change of content: {self:?}"),
        }
    }
}
