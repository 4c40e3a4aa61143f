//! Reading, writing, sizes and syncs of open files.

use super::Vfs;
use super::error::{Error, Result};
use super::mount::MountId;
use crate::disk::{Errno, FileType, InodeNumber, OperationKind, Stamp, SyncFate, SyncScope};
use libc::{c_int, c_uint};
use std::io::{IoSlice, IoSliceMut};

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
        let (offset, count) = self.write_at(stamp, descriptor, bytes, None)?;
        if count > 0 {
            self.descriptors.get_mut(descriptor)?.offset = offset + count as u64;
        }
        Ok(count)
    }

    /// `pwrite`. As on Linux, a description with `O_APPEND` appends whatever the offset (pwrite(2), BUGS).
    pub fn pwrite(&mut self, stamp: Stamp, descriptor: c_int, bytes: &[u8], offset: i64) -> Result<usize> {
        let offset = non_negative(offset)?;
        self.write_at(stamp, descriptor, bytes, Some(offset)).map(|(_, count)| count)
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

    /// `ftruncate`.
    pub fn ftruncate(&mut self, stamp: Stamp, descriptor: c_int, size: i64) -> Result<()> {
        let size = non_negative(size)?;
        let (mount, inode) = self.file_of(descriptor)?;
        let description = self.descriptors.get(descriptor)?;
        if !description.writes() {
            return Err(Errno::EINVAL.into());
        }
        let path = description.path.clone();
        let mount = self.mount_mut(mount);
        mount.disk.resize(inode, size, stamp);
        mount.record(OperationKind::Truncate, path, (size, 0), stamp);
        Ok(())
    }

    /// `truncate`.
    pub fn truncate(&mut self, stamp: Stamp, path: &[u8], size: i64) -> Result<()> {
        let size = non_negative(size)?;
        let place = self.place(libc::AT_FDCWD, path)?;
        let inode = self.lookup(place)?;
        if self.disk(place.mount).file_type(inode) == FileType::Directory {
            return Err(Errno::EISDIR.into());
        }
        let path = self.path_in_mount(place);
        let mount = self.mount_mut(place.mount);
        mount.disk.resize(inode, size, stamp);
        mount.record(OperationKind::Truncate, path, (size, 0), stamp);
        Ok(())
    }

    /// `fallocate` with mode 0, `FALLOC_FL_KEEP_SIZE`, or `FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE`.
    pub fn fallocate(
        &mut self,
        stamp: Stamp,
        descriptor: c_int,
        mode: c_int,
        offset: i64,
        length: i64,
    ) -> Result<()> {
        let description = self.descriptors.get(descriptor)?;
        if offset < 0 || length <= 0 {
            return Err(Errno::EINVAL.into());
        }
        let (keep_size, punch) = match mode {
            0 => (false, false),
            libc::FALLOC_FL_KEEP_SIZE => (true, false),
            libc::FALLOC_FL_PUNCH_HOLE => return Err(Errno::EOPNOTSUPP.into()),
            mode if mode == libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE => (true, true),
            _ => return Err(Error::Unsupported { call: "fallocate with this mode" }),
        };
        if !description.writes() {
            return Err(Errno::EBADF.into());
        }
        offset.checked_add(length).ok_or(Errno::EFBIG)?;
        let (offset, length) = (offset.unsigned_abs(), length.unsigned_abs());
        let (path, inode) = (description.path.clone(), description.inode);
        let mount = description.mount;
        let mount = self.mount_mut(mount);
        if punch {
            mount.disk.punch(inode, offset, length, stamp);
        } else if mount.disk.pages_missing(inode, offset, length) > mount.disk.free_pages() {
            mount.count_no_space();
            return Err(Errno::ENOSPC.into());
        } else {
            mount.disk.allocate(inode, offset, length, keep_size, stamp);
        }
        mount.record(OperationKind::Allocate, path, (offset, length), stamp);
        Ok(())
    }

    /// `fsync` of a file or directory, with the fate that the caller's faults gave it. A failed one reports
    /// `EIO`.
    pub fn fsync(&mut self, stamp: Stamp, descriptor: c_int, fate: SyncFate) -> Result<()> {
        self.sync(stamp, descriptor, SyncScope::All, fate)
    }

    /// `fdatasync`, likewise.
    pub fn fdatasync(&mut self, stamp: Stamp, descriptor: c_int, fate: SyncFate) -> Result<()> {
        self.sync(stamp, descriptor, SyncScope::Data, fate)
    }

    /// `sync_file_range`: starts write-back and promises nothing (sync_file_range(2): "extremely
    /// dangerous").
    pub fn sync_file_range(
        &mut self,
        stamp: Stamp,
        descriptor: c_int,
        offset: i64,
        length: i64,
        flags: c_uint,
    ) -> Result<()> {
        let known = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        let description = self.descriptors.get(descriptor)?;
        let overflows = offset.checked_add(length).is_none();
        if flags & !known != 0 || offset < 0 || length < 0 || overflows {
            return Err(Errno::EINVAL.into());
        }
        let (mount, path) = (description.mount, description.path.clone());
        let range = (offset.unsigned_abs(), length.unsigned_abs());
        self.mount_mut(mount).record(OperationKind::RangeSync, path, range, stamp);
        Ok(())
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

    /// Writes at `offset`, or where the description stands; returns where it wrote and how much.
    fn write_at(
        &mut self,
        stamp: Stamp,
        descriptor: c_int,
        bytes: &[u8],
        offset: Option<u64>,
    ) -> Result<(u64, usize)> {
        let description = self.descriptors.get(descriptor)?;
        if !description.writes() {
            return Err(Errno::EBADF.into());
        }
        let (inode, appends, path) = (description.inode, description.appends(), description.path.clone());
        let offset = offset.unwrap_or(description.offset);
        let scope = sync_of_writes(description.flags);
        let mount = description.mount;
        let mount = self.mount_mut(mount);
        let offset = if appends { mount.disk.size(inode) } else { offset };
        let length = bytes.len() as u64;
        if length == 0 {
            return Ok((offset, 0));
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
        if let Some(scope) = scope {
            mount.disk.sync(inode, scope, SyncFate::Honest);
        }
        Ok((offset, count))
    }

    fn sync(&mut self, stamp: Stamp, descriptor: c_int, scope: SyncScope, fate: SyncFate) -> Result<()> {
        let description = self.descriptors.get(descriptor)?;
        let (inode, path) = (description.inode, description.path.clone());
        let kind = match scope {
            SyncScope::All => OperationKind::Sync,
            SyncScope::Data => OperationKind::DataSync,
        };
        let mount = description.mount;
        let mount = self.mount_mut(mount);
        mount.disk.sync(inode, scope, fate);
        mount.record(kind, path, (0, 0), stamp);
        if fate == SyncFate::Failed { Err(Errno::EIO.into()) } else { Ok(()) }
    }
}

/// What each write of a description with these flags syncs. `O_SYNC` contains the bit of `O_DSYNC`.
const fn sync_of_writes(flags: c_int) -> Option<SyncScope> {
    if flags & libc::O_SYNC == libc::O_SYNC {
        Some(SyncScope::All)
    } else if flags & libc::O_DSYNC != 0 {
        Some(SyncScope::Data)
    } else {
        None
    }
}

fn non_negative(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Errno::EINVAL.into())
}
