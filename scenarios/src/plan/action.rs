//! What clients do.

use crate::planned_request::PlannedRequest;
use serde::{Deserialize, Serialize};

/// Something that a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOperation {
    /// The earliest virtual time, in milliseconds; a client does one thing at a time.
    pub at_ms: u64,
    /// Which client, from 0.
    pub client: u32,
    /// What.
    pub action: Action,
}

/// A client's request. Keys are `k` and a number; values are the operation's own, so every write is unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Write a key, with a value of about so many bytes.
    Put {
        /// The key's number.
        key: u32,
        /// Length of the value in bytes; shorter than the operation's own mark means just the mark.
        bytes: u32,
    },
    /// Read a key.
    Get {
        /// The key's number.
        key: u32,
    },
    /// Read a range of keys.
    Scan {
        /// The first key's number.
        from: u32,
        /// The number after the last key.
        to: u32,
        /// At most so many keys; 0 is no limit.
        limit: u32,
    },
    /// Delete a key.
    Delete {
        /// The key's number.
        key: u32,
    },
    /// Delete a range of keys.
    DeleteRange {
        /// The first key's number.
        from: u32,
        /// The number after the last key.
        to: u32,
    },
    /// Write a key only if it is as this client saw it last, and read it otherwise.
    CompareAndSet {
        /// The key's number.
        key: u32,
        /// Length of the value in bytes.
        bytes: u32,
    },
    /// Write two keys at once, if the first exists; otherwise only the second.
    PutTwo {
        /// The first key's number.
        first: u32,
        /// The second key's number; another one.
        second: u32,
        /// Length of each value in bytes.
        bytes: u32,
    },
    /// Any request to the keys.
    Ask {
        /// Which.
        request: PlannedRequest,
        /// Which replica is asked first, numbered from 1; none: the one that the client takes for the leader.
        #[serde(default)]
        replica: Option<u64>,
    },
    /// Forget what lies below a revision.
    Compact {
        /// How far that revision lies below the highest one that the client has seen.
        behind: u64,
        /// Whether the client waits until the engine has forgotten it, too.
        #[serde(default)]
        physical: bool,
    },
    /// Make a lease.
    LeaseGrant {
        /// The plan's number for it.
        lease: u32,
        /// How long it lives without being kept alive, in seconds.
        ttl_s: i64,
        /// Whether the server chooses its id.
        #[serde(default)]
        server_chooses: bool,
    },
    /// Let a lease begin its time anew.
    LeaseKeepAlive {
        /// The plan's number for it.
        lease: u32,
    },
    /// End a lease, and delete its keys.
    LeaseRevoke {
        /// The plan's number for it.
        lease: u32,
    },
    /// Ask how long a lease will live.
    LeaseTimeToLive {
        /// The plan's number for it.
        lease: u32,
        /// Whether its keys are asked for, too.
        #[serde(default)]
        keys: bool,
    },
    /// List all leases.
    Leases,
    /// Ask for the hash of what can be read.
    HashKv {
        /// Up to a revision that lies so far below the highest one that the client has seen; none: the current one.
        behind: Option<u64>,
    },
    /// Ask a replica about itself.
    Status {
        /// Which, numbered from 1.
        replica: u64,
    },
    /// Let a replica give back space that deleted data takes.
    Defragment {
        /// Which, numbered from 1.
        replica: u64,
    },
    /// End the alarm about full disks.
    AlarmDisarm,
}

impl Action {
    /// The replica that it is about, numbered from 1; none: whoever leads.
    pub fn replica(&self) -> Option<u64> {
        match self {
            Self::Ask { replica, .. } => *replica,
            Self::Status { replica } | Self::Defragment { replica } => Some(*replica),
            Self::Put { .. }
            | Self::Get { .. }
            | Self::Scan { .. }
            | Self::Delete { .. }
            | Self::DeleteRange { .. }
            | Self::CompareAndSet { .. }
            | Self::PutTwo { .. }
            | Self::Compact { .. }
            | Self::LeaseGrant { .. }
            | Self::LeaseKeepAlive { .. }
            | Self::LeaseRevoke { .. }
            | Self::LeaseTimeToLive { .. }
            | Self::Leases
            | Self::HashKv { .. }
            | Self::AlarmDisarm => None,
        }
    }
}
