//! `sim`: one plan.

use crate::arguments::SimArguments;
use crate::failure::Failure;
use crate::kill_gate;
use crate::{output, render};
use scenarios::plan::{EngineName, Plan};
use scenarios::report::Verdict;
use scenarios::{Execution, RunOptions, execute, investigate};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

pub(crate) fn run(arguments: &SimArguments) -> Result<ExitCode, Failure> {
    if arguments.design.iter().any(|choice| choice == "list") {
        output::print(&render::designs())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(kills) = arguments.kills {
        return kill_gate::run(kills, arguments);
    }
    let mut plan = match (&arguments.plan, arguments.seed) {
        (Some(file), _) => read_plan(file)?,
        (None, Some(seed)) => arguments.scenario.plan(seed),
        (None, None) => return Err(Failure::usage("--seed or --plan says what to run")),
    };
    set_design(&mut plan, &arguments.design)?;
    plan.set_engines(&arguments.engines).map_err(Failure::usage)?;
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
        let rerun = rerun_line(arguments);
        let diagram = diagram(&plan, &execution)?;
        output::print(&render::execution(&execution, elapsed, &rerun, arguments.verbose, &diagram))?;
    }
    Ok(ExitCode::from(render::exit_code(&execution.report.verdict)))
}

/// The violation as a small time diagram: the run is done once more, recorded. Nothing where every check held.
fn diagram(plan: &Plan, execution: &Execution) -> Result<Vec<String>, Failure> {
    match execution.report.verdict {
        Verdict::Held | Verdict::Incomplete { .. } => Ok(Vec::new()),
        Verdict::Violated { .. } => {
            let investigation = investigate(plan).map_err(Failure::incomplete)?;
            Ok(scenarios::evidence::diagram(&investigation.case_file))
        }
    }
}

/// Reads a plan's file.
pub(crate) fn read_plan(file: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{}: cannot be read: {error}", file.display())))?;
    Plan::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

/// Applies `--design FIELD=VALUE`.
pub(crate) fn set_design(plan: &mut Plan, choices: &[String]) -> Result<(), Failure> {
    for choice in choices {
        let (field, value) = choice
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--design {choice}: a choice looks like reads=local")))?;
        plan.design.set(field, value).map_err(Failure::usage)?;
    }
    Ok(())
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

/// The line that reruns it with a trace.
fn rerun_line(arguments: &SimArguments) -> String {
    let mut line = "cargo xtask sim".to_string();
    match (&arguments.plan, arguments.seed) {
        (Some(file), _) => line += &format!(" --plan {}", file.display()),
        (None, seed) => line += &format!(" --scenario {} --seed {}", arguments.scenario, seed.unwrap_or(0)),
    }
    for choice in &arguments.design {
        line += &format!(" --design {choice}");
    }
    line + &engines_option(&arguments.engines) + " --trace trace.txt"
}

/// `--engines` as it was given; nothing where it was not.
pub(crate) fn engines_option(engines: &[EngineName]) -> String {
    if engines.is_empty() {
        return String::new();
    }
    let names: Vec<String> = engines.iter().map(EngineName::to_string).collect();
    format!(" --engines {}", names.join(","))
}
