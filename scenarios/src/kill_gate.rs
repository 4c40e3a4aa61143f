//! The kill gate: replicas under load are killed at random disk operations, a thousand times and more, and no
//! replica may diverge and no acknowledged write be lost.
//!
//! A run has about 25 kills, in rounds. In each round there is a burst of writes, and one replica, two or all three
//! are killed at a disk operation each, or inside it; half of the kills take the process only, the others the power.
//! Some fall again while the replica recovers. In four of ten runs fjall's journal is not synced, so that its tables and
//! the raft log are all there is.
//!
//! What counts are kills that fell, in runs that held and were asked for everything. In some runs the engines lose
//! more than raft can make good: a majority loses its state at once (docs/findings). Such a run must not lie, but it
//! need not live, and its kills are not counted.

use crate::execution::{Execution, Executor};
use crate::generate::{self, stream};
use crate::plan::{CrashPlace, EngineName, Fault, Plan, PlannedFault, Target};
use crate::report::{Report, Verdict};
use crate::run::RunOptions;
use crate::scenario::Scenario;
use crate::targeted;
use cluster::Design;
use model::verdict::Check;
use serde::Serialize;
use sim::entropy::{Entropy, Ratio};
use sim::{Crash, OperationFilter};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// Rounds of a run.
const ROUNDS: u64 = 14;
/// Virtual time of a round in milliseconds.
const ROUND_MS: u64 = 2_500;
/// Virtual time of the burst that a round begins with.
const BURST_MS: u64 = 400;
/// The disk operation at which a kill falls, at most, counted from a moment in the burst.
const OPERATIONS_MAX: u64 = 60;

/// The plan of `seed`.
pub(crate) fn plan(seed: u64) -> Plan {
    let mut entropy = stream(seed, "kill gate");
    let mut plan = generate::calm(seed);
    plan.scenario = Scenario::KillGate.name().to_string();
    plan.sync_engine_log = entropy.chance(Ratio::percent(60));
    plan.operations.clear();
    for node in &mut plan.nodes {
        for faults in [&mut node.log_faults, &mut node.data_faults] {
            faults.sync_latency_mean_ns = entropy.between(150_000, 4_000_000);
        }
    }
    for round in 0..ROUNDS {
        let at_ms = 1_500 + round * ROUND_MS;
        let burst = entropy.between(10, 45);
        targeted::operations(&mut plan, &mut entropy, at_ms..at_ms + BURST_MS, burst, 5);
        targeted::operations(&mut plan, &mut entropy, at_ms + BURST_MS..at_ms + ROUND_MS, 5, 5);
        kills(&mut plan, &mut entropy, at_ms);
    }
    targeted::finish(plan, 1_500 + ROUNDS * ROUND_MS)
}

/// The kills of the round that begins at `at_ms`.
fn kills(plan: &mut Plan, entropy: &mut Entropy, at_ms: u64) {
    let mut nodes: Vec<u64> = (1..=plan.nodes.len() as u64).collect();
    entropy.shuffle(&mut nodes);
    let victims = match entropy.below(10) {
        0..=4 => 1,
        5..=7 => 2,
        _ => nodes.len(),
    };
    for node in nodes.into_iter().take(victims) {
        let crash = *entropy.choose(&[Crash::ProcessKill, Crash::PowerFailure]);
        let inside = entropy.chance(Ratio::percent(30));
        let filter = OperationFilter { writes_only: inside, ..OperationFilter::default() };
        let at = Some(CrashPlace { operation: entropy.between(1, OPERATIONS_MAX), inside, filter });
        let again = if entropy.chance(Ratio::percent(20)) { 1 } else { 0 };
        let again_after = (0..again).map(|_| entropy.between(1, OPERATIONS_MAX)).collect();
        let down_ms = entropy.between(20, 500);
        let fault = Fault::Crash { target: Target::Node(node), crash, at, down_ms, again_after };
        plan.faults.push(PlannedFault { at_ms: at_ms + entropy.below(BURST_MS), fault });
    }
}

/// What the gate saw so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Kills of the process that count.
    pub process_kills: u64,
    /// Power failures that count.
    pub power_failures: u64,
    /// Of both, those that fell before the replica had come up again.
    pub in_recovery: u64,
    /// Of both, those that fell inside a write.
    pub in_write: u64,
    /// Runs, from the first seed on.
    pub runs: u64,
    /// The first seed.
    pub first_seed: u64,
    /// Runs whose kills do not count, since a majority lost its state at once, or an engine hangs.
    pub runs_waived: u64,
    /// Kills in those.
    pub kills_waived: u64,
    /// Runs that broke a promise: seed and the first check.
    pub violated: BTreeMap<u64, Check>,
    /// Runs that could not be completed: seed and why.
    pub incomplete: BTreeMap<u64, String>,
    /// Stores that were set aside, and whose replica was rebuilt, by engine.
    pub rebuilt: BTreeMap<String, u64>,
    /// Client operations answered.
    pub acknowledged: u64,
    /// Processor seconds of all runs.
    pub processor_s: f64,
}

impl Summary {
    /// Kills that count.
    pub fn kills(&self) -> u64 {
        self.process_kills + self.power_failures
    }

    /// Whether the gate is passed: nothing was violated, and everything could be judged.
    pub fn held(&self) -> bool {
        self.violated.is_empty() && self.incomplete.is_empty()
    }

    fn add(&mut self, execution: &Execution) {
        let report = &execution.report;
        self.runs += 1;
        self.processor_s += execution.processor_s;
        self.acknowledged += report.acknowledged;
        for finding in &report.findings {
            *self.rebuilt.entry(finding.engine.clone()).or_default() += 1;
        }
        match &report.verdict {
            Verdict::Held if report.liveness_waived.is_none() => self.count(report),
            Verdict::Held => {
                self.runs_waived += 1;
                self.kills_waived += report.process_kills + report.power_failures;
            }
            Verdict::Violated { violations } => {
                let check = violations.first().map_or(Check::Live, |violation| violation.check);
                self.violated.insert(report.seed, check);
            }
            Verdict::Incomplete { why } => {
                self.incomplete.insert(report.seed, why.clone());
            }
        }
    }

    fn count(&mut self, report: &Report) {
        self.process_kills += report.process_kills;
        self.power_failures += report.power_failures;
        self.in_recovery += report.crashes_in_recovery;
        self.in_write += report.crashes_in_write;
    }
}

/// How the gate is set.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many kills must fall.
    pub kills: u64,
    /// The seed of the first run; the others follow.
    pub seed: u64,
    /// The engines of the nodes, as in [`Plan::set_engines`].
    pub engines: Vec<EngineName>,
    /// The choices of the protocol.
    pub design: Design,
    /// How many processes at the same time; 0 is one for each core.
    pub jobs: usize,
}

/// Runs seed after seed until enough kills have counted, or a run did not hold. `on_run` hears of each run, in the
/// order of their seeds, on which alone the outcome depends.
///
/// # Errors
/// Where the host has no process or descriptor left, or a node cannot have its engine.
pub fn run(options: &Options, mut on_run: impl FnMut(&Summary, &Execution)) -> io::Result<Summary> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = if options.jobs == 0 { cores } else { options.jobs };
    let mut executor = Executor::default();
    let mut ended: BTreeMap<u64, Execution> = BTreeMap::new();
    let (mut next_start, mut next_result) = (options.seed, options.seed);
    let mut summary = Summary { first_seed: options.seed, ..Summary::default() };
    while summary.kills() < options.kills && summary.held() {
        while executor.running() < jobs {
            executor.start(next_start, planned(options, next_start)?, RunOptions::default())?;
            next_start += 1;
        }
        if let Some((seed, execution)) = executor.next(Duration::from_secs(60))? {
            ended.insert(seed, execution);
        }
        while let Some(execution) = ended.remove(&next_result)
            && summary.kills() < options.kills
        {
            next_result += 1;
            summary.add(&execution);
            on_run(&summary, &execution);
        }
    }
    Ok(summary)
}

fn planned(options: &Options, seed: u64) -> io::Result<Plan> {
    let mut plan = Scenario::KillGate.plan(seed);
    plan.design = options.design;
    plan.set_engines(&options.engines).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_about_25_kills_and_half_of_them_take_the_process_only() {
        let (mut kills, mut of_the_process, mut all_at_once, mut without_log) = (0, 0, 0, 0);
        for seed in 1..=40 {
            let plan = plan(seed);
            plan.check().unwrap();
            without_log += u64::from(!plan.sync_engine_log);
            assert!(plan.operations.len() > 250);
            let mut victims: BTreeMap<u64, u64> = BTreeMap::new();
            for planned in &plan.faults {
                let Fault::Crash { crash, again_after, .. } = &planned.fault else {
                    panic!("{:?} is no kill", planned.fault)
                };
                let count = 1 + again_after.len() as u64;
                kills += count;
                of_the_process += if *crash == Crash::ProcessKill { count } else { 0 };
                *victims.entry((planned.at_ms - 1_500) / ROUND_MS).or_default() += 1;
            }
            all_at_once += victims.values().filter(|count| **count == 3).count();
            assert_eq!(victims.len() as u64, ROUNDS);
        }
        assert!((20 * 40..40 * 40).contains(&kills), "{kills}");
        assert!((kills * 4 / 10..kills * 6 / 10).contains(&of_the_process), "{of_the_process} of {kills}");
        assert!(all_at_once > 40, "{all_at_once}");
        assert!((5..35).contains(&without_log), "{without_log}");
    }

    #[test]
    fn kills_of_runs_that_were_waived_or_did_not_hold_do_not_count() {
        let report = |verdict, waived| {
            let mut report = Report::aborted(&plan(7), verdict);
            (report.process_kills, report.power_failures, report.liveness_waived) = (3, 4, waived);
            Execution { report, processor_s: 0.5, peak_bytes: 0 }
        };
        let mut summary = Summary::default();
        summary.add(&report(Verdict::Held, None));
        summary.add(&report(Verdict::Held, Some(crate::report::LivenessWaiver::MajorityWithoutState)));
        assert!(summary.held());
        assert_eq!((summary.kills(), summary.kills_waived, summary.runs), (7, 7, 2));
        summary.add(&report(Verdict::Incomplete { why: "time".to_owned() }, None));
        assert_eq!((summary.kills(), summary.held()), (7, false));
    }
}
