//! `bench`: what everything costs, each figure beside its target.

use crate::arguments::BenchArguments;
use crate::check::{read, word};
use crate::failure::{Failure, HELD, VIOLATED};
use crate::{output, render};
use scenarios::figures::{self, GROUPS, Group};
use scenarios::judge::{Judged, ObjectName, Options};
use scenarios::linearizability::Budget;
use scenarios::linearizability::specs::append_kv::AppendKv;
use scenarios::linearizability::stream::{Stream, StreamVerdict};
use scenarios::linearizability::workload::Workload;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Each history is checked so often; the median counts.
const REPEATS: usize = 5;

/// What the growth of the checker is shown on.
const LOAD: Workload = Workload {
    seed: 1,
    operations: 100_000,
    clients: 10,
    keys: 100,
    unknown_per_mille: 0,
    puts_percent: 45,
    appends_percent: 0,
};

/// The group that the histories belong to.
const CHECKER: &str = "checker";

pub(crate) fn run(arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    let groups = selected(&arguments.only)?;
    match arguments.json {
        true => output::print_json(&json!({ "host": figures::description() }))?,
        false => output::print(&format!("{}\n", figures::description()))?,
    }
    let mut right = true;
    for group in groups {
        let taken = group.take().map_err(Failure::incomplete)?;
        match arguments.json {
            true => taken.iter().try_for_each(output::print_json)?,
            false => output::print(&render::figures(group.title, &taken))?,
        }
        if group.name == CHECKER {
            right = checker(arguments)?;
        }
    }
    Ok(ExitCode::from(if right { HELD } else { VIOLATED }))
}

/// The groups with these names; all of them where there are none.
fn selected(names: &[String]) -> Result<Vec<&'static Group>, Failure> {
    if let Some(unknown) = names.iter().find(|name| GROUPS.iter().all(|group| group.name != name.as_str())) {
        let known = GROUPS.iter().map(|group| group.name).collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(format!("unknown figures `{unknown}`; known are {known}")));
    }
    let chosen = |group: &&Group| names.is_empty() || names.iter().any(|name| name == group.name);
    Ok(GROUPS.iter().filter(chosen).collect())
}

/// Recorded histories, and how the time grows; whether every verdict is the expected one.
fn checker(arguments: &BenchArguments) -> Result<bool, Failure> {
    let right = match &arguments.histories {
        Some(folder) => histories(folder, arguments.json)?,
        None => true,
    };
    for operations in [100_000, 200_000, 400_000] {
        long(Workload { operations, ..LOAD }, arguments.json)?;
    }
    for unknown_per_mille in [1, 2, 4] {
        long(Workload { unknown_per_mille, ..LOAD }, arguments.json)?;
    }
    // All operations on few keys: the worst case of unknown ones, which ends with the budget.
    for keys in [10, 1] {
        for operations in [10_000, 20_000, 40_000] {
            long(Workload { operations, keys, unknown_per_mille: 1, ..LOAD }, arguments.json)?;
        }
    }
    Ok(right)
}

/// Ours beside Porcupine's, file by file; whether every verdict is the expected one.
fn histories(folder: &Path, as_json: bool) -> Result<bool, Failure> {
    let table = folder.join("expected.csv");
    let unreadable = |error| Failure::usage(format!("{}: cannot be read: {error}", table.display()));
    let rows = fs::read_to_string(&table).map_err(unreadable)?;
    let (mut right, mut totals, mut worst) = (true, (0.0, 0.0), f64::MAX);
    for (number, row) in rows.lines().enumerate().skip(1) {
        let wrong = |what: &str| Failure::usage(format!("{}:{}: {what}", table.display(), number + 1));
        let [file, model, _, expected, seconds] = row.split(',').collect::<Vec<_>>()[..] else {
            return Err(wrong("a row is file,model,operations,verdict,seconds"));
        };
        let porcupine: f64 = seconds.parse().map_err(|_| wrong("the last field is a number of seconds"))?;
        let (time, verdict) = check_often(&folder.join(file), model != "kv-nopartition")?;
        let expected = if expected == "ok" { Judged::Linearizable } else { Judged::Violation };
        right &= verdict == expected;
        let (ours, factor) = (time.as_secs_f64(), porcupine / time.as_secs_f64());
        totals = (totals.0 + ours, totals.1 + porcupine);
        worst = worst.min(factor);
        let mark = if verdict == expected { "" } else { "  WRONG" };
        match as_json {
            true => output::print_json(&json!({ "file": file, "model": model, "verdict": word(verdict),
                "right": verdict == expected, "seconds": ours, "porcupine_seconds": porcupine }))?,
            false => output::print(&format!(
                "  {file:22} {model:15} {:16} {ours:.6} s  Porcupine {porcupine:.6} s  {factor:8.1} times{mark}\n",
                word(verdict)
            ))?,
        }
    }
    if !as_json {
        let (ours, porcupine) = totals;
        output::print(&format!(
            "  total {ours:.6} s, Porcupine {porcupine:.6} s: {:.1} times; the least of a file {worst:.1} times\n",
            porcupine / ours
        ))?;
    }
    Ok(right)
}

/// The median time of checking a history that is read already.
fn check_often(file: &Path, partitioned: bool) -> Result<(Duration, Judged), Failure> {
    let options = Options { object: None, partitioned, budget: Budget::default(), jobs: 1 };
    let mut times = Vec::new();
    let mut verdict = Judged::Undecided;
    for _ in 0..REPEATS {
        let ready = read(file, options)?;
        let started = Instant::now();
        let (judgement, _) = ready.check();
        times.push(started.elapsed());
        verdict = judgement.verdict;
    }
    times.sort_unstable();
    Ok((times[REPEATS / 2], verdict))
}

/// A made history, checked as a stream while it is made; the time is that of the check.
fn long(workload: Workload, as_json: bool) -> Result<(), Failure> {
    let making = Instant::now();
    let made = workload.make().count() as u64;
    let making = making.elapsed();
    let started = Instant::now();
    let mut stream = Stream::new(AppendKv::new(true), Budget::default());
    let broken = workload.make().any(|operation| stream.push(operation).is_err());
    let cuts = stream.cuts();
    let (verdict, steps) = match stream.finish() {
        _ if broken => (Judged::Violation, 0),
        StreamVerdict::Linearizable { steps } => (Judged::Linearizable, steps),
        StreamVerdict::Undecided { steps } => (Judged::Undecided, steps),
        StreamVerdict::Violation(violation) => (Judged::Violation, violation.evidence.steps),
    };
    let seconds = started.elapsed().saturating_sub(making).as_secs_f64();
    let Workload { clients, keys, unknown_per_mille, .. } = workload;
    match as_json {
        true => output::print_json(&json!({ "operations": made, "clients": clients, "keys": keys,
            "unknown_per_mille": unknown_per_mille, "spec": ObjectName::Kv.name(), "verdict": word(verdict),
            "seconds": seconds, "steps": steps, "cuts": cuts })),
        false => output::print(&format!(
            "  {made:8} operations, {clients} clients, {keys} keys, {unknown_per_mille} of 1000 unknown: {}, \
             {seconds:.3} s, {steps} steps, cut {cuts} times\n",
            word(verdict)
        )),
    }
}
