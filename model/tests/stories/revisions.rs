//! The fast path, on histories that show each of its rules.

use model::linearizability::{Budget, Verdict};
use model::revisions;
use model::specs::etcd::Etcd;
use model::verdict::Violation;

use crate::script;

/// What the fast path says of a history: `linearizable`, or the last lines of the violation as it is shown,
/// from `and none of these can come next` on.
fn check(story: &str, expected: &str) {
    let history = script::history(story);
    let verdict = match revisions::check(&history, Budget::default()) {
        Verdict::Linearizable { .. } => "linearizable".to_owned(),
        Verdict::Undecided { .. } => "undecided".to_owned(),
        Verdict::Violation(evidence) => {
            let shown =
                Violation::of_history(&Etcd::of(&history), history.operations(), &evidence).to_string();
            shown.split_once("and none of these can come next:").unwrap().1.to_owned()
        }
    };
    let flat = |text: &str| script::lines(text).collect::<Vec<_>>().join("\n");
    assert_eq!(flat(&verdict), flat(expected));
}

#[test]
fn writes_stand_at_their_revisions_and_reads_between_them() {
    check(
        "1 0..50  put a=1 -> @3
         2 0..50  put a=2 -> @2
         3 1..50  get a   -> @3 a=1/2/3/2
         4 2..50  get a   -> @2 a=2/2/2/1
         5 3..50  get a   -> @1",
        "linearizable",
    );
}

#[test]
fn a_revision_is_made_once() {
    check(
        "1 0..10  put a=1 -> @2
         2 1..11  put b=1 -> @2",
        "#1 client 2 [1..11 ns] put b=1 -> @2: revision 2 was made by #0",
    );
}

#[test]
fn revisions_agree_with_real_time() {
    check(
        "1 0..10  put a=1 -> @3
         2 20..30 put b=1 -> @2",
        "#0 client 1 [0..10 ns] put a=1 -> @3: it returned before #1 was invoked, but its revision puts it after",
    );
    check(
        "1 0..10  put a=1 -> @2
         2 20..30 get a   -> @1",
        "#0 client 1 [0..10 ns] put a=1 -> @2: it returned before #1 was invoked, but its revision puts it after",
    );
}

#[test]
fn an_answer_is_the_one_of_its_revision() {
    check(
        "1 0..10  put a=1 -> @2
         2 20..30 get a   -> @2 a=2/2/2/1",
        "#1 client 2 [20..30 ns] get a -> @2 a=2/2/2/1 count 1: after revision 2 the answer is @2 a=1/2/2/1 count 1",
    );
}

#[test]
fn a_gap_needs_an_unknown_write_that_was_invoked_in_time() {
    check(
        "1 0..10  put a=1 -> @3
         2 30..?  put b=1",
        "#0 client 1 [0..10 ns] put a=1 -> @3: no operation can have made revision 2 before it
         #1 client 2 [30..? ns] put b=1 -> ?: cannot have made revision 2: it was invoked after that revision was seen, at 10 ns",
    );
    check(
        "1 0..10  put a=1 -> @3
         2 5..?   put b=1",
        "linearizable",
    );
}

#[test]
fn a_gap_needs_a_write_that_writes() {
    check(
        "1 0..?   delete b
         2 1..?   txn if mod(a)=7 then put a=7
         3 5..10  put a=1 -> @3",
        "#2 client 3 [5..10 ns] put a=1 -> @3: no operation can have made revision 2 before it
         #0 client 1 [0..? ns] delete b -> ?: cannot have made revision 2: it would have changed nothing
         #1 client 2 [1..? ns] txn if mod(a)=7 then put a=7 -> ?: cannot have made revision 2: it would have changed nothing",
    );
}

#[test]
fn later_answers_show_which_unknown_write_filled_a_gap() {
    check(
        "1 0..?   put a=1
         2 1..?   put b=1
         3 5..10  put c=1 -> @3
         4 20..30 get b   -> @3 b=1/2/2/1
         5 20..30 get a   -> @3",
        "linearizable",
    );
    check(
        "1 0..?   put a=1
         2 1..?   put a=2
         3 5..10  put c=1 -> @3
         4 20..30 get a   -> @3 a=3/2/2/1",
        "#2 client 3 [5..10 ns] put c=1 -> @3: no operation can have made revision 2 before it
         #0 client 1 [0..? ns] put a=1 -> ?: cannot have made revision 2: #3 shows another value of a at revision 2
         #1 client 2 [1..? ns] put a=2 -> ?: cannot have made revision 2: #3 shows another value of a at revision 2",
    );
    check(
        "1 0..?   put a=1
         2 5..10  put c=1 -> @3
         3 20..30 get a   -> @3
         4 40..50 put a=2 prev -> @4",
        "#2 client 3 [20..30 ns] get a -> @3 count 0: after revision 3 the answer is @3 a=1/2/2/1 count 1",
    );
}

#[test]
fn one_unknown_write_fills_one_gap() {
    check(
        "1 0..?   put a=1
         2 5..10  put c=1 -> @4",
        "#1 client 2 [5..10 ns] put c=1 -> @4: no operation can have made revision 3 before it",
    );
}

/// The first filling tried puts `b` at revision 2. When it fails, the second one comes to the same keys at
/// revision 4 with the same operations used, and differs only in the past, which the last read looks at.
#[test]
fn a_filling_is_given_up_only_if_the_past_that_will_be_read_is_the_same() {
    check(
        "1 0..?   put b=1
         2 1..?   put a=1
         3 2..?   put c=1
         4 10..20 delete a.. -> @4 deleted 2
         5 30..40 get c      -> @5 c=1/5/5/1
         6 50..60 get b at 2 -> @5",
        "linearizable",
    );
}

#[test]
fn a_future_revision_is_refused_only_before_it_is_reached() {
    check(
        "1 0..10  put a=1 -> @2
         2 20..50 get a at 3 -> refused future
         1 30..40 put a=2 -> @3",
        "linearizable",
    );
    check(
        "1 0..10  put a=1 -> @2
         1 30..40 put a=2 -> @3
         2 50..60 get a at 3 -> refused future",
        "#2 client 2 [50..60 ns] get a at 3 -> refused: etcdserver: mvcc: required revision is a future revision: \
         after revision 3 the answer is @3 a=2/2/3/2 count 1",
    );
}

#[test]
fn a_refused_transaction_is_placed_where_its_compares_fit() {
    check(
        "1 0..10  put a=1 -> @2
         2 20..30 txn if mod(a)=2 then get a at 3 -> refused future
         1 40..50 put a=2 -> @3",
        "linearizable",
    );
    check(
        "1 0..10  put a=1 -> @2
         2 20..30 txn if mod(a)=1 then get a at 3 -> refused future",
        "#1 client 2 [20..30 ns] txn if mod(a)=1 then get a at 3 -> refused: etcdserver: mvcc: required revision is a future revision: \
         after revision 2 the answer is @2 else []",
    );
}

#[test]
fn refusals_of_form_hold_in_every_state_and_no_other() {
    check("1 0..10 txn then put a=1; put a=2 -> refused duplicate", "linearizable");
    check(
        "1 0..10 txn then put a=1 -> refused duplicate",
        "#0 client 1 [0..10 ns] txn then put a=1 -> refused: etcdserver: duplicate key given in txn request: every state gives an answer",
    );
}

#[test]
fn a_huge_revision_is_a_gap_and_takes_no_time() {
    check(
        "1 0..10 put a=1 -> @9000000000000000000",
        "#0 client 1 [0..10 ns] put a=1 -> @9000000000000000000: no operation can have made revision 2 before it",
    );
    check(
        "1 0..10 get a -> @-9000000000000000000",
        "#0 client 1 [0..10 ns] get a -> @-9000000000000000000 count 0: no such operation can see a revision below 1",
    );
}

#[test]
fn a_long_history_is_checked_in_one_pass() {
    let story: String = (0..20_000)
        .map(|i| format!("1 {}..{} put k{}=1 -> @{}\n", 2 * i, 2 * i + 1, i % 97, i + 2))
        .collect();
    let history = script::history(&story);
    let verdict = revisions::check(&history, Budget { steps: 20_000 });
    assert_eq!(verdict, Verdict::Linearizable { steps: 20_000 });
}

#[test]
fn leases_and_compactions_stand_in_the_groups_of_their_revisions() {
    check(
        "1 0..10   grant 7 ttl 9          -> @1
         1 20..30  put a=1 lease 7        -> @2
         2 35..60  compact 2              -> @2
         3 36..38  get a at 1             -> @2
         3 40..60  get a at 1             -> refused compacted
         1 70..80  revoke 7               -> @3
         2 90..95  put b=1 lease 7        -> refused no-lease
         2 100..110 revoke 7              -> refused no-lease
         3 120..130 get a..               -> @3",
        "linearizable",
    );
    check(
        "1 0..10   put a=1                -> @2
         1 20..30  compact 2              -> @2
         2 40..50  get a at 1             -> @2",
        "#2 client 2 [40..50 ns] get a at 1 -> @2 count 0: after revision 2 the answer is refused: \
         etcdserver: mvcc: required revision has been compacted",
    );
    check(
        "1 0..10   grant 7 ttl 9          -> @1
         1 20..30  revoke 7               -> @1
         2 40..50  put a=1 lease 7        -> @2",
        "#2 client 2 [40..50 ns] put a=1 lease 7 -> @2: after revision 1 the answer is refused: \
         etcdserver: requested lease not found",
    );
}

#[test]
fn a_revocation_makes_the_revision_that_it_names_or_none() {
    check(
        "1 0..10   grant 7 ttl 9          -> @1
         1 20..30  put a=1 lease 7        -> @2
         1 40..50  revoke 7               -> @3
         1 60..70  put b=1                -> @4",
        "linearizable",
    );
    check(
        "1 0..10   grant 7 ttl 9          -> @1
         1 20..30  put a=1                -> @2
         1 40..50  revoke 7               -> @3
         1 60..70  put b=1                -> @4",
        "#2 client 1 [40..50 ns] revoke 7 -> @3: no operation can have made revision 3 before it
         #2 client 1 [40..50 ns] revoke 7 -> @3: cannot have made revision 3: it would have changed nothing",
    );
}

/// The pseudo-operation of a lease that may expire, invoked when it first could.
#[test]
fn a_lease_expires_when_it_may_and_not_before() {
    let story = |read: &str| {
        format!(
            "1 0..10   grant 7 ttl 2          -> @1
             1 20..30  put a=1 lease 7        -> @2
             99 50..?  revoke 7
             2 {read}"
        )
    };
    check(&story("60..70 get a -> @3"), "linearizable");
    check(&story("60..70 get a -> @2 a=1/2/2/1/7"), "linearizable");
    check(&story("60..70 put b=1 -> @4"), "linearizable");
    check(
        &story("40..45 get a -> @3"),
        "#2 client 2 [40..45 ns] get a -> @3 count 0: no operation can have made revision 3 before it
         #3 client 99 [50..? ns] revoke 7 -> ?: cannot have made revision 3: it was invoked after that revision was seen, at 45 ns",
    );
}

#[test]
fn an_expired_lease_without_keys_is_seen_by_refusals_only() {
    check(
        "1 0..10   grant 7 ttl 2          -> @1
         1 20..30  grant 8 ttl 2          -> @1
         98 50..?  revoke 8
         99 50..?  revoke 7
         2 60..70  put a=1 lease 7        -> refused no-lease
         2 80..90  put a=1 lease 8        -> @2
         2 100..110 put a=1 lease 8       -> refused no-lease
         2 120..130 get a                 -> @3",
        "linearizable",
    );
    check(
        "1 0..10   grant 7 ttl 2          -> @1
         99 50..?  revoke 7
         2 60..70  put a=1 lease 7        -> refused no-lease
         2 80..90  put a=1 lease 7        -> @2",
        "#3 client 2 [80..90 ns] put a=1 lease 7 -> @2: after revision 1 the answer is refused: \
         etcdserver: requested lease not found",
    );
}

#[test]
fn what_takes_no_place_in_the_order_is_not_judged_here() {
    check(
        "1 0..10   put a=1                -> @2
         2 20..30  serializable get a     -> @1
         2 40..50  time-to-live 7         -> @1 ttl 5 of 9
         2 60..70  put a=2                -> refused space",
        "linearizable",
    );
}
