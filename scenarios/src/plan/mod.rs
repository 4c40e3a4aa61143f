//! Plans: everything that a run is made of, as a readable, editable text file.
//!
//! A run is a pure function of its plan. A seed only generates one; the corpus keeps plans, so an entry
//! survives changes of the generator. The text is RON: one line for each client operation and each fault.

mod action;
mod change;
mod fault;

use crate::watcher;
pub use crate::watcher::{PlannedWatcher, WatchStart, WatchedKeys, WatcherAction, WatcherStep};
pub use action::{Action, PlannedOperation};
pub use change::{EngineChange, MemberStep, PlannedMemberStep, StartCrash, Upgrade};
use cluster::Design;
use engines::EngineId;
pub use fault::{CrashPlace, Fault, PartitionShape, PlannedFault, RotPlace, Target};
use serde::{Deserialize, Serialize};
use sim::disk::FaultOptions;
use sim::entropy::Ratio;
use sim::network::LinkOptions;
use sim::{ClockOptions, Policy};
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

    /// What is planned for a replica, by its number from 1.
    ///
    /// # Panics
    /// Where there is no such replica.
    pub fn node(&self, number: u64) -> &NodePlan {
        &self.nodes[usize::try_from(number - 1).expect("few nodes")]
    }

    /// The same, to be changed.
    pub(crate) fn node_mut(&mut self, number: u64) -> &mut NodePlan {
        &mut self.nodes[usize::try_from(number - 1).expect("few nodes")]
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

/// How plans are written, and whatever holds a plan.
pub(crate) fn options() -> ron::Options {
    ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
}
