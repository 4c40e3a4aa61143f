//! `crash`: what one engine loses.

use crate::arguments::CrashArguments;
use crate::failure::{Failure, HELD, VIOLATED};
use crate::{output, render_crash};

use indicatif::{ProgressBar, ProgressStyle};
use scenarios::explorer::{Native, Sampling, State, Subject, Trouble, natives};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

pub(crate) fn run(arguments: &CrashArguments, guests: &[&'static dyn Native]) -> Result<ExitCode, Failure> {
    let natives = [natives(), guests].concat();
    if arguments.engine == "list" {
        output::print(&render_crash::engines(&natives))?;
        return Ok(ExitCode::from(HELD));
    }
    let subject = subject(arguments, &natives)?;
    match (&arguments.state, arguments.fault.is_empty()) {
        (Some(state), _) => examine(arguments, &subject, state),
        (None, true) => explore(arguments, &subject),
        (None, false) => inject(arguments, &subject),
    }
}

fn subject(arguments: &CrashArguments, natives: &[&'static dyn Native]) -> Result<Subject, Failure> {
    let sampling = match arguments.exhaustive {
        true => Sampling::Exhaustive,
        false => Sampling::Sample(arguments.sample as usize),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Subject {
        native: engine(&arguments.engine, natives)?,
        profile: arguments.profile,
        seed: arguments.seed,
        steps: arguments.ops as usize,
        sampling,
        jobs: if arguments.jobs == 0 { cores } else { arguments.jobs },
    })
}

fn engine(name: &str, natives: &[&'static dyn Native]) -> Result<&'static dyn Native, Failure> {
    natives.iter().copied().find(|native| native.name() == name).ok_or_else(|| {
        let names: Vec<&str> = natives.iter().map(|native| native.name()).collect();
        Failure::usage(format!("unknown engine `{name}`; known are {}", names.join(", ")))
    })
}

fn explore(arguments: &CrashArguments, subject: &Subject) -> Result<ExitCode, Failure> {
    if let Some(file) = &arguments.emit_test {
        check_writable(file)?;
    }
    let bar = if arguments.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let style = ProgressStyle::with_template("{bar:40} boundary {pos} of {len}, {msg}, {eta} left");
    bar.set_style(style.expect("the template is legal"));
    let started = Instant::now();
    let explored = subject.explore(&mut |boundary, count, opened| {
        bar.set_length(count as u64);
        bar.set_position(boundary as u64);
        bar.set_message(format!("{opened} images opened"));
    });
    bar.finish_and_clear();
    let report = explored.map_err(failed)?;
    if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(&render_crash::report(&report, started.elapsed()))?;
    }
    if let (Some(file), Some(cause)) = (&arguments.emit_test, report.causes.first()) {
        let state = cause.symptoms[0].state.parse().expect("a report names states as they are read");
        emit(subject, &state, file)?;
    }
    Ok(ExitCode::from(if report.held() { HELD } else { VIOLATED }))
}

fn examine(arguments: &CrashArguments, subject: &Subject, state: &State) -> Result<ExitCode, Failure> {
    let report = subject.examine(state).map_err(failed)?;
    if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(&render_crash::state(&report))?;
    }
    if let Some(file) = &arguments.emit_test {
        emit(subject, state, file)?;
    }
    Ok(ExitCode::from(if report.cause.is_none() { HELD } else { VIOLATED }))
}

fn inject(arguments: &CrashArguments, subject: &Subject) -> Result<ExitCode, Failure> {
    let bar = if arguments.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} calls, {eta} left");
    bar.set_style(style.expect("the template is legal"));
    let started = Instant::now();
    let injected = subject.inject(&arguments.fault, arguments.at, &mut |done, count| {
        bar.set_length(count as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let report = injected.map_err(failed)?;
    if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(&render_crash::faults(&report, started.elapsed()))?;
    }
    Ok(ExitCode::from(if report.held() { HELD } else { VIOLATED }))
}

fn emit(subject: &Subject, state: &State, file: &Path) -> Result<(), Failure> {
    let source = subject.emit_test(state).map_err(failed)?;
    std::fs::write(file, output::as_typed(&source))
        .map_err(|error| Failure::usage(format!("{} cannot be written: {error}", file.display())))
}

/// Finds out before the work whether its result can be kept.
fn check_writable(file: &Path) -> Result<(), Failure> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    opened.map(drop).map_err(|error| Failure::usage(format!("{} cannot be written: {error}", file.display())))
}

fn failed(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Misuse(words) => Failure::usage(words),
        Trouble::Incomplete(words) => Failure::incomplete(words),
    }
}
