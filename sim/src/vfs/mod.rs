//! The virtual file system: paths, descriptors, locks and directory streams over virtual disks.
//!
//! One method per system call, with safe arguments. Each checks everything at the moment it is called, so that
//! a caller may let other threads run before it. What a call may not do on Linux fails here with the same
//! errno; what is not supported fails with [`Error::Unsupported`], never with a silent success. Every process
//! is root, its umask is 022, and reads leave access times alone (`noatime`).
//!
//! Faults and delays are the caller's: it asks [`FaultState`](crate::disk::FaultState) before the call and
//! passes on a sync's fate, or a shortened buffer. So is the sync that a write to a synchronous file ends with
//! ([`Vfs::sync_of_write`]). This folder draws no randomness and reads no clock.
//!
//! What the surface is, call by call, with the source of every rule: docs/posix-surface.md.

mod copy;
mod descriptor;
mod error;
mod extent;
mod lock;
mod mapping;
mod memory;
mod metadata;
mod mmap;
mod mount;
mod names;
mod open;
mod path;
mod record;
mod stream;
mod sync;
mod transfer;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod mapping_tests;
#[cfg(test)]
mod processor;
#[cfg(test)]
mod story_tests;

pub use copy::{Copy, CopyEnds};
pub use descriptor::{Described, FIRST_DESCRIPTOR};
pub use error::{Error, Result};
pub use memory::{Access, Memory};
pub use metadata::Times;
pub use mmap::{Fault, Store};
pub use mount::{MountId, Space};
pub use record::OperationRecord;
pub use stream::{DirectoryEntry, StreamId};
pub use sync::OpenSync;
pub use transfer::Written;

use std::collections::BTreeMap;

/// Every disk that is mounted, and every descriptor that is open.
#[derive(Debug)]
pub struct Vfs {
    /// By number; ended ones leave their place empty.
    mounts: Vec<Option<mount::Mount>>,
    prefixes: BTreeMap<Box<[u8]>, MountId>,
    descriptors: descriptor::Descriptors,
    streams: BTreeMap<StreamId, stream::Stream>,
    last_stream: u64,
    mappings: mapping::Mappings,
    memory: Box<dyn Memory>,
}

impl Default for Vfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Vfs {
    /// A file system without mounts, and without memory to map files into.
    pub fn new() -> Self {
        Self::with_memory(Box::new(memory::NoMemory))
    }

    /// A file system without mounts that maps files into `memory`.
    pub fn with_memory(memory: Box<dyn Memory>) -> Self {
        Self {
            mounts: Vec::new(),
            prefixes: BTreeMap::new(),
            descriptors: descriptor::Descriptors::default(),
            streams: BTreeMap::new(),
            last_stream: 0,
            mappings: mapping::Mappings::default(),
            memory,
        }
    }
}
