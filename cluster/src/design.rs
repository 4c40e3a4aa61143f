//! Every choice in the protocols that somebody might make differently, and has.
//!
//! The default of each field is believed right. The other values are known to be wrong: each names where it
//! happened and which check must catch it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A field of [`Design`], described.
#[derive(Debug)]
pub struct Field {
    /// Its name, in snake case.
    pub name: &'static str,
    /// What is chosen.
    pub doc: &'static str,
    /// The values, the right one first.
    pub choices: &'static [Choice],
}

/// A value of a field, described.
#[derive(Debug)]
pub struct Choice {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// `None` for the right value.
    pub fault: Option<Fault>,
}

/// What is known about a wrong value.
#[derive(Debug)]
pub struct Fault {
    /// Where it happened in reality.
    pub source: &'static str,
    /// The check that must catch it.
    pub caught_by: &'static str,
}

/// A field or value that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DesignError {
    /// There is no such field.
    #[error("unknown design field `{field}`; the fields are {}", field_names())]
    UnknownField {
        /// The name given.
        field: String,
    },
    /// The field has no such value.
    #[error("unknown value `{value}` of design field `{field}`; its values are {legal}")]
    UnknownValue {
        /// The field.
        field: &'static str,
        /// The value given.
        value: String,
        /// The values it has, separated by commas.
        legal: String,
    },
}

/// Declares the enum of each field and [`Design`] itself, so that a field and its values are written once:
/// the documentation of a value is also the text that the command line shows.
macro_rules! design {
    ($(
        $(#[doc = $field_doc:literal])+
        $field:ident: $type:ident {
            $(#[doc = $right_doc:literal])+
            $right:ident = $right_name:literal,
            $(
                $(#[doc = $wrong_doc:literal])+
                #[source = $source:literal]
                #[caught_by = $caught_by:literal]
                $wrong:ident = $wrong_name:literal,
            )+
        }
    )+) => {
        $(
            $(#[doc = $field_doc])+
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
            #[serde(try_from = "String", into = "String")]
            pub enum $type {
                $(#[doc = $right_doc])+
                #[default]
                $right,
                $(
                    $(#[doc = $wrong_doc])+
                    #[doc = concat!("\n\nSeen in: ", $source, ". Caught by: ", $caught_by, ".")]
                    $wrong,
                )+
            }

            impl $type {
                /// The name of the value, in kebab case.
                pub fn name(self) -> &'static str {
                    match self {
                        $type::$right => $right_name,
                        $($type::$wrong => $wrong_name,)+
                    }
                }
            }

            impl FromStr for $type {
                type Err = DesignError;

                fn from_str(value: &str) -> Result<$type, DesignError> {
                    match value {
                        $right_name => Ok($type::$right),
                        $($wrong_name => Ok($type::$wrong),)+
                        _ => Err(DesignError::UnknownValue {
                            field: stringify!($field),
                            value: value.to_owned(),
                            legal: [$right_name, $($wrong_name),+].join(", "),
                        }),
                    }
                }
            }

            impl TryFrom<String> for $type {
                type Error = DesignError;

                fn try_from(value: String) -> Result<$type, DesignError> {
                    value.parse()
                }
            }

            impl From<$type> for String {
                fn from(value: $type) -> String {
                    value.name().to_owned()
                }
            }

            impl fmt::Display for $type {
                fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str(self.name())
                }
            }
        )+

        /// One value for each choice. The default is the baseline, believed right.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Design {
            $(
                $(#[doc = $field_doc])+
                pub $field: $type,
            )+
        }

        impl Design {
            /// Sets a field by name.
            ///
            /// # Errors
            /// Unknown fields and values, with a list of those that exist; the design is then unchanged.
            pub fn set(&mut self, field: &str, value: &str) -> Result<(), DesignError> {
                match field {
                    $(stringify!($field) => self.$field = value.parse()?,)+
                    _ => return Err(DesignError::UnknownField { field: field.to_owned() }),
                }
                Ok(())
            }

            /// The value of a field by name.
            ///
            /// # Errors
            /// Unknown fields, with a list of those that exist.
            pub fn get(&self, field: &str) -> Result<&'static str, DesignError> {
                match field {
                    $(stringify!($field) => Ok(self.$field.name()),)+
                    _ => Err(DesignError::UnknownField { field: field.to_owned() }),
                }
            }

            /// Every field with its values, in the order of their declaration.
            pub fn fields() -> &'static [Field] {
                const FIELDS: &[Field] = &[$(Field {
                    name: stringify!($field),
                    doc: concat!($($field_doc, "\n"),+),
                    choices: &[
                        Choice { name: $right_name, doc: concat!($($right_doc, "\n"),+), fault: None },
                        $(Choice {
                            name: $wrong_name,
                            doc: concat!($($wrong_doc, "\n"),+),
                            fault: Some(Fault { source: $source, caught_by: $caught_by }),
                        },)+
                    ],
                },)+];
                FIELDS
            }

            /// The fields that differ from the baseline, as (field, value).
            pub fn differences(&self) -> Vec<(&'static str, &'static str)> {
                let baseline = Design::default();
                let mut differences = Vec::new();
                $(if self.$field != baseline.$field {
                    differences.push((stringify!($field), self.$field.name()));
                })+
                differences
            }
        }
    };
}

design! {
    /// When a vote or an entry is acknowledged. "Updated on stable storage before responding to RPCs" (Ongaro
    /// and Ousterhout, "In Search of an Understandable Consensus Algorithm", figure 2).
    persist_before_send: PersistBeforeSend {
        /// After the fsync of the raft log that holds it.
        Fsync = "fsync",
        /// After it was written to the raft log, but before the fsync.
        #[source = "etcd issue 14370 (a single member acknowledged a write before its own fsync)"]
        #[caught_by = "durable"]
        SendFirst = "send-first",
        /// The raft log is synced only when a segment is full: acknowledged votes and entries stand in the page
        /// cache until then.
        #[source = "NATS JetStream 2.12.1, synced every two minutes (nats-server issue 7564; Jepsen, 2025-12-08)"]
        #[caught_by = "durable"]
        Lazy = "lazy",
    }

    /// Whether the directory of the raft log is synced after a segment was created in it. The fsync of a file
    /// does not make its name durable (fsync(2)).
    segment_directory_sync: SegmentDirectorySync {
        /// It is, before anything in the segment counts as durable.
        Synced = "synced",
        /// It is not: after a power failure the whole segment may be missing.
        #[source = "etcd issue 6368 (\"Possible data loss -- fsync parent directories\")"]
        #[caught_by = "durable"]
        Skipped = "skipped",
    }

    /// What the size announced for a snapshot stream counts.
    wire_size: WireSize {
        /// Every byte on the wire: header, body and digest.
        Whole = "whole",
        /// The body only, so that a receiver that believes it cuts the last bytes off, or refuses good streams.
        #[source = "hashicorp/raft pull request 651 (followers confused by a snapshot larger than its metadata says)"]
        #[caught_by = "live"]
        BodyOnly = "body-only",
    }

    /// Whether the receiver of a snapshot stream checks its digest before it installs the body.
    digest: Digest {
        /// It does.
        Verified = "verified",
        /// It does not: damage on the way becomes its state.
        #[source = "canonical/raft issue 201 (snapshot data without checksum, a corrupt one was loaded)"]
        #[caught_by = "replicas equal"]
        Skipped = "skipped",
    }

    /// What a leader streams to a peer of release 1, which takes whatever comes for a bare stream of sled.
    release_one_streams: ReleaseOneStreams {
        /// A bare stream of sled, transcoded where the leader has another engine.
        Bare = "bare",
        /// A stream with a header, which that peer cannot read.
        #[source = "scylladb issue 20299 and nomad issue 20072 (raft snapshot of a newer release sent to an older node)"]
        #[caught_by = "routing"]
        Headed = "headed",
    }

    /// The header of a snapshot stream.
    header: Header {
        /// 21 bytes: magic, engine and version.
        Bytes21 = "bytes-21",
        /// 17 bytes, without the version: the sender's body begins where the receiver expects a version.
        #[source = "the notebook of this format, which says 17 bytes in one place and draws 21 in another"]
        #[caught_by = "live"]
        Bytes17 = "bytes-17",
    }

    /// How a linearizable read is served.
    reads: Reads {
        /// By ReadIndex: after a quorum has confirmed the leader (Ongaro, "Consensus: Bridging Theory and
        /// Practice", section 6.4), and after the replica has applied what was committed then.
        ReadIndex = "read-index",
        /// From the state of the replica that was asked, which may be behind, or a leader that is none any more.
        #[source = "etcd issue 741 (\"Consistent reads are not consistent\"), found by Jepsen in 2014"]
        #[caught_by = "linearizable"]
        Local = "local",
        /// By the leader without asking anybody, for as long as its own clock lets it believe that no other can
        /// have been elected. Its clock stands still while it is paused, and a quorum that it last heard of is
        /// counted once in an election timeout only.
        #[source = "tikv issue 964 (lease reads judged by role and ticks); Ongaro, \"Consensus: Bridging Theory and Practice\", section 6.4.1"]
        #[caught_by = "linearizable"]
        Lease = "lease",
    }

    /// How a snapshot that was received replaces the data directory.
    snapshot_install: SnapshotInstall {
        /// Its files and directories are synced, then it is renamed into place.
        SyncThenRename = "sync-then-rename",
        /// It is renamed into place before its files are synced, so that a power failure leaves the name
        /// without the content.
        #[source = "hashicorp/raft issue 229 and consul issue 3362 (snapshot files renamed without fsync)"]
        #[caught_by = "durable"]
        RenameThenSync = "rename-then-sync",
    }

    /// When what a received snapshot was laid out from may be removed.
    snapshot_cleanup: SnapshotCleanup {
        /// When it is installed, which it is before it is acknowledged: only then can another one come.
        WhenInstalled = "when-installed",
        /// When the stream of another one begins. The snapshot is acknowledged as soon as the raft log goes on behind
        /// it, and installed with the next tick, as where one thread serves raft and another the state: a leader that
        /// has cut its log meanwhile sends another one at once, and what is still to be installed is gone.
        #[source = "etcd issue 18055 (\"panic when two snapshots are received in short period\")"]
        #[caught_by = "engine"]
        WithNextStream = "with-next-stream",
    }

    /// Whether an entry that is handed to the store again after a restart changes it again.
    apply: Apply {
        /// It does not: the applied index is written in one batch with the data, and what it covers is skipped.
        Idempotent = "idempotent",
        /// It does: the applied index is written apart from the data and later, so that after a restart the
        /// entries between are applied twice.
        #[source = "etcd issue 13766 (the data and the consistent index of one entry were persisted apart)"]
        #[caught_by = "replicas equal"]
        Repeats = "repeats",
    }

    /// Which applied index stands beside the data that defragmentation makes durable.
    defragment: Defragment {
        /// The one that the data hold.
        WithIndex = "with-index",
        /// That of the last flush, until the next entry: what was applied in between is applied again after a crash.
        #[source = "etcd pull requests 14685 and 14730 (\"Revision inconsistency caused by panic during defrag\")"]
        #[caught_by = "replicas equal"]
        IndexBehind = "index-behind",
    }

    /// Whether compaction keeps the deletion of a key at the very revision that it goes up to.
    compaction_tombstone: CompactionTombstone {
        /// It does, until the next compaction: a watch may begin at that revision.
        Kept = "kept",
        /// It does not: a watch that begins there never sees the deletion.
        #[source = "etcd issue 18089 (\"Watch dropping an event when compacting on delete\")"]
        #[caught_by = "watch"]
        Dropped = "dropped",
    }

    /// What a store that is opened takes for its revision.
    restored_revision: RestoredRevision {
        /// The one that was written with the last entry that made a revision.
        Recorded = "recorded",
        /// That of the last record, or of the last compaction that was finished. Compaction drops the deletion
        /// of a key at the revision that it goes up to; so after a crash before the finished marker the revision
        /// is lower than before, and is given out again.
        #[source = "etcd issue 17780 (\"Revision decreasing after panic during compaction\")"]
        #[caught_by = "replicas equal"]
        LastRecord = "last-record",
    }

    /// What a store that is opened does with a tombstone that is all that compaction has left of its key.
    restored_tombstone: RestoredTombstone {
        /// It keeps it, as it did before the start.
        Indexed = "indexed",
        /// It does not index it, so that the compaction that goes on after a crash removes it, and a watch that
        /// begins there never sees the deletion.
        #[source = "etcd issue 19179 (\"Missing delete event on watch opened on same revision as compaction request\")"]
        #[caught_by = "watch"]
        Ignored = "ignored",
    }

    /// Where the reads of a transaction that writes are carried out.
    txn_ranges: TxnRanges {
        /// On every replica, so that all of them refuse the transaction if a read in it must be refused.
        Everywhere = "everywhere",
        /// Only on the replica that a client waits at. Where one of them asks for a revision that is compacted
        /// or yet to come, that replica refuses the transaction, and the others carry it out.
        #[source = "etcd issue 18667 (\"Specifying a revision for a range request in a transaction may cause data inconsistency\")"]
        #[caught_by = "replicas equal"]
        WhereAsked = "where-asked",
    }

    /// Which applied index counts as flushed when a flush of the engine, beside which entries are applied, has ended.
    flush_index: FlushIndex {
        /// The one that was applied when the flush began: what came later is in the next memtable.
        AtBegin = "at-begin",
        /// The one that is applied when the flush has ended, which it did not flush.
        #[source = "rocksdb issue 11568 (a flush listener is told wrong sequence numbers of what is flushed)"]
        #[caught_by = "durable"]
        AfterEnd = "after-end",
    }

    /// When the flushed index is persisted.
    flush_order: FlushOrder {
        /// After the flush has ended, and its tables are synced.
        AfterEnd = "after-end",
        /// Before: a crash in between leaves an index that no table proves, and a log that was cut there.
        #[source = "rocksdb issue 11183 (a flush is told as complete before an older one is, and listeners that note indices believe it)"]
        #[caught_by = "durable"]
        BeforeEnd = "before-end",
    }

    /// Where the flushed index is persisted.
    flush_index_place: FlushIndexPlace {
        /// In a file of its own beside the store.
        OwnFile = "own-file",
        /// In the engine itself. There it is one more write that the next flush makes durable: after a crash the
        /// tables claim less than they hold, and less than where the raft log was cut.
        #[source = "tikv issue 851 (the applied index in an engine without a log was flushed apart from what it covers)"]
        #[caught_by = "durable"]
        InsideEngine = "inside-engine",
    }

    /// Whether the directory is synced after the flushed index was renamed into place.
    flush_index_directory_sync: FlushIndexDirectorySync {
        /// It is, before the raft log is cut.
        Synced = "synced",
        /// It is not: after a power failure the old index is back, and the raft log cut behind it.
        #[source = "leveldb issue 195 (\"fsync() required after calling rename()\": log files went before the rename was durable)"]
        #[caught_by = "durable"]
        Skipped = "skipped",
    }

    /// How far the raft log may be cut.
    log_cut: LogCut {
        /// Up to the flushed index that is persisted, less what lagging peers may need.
        AtPersistedIndex = "at-persisted-index",
        /// Up to the applied index: the log forgets what only the memtable holds.
        #[source = "RaftKeeper pull request 392 (the log was compacted beyond what a restart could come back to)"]
        #[caught_by = "durable"]
        AtAppliedIndex = "at-applied-index",
    }

    /// The clock that the ends of leases are counted by.
    lease_clock: LeaseClock {
        /// The monotonic one.
        Monotonic = "monotonic",
        /// The time of day: whoever sets it ends leases early, or keeps them.
        #[source = "etcd issues 6700 and 12291 (\"lease dont expire expectly due to expiry basing on wall clock\")"]
        #[caught_by = "lease"]
        Wall = "wall",
    }

    /// When a leader answers that a lease was kept alive.
    lease_keep_alive: LeaseKeepAlive {
        /// After a quorum has confirmed, since it was asked, that it leads.
        Confirmed = "confirmed",
        /// At once, if it believes that it leads: another may, and ends the lease.
        #[source = "etcd issue 15247 (a leader stuck in fdatasync still answers keep-alives after another was elected)"]
        #[caught_by = "lease"]
        Local = "local",
    }

    /// When a lease ends that a new leader takes over.
    lease_promotion: LeasePromotion {
        /// After what the last checkpoint left of its time, or else after all of its time, and an election
        /// timeout: nobody could keep it alive without a leader, nor tell this one what the last one answered.
        Extended = "extended",
        /// When its time is over since this replica heard that it was granted.
        #[source = "etcd issue 2660 (\"Unexpected TTL key lost during leader election\")"]
        #[caught_by = "lease"]
        AsGranted = "as-granted",
        /// After all of its time, whatever the last checkpoint: with an election often enough it never ends.
        #[source = "etcd issue 9888 (\"Leases may be auto-renewed indefinitely due to leader elections\")"]
        #[caught_by = "lease"]
        Whole = "whole",
    }

    /// What becomes of the watches of a replica whose state is replaced by a snapshot.
    watch_restore: WatchRestore {
        /// They go on where each stood, and are sent what the snapshot has brought.
        Resumed = "resumed",
        /// They go on after the snapshot, so that what it has brought is never sent.
        #[source = "etcd issue 8411 (\"The rejoined node can not send out the events for watchers\")"]
        #[caught_by = "watch"]
        Skipped = "skipped",
    }

    /// What becomes of a watch that begins after the state that a snapshot has brought.
    watch_future: WatchFuture {
        /// It waits for the revision that it was asked to begin at.
        Kept = "kept",
        /// It begins right after that state: whoever has seen more elsewhere goes back in time.
        #[source = "etcd issues 15271 (\"Watch response traveling back in time when reconnecting member downloads snapshot from the leader\") and 20221, fixed by pull request 20281"]
        #[caught_by = "watch"]
        Lowered = "lowered",
    }

    /// When a progress notification that a client asked for is sent.
    watch_progress: WatchProgress {
        /// When all events up to the revision that it names have been sent.
        AfterEvents = "after-events",
        /// At once, past events that are still to be sent.
        #[source = "etcd issue 15220 (\"Requested watcher progress notifications are not synchronised with stream\")"]
        #[caught_by = "watch"]
        AtOnce = "at-once",
    }

    /// When a change of the members takes effect on a replica.
    conf_change_effect: ConfChangeEffect {
        /// When its entry is applied, and so can never go again.
        WhenApplied = "when-applied",
        /// When its entry is appended to the log, as in Ongaro's thesis; but it stays when another entry takes the
        /// place of that one.
        #[source = "camunda issue 57393 (\"Raft configuration does not follow log truncation\") and canonical/raft issue 250 (\"membership rollback issue\")"]
        #[caught_by = "raft"]
        WhenAppended = "when-appended",
    }

    /// How a voter is replaced by another.
    conf_change_steps: ConfChangeSteps {
        /// By a joint configuration, in which a majority of the old voters and one of the new ones decide (Ongaro and
        /// Ousterhout, section 6).
        Joint = "joint",
        /// At once: a majority of the old voters and one of the new ones may have nobody in common.
        #[source = "async-raft issue 62 (\"Joint consensus not implemented correctly\")"]
        #[caught_by = "raft"]
        AtOnce = "at-once",
    }

    /// When the configuration that an applied entry brings is written.
    conf_state_write: ConfStateWrite {
        /// At once, with the index of the entry, and before the store counts the entry as applied.
        WhenApplied = "when-applied",
        /// With the next segment of the raft log, which repeats it. A restart before that brings back the one
        /// before, and the entry is not applied again.
        #[source = "etcd issue 19557 (\"Learner promotion isn't persisted to v3store\")"]
        #[caught_by = "raft"]
        WithSegment = "with-segment",
    }

    /// Who leaves a joint configuration for the new one.
    joint_leave: JointLeave {
        /// Whoever leads when it has been applied.
        WhoeverLeads = "whoever-leads",
        /// The leader that has proposed it. If another leads by then, nobody does.
        #[source = "tikv/rfcs pull request 54 (on a change in two steps outside of the raft core: \"leader change can lose progress\")"]
        #[caught_by = "live"]
        Proposer = "proposer",
    }

    /// What a leader does that has removed itself from the cluster.
    removed_leader: RemovedLeader {
        /// It steps down as soon as the change is applied.
        StepsDown = "steps-down",
        /// It goes on leading, and so keeps the others from electing a leader that can propose anything.
        #[source = "etcd issue 11038 (\"raft: group gets stuck when leader is removed\")"]
        #[caught_by = "live"]
        Stays = "stays",
    }
}

/// The names of all fields, separated by commas.
fn field_names() -> String {
    Design::fields().iter().map(|field| field.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_every_field_can_be_set_and_read_back() {
        for field in Design::fields() {
            for choice in field.choices {
                let mut design = Design::default();
                design.set(field.name, choice.name).unwrap();
                assert_eq!(design.get(field.name).unwrap(), choice.name);
                let differences =
                    if choice.fault.is_none() { vec![] } else { vec![(field.name, choice.name)] };
                assert_eq!(design.differences(), differences);
            }
        }
    }

    #[test]
    fn the_first_value_of_each_field_is_the_default_and_the_only_right_one() {
        for field in Design::fields() {
            assert_eq!(Design::default().get(field.name).unwrap(), field.choices[0].name);
            let right = field.choices.iter().filter(|choice| choice.fault.is_none()).count();
            assert_eq!(right, 1, "{}", field.name);
        }
    }

    #[test]
    fn names_are_in_their_case_and_every_text_is_there() {
        for field in Design::fields() {
            assert!(field.name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'));
            assert!(!field.doc.trim().is_empty());
            for choice in field.choices {
                assert!(
                    choice.name.chars().all(|letter| letter.is_ascii_lowercase()
                        || letter.is_ascii_digit()
                        || letter == '-'),
                    "{}",
                    choice.name
                );
                assert!(!choice.doc.trim().is_empty());
            }
        }
    }

    #[test]
    fn unknown_names_are_refused_with_a_list_of_the_legal_ones() {
        let mut design = Design::default();
        assert_eq!(
            design.set("wire_sise", "whole").unwrap_err().to_string(),
            "unknown design field `wire_sise`; the fields are persist_before_send, segment_directory_sync, \
             wire_size, digest, release_one_streams, header, reads, snapshot_install, snapshot_cleanup, apply, \
             defragment, compaction_tombstone, restored_revision, restored_tombstone, txn_ranges, \
             flush_index, flush_order, flush_index_place, flush_index_directory_sync, log_cut, lease_clock, \
             lease_keep_alive, lease_promotion, watch_restore, watch_future, watch_progress, \
             conf_change_effect, conf_change_steps, conf_state_write, joint_leave, removed_leader"
        );
        assert_eq!(
            design.set("persist_before_send", "sometimes").unwrap_err().to_string(),
            "unknown value `sometimes` of design field `persist_before_send`; its values are fsync, send-first, lazy"
        );
        assert_eq!(design, Design::default());
    }

    #[test]
    fn a_design_survives_its_encoding() {
        let mut design = Design::default();
        design.set("reads", "local").unwrap();
        let bytes = crate::wire::encode(&design).unwrap();
        assert_eq!(crate::wire::decode::<Design>(&bytes).unwrap(), design);
    }
}
