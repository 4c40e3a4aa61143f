//! Every engine does every step, and holds what an ordered map says.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// A step, or a clean close after a durability call, and an opening.
#[derive(Clone, Debug)]
enum Action {
    Do(Step),
    Reopen,
}

fn spaces(native: &dyn Native) -> Vec<String> {
    let names: &[&str] =
        if native.promises().abilities.spaces { &["apples", "pears"] } else { &[ONLY_SPACE] };
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (0..40_u8).prop_map(|number| format!("key {number:02}").into_bytes())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), prop_oneof![4 => 0..200_usize, 1 => 2_000..6_000_usize])
        .prop_map(|(byte, length)| (0..length).map(|at| byte ^ (at * at / 7) as u8).collect())
}

fn mutation(native: &dyn Native) -> BoxedStrategy<Mutation> {
    let space = || prop::sample::select(spaces(native));
    let put = (space(), key(), value()).prop_map(|(space, key, value)| Mutation::Put { space, key, value });
    let delete = (space(), key()).prop_map(|(space, key)| Mutation::Delete { space, key });
    let range =
        (space(), key(), key()).prop_map(|(space, start, end)| Mutation::DeleteRange { space, start, end });
    if native.promises().abilities.range_delete {
        prop_oneof![6 => put, 2 => delete, 1 => range].boxed()
    } else {
        prop_oneof![6 => put, 2 => delete].boxed()
    }
}

fn action(native: &dyn Native) -> impl Strategy<Value = Action> {
    let promises = native.promises();
    let abilities = promises.abilities;
    let space = || prop::sample::select(spaces(native));
    let write = (prop::collection::vec(mutation(native), 0..5), 0..promises.writes.len())
        .prop_map(|(batch, mode)| Step::Write { batch, mode });
    let mut steps =
        vec![(24, write.boxed()), (4, (0..promises.persists.len()).prop_map(Step::Persist).boxed())];
    if abilities.spaces {
        steps.push((1, space().prop_map(Step::CreateSpace).boxed()));
        steps.push((1, space().prop_map(Step::DropSpace).boxed()));
    }
    if abilities.flush {
        steps.push((2, Just(Step::Flush).boxed()));
    }
    if abilities.compact {
        steps.push((1, Just(Step::Compact).boxed()));
    }
    prop_oneof![30 => prop::strategy::Union::new_weighted(steps).prop_map(Action::Do), 1 => Just(Action::Reopen)]
}

fn check(native: &dyn Native, actions: &[Action]) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = native.open(dir.path()).unwrap();
    let mut expected = Contents::new();
    for (number, action) in actions.iter().chain([&Action::Reopen]).enumerate() {
        match action {
            Action::Do(step) => {
                store.run(step).unwrap_or_else(|failure| panic!("action {number}, {step:?}: {failure}"));
                step.apply(&mut expected);
            }
            Action::Reopen => {
                store.run(&Step::Persist(native.promises().persists.len() - 1)).unwrap();
                store.close().unwrap();
                store = native.open(dir.path()).unwrap();
            }
        }
        check_contents(&store.contents().unwrap(), &expected, &format!("after action {number}, {action:?}"));
    }
    store.close().unwrap();
}

/// Names the keys that differ, not what they hold.
fn check_contents(found: &Contents, expected: &Contents, when: &str) {
    let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let wrong = |key: &&&(String, Vec<u8>)| found.get(**key) != expected.get(**key);
    let wrong: Vec<String> =
        keys.iter().filter(wrong).map(|(space, key)| format!("{space} {}", key.escape_ascii())).collect();
    assert_eq!(wrong, [""; 0], "{when}");
}

/// Short runs that shrink, then a long one that fills segments, memtables and levels.
fn check_against_a_map(native: &dyn Native) {
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let short = prop::collection::vec(action(native), 0..40);
    runner
        .run(&short, |actions| {
            check(native, &actions);
            Ok(())
        })
        .unwrap();
    let long = prop::collection::vec(action(native), 500).new_tree(&mut runner).unwrap().current();
    check(native, &long);
}

#[test]
fn sled_is_a_map() {
    check_against_a_map(native("sled").unwrap());
}

#[test]
fn fjall_is_a_map() {
    check_against_a_map(native("fjall").unwrap());
}

#[test]
fn redb_is_a_map() {
    check_against_a_map(native("redb").unwrap());
}

#[test]
fn lsm_tree_is_a_map() {
    check_against_a_map(native("lsm-tree").unwrap());
}

#[test]
fn mem_is_a_map() {
    check_against_a_map(native("mem").unwrap());
}

#[test]
fn the_versions_are_those_of_the_lock_file() {
    let lock = include_str!("../../../Cargo.lock");
    for native in natives().iter().filter(|native| native.name() != "mem") {
        let package = format!("name = \"{}\"\nversion = \"{}\"\n", native.name(), native.version());
        assert!(lock.contains(&package), "{package}");
    }
}

/// Every promise speaks for itself: a table without a promise would make any outcome right.
#[test]
fn every_engine_promises_something_in_words() {
    for native in natives() {
        let promises = native.promises();
        let strongest = promises.writes.iter().chain(promises.persists).map(|call| call.survives).max();
        assert_eq!(strongest, Some(Survives::PowerFailure), "{}", native.name());
        let calls = promises.writes.iter().chain(promises.persists).chain(&promises.flush);
        assert!(calls.into_iter().all(|call| !call.source.is_empty()), "{}", native.name());
        assert!(promises.abilities.flush || promises.flush.is_none(), "{}", native.name());
        assert_eq!(promises.drops.is_some(), promises.abilities.spaces, "{}", native.name());
    }
}

#[test]
fn what_an_engine_cannot_do_is_refused() {
    for native in natives() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = native.open(dir.path()).unwrap();
        let promises = native.promises();
        let space = spaces(*native).remove(0);
        let mut beyond = vec![
            Step::Write { batch: Vec::new(), mode: promises.writes.len() },
            Step::Persist(promises.persists.len()),
        ];
        if !promises.abilities.flush {
            beyond.push(Step::Flush);
        }
        if !promises.abilities.compact {
            beyond.push(Step::Compact);
        }
        if !promises.abilities.spaces {
            beyond.extend([Step::CreateSpace("other".to_owned()), Step::DropSpace(space.clone())]);
        }
        if !promises.abilities.range_delete {
            let range = Mutation::DeleteRange { space, start: b"a".to_vec(), end: b"b".to_vec() };
            beyond.push(Step::Write { batch: vec![range], mode: 0 });
        }
        for step in beyond {
            let failure = store.run(&step).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Error, "{}: {failure}", native.name());
            assert!(failure.message.contains("misuse"), "{}: {failure}", native.name());
        }
        store.close().unwrap();
    }
}

#[test]
fn a_store_is_open_once() {
    // lsm-tree has no lock: that is left to its caller.
    for native in natives().iter().filter(|native| native.name() != "lsm-tree") {
        let dir = tempfile::tempdir().unwrap();
        let store = native.open(dir.path()).unwrap();
        let failure = native.open(dir.path()).map(drop).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Locked, "{}: {failure}", native.name());
        store.close().unwrap();
        native.open(dir.path()).unwrap().close().unwrap();
    }
}
