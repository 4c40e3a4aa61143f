//! Streams to test with, and the way through a reader.

use snapshots::{
    DigestCheck, EngineSet, HeaderLayout, ReaderOptions, Received, Release, SnapshotWriter, StreamError,
    StreamReader,
};
use std::io::Write;

/// The ids of the engines that are not the legacy one: fjall, redb, lsm-tree, mem.
pub(crate) const HEADED_ENGINES: [u8; 4] = [0x01, 0x02, 0x03, 0xfe];

/// A node of release 2 that reads all engines, as designed.
pub(crate) fn release_two() -> ReaderOptions {
    ReaderOptions {
        release: Release::Two,
        engines: EngineSet::from_iter(HEADED_ENGINES),
        layout: HeaderLayout::Bytes21,
        digest_check: DigestCheck::Verify,
    }
}

/// A whole headed stream.
pub(crate) fn headed(engine: u8, layout: HeaderLayout, body: &[u8]) -> Vec<u8> {
    let mut writer = SnapshotWriter::with_layout(Vec::new(), engine, layout).expect("a Vec takes all");
    writer.write_all(body).expect("a Vec takes all");
    let (stream, wire_bytes) = writer.finish().expect("a Vec takes all");
    assert_eq!(wire_bytes, stream.len() as u64, "the writer counts what it writes");
    assert_eq!(wire_bytes, layout.wire_size(body.len() as u64), "the announced size is the real one");
    stream
}

/// What became of a stream: the body that reached the sink, and the verdict.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) body: Vec<u8>,
    pub(crate) verdict: Result<Received, StreamError>,
}

/// Pushes the pieces through a reader, as a receiver would: it stops at the first error.
pub(crate) fn read<'a>(
    options: ReaderOptions,
    announced: u64,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let mut body = Vec::new();
    let mut reader = StreamReader::new(options, announced);
    for piece in pieces {
        if let Err(error) = reader.push(piece, &mut body) {
            assert_eq!(reader.push(b"", &mut body), Err(error.clone()), "a reader that refused stays so");
            assert_eq!(reader.finish(), Err(error.clone()), "a reader that refused stays so");
            return Outcome { body, verdict: Err(error) };
        }
    }
    Outcome { body, verdict: reader.finish() }
}
