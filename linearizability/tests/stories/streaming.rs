//! Long histories are held in parts.

use linearizability::history::{Operation, Outcome, Stamp};
use linearizability::minimal::minimal;
use linearizability::specs::append_kv::{AppendKv, AppendKvAction, AppendKvInput, AppendKvOutput};
use linearizability::specs::register::{Register, RegisterInput, RegisterOutput};
use linearizability::stream::{Stream, StreamVerdict, StreamViolation};
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

/// One after the other, each a client of its own.
struct Calls {
    time: u64,
    operations: Vec<Operation<RegisterInput, RegisterOutput>>,
}

impl Calls {
    fn add(&mut self, input: RegisterInput, output: RegisterOutput) {
        self.add_many(&[(input, output)]);
    }

    /// All at once.
    fn add_many(&mut self, calls: &[(RegisterInput, RegisterOutput)]) {
        for (place, (input, output)) in calls.iter().enumerate() {
            let client = self.operations.len() as u32;
            let stamp = |time| Stamp { time_ns: self.time + time, order: place as u64 };
            let outcome = Outcome::Answered { at: stamp(1), output: *output };
            self.operations.push(Operation { client, invoke: stamp(0), input: *input, outcome });
        }
        self.time += 2;
    }
}

/// Two writes at once before a cut, so that what follows may have begun with either.
fn with_two_ends() -> Calls {
    let mut calls = Calls { time: 0, operations: Vec::new() };
    for value in 0..300 {
        calls.add(RegisterInput::Write(value), RegisterOutput::Written);
    }
    calls.operations.truncate(254);
    let write = |value| (RegisterInput::Write(value), RegisterOutput::Written);
    calls.add_many(&[write(1), write(2)]);
    calls
}

fn find(calls: Calls) -> Option<Box<StreamViolation<Register>>> {
    let mut stream = Stream::new(Register, Budget::default());
    for operation in calls.operations {
        stream.push(operation).unwrap();
    }
    assert_eq!(stream.cuts(), 1);
    match stream.finish() {
        StreamVerdict::Linearizable { .. } => None,
        StreamVerdict::Violation(violation) => Some(violation),
        StreamVerdict::Undecided { .. } => panic!("undecided"),
    }
}

/// Of all the states in which a part may have begun, the evidence begins with the one that explains most.
#[test]
fn evidence_begins_where_most_can_be_explained() {
    for value in [1, 2] {
        let mut calls = with_two_ends();
        calls.add(RegisterInput::Read, RegisterOutput::Value(Some(value)));
        assert!(find(Calls { operations: calls.operations.clone(), ..calls }).is_none(), "either is legal");
        calls.add(RegisterInput::Write(5), RegisterOutput::Written);
        calls.add(RegisterInput::Read, RegisterOutput::Value(Some(7)));
        let violation = find(calls).unwrap();
        assert_eq!(violation.evidence.blocked_by, Some(2), "the last read of three operations");
        assert_eq!(violation.evidence.legal_prefix, [0, 1]);
        assert_eq!(violation.evidence.refused[0].reason, "the value is 5");
        let core = minimal(&Register, &violation, Budget::default());
        assert!(core.proven);
        assert_eq!(core.operations, [2]);
    }
}

/// What was read between two parts is gone with the first.
#[test]
fn a_part_begins_where_the_one_before_has_ended() {
    let mut calls = with_two_ends();
    calls.add(RegisterInput::Read, RegisterOutput::Value(Some(3)));
    assert_eq!(find(calls).unwrap().evidence.legal_prefix.len(), 0);
}
