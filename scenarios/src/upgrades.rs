//! The matrix of upgrades and downgrades: every release with every engine it knows, and every way from one to
//! another. What a node has installed, the routes between, the plans that take them, and what is asked of them.

use crate::generate::{self, stream};
use crate::observation::Observed;
use crate::plan::{
    CrashPlace, EngineChange, EngineName, Fault, NodePlan, PartitionShape, Plan, PlannedFault, StartCrash,
    Target, Upgrade,
};
use crate::run::Evidence;
use crate::scenario::Scenario;
use crate::world::ObservedStop;
use cluster::ReplicaEvent;
use engines::EngineId;
use model::verdict::{Check, Violation};
use sim::entropy::{Entropy, Ratio};
use sim::{Crash, OperationFilter, StopCause};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The release and the engine of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    /// 1 or 2.
    pub release: u8,
    /// The engine of its store.
    pub engine: EngineId,
}

/// Everything that a node can have installed.
const INSTALLED: [Installed; 5] = [
    Installed { release: 1, engine: EngineId::Sled },
    Installed { release: 2, engine: EngineId::Sled },
    Installed { release: 2, engine: EngineId::Fjall },
    Installed { release: 2, engine: EngineId::Redb },
    Installed { release: 2, engine: EngineId::LsmTree },
];

/// A way from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Before.
    pub from: Installed,
    /// After.
    pub to: Installed,
    /// What becomes of the store; nothing does where the engine stays.
    pub change: Option<EngineChange>,
}

impl Route {
    /// The route of an upgrade that begins at `from`; none where its start must be refused, or nothing changes.
    pub(crate) fn of(from: Installed, step: &Upgrade) -> Option<Self> {
        let to = Installed { release: step.release, engine: step.engine.0 };
        let route = Self { from, to, change: (from.engine != to.engine).then_some(step.change) };
        Self::all().contains(&route).then_some(route)
    }

    /// Every route. Release 1 cannot convert what it does not know, so that a store of another engine can be
    /// fetched only.
    pub fn all() -> Vec<Self> {
        let mut routes = Vec::new();
        for from in INSTALLED {
            for to in INSTALLED.into_iter().filter(|to| *to != from) {
                let changes: &[Option<EngineChange>] = match (from.engine == to.engine, to.release) {
                    (true, _) => &[None],
                    (false, 1) => &[Some(EngineChange::WipeAndFetch)],
                    (false, _) => &[Some(EngineChange::ConvertInPlace), Some(EngineChange::WipeAndFetch)],
                };
                routes.extend(changes.iter().map(|change| Self { from, to, change: *change }));
            }
        }
        routes
    }
}

impl Installed {
    fn of(node: &NodePlan) -> Self {
        Self { release: node.release, engine: node.engine.0 }
    }
}

impl fmt::Display for Installed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "release {} {}", self.release, self.engine)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.change {
            None => "store kept",
            Some(EngineChange::ConvertInPlace) => "converted in place",
            Some(EngineChange::WipeAndFetch) => "wiped and fetched",
            Some(EngineChange::Refuse) => "refused",
        };
        write!(out, "{} → {}, {how}", self.from, self.to)
    }
}

/// An upgrade after which the cluster had recovered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) node: u64,
    pub(crate) route: Route,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// A start with an engine that the store does not belong to, and that nothing allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mistake {
    pub(crate) node: u64,
    pub(crate) incarnation: u32,
    /// The engine of the store.
    pub(crate) found: EngineId,
    /// What the node was started as.
    pub(crate) wanted: Installed,
}

impl Mistake {
    /// Whether this is the stop of the mistaken start.
    pub(crate) fn ended_by(&self, stop: &ObservedStop) -> bool {
        (self.node, self.incarnation) == (stop.node, stop.incarnation)
    }

    /// Whether these words refuse the start for the right reason, with both engines.
    fn is_refused_by(&self, words: &str) -> bool {
        let engines = [self.found.name(), self.wanted.engine.name()];
        words.contains("the replica refuses to start") && engines.iter().all(|engine| words.contains(engine))
    }
}

/// Whether a step is one whose start must be refused.
pub(crate) fn is_mistake(from: Installed, step: &Upgrade) -> bool {
    from.engine != step.engine.0
        && match step.change {
            EngineChange::Refuse => true,
            EngineChange::ConvertInPlace => step.release == 1,
            EngineChange::WipeAndFetch => false,
        }
}

/// The routes that were taken to their end: the replica said what it did with its store, and caught up.
pub(crate) fn routes_taken(evidence: &Evidence) -> BTreeSet<Route> {
    let taken = |done: &&Done| {
        evidence.log.events.iter().any(|observed| {
            observed.node == done.node
                && (done.from..=done.until).contains(&observed.at)
                && is_proof(&observed.event, &done.route)
        })
    };
    evidence.upgrades.iter().filter(taken).map(|done| done.route).collect()
}

/// Whether an event shows that a route was taken.
fn is_proof(event: &ReplicaEvent, route: &Route) -> bool {
    match (route.change, event) {
        (Some(EngineChange::ConvertInPlace), ReplicaEvent::Converted { from, to, .. })
        | (Some(EngineChange::WipeAndFetch), ReplicaEvent::StoreDiscarded { from, to, .. }) => {
            (*from, *to) == (route.from.engine, route.to.engine)
        }
        (None, ReplicaEvent::Started { hello, .. }) => hello.peer.release.number() == route.to.release,
        _ => false,
    }
}

/// A mistaken start is refused with words that name both engines; it never takes part.
pub(crate) fn check(mistakes: &[Mistake], stops: &[ObservedStop], events: &[Observed]) -> Vec<Violation> {
    mistakes.iter().filter_map(|mistake| mistaken_start(mistake, stops, events)).collect()
}

fn mistaken_start(mistake: &Mistake, stops: &[ObservedStop], events: &[Observed]) -> Option<Violation> {
    let Mistake { node, found, wanted, .. } = *mistake;
    let broken = |what: String| {
        let message = format!("node {node} was started as {wanted} on a store of {found}, and {what}");
        Some(Violation::new(Check::Engine, message))
    };
    let own = |observed: &&Observed| (observed.node, observed.incarnation) == (node, mistake.incarnation);
    let started = |observed: &Observed| matches!(observed.event, ReplicaEvent::Started { .. });
    if events.iter().filter(own).any(started) {
        return broken("took part".to_owned());
    }
    let Some(observed) = stops.iter().find(|stop| mistake.ended_by(stop)) else {
        return broken("did not stop".to_owned());
    };
    match (observed.stop.cause, &observed.stop.result) {
        (StopCause::Exit, Err(why)) if !mistake.is_refused_by(why) => {
            broken(format!("did not say so, but: {why}"))
        }
        (StopCause::Exit, Ok(())) => broken("stopped as if nothing were wrong".to_owned()),
        (StopCause::Exit, Err(_)) | (StopCause::PowerFailure | StopCause::ProcessKill, _) => None,
    }
}

/// The starts that were refused for their engine, and those for their release.
pub(crate) fn refused(evidence: &Evidence) -> (bool, bool) {
    let by_release = evidence.mistakes.iter().filter_map(|mistake| {
        let stop = evidence.stops.iter().find(|stop| mistake.ended_by(stop))?;
        let why = stop.stop.result.as_ref().err()?;
        mistake.is_refused_by(why).then(|| why.contains("cannot convert"))
    });
    by_release.fold((false, false), |(engine, release), by| (engine || !by, release || by))
}

/// Virtual time of the first step, and between two, in milliseconds.
const FIRST_MS: u64 = 3_000;
const EVERY_MS: u64 = 3_200;
const NODES: u64 = 3;

/// Up to one and to a second installation, and the same way back; node by node, under crashes, partitions and
/// pauses of the leader.
pub(crate) fn plan(seed: u64) -> Plan {
    let mut entropy = stream(seed, "upgrade matrix");
    let mut installed = INSTALLED;
    entropy.shuffle(&mut installed);
    let [home, near, far, ..] = installed;
    let nodes = [(home.engine, home.release); NODES as usize];
    let mut plan = generate::healthy(seed, Scenario::UpgradeMatrix, &nodes);
    plan.policy = generate::policy(&mut stream(seed, "policy"));
    let crashes = entropy.chance(Ratio::percent(75));
    let mut at_ms = FIRST_MS;
    for (from, to) in [(home, near), (near, far), (far, near), (near, home)] {
        let mut order: Vec<u64> = (1..=NODES).collect();
        entropy.shuffle(&mut order);
        for node in order {
            steps(&mut plan, &mut entropy, (at_ms, node), from, to);
            maybe_crash(&mut plan, &mut entropy, if crashes { 40 } else { 0 });
            at_ms += EVERY_MS;
        }
    }
    disturbances(&mut plan, seed);
    plan.faults.sort_by_key(|fault| fault.at_ms);
    plan
}

/// Upgrades and downgrades of single nodes, each to anything else, in a run that is about other things as well.
pub(crate) fn single(plan: &mut Plan, entropy: &mut Entropy) {
    let mut installed: Vec<Installed> = plan.nodes.iter().map(Installed::of).collect();
    let count = entropy.between(1, 9);
    for number in 0..count {
        let at_ms = FIRST_MS + number * (plan.heal_at_ms - 2 * FIRST_MS) / count;
        let index = usize::try_from(entropy.below(installed.len() as u64)).expect("few nodes");
        let from = installed[index];
        let others: Vec<_> = INSTALLED.into_iter().filter(|other| *other != from).collect();
        let to = *entropy.choose(&others);
        steps(plan, entropy, (at_ms, index as u64 + 1), from, to);
        maybe_crash(plan, entropy, 30);
        installed[index] = to;
    }
}

/// Takes a node from one installation to another; in some cases somebody first starts it in a wrong way.
fn steps(plan: &mut Plan, entropy: &mut Entropy, place: (u64, u64), from: Installed, to: Installed) {
    let (at_ms, node) = place;
    let mut step = |to: Installed, change| {
        let engine = EngineName(to.engine);
        plan.upgrades.push(Upgrade { at_ms, node, release: to.release, engine, change, crash: None });
    };
    if entropy.chance(Ratio::percent(25)) {
        let others: Vec<_> = INSTALLED.into_iter().filter(|other| other.engine != from.engine).collect();
        step(*entropy.choose(&others), EngineChange::Refuse);
    }
    let convert = entropy.chance(Ratio::percent(50));
    if convert && to.release == 1 && from.engine != to.engine {
        // That release cannot: it is refused, and the next step does it the other way.
        step(to, EngineChange::ConvertInPlace);
        step(to, EngineChange::WipeAndFetch);
    } else {
        step(to, if convert { EngineChange::ConvertInPlace } else { EngineChange::WipeAndFetch });
    }
}

/// With that probability, the step that was just added crashes.
fn maybe_crash(plan: &mut Plan, entropy: &mut Entropy, percent: u32) {
    if entropy.chance(Ratio::percent(percent)) {
        plan.upgrades.last_mut().expect("a step was just added").crash = Some(crash_in_change(entropy));
    }
}

/// A crash while the node that is changed lays its new store out or puts it in place.
fn crash_in_change(entropy: &mut Entropy) -> StartCrash {
    let (path_contains, last) = *entropy.choose(&[("store.new", 40), ("INSTALL", 5), ("store", 60)]);
    let filter = OperationFilter { path_contains: path_contains.to_string(), ..OperationFilter::default() };
    let operation = entropy.between(1, last);
    let at = CrashPlace { operation, inside: entropy.chance(Ratio::percent(30)), filter };
    let crash = *entropy.choose(&[Crash::PowerFailure, Crash::ProcessKill]);
    StartCrash { crash, at, down_ms: entropy.between(20, 500) }
}

/// What goes wrong besides: each class in some runs only.
fn disturbances(plan: &mut Plan, seed: u64) {
    let mut classes = stream(seed, "fault classes");
    let on = |classes: &mut Entropy| classes.chance(Ratio::percent(60));
    if on(&mut classes) {
        generate::crashes(plan, &mut stream(seed, "power failures"), Crash::PowerFailure, 1, 3);
    }
    if on(&mut classes) {
        generate::crashes(plan, &mut stream(seed, "process kills"), Crash::ProcessKill, 1, 3);
    }
    if on(&mut classes) {
        generate::partitions(plan, &mut stream(seed, "partitions"));
    }
    if on(&mut classes) {
        let mut entropy = stream(seed, "leader changes");
        for at_ms in (FIRST_MS..plan.heal_at_ms).step_by(7_000) {
            let at_ms = at_ms + entropy.below(4_000);
            let shape = PartitionShape::Isolate(Target::Leader);
            let fault = match entropy.chance(Ratio::percent(50)) {
                true => Fault::Partition { shape, for_ms: entropy.between(1_500, 3_000) },
                false => Fault::Pause { target: Target::Leader, for_ms: entropy.between(1_500, 3_000) },
            };
            plan.faults.push(PlannedFault { at_ms, fault });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_every_way_between_two_installations() {
        let routes = Route::all();
        // Two of the release alone, three times two from release 1 to another engine, three back, and four times three
        // times two between the engines of release 2.
        assert_eq!(routes.len(), 2 + 6 + 3 + 24);
        assert!(routes.iter().map(Route::to_string).collect::<BTreeSet<_>>().len() == routes.len());
    }

    #[test]
    fn plans_come_home_and_take_every_route() {
        let mut routes = BTreeSet::new();
        let mut mistakes = 0;
        for seed in 1..=120 {
            let plan = plan(seed);
            plan.check().unwrap();
            let home = Installed::of(&plan.nodes[0]);
            let mut installed = [home; NODES as usize];
            for step in &plan.upgrades {
                let own = &mut installed[usize::try_from(step.node - 1).unwrap()];
                if is_mistake(*own, step) {
                    mistakes += 1;
                    continue;
                }
                routes.insert(Route::of(*own, step).unwrap());
                *own = Installed { release: step.release, engine: step.engine.0 };
            }
            assert_eq!(installed, [home; NODES as usize]);
        }
        assert_eq!(routes, Route::all().into_iter().collect());
        assert!(mistakes > 100, "{mistakes}");
    }
}
