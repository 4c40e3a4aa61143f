//! Which branch every transaction of a request takes, and what of it the state refuses.

use std::cmp::Ordering;
use std::slice;

use super::{Store, StoreError};
use crate::api::{Compare, CompareResult, KeyValue, PutRequest, Refusal, Request, Target, TxnRequest};

/// For every transaction that is carried out, outermost first and in the order of execution, whether its
/// compares hold.
pub(super) type Path = std::vec::IntoIter<bool>;

/// Decides every branch on the state before the request, those of nested transactions too, and refuses what
/// this state cannot carry out. So, as in etcd (`compareToPath` in `apply.go`), the compares of a nested
/// transaction do not see what the requests around it write.
pub(super) fn resolve(store: &Store, request: &Request) -> Result<Result<Path, Refusal>, StoreError> {
    let txn = match request {
        Request::Range(range) => {
            return Ok(check_revision(store, range.revision.max(0)).map(|()| no_branches()));
        }
        Request::Put(put) => {
            return Ok(check_lease(store, put).and(check_key(store, put)).map(|()| no_branches()));
        }
        Request::DeleteRange(_) => return Ok(Ok(no_branches())),
        Request::Txn(txn) => txn,
    };
    let mut branches = Vec::new();
    decide(store, txn, &mut branches)?;
    let mut taken = Vec::new();
    collect(txn, &mut branches.iter(), &mut taken);
    Ok(check_taken(store, &taken).map(|()| branches.into_iter()))
}

fn no_branches() -> Path {
    Vec::new().into_iter()
}

/// Adds the branch of `txn`, and those of the transactions in it.
fn decide(store: &Store, txn: &TxnRequest, branches: &mut Vec<bool>) -> Result<(), StoreError> {
    let succeeded = all_hold(store, &txn.compares)?;
    branches.push(succeeded);
    for request in if succeeded { &txn.success } else { &txn.failure } {
        if let Request::Txn(nested) = request {
            decide(store, nested, branches)?;
        }
    }
    Ok(())
}

/// Adds the operations that are carried out, in their order.
fn collect<'a>(txn: &'a TxnRequest, branches: &mut slice::Iter<'_, bool>, taken: &mut Vec<&'a Request>) {
    let succeeded = *branches.next().expect("every transaction on the way has its branch");
    for request in if succeeded { &txn.success } else { &txn.failure } {
        match request {
            Request::Txn(nested) => collect(nested, branches, taken),
            Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) => taken.push(request),
        }
    }
}

/// As etcd checks the operations of a transaction: all puts first, then all ranges (`checkPut` and `checkRange`).
/// For a put outside of a transaction it asks for the lease first, and here for the key.
fn check_taken(store: &Store, taken: &[&Request]) -> Result<(), Refusal> {
    for request in taken {
        if let Request::Put(put) = request {
            check_key(store, put)?;
            check_lease(store, put)?;
        }
    }
    for request in taken {
        if let Request::Range(range) = request {
            check_revision(store, range.revision)?;
        }
    }
    Ok(())
}

/// Zero is the current revision. A negative one is below the compacted revision as soon as there is one.
fn check_revision(store: &Store, revision: i64) -> Result<(), Refusal> {
    if revision > store.revision {
        Err(Refusal::FutureRevision)
    } else if revision != 0 && revision < store.compacted_revision {
        Err(Refusal::Compacted)
    } else {
        Ok(())
    }
}

fn check_key(store: &Store, put: &PutRequest) -> Result<(), Refusal> {
    let needs_key = put.ignore_value || put.ignore_lease;
    if needs_key && store.index.get(&put.key, store.revision).is_none() {
        Err(Refusal::KeyNotFound)
    } else {
        Ok(())
    }
}

fn check_lease(store: &Store, put: &PutRequest) -> Result<(), Refusal> {
    if put.lease != 0 && store.leases.get(put.lease).is_none() { Err(Refusal::LeaseNotFound) } else { Ok(()) }
}

fn all_hold(store: &Store, compares: &[Compare]) -> Result<bool, StoreError> {
    for compare in compares {
        if !holds(store, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a condition holds for every key of its range. A range without keys counts as one key of zeros.
fn holds(store: &Store, compare: &Compare) -> Result<bool, StoreError> {
    let mut keys = store.index.range(&compare.key, compare.range_end.as_deref(), store.revision).peekable();
    if keys.peek().is_none() {
        return Ok(holds_without_key(compare));
    }
    for (key, found) in keys {
        if !holds_for(compare, &store.fetch(key, found)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds_without_key(compare: &Compare) -> bool {
    let nothing =
        KeyValue { key: vec![], value: vec![], create_revision: 0, mod_revision: 0, version: 0, lease: 0 };
    match compare.target {
        Target::Value(_) => false,
        Target::Version(_) | Target::CreateRevision(_) | Target::ModRevision(_) | Target::Lease(_) => {
            holds_for(compare, &nothing)
        }
    }
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let ordering = match &compare.target {
        Target::Version(operand) => kv.version.cmp(operand),
        Target::CreateRevision(operand) => kv.create_revision.cmp(operand),
        Target::ModRevision(operand) => kv.mod_revision.cmp(operand),
        Target::Value(operand) => kv.value.cmp(operand),
        Target::Lease(operand) => kv.lease.cmp(operand),
    };
    match compare.result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
        CompareResult::NotEqual => ordering != Ordering::Equal,
    }
}
