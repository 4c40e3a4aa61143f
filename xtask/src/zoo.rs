//! `zoo`: every known-wrong design, until its check catches it.

use crate::arguments::ZooArguments;
use crate::failure::{Failure, HELD, VIOLATED};
use crate::{output, render};
use indicatif::{ProgressBar, ProgressStyle};
use scenarios::zoo::{self, Outcome};
use std::process::ExitCode;

pub(crate) fn run(arguments: &ZooArguments) -> Result<ExitCode, Failure> {
    let entries = zoo::select(&arguments.only).map_err(Failure::usage)?;
    let bar = if arguments.json { ProgressBar::hidden() } else { ProgressBar::new(entries.len() as u64) };
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} designs, now {msg}")
            .expect("the template is legal"),
    );
    let mut outcomes = Vec::new();
    for entry in &entries {
        bar.set_message(entry.choice());
        let outcome = zoo::hunt(entry, arguments.jobs).map_err(Failure::incomplete)?;
        if arguments.json {
            output::print_json(&outcome)?;
        }
        outcomes.push(outcome);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !arguments.json {
        output::print(&render::zoo(&outcomes))?;
    }
    let good = outcomes.iter().all(Outcome::is_good);
    Ok(ExitCode::from(if good { HELD } else { VIOLATED }))
}
