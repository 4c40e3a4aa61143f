//! Everything that a client can ask of a cluster, with the answers, and the messages of watches.

use serde::{Deserialize, Serialize};

use super::{KeyValue, Refusal, Request, Response};

/// Everything that a client can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// A request to the keys.
    Kv(Request),
    /// Forgets what lies below a revision.
    Compact {
        /// The revision; itself it stays readable.
        revision: i64,
        /// Answer only when the engine has forgotten it, too.
        physical: bool,
    },
    /// Grants a lease.
    LeaseGrant {
        /// Its id; zero: the server chooses.
        id: i64,
        /// Its time to live, in seconds.
        ttl_s: i64,
    },
    /// Ends a lease, and deletes its keys.
    LeaseRevoke {
        /// Its id.
        id: i64,
    },
    /// Starts the time to live of a lease anew. Answered by the leader, not replicated.
    LeaseKeepAlive {
        /// Its id.
        id: i64,
    },
    /// Asks for what is left of a lease. Answered by the leader, not replicated.
    LeaseTimeToLive {
        /// Its id.
        id: i64,
        /// Return the keys attached, too.
        keys: bool,
    },
    /// Lists the leases.
    Leases,
    /// Asks for a hash of the contents.
    HashKv {
        /// The revision to hash at; zero: the current one.
        revision: i64,
    },
    /// Asks how the member is.
    Status,
    /// Defragments the engine of the member.
    Defragment,
    /// Lifts the alarm for lack of space on all members.
    AlarmDisarm,
    /// Asks for a change of the members, or for their list.
    Member(MemberCall),
    /// Passes the leadership on.
    MoveLeader {
        /// The member to lead.
        to: u64,
    },
    /// Asks something of watches. What comes back are [`WatchMessage`]s, not a reply.
    Watch(WatchCall),
}

/// Asks something of the members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberCall {
    /// Adds one.
    Add {
        /// Its id.
        id: u64,
        /// As a learner, without a vote.
        learner: bool,
    },
    /// Removes one.
    Remove {
        /// Its id.
        id: u64,
    },
    /// Makes a voter of a learner.
    Promote {
        /// Its id.
        id: u64,
    },
    /// Makes a voter of a learner, in the place of another voter.
    Replace {
        /// The voter to be removed.
        out: u64,
        /// The learner.
        with: u64,
    },
    /// Lists them.
    List,
}

/// Asks something of watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchCall {
    /// Starts one.
    Create(WatchRequest),
    /// Ends one.
    Cancel {
        /// Its id.
        watch_id: i64,
    },
    /// Asks for a progress notification on all watches of the client.
    Progress,
}

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRequest {
    /// Chosen by the client, unique on its connection.
    pub watch_id: i64,
    /// The key, or the first key of a range.
    pub key: Vec<u8>,
    /// As in [`super::RangeRequest::range_end`].
    pub range_end: Option<Vec<u8>>,
    /// The revision of the first events wanted; zero: those after the creation.
    pub start_revision: i64,
    /// Send what the keys held before.
    pub prev_kv: bool,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletions out.
    pub no_delete: bool,
    /// Send progress notifications while nothing happens.
    pub progress_notify: bool,
    /// Split large revisions over several messages.
    pub fragment: bool,
}

/// What the server sends on a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchMessage {
    /// The watch.
    pub watch_id: i64,
    /// The revision in the header.
    pub revision: i64,
    /// What it says.
    pub kind: WatchKind,
}

/// What a [`WatchMessage`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchKind {
    /// The watch stands.
    Created,
    /// Something happened.
    Events {
        /// What, in the order of revisions.
        events: Vec<Event>,
        /// More of the same revision follow in the next message.
        fragment: bool,
    },
    /// Everything up to the revision in the header was sent.
    Progress,
    /// The watch is over.
    Canceled {
        /// Where the start lay below what was compacted: the compacted revision. Else zero.
        compact_revision: i64,
        /// Why, in words.
        reason: String,
    },
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// What was put; of a deletion only key and modification revision.
    pub kv: KeyValue,
    /// What the key held before, where asked for, where there was something, and where it is not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
}

/// What a member says of itself. The reference store knows none of it but the revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The revision of its store.
    pub revision: i64,
    /// Whom it takes for the leader; zero: nobody.
    pub leader: u64,
    /// The raft term.
    pub term: u64,
    /// The last raft index that it applied.
    pub applied_index: u64,
    /// The size of its engine's files, in bytes.
    pub size_bytes: u64,
    /// Whether it is a learner.
    pub learner: bool,
    /// The members that are out of space.
    pub no_space: Vec<u64>,
}

/// A member of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Whether it has no vote.
    pub learner: bool,
}

/// The answer to a call that was not refused, one variant per kind of [`Call`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the calls; `revision` is the one in the header")]
pub enum CallAnswer {
    /// To [`Call::Kv`].
    Kv(Response),
    /// To [`Call::Compact`].
    Compact { revision: i64 },
    /// To [`Call::LeaseGrant`].
    LeaseGrant { revision: i64, id: i64, ttl_s: i64 },
    /// To [`Call::LeaseRevoke`]: the revision after it.
    LeaseRevoke { revision: i64 },
    /// To [`Call::LeaseKeepAlive`]; a time to live of zero: there is no such lease.
    LeaseKeepAlive { revision: i64, id: i64, ttl_s: i64 },
    /// To [`Call::LeaseTimeToLive`]; a time to live of -1: there is no such lease. The keys are ascending.
    LeaseTimeToLive { revision: i64, id: i64, ttl_s: i64, granted_ttl_s: i64, keys: Vec<Vec<u8>> },
    /// To [`Call::Leases`].
    Leases { revision: i64, ids: Vec<i64> },
    /// To [`Call::HashKv`].
    HashKv { revision: i64, compact_revision: i64, hash: u64 },
    /// To [`Call::Status`].
    Status(Status),
    /// To [`Call::Defragment`].
    Defragment,
    /// To [`Call::AlarmDisarm`].
    AlarmDisarm,
    /// To [`Call::Member`].
    Members(Vec<Member>),
    /// To [`Call::MoveLeader`].
    MoveLeader,
}

/// What a client was told: an answer, or a refusal that changed nothing.
pub type CallResult = Result<CallAnswer, Refusal>;

impl From<Request> for Call {
    fn from(request: Request) -> Call {
        Call::Kv(request)
    }
}

impl From<Response> for CallAnswer {
    fn from(response: Response) -> CallAnswer {
        CallAnswer::Kv(response)
    }
}

impl Call {
    /// The request to the keys, if it is one.
    pub fn kv(&self) -> Option<&Request> {
        match self {
            Call::Kv(request) => Some(request),
            Call::Compact { .. }
            | Call::LeaseGrant { .. }
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
            | Call::Watch(_) => None,
        }
    }

    /// Whether the call takes its place in the one order of everything that is replicated. The others are
    /// answered by one member as of what it has applied, or are not about the contents: serializable reads,
    /// keep-alives, hashes, the machinery.
    pub fn is_ordered(&self) -> bool {
        match self {
            Call::Kv(request) => !request.is_serializable(),
            Call::Compact { .. } | Call::LeaseGrant { .. } | Call::LeaseRevoke { .. } => true,
            Call::LeaseKeepAlive { .. }
            | Call::LeaseTimeToLive { .. }
            | Call::Leases
            | Call::HashKv { .. }
            | Call::Status
            | Call::Defragment
            | Call::AlarmDisarm
            | Call::Member(_)
            | Call::MoveLeader { .. }
            | Call::Watch(_) => false,
        }
    }
}

impl CallAnswer {
    /// The response of the keys, if it is one.
    pub fn kv(&self) -> Option<&Response> {
        match self {
            CallAnswer::Kv(response) => Some(response),
            CallAnswer::Compact { .. }
            | CallAnswer::LeaseGrant { .. }
            | CallAnswer::LeaseRevoke { .. }
            | CallAnswer::LeaseKeepAlive { .. }
            | CallAnswer::LeaseTimeToLive { .. }
            | CallAnswer::Leases { .. }
            | CallAnswer::HashKv { .. }
            | CallAnswer::Status(_)
            | CallAnswer::Defragment
            | CallAnswer::AlarmDisarm
            | CallAnswer::Members(_)
            | CallAnswer::MoveLeader => None,
        }
    }

    /// The revision in the header, where there is one.
    pub fn revision(&self) -> Option<i64> {
        match self {
            CallAnswer::Kv(response) => Some(response.revision),
            CallAnswer::Compact { revision }
            | CallAnswer::LeaseGrant { revision, .. }
            | CallAnswer::LeaseRevoke { revision }
            | CallAnswer::LeaseKeepAlive { revision, .. }
            | CallAnswer::LeaseTimeToLive { revision, .. }
            | CallAnswer::Leases { revision, .. }
            | CallAnswer::HashKv { revision, .. } => Some(*revision),
            CallAnswer::Status(status) => Some(status.revision),
            CallAnswer::Defragment
            | CallAnswer::AlarmDisarm
            | CallAnswer::Members(_)
            | CallAnswer::MoveLeader => None,
        }
    }
}
