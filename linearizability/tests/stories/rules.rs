//! What each rule of the search may and may not spare.

use linearizability::history::{History, Operation, Outcome, Stamp};
use linearizability::specs::append_kv::{AppendKv, AppendKvAction, AppendKvInput, AppendKvOutput};
use linearizability::specs::register::{Register, RegisterInput, RegisterOutput};
use linearizability::{Budget, SequentialSpec, Verdict, check};

use crate::oracle::is_legal;

type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

fn operation(
    client: u32,
    from: u64,
    to: Option<u64>,
    input: RegisterInput,
    output: RegisterOutput,
) -> RegisterOperation {
    let stamp = |time_ns| Stamp { time_ns, order: u64::from(client) };
    let outcome = to.map_or(Outcome::Unknown, |to| Outcome::Answered { at: stamp(to), output });
    Operation { client, invoke: stamp(from), input, outcome }
}

fn write(client: u32, from: u64, to: u64, value: i64) -> RegisterOperation {
    operation(client, from, Some(to), RegisterInput::Write(value), RegisterOutput::Written)
}

fn lost_write(client: u32, from: u64, value: i64) -> RegisterOperation {
    operation(client, from, None, RegisterInput::Write(value), RegisterOutput::Written)
}

fn read(client: u32, from: u64, to: u64, value: i64) -> RegisterOperation {
    operation(client, from, Some(to), RegisterInput::Read, RegisterOutput::Value(Some(value)))
}

fn legal(operations: Vec<RegisterOperation>) -> bool {
    is_legal(&Register, &History::new(operations).unwrap())
}

/// The search once placed at once whatever changed nothing, a write of the present value, too: then nothing was left
/// to explain the last read.
#[test]
fn a_write_of_the_present_value_may_be_needed_later() {
    assert!(legal(vec![
        write(1, 0, 10, 3),
        write(2, 20, 100, 3),
        write(3, 30, 40, 4),
        read(4, 50, 60, 4),
        read(4, 70, 80, 3),
    ]));
}

#[test]
fn equal_unknown_writes_serve_as_often_as_there_are_of_them() {
    let flips = |lost: u64| {
        let mut operations: Vec<RegisterOperation> =
            (0..lost).map(|i| lost_write(10 + i as u32, i, 1)).collect();
        for flip in 0..3 {
            let from = 100 * (flip + 1);
            operations.push(write(1, from, from + 10, 2));
            operations.push(read(1, from + 20, from + 30, 1));
        }
        legal(operations)
    };
    assert!(!flips(2));
    assert!(flips(3));
    assert!(flips(4));
}

#[test]
fn of_equal_unknown_writes_one_may_come_too_late() {
    assert!(!legal(vec![read(1, 0, 10, 1), lost_write(2, 20, 1)]));
    assert!(legal(vec![lost_write(3, 5, 1), read(1, 0, 10, 1), lost_write(2, 20, 1)]));
}

/// Forty unknown writes of four values and a read that none explains: 2⁴⁰ subsets, but few that none dominates.
#[test]
fn many_unknown_writes_are_no_hard_case() {
    let mut operations: Vec<RegisterOperation> =
        (0..40).map(|i| lost_write(10 + i, u64::from(i), i64::from(i % 4))).collect();
    operations.push(read(1, 100, 110, 7));
    let Verdict::Violation(evidence) =
        check(&Register, &History::new(operations).unwrap(), Budget::default())
    else {
        panic!("no violation")
    };
    assert!(evidence.steps < 1_000, "{} steps", evidence.steps);
}

/// Keys that are busy at the same time, as one object: without rule 2 every interleaving of their writes is another
/// configuration.
#[test]
fn keys_are_searched_one_at_a_time_though_they_are_one_object() {
    let mut operations = Vec::new();
    for key in 0..10_u32 {
        let stamp = |time_ns| Stamp { time_ns, order: u64::from(key) };
        for turn in 0..6_u64 {
            let kv = |action, output, from, to| Operation {
                client: 100 * (turn as u32 % 2) + key,
                invoke: stamp(from),
                input: AppendKvInput { key: key.to_string(), action },
                outcome: Outcome::Answered { at: stamp(to), output },
            };
            let append = AppendKvAction::Append(turn.to_string());
            operations.push(kv(append, AppendKvOutput::Written, 10 * turn, 10 * turn + 15));
        }
        let get = |value: &str| Operation {
            client: key,
            invoke: stamp(100),
            input: AppendKvInput { key: key.to_string(), action: AppendKvAction::Get },
            outcome: Outcome::Answered { at: stamp(110), output: AppendKvOutput::Value(value.to_owned()) },
        };
        operations.push(get(if key == 9 { "never" } else { "102345" }));
    }
    let history = History::new(operations).unwrap();
    let spec = AppendKv::of(&history, false);
    let Verdict::Violation(evidence) = check(&spec, &history, Budget { steps: 1_000 }) else {
        panic!("undecided, or worse")
    };
    assert!(evidence.steps < 100, "{} steps", evidence.steps);
}

/// What came before an answer that nothing explains is shown, however much comes after it.
#[test]
fn evidence_shows_all_that_was_explained() {
    let mut operations: Vec<RegisterOperation> = (0..10).map(|i| write(1, 10 * i, 10 * i + 5, 3)).collect();
    operations.push(read(1, 100, 105, 7));
    operations.extend((11..21).map(|i| write(1, 10 * i, 10 * i + 5, 3)));
    let history = History::new(operations).unwrap();
    let Verdict::Violation(evidence) = check(&Register, &history, Budget::default()) else {
        panic!("no violation")
    };
    assert_eq!(evidence.legal_prefix, (0..10).collect::<Vec<_>>());
    assert_eq!(evidence.blocked_by, Some(10));
    let refused: Vec<_> =
        evidence.refused.iter().map(|refused| (refused.operation, &*refused.reason)).collect();
    assert_eq!(refused, [(10, "the value is 3")]);
}

/// A number that only grows: each call adds to it, and is answered with the sum.
struct Counter;

impl SequentialSpec for Counter {
    type State = i64;
    type Input = i64;
    type Output = i64;
    type Partition = ();

    fn initial(&self) -> i64 {
        0
    }

    fn step(&self, state: &i64, added: &i64, sum: Option<&i64>) -> Option<i64> {
        let next = state + added;
        sum.is_none_or(|sum| *sum == next).then_some(next)
    }

    fn fingerprint(&self, state: &i64) -> u128 {
        u128::from(state.cast_unsigned())
    }

    fn partition(&self, _added: &i64) {}

    fn expired(&self, state: &i64, added: &i64, sum: &i64) -> bool {
        *sum < state + added
    }

    fn describe(&self, added: &i64, sum: Option<&i64>) -> String {
        format!("add {added} → {sum:?}")
    }

    fn explain(&self, state: &i64, added: &i64, _sum: &i64) -> String {
        format!("the sum is {}", state + added)
    }
}

/// What can never be answered is blamed as soon as that is clear, also where another call returns before it. That one is
/// not blamed: an order gets past it.
#[test]
fn an_answer_that_can_never_be_given_is_blamed_and_not_who_returns_first() {
    let add = |client: u32, added, sum, from, to| {
        let stamp = |time_ns| Stamp { time_ns, order: u64::from(client) };
        Operation {
            client,
            invoke: stamp(from),
            input: added,
            outcome: Outcome::Answered { at: stamp(to), output: sum },
        }
    };
    let history =
        History::new(vec![add(1, 5, 5, 0, 10), add(2, 1, 3, 20, 60), add(3, 1, 6, 30, 40)]).unwrap();
    let Verdict::Violation(evidence) = check(&Counter, &history, Budget::default()) else {
        panic!("no violation")
    };
    assert_eq!(evidence.blocked_by, Some(1));
}

/// Rule 7: the orders in which one key can have got where it is do not count again for each way in which another key has
/// no way on. No outcome is unknown here.
#[test]
fn a_key_without_a_way_out_blames_no_other() {
    let kv = |client: u32, key: &str, action, output, from, to| {
        let stamp = |time_ns| Stamp { time_ns, order: u64::from(client) };
        let input = AppendKvInput { key: key.to_owned(), action };
        Operation { client, invoke: stamp(from), input, outcome: Outcome::Answered { at: stamp(to), output } }
    };
    let put = |value: u32| AppendKvAction::Put(value.to_string());
    let mut operations = Vec::new();
    for client in 0..6 {
        operations.push(kv(client, "a", put(client), AppendKvOutput::Written, 0, 100));
        operations.push(kv(10 + client, "b", put(client), AppendKvOutput::Written, 0, 100));
    }
    let never = AppendKvOutput::Value("never".to_owned());
    operations.push(kv(20, "b", AppendKvAction::Get, never, 200, 210));
    let history = History::new(operations).unwrap();
    let Verdict::Violation(evidence) = check(&AppendKv::new(false), &history, Budget::default()) else {
        panic!("no violation")
    };
    assert!(evidence.steps < 1_000, "{} steps", evidence.steps);
}

/// A register of which the search is told nothing but what it must be.
struct Plain;

impl SequentialSpec for Plain {
    type State = Option<i64>;
    type Input = RegisterInput;
    type Output = RegisterOutput;
    type Partition = ();

    fn initial(&self) -> Option<i64> {
        Register.initial()
    }

    fn step(
        &self,
        state: &Option<i64>,
        input: &RegisterInput,
        output: Option<&RegisterOutput>,
    ) -> Option<Option<i64>> {
        Register.step(state, input, output)
    }

    fn fingerprint(&self, state: &Option<i64>) -> u128 {
        Register.fingerprint(state)
    }

    fn partition(&self, _input: &RegisterInput) {}

    fn describe(&self, input: &RegisterInput, output: Option<&RegisterOutput>) -> String {
        Register.describe(input, output)
    }

    fn explain(&self, state: &Option<i64>, input: &RegisterInput, output: &RegisterOutput) -> String {
        Register.explain(state, input, output)
    }
}

#[test]
fn a_specification_need_say_no_more_than_it_must() {
    let plain = |operations: Vec<RegisterOperation>| is_legal(&Plain, &History::new(operations).unwrap());
    for last in [3, 4] {
        assert!(plain(vec![write(1, 0, 10, 3), write(2, 1, 11, 4), read(3, 20, 30, last)]));
    }
    assert!(!plain(vec![write(1, 0, 10, 3), write(2, 1, 11, 4), read(3, 20, 30, 5)]));
    for lost in [3, 4] {
        assert!(plain(vec![lost_write(1, 0, 3), lost_write(2, 1, 4), read(3, 20, 30, lost)]));
    }
}
