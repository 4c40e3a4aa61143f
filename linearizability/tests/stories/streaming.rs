//! Long histories are held in parts.

use linearizability::history::{Operation, Outcome};
use linearizability::minimal::minimal;
use linearizability::specs::append_kv::{AppendKv, AppendKvAction, AppendKvInput, AppendKvOutput};
use linearizability::stream::{Stream, StreamVerdict};
use linearizability::workload::Workload;
use linearizability::{Budget, SequentialSpec};

const CALM: Workload = Workload {
    seed: 1,
    operations: 20_000,
    clients: 10,
    keys: 50,
    unknown_per_mille: 1,
    puts_percent: 40,
    appends_percent: 5,
};

#[test]
fn a_long_history_is_cut_and_held() {
    let mut stream = Stream::new(AppendKv::new(true), Budget::default());
    CALM.make().for_each(|operation| stream.push(operation).unwrap());
    assert_eq!(stream.operations(), 20_000);
    assert!(stream.cuts() >= 50, "{} cuts", stream.cuts());
    let verdict = stream.finish();
    assert!(matches!(verdict, StreamVerdict::Linearizable { .. }), "{verdict:?}");
}

/// The value of a get, made stale in the middle of a history: found in the part that it stands in, with evidence from
/// there.
#[test]
fn a_stale_read_in_the_middle_is_found_in_its_part() {
    let spec = AppendKv::new(true);
    let mut stream = Stream::new(spec.clone(), Budget::default());
    let mut changed = None;
    for (place, mut operation) in CALM.make().enumerate() {
        if place > 10_000 && changed.is_none() && make_stale(&mut operation) {
            changed = Some(operation.clone());
        }
        if let Err(violation) = stream.push(operation) {
            assert!(violation.operations.len() < 2_000, "{} operations", violation.operations.len());
            let core = minimal(&spec, &violation, Budget::default());
            let shown = core.operations.iter().map(|index| violation.operations[*index].clone());
            assert!(shown.into_iter().any(|operation| Some(operation) == changed));
            return;
        }
    }
    panic!("not found before the end");
}

fn make_stale(operation: &mut Operation<AppendKvInput, AppendKvOutput>) -> bool {
    match &mut operation.outcome {
        Outcome::Answered { output: AppendKvOutput::Value(value), .. } if !value.is_empty() => {
            *value = "x 99 0 y".to_owned();
            true
        }
        Outcome::Answered { .. } | Outcome::Unknown => false,
    }
}

#[test]
fn a_made_history_is_what_it_was_asked_for() {
    let operations: Vec<_> = Workload { unknown_per_mille: 100, ..CALM }.make().collect();
    let unknown = operations.iter().filter(|operation| operation.outcome.returned().is_none()).count();
    assert!((1_500..2_500).contains(&unknown), "{unknown} of 20000 unknown");
    let spec = AppendKv::new(true);
    let gets = operations.iter().filter(|operation| spec.is_read(&operation.input, None)).count();
    assert!((10_000..12_000).contains(&gets), "{gets} gets");
    let puts = |operation: &&Operation<AppendKvInput, AppendKvOutput>| {
        matches!(operation.input.action, AppendKvAction::Put(_))
    };
    let puts = operations.iter().filter(puts).count();
    assert!((7_500..8_500).contains(&puts), "{puts} puts");
}

/// Every unknown put of a key can be tried at every later one: no cut succeeds. Attempts once had no budget.
#[test]
fn a_stream_that_cannot_be_cut_ends_with_its_budget() {
    let budget = Budget { steps: 100_000 };
    let mut stream = Stream::new(AppendKv::new(true), budget);
    let hard = Workload { keys: 1, operations: 4_000, unknown_per_mille: 100, ..CALM };
    hard.make().for_each(|operation| stream.push(operation).unwrap());
    assert_eq!((stream.operations(), stream.cuts()), (4_000, 0));
    let StreamVerdict::Undecided { steps } = stream.finish() else { panic!("decided after all") };
    // The search at the end, the attempts to cut, and what the last one of each went beyond the budget.
    assert!((budget.steps..4 * budget.steps).contains(&steps), "{steps} steps");
}
