//! Applying committed entries to the store.

use raft::eraftpb::{Entry, EntryType};
use xxhash_rust::xxh3::xxh3_64;

use super::Replica;
use super::compacting::Forgetting;
use super::proposals::{Asker, Proposal, refused};
use crate::api::{Answer, Command, Refusal};
use crate::client::Outcome;
use crate::design::TxnRanges;
use crate::error::ReplicaError;
use crate::mvcc::{self, Applied, Store};
use crate::observer::ReplicaEvent;
use crate::wire;

impl Replica {
    /// Applies committed entries in order, answers those who proposed them here, and tells the watches.
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
            let (revision, compacted) = (store.revision(), store.compacted_revision());
            self.observer.event(&ReplicaEvent::Entry { index: entry.index, data: command_data(&entry) });
            let applied = match entry.get_entry_type() {
                EntryType::EntryNormal => apply_entry(store, &entry, ranges)?,
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    self.apply_change(&entry, proposal.is_some())?
                }
            };
            self.observer.event(&ReplicaEvent::Applied {
                index: entry.index,
                term: entry.term,
                entry_hash: xxh3_64(&entry.data),
            });
            self.notify_watches(revision)?;
            self.report_compaction(Some(compacted));
            self.follow(&entry, &applied, proposal.as_ref());
            if let Some(proposal) = proposal {
                self.answer_proposal(&proposal, &entry, applied);
            }
            let every = self.config.limits.hash_entries;
            if every > 0 && entry.index % every == 0 {
                self.report_state_hash()?;
            }
        }
        Ok(())
    }

    /// Does what an entry means for this replica beyond its store.
    fn follow(&mut self, entry: &Entry, applied: &AppliedEntry, proposal: Option<&Proposal>) {
        let asker = proposal.filter(|proposal| proposal.term == entry.term).map(|proposal| proposal.asker);
        match applied {
            AppliedEntry::Empty => {
                // The first entry of a leader: it has applied all that was decided before.
                if self.is_leader() && entry.term == self.node.raft.term {
                    self.take_leases_over();
                }
            }
            AppliedEntry::Skipped | AppliedEntry::Members(_) => {}
            AppliedEntry::Command(command, result) => {
                let answer = result.as_ref().and_then(|result| result.as_ref().ok());
                self.note_lease_command(command, answer, asker);
                match (command, answer) {
                    (Command::Compact { revision }, Some(_)) => {
                        self.observer.event(&ReplicaEvent::CompactionScheduled { revision: *revision });
                    }
                    (Command::Alarm { member, activate }, _) => {
                        self.observer.event(&ReplicaEvent::Alarm { member: *member, active: *activate });
                    }
                    (
                        Command::Kv(_)
                        | Command::Compact { .. }
                        | Command::LeaseGrant { .. }
                        | Command::LeaseRevoke { .. }
                        | Command::LeaseCheckpoint { .. },
                        _,
                    ) => {}
                }
            }
        }
    }

    fn answer_proposal(&mut self, proposal: &Proposal, entry: &Entry, applied: AppliedEntry) {
        // Another leader's entry took the place, so that of this proposal can never be committed.
        if proposal.term != entry.term {
            return self.answer(proposal.asker, Outcome::Unavailable { may_have_happened: false });
        }
        let result = match applied {
            AppliedEntry::Command(_, result) => result,
            AppliedEntry::Members(answer) => Some(Ok(answer)),
            AppliedEntry::Empty | AppliedEntry::Skipped => None,
        };
        match (proposal.asker, result) {
            (Asker::KeepAlive { client, id, lease }, _) => self.answer_keep_alive(client, id, lease),
            (Asker::Compaction { client, id }, Some(Ok(answer))) => {
                self.forgetting.push(Forgetting { client, id, answer });
            }
            (asker, Some(Ok(answer))) => self.answer(asker, Outcome::Answer(answer)),
            (asker, Some(Err(refusal))) => self.answer(asker, refused(refusal)),
            (asker, None) => self.answer(asker, Outcome::Unavailable { may_have_happened: true }),
        }
    }
}

/// Whether the reads in a transaction are carried out: see [`TxnRanges`].
#[derive(Clone, Copy)]
enum Ranges {
    CarriedOut,
    LeftOut,
}

/// What an entry was.
pub(super) enum AppliedEntry {
    /// Nothing but the first of a term.
    Empty,
    /// The store had it already.
    Skipped,
    /// A change of the members, with its answer.
    Members(Answer),
    /// A command, with its result if anybody can wait for one.
    Command(Command, Option<Result<Answer, Refusal>>),
}

/// The encoding of the command in an entry; empty where it holds none.
fn command_data(entry: &Entry) -> Vec<u8> {
    match entry.get_entry_type() {
        EntryType::EntryNormal => entry.data.to_vec(),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => Vec::new(),
    }
}

/// Applies an entry that does not change the configuration.
fn apply_entry(store: &mut Store, entry: &Entry, ranges: Ranges) -> Result<AppliedEntry, ReplicaError> {
    if entry.data.is_empty() {
        store.advance(entry.index, entry.term)?;
        return Ok(AppliedEntry::Empty);
    }
    let command = wire::decode::<Command>(&entry.data)
        .map_err(|source| ReplicaError::Entry { index: entry.index, source })?;
    let command = match ranges {
        Ranges::CarriedOut => command,
        Ranges::LeftOut => mvcc::without_ranges(command),
    };
    Ok(match store.apply(entry.index, entry.term, &command)? {
        Applied::Done(result) => AppliedEntry::Command(command, Some(result)),
        Applied::Noted => AppliedEntry::Command(command, None),
        Applied::Skipped => AppliedEntry::Skipped,
    })
}
