//! What the crash explorer found, as text.

use scenarios::explorer::{
    CauseReport, CulpritReport, FaultReport, PromiseReport, PromisesReport, RECOVERIES_MAX, Report,
    SECTORS_TORN_MAX, Sampling, StateReport, Survives,
};
use std::fmt::Write;
use std::time::Duration;

/// Causes that are shown in full.
const CAUSES_SHOWN: usize = 3;
/// Lost operations of a cause that are shown.
const CULPRITS_SHOWN: usize = 2;
/// Further symptoms of a cause that are shown.
const SYMPTOMS_SHOWN: usize = 2;
/// Lines of source that are shown of a call.
const LINES_SHOWN: usize = 2;

/// Columns of a line; what is to be copied, a rerun line, may be longer.
const COLUMNS: usize = 116;

macro_rules! line {
    ($text:expr, $($part:tt)*) => { writeln!($text, $($part)*).expect("writing to a string succeeds") };
}

/// A labelled text, wrapped below itself.
pub(crate) fn entry(text: &mut String, indent: usize, label: &str, words: &str) {
    let first = format!("{:indent$}{label:<13}", "");
    let next = " ".repeat(indent + 13);
    let options = textwrap::Options::new(COLUMNS)
        .initial_indent(&first)
        .subsequent_indent(&next)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .break_words(false);
    line!(text, "{}", textwrap::fill(words, options));
}

/// An exploration.
pub(crate) fn report(report: &Report, elapsed: Duration) -> String {
    let mut text = format!(
        "{} {} · {} · seed {} · {} steps, {} calls that change the disk · {:.1} s\n",
        report.engine,
        report.version,
        report.profile,
        report.seed,
        report.steps,
        report.disk_operations,
        elapsed.as_secs_f64()
    );
    counts(&mut text, report);
    if report.held() {
        line!(text, "  promises     kept in every state");
        return text;
    }
    let states = plural(report.counts.violating, "state breaks", "states break");
    line!(text, "  promises     {states} one, for {}", plural(report.causes.len(), "reason", "reasons"));
    for (number, cause) in report.causes.iter().take(CAUSES_SHOWN).enumerate() {
        let first = &cause.symptoms[0];
        line!(
            text,
            "\n{}. {} · {}",
            number + 1,
            first.title,
            plural(first.images, "disk image", "disk images")
        );
        self::cause(&mut text, cause);
    }
    if report.causes.len() > CAUSES_SHOWN {
        line!(text, "\nand {} more: --json prints them all", report.causes.len() - CAUSES_SHOWN);
    }
    if report.unattributed > 0 {
        line!(text, "\n{} more images break a promise; their reasons were not searched", report.unattributed);
    }
    text
}

fn counts(text: &mut String, report: &Report) {
    let counts = &report.counts;
    let states = format!(
        "{} where a crash may fall, at most {} operations not yet durable there: {}; {} tried",
        plural(counts.boundaries, "place", "places"),
        counts.pending_max,
        existing(counts.existing_log2),
        counts.tried
    );
    entry(text, 2, "states", &states);
    let opened = format!(
        "{} distinct disk images, {:.0} per CPU-second ({:.1} CPU s), {} of them after a second crash, in {}; {} \
         states had an image equal to one of them",
        counts.opened,
        report.images_per_processor_s(),
        report.processor_s,
        counts.opened_after_second_crash,
        plural(counts.recoveries, "recovery that differs", "recoveries that differ"),
        counts.equal
    );
    entry(text, 2, "opened", &opened);
    let (every, samples) = (report.sampling.every_subset_up_to(), report.sampling.samples());
    let tears = match report.sampling {
        Sampling::Exhaustive => format!("at each of the first {SECTORS_TORN_MAX} sectors"),
        Sampling::Sample(_) => "at a few places".to_owned(),
    };
    let beyond = match counts.recoveries >= RECOVERIES_MAX {
        true => format!("; recoveries beyond {RECOVERIES_MAX}"),
        false => String::new(),
    };
    let left_out = format!(
        "where more than {every} are not yet durable, all subsets but: none, all, one, all but one, prefixes, single \
         files, {samples} at random; of torn writes, all but those {tears}{beyond}"
    );
    entry(text, 2, "left out", &left_out);
}

/// A number of states in words: exact where it is small.
fn existing(log2: f64) -> String {
    let log10 = log2 * std::f64::consts::LOG10_2;
    if log10 < 7.0 { format!("{:.0} exist", log2.exp2()) } else { format!("10^{log10:.0} exist") }
}

/// One state.
pub(crate) fn state(report: &StateReport) -> String {
    let mut text = format!("state {}\n", report.state);
    match &report.cause {
        None => line!(text, "  promises     kept"),
        Some(cause) => {
            line!(text, "  broken       {}", cause.symptoms[0].title);
            self::cause(&mut text, cause);
        }
    }
    text
}

fn cause(text: &mut String, cause: &CauseReport) {
    let first = &cause.symptoms[0];
    for fact in &first.facts {
        entry(text, 3, "", fact);
    }
    let nothing = "nothing of the kind in words: surprising, rather than a broken promise";
    entry(text, 3, "promised", first.promise.as_deref().unwrap_or(nothing));
    for culprit in cause.culprits.iter().take(CULPRITS_SHOWN) {
        self::culprit(text, culprit);
    }
    if cause.culprits.len() > CULPRITS_SHOWN {
        line!(text, "   and {} more operations", cause.culprits.len() - CULPRITS_SHOWN);
    }
    if cause.culprits.is_empty() {
        let when = if cause.during_creation { "while the store is created" } else { "at this place" };
        entry(text, 3, "lost", &format!("nothing: a crash {when} is enough"));
        for place in &cause.fell {
            entry(text, 3, "fell", place);
        }
    }
    for also in cause.symptoms.iter().skip(1).take(SYMPTOMS_SHOWN) {
        let images = plural(also.images, "disk image", "disk images");
        entry(text, 3, "also", &format!("{} · {images}: --state '{}'", also.title, also.state));
    }
    line!(text, "   rerun        {}", first.rerun);
}

fn culprit(text: &mut String, culprit: &CulpritReport) {
    let when = if culprit.during_recovery { " during recovery" } else { "" };
    let fate = match culprit.lost.as_str() {
        "lost" => "lost",
        _ => "partly lost",
    };
    entry(text, 3, fate, &format!("{}{when}", culprit.call));
    if fate != culprit.lost {
        entry(text, 3, "", &culprit.lost);
    }
    for line in culprit.lines.iter().take(LINES_SHOWN) {
        entry(text, 3, "", &format!("at {line}"));
    }
    entry(text, 3, "", &format!("on {}", culprit.thread));
    entry(text, 3, "missing", &culprit.missing_sync);
}

/// What an engine promises.
pub(crate) fn promises(promises: &PromisesReport) -> String {
    let mut text = format!("{} {}\n", promises.engine, promises.version);
    for call in &promises.calls {
        self::call(&mut text, call);
    }
    let said = |words: &Option<String>| words.clone().unwrap_or_else(|| "nothing is promised".to_owned());
    line!(text, "  batches are atomic       {}", said(&promises.atomic));
    line!(text, "  writes survive in order  {}", said(&promises.order));
    line!(text, "  opens after a crash      {}\n", said(&promises.reopens));
    text
}

fn call(text: &mut String, call: &PromiseReport) {
    line!(text, "  {:<24} {}: {}", call.call, survives(call.survives), call.source);
}

fn survives(survives: Survives) -> &'static str {
    match survives {
        Survives::Nothing => "promises nothing",
        Survives::ProcessKill => "survives a kill",
        Survives::PowerFailure => "survives power loss",
    }
}

/// Injected faults.
pub(crate) fn faults(report: &FaultReport, elapsed: Duration) -> String {
    let mut text = format!(
        "{} {} · seed {} · {} steps · {:.1} s\n",
        report.engine,
        report.version,
        report.seed,
        report.steps,
        elapsed.as_secs_f64()
    );
    for (fault, counts) in &report.counts {
        line!(
            text,
            "  {:<12} at {}: {} reported by an error, {} by a panic, {} not; a promise broken after {}",
            fault.name(),
            plural(counts.injected, "call", "calls"),
            counts.reported,
            counts.panicked,
            counts.unreported,
            counts.violating
        );
    }
    if report.held() {
        line!(text, "  promises     kept after every fault");
    }
    for (number, cause) in report.causes.iter().take(CAUSES_SHOWN).enumerate() {
        line!(text, "\n{}. {} · {}", number + 1, cause.title, plural(cause.runs, "run", "runs"));
        for fact in &cause.facts {
            line!(text, "   {fact}");
        }
        for line in cause.lines.iter().take(LINES_SHOWN) {
            line!(text, "                at {line}");
        }
        line!(text, "   rerun        {}", cause.rerun);
    }
    if report.causes.len() > CAUSES_SHOWN {
        line!(text, "\nand {} more: --json prints them all", report.causes.len() - CAUSES_SHOWN);
    }
    text
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
