//! Requests of clients, and those that wait to be committed.
//!
//! The requests of a round are proposed together: each proposal of its own would be a message of its own to
//! every peer.

use std::collections::BTreeMap;
use std::mem;
use std::time::Instant;

use raft::eraftpb::{Entry, Message, MessageType};

use super::Replica;
use crate::api::{Call, Command, Refusal, Request};
use crate::client::{self, Outcome};
use crate::design;
use crate::error::ReplicaError;
use crate::mvcc;
use crate::wire;

/// The requests that are to be proposed, or were proposed here and are not applied yet.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// Those of this round: client, id and entry.
    gathered: Vec<(u64, u64, Entry)>,
    /// Those that were proposed, by the index of their entry.
    waiting: BTreeMap<u64, Proposal>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) client: u64,
    pub(super) id: u64,
    /// The term of the entry. Another entry at the same index has another.
    pub(super) term: u64,
    deadline: Instant,
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

    fn take_expired(&mut self, now: Instant) -> Vec<Proposal> {
        self.waiting
            .extract_if(.., |_, proposal| proposal.deadline <= now)
            .map(|(_, proposal)| proposal)
            .collect()
    }
}

impl Replica {
    /// Takes a client's request: refuses it, proposes it, or queues it as a read.
    pub(super) fn take_request(&mut self, client: u64, message: &[u8]) -> Result<(), ReplicaError> {
        // Without an id there is nobody to answer.
        let Some((id, encoded)) = client::split_request(message) else {
            return Ok(());
        };
        match wire::decode::<Call>(encoded) {
            Ok(Call::Kv(request)) => self.take_kv(client, id, request)?,
            Ok(
                Call::Compact { .. }
                | Call::LeaseGrant { .. }
                | Call::LeaseRevoke { .. }
                | Call::LeaseKeepAlive { .. }
                | Call::LeaseTimeToLive { .. }
                | Call::Leases
                | Call::HashKv { .. }
                | Call::Status
                | Call::Defragment
                | Call::AlarmDisarm
                | Call::Member(_)
                | Call::MoveLeader { .. }
                | Call::Watch(_),
            ) => {
                let text = "not supported yet".to_owned();
                self.reply(client, id, Outcome::Refused { refusal: None, text });
            }
            Err(error) => {
                self.reply(client, id, Outcome::Refused { refusal: None, text: error.to_string() });
            }
        }
        Ok(())
    }

    fn take_kv(&mut self, client: u64, id: u64, request: Request) -> Result<(), ReplicaError> {
        if request.is_read_only() {
            match self.config.design.reads {
                design::Reads::ReadIndex => {}
                design::Reads::Local => return self.serve_locally(client, id, &request),
            }
        }
        if !self.is_leader() {
            self.reply(client, id, Outcome::NotLeader { leader: self.leader() });
        } else if let Err(refusal) = mvcc::check(&request) {
            self.reply(client, id, refused(refusal));
        } else if request.is_read_only() {
            let deadline = Instant::now() + self.config.timing.request_timeout;
            self.reads.queue(client, id, request, deadline);
        } else {
            self.gather(client, id, &Command::Kv(request));
        }
        Ok(())
    }

    /// Notes a command that is to be proposed in this round.
    fn gather(&mut self, client: u64, id: u64, command: &Command) {
        match wire::encode(command) {
            Ok(data) => {
                let entry = Entry { data: data.into(), ..Entry::default() };
                self.proposals.gathered.push((client, id, entry));
            }
            Err(error) => {
                self.reply(client, id, Outcome::Refused { refusal: None, text: error.to_string() });
            }
        }
    }

    /// Proposes what was gathered.
    pub(super) fn propose_gathered(&mut self) {
        if self.proposals.gathered.is_empty() {
            return;
        }
        let gathered = mem::take(&mut self.proposals.gathered);
        if !self.is_leader() {
            let leader = self.leader();
            return gathered.iter().for_each(|(client, id, _)| {
                self.reply(*client, *id, Outcome::NotLeader { leader });
            });
        }
        let (askers, entries): (Vec<_>, Vec<_>) =
            gathered.into_iter().map(|(client, id, entry)| ((client, id), entry)).unzip();
        let mut message = Message { from: self.config.id, entries: entries.into(), ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        match self.node.step(message) {
            Ok(()) => self.await_entries(&askers),
            // Too much is uncommitted already; nothing was appended.
            Err(_) => askers.iter().for_each(|(client, id)| {
                self.reply(*client, *id, Outcome::Unavailable { may_have_happened: false });
            }),
        }
    }

    /// Notes who waits for the last entries of the log.
    fn await_entries(&mut self, askers: &[(u64, u64)]) {
        let (term, last) = (self.node.raft.term, self.node.raft.raft_log.last_index());
        let deadline = Instant::now() + self.config.timing.request_timeout;
        for (index, (client, id)) in (last + 1 - askers.len() as u64..).zip(askers) {
            let proposal = Proposal { client: *client, id: *id, term, deadline };
            if let Some(former) = self.proposals.waiting.insert(index, proposal) {
                // Proposed in an earlier term, and gone from this log; another may still have it.
                self.reply(former.client, former.id, Outcome::Unavailable { may_have_happened: true });
            }
        }
    }

    /// Answers what has waited too long.
    pub(super) fn expire_requests(&mut self, now: Instant) {
        for proposal in self.proposals.take_expired(now) {
            self.reply(proposal.client, proposal.id, Outcome::Unavailable { may_have_happened: true });
        }
        for read in self.reads.take_expired(now) {
            self.reply(read.client, read.id, Outcome::Unavailable { may_have_happened: false });
        }
    }
}

/// The answer to a request that breaks a rule.
pub(super) fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused { refusal: Some(refusal), text: refusal.to_string() }
}
