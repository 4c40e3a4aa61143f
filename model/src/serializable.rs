//! Serializable reads: each equals the state of the one true history at the revision in its header.
//!
//! Such a read is answered by any replica as of what that has applied, so it has no place in the order of the
//! linearizable operations; but it must show one state that the store really had. The true history is the
//! reference store that replays it: its current revision is the last one, and its versions are all that were
//! ever written ([`true_history`] makes one from a replica's contents or from a reconstructed order).
//!
//! A refusal is judged too: a future revision only where the read asked for one above the lowest state that the
//! replica may have been at, which is revision 1; a compacted one only where a compaction to above it was ever
//! made.

use crate::kv::{Call, CallAnswer, CallResult, Refusal, Request, Response};
use crate::notation;
use crate::specs::etcd::{StoreHistory, past_revisions};
use crate::store::{EMPTY_REVISION, Store};
use crate::verdict::{Check, Subject, Violation};
use linearizability::history::Operation;

/// The store after all operations of an order, each carried out in turn: calls that are refused change nothing.
pub fn true_history<'a>(order: impl IntoIterator<Item = &'a Call>) -> Store {
    let mut store = Store::default();
    for call in order {
        // The answers were judged where the order was found.
        let _answer = store.call(call);
    }
    store
}

/// Judges every answered serializable read of a history. `store` is the end of the true history.
pub fn check(history: &StoreHistory, store: &Store) -> Vec<Violation> {
    let operations = history.operations().iter().enumerate();
    operations.filter_map(|(index, operation)| check_operation(index, operation, store)).collect()
}

fn check_operation(
    index: usize,
    operation: &Operation<Call, CallResult>,
    store: &Store,
) -> Option<Violation> {
    let request = operation.input.kv().filter(|request| request.is_serializable())?;
    let reason = match operation.outcome.output()? {
        Ok(CallAnswer::Kv(response)) => wrong_response(request, response, store)?,
        Ok(other) => format!("it was answered {other}"),
        Err(refusal) => wrong_refusal(request, *refusal, store)?,
    };
    let message = format!("a serializable read of client {} shows no state of the store", operation.client);
    let answer = operation.outcome.output().map(notation::result).unwrap_or_default();
    let line = format!("#{index} [{} ns] {request} -> {answer}", operation.invoke.time_ns);
    let violation = Violation::new(Check::Serializable, message).with(line).with(reason);
    Some(violation.about(Subject::Operation(index)))
}

fn wrong_response(request: &Request, response: &Response, store: &Store) -> Option<String> {
    let Response { revision, body: _ } = response;
    if !(EMPTY_REVISION..=store.revision()).contains(revision) {
        return Some(format!("there never was a revision {revision}; the last is {}", store.revision()));
    }
    let expected = store.at(*revision).apply(request);
    (expected.as_ref() != Ok(response))
        .then(|| format!("at revision {revision} the answer is {}", notation::answer(&expected)))
}

fn wrong_refusal(request: &Request, refusal: Refusal, store: &Store) -> Option<String> {
    let mut asked = Vec::new();
    past_revisions(request, &mut |revision| asked.push(revision));
    let possible = match refusal {
        Refusal::FutureRevision => asked.iter().any(|revision| *revision > EMPTY_REVISION),
        Refusal::Compacted => asked.iter().any(|revision| *revision < store.compacted_revision()),
        form => crate::store::admit(request) == Err(form),
    };
    (!possible)
        .then(|| format!("no state refuses it so; the compacted revision is {}", store.compacted_revision()))
}
