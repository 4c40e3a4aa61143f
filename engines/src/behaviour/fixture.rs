//! What the cases share.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::{Backend, Batch, Engine, EngineId, Options, marker};

pub(super) type Content = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) fn open(engine: &dyn Engine, dir: &Path) -> Box<dyn Backend> {
    engine.open(dir, &Options::default()).expect("opening a store")
}

pub(super) fn open_marked(id: EngineId, dir: &Path) -> Box<dyn Backend> {
    marker::open_data_dir(dir, id, &Options::default()).expect("opening a data directory")
}

pub(super) fn close(store: Box<dyn Backend>) {
    store.close().expect("closing a store");
}

pub(super) fn reopen(engine: &dyn Engine, dir: &Path, store: Box<dyn Backend>) -> Box<dyn Backend> {
    close(store);
    open(engine, dir)
}

pub(super) fn write(store: &mut dyn Backend, batch: &Batch) {
    store.write(batch).expect("writing");
}

pub(super) fn flush(store: &mut dyn Backend) {
    store.flush().expect("flushing");
}

pub(super) fn durable_index(store: &dyn Backend) -> Option<u64> {
    store.durable_index().expect("asking for the durable index")
}

pub(super) fn put(store: &mut dyn Backend, pairs: &[(&str, &str)]) {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(*key, *value);
    }
    write(store, &batch);
}

pub(super) fn write_content(store: &mut dyn Backend, content: &Content) {
    for (key, value) in content {
        let mut batch = Batch::new();
        batch.put(key.as_slice(), value.as_slice());
        write(store, &batch);
    }
}

pub(super) fn content(store: &dyn Backend) -> Content {
    collect(|visit| store.scan(b"", None, visit))
}

pub(super) fn collect(scan: impl FnOnce(&mut crate::Visit<'_>) -> crate::Result<()>) -> Content {
    let mut content = Content::new();
    let scanned = scan(&mut |key, value| {
        if let Some((last, _)) = content.last_key_value() {
            assert!(last.as_slice() < key, "keys ascend");
        }
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    scanned.expect("scanning");
    content
}

/// Equality with a message that fits a screen, and every key asked for by itself, too.
pub(super) fn assert_content(store: &dyn Backend, expected: &Content) {
    let found = content(store);
    for (key, value) in expected {
        let shown = &key[..key.len().min(40)];
        assert!(found.get(key) == Some(value), "key {shown:?} is missing or wrong in a scan");
        let got = store.get(key).expect("getting");
        assert!(got.as_ref() == Some(value), "key {shown:?} is missing or wrong");
    }
    for key in found.keys() {
        assert!(expected.contains_key(key), "key {key:?} should not be there");
    }
}

pub(super) fn pairs(pairs: &[(&str, &str)]) -> Content {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// Bytes that do not compress, the same every time: a 64-bit linear congruential generator (Knuth's MMIX).
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = length as u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
