//! Applying committed entries to the store.

use raft::eraftpb::{Entry, EntryType};
use xxhash_rust::xxh3::xxh3_64;

use super::Replica;
use super::proposals::{Proposal, refused};
use crate::api::{Refusal, Request, Response};
use crate::client::Outcome;
use crate::error::ReplicaError;
use crate::mvcc::{Applied, Store};
use crate::observer::ReplicaEvent;
use crate::wire;

impl Replica {
    /// Applies committed entries in order, and answers those who proposed them here.
    ///
    /// Without a state nothing is applied: the snapshot that is waited for holds at least these entries.
    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), ReplicaError> {
        for entry in entries {
            let Some(store) = &mut self.store else {
                return Ok(());
            };
            let applied = apply_entry(store, &entry)?;
            self.observer.event(&ReplicaEvent::Applied {
                index: entry.index,
                term: entry.term,
                entry_hash: xxh3_64(&entry.data),
            });
            if let Some(proposal) = self.proposals.take(entry.index) {
                self.answer(&proposal, &entry, applied);
            }
            let every = self.config.limits.hash_entries;
            if every > 0 && entry.index % every == 0 {
                self.report_state_hash()?;
            }
        }
        Ok(())
    }

    fn answer(&self, proposal: &Proposal, entry: &Entry, applied: Option<Result<Response, Refusal>>) {
        let outcome = match applied {
            // Another leader's entry took the place, so that of this proposal can never be committed.
            _ if proposal.term != entry.term => Outcome::Unavailable { may_have_happened: false },
            Some(Ok(response)) => Outcome::Response(response),
            Some(Err(refusal)) => refused(refusal),
            None => Outcome::Unavailable { may_have_happened: true },
        };
        self.reply(proposal.client, proposal.id, outcome);
    }
}

/// Applies one entry; `None` if it holds no request, or the store had it already.
fn apply_entry(store: &mut Store, entry: &Entry) -> Result<Option<Result<Response, Refusal>>, ReplicaError> {
    match entry.get_entry_type() {
        EntryType::EntryNormal if entry.data.is_empty() => {
            store.advance(entry.index, entry.term)?;
            Ok(None)
        }
        EntryType::EntryNormal => {
            let request = wire::decode::<Request>(&entry.data)
                .map_err(|source| ReplicaError::Entry { index: entry.index, source })?;
            match store.apply(entry.index, entry.term, &request)? {
                Applied::Done(result) => Ok(Some(result)),
                Applied::Skipped => Ok(None),
            }
        }
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            unreachable!("the configuration is fixed, and no replica proposes a change of it")
        }
    }
}
