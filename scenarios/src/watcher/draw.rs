//! Watchers and their scenario, from seeds.

use super::{PlannedWatcher, WatchStart, WatchedKeys, WatcherAction, WatcherStep};
use crate::generate::{self, CLIENTS, KEYS, small, stream};
use crate::plan::{
    Action, CrashPlace, EngineName, Fault, PartitionShape, Plan, PlannedFault, PlannedOperation, Target,
};
use crate::scenario::Scenario;
use crate::targeted;
use engines::EngineId;
use sim::entropy::{Entropy, Ratio};
use sim::{Crash, OperationFilter};
use std::ops::Range;

/// Gives a plan watchers of any kind, or none.
pub(crate) fn add(plan: &mut Plan, entropy: &mut Entropy) {
    if entropy.chance(Ratio::percent(40)) {
        return;
    }
    let habits = Habits::draw(entropy);
    let span_ms = 500..plan.heal_at_ms - 1_000;
    for _ in 0..entropy.between(1, 4) {
        plan.watchers.push(watcher(entropy, &habits, small(KEYS), &span_ms));
    }
}

/// Distinct keys of the scenario; few, so that each is written and deleted often.
const FEW_KEYS: u32 = 6;
/// Rounds of the scenario.
const ROUNDS: u64 = 6;
/// Virtual time of a round in milliseconds.
const ROUND_MS: u64 = 6_000;
/// Virtual time for which a replica is cut off in a round.
const CUT_MS: u64 = 3_200;

/// Many watchers over few keys. In each round a replica is cut off until it needs a snapshot, or crashes, or both, and
/// what is old is compacted.
pub(crate) fn scenario(seed: u64) -> Plan {
    let mut entropy = stream(seed, "watches");
    let mut plan = generate::calm(seed);
    plan.scenario = Scenario::Watches.name().to_string();
    plan.operations.clear();
    for node in &mut plan.nodes {
        node.engine = EngineName(EngineId::Redb);
    }
    if entropy.chance(Ratio::percent(40)) {
        let other = *entropy.choose(&[EngineId::Sled, EngineId::Fjall, EngineId::LsmTree]);
        plan.nodes[2].engine = EngineName(other);
    }
    let (cuts, crashes, compactions) = (
        entropy.chance(Ratio::percent(75)),
        entropy.chance(Ratio::percent(60)),
        entropy.chance(Ratio::percent(75)),
    );
    for round in 0..ROUNDS {
        let at_ms = 1_500 + round * ROUND_MS;
        operations(&mut plan, &mut entropy, at_ms..at_ms + CUT_MS, 70);
        operations(&mut plan, &mut entropy, at_ms + CUT_MS..at_ms + ROUND_MS, 25);
        if cuts {
            let shape = PartitionShape::Isolate(target(&mut entropy));
            plan.faults.push(PlannedFault { at_ms, fault: Fault::Partition { shape, for_ms: CUT_MS } });
        }
        if compactions {
            compaction(&mut plan, &mut entropy, at_ms, crashes);
        }
        if crashes && entropy.chance(Ratio::percent(50)) {
            let at_ms = at_ms + entropy.below(ROUND_MS);
            let target = target(&mut entropy);
            crash(&mut plan, &mut entropy, at_ms, target, 200);
        }
    }
    let habits = Habits::draw(&mut entropy);
    let heal_at_ms = 1_500 + ROUNDS * ROUND_MS;
    for _ in 0..entropy.between(5, 9) {
        plan.watchers.push(watcher(&mut entropy, &habits, FEW_KEYS, &(500..heal_at_ms - 1_000)));
    }
    targeted::finish(plan, heal_at_ms)
}

/// Writes and deletions, and few reads, for nothing here is about those.
fn operations(plan: &mut Plan, entropy: &mut Entropy, span_ms: Range<u64>, count: u64) {
    for _ in 0..count {
        let at_ms = span_ms.start + entropy.below(span_ms.end - span_ms.start);
        let client = small(entropy.below(CLIENTS));
        let key = small(entropy.below(u64::from(FEW_KEYS)));
        let bytes = if entropy.chance(Ratio::percent(10)) { 700 } else { small(20 + entropy.below(100)) };
        let action = match entropy.below(10) {
            0 => Action::Get { key },
            1 => Action::CompareAndSet { key, bytes },
            2..=4 => Action::Delete { key },
            5 => Action::DeleteRange { from: key, to: key + small(1 + entropy.below(4)) },
            6 => Action::PutTwo { first: key, second: (key + 1) % FEW_KEYS, bytes },
            _ => Action::Put { key, bytes },
        };
        plan.operations.push(PlannedOperation { at_ms, client, action });
    }
}

/// A compaction from a moment on, close behind the newest revision or far; sometimes the power of a replica fails
/// while its engine forgets.
fn compaction(plan: &mut Plan, entropy: &mut Entropy, from_ms: u64, may_crash: bool) {
    let at_ms = from_ms + entropy.below(ROUND_MS - 500);
    let client = small(entropy.below(CLIENTS));
    let behind = if entropy.chance(Ratio::percent(60)) { entropy.below(4) } else { entropy.below(80) };
    plan.operations.push(PlannedOperation {
        at_ms,
        client,
        action: Action::Compact { behind, physical: false },
    });
    if may_crash && entropy.chance(Ratio::percent(40)) {
        let target = target(entropy);
        crash(plan, entropy, at_ms, target, 30);
    }
}

/// A crash of a replica at one of its next disk operations.
fn crash(plan: &mut Plan, entropy: &mut Entropy, at_ms: u64, target: Target, operations: u64) {
    let kind = *entropy.choose(&[Crash::PowerFailure, Crash::ProcessKill]);
    let filter = OperationFilter::default();
    let at = Some(CrashPlace { operation: entropy.between(1, operations), inside: false, filter });
    let down_ms = entropy.between(20, 1_500);
    let fault = Fault::Crash { target, crash: kind, at, down_ms, again_after: Vec::new() };
    plan.faults.push(PlannedFault { at_ms, fault });
}

fn target(entropy: &mut Entropy) -> Target {
    match entropy.below(5) {
        0 => Target::Leader,
        1 => Target::Follower,
        _ => Target::Node(1 + entropy.below(3)),
    }
}

/// What the watchers of a plan do at all: some bugs need the absence of a habit.
struct Habits {
    sleep: bool,
    move_on: bool,
    unwatch: bool,
    starts: Vec<u64>,
}

impl Habits {
    fn draw(entropy: &mut Entropy) -> Self {
        let mut on = || entropy.chance(Ratio::percent(70));
        let (sleep, move_on, unwatch) = (on(), on(), on());
        let mut starts: Vec<u64> = (0..STARTS).filter(|_| on()).collect();
        if starts.is_empty() {
            starts.push(NOW);
        }
        Self { sleep, move_on, unwatch, starts }
    }
}

/// Kinds of starts: from now on, from the past, from the future.
const STARTS: u64 = 3;
const NOW: u64 = 0;
const BEHIND: u64 = 1;

fn watcher(entropy: &mut Entropy, habits: &Habits, keys: u32, span_ms: &Range<u64>) -> PlannedWatcher {
    let at_ms = span_ms.start + entropy.below((span_ms.end - span_ms.start) / 2);
    let keys = match entropy.below(5) {
        0 => WatchedKeys::One { key: small(entropy.below(u64::from(keys))) },
        1 | 2 => {
            let from = small(entropy.below(u64::from(keys)));
            WatchedKeys::Span { from, to: from + small(entropy.between(1, u64::from(keys))) }
        }
        _ => WatchedKeys::All,
    };
    let start = match *entropy.choose(&habits.starts) {
        NOW => WatchStart::Now,
        BEHIND => WatchStart::Behind(small(entropy.below(120))),
        _ => WatchStart::Ahead(small(entropy.between(1, 120))),
    };
    let mut option = |percent| entropy.chance(Ratio::percent(percent));
    let prev_kv = option(50);
    let (no_put, no_delete) = (option(12), option(12));
    let (progress_notify, fragment, bookmarks) = (option(40), option(50), option(40));
    let on = target(entropy);
    let steps = steps(entropy, habits, at_ms + 200..span_ms.end);
    PlannedWatcher {
        at_ms,
        on,
        keys,
        start,
        prev_kv,
        no_put,
        no_delete,
        progress_notify,
        fragment,
        bookmarks,
        steps,
    }
}

fn steps(entropy: &mut Entropy, habits: &Habits, span_ms: Range<u64>) -> Vec<WatcherStep> {
    let mut steps = Vec::new();
    for _ in 0..entropy.below(8) {
        let at_ms = span_ms.start + entropy.below(span_ms.end - span_ms.start);
        let action = match entropy.below(6) {
            0 | 1 if habits.sleep => WatcherAction::Sleep { for_ms: entropy.between(200, 4_000) },
            2..=4 if habits.move_on => WatcherAction::Move { to: target(entropy) },
            5 if habits.unwatch => WatcherAction::Unwatch { for_ms: entropy.between(50, 1_000) },
            _ => continue,
        };
        steps.push(WatcherStep { at_ms, action });
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seeds_have_no_watcher() {
        let counts: Vec<usize> = (1..=60).map(|seed| Scenario::Default.plan(seed).watchers.len()).collect();
        let without = counts.iter().filter(|count| **count == 0).count();
        assert!((12..40).contains(&without), "{without} of 60 seeds are without");
        assert!(counts.contains(&4) && !counts.contains(&5));
    }

    #[test]
    fn the_scenario_has_every_kind_of_watcher_and_compacts() {
        let plans: Vec<Plan> = (1..=40).map(scenario).collect();
        let watchers: Vec<&PlannedWatcher> = plans.iter().flat_map(|plan| &plan.watchers).collect();
        let has = |wanted: fn(&PlannedWatcher) -> bool| watchers.iter().any(|watcher| wanted(watcher));
        assert!(has(|watcher| matches!(watcher.start, WatchStart::Behind(60..))));
        assert!(has(|watcher| matches!(watcher.start, WatchStart::Ahead(60..))));
        assert!(has(|watcher| watcher.start == WatchStart::Now && watcher.keys == WatchedKeys::All));
        assert!(has(|watcher| watcher.prev_kv && watcher.no_put && !watcher.no_delete));
        assert!(has(|watcher| watcher.fragment && watcher.progress_notify && !watcher.bookmarks));
        let steps: Vec<_> = watchers.iter().flat_map(|watcher| &watcher.steps).collect();
        let does = |wanted: fn(&WatcherAction) -> bool| steps.iter().any(|step| wanted(&step.action));
        assert!(does(|action| matches!(action, WatcherAction::Sleep { .. })));
        assert!(does(|action| matches!(action, WatcherAction::Move { .. })));
        assert!(does(|action| matches!(action, WatcherAction::Unwatch { .. })));
        let compacts = |plan: &&Plan| {
            plan.operations.iter().any(|planned| matches!(planned.action, Action::Compact { .. }))
        };
        let compacting = plans.iter().filter(compacts).count();
        assert!((20..40).contains(&compacting), "{compacting} of 40 plans compact");
    }
}
