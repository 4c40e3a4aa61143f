//! Sizes of files, reserved space and holes.

use super::Vfs;
use super::error::{Error, Result};
use super::mount::MountId;
use super::transfer::non_negative;
use crate::disk::{Errno, FileType, InodeNumber, OperationKind, Stamp};
use libc::c_int;
use std::sync::Arc;

/// What an `fallocate` does to its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Reserves it.
    Allocate,
    /// Frees it; the size stays always.
    Punch,
    /// Makes it zeros, reserved.
    Zero,
    /// Gives it blocks of its own, which ext4 does not know.
    Unshare,
}

/// What the mode of an `fallocate` says, and whether the size stays. The combinations that Linux refuses are those of
/// vfs_fallocate (fs/open.c).
fn extent(mode: c_int) -> Result<(Extent, bool)> {
    let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
    match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 => Ok((Extent::Allocate, keep_size)),
        libc::FALLOC_FL_PUNCH_HOLE if keep_size => Ok((Extent::Punch, true)),
        libc::FALLOC_FL_ZERO_RANGE => Ok((Extent::Zero, keep_size)),
        libc::FALLOC_FL_UNSHARE_RANGE => Ok((Extent::Unshare, keep_size)),
        libc::FALLOC_FL_COLLAPSE_RANGE if !keep_size => {
            Err(Error::Unsupported { call: "fallocate with FALLOC_FL_COLLAPSE_RANGE" })
        }
        libc::FALLOC_FL_INSERT_RANGE if !keep_size => {
            Err(Error::Unsupported { call: "fallocate with FALLOC_FL_INSERT_RANGE" })
        }
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

impl Vfs {
    /// `ftruncate`.
    pub fn ftruncate(&mut self, stamp: Stamp, descriptor: c_int, size: i64) -> Result<()> {
        let size = non_negative(size)?;
        let (mount, inode) = self.file_of(descriptor)?;
        let description = self.descriptors.get(descriptor)?;
        if !description.writes() {
            return Err(Errno::EINVAL.into());
        }
        let path = description.path.clone();
        self.resize(stamp, mount, inode, path, size);
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
        self.resize(stamp, place.mount, inode, path, size);
        Ok(())
    }

    /// Sets the size of a file.
    pub(super) fn resize(
        &mut self,
        stamp: Stamp,
        mount: MountId,
        inode: InodeNumber,
        path: Arc<str>,
        size: u64,
    ) {
        let state = self.mount_mut(mount);
        let before = state.disk.size(inode);
        state.disk.resize(inode, size, stamp);
        state.record(OperationKind::Truncate, path, (size, 0), stamp);
        self.refresh(mount, inode, (before.min(size), u64::MAX));
    }

    /// `fallocate` with mode 0, `FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE`, or `FALLOC_FL_ZERO_RANGE`, each of the
    /// others also with `FALLOC_FL_KEEP_SIZE`. A range is made zeros in two operations, a hole and a reservation; a
    /// crash that keeps one of them leaves the old bytes or zeros, as it may on Linux.
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
        let (extent, keep_size) = extent(mode)?;
        if !description.writes() {
            return Err(Errno::EBADF.into());
        }
        offset.checked_add(length).ok_or(Errno::EFBIG)?;
        let (offset, length) = (offset.unsigned_abs(), length.unsigned_abs());
        let (path, inode, mount) = (description.path.clone(), description.inode, description.mount);
        let state = self.mount_mut(mount);
        let missing = state.disk.pages_missing(inode, offset, length);
        if extent == Extent::Unshare {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if extent != Extent::Punch && missing > state.disk.free_pages() {
            state.count_no_space();
            return Err(Errno::ENOSPC.into());
        }
        match extent {
            Extent::Allocate => state.disk.allocate(inode, offset, length, keep_size, stamp),
            Extent::Punch => state.disk.punch(inode, offset, length, stamp),
            Extent::Zero => {
                state.disk.punch(inode, offset, length, stamp);
                state.disk.allocate(inode, offset, length, keep_size, stamp);
            }
            Extent::Unshare => unreachable!("refused above"),
        }
        state.record(OperationKind::Allocate, path, (offset, length), stamp);
        self.refresh(mount, inode, (offset, u64::MAX));
        Ok(())
    }
}
