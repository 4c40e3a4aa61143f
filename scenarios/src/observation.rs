//! What a run saw: the events of replicas and machine, and the history of clients, on one time line.

use cluster::mvcc::{Record, RecordValue};
use cluster::{Membership, Observer, Recovery, ReplicaEvent};
use engines::EngineId;
use model::compaction::HashKvReport;
use model::history::{Recorder, Stamp};
use model::kv::{Call, CallResult};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// An event of a replica, with its place and time.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) at: Duration,
    /// Numbered from 1.
    pub(crate) node: u64,
    pub(crate) incarnation: u32,
    pub(crate) event: ReplicaEvent,
}

/// One version of a key in a replica's store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoredVersion {
    pub(crate) revision: (i64, i64),
    pub(crate) key: Vec<u8>,
    /// None for a deletion.
    pub(crate) value: Option<Vec<u8>>,
    /// The lease that the key is attached to; zero: none.
    pub(crate) lease: i64,
}

/// What a replica's store held in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) applied_index: u64,
    /// -1 if nothing was ever compacted.
    pub(crate) compacted_revision: i64,
    pub(crate) versions: Vec<StoredVersion>,
}

/// Everything that was seen.
#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<Observed>,
    pub(crate) history: Recorder<Call, CallResult>,
    /// Per node, or why its store could not be read.
    pub(crate) contents: BTreeMap<u64, Result<Contents, String>>,
    /// Who leads, by the latest term heard of: term and node.
    pub(crate) leader: Option<(u64, u64)>,
    /// The highest index that each running replica has applied.
    pub(crate) applied: BTreeMap<u64, u64>,
    /// The last incarnation of each replica that came up.
    pub(crate) started: BTreeMap<u64, u32>,
    /// Replicas that wait for a snapshot, since they have no state.
    pub(crate) rebuilding: BTreeMap<u64, bool>,
    /// The latest members that any replica has told of, with what brought them.
    pub(crate) members: Option<(u64, Membership)>,
    pub(crate) refused: u64,
    pub(crate) pauses: Vec<PauseSpan>,
    /// What stands in the raft log, as the replica saw it that applied it last.
    pub(crate) entries: BTreeMap<u64, Vec<u8>>,
    /// What replicas were asked to hash, by clients while they ran and by the run when it was over.
    pub(crate) hashes: Vec<HashKvReport>,
    /// The ids of leases that were granted, by the plan's numbers.
    pub(crate) leases: BTreeMap<u32, i64>,
    order: u64,
}

/// A node that was frozen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PauseSpan {
    pub(crate) node: u64,
    pub(crate) was_leader: bool,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

impl From<Record> for StoredVersion {
    fn from(record: Record) -> Self {
        let (value, lease) = match record.value {
            RecordValue::Put { value, lease, .. } => (Some(value), lease),
            RecordValue::Tombstone => (None, 0),
        };
        Self { revision: (record.revision.main, record.revision.sub), key: record.key, value, lease }
    }
}

/// The log, shared by the run's tasks and the replicas' threads. One of them runs at a time.
#[derive(Clone, Default)]
pub(crate) struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    /// The log. Nobody waits while holding it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().expect("nobody panics while holding the log")
    }
}

impl Log {
    /// A stamp for `at`, later than every earlier one.
    pub(crate) fn stamp(&mut self, at: Duration) -> Stamp {
        self.order += 1;
        Stamp { time_ns: u64::try_from(at.as_nanos()).expect("virtual time fits"), order: self.order }
    }

    /// The name of the engine that a replica ran last.
    pub(crate) fn engine_of(&self, node: u64) -> String {
        let engine = self.events.iter().rev().find_map(|observed| match &observed.event {
            ReplicaEvent::Started { hello, .. } if observed.node == node => Some(hello.peer.engine),
            _ => None,
        });
        let engine = engine.and_then(EngineId::from_byte);
        engine.map_or_else(String::new, |engine| engine.name().to_string())
    }

    /// Whether an incarnation has not come up yet, and whether it is installing a snapshot.
    pub(crate) fn phase(&self, node: u64, incarnation: u32) -> (bool, bool) {
        let own =
            || self.events.iter().rev().filter(move |it| it.node == node && it.incarnation == incarnation);
        let started = own().any(|it| matches!(it.event, ReplicaEvent::Started { .. }));
        let installing = own().find_map(|it| match it.event {
            ReplicaEvent::SnapshotInstallBegin { .. } => Some(true),
            ReplicaEvent::SnapshotInstallEnd { .. } => Some(false),
            _ => None,
        });
        (!started, installing == Some(true))
    }

    fn observe(&mut self, observed: Observed) {
        let node = observed.node;
        match &observed.event {
            ReplicaEvent::BecameLeader { term, .. }
                if self.leader.is_none_or(|(known, _)| known <= *term) =>
            {
                self.leader = Some((*term, node));
            }
            ReplicaEvent::Started { applied_index, recovery, .. } => {
                self.started.insert(node, observed.incarnation);
                self.applied.insert(node, *applied_index);
                self.rebuilding.insert(node, matches!(recovery, Recovery::Rebuild | Recovery::Join));
            }
            ReplicaEvent::MembersChanged { index, members }
                if !members.voters.is_empty()
                    && self.members.as_ref().is_none_or(|(known, _)| known <= index) =>
            {
                self.members = Some((*index, members.clone()));
            }
            ReplicaEvent::Applied { index, .. } => {
                self.applied.insert(node, *index);
            }
            ReplicaEvent::SnapshotInstallEnd { index } => {
                self.applied.insert(node, *index);
                self.rebuilding.insert(node, false);
            }
            _ => {}
        }
        self.events.push(observed);
    }
}

/// Listens to one incarnation of a replica. What a ghost says is not heard.
pub(crate) struct Listener {
    pub(crate) log: SharedLog,
    pub(crate) node: u64,
    pub(crate) process: sim::Process,
}

impl Observer for Listener {
    fn event(&self, event: &ReplicaEvent) {
        if !self.process.is_current() {
            return;
        }
        // The trace has its hash, with `Applied`.
        if let ReplicaEvent::Entry { index, data } = event {
            self.log.lock().entries.insert(*index, data.clone());
            return;
        }
        let number = u16::try_from(self.node).expect("few nodes");
        sim::mark(number, topic(event), &format!("{event:?}"));
        let at = sim::now();
        let incarnation = self.process.incarnation;
        self.log.lock().observe(Observed { at, node: self.node, incarnation, event: event.clone() });
    }
}

/// The name of an event in the trace.
fn topic(event: &ReplicaEvent) -> &'static str {
    match event {
        ReplicaEvent::TornTail { .. } => "torn tail",
        ReplicaEvent::InstallResumed { .. } => "install resumed",
        ReplicaEvent::EngineFinding { .. } => "engine finding",
        ReplicaEvent::FlushedIndexBehind { .. } => "flushed index behind",
        ReplicaEvent::StoreDiscarded { .. } => "store discarded",
        ReplicaEvent::Converted { .. } => "converted",
        ReplicaEvent::Started { .. } => "started",
        ReplicaEvent::StateChanged { .. } => "state",
        ReplicaEvent::BecameLeader { .. } => "leader",
        ReplicaEvent::HardState { .. } => "hard state",
        ReplicaEvent::Entry { .. } => "entry",
        ReplicaEvent::Applied { .. } => "applied",
        ReplicaEvent::StateHash { .. } => "state hash",
        ReplicaEvent::FlushBegin { .. } => "flush begin",
        ReplicaEvent::FlushEnd { .. } => "flush end",
        ReplicaEvent::LogCompacted { .. } => "log compacted",
        ReplicaEvent::ReadIndexRetried { .. } => "read index retried",
        ReplicaEvent::PeerHello { .. } => "hello",
        ReplicaEvent::FrameDropped { .. } => "frame dropped",
        ReplicaEvent::HeldBack { .. } => "held back",
        ReplicaEvent::SnapshotSent { .. } => "snapshot sent",
        ReplicaEvent::SnapshotSendEnded { .. } => "snapshot send ended",
        ReplicaEvent::SnapshotReceived { .. } => "snapshot received",
        ReplicaEvent::SnapshotInstallBegin { .. } => "install begin",
        ReplicaEvent::SnapshotInstallEnd { .. } => "install end",
        ReplicaEvent::SnapshotRequested { .. } => "snapshot requested",
        ReplicaEvent::LeaseGranted { .. } => "lease granted",
        ReplicaEvent::LeasesTakenOver { .. } => "leases taken over",
        ReplicaEvent::LeaseExpired { .. } => "lease expired",
        ReplicaEvent::LeaseRevoked { .. } => "lease revoked",
        ReplicaEvent::KeepAliveAnswered { .. } => "keep-alive answered",
        ReplicaEvent::LeasesCheckpointed { .. } => "leases checkpointed",
        ReplicaEvent::CompactionScheduled { .. } => "compaction scheduled",
        ReplicaEvent::CompactionStep { .. } => "compaction step",
        ReplicaEvent::CompactionFinished(_) => "compaction finished",
        ReplicaEvent::CompactedRevision { .. } => "compacted revision",
        ReplicaEvent::WatchCreated { .. } => "watch created",
        ReplicaEvent::WatchCaughtUp { .. } => "watch caught up",
        ReplicaEvent::WatchFellBehind { .. } => "watch fell behind",
        ReplicaEvent::WatchCanceled { .. } => "watch canceled",
        ReplicaEvent::Alarm { .. } => "alarm",
        ReplicaEvent::OutOfSpace { .. } => "out of space",
        ReplicaEvent::SpaceRegained => "space regained",
        ReplicaEvent::MembersChanged { .. } => "members changed",
        ReplicaEvent::SteppedDown { .. } => "stepped down",
        ReplicaEvent::StoreDiverged { .. } => "store diverged",
    }
}
