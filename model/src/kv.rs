//! Requests and answers of an etcd-like store, in the shape of etcd's v3 API.
//!
//! Keys are bytes. Revisions count from 1, the empty store; the first write makes revision 2.

mod call;
mod refusal;

use serde::{Deserialize, Serialize};

pub use call::{
    Call, CallAnswer, CallResult, Event, EventKind, Member, MemberCall, Status, WatchCall, WatchKind,
    WatchMessage, WatchRequest,
};
pub use refusal::Refusal;

/// The most operations that one branch of a transaction may hold (etcd's default, `--max-txn-ops`).
pub const TXN_OPERATIONS_MAX: usize = 128;

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

impl RangeRequest {
    /// Whether keys may be left out for their revisions.
    pub fn is_filtered(&self) -> bool {
        [self.min_mod_revision, self.max_mod_revision, self.min_create_revision, self.max_create_revision]
            .iter()
            .any(|bound| *bound != 0)
    }
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
    pub success: Vec<Request>,
    /// Carried out if one does not.
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

    /// Whether the request may be answered from any replica as of what it has applied: a serializable read, or
    /// a transaction of nothing but such reads.
    pub fn is_serializable(&self) -> bool {
        match self {
            Request::Range(range) => range.serializable,
            Request::Put(_) | Request::DeleteRange(_) => false,
            Request::Txn(TxnRequest { compares: _, success, failure }) => {
                let mut requests = success.iter().chain(failure).peekable();
                requests.peek().is_some() && requests.all(Request::is_serializable)
            }
        }
    }

    /// The leases that a put of the request may attach a key to.
    pub fn leases(&self) -> Vec<i64> {
        match self {
            Request::Put(put) if put.lease != 0 => vec![put.lease],
            Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) => Vec::new(),
            Request::Txn(TxnRequest { compares: _, success, failure }) => {
                success.iter().chain(failure).flat_map(Request::leases).collect()
            }
        }
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

/// A condition of a transaction: `target` of `key` stands in relation `result` to the given operand.
///
/// An absent key has version and revisions zero; a compare of its value never holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key, or the first key of a range.
    pub key: Vec<u8>,
    /// As in [`RangeRequest::range_end`]; of a range the condition must hold for every key that exists.
    pub range_end: Option<Vec<u8>>,
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
    /// The lease that the key is attached to; zero where there is none.
    Lease(i64),
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
    /// The lease that it is attached to; zero: none.
    pub lease: i64,
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
        /// The keys in the order asked for, at most `limit` of them.
        kvs: Vec<KeyValue>,
        /// How many keys the range holds, whatever the limit and the filters.
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

/// What a client was told: a response, or a refusal that changed nothing.
pub type Answer = Result<Response, Refusal>;
