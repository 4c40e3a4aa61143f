//! Flushing the engine while entries are applied, and cutting the raft log behind what is flushed: the order of the
//! protocol that `flushed_index` describes.
//!
//! ```text
//! begin_flush   FlushBegin; the engine captures the applied index and goes on in the background
//! end_flush     FlushEnd; the index that was captured is durable
//! note_flushed  the index is persisted in its own file
//! cut_log       the raft log goes, up to there
//! ```

use std::time::Instant;

use engines::FlushState;

use super::Replica;
use crate::config::Timing;
use crate::design::{FlushIndex, FlushIndexPlace, FlushOrder, LogCut};
use crate::error::ReplicaError;
use crate::flushed_index;
use crate::mvcc::Store;
use crate::observer::ReplicaEvent;

/// How far flushes have come.
#[derive(Debug)]
pub(super) struct Flushing {
    /// What is persisted as flushed. The raft log is cut at no later index.
    persisted: u64,
    /// The applied index that the engine proves durable.
    durable: u64,
    /// The applied index when the last flush of this replica began.
    begun: u64,
    /// When a flush was last seen running; `None`: none is.
    running: Option<Instant>,
    /// When the first entry was applied that no flush has begun for.
    waiting_since: Option<Instant>,
}

impl Flushing {
    /// A store that has just been opened or installed: what it holds is durable, and `persisted` stands in the file.
    pub(super) fn new(persisted: u64, applied: u64) -> Flushing {
        Flushing { persisted, durable: applied, begun: applied, running: None, waiting_since: None }
    }

    /// When there is something to look after: a running flush, or the next one.
    pub(super) fn deadline(&self, timing: &Timing) -> Option<Instant> {
        let next = self.waiting_since.map(|since| since + timing.flush_interval);
        self.running.map(|seen| seen + timing.flush_poll).or(next)
    }
}

impl Replica {
    /// Sees to the flush that is running, and begins the next one if enough entries or enough time have gathered.
    pub(super) fn see_to_flushes(&mut self) -> Result<(), ReplicaError> {
        self.end_flush()?;
        if self.is_flush_due() {
            self.begin_flush()?;
            // Most engines are done at once.
            self.end_flush()?;
        }
        match self.config.design.log_cut {
            LogCut::AtPersistedIndex => Ok(()),
            LogCut::AtAppliedIndex => self.cut_log(self.applied_index()),
        }
    }

    fn is_flush_due(&mut self) -> bool {
        let applied = self.applied_index();
        if self.flushing.running.is_some() || applied <= self.flushing.begun {
            return false;
        }
        let now = Instant::now();
        self.flushing.waiting_since.get_or_insert(now);
        let by_count = applied - self.flushing.begun >= self.config.limits.flush_entries;
        let by_time = self.flushing.deadline(&self.config.timing).is_some_and(|deadline| deadline <= now);
        by_count || by_time
    }

    fn begin_flush(&mut self) -> Result<(), ReplicaError> {
        let index = self.applied_index();
        self.observer.event(&ReplicaEvent::FlushBegin { index });
        match self.config.design.flush_order {
            FlushOrder::AfterEnd => {}
            FlushOrder::BeforeEnd => self.note_flushed(index)?,
        }
        self.store.as_mut().expect("something is applied").begin_flush()?;
        self.flushing.begun = index;
        self.flushing.waiting_since = None;
        Ok(())
    }

    /// Takes the end of a flush, if one has ended. An engine whose memory is full begins one by itself.
    fn end_flush(&mut self) -> Result<(), ReplicaError> {
        let Some(store) = self.store.as_mut() else {
            return Ok(());
        };
        self.flushing.running = match store.poll_flush()? {
            FlushState::Running { .. } => Some(Instant::now()),
            FlushState::Idle => None,
        };
        let durable = store.durable_index()?;
        if durable <= self.flushing.durable {
            return Ok(());
        }
        self.flushing.durable = durable;
        self.flushing.begun = self.flushing.begun.max(durable);
        if store.applied_index() <= self.flushing.begun {
            // The engine's own flush covers what had waited for the next one of this replica.
            self.flushing.waiting_since = None;
        }
        let index = match self.config.design.flush_index {
            FlushIndex::AtBegin => durable,
            FlushIndex::AfterEnd => store.applied_index(),
        };
        self.observer.event(&ReplicaEvent::FlushEnd { index });
        self.note_flushed(index)
    }

    /// Persists what is flushed, and then cuts the log: for what is not proven durable in the engine, the log is
    /// all there is.
    fn note_flushed(&mut self, index: u64) -> Result<(), ReplicaError> {
        self.persist_flushed(index)?;
        self.flushing.persisted = index;
        self.cut_log(index)
    }

    fn persist_flushed(&mut self, index: u64) -> Result<(), ReplicaError> {
        match self.config.design.flush_index_place {
            FlushIndexPlace::OwnFile => flushed_index::persist(&self.directory, index, &self.config.design),
            FlushIndexPlace::InsideEngine => {
                let store: &mut Store = self.store.as_mut().expect("what is flushed is there");
                Ok(store.write_flushed_index(index)?)
            }
        }
    }

    /// Cuts the log behind `flushed`, less what lagging peers may still need.
    fn cut_log(&mut self, flushed: u64) -> Result<(), ReplicaError> {
        let limits = &self.config.limits;
        let target = flushed.saturating_sub(limits.trailing_entries);
        let log = self.node.mut_store();
        if target >= log.compacted().0 + limits.compaction_entries.max(1) {
            log.compact_to(target)?;
            self.observer.event(&ReplicaEvent::LogCompacted { index: target });
        }
        Ok(self.node.mut_store().mark_synced()?)
    }
}
