//! Clients: one task each, outside every node, doing one planned operation at a time.

use crate::observation::SharedLog;
use crate::plan::{Action, PlannedOperation};
use crate::planned_request::{Known, value};
use crate::translate;
use cluster::api::{Call, DeleteRangeRequest, RangeRequest, Request, TxnRequest};
use cluster::client::{Outcome, ServerMessage, decode_message, encode_request};
use model::compaction::HashKvReport;
use model::kv::{CallAnswer, CallResult};
use sim::network::Inbound;
use sim::{Machine, OutsideEndpoint};
use std::collections::BTreeMap;
use std::time::Duration;

/// The address of the first client.
pub(crate) const FIRST_ADDRESS: u64 = 1000;
/// How long a client waits for one reply.
const REPLY_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long it goes on asking others, as long as nothing can have happened.
const PATIENCE: Duration = Duration::from_secs(6);
/// Pause before it asks another.
const RETRY_PAUSE: Duration = Duration::from_millis(40);

/// What became of one attempt.
enum Attempt {
    /// It was answered.
    Answered(CallResult),
    /// Nothing happened; the one that leads may be known.
    NotDone { leader: Option<u64> },
    /// It may have happened.
    Unknown,
}

/// A client and what it remembers.
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) nodes: u64,
    pub(crate) machine: Machine,
    pub(crate) log: SharedLog,
    endpoint: OutsideEndpoint,
    next_request: u64,
    /// Whom it asks first.
    favourite: u64,
    /// The modification revision of each key as it saw it last; 0 for a key that does not exist.
    seen: BTreeMap<u32, i64>,
    /// The highest revision that it has seen.
    revision: i64,
}

impl Client {
    pub(crate) fn new(number: u32, nodes: u64, machine: Machine, log: SharedLog) -> Self {
        Self {
            number,
            nodes,
            machine,
            log,
            endpoint: machine.endpoint(FIRST_ADDRESS + u64::from(number)),
            next_request: 0,
            favourite: 1 + u64::from(number) % nodes,
            seen: BTreeMap::new(),
            revision: 1,
        }
    }

    /// Does the operations, each not before its time, until all are done.
    pub(crate) async fn run(&mut self, operations: &[(usize, PlannedOperation)]) {
        for (index, operation) in operations {
            self.machine.sleep_until(Duration::from_millis(operation.at_ms)).await;
            let call = self.call(*index, &operation.action);
            let leader = self.favourite;
            let replica = operation.action.replica();
            self.favourite = replica.map_or(leader, |replica| 1 + (replica - 1) % self.nodes);
            if let Some(answer) = self.perform(call.clone(), PATIENCE).await {
                self.remember(&operation.action, &answer);
                self.learn(&operation.action, &call, &answer);
            }
            if replica.is_some() {
                self.favourite = leader;
            }
        }
    }

    /// Asks until somebody answers, something may have happened, or `patience` is over. The history records it.
    pub(crate) async fn perform(&mut self, call: Call, patience: Duration) -> Option<CallResult> {
        let give_up = self.machine.now() + patience;
        self.invoke(&call);
        loop {
            match self.attempt(&call).await {
                Attempt::Answered(answer) => {
                    self.record(|recorder, client, at| recorder.answer(client, at, answer.clone()));
                    return Some(answer);
                }
                Attempt::Unknown if may_change(&call) => {
                    // Whoever does not answer may never do so again.
                    self.favourite = 1 + self.favourite % self.nodes;
                    self.record(|recorder, client, at| recorder.give_up(client, at));
                    return None;
                }
                Attempt::NotDone { leader: Some(leader) } if leader != self.favourite => {
                    self.favourite = leader
                }
                Attempt::NotDone { .. } | Attempt::Unknown => {
                    self.favourite = 1 + self.favourite % self.nodes
                }
            }
            if self.machine.now() >= give_up {
                self.record(|recorder, client, at| recorder.fail(client, at));
                self.log.lock().refused += 1;
                return None;
            }
            self.machine.sleep(RETRY_PAUSE).await;
        }
    }

    fn invoke(&self, call: &Call) {
        self.machine.mark("invoke", &format!("client {}: {call:?}", self.number));
        let input = translate::call(call).expect("no client acknowledges watch messages in its history");
        self.record(|recorder, client, at| recorder.invoke(client, at, input));
    }

    fn record(
        &self,
        step: impl FnOnce(
            &mut model::history::Recorder<model::kv::Call, CallResult>,
            u32,
            model::history::Stamp,
        ) -> Result<(), model::history::MalformedHistory>,
    ) {
        let mut log = self.log.lock();
        let at = log.stamp(self.machine.now());
        step(&mut log.history, self.number, at).expect("a client does one thing at a time");
    }

    /// Asks the favourite once.
    async fn attempt(&mut self, call: &Call) -> Attempt {
        self.next_request += 1;
        let id = self.next_request;
        let message = encode_request(id, call).expect("a planned request fits a message");
        self.endpoint.send(self.favourite, message);
        let deadline = self.machine.now() + REPLY_TIMEOUT;
        loop {
            let left = deadline.saturating_sub(self.machine.now());
            let Some(Inbound::Message { bytes, .. }) = self.endpoint.receive(left).await else {
                return Attempt::Unknown;
            };
            // A reply to an earlier request, given up meanwhile, changes nothing.
            match decode_message(&bytes).expect("client links damage nothing") {
                ServerMessage::Reply(reply) if reply.id == id => return self.judge(reply.outcome),
                ServerMessage::Reply(_) | ServerMessage::Watch(_) => {}
            }
        }
    }

    fn judge(&self, outcome: Outcome) -> Attempt {
        self.machine.mark("return", &format!("client {}: {outcome:?}", self.number));
        match outcome {
            Outcome::Answer(answer) => Attempt::Answered(Ok(translate::answer(&answer))),
            Outcome::NotLeader { leader } => Attempt::NotDone { leader },
            Outcome::Refused { refusal, text } => match refusal.and_then(translate::refusal) {
                Some(refusal) => Attempt::Answered(Err(refusal)),
                None => panic!("a planned request was refused as malformed: {text}"),
            },
            Outcome::Unavailable { may_have_happened: true } => Attempt::Unknown,
            Outcome::Unavailable { may_have_happened: false } => Attempt::NotDone { leader: None },
        }
    }

    fn call(&self, index: usize, action: &Action) -> Call {
        let log = self.log.lock();
        let known =
            Known { operation: index, revision: self.revision, seen: &self.seen, leases: &log.leases };
        let behind = |behind: u64| known.revision(0_i64.saturating_sub_unsigned(behind));
        Call::Kv(match *action {
            Action::Put { key: number, bytes } => Request::put(key(number), value(index, 0, bytes)),
            Action::Get { key: number } => Request::get(key(number)),
            Action::Scan { from, to, limit } => Request::Range(RangeRequest {
                key: key(from),
                range_end: Some(key(to)),
                limit: limit.into(),
                ..RangeRequest::default()
            }),
            Action::Delete { key: number } => {
                Request::DeleteRange(DeleteRangeRequest { key: key(number), range_end: None, prev_kv: true })
            }
            Action::DeleteRange { from, to } => Request::DeleteRange(DeleteRangeRequest {
                key: key(from),
                range_end: Some(key(to)),
                prev_kv: false,
            }),
            Action::CompareAndSet { key: number, bytes } => {
                let seen = self.seen.get(&number).copied().unwrap_or(0);
                Request::compare_and_set(key(number), seen, value(index, 0, bytes))
            }
            Action::PutTwo { first, second, bytes } => put_two(index, first, second, bytes),
            Action::Ask { ref request, replica: _ } => known.request(request),
            Action::Compact { behind: by, physical } => {
                return Call::Compact { revision: behind(by), physical };
            }
            Action::LeaseGrant { lease, ttl_s, server_chooses } => {
                let id = if server_chooses { 0 } else { known.lease(lease) };
                return Call::LeaseGrant { id, ttl_s };
            }
            Action::LeaseKeepAlive { lease } => return Call::LeaseKeepAlive { id: known.lease(lease) },
            Action::LeaseRevoke { lease } => return Call::LeaseRevoke { id: known.lease(lease) },
            Action::LeaseTimeToLive { lease, keys } => {
                return Call::LeaseTimeToLive { id: known.lease(lease), keys };
            }
            Action::Leases => return Call::Leases,
            Action::HashKv { behind: by } => return Call::HashKv { revision: by.map_or(0, behind) },
            Action::Status { replica: _ } => return Call::Status,
            Action::Defragment { replica: _ } => return Call::Defragment,
            Action::AlarmDisarm => return Call::AlarmDisarm,
        })
    }

    /// Remembers what later operations will be about: revisions, leases, and what is compared with other replicas.
    fn learn(&mut self, action: &Action, call: &Call, answer: &CallResult) {
        let Ok(answer) = answer else { return };
        self.revision = self.revision.max(answer.revision().unwrap_or(0));
        let mut log = self.log.lock();
        if let (Action::LeaseGrant { lease, .. }, CallAnswer::LeaseGrant { id, .. }) = (action, answer) {
            log.leases.insert(*lease, *id);
        }
        if let (Call::HashKv { revision: asked }, CallAnswer::HashKv { revision, compact_revision, hash }) =
            (call, answer)
        {
            let (node, engine) = (self.favourite, log.engine_of(self.favourite));
            let revision = if *asked > 0 { *asked } else { *revision };
            log.hashes.push(HashKvReport {
                node,
                engine,
                revision,
                compact_revision: *compact_revision,
                hash: *hash,
            });
        }
    }

    /// Remembers the modification revision of a key that a compare-and-set will be about.
    fn remember(&mut self, action: &Action, answer: &CallResult) {
        let Ok(CallAnswer::Kv(response)) = answer else { return };
        let seen = match (action, &response.body) {
            (Action::Put { key, .. }, _) => (*key, response.revision),
            (Action::Get { key }, model::kv::ResponseBody::Range { kvs, .. }) => {
                (*key, kvs.first().map_or(0, |pair| pair.mod_revision))
            }
            (Action::CompareAndSet { key, .. }, model::kv::ResponseBody::Txn { succeeded: true, .. }) => {
                (*key, response.revision)
            }
            (Action::CompareAndSet { key, .. }, model::kv::ResponseBody::Txn { responses, .. }) => {
                match responses.first().map(|response| &response.body) {
                    Some(model::kv::ResponseBody::Range { kvs, .. }) => {
                        (*key, kvs.first().map_or(0, |pair| pair.mod_revision))
                    }
                    _ => return,
                }
            }
            _ => return,
        };
        self.seen.insert(seen.0, seen.1);
    }
}

/// The key of a number: of equal length, so that numbers and bytes sort alike.
pub(crate) fn key(number: u32) -> Vec<u8> {
    format!("k{number:05}").into_bytes()
}

/// Writes two keys, if the first exists; otherwise only the second.
fn put_two(operation: usize, first: u32, second: u32, bytes: u32) -> Request {
    Request::Txn(TxnRequest {
        compares: vec![cluster::api::Compare {
            key: key(first),
            range_end: None,
            target: cluster::api::Target::Version(0),
            result: cluster::api::CompareResult::Greater,
        }],
        success: vec![
            Request::put(key(first), value(operation, 0, bytes)),
            Request::put(key(second), value(operation, 1, bytes)),
        ],
        failure: vec![Request::put(key(second), value(operation, 1, bytes))],
    })
}

/// A request that reads every planned key.
pub(crate) fn read_everything() -> Call {
    Call::Kv(Request::range(key(0), Some(vec![0])))
}

/// Whether a call that was not answered may have changed something.
fn may_change(call: &Call) -> bool {
    match call {
        Call::Kv(request) => !request.is_read_only(),
        Call::Compact { .. }
        | Call::LeaseGrant { .. }
        | Call::LeaseRevoke { .. }
        | Call::LeaseKeepAlive { .. }
        | Call::Defragment
        | Call::AlarmDisarm
        | Call::Member(_)
        | Call::MoveLeader { .. }
        | Call::Watch(_) => true,
        Call::LeaseTimeToLive { .. } | Call::Leases | Call::HashKv { .. } | Call::Status => false,
    }
}
