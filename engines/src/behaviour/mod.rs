//! What every engine must do, as named cases that run on any file system.
//!
//! A case gets an engine and an existing, empty directory, and panics with what it expected. The cases use the
//! public interface only, so that whoever has a machine to test on (real or not) can run them all.

mod bodies;
mod fixture;
mod markers;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fixture::*;

use crate::{
    APPLIED_INDEX_KEY, Backend, Batch, Engine, EngineError, KEY_BYTES_MAX, Options, VALUE_BYTES_MAX, View,
    content_hash,
};

/// A named case.
pub type Case = (&'static str, fn(&dyn Engine, &Path));

/// Every case, independent of each other.
pub const CASES: &[Case] = &[
    ("a fresh store is empty", fresh_store_is_empty),
    ("puts and deletes are seen at once", puts_and_deletes_are_seen_at_once),
    ("the last change to a key in a batch wins", last_change_in_a_batch_wins),
    ("scans honour their bounds and order", scans_honour_bounds_and_order),
    ("a scan can be ended early", scan_can_be_ended_early),
    ("extreme keys and values survive", extreme_keys_and_values_survive),
    ("illegal batches change nothing", illegal_batches_change_nothing),
    ("a view agrees with its store", view_agrees_with_its_store),
    ("a visitor's panic is its own", panic_of_a_visitor_is_its_own),
    ("flushed data survive reopening", flushed_data_survive_reopening),
    ("much overwritten data survive reopening", overwritten_data_survive_reopening),
    ("the durable index follows the flush", durable_index_follows_the_flush),
    ("a malformed applied index is corruption", malformed_applied_index_is_corruption),
    ("the hash is that of the content", hash_is_that_of_the_content),
    ("size and defragmentation", size_and_defragmentation),
    ("a second open is refused", second_open_is_refused),
    ("a checkpoint restores to an equal store", bodies::checkpoint_restores_to_an_equal_store),
    ("an empty store has a checkpoint", bodies::empty_store_has_a_checkpoint),
    ("a body can be scanned", bodies::body_can_be_scanned),
    ("a body cut short is refused", bodies::body_cut_short_is_refused),
    ("a restored data directory opens", bodies::restored_data_directory_opens),
    ("a body transcodes to every engine", bodies::body_transcodes_to_every_engine),
    ("a marked directory opens with its engine only", markers::marked_directory_opens_with_its_engine_only),
    ("a malformed marker is refused", markers::malformed_marker_is_refused),
    ("data without a marker are sled's", markers::data_without_a_marker_are_sleds),
];

fn fresh_store_is_empty(engine: &dyn Engine, dir: &Path) {
    let store = open(engine, &dir.join("not/yet/there"));
    assert_eq!(store.engine(), engine.id());
    assert_eq!(content(&*store), Content::new());
    assert_eq!(store.get(b"key").expect("getting"), None);
    assert_eq!(store.get(b"").expect("getting the empty key"), None);
    assert_eq!(durable_index(&*store), None);
    close(store);
}

fn puts_and_deletes_are_seen_at_once(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    put(&mut *store, &[("a", "1"), ("b", "2")]);
    assert_eq!(content(&*store), pairs(&[("a", "1"), ("b", "2")]));
    assert_eq!(store.get(b"b").expect("getting"), Some(b"2".to_vec()));
    put(&mut *store, &[("a", "3")]);
    let mut batch = Batch::new();
    batch.delete("b");
    batch.delete("never there");
    write(&mut *store, &batch);
    assert_eq!(store.get(b"b").expect("getting"), None);
    assert_eq!(content(&*store), pairs(&[("a", "3")]));
    write(&mut *store, &Batch::new());
    assert_eq!(content(&*store), pairs(&[("a", "3")]), "an empty batch does nothing");
    close(store);
}

fn last_change_in_a_batch_wins(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    let mut batch = Batch::new();
    batch.put("put twice", "first");
    batch.put("put twice", "second");
    batch.put("put and deleted", "value");
    batch.delete("put and deleted");
    batch.delete("deleted and put");
    batch.put("deleted and put", "value");
    assert_eq!((batch.len(), batch.is_empty()), (6, false));
    write(&mut *store, &batch);
    let expected = pairs(&[("put twice", "second"), ("deleted and put", "value")]);
    assert_eq!(content(&*store), expected);
    flush(&mut *store);
    let store = reopen(engine, dir, store);
    assert_eq!(content(&*store), expected);
    close(store);
}

fn scans_honour_bounds_and_order(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    let keys: [&[u8]; 6] = [b"\x00", b"\x00\x00", b"a", b"a\x00", b"b", b"\xff\xff"];
    let mut batch = Batch::new();
    for key in keys.iter().rev() {
        batch.put(*key, *key);
    }
    write(&mut *store, &batch);
    let check = |start: &[u8], end: Option<&[u8]>, expected: &[&[u8]]| {
        let mut seen = Vec::new();
        let scanned = store.scan(start, end, &mut |key, value| {
            assert_eq!(key, value, "the value belongs to its key");
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        });
        scanned.expect("scanning");
        assert_eq!(seen, expected, "scan from {start:?} to {end:?}");
    };
    check(b"", None, &keys);
    check(b"", Some(b""), &[]);
    check(b"", Some(b"a"), &keys[..2]);
    check(b"\x00", Some(b"\x00\x00"), &keys[..1]);
    check(b"\x00\x00", Some(b"a\x00"), &keys[1..3]);
    check(b"a", Some(b"b"), &keys[2..4]);
    check(b"a\x00\x00", None, &keys[4..]);
    check(b"b", Some(b"a"), &[]);
    check(b"b", Some(b"b"), &[]);
    check(b"\xff\xff\xff", None, &[]);
    close(store);
}

fn scan_can_be_ended_early(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    put(&mut *store, &[("a", "1"), ("b", "2"), ("c", "3")]);
    let mut visits = 0;
    let ended = store.scan(b"", None, &mut |key, _| {
        visits += 1;
        if key == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    ended.expect("an early end is no error");
    assert_eq!(visits, 2);
    close(store);
}

fn extreme_keys_and_values_survive(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    let mut expected = Content::new();
    for byte in 0..=u8::MAX {
        expected.insert(vec![byte], vec![byte; usize::from(byte)]);
    }
    for length in [2, 255, 256, 4_096, KEY_BYTES_MAX] {
        expected.insert(vec![0xfe; length], length.to_string().into_bytes());
    }
    expected.insert(b"empty value".to_vec(), Vec::new());
    for length in [4_095, 4_096, 4_097, 65_536, 1 << 20] {
        expected.insert(format!("long value {length}").into_bytes(), noise(length));
    }
    expected.insert(b"ETCDSNAP\0\0\0\0\0\0\0\0".to_vec(), b"ETCDSNAP\0\0\0\0\0\0\0\0".to_vec());
    write_content(&mut *store, &expected);
    assert_content(&*store, &expected);
    flush(&mut *store);
    let store = reopen(engine, dir, store);
    assert_content(&*store, &expected);
    close(store);
}

fn illegal_batches_change_nothing(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    put(&mut *store, &[("a", "1")]);
    let illegal = [
        ("an empty key", Vec::new(), Vec::new()),
        ("an over-long key", vec![1; KEY_BYTES_MAX + 1], Vec::new()),
        ("an over-long value", vec![1], vec![0; VALUE_BYTES_MAX + 1]),
    ];
    for (what, key, value) in illegal {
        let mut batch = Batch::new();
        batch.put("b", "not to be written");
        batch.put(key, value);
        let outcome = store.write(&batch);
        assert!(matches!(outcome, Err(EngineError::Misuse(_))), "{what} gave {outcome:?}");
    }
    let outcome = store.scan(&vec![1; KEY_BYTES_MAX + 1], None, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(outcome, Err(EngineError::Misuse(_))), "an over-long bound gave {outcome:?}");
    assert_eq!(content(&*store), pairs(&[("a", "1")]), "misuse neither writes nor poisons");
    close(store);
}

fn view_agrees_with_its_store(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    put(&mut *store, &[("a", "1"), ("b", "2"), ("c", "3")]);
    {
        let view = store.view().expect("taking a view");
        let other = store.view().expect("taking a second view");
        assert_eq!(view.get(b"b").expect("getting"), Some(b"2".to_vec()));
        assert_eq!(view.get(b"d").expect("getting"), None);
        assert_eq!(view_content(&*view), content(&*store));
        assert_eq!(view_content(&*other), content(&*store));
    }
    put(&mut *store, &[("d", "4")]);
    let view = store.view().expect("taking a view after a write");
    assert_eq!(view.get(b"d").expect("getting"), Some(b"4".to_vec()));
    drop(view);
    close(store);
}

fn panic_of_a_visitor_is_its_own(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    put(&mut *store, &[("a", "1")]);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // `resume_unwind` leaves the panic hook, and with it the test's output, alone.
        store.scan(b"", None, &mut |_, _| std::panic::resume_unwind(Box::new("the visitor's own")))
    }));
    let payload = outcome.expect_err("the panic goes through to the caller");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"the visitor's own"));
    assert_eq!(content(&*store), pairs(&[("a", "1")]), "the store is not poisoned");
    close(store);
}

fn flushed_data_survive_reopening(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    put(&mut *store, &[("a", "1"), ("b", "2")]);
    flush(&mut *store);
    let mut store = reopen(engine, dir, store);
    assert_eq!(content(&*store), pairs(&[("a", "1"), ("b", "2")]));
    let mut batch = Batch::new();
    batch.delete("a");
    batch.put("c", "3");
    write(&mut *store, &batch);
    flush(&mut *store);
    flush(&mut *store);
    let store = reopen(engine, dir, store);
    assert_eq!(content(&*store), pairs(&[("b", "2"), ("c", "3")]));
    let store = reopen(engine, dir, store);
    assert_eq!(content(&*store), pairs(&[("b", "2"), ("c", "3")]));
    close(store);
}

/// Several memtables and log segments' worth of data, so that engines rotate, flush and compact.
fn overwritten_data_survive_reopening(engine: &dyn Engine, dir: &Path) {
    let mut expected = Content::new();
    let mut store = open(engine, dir);
    for round in 0..4_u8 {
        for group in 0..10_u8 {
            let mut batch = Batch::new();
            for key in 0..16_u8 {
                let key = vec![group, key];
                if (key[1] ^ round) % 5 == 0 {
                    expected.remove(&key);
                    batch.delete(key);
                } else {
                    let mut value = noise(512);
                    value.push(round);
                    expected.insert(key.clone(), value.clone());
                    batch.put(key, value);
                }
            }
            write(&mut *store, &batch);
        }
        flush(&mut *store);
        store = reopen(engine, dir, store);
        assert_content(&*store, &expected);
    }
    close(store);
}

fn durable_index_follows_the_flush(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    apply(&mut *store, 5);
    assert_eq!(durable_index(&*store), None, "written is not durable");
    flush(&mut *store);
    assert_eq!(durable_index(&*store), Some(5));
    apply(&mut *store, 6);
    assert_eq!(durable_index(&*store), Some(5), "written is not durable");
    let mut store = reopen(engine, dir, store);
    let recovered = durable_index(&*store);
    assert!(matches!(recovered, Some(5 | 6)), "{recovered:?} was proven when it was opened");
    let written = store.get(APPLIED_INDEX_KEY).expect("getting").expect("an index was flushed");
    assert_eq!(crate::decode_applied_index(&written), recovered, "what was found is what is proven");
    assert_eq!(
        store.get(b"applied").expect("getting"),
        recovered.map(|index| index.to_string().into_bytes())
    );
    apply(&mut *store, u64::MAX);
    flush(&mut *store);
    assert_eq!(durable_index(&*store), Some(u64::MAX));
    let store = reopen(engine, dir, store);
    assert_eq!(durable_index(&*store), Some(u64::MAX));
    close(store);
}

fn malformed_applied_index_is_corruption(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    let mut batch = Batch::new();
    batch.put(APPLIED_INDEX_KEY, "seven b");
    write(&mut *store, &batch);
    let outcome = store.flush();
    assert!(matches!(outcome, Err(EngineError::Corrupt { .. })), "flushing gave {outcome:?}");
    let outcome = store.get(b"key");
    assert!(matches!(outcome, Err(EngineError::Poisoned { .. })), "getting gave {outcome:?}");
    close(store);
}

fn hash_is_that_of_the_content(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    let empty = store.hash().expect("hashing");
    put(&mut *store, &[("ab", "c"), ("d", "")]);
    let expected = content_hash(|visit| {
        let _ = visit(b"ab", b"c");
        let _ = visit(b"d", b"");
        Ok(())
    });
    let first = store.hash().expect("hashing");
    assert_eq!(first, expected.expect("hashing a list"), "engines of equal content have equal hashes");
    assert_ne!(first, empty);
    let mut batch = Batch::new();
    batch.delete("ab");
    batch.put("a", "bc");
    write(&mut *store, &batch);
    assert_ne!(store.hash().expect("hashing"), first, "lengths count, not only bytes");
    close(store);
}

fn size_and_defragmentation(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    let mut expected = Content::new();
    for key in 0..200_u8 {
        expected.insert(vec![key], noise(1_000));
    }
    write_content(&mut *store, &expected);
    flush(&mut *store);
    assert!(store.size_bytes().expect("measuring") > 100_000, "200 kB were flushed");
    let mut batch = Batch::new();
    for key in 0..180_u8 {
        expected.remove([key].as_slice());
        batch.delete([key]);
    }
    write(&mut *store, &batch);
    store.defragment().expect("defragmenting");
    assert_content(&*store, &expected);
    flush(&mut *store);
    let mut store = reopen(engine, dir, store);
    store.defragment().expect("defragmenting a reopened store");
    assert_content(&*store, &expected);
    close(store);
}

fn second_open_is_refused(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, dir);
    match engine.open(dir, &Options::default()).map(|_| ()) {
        Err(EngineError::Locked { engine: locked, directory }) => {
            assert_eq!((locked, directory.as_path()), (engine.id(), dir));
        }
        other => panic!("a second open gave {other:?}"),
    }
    put(&mut *store, &[("a", "1")]);
    flush(&mut *store);
    let store = reopen(engine, dir, store);
    assert_eq!(content(&*store), pairs(&[("a", "1")]), "the refusal did no harm");
    close(store);
}

fn apply(store: &mut dyn Backend, index: u64) {
    let mut batch = Batch::new();
    batch.put_applied_index(index);
    batch.put("applied", index.to_string());
    write(store, &batch);
}

fn view_content(view: &dyn View) -> Content {
    collect(|visit| view.scan(b"", None, visit))
}
