//! After the healing, operations end and replicas converge in time.

use model::liveness::{self, Healing, OperationSpan, ReplicaProgress};

const HEALING: Healing = Healing { healed_at_ns: 100, bound_ns: 50 };

fn operation(invoked_at_ns: u64, ended_at_ns: Option<u64>) -> OperationSpan {
    OperationSpan { client: 7, invoked_at_ns, ended_at_ns }
}

fn replica(node: u64, applied_index: u64, reached_at_ns: u64) -> ReplicaProgress {
    ReplicaProgress { node, applied_index, reached_at_ns }
}

fn check(operations: &[OperationSpan], replicas: &[ReplicaProgress], expected: &[&str]) {
    let found = liveness::check(HEALING, operations, replicas);
    let found: Vec<&str> = found.iter().map(|violation| violation.message.as_str()).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_ends_in_time_is_live() {
    let operations =
        [operation(0, Some(90)), operation(10, Some(150)), operation(130, Some(180)), operation(0, Some(30))];
    check(&operations, &[replica(1, 9, 120), replica(2, 9, 230)], &[]);
}

#[test]
fn an_operation_that_never_ends_is_seen() {
    check(
        &[operation(10, None), operation(120, None)],
        &[],
        &[
            "the operation that client 7 invoked at 10 ns never ended",
            "the operation that client 7 invoked at 120 ns never ended",
        ],
    );
}

#[test]
fn an_operation_that_ends_late_is_seen() {
    check(
        &[operation(10, Some(151))],
        &[],
        &["the operation that client 7 invoked at 10 ns ended only at 151 ns"],
    );
    check(
        &[operation(140, Some(191))],
        &[],
        &["the operation that client 7 invoked at 140 ns ended only at 191 ns"],
    );
}

#[test]
fn a_replica_that_stays_behind_or_comes_late_is_seen() {
    let message =
        |nodes: &str| format!("the replicas did not converge to applied index 9: nodes {nodes} are late");
    check(&[], &[replica(1, 9, 0), replica(2, 8, 0)], &[&message("[2]")]);
    check(&[], &[replica(1, 9, 0), replica(2, 9, 151)], &[&message("[2]")]);
    check(&[operation(100, Some(120))], &[replica(1, 9, 0), replica(2, 9, 170)], &[]);
}
