//! Commands that are to be committed, and who waits for them.
//!
//! The commands of a round are proposed together: each proposal of its own would be a message of its own to
//! every peer.

use std::collections::BTreeMap;
use std::mem;
use std::time::Instant;

use raft::eraftpb::{Entry, Message, MessageType};

use super::Replica;
use crate::api::{Command, Refusal};
use crate::client::Outcome;
use crate::wire;

/// The commands that are to be proposed, or were proposed here and are not applied yet.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// Those of this round.
    gathered: Vec<(Asker, Entry)>,
    /// Those that were proposed, by the index of their entry.
    waiting: BTreeMap<u64, Proposal>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) asker: Asker,
    /// The term of the entry. Another entry at the same index has another.
    pub(super) term: u64,
    deadline: Instant,
}

/// Who waits for an entry, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client, for what the store answers.
    Client { client: u64, id: u64 },
    /// A client, until the engine has forgotten what was compacted.
    Compaction { client: u64, id: u64 },
    /// A client that keeps a lease alive, until all of its time is written down again.
    KeepAlive { client: u64, id: u64, lease: i64 },
    /// Nobody: the replica itself has proposed it.
    Nobody,
}

impl Proposals {
    /// Takes the proposal whose entry would be at `index`.
    pub(super) fn take(&mut self, index: u64) -> Option<Proposal> {
        // Most replicas most of the time have none.
        if self.waiting.is_empty() { None } else { self.waiting.remove(&index) }
    }

    /// Takes the proposals up to `index`.
    pub(super) fn take_up_to(&mut self, index: u64) -> Vec<Proposal> {
        let later = self.waiting.split_off(&(index + 1));
        mem::replace(&mut self.waiting, later).into_values().collect()
    }

    /// Takes all that were proposed.
    pub(super) fn take_all(&mut self) -> Vec<Proposal> {
        mem::take(&mut self.waiting).into_values().collect()
    }

    fn take_expired(&mut self, now: Instant) -> Vec<Proposal> {
        self.waiting
            .extract_if(.., |_, proposal| proposal.deadline <= now)
            .map(|(_, proposal)| proposal)
            .collect()
    }
}

impl Replica {
    /// Notes a command that is to be proposed in this round.
    pub(super) fn gather(&mut self, asker: Asker, command: &Command) {
        match wire::encode(command) {
            Ok(data) => {
                let entry = Entry { data: data.into(), ..Entry::default() };
                self.proposals.gathered.push((asker, entry));
            }
            Err(error) => self.answer(asker, Outcome::Refused { refusal: None, text: error.to_string() }),
        }
    }

    /// Proposes what was gathered.
    pub(super) fn propose_gathered(&mut self) {
        if self.proposals.gathered.is_empty() {
            return;
        }
        let (askers, entries): (Vec<_>, Vec<_>) = mem::take(&mut self.proposals.gathered).into_iter().unzip();
        if !self.is_leader() {
            let leader = self.leader();
            return askers.into_iter().for_each(|asker| self.answer(asker, Outcome::NotLeader { leader }));
        }
        let mut message = Message { from: self.config.id, entries: entries.into(), ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        match self.node.step(message) {
            Ok(()) => self.await_entries(&askers),
            // Too much is uncommitted already, or leadership is being handed over; nothing was appended.
            Err(_) => askers.into_iter().for_each(|asker| {
                self.answer(asker, Outcome::Unavailable { may_have_happened: false });
            }),
        }
    }

    /// Notes who waits for the last entries of the log.
    pub(super) fn await_entries(&mut self, askers: &[Asker]) {
        let (term, last) = (self.node.raft.term, self.node.raft.raft_log.last_index());
        let deadline = self.request_deadline();
        for (index, asker) in (last + 1 - askers.len() as u64..).zip(askers) {
            let proposal = Proposal { asker: *asker, term, deadline };
            if let Some(former) = self.proposals.waiting.insert(index, proposal) {
                // Proposed in an earlier term, and gone from this log; another may still have it.
                self.answer(former.asker, Outcome::Unavailable { may_have_happened: true });
            }
        }
    }

    /// Answers what has waited too long.
    pub(super) fn expire_requests(&mut self, now: Instant) {
        for proposal in self.proposals.take_expired(now) {
            self.answer(proposal.asker, Outcome::Unavailable { may_have_happened: true });
        }
        for read in self.reads.take_expired(now) {
            self.reply(read.client, read.id, Outcome::Unavailable { may_have_happened: false });
        }
    }

    /// Answers the client that waits, if one does.
    pub(super) fn answer(&self, asker: Asker, outcome: Outcome) {
        match asker {
            Asker::Client { client, id }
            | Asker::Compaction { client, id }
            | Asker::KeepAlive { client, id, lease: _ } => self.reply(client, id, outcome),
            Asker::Nobody => {}
        }
    }
}

/// The answer to a request that breaks a rule.
pub(super) fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused { refusal: Some(refusal), text: refusal.to_string() }
}
