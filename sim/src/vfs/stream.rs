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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Stamp};

    fn names(vfs: &mut Vfs, stream: StreamId) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(entry) = vfs.readdir(stream).unwrap() {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        }
        names
    }

    #[test]
    fn a_stream_shows_the_entries_of_its_opening_until_it_is_rewound() {
        let mut vfs = Vfs::new();
        vfs.mount("/m", Disk::new());
        let (here, stamp) = (libc::AT_FDCWD, Stamp::default());
        vfs.mkdirat(stamp, here, b"/m/b", 0o755).unwrap();
        vfs.mkdirat(stamp, here, b"/m/a", 0o755).unwrap();
        let descriptor = vfs.openat(stamp, here, b"/m", libc::O_RDONLY | libc::O_DIRECTORY, 0).unwrap();
        let stream = vfs.fdopendir(descriptor).unwrap();
        assert_eq!(vfs.dirfd(stream), Ok(descriptor));
        assert_eq!(vfs.readdir(stream).unwrap().map(|entry| entry.inode), Some(InodeNumber::ROOT));
        let position = vfs.telldir(stream).unwrap();
        vfs.unlinkat(stamp, here, b"/m/a", libc::AT_REMOVEDIR).unwrap();
        vfs.openat(stamp, here, b"/m/c", libc::O_CREAT, 0o644).unwrap();
        assert_eq!(names(&mut vfs, stream), ["..", "a", "b"]);
        vfs.seekdir(stream, position).unwrap();
        assert_eq!(names(&mut vfs, stream), ["..", "a", "b"]);
        vfs.rewinddir(stream).unwrap();
        assert_eq!(names(&mut vfs, stream), [".", "..", "b", "c"]);
        vfs.closedir(stream).unwrap();
        assert_eq!(vfs.close(descriptor), Err(Errno::EBADF.into()));
        assert_eq!(vfs.closedir(stream), Err(Errno::EBADF.into()));
    }

    #[test]
    fn a_file_has_no_entries() {
        let mut vfs = Vfs::new();
        vfs.mount("/m", Disk::new());
        let file = vfs.openat(Stamp::default(), libc::AT_FDCWD, b"/m/f", libc::O_CREAT, 0o644).unwrap();
        assert_eq!(vfs.fdopendir(file), Err(Errno::ENOTDIR.into()));
    }
}
