//! The judge is judged: changes to good histories of every object, and who sees them.
//!
//! The good histories are answered by the specifications, one operation after the other, so that a change of the order is
//! a contradiction. Each changed one is given to every checker of this crate and to an oracle that tries all orders;
//! what they say, and all must say the same, stands in the snapshot.

use linearizability::history::{History, Operation, Outcome, Stamp};
use linearizability::specs::append_kv::{AppendKvAction, AppendKvInput};
use linearizability::specs::queue::QueueInput;
use linearizability::specs::register::RegisterInput;
use linearizability::specs::set::SetInput;
use linearizability::{Budget, SequentialSpec, Verdict, check_in_parallel};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::equivalence::stream;
use crate::oracle::{self, AppendKvs, Object, Queues, Registers, Sets, drafts, is_legal};

type OperationOf<O> = Operation<<O as Object>::Input, <O as Object>::Output>;

/// From one call to the next. An operation takes half of that.
const TURN_NS: u64 = 100;

/// A change at one place of a history.
#[derive(Clone, Copy, Debug)]
enum Change {
    Drop,
    Duplicate,
    AlterAnswer,
    SwapAnswers,
    SwapMoments,
    MoveBeforeAll,
    Forget,
    Lengthen,
    SwapConcurrent,
}

impl Change {
    const ALL: [(Change, &str); 9] = [
        (Change::Drop, "left out"),
        (Change::Duplicate, "done once more"),
        (Change::AlterAnswer, "answered otherwise"),
        (Change::SwapAnswers, "answer swapped with a later one"),
        (Change::SwapMoments, "swapped with the next one"),
        (Change::MoveBeforeAll, "moved before all others"),
        (Change::Forget, "legal: answer forgotten"),
        (Change::Lengthen, "legal: as long as the history"),
        (Change::SwapConcurrent, "legal: swapped while concurrent"),
    ];

    /// The changed history, where the change can be made at this place.
    fn make<O: Object>(self, good: &[OperationOf<O>], place: usize) -> Option<Vec<OperationOf<O>>> {
        let mut operations = good.to_vec();
        let (begin, end) = (TURN_NS * place as u64, TURN_NS * good.len() as u64);
        match self {
            Change::Drop => drop(operations.remove(place)),
            Change::Duplicate => {
                operations.push(good[place].clone());
                span(&mut operations[good.len()], begin + 60, begin + 90);
            }
            Change::AlterAnswer => {
                let answer = good[place].outcome.output()?;
                let altered = Some(O::alter(answer, 1)).filter(|altered| altered != answer)?;
                set_answer::<O>(&mut operations[place], altered);
            }
            Change::SwapAnswers => {
                let answer = good[place].outcome.output()?;
                let (other, later) = good.iter().enumerate().skip(place + 1).find_map(|(other, later)| {
                    let later = later.outcome.output()?;
                    let kind = std::mem::discriminant(answer) == std::mem::discriminant(later);
                    (kind && answer != later).then_some((other, later))
                })?;
                set_answer::<O>(&mut operations[place], later.clone());
                set_answer::<O>(&mut operations[other], answer.clone());
            }
            Change::SwapMoments => {
                good.get(place + 1)?;
                span(&mut operations[place], begin + TURN_NS, begin + TURN_NS + TURN_NS / 2);
                span(&mut operations[place + 1], begin, begin + TURN_NS / 2);
            }
            Change::MoveBeforeAll if place == 0 => return None,
            Change::MoveBeforeAll => {
                span(&mut operations[place], 0, 1);
                operations[0].invoke = Stamp::at(2);
            }
            Change::Forget => operations[place].outcome = Outcome::Unknown,
            Change::Lengthen => span(&mut operations[place], 0, end),
            // Who stands first begins and ends first.
            Change::SwapConcurrent => {
                good.get(place + 1)?;
                span(&mut operations[place], begin, begin + TURN_NS);
                span(&mut operations[place + 1], begin, begin + TURN_NS);
                operations.swap(place, place + 1);
            }
        }
        Some(operations)
    }
}

/// Lets an operation begin and end at these times.
fn span<I, O>(operation: &mut Operation<I, O>, begin: u64, end: u64) {
    operation.invoke = Stamp::at(begin);
    if let Outcome::Answered { at, output: _ } = &mut operation.outcome {
        *at = Stamp::at(end);
    }
}

fn set_answer<O: Object>(operation: &mut OperationOf<O>, answer: O::Output) {
    if let Outcome::Answered { at: _, output } = &mut operation.outcome {
        *output = answer;
    }
}

/// The history of calls that are made one after the other.
fn good<O: Object>(inputs: &[O::Input]) -> Vec<OperationOf<O>> {
    let spec = O::specs(&History::new(Vec::new()).unwrap()).remove(0);
    let mut state = spec.initial();
    let operations = inputs.iter().enumerate().map(|(place, input)| {
        let answers = O::answers(input, inputs);
        let legal =
            answers.into_iter().find_map(|output| Some((spec.step(&state, input, Some(&output))?, output)));
        let (next, output) = legal.unwrap();
        state = next;
        let from = TURN_NS * place as u64;
        let outcome = Outcome::Answered { at: Stamp::at(from + TURN_NS / 2), output };
        Operation { client: place as u32, invoke: Stamp::at(from), input: input.clone(), outcome }
    });
    operations.collect()
}

/// What all checkers say.
fn is_seen<O: Object>(operations: Vec<OperationOf<O>>) -> bool {
    let history = oracle::history::<O>(operations, &[]);
    let expected = oracle::all_orders(&O::specs(&history)[0], history.operations());
    for spec in O::specs(&history) {
        assert_eq!(is_legal(&spec, &history), expected, "search");
        let parallel = check_in_parallel(&spec, &history, Budget::default(), 2);
        assert_eq!(matches!(parallel, Verdict::Linearizable { .. }), expected, "on threads: {parallel:?}");
        assert_eq!(stream::<O>(spec, &history).0, expected, "stream");
    }
    !expected
}

/// One object's part of the table.
fn table<O: Object>(name: &str, inputs: &[O::Input]) -> String {
    let good = good::<O>(inputs);
    assert!(!is_seen::<O>(good.clone()), "the good history");
    let spec = O::specs(&oracle::history::<O>(good.clone(), &[])).remove(0);
    let mut table = format!("{name}\n");
    for (place, operation) in good.iter().enumerate() {
        table += &format!("  {place} {}\n", spec.describe(&operation.input, operation.outcome.output()));
    }
    let places: Vec<String> = (0..good.len()).map(|place| place.to_string()).collect();
    table += &format!("  {:32}{}\n", "", places.join("    "));
    for (change, words) in Change::ALL {
        let cells: Vec<&str> = (0..good.len())
            .map(|place| match change.make::<O>(&good, place).map(is_seen::<O>) {
                None => "",
                Some(true) => "seen",
                Some(false) => "-",
            })
            .collect();
        let cells: String = cells.into_iter().map(|cell| format!("{cell:5}")).collect();
        table += &format!("  {}\n", format!("{words:32}{cells}").trim_end());
    }
    table + "\n"
}

#[test]
fn every_object_has_its_table() {
    let cas = |expected, new| RegisterInput::CompareAndSet { expected, new };
    let write = RegisterInput::Write;
    let register =
        [RegisterInput::Read, write(1), RegisterInput::Read, cas(1, 2), cas(1, 0), RegisterInput::Read];
    let kv = |action| AppendKvInput { key: "a".to_owned(), action };
    let append = |value: &str| kv(AppendKvAction::Append(value.to_owned()));
    let get = || kv(AppendKvAction::Get);
    let store = [get(), kv(AppendKvAction::Put("1".to_owned())), append("2"), get(), append("1")];
    let set = [
        SetInput::Contains(1),
        SetInput::Add(1),
        SetInput::Contains(1),
        SetInput::Remove(1),
        SetInput::Add(0),
        SetInput::Read,
    ];
    let (enqueue, dequeue) = (QueueInput::Enqueue, || QueueInput::Dequeue);
    let queue = [dequeue(), enqueue(1), enqueue(2), dequeue(), dequeue(), dequeue()];
    insta::assert_snapshot!(
        table::<Registers>("a register", &register)
            + &table::<AppendKvs>("a store", &store)
            + &table::<Sets>("a set", &set)
            + &table::<Queues>("a queue", &queue)
    );
}

fn long<O: Object>() -> impl Strategy<Value = Vec<Operation<O::Input, O::Output>>> {
    drafts::<O>(5..40, 400, 5).prop_map(|drafts| oracle::legal::<O>(&drafts))
}

/// What must not be seen: everything that leaves a legal history legal.
fn stays_legal<O: Object>(
    operations: &[Operation<O::Input, O::Output>],
    index: Index,
    by: u64,
) -> Result<(), TestCaseError> {
    let index = index.index(operations.len());
    let mut longer = operations.to_vec();
    longer[index].invoke.time_ns = longer[index].invoke.time_ns.saturating_sub(by);
    if let Outcome::Answered { at, output: _ } = &mut longer[index].outcome {
        at.time_ns += by;
    }
    let mut forgotten = operations.to_vec();
    forgotten[index].outcome = Outcome::Unknown;
    let mut without = operations.to_vec();
    let removed = without.remove(index);
    let legal = |operations: &[_]| {
        let history = oracle::history::<O>(operations.to_vec(), &[]);
        is_legal(&O::specs(&history)[0], &history)
    };
    prop_assert!(legal(operations), "as it was");
    prop_assert!(legal(&longer), "lengthened");
    prop_assert!(legal(&forgotten), "forgotten");
    let spec = O::specs(&oracle::history::<O>(Vec::new(), &[])).remove(0);
    if spec.is_read(&removed.input, removed.outcome.output()) {
        prop_assert!(legal(&without), "without a read");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_legal_stays_legal_for_a_register(operations in long::<Registers>(), index: Index, by in 0..50_u64) {
        stays_legal::<Registers>(&operations, index, by)?;
    }

    #[test]
    fn what_is_legal_stays_legal_for_a_store(operations in long::<AppendKvs>(), index: Index, by in 0..50_u64) {
        stays_legal::<AppendKvs>(&operations, index, by)?;
    }

    #[test]
    fn what_is_legal_stays_legal_for_a_set(operations in long::<Sets>(), index: Index, by in 0..50_u64) {
        stays_legal::<Sets>(&operations, index, by)?;
    }

    #[test]
    fn what_is_legal_stays_legal_for_a_queue(operations in long::<Queues>(), index: Index, by in 0..50_u64) {
        stays_legal::<Queues>(&operations, index, by)?;
    }
}
