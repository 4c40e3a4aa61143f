//! Applying committed entries to the store.

use raft::eraftpb::{Entry, EntryType};
use xxhash_rust::xxh3::xxh3_64;

use super::Replica;
use super::proposals::{Proposal, refused};
use crate::api::{Answer, Command, Refusal};
use crate::client::Outcome;
use crate::design::TxnRanges;
use crate::error::ReplicaError;
use crate::mvcc::{self, Applied, Store};
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
            let proposal = self.proposals.take(entry.index);
            let ranges = match self.config.design.txn_ranges {
                TxnRanges::Everywhere => Ranges::CarriedOut,
                TxnRanges::WhereAsked if proposal.is_some() => Ranges::CarriedOut,
                TxnRanges::WhereAsked => Ranges::LeftOut,
            };
            let applied = apply_entry(store, &entry, ranges)?;
            self.observer.event(&ReplicaEvent::Applied {
                index: entry.index,
                term: entry.term,
                entry_hash: xxh3_64(&entry.data),
            });
            if let Some(proposal) = proposal {
                self.answer(&proposal, &entry, applied);
            }
            let every = self.config.limits.hash_entries;
            if every > 0 && entry.index % every == 0 {
                self.report_state_hash()?;
            }
        }
        Ok(())
    }

    fn answer(&self, proposal: &Proposal, entry: &Entry, applied: Option<Result<Answer, Refusal>>) {
        let outcome = match applied {
            // Another leader's entry took the place, so that of this proposal can never be committed.
            _ if proposal.term != entry.term => Outcome::Unavailable { may_have_happened: false },
            Some(Ok(answer)) => Outcome::Answer(answer),
            Some(Err(refusal)) => refused(refusal),
            None => Outcome::Unavailable { may_have_happened: true },
        };
        self.reply(proposal.client, proposal.id, outcome);
    }
}

/// Whether the reads in a transaction are carried out: see [`TxnRanges`].
#[derive(Clone, Copy)]
enum Ranges {
    CarriedOut,
    LeftOut,
}

/// Applies one entry; `None` if nobody can wait for an answer, or the store had it already.
fn apply_entry(
    store: &mut Store,
    entry: &Entry,
    ranges: Ranges,
) -> Result<Option<Result<Answer, Refusal>>, ReplicaError> {
    match entry.get_entry_type() {
        EntryType::EntryNormal if entry.data.is_empty() => {
            store.advance(entry.index, entry.term)?;
            Ok(None)
        }
        EntryType::EntryNormal => {
            let command = wire::decode::<Command>(&entry.data)
                .map_err(|source| ReplicaError::Entry { index: entry.index, source })?;
            let command = match ranges {
                Ranges::CarriedOut => command,
                Ranges::LeftOut => mvcc::without_ranges(command),
            };
            match store.apply(entry.index, entry.term, &command)? {
                Applied::Done(result) => Ok(Some(result)),
                Applied::Noted | Applied::Skipped => Ok(None),
            }
        }
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            unreachable!("the configuration is fixed, and no replica proposes a change of it")
        }
    }
}
