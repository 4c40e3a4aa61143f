//! Cases about snapshot bodies.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::fixture::*;
use crate::{Backend, Batch, Engine, EngineError, Options, marker, registry};

pub(super) fn checkpoint_restores_to_an_equal_store(engine: &dyn Engine, dir: &Path) {
    let (original, scratch, copy) = (dir.join("original"), dir.join("scratch"), dir.join("copy"));
    let mut store = open(engine, &original);
    fill(&mut *store);
    fs::create_dir_all(scratch.join("left by/a crash")).expect("preparing scratch");
    fs::write(scratch.join("left by/a crash/file"), b"rubbish").expect("preparing scratch");
    let body = checkpoint(&*store, &scratch);
    assert!(!scratch.exists(), "the scratch directory is gone");
    engine.restore(&mut body.as_slice(), &copy).expect("restoring");
    let mut restored = open(engine, &copy);
    assert_content(&*restored, &content(&*store));
    assert_eq!(restored.hash().expect("hashing"), store.hash().expect("hashing"));
    assert_eq!(durable_index(&*restored), Some(7), "a restored store proves its index");
    put(&mut *restored, &[("a", "newer"), ("later", "1")]);
    assert_eq!(
        restored.get(b"a").expect("getting"),
        Some(b"newer".to_vec()),
        "a restored store takes writes"
    );
    flush(&mut *restored);
    let restored = reopen(engine, &copy, restored);
    assert_eq!(restored.get(b"a").expect("getting"), Some(b"newer".to_vec()));
    assert_eq!(restored.get(b"later").expect("getting"), Some(b"1".to_vec()));
    close(restored);
    let outcome = engine.restore(&mut body.as_slice(), &copy);
    assert!(matches!(outcome, Err(EngineError::Misuse(_))), "restoring over a store gave {outcome:?}");
    close(store);
}

pub(super) fn empty_store_has_a_checkpoint(engine: &dyn Engine, dir: &Path) {
    let store = open(engine, &dir.join("original"));
    let body = checkpoint(&*store, &dir.join("scratch"));
    close(store);
    engine.restore(&mut body.as_slice(), &dir.join("copy")).expect("restoring");
    let restored = open(engine, &dir.join("copy"));
    assert_eq!(content(&*restored), Content::new());
    close(restored);
}

pub(super) fn body_can_be_scanned(engine: &dyn Engine, dir: &Path) {
    let scratch = dir.join("scratch");
    let mut store = open(engine, &dir.join("original"));
    fill(&mut *store);
    let body = checkpoint(&*store, &scratch);
    assert_eq!(scan_body(engine, &body, &scratch).expect("scanning a body"), content(&*store));
    assert!(!scratch.exists(), "the scratch directory is gone");
    let mut visits = 0;
    let ended = engine.scan_body(&mut body.as_slice(), &scratch, &mut |_, _| {
        visits += 1;
        ControlFlow::Break(())
    });
    ended.expect("an early end is no error");
    assert_eq!(visits, 1);
    close(store);
}

pub(super) fn body_cut_short_is_refused(engine: &dyn Engine, dir: &Path) {
    let scratch = dir.join("scratch");
    let mut store = open(engine, &dir.join("original"));
    fill(&mut *store);
    let body = checkpoint(&*store, &scratch);
    close(store);
    for length in [0, 1, 8, 100, 511, 512, body.len() / 2] {
        let outcome = scan_body(engine, &body[..length], &scratch);
        assert!(outcome.is_err(), "the first {length} of {} bytes passed for a body", body.len());
    }
    assert!(!scratch.exists(), "the scratch directory is gone after a failure, too");
}

pub(super) fn restored_data_directory_opens(engine: &dyn Engine, dir: &Path) {
    let mut store = open(engine, &dir.join("original"));
    fill(&mut *store);
    let body = checkpoint(&*store, &dir.join("scratch"));
    let target = dir.join("target");
    marker::restore_data_dir(engine, &mut body.as_slice(), &target).expect("restoring a data directory");
    let restored = open_marked(engine.id(), &target);
    assert_content(&*restored, &content(&*store));
    close(restored);
    close(store);
    let outcome = marker::restore_data_dir(engine, &mut body.as_slice(), &target);
    assert!(matches!(outcome, Err(EngineError::Misuse(_))), "restoring over data gave {outcome:?}");
}

pub(super) fn body_transcodes_to_every_engine(engine: &dyn Engine, dir: &Path) {
    let scratch = dir.join("scratch");
    let mut store = open(engine, &dir.join("original"));
    fill(&mut *store);
    let body = checkpoint(&*store, &scratch);
    for other in registry() {
        let id = other.id();
        let received = dir.join(format!("received-by-{id}"));
        let options = Options::default();
        marker::transcode_data_dir(engine, &mut body.as_slice(), *other, &scratch, &received, &options)
            .expect("transcoding a received body");
        let restored = open_marked(id, &received);
        assert_eq!(restored.hash().expect("hashing"), store.hash().expect("hashing"), "received by {id}");
        close(restored);

        let mut sent = Vec::new();
        let view = store.view().expect("taking a view");
        let bytes = other.encode_body(&*view, &scratch, &mut sent).expect("encoding for another engine");
        assert_eq!(bytes, sent.len() as u64);
        let scanned = scan_body(*other, &sent, &scratch).expect("scanning what was encoded");
        assert_eq!(scanned, content(&*store), "sent to {id}");
    }
    close(store);
}

/// A few hundred pairs of all sorts, deletions among them, and applied index 7; flushed.
fn fill(store: &mut dyn Backend) {
    let mut batch = Batch::new();
    for number in 0..300_u16 {
        batch.put(number.to_be_bytes(), noise(usize::from(number)));
    }
    batch.put("a", "1");
    batch.put("long", noise(40_000));
    write(store, &batch);
    let mut batch = Batch::new();
    for number in (0..300_u16).step_by(3) {
        batch.delete(number.to_be_bytes());
    }
    batch.put_applied_index(7);
    write(store, &batch);
    flush(store);
}

fn checkpoint(store: &dyn Backend, scratch: &Path) -> Vec<u8> {
    let before = store.hash().expect("hashing");
    let mut body = Vec::new();
    let bytes = store.checkpoint(scratch, &mut body).expect("taking a checkpoint");
    assert_eq!(bytes, body.len() as u64, "the length is reported");
    assert_eq!(store.hash().expect("hashing"), before, "a checkpoint changes nothing");
    body
}

fn scan_body(engine: &dyn Engine, mut body: &[u8], scratch: &Path) -> crate::Result<Content> {
    let mut content = Content::new();
    engine.scan_body(&mut body, scratch, &mut |key, value| {
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(content)
}
