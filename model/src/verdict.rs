//! What a check reports when a promise was broken.

use std::fmt;
use std::str::FromStr;

use linearizability::history::Operation;
use linearizability::{Evidence, SequentialSpec};
use serde::{Deserialize, Serialize};

/// The checks, by the promise that each of them watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Check {
    /// The client history has a legal order.
    Linearizable,
    /// Every serializable read shows a state that the store really had.
    Serializable,
    /// What was acknowledged is there in the end.
    Durable,
    /// Replicas that applied the same entries hold the same data.
    ReplicasEqual,
    /// Snapshot streams were sent, installed, transcoded or refused as the format says.
    Routing,
    /// Raft's own invariants.
    Raft,
    /// Once the faults stop, every operation ends and the replicas converge.
    Live,
    /// Events of a watch come in the order of revisions.
    WatchOrdered,
    /// No event comes twice on a watch.
    WatchUnique,
    /// The events of one revision come together.
    WatchAtomic,
    /// No event is left out between two that came, and none is invented.
    WatchReliable,
    /// A watch from a past revision starts with the first event from there on, or says that it is compacted.
    WatchResumable,
    /// After a progress notification nothing comes of what it covers, and nothing before was left out.
    WatchBookmarkable,
    /// A watch brings what it asked for only.
    WatchFiltered,
    /// A watch tells that it stands, once, before anything else.
    WatchCreated,
    /// An event shows what the key held before exactly where it was asked for.
    WatchPrevious,
    /// Keys go with their lease, which lives as long as it was promised and not much longer.
    Lease,
    /// A compaction takes away only what lies below it, and no revision goes back.
    Compaction,
    /// A storage engine kept its own promises.
    Engine,
    /// The same plan gives the same trace.
    Deterministic,
}

impl Check {
    /// Whether it is one of the nine guarantees of watches.
    pub fn is_of_watches(self) -> bool {
        match self {
            Check::WatchOrdered
            | Check::WatchUnique
            | Check::WatchAtomic
            | Check::WatchReliable
            | Check::WatchResumable
            | Check::WatchBookmarkable
            | Check::WatchFiltered
            | Check::WatchCreated
            | Check::WatchPrevious => true,
            Check::Linearizable
            | Check::Serializable
            | Check::Durable
            | Check::ReplicasEqual
            | Check::Routing
            | Check::Raft
            | Check::Live
            | Check::Lease
            | Check::Compaction
            | Check::Engine
            | Check::Deterministic => false,
        }
    }

    /// Every check, in the order in which reports list them.
    pub const ALL: [Check; 20] = [
        Check::Linearizable,
        Check::Serializable,
        Check::Durable,
        Check::ReplicasEqual,
        Check::Routing,
        Check::Raft,
        Check::Live,
        Check::WatchOrdered,
        Check::WatchUnique,
        Check::WatchAtomic,
        Check::WatchReliable,
        Check::WatchResumable,
        Check::WatchBookmarkable,
        Check::WatchFiltered,
        Check::WatchCreated,
        Check::WatchPrevious,
        Check::Lease,
        Check::Compaction,
        Check::Engine,
        Check::Deterministic,
    ];

    /// The name that reports and corpus entries use.
    pub fn name(self) -> &'static str {
        match self {
            Check::Linearizable => "linearizable",
            Check::Serializable => "serializable",
            Check::Durable => "durable",
            Check::ReplicasEqual => "replicas equal",
            Check::Routing => "routing",
            Check::Raft => "raft",
            Check::Live => "live",
            Check::WatchOrdered => "watch ordered",
            Check::WatchUnique => "watch unique",
            Check::WatchAtomic => "watch atomic",
            Check::WatchReliable => "watch reliable",
            Check::WatchResumable => "watch resumable",
            Check::WatchBookmarkable => "watch bookmarkable",
            Check::WatchFiltered => "watch filtered",
            Check::WatchCreated => "watch created",
            Check::WatchPrevious => "watch previous",
            Check::Lease => "lease",
            Check::Compaction => "compaction",
            Check::Engine => "engine",
            Check::Deterministic => "deterministic",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The text names no check.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown check {name:?}; the checks are: {}", Check::ALL.map(Check::name).join(", "))]
pub struct UnknownCheck {
    /// What was given.
    pub name: String,
}

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(name: &str) -> Result<Check, UnknownCheck> {
        Check::ALL
            .into_iter()
            .find(|check| check.name() == name)
            .ok_or_else(|| UnknownCheck { name: name.to_owned() })
    }
}

/// A broken promise, in words that stand alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The check that found it.
    pub check: Check,
    /// What broke, and where.
    pub message: String,
    /// The operations, entries or bytes at fault, one per line.
    pub evidence: Vec<String>,
    /// What of the run it is about, where whoever tells of it can look that up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
}

/// What of a run a violation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// An operation, by its place in the history.
    Operation(usize),
    /// A message of a watch. No two watches of a client have the same number.
    WatchMessage {
        /// The client.
        client: u32,
        /// Its number for the watch.
        watch_id: i64,
        /// The message, by its place among those that the watch brought.
        message: usize,
    },
    /// What replicas held when they had applied so much.
    AppliedIndex(u64),
    /// What replicas held of a revision.
    Revision(i64),
    /// A lease, by its id.
    Lease(i64),
}

impl Violation {
    /// A violation without evidence beyond its message.
    pub fn new(check: Check, message: impl Into<String>) -> Violation {
        Violation { check, message: message.into(), evidence: Vec::new(), subject: None }
    }

    /// The same violation with what it is about.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Violation {
        self.subject = Some(subject);
        self
    }

    /// A history that has no legal order.
    pub fn of_history<S: SequentialSpec>(
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
        evidence: &Evidence,
    ) -> Violation {
        let lines = evidence.lines(spec, operations).into_iter();
        lines.fold(Violation::new(Check::Linearizable, evidence.message(spec, operations)), Violation::with)
    }

    /// The same violation with one more line of evidence.
    #[must_use]
    pub fn with(mut self, line: impl Into<String>) -> Violation {
        self.evidence.push(line.into());
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.check, self.message)?;
        for line in &self.evidence {
            write!(formatter, "\n  {line}")?;
        }
        Ok(())
    }
}
