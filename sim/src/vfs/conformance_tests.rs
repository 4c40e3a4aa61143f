//! The same random calls on the virtual file system and on a real directory of the host: every result, every
//! errno and the final trees must be equal.
//!
//! Left out on purpose, because the virtual file system is stricter or simpler by design: access times, block
//! counts, paths that leave the mount by `..`, and what [`Error::Unsupported`](super::Error) names.

use super::{FIRST_DESCRIPTOR, MountId, Vfs};
use crate::disk::{Disk, FileType, Keep, PendingOperation, Profile, Stamp, SyncFate, View, crash_image};
use proptest::prelude::*;
use rustix::fs::{
    Access, AtFlags, Dir, FallocateFlags, FileType as HostType, FlockOperation, Mode, OFlags, RenameFlags,
    SeekFrom,
};
use rustix::io::Errno as HostErrno;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const SLOTS: usize = 5;
const PREFIX: &str = "/brownout/node-1.1";

/// A path: relative to the root, or to the directory open in a slot.
#[derive(Clone, Debug)]
struct At {
    slot: Option<usize>,
    path: String,
}

#[derive(Clone, Debug)]
enum Call {
    Open {
        slot: usize,
        at: At,
        flags: i32,
    },
    Close(usize),
    Dup {
        from: usize,
        to: usize,
    },
    Read(usize, usize),
    Pread(usize, usize, u64),
    Readv(usize, usize, usize, Option<u64>),
    Write(usize, Vec<u8>),
    Pwrite(usize, Vec<u8>, u64),
    Writev(usize, Vec<u8>, Vec<u8>, Option<u64>),
    Seek(usize, i64, i32),
    Truncate(usize, u64),
    Allocate(usize, i32, u64, u64),
    /// Only the virtual disk syncs: a real one takes milliseconds, and promises nothing that could be compared.
    Sync(usize, bool, SyncFate),
    Mkdir(At),
    Remove(At, bool),
    Rename(At, At, bool),
    Link(At, At),
    Stat(At),
    Fstat(usize),
    List(At),
    Chmod(At, u32),
    Fchmod(usize, u32),
    Access(At, i32),
    Flock(usize, i32),
    Flags(usize),
    SetFlags(usize, i32),
    Resolve(At),
}

/// What a call gave back, comparable between the two.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Number(i64),
    Bytes(Vec<u8>),
    Status {
        directory: bool,
        size: u64,
        links: u64,
        permissions: u32,
    },
    Names(Vec<(String, bool)>),
    Path(String),
    Failed(i32),
    /// A slot in it is empty.
    Skipped,
}

fn path() -> impl Strategy<Value = String> {
    let likely =
        ["a", "b", "d", "e", "d/a", "d/b", "d/d", "d/e", "d/e/a", "d/e/e", "e/a", "e/b", "e/d", "e/d/a"];
    prop_oneof![
        3 => prop::sample::select(likely.map(str::to_owned).to_vec()),
        2 => unlikely_path(),
    ]
}

fn unlikely_path() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "d", "e"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![".", "..", "", "with-a-longer-name"]).prop_map(str::to_owned),
        1 => prop_oneof![Just(255_usize), Just(256)].prop_map(|length| "n".repeat(length)),
    ];
    let slash = prop_oneof![9 => Just(""), 1 => Just("/")];
    (prop::collection::vec(component, 1..4), slash)
        .prop_map(|(components, slash)| components.join("/") + slash)
        .prop_filter("absolute, or leaving the root", |path| !path.starts_with('/') && stays_inside(path))
}

/// True where the path cannot leave the directory it begins in, whatever exists.
fn stays_inside(path: &str) -> bool {
    let mut depth = 0;
    path.split('/').all(|component| {
        depth += match component {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        depth >= 0
    })
}

fn at() -> impl Strategy<Value = At> {
    let slot = prop_oneof![5 => Just(None), 1 => (0..SLOTS).prop_map(Some)];
    (slot, path()).prop_map(|(slot, path)| At { slot, path })
}

fn open_flags() -> impl Strategy<Value = i32> {
    let access = prop::sample::select(vec![libc::O_RDONLY, libc::O_RDWR, libc::O_RDWR, libc::O_WRONLY]);
    let option = |flag: i32, weight: u32| prop_oneof![weight => Just(0), 1 => Just(flag)];
    let options = (
        option(libc::O_CREAT, 1),
        option(libc::O_EXCL, 5),
        option(libc::O_TRUNC, 4),
        option(libc::O_APPEND, 4),
        option(libc::O_DIRECTORY, 6),
        option(libc::O_NOFOLLOW, 6),
    );
    (access, options)
        .prop_map(|(access, (create, exclusive, truncate, append, directory, nofollow))| {
            access | create | exclusive | truncate | append | directory | nofollow
        })
        // Changed between kernels (EINVAL since 6.4), and undefined without O_CREAT.
        .prop_filter("O_CREAT with O_DIRECTORY, O_EXCL alone", |flags| {
            let has = |flag| flags & flag != 0;
            !(has(libc::O_CREAT) && has(libc::O_DIRECTORY)) && (has(libc::O_CREAT) || !has(libc::O_EXCL))
        })
}

fn call() -> impl Strategy<Value = Call> {
    let slot = 0..SLOTS;
    let offset = prop_oneof![0..20_000_u64, (0..5_u64).prop_map(|page| page * 4096), Just(u64::MAX)];
    let bytes = (any::<u8>(), prop_oneof![0..300_usize, 0..10_000_usize, Just(4096)])
        .prop_map(|(byte, length)| vec![byte; length]);
    let fate = prop::sample::select(vec![SyncFate::Honest, SyncFate::Lying]);
    let files = prop_oneof![
        6 => (slot.clone(), at(), open_flags()).prop_map(|(slot, at, flags)| Call::Open { slot, at, flags }),
        2 => slot.clone().prop_map(Call::Close),
        1 => (slot.clone(), slot.clone()).prop_map(|(from, to)| Call::Dup { from, to }),
        2 => (slot.clone(), 0..10_000_usize).prop_map(|(slot, length)| Call::Read(slot, length)),
        2 => (slot.clone(), 0..10_000_usize, offset.clone()).prop_map(|(slot, length, at)| Call::Pread(slot, length, at)),
        1 => (slot.clone(), 0..6000_usize, 0..6000_usize, prop::option::of(offset.clone()))
            .prop_map(|(slot, first, second, at)| Call::Readv(slot, first, second, at)),
        4 => (slot.clone(), bytes.clone()).prop_map(|(slot, bytes)| Call::Write(slot, bytes)),
        4 => (slot.clone(), bytes.clone(), offset.clone()).prop_map(|(slot, bytes, at)| Call::Pwrite(slot, bytes, at)),
        1 => (slot.clone(), bytes.clone(), bytes, prop::option::of(offset.clone()))
            .prop_map(|(slot, first, second, at)| Call::Writev(slot, first, second, at)),
        2 => (slot.clone(), -5000..20_000_i64, 0..3_i32).prop_map(|(slot, by, whence)| Call::Seek(slot, by, whence)),
        2 => (slot.clone(), 0..30_000_u64).prop_map(|(slot, size)| Call::Truncate(slot, size)),
        1 => (slot.clone(), 0..4_i32, 0..20_000_u64, 0..20_000_u64)
            .prop_map(|(slot, mode, offset, length)| Call::Allocate(slot, mode, offset, length)),
        2 => (slot.clone(), any::<bool>(), fate).prop_map(|(slot, data, fate)| Call::Sync(slot, data, fate)),
    ];
    let descriptors = prop_oneof![
        1 => slot.clone().prop_map(Call::Fstat),
        1 => (slot.clone(), mode()).prop_map(|(slot, mode)| Call::Fchmod(slot, mode)),
        1 => (slot.clone(), prop::sample::select(vec![libc::LOCK_SH, libc::LOCK_EX, libc::LOCK_UN]))
            .prop_map(|(slot, operation)| Call::Flock(slot, operation)),
        1 => slot.clone().prop_map(Call::Flags),
        1 => (slot, prop::sample::select(vec![0, libc::O_APPEND])).prop_map(|(slot, flags)| Call::SetFlags(slot, flags)),
    ];
    let names = prop_oneof![
        4 => at().prop_map(Call::Mkdir),
        4 => (at(), any::<bool>()).prop_map(|(at, directory)| Call::Remove(at, directory)),
        6 => (at(), at(), prop::bool::weighted(0.2)).prop_map(|(from, to, keep)| Call::Rename(from, to, keep)),
        2 => (at(), at()).prop_map(|(from, to)| Call::Link(from, to)),
        2 => at().prop_map(Call::Stat),
        1 => at().prop_map(Call::List),
        1 => (at(), mode()).prop_map(|(at, mode)| Call::Chmod(at, mode)),
        1 => (at(), 0..8_i32).prop_map(|(at, mode)| Call::Access(at, mode)),
        1 => at().prop_map(Call::Resolve),
    ];
    prop_oneof![6 => files, 1 => descriptors, 5 => names]
}

/// Modes that let the tests be run by any user.
fn mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o700_u32, 0o750, 0o755, 0o744])
}

/// One side of the comparison.
trait Side {
    fn run(&mut self, call: &Call) -> Outcome;
}

struct Virtual {
    vfs: Vfs,
    mount: MountId,
    slots: [Option<i32>; SLOTS],
    time_ns: u64,
}

struct Host {
    root: OwnedFd,
    path: std::path::PathBuf,
    slots: [Option<OwnedFd>; SLOTS],
    /// Whether a directory's link count tells its subdirectories, as on ext4 and tmpfs, but not on btrfs.
    counts_subdirectories: bool,
}

impl Virtual {
    fn new() -> Self {
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

    fn call(&mut self, call: &Call) -> Option<super::Result<Outcome>> {
        self.time_ns += 1;
        let stamp = Stamp::new(self.time_ns, 1);
        let vfs = &mut self.vfs;
        let number =
            |result: super::Result<usize>| result.map(|count| Outcome::Number(i64::try_from(count).unwrap()));
        let done = |result: super::Result<()>| result.map(|()| Outcome::Done);
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

    fn call_by_path(&mut self, call: &Call, stamp: Stamp) -> Option<super::Result<Outcome>> {
        let done = |result: super::Result<()>| result.map(|()| Outcome::Done);
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

    fn list(&mut self, directory: i32, path: &[u8]) -> super::Result<Outcome> {
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

fn status(metadata: &crate::disk::Metadata) -> Outcome {
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
            Some(Err(super::Error::Errno(errno))) => Outcome::Failed(errno.raw()),
            Some(Err(error)) => panic!("{call:?}: {error}"),
        };
        self.vfs.disk(self.mount).check_invariants();
        outcome
    }
}

impl Host {
    fn new(directory: &std::path::Path) -> Self {
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

/// Lists a tree by the calls under test: every path with its status and bytes.
fn tree(side: &mut dyn Side) -> Vec<(String, Outcome, Outcome)> {
    let root = |path: &str| At { slot: None, path: path.to_owned() };
    let mut unseen = vec![String::new()];
    let mut found = Vec::new();
    for slot in 0..SLOTS {
        side.run(&Call::Close(slot));
    }
    while let Some(directory) = unseen.pop() {
        let listed = if directory.is_empty() { ".".to_owned() } else { directory.clone() };
        let Outcome::Names(names) = side.run(&Call::List(root(&listed))) else {
            panic!("{listed} cannot be listed")
        };
        for (name, is_directory) in names.into_iter().filter(|(name, _)| name != "." && name != "..") {
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let status = side.run(&Call::Stat(root(&path)));
            let bytes = if is_directory {
                unseen.push(path.clone());
                Outcome::Skipped
            } else {
                side.run(&Call::Open { slot: 0, at: root(&path), flags: libc::O_RDONLY });
                side.run(&Call::Read(0, 200_000))
            };
            found.push((path, status, bytes));
        }
    }
    found
}

/// Makes the link count of a directory comparable where the host does not count subdirectories.
fn comparable(outcome: Outcome, host: &Host) -> Outcome {
    match outcome {
        Outcome::Status { directory: true, size, permissions, .. } if !host.counts_subdirectories => {
            Outcome::Status { directory: true, size, links: 0, permissions }
        }
        other => other,
    }
}

/// A small tree with open files, so that random calls soon have something to work on.
fn furniture() -> Vec<Call> {
    let root = |path: &str| At { slot: None, path: path.to_owned() };
    let create = libc::O_CREAT | libc::O_RDWR;
    vec![
        Call::Mkdir(root("d")),
        Call::Mkdir(root("d/e")),
        Call::Mkdir(root("e")),
        Call::Open { slot: 0, at: root("a"), flags: create },
        Call::Write(0, vec![1; 5000]),
        Call::Open { slot: 1, at: root("d/b"), flags: create | libc::O_APPEND },
        Call::Write(1, vec![2; 700]),
        Call::Open { slot: 2, at: root("d/e/a"), flags: create },
        Call::Open { slot: 3, at: root("d"), flags: libc::O_RDONLY | libc::O_DIRECTORY },
        Call::Link(root("a"), root("e/b")),
    ]
}

fn check(calls: &[Call]) {
    let directory = tempfile::tempdir().unwrap();
    let (mut host, mut machine) = (Host::new(directory.path()), Virtual::new());
    for (index, call) in calls.iter().enumerate() {
        let real = host.run(call);
        let real = comparable(real, &host);
        let simulated = comparable(machine.run(call), &host);
        assert!(real == simulated, "call {index}, {call:?}: the host says {real:?}, we say {simulated:?}");
    }
    let simulated: Vec<_> = tree(&mut machine)
        .into_iter()
        .map(|(path, status, bytes)| (path, comparable(status, &host), bytes))
        .collect();
    let real: Vec<_> = tree(&mut host)
        .into_iter()
        .map(|(path, status, bytes)| (path, comparable(status, &host), bytes))
        .collect();
    assert!(real == simulated, "the host's tree:\n{real:#?}\nours:\n{simulated:#?}");
    let disk = machine.vfs.disk(machine.mount);
    let (image, _) = crash_image(disk, Profile::Lying, &mut |_: &PendingOperation| Keep::Whole);
    image.check_invariants();
    assert!(image.tree(View::Durable) == disk.tree(View::Volatile), "an image that keeps everything differs");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_virtual_file_system_behaves_as_linux(
        furnished in prop::bool::weighted(0.8),
        calls in prop::collection::vec(call(), 1..80),
    ) {
        let first = if furnished { furniture() } else { Vec::new() };
        check(&[first, calls].concat());
    }
}
