//! The calls on a real directory of the host.

use super::Side;
use super::call::{At, Call, Outcome, SLOTS};
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
    /// Whether a directory's link count tells its subdirectories, as on ext4 and tmpfs, but not on btrfs.
    pub(super) counts_subdirectories: bool,
}

impl Host {
    pub(super) fn new(directory: &std::path::Path) -> Self {
        let root = rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let counts_subdirectories = rustix::fs::fstat(&root).unwrap().st_nlink == 2;
        let path = directory.canonicalize().unwrap();
        Self { root, path, slots: [const { None }; SLOTS], counts_subdirectories }
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

    fn call(&mut self, call: &Call) -> Option<Result<Outcome, HostErrno>> {
        let number = |result: Result<usize, HostErrno>| {
            result.map(|count| Outcome::Number(i64::try_from(count).unwrap()))
        };
        let done = |result: Result<(), HostErrno>| result.map(|()| Outcome::Done);
        Some(match call {
            Call::Read(slot, length) => {
                let mut buffer = vec![0; *length];
                let read = rustix::io::read(self.slots[*slot].as_ref()?, &mut buffer);
                read.map(|count| Outcome::Bytes(buffer[..count].to_vec()))
            }
            Call::Pread(slot, length, offset) => {
                let mut buffer = vec![0; *length];
                let read = rustix::io::pread(self.slots[*slot].as_ref()?, &mut buffer, *offset);
                read.map(|count| Outcome::Bytes(buffer[..count].to_vec()))
            }
            Call::Readv(slot, first, second, offset) => {
                let (mut first, mut second) = (vec![0; *first], vec![0; *second]);
                let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
                let file = self.slots[*slot].as_ref()?;
                let read = match offset {
                    Some(offset) => rustix::io::preadv(file, &mut buffers, *offset),
                    None => rustix::io::readv(file, &mut buffers),
                };
                read.map(|count| Outcome::Bytes([first, second].concat()[..count].to_vec()))
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
            Call::Rename(from, to, no_replace) => {
                let (from, to) = (self.at(from)?, self.at(to)?);
                let flags = if *no_replace { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
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

impl Side for Host {
    fn run(&mut self, call: &Call) -> Outcome {
        match self.call(call) {
            None => Outcome::Skipped,
            Some(Ok(outcome)) => outcome,
            Some(Err(errno)) => Outcome::Failed(errno.raw_os_error()),
        }
    }
}
