//! Metadata of files and directories.

use super::Vfs;
use super::error::{Error, Result};
use super::mount::{MountId, Space};
use super::path::Place;
use crate::disk::{Attributes, Errno, FileType, InodeNumber, Metadata, OperationKind, Stamp};
use libc::{c_int, mode_t};

/// The times for `utimensat`, in virtual nanoseconds; `None` leaves a time as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The last read.
    pub accessed_ns: Option<u64>,
    /// The last change of the content.
    pub modified_ns: Option<u64>,
}

impl Vfs {
    /// `fstat`. The mount is the device.
    pub fn fstat(&self, descriptor: c_int) -> Result<(MountId, Metadata)> {
        let (mount, inode) = self.file_of(descriptor)?;
        Ok((mount, self.disk(mount).metadata(inode)))
    }

    /// `fstatat`, `stat`, `lstat`, `statx`: `AT_EMPTY_PATH` is heeded, `AT_SYMLINK_NOFOLLOW` changes nothing.
    pub fn fstatat(&self, directory: c_int, path: &[u8], flags: c_int) -> Result<(MountId, Metadata)> {
        if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
            return self.fstat(directory);
        }
        let (place, inode) = self.found(directory, path)?;
        Ok((place.mount, self.disk(place.mount).metadata(inode)))
    }

    /// `faccessat`. Every process is root: only executing a file without any execute bit is refused.
    pub fn faccessat(&self, directory: c_int, path: &[u8], mode: c_int) -> Result<()> {
        if mode & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let (place, inode) = self.found(directory, path)?;
        let metadata = self.disk(place.mount).metadata(inode);
        let executable =
            metadata.file_type == FileType::Directory || metadata.attributes.permissions & 0o111 != 0;
        if mode & libc::X_OK != 0 && !executable { Err(Errno::EACCES.into()) } else { Ok(()) }
    }

    /// `readlinkat`: nothing is a symbolic link, so what exists is answered with `EINVAL`.
    pub fn readlinkat(&self, directory: c_int, path: &[u8]) -> Result<Vec<u8>> {
        self.found(directory, path)?;
        Err(Errno::EINVAL.into())
    }

    /// `fchmod`.
    pub fn fchmod(&mut self, stamp: Stamp, descriptor: c_int, mode: mode_t) -> Result<()> {
        let (mount, inode) = self.file_of(descriptor)?;
        let path = self.descriptors.get(descriptor)?.path.clone();
        let attributes = with_mode(self.disk(mount).metadata(inode).attributes, mode);
        let mount = self.mount_mut(mount);
        mount.disk.set_attributes(inode, attributes, stamp);
        mount.record(OperationKind::SetAttributes, path, (0, 0), stamp);
        Ok(())
    }

    /// `fchmodat` without flags, `chmod`.
    pub fn fchmodat(&mut self, stamp: Stamp, directory: c_int, path: &[u8], mode: mode_t) -> Result<()> {
        let (place, inode) = self.found(directory, path)?;
        let attributes = with_mode(self.disk(place.mount).metadata(inode).attributes, mode);
        self.set_attributes(place, inode, attributes, stamp);
        Ok(())
    }

    /// `futimens`.
    pub fn futimens(&mut self, stamp: Stamp, descriptor: c_int, times: Times) -> Result<()> {
        let (mount, inode) = self.file_of(descriptor)?;
        let path = self.descriptors.get(descriptor)?.path.clone();
        let attributes = with_times(self.disk(mount).metadata(inode).attributes, times);
        let mount = self.mount_mut(mount);
        mount.disk.set_attributes(inode, attributes, stamp);
        mount.record(OperationKind::SetAttributes, path, (0, 0), stamp);
        Ok(())
    }

    /// `utimensat`; `AT_SYMLINK_NOFOLLOW` changes nothing.
    pub fn utimensat(&mut self, stamp: Stamp, directory: c_int, path: &[u8], times: Times) -> Result<()> {
        let (place, inode) = self.found(directory, path)?;
        let attributes = with_times(self.disk(place.mount).metadata(inode).attributes, times);
        self.set_attributes(place, inode, attributes, stamp);
        Ok(())
    }

    /// `statvfs`, `statfs`.
    pub fn statvfs(&self, directory: c_int, path: &[u8]) -> Result<Space> {
        let (place, _) = self.found(directory, path)?;
        Ok(self.space(place.mount))
    }

    /// `fstatvfs`, `fstatfs`.
    pub fn fstatvfs(&self, descriptor: c_int) -> Result<Space> {
        let (mount, _) = self.file_of(descriptor)?;
        Ok(self.space(mount))
    }

    fn found<'a>(&self, directory: c_int, path: &'a [u8]) -> Result<(Place<'a>, InodeNumber), Error> {
        let place = self.place(directory, path)?;
        Ok((place, self.lookup(place)?))
    }

    fn set_attributes(&mut self, place: Place<'_>, inode: InodeNumber, attributes: Attributes, stamp: Stamp) {
        let path = self.path_in_mount(place);
        let mount = self.mount_mut(place.mount);
        mount.disk.set_attributes(inode, attributes, stamp);
        mount.record(OperationKind::SetAttributes, path, (0, 0), stamp);
    }
}

const fn with_mode(attributes: Attributes, mode: mode_t) -> Attributes {
    Attributes { permissions: mode & 0o7777, ..attributes }
}

fn with_times(attributes: Attributes, times: Times) -> Attributes {
    Attributes {
        accessed_ns: times.accessed_ns.unwrap_or(attributes.accessed_ns),
        modified_ns: times.modified_ns.unwrap_or(attributes.modified_ns),
        ..attributes
    }
}
