//! The interface between a replicated store and its storage engine.
//!
//! An [`Engine`] opens data directories and knows the format of its snapshot bodies; a [`Backend`] is one
//! opened store with a single writer; a [`View`] is a consistent picture of it. Nothing above this interface
//! names an engine.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::{Batch, EngineId, Options, Result, through_scratch};

/// What a scan calls for each key and value; `Break` ends the scan early, without an error.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A kind of storage engine. `id` and `open` are all that one must have; the rest is for an engine whose snapshot
/// bodies are something else than an archive of its directory.
pub trait Engine: Sync {
    /// Which engine this is.
    fn id(&self) -> EngineId;

    /// Opens the store in `dir`, or creates one there if the directory is empty or missing.
    ///
    /// What the store holds when this returns is durable, also where a killed process had written it without
    /// a flush: see [`Backend::durable_index`].
    ///
    /// # Errors
    /// `Locked` if the store is open elsewhere; otherwise whatever recovery ran into, panics included.
    fn open(&self, dir: &Path, options: &Options) -> Result<Box<dyn Backend>>;

    /// Writes the content of `source` as a snapshot body of this engine; returns its length in bytes. Without an
    /// implementation of its own, an engine has an archive of the directory of a new store as its body.
    ///
    /// Equal content gives equal meaning, not equal bytes. `scratch` is a directory for temporary files: what
    /// it holds before (left by a crash) is removed first, and it is gone afterwards.
    ///
    /// # Errors
    /// `Io` also where the sink failed; neither source nor sink is poisoned by that.
    fn encode_body(&self, source: &dyn View, scratch: &Path, body: &mut dyn Write) -> Result<u64> {
        through_scratch::encode_archive(self, source, scratch, body)
    }

    /// Lays a snapshot body of this engine out as a store in `dir`, which must be empty or missing. Every
    /// file and directory from `dir` downwards is synced; the entry of `dir` in its parent is the caller's.
    /// On an error `dir` is left as it is, to be thrown away by the caller.
    ///
    /// # Errors
    /// `MalformedBody` if the body is not of this engine's format.
    fn restore(&self, body: &mut dyn Read, dir: &Path) -> Result<()> {
        through_scratch::restore_archive(self, body, dir)
    }

    /// Calls `visit` for every key and value of a snapshot body, in ascending order. What was visited counts
    /// only once this has returned `Ok`: damage may show late in the body. `scratch` as in
    /// [`Engine::encode_body`].
    ///
    /// # Errors
    /// `MalformedBody` if the body is not of this engine's format.
    fn scan_body(&self, body: &mut dyn Read, scratch: &Path, visit: &mut Visit<'_>) -> Result<()> {
        through_scratch::scan_body(self, body, scratch, visit)
    }
}

/// Whether a flush is running in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushState {
    /// None is.
    Idle,
    /// One is.
    Running {
        /// The applied index that will be durable at its end: what was written when it began.
        index: Option<u64>,
    },
}

/// A consistent picture of a store.
pub trait View {
    /// The value of `key`, or `None` if it has none.
    ///
    /// # Errors
    /// Those of the engine; they poison the backend.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits the keys from `start` on, up to but without `end` (`None`: to the last), in ascending order of
    /// their bytes. An `end` at or before `start` visits nothing.
    ///
    /// # Errors
    /// `Misuse` for a bound longer than any key may be; else those of the engine, which poison the backend.
    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()>;
}

/// An opened store. It has one writer, its owner.
///
/// The borrow checker gives a view its isolation: while a view lives, nobody can write.
///
/// ```compile_fail,E0502
/// fn write_under_a_view(store: &mut dyn engines::Backend) -> engines::Result<()> {
///     let view = store.view()?;
///     store.write(&engines::Batch::new())?;
///     view.get(b"key").map(|_| ())
/// }
/// ```
pub trait Backend: Send {
    /// Which engine this is.
    fn engine(&self) -> EngineId;

    /// As [`View::get`].
    ///
    /// # Errors
    /// Those of the engine, then `Poisoned`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// As [`View::scan`].
    ///
    /// # Errors
    /// Those of the engine, then `Poisoned`.
    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()>;

    /// A consistent picture of the store as it is now.
    ///
    /// # Errors
    /// Those of the engine, then `Poisoned`.
    fn view(&self) -> Result<Box<dyn View + '_>>;

    /// Applies a batch: all of it or, after a crash, perhaps nothing. Visible on return, durable only after
    /// the next [`Backend::flush`]. An empty batch does nothing. An engine whose memory is full begins a flush
    /// here, as [`Backend::begin_flush`] does, and waits for the flush before it.
    ///
    /// # Errors
    /// `Misuse` for an empty or over-long key or an over-long value, with nothing written; else those of the
    /// engine, then `Poisoned`: whether the batch was applied is then unknown until the store is reopened.
    fn write(&mut self, batch: &Batch) -> Result<()>;

    /// Begins to make everything written before durable, and goes on with it in the background where the
    /// engine can: what is written from now on belongs to the next flush. Waits first for a flush that is
    /// still running.
    ///
    /// # Errors
    /// Those of the engine, also of the flush that was waited for; then `Poisoned`.
    fn begin_flush(&mut self) -> Result<()>;

    /// Whether a flush is still running; does not wait. One that has ended counts from then on: see
    /// [`Backend::durable_index`].
    ///
    /// # Errors
    /// Those of the engine's flush, also where it panicked in the background; then `Poisoned`.
    fn poll_flush(&mut self) -> Result<FlushState>;

    /// Makes everything written before durable: begins a flush, and waits for its end.
    ///
    /// # Errors
    /// Those of the engine, then `Poisoned`.
    fn flush(&mut self) -> Result<()>;

    /// The value of [`crate::APPLIED_INDEX_KEY`] that is proven durable: as it was when the store was opened,
    /// or when the last flush that is known to have ended *began*, never as it was last written. `None` if
    /// there was none.
    ///
    /// # Errors
    /// `Poisoned`.
    fn durable_index(&self) -> Result<Option<u64>>;

    /// Bytes the store takes on the disk, as the engine counts them.
    ///
    /// # Errors
    /// Those of the engine, then `Poisoned`.
    fn size_bytes(&self) -> Result<u64>;

    /// A hash of the content, equal for equal content whatever the engine: see [`content_hash`].
    ///
    /// # Errors
    /// Those of the engine, then `Poisoned`.
    fn hash(&self) -> Result<u64> {
        content_hash(|visit| self.scan(b"", None, visit))
    }

    /// Gives back space that deleted data still takes, as far as the engine can. The content stays.
    ///
    /// # Errors
    /// Those of the engine, then `Poisoned`.
    fn defragment(&mut self) -> Result<()>;

    /// Writes the content as a snapshot body of this engine: [`Engine::encode_body`] over a view.
    ///
    /// # Errors
    /// As [`Engine::encode_body`], or those of the engine, then `Poisoned`.
    fn checkpoint(&self, scratch: &Path, body: &mut dyn Write) -> Result<u64>;

    /// Closes the store and waits until its locks are free and its threads are done. It does not promise a
    /// flush, though some engines make one.
    ///
    /// # Errors
    /// Those of the engine. The store is gone all the same.
    fn close(self: Box<Self>) -> Result<()>;
}

/// The XXH3-64 hash over the keys and values that `scan` visits, each preceded by its length as a `u64`, little
/// endian.
///
/// # Errors
/// Those of `scan`.
pub fn content_hash(scan: impl FnOnce(&mut Visit<'_>) -> Result<()>) -> Result<u64> {
    let mut hash = Xxh3::new();
    scan(&mut |key, value| {
        for part in [key, value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        ControlFlow::Continue(())
    })?;
    Ok(hash.digest())
}
