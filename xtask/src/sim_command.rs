//! `sim`: one plan.

use crate::arguments::SimArguments;
use crate::failure::Failure;
use crate::kill_gate;
use crate::{output, render};
use scenarios::evidence::Explanation;
use scenarios::plan::Plan;
use scenarios::report::Verdict;
use scenarios::{Execution, RunOptions, execute, investigate};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

pub(crate) fn run(arguments: &SimArguments) -> Result<ExitCode, Failure> {
    if arguments.run.variant.design.iter().any(|choice| choice == "list") {
        output::print(&render::designs())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(kills) = arguments.kills {
        return kill_gate::run(kills, arguments);
    }
    let plan = arguments.run.plan()?;
    if let Some(file) = &arguments.write_plan {
        write_plan(file, &plan)?;
    }
    if arguments.twice {
        return run_twice(&plan, arguments);
    }
    let started = Instant::now();
    let execution = run_once(&plan, arguments.trace.as_deref(), arguments.hermetic)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&execution).expect("a report is JSON");
        output::print(&format!("{json}\n"))?;
    } else {
        let elapsed = started.elapsed();
        let rerun = arguments.run.rerun_line();
        let explanation = explanation(&plan, &execution)?;
        output::print(&render::execution(&execution, elapsed, &rerun, arguments.verbose, explanation))?;
    }
    Ok(ExitCode::from(render::exit_code(&execution.report.verdict)))
}

/// What broke first, explained: the run is done once more, recorded. Nothing where every check held.
fn explanation(plan: &Plan, execution: &Execution) -> Result<Option<Explanation>, Failure> {
    match execution.report.verdict {
        Verdict::Held | Verdict::Incomplete { .. } => Ok(None),
        Verdict::Violated { .. } => {
            let investigation = investigate(plan).map_err(Failure::incomplete)?;
            Ok(Explanation::of(&investigation.case_file))
        }
    }
}

fn write_plan(file: &Path, plan: &Plan) -> Result<(), Failure> {
    if file == Path::new("-") {
        return output::print(&plan.to_text());
    }
    std::fs::write(file, output::as_typed(&plan.to_text()))
        .map_err(|error| Failure::usage(format!("{}: cannot be written: {error}", file.display())))
}

fn run_once(plan: &Plan, trace: Option<&Path>, enforce_hermetic: bool) -> Result<Execution, Failure> {
    let trace = match trace {
        Some(file) => Some(create(file)?),
        None => None,
    };
    execute(plan, RunOptions { trace, enforce_hermetic }).map_err(Failure::incomplete)
}

fn create(file: &Path) -> Result<Box<dyn Write + Send>, Failure> {
    let created = File::create(file)
        .map_err(|error| Failure::usage(format!("{}: cannot be written: {error}", file.display())))?;
    Ok(Box::new(BufWriter::with_capacity(1 << 16, created)))
}

/// Runs the plan twice, with traces, and names the first event that differs.
fn run_twice(plan: &Plan, arguments: &SimArguments) -> Result<ExitCode, Failure> {
    let base = arguments
        .trace
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("brownout-{}", plan.seed)));
    let files = ["first", "second"].map(|which| base.with_extension(which));
    let mut hashes = Vec::new();
    for file in &files {
        let report = run_once(plan, Some(file), arguments.hermetic)?.report;
        match report.verdict {
            Verdict::Incomplete { why } if !report.has_trace() => {
                return Err(Failure::incomplete(format!("a run was not completed: {why}")));
            }
            _ => hashes.push(report.trace),
        }
    }
    let open = |file: &Path| File::open(file).map(BufReader::new).map_err(Failure::incomplete);
    let difference =
        sim::first_difference(open(&files[0])?, open(&files[1])?).map_err(Failure::incomplete)?;
    match difference {
        None => {
            output::print(&format!("equal: two traces of {:016x}\n", hashes[0]))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(difference) => {
            let traces = format!("traces: {} {}\n", files[0].display(), files[1].display());
            output::print(&(render::difference(&difference) + &traces))?;
            Ok(ExitCode::from(crate::failure::VIOLATED))
        }
    }
}
