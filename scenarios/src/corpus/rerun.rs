//! Running entries again, each twice.

use super::Named;
use crate::execution::{Execution, Executor, processes};
use crate::milestones::Milestone;
use crate::run::RunOptions;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

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
    /// The hash of the trace; an exploration has many.
    pub trace: Option<u64>,
    /// Milestones that were reached.
    pub milestones: BTreeSet<Milestone>,
    /// Processor seconds: of both runs, or of an exploration.
    pub processor_s: f64,
}

/// Runs each entry twice, `jobs` at a time (0: one for each core); `take` gets the outcomes in order.
///
/// # Errors
/// Where the host has no process or descriptor left, and what `take` fails with: then the rest is given up.
pub fn rerun<E: From<io::Error>>(
    entries: &[Named],
    jobs: usize,
    mut take: impl FnMut(Outcome) -> Result<(), E>,
) -> Result<(), E> {
    let jobs = processes(jobs);
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
            take(outcome)?;
            taken += 1;
        }
    }
    Ok(())
}

fn compare(named: &Named, first: &Execution, second: &Execution) -> Outcome {
    let mut differences = named.entry.differences(first);
    let (trace, again) = (first.report.trace, second.report.trace);
    if !second.report.has_trace() {
        differences.extend(named.entry.differences(second));
    } else if first.report.has_trace() && trace != again {
        differences.push(format!("two runs gave the traces {trace:016x} and {again:016x}"));
    }
    Outcome {
        name: named.name.clone(),
        about: named.entry.about.clone(),
        expected: named.entry.verdict.to_string(),
        differences,
        trace: Some(trace),
        milestones: first.report.milestones.clone(),
        processor_s: first.processor_s + second.processor_s,
    }
}

/// The milestones that no entry reached: a corpus with such proves nothing about them.
pub fn unreached(outcomes: &[Outcome]) -> BTreeSet<Milestone> {
    let reached: BTreeSet<Milestone> =
        outcomes.iter().flat_map(|outcome| outcome.milestones.iter().copied()).collect();
    Milestone::ALL.into_iter().filter(|milestone| !reached.contains(milestone)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Entry, Expected};
    use crate::plan::Plan;
    use crate::report::{Report, Verdict};
    use crate::scenario::Scenario;

    fn plan() -> Plan {
        Scenario::Calm.plan(1)
    }

    /// A run that came to its end if it has a trace, and was given up if not.
    fn run(trace: Option<u64>) -> Execution {
        let verdict = match trace {
            Some(_) => Verdict::Held,
            None => Verdict::Incomplete { why: "no time left".to_owned() },
        };
        let mut report = Report::aborted(&plan(), verdict);
        report.trace = trace.unwrap_or(0);
        report.events = u64::from(trace.is_some());
        Execution { report, processor_s: 1.0, peak_bytes: 1 }
    }

    fn differences(first: Option<u64>, second: Option<u64>) -> Vec<String> {
        let entry = Entry {
            about: String::new(),
            verdict: Expected::Held,
            milestones: BTreeSet::new(),
            routes: BTreeSet::new(),
            plan: plan(),
        };
        let named = Named { name: "calm".to_owned(), entry };
        compare(&named, &run(first), &run(second)).differences
    }

    #[test]
    fn two_runs_are_compared_by_their_traces_and_one_without_is_told_by_its_end() {
        assert_eq!(differences(Some(1), Some(1)), [""; 0]);
        let differ = "two runs gave the traces 0000000000000001 and 0000000000000002";
        assert_eq!(differences(Some(1), Some(2)), [differ]);
        for (first, second) in [(Some(1), None), (None, Some(1))] {
            let told = differences(first, second);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].starts_with("expected held, but the run") && told[0].contains("no time left"));
        }
    }
}
