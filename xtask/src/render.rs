//! Reports as text.

use crate::failure::{HELD, INCOMPLETE, VIOLATED};
use crate::render_crash::entry;
use scenarios::corpus::Outcome as CorpusOutcome;
use scenarios::evidence::Explanation;
use scenarios::figures::{Figure, Target};
use scenarios::milestones::Milestone;
use scenarios::report::{Report, Verdict};
use scenarios::zoo::Outcome as ZooOutcome;
use scenarios::{Execution, Violation};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

/// Violations beside the first that a report names, and those that it shows in full where all is asked for.
const FURTHER_VIOLATIONS: usize = 4;
const VERBOSE_VIOLATIONS: usize = 3;
/// Lines of evidence that it shows of one violation then.
const EVIDENCE_LINES: usize = 30;
/// Disk operations that it shows of a node, and where all is asked for.
const OPERATION_LINES: usize = 3;
const VERBOSE_OPERATION_LINES: usize = 12;
/// Letters of a violation that is told in one line.
const LETTERS: usize = 120;

macro_rules! line {
    ($text:expr, $($part:tt)*) => { writeln!($text, $($part)*).expect("writing to a string succeeds") };
}

/// The exit code that a verdict asks for.
pub(crate) fn exit_code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Held => HELD,
        Verdict::Violated { .. } => VIOLATED,
        Verdict::Incomplete { .. } => INCOMPLETE,
    }
}

/// A run's report, under a screen. `explanation` tells what broke first, if somebody has looked into it.
pub(crate) fn execution(
    execution: &Execution,
    elapsed: Duration,
    rerun: &str,
    verbose: bool,
    explanation: Option<Explanation>,
) -> String {
    let report = &execution.report;
    let mut text = headline(report, elapsed);
    if !matches!(report.verdict, Verdict::Incomplete { .. }) {
        body(&mut text, report);
    }
    match &report.verdict {
        Verdict::Held => held(&mut text, report),
        Verdict::Incomplete { why } => line!(text, "  INCOMPLETE   the run proves nothing: {why}"),
        Verdict::Violated { violations } => violated(&mut text, report, violations, verbose, explanation),
    }
    if report.verdict != Verdict::Held {
        line!(text, "  rerun        {rerun}");
    }
    if verbose {
        details(&mut text, execution);
    }
    text
}

fn headline(report: &Report, elapsed: Duration) -> String {
    format!(
        "seed {} · {} · {} nodes ({}) · {:.1} s simulated in {:.2} s\n",
        report.seed,
        report.scenario,
        report.engines.len(),
        report.engines.join(", "),
        report.virtual_s,
        elapsed.as_secs_f64()
    )
}

fn body(text: &mut String, report: &Report) {
    line!(
        text,
        "  operations   {} acknowledged, {} unknown, {} refused",
        report.acknowledged,
        report.unknown,
        report.refused
    );
    line!(text, "  faults       {}", faults(report));
    let snapshots: Vec<_> =
        report.snapshots.iter().map(|(route, count)| format!("{count} {route}")).collect();
    line!(
        text,
        "  snapshots    {}",
        if snapshots.is_empty() { "none".to_string() } else { snapshots.join(", ") }
    );
    if report.watches > 0 {
        let (watches, attempts) = (report.watches, report.watch_attempts);
        line!(text, "  watches      {watches}, asked for {attempts} times, {} events", report.watch_events);
    }
    if !report.findings.is_empty() {
        line!(text, "  engines      {}", findings(report));
    }
}

fn faults(report: &Report) -> String {
    let mut parts = Vec::new();
    let mut part = |count: u64, one: &str, many: &str| {
        if count > 0 {
            parts.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    };
    part(report.power_failures, "power failure", "power failures");
    part(report.process_kills, "process kill", "process kills");
    part(report.crashes_in_recovery, "crash during recovery", "crashes during recovery");
    part(report.crashes_in_write, "crash inside a write", "crashes inside a write");
    part(report.torn_writes, "torn write", "torn writes");
    part(report.lying_syncs, "lying fsync", "lying fsyncs");
    part(report.disk_errors, "disk error", "disk errors");
    part(report.injected.partitions, "partition", "partitions");
    part(report.injected.pauses, "pause", "pauses");
    part(report.injected.clock_steps, "clock step", "clock steps");
    part(report.injected.full_disks, "full disk", "full disks");
    part(report.message_faults, "message fault", "message faults");
    part(report.injected.upgrades, "upgrade", "upgrades");
    part(report.injected.member_changes, "change of members", "changes of members");
    part(report.injected.handovers, "leadership handed over", "times leadership handed over");
    if parts.is_empty() { "none".to_string() } else { parts.join(", ") }
}

/// Engines that broke a promise, counted by engine and cause.
fn findings(report: &Report) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for finding in &report.findings {
        let blame = if finding.device_at_fault { " (its device lied or failed)" } else { "" };
        *counts.entry(format!("{}{blame}", finding.engine)).or_insert(0) += 1;
    }
    let parts: Vec<_> = counts.iter().map(|(engine, count)| format!("{count} by {engine}")).collect();
    let parts = parts.join(", ");
    match report.liveness_waived {
        None => format!("broken promises survived: {parts}"),
        Some(waiver) => format!("broken promises: {parts}; liveness waived: {}", waiver.reason()),
    }
}

fn held(text: &mut String, report: &Report) {
    line!(
        text,
        "  checks       linearizable · serializable · {} · replicas equal · lease · compaction · routing · raft · {}{}      \
         trace {:016x}",
        if report.converged { "durable" } else { "durable (not judged)" },
        if report.watches > 0 { "watch · " } else { "" },
        if report.liveness_waived.is_some() { "live (waived)" } else { "live" },
        report.trace
    );
}

/// The first violation, explained; the others, a line each; and what the disks did last.
fn violated(
    text: &mut String,
    report: &Report,
    violations: &[Violation],
    verbose: bool,
    explanation: Option<Explanation>,
) {
    let Some((first, others)) = violations.split_first() else { return };
    let explanation = explanation.unwrap_or_else(|| Explanation::plain(first));
    entry(text, 2, "VIOLATED", &format!("{}: {}", explanation.check, explanation.sentence));
    for line in &explanation.lines {
        line!(text, "  {line}");
    }
    for violation in others.iter().take(FURTHER_VIOLATIONS) {
        let told = format!("{}: {}", violation.check, Explanation::plain(violation).sentence);
        let shown: String = told.chars().take(LETTERS).collect();
        line!(text, "  VIOLATED     {shown}{}", if shown.len() < told.len() { "…" } else { "" });
    }
    if others.len() > FURTHER_VIOLATIONS {
        line!(text, "  … and {} more violations (--json has all)", others.len() - FURTHER_VIOLATIONS);
    }
    if verbose {
        words(text, violations);
    }
    let count = if verbose { VERBOSE_OPERATION_LINES } else { OPERATION_LINES };
    let is_concerned = |node: &u64| explanation.nodes.is_empty() || explanation.nodes.contains(node);
    for (node, operations) in report.last_operations.iter().filter(|(node, _)| is_concerned(node)) {
        line!(text, "  last disk operations of node {node}");
        for operation in &operations[operations.len().saturating_sub(count)..] {
            line!(text, "    {operation}");
        }
    }
    if !verbose {
        line!(text, "  more         in the words of the checks: --verbose; as a page: cargo xtask report");
    }
}

/// What the checks said themselves.
fn words(text: &mut String, violations: &[Violation]) {
    line!(text, "  in the words of the checks");
    for violation in violations.iter().take(VERBOSE_VIOLATIONS) {
        line!(text, "    {}: {}", violation.check, violation.message);
        for evidence in violation.evidence.iter().take(EVIDENCE_LINES) {
            line!(text, "      {evidence}");
        }
        if violation.evidence.len() > EVIDENCE_LINES {
            line!(
                text,
                "      … and {} more lines (--json has all)",
                violation.evidence.len() - EVIDENCE_LINES
            );
        }
    }
}

fn details(text: &mut String, execution: &Execution) {
    let report = &execution.report;
    for finding in &report.findings {
        line!(
            text,
            "  finding      node {} ({}) at {:.3} s proved {}: {}",
            finding.node,
            finding.engine,
            finding.at_s,
            finding.proven_index.map_or("nothing".to_string(), |index| index.to_string()),
            finding.cause
        );
    }
    for milestone in &report.milestones {
        line!(text, "  milestone    {milestone}");
    }
    line!(
        text,
        "  cost         {:.3} CPU s, {} MiB peak, {} events, {} hand-overs, {} disk operations, {} elections, {} exits",
        execution.processor_s,
        execution.peak_bytes >> 20,
        report.events,
        report.hand_overs,
        report.disk_operations,
        report.elections,
        report.exits
    );
}

/// Where two traces part.
pub(crate) fn difference(difference: &sim::Difference) -> String {
    let mut text = format!("NOT DETERMINISTIC: event {} is the first that differs\n", difference.event);
    for common in &difference.common {
        line!(text, "    {common}");
    }
    let ended = || "(the trace ends)".to_string();
    line!(text, "  1 {}", difference.first.clone().unwrap_or_else(ended));
    line!(text, "  2 {}", difference.second.clone().unwrap_or_else(ended));
    text
}

/// The choices of the protocol, for `--design list`.
pub(crate) fn designs() -> String {
    let mut text = String::new();
    for field in scenarios::design_fields() {
        line!(text, "{}: {}", field.name, field.doc.trim());
        for choice in field.choices {
            let kind = match &choice.fault {
                None => "right".to_string(),
                Some(fault) => format!("wrong, caught by {}; seen in {}", fault.caught_by, fault.source),
            };
            line!(text, "  {} ({kind}): {}", choice.name, choice.doc.trim());
        }
    }
    text
}

/// A swarm's summary.
pub(crate) fn summary(summary: &scenarios::swarm::Summary, elapsed: Duration) -> String {
    let mut text = String::new();
    let held = summary.seeds - summary.violated.len() as u64 - summary.incomplete.len() as u64;
    line!(
        text,
        "{} seeds in {:.1} s: {held} held, {} violated, {} incomplete",
        summary.seeds,
        elapsed.as_secs_f64(),
        summary.violated.len(),
        summary.incomplete.len()
    );
    for (seed, check) in summary.violated.iter().take(20) {
        line!(text, "  violated     seed {seed}: {check}");
    }
    for seed in summary.incomplete.iter().take(20) {
        line!(text, "  incomplete   seed {seed}");
    }
    for (kind, (seeds, first)) in &summary.findings {
        line!(text, "  engine       {seeds} seeds, first {first}: {kind}");
    }
    for (waiver, seeds) in &summary.liveness_waived {
        line!(text, "  engine       {seeds} seeds with liveness waived: {}", waiver.reason());
    }
    for (milestone, seeds) in &summary.milestones {
        line!(text, "  milestone    {seeds:>6} seeds: {milestone}");
    }
    for (route, seeds) in &summary.upgrade_routes {
        line!(
            text,
            "  route        {seeds:>6} seeds: {route}{}",
            if *seeds == 0 { " (NOT REACHED)" } else { "" }
        );
    }
    if summary.processor_s > 0.0 {
        line!(
            text,
            "  cost         {:.0} seeds, {:.0} acknowledged operations, {:.0} virtual s and {:.1} crashes per CPU-minute, \
             CPU-second, CPU-second and CPU-second; {} MiB peak",
            summary.seeds as f64 * 60.0 / summary.processor_s,
            summary.acknowledged as f64 / summary.processor_s,
            summary.virtual_s / summary.processor_s,
            summary.crashes as f64 / summary.processor_s,
            summary.peak_bytes >> 20
        );
    }
    text
}

/// What the kill gate saw.
pub(crate) fn kill_gate(summary: &scenarios::kill_gate::Summary, elapsed: Duration) -> String {
    let mut text = String::new();
    line!(
        text,
        "{} kills in {:.1} s: {} of the process, {} of the power; {} during recovery, {} inside a write",
        summary.kills(),
        elapsed.as_secs_f64(),
        summary.process_kills,
        summary.power_failures,
        summary.in_recovery,
        summary.in_write
    );
    line!(text, "  runs         {}, from seed {} on", summary.runs, summary.first_seed);
    if summary.held() {
        line!(text, "  held         no replica diverged, and no acknowledged write was lost");
    }
    for (seed, check) in &summary.violated {
        line!(text, "  violated     seed {seed}: {check}");
    }
    for (seed, why) in &summary.incomplete {
        line!(text, "  incomplete   seed {seed}: {}", why.lines().next().unwrap_or_default());
    }
    for (engine, count) in &summary.rebuilt {
        line!(text, "  engine       {engine}: {count} stores set aside and rebuilt");
    }
    if summary.runs_waived > 0 {
        line!(
            text,
            "  not counted  {} kills in {} runs in which the engines of a majority had lost their state at once",
            summary.kills_waived,
            summary.runs_waived
        );
    }
    if summary.processor_s > 0.0 {
        line!(
            text,
            "  cost         {:.1} CPU-seconds, {:.1} kills and {:.0} acknowledged operations per CPU-second",
            summary.processor_s,
            summary.kills() as f64 / summary.processor_s,
            summary.acknowledged as f64 / summary.processor_s
        );
    }
    text
}

/// What became of the wrong designs.
pub(crate) fn zoo(outcomes: &[ZooOutcome]) -> String {
    let mut text = String::new();
    line!(
        text,
        "{:36} {:15} {:14} {:>7} {:>6} {:>6}  others that saw it",
        "design",
        "scenario",
        "check",
        "caught",
        "seeds",
        "CPU s"
    );
    for outcome in outcomes {
        let ZooOutcome { entry, .. } = outcome;
        let caught = outcome.caught_by_seed.map_or("NOT".to_string(), |seed| seed.to_string());
        let others: Vec<_> =
            outcome.other_checks.iter().map(|(check, seed)| format!("{check} (seed {seed})")).collect();
        line!(
            text,
            "{:36} {:15} {:14} {caught:>7} {:>6} {:>6.1}  {}",
            entry.choice(),
            entry.scenario.name(),
            entry.catcher,
            outcome.seeds_tried,
            outcome.processor_s,
            others.join(", ")
        );
        if outcome.caught_by_seed.is_none() {
            line!(
                text,
                "  NOT CAUGHT by {} within {} seeds: {}",
                entry.catcher,
                outcome.seeds_tried,
                entry.doc
            );
        }
        if !outcome.baseline_failed.is_empty() {
            line!(
                text,
                "  BASELINE     did not hold on the same seeds: {:?}; cargo xtask sim --scenario {} --seed {}",
                outcome.baseline_failed,
                entry.scenario,
                outcome.baseline_failed.first().copied().unwrap_or(0)
            );
        }
    }
    let caught = outcomes.iter().filter(|outcome| outcome.caught_by_seed.is_some()).count();
    let processor_s: f64 = outcomes.iter().map(|outcome| outcome.processor_s).sum();
    line!(text, "{caught} of {} caught in {processor_s:.1} CPU s", outcomes.len());
    text
}

/// Figures that belong together, each beside its target.
pub(crate) fn figures(title: &str, figures: &[Figure]) -> String {
    let mut text = format!("\n{title}\n");
    for figure in figures {
        let target = match figure.target {
            Target::AtLeast(bound) => format!("at least {bound}"),
            Target::AtMost(bound) => format!("at most {bound}"),
            Target::None => String::new(),
        };
        let missed = if figure.reached() { "" } else { ", missed" };
        // Three digits tell more than the host's moods.
        let digits = if figure.value >= 100.0 { 0 } else { 2 };
        let Figure { name, value, unit, .. } = figure;
        let line = format!("  {name:46} {value:>9.digits$} {unit:22} {target}{missed}");
        line!(text, "{}", line.trim_end());
    }
    text
}

/// A line on an entry of the corpus, and one on each thing that is not as it must be.
pub(crate) fn corpus_entry(outcome: &CorpusOutcome) -> String {
    let mut text = String::new();
    let good = if outcome.differences.is_empty() { "as expected" } else { "DIFFERS" };
    line!(text, "{good:11}  {:33} {:24} {}", outcome.name, outcome.expected, outcome.about);
    for difference in &outcome.differences {
        line!(text, "    {difference}");
    }
    text
}

/// The sum over a corpus, and the milestones that it should have reached and did not.
pub(crate) fn corpus(outcomes: &[CorpusOutcome], unreached: &BTreeSet<Milestone>) -> String {
    let different = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
    let processor_s: f64 = outcomes.iter().map(|outcome| outcome.processor_s).sum();
    let mut text = String::new();
    for milestone in unreached {
        line!(text, "NOT REACHED  by any entry: {milestone}");
    }
    line!(
        text,
        "{} entries, runs done twice: {} as expected, {different} differ; {processor_s:.1} CPU s",
        outcomes.len(),
        outcomes.len() - different
    );
    text
}
