//! Golden images: a change of one byte on the wire, or of one word in an error, shows here.

use crate::streams::{HEADED_ENGINES, headed, read, release_two};
use snapshots::{
    DigestCheck, EngineSet, HeaderLayout, LEGACY_ENGINE, ReaderOptions, Release, Route, SnapshotWriter,
    StreamError, StreamReader,
};
use std::fmt::Write as _;
use std::io;

const BODY: &[u8] = b"a body, short and readable";

/// Sixteen bytes a line: offset, bytes, text.
fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (line, row) in bytes.chunks(16).enumerate() {
        let hex: String = row.iter().map(|byte| format!(" {byte:02x}")).collect();
        let text: String =
            row.iter().map(|byte| if byte.is_ascii_graphic() { *byte as char } else { '.' }).collect();
        writeln!(dump, "{:04x} {hex:<48}  {text}", line * 16).expect("a String takes all");
    }
    dump
}

#[test]
fn a_headed_stream_of_each_engine() {
    for engine in HEADED_ENGINES {
        let stream = headed(engine, HeaderLayout::Bytes21, BODY);
        insta::assert_snapshot!(format!("headed_{engine:02x}"), hex_dump(&stream));

        let outcome = read(release_two(), stream.len() as u64, [&stream[..]]);
        let received = outcome.verdict.unwrap();
        assert_eq!(received.route, Route::Engine { id: engine, version: 1 });
        assert_eq!(received.body_bytes, BODY.len() as u64);
        assert_eq!(received.wire_bytes, stream.len() as u64);
        assert_eq!(outcome.body, BODY);
    }
}

#[test]
fn an_empty_body_is_header_and_trailer() {
    let stream = headed(0x01, HeaderLayout::Bytes21, b"");
    insta::assert_snapshot!("headed_empty", hex_dump(&stream));
    assert_eq!(read(release_two(), 53, [&stream[..]]).verdict.unwrap().body_bytes, 0);
}

#[test]
fn the_variant_with_a_header_of_17_bytes() {
    let options = ReaderOptions { layout: HeaderLayout::Bytes17, ..release_two() };
    let stream = headed(0x01, HeaderLayout::Bytes17, BODY);
    insta::assert_snapshot!("variant_17_bytes", hex_dump(&stream));
    let outcome = read(options, stream.len() as u64, [&stream[..]]);
    assert_eq!(outcome.verdict.unwrap().route, Route::Engine { id: 0x01, version: 1 });
    assert_eq!(outcome.body, BODY);
}

/// The digest covers header and body as one run of bytes, so it does not say where the header ends: two nodes
/// that disagree about the layout are not always told so. All nodes of a cluster must use one layout.
#[test]
fn the_digest_does_not_tell_the_two_layouts_apart() {
    let variant = ReaderOptions { layout: HeaderLayout::Bytes17, ..release_two() };
    let read_whole = |options, stream: &[u8]| read(options, stream.len() as u64, [stream]);

    let shifted = read_whole(variant, &headed(0x01, HeaderLayout::Bytes21, BODY));
    assert_eq!(shifted.verdict.unwrap().body_bytes, BODY.len() as u64 + 4);
    assert_eq!(shifted.body, [b"\x01\0\0\0", BODY].concat(), "the version became the body's beginning");

    let refused = read_whole(release_two(), &headed(0x01, HeaderLayout::Bytes17, BODY));
    let version = u32::from_le_bytes(*BODY.first_chunk().unwrap());
    assert_eq!(refused.verdict, Err(StreamError::UnknownVersion { engine: 0x01, version }));

    let unlucky = [b"\x01\0\0\0", BODY].concat();
    let shifted = read_whole(release_two(), &headed(0x01, HeaderLayout::Bytes17, &unlucky));
    assert_eq!(shifted.verdict.unwrap().body_bytes, BODY.len() as u64);
}

#[test]
fn a_legacy_stream_is_its_body() {
    let stream = b"\x03\x00\x00\x00key\x05\x00\x00\x00value";
    insta::assert_snapshot!("legacy", hex_dump(stream));
    let outcome = read(release_two(), stream.len() as u64, [&stream[..]]);
    assert_eq!(outcome.verdict.unwrap().route, Route::Legacy);
    assert_eq!(outcome.body, stream);
}

#[test]
fn the_legacy_engine_has_no_header() {
    let Err(error) = SnapshotWriter::new(Vec::new(), LEGACY_ENGINE) else {
        panic!("a header of the legacy engine was written");
    };
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);

    // Not even a reader that was told to know it reads one.
    let mut stream = headed(0x01, HeaderLayout::Bytes21, BODY);
    stream[16] = LEGACY_ENGINE;
    let options = ReaderOptions { engines: EngineSet::from_iter(0..=u8::MAX), ..release_two() };
    let outcome = read(options, stream.len() as u64, [&stream[..]]);
    assert_eq!(outcome.verdict.unwrap_err().to_string(), "snapshot stream of unknown engine 0x00");
}

#[test]
fn a_node_of_release_one_takes_a_headed_stream_for_a_bare_one() {
    let stream = headed(0x01, HeaderLayout::Bytes21, BODY);
    let options = ReaderOptions { release: Release::One, ..release_two() };
    let outcome = read(options, stream.len() as u64, [&stream[..]]);
    assert_eq!(outcome.verdict.unwrap().route, Route::Legacy);
    assert_eq!(outcome.body, stream, "the legacy reader gets the magic, and refuses it");
}

#[test]
fn without_the_digest_check_a_damaged_body_goes_through() {
    let mut stream = headed(0x01, HeaderLayout::Bytes21, BODY);
    stream[21] ^= 1;
    let options = ReaderOptions { digest_check: DigestCheck::Skip, ..release_two() };
    let outcome = read(options, stream.len() as u64, [&stream[..]]);
    assert_eq!(outcome.verdict.unwrap().body_bytes, BODY.len() as u64);
    assert_ne!(outcome.body, BODY);
}

/// A sink with no room left.
struct FullDisk;

impl io::Write for FullDisk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_error_in_its_words() {
    let stream = headed(0x01, HeaderLayout::Bytes21, BODY);
    let size = stream.len() as u64;
    let with = |offset: usize, byte: u8| {
        let mut damaged = stream.clone();
        damaged[offset] = byte;
        damaged
    };
    let refused = |announced: u64, stream: &[u8]| {
        read(release_two(), announced, [stream]).verdict.unwrap_err().to_string()
    };
    let mut reader = StreamReader::new(release_two(), size);
    let full = reader.push(&stream, &mut FullDisk).unwrap_err();
    assert_eq!(reader.finish(), Err(full.clone()));

    let texts = [
        ("a byte missing", refused(size, &stream[..stream.len() - 1])),
        ("nothing came", refused(size, b"")),
        ("announced less than header and trailer", refused(30, &stream[..30])),
        ("announced the magic alone", refused(16, &stream[..16])),
        ("a byte too many", refused(size, &[&stream[..], b"x"].concat())),
        ("announced the body only", refused(BODY.len() as u64, &stream)),
        ("announced the body only, of one byte", {
            let stream = headed(0x01, HeaderLayout::Bytes21, b"x");
            refused(1, &stream)
        }),
        ("engine 0x7f", refused(size, &with(16, 0x7f))),
        ("the legacy engine in a header", refused(size, &with(16, 0x00))),
        ("version 2", refused(size, &with(17, 2))),
        ("another known engine", refused(size, &with(16, 0x02))),
        ("a byte of the trailer", refused(size, &with(stream.len() - 1, 0))),
        ("a full disk", full.to_string()),
    ];
    let table: String = texts.map(|(cause, text)| format!("{cause}\n    {text}\n")).concat();
    insta::assert_snapshot!("errors", table);
}
