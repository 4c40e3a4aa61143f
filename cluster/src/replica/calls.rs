//! What clients ask: each call is refused, answered, proposed, or queued until the leader is confirmed.

use std::mem;
use std::time::{Duration, Instant};

use super::Replica;
use super::proposals::{Asker, refused};
use super::reads::Query;
use crate::api::{Answer, Call, Command, Refusal, Request, Status, TxnRequest, WatchCall};
use crate::client::{self, Outcome};
use crate::design;
use crate::error::ReplicaError;
use crate::mvcc;
use crate::wire;

/// A client that waits until leadership has gone where it wanted.
#[derive(Debug)]
pub(super) struct Handover {
    client: u64,
    id: u64,
    to: u64,
    deadline: Instant,
}

impl Replica {
    /// Takes a message of a client.
    pub(super) fn take_request(&mut self, client: u64, message: &[u8]) -> Result<(), ReplicaError> {
        // Without an id there is nobody to answer.
        let Some((id, encoded)) = client::split_request(message) else {
            return Ok(());
        };
        match wire::decode::<Call>(encoded) {
            Ok(call) => self.take_call(client, id, call),
            Err(error) => {
                self.reply(client, id, Outcome::Refused { refusal: None, text: error.to_string() });
                Ok(())
            }
        }
    }

    fn take_call(&mut self, client: u64, id: u64, call: Call) -> Result<(), ReplicaError> {
        let asker = Asker::Client { client, id };
        match call {
            Call::Kv(request) => return self.take_kv(client, id, request),
            Call::Status => return self.answer_status(client, id),
            Call::Defragment => return self.defragment(client, id),
            Call::Watch(call) => self.take_watch_call(client, call),
            Call::Member(call) => self.take_member_call(client, id, call),
            Call::Compact { revision, physical } => {
                let asker = if physical { Asker::Compaction { client, id } } else { asker };
                self.propose_for(asker, &Command::Compact { revision });
            }
            Call::LeaseGrant { id: lease, ttl_s } => self.propose_grant(asker, lease, ttl_s),
            Call::LeaseRevoke { id } => self.propose_for(asker, &Command::LeaseRevoke { id }),
            Call::LeaseKeepAlive { id: lease } => return self.take_keep_alive(client, id, lease),
            Call::LeaseTimeToLive { id: lease, keys } => {
                self.queue_query(client, id, Query::TimeToLive { lease, keys });
            }
            Call::Leases => self.queue_query(client, id, Query::Leases),
            Call::HashKv { revision } => self.queue_query(client, id, Query::HashKv { revision }),
            Call::AlarmDisarm => self.propose_disarm(client, id),
            Call::MoveLeader { to } => self.move_leader(client, id, to),
        }
        Ok(())
    }

    fn take_kv(&mut self, client: u64, id: u64, request: Request) -> Result<(), ReplicaError> {
        if !request.is_read_only() {
            if self.leads_or_says_who(client, id) {
                match self.admit(&request) {
                    Ok(()) => self.gather(Asker::Client { client, id }, &Command::Kv(request)),
                    Err(refusal) => self.reply(client, id, refused(refusal)),
                }
            }
            return Ok(());
        }
        if is_serializable(&request) {
            return self.serve_locally(client, id, &request);
        }
        match self.config.design.reads {
            design::Reads::ReadIndex | design::Reads::Lease => {}
            design::Reads::Local => return self.serve_locally(client, id, &request),
        }
        if self.leads_or_says_who(client, id) {
            match mvcc::check(&request) {
                Ok(()) => self.queue_query(client, id, Query::Kv(request)),
                Err(refusal) => self.reply(client, id, refused(refusal)),
            }
        }
        Ok(())
    }

    /// Refuses what would be refused when it is applied, as far as that is known already, to spare the log; most
    /// of all where the disk is full.
    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        mvcc::check(request)?;
        match &self.store {
            Some(store) => store.check_space(request),
            None => Ok(()),
        }
    }

    /// Whether this replica leads; otherwise the client is told who does.
    pub(super) fn leads_or_says_who(&self, client: u64, id: u64) -> bool {
        if !self.is_leader() {
            self.reply(client, id, Outcome::NotLeader { leader: self.leader() });
        }
        self.is_leader()
    }

    /// Notes a client's command that is to be proposed, if this replica leads.
    fn propose_for(&mut self, asker: Asker, command: &Command) {
        if self.is_leader() {
            self.gather(asker, command);
        } else {
            self.answer(asker, Outcome::NotLeader { leader: self.leader() });
        }
    }

    pub(super) fn queue_query(&mut self, client: u64, id: u64, query: Query) {
        if self.leads_or_says_who(client, id) {
            let deadline = self.request_deadline();
            self.reads.queue(client, id, query, deadline);
        }
    }

    pub(super) fn request_deadline(&self) -> Instant {
        Instant::now() + self.config.timing.request_timeout
    }

    fn propose_grant(&mut self, asker: Asker, lease: i64, ttl_s: i64) {
        let id = if lease == 0 { self.choose_lease_id() } else { lease };
        let ttl_s = ttl_s.max(shortest_ttl_s(self.election_timeout()));
        self.propose_for(asker, &Command::LeaseGrant { id, ttl_s });
    }

    /// The shortest time in which another replica can be elected.
    pub(super) fn election_timeout(&self) -> Duration {
        self.config.timing.tick * u32::try_from(self.config.timing.election_ticks).unwrap_or(u32::MAX)
    }

    /// Ends the alarm of every member; the client is answered with the last one.
    fn propose_disarm(&mut self, client: u64, id: u64) {
        if !self.leads_or_says_who(client, id) {
            return;
        }
        let members: Vec<u64> = self.store.iter().flat_map(|store| store.alarms().iter().copied()).collect();
        let (last, others) = members.split_last().unwrap_or((&self.config.id, &[]));
        let disarm = |member: &u64| Command::Alarm { member: *member, activate: false };
        let last = disarm(last);
        for member in others {
            self.gather(Asker::Nobody, &disarm(member));
        }
        self.gather(Asker::Client { client, id }, &last);
    }

    fn answer_status(&self, client: u64, id: u64) -> Result<(), ReplicaError> {
        let raft = &self.node.raft;
        let mut status = Status {
            leader: raft.leader_id,
            raft_index: raft.raft_log.last_index(),
            raft_term: raft.term,
            raft_applied_index: self.applied_index(),
            is_learner: !raft.promotable(),
            ..Status::default()
        };
        if let Some(store) = &self.store {
            status.revision = store.revision();
            status.size_bytes = store.size_bytes()?;
            status.alarms = store.alarms().iter().copied().collect();
        }
        self.reply(client, id, Outcome::Answer(Answer::Status(status)));
        Ok(())
    }

    fn defragment(&mut self, client: u64, id: u64) -> Result<(), ReplicaError> {
        let outcome = match &mut self.store {
            Some(store) => {
                store.defragment()?;
                Outcome::Answer(Answer::Defragment)
            }
            None => Outcome::Unavailable { may_have_happened: false },
        };
        self.reply(client, id, outcome);
        Ok(())
    }

    /// Asks the raft core to hand leadership over. It does so when the other has all entries, or not at all.
    fn move_leader(&mut self, client: u64, id: u64, to: u64) {
        if !self.leads_or_says_who(client, id) {
            return;
        }
        if !self.membership().voters.contains(&to) {
            let text = "etcdserver: bad leader transferee".to_owned();
            return self.reply(client, id, Outcome::Refused { refusal: None, text });
        }
        if to != self.config.id {
            self.node.transfer_leader(to);
        }
        let deadline = self.request_deadline();
        self.handovers.push(Handover { client, id, to, deadline });
    }

    /// Answers those who wait for a leader and have it, or have waited too long.
    pub(super) fn answer_handovers(&mut self, now: Instant) {
        let leader = self.leader();
        let over = |handover: &mut Handover| leader == Some(handover.to) || handover.deadline <= now;
        let over: Vec<Handover> = self.handovers.extract_if(.., over).collect();
        for Handover { client, id, to, deadline: _ } in over {
            let outcome = if leader == Some(to) {
                Outcome::Answer(Answer::MoveLeader)
            } else {
                Outcome::Unavailable { may_have_happened: true }
            };
            self.reply(client, id, outcome);
        }
    }

    /// Answers those who wait for a leader, since this replica will not know.
    pub(super) fn give_handovers_up(&mut self) {
        for Handover { client, id, .. } in mem::take(&mut self.handovers) {
            self.reply(client, id, Outcome::Unavailable { may_have_happened: true });
        }
    }

    fn take_watch_call(&mut self, client: u64, call: WatchCall) {
        match call {
            WatchCall::Create(request) => self.create_watch(client, request),
            WatchCall::Cancel { watch_id } => self.cancel_watch(client, watch_id),
            WatchCall::Progress => self.want_progress(client),
            WatchCall::Ack { watch_id, messages } => self.watches.acknowledge((client, watch_id), messages),
        }
    }
}

/// Whether a read may be answered from any state: a range that says so, or a transaction of such. As in etcd
/// (`isTxnSerializable`), but that one without any operation is linearizable: what its compares find is told.
fn is_serializable(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.serializable,
        Request::Put(_) | Request::DeleteRange(_) => false,
        Request::Txn(TxnRequest { compares: _, success, failure }) => {
            let mut operations = success.iter().chain(failure).peekable();
            operations.peek().is_some() && operations.all(is_serializable)
        }
    }
}

/// The shortest time to live that a leader grants, in seconds: one and a half elections, rounded up (`minTTL` in
/// etcd's `server/etcdserver/server.go`), so that a lease survives an election.
fn shortest_ttl_s(election_timeout: Duration) -> i64 {
    let millis = (election_timeout * 3 / 2).as_millis() as i64;
    (millis + 999) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RangeRequest;

    #[test]
    fn only_ranges_that_all_say_so_are_serializable() {
        let range = |serializable| {
            Request::Range(RangeRequest { key: b"a".to_vec(), serializable, ..RangeRequest::default() })
        };
        let txn = |success| Request::Txn(TxnRequest { success, ..TxnRequest::default() });
        assert!(is_serializable(&range(true)) && !is_serializable(&range(false)));
        assert!(is_serializable(&txn(vec![range(true), txn(vec![range(true)])])));
        assert!(!is_serializable(&txn(vec![range(true), range(false)])));
        assert!(!is_serializable(&txn(vec![])));
    }

    #[test]
    fn a_lease_lives_through_an_election() {
        assert_eq!(shortest_ttl_s(Duration::from_millis(1000)), 2);
        assert_eq!(shortest_ttl_s(Duration::from_millis(2000)), 3);
        assert_eq!(shortest_ttl_s(Duration::from_millis(200)), 1);
    }
}
