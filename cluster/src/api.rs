//! What a client can ask of the store, in the shape of etcd's v3 API, and what it answers.
//!
//! ```text
//! here         requests to the keys, and their answers
//! call         everything that a client can ask, and what stands in the raft log
//! watch        what a watch asks for, and what it is sent
//! refusal      why a request is refused
//! ```

mod call;
mod refusal;
mod watch;

use std::cell::Cell;

use serde::{Deserialize, Deserializer, Serialize};

pub use call::{Answer, Call, Command, Member, MemberCall, Status};
pub use refusal::Refusal;
pub use watch::{Event, EventKind, WatchCall, WatchKind, WatchMessage, WatchRequest};

/// How many transactions may stand inside each other in a request that comes from outside.
pub const NESTING_MAX: usize = 16;

/// One request to the keys. All of it takes effect at one revision, or nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Reads keys.
    Range(RangeRequest),
    /// Writes a key.
    Put(PutRequest),
    /// Deletes keys.
    DeleteRange(DeleteRangeRequest),
    /// Carries out one of two lists of requests.
    Txn(TxnRequest),
}

/// Which keys to read, as of when, and what to return of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// The key, or the first key of a range.
    pub key: Vec<u8>,
    /// `None` or empty: only `key`. A single zero byte: every key from `key` on. Else the end of the range,
    /// itself not in it.
    pub range_end: Option<Vec<u8>>,
    /// The most keys to return; zero: all.
    pub limit: u64,
    /// The revision to read at; zero or less: the current one.
    pub revision: i64,
    /// The order of the keys returned.
    pub sort_order: SortOrder,
    /// What they are sorted by.
    pub sort_target: SortTarget,
    /// Answer from the replica that is asked, though it may be behind.
    pub serializable: bool,
    /// Return keys without their values.
    pub keys_only: bool,
    /// Count the keys, but return none.
    pub count_only: bool,
    /// Leave out keys last written before this revision; zero: none.
    pub min_mod_revision: i64,
    /// Leave out keys last written after this revision; zero: none.
    pub max_mod_revision: i64,
    /// Leave out keys created before this revision; zero: none.
    pub min_create_revision: i64,
    /// Leave out keys created after this revision; zero: none.
    pub max_create_revision: i64,
}

/// The order of keys in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortOrder {
    /// As they stand in the index: by key, ascending; ascending as well by any other target.
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
}

/// What keys are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The revision that created it.
    Create,
    /// The revision that last wrote it.
    Mod,
    /// The value.
    Value,
}

/// What to write to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// The key.
    pub key: Vec<u8>,
    /// Its new value.
    pub value: Vec<u8>,
    /// The lease that the key is attached to from now on; zero: none.
    pub lease: i64,
    /// Return what the key held before.
    pub prev_kv: bool,
    /// Keep the value that it has; refused where it has none, or where a value is given.
    pub ignore_value: bool,
    /// Keep the lease that it has; refused where the key does not exist, or where a lease is given.
    pub ignore_lease: bool,
}

/// Which keys to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRangeRequest {
    /// The key, or the first key of a range.
    pub key: Vec<u8>,
    /// As in [`RangeRequest::range_end`].
    pub range_end: Option<Vec<u8>>,
    /// Return what the keys held before.
    pub prev_kv: bool,
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnRequest {
    /// All must hold for `success` to be carried out.
    pub compares: Vec<Compare>,
    /// Carried out if every compare holds.
    #[serde(deserialize_with = "bounded_nesting")]
    pub success: Vec<Request>,
    /// Carried out if one does not.
    #[serde(deserialize_with = "bounded_nesting")]
    pub failure: Vec<Request>,
}

impl Request {
    /// Reads the current value of one key.
    pub fn get(key: impl Into<Vec<u8>>) -> Request {
        Request::range(key, None)
    }

    /// Reads the current values of a range of keys; `range_end` as in [`RangeRequest`].
    pub fn range(key: impl Into<Vec<u8>>, range_end: Option<Vec<u8>>) -> Request {
        Request::Range(RangeRequest { key: key.into(), range_end, ..RangeRequest::default() })
    }

    /// Writes one key, without asking for what it held.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Request {
        Request::Put(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
    }

    /// Deletes one key, without asking for what it held.
    pub fn delete(key: impl Into<Vec<u8>>) -> Request {
        Request::DeleteRange(DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() })
    }

    /// Writes one key if its modification revision is `mod_revision` (zero: if it does not exist); otherwise
    /// reads it.
    pub fn compare_and_set(key: impl Into<Vec<u8>>, mod_revision: i64, value: impl Into<Vec<u8>>) -> Request {
        let key = key.into();
        Request::Txn(TxnRequest {
            compares: vec![Compare {
                key: key.clone(),
                range_end: None,
                target: Target::ModRevision(mod_revision),
                result: CompareResult::Equal,
            }],
            success: vec![Request::put(key.clone(), value)],
            failure: vec![Request::get(key)],
        })
    }

    /// Whether the request can change nothing, whatever its compares say.
    pub fn is_read_only(&self) -> bool {
        match self {
            Request::Range(_) => true,
            Request::Put(_) | Request::DeleteRange(_) => false,
            Request::Txn(TxnRequest { compares: _, success, failure }) => {
                success.iter().chain(failure).all(Request::is_read_only)
            }
        }
    }
}

/// One condition of a transaction: `target` of `key` stands in the relation `result` to the value given.
///
/// A key that does not exist has the version and revisions zero; a condition on its value never holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key to look at, or the first key of a range.
    pub key: Vec<u8>,
    /// As in [`RangeRequest::range_end`]; of a range the condition must hold for every key that exists.
    pub range_end: Option<Vec<u8>>,
    /// What to look at, and what to compare it with.
    pub target: Target,
    /// The relation that must hold, what the key has on the left.
    pub result: CompareResult,
}

/// What a condition looks at, with the value to compare it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// How often the key was written since it was created.
    Version(i64),
    /// The revision that created the key.
    CreateRevision(i64),
    /// The revision that last wrote the key.
    ModRevision(i64),
    /// The value of the key, byte by byte.
    Value(Vec<u8>),
    /// The lease that the key is attached to; zero where there is none.
    Lease(i64),
}

/// A relation between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareResult {
    /// Equal.
    Equal,
    /// Left above right.
    Greater,
    /// Left below right.
    Less,
    /// Not equal.
    NotEqual,
}

/// A key with what it holds at some revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// Its value; empty where only keys were asked for.
    pub value: Vec<u8>,
    /// The revision that created it.
    pub create_revision: i64,
    /// The revision that last wrote it.
    pub mod_revision: i64,
    /// How often it was written since it was created; 1 for a new key.
    pub version: i64,
    /// The lease that it is attached to; zero: none.
    pub lease: i64,
}

/// The answer to a request that was not refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The revision of the store after the request. In a response inside a transaction: as seen by that
    /// operation; zero for a nested transaction, as in etcd.
    pub revision: i64,
    /// The answer proper.
    pub body: ResponseBody,
}

/// The answer proper, one variant per kind of request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseBody {
    /// To [`Request::Range`].
    Range {
        /// The keys in the order asked for, at most `limit`.
        kvs: Vec<KeyValue>,
        /// How many keys there are, whatever the limit and the filters.
        count: u64,
        /// Whether the limit left keys out that pass the filters.
        more: bool,
    },
    /// To [`Request::Put`].
    Put {
        /// What the key held before, if asked for and if it existed.
        prev: Option<KeyValue>,
    },
    /// To [`Request::DeleteRange`].
    DeleteRange {
        /// How many keys were deleted.
        deleted: u64,
        /// What they held, if asked for, in ascending order.
        prev: Vec<KeyValue>,
    },
    /// To [`Request::Txn`].
    Txn {
        /// Whether every compare held.
        succeeded: bool,
        /// The answers to the list that was carried out, in its order.
        responses: Vec<Response>,
    },
}

thread_local! {
    /// How many transactions surround the requests being decoded on this thread.
    static NESTING: Cell<usize> = const { Cell::new(0) };
}

/// Decodes the requests inside a transaction, refusing what lies deeper than [`NESTING_MAX`]: each level costs
/// a sender a few bytes, but the decoder a stack frame.
fn bounded_nesting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Request>, D::Error> {
    let outside = NESTING.get();
    if outside == NESTING_MAX {
        return Err(serde::de::Error::custom(format_args!(
            "transactions are nested more than {NESTING_MAX} deep"
        )));
    }
    NESTING.set(outside + 1);
    let requests = Vec::deserialize(deserializer);
    NESTING.set(outside);
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_can_only_read_is_read_only() {
        let txn = |success, failure| Request::Txn(TxnRequest { compares: vec![], success, failure });
        assert!(txn(vec![Request::get("a")], vec![txn(vec![Request::get("b")], vec![])]).is_read_only());
        assert!(!Request::compare_and_set("a", 0, "1").is_read_only());
        assert!(!txn(vec![], vec![Request::delete("a")]).is_read_only());
    }
}
