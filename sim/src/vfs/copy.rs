//! Copying between files: `copy_file_range` and `sendfile`.

use super::Vfs;
use super::error::Result;
use super::mount::MountId;
use super::transfer::{Written, non_negative};
use crate::disk::{Errno, FileType, InodeNumber, Stamp};
use libc::{c_int, c_uint};

/// A copy that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// What would be written.
    pub bytes: Vec<u8>,
    /// Where in the file that is read.
    pub from: u64,
    /// Where in the file that is written to.
    pub to: u64,
}

/// Where a copy begins in both files, and how long it is at most.
struct Range {
    from: u64,
    to: u64,
    length: u64,
}

/// The ends of a copy: a descriptor each, and an offset where the call has one.
#[derive(Clone, Copy, Debug)]
pub struct CopyEnds {
    /// The descriptor that is read.
    pub from: c_int,
    /// Where, and then the description's offset is left alone.
    pub from_offset: Option<i64>,
    /// The descriptor that is written.
    pub to: c_int,
    /// Where, likewise.
    pub to_offset: Option<i64>,
}

impl Vfs {
    /// What `copy_file_range` would write, or why it may not: the checks stand in the order of
    /// vfs_copy_file_range and generic_copy_file_checks (fs/read_write.c).
    pub fn copy_file_range_begin(&self, ends: CopyEnds, length: usize, flags: c_uint) -> Result<Copy> {
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        let from = self.descriptors.get(ends.from)?;
        let to = self.descriptors.get(ends.to)?;
        let is_directory = |mount, inode| self.disk(mount).file_type(inode) == FileType::Directory;
        if is_directory(from.mount, from.inode) || is_directory(to.mount, to.inode) {
            return Err(Errno::EISDIR.into());
        }
        if !from.reads() || !to.writes() || to.appends() {
            return Err(Errno::EBADF.into());
        }
        let mut range = self.copy_range(ends, length)?;
        if range.from.checked_add(range.length).is_none() || range.to.checked_add(range.length).is_none() {
            return Err(Errno::EOVERFLOW.into());
        }
        // Only now are negative offsets found out (`rw_verify_area`).
        for offset in [ends.from_offset, ends.to_offset].into_iter().flatten() {
            non_negative(offset)?;
        }
        if from.mount != to.mount {
            return Err(Errno::EXDEV.into());
        }
        range.length = self.copied_length(from.mount, from.inode, &range);
        let overlaps = from.inode == to.inode
            && range.to + range.length > range.from
            && range.to < range.from + range.length;
        if overlaps && range.length > 0 {
            return Err(Errno::EINVAL.into());
        }
        self.check_direct_copy(ends, &range)?;
        Ok(self.read_copy(from.mount, from.inode, &range))
    }

    /// What `sendfile` between two files would write, or why it may not (fs/read_write.c, `do_sendfile`).
    pub fn sendfile_begin(&self, ends: CopyEnds, length: usize) -> Result<Copy> {
        let from = self.descriptors.get(ends.from)?;
        if !from.reads() {
            return Err(Errno::EBADF.into());
        }
        ends.from_offset.map(non_negative).transpose()?;
        let to = self.descriptors.get(ends.to)?;
        if !to.writes() {
            return Err(Errno::EBADF.into());
        }
        // A directory cannot be spliced from, and what is spliced cannot be appended.
        if self.disk(from.mount).file_type(from.inode) == FileType::Directory || to.appends() {
            return Err(Errno::EINVAL.into());
        }
        let mut range = self.copy_range(ends, length)?;
        range.length = self.copied_length(from.mount, from.inode, &range);
        self.check_direct_copy(ends, &range)?;
        Ok(self.read_copy(from.mount, from.inode, &range))
    }

    /// The kernel's own pages lie well, but a direct descriptor asks for whole sectors of a copy, too.
    fn check_direct_copy(&self, ends: CopyEnds, range: &Range) -> Result<()> {
        let length = usize::try_from(range.length).expect("no longer than the file");
        for (descriptor, offset, write) in [(ends.from, range.from, false), (ends.to, range.to, true)] {
            let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
            self.check_direct(descriptor, Some(offset), &[(0, length)], write)?;
        }
        Ok(())
    }

    /// Carries out a copy that was begun, of the bytes that are left of it: writes them, and moves the offsets of the
    /// descriptions for which the call has none of its own.
    pub fn copy_end(&mut self, stamp: Stamp, ends: CopyEnds, copy: &Copy) -> Result<Written> {
        let to = i64::try_from(copy.to).map_err(|_| Errno::EFBIG)?;
        let written = self.write_with(stamp, ends.to, &copy.bytes, Some(to), 0)?;
        // Of nothing copied, no offset moves. Where both are one description it moves once (`do_sendfile`).
        let count = written.count as u64;
        if ends.from_offset.is_none() {
            self.descriptors.get_mut(ends.from)?.offset = copy.from + count;
        }
        if ends.to_offset.is_none() {
            self.descriptors.get_mut(ends.to)?.offset = copy.to + count;
        }
        Ok(written)
    }

    fn copy_range(&self, ends: CopyEnds, length: usize) -> Result<Range> {
        let place = |descriptor, offset: Option<i64>| -> Result<u64> {
            match offset {
                Some(offset) => Ok(offset.cast_unsigned()),
                None => Ok(self.descriptors.get(descriptor)?.offset),
            }
        };
        let (from, to) = (place(ends.from, ends.from_offset)?, place(ends.to, ends.to_offset)?);
        Ok(Range { from, to, length: length as u64 })
    }

    fn copied_length(&self, mount: MountId, from: InodeNumber, range: &Range) -> u64 {
        range.length.min(self.disk(mount).size(from).saturating_sub(range.from))
    }

    fn read_copy(&self, mount: MountId, from: InodeNumber, range: &Range) -> Copy {
        let length = usize::try_from(range.length).expect("no longer than the file");
        let mut bytes = vec![0; length];
        self.disk(mount).read(from, range.from, &mut bytes);
        Copy { bytes, from: range.from, to: range.to }
    }
}
