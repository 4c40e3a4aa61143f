//! The checkers agree: the fast path by revisions, the general search, and an oracle that tries all orders.

use model::history::Stamp;
use model::linearizability::{self, Budget, Verdict};
use model::revisions;
use model::specs::etcd::{Etcd, StoreHistory, StoreOperation};
use model::store::Store;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::generator::{self, Damage};

/// A run of cases that is the same each time.
pub(crate) fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Config::default() }
}

/// Whether some order of the operations is legal, by trying every one.
pub(crate) fn all_orders(operations: &[StoreOperation], placed: &mut Vec<usize>, store: &Store) -> bool {
    let left = |index: &usize| !placed.contains(index);
    let returns: Vec<(usize, Stamp)> = (0..operations.len())
        .filter(left)
        .filter_map(|index| Some((index, operations[index].outcome.returned()?)))
        .collect();
    if returns.is_empty() {
        return true;
    }
    let candidates: Vec<usize> = (0..operations.len()).filter(left).collect();
    candidates.into_iter().any(|index| {
        let operation = &operations[index];
        let too_early = returns.iter().any(|(other, at)| *other != index && *at < operation.invoke);
        let mut next = store.clone();
        let answer = next.call(&operation.input).unwrap();
        let legal = operation.outcome.output().is_none_or(|output| *output == answer);
        if too_early || !legal {
            return false;
        }
        placed.push(index);
        let found = all_orders(operations, placed, &next);
        placed.pop();
        found
    })
}

fn says_legal(verdict: &Verdict) -> Option<bool> {
    match verdict {
        Verdict::Linearizable { .. } => Some(true),
        Verdict::Violation(_) => Some(false),
        Verdict::Undecided { .. } => None,
    }
}

fn show(history: &StoreHistory) -> String {
    history.operations().iter().fold(String::new(), |text, operation| {
        let returned = operation.outcome.returned().map(|at| at.time_ns);
        let answer = operation.outcome.output().map(model::notation::result);
        format!("{text}\n{}..{returned:?} {} -> {answer:?}", operation.invoke.time_ns, operation.input)
    })
}

fn small() -> impl Strategy<Value = StoreHistory> {
    (generator::drafts(1..8, 160), prop::collection::vec(generator::damage(), 0..6))
        .prop_map(|(drafts, damages)| generator::history(generator::legal(&drafts), &damages))
}

fn large() -> impl Strategy<Value = (StoreHistory, StoreHistory)> {
    (generator::drafts(30..80, 600), prop::collection::vec(generator::damage(), 1..3)).prop_map(
        |(drafts, damages)| {
            let legal = generator::legal(&drafts);
            (generator::history(legal.clone(), &[]), generator::history(legal, &damages))
        },
    )
}

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn all_checkers_agree_on_small_histories(history in small()) {
        let expected = Some(all_orders(history.operations(), &mut Vec::new(), &Store::default()));
        let general = linearizability::check(&Etcd::default(), &history, Budget::default());
        let claimed = linearizability::check(&Etcd::of(&history), &history, Budget::default());
        let fast = revisions::check(&history, Budget::default());
        prop_assert_eq!(says_legal(&general), expected, "general: {:?}{}", general, show(&history));
        prop_assert_eq!(says_legal(&claimed), expected, "with claims: {:?}{}", claimed, show(&history));
        prop_assert_eq!(says_legal(&fast), expected, "fast: {:?}{}", fast, show(&history));
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn both_checkers_agree_on_large_histories((legal, damaged) in large()) {
        prop_assert_eq!(says_legal(&revisions::check(&legal, Budget::default())), Some(true));
        let fast = revisions::check(&damaged, Budget { steps: 200_000 });
        let general = linearizability::check(&Etcd::of(&damaged), &damaged, Budget { steps: 300_000 });
        if let (Some(fast), Some(general)) = (says_legal(&fast), says_legal(&general)) {
            prop_assert_eq!(fast, general, "{}", show(&damaged));
        }
        prop_assert!(says_legal(&fast).is_some(), "undecided: {}", show(&damaged));
    }
}

/// A generator that made only legal histories, or only illegal ones, would prove nothing.
#[test]
fn small_histories_are_legal_and_illegal_in_fair_shares() {
    let mut runner = TestRunner::new(config(1));
    let legal = (0..1000).filter(|_| {
        let history = small().new_tree(&mut runner).unwrap().current();
        all_orders(history.operations(), &mut Vec::new(), &Store::default())
    });
    let legal = legal.count();
    assert!((200..800).contains(&legal), "{legal} of 1000 are legal");
}

/// The damages are of every kind.
#[test]
fn damage_of_every_kind_is_generated() {
    let mut runner = TestRunner::new(config(1));
    let kinds = (0..500).map(|_| generator::damage().new_tree(&mut runner).unwrap().current());
    let mut kinds: Vec<_> = kinds.map(|damage: Damage| std::mem::discriminant(&damage)).collect();
    kinds.dedup();
    let mut distinct = Vec::new();
    for kind in kinds {
        if !distinct.contains(&kind) {
            distinct.push(kind);
        }
    }
    assert_eq!(distinct.len(), 9);
}
