//! Where two crates meet: a snapshot stream is legacy by the absence of the magic (crate `snapshots`), so damage
//! to the magic hands a headed stream to the reader of legacy bodies (crate `engines`). That reader must refuse
//! it; and no legacy body, whatever its keys, may begin with the magic.

#![expect(clippy::unwrap_used, reason = "a test, functions outside #[test] included")]

use engines::sled::export::{ExportWriter, KEY_FRAME_BYTES_MAX, read_pairs};
use engines::{Batch, EngineError, EngineId, Options};
use proptest::prelude::*;
// Linked with the flags of interposition as every program of this crate is, so it must have the symbols.
use sim as _;
use snapshots::{
    EngineSet, MAGIC, Peer, ReaderOptions, Release, Route, SnapshotWriter, Sniffed, StreamReader, sniff,
};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

fn legacy_body(pairs: &Pairs) -> Vec<u8> {
    let mut body = Vec::new();
    let mut writer = ExportWriter::new(&mut body);
    for (key, value) in pairs {
        writer.pair(key, value).unwrap();
    }
    let body_bytes = writer.finish().unwrap();
    assert_eq!(body_bytes, body.len() as u64);
    body
}

fn legacy_pairs(mut body: &[u8]) -> Result<Pairs, EngineError> {
    let mut pairs = Pairs::new();
    read_pairs(&mut body, &mut |key, value| {
        pairs.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(pairs)
}

fn headed_stream(engine: EngineId, body: &[u8]) -> Vec<u8> {
    let mut writer = SnapshotWriter::new(Vec::new(), engine.byte()).unwrap();
    writer.write_all(body).unwrap();
    writer.finish().unwrap().0
}

/// What a node of release 2 that reads every engine makes of a stream: its route and body, or why not.
fn receive(stream: &[u8], announced: usize) -> Result<(Route, Vec<u8>), String> {
    let engines: EngineSet = EngineId::ALL.map(EngineId::byte).into_iter().collect();
    let receiver = Peer::new(Release::Two, EngineId::Sled.byte(), engines);
    let mut reader = StreamReader::new(ReaderOptions::of(&receiver), announced as u64);
    let mut body = Vec::new();
    reader.push(stream, &mut body).map_err(|error| error.to_string())?;
    let received = reader.finish().map_err(|error| error.to_string())?;
    Ok((received.route, body))
}

/// The magic with every damage of one byte: flipped, dropped, added.
fn damaged_magics() -> Vec<Vec<u8>> {
    let flips = |at: usize| (1..=u8::MAX).map(move |bits| (at..at + 1, vec![MAGIC[at] ^ bits]));
    let adds = |at: usize| (0..=u8::MAX).map(move |byte| (at..at, vec![byte]));
    let changes = (0..MAGIC.len()).flat_map(|at| flips(at).chain([(at..at + 1, Vec::new())]).chain(adds(at)));
    changes.map(|(place, bytes)| [&MAGIC[..place.start], &bytes, &MAGIC[place.end..]].concat()).collect()
}

/// A headed stream with this in the place of its magic.
fn with_magic(magic: &[u8], stream: &[u8]) -> Vec<u8> {
    [magic, &stream[MAGIC.len()..]].concat()
}

/// Inflicts every damage to the magic; how many of them made the stream look legacy and were then refused by the
/// legacy reader. Where the announced size is the undamaged stream's, the size alone may betray the damage; where
/// it is the damaged one's, nothing but the bytes can.
fn check_every_damage(stream: &[u8]) -> u32 {
    let mut refused_by_legacy_reader = 0;
    for magic in damaged_magics() {
        let damaged = with_magic(&magic, stream);
        let hidden = !damaged.starts_with(&MAGIC);
        assert_eq!(sniff(&damaged) == Some(Sniffed::Legacy), hidden, "{magic:02x?}");
        for announced in [stream.len(), damaged.len()] {
            let Ok((route, body)) = receive(&damaged, announced) else { continue };
            assert_eq!((route, hidden), (Route::Legacy, true), "{magic:02x?}");
            assert_eq!(body, damaged, "a bare stream is its body");
            let refusal = legacy_pairs(&body).unwrap_err();
            assert!(matches!(refusal, EngineError::MalformedBody { .. }), "{magic:02x?}: {refusal}");
            refused_by_legacy_reader += 1;
        }
    }
    refused_by_legacy_reader
}

#[test]
fn a_headed_stream_with_a_damaged_magic_is_refused_by_the_legacy_reader() {
    let pairs = Pairs::from([(b"key".to_vec(), b"value".to_vec()), (MAGIC.to_vec(), MAGIC.to_vec())]);
    // The worst bodies: a legacy body as it is, behind the header, and none at all.
    for body in [legacy_body(&pairs), Vec::new()] {
        let stream = headed_stream(EngineId::Fjall, &body);
        assert_eq!(receive(&stream, stream.len()).unwrap().1, body, "undamaged it is accepted");
        // All 4,080 flips under both announcements (the sizes agree); of the other damages those that fit theirs:
        // 16 drops, and the 4,096 additions but the 24 that repeat a byte of the magic where it changes nothing.
        assert!(check_every_damage(&stream) > 2 * 4_080 + 16 + 4_000);
    }
}

/// Keys and values that look like the magic, like its parts, like frames of their own; and any others.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let end = u32::MAX.to_le_bytes().to_vec();
    prop_oneof![
        Just(MAGIC.to_vec()),
        (0..MAGIC.len(), prop::collection::vec(any::<u8>(), 0..8)).prop_map(|(start, rest)| [
            &MAGIC[start..],
            &rest
        ]
        .concat()),
        Just([&MAGIC[..], &[EngineId::Fjall.byte(), 1, 0, 0, 0]].concat()),
        Just(end),
        prop::collection::vec(any::<u8>(), 0..64),
        (0x4000_usize..0x6000).prop_map(|length| vec![b'E'; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_legacy_body_begins_with_the_magic(pairs in prop::collection::btree_map(hostile(), hostile(), 0..12)) {
        let body = legacy_body(&pairs);
        prop_assert!(!body.starts_with(&MAGIC[..4]));
        prop_assert_eq!(sniff(&body), Some(Sniffed::Legacy));
        prop_assert_eq!(receive(&body, body.len()), Ok((Route::Legacy, body.clone())));
        prop_assert_eq!(legacy_pairs(&body).unwrap(), pairs);
    }

    #[test]
    fn a_damaged_magic_is_refused_whatever_the_body(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            prop::collection::btree_map(hostile(), hostile(), 0..4).prop_map(|pairs| legacy_body(&pairs)),
        ],
        magic in prop::sample::select(damaged_magics()),
    ) {
        let damaged = with_magic(&magic, &headed_stream(EngineId::Redb, &body));
        if let Ok((route, body)) = receive(&damaged, damaged.len()) {
            prop_assert_eq!(route, Route::Legacy);
            prop_assert!(legacy_pairs(&body).is_err(), "{:02x?}", magic);
        }
    }
}

#[test]
fn the_longest_legal_key_leaves_the_magic_out_of_reach() {
    let longest = vec![0; KEY_FRAME_BYTES_MAX];
    let body = legacy_body(&Pairs::from([(longest.clone(), Vec::new())]));
    assert_eq!(sniff(&body), Some(Sniffed::Legacy));
    let too_long = [longest, vec![0]].concat();
    let refusal = ExportWriter::new(&mut Vec::new()).pair(&too_long, b"").unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_stream_of_a_real_sled_is_legacy() {
    let directory = tempfile::tempdir().unwrap();
    let sled = engines::engine(EngineId::Sled).unwrap();
    let mut store = sled.open(&directory.path().join("store"), &Options::default()).unwrap();
    let mut batch = Batch::new();
    batch.put(MAGIC, MAGIC);
    batch.put(&MAGIC[..8], b"");
    store.write(&batch).unwrap();
    let mut body = Vec::new();
    store.checkpoint(&directory.path().join("scratch"), &mut body).unwrap();
    store.close().unwrap();
    assert_eq!(receive(&body, body.len()), Ok((Route::Legacy, body.clone())));
    assert_eq!(legacy_pairs(&body).unwrap().len(), 2);
}
