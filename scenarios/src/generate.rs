//! From a seed to a plan, swarm style: each seed switches whole classes of faults and operations off, since
//! some bugs need the absence of a fault as others need its presence (Groce et al., ISSTA 2012).

use crate::load;
use crate::membership;
use crate::plan::{
    CrashPlace, DiskProfile, EngineChange, EngineName, FORMAT, Fault, NodePlan, PartitionShape, Plan,
    PlannedFault, Target, Upgrade,
};
use crate::rot;
use crate::scenario::Scenario;
use crate::space;
use crate::upgrades;
use crate::watcher;
use cluster::Design;
use engines::EngineId;
use sim::disk::FaultOptions;
use sim::entropy::{Entropy, Ratio};
use sim::network::LinkOptions;
use sim::{ClockOptions, Crash, OperationFilter, Policy};

/// Clients of a run.
pub(crate) const CLIENTS: u64 = 6;
/// Distinct keys; few, so that operations meet.
pub(crate) const KEYS: u64 = 24;
/// Virtual time of load and faults, in milliseconds.
pub(crate) const LOAD_MS: u64 = 45_000;

/// The stream of draws for one part of a plan.
pub(crate) fn stream(seed: u64, part: &str) -> Entropy {
    Entropy::stream(seed, &format!("plan: {part}"))
}

/// Three nodes, mixed engines, faults of every class that exists; in some runs with upgrades, or with members that come
/// and go.
pub(crate) fn default(seed: u64) -> Plan {
    let mut topology = stream(seed, "topology");
    let engines = mixed_engines(&mut topology);
    let mut plan = healthy(seed, Scenario::Default, &engines.map(|engine| (engine, 2)));
    plan.policy = policy(&mut stream(seed, "policy"));
    plan.links = LinkOptions::swarm(&mut stream(seed, "links"));
    clocks(&mut plan, &mut stream(seed, "clocks"));
    disk_faults(&mut plan, &mut stream(seed, "disk faults"));
    let mut classes = stream(seed, "fault classes");
    let on = |classes: &mut Entropy| classes.chance(Ratio::percent(75));
    if on(&mut classes) {
        crashes(&mut plan, &mut stream(seed, "power failures"), Crash::PowerFailure, 3, 9);
    }
    if on(&mut classes) {
        crashes(&mut plan, &mut stream(seed, "process kills"), Crash::ProcessKill, 2, 6);
    }
    if on(&mut classes) {
        partitions(&mut plan, &mut stream(seed, "partitions"));
    }
    if on(&mut classes) {
        pauses(&mut plan, &mut stream(seed, "pauses"));
    }
    if on(&mut classes) {
        clock_steps(&mut plan, &mut stream(seed, "clock steps"));
    }
    // Without any crash a run would show little of what the testbed is for.
    if !plan.faults.iter().any(|fault| matches!(fault.fault, Fault::Crash { .. })) {
        crashes(&mut plan, &mut stream(seed, "power failures"), Crash::PowerFailure, 5, 9);
    }
    watcher::add(&mut plan, &mut stream(seed, "watchers"));
    undertaking(&mut plan, &mut stream(seed, "undertaking"));
    finish(plan)
}

/// What the operator of a `default` run undertakes, or what befalls one replica's files: in some runs, and one kind in
/// each, so that a failure has one story.
fn undertaking(plan: &mut Plan, entropy: &mut Entropy) {
    match entropy.below(100) {
        0..18 => upgrades::single(plan, entropy),
        18..36 => membership::among_others(plan, entropy),
        36..44 => space::fill_once(plan, entropy),
        44..56 => rot::at_times(plan, entropy),
        _ => {}
    }
}

/// Release 1 sled → release 2 sled → release 2 fjall, node by node, and the same way back.
pub(crate) fn rolling_upgrade(seed: u64) -> Plan {
    let mut plan = healthy(seed, Scenario::RollingUpgrade, &[(EngineId::Sled, 1); 3]);
    plan.policy = policy(&mut stream(seed, "policy"));
    let mut steps = stream(seed, "upgrades");
    let stages = [(2, EngineId::Sled), (2, EngineId::Fjall), (2, EngineId::Sled), (1, EngineId::Sled)];
    for (stage, (release, engine)) in (0u64..).zip(stages) {
        let mut order = [1, 2, 3];
        steps.shuffle(&mut order);
        for (place, node) in (0u64..).zip(order) {
            let change = if steps.chance(Ratio::percent(50)) {
                EngineChange::ConvertInPlace
            } else {
                EngineChange::WipeAndFetch
            };
            let at_ms = 3_000 + (stage * 3 + place) * (LOAD_MS - 8_000) / 12;
            plan.upgrades.push(Upgrade {
                at_ms,
                node,
                release,
                engine: EngineName(engine),
                change,
                crash: None,
            });
        }
    }
    let mut classes = stream(seed, "fault classes");
    if classes.chance(Ratio::percent(75)) {
        crashes(&mut plan, &mut stream(seed, "power failures"), Crash::PowerFailure, 1, 4);
    }
    if classes.chance(Ratio::percent(75)) {
        crashes(&mut plan, &mut stream(seed, "process kills"), Crash::ProcessKill, 1, 4);
    }
    if classes.chance(Ratio::percent(75)) {
        partitions(&mut plan, &mut stream(seed, "partitions"));
    }
    finish(plan)
}

/// Power failures only, many.
pub(crate) fn power(seed: u64) -> Plan {
    let engines = mixed_engines(&mut stream(seed, "topology"));
    let mut plan = healthy(seed, Scenario::Power, &engines.map(|engine| (engine, 2)));
    // Here the engines stand for themselves.
    plan.sync_after_open = false;
    crashes(&mut plan, &mut stream(seed, "power failures"), Crash::PowerFailure, 12, 24);
    finish(plan)
}

/// No fault.
pub(crate) fn calm(seed: u64) -> Plan {
    let engines = mixed_engines(&mut stream(seed, "topology"));
    finish(healthy(seed, Scenario::Calm, &engines.map(|engine| (engine, 2))))
}

/// A plan with load and without any fault.
pub(crate) fn healthy(seed: u64, scenario: Scenario, nodes: &[(EngineId, u8)]) -> Plan {
    Plan {
        format: FORMAT,
        scenario: scenario.name().to_string(),
        seed,
        design: Design::default(),
        policy: Policy::Random,
        sync_after_open: true,
        sync_engine_log: true,
        nodes: nodes.iter().map(|&(engine, release)| healthy_node(engine, release)).collect(),
        links: LinkOptions::calm(),
        heal_at_ms: LOAD_MS,
        quiet_ms: 0,
        operations: load::operations(seed),
        watchers: Vec::new(),
        faults: Vec::new(),
        upgrades: Vec::new(),
        member_steps: Vec::new(),
    }
}

/// A member from the start, without a fault.
pub(crate) fn healthy_node(engine: EngineId, release: u8) -> NodePlan {
    NodePlan {
        engine: EngineName(engine),
        release,
        joins: false,
        disk: DiskProfile::Posix,
        byte_tears: Ratio::ZERO,
        log_faults: healthy_disk(),
        data_faults: healthy_disk(),
        clock: ClockOptions::default(),
    }
}

pub(crate) fn finish(mut plan: Plan) -> Plan {
    plan.faults.sort_by_key(|fault| fault.at_ms);
    plan
}

/// Three engines, at least two kinds among them.
fn mixed_engines(entropy: &mut Entropy) -> [EngineId; 3] {
    let mut kinds = [EngineId::Sled, EngineId::Fjall, EngineId::Redb, EngineId::LsmTree];
    entropy.shuffle(&mut kinds);
    let [first, second, third, _] = kinds;
    let third = if entropy.chance(Ratio::percent(60)) { *entropy.choose(&[first, second]) } else { third };
    let mut engines = [first, second, third];
    entropy.shuffle(&mut engines);
    engines
}

pub(crate) fn policy(entropy: &mut Entropy) -> Policy {
    match entropy.below(4) {
        0 => Policy::Priority { change_points: 3 + u32::try_from(entropy.below(20)).expect("small") },
        1 => Policy::Fixed,
        _ => Policy::Random,
    }
}

/// For numbers that are drawn below a small bound.
pub(crate) fn small(number: u64) -> u32 {
    u32::try_from(number).expect("a small number")
}

fn target(plan: &Plan, entropy: &mut Entropy) -> Target {
    match entropy.below(5) {
        0 => Target::Leader,
        1 => Target::Follower,
        _ => Target::Node(1 + entropy.below(plan.nodes.len() as u64)),
    }
}

fn fault_time(entropy: &mut Entropy) -> u64 {
    1_000 + entropy.below(LOAD_MS - 4_000)
}

/// Crashes at disk operations of any thread, or at any time; some fall inside a write, some on a background
/// thread, some again during recovery.
pub(crate) fn crashes(plan: &mut Plan, entropy: &mut Entropy, crash: Crash, low: u64, high: u64) {
    for _ in 0..entropy.between(low, high) {
        let at = (!entropy.chance(Ratio::percent(15))).then(|| place(entropy));
        let again = if entropy.chance(Ratio::percent(35)) { entropy.between(1, 2) } else { 0 };
        let again_after = (0..again).map(|_| entropy.between(1, 60)).collect();
        let down_ms = if entropy.chance(Ratio::percent(20)) {
            entropy.between(2_000, 8_000)
        } else {
            entropy.between(20, 800)
        };
        let fault = Fault::Crash { target: target(plan, entropy), crash, at, down_ms, again_after };
        plan.faults.push(PlannedFault { at_ms: fault_time(entropy), fault });
    }
}

fn place(entropy: &mut Entropy) -> CrashPlace {
    let filter = match entropy.below(7) {
        0 => OperationFilter { thread_prefix: "fjall".to_string(), ..OperationFilter::default() },
        1 => OperationFilter { path_contains: "raft/".to_string(), ..OperationFilter::default() },
        2 => OperationFilter { path_contains: "store".to_string(), ..OperationFilter::default() },
        3 => OperationFilter { path_contains: "flushed-index".to_string(), ..OperationFilter::default() },
        _ => OperationFilter::default(),
    };
    let inside = entropy.chance(Ratio::percent(40));
    let filter = OperationFilter { writes_only: inside, ..filter };
    CrashPlace { operation: entropy.between(1, 40), inside, filter }
}

pub(crate) fn partitions(plan: &mut Plan, entropy: &mut Entropy) {
    for _ in 0..entropy.between(1, 6) {
        let target = target(plan, entropy);
        let shape = match entropy.below(5) {
            0 => PartitionShape::Mute(target),
            1 => PartitionShape::Deafen(target),
            2 => PartitionShape::Bridge(target),
            _ => PartitionShape::Isolate(target),
        };
        let fault = Fault::Partition { shape, for_ms: entropy.between(300, 6_000) };
        plan.faults.push(PlannedFault { at_ms: fault_time(entropy), fault });
    }
}

pub(crate) fn pauses(plan: &mut Plan, entropy: &mut Entropy) {
    for _ in 0..entropy.between(1, 4) {
        let target = if entropy.chance(Ratio::percent(60)) { Target::Leader } else { target(plan, entropy) };
        let fault = Fault::Pause { target, for_ms: entropy.between(200, 5_000) };
        plan.faults.push(PlannedFault { at_ms: fault_time(entropy), fault });
    }
}

pub(crate) fn clock_steps(plan: &mut Plan, entropy: &mut Entropy) {
    for _ in 0..entropy.between(1, 3) {
        let size = i64::try_from(entropy.between(10, 600_000)).expect("ten minutes in milliseconds");
        let by_ms = if entropy.chance(Ratio::percent(50)) { size } else { -size };
        let fault = Fault::StepClock { target: target(plan, entropy), by_ms };
        plan.faults.push(PlannedFault { at_ms: fault_time(entropy), fault });
    }
}

pub(crate) fn clocks(plan: &mut Plan, entropy: &mut Entropy) {
    for node in &mut plan.nodes {
        if entropy.chance(Ratio::percent(50)) {
            let drift = i32::try_from(entropy.below(1_001)).expect("small") - 500;
            let offset = i64::try_from(entropy.below(10_000_000_000)).expect("ten seconds") - 5_000_000_000;
            node.clock = ClockOptions { drift_parts_per_million: drift, wall_offset_ns: offset };
        }
    }
}

/// Disk faults, within the budget: what loses acknowledged bytes (a lie, a failed sync) befalls the engine's
/// disk of one node only, for raft promises nothing to a voter that forgets its log; what is reported to the
/// caller may befall every node's both disks.
fn disk_faults(plan: &mut Plan, entropy: &mut Entropy) {
    if entropy.chance(Ratio::percent(50)) {
        let count = plan.nodes.len() as u64;
        let node = plan.node_mut(1 + entropy.below(count));
        node.disk = DiskProfile::Lying;
        node.data_faults.lying_sync = Ratio::percent(small(entropy.between(5, 60)));
        if entropy.chance(Ratio::percent(40)) {
            node.data_faults.sync_error = Ratio::per_million(small(entropy.between(500, 20_000)));
        }
    }
    if entropy.chance(Ratio::percent(15)) {
        let count = plan.nodes.len() as u64;
        let node = plan.node_mut(1 + entropy.below(count));
        node.data_faults.capacity_bytes = entropy.between(400_000, 2_500_000);
    }
    if entropy.chance(Ratio::percent(40)) {
        for node in &mut plan.nodes {
            for faults in [&mut node.log_faults, &mut node.data_faults] {
                faults.write_error = Ratio::per_million(small(entropy.below(1_500)));
                faults.short_write = Ratio::per_million(small(entropy.below(20_000)));
                // There are far fewer changes of names than writes.
                faults.path_error = Ratio::per_million(small(entropy.below(5_000)));
            }
            // Only of the raft log: fjall takes a short or interrupted read for corruption
            // (docs/findings/07), which no local file system of Linux ever gives.
            node.log_faults.short_read = Ratio::per_million(small(entropy.below(20_000)));
            node.log_faults.interrupted = Ratio::per_million(small(entropy.below(10_000)));
            node.log_faults.sync_error = Ratio::per_million(small(entropy.below(1_000)));
        }
    }
}

/// A healthy solid-state disk: a sync takes a twentieth of a millisecond and sometimes much longer.
fn healthy_disk() -> FaultOptions {
    FaultOptions {
        sync_latency_base_ns: 50_000,
        sync_latency_mean_ns: 150_000,
        sync_latency_max_ns: 50_000_000,
        ..FaultOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_run_undertakes_one_thing_or_none() {
        let mut seen = [0; 5];
        for seed in 1..=300 {
            let plan = default(seed);
            plan.check().unwrap();
            let has = |wanted: fn(&Fault) -> bool| plan.faults.iter().any(|planned| wanted(&planned.fault));
            let kinds = [
                !plan.upgrades.is_empty(),
                !plan.member_steps.is_empty(),
                has(|fault| matches!(fault, Fault::FillDisk { .. })),
                has(|fault| matches!(fault, Fault::Rot { .. })),
            ];
            let undertaken: Vec<usize> = (0..4).filter(|kind| kinds[*kind]).collect();
            assert!(undertaken.len() <= 1, "seed {seed}: {undertaken:?}");
            seen[undertaken.first().copied().unwrap_or(4)] += 1;
            assert_eq!(plan.nodes.iter().filter(|node| node.joins).count(), if kinds[1] { 2 } else { 0 });
        }
        assert!(seen.iter().all(|count| *count > 12), "{seen:?}");
    }

    #[test]
    fn what_rots_beside_other_faults_is_the_engine_that_may_forget_and_one_that_notices() {
        for seed in 1..=300 {
            let plan = default(seed);
            let lying = (1..).zip(&plan.nodes).find(|(_, node)| node.disk == DiskProfile::Lying);
            for planned in &plan.faults {
                let Fault::Rot { target: Target::Node(victim), .. } = planned.fault else { continue };
                let engine = plan.node(victim).engine.0;
                assert!(matches!(engine, EngineId::Fjall | EngineId::LsmTree), "seed {seed}: {engine}");
                assert!(lying.is_none_or(|(number, _)| number == victim), "seed {seed}");
            }
        }
    }
}
