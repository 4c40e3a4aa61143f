//! How the cost of a run grows with what it does.

use super::{Figure, Target, Untaken};
use crate::execution::execute;
use crate::generate::{LOAD_MS, healthy};
use crate::plan::{Fault, Plan, PlannedFault, Target as Node};
use crate::report::Verdict;
use crate::run::RunOptions;
use crate::scenario::Scenario;
use engines::EngineId;
use sim::Crash;
use std::ops::RangeInclusive;

/// Seeds whose loads are run one by one, and as one load.
const SEEDS: RangeInclusive<u64> = 1..=10;

const ENGINES: [EngineId; 7] = [
    EngineId::Redb,
    EngineId::Fjall,
    EngineId::LsmTree,
    EngineId::Redb,
    EngineId::Fjall,
    EngineId::LsmTree,
    EngineId::Redb,
];

pub(super) fn figures() -> Result<Vec<Figure>, Untaken> {
    let once = mean(3)?;
    let ten_times = processor_s(&joined())? / once;
    let seven = mean(7)? / once;
    let crashes = processor_s(&crashing(joined(), 80))? / processor_s(&crashing(joined(), 40))?;
    Ok(vec![
        Figure::new("ten times the operations", ten_times, "times", Target::AtMost(12.0)),
        Figure::new("seven nodes instead of three", seven, "times", Target::AtMost(4.0)),
        Figure::new("80 crashes instead of 40", crashes, "times", Target::AtMost(2.0)),
    ])
}

/// Processor seconds of a seed.
fn mean(nodes: usize) -> Result<f64, Untaken> {
    let sum: f64 = SEEDS.map(|seed| processor_s(&calm(seed, nodes))).sum::<Result<_, _>>()?;
    Ok(sum / SEEDS.count() as f64)
}

/// Processor seconds of one plan, which must hold.
pub(super) fn processor_s(plan: &Plan) -> Result<f64, Untaken> {
    let execution = execute(plan, RunOptions::default())?;
    match execution.report.verdict {
        Verdict::Held => Ok(execution.processor_s),
        verdict => Err(Untaken::Incomplete(format!("a run to be measured ended as {verdict:?}"))),
    }
}

fn calm(seed: u64, nodes: usize) -> Plan {
    healthy(seed, Scenario::Calm, &ENGINES.map(|engine| (engine, 2))[..nodes])
}

/// The loads of all seeds, one after the other, on one cluster.
fn joined() -> Plan {
    let mut plan = calm(*SEEDS.start(), 3);
    plan.operations.clear();
    for (round, seed) in (0..).zip(SEEDS) {
        let shifted = calm(seed, 3).operations.into_iter().map(|mut operation| {
            operation.at_ms += round * LOAD_MS;
            operation
        });
        plan.operations.extend(shifted);
    }
    plan.heal_at_ms = SEEDS.count() as u64 * LOAD_MS;
    plan
}

/// With so many kills, at equal distances, of one replica after the other.
fn crashing(mut plan: Plan, count: u64) -> Plan {
    let distance_ms = plan.heal_at_ms / (count + 1);
    plan.faults = (1..=count)
        .map(|number| {
            let target = Node::Node(1 + number % plan.nodes.len() as u64);
            let fault = Fault::Crash {
                target,
                crash: Crash::ProcessKill,
                at: None,
                down_ms: 100,
                again_after: Vec::new(),
            };
            PlannedFault { at_ms: number * distance_ms, fault }
        })
        .collect();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_differs_in_one_thing() {
        let (one, ten) = (calm(1, 3), joined());
        assert_eq!(ten.operations.len(), SEEDS.map(|seed| calm(seed, 3).operations.len()).sum::<usize>());
        assert!(ten.operations.is_sorted_by_key(|operation| operation.at_ms / LOAD_MS));
        assert!(ten.operations.iter().all(|operation| operation.at_ms < ten.heal_at_ms));
        assert_eq!(ten.nodes, one.nodes);

        let crashing = crashing(ten.clone(), 40);
        assert_eq!(crashing.faults.len(), 40);
        assert!(crashing.faults.iter().all(|fault| fault.at_ms < crashing.heal_at_ms));
        assert_eq!(crashing.operations, ten.operations);
        for plan in [one, ten, crashing] {
            plan.check().expect("a plan that can be run");
        }
    }
}
