//! The snapshot wire format: header, trailer, sniffing, routing.
//!
//! A snapshot travels as one of two streams:
//!
//! - *headed*: header, body, SHA-256 trailer; the header names the engine whose native body it carries.
//! - *bare*: the body alone, always of the legacy engine (sled, 0x00). A bare stream is recognised by the
//!   absence of the magic, so no legacy body may begin with it; the frame limits of the legacy export
//!   see to that.
//!
//! The sender announces [`wire_size`] before the stream, over a channel that is checksummed; the receiver
//! holds the stream to it. A receiver feeds what arrives to a [`StreamReader`] and must not install the body
//! before [`StreamReader::finish`] has returned `Ok`.
//!
//! Engine ids are plain bytes here: this crate knows no engine. The layout is drawn in [`header`], the
//! routing table stands in [`route`], and `docs/snapshot-format.md` shows both on one page.

mod digest;
mod engine_set;
mod error;
pub mod header;
mod reader;
mod release;
pub mod route;
mod writer;

pub use digest::Digest;
pub use engine_set::EngineSet;
pub use error::StreamError;
pub use header::{
    HEADER_BYTES, Header, HeaderLayout, LEGACY_ENGINE, MAGIC, TRAILER_BYTES, VERSION, wire_size,
};
pub use reader::{DigestCheck, ReaderOptions, Received, StreamReader};
pub use release::{Formats, Release};
pub use route::{
    HoldBack, Peer, ROUTING_PREFIX_BYTES, Reception, Refusal, Route, Shipment, Sniffed, receive, ship, sniff,
};
pub use writer::SnapshotWriter;
