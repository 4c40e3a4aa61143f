//! Directory streams.

use super::Vfs;
use super::error::Result;
use crate::disk::{Errno, FileType, InodeNumber, Name};
use libc::c_int;
use std::sync::Arc;

/// The number of an open directory stream; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// The number, to make a handle of.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The stream with the number `number`, as [`StreamId::get`] gave it. Calls on a number that is no open
    /// stream fail with `EBADF`.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// An entry that `readdir` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The file or directory.
    pub inode: InodeNumber,
    /// Its type.
    pub file_type: FileType,
    /// Its name.
    pub name: Name,
    /// Where in the stream the next entry stands (`d_off`).
    pub next_position: i64,
}

impl DirectoryEntry {
    /// `d_type`: `DT_DIR` or `DT_REG`.
    pub const fn d_type(&self) -> u8 {
        match self.file_type {
            FileType::File => libc::DT_REG,
            FileType::Directory => libc::DT_DIR,
        }
    }
}

/// An open directory stream: the entries as they were when it was opened or rewound.
#[derive(Debug)]
pub(super) struct Stream {
    descriptor: c_int,
    entries: Vec<DirectoryEntry>,
    next: usize,
}

impl Stream {
    pub(super) const fn descriptor(&self) -> c_int {
        self.descriptor
    }
}

impl Vfs {
    /// `fdopendir`: the stream takes over the descriptor of a directory. `opendir` is [`Vfs::openat`] with
    /// `O_RDONLY | O_DIRECTORY | O_CLOEXEC`, and this.
    pub fn fdopendir(&mut self, descriptor: c_int) -> Result<StreamId> {
        let entries = self.list(descriptor)?;
        self.last_stream += 1;
        let id = StreamId(self.last_stream);
        self.streams.insert(id, Stream { descriptor, entries, next: 0 });
        Ok(id)
    }

    /// `readdir`: the next entry, `.` and `..` first, then by name; `None` at the end.
    pub fn readdir(&mut self, stream: StreamId) -> Result<Option<&DirectoryEntry>> {
        let stream = self.streams.get_mut(&stream).ok_or(Errno::EBADF)?;
        let entry = stream.entries.get(stream.next);
        stream.next += usize::from(entry.is_some());
        Ok(entry)
    }

    /// `rewinddir`: begins anew with the entries as they are now.
    pub fn rewinddir(&mut self, stream: StreamId) -> Result<()> {
        let entries = self.list(self.dirfd(stream)?)?;
        let stream = self.streams.get_mut(&stream).ok_or(Errno::EBADF)?;
        (stream.entries, stream.next) = (entries, 0);
        Ok(())
    }

    /// `telldir`.
    pub fn telldir(&self, stream: StreamId) -> Result<i64> {
        let stream = self.streams.get(&stream).ok_or(Errno::EBADF)?;
        Ok(i64::try_from(stream.next).expect("fewer than 2⁶³ entries"))
    }

    /// `seekdir`, to a position that `telldir` or an entry gave.
    pub fn seekdir(&mut self, stream: StreamId, position: i64) -> Result<()> {
        let stream = self.streams.get_mut(&stream).ok_or(Errno::EBADF)?;
        stream.next = usize::try_from(position).unwrap_or(0).min(stream.entries.len());
        Ok(())
    }

    /// `dirfd`.
    pub fn dirfd(&self, stream: StreamId) -> Result<c_int> {
        Ok(self.streams.get(&stream).ok_or(Errno::EBADF)?.descriptor)
    }

    /// `closedir`: closes the descriptor, too.
    pub fn closedir(&mut self, stream: StreamId) -> Result<()> {
        let stream = self.streams.remove(&stream).ok_or(Errno::EBADF)?;
        self.close(stream.descriptor)
    }

    fn list(&self, descriptor: c_int) -> Result<Vec<DirectoryEntry>> {
        let (mount, inode) = self.file_of(descriptor)?;
        let disk = self.disk(mount);
        if disk.file_type(inode) != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        if disk.is_removed(inode) {
            return Ok(Vec::new());
        }
        let dots = [(Arc::from(&b"."[..]), inode), (Arc::from(&b".."[..]), disk.parent(inode))];
        let named = disk.entries(inode).map(|(name, inode)| (Name::clone(name), inode));
        let entries = dots.into_iter().chain(named).zip(1..);
        Ok(entries
            .map(|((name, inode), next_position)| DirectoryEntry {
                inode,
                file_type: disk.file_type(inode),
                name,
                next_position,
            })
            .collect())
    }
}
