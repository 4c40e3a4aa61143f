//! What goes wrong, when, and for whom.

use serde::{Deserialize, Serialize};
use sim::{Crash, OperationFilter};

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// Virtual time in milliseconds.
    pub at_ms: u64,
    /// What goes wrong.
    pub fault: Fault,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// This replica, numbered from 1.
    Node(u64),
    /// Whoever leads then; the first replica where nobody is known to.
    Leader,
    /// The replica after the leader.
    Follower,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    /// A node crashes, and is started again.
    Crash {
        /// Whom.
        target: Target,
        /// Process kill or power failure.
        crash: Crash,
        /// Where; none is at once.
        at: Option<CrashPlace>,
        /// How long it stays down, in milliseconds.
        down_ms: u64,
        /// Further crashes of the same kind: at so many disk operations after each restart.
        #[serde(default)]
        again_after: Vec<u64>,
    },
    /// Links are cut.
    Partition {
        /// Which.
        shape: PartitionShape,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// A node is frozen.
    Pause {
        /// Whom.
        target: Target,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// A node's disk is filled by others.
    FillDisk {
        /// Whose.
        target: Target,
        /// What is left free, in bytes.
        free_bytes: u64,
        /// For how long, in milliseconds. Then an operator clears the alarm.
        for_ms: u64,
    },
    /// A node is stopped, and bits of its files rot while it is down.
    Rot {
        /// Whose.
        target: Target,
        /// Which files.
        place: RotPlace,
        /// One bit each of so many sectors.
        sectors: u32,
        /// Whether it is stopped in good order; else it is killed.
        in_good_order: bool,
        /// How long it stays down, in milliseconds.
        down_ms: u64,
    },
    /// A node's wall clock is set.
    StepClock {
        /// Whose.
        target: Target,
        /// By how much, in milliseconds.
        by_ms: i64,
    },
}

/// What rots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RotPlace {
    /// The files of the engine.
    Store,
    /// The sealed segments of the raft log.
    Log,
}

/// The disk operation at which a crash falls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashPlace {
    /// The matching operation's number from then on, from 1.
    pub operation: u64,
    /// Inside it, if it is a write.
    #[serde(default)]
    pub inside: bool,
    /// Which operations match.
    #[serde(default)]
    pub filter: OperationFilter,
}

/// Which links a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionShape {
    /// All links of one node.
    Isolate(Target),
    /// Everything that one node sends.
    Mute(Target),
    /// Everything that one node would receive.
    Deafen(Target),
    /// Every pair but those of this node, which alone sees both sides.
    Bridge(Target),
    /// All links between the leader and this replica on one side, and everybody else on the other.
    WithLeader(Target),
}

impl Fault {
    /// Whom the fault hits, if it is one node.
    pub fn target(&self) -> Option<Target> {
        match self {
            Self::Crash { target, .. }
            | Self::Pause { target, .. }
            | Self::FillDisk { target, .. }
            | Self::Rot { target, .. }
            | Self::StepClock { target, .. } => Some(*target),
            Self::Partition { shape, .. } => Some(match *shape {
                PartitionShape::Isolate(target)
                | PartitionShape::Mute(target)
                | PartitionShape::Deafen(target)
                | PartitionShape::Bridge(target)
                | PartitionShape::WithLeader(target) => target,
            }),
        }
    }
}
