//! The calls that are compared, and how they are drawn.

use super::mapped::{MapCall, map_call};
use crate::disk::SyncFate;
use proptest::prelude::*;

/// How many open files a sequence of calls juggles.
pub(super) const SLOTS: usize = 5;

/// A path: relative to the root, or to the directory open in a slot.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) slot: Option<usize>,
    pub(super) path: String,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
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
    /// With the flags of pwritev2; no offset is −1.
    WriteFlagged(usize, Vec<u8>, Option<u64>, i32),
    /// Like the positional ones, but mostly of whole sectors.
    DirectRead(usize, usize, u64),
    DirectWrite(usize, Vec<u8>, u64),
    CopyRange {
        from: (usize, Option<u64>),
        to: (usize, Option<u64>),
        length: usize,
    },
    SendFile {
        from: (usize, Option<u64>),
        to: usize,
        length: usize,
    },
    Mapped(usize, MapCall),
    TruncatePath(At, u64),
    Seek(usize, i64, i32),
    Truncate(usize, u64),
    Allocate(usize, i32, u64, u64),
    /// Only the virtual disk syncs: a real one takes milliseconds, and promises nothing that could be compared.
    Sync(usize, bool, SyncFate),
    Mkdir(At),
    Remove(At, bool),
    Rename(At, At, u32),
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
pub(super) enum Outcome {
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

/// The descriptors for which a call is left out where they are direct: those of reads that are not of whole sectors at a
/// known place, of writes that end within a sector but not in their first, and of copies.
pub(super) fn loose_for_direct(call: &Call) -> [Option<usize>; 2] {
    let loose = |number: u64| !number.is_multiple_of(512);
    let cut = |length: usize| length > 512 && !length.is_multiple_of(512);
    match call {
        Call::Read(slot, _) | Call::Readv(slot, _, _, None) => [Some(*slot), None],
        Call::Pread(slot, length, at) => [(loose(*length as u64) || loose(*at)).then_some(*slot), None],
        Call::Readv(slot, first, second, Some(at)) => {
            [(loose(*first as u64) || loose(*second as u64) || loose(*at)).then_some(*slot), None]
        }
        Call::Write(slot, bytes)
        | Call::Pwrite(slot, bytes, _)
        | Call::WriteFlagged(slot, bytes, ..)
        | Call::DirectWrite(slot, bytes, _) => [cut(bytes.len()).then_some(*slot), None],
        Call::Writev(slot, first, second, _) => [cut(first.len() + second.len()).then_some(*slot), None],
        Call::CopyRange { from, to, .. } => [Some(from.0), Some(to.0)],
        Call::SendFile { from, to, .. } => [Some(from.0), Some(*to)],
        _ => [None, None],
    }
}

/// A buffer that begins with a whole sector.
pub(super) struct Placed {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Placed {
    pub(super) fn new(length: usize) -> Self {
        let bytes = vec![0; length + 512];
        let start = bytes.as_ptr().align_offset(512);
        Self { bytes, start, length }
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut placed = Self::new(bytes.len());
        placed.get_mut().copy_from_slice(bytes);
        placed
    }

    pub(super) fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    pub(super) fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
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
        (
            option(libc::O_NOFOLLOW, 6),
            option(libc::O_DIRECT, 8),
            option(libc::O_DSYNC, 30),
            option(libc::O_SYNC, 30),
        ),
    );
    (access, options)
        .prop_map(|(access, (create, exclusive, truncate, append, directory, others))| {
            let (nofollow, direct, data_sync, sync) = others;
            access | create | exclusive | truncate | append | directory | nofollow | direct | data_sync | sync
        })
        // Changed between kernels (EINVAL since 6.4), and undefined without O_CREAT.
        .prop_filter("O_CREAT with O_DIRECTORY, O_EXCL alone", |flags| {
            let has = |flag| flags & flag != 0;
            !(has(libc::O_CREAT) && has(libc::O_DIRECTORY)) && (has(libc::O_CREAT) || !has(libc::O_EXCL))
        })
}

pub(super) fn call() -> impl Strategy<Value = Call> {
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
        2 => (slot.clone(), allocation_mode(), 0..20_000_u64, 0..20_000_u64)
            .prop_map(|(slot, mode, offset, length)| Call::Allocate(slot, mode, offset, length)),
        2 => (slot.clone(), any::<bool>(), fate).prop_map(|(slot, data, fate)| Call::Sync(slot, data, fate)),
    ];
    let sectors = prop_oneof![6 => (0..24_u64).prop_map(|sector| sector * 512), 1 => 0..9000_u64];
    let size = sectors.clone().prop_map(|size| usize::try_from(size).unwrap());
    let given = prop::option::of(offset.clone());
    let flags = vec![0, libc::RWF_APPEND, 0x20, libc::RWF_APPEND | 0x20, libc::RWF_DSYNC, 1 << 20];
    let further = prop_oneof![
        2 => (slot.clone(), 0..24_usize, 0..24_u64)
            .prop_map(|(slot, length, at)| Call::DirectRead(slot, length * 512, at * 512)),
        2 => (slot.clone(), any::<u8>(), size, sectors)
            .prop_map(|(slot, byte, length, at)| Call::DirectWrite(slot, vec![byte; length], at)),
        1 => (slot.clone(), any::<u8>(), 0..5000_usize, given.clone(), prop::sample::select(flags))
            .prop_map(|(slot, byte, length, at, flags)| Call::WriteFlagged(slot, vec![byte; length], at, flags)),
        2 => ((slot.clone(), given.clone()), (slot.clone(), given.clone()), 0..12_000_usize)
            .prop_map(|(from, to, length)| Call::CopyRange { from, to, length }),
        1 => ((slot.clone(), given), slot.clone(), 0..12_000_usize)
            .prop_map(|(from, to, length)| Call::SendFile { from, to, length }),
        1 => (at(), 0..30_000_u64).prop_map(|(at, size)| Call::TruncatePath(at, size)),
        12 => map_call().prop_map(|(map, call)| Call::Mapped(map, call)),
    ];
    let descriptors = prop_oneof![
        1 => slot.clone().prop_map(Call::Fstat),
        1 => (slot.clone(), mode()).prop_map(|(slot, mode)| Call::Fchmod(slot, mode)),
        1 => (slot.clone(), prop::sample::select(vec![libc::LOCK_SH, libc::LOCK_EX, libc::LOCK_UN]))
            .prop_map(|(slot, operation)| Call::Flock(slot, operation)),
        1 => slot.clone().prop_map(Call::Flags),
        1 => (slot, prop::sample::select(vec![0, libc::O_APPEND, libc::O_DIRECT])).prop_map(|(slot, flags)| Call::SetFlags(slot, flags)),
    ];
    let names = prop_oneof![
        4 => at().prop_map(Call::Mkdir),
        4 => (at(), any::<bool>()).prop_map(|(at, directory)| Call::Remove(at, directory)),
        6 => (at(), at(), prop::sample::select(vec![0, 0, 0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE, 3]))
            .prop_map(|(from, to, flags)| Call::Rename(from, to, flags)),
        2 => (at(), at()).prop_map(|(from, to)| Call::Link(from, to)),
        2 => at().prop_map(Call::Stat),
        1 => at().prop_map(Call::List),
        1 => (at(), mode()).prop_map(|(at, mode)| Call::Chmod(at, mode)),
        1 => (at(), 0..8_i32).prop_map(|(at, mode)| Call::Access(at, mode)),
        1 => at().prop_map(Call::Resolve),
    ];
    prop_oneof![6 => files, 1 => descriptors, 5 => names, 4 => further]
}

/// Modes of `fallocate` that both know, or both refuse: not those that ext4 carries out and the run refuses by name.
fn allocation_mode() -> impl Strategy<Value = i32> {
    let zero = libc::FALLOC_FL_ZERO_RANGE;
    prop::sample::select(vec![
        0,
        1,
        2,
        3,
        3,
        zero,
        zero | 1,
        zero | 2,
        zero | 3,
        libc::FALLOC_FL_UNSHARE_RANGE,
    ])
}

/// Modes that let the tests be run by any user.
fn mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o700_u32, 0o750, 0o755, 0o744])
}
