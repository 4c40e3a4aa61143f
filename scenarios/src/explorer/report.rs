//! What an exploration found, in facts that can be printed or written as JSON.

use super::Subject;
use super::blame::{Between, Cause, Culprit, Shown, Site};
use super::explore::Counts;
use super::laboratory::{Laboratory, Symptom};
use super::losses::Sampling;
use super::stacks::SourceLine;
use super::state::State;
use super::timeline::Asked;
use engines::native::{Call, Native, Survives};
use model::recovery::{Breach, Key};
use serde::{Serialize, Serializer};
use std::time::Duration;

/// What an exploration found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The engine.
    pub engine: String,
    /// Its version, as Cargo built it.
    pub version: String,
    /// What a crash may take.
    pub profile: String,
    /// The seed of the workload.
    pub seed: u64,
    /// Steps of the workload.
    pub steps: usize,
    /// Calls that changed the disk.
    pub disk_operations: usize,
    /// What was tried.
    pub sampling: Sampling,
    /// What was counted.
    pub counts: Counts,
    /// Processor time in seconds, of every process, from the recording to the last verdict.
    pub processor_s: f64,
    /// Why promises were broken; the most frequent first.
    pub causes: Vec<CauseReport>,
    /// Distinct images that break a promise whose cause was not searched, since there were too many.
    pub unattributed: usize,
}

impl Report {
    /// True where every promise was kept.
    pub fn held(&self) -> bool {
        self.counts.violating == 0
    }

    /// Images opened and judged for each second of processor time.
    pub fn images_per_processor_s(&self) -> f64 {
        self.counts.opened as f64 / self.processor_s.max(f64::EPSILON)
    }
}

/// One state that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct StateReport {
    /// The state.
    pub state: String,
    /// What is wrong with it; none where every promise is kept.
    pub cause: Option<CauseReport>,
    /// Processor time in seconds, of every process.
    pub processor_s: f64,
}

/// Why a promise was broken.
#[derive(Clone, Debug, Serialize)]
pub struct CauseReport {
    /// What is wrong, the most frequent first; at least one.
    pub symptoms: Vec<SymptomReport>,
    /// What was lost in the first of them that should not have been; empty where the crash alone does the harm.
    pub culprits: Vec<CulpritReport>,
    /// Whether its crash fell before the store had been opened for the first time.
    pub during_creation: bool,
    /// The calls that each of its crashes fell between, in words.
    pub fell: Vec<String>,
    /// Distinct images that break a promise for this reason.
    pub images: usize,
}

/// What is wrong with some states.
#[derive(Clone, Debug, Serialize)]
pub struct SymptomReport {
    /// What is wrong, in one line.
    pub title: String,
    /// What was asked, what was promised, and what was found.
    pub facts: Vec<String>,
    /// The engine's own words that are broken; none where they promise nothing of the kind.
    pub promise: Option<String>,
    /// Distinct images that show it.
    pub images: usize,
    /// The smallest state that shows it.
    pub state: String,
    /// The line that reruns it.
    pub rerun: String,
}

/// A lost operation.
#[derive(Clone, Debug, Serialize)]
pub struct CulpritReport {
    /// The call.
    pub call: String,
    /// What of it was lost.
    pub lost: String,
    /// The thread that made it, and when.
    pub thread: String,
    /// The sync that would have saved it.
    pub missing_sync: String,
    /// Where in the engine's source it was made, innermost first: `file:line  function`.
    pub lines: Vec<String>,
    /// Whether it belongs to the recovery from a first crash.
    pub during_recovery: bool,
}

/// What an engine promises.
#[derive(Clone, Debug, Serialize)]
pub struct PromisesReport {
    /// The engine.
    pub engine: String,
    /// Its version, as Cargo built it.
    pub version: String,
    /// What its calls promise: the ways to write, the durability calls, a flush of what is in memory.
    pub calls: Vec<PromiseReport>,
    /// The words that promise that a batch survives as a whole or not at all.
    pub atomic: Option<String>,
    /// The words that promise that what survives is a prefix of what was written.
    pub order: Option<String>,
    /// The words that promise that the store opens again after a crash.
    pub reopens: Option<String>,
}

/// What a call promises once it has returned.
#[derive(Clone, Debug, Serialize)]
pub struct PromiseReport {
    /// The call as the engine's users know it.
    pub call: String,
    /// What everything written before survives: `nothing`, `process-kill` or `power-failure`.
    #[serde(serialize_with = "name_of")]
    pub survives: Survives,
    /// The engine's own words, with their source.
    pub source: String,
}

impl PromisesReport {
    /// The promises of an engine.
    pub fn new(native: &dyn Native) -> Self {
        let promises = native.promises();
        let words = |words: Option<&str>| words.filter(|words| !words.is_empty()).map(str::to_owned);
        let calls = promises.writes.iter().chain(promises.persists).chain(&promises.flush);
        Self {
            engine: native.name().to_owned(),
            version: native.version().to_owned(),
            calls: calls.map(PromiseReport::new).collect(),
            atomic: words(promises.atomic),
            order: words(promises.order),
            reopens: words(Some(promises.reopens)),
        }
    }
}

impl PromiseReport {
    fn new(call: &Call) -> Self {
        Self { call: call.name.to_owned(), survives: call.survives, source: call.source.to_owned() }
    }
}

fn name_of<S: Serializer>(survives: &Survives, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match survives {
        Survives::Nothing => "nothing",
        Survives::ProcessKill => "process-kill",
        Survives::PowerFailure => "power-failure",
    })
}

pub(super) fn report(
    subject: &Subject,
    laboratory: &Laboratory,
    counts: Counts,
    processor_time: Duration,
    causes: &[Cause],
    unattributed: usize,
) -> Report {
    Report {
        engine: subject.native.name().to_owned(),
        version: subject.native.version().to_owned(),
        profile: subject.profile.name().to_owned(),
        seed: subject.seed,
        steps: laboratory.workload.actions.len(),
        disk_operations: laboratory.timeline.operations().len(),
        sampling: subject.sampling,
        counts,
        processor_s: processor_time.as_secs_f64(),
        causes: causes.iter().map(|found| cause(subject, laboratory, found)).collect(),
        unattributed,
    }
}

pub(super) fn cause(subject: &Subject, laboratory: &Laboratory, cause: &Cause) -> CauseReport {
    let symptom = |shown: &Shown| SymptomReport {
        title: title(&shown.symptom),
        facts: in_words(
            laboratory,
            &shown.symptom,
            asked(laboratory, &shown.state),
            laboratory.timeline.needed(),
        ),
        promise: promise(laboratory, &shown.symptom, asked(laboratory, &shown.state)),
        images: shown.images,
        state: shown.state.to_string(),
        rerun: rerun(subject, &shown.state),
    };
    CauseReport {
        symptoms: cause.shown.iter().map(symptom).collect(),
        culprits: cause.culprits.iter().map(culprit).collect(),
        during_creation: is_creation(laboratory, &cause.shown[0].state),
        fell: cause.fell.iter().flat_map(fell).collect(),
        images: cause.images(),
    }
}

fn is_creation(laboratory: &Laboratory, state: &State) -> bool {
    asked(laboratory, state).begun <= 1
}

/// The line that opens a state again.
pub(super) fn rerun(subject: &Subject, state: &State) -> String {
    let Subject { native, profile, seed, steps, .. } = subject;
    let name = native.name();
    format!(
        "cargo xtask crash --engine {name} --profile {profile} --seed {seed} --ops {steps} --state '{state}'"
    )
}

pub(super) fn title(symptom: &Symptom) -> String {
    match symptom {
        Symptom::Breach(Breach::Lost { found: None, .. }) => "durable data is gone".to_owned(),
        Symptom::Breach(Breach::Lost { found: Some(_), .. }) => {
            "durable data is gone, and an older value stands in its place".to_owned()
        }
        Symptom::Breach(Breach::Resurrected { .. }) => "data that was durably removed is back".to_owned(),
        Symptom::Breach(Breach::Torn { .. }) => "half of an atomic batch survived".to_owned(),
        Symptom::Breach(Breach::Invented { .. }) => "a key holds what nobody wrote".to_owned(),
        Symptom::Breach(Breach::OutOfOrder { .. }) => {
            "a later write survived, an earlier one did not".to_owned()
        }
        Symptom::Stumble(stumble) => {
            let first = stumble.message.lines().next().unwrap_or_default();
            format!("the store does not {}: {}: {first}", stumble.stage.words(), stumble.kind)
        }
    }
}

/// What had been asked when the state's first crash came.
fn asked(laboratory: &Laboratory, state: &State) -> Asked {
    laboratory.timeline.asked(state.crashes[0].after)
}

/// What was asked, what was promised, and what was found; a promise counts that names `needed`.
pub(super) fn in_words(
    laboratory: &Laboratory,
    symptom: &Symptom,
    asked: Asked,
    needed: Survives,
) -> Vec<String> {
    let describe = |change: usize| {
        let action = laboratory.authors[change].action;
        format!("step {action}: {}", laboratory.workload.describe(action, laboratory.promises()))
    };
    let name = |(space, key): &Key| format!("{space}/{}", String::from_utf8_lossy(key));
    let mut facts = Vec::new();
    match symptom {
        Symptom::Breach(Breach::Lost { change, key, found }) => {
            facts.push(format!("{} was written in {}", name(key), describe(*change)));
            facts.extend(durable_since(laboratory, *change, asked, needed));
            facts.push(match found {
                Some(found) => format!("found is the value of {}", describe(*found)),
                None => "found is nothing".to_owned(),
            });
        }
        Symptom::Breach(Breach::Resurrected { change, key, written }) => {
            facts.push(format!("{} was removed in {}", name(key), describe(*change)));
            facts.extend(durable_since(laboratory, *change, asked, needed));
            facts.push(format!("found is the value of {}", describe(*written)));
        }
        Symptom::Breach(Breach::Torn { change, present, absent }) => {
            facts.push(format!("the batch of {}", describe(*change)));
            facts.push(format!("{} is as it says, {} is not", name(present), name(absent)));
        }
        Symptom::Breach(Breach::Invented { key, value }) => {
            let shown = String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
            facts.push(format!("{} holds {} bytes that begin with {shown:?}", name(key), value.len()));
        }
        Symptom::Breach(Breach::OutOfOrder { lost, kept }) => {
            facts.push(format!("lost is {}", describe(*lost)));
            facts.push(format!("kept is {}", describe(*kept)));
        }
        Symptom::Stumble(stumble) => {
            facts.extend(stumble.message.lines().skip(1).take(12).map(str::to_owned));
        }
    }
    facts
}

/// The call that made a change durable, of those that had returned.
fn durable_since(laboratory: &Laboratory, change: usize, asked: Asked, needed: Survives) -> Option<String> {
    let action = promising_action(laboratory, change, asked, needed)?;
    let call = laboratory.workload.describe(action, laboratory.promises());
    Some(format!("durable since step {action}: {call} returned"))
}

/// The first action from that of `change` on that promised to make it durable, and had returned.
fn promising_action(laboratory: &Laboratory, change: usize, asked: Asked, needed: Survives) -> Option<usize> {
    let promises = laboratory.promises();
    (laboratory.authors[change].action..asked.durable)
        .find(|&action| laboratory.workload.survives(action, promises) >= needed)
}

fn promise(laboratory: &Laboratory, symptom: &Symptom, asked: Asked) -> Option<String> {
    let promises = laboratory.promises();
    let quoted = |words: &str| (!words.is_empty()).then(|| words.to_owned());
    match symptom {
        Symptom::Breach(Breach::Lost { change, .. } | Breach::Resurrected { change, .. }) => {
            let action = promising_action(laboratory, *change, asked, laboratory.timeline.needed())?;
            laboratory.workload.source(action, promises).and_then(quoted)
        }
        Symptom::Breach(Breach::Torn { .. }) => promises.atomic.and_then(quoted),
        Symptom::Breach(Breach::OutOfOrder { .. }) => promises.order.and_then(quoted),
        Symptom::Breach(Breach::Invented { .. }) => None,
        Symptom::Stumble(_) => quoted(promises.reopens),
    }
}

fn culprit(culprit: &Culprit) -> CulpritReport {
    let Culprit { site, lost, missing_sync, during_recovery } = culprit;
    CulpritReport {
        call: site.call.clone(),
        lost: lost.clone(),
        thread: format!("thread {} at {:.3} ms", site.thread, site.now_ns as f64 / 1e6),
        missing_sync: missing_sync.clone(),
        lines: in_source(&site.lines),
        during_recovery: *during_recovery,
    }
}

/// Where a call was made, innermost first.
pub(super) fn in_source(lines: &[SourceLine]) -> Vec<String> {
    lines.iter().map(|line| format!("{}:{}  {}", line.file, line.line, line.function)).collect()
}

/// Where a crash fell.
fn fell(between: &Between) -> Vec<String> {
    let Between { after, before, during_recovery } = between;
    let when = if *during_recovery { "during recovery, " } else { "" };
    let place = |word: &str, site: &Site| match in_source(&site.lines).first() {
        Some(line) => format!("{when}{word} {} ({line})", site.call),
        None => format!("{when}{word} {}", site.call),
    };
    let after = after.iter().map(|site| place("after", site));
    after.chain(before.iter().map(|site| place("before", site))).collect()
}
