//! What verdicts cost, in steps, which do not depend on the machine. The rules of the search are there to save steps: one
//! that no longer does changes no verdict, and is seen here only.

use linearizability::history::History;
use linearizability::minimal::minimal;
use linearizability::specs::append_kv::AppendKv;
use linearizability::stream::{Stream, StreamVerdict, StreamViolation};
use linearizability::workload::Workload;
use linearizability::{Budget, Verdict, check};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::cells::Cells;
use crate::equivalence::{config, small};
use crate::oracle::{AppendKvs, Object, Queues, Registers, Sets, damage, drafts, history, legal};

/// Small: the dearest histories are to cost no more than a moment.
const BUDGET: Budget = Budget { steps: 10_000 };

/// The steps of one verdict, which may be undecided.
fn steps(verdict: &Verdict) -> u64 {
    match verdict {
        Verdict::Linearizable { steps } | Verdict::Undecided { steps } => *steps,
        Verdict::Violation(evidence) => evidence.steps,
    }
}

/// The steps of many verdicts: all together, and the dearest.
fn line(name: &str, steps: &[u64]) -> String {
    let (sum, most) = (steps.iter().sum::<u64>(), steps.iter().max().copied().unwrap_or(0));
    format!("  {name:30}{:5} verdicts {sum:9} steps, at most {most}\n", steps.len())
}

/// The histories of one object, by each of its specifications, and the cores of those that are illegal.
fn costs<O: Object>(name: &str, histories: impl Strategy<Value = History<O::Input, O::Output>>) -> String {
    let mut runner = TestRunner::new(config(1));
    let histories: Vec<_> = (0..200).map(|_| histories.new_tree(&mut runner).unwrap().current()).collect();
    let mut text = format!("{name}\n");
    for place in 0..O::specs(&histories[0]).len() {
        let (mut legal, mut illegal, mut cores) = (Vec::new(), Vec::new(), Vec::new());
        for history in &histories {
            let Some(spec) = O::specs(history).into_iter().nth(place) else { continue };
            let verdict = check(&spec, history, BUDGET);
            if let Verdict::Violation(evidence) = verdict {
                illegal.push(evidence.steps);
                let operations = history.operations().to_vec();
                let violation = StreamViolation::of_history(&spec, operations, evidence);
                cores.push(minimal(&spec, &violation, BUDGET).operations.len() as u64);
            } else {
                legal.push(steps(&verdict));
            }
        }
        let operations = cores.iter().sum::<u64>();
        text += &line(&format!("specification {place}: not illegal"), &legal);
        text += &line(&format!("specification {place}: illegal"), &illegal);
        text += &format!("  {:30}{:5} cores    {operations:9} operations\n", "", cores.len());
    }
    text
}

/// More operations, of which more are open at once and more unknown, than an oracle could try all orders of.
fn crowded<O: Object>() -> impl Strategy<Value = History<O::Input, O::Output>> {
    (drafts::<O>(12..24, 80, 5), prop::collection::vec(damage(), 0..3))
        .prop_map(|(drafts, damages)| history::<O>(legal::<O>(&drafts), &damages))
}

#[test]
fn searches_cost_what_they_did() {
    insta::assert_snapshot!(
        costs::<Registers>("small histories of a register", small::<Registers>())
            + &costs::<AppendKvs>("small histories of a store", small::<AppendKvs>())
            + &costs::<Sets>("small histories of a set", small::<Sets>())
            + &costs::<Queues>("small histories of a queue", small::<Queues>())
            + &costs::<Cells>("small histories of cells", small::<Cells>())
            + &costs::<Registers>("crowded histories of a register", crowded::<Registers>())
            + &costs::<AppendKvs>("crowded histories of a store", crowded::<AppendKvs>())
            + &costs::<Sets>("crowded histories of a set", crowded::<Sets>())
            + &costs::<Queues>("crowded histories of a queue", crowded::<Queues>())
            + &costs::<Cells>("crowded histories of cells", crowded::<Cells>())
    );
}

/// A stream over the operations of a workload.
fn streamed(workload: Workload, budget: Budget) -> String {
    let mut stream = Stream::new(AppendKv::new(true), budget);
    for operation in workload.make() {
        stream.push(operation).unwrap();
    }
    let cuts = stream.cuts();
    let (word, steps) = match stream.finish() {
        StreamVerdict::Linearizable { steps } => ("legal", steps),
        StreamVerdict::Undecided { steps } => ("undecided", steps),
        StreamVerdict::Violation(violation) => panic!("{violation:?}"),
    };
    let Workload { operations, keys, unknown_per_mille, .. } = workload;
    format!(
        "{operations} operations over {keys} keys, {unknown_per_mille} in 1000 lost: {word}, {steps} steps, {cuts} cuts\n"
    )
}

#[test]
fn streams_cost_what_they_did() {
    let workload = Workload {
        seed: 1,
        operations: 5_000,
        clients: 10,
        keys: 20,
        unknown_per_mille: 0,
        puts_percent: 40,
        appends_percent: 5,
    };
    let budget = Budget::default();
    let mut text = streamed(workload, budget);
    text += &streamed(Workload { operations: 10_000, ..workload }, budget);
    text += &streamed(Workload { unknown_per_mille: 5, ..workload }, budget);
    text += &streamed(Workload { unknown_per_mille: 10, keys: 4, ..workload }, Budget { steps: 50_000 });
    text += &streamed(Workload { unknown_per_mille: 1, keys: 1, ..workload }, budget);
    text += &streamed(Workload { clients: 1, keys: 1, ..workload }, budget);
    // Attempts to cut fail, and end with the budget: the smaller it is, the fewer.
    for steps in [1_000, 2_000] {
        let hard = Workload { clients: 1, keys: 1, unknown_per_mille: 300, ..workload };
        text += &streamed(hard, Budget { steps });
    }
    insta::assert_snapshot!(text);
}
