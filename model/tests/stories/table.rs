//! The judge is judged, whole: a good run, changes to what was seen of it, and which checks see each of them.
//!
//! Every change is given to every oracle of this crate, so the snapshot also shows who does *not* see it. Changes whose
//! name begins with `legal` must be seen by none.

mod changes;
mod run;

use std::collections::BTreeSet;

use changes::CHANGES;
use model::durability::acknowledged_writes;
use model::history::History;
use model::linearizability::{self, Budget, Verdict};
use model::serializable::true_history;
use model::specs::etcd::{Etcd, StoreHistory};
use model::store::Store;
use model::verdict::{Check, Violation};
use model::watch::TrueEvents;
use model::{
    compaction, durability, equality, lease, liveness, raft, revisions, routing, serializable, watch,
};
use run::{BOUNDS, HEALING, Replica, Run};

/// The checks of this crate. The other two ask an engine, and two runs.
const CHECKS: usize = Check::ALL.len() - 2;

/// Whether a history has a legal order, by the revisions and by the search.
fn is_linearizable(history: &StoreHistory) -> bool {
    let fast = revisions::check(history, Budget::default());
    let general = linearizability::check(&Etcd::of(history), history, Budget::default());
    let legal = [fast, general].map(|verdict| match verdict {
        Verdict::Linearizable { .. } => true,
        Verdict::Violation(_) => false,
        Verdict::Undecided { .. } => panic!("undecided"),
    });
    assert_eq!(legal[0], legal[1]);
    legal[0]
}

/// All checks that see something wrong in a run.
fn caught(run: &Run) -> BTreeSet<Check> {
    let history = History::new(run.operations.clone()).unwrap();
    let truth = true_history(&run.log);
    let states: Vec<Store> = (0..=run.log.len()).map(|length| true_history(&run.log[..length])).collect();
    let replicas: Vec<Replica> =
        run.stores.iter().zip(1..).map(|(log, node)| Replica::of(node, log)).collect();
    let contents: Vec<_> = replicas.iter().map(|replica| replica.contents.clone()).collect();
    let hashes: Vec<_> = replicas.iter().flat_map(|replica| replica.hashes.clone()).collect();
    let violations: [Vec<Violation>; 15] = [
        serializable::check(&history, &truth),
        durability::check(&acknowledged_writes(&history), &contents),
        equality::check(&hashes),
        routing::check(&run.snapshots),
        raft::check(&run.raft, &BTreeSet::new()),
        liveness::check(HEALING, &run.spans, &run.progress),
        watch::check(&TrueEvents::of(&truth), std::slice::from_ref(&run.watch)),
        lease::not_too_early(&run.lives, BOUNDS),
        lease::not_too_late(&run.lives, BOUNDS),
        lease::not_after_the_end(&run.lives),
        lease::taken_over(&run.taken_over),
        lease::keys_go_with_their_lease(&run.events, &run.revocations),
        lease::answers(&history, states.iter()),
        [compaction::reads(&history, &truth), compaction::revisions(&run.revisions)].concat(),
        compaction::hashes(&run.hash_kv),
    ];
    let order = (!is_linearizable(&history)).then_some(Check::Linearizable);
    violations.iter().flatten().map(|violation| violation.check).chain(order).collect()
}

#[test]
fn every_change_is_seen_by_the_checks_that_watch_it() {
    assert_eq!(caught(&run::good()), BTreeSet::new(), "the good run");
    let mut ever = BTreeSet::new();
    let mut table = String::new();
    for (of, words, change) in CHANGES {
        let mut run = run::good();
        change(&mut run);
        let caught = caught(&run);
        assert_eq!(words.starts_with("legal"), caught.is_empty(), "{of}: {words}: {caught:?}");
        let names: Vec<&str> = caught.iter().map(|check| check.name()).collect();
        let names = if names.is_empty() { "-".to_owned() } else { names.join(", ") };
        table += &format!("{of:10} {words:48} {names}\n");
        ever.extend(caught);
    }
    assert_eq!(ever.len(), CHECKS, "every check sees something: {ever:?}");
    insta::assert_snapshot!(table);
}
