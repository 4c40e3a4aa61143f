//! One request on its way through the store: which branches it takes, and what it then does.

use std::cmp::Ordering;
use std::sync::Arc;

use super::range::range_response;
use super::{Record, Revision, Store, Version};
use crate::kv::{
    Answer, Compare, CompareResult, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Refusal, Request,
    Response, ResponseBody, Target, TxnRequest,
};

/// Which branch each transaction takes, outermost first, in the order of execution.
pub(super) type Path = std::vec::IntoIter<bool>;

/// Decides every branch on the state *before* the request, nested transactions included, and refuses what cannot
/// be served from it: first the puts on the path, then the reads (`etcdserver/apply.go` `checkRequests`). As in
/// etcd, a nested transaction therefore does not see what the ones around it write when its compares are
/// decided.
pub(super) fn resolve(store: &Store, request: &Request) -> Result<Path, Refusal> {
    let mut path = Vec::new();
    let mut taken = Vec::new();
    take(store, request, &mut path, &mut taken);
    let alone = !matches!(request, Request::Txn(_));
    for request in &taken {
        if let Request::Put(put) = request {
            if alone { check_lone_put(store, put)? } else { check_inner_put(store, put)? }
        }
    }
    for request in &taken {
        if let Request::Range(range) = request {
            if alone { store.check_read(range.revision)? } else { check_inner_read(store, range)? }
        }
    }
    Ok(path.into_iter())
}

/// Collects the branches taken, and the requests in them that are not transactions.
fn take<'a>(store: &Store, request: &'a Request, path: &mut Vec<bool>, taken: &mut Vec<&'a Request>) {
    match request {
        Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) => taken.push(request),
        Request::Txn(TxnRequest { compares, success, failure }) => {
            let succeeded = compares.iter().all(|compare| holds(store, compare));
            path.push(succeeded);
            let branch = if succeeded { success } else { failure };
            branch.iter().for_each(|request| take(store, request, path, taken));
        }
    }
}

/// A put by itself is refused for its lease first, a put in a transaction for its key.
fn check_lone_put(store: &Store, put: &PutRequest) -> Result<(), Refusal> {
    check_lease(store, put)?;
    check_present(store, put)
}

fn check_inner_put(store: &Store, put: &PutRequest) -> Result<(), Refusal> {
    check_present(store, put)?;
    check_lease(store, put)
}

fn check_lease(store: &Store, put: &PutRequest) -> Result<(), Refusal> {
    if put.lease != 0 && !store.has_lease(put.lease) { Err(Refusal::LeaseNotFound) } else { Ok(()) }
}

fn check_present(store: &Store, put: &PutRequest) -> Result<(), Refusal> {
    let needed = put.ignore_value || put.ignore_lease;
    if needed && store.current(&put.key).is_none() { Err(Refusal::KeyNotFound) } else { Ok(()) }
}

/// Inside a transaction a negative revision counts as one, which lies below the compacted one, and not as the
/// current revision (`checkRequestRange`).
fn check_inner_read(store: &Store, range: &RangeRequest) -> Result<(), Refusal> {
    match range.revision {
        0 => Ok(()),
        revision if revision > store.revision => Err(Refusal::FutureRevision),
        revision if revision < store.compacted => Err(Refusal::Compacted),
        _served => Ok(()),
    }
}

fn holds(store: &Store, compare: &Compare) -> bool {
    let mut found = store.read(&compare.key, compare.range_end.as_deref(), store.revision).peekable();
    if found.peek().is_none() {
        return holds_of(compare, None);
    }
    found.all(|found| holds_of(compare, Some(&found.key_value())))
}

fn holds_of(compare: &Compare, found: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> i64, operand: &i64| found.map_or(0, of).cmp(operand);
    let ordering = match (&compare.target, found) {
        (Target::Version(operand), _) => number(|kv| kv.version, operand),
        (Target::CreateRevision(operand), _) => number(|kv| kv.create_revision, operand),
        (Target::ModRevision(operand), _) => number(|kv| kv.mod_revision, operand),
        (Target::Lease(operand), _) => number(|kv| kv.lease, operand),
        (Target::Value(operand), Some(found)) => found.value.cmp(operand),
        (Target::Value(_), None) => return false,
    };
    match compare.result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
        CompareResult::NotEqual => ordering != Ordering::Equal,
    }
}

/// Whether a put of a transaction may find its key gone that was there before: admission lets a deletion without
/// end stand beside a put. Real etcd panics there; the model refuses the whole.
pub(super) fn may_fail_late(request: &Request) -> bool {
    fn keeps_something(request: &Request) -> bool {
        match request {
            Request::Put(put) => put.ignore_value || put.ignore_lease,
            Request::Range(_) | Request::DeleteRange(_) => false,
            Request::Txn(TxnRequest { compares: _, success, failure }) => {
                success.iter().chain(failure).any(keeps_something)
            }
        }
    }
    matches!(request, Request::Txn(_)) && keeps_something(request)
}

/// A request being carried out. All of its writes share one main revision.
pub(super) struct Transaction<'a> {
    store: &'a mut Store,
    path: Path,
    revision_before: i64,
    changes: i64,
}

impl<'a> Transaction<'a> {
    /// Starts on a request whose branches were decided by [`resolve`].
    pub(super) fn begin(store: &'a mut Store, path: Path) -> Transaction<'a> {
        let revision_before = store.revision;
        Transaction { store, path, revision_before, changes: 0 }
    }

    /// Carries the request out. It can only be refused where [`may_fail_late`] says so.
    pub(super) fn execute(&mut self, request: &Request) -> Answer {
        let mut response = self.operation(request)?;
        if let ResponseBody::Txn { .. } = response.body {
            response.revision = self.store.revision;
        }
        Ok(response)
    }

    fn operation(&mut self, request: &Request) -> Answer {
        match request {
            Request::Range(range) => Ok(range_response(self.store, range)),
            Request::Put(put) => self.put(put),
            Request::DeleteRange(delete) => Ok(self.delete_range(delete)),
            Request::Txn(TxnRequest { compares: _, success, failure }) => {
                let succeeded = self.path.next().expect("resolve decided every transaction on the path");
                let taken = if succeeded { success } else { failure };
                let responses: Result<Vec<Response>, Refusal> =
                    taken.iter().map(|request| self.operation(request)).collect();
                Ok(Response { revision: 0, body: ResponseBody::Txn { succeeded, responses: responses? } })
            }
        }
    }

    fn put(&mut self, put: &PutRequest) -> Answer {
        check_present(self.store, put)?;
        let PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = put;
        let prev = if *prev_kv { self.store.current_key_value(key) } else { None };
        let revision = self.next_revision();
        let current = self.store.current(key);
        let (create_revision, version) =
            current.map_or((revision.main, 1), |record| (record.create_revision, record.version + 1));
        let value = match current {
            Some(record) if *ignore_value => record.value.clone(),
            Some(_) | None => value.clone(),
        };
        let lease = match current {
            Some(record) if *ignore_lease => record.lease,
            Some(_) | None => *lease,
        };
        let record = Arc::new(Record { value, create_revision, version, lease });
        self.store.push(key, Version { revision, record: Some(record) });
        Ok(Response { revision: revision.main, body: ResponseBody::Put { prev } })
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> Response {
        let DeleteRangeRequest { key, range_end, prev_kv } = delete;
        let found = self.store.read(key, range_end.as_deref(), self.store.revision);
        let found: Vec<KeyValue> = found.map(|found| found.key_value()).collect();
        for key_value in &found {
            let revision = self.next_revision();
            self.store.push(&key_value.key, Version { revision, record: None });
        }
        let deleted = found.len() as u64;
        let prev = if *prev_kv { found } else { Vec::new() };
        Response { revision: self.store.revision, body: ResponseBody::DeleteRange { deleted, prev } }
    }

    /// The place of the next write; the first one moves the store to its new revision.
    fn next_revision(&mut self) -> Revision {
        let revision = Revision { main: self.revision_before + 1, sub: self.changes };
        self.changes += 1;
        self.store.revision = revision.main;
        revision
    }
}
