//! The legacy snapshot body: sled's content as export frames.
//!
//! ```text
//! body   = { key frame, value frame } , end frame
//! frame  = length   u32, little endian
//!          checksum u32, little endian: CRC-32 (IEEE) over the body from its first byte up to and with this
//!                   frame's content, the checksums themselves left out
//!          content
//! key    length 0 to 1 MiB, content = the key; keys strictly ascend
//! value  length 0 to 16 MiB, content = the value
//! end    length 0xffff_ffff, content = number of pairs, u64, little endian; nothing follows
//! ```
//!
//! A legacy stream is recognised by the absence of a magic that starts with "ETCD". As a little-endian length
//! that is 0x4443_5445, above any legal length and below that of the end frame, so whatever the keys, no body
//! begins with it.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use crc32fast::Hasher;

use crate::{EngineError, EngineId, Result, VALUE_BYTES_MAX, Visit};

/// The longest key frame, in bytes.
pub const KEY_FRAME_BYTES_MAX: usize = 1 << 20;

/// The longest value frame, in bytes.
pub const VALUE_FRAME_BYTES_MAX: usize = VALUE_BYTES_MAX;

/// The length that marks the end frame.
pub const END_LENGTH: u32 = u32::MAX;

const COUNT_BYTES: usize = 8;

/// Writes a body, pair by pair.
pub struct ExportWriter<'a> {
    sink: &'a mut dyn Write,
    checksum: Hasher,
    pairs: u64,
    body_bytes: u64,
    last_key: Option<Vec<u8>>,
}

impl<'a> ExportWriter<'a> {
    /// A body that goes to `sink`.
    pub fn new(sink: &'a mut dyn Write) -> ExportWriter<'a> {
        ExportWriter { sink, checksum: Hasher::new(), pairs: 0, body_bytes: 0, last_key: None }
    }

    /// Adds a pair.
    ///
    /// # Errors
    /// `InvalidInput` for an over-long key or value or a key that does not ascend; else those of the sink.
    pub fn pair(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key.len() > KEY_FRAME_BYTES_MAX || value.len() > VALUE_FRAME_BYTES_MAX {
            let message =
                format!("a pair of {} and {} bytes does not fit its frames", key.len(), value.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if self.last_key.as_deref().is_some_and(|last| last >= key) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the keys do not ascend"));
        }
        self.frame(key.len() as u32, key)?;
        self.frame(value.len() as u32, value)?;
        self.last_key = Some(key.to_vec());
        self.pairs += 1;
        Ok(())
    }

    /// Writes the end frame; returns the length of the body in bytes. The sink is not flushed.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> io::Result<u64> {
        let pairs = self.pairs;
        self.frame(END_LENGTH, &pairs.to_le_bytes())?;
        Ok(self.body_bytes)
    }

    fn frame(&mut self, length: u32, content: &[u8]) -> io::Result<()> {
        let length = length.to_le_bytes();
        self.checksum.update(&length);
        self.checksum.update(content);
        let checksum = self.checksum.clone().finalize().to_le_bytes();
        for part in [&length[..], &checksum, content] {
            self.sink.write_all(part)?;
            self.body_bytes += part.len() as u64;
        }
        Ok(())
    }
}

/// Reads a whole body and visits its pairs in order. They count only once this has returned `Ok`, or if the
/// visitor itself ended the scan.
///
/// # Errors
/// `MalformedBody` for an illegal length, a wrong checksum, keys that do not ascend, a wrong count, a missing
/// end frame, and bytes behind it; `Io` where the source fails.
pub fn read_pairs(source: &mut dyn Read, visit: &mut Visit<'_>) -> Result<()> {
    let mut reader = FrameReader { source, checksum: Hasher::new(), offset: 0 };
    let mut last_key: Option<Vec<u8>> = None;
    let mut pairs: u64 = 0;
    loop {
        let key = match reader.frame(KEY_FRAME_BYTES_MAX)? {
            Frame::Content(key) => key,
            Frame::End(count) if count == pairs => return reader.expect_end(),
            Frame::End(count) => {
                return Err(malformed(format!("the end frame counts {count} pairs, but {pairs} came")));
            }
        };
        if last_key.as_ref().is_some_and(|last| *last >= key) {
            return Err(malformed(format!("key {pairs} does not ascend")));
        }
        let Frame::Content(value) = reader.frame(VALUE_FRAME_BYTES_MAX)? else {
            return Err(malformed("an end frame stands where a value should".to_owned()));
        };
        if visit(&key, &value).is_break() {
            return Ok(());
        }
        last_key = Some(key);
        pairs += 1;
    }
}

enum Frame {
    Content(Vec<u8>),
    End(u64),
}

struct FrameReader<'a> {
    source: &'a mut dyn Read,
    checksum: Hasher,
    offset: u64,
}

impl FrameReader<'_> {
    fn frame(&mut self, content_bytes_max: usize) -> Result<Frame> {
        let start = self.offset;
        let [length, checksum] = [self.word()?, self.word()?];
        let content_bytes = match length {
            END_LENGTH => COUNT_BYTES,
            length if length as usize <= content_bytes_max => length as usize,
            length => {
                return Err(malformed(format!(
                    "the frame at byte {start} claims {length} bytes; at most {content_bytes_max} are legal"
                )));
            }
        };
        let content = self.bytes(content_bytes)?;
        self.checksum.update(&length.to_le_bytes());
        self.checksum.update(&content);
        if self.checksum.clone().finalize() != checksum {
            return Err(malformed(format!("the frame at byte {start} has a wrong checksum")));
        }
        if length != END_LENGTH {
            return Ok(Frame::Content(content));
        }
        let count = content.try_into().expect("the content of an end frame was read as eight bytes");
        Ok(Frame::End(u64::from_le_bytes(count)))
    }

    fn expect_end(&mut self) -> Result<()> {
        let mut byte = [0];
        match self.source.read(&mut byte).map_err(EngineError::io("reading a snapshot body"))? {
            0 => Ok(()),
            _ => Err(malformed(format!("bytes follow the end frame, from byte {} on", self.offset))),
        }
    }

    fn word(&mut self) -> Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were asked for")))
    }

    /// Reads in steps, so that a lying length cannot make us allocate more than what really arrives.
    fn bytes(&mut self, wanted: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut *self.source)
            .take(wanted as u64)
            .read_to_end(&mut bytes)
            .map_err(EngineError::io("reading a snapshot body"))?;
        self.offset += read as u64;
        if read < wanted {
            return Err(malformed(format!("it ends at byte {}, before its end frame", self.offset)));
        }
        Ok(bytes)
    }
}

fn malformed(reason: String) -> EngineError {
    EngineError::MalformedBody { engine: EngineId::Sled, reason }
}

/// Writes everything that `source` holds as a body; returns its length in bytes.
///
/// # Errors
/// Those of the source, or `Io` for the sink.
pub fn write_body(source: &dyn crate::View, sink: &mut dyn Write) -> Result<u64> {
    let mut writer = ExportWriter::new(sink);
    let mut failure = None;
    source.scan(b"", None, &mut |key, value| match writer.pair(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match failure {
        None => writer.finish(),
        Some(error) => Err(error),
    }
    .map_err(EngineError::io("writing a snapshot body"))
}
