//! `crash`: what one engine loses.

use crate::arguments::CrashArguments;
use crate::failure::{Failure, HELD, VIOLATED};
use crate::{output, render_crash};

use indicatif::{ProgressBar, ProgressStyle};
use scenarios::explorer::{Native, PromisesReport, Sampling, State, Subject, Trouble, natives};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// `given` are the options that were typed.
pub(crate) fn run(
    arguments: &CrashArguments,
    given: &[String],
    guests: &[&'static dyn Native],
) -> Result<ExitCode, Failure> {
    let natives = [natives(), guests].concat();
    if arguments.engine == "list" {
        return list(arguments, given, &natives);
    }
    let subject = subject(arguments, &natives)?;
    match (&arguments.state, arguments.fault.is_empty()) {
        (Some(state), _) => examine(arguments, &subject, state),
        (None, true) => explore(arguments, &subject),
        (None, false) => inject(arguments, &subject),
    }
}

fn list(
    arguments: &CrashArguments,
    given: &[String],
    natives: &[&'static dyn Native],
) -> Result<ExitCode, Failure> {
    if let Some(other) = given.iter().find(|it| !["--engine", "--json"].contains(&it.as_str())) {
        let words = format!("--engine list only lists: `{other}` needs the name of an engine");
        return Err(Failure::usage(words));
    }
    for native in natives {
        let promises = PromisesReport::new(*native);
        match arguments.json {
            true => output::print_json(&promises)?,
            false => output::print(&render_crash::promises(&promises))?,
        }
    }
    Ok(ExitCode::from(HELD))
}

fn subject(arguments: &CrashArguments, natives: &[&'static dyn Native]) -> Result<Subject, Failure> {
    let sampling = match arguments.exhaustive {
        true => Sampling::Exhaustive,
        false => Sampling::Sample(arguments.sample as usize),
    };
    Ok(Subject {
        native: engine(&arguments.engine, natives)?,
        profile: arguments.profile,
        seed: arguments.seed,
        steps: arguments.ops as usize,
        sampling,
        jobs: arguments.jobs,
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
    let bar = progress(arguments, "{bar:40} boundary {pos} of {len}, {msg}, {eta} left");
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
    match (&arguments.emit_test, report.causes.first()) {
        (None, _) => {}
        (Some(file), None) => no_test(file),
        (Some(file), Some(cause)) => {
            let state = cause.symptoms[0].state.parse().expect("a report names states as they are read");
            emit(subject, &state, file)?;
        }
    }
    Ok(ExitCode::from(if report.held() { HELD } else { VIOLATED }))
}

fn examine(arguments: &CrashArguments, subject: &Subject, state: &State) -> Result<ExitCode, Failure> {
    if let Some(file) = &arguments.emit_test {
        check_writable(file)?;
    }
    let report = subject.examine(state).map_err(failed)?;
    if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(&render_crash::state(&report))?;
    }
    match (&arguments.emit_test, &report.cause) {
        (None, _) => {}
        (Some(file), None) => no_test(file),
        (Some(file), Some(_)) => emit(subject, state, file)?,
    }
    Ok(ExitCode::from(if report.cause.is_none() { HELD } else { VIOLATED }))
}

fn inject(arguments: &CrashArguments, subject: &Subject) -> Result<ExitCode, Failure> {
    let bar = progress(arguments, "{bar:40} {pos} of {len} calls, {eta} left");
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

/// A bar for whoever reads text.
fn progress(arguments: &CrashArguments, template: &str) -> ProgressBar {
    let bar = if arguments.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is legal"))
}

fn emit(subject: &Subject, state: &State, file: &Path) -> Result<(), Failure> {
    let source = subject.emit_test(state).map_err(failed)?;
    std::fs::write(file, output::as_typed(&source))
        .map_err(|error| Failure::usage(format!("{} cannot be written: {error}", file.display())))
}

/// Says that there is nothing to be shown.
fn no_test(file: &Path) {
    output::remark(&format!(
        "{} was not written: every promise was kept, there is nothing to test",
        file.display()
    ));
}

/// Finds out before the work whether its result can be kept. Leaves what is there, and nothing that was not.
fn check_writable(file: &Path) -> Result<(), Failure> {
    let was_there = file.symlink_metadata().is_ok();
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    let checked = match was_there {
        true => opened.map(drop),
        false => opened.and_then(|_| std::fs::remove_file(file)),
    };
    checked.map_err(|error| Failure::usage(format!("{} cannot be written: {error}", file.display())))
}

fn failed(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Misuse(words) => Failure::usage(words),
        Trouble::Incomplete(words) => Failure::incomplete(words),
    }
}
