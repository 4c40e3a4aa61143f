//! The general search, on histories of the store.

use model::linearizability::{self, Budget, Verdict};
use model::specs::etcd::Etcd;
use model::verdict::Violation;

use crate::script;

/// What the search says of a history: `linearizable`, or the violation as it is shown.
fn check(story: &str, expected: &str) {
    let history = script::history(story);
    let spec = Etcd::of(&history);
    let verdict = match linearizability::check(&spec, &history, Budget::default()) {
        Verdict::Linearizable { .. } => "linearizable".to_owned(),
        Verdict::Undecided { .. } => "undecided".to_owned(),
        Verdict::Violation(evidence) => {
            Violation::of_history(&spec, history.operations(), &evidence).to_string()
        }
    };
    let flat = |text: &str| script::lines(text).collect::<Vec<_>>().join("\n");
    assert_eq!(flat(&verdict), flat(expected));
}

#[test]
fn concurrent_operations_may_take_effect_in_any_order() {
    check(
        "1 0..10  put a=1 -> @3
         2 1..11  put a=2 -> @2
         3 2..9   get a   -> @3 a=1/2/3/2",
        "linearizable",
    );
}

#[test]
fn a_read_that_missed_an_acknowledged_write_is_stale() {
    check(
        "1 0..10  put a=1 -> @2
         2 20..30 get a   -> @1",
        "linearizable: no legal order explains the answer of #1 client 2 [20..30 ns] get a -> @1 count 0
         the longest legal order has 1 operations; it ends with
         #0 client 1 [0..10 ns] put a=1 -> @2
         and none of these can come next:
         #1 client 2 [20..30 ns] get a -> @1 count 0: at revision 2 the answer is @2 a=1/2/2/1 count 1",
    );
}

#[test]
fn an_unknown_write_may_take_effect_late() {
    check(
        "1 0..?   put a=1
         2 10..20 get a   -> @1
         3 30..40 get a   -> @2 a=1/2/2/1",
        "linearizable",
    );
}

#[test]
fn an_unknown_write_may_never_take_effect() {
    check(
        "1 0..?   put a=1
         2 10..20 put a=2 -> @2
         3 30..40 get a   -> @2 a=2/2/2/1",
        "linearizable",
    );
}

#[test]
fn an_unknown_write_takes_effect_at_most_once() {
    check(
        "1 0..?   put a=1
         2 10..20 get a   -> @2 a=1/2/2/1
         2 30..40 get a   -> @3 a=1/2/3/2",
        "linearizable: no legal order explains the answer of #2 client 2 [30..40 ns] get a -> @3 a=1/2/3/2 count 1
         the longest legal order has 2 operations; it ends with
         #0 client 1 [0..? ns] put a=1 -> ?
         #1 client 2 [10..20 ns] get a -> @2 a=1/2/2/1 count 1
         and none of these can come next:
         #2 client 2 [30..40 ns] get a -> @3 a=1/2/3/2 count 1: at revision 2 the answer is @2 a=1/2/2/1 count 1",
    );
}

#[test]
fn an_unknown_write_cannot_take_effect_before_it_was_invoked() {
    check(
        "1 10..20 get a   -> @2 a=1/2/2/1
         2 30..?  put a=1",
        "linearizable: no legal order explains the answer of #0 client 1 [10..20 ns] get a -> @2 a=1/2/2/1 count 1
         the longest legal order has 0 operations; it ends with
         and none of these can come next:
         #0 client 1 [10..20 ns] get a -> @2 a=1/2/2/1 count 1: at revision 1 the answer is @1 count 0",
    );
}

#[test]
fn a_long_history_needs_no_deep_stack() {
    let story: String =
        (0..20_000).map(|i| format!("1 {}..{} put a=1 -> @{}\n", 2 * i, 2 * i + 1, i + 2)).collect();
    check(&story, "linearizable");
}

#[test]
fn a_spent_budget_is_no_verdict() {
    let history = script::history("1 0..10 put a=1 -> @2\n 1 20..30 put a=2 -> @3");
    let verdict = linearizability::check(&Etcd::default(), &history, Budget { steps: 1 });
    assert!(matches!(verdict, Verdict::Undecided { .. }), "{verdict:?}");
}
