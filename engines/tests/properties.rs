//! Properties over generated inputs, on the real file system.

#![expect(clippy::unwrap_used, reason = "a test, functions outside #[test] included")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use engines::sled::export::{self, ExportWriter};
use engines::{Backend, Batch, Engine, EngineError, EngineId, Options};
use proptest::collection::vec;
use proptest::prelude::*;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is done to a store and, in step, to a map.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Flush,
    Reopen,
    Defragment,
    Checkpoint,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few enough that keys meet again; with the bytes that codecs and separators stumble over.
    vec(prop_oneof![Just(0x00), Just(0x01), Just(b'a'), Just(0xff)], 1..4)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 1_000..9_000)]
}

fn step() -> impl Strategy<Value = Step> {
    let change = (key(), proptest::option::weighted(0.7, value()));
    prop_oneof![
        10 => vec(change, 0..12).prop_map(Step::Write),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Defragment),
        1 => Just(Step::Checkpoint),
    ]
}

fn content(store: &dyn Backend, start: &[u8], end: Option<&[u8]>) -> Content {
    let mut content = Content::new();
    let scanned = store.scan(start, end, &mut |key, value| {
        assert!(content.insert(key.to_vec(), value.to_vec()).is_none());
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    content
}

fn check_against_map(engine: &dyn Engine, steps: &[Step]) {
    let dir = tempfile::tempdir().unwrap();
    let (home, scratch) = (dir.path().join("store"), dir.path().join("scratch"));
    let options = Options { memtable_bytes: 4 << 10, ..Options::default() };
    let mut model = Content::new();
    let mut store = engine.open(&home, &options).unwrap();
    for step in steps {
        match step {
            Step::Write(changes) => {
                let mut batch = Batch::new();
                for (key, value) in changes {
                    match value {
                        Some(value) => {
                            batch.put(key.as_slice(), value.as_slice());
                            model.insert(key.clone(), value.clone());
                        }
                        None => {
                            batch.delete(key.as_slice());
                            model.remove(key);
                        }
                    }
                }
                store.write(&batch).unwrap();
            }
            Step::Flush => store.flush().unwrap(),
            Step::Reopen => {
                store.flush().unwrap();
                store.close().unwrap();
                store = engine.open(&home, &options).unwrap();
            }
            Step::Defragment => store.defragment().unwrap(),
            Step::Checkpoint => {
                let mut body = Vec::new();
                store.checkpoint(&scratch, &mut body).unwrap();
                let copy = dir.path().join("copy");
                engine.restore(&mut body.as_slice(), &copy).unwrap();
                store.close().unwrap();
                std::fs::remove_dir_all(&home).unwrap();
                std::fs::rename(&copy, &home).unwrap();
                store = engine.open(&home, &options).unwrap();
            }
        }
        assert_eq!(content(&*store, b"", None), model, "after {step:?}");
    }
    let bounded: Content = model
        .range(b"\x01".to_vec()..b"a\xff".to_vec())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(content(&*store, b"\x01", Some(b"a\xff")), bounded);
    store.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sled_equals_a_map(steps in vec(step(), 1..30)) {
        check_against_map(engines::engine(EngineId::Sled).unwrap(), &steps);
    }

    #[test]
    fn fjall_equals_a_map(steps in vec(step(), 1..30)) {
        check_against_map(engines::engine(EngineId::Fjall).unwrap(), &steps);
    }

    #[test]
    fn redb_equals_a_map(steps in vec(step(), 1..30)) {
        check_against_map(engines::engine(EngineId::Redb).unwrap(), &steps);
    }

    #[test]
    fn lsm_tree_equals_a_map(steps in vec(step(), 1..30)) {
        check_against_map(engines::engine(EngineId::LsmTree).unwrap(), &steps);
    }

    #[test]
    fn mem_equals_a_map(steps in vec(step(), 1..30)) {
        check_against_map(engines::engine(EngineId::Mem).unwrap(), &steps);
    }
}

fn body_of(content: &Content) -> Vec<u8> {
    let mut body = Vec::new();
    let mut writer = ExportWriter::new(&mut body);
    for (key, value) in content {
        writer.pair(key, value).unwrap();
    }
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes, body.len() as u64);
    body
}

fn read(mut body: &[u8]) -> engines::Result<Content> {
    let mut content = Content::new();
    export::read_pairs(&mut body, &mut |key, value| {
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(content)
}

fn assert_refused(body: &[u8], damage: &str) {
    match read(body) {
        Err(EngineError::MalformedBody { engine: EngineId::Sled, .. }) => {}
        other => panic!("{damage} gave {other:?}"),
    }
}

/// Every one-byte damage at `index`: each bit flipped, the byte dropped, doubled, or preceded by another.
fn assert_damage_is_refused(body: &[u8], index: usize, added: u8) {
    for bit in 0..8 {
        let mut flipped = body.to_vec();
        flipped[index] ^= 1 << bit;
        assert_refused(&flipped, &format!("bit {bit} of byte {index} flipped"));
    }
    let mut dropped = body.to_vec();
    dropped.remove(index);
    assert_refused(&dropped, &format!("byte {index} dropped"));
    for added in [added, body[index]] {
        let mut grown = body.to_vec();
        grown.insert(index, added);
        assert_refused(&grown, &format!("byte {added} added before byte {index}"));
    }
}

const SNAPSHOT_MAGIC: &[u8; 16] = b"ETCDSNAP\0\0\0\0\0\0\0\0";

fn hostile_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(SNAPSHOT_MAGIC.to_vec()),
        (0..=16_usize).prop_map(|length| SNAPSHOT_MAGIC[..length].to_vec()),
        // Lengths whose little-endian bytes resemble the magic's.
        prop_oneof![Just(0x45_usize), Just(0x5445), Just(0x4345)].prop_map(|length| vec![b'E'; length]),
        vec(any::<u8>(), 0..40).prop_map(|tail| [SNAPSHOT_MAGIC.as_slice(), &tail].concat()),
        vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_export_reads_back(content in proptest::collection::btree_map(vec(any::<u8>(), 0..30), value(), 0..20)) {
        prop_assert_eq!(read(&body_of(&content)).unwrap(), content);
    }

    #[test]
    fn a_damaged_export_is_refused(
        content in proptest::collection::btree_map(vec(any::<u8>(), 0..30), vec(any::<u8>(), 0..200), 0..10),
        at: prop::sample::Index,
        added: u8,
    ) {
        let body = body_of(&content);
        assert_damage_is_refused(&body, at.index(body.len()), added);
        assert_refused(&body[..at.index(body.len())], "a cut");
        assert_refused(&[body.as_slice(), &[added]].concat(), "a byte behind the end");
    }

    #[test]
    fn exchanged_exports_are_refused(
        content in proptest::collection::btree_map(vec(any::<u8>(), 3..4), vec(any::<u8>(), 5..6), 2..10),
        first: prop::sample::Index,
        second: prop::sample::Index,
    ) {
        // Pairs of equal size change places: every frame is sound by itself.
        let body = body_of(&content);
        let pair_bytes = 8 + 3 + 8 + 5;
        let (first, second) = (first.index(content.len()), second.index(content.len()));
        prop_assume!(first != second);
        let mut exchanged = body.clone();
        exchanged[first * pair_bytes..][..pair_bytes].copy_from_slice(&body[second * pair_bytes..][..pair_bytes]);
        exchanged[second * pair_bytes..][..pair_bytes].copy_from_slice(&body[first * pair_bytes..][..pair_bytes]);
        assert_refused(&exchanged, "an exchange");
        let without_first = body[pair_bytes..].to_vec();
        assert_refused(&without_first, "a missing pair");
    }

    #[test]
    fn no_export_begins_with_the_magic(
        content in proptest::collection::btree_map(hostile_key(), vec(any::<u8>(), 0..40), 0..6),
    ) {
        let body = body_of(&content);
        prop_assert!(!body.starts_with(SNAPSHOT_MAGIC));
        prop_assert!(!body.starts_with(b"ETCD"), "not even with its first four bytes");
    }
}

#[test]
fn no_byte_of_a_small_export_is_idle() {
    let body = body_of(&Content::from([(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())]));
    for index in 0..body.len() {
        assert_damage_is_refused(&body, index, 0);
        assert_refused(&body[..index], "a cut");
    }
}

#[test]
fn the_layout_of_an_export_is_fixed() {
    let body = body_of(&Content::from([(b"key".to_vec(), b"value".to_vec())]));
    let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    // Computed apart from this crate, with zlib's crc32.
    let frames = [
        ("03000000", "58b755d9", "6b6579"),
        ("05000000", "ef49ae26", "76616c7565"),
        ("ffffffff", "d9852be2", "0100000000000000"),
    ];
    assert_eq!(hex, frames.map(|(length, checksum, content)| [length, checksum, content].concat()).concat());
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let mut sink = Vec::new();
    let mut writer = ExportWriter::new(&mut sink);
    writer.pair(b"b", b"").unwrap();
    for (key, value) in [
        (b"b".to_vec(), Vec::new()),
        (b"a".to_vec(), Vec::new()),
        (vec![b'c'; export::KEY_FRAME_BYTES_MAX + 1], Vec::new()),
        (b"c".to_vec(), vec![0; export::VALUE_FRAME_BYTES_MAX + 1]),
    ] {
        let error = writer.pair(&key, &value).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    writer.pair(b"c", b"").unwrap();
    writer.finish().unwrap();
    assert_eq!(read(&sink).unwrap().len(), 2, "what was refused left nothing behind");
}
