//! Linearizable reads, and what else must know that this replica leads, by ReadIndex.
//!
//! A read passes three stations. It is *queued* until the next round; a round asks the raft core to confirm, by
//! a heartbeat to a quorum, that this replica still leads, and at what commit index; once *confirmed*, the read
//! is served as soon as that index is applied. One round confirms all reads that were queued when it began.
//!
//! The raft core drops a round silently when the leader has not committed in its term yet: such rounds are not
//! begun. A round can also be lost with a change of role, and its heartbeats on the network: it is asked for
//! again at every tick. Asking twice with the same context is asking once.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::time::Instant;

use raft::ReadState;

use super::Replica;
use super::proposals::refused;
use crate::api::{Answer, Request};
use crate::client::Outcome;
use crate::error::ReplicaError;
use crate::mvcc::Store;
use crate::observer::ReplicaEvent;

/// The reads that wait.
#[derive(Debug, Default)]
pub(super) struct Reads {
    queued: Vec<Read>,
    /// The rounds that are not confirmed, by their number.
    rounds: BTreeMap<u64, Round>,
    rounds_begun: u64,
    /// The reads that are confirmed, with the index to be applied, in ascending order.
    confirmed: VecDeque<(u64, Vec<Read>)>,
}

#[derive(Debug)]
struct Round {
    reads: Vec<Read>,
    /// Ticks since it began; the first ends at once, so a retry waits for the second.
    ticks: u32,
}

/// One read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) client: u64,
    pub(super) id: u64,
    query: Query,
    deadline: Instant,
}

/// What it asks.
#[derive(Debug)]
pub(super) enum Query {
    /// A read-only request.
    Kv(Request),
    /// The hash up to a revision.
    HashKv { revision: i64 },
    /// How long a lease will live.
    TimeToLive { lease: i64, keys: bool },
    /// All leases.
    Leases,
    /// All members.
    Members,
    /// That a lease be kept alive.
    KeepAlive { lease: i64 },
}

/// Whether a confirmed read is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It is.
    Answered,
    /// It has to wait for something else.
    Later,
}

impl Reads {
    pub(super) fn queue(&mut self, client: u64, id: u64, query: Query, deadline: Instant) {
        self.queued.push(Read { client, id, query, deadline });
    }

    /// Takes all reads.
    pub(super) fn take_all(&mut self) -> Vec<Read> {
        let mut reads = self.take_unconfirmed();
        reads.extend(mem::take(&mut self.confirmed).into_iter().flat_map(|(_, reads)| reads));
        reads
    }

    /// Takes the reads that are not confirmed.
    fn take_unconfirmed(&mut self) -> Vec<Read> {
        let mut reads = mem::take(&mut self.queued);
        reads.extend(mem::take(&mut self.rounds).into_values().flat_map(|round| round.reads));
        reads
    }

    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Read> {
        let is_expired = |read: &mut Read| read.deadline <= now;
        let mut expired: Vec<Read> = self.queued.extract_if(.., is_expired).collect();
        for round in self.rounds.values_mut() {
            expired.extend(round.reads.extract_if(.., is_expired));
        }
        for (_, reads) in &mut self.confirmed {
            expired.extend(reads.extract_if(.., is_expired));
        }
        expired
    }
}

impl Replica {
    /// Begins a round for the reads that are queued, if the leader can have one confirmed.
    pub(super) fn issue_reads(&mut self) {
        if !self.is_leader() {
            let leader = self.leader();
            for read in self.reads.take_unconfirmed() {
                self.reply(read.client, read.id, Outcome::NotLeader { leader });
            }
        } else if !self.reads.queued.is_empty() && self.node.raft.commit_to_current_term() {
            self.reads.rounds_begun += 1;
            let round = self.reads.rounds_begun;
            let reads = mem::take(&mut self.reads.queued);
            self.reads.rounds.insert(round, Round { reads, ticks: 0 });
            self.node.read_index(round.to_le_bytes().to_vec());
        }
    }

    /// Asks again for the rounds that two ticks have not confirmed. Called at every tick.
    pub(super) fn retry_reads(&mut self) {
        for (number, round) in &mut self.reads.rounds {
            round.ticks += 1;
            if round.ticks > 1 {
                self.node.read_index(number.to_le_bytes().to_vec());
                self.observer.event(&ReplicaEvent::ReadIndexRetried { round: *number });
            }
        }
    }

    /// Takes the rounds that the raft core has confirmed.
    pub(super) fn confirm_reads(&mut self, states: Vec<ReadState>) {
        for ReadState { index, request_ctx } in states {
            let number = request_ctx.try_into().map(u64::from_le_bytes);
            // A round can be confirmed twice, if it was asked for twice.
            if let Some(round) = number.ok().and_then(|number| self.reads.rounds.remove(&number)) {
                self.reads.confirmed.push_back((index, round.reads));
            }
        }
    }

    /// Answers the confirmed reads whose index is applied.
    pub(super) fn serve_reads(&mut self) -> Result<(), ReplicaError> {
        let applied = self.applied_index();
        let mut later = Vec::new();
        while self.reads.confirmed.front().is_some_and(|(index, _)| *index <= applied) {
            let (_, reads) = self.reads.confirmed.pop_front().expect("there is a first");
            for read in reads {
                match self.serve(&read)? {
                    Served::Answered => {}
                    Served::Later => later.push(read),
                }
            }
        }
        if !later.is_empty() {
            self.reads.confirmed.push_front((applied, later));
        }
        self.propose_gathered();
        Ok(())
    }

    fn serve(&mut self, read: &Read) -> Result<Served, ReplicaError> {
        let (client, id) = (read.client, read.id);
        match &read.query {
            Query::Kv(request) => self.serve_locally(client, id, request)?,
            Query::KeepAlive { lease } => return Ok(self.keep_alive(client, id, *lease)),
            Query::HashKv { .. } | Query::TimeToLive { .. } | Query::Leases | Query::Members => {
                let outcome = match &self.store {
                    Some(store) => self.look_up(store, &read.query)?,
                    None => Outcome::Unavailable { may_have_happened: false },
                };
                self.reply(client, id, outcome);
            }
        }
        Ok(Served::Answered)
    }

    /// Answers what is asked about the state, other than its keys.
    fn look_up(&self, store: &Store, query: &Query) -> Result<Outcome, ReplicaError> {
        let revision = store.revision();
        let answer = match query {
            Query::HashKv { revision } => match store.hash_kv(*revision)? {
                Ok(hash) => Some(Answer::HashKv {
                    revision: hash.revision,
                    compact_revision: hash.compact_revision,
                    hash: hash.hash,
                }),
                Err(refusal) => return Ok(refused(refusal)),
            },
            Query::TimeToLive { lease, keys } => self.time_to_live(store, *lease, *keys),
            Query::Leases => {
                Some(Answer::Leases { revision, ids: store.leases().iter().map(|(id, _)| id).collect() })
            }
            Query::Members => Some(Answer::Members(self.membership().list())),
            Query::Kv(_) | Query::KeepAlive { .. } => unreachable!("these are served otherwise"),
        };
        Ok(answer.map_or(Outcome::NotLeader { leader: self.leader() }, Outcome::Answer))
    }

    /// Answers a read from the state as it is.
    pub(super) fn serve_locally(&self, client: u64, id: u64, request: &Request) -> Result<(), ReplicaError> {
        let outcome = match self.store.as_ref().filter(|_| self.is_member()) {
            Some(store) => match store.read(request)? {
                Ok(response) => Outcome::Answer(Answer::Kv(response)),
                Err(refusal) => refused(refusal),
            },
            None => Outcome::Unavailable { may_have_happened: false },
        };
        self.reply(client, id, outcome);
        Ok(())
    }
}
