//! Reading and writing open files.

use super::Vfs;
use super::error::{Error, Result};
use super::mount::MountId;
use super::sync::OpenSync;
use crate::disk::{Errno, FileType, InodeNumber, OperationKind, SECTOR_BYTES, Stamp, SyncScope};
use libc::c_int;
use std::io::{IoSlice, IoSliceMut};

/// What a write wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The place in the file of the first byte.
    pub offset: u64,
    /// How many bytes: fewer than given only where the disk is full.
    pub count: usize,
}

impl Vfs {
    /// `read`: from the description's offset on. Returns the count of bytes, zero at the end of the file.
    pub fn read(&mut self, descriptor: c_int, buffer: &mut [u8]) -> Result<usize> {
        let (mount, inode) = self.readable(descriptor)?;
        let offset = self.descriptors.get(descriptor)?.offset;
        let count = self.disk(mount).read(inode, offset, buffer);
        self.descriptors.get_mut(descriptor)?.offset = offset + count as u64;
        Ok(count)
    }

    /// `pread`.
    pub fn pread(&self, descriptor: c_int, buffer: &mut [u8], offset: i64) -> Result<usize> {
        let offset = non_negative(offset)?;
        let (mount, inode) = self.readable(descriptor)?;
        Ok(self.disk(mount).read(inode, offset, buffer))
    }

    /// `readv`, and with an offset `preadv`.
    pub fn readv(
        &mut self,
        descriptor: c_int,
        buffers: &mut [IoSliceMut<'_>],
        offset: Option<i64>,
    ) -> Result<usize> {
        let given = offset.map(non_negative).transpose()?;
        let (mount, inode) = self.readable(descriptor)?;
        let start = given.unwrap_or(self.descriptors.get(descriptor)?.offset);
        let mut next = start;
        for buffer in buffers {
            let count = self.disk(mount).read(inode, next, buffer);
            next += count as u64;
            if count < buffer.len() {
                break;
            }
        }
        if given.is_none() {
            self.descriptors.get_mut(descriptor)?.offset = next;
        }
        Ok(usize::try_from(next - start).expect("what was read fits in memory"))
    }

    /// `write`: at the description's offset, or at the end for `O_APPEND`. Returns the count of bytes, fewer
    /// than given only where the disk is full.
    pub fn write(&mut self, stamp: Stamp, descriptor: c_int, bytes: &[u8]) -> Result<usize> {
        self.write_with(stamp, descriptor, bytes, None, 0).map(|written| written.count)
    }

    /// `write`, with an offset `pwrite`, with the flags of pwritev2(2) that concern where it writes: `RWF_APPEND`,
    /// `RWF_NOAPPEND`. The sync of a synchronous write is the caller's, by [`Vfs::sync_of_write`].
    pub fn write_with(
        &mut self,
        stamp: Stamp,
        descriptor: c_int,
        bytes: &[u8],
        offset: Option<i64>,
        flags: c_int,
    ) -> Result<Written> {
        let given = offset.map(non_negative).transpose()?;
        let written = self.write_at(stamp, descriptor, bytes, given, flags)?;
        if given.is_none() && written.count > 0 {
            self.descriptors.get_mut(descriptor)?.offset = written.offset + written.count as u64;
        }
        Ok(written)
    }

    /// `pwrite`. As on Linux, a description with `O_APPEND` appends whatever the offset (pwrite(2), BUGS).
    pub fn pwrite(&mut self, stamp: Stamp, descriptor: c_int, bytes: &[u8], offset: i64) -> Result<usize> {
        self.write_with(stamp, descriptor, bytes, Some(offset), 0).map(|written| written.count)
    }

    /// The sync that a write ends with: where the description has `O_SYNC` or `O_DSYNC`, or the flags of pwritev2(2)
    /// say so, one of the bytes that were written (fs.h, `generic_write_sync`). Nothing where it has none.
    pub fn sync_of_write(&self, descriptor: c_int, written: Written, flags: c_int) -> Option<OpenSync> {
        let description = self.descriptors.get(descriptor).ok().filter(|_| written.count > 0)?;
        let scope = sync_of_writes(description.flags, flags)?;
        let range = (written.offset, written.offset + written.count as u64);
        Some(self.sync_range(description.mount, description.inode, description.path.clone(), scope, range))
    }

    /// Checks the flags of `preadv2` and `pwritev2` over so many bytes. Those that only say how to wait (`RWF_HIPRI`)
    /// change nothing. What is read is never in the way of a reader that must not wait (`RWF_NOWAIT`), while a buffered
    /// write that must not wait fails with `EOPNOTSUPP`, as on ext4 (fs/ext4/file.c, `ext4_buffered_write_iter`). So do
    /// flags that no kernel knows. Over no bytes, or for a descriptor that the call refuses, none is looked at.
    pub fn check_flags(&self, descriptor: c_int, flags: c_int, bytes: usize, write: bool) -> Result<()> {
        const RWF_ATOMIC: c_int = 0x40;
        const RWF_DONTCACHE: c_int = 0x80;
        let appending = libc::RWF_APPEND | RWF_NOAPPEND;
        let known = libc::RWF_HIPRI | libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_NOWAIT | appending;
        let description = self.descriptors.get(descriptor)?;
        let allowed = if write { description.writes() } else { description.reads() };
        if flags == 0 || bytes == 0 || !allowed {
            return Ok(());
        }
        if flags & !(known | RWF_ATOMIC | RWF_DONTCACHE) != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if flags & !known != 0 {
            return Err(Error::Unsupported { call: "preadv2 or pwritev2 with RWF_ATOMIC or RWF_DONTCACHE" });
        }
        if flags & appending == appending {
            return Err(Errno::EINVAL.into());
        }
        if write && flags & libc::RWF_NOWAIT != 0 { Err(Errno::EOPNOTSUPP.into()) } else { Ok(()) }
    }

    /// What `O_DIRECT` asks for: that the place in the file, and the address and length of each buffer, are whole
    /// sectors of 512 bytes; `EINVAL` where not. `offset` is nothing where the call goes on from the description's.
    /// Nothing is asked of a call over no bytes, or of a read at or behind the end (fs/iomap/direct-io.c).
    pub fn check_direct(
        &self,
        descriptor: c_int,
        offset: Option<i64>,
        buffers: &[(usize, usize)],
        write: bool,
    ) -> Result<()> {
        let description = self.descriptors.get(descriptor)?;
        let total: usize = buffers.iter().map(|(_, length)| length).sum();
        let allowed = if write { description.writes() } else { description.reads() };
        if description.flags & libc::O_DIRECT == 0 || total == 0 || !allowed {
            return Ok(());
        }
        let size = self.disk(description.mount).size(description.inode);
        let given = offset.map(non_negative).transpose()?.unwrap_or(description.offset);
        let position = if write && description.appends() { size } else { given };
        let whole = |number: u64| number.is_multiple_of(SECTOR_BYTES);
        let aligned = |&(address, length): &(usize, usize)| whole(address as u64) && whole(length as u64);
        let asked = write || position < size;
        if asked && !(whole(position) && buffers.iter().all(aligned)) {
            return Err(Errno::EINVAL.into());
        }
        Ok(())
    }

    /// `writev`, and with an offset `pwritev`: one operation on the disk.
    pub fn writev(
        &mut self,
        stamp: Stamp,
        descriptor: c_int,
        buffers: &[IoSlice<'_>],
        offset: Option<i64>,
    ) -> Result<usize> {
        let gathered;
        let mut filled = buffers.iter().filter(|buffer| !buffer.is_empty());
        let bytes: &[u8] = match (filled.next(), filled.next()) {
            (None, _) => &[],
            (Some(only), None) => only,
            (Some(_), Some(_)) => {
                gathered = buffers.iter().map(|buffer| &**buffer).collect::<Vec<_>>().concat();
                &gathered
            }
        };
        match offset {
            Some(offset) => self.pwrite(stamp, descriptor, bytes, offset),
            None => self.write(stamp, descriptor, bytes),
        }
    }

    /// `lseek`.
    pub fn lseek(&mut self, descriptor: c_int, offset: i64, whence: c_int) -> Result<i64> {
        let (mount, inode) = self.file_of(descriptor)?;
        let disk = self.disk(mount);
        let current = self.descriptors.get(descriptor)?.offset;
        let is_directory = disk.file_type(inode) == FileType::Directory;
        if is_directory && !matches!((whence, offset), (libc::SEEK_SET | libc::SEEK_CUR, 0)) {
            return Err(Error::Unsupported { call: "lseek within a directory" });
        }
        let target = match whence {
            libc::SEEK_SET => i128::from(offset),
            libc::SEEK_CUR => i128::from(current) + i128::from(offset),
            libc::SEEK_END => i128::from(disk.size(inode)) + i128::from(offset),
            libc::SEEK_DATA | libc::SEEK_HOLE => {
                let start = u64::try_from(offset).ok().filter(|&start| start < disk.size(inode));
                let start = start.ok_or(Errno::ENXIO)?;
                let found = match whence {
                    libc::SEEK_DATA => disk.next_data(inode, start).ok_or(Errno::ENXIO)?,
                    _ => disk.next_hole(inode, start),
                };
                i128::from(found)
            }
            _ => return Err(Errno::EINVAL.into()),
        };
        let position = i64::try_from(target).ok().filter(|&position| position >= 0).ok_or(Errno::EINVAL)?;
        self.descriptors.get_mut(descriptor)?.offset = position.unsigned_abs();
        Ok(position)
    }

    /// `readahead`: advice, once it is clear that the descriptor is a file's that can be read (mm/readahead.c,
    /// `ksys_readahead`).
    pub fn readahead(&self, descriptor: c_int) -> Result<()> {
        let description = self.descriptors.get(descriptor)?;
        if !description.reads() {
            return Err(Errno::EBADF.into());
        }
        let is_directory = self.disk(description.mount).file_type(description.inode) == FileType::Directory;
        if is_directory { Err(Errno::EINVAL.into()) } else { Ok(()) }
    }

    /// Where a write with this offset, or at the description's, would begin. Nothing where the descriptor is none.
    pub fn write_place(&self, descriptor: c_int, offset: Option<u64>, flags: c_int) -> Option<u64> {
        let description = self.descriptors.get(descriptor).ok()?;
        let disk = self.disk(description.mount);
        let is_directory = disk.file_type(description.inode) == FileType::Directory;
        if !is_directory && appends(description.appends(), flags) {
            return Some(disk.size(description.inode));
        }
        Some(offset.unwrap_or(description.offset))
    }

    /// The mount and the inode of an open descriptor.
    pub(super) fn file_of(&self, descriptor: c_int) -> Result<(MountId, InodeNumber)> {
        let description = self.descriptors.get(descriptor)?;
        Ok((description.mount, description.inode))
    }

    fn readable(&self, descriptor: c_int) -> Result<(MountId, InodeNumber)> {
        let description = self.descriptors.get(descriptor)?;
        if !description.reads() {
            return Err(Errno::EBADF.into());
        }
        if self.disk(description.mount).file_type(description.inode) == FileType::Directory {
            return Err(Errno::EISDIR.into());
        }
        Ok((description.mount, description.inode))
    }

    /// Writes at `offset`, or where the description stands.
    fn write_at(
        &mut self,
        stamp: Stamp,
        descriptor: c_int,
        bytes: &[u8],
        offset: Option<u64>,
        flags: c_int,
    ) -> Result<Written> {
        let description = self.descriptors.get(descriptor)?;
        if !description.writes() {
            return Err(Errno::EBADF.into());
        }
        let (inode, path, id) = (description.inode, description.path.clone(), description.mount);
        let appends = appends(description.appends(), flags);
        let offset = offset.unwrap_or(description.offset);
        let mount = self.mount_mut(id);
        let offset = if appends { mount.disk.size(inode) } else { offset };
        let length = bytes.len() as u64;
        if length == 0 {
            return Ok(Written { offset, count: 0 });
        }
        if offset.checked_add(length).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(Errno::EFBIG.into());
        }
        let room = mount.disk.room(inode, offset, length);
        if room < length {
            mount.count_no_space();
        }
        if room == 0 {
            return Err(Errno::ENOSPC.into());
        }
        let count = usize::try_from(room).expect("no more room than bytes");
        mount.disk.write(inode, offset, &bytes[..count], stamp);
        mount.record(OperationKind::Write, path, (offset, room), stamp);
        self.refresh(id, inode, (offset, offset + room));
        Ok(Written { offset, count })
    }
}

/// `RWF_NOAPPEND` of linux/fs.h, since Linux 6.9: write where the offset says, whatever `O_APPEND`.
const RWF_NOAPPEND: c_int = 0x20;

/// Whether a write appends: by its description, unless the call has it otherwise (pwritev2(2)).
const fn appends(description: bool, flags: c_int) -> bool {
    flags & libc::RWF_APPEND != 0 || description && flags & RWF_NOAPPEND == 0
}

/// What each write of a description with these flags, by a call with those, syncs. `O_SYNC` contains the bit of
/// `O_DSYNC`.
const fn sync_of_writes(description: c_int, call: c_int) -> Option<SyncScope> {
    if description & libc::O_SYNC == libc::O_SYNC || call & libc::RWF_SYNC != 0 {
        Some(SyncScope::All)
    } else if description & libc::O_DSYNC != 0 || call & libc::RWF_DSYNC != 0 {
        Some(SyncScope::Data)
    } else {
        None
    }
}

pub(super) fn non_negative(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Errno::EINVAL.into())
}
