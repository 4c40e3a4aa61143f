//! Which lost operations do the harm: delta debugging over the choice of one crash. States with the same culprits
//! have the same cause, whatever their symptoms.

use super::driver::Trouble;
use super::explore::Violating;
use super::laboratory::{Fell, Laboratory, Symptom};
use super::pattern::without_numbers;
use super::stacks::{SourceLine, Stacks};
use super::state::{CrashState, Lost, Part, State};
use sim::RecordedOperation;
use sim::disk::{Change, OperationKind, PendingOperation, Profile};
use std::collections::{BTreeMap, BTreeSet};

/// Why states break a promise.
#[derive(Clone, Debug)]
pub struct Cause {
    /// What is wrong, the most frequent first, each with the smallest state that shows it.
    pub shown: Vec<Shown>,
    /// The operations whose loss does the harm in the first of them; empty where the crash alone does it.
    pub culprits: Vec<Culprit>,
    /// Where each of its crashes fell.
    pub fell: Vec<Between>,
}

impl Cause {
    /// How many distinct images break a promise for this reason.
    pub fn images(&self) -> usize {
        self.shown.iter().map(|shown| shown.images).sum()
    }
}

/// The calls that a crash fell between; none where there was no other.
#[derive(Clone, Debug)]
pub struct Between {
    /// The last that had changed the disk.
    pub after: Option<Site>,
    /// The first that would have.
    pub before: Option<Site>,
    /// True where the crash fell during the recovery after another one.
    pub during_recovery: bool,
}

/// A symptom of a cause.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What is wrong.
    pub symptom: Symptom,
    /// The smallest state that shows it.
    pub state: State,
    /// Distinct images that do.
    pub images: usize,
}

/// A lost operation without whose loss there is no harm.
#[derive(Clone, Debug)]
pub struct Culprit {
    /// The call.
    pub site: Site,
    /// What of it was lost, in words.
    pub lost: String,
    /// The sync that would have saved it, and that nobody made in time.
    pub missing_sync: String,
    /// True where the operation belongs to the recovery after a first crash.
    pub during_recovery: bool,
}

/// A call on the disk, and where in the engine it was made.
#[derive(Clone, Debug)]
pub struct Site {
    /// The call with its range: `write 115 bytes at 0 of store/db`.
    pub call: String,
    /// The thread.
    pub thread: String,
    /// Virtual nanoseconds since the machine began.
    pub now_ns: u64,
    /// The lines of the engine's source and its dependencies, innermost first.
    pub lines: Vec<SourceLine>,
}

/// What tells one lost operation from another: the call, its path without numbers, the line that made it, and
/// whether it was torn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SiteKey {
    kind: OperationKind,
    path: String,
    line: Option<SourceLine>,
    is_torn: bool,
}

/// A cause before it is put in words.
struct Known {
    key: CauseKey,
    shown: BTreeMap<String, Shown>,
}

/// What makes two violating states have the same cause.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CauseKey {
    /// The same operations are lost.
    Losses(BTreeSet<SiteKey>),
    /// Nothing need be lost, and the crash falls while the store is created.
    Creation,
    /// Nothing need be lost, and the crash falls before a call on the same file.
    Place(String),
}

/// States of one symptom that are attributed to a known cause only after it was seen that keeping its losses heals
/// them. Later ones are attributed where they lose the same: a second cause that hides behind the first would
/// have shown on its own, since states that lose little come first.
const HEALED_MIN: usize = 40;

/// Finds the causes of violating states.
pub(super) struct Blame<'a> {
    laboratory: &'a mut Laboratory,
    known: Vec<Known>,
}

impl<'a> Blame<'a> {
    pub(super) fn new(laboratory: &'a mut Laboratory) -> Self {
        Self { laboratory, known: Vec::new() }
    }

    /// Attributes one violating state: to a cause that is known, if keeping what that cause loses heals it;
    /// else it is made small, and what is left of its losses is the cause.
    ///
    /// # Errors
    /// Where no process can be started.
    pub(super) fn attribute(&mut self, violating: &Violating) -> Result<(), Trouble> {
        let class = violating.symptom.class();
        let pending = self.pending(&violating.state)?;
        let lost = lost_sites(&violating.state, &pending);
        for place in 0..self.known.len() {
            let known = &self.known[place];
            let CauseKey::Losses(guilty) = &known.key else { continue };
            let Some(shown) = known.shown.get(&class).filter(|_| guilty.is_subset(&lost)) else { continue };
            if shown.images >= HEALED_MIN
                || self.is_healed_without(&violating.state, &pending, &guilty.clone(), &class)?
            {
                self.known[place].shown.get_mut(&class).expect("it was just found").images += 1;
                return Ok(());
            }
        }
        let state = self.smallest(&violating.state, &class)?;
        let symptom = self.symptom_of_class(&state, &class)?.ok_or_else(|| {
            let first = &violating.state;
            Trouble::Incomplete(format!(
                "state {first} showed `{class}`, and did not again: a recovery differs"
            ))
        })?;
        let key = self.key(&state)?;
        let known = match self.known.iter_mut().find(|known| known.key == key) {
            Some(known) => known,
            None => {
                self.known.push(Known { key, shown: BTreeMap::new() });
                self.known.last_mut().expect("it was just added")
            }
        };
        known.shown.entry(class).or_insert(Shown { symptom, state, images: 0 }).images += 1;
        Ok(())
    }

    /// The causes, the most frequent first, with what they lost in words.
    ///
    /// # Errors
    /// Where no process can be started.
    pub(super) fn causes(self) -> Result<Vec<Cause>, Trouble> {
        let Self { laboratory, known } = self;
        let mut causes = Vec::new();
        for known in known {
            let mut shown: Vec<Shown> = known.shown.into_values().collect();
            shown.sort_by_key(|shown| std::cmp::Reverse(shown.images));
            let state = &shown.first().expect("a cause has a symptom").state;
            let (culprits, fell) = (culprits(laboratory, state)?, between(laboratory, state)?);
            causes.push(Cause { shown, culprits, fell });
        }
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.images()));
        Ok(causes)
    }

    fn symptom_of_class(&mut self, state: &State, class: &str) -> Result<Option<Symptom>, Trouble> {
        Ok(self.laboratory.examine(state)?.filter(|symptom| symptom.class() == class))
    }

    /// True where the state is harmless once the operations of a known cause are kept.
    fn is_healed_without(
        &mut self,
        state: &State,
        pending: &[Vec<(u64, SiteKey)>],
        guilty: &BTreeSet<SiteKey>,
        class: &str,
    ) -> Result<bool, Trouble> {
        let mut healed = state.clone();
        for (depth, pending) in pending.iter().enumerate() {
            let Lost::Some(lost) = &mut healed.crashes[depth].lost else { continue };
            let before = lost.len();
            let spared = pending.iter().filter(|(sequence, key)| {
                lost.get(sequence).is_some_and(|part| guilty.contains(&key.clone().torn(part)))
            });
            for sequence in spared.map(|(sequence, _)| *sequence).collect::<Vec<_>>() {
                lost.remove(&sequence);
            }
            if lost.len() < before {
                // The recovery from another image is another recovery: a crash of the old one cannot be kept.
                healed.crashes.truncate(depth + 1);
                break;
            }
        }
        Ok(healed != *state && self.symptom_of_class(&healed, class)?.is_none())
    }

    /// The smallest state with a symptom of the class that this one leads to.
    fn smallest(&mut self, state: &State, class: &str) -> Result<State, Trouble> {
        let mut small = state.clone();
        while small.crashes.len() > 1 {
            let mut shorter = small.clone();
            shorter.crashes.pop();
            if self.symptom_of_class(&shorter, class)?.is_none() {
                break;
            }
            small = shorter;
        }
        let depth = small.crashes.len() - 1;
        let Lost::Some(lost) = small.crashes[depth].lost.clone() else { return Ok(small) };
        let all: Vec<(u64, Part)> = lost.into_iter().collect();
        let kept = self.minimize(&small, depth, all, class)?;
        small.crashes[depth].lost = Lost::Some(kept.into_iter().collect());
        Ok(small)
    }

    /// Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 2002):
    /// removes chunks, at first large, for as long as the symptom stays.
    fn minimize(
        &mut self,
        state: &State,
        depth: usize,
        mut lost: Vec<(u64, Part)>,
        class: &str,
    ) -> Result<Vec<(u64, Part)>, Trouble> {
        let mut shows = |lost: &[(u64, Part)]| {
            let mut tried = state.clone();
            tried.crashes[depth].lost = Lost::Some(lost.iter().cloned().collect());
            self.symptom_of_class(&tried, class).map(|symptom| symptom.is_some())
        };
        if shows(&[])? {
            return Ok(Vec::new());
        }
        // Most harm is done by one loss alone.
        for one in &lost {
            if lost.len() > 1 && shows(std::slice::from_ref(one))? {
                return Ok(vec![one.clone()]);
            }
        }
        let mut chunk = lost.len() / 2;
        while chunk > 0 {
            let mut start = 0;
            while start < lost.len() && lost.len() > 1 {
                let end = (start + chunk).min(lost.len());
                let rest = [&lost[..start], &lost[end..]].concat();
                if !rest.is_empty() && shows(&rest)? {
                    lost = rest;
                } else {
                    start = end;
                }
            }
            chunk /= 2;
        }
        Ok(lost)
    }

    /// What tells the cause of a smallest state from others.
    fn key(&mut self, state: &State) -> Result<CauseKey, Trouble> {
        if state.crashes.iter().any(|crash| crash.lost != Lost::default()) {
            return Ok(CauseKey::Losses(lost_sites(state, &self.pending(state)?)));
        }
        if self.laboratory.timeline.asked(state.crashes[0].after).begun <= 1 {
            return Ok(CauseKey::Creation);
        }
        let mut place = String::new();
        walk(self.laboratory, state, &mut |walked, _| {
            let timeline = &walked.fell.timeline;
            let next = timeline.change(walked.crash.after);
            let operation = next.and_then(|done| timeline.operation(done.operation));
            let path = operation.map_or("", |operation| operation.path.as_str());
            place = without_numbers(path.split(" → ").next().unwrap_or_default());
        })?;
        Ok(CauseKey::Place(place))
    }

    /// What was pending at each crash of a state, with the sites that it came from.
    fn pending(&mut self, state: &State) -> Result<Vec<Vec<(u64, SiteKey)>>, Trouble> {
        let mut all = Vec::new();
        walk(self.laboratory, state, &mut |walked, stacks| {
            let pending = walked.pending().into_iter();
            let site = |sequence| Some((sequence, SiteKey::new(walked.source(sequence)?, stacks)));
            all.push(pending.filter_map(|operation| site(operation.sequence)).collect());
        })?;
        Ok(all)
    }
}

/// The sites of everything that a state loses.
fn lost_sites(state: &State, pending: &[Vec<(u64, SiteKey)>]) -> BTreeSet<SiteKey> {
    let mut sites = BTreeSet::new();
    for (pending, crash) in pending.iter().zip(&state.crashes) {
        let Lost::Some(lost) = &crash.lost else { continue };
        let own = pending.iter().filter_map(|(sequence, key)| Some(key.clone().torn(lost.get(sequence)?)));
        sites.extend(own);
    }
    sites
}

impl SiteKey {
    fn new(operation: &RecordedOperation, stacks: &Stacks) -> Self {
        Self {
            kind: operation.kind,
            path: without_numbers(&operation.path),
            line: stacks.lines(&operation.frames).first().cloned(),
            is_torn: false,
        }
    }

    /// The same site where this part of it is lost.
    fn torn(self, part: &Part) -> Self {
        Self { is_torn: *part != Part::Whole, ..self }
    }
}

/// One crash of a state, while it is walked through.
struct Walked<'a> {
    fell: &'a Fell<'a>,
    sequences: &'a [u64],
    profile: Profile,
    crash: &'a CrashState,
    depth: usize,
}

impl<'a> Walked<'a> {
    fn pending(&self) -> Vec<&'a PendingOperation> {
        self.fell.pending(self.profile)
    }

    /// The call that did the operation.
    fn source(&self, sequence: u64) -> Option<&'a RecordedOperation> {
        let change = self.sequences.partition_point(|&last| last < sequence);
        self.fell.timeline.operation(self.fell.timeline.change(change)?.operation)
    }
}

/// Visits each crash of a state with the disk that it fell on.
fn walk(
    laboratory: &mut Laboratory,
    state: &State,
    visit: &mut dyn FnMut(&Walked<'_>, &Stacks),
) -> Result<(), Trouble> {
    // What a recovery did is resolved on the way, while its timeline borrows the laboratory.
    let mut stacks = std::mem::take(&mut laboratory.stacks);
    let walked = walk_with(&mut stacks, laboratory, state, visit);
    laboratory.stacks = stacks;
    walked
}

fn walk_with(
    stacks: &mut Stacks,
    laboratory: &Laboratory,
    state: &State,
    visit: &mut dyn FnMut(&Walked<'_>, &Stacks),
) -> Result<(), Trouble> {
    let profile = laboratory.profile;
    for (depth, crash) in state.crashes.iter().enumerate() {
        let fell = &laboratory.fell_on(state, depth)?;
        let of_recovery = match depth {
            0 => None,
            _ => {
                stacks.resolve(fell.timeline.operations())?;
                Some(fell.timeline.sequences(&fell.start))
            }
        };
        let sequences = of_recovery.as_ref().unwrap_or(&laboratory.sequences);
        visit(&Walked { fell, sequences, profile, crash, depth }, stacks);
    }
    Ok(())
}

/// A call in words.
fn site(operation: &RecordedOperation, stacks: &Stacks) -> Site {
    let RecordedOperation { kind, path, offset, length, thread, now_ns, frames, .. } = operation;
    let call = match kind {
        OperationKind::Write => format!("write {length} bytes at {offset} of {path}"),
        OperationKind::Truncate => format!("truncate {path} to {offset} bytes"),
        _ => format!("{kind} {path}"),
    };
    let lines = stacks.lines(frames).to_vec();
    Site { call, thread: thread.clone(), now_ns: *now_ns, lines }
}

fn culprits(laboratory: &mut Laboratory, state: &State) -> Result<Vec<Culprit>, Trouble> {
    let mut culprits = Vec::new();
    walk(laboratory, state, &mut |walked, stacks| {
        let Lost::Some(lost) = &walked.crash.lost else { return };
        for operation in walked.pending() {
            let Some(part) = lost.get(&operation.sequence) else { continue };
            let Some(source) = walked.source(operation.sequence) else { continue };
            culprits.push(Culprit {
                site: site(source, stacks),
                lost: part_in_words(part),
                missing_sync: missing_sync(operation, source),
                during_recovery: walked.depth > 0,
            });
        }
    })?;
    Ok(culprits)
}

fn part_in_words(part: &Part) -> String {
    match part {
        Part::Whole => "lost".to_owned(),
        Part::Size => "its data kept, but not the size that it gave the file".to_owned(),
        Part::Sectors(sectors) => {
            let words: Vec<String> = sectors.iter().take(4).map(u64::to_string).collect();
            let more = if sectors.len() > 4 { ", …" } else { "" };
            format!("torn, without its sectors {}{more} of 512 bytes", words.join(", "))
        }
    }
}

/// The sync that makes an operation durable.
fn missing_sync(operation: &PendingOperation, source: &RecordedOperation) -> String {
    let path = &source.path;
    let parent = |path: &str| path.rsplit_once('/').map_or("/", |(parent, _)| parent).to_owned();
    match &operation.change {
        Change::Write(_)
        | Change::Resize { .. }
        | Change::Extend { .. }
        | Change::Allocate { .. }
        | Change::Punch { .. } => format!("fdatasync {path}"),
        Change::SetAttributes(_) => format!("fsync {path}"),
        // Of a rename, the directory of the new name.
        Change::Entries(_) => format!("fsync {}", parent(path.rsplit(" → ").next().unwrap_or(path))),
    }
}

/// Where each crash of a state fell.
fn between(laboratory: &mut Laboratory, state: &State) -> Result<Vec<Between>, Trouble> {
    let mut all = Vec::new();
    walk(laboratory, state, &mut |walked, stacks| {
        let (timeline, after) = (&walked.fell.timeline, walked.crash.after);
        // A file that is opened or closed changes nothing that a crash could take, and is no call of the recording.
        let at = |number: usize| {
            timeline
                .change(number)
                .and_then(|done| timeline.operation(done.operation))
                .map(|it| site(it, stacks))
        };
        all.push(Between {
            after: (0..after).rev().find_map(at),
            before: (after..timeline.len()).find_map(at),
            during_recovery: walked.depth > 0,
        });
    })?;
    Ok(all)
}
