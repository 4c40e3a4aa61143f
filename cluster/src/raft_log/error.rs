//! What can go wrong with a raft log.

use std::io;
use std::path::PathBuf;

use super::decision::{Finding, Position};

/// A failure of the raft log, told apart by who has to act on it.
#[derive(Debug, thiserror::Error)]
pub enum RaftLogError {
    /// The operating system failed an operation. The log is as it was before the call.
    #[error("I/O error while {doing}: {source}")]
    Io {
        /// What was being done, and to which file.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A sync failed. What it was to make durable may be lost though it can still be read, and a second sync
    /// would not say so: after a failed fsync Linux marks the pages clean (Rebello et al., "Can Applications
    /// Recover from fsync Failures?", ATC 2020). The log is poisoned; the replica must stop.
    #[error("the sync of {path} failed; the raft log is closed for good: {source}")]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// An earlier call failed in a way that leaves memory and disk apart. Nothing was done.
    #[error("the raft log is poisoned until reopened, because of an earlier failure: {cause}")]
    Poisoned {
        /// That failure.
        cause: String,
    },
    /// The log holds damage that no crash explains. Nothing was opened and nothing changed.
    #[error(
        "raft log segment {path} is damaged at byte {}: {finding}. This replica may have promised what is lost, \
         so its log was not opened and no file was changed. Set the replica's whole directory aside and let it \
         rejoin from a peer's snapshot under a new id, or put an undamaged copy of the file in its place",
        finding.offset()
    )]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Where the segment stands in the log.
        position: Position,
        /// What was found there.
        finding: Finding,
    },
    /// The caller asked for what would break the log. Nothing was done.
    #[error("misuse of the raft log: {0}")]
    Misuse(String),
}

impl RaftLogError {
    /// An I/O failure while `doing` something, named with its object.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> RaftLogError {
        let doing = doing.into();
        move |source| RaftLogError::Io { doing, source }
    }

    /// Whether [`super::RaftLog::open`] refused a damaged log.
    pub fn is_damage(&self) -> bool {
        matches!(self, RaftLogError::Damaged { .. })
    }
}
