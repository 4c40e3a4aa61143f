//! Leases, as far as they are the leader's: see [`crate::lease`].

use std::hash::{BuildHasher, Hasher, RandomState};

use super::Replica;
use super::proposals::Asker;
use super::reads::{Query, Served};
use crate::api::{Answer, Command};
use crate::client::Outcome;
use crate::design::LeaseKeepAlive;
use crate::error::ReplicaError;
use crate::mvcc::Store;
use crate::observer::{ReplicaEvent, RevokedBy};

impl Replica {
    /// An id that no lease has, from the entropy that the standard library draws for its hash maps.
    pub(super) fn choose_lease_id(&self) -> i64 {
        loop {
            let drawn = RandomState::new().build_hasher().finish();
            let id = (drawn >> 1).cast_signed();
            let is_taken = self.store.as_ref().is_some_and(|store| store.leases().get(id).is_some());
            if id != 0 && !is_taken {
                return id;
            }
        }
    }

    /// Begins to count, when this leader has applied all entries of earlier terms.
    pub(super) fn take_leases_over(&mut self) {
        let (term, extension) = (self.node.raft.term, self.election_timeout());
        let Some(store) = &self.store else {
            return;
        };
        let leases = self.lessor.promote(term, store.leases(), extension);
        self.observer.event(&ReplicaEvent::LeasesTakenOver { term, leases });
    }

    /// Whether this replica leads, and counts leases in this very term.
    fn counts_leases(&self) -> bool {
        self.is_leader() && self.lessor.term() == Some(self.node.raft.term)
    }

    /// Proposes the ends of leases whose time is over, and checkpoints. Called at every tick.
    pub(super) fn see_to_leases(&mut self) {
        if !self.counts_leases() {
            return self.lessor.demote();
        }
        let term = self.node.raft.term;
        for id in self.lessor.take_over(self.config.limits.lease_revokes_per_tick) {
            self.observer.event(&ReplicaEvent::LeaseExpired { id, term });
            self.gather(Asker::Nobody, &Command::LeaseRevoke { id });
        }
        let interval = self.config.timing.lease_checkpoint_interval;
        if let Some(store) = &self.store {
            for remaining in self.lessor.take_checkpoints(store.leases(), interval) {
                self.gather(Asker::Nobody, &Command::LeaseCheckpoint { remaining });
            }
        }
        self.propose_gathered();
    }

    /// Follows a command about leases that was applied.
    pub(super) fn note_lease_command(
        &mut self,
        command: &Command,
        answer: Option<&Answer>,
        asker: Option<Asker>,
    ) {
        match (command, answer) {
            (Command::LeaseGrant { .. }, Some(Answer::LeaseGrant { revision, id, ttl_s })) => {
                self.lessor.granted(*id, *ttl_s);
                self.observer.event(&ReplicaEvent::LeaseGranted {
                    id: *id,
                    ttl_s: *ttl_s,
                    revision: *revision,
                });
            }
            (Command::LeaseRevoke { id }, Some(Answer::LeaseRevoke { revision })) => {
                self.lessor.ended(*id);
                let by = match asker {
                    Some(Asker::Nobody) => RevokedBy::Expiry,
                    Some(_) => RevokedBy::Client,
                    None => RevokedBy::Unknown,
                };
                self.observer.event(&ReplicaEvent::LeaseRevoked { id: *id, by, revision: *revision });
            }
            (Command::LeaseCheckpoint { remaining }, _) => {
                self.observer.event(&ReplicaEvent::LeasesCheckpointed { remaining: remaining.clone() });
            }
            (
                Command::Kv(_)
                | Command::Compact { .. }
                | Command::LeaseGrant { .. }
                | Command::LeaseRevoke { .. }
                | Command::Alarm { .. },
                _,
            ) => {}
        }
    }

    /// A client keeps a lease alive.
    pub(super) fn take_keep_alive(&mut self, client: u64, id: u64, lease: i64) -> Result<(), ReplicaError> {
        if !self.leads_or_says_who(client, id) {
            return Ok(());
        }
        let is_answered = match self.config.design.lease_keep_alive {
            LeaseKeepAlive::Confirmed => false,
            LeaseKeepAlive::Local => {
                self.counts_leases() && self.keep_alive(client, id, lease) == Served::Answered
            }
        };
        if !is_answered {
            let deadline = self.request_deadline();
            self.reads.queue(client, id, Query::KeepAlive { lease }, deadline);
        }
        Ok(())
    }

    /// Keeps a lease alive, now that it is confirmed that this replica leads. A lease that is about to end is
    /// waited for, as in etcd: the answer must not be contradicted.
    pub(super) fn keep_alive(&mut self, client: u64, id: u64, lease: i64) -> Served {
        if !self.counts_leases() {
            self.reply(client, id, Outcome::NotLeader { leader: self.leader() });
            return Served::Answered;
        }
        let Some(store) = &self.store else {
            return Served::Later;
        };
        match store.leases().get(lease) {
            Some(_) if self.lessor.is_over(lease) => Served::Later,
            Some(facts) if facts.remaining_ttl_s > 0 || self.lessor.is_checkpointed(lease) => {
                // The next leader would otherwise count on from the checkpoint.
                self.lessor.clearing(lease);
                let command = Command::LeaseCheckpoint { remaining: vec![(lease, 0)] };
                self.gather(Asker::KeepAlive { client, id, lease }, &command);
                Served::Answered
            }
            Some(_) | None => {
                self.renew(client, id, lease);
                Served::Answered
            }
        }
    }

    /// Lets a lease begin its time anew, and says so; all of its time is on record.
    pub(super) fn renew(&mut self, client: u64, id: u64, lease: i64) {
        let Some(store) = &self.store else {
            return self.reply(client, id, Outcome::Unavailable { may_have_happened: true });
        };
        let ttl_s = store.leases().get(lease).map_or(0, |facts| facts.granted_ttl_s);
        if ttl_s > 0 {
            self.lessor.renew(lease, ttl_s);
        }
        let (revision, term) = (store.revision(), self.node.raft.term);
        self.observer.event(&ReplicaEvent::KeepAliveAnswered { id: lease, ttl_s, term });
        self.reply(client, id, Outcome::Answer(Answer::LeaseKeepAlive { revision, id: lease, ttl_s }));
    }

    /// Answers a keep-alive whose checkpoint is applied: that entry has confirmed that this replica leads.
    pub(super) fn answer_keep_alive(&mut self, client: u64, id: u64, lease: i64) {
        if !self.counts_leases() {
            return self.reply(client, id, Outcome::NotLeader { leader: self.leader() });
        }
        if self.lessor.is_over(lease) {
            let deadline = self.request_deadline();
            return self.reads.queue(client, id, Query::KeepAlive { lease }, deadline);
        }
        self.renew(client, id, lease);
    }

    /// How long a lease will live; `None` unless this replica leads.
    pub(super) fn time_to_live(&self, store: &Store, lease: i64, keys: bool) -> Option<Answer> {
        if !self.counts_leases() {
            return None;
        }
        let revision = store.revision();
        let (ttl_s, granted_ttl_s, keys) = match store.leases().get(lease) {
            None => (-1, 0, Vec::new()),
            Some(facts) => {
                let keys = if keys { facts.keys.iter().cloned().collect() } else { Vec::new() };
                (self.lessor.left_s(lease).unwrap_or(0), facts.granted_ttl_s, keys)
            }
        };
        Some(Answer::LeaseTimeToLive { revision, id: lease, ttl_s, granted_ttl_s, keys })
    }
}
