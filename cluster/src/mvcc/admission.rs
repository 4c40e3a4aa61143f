//! What is refused whatever the state: the checks that etcd makes before it proposes a request
//! (`server/etcdserver/api/v3rpc/key.go`, `v3_server.go`).

use std::collections::BTreeSet;

use crate::api::{Compare, PutRequest, Refusal, Request, Target, TxnRequest};

/// The most operations in one list of a transaction, nested ones counted from what is left (etcd's default,
/// `--max-txn-ops`).
pub const TXN_OPERATIONS_MAX: usize = 128;

/// The most bytes in the keys and values of one request (etcd's default, `--max-request-bytes`).
pub const REQUEST_BYTES_MAX: usize = 3 << 19;

/// Refuses what no state could accept, in etcd's order: first the form of every operation, then writes that
/// overlap, then the size. A replica checks before it proposes, to spare the log; applying checks as well.
///
/// # Errors
/// `EmptyKey`, `ValueProvided`, `LeaseProvided`, `TooManyOperations`, `DuplicateKey`, `TooLarge`.
pub fn check(request: &Request) -> Result<(), Refusal> {
    check_form(request, TXN_OPERATIONS_MAX)?;
    if let Request::Txn(TxnRequest { compares: _, success, failure }) = request {
        Writes::of(success)?;
        Writes::of(failure)?;
    }
    if bytes(request) > REQUEST_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(()) }
}

fn check_form(request: &Request, operations_max: usize) -> Result<(), Refusal> {
    match request {
        Request::Range(range) => check_key(&range.key),
        Request::Put(put) => check_put(put),
        Request::DeleteRange(delete) => check_key(&delete.key),
        Request::Txn(TxnRequest { compares, success, failure }) => {
            let longest = compares.len().max(success.len()).max(failure.len());
            let left = operations_max.checked_sub(longest).ok_or(Refusal::TooManyOperations)?;
            compares.iter().try_for_each(|compare| check_key(&compare.key))?;
            success.iter().chain(failure).try_for_each(|request| check_form(request, left))
        }
    }
}

fn check_put(put: &PutRequest) -> Result<(), Refusal> {
    check_key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        Err(Refusal::ValueProvided)
    } else if put.ignore_lease && put.lease != 0 {
        Err(Refusal::LeaseProvided)
    } else {
        Ok(())
    }
}

fn check_key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// What a list of requests may write, whichever branches are taken.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> Writes<'a> {
    /// The writes of a list: its own deletes first, so that puts inside nested transactions are held against
    /// them; then the nested transactions in order; then its own puts.
    fn of(requests: &'a [Request]) -> Result<Writes<'a>, Refusal> {
        let mut writes = Writes::default();
        for request in requests {
            if let Request::DeleteRange(delete) = request {
                writes.deletes.push((&delete.key, delete.range_end.as_deref()));
            }
        }
        for request in requests {
            if let Request::Txn(TxnRequest { compares: _, success, failure }) = request {
                writes.nested(success, failure)?;
            }
        }
        for request in requests {
            if let Request::Put(put) = request {
                writes.put(&put.key)?;
            }
        }
        Ok(writes)
    }

    /// Adds those of a nested transaction. Its branches may put the same key, since only one is taken.
    fn nested(&mut self, success: &'a [Request], failure: &'a [Request]) -> Result<(), Refusal> {
        let (success, failure) = (Writes::of(success)?, Writes::of(failure)?);
        success.puts.union(&failure.puts).try_for_each(|key| self.put(key))?;
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        let deleted = self.deletes.iter().any(|(start, range_end)| covers(start, *range_end, key));
        if deleted || !self.puts.insert(key) { Err(Refusal::DuplicateKey) } else { Ok(()) }
    }
}

/// Whether a delete is seen to hit a key. One without end (a single zero byte) is not: etcd compares the bytes
/// as they stand here, lets it through beside a put, and carries both out in order.
fn covers(start: &[u8], range_end: Option<&[u8]>, key: &[u8]) -> bool {
    match range_end {
        None | Some([]) => key == start,
        Some(end) => start <= key && key < end,
    }
}

/// The bytes of all keys and values.
fn bytes(request: &Request) -> usize {
    match request {
        Request::Range(range) => range.key.len() + range.range_end.as_ref().map_or(0, Vec::len),
        Request::DeleteRange(delete) => delete.key.len() + delete.range_end.as_ref().map_or(0, Vec::len),
        Request::Put(put) => put.key.len() + put.value.len(),
        Request::Txn(TxnRequest { compares, success, failure }) => {
            let compares: usize = compares.iter().map(compare_bytes).sum();
            let requests: usize = success.iter().chain(failure).map(bytes).sum();
            compares + requests
        }
    }
}

fn compare_bytes(compare: &Compare) -> usize {
    let value = match &compare.target {
        Target::Value(value) => value.len(),
        Target::Version(_) | Target::CreateRevision(_) | Target::ModRevision(_) | Target::Lease(_) => 0,
    };
    compare.key.len() + compare.range_end.as_ref().map_or(0, Vec::len) + value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::DeleteRangeRequest;

    fn txn(success: Vec<Request>, failure: Vec<Request>) -> Request {
        Request::Txn(TxnRequest { compares: vec![], success, failure })
    }

    fn delete(key: &str, range_end: &str) -> Request {
        let (key, range_end) = (key.into(), Some(range_end.into()));
        Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false })
    }

    #[test]
    fn what_is_to_be_kept_may_not_be_given() {
        let put = |change: fn(&mut PutRequest)| {
            let mut put = PutRequest { key: b"a".to_vec(), ..PutRequest::default() };
            change(&mut put);
            check(&txn(vec![], vec![Request::Put(put)]))
        };
        assert_eq!(put(|put| (put.ignore_value, put.ignore_lease) = (true, true)), Ok(()));
        assert_eq!(put(|put| (put.ignore_value, put.lease) = (true, 1)), Ok(()));
        assert_eq!(put(|put| (put.ignore_value, put.value) = (true, vec![1])), Err(Refusal::ValueProvided));
        assert_eq!(put(|put| (put.ignore_lease, put.lease) = (true, 1)), Err(Refusal::LeaseProvided));
    }

    #[test]
    fn a_key_may_be_written_once() {
        let (put, twice) = (|| Request::put("b", "1"), Err(Refusal::DuplicateKey));
        assert_eq!(check(&txn(vec![put(), Request::put("c", "1")], vec![put()])), Ok(()));
        assert_eq!(check(&txn(vec![put(), put()], vec![])), twice);
        assert_eq!(check(&txn(vec![], vec![put(), put()])), twice);
        assert_eq!(check(&txn(vec![put(), Request::delete("b")], vec![])), twice);
        assert_eq!(check(&txn(vec![put(), delete("a", "c")], vec![])), twice);
        assert_eq!(check(&txn(vec![put(), delete("a", "b")], vec![])), Ok(()));
        assert_eq!(check(&txn(vec![put(), delete("a", "\0")], vec![])), Ok(()), "as etcd compares");
        assert_eq!(check(&txn(vec![delete("a", "c"), Request::delete("b")], vec![])), Ok(()));
    }

    #[test]
    fn nested_writes_count_with_those_around_them() {
        let (put, twice) = (|| Request::put("b", "1"), Err(Refusal::DuplicateKey));
        assert_eq!(check(&txn(vec![txn(vec![put()], vec![put()])], vec![])), Ok(()));
        assert_eq!(check(&txn(vec![txn(vec![put()], vec![]), put()], vec![])), twice);
        assert_eq!(check(&txn(vec![txn(vec![put()], vec![]), txn(vec![], vec![put()])], vec![])), twice);
        assert_eq!(check(&txn(vec![txn(vec![put()], vec![]), Request::delete("b")], vec![])), twice);
        assert_eq!(check(&txn(vec![txn(vec![Request::delete("b")], vec![]), put()], vec![])), twice);
        // In order, the put comes first, and the delete is not held against it.
        let deletes = txn(vec![Request::delete("b")], vec![]);
        assert_eq!(check(&txn(vec![txn(vec![put()], vec![]), deletes], vec![])), Ok(()));
    }

    #[test]
    fn empty_keys_are_refused_wherever_they_are() {
        for request in [
            Request::get(""),
            Request::put("", "1"),
            Request::delete(""),
            Request::compare_and_set("", 0, ""),
        ] {
            assert_eq!(check(&request), Err(Refusal::EmptyKey));
            assert_eq!(check(&txn(vec![], vec![request])), Err(Refusal::EmptyKey));
        }
    }

    #[test]
    fn long_lists_and_large_requests_are_refused() {
        let gets = |count| vec![Request::get("a"); count];
        assert_eq!(check(&txn(gets(128), gets(128))), Ok(()));
        assert_eq!(check(&txn(gets(129), vec![])), Err(Refusal::TooManyOperations));
        let mut outer = gets(100);
        outer.push(txn(gets(28), vec![]));
        assert_eq!(check(&txn(outer.clone(), vec![])), Err(Refusal::TooManyOperations), "27 are left");
        outer[100] = txn(gets(27), vec![]);
        assert_eq!(check(&txn(outer, vec![])), Ok(()));
        assert_eq!(check(&Request::put("a", vec![0; REQUEST_BYTES_MAX - 1])), Ok(()));
        assert_eq!(check(&Request::put("a", vec![0; REQUEST_BYTES_MAX])), Err(Refusal::TooLarge));
    }
}
