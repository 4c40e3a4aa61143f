//! Whether a replica still has what it once knew to be flushed.

use crate::observation::Observed;
use crate::plan::Plan;
use crate::rot;
use cluster::ReplicaEvent;
use engines::EngineId;
use model::verdict::{Check, Violation};

/// On a device that honours its syncs, a store proves at a start what the replica had noted as flushed, and the file
/// with that note is not older than the cut of the raft log. Where an engine is known to lose what it flushed
/// (docs/findings), its findings are reported, and nothing is held against the cluster.
pub(crate) fn check(plan: &Plan, events: &[Observed]) -> Vec<Violation> {
    events.iter().filter_map(|observed| loss(plan, observed)).collect()
}

fn loss(plan: &Plan, observed: &Observed) -> Option<Violation> {
    let node = observed.node;
    let planned = plan.node(node);
    let message = match &observed.event {
        ReplicaEvent::EngineFinding { engine, cause, proven_index: Some(_), .. }
            if keeps_what_it_flushed(*engine) && is_reliable(&planned.data_faults) && !rot::may_rot(plan) =>
        {
            format!("node {node} ({engine}) lost what was noted as flushed: {cause}")
        }
        ReplicaEvent::FlushedIndexBehind { flushed, log_first } if is_reliable(&planned.log_faults) => {
            let flushed = flushed.map_or_else(|| "nothing".to_owned(), |index| format!("index {index}"));
            format!(
                "node {node} lost its note of what is flushed: the file says {flushed}, and the raft log begins with \
                 entry {log_first}"
            )
        }
        _ => return None,
    };
    let at = format!("found at {:.6} s, at a start", observed.at.as_secs_f64());
    Some(Violation::new(Check::Durable, message).with(at))
}

/// True for engines without a finding of lost flushes.
fn keeps_what_it_flushed(engine: EngineId) -> bool {
    match engine {
        EngineId::Redb | EngineId::LsmTree | EngineId::Mem => true,
        EngineId::Sled | EngineId::Fjall | EngineId::Guest => false,
    }
}

fn is_reliable(faults: &sim::disk::FaultOptions) -> bool {
    faults.lying_sync.is_zero() && faults.sync_error.is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use sim::entropy::Ratio;
    use std::path::PathBuf;
    use std::time::Duration;

    fn finding(engine: EngineId, proven_index: Option<u64>) -> ReplicaEvent {
        ReplicaEvent::EngineFinding {
            engine,
            cause: "the store proves applied index 3, but had flushed at least 7".to_owned(),
            proven_index,
            log_first: 5,
            installed_index: None,
            set_aside: PathBuf::from("store.aside-1"),
        }
    }

    fn found(plan: &Plan, event: ReplicaEvent) -> Vec<String> {
        let observed = Observed { at: Duration::from_secs(1), node: 2, incarnation: 3, event };
        check(plan, &[observed]).into_iter().map(|it| format!("{}: {}", it.check, it.message)).collect()
    }

    #[test]
    fn an_engine_that_keeps_its_promises_loses_nothing_that_was_flushed() {
        let mut plan = Scenario::Calm.plan(1);
        let lost = "durable: node 2 (redb) lost what was noted as flushed: the store proves applied index 3, but had \
                    flushed at least 7";
        assert_eq!(found(&plan, finding(EngineId::Redb, Some(3))), [lost]);
        assert_eq!(
            found(&plan, finding(EngineId::Redb, None)),
            [""; 0],
            "it does not open: an engine finding"
        );
        assert_eq!(found(&plan, finding(EngineId::Sled, Some(3))), [""; 0]);
        plan.nodes[1].data_faults.lying_sync = Ratio::percent(5);
        assert_eq!(found(&plan, finding(EngineId::Redb, Some(3))), [""; 0]);
    }

    #[test]
    fn the_note_of_what_is_flushed_is_not_older_than_the_cut_of_the_log() {
        let mut plan = Scenario::Calm.plan(1);
        let behind = |flushed| ReplicaEvent::FlushedIndexBehind { flushed, log_first: 9 };
        let lost = "durable: node 2 lost its note of what is flushed: the file says index 5, and the raft log begins \
                    with entry 9";
        assert_eq!(found(&plan, behind(Some(5))), [lost]);
        assert!(found(&plan, behind(None))[0].contains("the file says nothing"));
        plan.nodes[1].log_faults.sync_error = Ratio::percent(5);
        assert_eq!(found(&plan, behind(Some(5))), [""; 0]);
    }
}
