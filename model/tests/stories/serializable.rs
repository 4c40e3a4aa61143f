//! Serializable reads show states that the store really had.

use model::serializable::{self, true_history};

use crate::script;

const WRITES: &str = "
    1 0..10   put a=1             -> @2
    1 20..30  txn then put a=2; put b=1 -> @3 then [@3; @3]
    1 40..50  delete a            -> @4 deleted 1
    1 60..70  compact 3           -> @4";

/// How many violations a read gives.
fn check(read: &str) -> usize {
    let writes = script::history(WRITES);
    let store = true_history(writes.operations().iter().map(|operation| &operation.input));
    let history = script::history(&format!("{WRITES}\n 2 100..110 {read}"));
    serializable::check(&history, &store).len()
}

#[test]
fn any_state_that_was_may_be_shown() {
    for read in [
        "serializable get a.. -> @1",
        "serializable get a.. -> @2 a=1/2/2/1",
        "serializable get a.. -> @3 a=2/2/3/2 b=1/3/3/1",
        "serializable get a.. -> @4 b=1/3/3/1",
        "serializable get a at 2 -> @3 a=1/2/2/1",
        "serializable get a at 2 -> refused compacted",
        "serializable get a at 3 -> refused future",
        "txn if value(a)=1 then serializable get a -> @2 then [@2 a=1/2/2/1]",
    ] {
        assert_eq!(check(read), 0, "{read}");
    }
}

#[test]
fn states_that_never_were_are_seen() {
    for read in [
        "serializable get a.. -> @1 a=1/2/2/1",
        "serializable get a.. -> @3 a=1/2/2/1",
        "serializable get a.. -> @3 a=2/2/3/2",
        "serializable get a.. -> @4 a=2/2/3/2 b=1/3/3/1",
        "serializable get a.. -> @5 b=1/3/3/1",
        "serializable get a.. -> @0",
        "serializable get a at 3 -> @2 a=2/2/3/2",
        "serializable get a at 3 -> refused compacted",
        "serializable get a -> refused future",
        "serializable get a -> refused duplicate",
        "txn if value(a)=1 then serializable get a -> @3 then [@3 a=2/2/3/2]",
    ] {
        assert_eq!(check(read), 1, "{read}");
    }
}

#[test]
fn other_operations_are_not_judged() {
    assert_eq!(check("get a -> @1"), 0);
}
