//! What is refused whatever the state: the checks that etcd makes before it proposes a request.

use std::collections::BTreeSet;

use super::LEASE_TTL_MAX_S;
use crate::kv::{Call, DeleteRangeRequest, PutRequest, Refusal, Request, TXN_OPERATIONS_MAX, TxnRequest};

/// Refuses what no state could accept. The order of the checks is etcd's (`v3rpc/key.go`): first the form of
/// every operation, then the writes that overlap, in the success branch before the failure branch.
///
/// # Errors
/// [`Refusal::EmptyKey`], [`Refusal::ValueProvided`], [`Refusal::LeaseProvided`],
/// [`Refusal::TooManyOperations`] or [`Refusal::DuplicateKey`].
pub fn admit(request: &Request) -> Result<(), Refusal> {
    check_form(request, TXN_OPERATIONS_MAX)?;
    if let Request::Txn(TxnRequest { compares: _, success, failure }) = request {
        writes_of(success)?;
        writes_of(failure)?;
    }
    Ok(())
}

/// As [`admit`], for any call.
///
/// # Errors
/// Those of [`admit`], and [`Refusal::LeaseTtlTooLarge`].
pub fn admit_call(call: &Call) -> Result<(), Refusal> {
    match call {
        Call::Kv(request) => admit(request),
        Call::LeaseGrant { id: _, ttl_s } if *ttl_s > LEASE_TTL_MAX_S => Err(Refusal::LeaseTtlTooLarge),
        Call::LeaseGrant { .. }
        | Call::Compact { .. }
        | Call::LeaseRevoke { .. }
        | Call::LeaseKeepAlive { .. }
        | Call::LeaseTimeToLive { .. }
        | Call::Leases
        | Call::HashKv { .. }
        | Call::Status
        | Call::Defragment
        | Call::AlarmDisarm
        | Call::Member(_)
        | Call::MoveLeader { .. }
        | Call::Watch(_) => Ok(()),
    }
}

fn check_form(request: &Request, operations_max: usize) -> Result<(), Refusal> {
    match request {
        Request::Range(range) => check_key(&range.key),
        Request::Put(put) => check_put(put),
        Request::DeleteRange(delete) => check_key(&delete.key),
        Request::Txn(TxnRequest { compares, success, failure }) => {
            let operations = compares.len().max(success.len()).max(failure.len());
            let left = operations_max.checked_sub(operations).ok_or(Refusal::TooManyOperations)?;
            if compares.iter().any(|compare| compare.key.is_empty()) {
                return Err(Refusal::EmptyKey);
            }
            success.iter().chain(failure).try_for_each(|request| check_form(request, left))
        }
    }
}

fn check_key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

fn check_put(put: &PutRequest) -> Result<(), Refusal> {
    check_key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if put.ignore_lease && put.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

/// The keys that a list of requests may put and the ranges that it may delete.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> Writes<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        let deleted = self.deletes.iter().any(|range| covers(*range, key));
        if deleted || !self.puts.insert(key) { Err(Refusal::DuplicateKey) } else { Ok(()) }
    }
}

/// Collects the writes of one branch, deletes of this level first so that puts of nested levels see them.
/// The two branches of a nested transaction may write the same key, since only one is taken.
fn writes_of(requests: &[Request]) -> Result<Writes<'_>, Refusal> {
    let mut writes = Writes::default();
    for request in requests {
        if let Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: _ }) = request {
            writes.deletes.push((key, range_end.as_deref()));
        }
    }
    for request in requests {
        if let Request::Txn(TxnRequest { compares: _, success, failure }) = request {
            let (then, otherwise) = (writes_of(success)?, writes_of(failure)?);
            for key in &then.puts {
                writes.put(key)?;
            }
            for key in otherwise.puts.iter().filter(|key| !then.puts.contains(*key)) {
                writes.put(key)?;
            }
            writes.deletes.extend(then.deletes);
            writes.deletes.extend(otherwise.deletes);
        }
    }
    for request in requests {
        if let Request::Put(put) = request {
            writes.put(&put.key)?;
        }
    }
    Ok(writes)
}

/// Whether a deleted range is seen to hold a key. A range without end (one zero byte) is not: etcd compares
/// the bytes as they stand, so such a delete beside a put is let through and takes effect in order.
fn covers((start, end): (&[u8], Option<&[u8]>), key: &[u8]) -> bool {
    match end {
        None | Some([]) => start == key,
        Some(end) => start <= key && key < end,
    }
}
