//! The judge is judged: changes to good histories that must be seen, and changes that must not, for every object.
//!
//! | change | seen, where |
//! |---|---|
//! | write dropped, its answer forgotten with it | it was read |
//! | answer altered | always, for the histories here |
//! | operation duplicated | never for a read; a compare-and-set, an append and a dequeue that were observed |
//! | returns swapped | the order of the effects is then no longer that of the calls |
//! | operation lengthened, answer forgotten, read dropped, concurrent operations reordered | never |

use linearizability::SequentialSpec;
use linearizability::history::{History, Operation, Outcome, Stamp};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::oracle::{self, AppendKvs, Object, Queues, Registers, Sets, drafts, is_legal};

/// A change, and whether it is seen in the good history of each object at each place where it can be made.
#[derive(Clone, Copy, Debug)]
enum Change {
    Drop,
    Duplicate,
    AlterAnswer,
    ReturnBeforeOthers,
}

/// A sequential history, one operation after the other: every change of order is a contradiction there.
fn good<O: Object>(inputs: &[O::Input]) -> Vec<Operation<O::Input, O::Output>> {
    let spec = O::specs(&History::new(Vec::new()).unwrap()).remove(0);
    let mut state = spec.initial();
    let operations = inputs.iter().enumerate().map(|(place, input)| {
        let answers = O::answers(input, inputs);
        let legal =
            answers.into_iter().find_map(|output| Some((spec.step(&state, input, Some(&output))?, output)));
        let (next, output) = legal.unwrap();
        state = next;
        let from = 100 * place as u64;
        let outcome = Outcome::Answered { at: Stamp::at(from + 50), output };
        Operation { client: place as u32, invoke: Stamp::at(from), input: input.clone(), outcome }
    });
    operations.collect()
}

fn legal<O: Object>(operations: Vec<Operation<O::Input, O::Output>>) -> bool {
    let history = oracle::history::<O>(operations, &[]);
    let verdicts: Vec<bool> = O::specs(&history).iter().map(|spec| is_legal(spec, &history)).collect();
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "the specifications disagree");
    assert_eq!(verdicts[0], oracle::all_orders(&O::specs(&history)[0], history.operations()));
    verdicts[0]
}

fn changed<O: Object>(inputs: &[O::Input], place: usize, change: Change) -> bool {
    let mut operations = good::<O>(inputs);
    match change {
        Change::Drop => drop(operations.remove(place)),
        Change::Duplicate => {
            let mut again = operations[place].clone();
            again.invoke.time_ns += 60;
            if let Outcome::Answered { at, output: _ } = &mut again.outcome {
                at.time_ns += 40;
            }
            operations.push(again);
        }
        Change::AlterAnswer => {
            if let Outcome::Answered { at: _, output } = &mut operations[place].outcome {
                *output = O::alter(output, 1);
            }
        }
        // It then stands before all others.
        Change::ReturnBeforeOthers => {
            operations[place].invoke = Stamp::at(0);
            operations[0].invoke = Stamp::at(2);
            if let Outcome::Answered { at, output: _ } = &mut operations[place].outcome {
                *at = Stamp::at(1);
            }
        }
    }
    legal::<O>(operations)
}

/// One row of the table: at which places of the good history a change is seen.
fn check<O: Object>(inputs: &[O::Input], change: Change, seen_at: &[usize]) {
    assert!(legal::<O>(good::<O>(inputs)), "the good history");
    let first = usize::from(matches!(change, Change::ReturnBeforeOthers));
    let seen: Vec<usize> =
        (first..inputs.len()).filter(|place| !changed::<O>(inputs, *place, change)).collect();
    assert_eq!(seen, seen_at, "{change:?}");
}

mod tables {
    use linearizability::specs::append_kv::{AppendKvAction, AppendKvInput};
    use linearizability::specs::queue::QueueInput;
    use linearizability::specs::register::RegisterInput;
    use linearizability::specs::set::SetInput;

    use super::*;

    #[test]
    fn of_a_register() {
        let cas = |expected, new| RegisterInput::CompareAndSet { expected, new };
        let inputs = [
            RegisterInput::Read,
            RegisterInput::Write(1),
            RegisterInput::Read,
            cas(1, 2),
            cas(1, 0),
            RegisterInput::Read,
        ];
        check::<Registers>(&inputs, Change::Drop, &[1, 3]);
        check::<Registers>(&inputs, Change::Duplicate, &[3]);
        check::<Registers>(&inputs, Change::AlterAnswer, &[0, 2, 3, 4, 5]);
        check::<Registers>(&inputs, Change::ReturnBeforeOthers, &[1, 2, 3, 5]);
    }

    #[test]
    fn of_a_store() {
        let kv = |action| AppendKvInput { key: "a".to_owned(), action };
        let write = |value: &str| value.to_owned();
        let inputs = [
            kv(AppendKvAction::Get),
            kv(AppendKvAction::Put(write("1"))),
            kv(AppendKvAction::Append(write("2"))),
            kv(AppendKvAction::Get),
            kv(AppendKvAction::Append(write("1"))),
        ];
        check::<AppendKvs>(&inputs, Change::Drop, &[1, 2]);
        check::<AppendKvs>(&inputs, Change::Duplicate, &[2]);
        check::<AppendKvs>(&inputs, Change::AlterAnswer, &[0, 3]);
        check::<AppendKvs>(&inputs, Change::ReturnBeforeOthers, &[1, 2, 3, 4]);
    }

    #[test]
    fn of_a_set() {
        let inputs = [
            SetInput::Contains(1),
            SetInput::Add(1),
            SetInput::Contains(1),
            SetInput::Remove(1),
            SetInput::Add(0),
            SetInput::Read,
        ];
        check::<Sets>(&inputs, Change::Drop, &[1, 3, 4]);
        check::<Sets>(&inputs, Change::Duplicate, &[]);
        check::<Sets>(&inputs, Change::AlterAnswer, &[0, 2, 5]);
        check::<Sets>(&inputs, Change::ReturnBeforeOthers, &[1, 2, 3, 5]);
    }

    #[test]
    fn of_a_queue() {
        let inputs = [
            QueueInput::Dequeue,
            QueueInput::Enqueue(1),
            QueueInput::Enqueue(2),
            QueueInput::Dequeue,
            QueueInput::Dequeue,
            QueueInput::Dequeue,
        ];
        check::<Queues>(&inputs, Change::Drop, &[1, 2, 3, 4]);
        check::<Queues>(&inputs, Change::Duplicate, &[1, 2, 3, 4]);
        check::<Queues>(&inputs, Change::AlterAnswer, &[0, 3, 4, 5]);
        check::<Queues>(&inputs, Change::ReturnBeforeOthers, &[1, 2, 3, 4]);
    }
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
