//! What a replica is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use engines::EngineId;
use snapshots::Release;

use crate::design::Design;
use crate::error::ReplicaError;
use crate::raft_log;
use crate::transport::CLIENT_ID_MIN;

/// Everything a replica needs to know. Two replicas of a cluster differ in `id` and `directory`, and may differ
/// in `engine`, `release` and the options; `peers` must be the same for all that do not join.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The replica's id, from 1 to below [`CLIENT_ID_MIN`].
    pub id: u64,
    /// The ids of the replicas that the cluster begins with, or is known to have. They vote from the first start of
    /// the cluster on; after that the raft log says who does.
    pub peers: Vec<u64>,
    /// Whether the replica is to be added to a cluster that exists, and not one of `peers`: it begins with nothing,
    /// and waits for a snapshot that says who the members are. Without meaning once it has one.
    pub join: bool,
    /// The storage engine.
    pub engine: EngineId,
    /// The release whose abilities the replica has. Release 1 knows sled and bare streams only.
    pub release: Release,
    /// Where the replica keeps everything; created if missing. No other replica may use it.
    pub directory: PathBuf,
    /// The choices in the protocols.
    pub design: Design,
    /// What to do when the data directory belongs to another engine than `engine`.
    pub on_engine_change: EngineChange,
    /// Options of the engine.
    pub engine_options: engines::Options,
    /// Options of the raft log.
    pub raft_log_options: raft_log::Options,
    /// Intervals and deadlines.
    pub timing: Timing,
    /// Sizes and counts.
    pub limits: Limits,
}

impl ReplicaConfig {
    /// A configuration with the baseline design and default options.
    pub fn new(id: u64, peers: Vec<u64>, engine: EngineId, directory: impl Into<PathBuf>) -> ReplicaConfig {
        ReplicaConfig {
            id,
            peers,
            join: false,
            engine,
            release: Release::Two,
            directory: directory.into(),
            design: Design::default(),
            on_engine_change: EngineChange::default(),
            engine_options: engines::Options::default(),
            raft_log_options: raft_log::Options::default(),
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }

    /// # Errors
    /// `Configuration`, naming the field that cannot be meant so.
    pub fn check(&self) -> Result<(), ReplicaError> {
        let mut ids = self.peers.clone();
        ids.sort_unstable();
        ids.dedup();
        let complaint = if ids.len() != self.peers.len() {
            "`peers` names a replica twice"
        } else if ids.iter().any(|id| *id == 0 || *id >= CLIENT_ID_MIN) {
            "`peers` holds an id that is zero or a client's"
        } else if self.id == 0 || self.id >= CLIENT_ID_MIN {
            "`id` is zero or a client's"
        } else if ids.contains(&self.id) == self.join {
            if self.join { "`peers` holds `id`, which is to join" } else { "`peers` does not hold `id`" }
        } else if self.release == Release::One && self.engine != EngineId::Sled {
            "release 1 knows no engine but sled"
        } else if self.timing.tick.is_zero() {
            "`timing.tick` is zero"
        } else if self.timing.heartbeat_ticks == 0
            || self.timing.election_ticks <= self.timing.heartbeat_ticks
        {
            "`timing.election_ticks` must be above `timing.heartbeat_ticks`, and that above zero"
        } else if self.limits.stream_chunk_bytes == 0 || self.limits.stream_chunks_per_round == 0 {
            "`limits.stream_chunk_bytes` or `limits.stream_chunks_per_round` is zero"
        } else if self.limits.messages_in_flight == 0 || self.limits.inbound_per_round == 0 {
            "`limits.messages_in_flight` or `limits.inbound_per_round` is zero"
        } else if self.limits.lease_revokes_per_tick == 0 || self.limits.compaction_records == 0 {
            "`limits.lease_revokes_per_tick` or `limits.compaction_records` is zero"
        } else if self.limits.watch_window == 0
            || self.limits.watch_catch_up_revisions <= 0
            || self.limits.watch_catch_ups_per_round == 0
        {
            "`limits.watch_window`, `limits.watch_catch_up_revisions` or `limits.watch_catch_ups_per_round` is zero"
        } else if self.timing.lease_checkpoint_interval.is_zero()
            || self.timing.space_check_interval.is_zero()
            || self.timing.compare_interval.is_zero()
        {
            "`timing.lease_checkpoint_interval`, `timing.space_check_interval` or `timing.compare_interval` is zero"
        } else {
            return Ok(());
        };
        Err(ReplicaError::Configuration(complaint.to_owned()))
    }
}

/// What to do with a data directory of another engine than the one that is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChange {
    /// Refuse to start, with a message that names both engines.
    #[default]
    Refuse,
    /// Convert it: a logical scan fills a fresh directory, which replaces the old one in one step.
    ConvertInPlace,
    /// Set it aside and rebuild the state: from the raft log if that goes back to the beginning, else from a
    /// snapshot of a peer.
    WipeAndFetch,
}

/// Intervals and deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The unit of raft's clock. Zero is refused.
    pub tick: Duration,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader before an election; the actual number is drawn between this and twice this.
    pub election_ticks: usize,
    /// Ticks without a leader after which the watches of a replica end: it may have been removed without having heard
    /// of it, and would never tell them anything again. etcd takes three election timeouts (`maxNoLeaderCnt` in its
    /// `server/etcdserver/api/v3rpc/interceptor.go`), for clients that require a leader, as Kubernetes does.
    pub leaderless_ticks: u32,
    /// The most ticks that are made up for at once after the replica was paused or busy, so that the messages
    /// that waited meanwhile are heard before an election starts. The others are skipped.
    pub ticks_made_up_max: u32,
    /// The longest that an applied entry waits for a flush of the engine; zero: a flush after every round.
    pub flush_interval: Duration,
    /// How often a flush that is running is asked whether it has ended.
    pub flush_poll: Duration,
    /// How long a client's request may stay undecided before it is answered `Unavailable`.
    pub request_timeout: Duration,
    /// How long a leader waits, after the last byte of a snapshot stream, for a sign that it was installed;
    /// doubled with every failed attempt, up to eight times.
    pub snapshot_answer_timeout: Duration,
    /// How long a leader waits after a failed snapshot before it produces the next for the same peer; doubled
    /// with every further failure, up to eight times.
    pub snapshot_retry_interval: Duration,
    /// Ticks after which a replica that waits for a requested snapshot takes log entries again for a while, so
    /// that acknowledgements which were lost come through.
    pub snapshot_request_ticks: u64,
    /// How often a leader writes down how long leases still live that live longer than this.
    pub lease_checkpoint_interval: Duration,
    /// How long a watch that asked for progress notifications stays without a message until it gets one.
    pub watch_progress_interval: Duration,
    /// How often a replica tells its peers the hash of its state, besides at every [`Limits::hash_entries`].
    pub compare_interval: Duration,
    /// How often a replica looks whether it has space; and how long one waits that cannot even start for want
    /// of it.
    pub space_check_interval: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            tick: Duration::from_millis(100),
            heartbeat_ticks: 1,
            election_ticks: 10,
            leaderless_ticks: 30,
            ticks_made_up_max: 3,
            flush_interval: Duration::from_millis(500),
            flush_poll: Duration::from_millis(10),
            request_timeout: Duration::from_secs(5),
            snapshot_answer_timeout: Duration::from_secs(5),
            snapshot_retry_interval: Duration::from_millis(200),
            snapshot_request_ticks: 20,
            lease_checkpoint_interval: Duration::from_secs(300),
            watch_progress_interval: Duration::from_secs(600),
            compare_interval: Duration::from_secs(600),
            space_check_interval: Duration::from_secs(1),
        }
    }
}

/// Sizes and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Applied entries after which the engine is flushed, whatever the time.
    pub flush_entries: u64,
    /// Entries kept in the raft log behind the last flushed one, for peers that lag a little. A peer that lags
    /// more needs a snapshot.
    pub trailing_entries: u64,
    /// Entries that must have gathered before the raft log is cut.
    pub compaction_entries: u64,
    /// A state hash is reported, and told to the peers, at every applied index that this divides; zero: only after
    /// start and install, and after every [`Timing::compare_interval`].
    pub hash_entries: u64,
    /// Bytes of entries in one raft message; a single entry may be longer.
    pub message_bytes: u64,
    /// Raft messages with entries that may be under way to one peer.
    pub messages_in_flight: usize,
    /// Bytes of entries that a leader holds uncommitted; beyond that it refuses proposals.
    pub uncommitted_bytes: u64,
    /// Messages that are taken before what they caused is carried out, with one fsync for all.
    pub inbound_per_round: usize,
    /// Bytes in one piece of a snapshot stream.
    pub stream_chunk_bytes: usize,
    /// Pieces of each snapshot stream that are handed to the network before messages are taken again.
    pub stream_chunks_per_round: usize,
    /// Leases that a leader proposes to revoke at one tick because their time is over.
    pub lease_revokes_per_tick: usize,
    /// Records that a compaction looks at in one step.
    pub compaction_records: usize,
    /// Watches that a replica serves, of all clients together.
    pub watches_max: usize,
    /// Messages with events or progress that may be under way on one watch; the client acknowledges them. Those
    /// of one revision that was split go together, even if they are more.
    pub watch_window: u32,
    /// Bytes of keys and values that are put together in one message of a watch. The events of one revision
    /// stay together all the same, unless the watch lets them be split.
    pub watch_message_bytes: usize,
    /// Revisions that a watch which is behind is brought forward by in one round.
    pub watch_catch_up_revisions: i64,
    /// Watches that are brought forward in one round.
    pub watch_catch_ups_per_round: usize,
    /// Bytes that the store may take on the disk, beyond which the alarm is raised; zero: no limit.
    pub quota_bytes: u64,
    /// Bytes of the file that is given up when the disk is full, so that the replica can go on; zero: none.
    pub ballast_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            flush_entries: 256,
            trailing_entries: 64,
            compaction_entries: 32,
            hash_entries: 64,
            message_bytes: 256 << 10,
            messages_in_flight: 64,
            uncommitted_bytes: 32 << 20,
            inbound_per_round: 1024,
            stream_chunk_bytes: 16 << 10,
            stream_chunks_per_round: 16,
            lease_revokes_per_tick: 500,
            compaction_records: 1000,
            watches_max: 4096,
            watch_window: 64,
            watch_message_bytes: 1 << 20,
            watch_catch_up_revisions: 1000,
            watch_catch_ups_per_round: 16,
            quota_bytes: 2 << 30,
            ballast_bytes: 256 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_be_meant_so_is_refused() {
        let good = ReplicaConfig::new(1, vec![1, 2, 3], EngineId::Mem, "nowhere");
        good.check().unwrap();
        let complaint = |change: fn(&mut ReplicaConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(complaint(|config| config.id = 4).contains("does not hold `id`"));
        assert!(complaint(|config| config.join = true).contains("which is to join"));
        assert!(complaint(|config| config.id = 0).contains("`id` is zero"));
        assert!(complaint(|config| config.peers.push(3)).contains("twice"));
        assert!(complaint(|config| config.peers.push(0)).contains("zero"));
        assert!(complaint(|config| config.peers.push(CLIENT_ID_MIN)).contains("client"));
        assert!(complaint(|config| config.release = Release::One).contains("sled"));
        assert!(complaint(|config| config.timing.tick = Duration::ZERO).contains("tick"));
        assert!(complaint(|config| config.timing.election_ticks = 1).contains("election_ticks"));
        assert!(complaint(|config| config.limits.stream_chunk_bytes = 0).contains("chunk"));
        assert!(complaint(|config| config.limits.inbound_per_round = 0).contains("inbound"));
        assert!(complaint(|config| config.limits.compaction_records = 0).contains("compaction_records"));
        assert!(complaint(|config| config.limits.watch_window = 0).contains("watch_window"));
        assert!(complaint(|config| config.timing.space_check_interval = Duration::ZERO).contains("space"));
    }
}
