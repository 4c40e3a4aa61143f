//! Durability: what a client was told is written is found, in the end, in every replica.
//!
//! At or below the compacted revision a replica keeps of each key only its newest version, and none where the
//! key was deleted. A write there is lost if what is kept of its key is older than the write. (A key of which
//! nothing is kept may have been deleted since; that it was not is for the reads to show.)

use std::collections::BTreeMap;

use crate::effect::{Effect, effects};
use crate::notation::bytes;
use crate::specs::etcd::StoreHistory;
use crate::store::covers;
use crate::verdict::{Check, Violation};

/// A write that a client was told had taken effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcknowledgedWrite {
    /// The index of the operation in the history.
    pub operation: usize,
    /// The revision that the answer named.
    pub revision: i64,
    /// What must have been written.
    pub effect: Effect,
}

/// One version of one key in a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVersion {
    /// The key.
    pub key: Vec<u8>,
    /// The main revision of the write.
    pub mod_revision: i64,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Everything that a replica holds when the run is over: all versions of all keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaContents {
    /// The replica.
    pub node: u64,
    /// The revision up to which it was compacted, or may have been: zero or less where never.
    pub compacted_revision: i64,
    /// Its versions, in any order.
    pub versions: Vec<StoredVersion>,
}

/// The writes that the answers of a history acknowledge.
pub fn acknowledged_writes(history: &StoreHistory) -> Vec<AcknowledgedWrite> {
    let mut writes = Vec::new();
    for (index, operation) in history.operations().iter().enumerate() {
        let response = operation.outcome.output().and_then(|result| result.as_ref().ok()?.kv());
        if let (Some(request), Some(response)) = (operation.input.kv(), response) {
            let effects = effects(request, response).into_iter();
            let revision = response.revision;
            writes.extend(effects.map(|effect| AcknowledgedWrite { operation: index, revision, effect }));
        }
    }
    writes
}

/// Looks for every acknowledged write in every replica; one violation for each replica that lacks some.
pub fn check(writes: &[AcknowledgedWrite], replicas: &[ReplicaContents]) -> Vec<Violation> {
    replicas.iter().filter_map(|replica| check_replica(writes, replica)).collect()
}

/// How many lost writes a violation lists.
const LOST_SHOWN: usize = 8;

/// The acknowledged writes that a replica lacks, in the order given.
pub fn lost<'a>(writes: &'a [AcknowledgedWrite], replica: &ReplicaContents) -> Vec<&'a AcknowledgedWrite> {
    let by_revision = by_revision(replica);
    let stored = |revision: i64| by_revision.get(&revision).map_or(&[][..], Vec::as_slice);
    let kept = kept(replica);
    let is_lost = |write: &&AcknowledgedWrite| {
        let compacted = write.revision <= replica.compacted_revision;
        let may_be_gone = compacted && is_superseded(write, &kept);
        !may_be_gone && !is_stored(&write.effect, stored(write.revision))
    };
    writes.iter().filter(is_lost).collect()
}

/// What a replica holds at a revision, in words.
pub fn held_at(replica: &ReplicaContents, revision: i64) -> String {
    let found = replica.versions.iter().filter(|version| version.mod_revision == revision);
    let found = found.map(show).collect::<Vec<_>>();
    if found.is_empty() { "nothing".to_owned() } else { found.join(", ") }
}

/// What a write has promised, in words.
pub fn promised(write: &AcknowledgedWrite) -> String {
    promise(&write.effect)
}

fn by_revision(replica: &ReplicaContents) -> BTreeMap<i64, Vec<&StoredVersion>> {
    let mut by_revision: BTreeMap<i64, Vec<&StoredVersion>> = BTreeMap::new();
    for version in &replica.versions {
        by_revision.entry(version.mod_revision).or_default().push(version);
    }
    by_revision
}

fn check_replica(writes: &[AcknowledgedWrite], replica: &ReplicaContents) -> Option<Violation> {
    let lost = lost(writes, replica);
    let first = lost.first()?;
    let message = format!(
        "node {} lost {} of {} acknowledged writes, the first at revision {}",
        replica.node,
        lost.len(),
        writes.len(),
        first.revision,
    );
    let mut violation = Violation::new(Check::Durable, message);
    for write in lost.iter().take(LOST_SHOWN) {
        let found = held_at(replica, write.revision);
        let AcknowledgedWrite { operation, revision, effect } = write;
        violation = violation.with(format!(
            "operation #{operation} was told that revision {revision} {}; the replica holds there: {found}",
            promise(effect)
        ));
    }
    Some(violation)
}

fn is_stored(effect: &Effect, stored: &[&StoredVersion]) -> bool {
    match effect {
        Effect::Put { key, value } => {
            let is_it = |found: &Vec<u8>| value.as_ref().is_none_or(|value| value == found);
            stored.iter().any(|version| version.key == *key && version.value.as_ref().is_some_and(is_it))
        }
        Effect::Deletion { key } => {
            stored.iter().any(|version| version.key == *key && version.value.is_none())
        }
        Effect::Deletions { key, range_end, count } => {
            let deleted = stored
                .iter()
                .filter(|version| version.value.is_none() && covers(key, range_end.as_deref(), &version.key));
            deleted.count() as u64 >= *count
        }
    }
}

/// The newest version of each key at or below the compacted revision.
fn kept(replica: &ReplicaContents) -> BTreeMap<&[u8], &StoredVersion> {
    let mut kept: BTreeMap<&[u8], &StoredVersion> = BTreeMap::new();
    for version in
        replica.versions.iter().filter(|version| version.mod_revision <= replica.compacted_revision)
    {
        let newest = kept.entry(&version.key).or_insert(version);
        if newest.mod_revision < version.mod_revision {
            *newest = version;
        }
    }
    kept
}

/// Whether a write at or below the compacted revision may be gone because something newer took its place.
fn is_superseded(write: &AcknowledgedWrite, kept: &BTreeMap<&[u8], &StoredVersion>) -> bool {
    let newer = |key: &[u8]| kept.get(key).is_none_or(|version| version.mod_revision > write.revision);
    match &write.effect {
        Effect::Put { key, value: _ } | Effect::Deletion { key } => newer(key),
        Effect::Deletions { key, range_end, count: _ } => kept
            .iter()
            .filter(|(candidate, version)| {
                version.value.is_some() && covers(key, range_end.as_deref(), candidate)
            })
            .all(|(candidate, _)| newer(candidate)),
    }
}

fn promise(effect: &Effect) -> String {
    match effect {
        Effect::Put { key, value: Some(value) } => format!("puts {}={}", bytes(key), bytes(value)),
        Effect::Put { key, value: None } => format!("puts {}", bytes(key)),
        Effect::Deletion { key } => format!("deletes {}", bytes(key)),
        Effect::Deletions { key, range_end: None, count: _ } => format!("deletes {}", bytes(key)),
        Effect::Deletions { key, range_end: Some(end), count } => {
            format!("deletes {count} keys of {}..{}", bytes(key), bytes(end))
        }
    }
}

fn show(version: &StoredVersion) -> String {
    match &version.value {
        Some(value) => format!("{}={}", bytes(&version.key), bytes(value)),
        None => format!("{} deleted", bytes(&version.key)),
    }
}
