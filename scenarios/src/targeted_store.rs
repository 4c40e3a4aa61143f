//! Scenarios that each go after one kind of mistake in the store: leases, and compaction.

use crate::generate::{CLIENTS, KEYS, small, stream};
use crate::load::{Load, ask};
use crate::plan::{
    Action, CrashPlace, EngineName, Fault, PartitionShape, Plan, PlannedFault, PlannedOperation, Target,
};
use crate::planned_request::{PlannedPut, PlannedRange, PlannedRequest};
use crate::scenario::Scenario;
use crate::targeted;
use engines::EngineId;
use sim::entropy::Ratio;
use sim::{Crash, OperationFilter};

/// Operations that the plans of this file have, about: what is compared may be any of their values.
const OPERATIONS: u64 = 600;

/// Leases, granted and kept alive while leaders freeze, crash and are cut off, and clocks are set.
///
/// A frozen leader believes for a moment after it wakes that it still leads, the longer if it hears of no other. Two
/// clients see to it that there is somebody for it to lie to: they ask the leader just before it freezes, keep still,
/// and ask it again when it wakes. One of them has a lease that nobody else keeps alive. It lives longer than the leader
/// is frozen, or the leader would know that its time is over.
pub(crate) fn leases(seed: u64) -> Plan {
    const ROUNDS: u64 = 5;
    const EVERY_MS: u64 = 10_000;
    let mut load = load(seed, "leases");
    let mut plan = targeted::healthy(seed, Scenario::Leases);
    let pauses_only = load.percent(30);
    for round in 0..ROUNDS {
        let from_ms = 1_000 + round * EVERY_MS;
        let frozen_ms = from_ms + 1_000 + load.entropy.below(500);
        let (wakes_ms, leader) = (frozen_ms + load.entropy.between(3_000, 4_600), Target::Leader);
        let for_ms = wakes_ms - frozen_ms;
        let fault = match load.below(6) {
            0 if !pauses_only => Fault::Partition { shape: PartitionShape::Isolate(leader), for_ms },
            1 if !pauses_only => crash(&mut load, leader, None),
            _ => Fault::Pause { target: leader, for_ms },
        };
        let mut faults = vec![(frozen_ms, fault)];
        if load.percent(70) {
            let shape = PartitionShape::Deafen(leader);
            faults.push((frozen_ms, Fault::Partition { shape, for_ms: for_ms + 1_500 }));
        }
        if !pauses_only && load.percent(50) {
            let ms = i64::try_from(load.entropy.between(2_000, 60_000)).expect("a minute");
            let by_ms = if load.percent(50) { ms } else { -ms };
            faults.push((from_ms + load.entropy.below(EVERY_MS), Fault::StepClock { target: leader, by_ms }));
        }
        plan.faults.extend(faults.into_iter().map(|(at_ms, fault)| PlannedFault { at_ms, fault }));
        let before = load.leases;
        for step in 0..3 {
            let ttl_s = if step == 2 { SLEEPERS_TTL_S } else { 2 + i64::from(load.below(9)) };
            let action = grant(&mut load, ttl_s);
            push(&mut plan, from_ms + u64::from(step) * 100, step, action);
        }
        let leases = before..load.leases;
        for _ in 0..70 {
            let at_ms = from_ms + 400 + load.entropy.below(EVERY_MS - 400);
            let action = lease_operation(&mut load, &leases);
            let busy = small(load.entropy.below(CLIENTS - SLEEPERS));
            push(&mut plan, at_ms, busy, action);
        }
        let lease = leases.end - 1;
        let everything = PlannedRange { from: 0, to: Some(small(KEYS)), ..PlannedRange::default() };
        let asks = [Action::LeaseKeepAlive { lease }, ask(PlannedRequest::Range(everything))];
        for (client, action) in (small(CLIENTS - SLEEPERS)..).zip(asks) {
            push(&mut plan, frozen_ms - 150, client, action.clone());
            push(&mut plan, wakes_ms - 100 + load.entropy.below(400), client, action);
        }
    }
    // What was granted last can still end.
    plan.quiet_ms = 18_000;
    targeted::finish(plan, 2_000 + ROUNDS * EVERY_MS)
}

/// The clients that keep still while a leader is frozen.
const SLEEPERS: u64 = 2;
/// How long their lease lives without being kept alive, in seconds.
const SLEEPERS_TTL_S: i64 = 5;

/// What one of the others does: mostly keeps alive and attaches.
fn lease_operation(load: &mut Load, leases: &std::ops::Range<u32>) -> Action {
    let lease = leases.start + load.below(u64::from(leases.end - leases.start));
    match load.below(10) {
        // The last lease of a round is the sleepers'.
        0..=2 if lease + 1 < leases.end => Action::LeaseKeepAlive { lease },
        3 if lease + 1 < leases.end && load.percent(15) => Action::LeaseRevoke { lease },
        4 => Action::LeaseTimeToLive { lease, keys: true },
        5 => Action::Leases,
        6 | 7 => {
            let put = PlannedPut { key: load.key(), bytes: 30, lease: Some(lease), ..PlannedPut::default() };
            ask(PlannedRequest::Put(put))
        }
        8 => Action::Get { key: load.key() },
        _ => Action::Put { key: load.key(), bytes: 30 },
    }
}

/// Compactions that reach up to the last write, a deletion, and crashes before the engine has forgotten; reads at
/// past revisions, in transactions that write, and from replicas that are behind.
pub(crate) fn compaction(seed: u64) -> Plan {
    const ROUNDS: u64 = 14;
    const EVERY_MS: u64 = 2_500;
    let mut load = load(seed, "compaction");
    let mut plan = targeted::healthy(seed, Scenario::Compaction);
    let mut engines = [EngineId::Redb, EngineId::Fjall, EngineId::LsmTree, EngineId::Redb];
    load.entropy.shuffle(&mut engines);
    for (node, engine) in plan.nodes.iter_mut().zip(engines) {
        node.engine = EngineName(engine);
    }
    let lags = load.percent(30);
    for round in 0..ROUNDS {
        let from_ms = 1_000 + round * EVERY_MS;
        let compacts_ms = from_ms + 1_500 + load.entropy.below(100);
        for _ in 0..24 {
            let at_ms = from_ms + load.entropy.below(1_300);
            let action = compaction_operation(&mut load);
            push(&mut plan, at_ms, 1 + small(load.entropy.below(CLIENTS - 1)), action);
        }
        // One client, and so one after the other.
        let key = load.key();
        let behind = if load.percent(80) { 0 } else { load.entropy.below(20) };
        let last = [
            Action::Put { key, bytes: 30 },
            Action::Delete { key },
            Action::Compact { behind, physical: load.percent(30) },
        ];
        last.into_iter().for_each(|action| push(&mut plan, compacts_ms, 0, action));
        for _ in 0..=load.below(2) {
            let place = CrashPlace {
                operation: load.entropy.between(1, 40),
                inside: false,
                filter: OperationFilter { path_contains: "store/".to_string(), ..OperationFilter::default() },
            };
            let target = Target::Node(1 + load.entropy.below(3));
            let at = if load.percent(70) { Some(place) } else { None };
            let fault = crash(&mut load, target, at);
            let at_ms = compacts_ms + load.entropy.below(12);
            plan.faults.push(PlannedFault { at_ms, fault });
        }
        if lags && load.percent(40) {
            let shape = PartitionShape::Isolate(Target::Follower);
            let fault = Fault::Partition { shape, for_ms: load.entropy.between(1_000, 4_000) };
            plan.faults.push(PlannedFault { at_ms: from_ms, fault });
        }
    }
    targeted::finish(plan, 2_000 + ROUNDS * EVERY_MS)
}

fn compaction_operation(load: &mut Load) -> Action {
    match load.below(12) {
        0..=3 => Action::Put { key: load.key(), bytes: 30 },
        4 | 5 => Action::Delete { key: load.key() },
        6 => ask(PlannedRequest::Range(load.past_range())),
        7 => load.serializable(),
        8 => Action::HashKv { behind: Some(load.entropy.below(10)) },
        9 => Action::Get { key: load.key() },
        _ => ask(PlannedRequest::Txn(load.txn())),
    }
}

/// A lease with a number of its own.
fn grant(load: &mut Load, ttl_s: i64) -> Action {
    load.leases += 1;
    Action::LeaseGrant { lease: load.leases - 1, ttl_s, server_chooses: load.percent(30) }
}

fn load(seed: u64, name: &str) -> Load {
    Load { entropy: stream(seed, name), leases: 0, with_leases: true, operations: OPERATIONS }
}

fn crash(load: &mut Load, target: Target, at: Option<CrashPlace>) -> Fault {
    let crash =
        if load.entropy.chance(Ratio::percent(70)) { Crash::ProcessKill } else { Crash::PowerFailure };
    Fault::Crash { target, crash, at, down_ms: load.entropy.between(20, 800), again_after: Vec::new() }
}

fn push(plan: &mut Plan, at_ms: u64, client: u32, action: Action) {
    plan.operations.push(PlannedOperation { at_ms, client, action });
}
