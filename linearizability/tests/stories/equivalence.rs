//! Every way of checking says what an oracle says that tries all orders.

use linearizability::history::{History, Operation, Outcome};
use linearizability::minimal::minimal;
use linearizability::stream::{Stream, StreamVerdict, StreamViolation};
use linearizability::{Budget, Evidence, SequentialSpec, Verdict, check, check_in_parallel};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::cells::Cells;
use crate::oracle::{
    self, AppendKvs, Object, Queues, Registers, Sets, all_orders, all_orders_until, damage, drafts,
};

/// A run of cases that is the same each time.
pub(crate) fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..Config::default() }
}

pub(crate) fn small<O: Object>() -> impl Strategy<Value = History<O::Input, O::Output>> {
    (drafts::<O>(2..9, 50, 5), prop::collection::vec(damage(), 1..9))
        .prop_map(|(drafts, damages)| oracle::history::<O>(oracle::legal::<O>(&drafts), &damages))
}

/// All checkers on one small history.
fn agree<O: Object>(history: &History<O::Input, O::Output>) -> Result<(), TestCaseError> {
    for spec in O::specs(history) {
        let operations = history.operations();
        let expected = all_orders(&spec, operations);
        let verdict = check(&spec, history, Budget::default());
        prop_assert_eq!(says(&verdict), expected, "search: {:?} {:#?}", verdict, operations);
        let parallel = check_in_parallel(&spec, history, Budget::default(), 2);
        prop_assert_eq!(says(&parallel), expected, "on threads: {:?} {:#?}", parallel, operations);
        if let Verdict::Violation(evidence) = verdict {
            shows_why(&spec, operations, &evidence)?;
            let violation = StreamViolation::of_history(&spec, operations.to_vec(), evidence);
            let found = minimal(&spec, &violation, Budget::default());
            prop_assert!(found.proven);
            let forgotten = |kept: &[usize]| -> Vec<Operation<O::Input, O::Output>> {
                let mut forgotten = operations.to_vec();
                for (index, operation) in forgotten.iter_mut().enumerate() {
                    if !kept.contains(&index) {
                        operation.outcome = Outcome::Unknown;
                    }
                }
                forgotten
            };
            let core = &found.operations;
            prop_assert!(
                !all_orders(&spec, &forgotten(core)),
                "the core {:?} is legal {:#?}",
                core,
                operations
            );
            for index in core {
                let rest: Vec<usize> = core.iter().copied().filter(|other| other != index).collect();
                prop_assert!(all_orders(&spec, &forgotten(&rest)), "{} is in vain {:#?}", index, operations);
            }
        }
    }
    Ok(())
}

/// Evidence holds by itself: the prefix is legal, as time has it, nothing that could be next follows it, and no order gets
/// past the answer that is blamed.
fn shows_why<S: SequentialSpec>(
    spec: &S,
    operations: &[Operation<S::Input, S::Output>],
    evidence: &Evidence,
) -> Result<(), TestCaseError> {
    let mut state = spec.initial();
    for (place, index) in evidence.legal_prefix.iter().enumerate() {
        let operation = &operations[*index];
        for later in &evidence.legal_prefix[place + 1..] {
            let returned = operations[*later].outcome.returned();
            prop_assert!(
                returned.is_none_or(|returned| operation.invoke < returned),
                "{} is too late",
                index
            );
        }
        let next = spec.step(&state, &operation.input, operation.outcome.output());
        prop_assert!(next.is_some(), "{} is not legal in {:?}", index, evidence);
        state = next.unwrap();
    }
    prop_assert!(!evidence.refused.is_empty());
    for refused in &evidence.refused {
        prop_assert!(!evidence.legal_prefix.contains(&refused.operation));
        let Operation { input, outcome, .. } = &operations[refused.operation];
        let output = outcome.output().unwrap();
        if spec.step(&state, input, Some(output)).is_none() {
            prop_assert_eq!(&refused.reason, &spec.explain(&state, input, output));
        } else {
            prop_assert!(refused.reason.starts_with("legal here"), "{}", refused.reason);
        }
    }
    let blocked = &operations[evidence.blocked_by.unwrap()];
    let until = blocked.outcome.returned().unwrap();
    prop_assert!(!all_orders_until(spec, operations, until), "an order gets past {:?}", evidence.blocked_by);
    Ok(())
}

fn says(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Linearizable { .. } => true,
        Verdict::Violation(_) => false,
        Verdict::Undecided { .. } => panic!("undecided"),
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn on_small_histories_of_a_register(history in small::<Registers>()) {
        agree::<Registers>(&history)?;
    }

    #[test]
    fn on_small_histories_of_a_store(history in small::<AppendKvs>()) {
        agree::<AppendKvs>(&history)?;
    }

    #[test]
    fn on_small_histories_of_cells(history in small::<Cells>()) {
        agree::<Cells>(&history)?;
    }

    #[test]
    fn on_small_histories_of_a_set(history in small::<Sets>()) {
        agree::<Sets>(&history)?;
    }

    #[test]
    fn on_small_histories_of_a_queue(history in small::<Queues>()) {
        agree::<Queues>(&history)?;
    }
}

/// Generators that made only legal histories, or only illegal ones, would prove nothing.
#[test]
fn small_histories_are_legal_and_illegal_in_fair_shares() {
    fn share<O: Object>() {
        let mut runner = TestRunner::new(config(1));
        let legal = (0..1000).filter(|_| {
            let history = small::<O>().new_tree(&mut runner).unwrap().current();
            all_orders(&O::specs(&history)[0], history.operations())
        });
        let legal = legal.count();
        assert!((100..920).contains(&legal), "{legal} of 1000 are legal");
    }
    share::<Registers>();
    share::<AppendKvs>();
    share::<Sets>();
    share::<Queues>();
    share::<Cells>();
}

/// A stream of the operations of a history.
pub(crate) fn stream<O: Object>(spec: O::Spec, history: &History<O::Input, O::Output>) -> (bool, u64) {
    let mut stream = Stream::new(spec, Budget::default());
    for operation in history.operations() {
        if stream.push(operation.clone()).is_err() {
            return (false, stream.cuts());
        }
    }
    let cuts = stream.cuts();
    match stream.finish() {
        StreamVerdict::Linearizable { .. } => (true, cuts),
        StreamVerdict::Violation(_) => (false, cuts),
        StreamVerdict::Undecided { .. } => panic!("undecided"),
    }
}

/// A stream that is never cut is the search over again. Some are not: too much is under way all the time.
#[test]
fn most_long_histories_are_cut() {
    let mut runner = TestRunner::new(config(1));
    let cut = (0..50).filter(|_| {
        let history = long::<Registers>().new_tree(&mut runner).unwrap().current();
        let (streamed, cuts) = stream::<Registers>(Registers::specs(&history).remove(0), &history);
        cuts > 0 || !streamed
    });
    let cut = cut.count();
    assert!(cut > 40, "{cut} of 50 are cut");
}

/// Long enough to be cut, and calm enough to have an end.
fn long<O: Object>() -> impl Strategy<Value = History<O::Input, O::Output>> {
    (drafts::<O>(600..900, 30_000, 200), prop::collection::vec(damage(), 0..2))
        .prop_map(|(drafts, damages)| oracle::history::<O>(oracle::legal::<O>(&drafts), &damages))
}

proptest! {
    #![proptest_config(config(20))]

    #[test]
    fn a_stream_agrees_with_the_search(register in long::<Registers>(), set in long::<Sets>()) {
        let (streamed, _cuts) = stream::<Registers>(Registers::specs(&register).remove(0), &register);
        prop_assert_eq!(streamed, oracle::is_legal(&Registers::specs(&register)[0], &register));
        let spec = || Sets::specs(&set).remove(0);
        prop_assert_eq!(stream::<Sets>(spec(), &set).0, oracle::is_legal(&spec(), &set));
    }
}
