//! The calls on the virtual file system.

use super::Side;
use super::call::{At, Call, Outcome, SLOTS};
use crate::disk::{Disk, FileType, Metadata, Stamp};
use crate::vfs::{Error, FIRST_DESCRIPTOR, MountId, Result, Vfs};
use std::io::{IoSlice, IoSliceMut};

const PREFIX: &str = "/brownout/node-1.1";

pub(super) struct Virtual {
    pub(super) vfs: Vfs,
    pub(super) mount: MountId,
    slots: [Option<i32>; SLOTS],
    time_ns: u64,
}

impl Virtual {
    pub(super) fn new() -> Self {
        let mut vfs = Vfs::new();
        let mount = vfs.mount(PREFIX, Disk::new());
        Self { vfs, mount, slots: [None; SLOTS], time_ns: 0 }
    }

    fn at(&self, at: &At) -> Option<(i32, Vec<u8>)> {
        match at.slot {
            None if at.path.is_empty() => Some((libc::AT_FDCWD, Vec::new())),
            None => Some((libc::AT_FDCWD, format!("{PREFIX}/{}", at.path).into_bytes())),
            Some(slot) => Some((self.slots[slot]?, at.path.clone().into_bytes())),
        }
    }

    fn call(&mut self, call: &Call) -> Option<Result<Outcome>> {
        self.time_ns += 1;
        let stamp = Stamp::new(self.time_ns, 1);
        let vfs = &mut self.vfs;
        let number =
            |result: Result<usize>| result.map(|count| Outcome::Number(i64::try_from(count).unwrap()));
        let done = |result: Result<()>| result.map(|()| Outcome::Done);
        Some(match call {
            Call::Read(slot, length) => {
                let mut buffer = vec![0; *length];
                let read = vfs.read(self.slots[*slot]?, &mut buffer);
                read.map(|count| Outcome::Bytes(buffer[..count].to_vec()))
            }
            Call::Pread(slot, length, offset) => {
                let mut buffer = vec![0; *length];
                let read = vfs.pread(self.slots[*slot]?, &mut buffer, offset.cast_signed());
                read.map(|count| Outcome::Bytes(buffer[..count].to_vec()))
            }
            Call::Readv(slot, first, second, offset) => {
                let (mut first, mut second) = (vec![0; *first], vec![0; *second]);
                let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
                let read = vfs.readv(self.slots[*slot]?, &mut buffers, offset.map(u64::cast_signed));
                read.map(|count| Outcome::Bytes([first, second].concat()[..count].to_vec()))
            }
            Call::Write(slot, bytes) => number(vfs.write(stamp, self.slots[*slot]?, bytes)),
            Call::Pwrite(slot, bytes, offset) => {
                number(vfs.pwrite(stamp, self.slots[*slot]?, bytes, offset.cast_signed()))
            }
            Call::Writev(slot, first, second, offset) => {
                let buffers = [IoSlice::new(first), IoSlice::new(second)];
                number(vfs.writev(stamp, self.slots[*slot]?, &buffers, offset.map(u64::cast_signed)))
            }
            Call::Seek(slot, by, whence) => {
                if self.vfs.describe(self.slots[*slot]?)?.is_directory {
                    return None;
                }
                self.vfs.lseek(self.slots[*slot]?, *by, *whence).map(Outcome::Number)
            }
            Call::Truncate(slot, size) => done(vfs.ftruncate(stamp, self.slots[*slot]?, size.cast_signed())),
            Call::Allocate(slot, mode, offset, length) => {
                let (offset, length) = (offset.cast_signed(), length.cast_signed());
                done(vfs.fallocate(stamp, self.slots[*slot]?, *mode, offset, length))
            }
            Call::Sync(slot, data, fate) => {
                let descriptor = self.slots[*slot]?;
                done(match data {
                    true => vfs.fdatasync(stamp, descriptor, *fate),
                    false => vfs.fsync(stamp, descriptor, *fate),
                })
            }
            Call::Fstat(slot) => vfs.fstat(self.slots[*slot]?).map(|(_, metadata)| status(&metadata)),
            Call::Fchmod(slot, mode) => done(vfs.fchmod(stamp, self.slots[*slot]?, *mode)),
            Call::Flock(slot, operation) => done(vfs.flock(self.slots[*slot]?, operation | libc::LOCK_NB)),
            Call::Flags(slot) => {
                vfs.fcntl(self.slots[*slot]?, libc::F_GETFL, 0).map(|flags| Outcome::Number(flags.into()))
            }
            Call::SetFlags(slot, flags) => {
                vfs.fcntl(self.slots[*slot]?, libc::F_SETFL, *flags).map(|_| Outcome::Done)
            }
            Call::Close(slot) => done(vfs.close(self.slots[*slot].take()?)),
            Call::Dup { from, to } => {
                let copy = vfs.dup(self.slots[*from]?).unwrap();
                assert!(copy >= FIRST_DESCRIPTOR);
                if let Some(old) = self.slots[*to].replace(copy) {
                    self.vfs.close(old).unwrap();
                }
                Ok(Outcome::Done)
            }
            _ => return self.call_by_path(call, stamp),
        })
    }

    fn call_by_path(&mut self, call: &Call, stamp: Stamp) -> Option<Result<Outcome>> {
        let done = |result: Result<()>| result.map(|()| Outcome::Done);
        Some(match call {
            Call::Open { slot, at, flags } => {
                let (directory, path) = self.at(at)?;
                let opened = self.vfs.openat(stamp, directory, &path, *flags, 0o600);
                opened.map(|descriptor| {
                    if let Some(old) = self.slots[*slot].replace(descriptor) {
                        self.vfs.close(old).unwrap();
                    }
                    Outcome::Done
                })
            }
            Call::Mkdir(at) => {
                let (directory, path) = self.at(at)?;
                done(self.vfs.mkdirat(stamp, directory, &path, 0o700))
            }
            Call::Remove(at, is_directory) => {
                let (directory, path) = self.at(at)?;
                let flags = if *is_directory { libc::AT_REMOVEDIR } else { 0 };
                done(self.vfs.unlinkat(stamp, directory, &path, flags))
            }
            Call::Rename(from, to, no_replace) => {
                let (from, to) = (self.at(from)?, self.at(to)?);
                let flags = if *no_replace { libc::RENAME_NOREPLACE } else { 0 };
                done(self.vfs.renameat2(stamp, (from.0, &from.1), (to.0, &to.1), flags))
            }
            Call::Link(from, to) => {
                let (from, to) = (self.at(from)?, self.at(to)?);
                done(self.vfs.linkat(stamp, (from.0, &from.1), (to.0, &to.1), 0))
            }
            Call::Stat(at) => {
                let (directory, path) = self.at(at)?;
                self.vfs.fstatat(directory, &path, 0).map(|(_, metadata)| status(&metadata))
            }
            Call::List(at) => {
                let (directory, path) = self.at(at)?;
                self.list(directory, &path)
            }
            Call::Chmod(at, mode) => {
                let (directory, path) = self.at(at)?;
                done(self.vfs.fchmodat(stamp, directory, &path, *mode))
            }
            Call::Access(at, mode) => {
                let (directory, path) = self.at(at)?;
                done(self.vfs.faccessat(directory, &path, *mode))
            }
            Call::Resolve(at) => {
                let (directory, path) = self.at(at).filter(|_| at.slot.is_none() && !at.path.is_empty())?;
                self.vfs.realpath(directory, &path).map(|real| {
                    let real = String::from_utf8(real).unwrap();
                    Outcome::Path(real.strip_prefix(PREFIX).unwrap().to_owned())
                })
            }
            _ => unreachable!("a call by descriptor: {call:?}"),
        })
    }

    fn list(&mut self, directory: i32, path: &[u8]) -> Result<Outcome> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let descriptor = self.vfs.openat(Stamp::default(), directory, path, flags, 0)?;
        let stream = self.vfs.fdopendir(descriptor)?;
        let mut names = Vec::new();
        while let Some(entry) = self.vfs.readdir(stream)? {
            names.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.d_type() == libc::DT_DIR));
        }
        names.sort();
        self.vfs.closedir(stream)?;
        Ok(Outcome::Names(names))
    }
}

fn status(metadata: &Metadata) -> Outcome {
    let directory = metadata.file_type == FileType::Directory;
    Outcome::Status {
        directory,
        size: if directory { 0 } else { metadata.size },
        links: metadata.links.into(),
        permissions: metadata.attributes.permissions,
    }
}

impl Side for Virtual {
    fn run(&mut self, call: &Call) -> Outcome {
        let outcome = match self.call(call) {
            None => Outcome::Skipped,
            Some(Ok(outcome)) => outcome,
            Some(Err(Error::Errno(errno))) => Outcome::Failed(errno.raw()),
            Some(Err(error)) => panic!("{call:?}: {error}"),
        };
        self.vfs.disk(self.mount).check_invariants();
        outcome
    }
}
