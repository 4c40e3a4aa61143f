//! Full disks: the plans that fill them, the operator who clears the alarm, and what is asked meanwhile.

use crate::client::Client;
use crate::generate::{self, stream};
use crate::observation::Observed;
use crate::plan::{EngineName, Fault, Plan, PlannedFault, Target};
use crate::scenario::Scenario;
use crate::targeted;
use crate::world::World;
use cluster::ReplicaEvent;
use cluster::api::Call as ClusterCall;
use engines::EngineId;
use model::kv::{Call, CallAnswer, Refusal, Request};
use model::specs::etcd::{StoreHistory, StoreOperation};
use model::verdict::{Check, Violation};
use sim::entropy::{Entropy, Ratio};
use sim::{Crash, Machine};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long an operator waits for one answer, and before looking whether the alarm has come back: a replica looks
/// once a second whether it has space.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(1_500);

/// The plan of `seed`: disks of one replica, or of two at once, are full for some seconds, again and again.
pub(crate) fn plan(seed: u64) -> Plan {
    const ROUNDS: u64 = 3;
    const ROUND_MS: u64 = 12_000;
    let mut entropy = stream(seed, "full disks");
    let mut plan = generate::calm(seed);
    plan.scenario = Scenario::FullDisk.name().to_string();
    plan.operations.clear();
    if entropy.chance(Ratio::percent(60)) {
        // sled does not come back from a write that failed (docs/findings/11), and then proves little.
        for node in plan.nodes.iter_mut().filter(|node| node.engine.0 == EngineId::Sled) {
            node.engine = EngineName(*entropy.choose(&[EngineId::Redb, EngineId::LsmTree, EngineId::Fjall]));
        }
    }
    let majority = entropy.chance(Ratio::percent(30));
    let crashes = entropy.chance(Ratio::percent(40));
    for round in 0..ROUNDS {
        let from_ms = 2_000 + round * ROUND_MS;
        let for_ms = entropy.between(3_000, 7_000);
        let mut nodes = [1, 2, 3];
        entropy.shuffle(&mut nodes);
        for node in nodes.into_iter().take(if majority { 2 } else { 1 }) {
            fill(&mut plan, &mut entropy, from_ms, for_ms, Target::Node(node));
            if crashes && entropy.chance(Ratio::percent(50)) {
                crash(&mut plan, &mut entropy, from_ms..from_ms + for_ms, node);
            }
        }
        let until_ms = from_ms + ROUND_MS;
        targeted::operations(&mut plan, &mut entropy, from_ms..from_ms + for_ms, 120, 40);
        targeted::operations(&mut plan, &mut entropy, from_ms + for_ms..until_ms, 40, 10);
    }
    targeted::finish(plan, 2_000 + ROUNDS * ROUND_MS)
}

/// One disk that is full for a while, in a run that is about other things as well.
pub(crate) fn fill_once(plan: &mut Plan, entropy: &mut Entropy) {
    let target = Target::Node(1 + entropy.below(plan.nodes.len() as u64));
    let at_ms = 2_000 + entropy.below(plan.heal_at_ms - 12_000);
    let for_ms = entropy.between(3_000, 7_000);
    fill(plan, entropy, at_ms, for_ms, target);
}

fn fill(plan: &mut Plan, entropy: &mut Entropy, at_ms: u64, for_ms: u64, target: Target) {
    let free_bytes = *entropy.choose(&[0, 4 << 10, 32 << 10, 128 << 10]);
    let at_ms = at_ms + entropy.below(500);
    plan.faults.push(PlannedFault { at_ms, fault: Fault::FillDisk { target, free_bytes, for_ms } });
}

fn crash(plan: &mut Plan, entropy: &mut Entropy, span_ms: std::ops::Range<u64>, node: u64) {
    let at_ms = span_ms.start + entropy.below(span_ms.end - span_ms.start);
    let crash = *entropy.choose(&[Crash::ProcessKill, Crash::PowerFailure]);
    let (target, down_ms) = (Target::Node(node), entropy.between(20, 1_000));
    plan.faults.push(PlannedFault {
        at_ms,
        fault: Fault::Crash { target, crash, at: None, down_ms, again_after: Vec::new() },
    });
}

/// Whether a run of the plan may raise the alarm.
pub(crate) fn may_fill(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| node.data_faults.capacity_bytes > 0)
        || plan.faults.iter().any(|planned| matches!(planned.fault, Fault::FillDisk { .. }))
}

/// What an operator does when there is space again: clears the alarm, and again if it comes back, until nobody has it
/// any more or `deadline` is over.
pub(crate) async fn disarm(world: &World, deadline: Duration) {
    let machine: Machine = world.machine;
    let mut operator = world.operator();
    while machine.now() < deadline {
        operator.perform(ClusterCall::AlarmDisarm, PATIENCE).await;
        machine.sleep(LOOK_AGAIN).await;
        if !has_alarm(&mut operator).await {
            return;
        }
    }
}

/// Whether the replica that answers knows of an alarm; also where none answers.
async fn has_alarm(operator: &mut Client) -> bool {
    match operator.perform(ClusterCall::Status, PATIENCE).await {
        Some(Ok(CallAnswer::Status(status))) => !status.no_space.is_empty(),
        Some(_) | None => true,
    }
}

/// What is asked of a cluster with a full disk: reads are never refused for want of space; a write is only while an
/// alarm is raised, and never taken where the alarm was raised before it was asked and cleared after it was answered.
pub(crate) fn check(history: &StoreHistory, events: &[Observed]) -> Vec<Violation> {
    let spans = spans(events);
    history.operations().iter().filter_map(|operation| judge(operation, &spans)).collect()
}

/// Virtual time in nanoseconds while some member had the alarm, by the first replica that knew.
struct Spans {
    raised: Vec<(u64, u64)>,
}

impl Spans {
    /// Whether an alarm was raised through all of the time.
    fn cover(&self, from_ns: u64, until_ns: u64) -> bool {
        self.raised.iter().any(|(raised, cleared)| *raised < from_ns && until_ns < *cleared)
    }

    /// Whether an alarm was raised before that time. A replica that lags may not know yet that it was cleared.
    fn began_before(&self, until_ns: u64) -> bool {
        self.raised.iter().any(|(raised, _)| *raised <= until_ns)
    }
}

fn judge(operation: &StoreOperation, spans: &Spans) -> Option<Violation> {
    let (from_ns, until_ns) = (operation.invoke.time_ns, operation.outcome.returned()?.time_ns);
    let refused = matches!(operation.outcome.output(), Some(Err(Refusal::NoSpace)));
    // What is wrong with a request by itself is said first: "value is provided", say.
    let taken = matches!(operation.outcome.output(), Some(Ok(_)));
    let broken = |what: &str| {
        let (from_s, until_s) = (from_ns as f64 / 1e9, until_ns as f64 / 1e9);
        let at = format!("client {} from {from_s:.3} s to {until_s:.3} s", operation.client);
        Some(Violation::new(Check::Linearizable, what.to_owned()).with(at))
    };
    match &operation.input {
        Call::Kv(Request::Range(_)) if refused => broken("a read was refused for want of space"),
        _ if refused && !spans.began_before(until_ns) => {
            broken("a call was refused for want of space, and no alarm was ever raised")
        }
        Call::Kv(Request::Put(_)) if taken && spans.cover(from_ns, until_ns) => {
            broken("a write was taken while the alarm about a full disk was raised")
        }
        _ => None,
    }
}

/// From the entries that raised and cleared alarms, each at the moment when the first replica applied it.
fn spans(events: &[Observed]) -> Spans {
    let mut known = BTreeSet::new();
    let mut members = BTreeSet::new();
    let mut spans = Spans { raised: Vec::new() };
    let mut applied = std::collections::BTreeMap::new();
    for observed in events {
        match observed.event {
            ReplicaEvent::Applied { index, .. } => {
                applied.insert(observed.node, index);
            }
            ReplicaEvent::Alarm { member, active } => {
                // A replica tells of an entry's effect right after the entry.
                let Some(index) = applied.get(&observed.node) else { continue };
                if !known.insert((*index, member)) {
                    continue;
                }
                let at_ns = u64::try_from(observed.at.as_nanos()).expect("virtual time fits");
                let had = !members.is_empty();
                if active {
                    members.insert(member)
                } else {
                    members.remove(&member)
                };
                match (had, members.is_empty()) {
                    (false, false) => spans.raised.push((at_ns, u64::MAX)),
                    (true, true) => {
                        spans.raised.last_mut().expect("it was raised").1 = at_ns;
                    }
                    (true, false) | (false, true) => {}
                }
            }
            _ => {}
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::history::{History, Operation, Outcome, Stamp};
    use model::kv::{CallResult, Response, ResponseBody};

    fn event(node: u64, at_s: u64, event: ReplicaEvent) -> Observed {
        Observed { at: Duration::from_secs(at_s), node, incarnation: 1, event }
    }

    fn alarm(node: u64, at_s: u64, index: u64, active: bool) -> [Observed; 2] {
        let applied = ReplicaEvent::Applied { index, term: 1, entry_hash: 0 };
        [event(node, at_s, applied), event(node, at_s, ReplicaEvent::Alarm { member: 3, active })]
    }

    fn judged(request: Request, from_s: u64, until_s: u64, output: CallResult) -> usize {
        let stamp = |at_s: u64, order| Stamp { time_ns: at_s * 1_000_000_000, order };
        let operation = Operation {
            client: 1,
            invoke: stamp(from_s, 1),
            input: Call::Kv(request),
            outcome: Outcome::Answered { at: stamp(until_s, 2), output },
        };
        // Raised at 10 s, cleared at 20 s; another replica knows each a second later, and again after a restart.
        let events = [
            alarm(1, 10, 5, true),
            alarm(2, 11, 5, true),
            alarm(1, 20, 9, false),
            alarm(2, 21, 9, false),
            alarm(1, 30, 5, true),
        ];
        check(&History::new(vec![operation]).unwrap(), &events.concat()).len()
    }

    #[test]
    fn writes_are_refused_while_the_alarm_is_raised_and_at_no_other_time() {
        let put = || Request::put("a", "1");
        let taken = || Ok(CallAnswer::Kv(Response { revision: 2, body: ResponseBody::Put { prev: None } }));
        assert_eq!(judged(put(), 12, 13, taken()), 1, "taken while it was raised");
        assert_eq!(judged(put(), 9, 13, taken()), 0, "it may have been first");
        assert_eq!(judged(put(), 19, 20, taken()), 0, "it may have been last");
        assert_eq!(judged(put(), 35, 36, taken()), 0, "an entry that is applied again raises nothing");
        assert_eq!(judged(put(), 12, 13, Err(Refusal::NoSpace)), 0);
        assert_eq!(judged(put(), 12, 13, Err(Refusal::ValueProvided)), 0, "wrong by itself");
        assert_eq!(judged(put(), 2, 3, Err(Refusal::NoSpace)), 1, "before there was any alarm");
        assert_eq!(judged(Request::get("a"), 12, 13, Err(Refusal::NoSpace)), 1, "a read");
    }

    #[test]
    fn plans_fill_disks_of_one_and_of_a_majority() {
        let mut at_once = BTreeSet::new();
        for seed in 1..=20 {
            let plan = plan(seed);
            plan.check().unwrap();
            assert!(may_fill(&plan));
            let fills = plan.faults.iter().filter(|it| matches!(it.fault, Fault::FillDisk { .. }));
            at_once.insert(fills.count() / 3);
        }
        assert_eq!(at_once, BTreeSet::from([1, 2]));
    }
}
