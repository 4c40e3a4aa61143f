//! The cluster's store as the subject of a trace, above any engine.

use std::path::{Path, PathBuf};

use cluster::Design;
use cluster::api::{Answer, Call, Command, Event, EventKind, Refusal, Request, WatchRequest};
use cluster::mvcc::{Applied, Store};
use engines::{EngineId, Options};

use super::TraceSubject;

/// Records that a step of a compaction looks at: so few that many calls come between its steps.
const RECORDS_PER_STEP: usize = 3;

/// A store in a directory. Every call that is not a read becomes an entry; one step of a compaction is done after
/// each call; and the store is closed and opened again every so many calls.
#[derive(Debug)]
pub struct StoreSubject {
    engine: EngineId,
    directory: PathBuf,
    design: Design,
    calls_per_opening: usize,
    calls: usize,
    /// `None` only after it failed to open.
    store: Option<Store>,
}

impl StoreSubject {
    /// An empty store above `engine` in `directory`, which must be empty or missing. With a
    /// `calls_per_opening` of zero it stays open.
    ///
    /// # Errors
    /// Why the store does not open, in words.
    pub fn create(
        engine: EngineId,
        directory: &Path,
        design: Design,
        calls_per_opening: usize,
    ) -> Result<StoreSubject, String> {
        let store = Some(open(engine, directory, &design)?);
        Ok(StoreSubject {
            engine,
            directory: directory.to_owned(),
            design,
            calls_per_opening,
            calls: 0,
            store,
        })
    }

    fn store(&mut self) -> Result<&mut Store, String> {
        self.store.as_mut().ok_or_else(|| "the store is closed".to_owned())
    }

    fn apply(&mut self, command: &Command) -> Result<Result<Answer, Refusal>, String> {
        let store = self.store()?;
        let index = store.applied_index() + 1;
        match store.apply(index, 1, command).map_err(words)? {
            Applied::Done(answer) => Ok(answer),
            Applied::Noted | Applied::Skipped => Err(format!("entry {index} has no answer")),
        }
    }

    fn read(&mut self, request: &Request) -> Result<Result<Answer, Refusal>, String> {
        Ok(self.store()?.read(request).map_err(words)?.map(Answer::Kv))
    }

    fn time_to_live(&mut self, id: i64, with_keys: bool) -> Result<Answer, String> {
        let store = self.store()?;
        let revision = store.revision();
        let Some(lease) = store.leases().get(id) else {
            return Ok(Answer::LeaseTimeToLive { revision, id, ttl_s: -1, granted_ttl_s: 0, keys: vec![] });
        };
        let keys = if with_keys { lease.keys.iter().cloned().collect() } else { vec![] };
        let granted_ttl_s = lease.granted_ttl_s;
        Ok(Answer::LeaseTimeToLive { revision, id, ttl_s: granted_ttl_s, granted_ttl_s, keys })
    }

    /// What goes on between calls.
    fn pass(&mut self) -> Result<(), String> {
        self.store()?.compact_step(RECORDS_PER_STEP).map_err(words)?;
        self.calls += 1;
        if self.calls_per_opening > 0 && self.calls.is_multiple_of(self.calls_per_opening) {
            self.reopen()?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.store()?.flush().map_err(words)?;
        if let Some(store) = self.store.take() {
            store.close().map_err(words)?;
        }
        self.store = Some(open(self.engine, &self.directory, &self.design)?);
        Ok(())
    }
}

impl TraceSubject for StoreSubject {
    fn call(&mut self, call: &Call) -> Result<Result<Answer, Refusal>, String> {
        self.pass()?;
        match call {
            Call::Kv(request) if request.is_read_only() => self.read(request),
            Call::Kv(request) => self.apply(&Command::Kv(request.clone())),
            Call::Compact { revision, physical: _ } => self.apply(&Command::Compact { revision: *revision }),
            Call::LeaseGrant { id, ttl_s } => self.apply(&Command::LeaseGrant { id: *id, ttl_s: *ttl_s }),
            Call::LeaseRevoke { id } => self.apply(&Command::LeaseRevoke { id: *id }),
            Call::LeaseTimeToLive { id, keys } => Ok(Ok(self.time_to_live(*id, *keys)?)),
            Call::LeaseKeepAlive { .. }
            | Call::Leases
            | Call::HashKv { .. }
            | Call::Status
            | Call::Defragment
            | Call::AlarmDisarm
            | Call::Member(_)
            | Call::MoveLeader { .. }
            | Call::Watch(_) => Err(format!("no trace holds {call:?}")),
        }
    }

    fn watch(&mut self, request: &WatchRequest) -> Result<Result<Vec<Event>, i64>, String> {
        self.pass()?;
        let store = self.store()?;
        let WatchRequest { key, range_end, start_revision, prev_kv, .. } = request;
        let events = store
            .events(key, range_end.as_deref(), *start_revision, store.revision(), *prev_kv)
            .map_err(words)?;
        let is_wanted = |event: &Event| match event.kind {
            EventKind::Put => !request.no_put,
            EventKind::Delete => !request.no_delete,
        };
        Ok(events
            .map(|events| events.into_iter().filter(is_wanted).collect())
            .map_err(|compacted| compacted.compact_revision))
    }
}

fn open(engine: EngineId, directory: &Path, design: &Design) -> Result<Store, String> {
    let engine = engines::engine(engine).map_err(words)?;
    let backend = engine.open(directory, &Options::default()).map_err(words)?;
    Store::open(backend, design).map_err(words)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
