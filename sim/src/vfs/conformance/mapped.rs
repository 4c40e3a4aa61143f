//! Mappings on both sides. Loads and stores are kept to the bytes of the file: behind them the one ends the process,
//! and the other the run.

use super::call::Outcome;
use crate::interpose::HostMapping;
use crate::vfs::processor::Processor;
use crate::vfs::{Error, Vfs};
use proptest::prelude::*;
use std::os::fd::{AsFd, OwnedFd};

/// How many mappings a sequence of calls juggles.
pub(super) const MAPPINGS: usize = 3;

#[derive(Clone, Debug)]
pub(super) enum MapCall {
    Map { slot: usize, offset: i64, length: usize, writable: bool, flags: i32 },
    Unmap,
    Load(usize, usize),
    Store(usize, Vec<u8>),
    Protect(bool),
    Advise(i32),
    Sync(i32),
    Resize(usize),
}

pub(super) fn map_call() -> impl Strategy<Value = (usize, MapCall)> {
    let page = prop_oneof![8 => (0..4_i64).prop_map(|page| page * 4096), 1 => Just(100), 1 => Just(-4096)];
    let length = prop_oneof![1 => Just(0_usize), 9 => 1..20_000_usize];
    let flags = prop::sample::select(vec![
        libc::MAP_SHARED,
        libc::MAP_SHARED,
        libc::MAP_PRIVATE,
        libc::MAP_SHARED_VALIDATE,
        libc::MAP_SHARED | libc::MAP_POPULATE,
        0,
    ]);
    let call = prop_oneof![
        6 => (0..super::call::SLOTS, page, length.clone(), any::<bool>(), flags).prop_map(
            |(slot, offset, length, writable, flags)| MapCall::Map { slot, offset, length, writable, flags }
        ),
        1 => Just(MapCall::Unmap),
        6 => (0..20_000_usize, 0..9000_usize).prop_map(|(at, length)| MapCall::Load(at, length)),
        8 => (0..20_000_usize, any::<u8>(), 1..6000_usize)
            .prop_map(|(at, byte, length)| MapCall::Store(at, vec![byte; length])),
        1 => any::<bool>().prop_map(MapCall::Protect),
        1 => prop::sample::select(vec![
            libc::MADV_NORMAL, libc::MADV_WILLNEED, libc::MADV_DONTNEED, libc::MADV_FREE, libc::MADV_DONTDUMP,
        ])
        .prop_map(MapCall::Advise),
        1 => prop::sample::select(vec![0, libc::MS_ASYNC, libc::MS_ASYNC | libc::MS_SYNC, 64])
            .prop_map(MapCall::Sync),
        1 => (1..30_000_usize).prop_map(MapCall::Resize),
    ];
    (0..MAPPINGS, call)
}

/// The part of `at..at + length` that lies within `limit`.
fn clip(at: usize, length: usize, limit: usize) -> (usize, usize) {
    let at = at.min(limit);
    (at, length.min(limit - at))
}

pub(super) struct HostMap {
    mapping: HostMapping,
    file: OwnedFd,
    offset: u64,
}

impl HostMap {
    pub(super) fn new(file: &OwnedFd, call: &MapCall) -> Result<Self, i32> {
        let MapCall::Map { offset, length, writable, flags, .. } = *call else {
            panic!("{call:?} maps nothing")
        };
        let mapping = HostMapping::new(file.as_fd(), length, writable, flags, offset)?;
        let (file, offset) = (rustix::io::dup(file).unwrap(), offset.cast_unsigned());
        Ok(Self { mapping, file, offset })
    }

    pub(super) fn call(&mut self, call: &MapCall) -> Option<Result<Outcome, i32>> {
        let size = rustix::fs::fstat(&self.file).unwrap().st_size.cast_unsigned();
        let limit = usize::try_from(size.saturating_sub(self.offset)).unwrap().min(self.mapping.length);
        let done = |result: Result<(), i32>| result.map(|()| Outcome::Done);
        Some(match call {
            MapCall::Load(at, length) => {
                let (at, length) = clip(*at, *length, limit);
                Ok(Outcome::Bytes(self.mapping.load(at, length)))
            }
            MapCall::Store(at, bytes) => {
                let (at, length) = clip(*at, bytes.len(), limit);
                self.mapping.writable.then(|| self.mapping.store(at, &bytes[..length]))?;
                Ok(Outcome::Done)
            }
            MapCall::Protect(writable) => done(self.mapping.protect(*writable)),
            MapCall::Advise(advice) => done(self.mapping.advise(*advice)),
            MapCall::Sync(flags) => done(self.mapping.sync(*flags)),
            MapCall::Resize(length) => done(self.mapping.resize(*length)),
            MapCall::Map { .. } | MapCall::Unmap => unreachable!("the caller's"),
        })
    }
}

pub(super) struct VirtualMap {
    address: usize,
    length: usize,
    writable: bool,
    /// A further descriptor of the file, for its size.
    file: i32,
    offset: u64,
}

impl VirtualMap {
    pub(super) fn new(vfs: &mut Vfs, file: i32, call: &MapCall) -> crate::vfs::Result<Self> {
        let MapCall::Map { offset, length, writable, flags, .. } = *call else {
            panic!("{call:?} maps nothing")
        };
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let address = vfs.mmap(length, protection, flags, file, offset)?;
        let (file, offset) = (vfs.dup(file)?, offset.cast_unsigned());
        Ok(Self { address, length, writable, file, offset })
    }

    pub(super) fn unmap(self, vfs: &mut Vfs) {
        vfs.munmap(self.address, self.length).unwrap();
        vfs.close(self.file).unwrap();
    }

    pub(super) fn call(
        &mut self,
        vfs: &mut Vfs,
        processor: &Processor,
        call: &MapCall,
    ) -> Option<crate::vfs::Result<Outcome>> {
        let size = vfs.fstat(self.file).unwrap().1.size;
        let limit = usize::try_from(size.saturating_sub(self.offset)).unwrap().min(self.length);
        let done = |result: Result<(), Error>| result.map(|()| Outcome::Done);
        Some(match call {
            MapCall::Load(at, length) => {
                let (at, length) = clip(*at, *length, limit);
                Ok(Outcome::Bytes(processor.load_bytes(vfs, self.address + at, length).unwrap()))
            }
            MapCall::Store(at, bytes) => {
                let (at, length) = clip(*at, bytes.len(), limit);
                self.writable.then_some(())?;
                processor.store_bytes(vfs, self.address + at, &bytes[..length]).unwrap();
                Ok(Outcome::Done)
            }
            MapCall::Protect(writable) => {
                let protection = if *writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
                let result = vfs.mprotect(self.address, self.length, protection);
                if result.is_ok() {
                    self.writable = *writable;
                }
                done(result)
            }
            MapCall::Advise(advice) => done(vfs.madvise(self.address, self.length, *advice)),
            MapCall::Sync(flags) => {
                done(vfs.msync_begin(self.address, self.length, *flags).and_then(|(_, mapped)| mapped))
            }
            MapCall::Resize(length) => {
                let moved = vfs.mremap(self.address, self.length, *length, libc::MREMAP_MAYMOVE);
                if let Ok(address) = moved {
                    (self.address, self.length) = (address, *length);
                }
                moved.map(|_| Outcome::Done)
            }
            MapCall::Map { .. } | MapCall::Unmap => unreachable!("the caller's"),
        })
    }
}
