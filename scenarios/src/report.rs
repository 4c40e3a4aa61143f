//! What a run reports: readable, and as JSON.

use crate::milestones::{self, Milestone};
use crate::observation::Observed;
use crate::oracles::{self, Judgement};
use crate::plan::Plan;
use crate::rot;
use crate::run::Evidence;
use crate::upgrades;
use crate::watcher::Watched;
use crate::world::FaultCounters;
use cluster::{ReplicaEvent, SnapshotOutcome};
use engines::EngineId;
use model::history::Outcome;
use model::kv::{WatchKind, WatchMessage};
use model::verdict::Violation;
use serde::{Deserialize, Serialize};
use sim::StopCause;
use snapshots::Shipment;
use std::collections::{BTreeMap, BTreeSet};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every check held.
    Held,
    /// At least one promise was broken.
    Violated {
        /// Which, the first check's first.
        violations: Vec<Violation>,
    },
    /// The run itself could not be completed, and proves nothing.
    Incomplete {
        /// Why.
        why: String,
    },
}

/// An engine that broke a promise of its own; the cluster survived it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineFinding {
    /// Which replica.
    pub node: u64,
    /// Its engine.
    pub engine: String,
    /// Virtual seconds.
    pub at_s: f64,
    /// What is wrong, in the engine's own words.
    pub cause: String,
    /// What the store proved; none where it did not open.
    pub proven_index: Option<u64>,
    /// Whether the device had lied to it, or failed a sync, before.
    pub device_at_fault: bool,
}

/// Why a run was not asked to come to its end: the engines broke more promises than raft can make good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LivenessWaiver {
    /// The engines of a majority had lost their state at the same time. Who lost it does not lead, and the rest
    /// may not know all that was committed.
    MajorityWithoutState,
    /// An engine never came back from a call, and by a lock of the whole process it may hold up other nodes'.
    EngineHangs,
}

impl LivenessWaiver {
    /// In words, after "liveness waived: ".
    pub fn reason(self) -> &'static str {
        match self {
            Self::MajorityWithoutState => "a majority had lost its state at once",
            Self::EngineHangs => "an engine hangs",
        }
    }
}

/// What a run did and found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// The plan's scenario.
    pub scenario: String,
    /// The engine of each node at the start.
    pub engines: Vec<String>,
    /// Virtual seconds.
    pub virtual_s: f64,
    /// Client operations answered.
    pub acknowledged: u64,
    /// Client operations whose outcome nobody knows.
    pub unknown: u64,
    /// Client operations that were given up, since nobody could take them.
    pub refused: u64,
    /// Power failures.
    pub power_failures: u64,
    /// Process kills.
    pub process_kills: u64,
    /// Crashes of both kinds before the replica had come up.
    pub crashes_in_recovery: u64,
    /// Crashes of both kinds inside a write.
    pub crashes_in_write: u64,
    /// Times that a replica stopped by itself.
    pub exits: u64,
    /// Writes torn by power failures.
    pub torn_writes: u64,
    /// Syncs acknowledged and not honoured.
    pub lying_syncs: u64,
    /// File-system calls that failed or were cut short.
    pub disk_errors: u64,
    /// Partitions, pauses, clock steps, upgrades.
    pub injected: FaultCounters,
    /// Messages lost, duplicated, reordered or damaged.
    pub message_faults: u64,
    /// Snapshots installed, by route.
    pub snapshots: BTreeMap<String, u64>,
    /// Elections won.
    pub elections: u64,
    /// Watches.
    pub watches: u64,
    /// Times that a watch was asked for: one for each, and one for each time that it went on anew.
    pub watch_attempts: u64,
    /// Events received on watches.
    pub watch_events: u64,
    /// Engines that broke a promise.
    pub findings: Vec<EngineFinding>,
    /// Why liveness was not asked for; none where it was.
    pub liveness_waived: Option<LivenessWaiver>,
    /// Whether the replicas came to hold the same in the end. Only then are acknowledged writes looked for in them.
    pub converged: bool,
    /// What the run is known to have reached.
    pub milestones: BTreeSet<Milestone>,
    /// The routes of upgrades that were taken to their end, by the names of [`crate::upgrades::Route`].
    pub upgrade_routes: BTreeSet<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Last disk operations of each node that a violation may be about, as text.
    pub last_operations: Vec<(u64, Vec<String>)>,
    /// Hash of the trace.
    pub trace: u64,
    /// Events in the trace.
    pub events: u64,
    /// Times that a thread was given the baton.
    pub hand_overs: u64,
    /// Disk operations.
    pub disk_operations: u64,
}

impl Report {
    /// The report of a run that came to its end.
    pub(crate) fn of(evidence: &Evidence, judgement: Judgement) -> Self {
        let history = evidence.log.history.clone().finish().expect("clients do one thing at a time");
        let answered = |answered| {
            let operations = history.operations().iter();
            operations.filter(|it| matches!(it.outcome, Outcome::Answered { .. }) == answered).count() as u64
        };
        let crashes = |cause| evidence.stops.iter().filter(|stop| stop.stop.cause == cause).count() as u64;
        let crashed = || evidence.stops.iter().filter(|stop| stop.stop.cause != StopCause::Exit);
        let network = &evidence.network;
        let mut report = Self::empty(&evidence.plan);
        report.virtual_s = evidence.virtual_time.as_secs_f64();
        report.acknowledged = answered(true);
        report.unknown = answered(false);
        report.refused = evidence.log.refused;
        report.power_failures = crashes(StopCause::PowerFailure);
        report.process_kills = crashes(StopCause::ProcessKill);
        report.crashes_in_recovery = crashed().filter(|stop| stop.recovering).count() as u64;
        report.crashes_in_write =
            crashed().filter(|stop| stop.stop.site.as_ref().is_some_and(|site| site.inside)).count() as u64;
        report.exits = evidence.stops.iter().filter(|stop| stop.stop.result.is_err()).count() as u64;
        report.torn_writes = evidence
            .stops
            .iter()
            .filter_map(|stop| stop.stop.report.as_ref())
            .map(|crash| crash.torn as u64)
            .sum();
        for faults in &evidence.disk_faults {
            report.lying_syncs += faults.lying_syncs;
            report.disk_errors += faults.read_errors + faults.write_errors + faults.sync_errors;
            report.disk_errors += faults.path_errors;
            report.disk_errors += faults.short_reads + faults.short_writes + faults.interrupts;
        }
        report.disk_errors += evidence.no_space;
        report.injected = evidence.counters;
        report.message_faults = network.messages_lost
            + network.messages_duplicated
            + network.messages_reordered
            + network.messages_corrupted;
        report.snapshots = snapshots_by_route(evidence);
        report.elections = count(evidence, |event| matches!(event, ReplicaEvent::BecameLeader { .. }));
        report.count_watches(&evidence.watched);
        report.findings = findings(evidence);
        report.findings.extend(hanging(evidence));
        report.findings.extend(contradicted(evidence));
        report.liveness_waived = oracles::liveness_waiver(evidence);
        report.converged = evidence.converged_at.is_some();
        report.milestones = milestones::reached(evidence);
        report.milestones.extend(judgement.served_rot.then_some(Milestone::RotServed));
        report.upgrade_routes = upgrades::routes_taken(evidence).iter().map(ToString::to_string).collect();
        if !judgement.violations.is_empty() {
            report.last_operations = evidence.last_operations.clone();
            report.verdict = Verdict::Violated { violations: judgement.violations };
        } else if let Some(steps) = judgement.undecided_after_steps {
            let why = format!("the search for a legal order of the history was given up after {steps} steps");
            report.verdict = Verdict::Incomplete { why };
        } else if let Some(cause) = judgement.truth_unknown {
            report.verdict =
                Verdict::Incomplete { why: format!("what the log has made is not known: {cause}") };
        }
        report
    }

    fn count_watches(&mut self, watched: &Watched) {
        let attempts = || watched.records.iter().flat_map(|record| &record.attempts);
        let events = |message: &WatchMessage| match &message.kind {
            WatchKind::Events { events, fragment: _ } => events.len() as u64,
            WatchKind::Created | WatchKind::Progress | WatchKind::Canceled { .. } => 0,
        };
        self.watches = watched.records.len() as u64;
        self.watch_attempts = attempts().count() as u64;
        self.watch_events = attempts().flat_map(|attempt| &attempt.messages).map(events).sum();
    }

    /// Whether the run came to an end of its own, so that its trace can be compared with another's.
    pub fn has_trace(&self) -> bool {
        self.events > 0
    }

    /// The report of a run that was given up.
    pub(crate) fn aborted(plan: &Plan, verdict: Verdict) -> Self {
        Self { verdict, ..Self::empty(plan) }
    }

    fn empty(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            scenario: plan.scenario.clone(),
            engines: plan.nodes.iter().map(|node| node.engine.to_string()).collect(),
            virtual_s: 0.0,
            acknowledged: 0,
            unknown: 0,
            refused: 0,
            power_failures: 0,
            process_kills: 0,
            crashes_in_recovery: 0,
            crashes_in_write: 0,
            exits: 0,
            torn_writes: 0,
            lying_syncs: 0,
            disk_errors: 0,
            injected: FaultCounters::default(),
            message_faults: 0,
            snapshots: BTreeMap::new(),
            elections: 0,
            watches: 0,
            watch_attempts: 0,
            watch_events: 0,
            findings: Vec::new(),
            liveness_waived: None,
            converged: false,
            milestones: BTreeSet::new(),
            upgrade_routes: BTreeSet::new(),
            verdict: Verdict::Held,
            last_operations: Vec::new(),
            trace: 0,
            events: 0,
            hand_overs: 0,
            disk_operations: 0,
        }
    }
}

fn count(evidence: &Evidence, wanted: impl Fn(&ReplicaEvent) -> bool) -> u64 {
    evidence.log.events.iter().filter(|observed| wanted(&observed.event)).count() as u64
}

/// Snapshots that were installed, by engines and form.
fn snapshots_by_route(evidence: &Evidence) -> BTreeMap<String, u64> {
    let mut routes = BTreeMap::new();
    let mut last: BTreeMap<(u64, u64), (Shipment, u8)> = BTreeMap::new();
    let mut engines: BTreeMap<u64, u8> = BTreeMap::new();
    for observed in &evidence.log.events {
        match &observed.event {
            ReplicaEvent::Started { hello, .. } => {
                engines.insert(observed.node, hello.peer.engine);
            }
            ReplicaEvent::SnapshotSent { to, shipment, .. } => {
                let engine = engines.get(&observed.node).copied().unwrap_or(0);
                last.insert((observed.node, *to), (*shipment, engine));
            }
            ReplicaEvent::SnapshotReceived { from, outcome, .. } => {
                let Some(&(shipment, sender)) = last.get(&(*from, observed.node)) else { continue };
                let receiver = engines.get(&observed.node).copied().unwrap_or(0);
                if let Some(how) = how(shipment, outcome) {
                    let route = format!("{}→{} {how}", name(sender), name(receiver));
                    *routes.entry(route.trim_end().to_string()).or_insert(0) += 1;
                }
            }
            _ => {}
        }
    }
    routes
}

fn name(engine: u8) -> &'static str {
    EngineId::from_byte(engine).map_or("unknown", EngineId::name)
}

/// How a snapshot came in; none where it did not.
fn how(shipment: Shipment, outcome: &SnapshotOutcome) -> Option<&'static str> {
    match (outcome, shipment) {
        (SnapshotOutcome::Installed, Shipment::Bare) => Some("bare"),
        (SnapshotOutcome::Installed, Shipment::TranscodeToBare) => Some("transcoded to bare"),
        (SnapshotOutcome::Installed, Shipment::Headed { .. }) => Some(""),
        (SnapshotOutcome::Transcoded { .. }, _) => Some("transcoded"),
        (SnapshotOutcome::Installed, Shipment::HoldBack(_)) => None,
        (SnapshotOutcome::Refused { .. } | SnapshotOutcome::Outdated | SnapshotOutcome::Abandoned, _) => None,
    }
}

fn findings(evidence: &Evidence) -> Vec<EngineFinding> {
    evidence
        .log
        .events
        .iter()
        .filter_map(|observed| {
            let ReplicaEvent::EngineFinding { engine, cause, proven_index, .. } = &observed.event else {
                return None;
            };
            Some(EngineFinding {
                node: observed.node,
                engine: engine.name().to_string(),
                at_s: observed.at.as_secs_f64(),
                cause: cause.clone(),
                proven_index: *proven_index,
                device_at_fault: device_at_fault(evidence, observed),
            })
        })
        .collect()
}

/// Whether the engine's device on a node had broken its own promise before something was seen there.
fn device_at_fault(evidence: &Evidence, observed: &Observed) -> bool {
    let faults = &evidence.plan.node(observed.node).data_faults;
    !faults.lying_sync.is_zero()
        || !faults.sync_error.is_zero()
        || rot::rotten_since(evidence, observed.node).is_some_and(|since| since <= observed.at)
}

/// Engines that gave back another state than was written, without a word.
fn contradicted(evidence: &Evidence) -> Vec<EngineFinding> {
    let finding = |observed: &Observed| {
        let ReplicaEvent::StoreDiverged { engine, applied_index, .. } = &observed.event else { return None };
        Some(EngineFinding {
            node: observed.node,
            engine: engine.name().to_string(),
            at_s: observed.at.as_secs_f64(),
            cause: format!("served another state at applied index {applied_index} than its peers agree on"),
            proven_index: None,
            device_at_fault: device_at_fault(evidence, observed),
        })
    };
    evidence.log.events.iter().filter_map(finding).collect()
}

/// Engines that never came back from a call.
fn hanging(evidence: &Evidence) -> Vec<EngineFinding> {
    let finding = |(node, place): (u64, String)| {
        let started = evidence.log.events.iter().rev().find_map(|observed| match &observed.event {
            ReplicaEvent::Started { hello, .. } if observed.node == node => Some(hello.peer.engine),
            _ => None,
        });
        EngineFinding {
            node,
            engine: started.map_or("unknown", name).to_string(),
            at_s: evidence.virtual_time.as_secs_f64(),
            cause: format!("hangs, after a call of its own had failed, in {place}"),
            proven_index: None,
            device_at_fault: false,
        }
    };
    oracles::hangs(evidence).into_iter().map(finding).collect()
}
