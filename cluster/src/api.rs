//! What a client can ask of the store, in the shape of etcd's v3 API, and what it answers.

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// How many transactions may stand inside each other in a request that comes from outside.
pub const NESTING_MAX: usize = 16;

/// One request. All of it takes effect at one revision, or nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Reads keys.
    Range {
        /// The key, or the first key of a range.
        key: Vec<u8>,
        /// `None`: only `key`. A single zero byte: every key from `key` on. Else the end of the range, itself
        /// not in it.
        range_end: Option<Vec<u8>>,
        /// The most keys to return; zero: all.
        limit: u64,
        /// The revision to read at; zero or less: the current one.
        revision: i64,
        /// Count the keys, but return none.
        count_only: bool,
        /// Return keys without their values.
        keys_only: bool,
    },
    /// Writes a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
        /// Return what the key held before.
        prev_kv: bool,
    },
    /// Deletes keys.
    DeleteRange {
        /// The key, or the first key of a range.
        key: Vec<u8>,
        /// As in [`Request::Range`].
        range_end: Option<Vec<u8>>,
        /// Return what the keys held before.
        prev_kv: bool,
    },
    /// Carries out one of two lists of requests.
    Txn {
        /// All must hold for `success` to be carried out.
        compares: Vec<Compare>,
        /// Carried out if every compare holds.
        #[serde(deserialize_with = "bounded_nesting")]
        success: Vec<Request>,
        /// Carried out if one does not.
        #[serde(deserialize_with = "bounded_nesting")]
        failure: Vec<Request>,
    },
}

impl Request {
    /// Reads the current value of one key.
    pub fn get(key: impl Into<Vec<u8>>) -> Request {
        Request::range(key, None)
    }

    /// Reads the current values of a range of keys; `range_end` as in [`Request::Range`].
    pub fn range(key: impl Into<Vec<u8>>, range_end: Option<Vec<u8>>) -> Request {
        Request::Range {
            key: key.into(),
            range_end,
            limit: 0,
            revision: 0,
            count_only: false,
            keys_only: false,
        }
    }

    /// Writes one key, without asking for what it held.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Request {
        Request::Put { key: key.into(), value: value.into(), prev_kv: false }
    }

    /// Deletes one key, without asking for what it held.
    pub fn delete(key: impl Into<Vec<u8>>) -> Request {
        Request::DeleteRange { key: key.into(), range_end: None, prev_kv: false }
    }

    /// Writes one key if its modification revision is `mod_revision` (zero: if it does not exist); otherwise
    /// reads it.
    pub fn compare_and_set(key: impl Into<Vec<u8>>, mod_revision: i64, value: impl Into<Vec<u8>>) -> Request {
        let key = key.into();
        Request::Txn {
            compares: vec![Compare {
                key: key.clone(),
                target: Target::ModRevision(mod_revision),
                result: CompareResult::Equal,
            }],
            success: vec![Request::put(key.clone(), value)],
            failure: vec![Request::get(key)],
        }
    }

    /// Whether the request can change nothing, whatever its compares say.
    pub fn is_read_only(&self) -> bool {
        match self {
            Request::Range { .. } => true,
            Request::Put { .. } | Request::DeleteRange { .. } => false,
            Request::Txn { compares: _, success, failure } => {
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
    /// The key to look at.
    pub key: Vec<u8>,
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
        /// The keys in ascending order, at most `limit`.
        kvs: Vec<KeyValue>,
        /// How many keys there are, whatever the limit.
        count: u64,
        /// Whether the limit left keys out.
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

/// Why a request was refused; it then has changed nothing. The texts are those of etcd 3.5.16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A transaction would write a key twice.
    DuplicateKey,
    /// A read asks for a revision that is yet to come.
    FutureRevision,
    /// A read asks for a revision that compaction has removed.
    Compacted,
    /// A key is empty.
    EmptyKey,
    /// A list of a transaction is too long.
    TooManyOperations,
    /// The request holds too many bytes.
    TooLarge,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Refusal::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Refusal::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Refusal::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Refusal::EmptyKey => "etcdserver: key is not provided",
            Refusal::TooManyOperations => "etcdserver: too many operations in txn request",
            Refusal::TooLarge => "etcdserver: request is too large",
        })
    }
}

impl std::error::Error for Refusal {}

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
        let reads = Request::Txn {
            compares: vec![],
            success: vec![Request::get("a")],
            failure: vec![Request::Txn {
                compares: vec![],
                success: vec![Request::get("b")],
                failure: vec![],
            }],
        };
        assert!(reads.is_read_only());
        assert!(!Request::compare_and_set("a", 0, "1").is_read_only());
        assert!(
            !Request::Txn { compares: vec![], success: vec![], failure: vec![Request::delete("a")] }
                .is_read_only()
        );
    }
}
