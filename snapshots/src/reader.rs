//! Reading a stream as it arrives.

use crate::digest::Digest;
use crate::engine_set::EngineSet;
use crate::error::StreamError;
use crate::header::{HEADER_BYTES, Header, HeaderLayout, LEGACY_ENGINE, MAGIC, TRAILER_BYTES, VERSION};
use crate::release::Release;
use crate::route::{Peer, Route, Sniffed, sniff};
use sha2::{Digest as _, Sha256};
use std::io::Write;

/// Whether a reader compares the trailer with what it received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DigestCheck {
    /// A wrong digest refuses the stream: the baseline.
    #[default]
    Verify,
    /// The trailer is read and ignored: a wrong design, under which a corrupting link goes unnoticed.
    Skip,
}

/// How a node reads streams. The defaults of the design fields are the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// A node of [`Release::One`] does not look for a header: it takes every stream for a bare one.
    pub release: Release,
    /// The engines whose headed streams are read; every other id is refused, and always the legacy one.
    pub engines: EngineSet,
    /// How headers are laid out.
    pub layout: HeaderLayout,
    /// Whether the trailer is checked.
    pub digest_check: DigestCheck,
}

impl ReaderOptions {
    /// The baseline for a node that has said this hello.
    pub fn of(receiver: &Peer) -> ReaderOptions {
        ReaderOptions {
            release: receiver.release,
            engines: receiver.accepts.headed,
            layout: HeaderLayout::default(),
            digest_check: DigestCheck::default(),
        }
    }

    fn reads_headed(&self, engine: u8) -> bool {
        engine != LEGACY_ENGINE && self.engines.contains(engine)
    }
}

/// What a stream was, once all of it has come and passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Whose body it carried.
    pub route: Route,
    /// Bytes that went to the sink.
    pub body_bytes: u64,
    /// Bytes that came: the announced size.
    pub wire_bytes: u64,
}

/// An incremental parser: bytes are pushed in as they arrive, in pieces of any size, and the body comes out.
///
/// It holds no more than a header and a trailer. So the body reaches the sink *before* the digest is known,
/// and the caller must not install it, or let anyone see it, before [`finish`](StreamReader::finish) has
/// returned `Ok`. How the stream was cut into pieces changes neither the body nor the outcome.
///
/// What is checked, in the order of the bytes: the engine id, the version, the announced size, and last the
/// digest. A reader that has refused stays so: it answers every further call with the same error.
#[derive(Clone, Debug)]
pub struct StreamReader {
    options: ReaderOptions,
    announced: u64,
    position: u64,
    route: Option<Route>,
    header: [u8; HEADER_BYTES as usize],
    trailer: [u8; TRAILER_BYTES as usize],
    hasher: Sha256,
    failure: Option<StreamError>,
}

impl StreamReader {
    /// A reader for a stream of which the sender has announced `announced` bytes on the wire.
    pub fn new(options: ReaderOptions, announced: u64) -> StreamReader {
        let bare = match options.release {
            Release::One => true,
            // Too short for the magic, so there is nothing to wait for.
            Release::Two => announced < MAGIC.len() as u64,
        };
        StreamReader {
            options,
            announced,
            position: 0,
            route: bare.then_some(Route::Legacy),
            header: [0; HEADER_BYTES as usize],
            trailer: [0; TRAILER_BYTES as usize],
            hasher: Sha256::new(),
            failure: None,
        }
    }

    /// Takes the next bytes of the stream and writes those of the body to `body`.
    ///
    /// # Errors
    /// Any [`StreamError`] but `Truncated` and `WrongDigest`, which only the end of the stream can show.
    pub fn push(&mut self, bytes: &[u8], body: &mut dyn Write) -> Result<(), StreamError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let outcome = self.take(bytes, body);
        self.failure = outcome.clone().err();
        outcome
    }

    /// Whose body the stream carries, as soon as enough of it has come to know.
    pub fn route(&self) -> Option<Route> {
        self.route
    }

    /// Ends the stream and says whether all of it is right. Only after `Ok` may the body be installed.
    ///
    /// # Errors
    /// The error that refused an earlier [`push`](StreamReader::push); `Truncated`; `WrongDigest`.
    pub fn finish(self) -> Result<Received, StreamError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        assert!(self.position <= self.announced, "the first byte too many is refused by push");
        if self.position < self.announced {
            return Err(StreamError::Truncated { expected: self.announced, got: self.position });
        }
        let overhead_bytes = self.options.layout.overhead_bytes();
        let body_bytes = match self.route {
            Some(Route::Legacy) => self.announced,
            Some(Route::Engine { .. }) if self.announced >= overhead_bytes => {
                self.check_digest()?;
                self.announced - overhead_bytes
            }
            // The magic was there, and the sender's own announcement leaves no room for the rest.
            Some(Route::Engine { .. }) | None => {
                return Err(StreamError::Truncated { expected: overhead_bytes, got: self.position });
            }
        };
        let route = self.route.expect("a stream without a route was refused above");
        Ok(Received { route, body_bytes, wire_bytes: self.announced })
    }

    fn take(&mut self, mut bytes: &[u8], body: &mut dyn Write) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            if self.position == self.announced {
                return Err(StreamError::Overlong { announced: self.announced });
            }
            let (section, end) = self.section();
            let (piece, rest) = bytes.split_at(piece_bytes(bytes, end - self.position));
            match section {
                Section::Header => self.take_header(piece, body)?,
                Section::BareBody => body.write_all(piece)?,
                Section::HeadedBody => self.take_body(piece, body)?,
                Section::Trailer { start } => place(&mut self.trailer, self.position - start, piece),
            }
            self.position += piece.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// The section that the next byte belongs to, and the offset in the stream at which it ends.
    fn section(&self) -> (Section, u64) {
        let header_bytes = self.options.layout.bytes();
        let body_end = self.announced.saturating_sub(TRAILER_BYTES).max(header_bytes);
        match self.route {
            None => (Section::Header, header_bytes.min(self.announced)),
            Some(Route::Legacy) => (Section::BareBody, self.announced),
            Some(Route::Engine { .. }) if self.position < body_end => (Section::HeadedBody, body_end),
            Some(Route::Engine { .. }) => (Section::Trailer { start: body_end }, self.announced),
        }
    }

    fn take_header(&mut self, piece: &[u8], body: &mut dyn Write) -> Result<(), StreamError> {
        place(&mut self.header, self.position, piece);
        let header = &self.header[..self.position as usize + piece.len()];
        match sniff(header) {
            None => {}
            Some(Sniffed::Legacy) => {
                self.route = Some(Route::Legacy);
                body.write_all(header)?;
            }
            Some(Sniffed::Headed { engine: id }) if !self.options.reads_headed(id) => {
                return Err(StreamError::UnknownEngine { id });
            }
            Some(Sniffed::Headed { .. }) if (header.len() as u64) < self.options.layout.bytes() => {}
            Some(Sniffed::Headed { .. }) => {
                let Header { engine, version } = Header::decode(self.options.layout, header)
                    .expect("the magic was found and the header is complete");
                if version != VERSION {
                    return Err(StreamError::UnknownVersion { engine, version });
                }
                match self.options.digest_check {
                    DigestCheck::Verify => self.hasher.update(header),
                    DigestCheck::Skip => {}
                }
                self.route = Some(Route::Engine { id: engine, version });
            }
        }
        Ok(())
    }

    fn take_body(&mut self, piece: &[u8], body: &mut dyn Write) -> Result<(), StreamError> {
        match self.options.digest_check {
            DigestCheck::Verify => self.hasher.update(piece),
            DigestCheck::Skip => {}
        }
        Ok(body.write_all(piece)?)
    }

    fn check_digest(&self) -> Result<(), StreamError> {
        let carried = Digest(self.trailer);
        let computed = match self.options.digest_check {
            DigestCheck::Verify => Digest(self.hasher.clone().finalize().into()),
            DigestCheck::Skip => carried,
        };
        if carried == computed { Ok(()) } else { Err(StreamError::WrongDigest { carried, computed }) }
    }
}

/// The parts of a stream.
enum Section {
    /// Not yet known to be bare, or headed with the header incomplete.
    Header,
    BareBody,
    HeadedBody,
    Trailer {
        /// Offset of the trailer in the stream.
        start: u64,
    },
}

/// How many of `bytes` fit into the `left` bytes of a section.
fn piece_bytes(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

/// Copies `piece` into `buffer` at `offset`.
fn place(buffer: &mut [u8], offset: u64, piece: &[u8]) {
    buffer[offset as usize..][..piece.len()].copy_from_slice(piece);
}
