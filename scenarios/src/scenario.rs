//! The named scenarios: what each makes of a seed, and what it promises.

use crate::generate;
use crate::kill_gate;
use crate::membership;
use crate::plan::Plan;
use crate::rot;
use crate::space;
use crate::targeted;
use crate::targeted_store;
use crate::upgrades;
use crate::watcher;
use std::fmt;
use std::str::FromStr;

/// A named way to make plans from seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// Three nodes, mixed engines, faults of every class.
    Default,
    /// Release 1 to release 2 and sled to fjall, node by node, and back.
    RollingUpgrade,
    /// Power failures only, many of them.
    Power,
    /// No fault: performance and liveness.
    Calm,
    /// The power of all nodes fails at once, on slow disks.
    Blackout,
    /// Replicas fall behind and fetch snapshots over bad links, and crash while they install them.
    Lagging,
    /// Release 2 beside release 1 that needs snapshots.
    MixedReleases,
    /// Kills at random disk operations, one after another and all at once.
    KillGate,
    /// Leases, while leaders freeze and clocks are set.
    Leases,
    /// Compactions and crashes while the engines forget.
    Compaction,
    /// Watchers, while replicas fall behind, crash and compact.
    Watches,
    /// Members come and go, under faults of every class but those of the disk.
    Membership,
    /// Every way from one release and engine to another.
    UpgradeMatrix,
    /// Disks that are full for a while.
    FullDisk,
    /// Files whose bits rot.
    Rot,
}

/// A scenario that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scenario `{name}`; the scenarios are {}", names())]
pub struct UnknownScenario {
    /// The name given.
    pub name: String,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 15] = [
        Self::Default,
        Self::RollingUpgrade,
        Self::Power,
        Self::Calm,
        Self::Blackout,
        Self::Lagging,
        Self::MixedReleases,
        Self::KillGate,
        Self::Leases,
        Self::Compaction,
        Self::Watches,
        Self::Membership,
        Self::UpgradeMatrix,
        Self::FullDisk,
        Self::Rot,
    ];

    /// The name on the command line and in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::RollingUpgrade => "rolling-upgrade",
            Self::Power => "power",
            Self::Calm => "calm",
            Self::Blackout => "blackout",
            Self::Lagging => "lagging",
            Self::MixedReleases => "mixed-releases",
            Self::KillGate => "kill-gate",
            Self::Leases => "leases",
            Self::Compaction => "compaction",
            Self::Watches => "watches",
            Self::Membership => "membership",
            Self::UpgradeMatrix => "upgrade-matrix",
            Self::FullDisk => "full-disk",
            Self::Rot => "rot",
        }
    }

    /// What it is, in a sentence.
    pub fn about(self) -> &'static str {
        match self {
            Self::Default => "three nodes, mixed engines, faults of every class",
            Self::RollingUpgrade => {
                "release 1 to 2, sled to fjall, node by node and back, under crashes and partitions"
            }
            Self::Power => "many power failures, and nothing else",
            Self::Calm => "no fault at all",
            Self::Blackout => "the power of all nodes fails at once, after bursts of writes on slow disks",
            Self::Lagging => {
                "replicas fall behind and fetch snapshots over bad links, and crash while they install them"
            }
            Self::MixedReleases => {
                "release 2 with its own engines beside a release-1 node that needs snapshots"
            }
            Self::KillGate => {
                "process kills and power failures at random disk operations, of one replica up to all at once"
            }
            Self::Leases => {
                "leases are kept alive while leaders freeze, crash and are cut off, and clocks are set"
            }
            Self::Compaction => {
                "compactions up to the last deletion, crashes before the engines have forgotten, and reads of the past"
            }
            Self::Watches => "many watchers of few keys, while replicas fall behind, crash and compact",
            Self::Membership => {
                "members are added, promoted, removed and replaced, leadership is handed over, under crashes, \
                 partitions, pauses and clocks that differ"
            }
            Self::UpgradeMatrix => {
                "from one release and engine to two others and back, node by node, each way there is, with mistakes"
            }
            Self::FullDisk => {
                "the disk of one replica, or of a majority, is full for a while, again and again"
            }
            Self::Rot => {
                "bits of one replica's engine rot, at rest and as they are read; or its raft log rots"
            }
        }
    }

    /// The plan of `seed`.
    pub fn plan(self, seed: u64) -> Plan {
        match self {
            Self::Default => generate::default(seed),
            Self::RollingUpgrade => generate::rolling_upgrade(seed),
            Self::Power => generate::power(seed),
            Self::Calm => generate::calm(seed),
            Self::Blackout => targeted::blackout(seed),
            Self::Lagging => targeted::lagging(seed),
            Self::MixedReleases => targeted::mixed_releases(seed),
            Self::KillGate => kill_gate::plan(seed),
            Self::Leases => targeted_store::leases(seed),
            Self::Compaction => targeted_store::compaction(seed),
            Self::Watches => watcher::scenario(seed),
            Self::Membership => membership::plan(seed),
            Self::UpgradeMatrix => upgrades::plan(seed),
            Self::FullDisk => space::plan(seed),
            Self::Rot => rot::plan(seed),
        }
    }
}

fn names() -> String {
    Scenario::ALL.map(Scenario::name).join(", ")
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(name: &str) -> Result<Self, UnknownScenario> {
        let known = Self::ALL.into_iter().find(|scenario| scenario.name() == name);
        known.ok_or_else(|| UnknownScenario { name: name.to_string() })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
