//! The regression corpus: plans that are kept, each with why, the verdict that it must have, and the milestones
//! that it must reach.
//!
//! An entry is a file of its own. It keeps the plan and not the seed, so it survives changes of the generator.
//! Beside the runs stand explorations of single engines, in `crash/`: [`Exploration`].

mod collect;
mod exploration;
mod files;
mod rerun;

pub use collect::{CollectError, Wanted, collect};
pub use exploration::{Exploration, KnownFinding, NamedExploration, load_explorations};
pub use files::{CorpusError, CorpusProblem, DIRECTORY, Named, load, store};
pub use rerun::{Outcome, rerun, unreached};

use crate::execution::Execution;
use crate::milestones::Milestone;
use crate::plan::{self, EngineName, Plan, PlanError};
use crate::report::{EngineFinding, Verdict};
use model::verdict::Check;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NameError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Why it is there, in a sentence.
    pub about: String,
    /// How the run must end.
    pub verdict: Expected,
    /// What the run must reach, at least.
    #[serde(with = "milestone_names")]
    pub milestones: BTreeSet<Milestone>,
    /// The ways of snapshots that the run must have, at least, as its report names them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub routes: BTreeSet<String>,
    /// The run.
    pub plan: Plan,
}

/// How a run must end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expected {
    /// Every check holds.
    Held,
    /// This check finds a violation; others may, too.
    Violated(Check),
    /// Every check holds, though an engine broke a promise of its own.
    Finding {
        /// The engine.
        engine: EngineName,
        /// A part of the cause, in the engine's own words.
        cause: String,
    },
}

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// Where the text is not an entry, with line and column; where its plan cannot be run.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let entry: Self = plan::options().from_str(text)?;
        entry.plan.check()?;
        Ok(entry)
    }

    /// The entry as text, which [`Entry::parse`] reads back.
    pub fn to_text(&self) -> String {
        let pretty = ron::ser::PrettyConfig::new().depth_limit(3).separate_tuple_members(false);
        let body = plan::options().to_string_pretty(self, pretty);
        let body = body.expect("an entry has nothing that RON cannot write");
        format!("// An entry of Brownout's corpus: `cargo xtask corpus NAME` reruns it.\n{body}\n")
    }

    /// What is not as the entry says; empty where all is.
    pub fn differences(&self, execution: &Execution) -> Vec<String> {
        let report = &execution.report;
        let mut differences: Vec<String> = self.verdict.difference(execution).into_iter().collect();
        let missed = self.milestones.difference(&report.milestones);
        differences.extend(missed.map(|milestone| format!("the milestone `{milestone}` was not reached")));
        let missed = self.routes.iter().filter(|route| !report.snapshots.contains_key(*route));
        differences.extend(missed.map(|route| format!("no snapshot went {route}")));
        differences
    }
}

impl Expected {
    fn difference(&self, execution: &Execution) -> Option<String> {
        let report = &execution.report;
        match (self, &report.verdict) {
            (Self::Held, Verdict::Held) => None,
            (Self::Violated(check), Verdict::Violated { violations })
                if violations.iter().any(|violation| violation.check == *check) =>
            {
                None
            }
            (Self::Finding { engine, cause }, Verdict::Held) => {
                let fits = |finding: &&EngineFinding| {
                    finding.engine == engine.0.name() && finding.cause.contains(cause.as_str())
                };
                let found = report.findings.iter().find(fits);
                found.is_none().then(|| format!("no finding on {engine} says `{cause}`"))
            }
            (Self::Held | Self::Violated(_) | Self::Finding { .. }, verdict) => {
                Some(format!("expected {self}, but the run {}", in_words(verdict)))
            }
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held => out.write_str("held"),
            Self::Violated(check) => write!(out, "violated: {check}"),
            Self::Finding { engine, .. } => write!(out, "finding: {engine}"),
        }
    }
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Held => "held".to_string(),
        Verdict::Violated { violations } => {
            let found: Vec<_> = violations.iter().map(|it| format!("{}: {}", it.check, it.message)).collect();
            format!("broke {}", found.join("; "))
        }
        Verdict::Incomplete { why } => format!("was not completed: {why}"),
    }
}

/// A milestone by the name that entries and the command line use.
///
/// # Errors
/// Unknown names, with a list of those that exist.
pub fn milestone(name: &str) -> Result<Milestone, NameError> {
    Milestone::deserialize(name.into_deserializer())
}

/// Milestones as a list of their names.
mod milestone_names {
    use super::Milestone;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeSet;

    pub(super) fn serialize<S: Serializer>(of: &BTreeSet<Milestone>, to: S) -> Result<S::Ok, S::Error> {
        let name = |milestone| serde_json::to_value(milestone).expect("a milestone is a name");
        let names: Vec<String> =
            of.iter().map(|milestone| name(milestone).as_str().expect("it is").to_string()).collect();
        names.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<Milestone>, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        names.iter().map(|name| super::milestone(name).map_err(D::Error::custom)).collect()
    }
}
