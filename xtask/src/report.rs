//! `report`: one run as a page, and as a trace for the Perfetto viewer.

use crate::arguments::ReportArguments;
use crate::failure::Failure;
use crate::{output, render};
use scenarios::evidence::{Explanation, page, perfetto};
use scenarios::investigate;
use scenarios::plan::Plan;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// What `--json` prints.
#[derive(Serialize)]
struct Written<'a> {
    page: &'a Path,
    perfetto: Option<&'a Path>,
    execution: &'a scenarios::Execution,
}

pub(crate) fn run(arguments: &ReportArguments) -> Result<ExitCode, Failure> {
    let plan = arguments.run.plan()?;
    let started = Instant::now();
    let investigation = investigate(&plan).map_err(Failure::incomplete)?;
    let rerun = output::as_typed(&arguments.run.rerun_line());
    let file = arguments.out.clone().unwrap_or_else(|| default_file(&plan, arguments));
    write(&file, &page(&investigation.case_file, &rerun))?;
    if let Some(file) = &arguments.perfetto {
        write(file, &perfetto(&investigation.case_file, &investigation.recording))?;
    }
    let execution = &investigation.execution;
    if arguments.json {
        let perfetto = arguments.perfetto.as_deref();
        output::print_json(&Written { page: &file, perfetto, execution })?;
    } else {
        let explanation = Explanation::of(&investigation.case_file);
        let mut text = render::execution(execution, started.elapsed(), &rerun, false, explanation);
        text += &format!("  page         {}\n", file.display());
        if let Some(file) = &arguments.perfetto {
            text += &format!("  perfetto     {} (open it at ui.perfetto.dev)\n", file.display());
        }
        output::print(&text)?;
    }
    Ok(ExitCode::from(render::exit_code(&execution.report.verdict)))
}

/// Where the page goes if nobody says.
fn default_file(plan: &Plan, arguments: &ReportArguments) -> PathBuf {
    match &arguments.run.plan {
        Some(file) => PathBuf::from(file.file_stem().unwrap_or_default()).with_extension("html"),
        None => PathBuf::from(format!("{}-{}.html", plan.scenario, plan.seed)),
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|error| Failure::usage(format!("{}: cannot be written: {error}", file.display())))
}
