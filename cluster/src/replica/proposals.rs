//! Requests of clients, and those that wait to be committed.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Replica;
use crate::api::{Refusal, Request};
use crate::client::{self, Outcome};
use crate::design;
use crate::error::ReplicaError;
use crate::mvcc;
use crate::wire;

/// The requests that were proposed here and are not applied yet, by the index of their entry.
#[derive(Debug, Default)]
pub(super) struct Proposals {
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
        std::mem::replace(&mut self.waiting, later).into_values().collect()
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
        let request = match wire::decode::<Request>(encoded) {
            Ok(request) => request,
            Err(error) => {
                self.reply(client, id, Outcome::Refused { refusal: None, text: error.to_string() });
                return Ok(());
            }
        };
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
            self.propose(client, id, encoded);
        }
        Ok(())
    }

    fn propose(&mut self, client: u64, id: u64, encoded: &[u8]) {
        let term = self.node.raft.term;
        match self.node.propose(Vec::new(), encoded.to_vec()) {
            Ok(()) => {
                let index = self.node.raft.raft_log.last_index();
                let deadline = Instant::now() + self.config.timing.request_timeout;
                self.proposals.waiting.insert(index, Proposal { client, id, term, deadline });
            }
            // Too much is uncommitted already; nothing was appended.
            Err(_) => self.reply(client, id, Outcome::Unavailable { may_have_happened: false }),
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
