//! What a replica tells about itself while it runs.

use std::path::PathBuf;

use engines::EngineId;
use snapshots::{HoldBack, Shipment};

use crate::frame::FrameError;
use crate::hello::Hello;
use crate::membership::Membership;
use crate::mvcc::CompactionMetrics;

/// Hears everything worth telling, on the replica's own thread and at the moment it happens. It must not block.
pub trait Observer: Send + Sync {
    /// Called for each event, in order.
    fn event(&self, event: &ReplicaEvent);
}

/// What happens in a replica. Indices and terms are raft's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaEvent {
    /// The raft log ended in a record that was never completed; the end was cut off.
    TornTail {
        /// Bytes cut off.
        bytes: u64,
    },
    /// A start found that an installation had been interrupted, and finished or undid it.
    InstallResumed {
        /// What had to be done.
        step: InstallStep,
        /// The applied index of the snapshot; `None` for a conversion, or where the old state came back.
        index: Option<u64>,
    },
    /// An engine broke a promise: its store cannot be opened, or proves less than what it once had flushed.
    /// The store was set aside.
    EngineFinding {
        /// The engine.
        engine: EngineId,
        /// What is wrong, in the engine's words or ours.
        cause: String,
        /// The applied index that the store proves; `None` if it does not open.
        proven_index: Option<u64>,
        /// The first entry that the raft log holds.
        log_first: u64,
        /// The index of a snapshot whose installation was resumed at this start: then the store was ours to
        /// sync, and the engine may be innocent.
        installed_index: Option<u64>,
        /// Where the store was moved to.
        set_aside: PathBuf,
    },
    /// The file that says what is flushed is missing or older than the cut of the raft log, which is never cut
    /// further than the file says: the file system lost the file. It is written anew.
    FlushedIndexBehind {
        /// What the file says; `None` if there is none.
        flushed: Option<u64>,
        /// The first entry that the raft log holds.
        log_first: u64,
    },
    /// The data directory belonged to another engine, and was discarded as configured.
    StoreDiscarded {
        /// The engine it belonged to.
        from: EngineId,
        /// The engine from now on.
        to: EngineId,
        /// Where the store was moved to.
        set_aside: PathBuf,
    },
    /// The data directory was converted from one engine to another.
    Converted {
        /// The engine before.
        from: EngineId,
        /// The engine from now on.
        to: EngineId,
        /// The applied index before and after.
        applied_index: u64,
    },
    /// The replica takes part in the cluster from now on.
    Started {
        /// What it says about itself to its peers.
        hello: Hello,
        /// How it came to its state.
        recovery: Recovery,
        /// What it has applied; zero if nothing, or if the state is yet to be rebuilt.
        applied_index: u64,
        /// The first entry of its raft log.
        log_first: u64,
        /// The last entry of its raft log.
        log_last: u64,
        /// Its term.
        term: u64,
        /// Whom it has voted for in that term; zero: nobody.
        vote: u64,
        /// What it knows to be committed.
        commit: u64,
    },
    /// The role, or the leader that the replica follows, has changed.
    StateChanged {
        /// Its role.
        role: Role,
        /// Its term.
        term: u64,
        /// Whom it has voted for in that term; zero: nobody.
        vote: u64,
        /// Who leads as far as it knows; zero: nobody.
        leader: u64,
    },
    /// The replica leads.
    BecameLeader {
        /// The term it leads in.
        term: u64,
        /// The last entry of its log at that moment, its own first one not counted.
        last_index: u64,
        /// The term of that entry.
        last_term: u64,
    },
    /// A new hard state was written to the raft log, and synced if the term or the vote is new.
    HardState {
        /// Its term.
        term: u64,
        /// Whom it has voted for in that term; zero: nobody.
        vote: u64,
        /// What it knows to be committed.
        commit: u64,
    },
    /// A committed entry is about to be applied to the store.
    Entry {
        /// Its index.
        index: u64,
        /// The wire encoding of the [`crate::api::Command`] in it; empty where it holds none.
        data: Vec<u8>,
    },
    /// An entry was applied to the store.
    Applied {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// The XXH3-64 hash of its data.
        entry_hash: u64,
    },
    /// The logical hash of the whole store at an applied index.
    StateHash {
        /// What was applied.
        applied_index: u64,
        /// The revision of the store.
        revision: i64,
        /// The hash, equal for equal content whatever the engine.
        hash: u64,
    },
    /// A flush of the engine begins; entries are applied while it runs.
    FlushBegin {
        /// What is applied, and will be durable.
        index: u64,
    },
    /// A flush has ended: this one, or one that the engine began by itself.
    FlushEnd {
        /// The applied index that is proven durable.
        index: u64,
    },
    /// The raft log was cut.
    LogCompacted {
        /// The last entry that is gone.
        index: u64,
    },
    /// A ReadIndex round was not answered in time, and was asked for again.
    ReadIndexRetried {
        /// The number of the round.
        round: u64,
    },
    /// A peer said hello in another way than before.
    PeerHello {
        /// The peer.
        from: u64,
        /// What it says about itself.
        hello: Hello,
    },
    /// A message from a peer was dropped.
    FrameDropped {
        /// The peer.
        from: u64,
        /// Why.
        error: FrameError,
    },
    /// A peer needs a snapshot and gets none. Told once for each reason.
    HeldBack {
        /// The peer.
        peer: u64,
        /// Why.
        why: HeldBack,
    },
    /// A snapshot stream to a peer begins.
    SnapshotSent {
        /// The peer.
        to: u64,
        /// Which stream it is.
        shipment: Shipment,
        /// The applied index of the snapshot.
        index: u64,
        /// The size that was announced to the peer, in bytes.
        announced_bytes: u64,
        /// The size of the stream, in bytes.
        wire_bytes: u64,
        /// The first bytes of the stream: its routing prefix.
        prefix: Vec<u8>,
        /// What the peer had last said about itself.
        receiver: Hello,
    },
    /// A snapshot stream to a peer is over.
    SnapshotSendEnded {
        /// The peer.
        to: u64,
        /// The applied index of the snapshot.
        index: u64,
        /// How it ended.
        outcome: SendOutcome,
    },
    /// A snapshot stream from a peer is over.
    SnapshotReceived {
        /// The peer.
        from: u64,
        /// The applied index of the snapshot; zero if not even that came.
        index: u64,
        /// The first bytes of the stream: its routing prefix.
        prefix: Vec<u8>,
        /// What became of it.
        outcome: SnapshotOutcome,
    },
    /// The raft core has accepted a snapshot that was received, and the replica replaces its state.
    SnapshotInstallBegin {
        /// The applied index of the snapshot.
        index: u64,
    },
    /// The new state is in service.
    SnapshotInstallEnd {
        /// The applied index of the snapshot.
        index: u64,
    },
    /// A replica without state has asked the leader for a snapshot.
    SnapshotRequested {
        /// The leader.
        leader: u64,
        /// The term.
        term: u64,
    },
    /// A lease was made.
    LeaseGranted {
        /// Its id.
        id: i64,
        /// How long it lives each time it is kept alive, in seconds.
        ttl_s: i64,
        /// The revision of the store.
        revision: i64,
    },
    /// This leader counts leases from now on: all that there are live at least as long as it says here.
    LeasesTakenOver {
        /// The term it leads in.
        term: u64,
        /// The leases, ascending, with what they are given to live, in milliseconds; negative: nothing more.
        leases: Vec<(i64, i64)>,
    },
    /// This leader finds the time of a lease over, and proposes its end.
    LeaseExpired {
        /// Its id.
        id: i64,
        /// The term it leads in.
        term: u64,
    },
    /// A lease has ended, and its keys with it.
    LeaseRevoked {
        /// Its id.
        id: i64,
        /// Who wanted it.
        by: RevokedBy,
        /// The revision of the store.
        revision: i64,
    },
    /// A client was told that its lease was kept alive.
    KeepAliveAnswered {
        /// The id of the lease.
        id: i64,
        /// How long it lives from now on, in seconds; zero: it is gone.
        ttl_s: i64,
        /// The term this replica leads in.
        term: u64,
    },
    /// How long leases still live was written down.
    LeasesCheckpointed {
        /// Ids, and seconds left; zero: the whole time to live.
        remaining: Vec<(i64, i64)>,
    },
    /// From here on nothing below a revision can be read; the engine forgets it step by step.
    CompactionScheduled {
        /// The compacted revision.
        revision: i64,
    },
    /// The engine has forgotten some of it.
    CompactionStep {
        /// The compacted revision.
        revision: i64,
        /// Records removed so far.
        records_removed: u64,
    },
    /// The engine has forgotten all of it.
    CompactionFinished(CompactionMetrics),
    /// The compacted revision has changed, by an entry or by a snapshot; also told at a start.
    CompactedRevision {
        /// The compacted revision; -1 if nothing was ever compacted.
        revision: i64,
    },
    /// A watch has begun.
    WatchCreated {
        /// The client.
        client: u64,
        /// Its number for the watch.
        watch_id: i64,
        /// The first revision whose events it wants; zero: those from now on.
        start_revision: i64,
        /// The revision of the store.
        revision: i64,
    },
    /// A watch that was behind has been sent everything that there is.
    WatchCaughtUp {
        /// The client.
        client: u64,
        /// Its number for the watch.
        watch_id: i64,
        /// The revision of the store.
        revision: i64,
    },
    /// A watch cannot be sent an event, since too much is under way that the client has not acknowledged.
    WatchFellBehind {
        /// The client.
        client: u64,
        /// Its number for the watch.
        watch_id: i64,
        /// The first revision that is not sent.
        revision: i64,
    },
    /// A watch has ended.
    WatchCanceled {
        /// The client.
        client: u64,
        /// Its number for the watch.
        watch_id: i64,
        /// The compacted revision, if that is why.
        compact_revision: Option<i64>,
    },
    /// An entry has raised or ended the alarm about a full disk.
    Alarm {
        /// The member whose disk is meant.
        member: u64,
        /// Whether it is full.
        active: bool,
    },
    /// The replica ran out of space. It gives up its ballast if it has any, and begins anew from what the disk
    /// holds.
    OutOfSpace {
        /// What failed.
        error: String,
        /// Whether there was ballast to give up.
        had_ballast: bool,
    },
    /// There is space again, and the ballast is back.
    SpaceRegained,
    /// From here on these are the members of the cluster; also told at a start.
    MembersChanged {
        /// The entry or snapshot that says so; zero for the members that the cluster began with, or where the replica
        /// does not know any.
        index: u64,
        /// Who they are.
        members: Membership,
    },
    /// This replica was removed while it led, and leads no more.
    SteppedDown {
        /// The term that it led in.
        term: u64,
    },
    /// A quorum of the peers agrees that the state is another than what this replica's engine gives back. The store
    /// was set aside.
    StoreDiverged {
        /// The engine.
        engine: EngineId,
        /// Where the states were compared.
        applied_index: u64,
        /// The hash of this replica's state.
        own: u64,
        /// That of the peers' states.
        theirs: u64,
        /// Where the store was moved to.
        set_aside: PathBuf,
    },
}

/// Who wanted the end of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedBy {
    /// This leader, because its time was over.
    Expiry,
    /// A client of this leader.
    Client,
    /// Another replica has proposed it, or this one in an earlier life or term.
    Unknown,
}

/// The role of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It follows.
    Follower,
    /// It asks whether it would win an election.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

impl From<raft::StateRole> for Role {
    fn from(role: raft::StateRole) -> Role {
        match role {
            raft::StateRole::Follower => Role::Follower,
            raft::StateRole::PreCandidate => Role::PreCandidate,
            raft::StateRole::Candidate => Role::Candidate,
            raft::StateRole::Leader => Role::Leader,
        }
    }
}

/// How a replica came to its state at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// There was nothing yet.
    Fresh,
    /// It goes on with its store, and applies the raft log from there.
    Replay {
        /// The first entry to apply.
        from: u64,
    },
    /// It has never belonged to the cluster, and waits for a snapshot that says who does.
    Join,
    /// It has no state: it keeps its vote and log, follows, and waits for a snapshot.
    Rebuild,
}

/// What an interrupted installation needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstallStep {
    /// The record says that the new state must take its place.
    WriteRecord,
    /// The old state is moved out of the way.
    MoveOldAway,
    /// The new state takes its place.
    MoveNewIn,
    /// The raft log begins after the snapshot. Nothing to do for a conversion.
    ResetLog,
    /// The installation is over.
    RemoveRecord,
    /// The old state goes.
    RemoveOld,
    /// The new state is gone, so the old one is put back.
    PutOldBack,
}

/// Why a peer gets no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeldBack {
    /// It has not said yet what it can read.
    #[error("the peer has not said hello yet")]
    NoHello,
    /// There is no stream that this replica can produce and the peer can read.
    #[error(transparent)]
    Route(#[from] HoldBack),
}

/// How a snapshot stream to a peer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The peer acknowledged its index.
    Installed,
    /// The peer refused it.
    Refused,
    /// The stream broke.
    Broken,
    /// The peer gave no sign in time.
    Unanswered,
    /// This replica does not lead any more.
    Deposed,
    /// The stream could not be produced or read back.
    Failed {
        /// Why.
        error: String,
    },
}

/// What became of a snapshot stream from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// Its body became the data directory.
    Installed,
    /// Its content was transcoded to this replica's engine.
    Transcoded {
        /// The engine of the body.
        from: u8,
    },
    /// Nothing was installed; the old state stays in service.
    Refused {
        /// Why.
        error: String,
    },
    /// It was good, but the replica has caught up otherwise meanwhile.
    Outdated,
    /// It broke off, or a newer one took its place.
    Abandoned,
}
