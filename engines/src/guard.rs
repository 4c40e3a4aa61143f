//! The one place where an adapter's failures and panics become errors, and where a failed store stays failed.

use std::any::Any;
use std::io::Write;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

use crate::{
    APPLIED_INDEX_KEY, Backend, Batch, Change, EngineError, EngineId, FlushState, KEY_BYTES_MAX, Result,
    VALUE_BYTES_MAX, View, Visit, decode_applied_index,
};

/// What is left to do of a flush that has begun.
pub enum FlushWork {
    /// Nothing: everything is durable.
    Done,
    /// This, on a thread of its own, while the store is in use. Whatever it panics with becomes an error.
    InBackground(Box<dyn FnOnce() -> Result<()> + Send>),
}

/// What an adapter implements: its engine's calls, with the engine's errors translated, and nothing else.
/// Batches arrive checked. The contracts are those of [`Backend`].
pub trait Store: Send {
    /// As [`Backend::view`].
    ///
    /// # Errors
    /// Those of the engine.
    fn view(&self) -> Result<Box<dyn View + '_>>;

    /// As [`Backend::write`]: atomic, visible on return. The batch is neither empty nor holds an illegal key.
    ///
    /// # Errors
    /// Those of the engine.
    fn write(&mut self, batch: &Batch) -> Result<()>;

    /// As [`Backend::begin_flush`]: what was written before is durable once the returned work is done, and
    /// nothing that is written later becomes part of it. No other flush is running.
    ///
    /// # Errors
    /// Those of the engine.
    fn begin_flush(&mut self) -> Result<FlushWork>;

    /// Whether so much is in memory only that a flush has to begin now. Most engines see to that themselves.
    fn wants_flush(&self) -> bool {
        false
    }

    /// As [`Backend::size_bytes`].
    ///
    /// # Errors
    /// Those of the engine.
    fn size_bytes(&self) -> Result<u64>;

    /// As [`Backend::defragment`].
    ///
    /// # Errors
    /// Those of the engine.
    fn defragment(&mut self) -> Result<()>;

    /// As [`Backend::close`]: locks are free and threads done on return.
    ///
    /// # Errors
    /// Those of the engine.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Opens a store behind its guard.
///
/// What recovery finds may stand in the page cache only, written by a process that was killed before its
/// flush. So that [`Backend::durable_index`] can be believed, a store that has an applied index writes it once
/// more and flushes before anything is claimed.
///
/// # Errors
/// Those of `open_store`; its panics as [`EngineError::Engine`].
pub fn open(
    engine: EngineId,
    open_store: impl FnOnce() -> Result<Box<dyn Store>>,
) -> Result<Box<dyn Backend>> {
    let store = contain(engine, open_store)?;
    let mut guarded =
        Guarded { engine, store: Some(store), failure: OnceLock::new(), flushing: None, durable_index: None };
    if let Some(index) = guarded.written_index()? {
        let mut proof = Batch::new();
        proof.put_applied_index(index);
        guarded.write(&proof)?;
        guarded.flush()?;
    }
    Ok(Box::new(guarded))
}

/// A store that fails once and for all.
struct Guarded {
    engine: EngineId,
    /// `None` only while the store is being closed.
    store: Option<Box<dyn Store>>,
    /// The first failure, in words.
    failure: OnceLock<String>,
    flushing: Option<Flushing>,
    durable_index: Option<u64>,
}

/// A flush in the background.
struct Flushing {
    /// The applied index as it was written when the flush began.
    index: Option<u64>,
    thread: JoinHandle<Result<()>>,
}

impl Flushing {
    /// Waits for its end; returns the index that is durable now.
    fn finish(self) -> Result<Option<u64>> {
        // The thread contains the engine's panics itself; what is left is a panic while one is dropped.
        self.thread.join().unwrap_or_else(|payload| resume_unwind(payload)).map(|()| self.index)
    }
}

impl Guarded {
    fn check(&self) -> Result<()> {
        match self.failure.get() {
            Some(cause) => Err(EngineError::Poisoned { engine: self.engine, cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn note_failure<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && error.poisons()
        {
            // A second failure changes nothing: the first is the cause.
            let _ = self.failure.set(error.to_string());
        }
        result
    }

    fn call<T>(&self, call: impl FnOnce(&dyn Store) -> Result<T>) -> Result<T> {
        self.check()?;
        let store = self.store.as_deref().expect("the store is there until it is closed");
        self.note_failure(contain(self.engine, || call(store)))
    }

    fn call_mut<T>(&mut self, call: impl FnOnce(&mut dyn Store) -> Result<T>) -> Result<T> {
        self.check()?;
        let store = self.store.as_deref_mut().expect("the store is there until it is closed");
        let result = contain(self.engine, || call(store));
        self.note_failure(result)
    }

    /// A key that no batch may hold has no value; engines are not asked, since some would panic.
    fn get_through(
        &self,
        key: &[u8],
        get: impl FnOnce(&dyn Store) -> Result<Option<Vec<u8>>>,
    ) -> Result<Option<Vec<u8>>> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return self.check().map(|()| None);
        }
        self.call(get)
    }

    fn scan_through(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
        scan: impl FnOnce(&dyn Store, &mut Visit<'_>) -> Result<()>,
    ) -> Result<()> {
        self.check()?;
        if start.len().max(end.unwrap_or_default().len()) > KEY_BYTES_MAX {
            return Err(EngineError::Misuse("a bound of a scan is longer than any key".to_owned()));
        }
        if end.is_some_and(|end| end <= start) {
            return Ok(());
        }
        let mut panic_of_visit = None;
        let result = self.call(|store| {
            scan(store, &mut |key, value| {
                catch_unwind(AssertUnwindSafe(|| visit(key, value))).unwrap_or_else(|payload| {
                    panic_of_visit = Some(payload);
                    ControlFlow::Break(())
                })
            })
        });
        match panic_of_visit {
            // The caller's own panic is no failure of the engine.
            Some(payload) => resume_unwind(payload),
            None => result,
        }
    }

    /// Waits for the flush that is running, if one is, and takes its outcome.
    fn wait_for_flush(&mut self) -> Result<()> {
        let Some(flushing) = self.flushing.take() else { return Ok(()) };
        let finished = contain(self.engine, || flushing.finish());
        self.durable_index = self.note_failure(finished)?;
        Ok(())
    }

    /// Begins a flush while none is running. The index is read before: it is in memory with what it covers, and
    /// this is the store's one writer.
    fn begin_next_flush(&mut self) -> Result<()> {
        let index = self.written_index()?;
        match self.call_mut(|store| store.begin_flush())? {
            FlushWork::Done => self.durable_index = index,
            FlushWork::InBackground(work) => {
                let engine = self.engine;
                let spawned = thread::Builder::new()
                    .name(format!("{engine}-flush"))
                    .spawn(move || contain(engine, work))
                    .map_err(EngineError::io("starting a thread for a flush"));
                self.flushing = Some(Flushing { index, thread: self.note_failure(spawned)? });
            }
        }
        Ok(())
    }

    fn written_index(&self) -> Result<Option<u64>> {
        let Some(value) = self.get(APPLIED_INDEX_KEY)? else { return Ok(None) };
        let index = decode_applied_index(&value).ok_or_else(|| EngineError::Corrupt {
            engine: self.engine,
            message: format!("the applied index has {} bytes instead of 8", value.len()),
        });
        self.note_failure(index).map(Some)
    }
}

impl Backend for Guarded {
    fn engine(&self) -> EngineId {
        self.engine
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_through(key, |store| store.view()?.get(key))
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        self.scan_through(start, end, visit, |store, visit| store.view()?.scan(start, end, visit))
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        self.check()?;
        let store = self.store.as_deref().expect("the store is there until it is closed");
        let view = self.note_failure(contain(self.engine, || store.view()))?;
        Ok(Box::new(GuardedView { guarded: self, view }))
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.check()?;
        check_batch(batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.call_mut(|store| store.write(batch))?;
        if self.call(|store| Ok(store.wants_flush()))? { self.begin_flush() } else { Ok(()) }
    }

    fn begin_flush(&mut self) -> Result<()> {
        self.check()?;
        self.wait_for_flush()?;
        self.begin_next_flush()
    }

    fn poll_flush(&mut self) -> Result<FlushState> {
        self.check()?;
        match &self.flushing {
            Some(Flushing { index, thread }) if !thread.is_finished() => {
                Ok(FlushState::Running { index: *index })
            }
            Some(_) | None => self.wait_for_flush().map(|()| FlushState::Idle),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.begin_flush()?;
        self.wait_for_flush()
    }

    fn durable_index(&self) -> Result<Option<u64>> {
        self.check()?;
        Ok(self.durable_index)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.call(|store| store.size_bytes())
    }

    fn defragment(&mut self) -> Result<()> {
        self.check()?;
        self.wait_for_flush()?;
        self.call_mut(|store| store.defragment())
    }

    fn checkpoint(&self, scratch: &Path, body: &mut dyn Write) -> Result<u64> {
        let view = self.view()?;
        crate::engine(self.engine)?.encode_body(&*view, scratch, body)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        // What a flush ran into has made the store unusable, not impossible to close.
        let flushed = self.wait_for_flush();
        let store = self.store.take().expect("the store is there until it is closed");
        contain(self.engine, || store.close()).and(flushed)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The store's files and locks are in use until the flush has ended; its outcome is nobody's any more.
        let _ = self.wait_for_flush();
        if let Some(store) = self.store.take() {
            // An engine that failed may panic once more while it is dropped; nobody is left to be told.
            let _ = contain(self.engine, || {
                drop(store);
                Ok(())
            });
        }
    }
}

struct GuardedView<'a> {
    guarded: &'a Guarded,
    view: Box<dyn View + 'a>,
}

impl View for GuardedView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.guarded.get_through(key, |_| self.view.get(key))
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        self.guarded.scan_through(start, end, visit, |_, visit| self.view.scan(start, end, visit))
    }
}

/// Runs `call`, which may panic anywhere inside the engine. sled and redb do panic on damaged files.
///
/// # Errors
/// Those of `call`; its panic as [`EngineError::Engine`].
pub fn contain<T>(engine: EngineId, call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        Err(EngineError::Engine { engine, message: format!("panic: {}", panic_text(&*payload)) })
    })
}

pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(the payload is not text)")
}

fn check_batch(batch: &Batch) -> Result<()> {
    for change in batch.iter() {
        let (key, value) = match change {
            Change::Put(key, value) => (key, value),
            Change::Delete(key) => (key, &[][..]),
        };
        let problem = if key.is_empty() {
            "an empty key".to_owned()
        } else if key.len() > KEY_BYTES_MAX {
            format!("a key of {} bytes; the longest may have {KEY_BYTES_MAX}", key.len())
        } else if value.len() > VALUE_BYTES_MAX {
            format!("a value of {} bytes; the longest may have {VALUE_BYTES_MAX}", value.len())
        } else {
            continue;
        };
        return Err(EngineError::Misuse(format!("the batch holds {problem}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A store that does as it is told: it fails, in some way, the call that it is told to.
    #[derive(Default)]
    struct Script {
        pairs: BTreeMap<Vec<u8>, Vec<u8>>,
        calls: Vec<&'static str>,
        fail: Option<(&'static str, Failure)>,
        is_full: bool,
    }

    #[derive(Clone, Copy)]
    enum Failure {
        Error,
        Panic,
        PanicWithText,
    }

    #[derive(Clone, Default)]
    struct ScriptedStore(Arc<Mutex<Script>>);

    impl ScriptedStore {
        fn tell(&self, call: &'static str, failure: Failure) {
            self.0.lock().unwrap().fail = Some((call, failure));
        }

        fn calls(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.0.lock().unwrap().calls)
        }

        fn call(&self, name: &'static str) -> Result<()> {
            let failure = {
                let mut script = self.0.lock().unwrap();
                script.calls.push(name);
                script.fail.filter(|(call, _)| *call == name).map(|(_, failure)| failure)
            };
            match failure {
                None => Ok(()),
                Some(Failure::Error) => Err(EngineError::io("testing")(io::Error::other("the disk is gone"))),
                Some(Failure::Panic) => resume_unwind(Box::new(7_u8)),
                Some(Failure::PanicWithText) => resume_unwind(Box::new("index out of bounds".to_owned())),
            }
        }
    }

    impl Store for ScriptedStore {
        fn view(&self) -> Result<Box<dyn View + '_>> {
            self.call("view")?;
            Ok(Box::new(self.clone()))
        }

        fn write(&mut self, batch: &Batch) -> Result<()> {
            self.call("write")?;
            let mut script = self.0.lock().unwrap();
            for (key, value) in batch.outcome() {
                script.pairs.insert(key.to_vec(), value.unwrap_or_default().to_vec());
            }
            Ok(())
        }

        fn begin_flush(&mut self) -> Result<FlushWork> {
            self.call("begin_flush")?;
            let script = self.clone();
            Ok(FlushWork::InBackground(Box::new(move || script.call("flush"))))
        }

        fn wants_flush(&self) -> bool {
            self.0.lock().unwrap().is_full
        }

        fn size_bytes(&self) -> Result<u64> {
            self.call("size_bytes").map(|()| 0)
        }

        fn defragment(&mut self) -> Result<()> {
            self.call("defragment")
        }

        fn close(self: Box<Self>) -> Result<()> {
            self.call("close")
        }
    }

    impl Drop for ScriptedStore {
        fn drop(&mut self) {
            let told = self.0.lock().unwrap().fail.take_if(|(call, _)| *call == "drop");
            if told.is_some() {
                self.0.lock().unwrap().calls.push("drop");
                resume_unwind(Box::new("dropped"));
            }
        }
    }

    impl View for ScriptedStore {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            self.call("get")?;
            Ok(self.0.lock().unwrap().pairs.get(key).cloned())
        }

        fn scan(&self, _: &[u8], _: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
            let _ = visit(b"key", b"value");
            self.call("scan")
        }
    }

    fn open_script(script: &ScriptedStore) -> Result<Box<dyn Backend>> {
        open(EngineId::Mem, || Ok(Box::new(script.clone())))
    }

    /// Makes every call of the interface; returns the names of those that said `Poisoned`.
    fn poisoned_calls(store: &mut dyn Backend) -> Vec<&'static str> {
        let mut batch = Batch::new();
        batch.put("key", "value");
        let mut scanned = |_: &[u8], _: &[u8]| ControlFlow::Continue(());
        let outcomes = [
            ("get", store.get(b"key").map(drop)),
            ("get of no key", store.get(b"").map(drop)),
            ("scan", store.scan(b"", None, &mut scanned)),
            ("scan of nothing", store.scan(b"b", Some(b"a"), &mut scanned)),
            ("view", store.view().map(drop)),
            ("write", store.write(&batch)),
            ("write of nothing", store.write(&Batch::new())),
            ("begin_flush", store.begin_flush()),
            ("poll_flush", store.poll_flush().map(drop)),
            ("flush", store.flush()),
            ("durable_index", store.durable_index().map(drop)),
            ("size_bytes", store.size_bytes().map(drop)),
            ("hash", store.hash().map(drop)),
            ("defragment", store.defragment()),
            ("checkpoint", store.checkpoint(Path::new("/nowhere"), &mut Vec::new()).map(drop)),
        ];
        let poisoned = |outcome: &Result<()>| matches!(outcome, Err(EngineError::Poisoned { .. }));
        outcomes.iter().filter(|(_, outcome)| poisoned(outcome)).map(|(name, _)| *name).collect()
    }

    #[test]
    fn whatever_fails_once_fails_for_good() {
        for call in ["view", "get", "scan", "write", "begin_flush", "flush", "size_bytes", "defragment"] {
            for failure in [Failure::Error, Failure::Panic, Failure::PanicWithText] {
                let script = ScriptedStore::default();
                let mut store = open_script(&script).unwrap();
                script.tell(call, failure);
                poisoned_calls(&mut *store);
                script.calls();
                assert_eq!(poisoned_calls(&mut *store).len(), 15, "after {call} failed");
                assert_eq!(script.calls(), [""; 0], "the engine is not asked again after {call} failed");
                store.close().unwrap();
                assert_eq!(script.calls(), ["close"], "but it is closed");
            }
        }
    }

    #[test]
    fn the_first_failure_is_the_cause() {
        let script = ScriptedStore::default();
        let store = open_script(&script).unwrap();
        script.tell("get", Failure::PanicWithText);
        let first = store.get(b"key").unwrap_err().to_string();
        assert_eq!(first, "mem failed: panic: index out of bounds");
        let later = store.size_bytes().unwrap_err().to_string();
        assert_eq!(later, format!("mem is poisoned until reopened, because of an earlier failure: {first}"));
    }

    #[test]
    fn a_view_poisons_its_store_and_dies_with_it() {
        let script = ScriptedStore::default();
        let store = open_script(&script).unwrap();
        let (view, other) = (store.view().unwrap(), store.view().unwrap());
        script.tell("get", Failure::Error);
        assert!(matches!(view.get(b"key"), Err(EngineError::Io { .. })));
        assert!(matches!(other.get(b"other"), Err(EngineError::Poisoned { .. })));
        assert!(matches!(store.hash(), Err(EngineError::Poisoned { .. })));
    }

    #[test]
    fn panics_at_open_at_close_and_in_drop_are_contained() {
        let outcome = open(EngineId::Redb, || resume_unwind(Box::new("torn page")));
        assert_eq!(outcome.map(|_| ()).unwrap_err().to_string(), "redb failed: panic: torn page");

        let script = ScriptedStore::default();
        let store = open_script(&script).unwrap();
        script.tell("close", Failure::Panic);
        let outcome = store.close().unwrap_err();
        assert_eq!(outcome.to_string(), "mem failed: panic: (the payload is not text)");

        let store = open_script(&script).unwrap();
        script.tell("drop", Failure::PanicWithText);
        drop(store);
        assert!(script.calls().contains(&"drop"), "the panic was there to be contained");
    }

    #[test]
    fn an_index_is_proven_by_a_flush_that_worked() {
        let script = ScriptedStore::default();
        let mut store = open_script(&script).unwrap();
        assert!(!script.calls().contains(&"flush"), "nothing to prove in a fresh store");
        let mut batch = Batch::new();
        batch.put_applied_index(3);
        store.write(&batch).unwrap();
        assert_eq!(store.durable_index().unwrap(), None);
        drop(store);

        // What a killed process had written stands there without a flush.
        script.calls();
        let store = open_script(&script).unwrap();
        assert_eq!(store.durable_index().unwrap(), Some(3));
        let calls = script.calls();
        assert_eq!(
            calls[2..],
            ["write", "view", "get", "begin_flush", "flush"],
            "written again, then flushed"
        );
        drop(store);

        script.tell("flush", Failure::Error);
        assert!(
            matches!(open_script(&script).map(drop), Err(EngineError::Io { .. })),
            "unproven, so not opened"
        );
    }

    fn put_index(store: &mut dyn Backend, index: u64) {
        let mut batch = Batch::new();
        batch.put_applied_index(index);
        store.write(&batch).unwrap();
    }

    #[test]
    fn what_is_written_while_a_flush_runs_is_not_proven_by_it() {
        let script = ScriptedStore::default();
        let mut store = open_script(&script).unwrap();
        put_index(&mut *store, 3);
        store.begin_flush().unwrap();
        put_index(&mut *store, 4);
        while let FlushState::Running { index } = store.poll_flush().unwrap() {
            assert_eq!(index, Some(3));
            thread::yield_now();
        }
        assert_eq!(store.durable_index().unwrap(), Some(3));
        store.flush().unwrap();
        assert_eq!(store.durable_index().unwrap(), Some(4));
    }

    #[test]
    fn a_full_memory_begins_a_flush_and_waits_for_the_one_before() {
        let script = ScriptedStore::default();
        let mut store = open_script(&script).unwrap();
        script.0.lock().unwrap().is_full = true;
        for index in 1..=3 {
            put_index(&mut *store, index);
        }
        assert!(store.durable_index().unwrap() >= Some(2), "the flushes of the writes before have ended");
        store.close().unwrap();
        let flushes = script.calls().into_iter().filter(|call| *call == "flush").count();
        assert_eq!(flushes, 3);
    }

    #[test]
    fn a_flush_that_fails_in_the_background_is_told_at_the_next_look() {
        for failure in [Failure::Error, Failure::Panic, Failure::PanicWithText] {
            let script = ScriptedStore::default();
            let mut store = open_script(&script).unwrap();
            put_index(&mut *store, 3);
            script.tell("flush", failure);
            store.begin_flush().unwrap();
            let failed = loop {
                match store.poll_flush() {
                    Ok(FlushState::Running { .. }) => thread::yield_now(),
                    Ok(FlushState::Idle) => panic!("the flush failed"),
                    Err(error) => break error,
                }
            };
            assert!(!matches!(failed, EngineError::Poisoned { .. }), "{failed}");
            assert!(matches!(store.durable_index(), Err(EngineError::Poisoned { .. })));
        }
    }

    #[test]
    fn misuse_does_not_reach_the_engine() {
        let script = ScriptedStore::default();
        let mut store = open_script(&script).unwrap();
        script.calls();
        let mut batch = Batch::new();
        batch.delete("");
        assert!(matches!(store.write(&batch), Err(EngineError::Misuse(_))));
        assert_eq!(store.get(&vec![0; KEY_BYTES_MAX + 1]).unwrap(), None);
        assert_eq!(script.calls(), [""; 0]);
        assert_eq!(poisoned_calls(&mut *store), [""; 0]);
    }
}
