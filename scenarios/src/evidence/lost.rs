//! Acknowledged writes that are gone, for readers.

use super::node::{MarkKind, NodeLane, nanoseconds};
use crate::oracles::replica_contents;
use crate::run::Evidence;
use model::durability::{self, ReplicaContents};
use model::specs::etcd::StoreHistory;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What was acknowledged and is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostWrites {
    /// The operations whose writes at least one replica lacks, by their places, the first ones.
    pub operations: Vec<usize>,
    /// How many writes are lost on at least one replica.
    pub lost: usize,
    /// How many were acknowledged.
    pub acknowledged: usize,
    /// The first that is lost.
    pub first: FirstLost,
}

/// The lost write with the lowest revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstLost {
    /// Its operation's place.
    pub operation: usize,
    /// The revision that was acknowledged.
    pub revision: i64,
    /// What was promised, as in `puts a=1`.
    pub promised: String,
    /// What each replica that could be read holds at that revision in the end.
    pub held: Vec<Held>,
    /// Crashes after the acknowledgement, of all replicas, in order.
    pub crashes: Vec<CrashAfter>,
}

/// What a replica holds at a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The replica.
    pub node: u64,
    /// What stands there.
    pub what: String,
    /// Whether the write is there.
    pub has_it: bool,
    /// How many acknowledged writes this replica lacks.
    pub lost: usize,
}

/// A crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashAfter {
    /// When, in virtual nanoseconds.
    pub at_ns: u64,
    /// Whose.
    pub node: u64,
    /// What happened.
    pub what: String,
}

/// Operations that a page points at.
const OPERATIONS_SHOWN: usize = 200;
/// Crashes that a page tells of.
const CRASHES_SHOWN: usize = 12;

/// What of a history is lost; none if nothing is.
pub(crate) fn lost(evidence: &Evidence, history: &StoreHistory, lanes: &[NodeLane]) -> Option<LostWrites> {
    let writes = durability::acknowledged_writes(history);
    let read_out = evidence.log.contents.iter();
    let replicas: Vec<ReplicaContents> = read_out
        .filter_map(|(node, contents)| Some(replica_contents(*node, contents.as_ref().ok()?)))
        .collect();
    let lacking: Vec<Vec<&durability::AcknowledgedWrite>> =
        replicas.iter().map(|replica| durability::lost(&writes, replica)).collect();
    let mut all: Vec<_> = lacking.iter().flatten().copied().collect();
    all.sort_by_key(|write| (write.revision, write.operation));
    all.dedup();
    let first = all.first()?;
    let answered = history.operations()[first.operation].outcome.returned();
    let since = answered.map_or(0, |at| at.time_ns);
    let held = replicas.iter().zip(&lacking).map(|(replica, lacking)| Held {
        node: replica.node,
        what: durability::held_at(replica, first.revision),
        has_it: !lacking.contains(first),
        lost: lacking.len(),
    });
    let operations: BTreeSet<usize> = all.iter().map(|write| write.operation).collect();
    Some(LostWrites {
        operations: operations.into_iter().take(OPERATIONS_SHOWN).collect(),
        lost: all.len(),
        acknowledged: writes.len(),
        first: FirstLost {
            operation: first.operation,
            revision: first.revision,
            promised: durability::promised(first),
            held: held.collect(),
            crashes: crashes(lanes, since, nanoseconds(evidence.virtual_time)),
        },
    })
}

fn crashes(lanes: &[NodeLane], since: u64, until: u64) -> Vec<CrashAfter> {
    let of_lane = |lane: &NodeLane| {
        let node = lane.node;
        let marks = lane.marks_between(MarkKind::Crash, since, until);
        marks.map(|mark| CrashAfter { at_ns: mark.at_ns, node, what: mark.text.clone() }).collect::<Vec<_>>()
    };
    let mut crashes: Vec<CrashAfter> = lanes.iter().flat_map(of_lane).collect();
    crashes.sort_by_key(|crash| (crash.at_ns, crash.node));
    crashes.truncate(CRASHES_SHOWN);
    crashes
}
