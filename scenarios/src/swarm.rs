//! Many seeds of one scenario, one process each.

use crate::execution::{Execution, Executor, processes};
use crate::milestones::Milestone;
use crate::plan::EngineName;
use crate::report::{LivenessWaiver, Verdict};
use crate::run::RunOptions;
use crate::scenario::Scenario;
use crate::upgrades::Route;
use cluster::Design;
use model::verdict::{Check, Violation};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Which seeds a swarm runs.
#[derive(Clone, Debug)]
pub struct Seeds {
    next: u64,
    last: u64,
    until: Option<Instant>,
}

impl Seeds {
    /// These, both ends included.
    pub fn range(seeds: RangeInclusive<u64>) -> Self {
        Self { next: *seeds.start(), last: *seeds.end(), until: None }
    }

    /// From `first` on, for so long.
    pub fn until(first: u64, duration: Duration) -> Self {
        Self { next: first, last: u64::MAX, until: Some(Instant::now() + duration) }
    }

    /// How many there are, where that is known.
    pub fn total(&self) -> Option<u64> {
        self.until.is_none().then(|| (self.last - self.next).saturating_add(1))
    }
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let over = self.next > self.last || self.until.is_some_and(|until| Instant::now() >= until);
        if over {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

/// What a swarm found so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Seeds done.
    pub seeds: u64,
    /// Seeds that broke a promise, with the first check that each broke.
    pub violated: BTreeMap<u64, Check>,
    /// Seeds that could not be completed.
    pub incomplete: BTreeSet<u64>,
    /// Seeds in which each milestone was reached.
    pub milestones: BTreeMap<Milestone, u64>,
    /// Seeds in which each route of upgrades was taken, by its name; in the scenario that wants all of them, those
    /// that were not taken, too.
    pub upgrade_routes: BTreeMap<String, u64>,
    /// Broken promises of engines: engine, cause, whether its device was at fault → seeds, and the first of them.
    pub findings: BTreeMap<String, (u64, u64)>,
    /// Seeds that were not asked to live, by the reason.
    pub liveness_waived: BTreeMap<LivenessWaiver, u64>,
    /// Client operations answered.
    pub acknowledged: u64,
    /// Virtual seconds.
    pub virtual_s: f64,
    /// Processor seconds.
    pub processor_s: f64,
    /// Largest resident size of a seed in bytes.
    pub peak_bytes: u64,
    /// Crashes of both kinds.
    pub crashes: u64,
}

impl Summary {
    fn add(&mut self, execution: &Execution) {
        let report = &execution.report;
        self.seeds += 1;
        match &report.verdict {
            Verdict::Held => {}
            Verdict::Violated { violations } => {
                let check = violations.first().map_or(Check::Live, |violation| violation.check);
                self.violated.insert(report.seed, check);
            }
            Verdict::Incomplete { .. } => {
                self.incomplete.insert(report.seed);
            }
        }
        for milestone in &report.milestones {
            *self.milestones.entry(*milestone).or_default() += 1;
        }
        for route in &report.upgrade_routes {
            *self.upgrade_routes.entry(route.clone()).or_default() += 1;
        }
        let kinds: BTreeSet<String> = report
            .findings
            .iter()
            .map(|finding| {
                let device = if finding.device_at_fault { " (device at fault)" } else { "" };
                format!("{}{device}: {}", finding.engine, without_numbers(&finding.cause))
            })
            .collect();
        for kind in kinds {
            let entry = self.findings.entry(kind).or_insert((0, report.seed));
            entry.0 += 1;
            entry.1 = entry.1.min(report.seed);
        }
        if let Some(waiver) = report.liveness_waived {
            *self.liveness_waived.entry(waiver).or_default() += 1;
        }
        self.acknowledged += report.acknowledged;
        self.virtual_s += report.virtual_s;
        self.processor_s += execution.processor_s;
        self.peak_bytes = self.peak_bytes.max(execution.peak_bytes);
        self.crashes += report.power_failures + report.process_kills;
    }
}

/// The routes that a swarm of `scenario` is to take, none of them taken yet.
fn wanted_routes(scenario: Scenario) -> BTreeMap<String, u64> {
    let wanted = if scenario == Scenario::UpgradeMatrix { Route::all() } else { Vec::new() };
    wanted.iter().map(|route| (route.to_string(), 0)).collect()
}

/// A cause without its numbers, so that causes of one kind are counted together.
fn without_numbers(cause: &str) -> String {
    let mut kind = String::new();
    for character in cause.chars().take(160) {
        match character {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            other => kind.push(other),
        }
    }
    kind
}

/// A swarm on its way.
pub struct Swarm {
    scenario: Scenario,
    design: Design,
    /// Those of the nodes, instead of the plan's; see [`crate::plan::Plan::set_engines`].
    engines: Vec<EngineName>,
    seeds: Seeds,
    jobs: usize,
    twice: bool,
    executor: Executor<u64>,
    /// The trace of the first run of a seed that runs twice.
    first_traces: BTreeMap<u64, u64>,
    summary: Summary,
}

impl Swarm {
    /// A swarm of `scenario` under `design`; `jobs` processes at a time (0: one for each core); each seed twice,
    /// with equal traces, where `twice` is set.
    pub fn new(scenario: Scenario, design: Design, seeds: Seeds, jobs: usize, twice: bool) -> Self {
        Self {
            scenario,
            design,
            engines: Vec::new(),
            seeds,
            jobs: processes(jobs),
            twice,
            executor: Executor::default(),
            first_traces: BTreeMap::new(),
            summary: Summary { upgrade_routes: wanted_routes(scenario), ..Summary::default() },
        }
    }

    /// The same swarm, its nodes with these engines instead of the plans' own. An empty list changes nothing.
    #[must_use]
    pub fn with_engines(self, engines: &[EngineName]) -> Self {
        Self { engines: engines.to_vec(), ..self }
    }

    /// What was found so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The next seed's execution; none at the end.
    ///
    /// # Errors
    /// Where the host has no process or descriptor left.
    #[expect(clippy::should_implement_trait, reason = "an iterator's `next` cannot fail")]
    pub fn next(&mut self) -> io::Result<Option<Execution>> {
        loop {
            while self.executor.running() < self.jobs {
                let Some(seed) = self.seeds.next() else { break };
                self.start(seed)?;
            }
            if self.executor.running() == 0 {
                return Ok(None);
            }
            let Some((seed, execution)) = self.executor.next(Duration::from_secs(60))? else { continue };
            if let Some(execution) = self.finish(seed, execution)? {
                self.summary.add(&execution);
                return Ok(Some(execution));
            }
        }
    }

    fn start(&mut self, seed: u64) -> io::Result<()> {
        let mut plan = self.scenario.plan(seed);
        plan.design = self.design;
        plan.set_engines(&self.engines)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.executor.start(seed, plan, RunOptions::default())
    }

    /// Takes an execution; one that is to be repeated goes round again first.
    fn finish(&mut self, seed: u64, mut execution: Execution) -> io::Result<Option<Execution>> {
        if !self.twice || !execution.report.has_trace() {
            return Ok(Some(execution));
        }
        let trace = execution.report.trace;
        match self.first_traces.remove(&seed) {
            None => {
                self.first_traces.insert(seed, trace);
                self.start(seed)?;
                Ok(None)
            }
            Some(first) => {
                if first != trace {
                    let message =
                        format!("two runs of seed {seed} gave the traces {first:016x} and {trace:016x}");
                    let violation = Violation::new(Check::Deterministic, message)
                        .with("`cargo xtask sim --twice` with this seed names the first event that differs");
                    execution.report.verdict = Verdict::Violated { violations: vec![violation] };
                }
                Ok(Some(execution))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    /// What becomes of seed 1 where its first run had trace 7, and the second ends so.
    fn second_run(trace: u64, events: u64, verdict: Verdict) -> Verdict {
        let seeds = Seeds::range(1..=1);
        let mut swarm = Swarm::new(Scenario::Calm, Design::default(), seeds, 1, true);
        swarm.first_traces.insert(1, 7);
        let mut report = Report::aborted(&Scenario::Calm.plan(1), verdict);
        (report.trace, report.events) = (trace, events);
        let execution = Execution { report, processor_s: 1.0, peak_bytes: 1 };
        swarm.finish(1, execution).unwrap().expect("it is not repeated again").report.verdict
    }

    #[test]
    fn a_seed_that_runs_twice_must_give_one_trace() {
        assert_eq!(second_run(7, 1, Verdict::Held), Verdict::Held);
        let Verdict::Violated { violations } = second_run(8, 1, Verdict::Held) else { panic!("held") };
        assert_eq!(violations[0].check, Check::Deterministic);
        assert!(violations[0].message.contains("0000000000000007 and 0000000000000008"));
        let given_up = Verdict::Incomplete { why: "no time left".to_owned() };
        assert_eq!(second_run(0, 0, given_up.clone()), given_up);
    }
}
