//! Members that come and go: five replicas, of which three are members at first. An operator adds, promotes, removes
//! and replaces them, and hands leadership over, while they crash, are cut off and stand still, and their clocks
//! differ. Some faults fall right into a change.

use crate::generate::{self, small, stream};
use crate::plan::{
    CrashPlace, Fault, MemberStep, NodePlan, PartitionShape, Plan, PlannedFault, PlannedMemberStep, Target,
};
use crate::scenario::Scenario;
use engines::EngineId;
use sim::entropy::{Entropy, Ratio};
use sim::network::LinkOptions;
use sim::{Crash, OperationFilter};

/// Replicas, and how many of them are members at first.
const NODES: u64 = 5;
const FIRST_MEMBERS: u64 = 3;
/// When the first step is, and from one to the next, in milliseconds.
const FIRST_STEP_MS: u64 = 3_000;
const STEP_MS: u64 = 3_500;
const STEPS: u64 = 11;
/// How long an operator waits after leadership was handed over, in milliseconds.
const HANDOVER_MS: u64 = 700;

/// The plan of `seed`.
pub(crate) fn plan(seed: u64) -> Plan {
    let mut topology = stream(seed, "topology");
    let engines: Vec<(EngineId, u8)> = (0..NODES).map(|_| (engine(&mut topology), 2)).collect();
    let mut plan = generate::healthy(seed, Scenario::Membership, &engines);
    for (number, node) in (1u64..).zip(&mut plan.nodes) {
        node.joins = number > FIRST_MEMBERS;
    }
    plan.policy = generate::policy(&mut stream(seed, "policy"));
    plan.links = match topology.below(10) {
        0..=2 => LinkOptions::swarm(&mut stream(seed, "links")),
        3..=5 => distant(),
        _ => LinkOptions::calm(),
    };
    steps(&mut plan, &mut stream(seed, "member steps"));
    let mut classes = stream(seed, "fault classes");
    let on = |classes: &mut Entropy| classes.chance(Ratio::percent(50));
    if on(&mut classes) {
        generate::clocks(&mut plan, &mut stream(seed, "clocks"));
        generate::clock_steps(&mut plan, &mut stream(seed, "clock steps"));
    }
    if on(&mut classes) {
        generate::crashes(&mut plan, &mut stream(seed, "power failures"), Crash::PowerFailure, 1, 4);
    }
    if on(&mut classes) {
        generate::crashes(&mut plan, &mut stream(seed, "process kills"), Crash::ProcessKill, 1, 4);
    }
    if on(&mut classes) {
        generate::partitions(&mut plan, &mut stream(seed, "partitions"));
    }
    if on(&mut classes) {
        generate::pauses(&mut plan, &mut stream(seed, "pauses"));
    }
    generate::finish(plan)
}

/// Two more replicas, and changes of the members, in a run of three that is about other things as well.
pub(crate) fn among_others(plan: &mut Plan, entropy: &mut Entropy) {
    for _ in FIRST_MEMBERS..NODES {
        plan.nodes.push(NodePlan { joins: true, ..generate::healthy_node(engine(entropy), 2) });
    }
    steps(plan, entropy);
}

/// Links between distant places: what one replica knows, another hears a good while later.
fn distant() -> LinkOptions {
    LinkOptions {
        latency_ns_base: 15_000_000,
        latency_ns_mean: 2_000_000,
        latency_ns_max: 80_000_000,
        ..LinkOptions::calm()
    }
}

/// Mostly engines that keep their promises: what is lost here was lost by the cluster.
fn engine(entropy: &mut Entropy) -> EngineId {
    match entropy.below(8) {
        0 => EngineId::Sled,
        1 => EngineId::Fjall,
        2 | 3 => EngineId::LsmTree,
        _ => EngineId::Redb,
    }
}

/// Who belongs to the cluster if every step is done.
struct Expected {
    voters: Vec<u64>,
    learner: Option<u64>,
    others: Vec<u64>,
}

/// The operator's steps, and what goes wrong right then.
fn steps(plan: &mut Plan, entropy: &mut Entropy) {
    let mut expected = Expected {
        voters: (1..=FIRST_MEMBERS).collect(),
        learner: None,
        others: (FIRST_MEMBERS + 1..=NODES).collect(),
    };
    // Faults right into a change, in percent of them.
    let trouble = *entropy.choose(&[0, 30, 60]);
    for number in 0..STEPS {
        let mut at_ms = FIRST_STEP_MS + number * STEP_MS + entropy.below(STEP_MS / 2);
        let (mut step, joins) = expected.next_step(entropy);
        if let Some((to, as_leader)) = of_the_leader(step)
            && entropy.chance(Ratio::percent(50))
        {
            plan.member_steps.push(PlannedMemberStep { at_ms, step: MemberStep::MoveLeader { to } });
            at_ms += HANDOVER_MS;
            step = as_leader;
        }
        if entropy.chance(Ratio::percent(trouble)) {
            plan.faults.push(fault_into(entropy, step, at_ms, joins));
        }
        plan.member_steps.push(PlannedMemberStep { at_ms, step });
    }
}

/// A step that takes somebody out: whom, and the same step where that one leads.
fn of_the_leader(step: MemberStep) -> Option<(Target, MemberStep)> {
    match step {
        MemberStep::Remove { target } => Some((target, MemberStep::Remove { target: Target::Leader })),
        MemberStep::Replace { out, with } => Some((out, MemberStep::Replace { out: Target::Leader, with })),
        MemberStep::AddLearner { .. }
        | MemberStep::AddVoter { .. }
        | MemberStep::Promote { .. }
        | MemberStep::MoveLeader { .. } => None,
    }
}

impl Expected {
    /// A step that makes sense now, and the replica that it brings in or is about.
    fn next_step(&mut self, entropy: &mut Entropy) -> (MemberStep, u64) {
        let kind = entropy.below(100);
        match (self.learner, kind) {
            (Some(with), 0..45) => {
                let out = take(&mut self.voters, entropy);
                self.voters.push(with);
                self.others.push(out);
                self.learner = None;
                (MemberStep::Replace { out: Target::Node(out), with }, with)
            }
            (Some(node), 45..80) => {
                self.voters.push(node);
                self.learner = None;
                (MemberStep::Promote { node }, node)
            }
            (Some(node), 80..85) => {
                self.learner = None;
                self.others.push(node);
                (MemberStep::Remove { target: Target::Node(node) }, node)
            }
            (None, 0..50) if !self.others.is_empty() => {
                let node = take(&mut self.others, entropy);
                self.learner = Some(node);
                (MemberStep::AddLearner { node }, node)
            }
            (None, 50..58) if !self.others.is_empty() => {
                let node = take(&mut self.others, entropy);
                self.voters.push(node);
                (MemberStep::AddVoter { node }, node)
            }
            (_, 58..88) if self.voters.len() > 2 => {
                let node = take(&mut self.voters, entropy);
                self.others.push(node);
                (MemberStep::Remove { target: Target::Node(node) }, node)
            }
            _ => {
                let to = *entropy.choose(&self.voters);
                (MemberStep::MoveLeader { to: Target::Node(to) }, to)
            }
        }
    }
}

fn take(nodes: &mut Vec<u64>, entropy: &mut Entropy) -> u64 {
    let place = entropy.below(nodes.len() as u64);
    nodes.swap_remove(usize::try_from(place).expect("few nodes"))
}

/// A fault for the moment of a step that is asked for at `at_ms`, and is about `node`.
fn fault_into(entropy: &mut Entropy, step: MemberStep, at_ms: u64, node: u64) -> PlannedFault {
    let is_replacement = matches!(step, MemberStep::Replace { .. });
    if is_replacement && entropy.chance(Ratio::percent(50)) {
        // The leader goes on with the one who comes, while the others may not have heard of it, and elect another.
        let shape = PartitionShape::WithLeader(Target::Node(node));
        let fault = Fault::Partition { shape, for_ms: entropy.between(3_000, 6_000) };
        return PlannedFault { at_ms: at_ms + entropy.below(60), fault };
    }
    let for_ms = entropy.between(1_500, 5_000);
    let fault = match entropy.below(5) {
        // The leader has the change in its log, and nobody else.
        0 => Fault::Partition { shape: PartitionShape::Isolate(Target::Leader), for_ms },
        1 => Fault::Pause { target: Target::Leader, for_ms },
        2 => crash(entropy, Target::Node(node)),
        _ => crash(entropy, Target::Leader),
    };
    // A little before or after the step is asked for.
    PlannedFault { at_ms: at_ms + entropy.below(40) - 20, fault }
}

/// A crash at one of the next operations on the raft log.
fn crash(entropy: &mut Entropy, target: Target) -> Fault {
    let filter = OperationFilter { path_contains: "raft/".to_string(), ..OperationFilter::default() };
    Fault::Crash {
        target,
        crash: *entropy.choose(&[Crash::ProcessKill, Crash::PowerFailure]),
        at: Some(CrashPlace { operation: entropy.between(1, 8), inside: false, filter }),
        down_ms: u64::from(small(entropy.between(20, 3_000))),
        again_after: Vec::new(),
    }
}
