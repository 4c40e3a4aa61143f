//! What an operator does: upgrades, and changes of the members.

use super::{CrashPlace, EngineName, Target};
use serde::{Deserialize, Serialize};
use sim::Crash;

/// One step of a rolling upgrade, or of a downgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// The earliest virtual time in milliseconds.
    pub at_ms: u64,
    /// The replica, numbered from 1.
    pub node: u64,
    /// Its release afterwards.
    pub release: u8,
    /// Its engine afterwards.
    pub engine: EngineName,
    /// What becomes of its data where the engine changes.
    pub change: EngineChange,
    /// A crash in the start that follows.
    #[serde(default)]
    pub crash: Option<StartCrash>,
}

/// A crash in the start that a step of an upgrade ends with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartCrash {
    /// Process kill or power failure.
    pub crash: Crash,
    /// Where.
    pub at: CrashPlace,
    /// How long the node stays down, in milliseconds.
    pub down_ms: u64,
}

/// Something that an operator does about the members, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedMemberStep {
    /// The earliest virtual time in milliseconds.
    pub at_ms: u64,
    /// What.
    pub step: MemberStep,
}

/// A step of an operator. It is asked for until it is done, or refused for good, or too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberStep {
    /// Add a replica that learns only.
    AddLearner {
        /// Its number.
        node: u64,
    },
    /// Add a voter that has nothing yet.
    AddVoter {
        /// Its number.
        node: u64,
    },
    /// Give a learner a vote.
    Promote {
        /// Its number.
        node: u64,
    },
    /// Remove a member.
    Remove {
        /// Whom.
        target: Target,
    },
    /// Promote a learner in the place of a voter.
    Replace {
        /// The voter.
        out: Target,
        /// The learner's number.
        with: u64,
    },
    /// Hand leadership over.
    MoveLeader {
        /// To whom.
        to: Target,
    },
}

impl MemberStep {
    /// The replicas that it names by their numbers.
    pub(super) fn nodes(self) -> Vec<u64> {
        let named = |target: Target| match target {
            Target::Node(node) => Some(node),
            Target::Leader | Target::Follower => None,
        };
        match self {
            Self::AddLearner { node } | Self::AddVoter { node } | Self::Promote { node } => vec![node],
            Self::Remove { target: whom } | Self::MoveLeader { to: whom } => {
                named(whom).into_iter().collect()
            }
            Self::Replace { out, with } => named(out).into_iter().chain([with]).collect(),
        }
    }
}

/// What becomes of a node's data when its engine changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EngineChange {
    /// The data is copied into the new engine.
    ConvertInPlace,
    /// The data is set aside, and fetched from a peer.
    WipeAndFetch,
    /// Nothing may: the start must be refused. Then the node is started as it was.
    Refuse,
}
