//! Why a snapshot stream was refused.

use crate::digest::Digest;
use crate::header::VERSION;
use std::io;

/// A refused stream: five distinct reasons that lie in the stream, and one that lies in the sink.
///
/// After any of them nothing of the stream may be installed; the old state stays in service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The stream ended before the announced size, or is shorter than header and trailer together.
    #[error("snapshot stream truncated: {expected} bytes expected, {got} received")]
    Truncated {
        /// Bytes that should have come.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },

    /// More bytes came than the sender announced.
    #[error("snapshot stream over-long: {announced} bytes announced, more received")]
    Overlong {
        /// Bytes that the sender announced.
        announced: u64,
    },

    /// The header names an engine that this node does not read headed streams of. The legacy engine is
    /// always one of these: its streams are bare.
    #[error("snapshot stream of unknown engine {id:#04x}")]
    UnknownEngine {
        /// The id in the header.
        id: u8,
    },

    /// The header has a format version that this node does not read.
    #[error(
        "snapshot stream of engine {engine:#04x} has unknown format version {version} \
         (this node reads version {VERSION})"
    )]
    UnknownVersion {
        /// The engine id in the header.
        engine: u8,
        /// The version in the header.
        version: u32,
    },

    /// The trailer is not the SHA-256 of header and body.
    #[error("snapshot stream has a wrong digest: its trailer says {carried}, its bytes give {computed}")]
    WrongDigest {
        /// The digest in the trailer.
        carried: Digest,
        /// The digest of the header and body that came.
        computed: Digest,
    },

    /// The sink did not take the body. Not the stream's fault: a retry may succeed.
    #[error("snapshot body could not be written: {message}")]
    Io {
        /// What kind of I/O error it was.
        kind: io::ErrorKind,
        /// The I/O error's own words.
        message: String,
    },
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> StreamError {
        StreamError::Io { kind: error.kind(), message: error.to_string() }
    }
}
