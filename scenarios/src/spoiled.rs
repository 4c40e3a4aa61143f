//! The judge is judged on whole runs: what was seen of a good run is changed, one thing at a time, and the table says
//! which checks see it.
//!
//! The model's own table (model/tests/stories/table.rs) changes a made history for oracles that are asked directly. Here
//! they are asked as a run asks them, and so are the questions that need a run. Changes whose name begins with `legal`
//! must be seen by none.

use crate::observation::{Contents, Observed, StoredVersion};
use crate::oracles;
use crate::run::{self, Evidence};
use crate::scenario::Scenario;
use cluster::{InstallStep, ReplicaEvent};
use model::kv::{WatchKind, WatchMessage};
use model::verdict::Check;
use model::watch::WatchAttempt;
use sim::isolation::{Allowance, End, run_isolated};
use std::collections::BTreeSet;
use std::time::Duration;

/// A change to what was seen of a run, in words.
type Change = (&'static str, fn(&mut Evidence));

/// Runs, each with the changes that it has the material for.
const TABLE: [(Scenario, u64, &[Change]); 5] = [
    (Scenario::Calm, 1, OF_ANY_RUN),
    (Scenario::Watches, 1, OF_WATCHES),
    (Scenario::Leases, 1, OF_LEASES),
    (Scenario::Lagging, 1, OF_SNAPSHOTS),
    (Scenario::FullDisk, 1, OF_FULL_DISKS),
];

const OF_ANY_RUN: &[Change] = &[
    ("a store lacks its last put", |seen| drop(last_put(store(seen, 2)))),
    ("every store lacks the last put", |seen| {
        for node in 1..=3 {
            last_put(store(seen, node));
        }
    }),
    ("every store has another value of the last put", |seen| {
        for node in 1..=3 {
            let version = last_put(store(seen, node));
            store(seen, node).versions.push(StoredVersion { value: Some(b"other".to_vec()), ..version });
        }
    }),
    ("a store has what nobody put", |seen| {
        let version = last_put(store(seen, 1));
        store(seen, 1).versions.push(StoredVersion { key: b"nobody's".to_vec(), ..version.clone() });
        store(seen, 1).versions.push(version);
    }),
    ("a store cannot be read", |seen| {
        seen.log.contents.insert(2, Err("it is gone".to_string()));
    }),
    ("a store is compacted, the others are not", |seen| store(seen, 3).compacted_revision += 1),
    ("a replica's state hashes otherwise", |seen| {
        let hash = last(seen, |event| match event {
            ReplicaEvent::StateHash { hash, .. } => Some(hash),
            _ => None,
        });
        *hash ^= 1;
    }),
    ("a replica's revision goes back", |seen| {
        let revision = last(seen, |event| match event {
            ReplicaEvent::StateHash { revision, .. } => Some(revision),
            _ => None,
        });
        *revision = 1;
    }),
    ("a replica applies another entry", |seen| {
        let hash = last(seen, |event| match event {
            ReplicaEvent::Applied { entry_hash, .. } => Some(entry_hash),
            _ => None,
        });
        *hash ^= 1;
    }),
    ("a replica applies an entry again", |seen| {
        let is_entry = |it: &&Observed| matches!(it.event, ReplicaEvent::Applied { .. });
        let applied = seen.log.events.iter().rev().find(is_entry).expect("entries are applied").clone();
        seen.log.events.push(applied);
    }),
    ("a replica leaves an entry out", |seen| {
        let is_entry = |it: &Observed| it.node == 2 && matches!(it.event, ReplicaEvent::Applied { .. });
        let place = seen.log.events.iter().rposition(is_entry).expect("node 2 applies entries");
        let before = seen.log.events[..place].iter().rposition(is_entry).expect("more than one");
        seen.log.events.remove(before);
    }),
    ("a term has two leaders", |seen| {
        let elected = |it: &&Observed| matches!(it.event, ReplicaEvent::BecameLeader { .. });
        let leader = seen.log.events.iter().find(elected).expect("somebody leads").clone();
        seen.log.events.push(Observed { node: leader.node % 3 + 1, ..leader });
    }),
    ("a replica's term goes back", |seen| {
        tell(seen, ReplicaEvent::HardState { term: 0, vote: 0, commit: 0 });
    }),
    ("a note of what is flushed is lost", |seen| {
        tell(seen, ReplicaEvent::FlushedIndexBehind { flushed: None, log_first: 5 });
    }),
    ("a resumed installation leaves no state", |seen| {
        let first = seen.log.events[0].clone();
        let event = ReplicaEvent::InstallResumed { step: InstallStep::MoveNewIn, index: Some(9) };
        seen.log.events.insert(0, Observed { event, ..first });
    }),
    ("a thread of a replica panics", |seen| {
        seen.panics.push((2, "n2.1".to_string(), "index out of bounds".to_string()));
    }),
    ("clients wait for ever", |seen| seen.clients_done = false),
    ("the replicas never come to rest", |seen| seen.converged_at = None),
    ("a thread of a crashed replica never ends", |seen| seen.ghost_threads = 1),
    ("legal: a store that is not asked for the last entry", |seen| store(seen, 2).applied_index = 0),
    ("legal: nobody tells of flushes", |seen| {
        seen.log.events.retain(|it| {
            !matches!(it.event, ReplicaEvent::FlushBegin { .. } | ReplicaEvent::FlushEnd { .. })
        });
    }),
];

const OF_WATCHES: &[Change] = &[
    ("events never come", |seen| {
        let (attempt, place) = events(seen);
        attempt.messages.remove(place);
    }),
    ("events come twice", |seen| {
        let (attempt, place) = events(seen);
        attempt.messages.insert(place, attempt.messages[place].clone());
    }),
    ("an event has another value", |seen| {
        let (attempt, place) = events(seen);
        events_of(&mut attempt.messages[place])[0].kv.value = b"other".to_vec();
    }),
    ("an event of another revision", |seen| {
        let (attempt, place) = events(seen);
        events_of(&mut attempt.messages[place])[0].kv.mod_revision += 1;
    }),
    ("a watch never hears of the last revisions", |seen| seen.watched.late.push((0, 100))),
    ("legal: a watch that nobody listened to", |seen| {
        let attempt = &seen.watched.records[0].attempts[0];
        let request = attempt.request.clone();
        let silent = WatchAttempt { node: 1, request, messages: Vec::new(), must_reach: None };
        seen.watched.records[0].attempts = vec![silent];
    }),
];

const OF_LEASES: &[Change] = &[
    ("a new leader gives a lease more than it has left", |seen| {
        let leases = last(seen, |event| match event {
            ReplicaEvent::LeasesTakenOver { leases, .. } if !leases.is_empty() => Some(leases),
            _ => None,
        });
        leases[0].1 += 1_000_000;
    }),
    ("every entry is applied a minute early", |seen| {
        for observed in &mut seen.log.events {
            if matches!(observed.event, ReplicaEvent::Applied { .. }) {
                observed.at = observed.at.saturating_sub(Duration::from_secs(60));
            }
        }
    }),
    ("a hash of a past revision is another", |seen| seen.log.hashes[0].hash ^= 1),
];

const OF_SNAPSHOTS: &[Change] = &[
    ("a stream begins with other bytes", |seen| {
        let prefix = last(seen, |event| match event {
            ReplicaEvent::SnapshotSent { prefix, .. } => Some(prefix),
            _ => None,
        });
        prefix[0] ^= 1;
    }),
    ("a stream is announced with another size", |seen| {
        let announced = last(seen, |event| match event {
            ReplicaEvent::SnapshotSent { announced_bytes, .. } => Some(announced_bytes),
            _ => None,
        });
        *announced += 17;
    }),
    ("legal: nobody tells of streams", |seen| {
        seen.log.events.retain(|it| {
            !matches!(it.event, ReplicaEvent::SnapshotSent { .. } | ReplicaEvent::SnapshotReceived { .. })
        });
    }),
];

const OF_FULL_DISKS: &[Change] = &[
    ("no alarm was ever raised", |seen| {
        seen.log.events.retain(|it| !matches!(it.event, ReplicaEvent::Alarm { .. }));
    }),
    ("no alarm was ever cleared, and it was raised at once", |seen| {
        let is_clearing = |it: &Observed| matches!(it.event, ReplicaEvent::Alarm { active: false, .. });
        seen.log.events.retain(|it| !is_clearing(it));
        for observed in &mut seen.log.events {
            if matches!(observed.event, ReplicaEvent::Alarm { .. }) {
                observed.at = Duration::ZERO;
            }
        }
    }),
];

/// What a replica's store held in the end.
fn store(seen: &mut Evidence, node: u64) -> &mut Contents {
    let contents = seen.log.contents.get_mut(&node).expect("the node has a store");
    contents.as_mut().expect("the store can be read")
}

/// Takes out the version that was put last.
fn last_put(contents: &mut Contents) -> StoredVersion {
    let puts = contents.versions.iter().enumerate().filter(|(_, version)| version.value.is_some());
    let (place, _) = puts.max_by_key(|(_, version)| version.revision).expect("something was put");
    contents.versions.remove(place)
}

/// The part of the last event that has it.
fn last<'a, T: ?Sized>(
    seen: &'a mut Evidence,
    part: impl Fn(&'a mut ReplicaEvent) -> Option<&'a mut T>,
) -> &'a mut T {
    seen.log.events.iter_mut().rev().find_map(|it| part(&mut it.event)).expect("there is such an event")
}

/// Has the replica that spoke last say one thing more.
fn tell(seen: &mut Evidence, event: ReplicaEvent) {
    let last = seen.log.events.last().expect("replicas speak").clone();
    seen.log.events.push(Observed { event, ..last });
}

/// A message with events, after others of the same watch.
fn events(seen: &mut Evidence) -> (&mut WatchAttempt, usize) {
    let attempts = seen.watched.records.iter_mut().flat_map(|record| &mut record.attempts);
    let found = attempts.filter_map(|attempt| {
        let has_events = |message: &WatchMessage| matches!(message.kind, WatchKind::Events { .. });
        let mut places = (0..attempt.messages.len()).filter(|place| has_events(&attempt.messages[*place]));
        let place = places.nth(1)?;
        Some((attempt, place))
    });
    found.into_iter().next().expect("some watch hears of events")
}

fn events_of(message: &mut WatchMessage) -> &mut Vec<model::kv::Event> {
    match &mut message.kind {
        WatchKind::Events { events, .. } => events,
        other => panic!("no events: {other:?}"),
    }
}

fn caught(seen: &Evidence) -> BTreeSet<Check> {
    oracles::judge(seen).0.violations.iter().map(|violation| violation.check).collect()
}

/// In a process of its own: a run, and for each change of it the checks that see it. The first is none.
fn spoil(scenario: Scenario, seed: u64, changes: &[Change]) -> Vec<(String, BTreeSet<Check>)> {
    let good = run::seen(&scenario.plan(seed));
    let spoiled = changes.iter().map(|(words, change)| {
        let mut seen = good.clone();
        change(&mut seen);
        ((*words).to_string(), caught(&seen))
    });
    [("legal: nothing is changed".to_string(), caught(&good))].into_iter().chain(spoiled).collect()
}

#[test]
fn every_change_of_a_run_is_seen() {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for (scenario, seed, changes) in TABLE {
        let ended = run_isolated(Allowance::default(), || {
            serde_json::to_vec(&spoil(scenario, seed, changes)).expect("checks can be written")
        });
        let ended = ended.expect("the host has a process");
        let End::Finished(bytes) = ended.end else { panic!("{:?}\n{}", ended.end, ended.errors) };
        let rows: Vec<(String, BTreeSet<Check>)> =
            serde_json::from_slice(&bytes).expect("it was just written");
        table += &format!("{}, seed {seed}\n", scenario.name());
        for (words, checks) in rows {
            if words.starts_with("legal") != checks.is_empty() {
                wrong.push(format!("{}: {words}", scenario.name()));
            }
            let names: Vec<_> = checks.into_iter().map(Check::name).collect();
            table += format!("  {words:56}{}", names.join(" · ")).trim_end();
            table += "\n";
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{table}");
    insta::assert_snapshot!(table);
}
