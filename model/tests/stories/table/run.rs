//! A good run: what clients, disks, watches and replicas show of one true history. The reference store answers it.

use model::compaction::{HashKvReport, RevisionReport};
use model::durability::{ReplicaContents, StoredVersion};
use model::equality::HashReport;
use model::history::{Operation, Outcome, Stamp};
use model::kv::{Call, Event, Request, WatchKind, WatchMessage, WatchRequest};
use model::lease::{LeaseBounds, LeaseLife, Renewal, Revocation, TakenOver};
use model::liveness::{Healing, OperationSpan, ReplicaProgress};
use model::raft::{Entry, RaftEvent, RaftEventKind};
use model::routing::{End, Party, Received, Release, Sent, SnapshotEvent};
use model::serializable::true_history;
use model::specs::etcd::StoreOperation;
use model::store::Store;
use model::watch::{WatchAttempt, WatchRecord};

use crate::script;

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const HEALING: Healing = Healing { healed_at_ns: 100, bound_ns: 50 };
pub(super) const BOUNDS: LeaseBounds =
    LeaseBounds { early_ns: 0, grace_ns: 2 * SECOND, healed_at_ns: 10 * SECOND, ended_at_ns: 100 * SECOND };

/// What clients asked, one after the other; the numbers are the places in [`Run::operations`].
const STORY: [&str; 13] = [
    "put a=1",                   // 0, revision 2
    "grant 7 ttl 5",             // 1
    "put b=1 lease 7",           // 2, revision 3
    "time-to-live 7 keys",       // 3
    "txn then put a=2; put c=1", // 4, revision 4
    "get a..",                   // 5
    "get a at 2",                // 6
    "compact 3",                 // 7
    "get a at 2",                // 8, refused
    "revoke 7",                  // 9, revision 5
    "put a=3",                   // 10, revision 6
    "get a..",                   // 11
    "get a..",                   // 12
];

/// What was seen of a run.
pub(super) struct Run {
    pub(super) operations: Vec<StoreOperation>,
    /// The true history: what the raft log holds.
    pub(super) log: Vec<Call>,
    /// What each replica carried out.
    pub(super) stores: Vec<Vec<Call>>,
    pub(super) revisions: Vec<RevisionReport>,
    pub(super) hash_kv: Vec<HashKvReport>,
    pub(super) watch: WatchRecord,
    pub(super) lives: Vec<LeaseLife>,
    pub(super) taken_over: Vec<TakenOver>,
    pub(super) events: Vec<Event>,
    pub(super) revocations: Vec<Revocation>,
    pub(super) snapshots: Vec<SnapshotEvent>,
    pub(super) raft: Vec<RaftEvent>,
    pub(super) spans: Vec<OperationSpan>,
    pub(super) progress: Vec<ReplicaProgress>,
}

/// What a replica holds that carried out a log.
pub(super) struct Replica {
    pub(super) contents: ReplicaContents,
    pub(super) hashes: Vec<HashReport>,
}

impl Replica {
    pub(super) fn of(node: u64, log: &[Call]) -> Replica {
        let store = true_history(log);
        let versions = store.versions().map(|version| StoredVersion {
            key: version.key.to_vec(),
            mod_revision: version.revision.main,
            value: version.value.map(<[u8]>::to_vec),
        });
        let versions = versions.collect();
        let hash = |applied: usize| HashReport {
            node,
            incarnation: 1,
            applied_index: applied as u64,
            hash: true_history(&log[..applied]).fingerprint() as u64,
            engine: "redb".to_owned(),
        };
        let contents = ReplicaContents { node, compacted_revision: store.compacted_revision(), versions };
        Replica { contents, hashes: (0..=log.len()).map(hash).collect() }
    }
}

pub(super) fn good() -> Run {
    let calls = STORY.map(script::call);
    let is_read = |call: &Call| call.kv().is_some_and(Request::is_read_only);
    let log: Vec<Call> = calls.iter().filter(|call| call.is_ordered() && !is_read(call)).cloned().collect();
    let truth = true_history(&log);
    let events = truth.all_events();
    Run {
        operations: operations(&calls),
        stores: vec![log.clone(); 3],
        revisions: vec![revision(1, 4, 4), revision(2, 4, 4), revision(1, 7, 6), revision(2, 7, 6)],
        hash_kv: (1..=3).map(hash_kv).collect(),
        watch: watch(&events),
        lives: vec![life()],
        taken_over: vec![taken_over()],
        events,
        revocations: vec![Revocation { id: 7, revision: 5, made_revision: true }],
        snapshots: snapshots(),
        raft: raft(&log),
        spans: vec![span(0, Some(90)), span(10, Some(150)), span(130, Some(180))],
        progress: (1..=3)
            .map(|node| ReplicaProgress { node, applied_index: 7, reached_at_ns: 120 })
            .collect(),
        log,
    }
}

fn operations(calls: &[Call]) -> Vec<StoreOperation> {
    let mut store = Store::default();
    let operation = |(place, call): (usize, &Call)| {
        let stamp = |time_ns| Stamp { time_ns, order: place as u64 };
        let from = 100 * place as u64;
        let outcome = Outcome::Answered { at: stamp(from + 50), output: store.call(call).unwrap() };
        Operation { client: place as u32, invoke: stamp(from), input: call.clone(), outcome }
    };
    calls.iter().enumerate().map(operation).collect()
}

pub(super) fn revision(node: u64, applied_index: u64, revision: i64) -> RevisionReport {
    RevisionReport { node, incarnation: 1, applied_index, revision }
}

fn hash_kv(node: u64) -> HashKvReport {
    HashKvReport { node, engine: "redb".to_owned(), revision: 6, compact_revision: 3, hash: 77 }
}

pub(super) fn message(revision: i64, kind: WatchKind) -> WatchMessage {
    WatchMessage { watch_id: 1, revision, kind }
}

/// A watch of all keys that broke after revision 4 and went on elsewhere to the end.
fn watch(events: &[Event]) -> WatchRecord {
    let some = |from: i64, to: i64| {
        let range = from..=to;
        let events = events.iter().filter(|event| range.contains(&event.kv.mod_revision)).cloned().collect();
        message(to, WatchKind::Events { events, fragment: false })
    };
    let attempt = |node, start_revision, messages, must_reach| {
        let (key, range_end) = (b"a".to_vec(), Some(b"d".to_vec()));
        let request = WatchRequest {
            watch_id: 1,
            key,
            range_end,
            start_revision,
            prev_kv: true,
            ..WatchRequest::default()
        };
        WatchAttempt { node, request, messages, must_reach }
    };
    let created = |revision| message(revision, WatchKind::Created);
    let first = vec![created(2), some(2, 2), some(3, 3), some(4, 4)];
    let second = vec![created(5), some(5, 5), message(5, WatchKind::Progress), some(6, 6)];
    WatchRecord { client: 7, attempts: vec![attempt(1, 2, first, None), attempt(2, 5, second, Some(6))] }
}

/// A lease of 5 s, granted at 1 s, kept alive at 4 s and ended at 9 s.
fn life() -> LeaseLife {
    let renewals = vec![renewal(1), renewal(4)];
    LeaseLife { id: 7, ttl_s: 5, renewals, revoke_asked_at_ns: None, ended_at_ns: Some(9 * SECOND) }
}

pub(super) fn renewal(asked_s: u64) -> Renewal {
    let asked_at_ns = asked_s * SECOND;
    Renewal { asked_at_ns, done_at_ns: asked_at_ns + 1000, acknowledged: true }
}

fn taken_over() -> TakenOver {
    let (given_ms, left_s, extension_ms) = (5000, 4, 1000);
    TakenOver { node: 2, term: 5, at_ns: 9, id: 7, given_ms, left_s, is_checkpointed: true, extension_ms }
}

/// A stream from fjall to fjall, which is installed.
fn snapshots() -> Vec<SnapshotEvent> {
    let party = |node| Party { node, release: Release::Two, engine: 1, readable: [0, 1, 2].into() };
    let mut first_bytes = b"ETCDSNAP\0\0\0\0\0\0\0\0\x01".to_vec();
    first_bytes.extend(1_u32.to_le_bytes());
    let sent = Sent {
        stream: 1,
        sender: party(1),
        receiver: party(2),
        announced_bytes: 1000,
        true_bytes: Some(1000),
        first_bytes,
    };
    let (received_bytes, damaged, end) = (1000, false, End::Installed);
    let received = Received { stream: 1, received_bytes, damaged, end, state_before: 5, state_after: 6 };
    vec![SnapshotEvent::Sent(sent), SnapshotEvent::Received(received)]
}

/// Node 1 leads; both others append what it sends, and apply it when it is committed. The events of an entry stand
/// at [`of_entry`].
fn raft(log: &[Call]) -> Vec<RaftEvent> {
    let mut kinds = Vec::new();
    let hard = |commit| RaftEventKind::HardState { term: 1, vote: 1, commit };
    for node in 1..=3 {
        kinds.push((node, RaftEventKind::Started { term: 0, vote: 0, commit: 0, applied: 0 }));
        kinds.push((node, hard(0)));
    }
    kinds.push((1, RaftEventKind::BecameLeader { term: 1, last_index: 0, last_term: 0 }));
    for index in 1..=log.len() as u64 {
        let hash = true_history(&log[..index as usize]).fingerprint() as u64;
        let entry = Entry { index, term: 1, hash };
        kinds.extend((1..=3).map(|node| (node, RaftEventKind::Appended(entry))));
        kinds.extend((1..=3).map(|node| (node, hard(index))));
        kinds.extend((1..=3).map(|node| (node, RaftEventKind::Applied(entry))));
    }
    kinds
        .into_iter()
        .zip(0..)
        .map(|((node, kind), at_ns)| RaftEvent { node, incarnation: 1, at_ns, kind })
        .collect()
}

/// Where, of all events of raft, those of entry `index` begin: three of appending, of committing, of applying.
pub(super) fn of_entry(index: usize) -> usize {
    7 + 9 * (index - 1)
}

fn span(invoked_at_ns: u64, ended_at_ns: Option<u64>) -> OperationSpan {
    OperationSpan { client: 1, invoked_at_ns, ended_at_ns }
}
