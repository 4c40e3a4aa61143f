//! Equality: replicas that applied the same entries hold the same data, whatever their engine.

use std::collections::BTreeMap;

use crate::verdict::{Check, Subject, Violation};

/// A replica's statement of what it holds: a hash over its logical contents at an applied index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashReport {
    /// The replica.
    pub node: u64,
    /// Which life of the replica.
    pub incarnation: u64,
    /// The last raft index that the contents include.
    pub applied_index: u64,
    /// The hash.
    pub hash: u64,
    /// The engine below.
    pub engine: String,
}

/// Compares all reports that share an applied index; one violation for each index where some differ.
pub fn check(reports: &[HashReport]) -> Vec<Violation> {
    let mut by_index: BTreeMap<u64, Vec<&HashReport>> = BTreeMap::new();
    for report in reports {
        by_index.entry(report.applied_index).or_default().push(report);
    }
    by_index.into_iter().filter_map(|(index, reports)| compare(index, &reports)).collect()
}

fn compare(applied_index: u64, reports: &[&HashReport]) -> Option<Violation> {
    let (first, rest) = reports.split_first()?;
    let other = rest.iter().find(|report| report.hash != first.hash)?;
    let message = format!(
        "at applied index {applied_index}, node {} ({}) and node {} ({}) hold different data",
        first.node, first.engine, other.node, other.engine,
    );
    let subject = Subject::AppliedIndex(applied_index);
    let violation = Violation::new(Check::ReplicasEqual, message).about(subject);
    Some(reports.iter().fold(violation, |violation, report| {
        let HashReport { node, incarnation, applied_index: _, hash, engine } = report;
        violation.with(format!("node {node}, incarnation {incarnation}, {engine}: hash {hash:016x}"))
    }))
}
