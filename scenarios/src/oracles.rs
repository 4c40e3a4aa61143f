//! From what a run saw to the model's verdicts.

use crate::flushed;
use crate::installation;
use crate::leases;
use crate::observation::{Contents, Observed};
use crate::past;
use crate::refusal;
use crate::report::LivenessWaiver;
use crate::rot;
use crate::run::{Evidence, LIVENESS_BOUND};
use crate::space;
use crate::truth::Truth;
use crate::unknown;
use crate::upgrades;
use crate::watcher;
use cluster::{Hello, Membership, Recovery, ReplicaEvent, SnapshotOutcome};
use engines::EngineId;
use model::durability::{self, ReplicaContents, StoredVersion};
use model::equality::{self, HashReport};
use model::linearizability::{Budget, Verdict};
use model::liveness::{self, Healing, ReplicaProgress};
use model::raft::{self, Configuration, Entry, RaftEvent, RaftEventKind};
use model::routing::{self, End, Party, Received, Sent, SnapshotEvent};
use model::specs::etcd::{Etcd, StoreHistory};
use model::verdict::{Check, Violation};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Asks every oracle; what they say, and the history that was searched for a legal order.
pub(crate) fn judge(evidence: &Evidence) -> (Judgement, StoreHistory) {
    let mut violations = Vec::new();
    let history = evidence.log.history.clone().finish().expect("clients do one thing at a time");
    violations.extend(space::check(&history, &evidence.log.events));
    violations.extend(durable(evidence, &history));
    violations.extend(installation::check(&evidence.plan, &evidence.log.events));
    violations.extend(flushed::check(&evidence.plan, &evidence.log.events));
    let truth = Truth::of(&evidence.log.entries);
    let mut served = Vec::new();
    if let Ok(truth) = &truth {
        violations.extend(past::stored(evidence, truth));
        violations.extend(leases::check(evidence, &history, truth));
        served.extend(past::shown(evidence, &history, truth));
        served.extend(watcher::judge(&evidence.watched, truth));
    }
    let decided = decided(evidence, history, &truth);
    let order = linearizable(&decided);
    let undecided_after_steps = order.as_ref().err().copied();
    served.extend(order.ok().flatten());
    // What clients were shown of a state that had rotted, and that the comparison of hashes found, is the engine's
    // finding. What replicas hold in the end is not excused.
    let served_rot = !served.is_empty() && rot::served_and_found(evidence);
    if !served_rot {
        violations.extend(served);
    }
    violations.extend(equality::check(&hashes(rot::of_sound_states(evidence))));
    violations.extend(routing::check(&streams(evidence)));
    violations.extend(raft::check(&raft_events(&evidence.log.events), &BTreeSet::new()));
    violations.extend(live(evidence));
    violations.extend(processes(evidence));
    violations.extend(upgrades::check(&evidence.mistakes, &evidence.stops, &evidence.log.events));
    let judgement = Judgement { violations, undecided_after_steps, truth_unknown: truth.err(), served_rot };
    (judgement, decided)
}

/// What the oracles say.
pub(crate) struct Judgement {
    pub(crate) violations: Vec<Violation>,
    /// Set where the search for a legal order was given up: then its silence proves nothing.
    pub(crate) undecided_after_steps: Option<u64>,
    /// Set where what the log has made is not known, and why: then nothing was held to it.
    pub(crate) truth_unknown: Option<String>,
    /// Set where clients were served what had rotted, by an engine that did not notice.
    pub(crate) served_rot: bool,
}

/// The history with the ends of leases; its unknown outcomes decided where the replicas have converged, so that the
/// log proves them.
fn decided(evidence: &Evidence, history: StoreHistory, truth: &Result<Truth, String>) -> StoreHistory {
    let history = unknown::with_expiries(history, leases::drift(&evidence.plan));
    match (evidence.converged_at, truth) {
        (Some(_), Ok(truth)) => unknown::decide(history, truth),
        (None, _) | (_, Err(_)) => history,
    }
}

/// A violation, if there is one; or the steps after which the search was given up.
fn linearizable(history: &StoreHistory) -> Result<Option<Violation>, u64> {
    match model::revisions::check(history, Budget::default()) {
        Verdict::Linearizable { .. } => Ok(None),
        Verdict::Violation(evidence) => {
            Ok(Some(Violation::of_history(&Etcd::of(history), history.operations(), &evidence)))
        }
        Verdict::Undecided { steps } => Err(steps),
    }
}

fn durable(evidence: &Evidence, history: &StoreHistory) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut replicas = Vec::new();
    let members = evidence.members();
    for (&node, contents) in evidence.log.contents.iter().filter(|(node, _)| members.contains(node)) {
        match contents {
            Ok(contents) => replicas.push(replica_contents(node, contents)),
            Err(error) => violations.push(
                Violation::new(
                    Check::Durable,
                    format!("the store of node {node} cannot be read after the end"),
                )
                .with(error.clone()),
            ),
        }
    }
    // A replica that never got its state back holds nothing and says so; that is for liveness to judge.
    let converged = evidence.converged_at.is_some();
    if converged {
        violations.extend(durability::check(&durability::acknowledged_writes(history), &replicas));
        violations.extend(equal_contents(evidence));
    }
    violations
}

/// What a replica held in the end, as the model asks for it.
pub(crate) fn replica_contents(node: u64, contents: &Contents) -> ReplicaContents {
    let versions = contents.versions.iter().map(|version| StoredVersion {
        key: version.key.clone(),
        mod_revision: version.revision.0,
        value: version.value.clone(),
    });
    ReplicaContents { node, compacted_revision: contents.compacted_revision, versions: versions.collect() }
}

/// Whether the stores hold the same versions, read out in full after the end.
fn equal_contents(evidence: &Evidence) -> Option<Violation> {
    let mut stores =
        evidence.log.contents.iter().filter_map(|(node, store)| Some((node, store.as_ref().ok()?)));
    let (first, expected) = stores.next()?;
    let (other, found) = stores.find(|(_, store)| {
        store.applied_index == expected.applied_index && store.versions != expected.versions
    })?;
    let message = format!(
        "at applied index {}, nodes {first} and {other} hold different versions",
        expected.applied_index
    );
    Some(Violation::new(Check::ReplicasEqual, message).with(format!(
        "{} versions on node {first}, {} on node {other}",
        expected.versions.len(),
        found.versions.len()
    )))
}

fn hashes<'a>(events: impl Iterator<Item = &'a Observed>) -> Vec<HashReport> {
    let mut engines: BTreeMap<u64, String> = BTreeMap::new();
    events
        .filter_map(|observed| {
            if let ReplicaEvent::Started { hello, .. } = &observed.event {
                engines.insert(observed.node, engine_name(hello.peer.engine));
            }
            let ReplicaEvent::StateHash { applied_index, hash, .. } = observed.event else { return None };
            Some(HashReport {
                node: observed.node,
                incarnation: observed.incarnation.into(),
                applied_index,
                hash,
                engine: engines.get(&observed.node).cloned().unwrap_or_default(),
            })
        })
        .collect()
}

fn engine_name(id: u8) -> String {
    EngineId::from_byte(id).map_or_else(|| format!("engine {id:#04x}"), |engine| engine.name().to_string())
}

/// Snapshot streams: what was sent, paired with what became of it.
fn streams(evidence: &Evidence) -> Vec<SnapshotEvent> {
    let mut hellos: BTreeMap<u64, Hello> = BTreeMap::new();
    let mut last: BTreeMap<(u64, u64, u64), u64> = BTreeMap::new();
    let mut events = Vec::new();
    // A sender may end a stream midway: it leads no more, or the peer has caught up by the log meanwhile.
    let mut given_up: BTreeSet<u64> = BTreeSet::new();
    let may_damage = !evidence.plan.links.corruption.is_zero() || faulty_disks(evidence);
    for (stream, observed) in (1u64..).zip(&evidence.log.events) {
        match &observed.event {
            ReplicaEvent::Started { hello, .. } => {
                hellos.insert(observed.node, *hello);
            }
            ReplicaEvent::SnapshotSent {
                to, index, announced_bytes, wire_bytes, prefix, receiver, ..
            } => {
                let Some(sender) = hellos.get(&observed.node) else { continue };
                last.insert((observed.node, *to, *index), stream);
                events.push(SnapshotEvent::Sent(Sent {
                    stream,
                    sender: party(observed.node, sender),
                    receiver: party(*to, receiver),
                    announced_bytes: *announced_bytes,
                    true_bytes: Some(*wire_bytes),
                    first_bytes: prefix.clone(),
                }));
            }
            ReplicaEvent::SnapshotReceived { from, index, outcome, .. } => {
                let Some(&stream) = last.get(&(*from, observed.node, *index)) else { continue };
                let may_refuse = may_damage || given_up.contains(&stream);
                events.extend(received(stream, outcome, may_refuse, &events));
            }
            ReplicaEvent::SnapshotSendEnded { to, index, outcome: _ } => {
                given_up.extend(last.get(&(observed.node, *to, *index)));
            }
            ReplicaEvent::TornTail { .. }
            | ReplicaEvent::InstallResumed { .. }
            | ReplicaEvent::EngineFinding { .. }
            | ReplicaEvent::StoreDiscarded { .. }
            | ReplicaEvent::Converted { .. }
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
            | ReplicaEvent::CompactionFinished(_)
            | ReplicaEvent::CompactedRevision { .. }
            | ReplicaEvent::WatchCreated { .. }
            | ReplicaEvent::WatchCaughtUp { .. }
            | ReplicaEvent::WatchFellBehind { .. }
            | ReplicaEvent::WatchCanceled { .. }
            | ReplicaEvent::Alarm { .. }
            | ReplicaEvent::OutOfSpace { .. }
            | ReplicaEvent::SpaceRegained
            | ReplicaEvent::MembersChanged { .. }
            | ReplicaEvent::SteppedDown { .. }
            | ReplicaEvent::StoreDiverged { .. } => {}
        }
    }
    events
}

fn party(node: u64, hello: &Hello) -> Party {
    Party {
        node,
        release: match hello.peer.release {
            snapshots::Release::One => routing::Release::One,
            snapshots::Release::Two => routing::Release::Two,
        },
        engine: hello.peer.engine,
        readable: engines::registry().iter().map(|engine| engine.id().byte()).collect(),
    }
}

/// What became of a stream. A refusal on links that damage bytes, by a receiver whose disk fails, or of a stream that
/// its sender had ended before, proves nothing against the receiver.
fn received(
    stream: u64,
    outcome: &SnapshotOutcome,
    may_refuse: bool,
    events: &[SnapshotEvent],
) -> Option<SnapshotEvent> {
    let sent = events.iter().find_map(|event| match event {
        SnapshotEvent::Sent(sent) if sent.stream == stream => Some(sent),
        SnapshotEvent::Sent(_) | SnapshotEvent::Received(_) => None,
    })?;
    let end = match outcome {
        SnapshotOutcome::Installed => End::Installed,
        SnapshotOutcome::Transcoded { .. } => End::Transcoded,
        SnapshotOutcome::Refused { .. } if may_refuse => End::Abandoned,
        SnapshotOutcome::Refused { error } => refusal::reason(error).map_or(End::Abandoned, End::Refused),
        SnapshotOutcome::Outdated | SnapshotOutcome::Abandoned => End::Abandoned,
    };
    let received_bytes = sent.true_bytes.unwrap_or(0);
    Some(SnapshotEvent::Received(Received {
        stream,
        received_bytes,
        damaged: false,
        end,
        state_before: 0,
        state_after: 0,
    }))
}

fn raft_events(events: &[Observed]) -> Vec<RaftEvent> {
    events
        .iter()
        .filter_map(|observed| {
            let kind = match &observed.event {
                ReplicaEvent::MembersChanged { index, members } => {
                    RaftEventKind::Configured(configuration(*index, members))
                }
                &ReplicaEvent::Started { term, vote, commit, applied_index, .. } => {
                    RaftEventKind::Started { term, vote, commit, applied: applied_index }
                }
                &ReplicaEvent::HardState { term, vote, commit } => {
                    RaftEventKind::HardState { term, vote, commit }
                }
                &ReplicaEvent::BecameLeader { term, last_index, last_term } => {
                    RaftEventKind::BecameLeader { term, last_index, last_term }
                }
                &ReplicaEvent::Applied { index, term, entry_hash } => {
                    RaftEventKind::Applied(Entry { index, term, hash: entry_hash })
                }
                &ReplicaEvent::SnapshotInstallEnd { index } => RaftEventKind::SnapshotInstalled { index },
                ReplicaEvent::Entry { .. }
                | ReplicaEvent::TornTail { .. }
                | ReplicaEvent::InstallResumed { .. }
                | ReplicaEvent::EngineFinding { .. }
                | ReplicaEvent::StoreDiscarded { .. }
                | ReplicaEvent::Converted { .. }
                | ReplicaEvent::StateChanged { .. }
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
                | ReplicaEvent::SnapshotReceived { .. }
                | ReplicaEvent::SnapshotInstallBegin { .. }
                | ReplicaEvent::SnapshotRequested { .. }
                | ReplicaEvent::LeaseGranted { .. }
                | ReplicaEvent::LeasesTakenOver { .. }
                | ReplicaEvent::LeaseExpired { .. }
                | ReplicaEvent::LeaseRevoked { .. }
                | ReplicaEvent::KeepAliveAnswered { .. }
                | ReplicaEvent::LeasesCheckpointed { .. }
                | ReplicaEvent::CompactionScheduled { .. }
                | ReplicaEvent::CompactionStep { .. }
                | ReplicaEvent::CompactionFinished(_)
                | ReplicaEvent::CompactedRevision { .. }
                | ReplicaEvent::WatchCreated { .. }
                | ReplicaEvent::WatchCaughtUp { .. }
                | ReplicaEvent::WatchFellBehind { .. }
                | ReplicaEvent::WatchCanceled { .. }
                | ReplicaEvent::Alarm { .. }
                | ReplicaEvent::OutOfSpace { .. }
                | ReplicaEvent::SpaceRegained
                | ReplicaEvent::SteppedDown { .. }
                | ReplicaEvent::StoreDiverged { .. } => return None,
            };
            let (node, incarnation) = (observed.node, observed.incarnation.into());
            Some(RaftEvent { node, incarnation, at_ns: nanoseconds(observed.at), kind })
        })
        .collect()
}

fn configuration(index: u64, members: &Membership) -> Configuration {
    let set = |ids: &BTreeSet<u64>| ids.iter().copied().collect();
    Configuration {
        index,
        voters: set(&members.voters),
        outgoing: set(&members.outgoing),
        learners: set(&members.learners),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("virtual time fits")
}

/// Whether everything ended and converged, unless that was waived.
fn live(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    if liveness_waiver(evidence).is_some() {
        return violations;
    }
    let bound = LIVENESS_BOUND.as_secs();
    if !evidence.clients_done {
        let message =
            format!("the clients were not all answered within {bound} s after everything was mended");
        violations.push(states(evidence).fold(Violation::new(Check::Live, message), Violation::with));
    }
    violations.extend(joint_for_ever(evidence));
    if evidence.converged_at.is_none() {
        let healing =
            Healing { healed_at_ns: nanoseconds(evidence.healed_at), bound_ns: nanoseconds(LIVENESS_BOUND) };
        let members = evidence.members();
        let progress: Vec<_> = evidence
            .log
            .applied
            .iter()
            .filter(|(node, _)| members.contains(node))
            .map(|(&node, &applied_index)| ReplicaProgress {
                node,
                applied_index,
                reached_at_ns: nanoseconds(evidence.virtual_time),
            })
            .collect();
        let found = liveness::check(healing, &[], &progress);
        let message =
            format!("the replicas did not all come back within {bound} s after everything was mended");
        let fallback = states(evidence).fold(Violation::new(Check::Live, message), Violation::with);
        let violation = found.into_iter().next().unwrap_or(fallback);
        let stands = evidence.threads.iter().flat_map(|thread| thread.lines().map(str::to_string));
        violations.push(stands.fold(violation, Violation::with));
    }
    if evidence.ghost_threads > 0 {
        let message = format!("{} threads of crashed incarnations never ended", evidence.ghost_threads);
        violations.push(Violation::new(Check::Live, message));
    }
    violations
}

/// A joint configuration is left by itself.
fn joint_for_ever(evidence: &Evidence) -> Option<Violation> {
    let (index, members) = evidence.log.members.as_ref()?;
    members.is_joint().then(|| {
        let message = format!(
            "the joint configuration of entry {index} was not left within {} s after everything was mended",
            LIVENESS_BOUND.as_secs()
        );
        Violation::new(Check::Live, message).with(format!("{members:?}"))
    })
}

/// Why the run is bound not to lie, but not to live; none where it is bound to both.
pub(crate) fn liveness_waiver(evidence: &Evidence) -> Option<LivenessWaiver> {
    if majority_without_state(evidence) {
        return Some(LivenessWaiver::MajorityWithoutState);
    }
    (!hangs(evidence).is_empty()).then_some(LivenessWaiver::EngineHangs)
}

/// True where at some moment a majority of the voters had no state.
fn majority_without_state(evidence: &Evidence) -> bool {
    let mut rebuilding = BTreeSet::new();
    let mut voters: BTreeSet<u64> = evidence.plan.first_members().into_iter().collect();
    let mut since = 0;
    evidence.log.events.iter().any(|observed| {
        match &observed.event {
            ReplicaEvent::Started { recovery: Recovery::Rebuild, .. } => {
                rebuilding.insert(observed.node);
            }
            ReplicaEvent::Started { .. } | ReplicaEvent::SnapshotInstallEnd { .. } => {
                rebuilding.remove(&observed.node);
            }
            ReplicaEvent::MembersChanged { index, members } if *index > since => {
                (since, voters) = (*index, members.voters.clone());
            }
            _ => {}
        }
        rebuilding.intersection(&voters).count() > (voters.len() - 1) / 2
    })
}

/// Replicas whose own thread stands inside an engine's source when the run should long have settled, after the
/// engine was told of a failed call: the node, and the innermost place. sled never comes back from such a flush,
/// and by a lock that it keeps for the whole process it holds up every other store of its kind.
pub(crate) fn hangs(evidence: &Evidence) -> Vec<(u64, String)> {
    if !faulty_disks(evidence) {
        return Vec::new();
    }
    let hang = |node: u64| {
        let own_thread = format!(" n{node} (n{node}.");
        let thread = evidence
            .threads
            .iter()
            .find(|thread| thread.lines().next().is_some_and(|first| first.contains(&own_thread)))?;
        let place = thread.lines().skip(1).find(|frame| is_engine_frame(frame))?;
        Some((node, place.trim().to_string()))
    };
    (1..=evidence.plan.nodes.len() as u64).filter_map(hang).collect()
}

/// True where a backtrace's line is in an engine's own source.
fn is_engine_frame(frame: &str) -> bool {
    ["  sled-", "  fjall-", "  lsm-tree-", "  redb-"].iter().any(|source| frame.contains(source))
}

/// A line on each node's end, for evidence.
fn states(evidence: &Evidence) -> impl Iterator<Item = String> {
    evidence.log.applied.iter().map(|(node, applied)| {
        let rebuilding = evidence.log.rebuilding.get(node).copied().unwrap_or(false);
        let last = evidence.stops.iter().rev().find(|stop| stop.node == *node);
        let stopped = last.map_or(String::new(), |stop| {
            format!(
                ", last stopped at {:.3} s: {:?} {:?}",
                stop.at.as_secs_f64(),
                stop.stop.cause,
                stop.stop.result
            )
        });
        format!(
            "node {node} applied {applied}{}{stopped}",
            if rebuilding { ", waits for a snapshot" } else { "" }
        )
    })
}

/// A replica must not stop by itself, nor panic, unless its disk failed it.
fn processes(evidence: &Evidence) -> Vec<Violation> {
    let faulty_disks = faulty_disks(evidence);
    let mut violations = Vec::new();
    for stop in evidence.stops.iter().filter(|stop| stop.stop.cause == sim::StopCause::Exit) {
        // What is said by a start that must be refused is judged apart.
        let is_mistaken = evidence.mistakes.iter().any(|mistake| mistake.ended_by(stop));
        if let Err(why) = &stop.stop.result
            && !faulty_disks
            && !is_mistaken
        {
            let message = format!(
                "node {} ({}) stopped by itself at {:.3} s",
                stop.node,
                stop.engine,
                stop.at.as_secs_f64()
            );
            violations.push(Violation::new(Check::Engine, message).with(why.clone()));
        }
    }
    for (node, message, backtrace) in &evidence.panics {
        if !faulty_disks && !is_engine_code(message) && !may_be_guest_code(evidence, message) {
            let violation =
                Violation::new(Check::Engine, format!("a thread of node {node} panicked: {message}"));
            violations.push(backtrace.lines().fold(violation, |violation, line| violation.with(line)));
        }
    }
    violations
}

/// True where file-system calls were made to fail, a disk was full, a device lied or its bits rotted.
fn faulty_disks(evidence: &Evidence) -> bool {
    let small = evidence.plan.nodes.iter().any(|node| node.data_faults.capacity_bytes > 0);
    small
        || evidence.no_space > 0
        || !evidence.rotted.is_empty()
        || evidence.disk_faults.iter().any(|faults| {
            faults.read_errors
                + faults.write_errors
                + faults.path_errors
                + faults.sync_errors
                + faults.interrupts
                + faults.lying_syncs
                + faults.rotten_bits
                > 0
        })
}

/// True where a panic's place is in an engine's own source. The adapter turns it into an error, and the replica
/// reports what became of its store as an engine finding.
fn is_engine_code(message: &str) -> bool {
    ["/sled-", "/fjall-", "/lsm-tree-", "/redb-"].iter().any(|source| message.contains(source))
}

/// True where a panic's place can be in the source of a guest, which stands anywhere: in a run with one, everything
/// but the replica's own.
fn may_be_guest_code(evidence: &Evidence, message: &str) -> bool {
    let guest = evidence.plan.nodes.iter().any(|node| node.engine.0 == EngineId::Guest);
    guest && !message.contains("cluster/src/")
}
