//! What was seen of other revisions than the current one, against the true history.

use crate::observation::{Contents, Observed};
use crate::rot;
use crate::run::Evidence;
use crate::truth::Truth;
use cluster::ReplicaEvent;
use model::compaction::{self, RevisionReport};
use model::serializable;
use model::specs::etcd::StoreHistory;
use model::store::Store;
use model::verdict::{Check, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// What clients were shown: reads at a past revision and from replicas that are behind show what there was, and what
/// compaction keeps hashes the same everywhere.
pub(crate) fn shown(evidence: &Evidence, history: &StoreHistory, truth: &Truth) -> Vec<Violation> {
    let mut violations = serializable::check(history, &truth.store);
    violations.extend(compaction::reads(history, &truth.store));
    violations.extend(compaction::hashes(&evidence.log.hashes));
    violations
}

/// What replicas have: no revision goes back, and in the end every store holds what the log has made.
pub(crate) fn stored(evidence: &Evidence, truth: &Truth) -> Vec<Violation> {
    let mut violations = compaction::revisions(&revisions(rot::of_sound_states(evidence)));
    let last = evidence.log.entries.keys().next_back();
    let stores = evidence.log.contents.iter().filter_map(|(node, store)| Some((*node, store.as_ref().ok()?)));
    let complete = stores.filter(|(_, store)| Some(&store.applied_index) == last);
    violations.extend(complete.filter_map(|(node, store)| other_than_made(node, store, &truth.store)));
    violations
}

fn revisions<'a>(events: impl Iterator<Item = &'a Observed>) -> Vec<RevisionReport> {
    let report = |observed: &Observed| match observed.event {
        ReplicaEvent::StateHash { applied_index, revision, .. } => Some(RevisionReport {
            node: observed.node,
            incarnation: observed.incarnation.into(),
            applied_index,
            revision,
        }),
        _ => None,
    };
    events.filter_map(report).collect()
}

/// A version of a key: key, revision, value unless it was deleted.
pub(crate) type Version<'a> = (&'a [u8], (i64, i64), Option<&'a [u8]>);

/// How many versions a violation lists.
const VERSIONS_SHOWN: usize = 6;

/// Whether a store that has applied the whole log holds what the log has made, as far as it can be read.
fn other_than_made(node: u64, contents: &Contents, truth: &Store) -> Option<Violation> {
    let compacted = contents.compacted_revision;
    let (missing, surplus) = differences(contents, truth);
    if missing.is_empty() && surplus.is_empty() && compacted == truth.compacted_revision() {
        return None;
    }
    let message = format!(
        "node {node}, compacted up to revision {compacted}, holds other versions than the log has made, which \
         compacts up to {}",
        truth.compacted_revision()
    );
    let violation = Violation::new(Check::ReplicasEqual, message);
    let missing = missing.iter().map(|version| format!("missing: {}", show(version)));
    let surplus = surplus.iter().map(|version| format!("never made: {}", show(version)));
    Some(missing.chain(surplus).take(VERSIONS_SHOWN).fold(violation, Violation::with))
}

/// The versions that the log has made and a store lacks, and those that it holds and the log has never made.
pub(crate) fn differences<'a>(
    contents: &'a Contents,
    truth: &'a Store,
) -> (Vec<Version<'a>>, Vec<Version<'a>>) {
    let compacted = contents.compacted_revision;
    let found = contents.versions.iter();
    let found = readable(
        found.map(|version| (version.key.as_slice(), version.revision, version.value.as_deref())),
        compacted,
    );
    let made = truth.versions();
    let made = readable(
        made.map(|version| (version.key, (version.revision.main, version.revision.sub), version.value)),
        compacted,
    );
    (made.difference(&found).copied().collect(), found.difference(&made).copied().collect())
}

/// The versions that a read can see at the compacted revision or above: tombstones below are compaction's own affair.
fn readable<'a>(versions: impl Iterator<Item = Version<'a>>, compacted: i64) -> BTreeSet<Version<'a>> {
    let mut readable = BTreeSet::new();
    let mut newest: BTreeMap<&[u8], Version<'a>> = BTreeMap::new();
    for version in versions {
        let (key, (main, _), _) = version;
        if main > compacted {
            readable.insert(version);
        } else if newest.get(key).is_none_or(|known| known.1 < version.1) {
            newest.insert(key, version);
        }
    }
    readable.extend(newest.into_values().filter(|(_, _, value)| value.is_some()));
    readable
}

fn show((key, (main, sub), value): &Version<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(24)]).into_owned();
    let value = value.map_or_else(|| "deleted".to_owned(), |value| format!("= {}", text(value)));
    format!("revision {main}.{sub}: {} {value}", text(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::StoredVersion;
    use model::kv::{Call, Request};

    fn truth() -> Store {
        let mut store = Store::default();
        let requests =
            [Request::put("a", "1"), Request::put("a", "2"), Request::delete("b"), Request::put("b", "3")];
        for request in requests {
            store.apply(&request).unwrap();
        }
        store.call(&Call::Compact { revision: 3, physical: false }).unwrap().unwrap();
        store
    }

    fn contents(compacted_revision: i64, versions: &[(i64, &str, &str)]) -> Contents {
        let version = |(main, key, value): &(i64, &str, &str)| StoredVersion {
            revision: (*main, 0),
            key: key.as_bytes().to_vec(),
            value: Some(value.as_bytes().to_vec()),
            lease: 0,
        };
        let versions = versions.iter().map(version).collect();
        Contents { applied_index: 9, compacted_revision, versions }
    }

    #[test]
    fn a_store_holds_what_the_log_has_made_and_compaction_keeps() {
        let check = |contents: &Contents| other_than_made(2, contents, &truth());
        assert_eq!(check(&contents(3, &[(3, "a", "2"), (4, "b", "3")])), None);
        assert_eq!(check(&contents(3, &[(2, "a", "1"), (3, "a", "2"), (4, "b", "3")])), None);
        let lacking = check(&contents(3, &[(3, "a", "2")])).unwrap();
        assert_eq!(lacking.evidence, ["missing: revision 4.0: b = 3"]);
        let invented = check(&contents(3, &[(3, "a", "2"), (4, "b", "3"), (5, "c", "4")])).unwrap();
        assert_eq!(invented.evidence, ["never made: revision 5.0: c = 4"]);
        assert!(check(&contents(2, &[(2, "a", "1"), (3, "a", "2"), (4, "b", "3")])).is_some());
    }
}
