//! The calls on the virtual file system.

use super::Side;
use super::call::{At, Call, Outcome, Placed, SLOTS, loose_for_direct};
use super::mapped::{MAPPINGS, MapCall, VirtualMap};
use crate::disk::{Disk, FileType, Metadata, Stamp, SyncFate};
use crate::vfs::processor::Processor;
use crate::vfs::{CopyEnds, Error, FIRST_DESCRIPTOR, MountId, Result, Vfs};
use std::io::IoSliceMut;

const PREFIX: &str = "/brownout/node-1.1";

pub(super) struct Virtual {
    pub(super) vfs: Vfs,
    pub(super) mount: MountId,
    slots: [Option<i32>; SLOTS],
    maps: [Option<VirtualMap>; MAPPINGS],
    processor: Processor,
    time_ns: u64,
}

impl Virtual {
    pub(super) fn new() -> Self {
        let processor = Processor::default();
        let mut vfs = Vfs::with_memory(Box::new(processor.clone()));
        let mount = vfs.mount(PREFIX, Disk::new());
        let maps = [const { None }; MAPPINGS];
        Self { vfs, mount, slots: [None; SLOTS], maps, processor, time_ns: 0 }
    }

    /// When the last call was made.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::new(self.time_ns, 1)
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
        let stamp = self.stamp();
        let vfs = &mut self.vfs;
        while let Some(store) = vfs.next_store() {
            vfs.carry_out_store(stamp, &store);
        }
        for slot in loose_for_direct(call).into_iter().flatten() {
            if vfs.fcntl(self.slots[slot]?, libc::F_GETFL, 0).unwrap() & libc::O_DIRECT != 0 {
                return None;
            }
        }
        let number =
            |result: Result<usize>| result.map(|count| Outcome::Number(i64::try_from(count).unwrap()));
        let done = |result: Result<()>| result.map(|()| Outcome::Done);
        Some(match call {
            Call::Read(slot, length) => self.read(*slot, *length, None)?,
            Call::Pread(slot, length, offset) | Call::DirectRead(slot, length, offset) => {
                self.read(*slot, *length, Some(*offset))?
            }
            Call::Readv(slot, first, second, offset) => {
                let (mut first, mut second) = (Placed::new(*first), Placed::new(*second));
                let (descriptor, offset) = (self.slots[*slot]?, offset.map(u64::cast_signed));
                let places = [place(first.get()), place(second.get())];
                let mut buffers = [IoSliceMut::new(first.get_mut()), IoSliceMut::new(second.get_mut())];
                let read = vfs
                    .check_direct(descriptor, offset, &places, false)
                    .and_then(|()| vfs.readv(descriptor, &mut buffers, offset));
                read.map(|count| Outcome::Bytes([first.get(), second.get()].concat()[..count].to_vec()))
            }
            Call::Write(slot, bytes) => self.write(*slot, &[bytes], None, 0)?,
            Call::Pwrite(slot, bytes, offset) => self.write(*slot, &[bytes], Some(*offset), 0)?,
            Call::DirectWrite(slot, bytes, offset) => {
                self.write(*slot, &[Placed::of(bytes).get()], Some(*offset), 0)?
            }
            Call::Writev(slot, first, second, offset) => self.write(*slot, &[first, second], *offset, 0)?,
            Call::WriteFlagged(slot, bytes, offset, flags) => {
                let offset = offset.filter(|&offset| offset != u64::MAX);
                self.write(*slot, &[Placed::of(bytes).get()], offset, *flags)?
            }
            Call::CopyRange { from, to, length } => {
                let ends = self.ends(*from, *to)?;
                let copied = self.vfs.copy_file_range_begin(ends, *length, 0);
                let written = copied.and_then(|copy| self.vfs.copy_end(stamp, ends, &copy));
                number(written.map(|written| written.count))
            }
            Call::SendFile { from, to, length } => {
                let ends = self.ends(*from, (*to, None))?;
                let inode = |file| self.vfs.fstat(file).unwrap().1.inode;
                if inode(ends.from) == inode(ends.to) {
                    return None;
                }
                let copied = self.vfs.sendfile_begin(ends, *length);
                let written = copied.and_then(|copy| self.vfs.copy_end(stamp, ends, &copy));
                number(written.map(|written| written.count))
            }
            Call::Mapped(map, MapCall::Unmap) => {
                self.maps[*map].take()?.unmap(vfs);
                Ok(Outcome::Done)
            }
            Call::Mapped(map, call @ MapCall::Map { slot, .. }) => {
                VirtualMap::new(vfs, self.slots[*slot]?, call).map(|mapping| {
                    if let Some(old) = self.maps[*map].replace(mapping) {
                        old.unmap(vfs);
                    }
                    Outcome::Done
                })
            }
            Call::Mapped(map, call) => self.maps[*map].as_mut()?.call(vfs, &self.processor, call)?,
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
            Call::TruncatePath(at, size) => {
                let (_, path) = self.at(at).filter(|_| at.slot.is_none() && !at.path.is_empty())?;
                done(self.vfs.truncate(stamp, &path, size.cast_signed()))
            }
            Call::Rename(from, to, flags) => {
                let (from, to) = (self.at(from)?, self.at(to)?);
                done(self.vfs.renameat2(stamp, (from.0, &from.1), (to.0, &to.1), *flags))
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

    fn read(&mut self, slot: usize, length: usize, at: Option<u64>) -> Option<Result<Outcome>> {
        let (descriptor, at, mut buffer) = (self.slots[slot]?, at.map(u64::cast_signed), Placed::new(length));
        let checked = self.vfs.check_direct(descriptor, at, &[place(buffer.get())], false);
        let read = checked.and_then(|()| match at {
            Some(offset) => self.vfs.pread(descriptor, buffer.get_mut(), offset),
            None => self.vfs.read(descriptor, buffer.get_mut()),
        });
        Some(read.map(|count| Outcome::Bytes(buffer.get()[..count].to_vec())))
    }

    /// A write, as its caller makes it: with what `O_DIRECT` asks for before, and its sync after.
    fn write(
        &mut self,
        slot: usize,
        parts: &[&[u8]],
        at: Option<u64>,
        flags: i32,
    ) -> Option<Result<Outcome>> {
        let (descriptor, at, stamp) = (self.slots[slot]?, at.map(u64::cast_signed), self.stamp());
        let places: Vec<_> = parts.iter().map(|part| place(part)).collect();
        let total = parts.iter().map(|part| part.len()).sum();
        let written = self
            .vfs
            .check_flags(descriptor, flags, total, true)
            .and_then(|()| self.vfs.check_direct(descriptor, at, &places, true))
            .and_then(|()| self.vfs.write_with(stamp, descriptor, &parts.concat(), at, flags));
        Some(written.map(|written| {
            if let Some(sync) = self.vfs.sync_of_write(descriptor, written, flags) {
                self.vfs.sync_end(stamp, sync, SyncFate::Honest).unwrap();
            }
            Outcome::Number(i64::try_from(written.count).unwrap())
        }))
    }

    fn ends(&self, from: (usize, Option<u64>), to: (usize, Option<u64>)) -> Option<CopyEnds> {
        let offset = |offset: Option<u64>| offset.map(u64::cast_signed);
        let (from_offset, to_offset) = (offset(from.1), offset(to.1));
        Some(CopyEnds { from: self.slots[from.0]?, from_offset, to: self.slots[to.0]?, to_offset })
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

fn place(buffer: &[u8]) -> (usize, usize) {
    (buffer.as_ptr() as usize, buffer.len())
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
