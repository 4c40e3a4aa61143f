//! Compaction: it takes away what lies below it and nothing else, revisions never go back, and replicas that keep
//! the same hash the same.

use std::collections::BTreeMap;

use crate::kv::{Call, CallAnswer, CallResult, RangeRequest, Refusal, Request};
use crate::notation;
use crate::specs::etcd::StoreHistory;
use crate::store::Store;
use crate::verdict::{Check, Subject, Violation};
use linearizability::history::{Operation, Stamp};

/// Reads at a past revision: refused as compacted only if a compaction to above it was asked for before the
/// answer; never answered if one was acknowledged before the read was asked, unless the read is serializable; and
/// what is answered is what the revision held. `store` is the end of the true history.
pub fn reads(history: &StoreHistory, store: &Store) -> Vec<Violation> {
    let compactions: Vec<Compaction> = history.operations().iter().filter_map(compaction).collect();
    let operations = history.operations().iter().enumerate();
    operations
        .filter_map(|(index, operation)| {
            let reason = wrong_read(operation, &compactions, store)?;
            let answer = operation.outcome.output().map(notation::result).unwrap_or_default();
            let line = format!("#{index} client {}: {} -> {answer}", operation.client, operation.input);
            let message = format!("a read at a past revision was answered wrongly: {reason}");
            Some(Violation::new(Check::Compaction, message).with(line).about(Subject::Operation(index)))
        })
        .collect()
}

/// A compaction that was not refused.
struct Compaction {
    revision: i64,
    asked: Stamp,
    acknowledged: Option<Stamp>,
}

fn compaction(operation: &Operation<Call, CallResult>) -> Option<Compaction> {
    let Call::Compact { revision, physical: _ } = operation.input else { return None };
    let refused = operation.outcome.output().is_some_and(Result::is_err);
    let acknowledged = operation.outcome.returned();
    (!refused).then_some(Compaction { revision, asked: operation.invoke, acknowledged })
}

fn wrong_read(
    operation: &Operation<Call, CallResult>,
    compactions: &[Compaction],
    store: &Store,
) -> Option<String> {
    let Some(Request::Range(range)) = operation.input.kv() else { return None };
    let asked = Some(range.revision).filter(|revision| *revision > 0)?;
    let (output, returned) = (operation.outcome.output()?, operation.outcome.returned()?);
    let above = || compactions.iter().filter(|compaction| compaction.revision > asked);
    match output {
        Err(Refusal::Compacted) => {
            let possible = above().any(|compaction| compaction.asked < returned);
            (!possible).then(|| format!("nothing above revision {asked} was compacted by then"))
        }
        Ok(CallAnswer::Kv(response)) => {
            let before = |at: Stamp| at < operation.invoke;
            let mut done = above().filter(|compaction| compaction.acknowledged.is_some_and(before));
            if let Some(compaction) = done.next().filter(|_| !range.serializable) {
                return Some(format!("revision {} was compacted before", compaction.revision));
            }
            let now = RangeRequest { revision: 0, serializable: false, ..range.clone() };
            let expected = store.at(asked).apply(&Request::Range(now)).ok()?;
            (response.body != expected.body || asked > store.revision())
                .then(|| format!("revision {asked} held {expected}"))
        }
        Ok(_) | Err(_) => None,
    }
}

/// What a replica says of its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevisionReport {
    /// The replica.
    pub node: u64,
    /// Which life of the replica.
    pub incarnation: u64,
    /// The last raft index that its contents include.
    pub applied_index: u64,
    /// The revision of its store.
    pub revision: i64,
}

/// Revisions never go back: of any two reports, on whatever replica and in whatever life, the one with the higher
/// applied index has no lower revision, and at equal indices the revisions are equal. A replica that restarts may
/// have to apply again, and then reports lower indices with the revisions that belong to them.
pub fn revisions(reports: &[RevisionReport]) -> Vec<Violation> {
    let mut by_index: Vec<&RevisionReport> = reports.iter().collect();
    by_index.sort_by_key(|report| (report.applied_index, std::cmp::Reverse(report.revision)));
    let pairs = by_index.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.filter(|(before, after)| after.revision < before.revision).map(gone_back).collect()
}

fn gone_back((before, after): (&RevisionReport, &RevisionReport)) -> Violation {
    let message = format!("the revision went back from {} to {}", before.revision, after.revision);
    let line = |report: &RevisionReport| {
        let RevisionReport { node, incarnation, applied_index, revision } = report;
        format!("node {node}, incarnation {incarnation}: applied index {applied_index}, revision {revision}")
    };
    Violation::new(Check::Compaction, message).with(line(before)).with(line(after))
}

/// What a replica answered when it was asked for the hash at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashKvReport {
    /// The replica.
    pub node: u64,
    /// The engine below.
    pub engine: String,
    /// The revision hashed.
    pub revision: i64,
    /// The compacted revision then, below which nothing is hashed.
    pub compact_revision: i64,
    /// The hash.
    pub hash: u64,
}

/// Compares all reports of the same revision and compacted revision; one violation for each where some differ.
pub fn hashes(reports: &[HashKvReport]) -> Vec<Violation> {
    let mut groups: BTreeMap<(i64, i64), Vec<&HashKvReport>> = BTreeMap::new();
    for report in reports {
        groups.entry((report.revision, report.compact_revision)).or_default().push(report);
    }
    groups.into_values().filter_map(|reports| compare(&reports)).collect()
}

fn compare(reports: &[&HashKvReport]) -> Option<Violation> {
    let (first, rest) = reports.split_first()?;
    let other = rest.iter().find(|report| report.hash != first.hash)?;
    let HashKvReport { revision, compact_revision, .. } = first;
    let message = format!(
        "nodes {} and {} hash revision {revision}, compacted up to {compact_revision}, differently",
        first.node, other.node
    );
    let violation = Violation::new(Check::Compaction, message).about(Subject::Revision(*revision));
    Some(reports.iter().fold(violation, |violation, report| {
        violation.with(format!("node {}, {}: hash {:016x}", report.node, report.engine, report.hash))
    }))
}
