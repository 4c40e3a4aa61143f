//! How a stream arrives does not matter, and what arrives cannot make a reader panic.

use crate::streams::{HEADED_ENGINES, headed, read, release_two};
use proptest::prelude::*;
use snapshots::{
    DigestCheck, EngineSet, Header, HeaderLayout, MAGIC, ReaderOptions, Release, Route, SnapshotWriter,
    Sniffed, StreamError, StreamReader, sniff, wire_size,
};
use std::io::{self, Write};

fn layouts() -> impl Strategy<Value = HeaderLayout> + Clone {
    prop::sample::select(vec![HeaderLayout::Bytes21, HeaderLayout::Bytes17])
}

fn options() -> impl Strategy<Value = ReaderOptions> {
    (
        prop::sample::select(&Release::ALL[..]),
        prop::sample::subsequence(&HEADED_ENGINES[..], 0..=HEADED_ENGINES.len()),
        layouts(),
        prop::sample::select(vec![DigestCheck::Verify, DigestCheck::Skip]),
    )
        .prop_map(|(release, engines, layout, digest_check)| ReaderOptions {
            release,
            engines: EngineSet::from_iter(engines),
            layout,
            digest_check,
        })
}

/// Whole streams, streams cut anywhere, streams with a tail, magic and noise, noise.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let noise = || prop::collection::vec(any::<u8>(), 0..120);
    let whole = (prop::sample::select(&HEADED_ENGINES[..]), layouts(), noise())
        .prop_map(|(engine, layout, body)| headed(engine, layout, &body));
    let header = (any::<u8>(), any::<u32>())
        .prop_map(|(engine, version)| Header { engine, version }.encode(HeaderLayout::Bytes21));
    prop_oneof![
        whole.clone(),
        (whole.clone(), any::<prop::sample::Index>())
            .prop_map(|(stream, cut)| stream[..cut.index(stream.len())].to_vec()),
        (whole, noise()).prop_map(|(stream, tail)| [stream, tail].concat()),
        (header, noise()).prop_map(|(header, tail)| [header, tail].concat()),
        noise().prop_map(|tail| [&MAGIC[..], &tail].concat()),
        noise(),
    ]
}

/// A stream with an announcement: mostly near its real size, sometimes anything.
fn announced_streams() -> impl Strategy<Value = (Vec<u8>, u64)> {
    streams().prop_flat_map(|stream| {
        let size = stream.len() as u64;
        let announced =
            prop_oneof![4 => Just(size), 2 => 0..=size + 60, 1 => any::<u64>(), 1 => Just(u64::MAX)];
        (Just(stream), announced)
    })
}

/// `stream` cut at the given places; a place named twice gives an empty piece.
fn cut<'a>(stream: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut offsets: Vec<usize> = places.iter().map(|place| place.index(stream.len() + 1)).collect();
    offsets.extend([0, stream.len()]);
    offsets.sort_unstable();
    offsets.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_outcome_does_not_depend_on_the_pieces(
        options in options(),
        (stream, announced) in announced_streams(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = read(options, announced, [&stream[..]]);
        prop_assert_eq!(&read(options, announced, cut(&stream, &places)), &whole);
        prop_assert_eq!(&read(options, announced, stream.chunks(1)), &whole);
    }

    #[test]
    fn what_is_accepted_has_the_announced_size_and_accounts_for_it(
        options in options(),
        (stream, announced) in announced_streams(),
    ) {
        let outcome = read(options, announced, [&stream[..]]);
        prop_assert!(outcome.body.len() as u64 <= announced);
        if let Ok(received) = outcome.verdict {
            prop_assert_eq!(received.wire_bytes, announced);
            prop_assert_eq!(stream.len() as u64, announced);
            prop_assert_eq!(outcome.body.len() as u64, received.body_bytes);
            match received.route {
                Route::Legacy => prop_assert_eq!(outcome.body, stream),
                Route::Engine { id, version } => {
                    prop_assert!(options.engines.contains(id));
                    prop_assert_eq!(version, 1);
                    prop_assert_eq!(options.layout.wire_size(received.body_bytes), announced);
                }
            }
        }
    }

    #[test]
    fn sniffing_is_settled_by_seventeen_bytes_and_never_changes_its_mind(stream in streams()) {
        let settled = sniff(&stream[..stream.len().min(17)]);
        prop_assert!(settled.is_some() || stream.len() < 17);
        for length in 0..stream.len() {
            let early = sniff(&stream[..length]);
            prop_assert!(early.is_none() || early == settled);
        }
        prop_assert_eq!(
            matches!(settled, Some(Sniffed::Headed { .. })),
            stream.starts_with(&MAGIC) && stream.len() >= 17
        );
    }
}

#[test]
fn the_body_flows_through_and_the_trailer_never_reaches_the_sink() {
    let body: Vec<u8> = (0..200).collect();
    let stream = headed(0x02, HeaderLayout::Bytes21, &body);
    let mut reader = StreamReader::new(release_two(), stream.len() as u64);
    let mut sink = Vec::new();
    for (offset, byte) in stream.iter().enumerate() {
        reader.push(&[*byte], &mut sink).unwrap();
        let come = (offset + 1).saturating_sub(21).min(body.len());
        assert_eq!(sink, body[..come], "after byte {offset}");
        let route = (offset >= 20).then_some(Route::Engine { id: 0x02, version: 1 });
        assert_eq!(reader.route(), route, "after byte {offset}");
    }
    reader.finish().unwrap();
}

#[test]
fn a_bare_stream_is_recognised_at_its_first_byte_that_is_not_the_magics() {
    let mut reader = StreamReader::new(release_two(), 100);
    let mut sink = Vec::new();
    reader.push(b"ETCD", &mut sink).unwrap();
    assert_eq!((reader.route(), &sink[..]), (None, &b""[..]));
    reader.push(b"!", &mut sink).unwrap();
    assert_eq!((reader.route(), &sink[..]), (Some(Route::Legacy), &b"ETCD!"[..]));
}

/// A sink that takes at most three bytes at a time.
struct ShortWrites(Vec<u8>);

impl Write for ShortWrites {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(3);
        self.0.extend(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_writes_short_gets_the_same_stream() {
    let body: Vec<u8> = (0..100).collect();
    let mut writer = SnapshotWriter::new(ShortWrites(Vec::new()), 0x03).unwrap();
    for piece in body.chunks(7) {
        writer.write_all(piece).unwrap();
    }
    let (ShortWrites(stream), wire_bytes) = writer.finish().unwrap();
    assert_eq!(stream, headed(0x03, HeaderLayout::Bytes21, &body));
    assert_eq!(wire_bytes, wire_size(100));
}

#[test]
fn a_writer_dropped_early_leaves_a_stream_that_is_refused() {
    let mut stream = Vec::new();
    let mut writer = SnapshotWriter::new(&mut stream, 0x03).unwrap();
    writer.write_all(&[7; 100]).unwrap();
    drop(writer);
    let outcome = read(release_two(), wire_size(100), [&stream[..]]);
    assert_eq!(outcome.verdict, Err(StreamError::Truncated { expected: 153, got: 121 }));
}
