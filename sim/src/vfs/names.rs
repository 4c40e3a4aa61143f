//! Calls that change names.

use super::Vfs;
use super::error::{Error, Result};
use super::mount::MountId;
use super::open::permissions;
use super::path::{Last, Parent, Place, step};
use crate::disk::{Disk, Errno, FileType, InodeNumber, OperationKind, Stamp};
use libc::{c_int, c_uint, mode_t};
use std::sync::Arc;

impl Vfs {
    /// `mkdirat`.
    pub fn mkdirat(&mut self, stamp: Stamp, directory: c_int, path: &[u8], mode: mode_t) -> Result<()> {
        let place = self.place(directory, path)?;
        let parent = self.parent(place)?;
        let name = self.free_name(place, &parent)?;
        let record = self.path_in_mount(place);
        let mount = self.mount_mut(place.mount);
        if mount.disk.free_pages() == 0 {
            mount.count_no_space();
            return Err(Errno::ENOSPC.into());
        }
        mount.disk.make_directory(parent.directory, name, permissions(mode), stamp);
        mount.record(OperationKind::MakeDirectory, record, (0, 0), stamp);
        Ok(())
    }

    /// `unlinkat`: removes a file's name, or with `AT_REMOVEDIR` an empty directory.
    pub fn unlinkat(&mut self, stamp: Stamp, directory: c_int, path: &[u8], flags: c_int) -> Result<()> {
        let place = self.place(directory, path)?;
        let parent = self.parent(place)?;
        let record = self.path_in_mount(place);
        match flags {
            0 => {
                let name = self.removable_file(place, &parent)?;
                let mount = self.mount_mut(place.mount);
                mount.disk.unlink(parent.directory, name, stamp);
                mount.record(OperationKind::Unlink, record, (0, 0), stamp);
            }
            libc::AT_REMOVEDIR => {
                let name = self.removable_directory(place, &parent)?;
                let mount = self.mount_mut(place.mount);
                mount.disk.remove_directory(parent.directory, name, stamp);
                mount.record(OperationKind::RemoveDirectory, record, (0, 0), stamp);
            }
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(())
    }

    /// `renameat2` with no flag, `RENAME_NOREPLACE` or `RENAME_EXCHANGE`.
    pub fn renameat2(
        &mut self,
        stamp: Stamp,
        (old_directory, old_path): (c_int, &[u8]),
        (new_directory, new_path): (c_int, &[u8]),
        flags: c_uint,
    ) -> Result<()> {
        let rename = match flags {
            0 => Renaming::Replace,
            libc::RENAME_NOREPLACE => Renaming::NoReplace,
            libc::RENAME_EXCHANGE => Renaming::Exchange,
            // do_renameat2: an exchange replaces nothing and leaves nothing.
            _ if flags & libc::RENAME_EXCHANGE != 0 => return Err(Errno::EINVAL.into()),
            libc::RENAME_WHITEOUT => {
                return Err(Error::Unsupported { call: "renameat2 with RENAME_WHITEOUT" });
            }
            _ => return Err(Errno::EINVAL.into()),
        };
        let old_place = self.place(old_directory, old_path)?;
        let old = self.parent(old_place)?;
        let new_place = self.place(new_directory, new_path)?;
        let new = self.parent(new_place)?;
        if old_place.mount != new_place.mount {
            return Err(Errno::EXDEV.into());
        }
        let disk = self.disk(old_place.mount);
        let Some((old_name, new_name)) = check_rename(disk, &old, &new, rename)? else { return Ok(()) };
        let record: Arc<str> =
            format!("{} → {}", self.path_in_mount(old_place), self.path_in_mount(new_place)).into();
        let mount = self.mount_mut(old_place.mount);
        let (one, other) = ((old.directory, old_name), (new.directory, new_name));
        match rename {
            Renaming::Replace | Renaming::NoReplace => mount.disk.rename(one, other, stamp),
            Renaming::Exchange => mount.disk.exchange(one, other, stamp),
        }
        mount.record(OperationKind::Rename, record, (0, 0), stamp);
        Ok(())
    }

    /// `linkat` without flags, or with `AT_SYMLINK_FOLLOW`, which changes nothing: there are no symbolic
    /// links.
    pub fn linkat(
        &mut self,
        stamp: Stamp,
        (old_directory, old_path): (c_int, &[u8]),
        (new_directory, new_path): (c_int, &[u8]),
        flags: c_int,
    ) -> Result<()> {
        if flags & !libc::AT_SYMLINK_FOLLOW != 0 {
            return Err(Error::Unsupported { call: "linkat with AT_EMPTY_PATH" });
        }
        let old_place = self.place(old_directory, old_path)?;
        let file = self.lookup(old_place)?;
        let new_place = self.place(new_directory, new_path)?;
        let new = self.parent(new_place)?;
        let name = self.free_file_name(new_place, &new)?;
        if old_place.mount != new_place.mount {
            return Err(Errno::EXDEV.into());
        }
        if self.disk(old_place.mount).file_type(file) == FileType::Directory {
            return Err(Errno::EPERM.into());
        }
        let record = self.path_in_mount(new_place);
        let mount = self.mount_mut(new_place.mount);
        mount.disk.link(file, new.directory, name, stamp);
        mount.record(OperationKind::Link, record, (0, 0), stamp);
        Ok(())
    }

    /// `symlinkat`: there are no symbolic links.
    pub fn symlinkat(&mut self) -> Result<()> {
        Err(Error::Unsupported { call: "symlink" })
    }

    /// A directory that was removed while open takes no new entries.
    pub(super) fn check_alive(&self, mount: MountId, directory: InodeNumber) -> Result<()> {
        if self.disk(mount).is_removed(directory) { Err(Errno::ENOENT.into()) } else { Ok(()) }
    }

    /// The last component, which must be free, for something new.
    fn free_name<'a>(&self, place: Place<'a>, parent: &Parent<'a>) -> Result<&'a [u8]> {
        let Last::Name(name) = parent.last else { return Err(Errno::EEXIST.into()) };
        match step(self.disk(place.mount), parent.directory, name) {
            Ok(_) => Err(Errno::EEXIST.into()),
            Err(Error::Errno(Errno::ENOENT)) => {
                self.check_alive(place.mount, parent.directory)?;
                Ok(name)
            }
            Err(error) => Err(error),
        }
    }

    /// Likewise for a file, which a trailing slash contradicts.
    fn free_file_name<'a>(&self, place: Place<'a>, parent: &Parent<'a>) -> Result<&'a [u8]> {
        let name = self.free_name(place, parent)?;
        if parent.trailing_slash { Err(Errno::ENOENT.into()) } else { Ok(name) }
    }

    fn removable_file<'a>(&self, place: Place<'a>, parent: &Parent<'a>) -> Result<&'a [u8]> {
        let disk = self.disk(place.mount);
        let Last::Name(name) = parent.last else { return Err(Errno::EISDIR.into()) };
        match disk.file_type(step(disk, parent.directory, name)?) {
            FileType::Directory => Err(Errno::EISDIR.into()),
            FileType::File if parent.trailing_slash => Err(Errno::ENOTDIR.into()),
            FileType::File => Ok(name),
        }
    }

    fn removable_directory<'a>(&self, place: Place<'a>, parent: &Parent<'a>) -> Result<&'a [u8]> {
        let disk = self.disk(place.mount);
        let name = match parent.last {
            Last::Name(name) => name,
            Last::Dot => return Err(Errno::EINVAL.into()),
            Last::DotDot => return Err(Errno::ENOTEMPTY.into()),
            Last::Root => return Err(Errno::EBUSY.into()),
        };
        let removed = step(disk, parent.directory, name)?;
        match disk.file_type(removed) {
            FileType::File => Err(Errno::ENOTDIR.into()),
            FileType::Directory if !disk.is_empty(removed) => Err(Errno::ENOTEMPTY.into()),
            FileType::Directory => Ok(name),
        }
    }
}

/// What `renameat2` is to do with what has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renaming {
    Replace,
    NoReplace,
    Exchange,
}

/// The names of a rename that may be done; `None` where there is nothing to do. The checks stand in the order
/// of Linux's `do_renameat2` and `vfs_rename` (fs/namei.c), which decides the errno where several apply.
fn check_rename<'a>(
    disk: &Disk,
    old: &Parent<'a>,
    new: &Parent<'a>,
    rename: Renaming,
) -> Result<Option<(&'a [u8], &'a [u8])>> {
    let Last::Name(old_name) = old.last else { return Err(Errno::EBUSY.into()) };
    let Last::Name(new_name) = new.last else {
        return Err(if rename == Renaming::NoReplace { Errno::EEXIST } else { Errno::EBUSY }.into());
    };
    let moved = step(disk, old.directory, old_name)?;
    // A directory that was removed while open takes no new entries.
    if disk.is_removed(new.directory) {
        return Err(Errno::ENOENT.into());
    }
    let target = match step(disk, new.directory, new_name) {
        Ok(_) if rename == Renaming::NoReplace => return Err(Errno::EEXIST.into()),
        Ok(target) => Some(target),
        Err(Error::Errno(Errno::ENOENT)) if rename != Renaming::Exchange => None,
        Err(error) => return Err(error),
    };
    let moves_directory = disk.file_type(moved) == FileType::Directory;
    if !moves_directory && old.trailing_slash {
        return Err(Errno::ENOTDIR.into());
    }
    let gets_directory = match rename {
        Renaming::Exchange => target.is_some_and(|target| disk.file_type(target) == FileType::Directory),
        Renaming::Replace | Renaming::NoReplace => moves_directory,
    };
    if !gets_directory && new.trailing_slash {
        return Err(Errno::ENOTDIR.into());
    }
    if moves_directory && old.directory != new.directory && disk.is_ancestor(moved, new.directory) {
        return Err(Errno::EINVAL.into());
    }
    let Some(target) = target else { return Ok(Some((old_name, new_name))) };
    if target == moved {
        return Ok(None);
    }
    let target_type = disk.file_type(target);
    let holds_old = target_type == FileType::Directory
        && old.directory != new.directory
        && disk.is_ancestor(target, old.directory);
    if holds_old {
        let exchange = rename == Renaming::Exchange;
        return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY }.into());
    }
    if rename == Renaming::Exchange {
        return Ok(Some((old_name, new_name)));
    }
    match (moves_directory, target_type) {
        (true, FileType::File) => Err(Errno::ENOTDIR.into()),
        (false, FileType::Directory) => Err(Errno::EISDIR.into()),
        (true, FileType::Directory) if !disk.is_empty(target) => Err(Errno::ENOTEMPTY.into()),
        (true, FileType::Directory) | (false, FileType::File) => Ok(Some((old_name, new_name))),
    }
}
