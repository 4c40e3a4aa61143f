//! Compaction: entries decide it, and each replica's engine forgets in its own time.

use super::Replica;
use crate::api::Answer;
use crate::client::Outcome;
use crate::error::ReplicaError;
use crate::observer::ReplicaEvent;

/// A client that waits until the engine has forgotten what was compacted.
#[derive(Debug)]
pub(super) struct Forgetting {
    pub(super) client: u64,
    pub(super) id: u64,
    pub(super) answer: Answer,
}

impl Replica {
    pub(super) fn is_compacting(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_compacting())
    }

    /// Does the next step of a compaction, and answers those who wait for its end.
    pub(super) fn compact_step(&mut self) -> Result<(), ReplicaError> {
        if self.is_compacting()
            && let Some(store) = &mut self.store
        {
            let progress = store.compact_step(self.config.limits.compaction_records)?;
            self.observer.event(&match progress.finished {
                Some(metrics) => ReplicaEvent::CompactionFinished(metrics),
                None => ReplicaEvent::CompactionStep {
                    revision: progress.revision,
                    records_removed: progress.records_removed,
                },
            });
        }
        if !self.is_compacting() {
            for Forgetting { client, id, answer } in std::mem::take(&mut self.forgetting) {
                self.reply(client, id, Outcome::Answer(answer));
            }
        }
        Ok(())
    }

    /// Tells what is compacted, where that has changed since it was `before`.
    pub(super) fn report_compaction(&self, before: Option<i64>) {
        let Some(revision) = self.store.as_ref().map(|store| store.compacted_revision()) else {
            return;
        };
        if before != Some(revision) {
            self.observer.event(&ReplicaEvent::CompactedRevision { revision });
        }
    }
}
