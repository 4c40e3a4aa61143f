//! Plans: everything that a run is made of, as a readable, editable text file.
//!
//! A run is a pure function of its plan. A seed only generates one; the corpus keeps plans, so an entry
//! survives changes of the generator. The text is RON: one line for each client operation and each fault.

use crate::planned_request::PlannedRequest;
use crate::watcher;
pub use crate::watcher::{PlannedWatcher, WatchStart, WatchedKeys, WatcherAction, WatcherStep};
use cluster::Design;
use engines::EngineId;
use serde::{Deserialize, Serialize};
use sim::disk::FaultOptions;
use sim::entropy::Ratio;
use sim::network::LinkOptions;
use sim::{ClockOptions, Crash, OperationFilter, Policy};
use std::fmt;
use std::str::FromStr;

/// The version of the plan's text; another one is refused.
pub const FORMAT: u32 = 1;

/// A run, in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The scenario that it was generated for, which says what the run promises.
    pub scenario: String,
    /// Decides what the plan leaves open: the schedule, latencies, which sectors survive.
    pub seed: u64,
    /// The protocol's choices.
    #[serde(default)]
    pub design: Design,
    /// How simulated threads are scheduled.
    pub policy: Policy,
    /// Whether each node syncs its engine's files and their names once after opening it, as a careful operator
    /// would: it spares the run what docs/findings says of engines that never sync the names of their files.
    #[serde(default)]
    pub sync_after_open: bool,
    /// Whether a flush syncs the engine's own log, where it has one (fjall's journal). Without it the engine's tables
    /// and the raft log are all that a power failure leaves.
    #[serde(default = "sync_engine_log")]
    pub sync_engine_log: bool,
    /// The replicas; replica 1 is the first.
    pub nodes: Vec<NodePlan>,
    /// The links between replicas.
    pub links: LinkOptions,
    /// Virtual time when faults end and everything is mended, in milliseconds.
    pub heal_at_ms: u64,
    /// How long the run goes on after all clients are done, in milliseconds: leases end meanwhile.
    #[serde(default)]
    pub quiet_ms: u64,
    /// What clients do, in the order of time.
    pub operations: Vec<PlannedOperation>,
    /// Who watches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watchers: Vec<PlannedWatcher>,
    /// What goes wrong, in the order of time.
    pub faults: Vec<PlannedFault>,
    /// Changes of release and engine, one after another; each waits until the cluster has recovered from the
    /// one before.
    pub upgrades: Vec<Upgrade>,
    /// What an operator does about the members of the cluster, one step after another.
    #[serde(default)]
    pub member_steps: Vec<PlannedMemberStep>,
}

/// The default of [`Plan::sync_engine_log`].
fn sync_engine_log() -> bool {
    true
}

/// One replica at the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// Its engine.
    pub engine: EngineName,
    /// Its release, 1 or 2.
    pub release: u8,
    /// Whether it is no member of the cluster at first, and waits to be added.
    #[serde(default)]
    pub joins: bool,
    /// What a power failure may do to its disk.
    pub disk: DiskProfile,
    /// The share of the writes torn by a power failure that are torn at any byte, as memory that keeps its content
    /// would, and not between two sectors of 512 bytes.
    #[serde(default)]
    pub byte_tears: Ratio,
    /// What goes wrong with its disk while it runs, outside of the engine's data, until everything is mended.
    #[serde(default)]
    pub log_faults: FaultOptions,
    /// What goes wrong with the files of its engine while it runs, until everything is mended.
    #[serde(default)]
    pub data_faults: FaultOptions,
    /// How its clocks deviate.
    #[serde(default)]
    pub clock: ClockOptions,
}

/// An engine, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EngineName(pub EngineId);

impl TryFrom<String> for EngineName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse().map_err(|error: engines::UnknownEngineName| error.to_string())
    }
}

impl FromStr for EngineName {
    type Err = engines::UnknownEngineName;

    fn from_str(name: &str) -> Result<Self, engines::UnknownEngineName> {
        name.parse().map(Self)
    }
}

impl From<EngineName> for String {
    fn from(engine: EngineName) -> Self {
        engine.0.name().to_string()
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.name())
    }
}

/// What a power failure may do to a disk (see `sim::disk`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskProfile {
    /// The weakest legal POSIX machine.
    Posix,
    /// The same, on a device that acknowledges some flushes without honouring them.
    Lying,
}

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
    fn nodes(self) -> Vec<u64> {
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

/// A plan that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The text is not a plan.
    #[error("line {line}, column {column}: {problem}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// The text is a plan, but one that cannot be run.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which part.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl From<ron::error::SpannedError> for PlanError {
    fn from(error: ron::error::SpannedError) -> Self {
        let ron::error::Position { line, col } = error.span.start;
        Self::Syntax { line, column: col, problem: error.code.to_string() }
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// Where the text is not RON, has an unknown or missing field (with line and column), or describes a run
    /// that cannot be.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let plan: Self = options().from_str(text)?;
        plan.check()?;
        Ok(plan)
    }

    /// The plan as text, which [`Plan::parse`] reads back.
    pub fn to_text(&self) -> String {
        let pretty = ron::ser::PrettyConfig::new().depth_limit(2).separate_tuple_members(false);
        let body =
            options().to_string_pretty(self, pretty).expect("a plan has nothing that RON cannot write");
        format!("// A plan of Brownout: `cargo xtask sim --plan FILE` runs it.\n{body}\n")
    }

    /// Checks what the types leave open.
    ///
    /// # Errors
    /// Names the first field that makes the run impossible.
    pub fn check(&self) -> Result<(), PlanError> {
        let invalid = |field: String, problem: String| Err(PlanError::Invalid { field, problem });
        if self.format != FORMAT {
            return invalid(
                "format".into(),
                format!("this build reads format {FORMAT}, not {}", self.format),
            );
        }
        if !(1..=9).contains(&self.nodes.len()) {
            return invalid("nodes".into(), format!("{} nodes; a run has 1 to 9", self.nodes.len()));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            check_release(node.release, node.engine)
                .map_err(|problem| PlanError::Invalid { field: format!("nodes[{index}]"), problem })?;
        }
        for (index, upgrade) in self.upgrades.iter().enumerate() {
            let field = format!("upgrades[{index}]");
            check_release(upgrade.release, upgrade.engine)
                .and_then(|()| self.check_node(upgrade.node))
                .map_err(|problem| PlanError::Invalid { field, problem })?;
        }
        if self.nodes.iter().all(|node| node.joins) {
            return invalid("nodes".into(), "all of them join; somebody must be a member at first".into());
        }
        for (index, planned) in self.member_steps.iter().enumerate() {
            for node in planned.step.nodes() {
                self.check_node(node).map_err(|problem| PlanError::Invalid {
                    field: format!("member_steps[{index}]"),
                    problem,
                })?;
            }
        }
        for (index, fault) in self.faults.iter().enumerate() {
            if let Some(Target::Node(node)) = fault.fault.target() {
                self.check_node(node)
                    .map_err(|problem| PlanError::Invalid { field: format!("faults[{index}]"), problem })?;
            }
        }
        let nobody = |operation: &PlannedOperation| operation.action.replica() == Some(0);
        if let Some(index) = self.operations.iter().position(nobody) {
            return invalid(format!("operations[{index}]"), "there is no replica 0; the first is 1".into());
        }
        if let Some(late) = self.operations.iter().position(|operation| operation.at_ms > self.heal_at_ms) {
            return invalid(
                format!("operations[{late}].at_ms"),
                format!("after heal_at_ms ({}): the load ends when faults end", self.heal_at_ms),
            );
        }
        watcher::check(self).map_err(|(field, problem)| PlanError::Invalid { field, problem })
    }

    fn check_node(&self, node: u64) -> Result<(), String> {
        let count = self.nodes.len() as u64;
        if (1..=count).contains(&node) {
            Ok(())
        } else {
            Err(format!("there is no node {node}; nodes are 1 to {count}"))
        }
    }

    /// The replicas that are members at first, ascending.
    pub fn first_members(&self) -> Vec<u64> {
        (1u64..).zip(&self.nodes).filter(|(_, node)| !node.joins).map(|(number, _)| number).collect()
    }

    /// Gives the nodes these engines, in the order of the nodes; where there are more nodes, the list begins again.
    /// An empty list changes nothing.
    ///
    /// # Errors
    /// As [`Plan::check`]: a node of release 1 has no choice, and a guest may be missing.
    pub fn set_engines(&mut self, engines: &[EngineName]) -> Result<(), PlanError> {
        for (node, engine) in self.nodes.iter_mut().zip(engines.iter().cycle()) {
            node.engine = *engine;
        }
        self.check()
    }

    /// How many clients the plan has.
    pub fn clients(&self) -> u32 {
        self.operations.iter().map(|operation| operation.client + 1).max().unwrap_or(0)
    }
}

fn check_release(release: u8, engine: EngineName) -> Result<(), String> {
    match (release, engine.0) {
        (1, EngineId::Sled) => Ok(()),
        (1, _) => Err(format!("release 1 knows only sled, not {engine}")),
        // A guest is an engine only of the program that brings it along.
        (2, _) => engines::engine(engine.0).map(drop).map_err(|error| error.to_string()),
        (other, _) => Err(format!("there is no release {other}; releases are 1 and 2")),
    }
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

/// How plans are written, and whatever holds a plan.
pub(crate) fn options() -> ron::Options {
    ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
}
