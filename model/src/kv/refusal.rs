//! Refusals, with etcd's texts and codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request was refused, with etcd's text as its `Display`. A refused request changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A key is empty.
    EmptyKey,
    /// A branch or the compares of a transaction hold more than [`crate::kv::TXN_OPERATIONS_MAX`] operations.
    TooManyOperations,
    /// A transaction writes the same key twice.
    DuplicateKey,
    /// A revision that does not exist yet.
    FutureRevision,
    /// A revision that was compacted away.
    Compacted,
    /// No lease has the id.
    LeaseNotFound,
    /// A lease has the id already.
    LeaseExists,
    /// A put was to keep the value or the lease of a key that does not exist.
    KeyNotFound,
    /// A put was to keep the value, and gives one.
    ValueProvided,
    /// A put was to keep the lease, and gives one.
    LeaseProvided,
    /// The cluster is out of space until the alarm is disarmed.
    NoSpace,
    /// A lease was to live longer than [`crate::store::LEASE_TTL_MAX_S`].
    LeaseTtlTooLarge,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Refusal; 12] = [
        Refusal::EmptyKey,
        Refusal::TooManyOperations,
        Refusal::DuplicateKey,
        Refusal::FutureRevision,
        Refusal::Compacted,
        Refusal::LeaseNotFound,
        Refusal::LeaseExists,
        Refusal::KeyNotFound,
        Refusal::ValueProvided,
        Refusal::LeaseProvided,
        Refusal::NoSpace,
        Refusal::LeaseTtlTooLarge,
    ];

    /// The gRPC status code that etcd gives (`api/v3rpc/rpctypes/error.go`).
    pub fn grpc_code(self) -> u32 {
        match self {
            Refusal::EmptyKey
            | Refusal::TooManyOperations
            | Refusal::DuplicateKey
            | Refusal::KeyNotFound
            | Refusal::ValueProvided
            | Refusal::LeaseProvided => 3,
            Refusal::LeaseNotFound => 5,
            Refusal::NoSpace => 8,
            Refusal::LeaseExists => 9,
            Refusal::FutureRevision | Refusal::Compacted | Refusal::LeaseTtlTooLarge => 11,
        }
    }

    /// The HTTP status that etcd's JSON gateway makes of the code.
    pub fn http_status(self) -> u16 {
        match self.grpc_code() {
            5 => 404,
            8 => 429,
            _invalid_or_out_of_range => 400,
        }
    }

    /// Whether the cluster may refuse so at any time, for a reason that lies outside the contents of the store.
    pub fn is_of_the_machine(self) -> bool {
        match self {
            Refusal::NoSpace => true,
            Refusal::EmptyKey
            | Refusal::TooManyOperations
            | Refusal::DuplicateKey
            | Refusal::FutureRevision
            | Refusal::Compacted
            | Refusal::LeaseNotFound
            | Refusal::LeaseExists
            | Refusal::KeyNotFound
            | Refusal::ValueProvided
            | Refusal::LeaseProvided
            | Refusal::LeaseTtlTooLarge => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Refusal::EmptyKey => "etcdserver: key is not provided",
            Refusal::TooManyOperations => "etcdserver: too many operations in txn request",
            Refusal::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Refusal::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Refusal::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Refusal::LeaseNotFound => "etcdserver: requested lease not found",
            Refusal::LeaseExists => "etcdserver: lease already exists",
            Refusal::KeyNotFound => "etcdserver: key not found",
            Refusal::ValueProvided => "etcdserver: value is provided",
            Refusal::LeaseProvided => "etcdserver: lease is provided",
            Refusal::NoSpace => "etcdserver: mvcc: database space exceeded",
            Refusal::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
        })
    }
}

impl std::error::Error for Refusal {}
