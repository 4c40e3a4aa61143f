//! Why requests are refused, in the words and codes of etcd 3.5.16.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request was refused; it then has changed nothing. The texts are those of etcd 3.5.16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A transaction would write a key twice.
    DuplicateKey,
    /// A read or a compaction asks for a revision that is yet to come.
    FutureRevision,
    /// A read or a compaction asks for a revision that compaction has removed.
    Compacted,
    /// A key is empty.
    EmptyKey,
    /// A list of a transaction is too long.
    TooManyOperations,
    /// The request holds too many bytes.
    TooLarge,
    /// There is no such lease.
    LeaseNotFound,
    /// There is such a lease already.
    LeaseExists,
    /// The key whose value or lease is to be kept does not exist.
    KeyNotFound,
    /// A value is given, and is to be kept.
    ValueProvided,
    /// A lease is given, and is to be kept.
    LeaseProvided,
    /// The disk of a member is full, and the request would write more.
    NoSpace,
    /// A lease would live longer than any may.
    LeaseTtlTooLarge,
    /// There is such a member already.
    MemberExists,
    /// There is no such member.
    MemberNotFound,
    /// The member to be promoted has a vote.
    MemberNotLearner,
    /// The learner to be promoted is behind.
    LearnerNotReady,
    /// Too few voters would be active after the change.
    UnhealthyCluster,
}

impl Refusal {
    /// The code that etcd answers with over gRPC (`api/v3rpc/rpctypes/error.go`).
    pub fn grpc_code(self) -> u32 {
        const INVALID_ARGUMENT: u32 = 3;
        const NOT_FOUND: u32 = 5;
        const RESOURCE_EXHAUSTED: u32 = 8;
        const FAILED_PRECONDITION: u32 = 9;
        const OUT_OF_RANGE: u32 = 11;
        const UNAVAILABLE: u32 = 14;
        match self {
            Refusal::DuplicateKey
            | Refusal::EmptyKey
            | Refusal::TooManyOperations
            | Refusal::TooLarge
            | Refusal::KeyNotFound
            | Refusal::ValueProvided
            | Refusal::LeaseProvided => INVALID_ARGUMENT,
            Refusal::LeaseNotFound | Refusal::MemberNotFound => NOT_FOUND,
            Refusal::NoSpace => RESOURCE_EXHAUSTED,
            Refusal::LeaseExists
            | Refusal::MemberExists
            | Refusal::MemberNotLearner
            | Refusal::LearnerNotReady => FAILED_PRECONDITION,
            Refusal::UnhealthyCluster => UNAVAILABLE,
            Refusal::FutureRevision | Refusal::Compacted | Refusal::LeaseTtlTooLarge => OUT_OF_RANGE,
        }
    }

    /// The status that etcd's JSON gateway gives for that code (grpc-gateway, `runtime/errors.go`).
    pub fn http_status(self) -> u16 {
        match self.grpc_code() {
            5 => 404,
            8 => 429,
            14 => 503,
            _ => 400,
        }
    }
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
            Refusal::LeaseNotFound => "etcdserver: requested lease not found",
            Refusal::LeaseExists => "etcdserver: lease already exists",
            Refusal::KeyNotFound => "etcdserver: key not found",
            Refusal::ValueProvided => "etcdserver: value is provided",
            Refusal::LeaseProvided => "etcdserver: lease is provided",
            Refusal::NoSpace => "etcdserver: mvcc: database space exceeded",
            Refusal::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
            Refusal::MemberExists => "etcdserver: member ID already exist",
            Refusal::MemberNotFound => "etcdserver: member not found",
            Refusal::MemberNotLearner => "etcdserver: can only promote a learner member",
            Refusal::LearnerNotReady => {
                "etcdserver: can only promote a learner member which is in sync with leader"
            }
            Refusal::UnhealthyCluster => "etcdserver: unhealthy cluster",
        })
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_recorded_answers() {
        for (refusal, code, status) in [
            (Refusal::Compacted, 11, 400),
            (Refusal::FutureRevision, 11, 400),
            (Refusal::LeaseExists, 9, 400),
            (Refusal::LeaseNotFound, 5, 404),
            (Refusal::KeyNotFound, 3, 400),
            (Refusal::DuplicateKey, 3, 400),
            (Refusal::NoSpace, 8, 429),
        ] {
            assert_eq!((refusal.grpc_code(), refusal.http_status()), (code, status), "{refusal}");
        }
    }
}
