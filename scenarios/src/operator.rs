//! The operator: changes the members of the cluster as a plan says, one step after another.

use crate::client::FIRST_ADDRESS;
use crate::plan::MemberStep;
use crate::world::World;
use cluster::api::{Call, MemberCall, Refusal};
use cluster::client::{Outcome, ServerMessage, decode_message, encode_request};
use sim::OutsideEndpoint;
use sim::network::Inbound;
use std::rc::Rc;
use std::time::Duration;

/// The operator's address: behind those of all clients.
const ADDRESS: u64 = FIRST_ADDRESS + 500;
/// How long it waits for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_millis(800);
/// How long it goes on asking for a step.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before it asks again.
const RETRY_PAUSE: Duration = Duration::from_millis(60);

/// What became of asking once.
enum Asked {
    Done,
    /// Never, for this cluster.
    Refused,
    /// Perhaps another time, or by another replica.
    NotNow {
        leader: Option<u64>,
    },
}

/// Does the steps of the plan until everything is mended.
pub(crate) async fn operate(world: Rc<World>) {
    let mut operator = Operator { endpoint: world.machine.endpoint(ADDRESS), requests: 0, asks: 1 };
    for planned in world.plan.member_steps.clone() {
        world.machine.sleep_until(Duration::from_millis(planned.at_ms)).await;
        operator.carry_out(&world, planned.step).await;
    }
}

struct Operator {
    endpoint: OutsideEndpoint,
    requests: u64,
    /// Whom it asks next.
    asks: u64,
}

impl Operator {
    async fn carry_out(&mut self, world: &World, step: MemberStep) {
        let call = call(world, step);
        let healed_at = Duration::from_millis(world.plan.heal_at_ms);
        let give_up = (world.machine.now() + PATIENCE).min(healed_at);
        while world.machine.now() < give_up {
            match self.ask(world, &call).await {
                Asked::Done => {
                    let mut counters = world.counters.borrow_mut();
                    match step {
                        MemberStep::MoveLeader { .. } => counters.handovers += 1,
                        MemberStep::AddLearner { .. }
                        | MemberStep::AddVoter { .. }
                        | MemberStep::Promote { .. }
                        | MemberStep::Remove { .. }
                        | MemberStep::Replace { .. } => counters.member_changes += 1,
                    }
                    return;
                }
                Asked::Refused => return,
                Asked::NotNow { leader: Some(leader) } => self.asks = leader,
                Asked::NotNow { leader: None } => self.asks = 1 + self.asks % world.count(),
            }
            world.machine.sleep(RETRY_PAUSE).await;
        }
    }

    async fn ask(&mut self, world: &World, call: &Call) -> Asked {
        self.requests += 1;
        let id = self.requests;
        world.machine.mark("operator", &format!("asks node {}: {call:?}", self.asks));
        self.endpoint
            .send(self.asks, encode_request(id, call).expect("a call of an operator fits a message"));
        let deadline = world.machine.now() + REPLY_TIMEOUT;
        loop {
            let left = deadline.saturating_sub(world.machine.now());
            let Some(Inbound::Message { bytes, .. }) = self.endpoint.receive(left).await else {
                return Asked::NotNow { leader: None };
            };
            match decode_message(&bytes).expect("links to the operator damage nothing") {
                ServerMessage::Reply(reply) if reply.id == id => {
                    world.machine.mark("operator", &format!("hears {:?}", reply.outcome));
                    return judge(&reply.outcome, self.asks);
                }
                ServerMessage::Reply(_) | ServerMessage::Watch(_) => {}
            }
        }
    }
}

/// The call that a step means now.
fn call(world: &World, step: MemberStep) -> Call {
    Call::Member(match step {
        MemberStep::AddLearner { node } => MemberCall::Add { id: node, learner: true },
        MemberStep::AddVoter { node } => MemberCall::Add { id: node, learner: false },
        MemberStep::Promote { node } => MemberCall::Promote { id: node },
        MemberStep::Remove { target } => MemberCall::Remove { id: world.resolve(target) },
        MemberStep::Replace { out, with } => MemberCall::Replace { out: world.resolve(out), with },
        MemberStep::MoveLeader { to } => return Call::MoveLeader { to: world.resolve(to) },
    })
}

fn judge(outcome: &Outcome, asked: u64) -> Asked {
    match outcome {
        Outcome::Answer(_) => Asked::Done,
        Outcome::NotLeader { leader } => Asked::NotNow { leader: *leader },
        // It takes a moment to be in sync, or to be heard of.
        Outcome::Refused { refusal: Some(Refusal::LearnerNotReady | Refusal::UnhealthyCluster), .. } => {
            Asked::NotNow { leader: Some(asked) }
        }
        Outcome::Refused { .. } => Asked::Refused,
        // The change before is not in effect yet, or this one may be.
        Outcome::Unavailable { .. } => Asked::NotNow { leader: Some(asked) },
    }
}
