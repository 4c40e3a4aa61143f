//! Deciding unknown outcomes by what stands in the raft log.
//!
//! Every write of a run carries a value of its own, so the log of replicas that have converged shows whether an
//! unknown write took effect, and what it would have been answered. One that did is as good as answered after the
//! end of the run; one that did not is as good as never asked. Without this the judge has to try every unknown write
//! in every gap, which is exponential in their number. Nothing is taken on trust: a write that was seen by a reader
//! and is not in the log turns the reader's answer into a violation.
//!
//! Deletions are alike: one that stands in the log more often than it was answered stays unknown.
//!
//! A lease that ends without a client's doing is ended by an operation that nobody asked for. It is put into the
//! history as one that could have happened from the grant on; that it came no earlier than promised is judged
//! elsewhere.

use crate::truth::Truth;
use model::history::{History, Outcome, Stamp};
use model::kv::{Call, CallResult};
use model::specs::etcd::{StoreHistory, StoreOperation};
use std::collections::{BTreeMap, BTreeSet};

/// Clients from here on are those of decided operations: each asked once and was answered at the end.
const DECIDED_CLIENTS: u32 = 1_000_000;
/// Clients from here on are those that ended a lease because its time was over.
const EXPIRY_CLIENTS: u32 = 2_000_000;

/// The history with what the true one decides decided.
pub(crate) fn decide(history: &StoreHistory, truth: &Truth) -> StoreHistory {
    let operations = history.operations();
    let ended_by_clients = ended_by_clients(operations);
    let mut decided: Vec<StoreOperation> = (0..)
        .zip(operations)
        .filter_map(|(index, operation)| decide_one(index, operation, operations, truth, &ended_by_clients))
        .collect();
    decided.extend(expiries(operations, truth, &ended_by_clients));
    History::new(decided).expect("each decided operation is a client's only one")
}

fn decide_one(
    index: u32,
    operation: &StoreOperation,
    all: &[StoreOperation],
    truth: &Truth,
    ended_by_clients: &BTreeSet<i64>,
) -> Option<StoreOperation> {
    let is_write =
        operation.input.is_ordered() && operation.input.kv().is_none_or(|request| !request.is_read_only());
    if !matches!(operation.outcome, Outcome::Unknown) || !is_write {
        return Some(operation.clone());
    }
    // Whoever ended the lease, it ended once: see `expiries`.
    if let Call::LeaseRevoke { id } = operation.input
        && !ended_by_clients.contains(&id)
    {
        return None;
    }
    let mut results = truth.steps.iter().filter(|step| is_same(&step.call, &operation.input));
    let (first, others) = (results.next(), results.count());
    let asked = all.iter().filter(|other| is_same(&other.input, &operation.input)).count();
    match first {
        None => None,
        Some(_) if asked > 1 || others > 0 => Some(operation.clone()),
        Some(step) if step.result.is_err() => None,
        Some(step) => Some(answered(operation, DECIDED_CLIENTS + index, step.result.clone())),
    }
}

/// Whether two calls ask for the same; in an entry it does not stand whether the client waits for the engine.
fn is_same(one: &Call, other: &Call) -> bool {
    match (one, other) {
        (Call::Compact { revision: one, .. }, Call::Compact { revision: other, .. }) => one == other,
        (Call::LeaseGrant { id: one, .. }, Call::LeaseGrant { id: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

fn answered(operation: &StoreOperation, client: u32, output: CallResult) -> StoreOperation {
    let at = Stamp { time_ns: u64::MAX, order: client.into() };
    StoreOperation { client, outcome: Outcome::Answered { at, output }, ..operation.clone() }
}

/// The leases that a client was told to have ended.
fn ended_by_clients(operations: &[StoreOperation]) -> BTreeSet<i64> {
    let ended =
        operations.iter().filter_map(|operation| match (&operation.input, operation.outcome.output()) {
            (Call::LeaseRevoke { id }, Some(Ok(_))) => Some(*id),
            _ => None,
        });
    ended.collect()
}

/// The ends of leases that no client was told of.
fn expiries(
    operations: &[StoreOperation],
    truth: &Truth,
    ended_by_clients: &BTreeSet<i64>,
) -> Vec<StoreOperation> {
    let mut granted: BTreeMap<i64, Stamp> = BTreeMap::new();
    for operation in operations {
        let answer = operation.outcome.output().and_then(|result| result.as_ref().ok());
        match (&operation.input, answer) {
            (_, Some(model::kv::CallAnswer::LeaseGrant { id, .. })) | (Call::LeaseGrant { id, .. }, None) => {
                granted.entry(*id).or_insert(operation.invoke);
            }
            _ => {}
        }
    }
    let mut expiries = Vec::new();
    for (client, step) in (EXPIRY_CLIENTS..).zip(&truth.steps) {
        let Call::LeaseRevoke { id } = step.call else { continue };
        if step.result.is_err() || ended_by_clients.contains(&id) {
            continue;
        }
        let time_ns = granted.get(&id).map_or(0, |stamp| stamp.time_ns);
        let invoke = Stamp { time_ns, order: u64::MAX - u64::from(client) };
        let unknown = StoreOperation { client, invoke, input: step.call.clone(), outcome: Outcome::Unknown };
        expiries.push(answered(&unknown, client, step.result.clone()));
    }
    expiries
}
