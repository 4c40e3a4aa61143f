//! What can go wrong below the backend interface, one variant per layer.

use std::io;
use std::path::PathBuf;

use crate::EngineId;

/// The result of every call of this crate.
pub type Result<T> = std::result::Result<T, EngineError>;

/// A failure, told apart by who has to act on it.
///
/// [`EngineError::Io`], [`EngineError::Corrupt`] and [`EngineError::Engine`] from an opened backend poison it:
/// what it holds in memory may differ from what is on the disk (after a failed fsync the kernel may even have
/// thrown the pages away, see Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020), so
/// every later call is [`EngineError::Poisoned`] until the data directory is opened again.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The operating system refused or failed an operation.
    #[error("I/O error while {doing}: {source}")]
    Io {
        /// What was being done, with the path where one is known.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The engine found its own files damaged.
    #[error("{engine} found its files corrupt: {message}")]
    Corrupt {
        /// The engine that complained.
        engine: EngineId,
        /// Its words.
        message: String,
    },
    /// The engine failed otherwise: an error that is neither I/O nor corruption, or a panic inside it.
    #[error("{engine} failed: {message}")]
    Engine {
        /// The engine that failed.
        engine: EngineId,
        /// Its words, or the text of its panic.
        message: String,
    },
    /// An earlier call failed; the backend serves nothing until it is opened again.
    #[error("{engine} is poisoned until reopened, because of an earlier failure: {cause}")]
    Poisoned {
        /// The engine that failed.
        engine: EngineId,
        /// The first failure.
        cause: String,
    },
    /// Another process, or another handle in this one, has the data directory open.
    #[error("the data directory {directory} is locked by another {engine} instance")]
    Locked {
        /// The engine whose lock is taken.
        engine: EngineId,
        /// The directory that is locked.
        directory: PathBuf,
    },
    /// The caller asked for something that the interface does not offer. Nothing was changed.
    #[error("misuse: {0}")]
    Misuse(String),
    /// The data directory belongs to another engine than the one asked for. Nothing was changed.
    #[error(
        "the data directory {directory} holds {found} data ({evidence}), but the engine option says {wanted}; \
         set the option to {found}, or convert the directory to {wanted}"
    )]
    Mismatch {
        /// The directory in question.
        directory: PathBuf,
        /// The engine whose data it holds.
        found: EngineId,
        /// How that is known.
        evidence: &'static str,
        /// The engine asked for.
        wanted: EngineId,
    },
    /// The engine-marker file says nothing that can be understood. Nothing was changed.
    #[error("the engine marker {path} is malformed: {reason}")]
    MalformedMarker {
        /// The marker file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A snapshot body is damaged or not of the format of its engine.
    #[error("the {engine} snapshot body is malformed: {reason}")]
    MalformedBody {
        /// The engine that was to read it.
        engine: EngineId,
        /// What is wrong with it.
        reason: String,
    },
}

impl EngineError {
    /// An I/O failure while `doing` something, named with its object.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> EngineError {
        let doing = doing.into();
        move |source| EngineError::Io { doing, source }
    }

    /// An I/O error that `engine` handed up. Some kinds are no failure of the device: the engine's files are not
    /// what, or not where, they should be. Trying again would not help.
    pub fn engine_io(engine: EngineId, source: io::Error) -> EngineError {
        match source.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotFound => EngineError::Corrupt { engine, message: source.to_string() },
            _ => EngineError::Io { doing: format!("working in {engine}"), source },
        }
    }

    /// Whether a backend that returned this can no longer be trusted.
    pub(crate) fn poisons(&self) -> bool {
        match self {
            EngineError::Io { .. } | EngineError::Corrupt { .. } | EngineError::Engine { .. } => true,
            EngineError::Poisoned { .. }
            | EngineError::Locked { .. }
            | EngineError::Misuse(_)
            | EngineError::Mismatch { .. }
            | EngineError::MalformedMarker { .. }
            | EngineError::MalformedBody { .. } => false,
        }
    }
}
