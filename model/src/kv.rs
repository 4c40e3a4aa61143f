//! Requests and answers of an etcd-like store, in the shape of etcd's v3 API.
//!
//! Keys are bytes. Revisions count from 1, the empty store; the first write makes revision 2.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most operations that one branch of a transaction may hold (etcd's default, `--max-txn-ops`).
pub const TXN_OPERATIONS_MAX: usize = 128;

/// One request. It takes effect at one revision, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Reads keys.
    Range {
        /// The key, or the first key of a range.
        key: Vec<u8>,
        /// `None` or empty: only `key`. One zero byte: every key from `key` on. Otherwise the range ends
        /// before this key.
        range_end: Option<Vec<u8>>,
        /// Return at most so many keys; zero means all.
        limit: u64,
        /// Read the state as of this revision; zero or less means the current one.
        revision: i64,
        /// Return the count alone.
        count_only: bool,
        /// Leave the values out.
        keys_only: bool,
    },
    /// Writes one key.
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
        /// All must hold for `success` to be taken.
        compares: Vec<Compare>,
        /// Taken when every compare holds.
        success: Vec<Request>,
        /// Taken otherwise.
        failure: Vec<Request>,
    },
}

impl Request {
    /// Whether the request can change nothing, whatever the state.
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

/// A condition of a transaction: `target` of `key` stands in relation `result` to the given operand.
///
/// An absent key has version and revisions zero; a compare of its value never holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: Vec<u8>,
    /// What is compared, and with what.
    pub target: Target,
    /// The relation that must hold, with the store's side on the left.
    pub result: CompareResult,
}

/// What a [`Compare`] looks at, with the operand it compares to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// How often the key was written since it was created.
    Version(i64),
    /// The revision that created the key.
    CreateRevision(i64),
    /// The revision of the last write to the key.
    ModRevision(i64),
    /// The value, byte-wise.
    Value(Vec<u8>),
}

/// The relation of a [`Compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareResult {
    /// Equal.
    Equal,
    /// The store's side is greater.
    Greater,
    /// The store's side is less.
    Less,
    /// Not equal.
    NotEqual,
}

/// A key with what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// The value; empty where values were left out.
    pub value: Vec<u8>,
    /// The revision that created the key.
    pub create_revision: i64,
    /// The revision of the last write to the key.
    pub mod_revision: i64,
    /// How often the key was written since it was created, from 1.
    pub version: i64,
}

/// A response: the revision in its header, and the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Of a write, the revision that it made; otherwise the store's current revision.
    ///
    /// As in etcd, an operation inside a transaction shows the revision as of that operation, and a nested
    /// transaction shows zero.
    pub revision: i64,
    /// What the request asked for.
    pub body: ResponseBody,
}

/// The body of a [`Response`], one variant per kind of [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseBody {
    /// To [`Request::Range`].
    Range {
        /// The keys in ascending order, at most `limit` of them.
        kvs: Vec<KeyValue>,
        /// How many keys the range holds, whatever the limit.
        count: u64,
        /// Whether the limit cut keys off.
        more: bool,
    },
    /// To [`Request::Put`].
    Put {
        /// What the key held before, where asked for and where there was something.
        prev: Option<KeyValue>,
    },
    /// To [`Request::DeleteRange`].
    DeleteRange {
        /// How many keys were deleted.
        deleted: u64,
        /// What they held, where asked for, in ascending order.
        prev: Vec<KeyValue>,
    },
    /// To [`Request::Txn`].
    Txn {
        /// Whether every compare held.
        succeeded: bool,
        /// One response per request of the branch taken.
        responses: Vec<Response>,
    },
}

impl ResponseBody {
    /// Whether the request behind this response changed the store, and so made a revision.
    pub fn wrote(&self) -> bool {
        match self {
            ResponseBody::Range { .. } => false,
            ResponseBody::Put { .. } => true,
            ResponseBody::DeleteRange { deleted, prev: _ } => *deleted > 0,
            ResponseBody::Txn { succeeded: _, responses } => {
                responses.iter().any(|response| response.body.wrote())
            }
        }
    }
}

/// Why a request was refused, with etcd's text as its `Display`. A refused request changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A key is empty.
    EmptyKey,
    /// A branch or the compares of a transaction hold more than [`TXN_OPERATIONS_MAX`] operations.
    TooManyOperations,
    /// A transaction writes the same key twice.
    DuplicateKey,
    /// A read at a revision that does not exist yet.
    FutureRevision,
    /// A read at a revision that was compacted away.
    Compacted,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Refusal::EmptyKey => "etcdserver: key is not provided",
            Refusal::TooManyOperations => "etcdserver: too many operations in txn request",
            Refusal::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Refusal::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Refusal::Compacted => "etcdserver: mvcc: required revision has been compacted",
        })
    }
}

impl std::error::Error for Refusal {}

/// What a client was told: a response, or a refusal that changed nothing.
pub type Answer = Result<Response, Refusal>;
