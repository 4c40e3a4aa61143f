//! Runs repeat: the same plan gives the same trace, whichever process runs it and whether or not the kernel
//! watches that no system call leaves the machine.

#![expect(clippy::unwrap_used, reason = "a test, functions outside #[test] included")]

mod alone;

use alone::alone;
use scenarios::plan::Plan;
use scenarios::report::{Report, Verdict};
use scenarios::scenario::Scenario;
use scenarios::{Executor, RunOptions, execute};
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs plans in parallel, `times` each; what each run of each gave, in the order of the plans.
fn repeat(plans: &[Plan], times: usize) -> Vec<Vec<Report>> {
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut executor = Executor::default();
    let mut waiting = (0..plans.len()).flat_map(|index| std::iter::repeat_n(index, times));
    let mut reports: BTreeMap<usize, Vec<Report>> = BTreeMap::new();
    loop {
        while executor.running() < cores
            && let Some(index) = waiting.next()
        {
            executor.start(index, plans[index].clone(), RunOptions::default()).unwrap();
        }
        let Some((index, execution)) = executor.next(Duration::from_secs(600)).unwrap() else { break };
        reports.entry(index).or_default().push(execution.report);
    }
    reports.into_values().collect()
}

/// The run proves something: it was completed, and clients were answered.
fn assert_complete(report: &Report) {
    assert!(
        !matches!(report.verdict, Verdict::Incomplete { .. }),
        "seed {}: {:?}",
        report.seed,
        report.verdict
    );
    assert!(report.acknowledged > 100 && report.events > 10_000, "seed {} did little", report.seed);
}

#[test]
fn a_seed_gives_one_trace() {
    alone("a_seed_gives_one_trace", || {
        let seeds = |scenario: Scenario| (1..=3).map(move |seed| scenario.plan(seed));
        let plans: Vec<Plan> = Scenario::ALL.into_iter().flat_map(seeds).collect();
        let mut traces: Vec<u64> = Vec::new();
        for twice in repeat(&plans, 2) {
            assert_complete(&twice[0]);
            assert_eq!(twice[0], twice[1], "{} seed {}", twice[0].scenario, twice[0].seed);
            traces.push(twice[0].trace);
        }
        traces.sort_unstable();
        traces.dedup();
        assert_eq!(traces.len(), plans.len(), "different plans have different traces");
    });
}

/// The whole run is the test: the kernel ends it at the first system call that is not on the list of
/// `sim/src/interpose/hermetic.rs`, and what is left must be the same run.
#[test]
fn no_system_call_of_a_whole_run_leaves_the_machine() {
    alone("no_system_call_of_a_whole_run_leaves_the_machine", || {
        for scenario in [Scenario::Default, Scenario::RollingUpgrade] {
            let plan = scenario.plan(1);
            let options = RunOptions { enforce_hermetic: true, ..RunOptions::default() };
            let watched = execute(&plan, options).unwrap().report;
            assert_complete(&watched);
            assert_eq!(watched, execute(&plan, RunOptions::default()).unwrap().report, "{scenario}");
        }
    });
}

/// What a run prints to rerun it asks for a trace: that run must be the same one.
#[test]
fn a_trace_changes_nothing() {
    alone("a_trace_changes_nothing", || {
        let seeds = |scenario: Scenario| (1..=4).map(move |seed| scenario.plan(seed));
        for plan in Scenario::ALL.into_iter().flat_map(seeds) {
            let options = RunOptions { trace: Some(Box::new(std::io::sink())), ..RunOptions::default() };
            let traced = execute(&plan, options).unwrap().report;
            let plain = execute(&plan, RunOptions::default()).unwrap().report;
            assert_eq!(traced, plain, "{} seed {}", plan.scenario, plan.seed);
        }
    });
}

#[test]
fn a_plan_survives_its_text() {
    alone("a_plan_survives_its_text", || {
        let plan = Scenario::Default.plan(2);
        let read_back = Plan::parse(&plan.to_text()).unwrap();
        let reports = repeat(&[plan, read_back], 1);
        assert_complete(&reports[0][0]);
        assert_eq!(reports[0], reports[1]);
    });
}

/// Not forks of one process but executions of the program.
#[test]
fn a_seed_gives_one_trace_in_every_execution_of_the_program() {
    let mut executions = Vec::new();
    for _ in 0..3 {
        let printed = alone("a_seed_gives_one_trace_in_every_execution_of_the_program", || {
            for scenario in Scenario::ALL {
                let report = execute(&scenario.plan(5), RunOptions::default()).unwrap().report;
                assert_complete(&report);
                println!("trace {:016x} {scenario}", report.trace);
            }
        });
        let Some(printed) = printed else { return };
        let traces: Vec<String> =
            printed.lines().filter(|line| line.starts_with("trace ")).map(str::to_string).collect();
        assert_eq!(traces.len(), Scenario::ALL.len(), "{printed}");
        executions.push(traces);
    }
    assert_eq!((&executions[0], &executions[0]), (&executions[1], &executions[2]));
}
