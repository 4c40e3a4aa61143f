//! Writing a headed stream.

use crate::header::{Header, HeaderLayout, LEGACY_ENGINE, TRAILER_BYTES, VERSION};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// Writes a headed stream: the header at once, the body through [`Write`], the trailer at the end.
///
/// A writer dropped before [`finish`](SnapshotWriter::finish) leaves a stream without trailer, which every
/// reader refuses as truncated. A bare stream needs no writer: it is its body.
pub struct SnapshotWriter<W: Write> {
    sink: W,
    hasher: Sha256,
    wire_bytes: u64,
}

impl<W: Write> SnapshotWriter<W> {
    /// Writes the header of a stream of `engine` to `sink`.
    ///
    /// # Errors
    /// `InvalidInput` for [`LEGACY_ENGINE`], whose streams are bare; else what the sink says.
    pub fn new(sink: W, engine: u8) -> io::Result<SnapshotWriter<W>> {
        SnapshotWriter::with_layout(sink, engine, HeaderLayout::Bytes21)
    }

    /// As [`new`](SnapshotWriter::new), with the header in `layout`.
    ///
    /// # Errors
    /// As [`new`](SnapshotWriter::new).
    pub fn with_layout(mut sink: W, engine: u8, layout: HeaderLayout) -> io::Result<SnapshotWriter<W>> {
        if engine == LEGACY_ENGINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "snapshot streams of the legacy engine are bare and have no header",
            ));
        }
        let header = Header { engine, version: VERSION }.encode(layout);
        sink.write_all(&header)?;
        Ok(SnapshotWriter { sink, hasher: Sha256::new_with_prefix(&header), wire_bytes: layout.bytes() })
    }

    /// Writes the trailer, flushes, and gives back the sink and the bytes written in all.
    ///
    /// # Errors
    /// What the sink says; the stream is then unfinished.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let trailer: [u8; TRAILER_BYTES as usize] = self.hasher.finalize().into();
        self.sink.write_all(&trailer)?;
        self.sink.flush()?;
        Ok((self.sink, self.wire_bytes + TRAILER_BYTES))
    }
}

impl<W: Write> Write for SnapshotWriter<W> {
    fn write(&mut self, body: &[u8]) -> io::Result<usize> {
        // Only what the sink took is part of the stream: after a short write the rest comes again.
        let taken = self.sink.write(body)?;
        self.hasher.update(&body[..taken]);
        self.wire_bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
