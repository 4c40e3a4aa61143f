//! Liveness: once the faults stop, every operation ends and the replicas converge, within a bound.

use crate::verdict::{Check, Violation};

/// When the machine was whole again, and how long the cluster then has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healing {
    /// The virtual time after which there are no faults.
    pub healed_at_ns: u64,
    /// The time that each operation, and after the last of them the replicas, may take.
    pub bound_ns: u64,
}

/// One operation as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationSpan {
    /// The client.
    pub client: u32,
    /// When it asked.
    pub invoked_at_ns: u64,
    /// When the operation ended, in whatever way; `None` if it was open when the run was over.
    pub ended_at_ns: Option<u64>,
}

/// How far a replica came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaProgress {
    /// The replica.
    pub node: u64,
    /// The last raft index that it applied.
    pub applied_index: u64,
    /// When it applied that index.
    pub reached_at_ns: u64,
}

/// Checks both promises. Operations that ended before the healing are not looked at.
pub fn check(healing: Healing, operations: &[OperationSpan], replicas: &[ReplicaProgress]) -> Vec<Violation> {
    let mut violations: Vec<Violation> =
        operations.iter().filter_map(|operation| check_operation(healing, operation)).collect();
    violations.extend(check_convergence(healing, operations, replicas));
    violations
}

fn check_operation(healing: Healing, operation: &OperationSpan) -> Option<Violation> {
    let OperationSpan { client, invoked_at_ns, ended_at_ns } = *operation;
    let deadline_ns = healing.healed_at_ns.max(invoked_at_ns).saturating_add(healing.bound_ns);
    let late = match ended_at_ns {
        Some(ended_at_ns) if ended_at_ns <= deadline_ns => return None,
        Some(ended_at_ns) => format!("ended only at {ended_at_ns} ns"),
        None => "never ended".to_owned(),
    };
    let message = format!("the operation that client {client} invoked at {invoked_at_ns} ns {late}");
    Some(Violation::new(Check::Live, message).with(limits(healing, deadline_ns)))
}

fn check_convergence(
    healing: Healing,
    operations: &[OperationSpan],
    replicas: &[ReplicaProgress],
) -> Option<Violation> {
    let ends = operations.iter().filter_map(|operation| operation.ended_at_ns);
    let quiet_at_ns = ends.fold(healing.healed_at_ns, u64::max);
    let deadline_ns = quiet_at_ns.saturating_add(healing.bound_ns);
    let target = replicas.iter().map(|replica| replica.applied_index).max()?;
    let behind =
        |replica: &&ReplicaProgress| replica.applied_index != target || replica.reached_at_ns > deadline_ns;
    let late: Vec<u64> = replicas.iter().filter(behind).map(|replica| replica.node).collect();
    if late.is_empty() {
        return None;
    }
    let message = format!("the replicas did not converge to applied index {target}: nodes {late:?} are late");
    let violation = Violation::new(Check::Live, message).with(limits(healing, deadline_ns));
    Some(replicas.iter().fold(violation, |violation, replica| {
        let ReplicaProgress { node, applied_index, reached_at_ns } = replica;
        violation.with(format!("node {node} applied {applied_index}, at {reached_at_ns} ns"))
    }))
}

fn limits(healing: Healing, deadline_ns: u64) -> String {
    let Healing { healed_at_ns, bound_ns } = healing;
    format!("healed at {healed_at_ns} ns, bound {bound_ns} ns: due at {deadline_ns} ns")
}
