//! Everything that a client can ask, what it is answered, and what of it stands in the raft log.

use serde::{Deserialize, Serialize};

use super::{Request, Response, WatchCall};

/// Everything that a client can ask and that goes through the raft log, or is answered from the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Reads or writes keys.
    Kv(Request),
    /// Forgets what lies below a revision.
    Compact {
        /// The lowest revision that can be read from then on.
        revision: i64,
        /// Answer only when the engine has forgotten it, too.
        physical: bool,
    },
    /// Makes a lease.
    LeaseGrant {
        /// Its id; zero: the server chooses one.
        id: i64,
        /// How long it lives without being kept alive, in seconds.
        ttl_s: i64,
    },
    /// Ends a lease, and deletes its keys.
    LeaseRevoke {
        /// Which one.
        id: i64,
    },
    /// Lets a lease begin its time to live anew. Answered by the leader, not replicated.
    LeaseKeepAlive {
        /// Which one.
        id: i64,
    },
    /// Asks how long a lease will live. Answered by the leader, not replicated.
    LeaseTimeToLive {
        /// Which one.
        id: i64,
        /// Return its keys, too.
        keys: bool,
    },
    /// Lists all leases.
    Leases,
    /// Asks for the hash of what can be read up to a revision.
    HashKv {
        /// Which one; zero: the current one.
        revision: i64,
    },
    /// Asks a replica about itself.
    Status,
    /// Gives back space that deleted data still takes in the engine of the replica that is asked.
    Defragment,
    /// Ends the alarm about full disks, of all members.
    AlarmDisarm,
    /// Asks for, or changes, the members of the cluster.
    Member(MemberCall),
    /// Hands leadership over.
    MoveLeader {
        /// To whom.
        to: u64,
    },
    /// Watches: what comes of it is a stream of [`super::WatchMessage`]s, not a reply.
    Watch(WatchCall),
}

/// What can be asked about the members of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberCall {
    /// Adds a member.
    Add {
        /// Its id.
        id: u64,
        /// Whether it is to learn only, without a vote.
        learner: bool,
    },
    /// Removes a member.
    Remove {
        /// Its id.
        id: u64,
    },
    /// Gives a learner a vote.
    Promote {
        /// Its id.
        id: u64,
    },
    /// Promotes a learner in the place of a voter, which is removed: both in one change.
    Replace {
        /// The voter.
        out: u64,
        /// The learner.
        with: u64,
    },
    /// Lists the members.
    List,
}

/// The answer to a [`Call`] that was not refused. `revision` is that of the store after the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Call::Kv`].
    Kv(Response),
    /// To [`Call::Compact`].
    Compact {
        /// The revision of the store.
        revision: i64,
    },
    /// To [`Call::LeaseGrant`].
    LeaseGrant {
        /// The revision of the store.
        revision: i64,
        /// The id of the lease.
        id: i64,
        /// How long it lives without being kept alive, in seconds; at least the shortest that the store grants.
        ttl_s: i64,
    },
    /// To [`Call::LeaseRevoke`].
    LeaseRevoke {
        /// The revision of the store, after the keys of the lease are gone.
        revision: i64,
    },
    /// To [`Call::LeaseKeepAlive`].
    LeaseKeepAlive {
        /// The revision of the store.
        revision: i64,
        /// The id of the lease.
        id: i64,
        /// How long it lives from now on, in seconds; zero: it is gone.
        ttl_s: i64,
    },
    /// To [`Call::LeaseTimeToLive`].
    LeaseTimeToLive {
        /// The revision of the store.
        revision: i64,
        /// The id of the lease.
        id: i64,
        /// How long it will live, in seconds; -1: there is no such lease.
        ttl_s: i64,
        /// How long it lives each time it is kept alive, in seconds; zero: there is no such lease.
        granted_ttl_s: i64,
        /// Its keys if asked for, ascending.
        keys: Vec<Vec<u8>>,
    },
    /// To [`Call::Leases`].
    Leases {
        /// The revision of the store.
        revision: i64,
        /// The ids, ascending.
        ids: Vec<i64>,
    },
    /// To [`Call::HashKv`].
    HashKv {
        /// The revision of the store.
        revision: i64,
        /// The compacted revision; -1 if nothing was ever compacted.
        compact_revision: i64,
        /// The hash.
        hash: u64,
    },
    /// To [`Call::Status`].
    Status(Status),
    /// To [`Call::Defragment`].
    Defragment,
    /// To [`Call::AlarmDisarm`].
    AlarmDisarm,
    /// To [`Call::Member`]: the members from then on.
    Members(Vec<Member>),
    /// To [`Call::MoveLeader`].
    MoveLeader,
}

/// What a replica says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The revision of its store.
    pub revision: i64,
    /// Bytes that its engine takes on the disk.
    pub size_bytes: u64,
    /// Who leads, as far as it knows; zero: nobody.
    pub leader: u64,
    /// The last entry of its raft log.
    pub raft_index: u64,
    /// Its raft term.
    pub raft_term: u64,
    /// The last entry that it has applied.
    pub raft_applied_index: u64,
    /// Whether it has no vote.
    pub is_learner: bool,
    /// The members whose disk is full.
    pub alarms: Vec<u64>,
}

/// A member of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Whether it has no vote.
    pub learner: bool,
}

/// What stands in an entry of the raft log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Carries out a request to the keys.
    Kv(Request),
    /// Forgets what lies below a revision.
    Compact {
        /// The lowest revision that can be read from then on.
        revision: i64,
    },
    /// Makes a lease.
    LeaseGrant {
        /// Its id, not zero.
        id: i64,
        /// How long it lives without being kept alive, in seconds.
        ttl_s: i64,
    },
    /// Ends a lease, whether a client wants it or its time is over.
    LeaseRevoke {
        /// Which one.
        id: i64,
    },
    /// Writes down how long leases still live, so that a new leader does not give them their whole time again.
    LeaseCheckpoint {
        /// Id and seconds left; zero seconds: its whole time to live.
        remaining: Vec<(i64, i64)>,
    },
    /// The disk of a member is full, or has space again.
    Alarm {
        /// Whose.
        member: u64,
        /// Whether it is full.
        activate: bool,
    },
}
