//! One operation that has been done but is not on the medium yet.

use super::content::Payload;
use super::inode::{Attributes, InodeNumber};
use std::fmt;
use std::sync::Arc;

/// A name in a directory: any bytes but `/` and NUL, at most 255 of them.
pub type Name = Arc<[u8]>;

/// When an operation was done, and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Virtual time in nanoseconds, which also becomes the times of files.
    pub now_ns: u64,
    /// The number of the simulated thread.
    pub thread: u64,
}

impl Stamp {
    /// `thread` at the virtual time `now_ns`.
    pub const fn new(now_ns: u64, thread: u64) -> Self {
        Self { now_ns, thread }
    }
}

/// The kinds of system calls on the virtual disk, as faults, counters and reports tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum OperationKind {
    /// Opening an existing file.
    Open,
    /// Creating a file (its entry in the directory).
    Create,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Changing a file's size.
    Truncate,
    /// Reserving space, or punching a hole.
    Allocate,
    /// `fsync` of a file or a directory.
    Sync,
    /// `fdatasync`.
    DataSync,
    /// `sync_file_range`.
    RangeSync,
    /// A further name for a file.
    Link,
    /// Removing a file's name.
    Unlink,
    /// Renaming.
    Rename,
    /// Making a directory.
    MakeDirectory,
    /// Removing a directory.
    RemoveDirectory,
    /// Changing mode or times.
    SetAttributes,
    /// Reading metadata or a directory.
    Metadata,
    /// Locking.
    Lock,
}

impl OperationKind {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Truncate => "truncate",
            Self::Allocate => "fallocate",
            Self::Sync => "fsync",
            Self::DataSync => "fdatasync",
            Self::RangeSync => "sync_file_range",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Rename => "rename",
            Self::MakeDirectory => "mkdir",
            Self::RemoveDirectory => "rmdir",
            Self::SetAttributes => "set attributes",
            Self::Metadata => "stat",
            Self::Lock => "lock",
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An operation that reads already see, but that a power failure may undo.
#[derive(Clone, Debug)]
pub struct PendingOperation {
    /// Its place in the order of all operations of this disk, from 1 on.
    pub sequence: u64,
    /// The file or directory it changes; for a rename, the directory it leaves.
    pub inode: InodeNumber,
    /// When it was done, and by which thread.
    pub stamp: Stamp,
    /// What it changes.
    pub change: Change,
    /// The lying sync, if any, that already promised it: the number of that sync on this disk.
    pub promised_by: Option<u64>,
}

/// What a pending operation changes.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes of a file, which may grow it.
    Write(Payload),
    /// The size of a file, smaller or larger.
    Resize {
        /// The size before, in bytes.
        from: u64,
        /// The size after, in bytes.
        to: u64,
    },
    /// A size that grew while the data behind it was lost to a failed sync.
    Extend {
        /// The least size, in bytes.
        to: u64,
    },
    /// Reserved space (`fallocate`).
    Allocate {
        /// The first byte.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// Whether the size stays even where the range reaches beyond it.
        keep_size: bool,
    },
    /// A hole (`fallocate` with `FALLOC_FL_PUNCH_HOLE`).
    Punch {
        /// The first byte.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// Mode or times of a file or directory.
    SetAttributes(Attributes),
    /// Entries of one or two directories.
    Entries(EntryChange),
}

/// A change of directory entries, done whole or not at all.
#[derive(Clone, Debug)]
pub struct EntryChange {
    /// Which call changed them.
    pub kind: EntryKind,
    /// The entries: what each name refers to afterwards. One for all kinds but a rename, which has the old
    /// name first and the new name second.
    pub bindings: Bindings,
    /// The operations, pending when this one was done, without which it cannot be on the medium.
    pub(super) needs: Box<[u64]>,
}

/// The calls that change directory entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file was created.
    Create,
    /// A file got a further name.
    Link,
    /// A file's name was removed.
    Unlink,
    /// A file or directory was renamed, or two exchanged, atomically.
    Rename,
    /// A directory was made.
    MakeDirectory,
    /// A directory was removed.
    RemoveDirectory,
}

/// What one name of one directory refers to after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The directory.
    pub directory: InodeNumber,
    /// The name in it.
    pub name: Name,
    /// The file or directory that the name refers to; none where the change removes it.
    pub target: Option<InodeNumber>,
}

/// The one or two bindings of a change.
#[derive(Clone, Debug)]
pub enum Bindings {
    /// All but renames.
    One([Binding; 1]),
    /// A rename: the old name, then the new one.
    Two([Binding; 2]),
}

impl std::ops::Deref for Bindings {
    type Target = [Binding];

    fn deref(&self) -> &[Binding] {
        match self {
            Self::One(bindings) => bindings,
            Self::Two(bindings) => bindings,
        }
    }
}

impl PendingOperation {
    /// The kind of system call that did it.
    pub const fn kind(&self) -> OperationKind {
        match &self.change {
            Change::Write(_) => OperationKind::Write,
            Change::Resize { .. } | Change::Extend { .. } => OperationKind::Truncate,
            Change::Allocate { .. } | Change::Punch { .. } => OperationKind::Allocate,
            Change::SetAttributes(_) => OperationKind::SetAttributes,
            Change::Entries(change) => match change.kind {
                EntryKind::Create => OperationKind::Create,
                EntryKind::Link => OperationKind::Link,
                EntryKind::Unlink => OperationKind::Unlink,
                EntryKind::Rename => OperationKind::Rename,
                EntryKind::MakeDirectory => OperationKind::MakeDirectory,
                EntryKind::RemoveDirectory => OperationKind::RemoveDirectory,
            },
        }
    }

    /// The bytes of the file that it changes, as (offset, length); a size change as (new size, 0); nothing
    /// where it changes none.
    pub const fn range(&self) -> Option<(u64, u64)> {
        match &self.change {
            Change::Write(payload) => Some((payload.offset(), payload.length())),
            Change::Resize { to, .. } | Change::Extend { to } => Some((*to, 0)),
            Change::Allocate { offset, length, .. } | Change::Punch { offset, length } => {
                Some((*offset, *length))
            }
            Change::SetAttributes(_) | Change::Entries(_) => None,
        }
    }

    /// True for what `fdatasync` covers: data, and every size without which it could not be read back.
    pub(super) const fn is_data(&self) -> bool {
        match &self.change {
            Change::Write(_)
            | Change::Resize { .. }
            | Change::Extend { .. }
            | Change::Allocate { .. }
            | Change::Punch { .. } => true,
            Change::SetAttributes(_) | Change::Entries(_) => false,
        }
    }

    /// The change of directory entries, where it is one.
    pub const fn entries(&self) -> Option<&EntryChange> {
        match &self.change {
            Change::Entries(change) => Some(change),
            _ => None,
        }
    }
}
