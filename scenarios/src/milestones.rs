//! Milestones: what a run is known to have reached. A corpus that never reaches one would prove nothing about it.

use crate::observation::Observed;
use crate::rot;
use crate::run::Evidence;
use crate::store_milestones;
use crate::upgrades;
use crate::watcher;
use crate::world::ObservedStop;
use cluster::{InstallStep, Membership, Recovery, ReplicaEvent, RevokedBy, SnapshotOutcome};
use serde::{Deserialize, Serialize};
use sim::StopCause;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Something that a run may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Milestone {
    /// The power failed while a background thread of fjall was at a disk operation.
    PowerFailureInFjallBackground,
    /// The power failed inside a write of sled's log.
    PowerFailureInSledLogWrite,
    /// A node crashed before it had come up again.
    CrashInRecovery,
    /// A node crashed while it installed a snapshot.
    CrashInSnapshotInstall,
    /// A snapshot was installed as it came, without a header.
    SnapshotBare,
    /// A snapshot of the receiver's own engine was installed, with a header.
    SnapshotHeaded,
    /// A snapshot of another engine was transcoded.
    SnapshotTranscoded,
    /// A snapshot was refused, and the old state stayed.
    SnapshotRefused,
    /// A replica had hardly installed a snapshot when it was sent another one.
    SnapshotsCloseTogether,
    /// A torn tail of a raft log was cut off.
    TornTailRepaired,
    /// A leader was frozen, and another was elected meanwhile.
    LeaderPausedAndDeposed,
    /// A sync was acknowledged and not honoured.
    SyncLied,
    /// A sync failed.
    SyncFailed,
    /// A disk was full.
    DiskFull,
    /// A write was torn.
    WriteTorn,
    /// An engine broke a promise, and the replica was rebuilt from a peer.
    EngineRebuilt,
    /// A node was upgraded or downgraded.
    Upgraded,
    /// A store was converted in place from one engine to another.
    Converted,
    /// A conversion that was interrupted was finished at a start.
    ConversionResumed,
    /// A start with another engine than the store's was refused.
    WrongEngineRefused,
    /// A conversion was refused by a release that does not know the store's engine.
    ConversionRefused,
    /// An interrupted installation was finished, or undone, at a start.
    InstallResumed,
    /// A leader ended a lease because its time was over.
    LeaseExpired,
    /// A lease was kept alive by one leader and then by another.
    LeaseKeptOverLeaderChange,
    /// What was left of a lease was written down.
    LeasesCheckpointed,
    /// An engine has forgotten all that was compacted.
    CompactionFinished,
    /// A node crashed after an engine had forgotten some of what was compacted, and not all.
    CrashBetweenCompactionSteps,
    /// A node crashed after a flush had ended and before its index was persisted.
    CrashBeforeFlushedIndex,
    /// A replica answered a read with an older state than somebody had seen.
    SerializableReadBehind,
    /// A read was refused since its revision was compacted.
    ReadCompacted,
    /// A watch went on at another replica where the first had come to.
    WatchResumed,
    /// A watch ended because what it wanted was compacted.
    WatchCompacted,
    /// A watch from the past caught up with the present.
    WatchCaughtUp,
    /// A watch stood while its replica's state was replaced by a snapshot, and went on.
    WatchAcrossInstallation,
    /// A watch was told that it has everything up to a revision.
    WatchProgress,
    /// A revision came on a watch in several messages.
    WatchFragment,
    /// A watch could not be sent an event, since its client was slow.
    WatchFellBehind,
    /// A learner was given a vote.
    LearnerPromoted,
    /// A voter was removed.
    VoterRemoved,
    /// A leader that removed itself stepped down.
    LeaderRemoved,
    /// A node crashed between the entry into a joint configuration and its end.
    CrashInJointConfiguration,
    /// Leadership was handed over as asked.
    LeadershipMoved,
    /// The alarm about a full disk was raised.
    AlarmRaised,
    /// It was cleared.
    AlarmCleared,
    /// A replica without space gave up its ballast and went on.
    BallastGivenUp,
    /// A replica without space and ballast waited for space.
    WaitedForSpace,
    /// The ballast came back.
    SpaceRegained,
    /// An engine found out that its files had rotted.
    RotFoundByEngine,
    /// The comparison of hashes found out that an engine's files had rotted.
    RotFoundByComparison,
    /// Clients were served what had rotted, before it was found out.
    RotServed,
    /// A replica whose engine's files had rotted has its state back.
    RotRepaired,
    /// A replica whose raft log had rotted refused to start.
    RottenLogRefused,
}

impl Milestone {
    /// Every milestone.
    pub const ALL: [Self; 52] = [
        Self::PowerFailureInFjallBackground,
        Self::PowerFailureInSledLogWrite,
        Self::CrashInRecovery,
        Self::CrashInSnapshotInstall,
        Self::SnapshotBare,
        Self::SnapshotHeaded,
        Self::SnapshotTranscoded,
        Self::SnapshotRefused,
        Self::SnapshotsCloseTogether,
        Self::TornTailRepaired,
        Self::LeaderPausedAndDeposed,
        Self::SyncLied,
        Self::SyncFailed,
        Self::DiskFull,
        Self::WriteTorn,
        Self::EngineRebuilt,
        Self::Upgraded,
        Self::Converted,
        Self::ConversionResumed,
        Self::WrongEngineRefused,
        Self::ConversionRefused,
        Self::InstallResumed,
        Self::LeaseExpired,
        Self::LeaseKeptOverLeaderChange,
        Self::LeasesCheckpointed,
        Self::CompactionFinished,
        Self::CrashBetweenCompactionSteps,
        Self::CrashBeforeFlushedIndex,
        Self::SerializableReadBehind,
        Self::ReadCompacted,
        Self::WatchResumed,
        Self::WatchCompacted,
        Self::WatchCaughtUp,
        Self::WatchAcrossInstallation,
        Self::WatchProgress,
        Self::WatchFragment,
        Self::WatchFellBehind,
        Self::LearnerPromoted,
        Self::VoterRemoved,
        Self::LeaderRemoved,
        Self::CrashInJointConfiguration,
        Self::LeadershipMoved,
        Self::AlarmRaised,
        Self::AlarmCleared,
        Self::BallastGivenUp,
        Self::WaitedForSpace,
        Self::SpaceRegained,
        Self::RotFoundByEngine,
        Self::RotFoundByComparison,
        Self::RotServed,
        Self::RotRepaired,
        Self::RottenLogRefused,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerFailureInFjallBackground => "power failure in a background thread of fjall",
            Self::PowerFailureInSledLogWrite => "power failure inside a sled log write",
            Self::CrashInRecovery => "crash during recovery",
            Self::CrashInSnapshotInstall => "crash during the installation of a snapshot",
            Self::SnapshotBare => "bare snapshot installed",
            Self::SnapshotHeaded => "headed snapshot installed",
            Self::SnapshotTranscoded => "snapshot transcoded",
            Self::SnapshotRefused => "snapshot refused",
            Self::SnapshotsCloseTogether => "two snapshots close together",
            Self::TornTailRepaired => "torn tail of the raft log repaired",
            Self::LeaderPausedAndDeposed => "leader paused and deposed",
            Self::SyncLied => "sync that lied",
            Self::SyncFailed => "sync that failed",
            Self::DiskFull => "disk full",
            Self::WriteTorn => "torn write",
            Self::EngineRebuilt => "replica rebuilt after its engine broke a promise",
            Self::Upgraded => "node upgraded",
            Self::Converted => "store converted in place",
            Self::ConversionResumed => "interrupted conversion finished",
            Self::WrongEngineRefused => "start with the wrong engine refused",
            Self::ConversionRefused => "conversion refused by a release that does not know the engine",
            Self::InstallResumed => "interrupted installation finished or undone",
            Self::LeaseExpired => "lease expired",
            Self::LeaseKeptOverLeaderChange => "lease kept alive over a change of leader",
            Self::LeasesCheckpointed => "lease checkpointed",
            Self::CompactionFinished => "compaction finished",
            Self::CrashBetweenCompactionSteps => "crash between two batches of a compaction",
            Self::CrashBeforeFlushedIndex => "crash between the end of a flush and its index",
            Self::SerializableReadBehind => "serializable read from a replica that is behind",
            Self::ReadCompacted => "read refused as compacted",
            Self::WatchResumed => "watch resumed at another replica",
            Self::WatchCompacted => "watch ended as compacted",
            Self::WatchCaughtUp => "watch from the past caught up",
            Self::WatchAcrossInstallation => "watch across the installation of a snapshot",
            Self::WatchProgress => "progress notification on a watch",
            Self::WatchFragment => "revision in fragments on a watch",
            Self::WatchFellBehind => "slow watch fell behind",
            Self::LearnerPromoted => "learner promoted",
            Self::VoterRemoved => "voter removed",
            Self::LeaderRemoved => "leader removed by itself",
            Self::CrashInJointConfiguration => "crash in a joint configuration",
            Self::LeadershipMoved => "leadership handed over",
            Self::AlarmRaised => "alarm about a full disk raised",
            Self::AlarmCleared => "alarm about a full disk cleared",
            Self::BallastGivenUp => "ballast given up for want of space",
            Self::WaitedForSpace => "replica without ballast waited for space",
            Self::SpaceRegained => "ballast restored",
            Self::RotFoundByEngine => "rot found by the engine",
            Self::RotFoundByComparison => "rot found by the comparison of hashes",
            Self::RotServed => "rot served before it was found",
            Self::RotRepaired => "state rebuilt after rot",
            Self::RottenLogRefused => "rotten raft log refused",
        }
    }
}

impl fmt::Display for Milestone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What the run reached.
pub(crate) fn reached(evidence: &Evidence) -> BTreeSet<Milestone> {
    let mut reached: BTreeSet<Milestone> = evidence.stops.iter().flat_map(at_stop).collect();
    let events = &evidence.log.events;
    reached.extend(events.iter().filter_map(|observed| at_event(&observed.event)));
    let faults = &evidence.disk_faults;
    let conditions = [
        (faults.iter().any(|faults| faults.lying_syncs > 0), Milestone::SyncLied),
        (faults.iter().any(|faults| faults.sync_errors > 0), Milestone::SyncFailed),
        (evidence.no_space > 0, Milestone::DiskFull),
        (evidence.counters.upgrades > 0, Milestone::Upgraded),
        (deposed_while_paused(evidence), Milestone::LeaderPausedAndDeposed),
        (rebuilt(evidence), Milestone::EngineRebuilt),
        (close_together(events), Milestone::SnapshotsCloseTogether),
        (alarm_cleared(events), Milestone::AlarmCleared),
        (store_milestones::kept_over_leader_change(events), Milestone::LeaseKeptOverLeaderChange),
        (store_milestones::crashed_between_steps(evidence), Milestone::CrashBetweenCompactionSteps),
        (store_milestones::crashed_before_flushed_index(evidence), Milestone::CrashBeforeFlushedIndex),
        (store_milestones::read_behind(evidence), Milestone::SerializableReadBehind),
        (store_milestones::read_compacted(evidence), Milestone::ReadCompacted),
        (evidence.counters.handovers > 0, Milestone::LeadershipMoved),
    ];
    reached.extend(by_members(evidence));
    let (engine_refused, conversion_refused) = upgrades::refused(evidence);
    let refused =
        [(engine_refused, Milestone::WrongEngineRefused), (conversion_refused, Milestone::ConversionRefused)];
    reached.extend(of_rot(evidence));
    reached.extend(refused.into_iter().filter(|(held, _)| *held).map(|(_, milestone)| milestone));
    reached.extend(conditions.into_iter().filter(|(held, _)| *held).map(|(_, milestone)| milestone));
    reached.extend(watcher::reached(evidence));
    reached
}

fn at_stop(observed: &ObservedStop) -> Vec<Milestone> {
    let stop = &observed.stop;
    let mut reached = Vec::new();
    if stop.cause == StopCause::Exit {
        return reached;
    }
    if observed.recovering {
        reached.push(Milestone::CrashInRecovery);
    }
    if observed.installing {
        reached.push(Milestone::CrashInSnapshotInstall);
    }
    if stop.report.as_ref().is_some_and(|report| report.torn > 0) {
        reached.push(Milestone::WriteTorn);
    }
    if let (StopCause::PowerFailure, Some(site)) = (stop.cause, &stop.site) {
        if site.thread.starts_with("fjall") {
            reached.push(Milestone::PowerFailureInFjallBackground);
        }
        if site.inside
            && site.is_write
            && observed.engine.0 == engines::EngineId::Sled
            && site.path.ends_with("/db")
        {
            reached.push(Milestone::PowerFailureInSledLogWrite);
        }
    }
    reached
}

fn at_event(event: &ReplicaEvent) -> Option<Milestone> {
    match event {
        ReplicaEvent::TornTail { .. } => Some(Milestone::TornTailRepaired),
        ReplicaEvent::Alarm { active: true, .. } => Some(Milestone::AlarmRaised),
        ReplicaEvent::OutOfSpace { had_ballast: true, .. } => Some(Milestone::BallastGivenUp),
        ReplicaEvent::OutOfSpace { had_ballast: false, .. } => Some(Milestone::WaitedForSpace),
        ReplicaEvent::SpaceRegained => Some(Milestone::SpaceRegained),
        ReplicaEvent::InstallResumed { step, index: None } if *step != InstallStep::PutOldBack => {
            Some(Milestone::ConversionResumed)
        }
        ReplicaEvent::InstallResumed { .. } => Some(Milestone::InstallResumed),
        ReplicaEvent::Converted { .. } => Some(Milestone::Converted),
        ReplicaEvent::LeaseRevoked { by: RevokedBy::Expiry, .. } => Some(Milestone::LeaseExpired),
        ReplicaEvent::LeasesCheckpointed { remaining } if remaining.iter().any(|(_, left_s)| *left_s > 0) => {
            Some(Milestone::LeasesCheckpointed)
        }
        ReplicaEvent::CompactionFinished(_) => Some(Milestone::CompactionFinished),
        ReplicaEvent::SteppedDown { .. } => Some(Milestone::LeaderRemoved),
        ReplicaEvent::SnapshotReceived { outcome, prefix, .. } => match outcome {
            SnapshotOutcome::Installed if prefix.starts_with(&snapshots::MAGIC) => {
                Some(Milestone::SnapshotHeaded)
            }
            SnapshotOutcome::Installed => Some(Milestone::SnapshotBare),
            SnapshotOutcome::Transcoded { .. } => Some(Milestone::SnapshotTranscoded),
            SnapshotOutcome::Refused { .. } => Some(Milestone::SnapshotRefused),
            SnapshotOutcome::Outdated | SnapshotOutcome::Abandoned => None,
        },
        ReplicaEvent::EngineFinding { .. }
        | ReplicaEvent::StoreDiscarded { .. }
        | ReplicaEvent::Started { .. }
        | ReplicaEvent::StateChanged { .. }
        | ReplicaEvent::BecameLeader { .. }
        | ReplicaEvent::HardState { .. }
        | ReplicaEvent::Entry { .. }
        | ReplicaEvent::Applied { .. }
        | ReplicaEvent::StateHash { .. }
        | ReplicaEvent::FlushedIndexBehind { .. }
        | ReplicaEvent::FlushBegin { .. }
        | ReplicaEvent::FlushEnd { .. }
        | ReplicaEvent::LogCompacted { .. }
        | ReplicaEvent::ReadIndexRetried { .. }
        | ReplicaEvent::PeerHello { .. }
        | ReplicaEvent::FrameDropped { .. }
        | ReplicaEvent::HeldBack { .. }
        | ReplicaEvent::SnapshotSent { .. }
        | ReplicaEvent::SnapshotSendEnded { .. }
        | ReplicaEvent::SnapshotInstallBegin { .. }
        | ReplicaEvent::SnapshotInstallEnd { .. }
        | ReplicaEvent::SnapshotRequested { .. }
        | ReplicaEvent::LeaseGranted { .. }
        | ReplicaEvent::LeasesTakenOver { .. }
        | ReplicaEvent::LeaseExpired { .. }
        | ReplicaEvent::LeaseRevoked { .. }
        | ReplicaEvent::KeepAliveAnswered { .. }
        | ReplicaEvent::LeasesCheckpointed { .. }
        | ReplicaEvent::CompactionScheduled { .. }
        | ReplicaEvent::CompactionStep { .. }
        | ReplicaEvent::CompactedRevision { .. }
        | ReplicaEvent::WatchCreated { .. }
        | ReplicaEvent::WatchCaughtUp { .. }
        | ReplicaEvent::WatchFellBehind { .. }
        | ReplicaEvent::WatchCanceled { .. }
        | ReplicaEvent::StoreDiverged { .. }
        | ReplicaEvent::MembersChanged { .. }
        | ReplicaEvent::Alarm { active: false, .. } => None,
    }
}

/// What the configurations show that followed one another. A joint one is left when the next is in effect anywhere.
fn by_members(evidence: &Evidence) -> BTreeSet<Milestone> {
    let mut configurations: BTreeMap<u64, (Duration, &Membership)> = BTreeMap::new();
    for observed in &evidence.log.events {
        if let ReplicaEvent::MembersChanged { index, members } = &observed.event
            && !members.voters.is_empty()
        {
            configurations.entry(*index).or_insert((observed.at, members));
        }
    }
    let mut reached = BTreeSet::new();
    let configurations: Vec<_> = configurations.into_values().collect();
    for (&(from, before), &(until, after)) in configurations.iter().zip(configurations.iter().skip(1)) {
        if before.learners.iter().any(|id| after.voters.contains(id)) {
            reached.insert(Milestone::LearnerPromoted);
        }
        if before.voters.iter().any(|id| !after.contains(*id)) {
            reached.insert(Milestone::VoterRemoved);
        }
        let crashed =
            |stop: &ObservedStop| stop.stop.cause != StopCause::Exit && from <= stop.at && stop.at <= until;
        if before.is_joint() && !after.is_joint() && evidence.stops.iter().any(crashed) {
            reached.insert(Milestone::CrashInJointConfiguration);
        }
    }
    reached
}

/// What became of files that rotted.
fn of_rot(evidence: &Evidence) -> BTreeSet<Milestone> {
    let mut reached = BTreeSet::new();
    let events = &evidence.log.events;
    for (index, observed) in events.iter().enumerate() {
        if rot::rotten_since(evidence, observed.node).is_none_or(|since| observed.at < since) {
            continue;
        }
        let found = match observed.event {
            ReplicaEvent::EngineFinding { .. } => Milestone::RotFoundByEngine,
            ReplicaEvent::StoreDiverged { .. } => Milestone::RotFoundByComparison,
            _ => continue,
        };
        reached.insert(found);
        let is_back = |later: &&Observed| match later.event {
            ReplicaEvent::Started { recovery, .. } => recovery != Recovery::Rebuild,
            ReplicaEvent::SnapshotInstallEnd { .. } => true,
            _ => false,
        };
        if events[index..].iter().filter(|later| later.node == observed.node).any(|later| is_back(&later)) {
            reached.insert(Milestone::RotRepaired);
        }
    }
    let refused =
        |stop: &ObservedStop| stop.stop.result.as_ref().is_err_and(|why| rot::is_refusal_of_log(why));
    if evidence.stops.iter().any(refused) {
        reached.insert(Milestone::RottenLogRefused);
    }
    reached
}

/// A node led when it was frozen, and another became leader before it went on.
fn deposed_while_paused(evidence: &Evidence) -> bool {
    evidence.log.pauses.iter().any(|pause| {
        pause.was_leader
            && evidence.log.events.iter().any(|observed| {
                observed.node != pause.node
                    && observed.at > pause.from
                    && observed.at < pause.until
                    && matches!(observed.event, ReplicaEvent::BecameLeader { .. })
            })
    })
}

/// An engine finding on a node that later installed a snapshot.
fn rebuilt(evidence: &Evidence) -> bool {
    let events = &evidence.log.events;
    events.iter().enumerate().any(|(index, found)| {
        matches!(found.event, ReplicaEvent::EngineFinding { .. })
            && events[index..].iter().any(|later| {
                later.node == found.node && matches!(later.event, ReplicaEvent::SnapshotInstallEnd { .. })
            })
    })
}

/// A snapshot that is sent to a node at most so long after it has installed one follows close upon it.
const CLOSE: Duration = Duration::from_millis(100);

/// Whether an alarm was raised, and cleared afterwards. An operator may clear what nobody has raised.
fn alarm_cleared(events: &[Observed]) -> bool {
    let mut alarms = events.iter().filter_map(|observed| match observed.event {
        ReplicaEvent::Alarm { active, .. } => Some(active),
        _ => None,
    });
    alarms.any(|active| active) && alarms.any(|active| !active)
}

fn close_together(events: &[Observed]) -> bool {
    let mut installed: BTreeMap<u64, Duration> = BTreeMap::new();
    events.iter().any(|observed| match observed.event {
        ReplicaEvent::SnapshotInstallEnd { .. } => {
            installed.insert(observed.node, observed.at);
            false
        }
        ReplicaEvent::SnapshotSent { to, .. } => {
            installed.get(&to).is_some_and(|end| observed.at <= *end + CLOSE)
        }
        _ => false,
    })
}
