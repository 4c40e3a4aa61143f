//! What clients asked, when, and what they were told.

use super::node::NodeLane;
use super::recording::Recording;
use crate::client::FIRST_ADDRESS;
use model::history::{Outcome, Stamp};
use model::kv::{Call, Request, ResponseBody};
use model::notation;
use model::specs::etcd::{StoreHistory, StoreOperation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An operation of a client. Times are virtual nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientOperation {
    /// Who asked.
    pub client: u32,
    /// When.
    pub invoke_ns: u64,
    /// When the answer came; none where none did: it may have taken effect at any time since, or never.
    pub return_ns: Option<u64>,
    /// What it does.
    pub kind: OperationKind,
    /// The keys that it names: single ones, and ranges as `a..b`.
    pub keys: Vec<String>,
    /// What was asked, in the notation of [`model::notation`].
    pub asked: String,
    /// What was told; where nothing was, what is known of its outcome.
    pub told: String,
    /// The revision that the answer names.
    pub revision: Option<i64>,
    /// The replica that was asked last.
    pub node: Option<u64>,
    /// The role of that replica when the answer came.
    pub role: Option<String>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It deletes.
    Delete,
    /// It does several things at once, under conditions.
    Transaction,
    /// Something else: leases, compaction, maintenance.
    Other,
}

/// The operations of a history, in its order; `decided` is the same history after what the stores prove.
pub(crate) fn operations(
    history: &StoreHistory,
    decided: &StoreHistory,
    recording: &Recording,
    nodes: &[NodeLane],
) -> Vec<ClientOperation> {
    let mut requests: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for (at, client, node) in &recording.requests {
        requests.entry(*client).or_default().push((*at, *node));
    }
    let fates: BTreeMap<Stamp, &StoreOperation> =
        decided.operations().iter().map(|operation| (operation.invoke, operation)).collect();
    history
        .operations()
        .iter()
        .map(|operation| {
            let asked = requests.get(&(FIRST_ADDRESS + u64::from(operation.client)));
            let node = asked.and_then(|asked| last_asked(asked, operation));
            let mut shown = show(operation, fates.get(&operation.invoke).copied());
            shown.node = node;
            let at_ns = shown.return_ns.unwrap_or(shown.invoke_ns);
            let lane = node.and_then(|node| nodes.get(usize::try_from(node - 1).ok()?));
            shown.role = lane.and_then(|lane| lane.role_at(at_ns)).map(str::to_string);
            shown
        })
        .collect()
}

/// Whom the client asked last before the answer; answers to what it asked others before do not count.
fn last_asked(asked: &[(u64, u64)], operation: &StoreOperation) -> Option<u64> {
    let until = operation.outcome.returned().map_or(u64::MAX, |at| at.time_ns);
    let from = asked.partition_point(|(at, _)| *at < operation.invoke.time_ns);
    let to = asked.partition_point(|(at, _)| *at <= until);
    match operation.outcome {
        Outcome::Answered { .. } => asked.get(from..to)?.last().map(|(_, node)| *node),
        // Later requests may belong to later operations.
        Outcome::Unknown => asked.get(from).map(|(_, node)| *node),
    }
}

fn show(operation: &StoreOperation, fate: Option<&StoreOperation>) -> ClientOperation {
    let (mut keys, kind) = (Vec::new(), kind(&operation.input));
    if let Some(request) = operation.input.kv() {
        collect_keys(request, &mut keys);
    }
    let told = match (&operation.outcome, fate.map(|fate| &fate.outcome)) {
        (Outcome::Answered { output, .. }, _) => notation::result(output),
        (Outcome::Unknown, Some(Outcome::Answered { output, .. })) => {
            format!("not answered; it did take effect, as is proven in the end: {}", notation::result(output))
        }
        (Outcome::Unknown, Some(Outcome::Unknown)) => {
            "not answered; it may have taken effect, or not".to_string()
        }
        (Outcome::Unknown, None) => "not answered; it never took effect, as is proven in the end".to_string(),
    };
    let revision = operation.outcome.output().and_then(|output| output.as_ref().ok()?.revision());
    ClientOperation {
        client: operation.client,
        invoke_ns: operation.invoke.time_ns,
        return_ns: operation.outcome.returned().map(|at| at.time_ns),
        kind,
        keys,
        asked: operation.input.to_string(),
        told,
        revision,
        node: None,
        role: None,
    }
}

fn kind(call: &Call) -> OperationKind {
    match call.kv() {
        Some(Request::Range(_)) => OperationKind::Read,
        Some(Request::Put(_)) => OperationKind::Write,
        Some(Request::DeleteRange(_)) => OperationKind::Delete,
        Some(Request::Txn(_)) => OperationKind::Transaction,
        None => OperationKind::Other,
    }
}

/// The keys and ranges that a request names, each once.
pub(crate) fn collect_keys(request: &Request, keys: &mut Vec<String>) {
    let mut add = |key: &[u8], end: Option<&[u8]>| {
        let key = match end {
            None => notation::bytes(key),
            Some(end) if end == [0] => format!("{}..", notation::bytes(key)),
            Some(end) => format!("{}..{}", notation::bytes(key), notation::bytes(end)),
        };
        if !keys.contains(&key) {
            keys.push(key);
        }
    };
    match request {
        Request::Range(range) => add(&range.key, range.range_end.as_deref()),
        Request::Put(put) => add(&put.key, None),
        Request::DeleteRange(delete) => add(&delete.key, delete.range_end.as_deref()),
        Request::Txn(txn) => {
            for compare in &txn.compares {
                add(&compare.key, compare.range_end.as_deref());
            }
            for request in txn.success.iter().chain(&txn.failure) {
                collect_keys(request, keys);
            }
        }
    }
}

/// Whether an answered operation made a revision.
pub(crate) fn wrote(operation: &StoreOperation) -> bool {
    let output = operation.outcome.output().and_then(|output| output.as_ref().ok()?.kv());
    output.is_some_and(|response| match &response.body {
        ResponseBody::Range { .. } => false,
        ResponseBody::Put { .. } | ResponseBody::DeleteRange { .. } | ResponseBody::Txn { .. } => {
            response.body.wrote()
        }
    })
}
