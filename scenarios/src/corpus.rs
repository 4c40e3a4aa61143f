//! The regression corpus: plans that are kept, each with why, the verdict that it must have, and the milestones
//! that it must reach.
//!
//! An entry is a file of its own. It keeps the plan and not the seed, so it survives changes of the generator.

use crate::execution::{Execution, Executor};
use crate::milestones::Milestone;
use crate::plan::{self, EngineName, Plan, PlanError};
use crate::report::{EngineFinding, Verdict};
use crate::run::RunOptions;
use crate::zoo;
use model::verdict::Check;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NameError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the entries of this project are.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
/// The extension of an entry's file.
const EXTENSION: &str = "ron";

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

    /// An entry that expects what `execution` of `plan` came to: of a design of the zoo the check that must catch
    /// it, of another violation the first check, and a finding where `finding` asks for it.
    ///
    /// # Errors
    /// Where the run was not completed, or there is no such violation or finding.
    pub fn observed(about: String, plan: Plan, execution: &Execution, finding: bool) -> Result<Self, String> {
        let report = &execution.report;
        let verdict = match (&report.verdict, finding) {
            (Verdict::Incomplete { why }, _) => return Err(format!("the run was not completed: {why}")),
            (Verdict::Held, false) => Expected::Held,
            (Verdict::Held, true) => {
                let finding = report.findings.first().ok_or("the run holds, and has no engine finding")?;
                expect_finding(finding)
            }
            (Verdict::Violated { .. }, true) => return Err("the run has a violation".to_string()),
            (Verdict::Violated { violations }, false) => {
                let wrong = zoo::entries().into_iter().find(|entry| entry.design() == plan.design);
                let check = wrong.map_or(violations[0].check, |entry| entry.check);
                if violations.iter().all(|violation| violation.check != check) {
                    return Err(format!("{check} is not among the violations of the run"));
                }
                Expected::Violated(check)
            }
        };
        Ok(Self { about, verdict, milestones: report.milestones.clone(), plan })
    }

    /// What is not as the entry says; empty where all is.
    pub fn differences(&self, execution: &Execution) -> Vec<String> {
        let report = &execution.report;
        let mut differences: Vec<String> = self.verdict.difference(execution).into_iter().collect();
        let missed = self.milestones.difference(&report.milestones);
        differences.extend(missed.map(|milestone| format!("the milestone `{milestone}` was not reached")));
        differences
    }
}

/// The first sentence of a cause, without what differs from run to run.
fn expect_finding(finding: &EngineFinding) -> Expected {
    let engine = EngineName(finding.engine.parse().expect("a finding names an engine"));
    let cause: String = finding.cause.chars().take_while(|character| !character.is_ascii_digit()).collect();
    Expected::Finding { engine, cause: cause.trim_end().to_string() }
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

/// An entry and its name: that of its file, without the extension.
#[derive(Clone, Debug)]
pub struct Named {
    /// A number for the order, and words.
    pub name: String,
    /// The entry.
    pub entry: Entry,
}

/// An entry that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct CorpusError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub problem: CorpusProblem,
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CorpusProblem {
    /// The directory or file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The text is not an entry.
    #[error(transparent)]
    Entry(#[from] PlanError),
    /// The directory has no entry, or none of these names.
    #[error("there is no entry{}", if names.is_empty() { String::new() } else { format!(" named {}", names.join(" or ")) })]
    None {
        /// The names asked for.
        names: Vec<String>,
    },
}

/// The entries in `directory` whose names contain one of `names`, or all where there are none, in order.
///
/// # Errors
/// The first entry that cannot be read. No entry at all is an error, too.
pub fn load(directory: &Path, names: &[String]) -> Result<Vec<Named>, CorpusError> {
    let failed = |path: &Path, problem| CorpusError { path: path.to_path_buf(), problem };
    let mut entries = Vec::new();
    for (name, path) in files(directory).map_err(|error| failed(directory, error.into()))? {
        if !names.is_empty() && !names.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error.into()))?;
        let entry = Entry::parse(&text).map_err(|error| failed(&path, error.into()))?;
        entries.push(Named { name, entry });
    }
    if entries.is_empty() {
        return Err(failed(directory, CorpusProblem::None { names: names.to_vec() }));
    }
    Ok(entries)
}

/// The names and paths of the entries in `directory`, in order.
fn files(directory: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            files.insert(name.to_string(), path);
        }
    }
    Ok(files)
}

/// Writes an entry under the next free number, or over the entry of the same words. Returns its path.
///
/// # Errors
/// Where the directory cannot be read, or the file not be written.
pub fn store(directory: &Path, words: &str, entry: &Entry) -> Result<PathBuf, CorpusError> {
    let failed =
        |path: &Path, error: io::Error| CorpusError { path: path.to_path_buf(), problem: error.into() };
    let files = files(directory).map_err(|error| failed(directory, error))?;
    let known = files.iter().find(|(name, _)| name.split_once('-').is_some_and(|(_, rest)| rest == words));
    let path = match known {
        Some((_, path)) => path.clone(),
        None => {
            let numbers = files.keys().filter_map(|name| name.split_once('-')?.0.parse::<u32>().ok());
            directory.join(format!("{:02}-{words}.{EXTENSION}", numbers.max().unwrap_or(0) + 1))
        }
    };
    std::fs::write(&path, entry.to_text()).map_err(|error| failed(&path, error))?;
    Ok(path)
}

/// What became of an entry.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The entry's name.
    pub name: String,
    /// Why it is there.
    pub about: String,
    /// How it must end, in words.
    pub expected: String,
    /// What is not as it must be; empty where all is.
    pub differences: Vec<String>,
    /// The hash of the trace.
    pub trace: u64,
    /// Milestones that were reached.
    pub milestones: BTreeSet<Milestone>,
    /// Processor seconds of both runs.
    pub processor_s: f64,
}

/// Runs each entry twice, `jobs` at a time (0: one for each core); `take` gets the outcomes in order.
///
/// # Errors
/// Where the host has no process or descriptor left.
pub fn rerun(entries: &[Named], jobs: usize, mut take: impl FnMut(Outcome)) -> io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = if jobs == 0 { cores } else { jobs };
    let mut executor = Executor::default();
    let mut waiting = (0..entries.len()).flat_map(|index| [index, index]);
    let mut first_runs: BTreeMap<usize, Execution> = BTreeMap::new();
    let mut done: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut taken = 0;
    while taken < entries.len() {
        while executor.running() < jobs
            && let Some(index) = waiting.next()
        {
            executor.start(index, entries[index].entry.plan.clone(), RunOptions::default())?;
        }
        let Some((index, execution)) = executor.next(Duration::from_secs(60))? else { continue };
        match first_runs.remove(&index) {
            None => {
                first_runs.insert(index, execution);
            }
            Some(first) => {
                done.insert(index, compare(&entries[index], &first, &execution));
            }
        }
        while let Some(outcome) = done.remove(&taken) {
            take(outcome);
            taken += 1;
        }
    }
    Ok(())
}

fn compare(named: &Named, first: &Execution, second: &Execution) -> Outcome {
    let mut differences = named.entry.differences(first);
    let (trace, again) = (first.report.trace, second.report.trace);
    if trace != again {
        differences.push(format!("two runs gave the traces {trace:016x} and {again:016x}"));
    }
    Outcome {
        name: named.name.clone(),
        about: named.entry.about.clone(),
        expected: named.entry.verdict.to_string(),
        differences,
        trace,
        milestones: first.report.milestones.clone(),
        processor_s: first.processor_s + second.processor_s,
    }
}
