//! New entries, made of the first seed that shows what they are to be about.

use super::{Entry, Expected};
use crate::execution::{Execution, execute};
use crate::milestones::Milestone;
use crate::plan::{EngineName, Plan};
use crate::report::{EngineFinding, Verdict};
use crate::run::RunOptions;
use crate::scenario::Scenario;
use crate::zoo;
use cluster::Design;
use std::io;
use std::ops::RangeInclusive;

/// What an entry is to be about.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Why it is to be there, in a sentence.
    pub about: String,
    /// What the run must reach; without any, the entry requires all that its run reaches.
    pub milestones: Vec<Milestone>,
    /// The ways of snapshots that it must have, as the report names them.
    pub routes: Vec<String>,
    /// Pieces of text that must stand in its plan, such as `Mute(` or `policy: Fixed`.
    pub plan_contains: Vec<String>,
    /// Pieces of text that must not stand in its plan.
    pub plan_lacks: Vec<String>,
    /// Whether an engine must have broken a promise, its device not being at fault: this part of the cause.
    pub finding: Option<String>,
}

/// An entry that was not to be found.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The host has no process or descriptor left.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No seed shows it.
    #[error("none of the seeds {} to {} will do; the last one: {why}", seeds.start(), seeds.end())]
    None {
        /// The seeds that were tried.
        seeds: RangeInclusive<u64>,
        /// Why the last one will not.
        why: String,
    },
}

/// The entry of the first of `seeds` that shows what is wanted. A run of the baseline must hold; one of a design
/// of the zoo must be caught by the check that the design names.
///
/// # Errors
/// Where no seed shows it.
pub fn collect(
    scenario: Scenario,
    design: Design,
    seeds: RangeInclusive<u64>,
    wanted: &Wanted,
) -> Result<Entry, CollectError> {
    let mut why = "there is none".to_string();
    for seed in seeds.clone() {
        let mut plan = scenario.plan(seed);
        plan.design = design;
        match wanted.entry(plan)? {
            Ok(entry) => return Ok(entry),
            Err(reason) => why = reason,
        }
    }
    Err(CollectError::None { seeds, why })
}

impl Wanted {
    /// The entry of this plan, or why it will not do.
    fn entry(&self, plan: Plan) -> io::Result<Result<Entry, String>> {
        let text = plan.to_text();
        if let Some(piece) = self.plan_contains.iter().find(|piece| !text.contains(piece.as_str())) {
            return Ok(Err(format!("its plan does not contain `{piece}`")));
        }
        if let Some(piece) = self.plan_lacks.iter().find(|piece| text.contains(piece.as_str())) {
            return Ok(Err(format!("its plan contains `{piece}`")));
        }
        let execution = execute(&plan, RunOptions::default())?;
        Ok(self
            .verdict(&plan.design, &execution)
            .and_then(|verdict| self.entry_of(plan, verdict, &execution)))
    }

    fn entry_of(&self, plan: Plan, verdict: Expected, execution: &Execution) -> Result<Entry, String> {
        let mut milestones = self.milestones.iter().copied().collect();
        let is_about_nothing_else = self.routes.is_empty() && self.plan_contains.is_empty();
        if self.milestones.is_empty() && is_about_nothing_else && verdict == Expected::Held {
            milestones = execution.report.milestones.clone();
        }
        let routes = self.routes.iter().cloned().collect();
        let entry = Entry { about: self.about.clone(), verdict, milestones, routes, plan };
        let differences = entry.differences(execution);
        if differences.is_empty() { Ok(entry) } else { Err(differences.join("; ")) }
    }

    fn verdict(&self, design: &Design, execution: &Execution) -> Result<Expected, String> {
        match &execution.report.verdict {
            Verdict::Incomplete { why } => Err(format!("it was not completed: {why}")),
            Verdict::Held => match &self.finding {
                None if *design == Design::default() => Ok(Expected::Held),
                None => Err("it holds".to_string()),
                Some(cause) => expected_finding(cause, &execution.report.findings),
            },
            Verdict::Violated { violations } => {
                let wrong = zoo::entries().into_iter().find(|entry| entry.design() == *design);
                let catcher = wrong.ok_or("it is violated")?.catcher;
                match violations.iter().find(|violation| catcher.is(violation.check)) {
                    Some(violation) => Ok(Expected::Violated(violation.check)),
                    None => Err(format!("{catcher} does not catch it")),
                }
            }
        }
    }
}

fn expected_finding(cause: &str, findings: &[EngineFinding]) -> Result<Expected, String> {
    let fits = |finding: &&EngineFinding| !finding.device_at_fault && finding.cause.contains(cause);
    let found = findings.iter().find(fits).ok_or("it has no such engine finding")?;
    let engine = EngineName(found.engine.parse().expect("a finding names an engine"));
    Ok(Expected::Finding { engine, cause: cause.to_string() })
}
