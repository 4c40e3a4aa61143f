//! `swarm`: many seeds.

use crate::arguments::SwarmArguments;
use crate::failure::{Failure, HELD, INCOMPLETE, VIOLATED};
use crate::{output, render};
use indicatif::{ProgressBar, ProgressStyle};
use scenarios::report::Verdict;
use scenarios::swarm::{Seeds, Summary, Swarm};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Violations that are shown in full.
const SHOWN: usize = 3;

pub(crate) fn run(arguments: &SwarmArguments) -> Result<ExitCode, Failure> {
    let variant = &arguments.variant;
    let design = variant.plan(0)?.design;
    let first = arguments.seeds.as_ref().map_or(1, |seeds| *seeds.start());
    let seeds = match (&arguments.seeds, arguments.minutes) {
        (_, Some(minutes)) => Seeds::until(first, Duration::from_secs(minutes * 60)),
        (Some(seeds), None) => Seeds::range(seeds.clone()),
        (None, None) => return Err(Failure::usage("--seeds or --minutes says which seeds to run")),
    };
    let bar = progress(seeds.total(), arguments.json);
    let started = Instant::now();
    let mut swarm = Swarm::new(variant.scenario, design, seeds, arguments.jobs, arguments.twice)
        .with_engines(&variant.engines);
    let mut shown = 0;
    while let Some(execution) = swarm.next().map_err(Failure::incomplete)? {
        bar.inc(1);
        if arguments.json {
            output::print_json(&execution)?;
        } else if execution.report.verdict != Verdict::Held && shown < SHOWN {
            shown += 1;
            let rerun = variant.rerun_line(execution.report.seed);
            let text = render::execution(&execution, Duration::ZERO, &rerun, false, None);
            bar.suspend(|| output::print(&text))?;
        }
        if arguments.stop_after > 0 && swarm.summary().violated.len() >= arguments.stop_after {
            break;
        }
    }
    bar.finish_and_clear();
    let summary = swarm.summary();
    if arguments.json {
        output::print_json(summary)?;
    } else {
        output::print(&render::summary(summary, started.elapsed()))?;
    }
    Ok(ExitCode::from(exit_code(summary)))
}

fn exit_code(summary: &Summary) -> u8 {
    match (summary.violated.is_empty(), summary.incomplete.is_empty()) {
        (false, _) => VIOLATED,
        (true, false) => INCOMPLETE,
        (true, true) => HELD,
    }
}

fn progress(count: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    match count {
        Some(count) => ProgressBar::new(count).with_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left")
                .expect("the template is legal"),
        ),
        None => ProgressBar::no_length().with_style(
            ProgressStyle::with_template("{pos} seeds, {elapsed}").expect("the template is legal"),
        ),
    }
}
