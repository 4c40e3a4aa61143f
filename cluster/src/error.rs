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
    /// A committed change of the members is none. The raft core takes none that is not, so the entry was damaged.
    #[error("committed entry {index} is no change of the members: {source}")]
    ConfChange {
        /// The index of the entry.
        index: u64,
        /// Why.
        source: protobuf::ProtobufError,
    },
    /// A quorum of the peers agrees that the state is another at an applied index.
    #[error(
        "the state at applied index {applied_index} has the hash {own:016x}, but a quorum of the peers has {theirs:016x}"
    )]
    Diverged {
        /// Where.
        applied_index: u64,
        /// The hash of this replica's state.
        own: u64,
        /// That of the peers' states.
        theirs: u64,
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
            | ReplicaError::ConfChange { .. }
            | ReplicaError::Diverged { .. }
            | ReplicaError::Panicked { .. } => true,
        }
    }
}

impl ReplicaError {
    /// Whether it failed for want of space on the disk. Nothing is damaged then: the replica can go on from what
    /// the disk holds, once there is space.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            ReplicaError::Io { source, .. } => is_storage_full(source),
            ReplicaError::RaftLog(RaftLogError::Io { source, .. } | RaftLogError::Sync { source, .. }) => {
                is_storage_full(source)
            }
            ReplicaError::Store(StoreError::Engine(error)) | ReplicaError::Engine(error) => {
                is_engine_out_of_space(error)
            }
            ReplicaError::RaftLog(
                RaftLogError::Poisoned { .. } | RaftLogError::Damaged { .. } | RaftLogError::Misuse(_),
            )
            | ReplicaError::Store(
                StoreError::Corrupt(_) | StoreError::Poisoned { .. } | StoreError::Misuse(_),
            )
            | ReplicaError::Configuration(_)
            | ReplicaError::Refused(_)
            | ReplicaError::Raft(_)
            | ReplicaError::Entry { .. }
            | ReplicaError::ConfChange { .. }
            | ReplicaError::Diverged { .. }
            | ReplicaError::Panicked { .. } => false,
        }
    }
}

fn is_storage_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn is_engine_out_of_space(error: &EngineError) -> bool {
    match error {
        EngineError::Io { source, .. } => is_storage_full(source),
        // Some failures come up from inside an engine as words only; those of an I/O error end with its number.
        EngineError::Engine { message, .. } => {
            message.contains("os error 28") || message.contains("StorageFull")
        }
        EngineError::Corrupt { .. }
        | EngineError::Poisoned { .. }
        | EngineError::Locked { .. }
        | EngineError::Misuse(_)
        | EngineError::Mismatch { .. }
        | EngineError::MalformedMarker { .. }
        | EngineError::MalformedBody { .. } => false,
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

#[cfg(test)]
mod tests {
    use engines::EngineId;

    use super::*;

    /// ENOSPC on Linux.
    fn no_space() -> io::Error {
        io::Error::from_raw_os_error(28)
    }

    #[test]
    fn want_of_space_is_recognised_in_every_layer() {
        let doing = || "writing".to_owned();
        let message = format!("flush: {}", no_space());
        for error in [
            ReplicaError::Io { doing: doing(), source: no_space() },
            RaftLogError::Io { doing: doing(), source: no_space() }.into(),
            RaftLogError::Sync { path: "segment".into(), source: no_space() }.into(),
            EngineError::Io { doing: doing(), source: no_space() }.into(),
            StoreError::Engine(EngineError::Io { doing: doing(), source: no_space() }).into(),
            StoreError::Engine(EngineError::Engine { engine: EngineId::Fjall, message }).into(),
        ] {
            assert!(error.is_out_of_space(), "{error}");
        }
        let failed = io::Error::from_raw_os_error(5);
        assert!(!ReplicaError::Io { doing: doing(), source: failed }.is_out_of_space());
        assert!(!ReplicaError::Configuration(doing()).is_out_of_space());
    }
}
