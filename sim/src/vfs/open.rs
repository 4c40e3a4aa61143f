//! Opening files.

use super::Vfs;
use super::descriptor::Description;
use super::error::{Error, Result};
use super::path::{Last, Place, step};
use crate::disk::{Errno, FileType, InodeNumber, OperationKind, Stamp};
use libc::{c_int, mode_t};

/// The permission bits that a new file or directory does not get. Every process has the customary one.
const UMASK: mode_t = 0o022;

/// What a new file or directory gets of the permissions asked for.
pub(super) const fn permissions(mode: mode_t) -> u32 {
    mode & 0o7777 & !UMASK
}

impl Vfs {
    /// `openat` with every flag of open(2) but `O_PATH`, `O_TMPFILE` and `O_ASYNC`. `mode` counts
    /// where a file is created.
    pub fn openat(
        &mut self,
        stamp: Stamp,
        directory: c_int,
        path: &[u8],
        flags: c_int,
        mode: mode_t,
    ) -> Result<c_int> {
        check_flags(flags)?;
        let place = self.place(directory, path)?;
        let inode = match self.existing(place, flags)? {
            Some(inode) => {
                self.check_type(place, inode, flags)?;
                if flags & libc::O_TRUNC != 0 && self.disk(place.mount).file_type(inode) == FileType::File {
                    self.truncate_at_open(place, inode, stamp);
                }
                inode
            }
            None => self.create(place, mode, stamp)?,
        };
        let not_kept = libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_NOCTTY | libc::O_CLOEXEC;
        let path = self.path_in_mount(place);
        let description = Description::new(place.mount, inode, flags & !not_kept, path);
        self.mount_mut(place.mount).disk.open(inode);
        Ok(self.descriptors.insert(description, flags & libc::O_CLOEXEC != 0))
    }

    /// What an `openat` with these arguments would do: create a file, truncate one, or open it, if it
    /// succeeds at all. For callers that treat calls that change the disk in another way than others.
    pub fn open_kind(&self, directory: c_int, path: &[u8], flags: c_int) -> OperationKind {
        let Ok(place) = self.place(directory, path) else { return OperationKind::Open };
        match self.existing(place, flags) {
            Ok(None) => OperationKind::Create,
            Ok(Some(inode)) => {
                let disk = self.disk(place.mount);
                let truncates = flags & libc::O_TRUNC != 0
                    && disk.file_type(inode) == FileType::File
                    && disk.size(inode) > 0;
                if truncates { OperationKind::Truncate } else { OperationKind::Open }
            }
            Err(_) => OperationKind::Open,
        }
    }

    /// The inode to open; `None` where a file is to be created.
    fn existing(&self, place: Place<'_>, flags: c_int) -> Result<Option<InodeNumber>> {
        if flags & libc::O_CREAT == 0 {
            return self.lookup(place).map(Some);
        }
        let exclusive = flags & libc::O_EXCL != 0;
        let parent = self.parent(place)?;
        let disk = self.disk(place.mount);
        let Last::Name(name) = parent.last else {
            return Err(if exclusive { Errno::EEXIST } else { Errno::EISDIR }.into());
        };
        if parent.trailing_slash {
            return Err(Errno::EISDIR.into());
        }
        match step(disk, parent.directory, name) {
            Ok(_) if exclusive => Err(Errno::EEXIST.into()),
            Ok(inode) if disk.file_type(inode) == FileType::Directory => Err(Errno::EISDIR.into()),
            Ok(inode) => Ok(Some(inode)),
            Err(Error::Errno(Errno::ENOENT)) => {
                self.check_alive(place.mount, parent.directory)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn check_type(&self, place: Place<'_>, inode: InodeNumber, flags: c_int) -> Result<()> {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        match self.disk(place.mount).file_type(inode) {
            FileType::File if flags & libc::O_DIRECTORY != 0 => Err(Errno::ENOTDIR.into()),
            FileType::Directory if writes => Err(Errno::EISDIR.into()),
            // do_dentry_open (fs/open.c): what has no direct I/O.
            FileType::Directory if flags & libc::O_DIRECT != 0 => Err(Errno::EINVAL.into()),
            FileType::File | FileType::Directory => Ok(()),
        }
    }

    fn truncate_at_open(&mut self, place: Place<'_>, inode: InodeNumber, stamp: Stamp) {
        if self.disk(place.mount).size(inode) > 0 {
            let path = self.path_in_mount(place);
            self.resize(stamp, place.mount, inode, path, 0);
        }
    }

    fn create(&mut self, place: Place<'_>, mode: mode_t, stamp: Stamp) -> Result<InodeNumber> {
        let parent = self.parent(place)?;
        let Last::Name(name) = parent.last else { unreachable!("only a name can be created") };
        let path = self.path_in_mount(place);
        let mount = self.mount_mut(place.mount);
        let inode = mount.disk.create_file(parent.directory, name, permissions(mode), stamp);
        mount.record(OperationKind::Create, path, (0, 0), stamp);
        Ok(inode)
    }
}

fn check_flags(flags: c_int) -> Result<()> {
    // O_TMPFILE contains O_DIRECTORY.
    let call = if flags & libc::O_PATH != 0 {
        "open(O_PATH)"
    } else if flags & libc::O_TMPFILE == libc::O_TMPFILE {
        "open(O_TMPFILE)"
    } else if flags & libc::O_ASYNC != 0 {
        "open(O_ASYNC)"
    } else if flags & libc::O_ACCMODE == libc::O_ACCMODE {
        "open with access mode 3"
    } else if flags & libc::O_CREAT != 0 && flags & libc::O_DIRECTORY != 0 {
        // Since Linux 6.4.
        return Err(Errno::EINVAL.into());
    } else {
        return Ok(());
    };
    Err(Error::Unsupported { call })
}
