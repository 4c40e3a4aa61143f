//! The virtual file system: paths, descriptors, locks and directory streams over virtual disks.
//!
//! One method per system call, with safe arguments. Each checks everything at the moment it is called, so that
//! a caller may let other threads run before it. What a call may not do on Linux fails here with the same
//! errno; what is not supported fails with [`Error::Unsupported`], never with a silent success. Every process
//! is root, its umask is 022, and reads leave access times alone (`noatime`).
//!
//! Faults and delays are the caller's: it asks [`FaultState`](crate::disk::FaultState) before the call and
//! passes on a sync's fate, or a shortened buffer. This folder draws no randomness and reads no clock.

mod descriptor;
mod error;
mod lock;
mod metadata;
mod mount;
mod names;
mod open;
mod path;
mod record;
mod stream;
mod transfer;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod story_tests;

pub use descriptor::{Described, FIRST_DESCRIPTOR};
pub use error::{Error, Result};
pub use metadata::Times;
pub use mount::{MountId, Space};
pub use record::OperationRecord;
pub use stream::{DirectoryEntry, StreamId};

use std::collections::BTreeMap;

/// Every disk that is mounted, and every descriptor that is open.
#[derive(Debug, Default)]
pub struct Vfs {
    /// By number; ended ones leave their place empty.
    mounts: Vec<Option<mount::Mount>>,
    prefixes: BTreeMap<Box<[u8]>, MountId>,
    descriptors: descriptor::Descriptors,
    streams: BTreeMap<StreamId, stream::Stream>,
    last_stream: u64,
}

impl Vfs {
    /// A file system without mounts.
    pub fn new() -> Self {
        Self::default()
    }
}
