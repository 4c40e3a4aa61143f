//! `check`: the linearizability checker alone, on histories that others recorded.

use crate::arguments::CheckArguments;
use crate::failure::{Failure, HELD, INCOMPLETE, VIOLATED};
use crate::output;
use scenarios::judge::{Judge, Judged, Judgement, Options, Ready, Shown};
use scenarios::linearizability::Budget;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How many operations of a legal order are printed: its end.
const PREFIX_SHOWN: usize = 8;

pub(crate) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let options = Options {
        object: arguments.spec,
        partitioned: !arguments.no_partition,
        budget: Budget { steps: arguments.budget },
        jobs: arguments.jobs as usize,
    };
    let (mut violated, mut undecided) = (false, false);
    for file in &arguments.files {
        let started = Instant::now();
        let ready = read(file, options)?;
        let (judgement, showing) = ready.check();
        let time = started.elapsed();
        let shown = showing.map(|showing| showing());
        violated |= judgement.verdict == Judged::Violation;
        undecided |= judgement.verdict == Judged::Undecided;
        let name = file.display().to_string();
        match arguments.json {
            true => output::print_json(&as_json(&name, &judgement, time, shown.as_ref()))?,
            false => output::print(&as_text(&name, &judgement, time, shown.as_ref()))?,
        }
    }
    Ok(ExitCode::from(match (violated, undecided) {
        (true, _) => VIOLATED,
        (false, true) => INCOMPLETE,
        (false, false) => HELD,
    }))
}

/// Reads a history, line by line.
pub(crate) fn read(file: &Path, options: Options) -> Result<Ready, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: cannot be read: {error}", file.display()))
    };
    let at = |line: u64, problem: &dyn std::fmt::Display| {
        Failure::usage(format!("{}:{line}: {problem}", file.display()))
    };
    let mut lines = BufReader::with_capacity(1 << 16, File::open(file).map_err(|error| unreadable(&error))?);
    let (mut line, mut number, mut judge) = (String::new(), 0, None);
    loop {
        line.clear();
        number += 1;
        if lines.read_line(&mut line).map_err(|error| unreadable(&error))? == 0 {
            break;
        }
        if judge.is_none() && line.trim().is_empty() {
            continue;
        }
        if judge.is_none() {
            let mut first = Judge::of(&line, options).map_err(|problem| at(number, &problem))?;
            first.skip_lines(number - 1);
            judge = Some(first);
        }
        let judge = judge.as_mut().expect("it was made at the first line that is not empty");
        judge.line(&line).map_err(|error| at(error.line, &error.problem))?;
    }
    let judge = judge.ok_or_else(|| Failure::usage(format!("{}: the file is empty", file.display())))?;
    judge.finish().map_err(|error| at(error.line, &error.problem))
}

/// The verdict in a word.
pub(crate) fn word(verdict: Judged) -> &'static str {
    match verdict {
        Judged::Linearizable => "linearizable",
        Judged::Violation => "not linearizable",
        Judged::Undecided => "undecided",
    }
}

fn as_json(file: &str, judgement: &Judgement, time: Duration, shown: Option<&Shown>) -> serde_json::Value {
    let Judgement { object, operations, streamed, steps, verdict } = judgement;
    json!({ "file": file, "spec": object.name(), "operations": operations, "verdict": word(*verdict),
            "seconds": time.as_secs_f64(), "steps": steps, "in_parts": streamed, "evidence": shown })
}

fn as_text(file: &str, judgement: &Judgement, time: Duration, shown: Option<&Shown>) -> String {
    let Judgement { object, operations, streamed, steps, verdict } = judgement;
    let parts = if *streamed { ", in parts" } else { "" };
    let mut text = format!(
        "{file}: {}: {operations} operations of a {}, {:.6} s, {steps} steps{parts}\n",
        word(*verdict),
        object.name(),
        time.as_secs_f64()
    );
    match (verdict, shown) {
        (Judged::Violation, Some(shown)) => text += &evidence(shown),
        (Judged::Undecided, _) => text += "  the budget ended first; --budget gives it more steps\n",
        (Judged::Linearizable | Judged::Violation, _) => {}
    }
    text
}

fn evidence(shown: &Shown) -> String {
    let Shown { message, minimal_proven, diagram, legal_prefix_length, legal_prefix, refused, .. } = shown;
    let mut text = format!("  {message}\n\n");
    for line in diagram {
        text += &format!("    {line}\n");
    }
    text += "\n  These answers contradict each other, whatever else happened.";
    text += match minimal_proven {
        true => " Without any one of them there is a legal order.\n",
        false => " There may be a smaller set: looking for it took too long.\n",
    };
    text += &format!(
        "  The longest legal order found of the whole has {legal_prefix_length} operations; of these:\n"
    );
    let skipped = legal_prefix.len().saturating_sub(PREFIX_SHOWN);
    if skipped > 0 {
        text += &format!("    … {skipped} before\n");
    }
    for line in &legal_prefix[skipped..] {
        text += &format!("    {line}\n");
    }
    text += "  and then none of these can come next:\n";
    for refused in refused {
        text += &format!("    {}: {}\n", refused.operation, refused.reason);
    }
    text
}
