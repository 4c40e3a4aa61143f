//! The last operations of a mount, for reports of failures.

use crate::disk::{OperationKind, Stamp};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// How many operations are remembered.
const KEPT: usize = 32;

/// An operation that changed or synced a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRecord {
    /// Its number on this mount, from 1 on.
    pub number: u64,
    /// The call.
    pub kind: OperationKind,
    /// The path within the mount; for a descriptor, the one it was opened by; of a rename `old → new`.
    pub path: Arc<str>,
    /// The first byte, or the new size.
    pub offset: u64,
    /// How many bytes; zero where the call has none.
    pub length: u64,
    /// When it was done, and by which thread.
    pub stamp: Stamp,
}

impl fmt::Display for OperationRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:>6} {:>14} ns  thread {:<3} ",
            self.number, self.stamp.now_ns, self.stamp.thread
        )?;
        write!(formatter, "{} {}", self.kind, self.path)?;
        match self.kind {
            OperationKind::Write | OperationKind::Allocate => {
                write!(formatter, " {} bytes at {}", self.length, self.offset)
            }
            OperationKind::Truncate => write!(formatter, " to {} bytes", self.offset),
            OperationKind::Open
            | OperationKind::Create
            | OperationKind::Read
            | OperationKind::Sync
            | OperationKind::DataSync
            | OperationKind::RangeSync
            | OperationKind::Link
            | OperationKind::Unlink
            | OperationKind::Rename
            | OperationKind::MakeDirectory
            | OperationKind::RemoveDirectory
            | OperationKind::SetAttributes
            | OperationKind::Metadata
            | OperationKind::Lock => Ok(()),
        }
    }
}

/// The last operations of a mount, and how many there were.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    count: u64,
    last: VecDeque<OperationRecord>,
}

impl Records {
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn last(&self) -> impl Iterator<Item = &OperationRecord> {
        self.last.iter()
    }

    pub(super) fn push(&mut self, kind: OperationKind, path: Arc<str>, range: (u64, u64), stamp: Stamp) {
        self.count += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        let (offset, length) = range;
        self.last.push_back(OperationRecord { number: self.count, kind, path, offset, length, stamp });
    }
}
