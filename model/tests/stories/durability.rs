//! Acknowledged writes are looked for in every replica.

use model::durability::{self, AcknowledgedWrite, ReplicaContents, StoredVersion, acknowledged_writes};
use model::store::Store;

use crate::script;

const STORY: &str = "
    1 0..10   put a=1                  -> @2
    1 20..30  put a=2                  -> @3
    2 40..50  put b=1                  -> @4
    2 60..?   put b=9
    1 80..90  txn then put c=1; delete a prev -> @5 then [@5; @5 deleted 1 a=2/2/3/2]
    1 100..110 delete a.. -> @6 deleted 2
    1 120..130 get a      -> @6";

fn writes() -> Vec<AcknowledgedWrite> {
    acknowledged_writes(&script::history(STORY))
}

/// What a replica holds that did everything acknowledged.
fn replica(node: u64) -> ReplicaContents {
    let mut store = Store::default();
    for operation in script::history(STORY).operations() {
        if operation.outcome.output().is_some() {
            store.call(&operation.input).unwrap().unwrap();
        }
    }
    let versions = store.versions().map(|version| StoredVersion {
        key: version.key.to_vec(),
        mod_revision: version.revision.main,
        value: version.value.map(<[u8]>::to_vec),
    });
    ReplicaContents { node, compacted_revision: 0, versions: versions.collect() }
}

/// What the check says of a replica after a change, the message alone.
fn check(change: impl FnOnce(&mut Vec<StoredVersion>)) -> Vec<String> {
    let mut changed = replica(2);
    change(&mut changed.versions);
    let violations = durability::check(&writes(), &[replica(1), changed]);
    violations.into_iter().map(|violation| violation.message).collect()
}

#[test]
fn a_replica_with_every_write_is_durable() {
    assert_eq!(check(|_| {}), [""; 0]);
}

#[test]
fn more_than_was_acknowledged_may_be_there() {
    let more = StoredVersion { key: b"b".to_vec(), mod_revision: 7, value: Some(b"9".to_vec()) };
    assert_eq!(check(|versions| versions.push(more)), [""; 0]);
}

#[test]
fn every_lost_version_is_seen() {
    let count = replica(1).versions.len();
    assert_eq!(count, 7);
    for lost in 0..count {
        let found = check(|versions| drop(versions.remove(lost)));
        assert_eq!(found.len(), 1, "version {lost}: {found:?}");
        assert!(found[0].starts_with("node 2 lost 1 of 6 acknowledged writes"), "{found:?}");
    }
}

#[test]
fn an_altered_version_is_seen() {
    let count = replica(1).versions.len();
    for altered in 0..count {
        assert_eq!(check(|versions| versions[altered].mod_revision += 10).len(), 1, "revision of {altered}");
        assert_eq!(
            check(|versions| versions[altered].value = Some(b"?".to_vec())).len(),
            1,
            "value of {altered}"
        );
        assert_eq!(check(|versions| versions[altered].key = b"0".to_vec()).len(), 1, "key of {altered}");
    }
}

#[test]
fn a_lost_write_is_shown_with_what_stands_in_its_place() {
    let mut changed = replica(2);
    changed.versions.retain(|version| version.mod_revision != 3);
    changed.versions.push(StoredVersion { key: b"b".to_vec(), mod_revision: 3, value: None });
    let violations = durability::check(&writes(), &[changed]);
    assert_eq!(
        violations[0].to_string(),
        "durable: node 2 lost 1 of 6 acknowledged writes, the first at revision 3\n  \
         operation #1 was told that revision 3 puts a=2; the replica holds there: b deleted"
    );
}
