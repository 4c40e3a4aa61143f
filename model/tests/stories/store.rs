//! The reference store answers as etcd does.

use model::kv::{Refusal, Request, TXN_OPERATIONS_MAX, TxnRequest};
use model::notation;
use model::store::{KeyVersion, Revision, Store};

use crate::script;

/// Carries out a script of `request -> answer` lines; every answer must be as written.
fn check(story: &str) -> Store {
    let mut store = Store::default();
    for line in script::lines(story) {
        let (request, expected) = line.split_once("->").unwrap();
        let call = script::call(request);
        let result = store.call(&call).unwrap();
        assert_eq!(result, script::result(&call, expected), "{line}\ngave {}", notation::result(&result));
    }
    store
}

#[test]
fn revisions_start_at_one_and_each_write_makes_one() {
    check(
        "get a                -> @1
         put a=1              -> @2
         put a=2 prev         -> @3 a=1/2/2/1
         put b=1              -> @4
         get a                -> @4 a=2/2/3/2
         get a..              -> @4 a=2/2/3/2 b=1/4/4/1",
    );
}

#[test]
fn a_delete_makes_a_revision_only_if_it_deletes_something() {
    check(
        "delete a             -> @1 deleted 0
         put a=1              -> @2
         put b=1              -> @3
         delete a..c prev     -> @4 deleted 2 a=1/2/2/1 b=1/3/3/1
         delete a             -> @4 deleted 0
         get a..              -> @4",
    );
}

#[test]
fn a_key_written_after_its_deletion_starts_again_at_version_one() {
    check(
        "put a=1              -> @2
         put a=2              -> @3
         delete a             -> @4 deleted 1
         put a=3              -> @5
         get a                -> @5 a=3/5/5/1",
    );
}

#[test]
fn past_revisions_stay_readable_and_future_ones_are_refused() {
    check(
        "put a=1              -> @2
         put b=1              -> @3
         put a=2              -> @4
         delete a             -> @5 deleted 1
         get a.. at 1         -> @5
         get a.. at 2         -> @5 a=1/2/2/1
         get a.. at 3         -> @5 a=1/2/2/1 b=1/3/3/1
         get a.. at 4         -> @5 a=2/2/4/2 b=1/3/3/1
         get a.. at 5         -> @5 b=1/3/3/1
         get a.. at -3        -> @5 b=1/3/3/1
         get a.. at 6         -> refused future",
    );
}

#[test]
fn a_limit_cuts_the_keys_and_not_the_count() {
    check(
        "put a=1              -> @2
         put b=1              -> @3
         put c=1              -> @4
         get a..z limit 2     -> @4 a=1/2/2/1 b=1/3/3/1 count 3 more
         get a..z limit 3     -> @4 a=1/2/2/1 b=1/3/3/1 c=1/4/4/1
         get a..z count       -> @4 count 3
         get a..z limit 1 count -> @4 count 3
         get b.. keys         -> @4 b=/3/3/1 c=/4/4/1
         get c..a             -> @4
         get b..c             -> @4 b=1/3/3/1",
    );
}

#[test]
fn a_transaction_makes_one_revision_and_sees_its_own_writes() {
    check(
        "put a=1                                       -> @2
         txn then put b=1; get a..; delete a; get a..  -> @3 then [@3; @3 a=1/2/2/1 b=1/3/3/1; @3 deleted 1; @3 b=1/3/3/1]
         txn then get b; delete x; put c=1; get c at 3 -> @4 then [@3 b=1/3/3/1; @3 deleted 0; @4; @4]
         txn then get b; delete x                      -> @4 then [@4 b=1/3/3/1; @4 deleted 0]
         txn then put d=1; get a at 5                  -> refused future
         get d                                         -> @4",
    );
}

#[test]
fn compares_look_at_version_revisions_and_value() {
    check(
        "put a=5                                       -> @2
         put a=5                                       -> @3
         txn if version(a)=2 & create(a)=2 & mod(a)=3 & value(a)=5 then -> @3 then []
         txn if version(a)>1 & mod(a)<4 & value(a)!=6 & value(a)>4 then -> @3 then []
         txn if version(a)=1 then else put a=6         -> @4 else [@4]
         txn if mod(b)=0 & version(b)<1 then put b=1   -> @5 then [@5]
         txn if value(x)!=1 then put x=1               -> @5 else []
         txn if value(x)<1 then put x=1                -> @5 else []",
    );
}

#[test]
fn nested_transactions_are_decided_before_anything_is_written() {
    check(
        "txn then put a=1; (txn if version(a)=1 then put b=1 else put c=1) -> @2 then [@2; @0 else [@2]]
         get a..              -> @2 a=1/2/2/1 c=1/2/2/1",
    );
}

#[test]
fn a_transaction_may_write_a_key_once() {
    check(
        "txn then put a=1; put a=2                     -> refused duplicate
         txn then put a=1; delete a                    -> refused duplicate
         txn then delete a..c; put b=1                 -> refused duplicate
         txn then else put a=1; put a=2                -> refused duplicate
         txn then put a=1; (txn then put a=2)          -> refused duplicate
         txn then delete a; (txn then put a=2)         -> refused duplicate
         txn then (txn then put a=1); (txn then put a=2) -> refused duplicate
         txn then (txn then delete a); put a=1         -> refused duplicate
         txn then (txn then put a=1 else put a=2)      -> @2 then [@0 then [@2]]
         txn then put a=3 else put a=4                 -> @3 then [@3]
         txn then delete a; delete a                   -> @4 then [@4 deleted 1; @4 deleted 0]
         txn then put a=1; delete a..                  -> @5 then [@5; @5 deleted 1]",
    );
}

#[test]
fn empty_keys_and_long_transactions_are_refused() {
    let mut store = Store::default();
    let put = |key: usize| Request::put(key.to_string(), "");
    let txn = |success| Request::Txn(TxnRequest { success, ..TxnRequest::default() });
    assert_eq!(store.apply(&Request::put("", "")), Err(Refusal::EmptyKey));
    assert!(store.apply(&txn((0..TXN_OPERATIONS_MAX).map(put).collect())).is_ok());
    assert_eq!(
        store.apply(&txn((0..=TXN_OPERATIONS_MAX).map(put).collect())),
        Err(Refusal::TooManyOperations)
    );
    let nested = (0..TXN_OPERATIONS_MAX).map(put).chain([txn(vec![put(999)])]).skip(1).collect();
    assert_eq!(store.apply(&txn(nested)), Err(Refusal::TooManyOperations), "levels share the allowance");
}

#[test]
fn every_version_is_kept_with_its_place_in_the_transaction() {
    let store = check(
        "put b=1                      -> @2
         txn then put a=1; delete b   -> @3 then [@3; @3 deleted 1]",
    );
    let version = |key, main, sub, value| KeyVersion { key, revision: Revision { main, sub }, value };
    let versions: Vec<KeyVersion<'_>> = store.versions().collect();
    assert_eq!(
        versions,
        [
            version(b"a", 3, 0, Some(b"1".as_slice())),
            version(b"b", 2, 0, Some(b"1")),
            version(b"b", 3, 1, None)
        ]
    );
}

#[test]
fn a_clone_keeps_its_state_and_its_fingerprint() {
    let mut store = check("put a=1 -> @2");
    let before = store.clone();
    store.apply(&script::request("put a=2")).unwrap();
    assert_ne!(store.fingerprint(), before.fingerprint());
    assert_eq!(before.revision(), 2);
    let mut again = before.clone();
    again.apply(&script::request("put a=2")).unwrap();
    assert_eq!(again.fingerprint(), store.fingerprint());
}

#[test]
fn the_current_fingerprint_forgets_the_past() {
    let current = |story: &str| check(story).current_fingerprint();
    let empty = Store::default().current_fingerprint();
    assert_eq!(current("put a=1 -> @2\n put a=2 -> @3\n delete a -> @4 deleted 1"), empty);
    assert_eq!(
        current("put a=1 -> @2\n delete a -> @3 deleted 1\n put b=1 -> @4"),
        current("put c=9 -> @2\n delete c -> @3 deleted 1\n put b=1 -> @4"),
    );
    assert_ne!(current("put a=1 -> @2\n put a=2 -> @3"), current("put b=1 -> @2\n put a=2 -> @3"));
    assert_ne!(current("put a=1 -> @2"), empty);
}

#[test]
fn the_notation_reads_back_as_written() {
    for text in [
        "get a limit 2 at 7 count",
        "get a..m keys",
        "put a=1 prev",
        "delete a..",
        "txn if mod(a)=0 & value(b)<x then put a=1; get b else (txn then delete c prev)",
    ] {
        assert_eq!(script::request(text).to_string(), text);
    }
}
