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

/// What a replica keeps that was compacted up to a revision.
fn compacted_replica(compacted_revision: i64) -> ReplicaContents {
    let mut contents = replica(2);
    contents.compacted_revision = compacted_revision;
    let versions = contents.versions.clone();
    contents.versions.retain(|version| {
        let newer = |other: &StoredVersion| {
            other.key == version.key
                && version.mod_revision < other.mod_revision
                && other.mod_revision <= compacted_revision
        };
        let below = version.mod_revision <= compacted_revision;
        !(below && (versions.iter().any(newer) || version.value.is_none()))
    });
    contents
}

#[test]
fn what_a_compaction_takes_away_is_not_lost() {
    for compacted in 0..=6 {
        let replica = compacted_replica(compacted);
        assert_eq!(durability::check(&writes(), &[replica]), [], "compacted up to {compacted}");
    }
}

#[test]
fn what_a_compaction_must_leave_is_missed() {
    for compacted in 2..=5 {
        let whole = compacted_replica(compacted);
        let above = whole.versions.iter().filter(|version| version.mod_revision > compacted).cloned();
        for lost in above {
            let mut changed = whole.clone();
            changed.versions.retain(|version| *version != lost);
            assert_eq!(durability::check(&writes(), &[changed]).len(), 1, "{lost:?} of {compacted}");
        }
        let mut stale = whole.clone();
        let kept = stale.versions.iter_mut().find(|version| version.mod_revision <= compacted).unwrap();
        if kept.mod_revision == 3 {
            (kept.mod_revision, kept.value) = (2, Some(b"1".to_vec()));
            assert_eq!(durability::check(&writes(), &[stale]).len(), 1, "stale at {compacted}");
        }
    }
}
