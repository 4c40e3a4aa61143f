//! Leases: no key outlives its lease, no lease is ended by the cluster too early, and none lives on that nobody
//! keeps alive.
//!
//! All times are virtual nanoseconds of the simulated world, not of any node's clock. The checks for time look at
//! each lease by itself ([`LeaseLife`]); the check for keys looks at the true events and at the revocations that
//! replicas applied ([`Revocation`]). What a new leader gives leases to live ([`TakenOver`]) and what clients are told
//! of leases is held against the log.

use std::collections::BTreeMap;

use crate::history::Operation;
use crate::kv::{Call, CallAnswer, CallResult, Event, EventKind};
use crate::notation::{self, bytes};
use crate::specs::etcd::StoreHistory;
use crate::store::Store;
use crate::verdict::{Check, Subject, Violation};

/// How exact the cluster has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseBounds {
    /// How much too early a lease may end, for clocks that run fast. Zero: not at all.
    pub early_ns: u64,
    /// How long after its time a lease that nobody keeps alive may still live on a healed cluster.
    pub grace_ns: u64,
    /// When the faults ended.
    pub healed_at_ns: u64,
    /// When the run ended, and with it the knowledge of it.
    pub ended_at_ns: u64,
}

/// What is known of one lease. A lease belongs here if a client was told of it or a replica applied its grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseLife {
    /// Its id.
    pub id: i64,
    /// Its time to live as granted, in seconds.
    pub ttl_s: i64,
    /// The grant, and every keep-alive that a client sent: whatever may have started the time anew.
    pub renewals: Vec<Renewal>,
    /// When a client first asked to revoke it, answered or not.
    pub revoke_asked_at_ns: Option<u64>,
    /// When the first replica applied its end.
    pub ended_at_ns: Option<u64>,
}

/// A grant or a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// When the client asked. The time to live starts no earlier.
    pub asked_at_ns: u64,
    /// When the client was answered, or gave up. The time to live starts no later.
    pub done_at_ns: u64,
    /// Whether the client was told that the lease lives.
    pub acknowledged: bool,
}

/// The end of a lease, as replicas applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The lease.
    pub id: i64,
    /// The revision of the store after it.
    pub revision: i64,
    /// Whether it made that revision.
    pub made_revision: bool,
}

/// Nobody who asks to keep a lease alive after its end was applied is told that it lives.
pub fn not_after_the_end(lives: &[LeaseLife]) -> Vec<Violation> {
    let after = |life: &LeaseLife| {
        let ended_at_ns = life.ended_at_ns?;
        let lie = |renewal: &&Renewal| renewal.acknowledged && renewal.asked_at_ns > ended_at_ns;
        let Renewal { asked_at_ns, done_at_ns, .. } = life.renewals.iter().find(lie)?;
        let message = format!("lease {} had ended, and a client was told that it lives", life.id);
        let line = format!(
            "its end was applied at {ended_at_ns} ns; the client asked at {asked_at_ns} ns and was told at {done_at_ns} ns"
        );
        Some(about_lease(life.id, message).with(line))
    };
    lives.iter().filter_map(after).collect()
}

/// No lease is ended by the cluster before its time to live is over, counted from when a client asked for the last
/// renewal that was acknowledged before the end. Leases that a client asked to revoke are not looked at from then
/// on.
pub fn not_too_early(lives: &[LeaseLife], bounds: LeaseBounds) -> Vec<Violation> {
    lives.iter().filter_map(|life| too_early(life, bounds)).collect()
}

fn too_early(life: &LeaseLife, bounds: LeaseBounds) -> Option<Violation> {
    let ended_at_ns = life.ended_at_ns?;
    if life.revoke_asked_at_ns.is_some_and(|asked_at_ns| asked_at_ns <= ended_at_ns) {
        return None;
    }
    let told = |renewal: &&Renewal| renewal.acknowledged && renewal.done_at_ns <= ended_at_ns;
    let last = life.renewals.iter().filter(told).max_by_key(|renewal| renewal.asked_at_ns)?;
    let due_at_ns = last.asked_at_ns.saturating_add(ttl_ns(life));
    (ended_at_ns.saturating_add(bounds.early_ns) < due_at_ns).then(|| {
        let message =
            format!("lease {} was ended at {ended_at_ns} ns, but was promised until {due_at_ns} ns", life.id);
        let Renewal { asked_at_ns, done_at_ns, .. } = last;
        about_lease(life.id, message).with(format!(
            "a client asked at {asked_at_ns} ns and was told at {done_at_ns} ns that it lives for {} s",
            life.ttl_s
        ))
    })
}

/// A lease that nobody keeps alive is gone within its time to live and the grace, counted from the last renewal
/// that may have been, or from the healing if that was later. Where the run ended before, nothing is known.
pub fn not_too_late(lives: &[LeaseLife], bounds: LeaseBounds) -> Vec<Violation> {
    lives.iter().filter_map(|life| too_late(life, bounds)).collect()
}

fn too_late(life: &LeaseLife, bounds: LeaseBounds) -> Option<Violation> {
    let last_at_ns = life.renewals.iter().map(|renewal| renewal.done_at_ns).max()?;
    let from_ns = last_at_ns.max(bounds.healed_at_ns);
    let due_at_ns = from_ns.saturating_add(ttl_ns(life)).saturating_add(bounds.grace_ns);
    if due_at_ns > bounds.ended_at_ns || life.ended_at_ns.is_some_and(|ended_at_ns| ended_at_ns <= due_at_ns)
    {
        return None;
    }
    let ended =
        life.ended_at_ns.map_or("never ended".to_owned(), |at_ns| format!("ended only at {at_ns} ns"));
    let message = format!("lease {} {ended}; it was due by {due_at_ns} ns", life.id);
    Some(about_lease(life.id, message).with(format!(
        "last kept alive by {last_at_ns} ns, healed at {} ns, time to live {} s, grace {} ns",
        bounds.healed_at_ns, life.ttl_s, bounds.grace_ns
    )))
}

fn about_lease(id: i64, message: String) -> Violation {
    Violation::new(Check::Lease, message).about(Subject::Lease(id))
}

fn ttl_ns(life: &LeaseLife) -> u64 {
    u64::try_from(life.ttl_s).unwrap_or(0).saturating_mul(1_000_000_000)
}

/// A lease that a new leader takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// The leader.
    pub node: u64,
    /// The term it leads in.
    pub term: u64,
    /// When.
    pub at_ns: u64,
    /// The lease.
    pub id: i64,
    /// What the leader gives it to live, in milliseconds.
    pub given_ms: i64,
    /// What the log leaves it to live, in seconds: what the last checkpoint says, else all of its time.
    pub left_s: i64,
    /// Whether a checkpoint says so.
    pub is_checkpointed: bool,
    /// What a new leader may add, in milliseconds, since the one before may have answered for so long.
    pub extension_ms: i64,
}

/// How far two readings of one clock may be apart when each is cut down to milliseconds.
const ROUNDING_MS: i64 = 1;

/// A new leader gives a lease what the log leaves it, and at most the extension more: less would end it before its
/// time, and with more a lease would live on with every election.
pub fn taken_over(leases: &[TakenOver]) -> Vec<Violation> {
    leases.iter().filter_map(wrongly_given).collect()
}

fn wrongly_given(lease: &TakenOver) -> Option<Violation> {
    let TakenOver { node, term, at_ns, id, given_ms, left_s, is_checkpointed, extension_ms } = *lease;
    let left_ms = left_s * 1000;
    let rightly = left_ms - ROUNDING_MS..=left_ms + extension_ms + ROUNDING_MS;
    (!rightly.contains(&given_ms)).then(|| {
        let message =
            format!("node {node} took over lease {id} with {given_ms} ms to live; {left_ms} ms are left");
        let source = if is_checkpointed { "the last checkpoint says so" } else { "it was granted so" };
        about_lease(id, message).with(format!(
            "at {at_ns} ns, in term {term}; {source}, and a new leader may add {extension_ms} ms"
        ))
    })
}

/// What clients were told of leases was so at some moment of the true history at which the store had the revision
/// that the answer names. `states` are all that the store went through, in order. How long a lease still lives is
/// the leader's to know, but never longer than it was granted and half as much again for an extension.
pub fn answers<'a>(history: &StoreHistory, states: impl Iterator<Item = &'a Store>) -> Vec<Violation> {
    let mut by_revision: BTreeMap<i64, Vec<&Store>> = BTreeMap::new();
    for state in states {
        by_revision.entry(state.revision()).or_default().push(state);
    }
    let operations = history.operations().iter().enumerate();
    operations
        .filter_map(|(index, operation)| {
            let answer = operation.outcome.output()?.as_ref().ok()?;
            let of_revision = by_revision.get(&answer.revision()?).map_or(&[][..], Vec::as_slice);
            let told = told_of_leases(operation, answer, of_revision)?;
            (!told).then(|| wrongly_told(index, operation))
        })
        .collect()
}

/// Whether one of the states agrees with an answer; `None` where the answer says nothing of leases.
fn told_of_leases(
    operation: &Operation<Call, CallResult>,
    answer: &CallAnswer,
    states: &[&Store],
) -> Option<bool> {
    let expected =
        |call: &Call| states.iter().filter_map(|state| (*state).clone().call(call)?.ok()).collect();
    let expected: Vec<CallAnswer> = expected(&operation.input);
    Some(match answer {
        CallAnswer::LeaseTimeToLive { ttl_s, granted_ttl_s, .. } => {
            let is_possible = *ttl_s <= granted_ttl_s + (granted_ttl_s + 1) / 2;
            let mut as_granted = answer.clone();
            if let CallAnswer::LeaseTimeToLive { ttl_s, granted_ttl_s, .. } = &mut as_granted
                && *ttl_s >= 0
            {
                *ttl_s = *granted_ttl_s;
            }
            is_possible && expected.contains(&as_granted)
        }
        CallAnswer::LeaseKeepAlive { .. } | CallAnswer::Leases { .. } => expected.contains(answer),
        CallAnswer::Kv(_)
        | CallAnswer::Compact { .. }
        | CallAnswer::LeaseGrant { .. }
        | CallAnswer::LeaseRevoke { .. }
        | CallAnswer::HashKv { .. }
        | CallAnswer::Status(_)
        | CallAnswer::Defragment
        | CallAnswer::AlarmDisarm
        | CallAnswer::Members(_)
        | CallAnswer::MoveLeader => return None,
    })
}

fn wrongly_told(index: usize, operation: &Operation<Call, CallResult>) -> Violation {
    let answer = operation.outcome.output().map(notation::result).unwrap_or_default();
    let message = format!("client {} was told of a lease what never was so", operation.client);
    Violation::new(Check::Lease, message)
        .with(format!("#{index} [{} ns] {} -> {answer}", operation.invoke.time_ns, operation.input))
        .with("at no moment at which the store had that revision was it so")
        .about(Subject::Operation(index))
}

/// A lease takes all its keys with it, in its own revision and in ascending order, and that revision does nothing
/// else; where it made no revision it had no keys. `events` are those of all keys, in order.
pub fn keys_go_with_their_lease(events: &[Event], revocations: &[Revocation]) -> Vec<Violation> {
    let mut by_revision = revocations.to_vec();
    by_revision.sort_by_key(|revocation| revocation.revision);
    let mut attached: BTreeMap<&[u8], i64> = BTreeMap::new();
    let mut place = 0;
    let mut violations = Vec::new();
    for revocation in &by_revision {
        let last = revocation.revision - i64::from(revocation.made_revision);
        while let Some(event) = events.get(place).filter(|event| event.kv.mod_revision <= last) {
            attach(&mut attached, event);
            place += 1;
        }
        violations.extend(check_revocation(&events[place..], &attached, revocation));
    }
    violations
}

fn attach<'a>(attached: &mut BTreeMap<&'a [u8], i64>, event: &'a Event) {
    match event.kind {
        EventKind::Put => attached.insert(&event.kv.key, event.kv.lease),
        EventKind::Delete => attached.remove(event.kv.key.as_slice()),
    };
}

fn check_revocation(
    later: &[Event],
    attached: &BTreeMap<&[u8], i64>,
    revocation: &Revocation,
) -> Option<Violation> {
    let Revocation { id, revision, made_revision } = *revocation;
    let of_lease: Vec<&[u8]> =
        attached.iter().filter(|(_, lease)| **lease == id).map(|(key, _)| *key).collect();
    let of_revision = later.iter().take_while(|event| made_revision && event.kv.mod_revision <= revision);
    let of_revision: Vec<&Event> = of_revision.collect();
    let deleted: Vec<&[u8]> = of_revision.iter().map(|event| event.kv.key.as_slice()).collect();
    let only_deletes = of_revision.iter().all(|event| event.kind == EventKind::Delete);
    (deleted != of_lease || !only_deletes).then(|| {
        let list = |keys: &[&[u8]]| keys.iter().map(|key| bytes(key)).collect::<Vec<_>>().join(", ");
        let message = format!("lease {id} ended at revision {revision}, and its keys did not go with it");
        about_lease(id, message)
            .with(format!("its keys: [{}]", list(&of_lease)))
            .with(format!("what its revision changed: [{}]", list(&deleted)))
    })
}
