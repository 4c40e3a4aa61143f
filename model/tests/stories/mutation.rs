//! The checks are checked: changes to a good history that must be seen, and changes that must not.

use model::history::{History, Outcome, Stamp};
use model::kv::{CallAnswer, ResponseBody};
use model::linearizability::{self, Budget, Verdict};
use model::revisions;
use model::specs::etcd::{Etcd, StoreHistory, StoreOperation};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{equivalence, generator, script};

const GOOD: &str = "
    1 0..10    put a=1              -> @2
    2 5..15    put b=1              -> @3
    1 20..30   get a                -> @3 a=1/2/2/1
    2 20..35   put a=2 prev         -> @4 a=1/2/2/1
    3 40..50   get a..              -> @4 a=2/2/4/2 b=1/3/3/1
    1 60..70   delete b             -> @5 deleted 1
    2 80..90   txn if version(a)=2 then put a=3; get b -> @6 then [@6; @6]
    3 100..110 get a at 4           -> @6 a=2/2/4/2
    1 120..130 get a..              -> @6 a=3/2/6/3
    2 120..140 get a..              -> @6 a=3/2/6/3
    3 150..160 get b at 9           -> refused future";

fn legal(operations: Vec<StoreOperation>) -> bool {
    let history = History::new(operations).unwrap();
    let fast = revisions::check(&history, Budget::default());
    let general = linearizability::check(&Etcd::of(&history), &history, Budget::default());
    let plain = linearizability::check(&Etcd::default(), &history, Budget::default());
    let legal = [&fast, &general, &plain].map(|verdict| match verdict {
        Verdict::Linearizable { .. } => true,
        Verdict::Violation(_) => false,
        Verdict::Undecided { .. } => panic!("undecided"),
    });
    assert!(legal.iter().all(|other| *other == legal[0]), "{fast:?}\n{general:?}\n{plain:?}");
    legal[0]
}

/// Whether an operation is known to have made a revision.
fn wrote(operation: &StoreOperation) -> bool {
    let response = operation.outcome.output().and_then(|result| result.as_ref().ok()?.kv());
    response.is_some_and(|response| response.body.wrote())
}

fn good() -> Vec<StoreOperation> {
    script::history(GOOD).into_operations()
}

/// Changes operation `index` of the good history, and says whether it is still legal.
fn change(index: usize, change: impl FnOnce(&mut StoreOperation)) -> bool {
    let mut operations = good();
    change(&mut operations[index]);
    legal(operations)
}

fn answer(index: usize, text: &str) -> bool {
    change(index, |operation| {
        let output = script::result(&operation.input, text);
        let at = operation.outcome.returned().unwrap();
        operation.outcome = Outcome::Answered { at, output };
    })
}

#[test]
fn the_good_history_is_legal() {
    assert!(legal(good()));
}

#[test]
fn a_dropped_write_is_seen_and_a_dropped_read_is_not() {
    for index in 0..good().len() {
        let mut operations = good();
        let wrote = wrote(&operations.remove(index));
        assert_eq!(legal(operations), !wrote, "without operation {index}");
    }
}

#[test]
fn a_duplicated_write_is_seen_and_a_duplicated_read_is_not() {
    for index in 0..good().len() {
        let mut operations = good();
        let mut again = operations[index].clone();
        again.client = 99;
        again.invoke.order += 100;
        if let Outcome::Answered { at, output: _ } = &mut again.outcome {
            at.order += 100;
        }
        let wrote = wrote(&again);
        operations.push(again);
        assert_eq!(legal(operations), !wrote, "with operation {index} twice");
    }
}

#[test]
fn an_altered_answer_is_seen() {
    assert!(!answer(2, "@3 a=9/2/2/1"), "value");
    assert!(!answer(2, "@3 a=1/1/2/1"), "create revision");
    assert!(!answer(2, "@3 a=1/2/3/1"), "mod revision");
    assert!(!answer(2, "@3 a=1/2/2/2"), "version");
    assert!(!answer(2, "@3"), "nothing");
    assert!(!answer(3, "@4"), "previous value lost");
    assert!(!answer(4, "@4 a=2/2/4/2"), "key lost");
    assert!(!answer(4, "@4 b=1/3/3/1 a=2/2/4/2"), "order");
    assert!(!answer(4, "@4 a=2/2/4/2 b=1/3/3/1 count 3"), "count");
    assert!(!answer(4, "@4 a=2/2/4/2 b=1/3/3/1 more"), "more");
    assert!(!answer(5, "@4 deleted 0"), "deletion lost");
    assert!(!answer(5, "@5 deleted 2"), "deletion invented");
    assert!(!answer(6, "@5 else []"), "branch");
    assert!(!answer(6, "@6 then [@6; @5]"), "revision inside");
    assert!(!answer(6, "@6 then [@6; @6 b=1/3/3/1]"), "deleted key seen");
    assert!(!answer(7, "@6 a=3/2/6/3"), "present instead of past");
    assert!(!answer(7, "refused future"), "refused");
    assert!(!answer(10, "@6"), "not refused");
    assert!(!answer(10, "refused duplicate"), "refused for another reason");
}

#[test]
fn an_altered_revision_is_seen() {
    for index in 0..10 {
        for by in [-1, 1, 2] {
            let altered = change(index, |operation| {
                if let Outcome::Answered { at: _, output: Ok(CallAnswer::Kv(response)) } =
                    &mut operation.outcome
                {
                    response.revision += by;
                }
            });
            assert!(!altered, "revision of operation {index} altered by {by}");
        }
    }
}

#[test]
fn swapped_answers_of_different_moments_are_seen() {
    let mut operations = good();
    let (first, second) = (operations[2].outcome.clone(), operations[4].outcome.clone());
    let (at, later) = (first.returned().unwrap(), second.returned().unwrap());
    operations[2].outcome = Outcome::Answered { at, output: second.output().unwrap().clone() };
    operations[4].outcome = Outcome::Answered { at: later, output: first.output().unwrap().clone() };
    assert!(!legal(operations));
}

#[test]
fn swapped_writes_that_were_not_concurrent_are_seen() {
    let swap = |first: usize, second: usize| {
        let mut operations = good();
        let (one, other) = (operations[first].clone(), operations[second].clone());
        (operations[first].input, operations[second].input) = (other.input, one.input);
        let output = |operation: &StoreOperation| operation.outcome.output().unwrap().clone();
        let (one, other) = (output(&operations[first]), output(&operations[second]));
        for (index, output) in [(first, other), (second, one)] {
            let at = operations[index].outcome.returned().unwrap();
            operations[index].outcome = Outcome::Answered { at, output };
        }
        legal(operations)
    };
    assert!(swap(0, 1), "the first two writes are concurrent");
    assert!(swap(8, 9), "so are the last two reads");
    assert!(!swap(0, 5), "one write was long done when the other began");
    assert!(!swap(1, 3), "likewise");
}

#[test]
fn a_return_moved_before_a_write_that_it_saw_is_seen() {
    let moved = change(4, |operation| {
        operation.invoke = Stamp::at(1);
        operation.client = 99;
        if let Outcome::Answered { at, output: _ } = &mut operation.outcome {
            *at = Stamp::at(19);
        }
    });
    assert!(!moved, "the read saw revision 4, which was invoked only at 20 ns");
}

#[test]
fn a_forgotten_answer_is_legal() {
    for index in 0..good().len() {
        assert!(change(index, |operation| operation.outcome = Outcome::Unknown), "operation {index} unknown");
    }
}

fn legal_history() -> impl Strategy<Value = Vec<StoreOperation>> {
    generator::drafts(5..40, 400).prop_map(|drafts| generator::legal(&drafts))
}

fn verdict(operations: Vec<StoreOperation>) -> Verdict {
    let history: StoreHistory = generator::history(operations, &[]);
    revisions::check(&history, Budget::default())
}

fn is_legal(operations: Vec<StoreOperation>) -> bool {
    matches!(verdict(operations), Verdict::Linearizable { .. })
}

proptest! {
    #![proptest_config(equivalence::config(500))]

    #[test]
    fn what_takes_longer_stays_legal(mut operations in legal_history(), index: Index, by in 0..100_u64) {
        let operation = index.get(&operations).clone();
        let index = operations.iter().position(|other| *other == operation).unwrap();
        operations[index].invoke.time_ns = operation.invoke.time_ns.saturating_sub(by);
        if let Outcome::Answered { at, output: _ } = &mut operations[index].outcome {
            at.time_ns += by;
        }
        prop_assert!(is_legal(operations));
    }

    #[test]
    fn what_is_not_known_stays_legal(mut operations in legal_history(), index: Index) {
        let index = index.index(operations.len());
        operations[index].outcome = Outcome::Unknown;
        prop_assert!(is_legal(operations));
    }

    #[test]
    fn what_was_only_read_can_be_left_out(mut operations in legal_history(), index: Index) {
        let index = index.index(operations.len());
        if operations[index].input.kv().is_some_and(model::kv::Request::is_read_only) {
            operations.remove(index);
        }
        prop_assert!(is_legal(operations));
    }

    #[test]
    fn an_altered_value_is_seen(mut operations in legal_history(), index: Index) {
        let index = index.index(operations.len());
        let Outcome::Answered { at: _, output: Ok(CallAnswer::Kv(response)) } = &mut operations[index].outcome
        else {
            return Ok(());
        };
        if let ResponseBody::Range { kvs, .. } = &mut response.body
            && let Some(key_value) = kvs.first_mut()
        {
            key_value.value = b"never written".to_vec();
            prop_assert!(!is_legal(operations));
        }
    }

    #[test]
    fn a_revision_claimed_twice_is_seen(mut operations in legal_history(), index: Index) {
        let index = index.index(operations.len());
        prop_assume!(operations[index].input.kv().is_some());
        let wrote = wrote(&operations[index]);
        let again = operations[index].clone();
        operations.push(again);
        prop_assert_eq!(is_legal(operations), !wrote);
    }
}
