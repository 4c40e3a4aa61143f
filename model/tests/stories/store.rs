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
        "txn if mod(a)=0 & value(b)<x & lease(a..c)=7 then put a=1; get b else (txn then delete c prev)",
        "serializable get a.. limit 2 sort mod descend min-mod 3 max-create 4 keys",
        "get a..c sort value",
        "put a=1 lease 7 keep-value keep-lease prev",
        "compact 5 physical",
        "grant 7 ttl 10",
        "revoke 7",
        "time-to-live 7 keys",
    ] {
        assert_eq!(script::call(text).to_string(), text);
    }
}

#[test]
fn keys_go_with_their_lease_in_one_revision() {
    check(
        "grant 7 ttl 10             -> @1
         grant 7 ttl 10             -> refused lease-exists
         put b=1 lease 7            -> @2
         put a=1 lease 7            -> @3
         put c=1 lease 7            -> @4
         put c=2                    -> @5
         time-to-live 7 keys        -> @5 ttl 10 of 10 a b
         put a=2 keep-lease prev    -> @6 a=1/3/3/1/7
         put b lease 8 keep-value   -> refused no-lease
         revoke 7                   -> @7
         revoke 7                   -> refused no-lease
         get a..                    -> @7 c=2/4/5/2
         time-to-live 7 keys        -> @7 ttl -1
         put a=1 lease 7            -> refused no-lease
         grant 7 ttl 10             -> @7
         revoke 7                   -> @7",
    );
}

#[test]
fn a_lease_is_refused_or_lengthened_by_its_time_to_live() {
    let mut store = Store::default();
    let mut grant = |ttl_s| store.call(&model::kv::Call::LeaseGrant { id: 0, ttl_s }).unwrap();
    assert_eq!(notation::result(&grant(1)), "@1 lease 1 ttl 2");
    assert_eq!(notation::result(&grant(9_000_000_000)), "@1 lease 2 ttl 9000000000");
    assert_eq!(grant(9_000_000_001), Err(Refusal::LeaseTtlTooLarge));
}

#[test]
fn puts_that_keep_something_need_a_key_and_nothing_else() {
    check(
        "put a=1 keep-value         -> refused value
         put a keep-value           -> refused no-key
         put a=1 lease 7 keep-lease -> refused lease
         put a=1                    -> @2
         put a keep-value prev      -> @3 a=1/2/2/1
         get a                      -> @3 a=1/2/3/2
         txn then put b lease 7 keep-value -> refused no-key
         put b lease 7 keep-value   -> refused no-lease
         txn then put a keep-value; delete 0.. -> @4 then [@4; @4 deleted 1]
         put a=1                    -> @5
         txn then delete 0..; put a keep-value -> refused no-key
         get a                      -> @5 a=1/5/5/1",
    );
}

#[test]
fn compaction_refuses_what_lies_below_and_leaves_what_lies_above() {
    check(
        "compact -1                 -> refused compacted
         compact 0                  -> @1
         compact 0                  -> refused compacted
         put a=1                    -> @2
         put a=2                    -> @3
         delete a                   -> @4 deleted 1
         compact 5                  -> refused future
         compact 3                  -> @4
         compact 3                  -> refused compacted
         get a at 2                 -> refused compacted
         get a at 3                 -> @4 a=2/2/3/2
         get a at -1                -> @4
         txn then get a at -1       -> refused compacted
         txn then get a at 2        -> refused compacted
         txn then get a at 3        -> @4 then [@4 a=2/2/3/2]",
    );
}

#[test]
fn limits_cut_before_or_after_the_order() {
    check(
        "put c=1                    -> @2
         put b=3                    -> @3
         put a=2                    -> @4
         get a.. sort value         -> @4 c=1/2/2/1 a=2/4/4/1 b=3/3/3/1
         get a.. limit 1 sort value -> @4 a=2/4/4/1 count 3 more
         get a.. limit 1 sort value ascend -> @4 c=1/2/2/1 count 3 more
         get a.. sort mod descend   -> @4 a=2/4/4/1 b=3/3/3/1 c=1/2/2/1
         get a.. min-mod 3          -> @4 a=2/4/4/1 b=3/3/3/1 count 3
         get a.. limit 1 max-create 3 -> @4 b=3/3/3/1 count 3 more
         get a.. sort version descend keys -> @4 a=/4/4/1 b=/3/3/1 c=/2/2/1",
    );
}

#[test]
fn events_are_those_of_the_range_in_order_and_show_what_was_there_unless_compacted() {
    let mut store = check(
        "put a=1                    -> @2
         put b=1                    -> @3
         txn then put b=2; delete a -> @4 then [@4; @4 deleted 1]",
    );
    let shown = |store: &Store, from| {
        let events = store.events(b"a", Some(b"c"), from, store.revision(), true);
        let show = |event: &model::kv::Event| {
            let before = event.prev_kv.as_ref().map_or(String::new(), |kv| format!(" was {kv}"));
            format!("{:?} {}{before}", event.kind, event.kv)
        };
        events
            .map(|events| events.iter().map(show).collect::<Vec<_>>())
            .map_err(|below| below.compact_revision)
    };
    let last = ["Put b=2/3/4/2 was b=1/3/3/1", "Delete a=/0/4/0 was a=1/2/2/1"];
    assert_eq!(shown(&store, 4).unwrap(), last);
    assert_eq!(shown(&store, 2).unwrap()[..2], ["Put a=1/2/2/1", "Put b=1/3/3/1"]);
    store.call(&script::call("compact 4")).unwrap().unwrap();
    assert_eq!(shown(&store, 4).unwrap(), ["Put b=2/3/4/2", "Delete a=/0/4/0"]);
    assert_eq!(shown(&store, 3), Err(4));
}

#[test]
fn leases_and_compaction_are_in_the_fingerprints() {
    let fingerprint = |story: &str| {
        let store = check(story);
        (store.fingerprint(), store.current_fingerprint())
    };
    let empty = fingerprint("");
    let granted = fingerprint("grant 7 ttl 9 -> @1");
    let compacted = fingerprint("compact 1 -> @1");
    assert!(granted.0 != empty.0 && granted.1 != empty.1);
    assert!(compacted.0 != empty.0 && compacted.1 != empty.1);
    assert_eq!(fingerprint("grant 7 ttl 9 -> @1\n revoke 7 -> @1"), empty);
    assert_ne!(fingerprint("grant 7 ttl 8 -> @1"), granted);
}

#[test]
fn hashes_are_of_what_can_be_read() {
    let hash = |story: &str| match check(story).call(&model::kv::Call::HashKv { revision: 0 }) {
        Some(Ok(model::kv::CallAnswer::HashKv { hash, .. })) => hash,
        other => panic!("{other:?}"),
    };
    let twice = "put a=1 -> @2\n put a=2 -> @3";
    assert_ne!(hash(twice), hash("put a=1 -> @2"));
    assert_ne!(hash(twice), hash(&format!("{twice}\n compact 3 -> @3")));
    assert_eq!(
        hash(&format!("{twice}\n delete a -> @4 deleted 1\n compact 4 -> @4")),
        hash("compact 1 -> @1"),
    );
}
