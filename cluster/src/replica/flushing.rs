//! Flushing the engine, and cutting the raft log behind what is flushed.

use std::time::Instant;

use super::Replica;
use crate::config::Timing;
use crate::error::ReplicaError;
use crate::observer::ReplicaEvent;

/// What is flushed, and since when something is not.
#[derive(Debug)]
pub(super) struct Flushing {
    /// The applied index that the engine proves durable.
    flushed: u64,
    /// When the first entry was applied that is not flushed.
    waiting_since: Option<Instant>,
}

impl Flushing {
    /// A store that has just been opened or installed: what it holds is durable.
    pub(super) fn new(applied: u64) -> Flushing {
        Flushing { flushed: applied, waiting_since: None }
    }

    /// When the next flush is due, if anything waits for one.
    pub(super) fn deadline(&self, timing: &Timing) -> Option<Instant> {
        self.waiting_since.map(|since| since + timing.flush_interval)
    }
}

impl Replica {
    /// Flushes if enough entries or enough time have gathered, and cuts the log.
    pub(super) fn flush_if_due(&mut self) -> Result<(), ReplicaError> {
        let applied = self.applied_index();
        if applied <= self.flushing.flushed {
            return Ok(());
        }
        let now = Instant::now();
        self.flushing.waiting_since.get_or_insert(now);
        let by_count = applied - self.flushing.flushed >= self.config.limits.flush_entries;
        let by_time = self.flushing.deadline(&self.config.timing).is_some_and(|deadline| deadline <= now);
        if by_count || by_time {
            self.flush()?;
            self.compact_log()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ReplicaError> {
        let store = self.store.as_mut().expect("something is applied");
        self.observer.event(&ReplicaEvent::FlushBegin { index: store.applied_index() });
        store.flush()?;
        let durable = store.durable_index()?;
        self.flushing = Flushing::new(durable);
        self.observer.event(&ReplicaEvent::FlushEnd { index: durable });
        Ok(())
    }

    /// Cuts the log behind what is flushed, less what lagging peers may still need. What is not proven durable
    /// in the engine is never cut: the log alone holds it.
    fn compact_log(&mut self) -> Result<(), ReplicaError> {
        let limits = &self.config.limits;
        let target = self.flushing.flushed.saturating_sub(limits.trailing_entries);
        let log = self.node.mut_store();
        if target >= log.compacted().0 + limits.compaction_entries.max(1) {
            log.compact_to(target)?;
            self.observer.event(&ReplicaEvent::LogCompacted { index: target });
        }
        Ok(self.node.mut_store().mark_synced()?)
    }
}
