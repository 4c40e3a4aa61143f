//! The zoo: every design that is known to be wrong, with the check that must catch it. A check that never
//! catches anything would prove nothing by holding.

use crate::execution::{Execution, Executor, processes};
use crate::report::Verdict;
use crate::run::RunOptions;
use crate::scenario::Scenario;
use cluster::Design;
use cluster::design::DesignError;
use model::verdict::{Check, UnknownCheck};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// Seeds within which a wrong design must be caught.
pub const BUDGET: u64 = 1_000;

/// A wrong design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The field of the design.
    pub field: &'static str,
    /// Its wrong value.
    pub value: &'static str,
    /// What the value means.
    pub doc: &'static str,
    /// Where it happened in reality.
    pub source: &'static str,
    /// The scenario that brings it to light.
    #[serde(serialize_with = "as_name")]
    pub scenario: Scenario,
    /// What must catch it.
    #[serde(serialize_with = "as_catcher_name")]
    pub catcher: Catcher,
}

/// What must catch a wrong design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catcher {
    /// This check.
    One(Check),
    /// Any of the nine guarantees of watches: which one a lost event breaks depends on what came before and after it.
    Watch,
}

impl Catcher {
    /// The name that designs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::One(check) => check.name(),
            Self::Watch => "watch",
        }
    }

    /// Whether a violation that `check` found is what the design must be caught by.
    pub fn is(self, check: Check) -> bool {
        match self {
            Self::One(one) => one == check,
            Self::Watch => check.is_of_watches(),
        }
    }
}

impl FromStr for Catcher {
    type Err = UnknownCheck;

    fn from_str(name: &str) -> Result<Self, UnknownCheck> {
        if name == Self::Watch.name() { Ok(Self::Watch) } else { name.parse().map(Self::One) }
    }
}

impl fmt::Display for Catcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

fn as_name<S: serde::Serializer>(scenario: &Scenario, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scenario.name())
}

fn as_catcher_name<S: serde::Serializer>(catcher: &Catcher, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(catcher.name())
}

impl Entry {
    /// The baseline with this one wrong value.
    pub fn design(&self) -> Design {
        let mut design = Design::default();
        design.set(self.field, self.value).expect("an entry is made from the fields themselves");
        design
    }

    /// As the command line takes it.
    pub fn choice(&self) -> String {
        format!("{}={}", self.field, self.value)
    }
}

/// Every wrong value of every field, in the order of their declaration.
pub fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for field in Design::fields() {
        for choice in field.choices {
            let (Some(fault), Some(scenario)) = (&choice.fault, scenario_for(field.name, choice.name)) else {
                continue;
            };
            entries.push(Entry {
                field: field.name,
                value: choice.name,
                doc: choice.doc.trim(),
                source: fault.source,
                scenario,
                catcher: fault.caught_by.parse().expect("a design names a check that exists"),
            });
        }
    }
    entries
}

/// Where a wrong value of a field shows; none where no scenario goes after it yet.
fn scenario_for(field: &str, value: &str) -> Option<Scenario> {
    Some(match field {
        // What is acknowledged too early is lost when all copies fail before their sync.
        "persist_before_send" | "segment_directory_sync" => Scenario::Blackout,
        "release_one_streams" => Scenario::MixedReleases,
        // It takes a leader that was frozen and wakes deposed, and a read that finds it before it knows.
        "reads" if value == "lease" => Scenario::Leases,
        "lease_clock" | "lease_keep_alive" | "lease_promotion" => Scenario::Leases,
        // It takes a crash while the engine forgets a deletion; a read of the past in a transaction that writes.
        "restored_revision" | "txn_ranges" => Scenario::Compaction,
        // Snapshots that damage, that break, that crash; and replicas that are behind and answer.
        "wire_size" | "digest" | "header" | "snapshot_install" | "snapshot_cleanup" | "reads" => {
            Scenario::Lagging
        }
        // What was noted as flushed, and cut from the log, is missed after a kill at the wrong moment.
        "flush_index" | "flush_order" | "flush_index_place" | "flush_index_directory_sync" | "log_cut" => {
            Scenario::KillGate
        }
        // It takes members that change, and leaders that go down or are cut off right then.
        "conf_change_effect" | "conf_change_steps" | "conf_state_write" | "joint_leave"
        | "removed_leader" => Scenario::Membership,
        // What is applied a second time was applied before a crash, by any engine.
        "apply" | "defragment" => Scenario::Power,
        // What watches lose when replicas install snapshots, compact, or crash while they do.
        "watch_restore"
        | "watch_future"
        | "watch_progress"
        | "compaction_tombstone"
        | "restored_tombstone" => Scenario::Watches,
        _ => return None,
    })
}

/// Whether a choice, `FIELD=VALUE` or `FIELD`, names a wrong value.
fn is_wrong(choice: &str) -> bool {
    let (field, value) = choice.split_once('=').map_or((choice, None), |(field, value)| (field, Some(value)));
    let fields = Design::fields().iter().filter(|known| known.name == field);
    let mut choices = fields.flat_map(|known| known.choices);
    choices.any(|known| known.fault.is_some() && value.is_none_or(|value| value == known.name))
}

/// The entries of `choices`, each `FIELD=VALUE` or `FIELD`; all of them where there are none.
///
/// # Errors
/// Unknown fields and values, with a list of those that exist, and right values.
pub fn select(choices: &[String]) -> Result<Vec<Entry>, SelectError> {
    let entries = entries();
    for choice in choices {
        let (field, value) = choice.split_once('=').map_or((choice.as_str(), None), |(f, v)| (f, Some(v)));
        Design::default().get(field)?;
        if let Some(value) = value {
            Design::default().set(field, value)?;
        }
        if !entries.iter().any(|entry| is_chosen(entry, choice)) {
            let choice = choice.clone();
            return Err(match is_wrong(&choice) {
                true => SelectError::Uncovered { choice },
                false => SelectError::Right { choice },
            });
        }
    }
    let chosen = |entry: &Entry| choices.is_empty() || choices.iter().any(|choice| is_chosen(entry, choice));
    Ok(entries.into_iter().filter(chosen).collect())
}

fn is_chosen(entry: &Entry, choice: &str) -> bool {
    choice == entry.field || choice == entry.choice()
}

/// A selection that names nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// There is no such field or value.
    #[error(transparent)]
    Unknown(#[from] DesignError),
    /// The value is wrong, but nothing brings it to light.
    #[error("{choice} is a wrong design, and no scenario goes after it yet")]
    Uncovered {
        /// As it was given.
        choice: String,
    },
    /// The value is the baseline's.
    #[error("{choice} is the right design; nothing should catch it")]
    Right {
        /// As it was given.
        choice: String,
    },
}

/// What became of an entry.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// The first seed on which the named check found a violation.
    pub caught_by_seed: Option<u64>,
    /// The words of that violation.
    pub message: Option<String>,
    /// Seeds from 1 on that were tried.
    pub seeds_tried: u64,
    /// Other checks that found something, with the first seed of each.
    pub other_checks: BTreeMap<Check, u64>,
    /// Processor seconds of all tries under the wrong design.
    pub processor_s: f64,
    /// Seeds on which the baseline did not hold, of those that were tried.
    pub baseline_failed: BTreeSet<u64>,
}

impl Outcome {
    /// True where the named check caught it, and nothing is held against the baseline on the same seeds.
    pub fn is_good(&self) -> bool {
        self.caught_by_seed.is_some() && self.baseline_failed.is_empty()
    }
}

/// Tries `entry` on one seed after another, `jobs` at a time (0: one for each core), until its check catches it
/// or the budget is spent; and the baseline on the same seeds. The outcome does not depend on `jobs`.
///
/// # Errors
/// Where the host has no process or descriptor left.
pub fn hunt(entry: &Entry, jobs: usize) -> io::Result<Outcome> {
    let jobs = processes(jobs);
    let mut tries = Vec::new();
    let mut limit = BUDGET;
    run_seeds(entry.scenario, entry.design(), jobs, &mut limit, |limit, seed, execution| {
        if violation(&execution, entry.catcher).is_some() {
            *limit = (*limit).min(seed);
        }
        tries.push((seed, execution));
    })?;
    tries.retain(|(seed, _)| *seed <= limit);
    tries.sort_by_key(|(seed, _)| *seed);
    let mut outcome = sum_up(entry, &tries);
    let mut all = outcome.seeds_tried;
    run_seeds(entry.scenario, Design::default(), jobs, &mut all, |_, seed, execution| {
        if execution.report.verdict != Verdict::Held {
            outcome.baseline_failed.insert(seed);
        }
    })?;
    Ok(outcome)
}

/// Runs the seeds from 1 to `limit`, which `take` may lower; those above it are given up.
fn run_seeds(
    scenario: Scenario,
    design: Design,
    jobs: usize,
    limit: &mut u64,
    mut take: impl FnMut(&mut u64, u64, Execution),
) -> io::Result<()> {
    let mut executor = Executor::default();
    let mut running = BTreeSet::new();
    let mut next = 1;
    loop {
        while running.len() < jobs && next <= *limit {
            let mut plan = scenario.plan(next);
            plan.design = design;
            executor.start(next, plan, RunOptions::default())?;
            running.insert(next);
            next += 1;
        }
        if running.first().is_none_or(|seed| *seed > *limit) {
            return Ok(());
        }
        if let Some((seed, execution)) = executor.next(Duration::from_secs(60))? {
            running.remove(&seed);
            take(limit, seed, execution);
        }
    }
}

fn sum_up(entry: &Entry, tries: &[(u64, Execution)]) -> Outcome {
    let mut outcome = Outcome {
        entry: *entry,
        caught_by_seed: None,
        message: None,
        seeds_tried: tries.len() as u64,
        other_checks: BTreeMap::new(),
        processor_s: tries.iter().map(|(_, execution)| execution.processor_s).sum(),
        baseline_failed: BTreeSet::new(),
    };
    for (seed, execution) in tries {
        if let Some(message) = violation(execution, entry.catcher) {
            outcome.caught_by_seed.get_or_insert(*seed);
            outcome.message.get_or_insert(message);
        }
        for check in checks(execution).filter(|check| !entry.catcher.is(*check)) {
            outcome.other_checks.entry(check).or_insert(*seed);
        }
    }
    outcome
}

fn checks(execution: &Execution) -> impl Iterator<Item = Check> {
    let violations = match &execution.report.verdict {
        Verdict::Violated { violations } => violations.as_slice(),
        Verdict::Held | Verdict::Incomplete { .. } => &[],
    };
    violations.iter().map(|violation| violation.check)
}

/// The first violation that `catcher` found.
fn violation(execution: &Execution, catcher: Catcher) -> Option<String> {
    match &execution.report.verdict {
        Verdict::Violated { violations } => {
            violations.iter().find(|violation| catcher.is(violation.check)).map(|found| found.message.clone())
        }
        Verdict::Held | Verdict::Incomplete { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_value_that_a_scenario_goes_after_has_an_entry() {
        let wrong: usize = Design::fields()
            .iter()
            .map(|field| {
                let covered = |it: &&cluster::design::Choice| {
                    it.fault.is_some() && scenario_for(field.name, it.name).is_some()
                };
                field.choices.iter().filter(covered).count()
            })
            .sum();
        let entries = entries();
        assert_eq!(entries.len(), wrong);
        for entry in entries {
            assert_eq!(entry.design().differences(), [(entry.field, entry.value)]);
            assert_ne!(
                entry.scenario,
                Scenario::Default,
                "{} has no scenario that goes after it",
                entry.choice()
            );
        }
    }

    #[test]
    fn a_selection_names_fields_or_values_and_nothing_right() {
        let select = |choice: &str| select(&[choice.to_string()]);
        let names = |entries: Vec<Entry>| entries.iter().map(Entry::choice).collect::<Vec<_>>();
        assert_eq!(names(select("reads=local").unwrap()), ["reads=local"]);
        assert_eq!(names(select("reads").unwrap()), ["reads=local", "reads=lease"]);
        assert_eq!(
            select("reads=read-index").unwrap_err().to_string(),
            "reads=read-index is the right design; nothing should catch it"
        );
        assert!(select("reeds").unwrap_err().to_string().starts_with("unknown design field `reeds`"));
        assert!(select("reads=loud").unwrap_err().to_string().starts_with("unknown value `loud`"));
        assert_eq!(super::select(&[]).unwrap(), entries());
    }
}
