//! Whether an interrupted installation left the old state or the new one, and never neither.

use crate::observation::Observed;
use crate::plan::Plan;
use cluster::{InstallStep, Recovery, ReplicaEvent};
use model::verdict::{Check, Violation};
use std::collections::BTreeMap;
use std::time::Duration;

/// An installation that a start had to finish.
struct Resumed {
    at: Duration,
    /// The applied index of the snapshot; none where the state was converted.
    index: Option<u64>,
}

/// A state that is to be installed is durable before the first step, and the old one goes only when the new one
/// stands in its place. So a start that finishes an installation has a state, of the snapshot's index or above.
///
/// A node whose device lies about syncs, or fails them, is not asked: it may lose what was durable.
pub(crate) fn check(plan: &Plan, events: &[Observed]) -> Vec<Violation> {
    let mut resumed: BTreeMap<(u64, u32), Resumed> = BTreeMap::new();
    let mut violations = Vec::new();
    for Observed { at, node, incarnation, event } in events {
        match event {
            ReplicaEvent::InstallResumed { step, index } if *step != InstallStep::PutOldBack => {
                resumed.insert((*node, *incarnation), Resumed { at: *at, index: *index });
            }
            ReplicaEvent::Started { recovery, applied_index, .. } => {
                let Some(resumed) = resumed.get(&(*node, *incarnation)) else { continue };
                let is_lost = *recovery == Recovery::Rebuild
                    || resumed.index.is_some_and(|index| *applied_index < index);
                if is_lost && !has_unreliable_device(plan, *node) {
                    violations.push(lost(*node, resumed, *applied_index));
                }
            }
            _ => {}
        }
    }
    violations
}

fn lost(node: u64, resumed: &Resumed, applied_index: u64) -> Violation {
    let what = match resumed.index {
        Some(index) => format!("of the snapshot of index {index}"),
        None => "of a converted state".to_string(),
    };
    let message = format!(
        "node {node} finished the installation {what} that a crash had interrupted, and has neither the old \
         state nor the new one"
    );
    Violation::new(Check::Durable, message).with(format!(
        "resumed at {:.6} s; it started with applied index {applied_index}",
        resumed.at.as_secs_f64()
    ))
}

fn has_unreliable_device(plan: &Plan, node: u64) -> bool {
    let planned = plan.node(node);
    !planned.data_faults.lying_sync.is_zero() || !planned.data_faults.sync_error.is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use cluster::Hello;
    use sim::entropy::Ratio;
    use snapshots::{EngineSet, Peer, Release};

    const NODE: u64 = 2;

    /// A start of node 2 that finished an installation of index 9, and what it came to.
    fn start(step: InstallStep, index: Option<u64>, recovery: Recovery, applied_index: u64) -> Vec<Observed> {
        let started = ReplicaEvent::Started {
            hello: Hello { incarnation: 1, peer: Peer::new(Release::Two, 0x02, EngineSet::default()) },
            recovery,
            applied_index,
            log_first: 10,
            log_last: 9,
            term: 1,
            vote: 0,
            commit: 9,
        };
        [ReplicaEvent::InstallResumed { step, index }, started]
            .map(|event| Observed { at: Duration::from_secs(1), node: NODE, incarnation: 3, event })
            .into()
    }

    fn found(events: &[Observed]) -> Vec<String> {
        let violations = check(&Scenario::Calm.plan(1), events);
        violations
            .into_iter()
            .map(|violation| format!("{}: {}", violation.check, violation.message))
            .collect()
    }

    #[test]
    fn a_finished_installation_that_left_no_state_is_a_loss() {
        let whole = Recovery::Replay { from: 10 };
        assert_eq!(found(&start(InstallStep::ResetLog, Some(9), whole, 9)), Vec::<String>::new());
        let lost = "durable: node 2 finished the installation of the snapshot of index 9 that a crash had \
                    interrupted, and has neither the old state nor the new one";
        assert_eq!(found(&start(InstallStep::ResetLog, Some(9), Recovery::Rebuild, 0)), [lost]);
        assert_eq!(found(&start(InstallStep::MoveNewIn, Some(9), Recovery::Replay { from: 5 }, 4)), [lost]);
        let converted = found(&start(InstallStep::MoveNewIn, None, Recovery::Rebuild, 0));
        assert!(converted[0].contains("of a converted state"), "{converted:?}");
    }

    #[test]
    fn a_state_that_was_put_back_or_stood_on_an_unreliable_device_is_not_held_against_the_installation() {
        assert!(found(&start(InstallStep::PutOldBack, None, Recovery::Rebuild, 0)).is_empty());
        let mut plan = Scenario::Calm.plan(1);
        plan.nodes[1].data_faults.lying_sync = Ratio::percent(5);
        assert!(check(&plan, &start(InstallStep::ResetLog, Some(9), Recovery::Rebuild, 0)).is_empty());
    }
}
