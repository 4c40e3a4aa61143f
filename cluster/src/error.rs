//! Why a replica stopped.

use std::io;

use engines::EngineError;

use crate::mvcc::StoreError;
use crate::raft_log::RaftLogError;
use crate::startup::Refusal;
use crate::wire::WireError;

/// Why a replica stopped, by layer. None of them leaves anything half done that the next start cannot finish.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The configuration cannot be meant so.
    #[error("configuration: {0}")]
    Configuration(String),
    /// What is on the disk cannot be started from without lying to peers or clients.
    #[error("the replica refuses to start: {0}")]
    Refused(#[from] Refusal),
    /// The operating system refused or failed an operation outside the raft log and the engine.
    #[error("I/O error while {doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The raft log failed, or refuses to be opened.
    #[error("raft log: {0}")]
    RaftLog(#[from] RaftLogError),
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The engine failed outside the store: while a data directory was opened, converted or laid out.
    #[error("engine: {0}")]
    Engine(#[from] EngineError),
    /// The raft core refused what it was given.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    /// A committed entry is no request. The leader takes none that is not, so the entry was damaged.
    #[error("committed entry {index} cannot be decoded: {source}")]
    Entry {
        /// The index of the entry.
        index: u64,
        /// Why.
        source: WireError,
    },
    /// The replica panicked; the raft core does so where it meets a state that cannot be.
    #[error("panic: {message}")]
    Panicked {
        /// The text of the panic.
        message: String,
    },
}

impl ReplicaError {
    /// Whether starting the replica again on the same disk can go better.
    pub fn restart_may_help(&self) -> bool {
        match self {
            ReplicaError::Configuration(_) | ReplicaError::Refused(_) => false,
            ReplicaError::RaftLog(error) => !error.is_damage(),
            ReplicaError::Io { .. }
            | ReplicaError::Store(_)
            | ReplicaError::Engine(_)
            | ReplicaError::Raft(_)
            | ReplicaError::Entry { .. }
            | ReplicaError::Panicked { .. } => true,
        }
    }
}

/// Says what was being done when the operating system failed an operation.
pub(crate) trait IoContext<T> {
    fn while_doing(self, doing: impl FnOnce() -> String) -> Result<T, ReplicaError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn while_doing(self, doing: impl FnOnce() -> String) -> Result<T, ReplicaError> {
        self.map_err(|source| ReplicaError::Io { doing: doing(), source })
    }
}
