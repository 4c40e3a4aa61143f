//! From what was seen of leases to the model's questions.

use crate::observation::{Contents, Observed};
use crate::plan::Plan;
use crate::run::Evidence;
use crate::truth::{Checkpoint, Truth};
use crate::world;
use cluster::ReplicaEvent;
use model::history::Outcome;
use model::kv::{Call, CallAnswer, Event, EventKind, KeyValue};
use model::lease::{self, LeaseBounds, LeaseLife, Renewal, Revocation, TakenOver};
use model::specs::etcd::{StoreHistory, StoreOperation};
use model::verdict::Violation;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long after it was sent an unanswered keep-alive may still be carried out: a client waits a second and a half,
/// a replica keeps it for five seconds, and may be frozen for as long.
const LATE: Duration = Duration::from_secs(12);
/// How long a healthy cluster may take to end a lease whose time is over: the extension that a new leader gives, and
/// a second attempt.
const GRACE: Duration = Duration::from_secs(6);

/// No lease ends early, or late, or without its keys; what clients are told of leases is so; and a new leader gives
/// no lease more than it has left.
pub(crate) fn check(evidence: &Evidence, history: &StoreHistory, truth: &Truth) -> Vec<Violation> {
    let lives = lives(evidence, history, truth);
    let bounds = bounds(evidence, &lives);
    let mut violations = lease::not_too_early(&lives, bounds);
    violations.extend(lease::not_after_the_end(&lives));
    if evidence.converged_at.is_some() {
        violations.extend(lease::not_too_late(&lives, bounds));
    }
    violations.extend(lease::taken_over(&taken_over(&evidence.log.events, truth)));
    violations.extend(lease::answers(history, truth.states()));
    let members = evidence.members();
    let stores = evidence.log.contents.iter().filter(|(node, _)| members.contains(node));
    let mut stores = stores.filter_map(|(_, store)| store.as_ref().ok());
    if let (Some(store), Some(_)) = (stores.next(), evidence.converged_at) {
        violations.extend(lease::keys_go_with_their_lease(&events(store), &revocations(truth, store)));
    }
    violations
}

/// How many parts per million the clocks of a run are fast, at most.
pub(crate) fn drift(plan: &Plan) -> u32 {
    let drift = plan.nodes.iter().map(|node| node.clock.drift_parts_per_million.unsigned_abs()).max();
    drift.unwrap_or(0)
}

fn bounds(evidence: &Evidence, lives: &[LeaseLife]) -> LeaseBounds {
    let longest_s = lives.iter().map(|life| u64::try_from(life.ttl_s).unwrap_or(0)).max().unwrap_or(0);
    // A new leader gives leases a time of its own.
    let takeovers = evidence
        .log
        .events
        .iter()
        .filter(|observed| matches!(observed.event, ReplicaEvent::LeasesTakenOver { .. }));
    let last_takeover = takeovers.map(|observed| observed.at).max().unwrap_or_default();
    LeaseBounds {
        // So many millionths of a second are a thousand times so many nanoseconds.
        early_ns: longest_s * 1_000 * u64::from(drift(&evidence.plan)),
        grace_ns: nanoseconds(GRACE),
        healed_at_ns: nanoseconds(evidence.healed_at.max(last_takeover)),
        ended_at_ns: nanoseconds(evidence.converged_at.unwrap_or(evidence.healed_at)),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("virtual time fits")
}

/// A lease from its entry in the log to the entry that ends it.
struct Life {
    id: i64,
    ttl_s: i64,
    granted: u64,
    ended: Option<u64>,
    /// When the same id was granted again.
    next: Option<u64>,
}

fn lives(evidence: &Evidence, history: &StoreHistory, truth: &Truth) -> Vec<LeaseLife> {
    let applied = first_applied(&evidence.log.events);
    let at = |index: u64| applied.get(&index).copied();
    let mut lives: Vec<Life> = Vec::new();
    for step in &truth.steps {
        match (&step.call, &step.result) {
            (_, Ok(CallAnswer::LeaseGrant { id, ttl_s, .. })) => {
                let former = lives.iter_mut().rev().find(|life| life.id == *id);
                former.into_iter().for_each(|former| former.next = Some(step.index));
                lives.push(Life { id: *id, ttl_s: *ttl_s, granted: step.index, ended: None, next: None });
            }
            (Call::LeaseRevoke { id }, Ok(_)) => {
                let living = lives.iter_mut().find(|life| life.id == *id && life.ended.is_none());
                living.expect("only what was granted can end").ended = Some(step.index);
            }
            (_of_keys_or_refused, _) => {}
        }
    }
    let life = |life: Life| {
        let (granted_ns, next_ns) = (at(life.granted), life.next.and_then(at));
        let of_life = |renewal: &Renewal| {
            renewal.done_at_ns >= granted_ns.unwrap_or(0)
                && next_ns.is_none_or(|next_ns| renewal.done_at_ns < next_ns)
        };
        let operations = history.operations().iter();
        let renewals = operations.clone().filter_map(|operation| renewal(operation, life.id, granted_ns));
        LeaseLife {
            id: life.id,
            ttl_s: life.ttl_s,
            renewals: renewals.filter(of_life).collect(),
            revoke_asked_at_ns: operations
                .filter(|operation| operation.input == Call::LeaseRevoke { id: life.id })
                .map(|operation| operation.invoke.time_ns)
                .min(),
            ended_at_ns: life.ended.and_then(at),
        }
    };
    lives.into_iter().map(life).collect()
}

/// When each entry was first applied.
fn first_applied(events: &[Observed]) -> BTreeMap<u64, u64> {
    let mut applied = BTreeMap::new();
    for observed in events {
        if let ReplicaEvent::Applied { index, .. } = observed.event {
            applied.entry(index).or_insert(nanoseconds(observed.at));
        }
    }
    applied
}

/// What an operation did for a lease, if it was about it.
fn renewal(operation: &StoreOperation, id: i64, granted_ns: Option<u64>) -> Option<Renewal> {
    let asked_at_ns = operation.invoke.time_ns;
    let late_ns = asked_at_ns.saturating_add(nanoseconds(LATE));
    let done_at_ns = operation.outcome.returned().map(|at| at.time_ns);
    match (&operation.input, &operation.outcome) {
        (_, Outcome::Answered { output: Ok(CallAnswer::LeaseGrant { id: granted, .. }), .. }) => {
            (*granted == id).then_some(())?;
            Some(Renewal { asked_at_ns, done_at_ns: done_at_ns?, acknowledged: true })
        }
        (Call::LeaseGrant { id: asked, .. }, Outcome::Unknown) if *asked == id => {
            Some(Renewal { asked_at_ns, done_at_ns: granted_ns?, acknowledged: false })
        }
        (Call::LeaseKeepAlive { id: asked }, outcome) if *asked == id => {
            let told =
                matches!(outcome.output(), Some(Ok(CallAnswer::LeaseKeepAlive { ttl_s, .. })) if *ttl_s > 0);
            Some(Renewal { asked_at_ns, done_at_ns: done_at_ns.unwrap_or(late_ns), acknowledged: told })
        }
        (_of_another_lease_or_nothing, _) => None,
    }
}

/// What each new leader gave the leases to live, and what the log had left them.
fn taken_over(events: &[Observed], truth: &Truth) -> Vec<TakenOver> {
    let mut applied: BTreeMap<u64, u64> = BTreeMap::new();
    let mut found = Vec::new();
    for observed in events {
        match &observed.event {
            ReplicaEvent::Applied { index, .. } => {
                applied.insert(observed.node, *index);
            }
            ReplicaEvent::LeasesTakenOver { term, leases } => {
                let index = applied.get(&observed.node).copied().unwrap_or(0);
                found.extend(leases.iter().filter_map(|&(id, given_ms)| {
                    let (left_s, is_checkpointed) = left_s(id, index, truth)?;
                    Some(TakenOver {
                        node: observed.node,
                        term: *term,
                        at_ns: nanoseconds(observed.at),
                        id,
                        given_ms,
                        left_s,
                        is_checkpointed,
                        extension_ms: i64::try_from(world::ELECTION_TIMEOUT.as_millis()).expect("a second"),
                    })
                }));
            }
            _ => {}
        }
    }
    found
}

/// What the log up to an index leaves a lease to live, and whether a checkpoint says so; none where it does not live.
fn left_s(id: i64, index: u64, truth: &Truth) -> Option<(i64, bool)> {
    let granted = truth.steps.iter().rev().find_map(|step| match step.result {
        Ok(CallAnswer::LeaseGrant { id: granted, ttl_s, .. }) if granted == id && step.index <= index => {
            Some((step.index, ttl_s))
        }
        _ => None,
    });
    let (granted, ttl_s) = granted?;
    let later = |checkpoint: &&Checkpoint| (granted..=index).contains(&checkpoint.index);
    let last = truth.checkpoints.iter().rev().filter(later).find_map(|checkpoint| {
        checkpoint.remaining.iter().find(|(of, _)| *of == id).map(|(_, remaining_s)| *remaining_s)
    });
    Some(match last {
        Some(remaining_s) if remaining_s > 0 => (remaining_s, true),
        Some(_) | None => (ttl_s, false),
    })
}

/// The ends of leases as far as a store shows what they did: it has applied them, and not compacted them away.
fn revocations(truth: &Truth, store: &Contents) -> Vec<Revocation> {
    let applied = |(_, step): &(_, &crate::truth::Step)| step.index <= store.applied_index;
    let before = truth.states().zip(&truth.steps).filter(applied);
    let revocation =
        |(before, step): (&model::store::Store, &crate::truth::Step)| match (&step.call, &step.result) {
            (Call::LeaseRevoke { id }, Ok(CallAnswer::LeaseRevoke { revision })) => Some(Revocation {
                id: *id,
                revision: *revision,
                made_revision: *revision > before.revision(),
            }),
            (_of_keys_or_refused, _) => None,
        };
    before.filter_map(revocation).filter(|end| end.revision > store.compacted_revision).collect()
}

/// What a store shows of the changes of its keys.
fn events(store: &Contents) -> Vec<Event> {
    let mut versions: Vec<_> = store.versions.iter().collect();
    versions.sort_by_key(|version| version.revision);
    let event = |version: &crate::observation::StoredVersion| Event {
        kind: if version.value.is_some() { EventKind::Put } else { EventKind::Delete },
        kv: KeyValue {
            key: version.key.clone(),
            value: Vec::new(),
            create_revision: 0,
            mod_revision: version.revision.0,
            version: 0,
            lease: version.lease,
        },
        prev_kv: None,
    };
    versions.into_iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::api::{Command, PutRequest, Request};
    use cluster::wire;

    #[test]
    fn a_store_is_not_asked_for_the_end_of_a_lease_that_it_has_not_applied() {
        let put = PutRequest { key: "a".into(), lease: 7, ..PutRequest::default() };
        let commands = [
            Command::LeaseGrant { id: 7, ttl_s: 5 },
            Command::Kv(Request::Put(put)),
            Command::LeaseRevoke { id: 7 },
        ];
        let entries = (1..).zip(commands.iter().map(|command| wire::encode(command).unwrap())).collect();
        let truth = Truth::of(&entries).unwrap();
        let store = |applied_index| Contents { applied_index, compacted_revision: 0, versions: Vec::new() };
        assert_eq!(revocations(&truth, &store(2)), []);
        let end = Revocation { id: 7, revision: 3, made_revision: true };
        assert_eq!(revocations(&truth, &store(3)), [end]);
    }
}
