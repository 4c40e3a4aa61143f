//! The etcd-like store of [`crate::store`] as a sequential specification. Revisions are global, so the whole
//! store is one partition.
//!
//! A history holds [`Call`]s with what the clients were told. Calls that take no place in the one order
//! ([`Call::is_ordered`]) may stand in it, too: any answer of theirs is legal here, and other checks judge them
//! ([`crate::serializable`], [`crate::watch`], [`crate::lease`], [`crate::compaction`]). A refusal for lack of
//! space changes nothing and is legal anywhere.
//!
//! *Leases expire, and nobody calls for it.* The scenario records one pseudo-operation per lease that a client
//! was or may have been granted: a pseudo-client, whose number no real client has, invokes
//! [`Call::LeaseRevoke`] of that lease at the moment at which it could first expire (the invocation of the grant
//! plus the time to live, less whatever the scenario allows for drifting clocks), and its outcome stays unknown.
//! So the lease may go at any time from then on, at most once, or never. Pseudo-operations may share a
//! pseudo-client, since none of them is answered. That a lease does not go *too early* is for
//! [`crate::lease`] to say.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::kv::{Call, CallAnswer, CallResult, Request, Response, TxnRequest};
use crate::notation;
use crate::store::Store;
use linearizability::SequentialSpec;
use linearizability::history::{History, Operation};

/// An operation of a store's history.
pub type StoreOperation = Operation<Call, CallResult>;

/// The history of a store.
pub type StoreHistory = History<Call, CallResult>;

/// The specification.
#[derive(Clone, Debug, Default)]
pub struct Etcd {
    claimed: BTreeSet<i64>,
}

impl Etcd {
    /// The specification for one history. It knows which revisions the answered writes of the history claim
    /// for themselves, and so sees at once that an unknown write cannot have made one of them. The verdict is
    /// the same as without, the search far shorter.
    pub fn of(history: &StoreHistory) -> Etcd {
        let answers = history.operations().iter().filter_map(|operation| operation.outcome.output());
        let responses = answers.filter_map(|result| result.as_ref().ok()?.kv());
        let writes = responses.filter(|response| response.body.wrote());
        Etcd { claimed: writes.map(|response| response.revision).collect() }
    }
}

/// Carries out a call of a history as its client's answer says it was resolved; `None` where the call has no
/// effect, and any answer of it is legal.
pub(crate) fn carry_out(store: &mut Store, call: &Call, output: Option<&CallResult>) -> Option<CallResult> {
    if !call.is_ordered() || matches!(output, Some(Err(refusal)) if refusal.is_of_the_machine()) {
        return None;
    }
    let call = match (call, output) {
        (Call::LeaseGrant { id: 0, ttl_s }, Some(Ok(CallAnswer::LeaseGrant { id, .. }))) => {
            Cow::Owned(Call::LeaseGrant { id: *id, ttl_s: *ttl_s })
        }
        // Nobody knows the id, so nobody can use the lease.
        (Call::LeaseGrant { id: 0, .. }, None) => return None,
        (call, _) => Cow::Borrowed(call),
    };
    store.call(&call)
}

/// Whether the answer is the one that the store gives in this state; the state then is the one after it.
pub(crate) fn answers(store: &mut Store, operation: &StoreOperation) -> bool {
    let output = operation.outcome.output();
    match carry_out(store, &operation.input, output) {
        Some(found) => output.is_none_or(|output| *output == found),
        None => true,
    }
}

impl SequentialSpec for Etcd {
    type State = Store;
    type Input = Call;
    type Output = CallResult;
    type Partition = ();

    fn initial(&self) -> Store {
        Store::default()
    }

    fn step(&self, state: &Store, input: &Call, output: Option<&CallResult>) -> Option<Store> {
        if let Some(Ok(CallAnswer::Kv(response))) = output
            && input.is_ordered()
            && revision_before(response) != state.revision()
        {
            return None;
        }
        let mut next = state.clone();
        let legal = match (carry_out(&mut next, input, output), output) {
            (None, _) => true,
            (Some(found), Some(output)) => *output == found,
            (Some(_), None) => {
                next.revision() == state.revision() || !self.claimed.contains(&next.revision())
            }
        };
        legal.then_some(next)
    }

    /// Revisions only grow, and each has one state of the keys: an answer that an earlier revision gave will not
    /// come any more, and one that this revision does not give comes only if a lease is still to come.
    fn expired(&self, state: &Store, input: &Call, output: &CallResult) -> bool {
        if !input.is_ordered() {
            return false;
        }
        match output {
            Ok(CallAnswer::Kv(response)) => {
                let needs_lease = input.kv().is_some_and(|request| !request.leases().is_empty());
                revision_before(response) < state.revision() + i64::from(!needs_lease)
            }
            Ok(answer) => answer.revision().is_some_and(|revision| revision < state.revision()),
            Err(_) => false,
        }
    }

    fn fingerprint(&self, state: &Store) -> u128 {
        state.fingerprint()
    }

    fn partition(&self, _input: &Call) {}

    fn is_read(&self, input: &Call, output: Option<&CallResult>) -> bool {
        if !input.is_ordered() {
            return true;
        }
        match output {
            Some(Err(_)) => true,
            Some(Ok(CallAnswer::Kv(response))) => !response.body.wrote(),
            Some(Ok(
                CallAnswer::Compact { .. } | CallAnswer::LeaseGrant { .. } | CallAnswer::LeaseRevoke { .. },
            )) => false,
            Some(Ok(
                CallAnswer::LeaseKeepAlive { .. }
                | CallAnswer::LeaseTimeToLive { .. }
                | CallAnswer::Leases { .. }
                | CallAnswer::HashKv { .. }
                | CallAnswer::Status(_)
                | CallAnswer::Defragment
                | CallAnswer::AlarmDisarm
                | CallAnswer::Members(_)
                | CallAnswer::MoveLeader,
            )) => true,
            None => input.kv().is_some_and(Request::is_read_only),
        }
    }

    fn describe(&self, input: &Call, output: Option<&CallResult>) -> String {
        match output {
            Some(result) => format!("{input} -> {}", notation::result(result)),
            None => format!("{input} -> ?"),
        }
    }

    fn explain(&self, state: &Store, input: &Call, output: &CallResult) -> String {
        let revision = state.revision();
        match carry_out(&mut state.clone(), input, Some(output)) {
            Some(found) => format!("at revision {revision} the answer is {}", notation::result(&found)),
            None => format!("at revision {revision} any answer is legal"),
        }
    }
}

/// The revision of the state that gave a response.
fn revision_before(response: &Response) -> i64 {
    response.revision.saturating_sub(i64::from(response.body.wrote()))
}

/// The past revisions that a request may read.
pub(crate) fn past_revisions(request: &Request, found: &mut impl FnMut(i64)) {
    match request {
        Request::Range(range) if range.revision > 0 => found(range.revision),
        Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) => {}
        Request::Txn(TxnRequest { compares: _, success, failure }) => {
            for request in success.iter().chain(failure) {
                past_revisions(request, found);
            }
        }
    }
}
