//! Replicas that hold different data, for readers.

use super::exhibit::{Exhibit, Row};
use super::node::nanoseconds;
use super::sentence::{in_short, list, seconds};
use super::{Broken, Case};
use crate::past::{self, Version};
use cluster::ReplicaEvent;
use model::notation;
use std::collections::BTreeMap;

/// Versions that are shown of one replica.
const VERSIONS_SHOWN: usize = 8;

/// What a replica said of its contents.
struct Said {
    at_ns: Option<u64>,
    node: u64,
    compacted_revision: Option<i64>,
    hash: u64,
}

impl Case<'_> {
    /// The hashes that replicas told of themselves at an applied index.
    pub(super) fn hashes_at_index(&self, broken: &mut Broken, index: u64) {
        let said = self.evidence.log.events.iter().filter_map(|observed| match observed.event {
            ReplicaEvent::StateHash { applied_index, hash, .. } if applied_index == index => Some(Said {
                at_ns: Some(nanoseconds(observed.at)),
                node: observed.node,
                compacted_revision: None,
                hash,
            }),
            _ => None,
        });
        let of_what = format!("Having applied the same entries of the raft log, up to entry {index},");
        let title = format!("What the replicas held after entry {index}, by its hash");
        self.hashes(broken, &of_what, title, said.collect());
    }

    /// The hashes that replicas answered for a revision.
    pub(super) fn hashes_at_revision(&self, broken: &mut Broken, revision: i64) {
        let answers = self.evidence.log.hashes.iter().filter(|report| report.revision == revision);
        let said = answers.map(|report| Said {
            at_ns: None,
            node: report.node,
            compacted_revision: Some(report.compact_revision),
            hash: report.hash,
        });
        let title = format!("How the replicas hash revision {revision}");
        self.hashes(broken, &format!("Of revision {revision}"), title, said.collect());
    }

    fn hashes(&self, broken: &mut Broken, of_what: &str, title: String, said: Vec<Said>) {
        // What most say is taken for right. That may be wrong; that they differ is not.
        let mut counts: BTreeMap<(Option<i64>, u64), usize> = BTreeMap::new();
        for it in &said {
            *counts.entry((it.compacted_revision, it.hash)).or_default() += 1;
        }
        let is_outvoted = |it: &Said| {
            let own = counts[&(it.compacted_revision, it.hash)];
            let mut others = counts
                .iter()
                .filter(|((compacted, hash), _)| *compacted == it.compacted_revision && *hash != it.hash);
            others.any(|(_, count)| *count >= own)
        };
        broken.nodes.extend(said.iter().map(|it| it.node));
        let nodes: Vec<String> = broken.nodes.iter().map(u64::to_string).collect();
        broken.sentence = format!("{of_what} {} do not all hold the same data.", list("node", &nodes));
        broken.at_ns = said.iter().filter(|it| is_outvoted(it)).find_map(|it| it.at_ns);
        let rows = said.iter().map(|it| Row {
            cells: vec![
                it.at_ns.map_or_else(
                    || it.compacted_revision.map(|revision| revision.to_string()).unwrap_or_default(),
                    seconds,
                ),
                format!("node {}", it.node),
                self.evidence.log.engine_of(it.node),
                format!("{:016x}", it.hash),
            ],
            wrong: is_outvoted(it),
        });
        let first = if said.iter().any(|it| it.at_ns.is_some()) { "when" } else { "compacted up to" };
        broken.exhibits.push(Exhibit::new(title, &[first, "replica", "engine", "hash"], rows.collect()));
    }

    /// Where the stores of replicas that have applied the whole log differ in the end from what the log has made.
    pub(super) fn stores(&self, broken: &mut Broken) {
        let Some(truth) = &self.truth else { return };
        let last = self.evidence.log.entries.keys().next_back();
        let mut rows = Vec::new();
        for (node, store) in &self.evidence.log.contents {
            let Ok(store) = store else { continue };
            if Some(&store.applied_index) != last {
                continue;
            }
            let (missing, surplus) = past::differences(store, &truth.store);
            let mut versions: Vec<(Version<'_>, bool)> =
                missing.into_iter().map(|version| (version, true)).collect();
            versions.extend(surplus.into_iter().map(|version| (version, false)));
            versions.sort_by_key(|((_, revision, _), _)| *revision);
            rows.extend(
                versions.iter().take(VERSIONS_SHOWN).map(|(version, missing)| row(*node, version, *missing)),
            );
            if !versions.is_empty() {
                broken.nodes.insert(*node);
            }
        }
        if !rows.is_empty() {
            let heads = ["replica", "key", "revision", "value", "in its store"];
            broken.exhibits.push(Exhibit::new(
                "Where the stores differ in the end from what the log has made",
                &heads,
                rows,
            ));
        }
    }
}

fn row(node: u64, (key, (main, sub), value): &Version<'_>, missing: bool) -> Row {
    let value = value.map_or_else(|| "deleted".to_string(), |value| in_short(&notation::bytes(value)));
    let how = if missing { "missing" } else { "there, though it was never made" };
    Row {
        cells: vec![
            format!("node {node}"),
            notation::bytes(key),
            format!("{main}.{sub}"),
            value,
            how.to_string(),
        ],
        wrong: true,
    }
}
