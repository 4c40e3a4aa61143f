//! Deciding unknown outcomes by what the stores prove in the end.
//!
//! Every write of a run carries a value of its own, and nothing is compacted: a store that has applied the whole
//! log shows whether an unknown write took effect, and at which revision. One that did is as good as answered
//! after the end of the run; one that did not is as good as never asked. Without this the judge has to try every
//! unknown write in every gap, which is exponential in their number. Nothing is taken on trust: a write that
//! was seen by a reader and is not in the stores turns the reader's answer into a violation.
//!
//! Deletions leave no mark of their own and stay unknown.

use crate::observation::Contents;
use model::history::{History, Outcome, Stamp};
use model::kv::{Call, CallAnswer, PutRequest, Request, Response, ResponseBody, TxnRequest};
use model::specs::etcd::{StoreHistory, StoreOperation};
use std::collections::BTreeMap;

/// What an unknown operation turned out to be.
enum Fate {
    /// It took effect, and would have been answered so.
    Happened(Response),
    /// It changed nothing.
    Absent,
    /// The stores cannot tell.
    Open,
}

/// The history with what `contents` decides decided.
pub(crate) fn decide(history: StoreHistory, contents: &Contents) -> StoreHistory {
    let mut revisions = BTreeMap::new();
    for version in &contents.versions {
        if let Some(value) = &version.value {
            revisions.insert((version.key.as_slice(), value.as_slice()), version.revision.0);
        }
    }
    let operations = history.into_operations().into_iter().enumerate();
    let decided =
        operations.filter_map(|(index, operation)| decide_one(index, operation, &revisions)).collect();
    History::new(decided).expect("each decided operation is a client's only one")
}

/// Clients from here on are those of decided operations: each asked once and was answered at the end.
const DECIDED_CLIENTS: u32 = 1_000_000;

fn decide_one(
    index: usize,
    mut operation: StoreOperation,
    revisions: &BTreeMap<(&[u8], &[u8]), i64>,
) -> Option<StoreOperation> {
    if !matches!(operation.outcome, Outcome::Unknown) {
        return Some(operation);
    }
    let Call::Kv(request) = &operation.input else { return Some(operation) };
    match fate(request, revisions) {
        Fate::Open => Some(operation),
        Fate::Absent => None,
        Fate::Happened(response) => {
            let at = Stamp { time_ns: u64::MAX, order: index as u64 };
            operation.client = DECIDED_CLIENTS + u32::try_from(index).expect("a run has fewer operations");
            operation.outcome = Outcome::Answered { at, output: Ok(CallAnswer::Kv(response)) };
            Some(operation)
        }
    }
}

fn fate(request: &Request, revisions: &BTreeMap<(&[u8], &[u8]), i64>) -> Fate {
    match request {
        Request::Range(_) => Fate::Absent,
        Request::DeleteRange(_) => Fate::Open,
        Request::Put(_) => match puts(std::slice::from_ref(request), revisions) {
            Puts::At(revision) => Fate::Happened(put_response(revision)),
            Puts::Nowhere => Fate::Absent,
            Puts::Unclear => Fate::Open,
        },
        Request::Txn(TxnRequest { compares: _, success, failure }) => {
            transaction_fate(success, failure, revisions)
        }
    }
}

fn transaction_fate(
    success: &[Request],
    failure: &[Request],
    revisions: &BTreeMap<(&[u8], &[u8]), i64>,
) -> Fate {
    let happened = |succeeded: bool, branch: &[Request], revision: i64| {
        let responses = branch.iter().map(|_| put_response(revision)).collect();
        Fate::Happened(Response { revision, body: ResponseBody::Txn { succeeded, responses } })
    };
    match (puts(success, revisions), puts(failure, revisions)) {
        (Puts::Unclear, _) | (_, Puts::Unclear) => Fate::Open,
        (Puts::At(revision), _) => happened(true, success, revision),
        (Puts::Nowhere, Puts::At(revision)) => happened(false, failure, revision),
        (Puts::Nowhere, Puts::Nowhere) => Fate::Absent,
    }
}

/// Where the writes of a list of requests stand.
enum Puts {
    /// All at this revision.
    At(i64),
    /// Not all of them anywhere; or the list only reads.
    Nowhere,
    /// The list deletes, nests or asks for what was there before.
    Unclear,
}

fn puts(branch: &[Request], revisions: &BTreeMap<(&[u8], &[u8]), i64>) -> Puts {
    if branch.iter().all(|request| matches!(request, Request::Range(_))) {
        return Puts::Nowhere;
    }
    let mut at = None;
    for request in branch {
        let Request::Put(PutRequest { key, value, prev_kv: false, .. }) = request else {
            return Puts::Unclear;
        };
        match (revisions.get(&(key.as_slice(), value.as_slice())), at) {
            (None, _) => return Puts::Nowhere,
            (Some(revision), Some(earlier)) if *revision != earlier => return Puts::Nowhere,
            (Some(revision), _) => at = Some(*revision),
        }
    }
    at.map_or(Puts::Nowhere, Puts::At)
}

fn put_response(revision: i64) -> Response {
    Response { revision, body: ResponseBody::Put { prev: None } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::StoredVersion;
    use model::history::Operation;
    use model::kv::CallResult;

    fn put(key: &str, value: &str) -> Request {
        Request::put(key, value)
    }

    /// The outcome of one unknown request, given what the store holds: revision, key, value.
    fn decided(request: Request, stored: &[(i64, &str, &str)]) -> Option<Outcome<CallResult>> {
        let versions = stored
            .iter()
            .map(|(revision, key, value)| StoredVersion {
                revision: (*revision, 0),
                key: key.as_bytes().to_vec(),
                value: Some(value.as_bytes().to_vec()),
            })
            .collect();
        let unknown = Operation {
            client: 1,
            invoke: Stamp::at(5),
            input: Call::Kv(request),
            outcome: Outcome::Unknown,
        };
        let history = decide(
            History::new(vec![unknown]).unwrap(),
            &Contents { applied_index: 9, compacted_revision: -1, versions },
        );
        history.into_operations().pop().map(|operation| operation.outcome)
    }

    fn answer(outcome: Option<Outcome<CallResult>>) -> Response {
        outcome.unwrap().output().unwrap().as_ref().unwrap().kv().unwrap().clone()
    }

    #[test]
    fn a_write_that_is_stored_happened_and_one_that_is_not_did_not() {
        assert_eq!(answer(decided(put("a", "o1"), &[(7, "a", "o1")])), put_response(7));
        assert_eq!(decided(put("a", "o1"), &[(7, "a", "o2")]), None);
    }

    #[test]
    fn a_transaction_shows_its_branch() {
        let both = Request::Txn(TxnRequest {
            compares: vec![],
            success: vec![put("a", "o1"), put("b", "o2")],
            failure: vec![put("b", "o2")],
        });
        let succeeded =
            |response: Response| matches!(response.body, ResponseBody::Txn { succeeded: true, .. });
        assert!(succeeded(answer(decided(both.clone(), &[(3, "a", "o1"), (3, "b", "o2")]))));
        assert!(!succeeded(answer(decided(both.clone(), &[(3, "b", "o2")]))));
        assert_eq!(decided(both, &[]), None);
    }

    #[test]
    fn a_deletion_stays_unknown() {
        let delete = Request::delete("a");
        assert_eq!(decided(delete, &[]), Some(Outcome::Unknown));
    }
}
