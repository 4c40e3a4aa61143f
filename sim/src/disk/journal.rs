//! What is done to a disk, kept so that it can be done again.
//!
//! A disk with a journal notes every change of it, one [`Primitive`] each. Replayed in order onto a disk that was
//! equal when the journal was begun, they give a disk that is equal again: the same inode numbers, sequence numbers
//! and pending operations. The explorer of crashes walks from boundary to boundary that way.

use super::Disk;
use super::damage::Damage;
use super::durability::{StartedSync, SyncFate, SyncScope};
use super::inode::{Attributes, InodeNumber};
use super::media::Landing;
use super::operation::Stamp;
use crate::interpose;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One change of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Primitive {
    /// [`Disk::create_file`].
    CreateFile {
        /// Where.
        directory: InodeNumber,
        /// Its name.
        name: Box<[u8]>,
        /// Its permissions.
        permissions: u32,
        /// The number that it got.
        made: InodeNumber,
    },
    /// [`Disk::make_directory`].
    MakeDirectory {
        /// Where.
        directory: InodeNumber,
        /// Its name.
        name: Box<[u8]>,
        /// Its permissions.
        permissions: u32,
        /// The number that it got.
        made: InodeNumber,
    },
    /// [`Disk::link`].
    Link {
        /// The file.
        file: InodeNumber,
        /// Where its further name is.
        directory: InodeNumber,
        /// The further name.
        name: Box<[u8]>,
    },
    /// [`Disk::unlink`].
    Unlink {
        /// Where.
        directory: InodeNumber,
        /// The name that goes.
        name: Box<[u8]>,
    },
    /// [`Disk::remove_directory`].
    RemoveDirectory {
        /// Where.
        directory: InodeNumber,
        /// The name that goes.
        name: Box<[u8]>,
    },
    /// [`Disk::rename`].
    Rename {
        /// The directory and the name that it leaves.
        from: (InodeNumber, Box<[u8]>),
        /// The directory and the name that it gets.
        to: (InodeNumber, Box<[u8]>),
    },
    /// [`Disk::exchange`].
    Exchange {
        /// The one directory and name.
        one: (InodeNumber, Box<[u8]>),
        /// The other.
        other: (InodeNumber, Box<[u8]>),
    },
    /// [`Disk::write`]; of a write that a crash cut off, each run of sectors that was done.
    Write {
        /// The file.
        file: InodeNumber,
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Box<[u8]>,
    },
    /// [`Disk::write_astray`].
    WriteAstray {
        /// The file.
        file: InodeNumber,
        /// Where in the page cache, in bytes.
        offset: u64,
        /// What.
        bytes: Box<[u8]>,
        /// Where on the medium.
        landing: Landing,
    },
    /// [`Disk::damage`].
    Damage {
        /// The file.
        file: InodeNumber,
        /// The number of the sector in it.
        sector: u64,
        /// What became of it.
        damage: Damage,
    },
    /// [`Disk::set_keeps_previous`] to another setting.
    KeepPrevious(bool),
    /// [`Disk::resize`] to another size.
    Resize {
        /// The file.
        file: InodeNumber,
        /// Its new size in bytes.
        size: u64,
    },
    /// [`Disk::allocate`].
    Allocate {
        /// The file.
        file: InodeNumber,
        /// The first byte.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// Whether the size stays.
        keep_size: bool,
    },
    /// [`Disk::punch`].
    Punch {
        /// The file.
        file: InodeNumber,
        /// The first byte.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// [`Disk::set_attributes`].
    SetAttributes {
        /// The file or directory.
        inode: InodeNumber,
        /// What they are set to.
        attributes: Attributes,
    },
    /// [`Disk::sync_end`]. What it covers was settled when it began.
    Sync {
        /// What it covers.
        begun: StartedSync,
        /// Whether attributes are covered.
        scope: SyncScope,
        /// What became of it.
        fate: SyncFate,
    },
    /// [`Disk::write_back`] of the pending operations with these numbers.
    WriteBack(Box<[u64]>),
    /// [`Disk::open`].
    Open(InodeNumber),
    /// [`Disk::close`].
    Close(InodeNumber),
    /// [`Disk::set_capacity_bytes`] to another capacity.
    SetCapacity {
        /// The new capacity in bytes; zero is no limit.
        bytes: u64,
    },
}

/// The journal of a disk, if it has one. A clone of a disk has none, whether the disk has one or not, and a disk
/// with a journal is no other disk in any comparison.
#[derive(Default)]
pub(super) struct Journal(Option<Vec<Primitive>>);

impl Clone for Journal {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Journal")
    }
}

impl Journal {
    /// Notes a change, if there is a journal. It takes no memory of the machine's: a run is the same whether
    /// somebody records it or not.
    #[inline]
    pub(super) fn note(&mut self, change: impl FnOnce() -> Primitive) {
        if let Some(noted) = &mut self.0 {
            interpose::bypass_heap(|| noted.push(change()));
        }
    }
}

impl Disk {
    /// From now on every change of this disk is noted.
    pub fn begin_journal(&mut self) {
        self.journal = Journal(Some(Vec::new()));
    }

    /// Changes are noted no more; those that were and were not taken are forgotten.
    pub fn end_journal(&mut self) {
        self.journal = Journal(None);
    }

    /// Takes the changes noted since the last time, in order; none where there is no journal.
    pub fn take_journal(&mut self) -> Vec<Primitive> {
        self.journal.0.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Does `change` as it was done at `stamp` to a disk that was then as this one is now.
    ///
    /// Panics where this disk differs from that one so much that the change makes no sense here.
    pub fn replay(&mut self, change: &Primitive, stamp: Stamp) {
        match change {
            Primitive::CreateFile { directory, name, permissions, made } => {
                let file = self.create_file(*directory, name, *permissions, stamp);
                assert_eq!(file, *made, "a recording is replayed onto the disk that it began with");
            }
            Primitive::MakeDirectory { directory, name, permissions, made } => {
                let directory = self.make_directory(*directory, name, *permissions, stamp);
                assert_eq!(directory, *made, "a recording is replayed onto the disk that it began with");
            }
            Primitive::Link { file, directory, name } => self.link(*file, *directory, name, stamp),
            Primitive::Unlink { directory, name } => self.unlink(*directory, name, stamp),
            Primitive::RemoveDirectory { directory, name } => self.remove_directory(*directory, name, stamp),
            Primitive::Rename { from, to } => self.rename((from.0, &from.1), (to.0, &to.1), stamp),
            Primitive::Exchange { one, other } => self.exchange((one.0, &one.1), (other.0, &other.1), stamp),
            Primitive::Write { file, offset, bytes } => self.write(*file, *offset, bytes, stamp),
            Primitive::WriteAstray { file, offset, bytes, landing } => {
                self.write_astray(*file, *offset, bytes, *landing, stamp);
            }
            Primitive::Damage { file, sector, damage } => self.damage(*file, *sector, *damage),
            Primitive::KeepPrevious(keeps_previous) => self.set_keeps_previous(*keeps_previous),
            Primitive::Resize { file, size } => self.resize(*file, *size, stamp),
            Primitive::Allocate { file, offset, length, keep_size } => {
                self.allocate(*file, *offset, *length, *keep_size, stamp);
            }
            Primitive::Punch { file, offset, length } => self.punch(*file, *offset, *length, stamp),
            Primitive::SetAttributes { inode, attributes } => self.set_attributes(*inode, *attributes, stamp),
            Primitive::Sync { begun, scope, fate } => self.sync_end(*begun, *scope, *fate),
            Primitive::WriteBack(sequences) => {
                self.write_back(&mut |operation| sequences.contains(&operation.sequence));
            }
            Primitive::Open(inode) => self.open(*inode),
            Primitive::Close(inode) => self.close(*inode),
            Primitive::SetCapacity { bytes } => self.set_capacity_bytes(*bytes),
        }
    }
}
