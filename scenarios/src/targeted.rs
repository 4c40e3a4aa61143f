//! Scenarios that each go after one kind of mistake, where the broad ones would meet it too rarely.
//!
//! Their nodes run mostly redb, which keeps its promises when the power fails: what is lost here was lost by the
//! cluster, and a replica that waits for a peer's snapshot hides nothing.

use crate::generate::{self, CLIENTS, KEYS, small, stream};
use crate::plan::{
    Action, CrashPlace, EngineChange, EngineName, Fault, NodePlan, PartitionShape, Plan, PlannedFault,
    PlannedOperation, Target, Upgrade,
};
use crate::scenario::Scenario;
use engines::EngineId;
use sim::entropy::{Entropy, Ratio};
use sim::{Crash, OperationFilter};

/// The power of every node fails at the same moment, again and again, each time at the end of a burst of writes.
/// The disks are slow, so that much is always between the write and its sync. The nodes come back in any order.
pub(crate) fn blackout(seed: u64) -> Plan {
    const EVERY_MS: u64 = 4_000;
    const BURST_MS: u64 = 300;
    let mut entropy = stream(seed, "blackouts");
    let mut plan = healthy(seed, Scenario::Blackout);
    if entropy.chance(Ratio::percent(30)) {
        plan.nodes.truncate(1);
    }
    for node in &mut plan.nodes {
        for faults in [&mut node.log_faults, &mut node.data_faults] {
            faults.sync_latency_base_ns = 2_000_000;
            faults.sync_latency_mean_ns = entropy.between(2_000_000, 8_000_000);
        }
    }
    // A raft log's segment is full after a few large writes.
    let large = *entropy.choose(&[0, 10, 40]);
    for round in 1..=8 {
        let at_ms = round * EVERY_MS + entropy.below(1_000);
        // One node alone is done with an operation sooner than three.
        let burst = entropy.between(20, 60) * if plan.nodes.len() == 1 { 2 } else { 1 };
        operations(&mut plan, &mut entropy, at_ms - BURST_MS..at_ms, burst, large);
        operations(&mut plan, &mut entropy, at_ms + 1_500..at_ms + 2_000, 6, large);
        for node in 1..=plan.nodes.len() as u64 {
            let down_ms = entropy.between(20, 2_500);
            let target = Target::Node(node);
            fault(
                &mut plan,
                at_ms,
                Fault::Crash {
                    target,
                    crash: Crash::PowerFailure,
                    at: None,
                    down_ms,
                    again_after: Vec::new(),
                },
            );
        }
    }
    finish(plan, 38_000)
}

/// One replica after another is cut off until the others have forgotten what it lacks, and fetches a snapshot
/// over a link that damages and breaks streams; some crash while they receive or install it.
pub(crate) fn lagging(seed: u64) -> Plan {
    let mut entropy = stream(seed, "lagging");
    let mut plan = healthy(seed, Scenario::Lagging);
    if entropy.chance(Ratio::percent(40)) {
        plan.nodes[2].engine = EngineName(*entropy.choose(&[EngineId::Sled, EngineId::Fjall]));
    }
    if entropy.chance(Ratio::percent(60)) {
        plan.links.corruption = Ratio::per_million(small(entropy.between(2_000, 15_000)));
    }
    if entropy.chance(Ratio::percent(30)) {
        plan.links.stream_break = Ratio::per_million(small(entropy.between(500, 5_000)));
    }
    let crashes = entropy.chance(Ratio::percent(70));
    let mut narrow = stream(seed, "narrow links");
    let is_narrow = narrow.chance(Ratio::percent(30));
    if is_narrow {
        plan.links.bandwidth_bytes_per_second = narrow.between(40_000, 100_000);
    }
    for round in 0..6 {
        let cut_ms = 2_000 + round * 6_500;
        let back_ms = cut_ms + 3_500;
        let target = Target::Node(1 + entropy.below(3));
        let shape = PartitionShape::Isolate(target);
        fault(&mut plan, cut_ms, Fault::Partition { shape, for_ms: back_ms - cut_ms });
        operations(&mut plan, &mut entropy, cut_ms + 200..back_ms, 100, 5);
        operations(&mut plan, &mut entropy, back_ms..back_ms + 2_500, 15, 5);
        if is_narrow {
            // Before a snapshot is there, the leader has cut its log beyond it, and sends another one.
            operations(&mut plan, &mut narrow, back_ms..back_ms + 2_500, 40, 2);
        }
        if crashes {
            crash_in_installation(&mut plan, &mut entropy, back_ms - 1, target);
        }
    }
    finish(plan, 42_000)
}

/// Stretches of an installation: the path that its disk operations have in common, and the numbers of those to
/// crash at. A replica that was cut off has nothing to write before it installs a snapshot.
const STRETCHES: [(&str, u64, u64); 4] = [
    // The new state is laid out beside the old one.
    ("store.new", 1, 40),
    // The old store is closed, with about a dozen operations, moved away, and the new one moved in.
    ("store/", 1, 12),
    ("store/", 12, 20),
    // The record is written, and removed in the end.
    ("INSTALL", 1, 5),
];

/// A power failure, from `at_ms` on, while the target installs a snapshot.
fn crash_in_installation(plan: &mut Plan, entropy: &mut Entropy, at_ms: u64, target: Target) {
    let (path_contains, first, last) = *entropy.choose(&STRETCHES);
    let filter = OperationFilter { path_contains: path_contains.to_string(), ..OperationFilter::default() };
    let operation = entropy.between(first, last);
    let at = Some(CrashPlace { operation, inside: entropy.chance(Ratio::percent(30)), filter });
    let down_ms = entropy.between(20, 500);
    fault(
        plan,
        at_ms,
        Fault::Crash { target, crash: Crash::PowerFailure, at, down_ms, again_after: Vec::new() },
    );
}

/// Release 2 with engines of its own beside a release-1 node that falls behind and needs snapshots, until it is
/// upgraded too.
pub(crate) fn mixed_releases(seed: u64) -> Plan {
    let mut entropy = stream(seed, "mixed releases");
    let mut plan = healthy(seed, Scenario::MixedReleases);
    let engines = [EngineId::Redb, *entropy.choose(&[EngineId::Redb, EngineId::Fjall]), EngineId::Sled];
    for (node, engine) in plan.nodes.iter_mut().zip(engines) {
        node.engine = EngineName(engine);
    }
    let old = &mut plan.nodes[2];
    old.release = 1;
    for round in 0..5 {
        let cut_ms = 2_000 + round * 6_500;
        let back_ms = cut_ms + 3_500;
        let shape = PartitionShape::Isolate(Target::Node(3));
        fault(&mut plan, cut_ms, Fault::Partition { shape, for_ms: back_ms - cut_ms });
        operations(&mut plan, &mut entropy, cut_ms + 200..back_ms, 100, 5);
        operations(&mut plan, &mut entropy, back_ms..back_ms + 2_500, 15, 5);
    }
    let change = *entropy.choose(&[EngineChange::ConvertInPlace, EngineChange::WipeAndFetch]);
    let engine = EngineName(EngineId::Fjall);
    plan.upgrades.push(Upgrade { at_ms: 31_000, node: 3, release: 2, engine, change, crash: None });
    finish(plan, 36_000)
}

/// Three nodes with redb, without load and faults.
pub(crate) fn healthy(seed: u64, scenario: Scenario) -> Plan {
    let mut plan = generate::calm(seed);
    plan.scenario = scenario.name().to_string();
    plan.operations.clear();
    for NodePlan { engine, .. } in &mut plan.nodes {
        *engine = EngineName(EngineId::Redb);
    }
    plan
}

pub(crate) fn finish(mut plan: Plan, heal_at_ms: u64) -> Plan {
    plan.heal_at_ms = heal_at_ms;
    plan.operations.sort_by_key(|operation| operation.at_ms);
    plan.faults.sort_by_key(|fault| fault.at_ms);
    plan
}

fn fault(plan: &mut Plan, at_ms: u64, fault: Fault) {
    plan.faults.push(PlannedFault { at_ms, fault });
}

/// `count` operations, most of them writes, of which `large` percent are of 3 KiB.
pub(crate) fn operations(
    plan: &mut Plan,
    entropy: &mut Entropy,
    span_ms: std::ops::Range<u64>,
    count: u64,
    large: u32,
) {
    for _ in 0..count {
        let at_ms = span_ms.start + entropy.below(span_ms.end - span_ms.start);
        let client = small(entropy.below(CLIENTS));
        let key = small(entropy.below(KEYS));
        let bytes =
            if entropy.chance(Ratio::percent(large)) { 3 << 10 } else { small(20 + entropy.below(200)) };
        let action = match entropy.below(8) {
            0 | 1 => Action::Get { key },
            2 => Action::CompareAndSet { key, bytes },
            3 => Action::Delete { key },
            _ => Action::Put { key, bytes },
        };
        plan.operations.push(PlannedOperation { at_ms, client, action });
    }
}
