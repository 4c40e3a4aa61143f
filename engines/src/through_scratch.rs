//! Snapshot bodies that are made from, or read through, a whole store in a scratch directory.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::durable::{self, Scratch};
use crate::{Batch, Engine, Options, Result, View, Visit, archive};

/// The name of the store's directory in a scratch directory.
const STORE: &str = "store";

/// Bytes of keys and values that go into one batch.
const BATCH_BYTES: usize = 256 << 10;

/// Creates a store of `engine` in the empty or missing directory `dir` with what `scan` visits, flushes and
/// closes it.
pub(crate) fn load(
    engine: &(impl Engine + ?Sized),
    dir: &Path,
    options: &Options,
    scan: impl FnOnce(&mut Visit<'_>) -> Result<()>,
) -> Result<()> {
    durable::create_vacant_dir(dir)?;
    let mut store = engine.open(dir, options)?;
    let mut batch = Batch::new();
    let mut batch_bytes = 0;
    let mut failure = None;
    scan(&mut |key, value| {
        batch.put(key, value);
        batch_bytes += key.len() + value.len();
        if batch_bytes < BATCH_BYTES {
            return ControlFlow::Continue(());
        }
        batch_bytes = 0;
        match store.write(&std::mem::take(&mut batch)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    store.write(&batch)?;
    store.flush()?;
    store.close()
}

/// Lets `fill` create a store in a scratch directory, then hands its directory to `read`.
pub(crate) fn with_store<T>(
    scratch: &Path,
    fill: impl FnOnce(&Path) -> Result<()>,
    read: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let scratch = Scratch::new(scratch)?;
    let dir = scratch.join(STORE);
    fill(&dir)?;
    let outcome = read(&dir)?;
    scratch.remove()?;
    Ok(outcome)
}

/// Restores a body into scratch, opens it there and scans it.
pub(crate) fn scan_body(
    engine: &(impl Engine + ?Sized),
    body: &mut dyn Read,
    scratch: &Path,
    visit: &mut Visit<'_>,
) -> Result<()> {
    with_store(
        scratch,
        |dir| engine.restore(body, dir),
        |dir| {
            let store = engine.open(dir, &Options::default())?;
            store.scan(b"", None, visit)?;
            store.close()
        },
    )
}

/// Writes an archive of the directory of a new store that has the content of `source`.
pub(crate) fn encode_archive(
    engine: &(impl Engine + ?Sized),
    source: &dyn View,
    scratch: &Path,
    body: &mut dyn Write,
) -> Result<u64> {
    with_store(
        scratch,
        |dir| load(engine, dir, &Options::default(), |visit| source.scan(b"", None, visit)),
        |dir| archive::pack(dir, body),
    )
}

/// Lays out what [`encode_archive`] wrote.
pub(crate) fn restore_archive(
    engine: &(impl Engine + ?Sized),
    body: &mut dyn Read,
    dir: &Path,
) -> Result<()> {
    durable::create_vacant_dir(dir)?;
    archive::unpack(body, dir, engine.id())
}
