//! `sim --scenario kill-gate --kills N`: kills without end, until enough have fallen.

use crate::arguments::SimArguments;
use crate::failure::{Failure, HELD, INCOMPLETE, VIOLATED};
use crate::{output, render};
use indicatif::{ProgressBar, ProgressStyle};
use scenarios::kill_gate::{self, Options, Summary};
use scenarios::report::Verdict;
use scenarios::scenario::Scenario;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The seed of the first run, where none is given.
const FIRST_SEED: u64 = 1;

pub(crate) fn run(kills: u64, arguments: &SimArguments) -> Result<ExitCode, Failure> {
    let variant = &arguments.run.variant;
    if variant.scenario != Scenario::KillGate {
        return Err(Failure::usage("--kills goes with --scenario kill-gate"));
    }
    let options = Options {
        kills,
        seed: arguments.run.seed.unwrap_or(FIRST_SEED),
        engines: variant.engines.clone(),
        design: variant.plan(0)?.design,
        jobs: 0,
    };
    let started = Instant::now();
    let bar = progress(kills, arguments.json);
    let mut failed = None;
    let summary = kill_gate::run(&options, |summary, execution| {
        bar.set_position(summary.kills());
        if execution.report.verdict != Verdict::Held {
            failed.get_or_insert_with(|| execution.clone());
        }
    })
    .map_err(Failure::incomplete)?;
    bar.finish_and_clear();
    if arguments.json {
        output::print_json(&summary)?;
    } else {
        if let Some(execution) = &failed {
            let rerun = variant.rerun_line(execution.report.seed);
            output::print(&render::execution(execution, Duration::ZERO, &rerun, arguments.verbose, None))?;
        }
        output::print(&render::kill_gate(&summary, started.elapsed()))?;
    }
    Ok(ExitCode::from(exit_code(&summary)))
}

fn exit_code(summary: &Summary) -> u8 {
    match (summary.violated.is_empty(), summary.incomplete.is_empty()) {
        (false, _) => VIOLATED,
        (true, false) => INCOMPLETE,
        (true, true) => HELD,
    }
}

fn progress(kills: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let template = "{bar:40} {pos}/{len} kills, {eta} left";
    ProgressBar::new(kills).with_style(ProgressStyle::with_template(template).expect("the template is legal"))
}
