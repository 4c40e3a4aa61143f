//! The calls on a real directory of the host.

use super::Side;
use super::call::{At, Call, Outcome, Placed, SLOTS, loose_for_direct};
use super::mapped::{HostMap, MAPPINGS, MapCall};
use rustix::fs::{
    Access, AtFlags, Dir, FallocateFlags, FileType as HostType, FlockOperation, Mode, OFlags, RenameFlags,
    SeekFrom,
};
use rustix::io::Errno as HostErrno;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) struct Host {
    root: OwnedFd,
    path: std::path::PathBuf,
    slots: [Option<OwnedFd>; SLOTS],
    maps: [Option<HostMap>; MAPPINGS],
    /// Whether a directory's link count tells its subdirectories, as on ext4 and tmpfs, but not on btrfs.
    pub(super) counts_subdirectories: bool,
}

impl Host {
    pub(super) fn new(directory: &std::path::Path) -> Self {
        let root = rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let counts_subdirectories = rustix::fs::fstat(&root).unwrap().st_nlink == 2;
        let path = directory.canonicalize().unwrap();
        Self {
            root,
            path,
            slots: [const { None }; SLOTS],
            maps: [const { None }; MAPPINGS],
            counts_subdirectories,
        }
    }

    fn at<'a>(&'a self, at: &'a At) -> Option<(BorrowedFd<'a>, &'a str)> {
        match at.slot {
            None => Some((self.root.as_fd(), &at.path)),
            Some(slot) => Some((self.slots[slot].as_ref()?.as_fd(), &at.path)),
        }
    }

    fn status(&self, stat: &rustix::fs::Stat) -> Outcome {
        let directory = HostType::from_raw_mode(stat.st_mode) == HostType::Directory;
        Outcome::Status {
            directory,
            size: if directory { 0 } else { stat.st_size.cast_unsigned() },
            links: stat.st_nlink,
            permissions: stat.st_mode & 0o7777,
        }
    }

    fn pread(&self, slot: usize, length: usize, at: u64) -> Option<Result<Outcome, HostErrno>> {
        let mut buffer = Placed::new(length);
        let read = rustix::io::pread(self.slots[slot].as_ref()?, buffer.get_mut(), at);
        Some(read.map(|count| Outcome::Bytes(buffer.get()[..count].to_vec())))
    }

    fn call(&mut self, call: &Call) -> Option<Result<Outcome, HostErrno>> {
        let number = |result: Result<usize, HostErrno>| {
            result.map(|count| Outcome::Number(i64::try_from(count).unwrap()))
        };
        let done = |result: Result<(), HostErrno>| result.map(|()| Outcome::Done);
        for slot in loose_for_direct(call).into_iter().flatten() {
            if rustix::fs::fcntl_getfl(self.slots[slot].as_ref()?).unwrap().contains(OFlags::DIRECT) {
                return None;
            }
        }
        Some(match call {
            Call::Read(slot, length) => {
                let mut buffer = Placed::new(*length);
                let read = rustix::io::read(self.slots[*slot].as_ref()?, buffer.get_mut());
                read.map(|count| Outcome::Bytes(buffer.get()[..count].to_vec()))
            }
            Call::Pread(slot, length, offset) | Call::DirectRead(slot, length, offset) => {
                self.pread(*slot, *length, *offset)?
            }
            Call::DirectWrite(slot, bytes, offset) => {
                let placed = Placed::of(bytes);
                number(rustix::io::pwrite(self.slots[*slot].as_ref()?, placed.get(), *offset))
            }
            Call::WriteFlagged(slot, bytes, offset, flags) => {
                let placed = Placed::of(bytes);
                let flags = rustix::io::ReadWriteFlags::from_bits_retain(flags.cast_unsigned());
                let file = self.slots[*slot].as_ref()?;
                let buffers = [IoSlice::new(placed.get())];
                number(rustix::io::pwritev2(file, &buffers, offset.unwrap_or(u64::MAX), flags))
            }
            Call::CopyRange { from, to, length } => {
                let (mut from_offset, mut to_offset) = (from.1, to.1);
                let (from, to) = (self.slots[from.0].as_ref()?, self.slots[to.0].as_ref()?);
                let (from_place, to_place) = (from_offset.as_mut(), to_offset.as_mut());
                number(rustix::fs::copy_file_range(from, from_place, to, to_place, *length))
            }
            Call::SendFile { from, to, length } => {
                let mut offset = from.1;
                let (from, to) = (self.slots[from.0].as_ref()?, self.slots[*to].as_ref()?);
                let inode = |file: &OwnedFd| rustix::fs::fstat(file).unwrap().st_ino;
                if inode(from) == inode(to) {
                    return None;
                }
                number(rustix::fs::sendfile(to, from, offset.as_mut(), *length))
            }
            Call::Mapped(map, MapCall::Unmap) => self.maps[*map].take().map(|_| Ok(Outcome::Done))?,
            Call::Mapped(map, call @ MapCall::Map { slot, .. }) => {
                match HostMap::new(self.slots[*slot].as_ref()?, call) {
                    Ok(mapping) => {
                        self.maps[*map] = Some(mapping);
                        Ok(Outcome::Done)
                    }
                    Err(errno) => Err(HostErrno::from_raw_os_error(errno)),
                }
            }
            Call::Mapped(map, call) => {
                self.maps[*map].as_mut()?.call(call)?.map_err(HostErrno::from_raw_os_error)
            }
            Call::Readv(slot, first, second, offset) => {
                let (mut first, mut second) = (Placed::new(*first), Placed::new(*second));
                let mut buffers = [IoSliceMut::new(first.get_mut()), IoSliceMut::new(second.get_mut())];
                let file = self.slots[*slot].as_ref()?;
                let read = match offset {
                    Some(offset) => rustix::io::preadv(file, &mut buffers, *offset),
                    None => rustix::io::readv(file, &mut buffers),
                };
                read.map(|count| Outcome::Bytes([first.get(), second.get()].concat()[..count].to_vec()))
            }
            Call::Write(slot, bytes) => number(rustix::io::write(self.slots[*slot].as_ref()?, bytes)),
            Call::Pwrite(slot, bytes, offset) => {
                number(rustix::io::pwrite(self.slots[*slot].as_ref()?, bytes, *offset))
            }
            Call::Writev(slot, first, second, offset) => {
                let buffers = [IoSlice::new(first), IoSlice::new(second)];
                let file = self.slots[*slot].as_ref()?;
                number(match offset {
                    Some(offset) => rustix::io::pwritev(file, &buffers, *offset),
                    None => rustix::io::writev(file, &buffers),
                })
            }
            Call::Seek(slot, by, whence) => {
                let file = self.slots[*slot].as_ref()?;
                let status = rustix::fs::fstat(file).unwrap();
                if HostType::from_raw_mode(status.st_mode) == HostType::Directory {
                    return None;
                }
                let to = match *whence {
                    libc::SEEK_SET => SeekFrom::Start(by.cast_unsigned()),
                    libc::SEEK_CUR => SeekFrom::Current(*by),
                    _ => SeekFrom::End(*by),
                };
                rustix::fs::seek(file, to).map(|position| Outcome::Number(position.cast_signed()))
            }
            Call::Truncate(slot, size) => done(rustix::fs::ftruncate(self.slots[*slot].as_ref()?, *size)),
            Call::Allocate(slot, mode, offset, length) => {
                let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
                done(rustix::fs::fallocate(self.slots[*slot].as_ref()?, flags, *offset, *length))
            }
            Call::Sync(slot, ..) => self.slots[*slot].as_ref().map(|_| Ok(Outcome::Done))?,
            Call::Fstat(slot) => {
                rustix::fs::fstat(self.slots[*slot].as_ref()?).map(|stat| self.status(&stat))
            }
            Call::Fchmod(slot, mode) => {
                done(rustix::fs::fchmod(self.slots[*slot].as_ref()?, Mode::from_raw_mode(*mode)))
            }
            Call::Flock(slot, operation) => {
                let operation = match *operation {
                    libc::LOCK_SH => FlockOperation::NonBlockingLockShared,
                    libc::LOCK_EX => FlockOperation::NonBlockingLockExclusive,
                    _ => FlockOperation::NonBlockingUnlock,
                };
                done(rustix::fs::flock(self.slots[*slot].as_ref()?, operation))
            }
            Call::Flags(slot) => {
                // The kernel shows O_LARGEFILE, which a 64-bit libc has no name for.
                let flags = rustix::fs::fcntl_getfl(self.slots[*slot].as_ref()?);
                flags.map(|flags| Outcome::Number((flags.bits() & !0o100_000).into()))
            }
            Call::SetFlags(slot, flags) => {
                let flags = OFlags::from_bits_retain(flags.cast_unsigned());
                done(rustix::fs::fcntl_setfl(self.slots[*slot].as_ref()?, flags))
            }
            Call::Close(slot) => {
                drop(self.slots[*slot].take()?);
                Ok(Outcome::Done)
            }
            Call::Dup { from, to } => {
                let copy = rustix::io::dup(self.slots[*from].as_ref()?).unwrap();
                self.slots[*to] = Some(copy);
                Ok(Outcome::Done)
            }
            _ => return self.call_by_path(call),
        })
    }

    fn call_by_path(&mut self, call: &Call) -> Option<Result<Outcome, HostErrno>> {
        let done = |result: Result<(), HostErrno>| result.map(|()| Outcome::Done);
        Some(match call {
            Call::Open { slot, at, flags } => {
                let flags = OFlags::from_bits_retain(flags.cast_unsigned());
                let (directory, path) = self.at(at)?;
                match rustix::fs::openat(directory, path, flags, Mode::from_raw_mode(0o600)) {
                    Ok(file) => {
                        self.slots[*slot] = Some(file);
                        Ok(Outcome::Done)
                    }
                    Err(errno) => Err(errno),
                }
            }
            Call::Mkdir(at) => {
                let (directory, path) = self.at(at)?;
                done(rustix::fs::mkdirat(directory, path, Mode::from_raw_mode(0o700)))
            }
            Call::Remove(at, is_directory) => {
                let (directory, path) = self.at(at)?;
                let flags = if *is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                done(rustix::fs::unlinkat(directory, path, flags))
            }
            Call::TruncatePath(at, size) => {
                let (_, path) = self.at(at).filter(|_| at.slot.is_none() && !at.path.is_empty())?;
                let path = std::ffi::CString::new(self.path.join(path).into_os_string().into_encoded_bytes());
                done(host_truncate(&path.unwrap(), *size))
            }
            Call::Rename(from, to, flags) => {
                let (from, to) = (self.at(from)?, self.at(to)?);
                let flags = RenameFlags::from_bits_retain(*flags);
                done(rustix::fs::renameat_with(from.0, from.1, to.0, to.1, flags))
            }
            Call::Link(from, to) => {
                let (from, to) = (self.at(from)?, self.at(to)?);
                done(rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty()))
            }
            Call::Stat(at) => {
                let (directory, path) = self.at(at)?;
                rustix::fs::statat(directory, path, AtFlags::empty()).map(|stat| self.status(&stat))
            }
            Call::List(at) => {
                let (directory, path) = self.at(at)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::openat(directory, path, flags, Mode::empty()).map(|opened| {
                    let entries = Dir::new(opened).unwrap().filter_map(Result::ok);
                    let mut names: Vec<_> = entries
                        .map(|entry| {
                            let name = entry.file_name().to_str().unwrap().to_owned();
                            (name, entry.file_type() == HostType::Directory)
                        })
                        .collect();
                    names.sort();
                    Outcome::Names(names)
                })
            }
            Call::Chmod(at, mode) => {
                let (directory, path) = self.at(at)?;
                done(rustix::fs::chmodat(directory, path, Mode::from_raw_mode(*mode), AtFlags::empty()))
            }
            Call::Access(at, mode) => {
                let (directory, path) = self.at(at)?;
                let access = Access::from_bits_retain(*mode);
                done(rustix::fs::accessat(directory, path, access, AtFlags::empty()))
            }
            Call::Resolve(at) => {
                let (_, path) = self.at(at).filter(|_| at.slot.is_none() && !at.path.is_empty())?;
                match self.path.join(path).canonicalize() {
                    Ok(real) => {
                        let below = real.strip_prefix(&self.path).unwrap().to_str().unwrap();
                        let slash = if below.is_empty() { "" } else { "/" };
                        Ok(Outcome::Path(format!("{slash}{below}")))
                    }
                    Err(error) => Err(HostErrno::from_io_error(&error).unwrap()),
                }
            }
            _ => unreachable!("a call by descriptor: {call:?}"),
        })
    }
}

/// `truncate`, which rustix does not have.
fn host_truncate(path: &std::ffi::CStr, size: u64) -> Result<(), HostErrno> {
    crate::interpose::host_truncate(path, size.cast_signed()).map_err(HostErrno::from_raw_os_error)
}

impl Side for Host {
    fn run(&mut self, call: &Call) -> Outcome {
        match self.call(call) {
            None => Outcome::Skipped,
            Some(Ok(outcome)) => outcome,
            Some(Err(errno)) => Outcome::Failed(errno.raw_os_error()),
        }
    }
}
