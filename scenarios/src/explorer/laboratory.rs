//! Where images are made and opened, one clean process each, and what was seen is judged. Equal images are opened
//! once.

use super::driver::Trouble::{self, Incomplete, Misuse};
use super::driver::{self, Seen, Stumble};
use super::frames;
use super::pattern::without_numbers;
use super::stacks::Stacks;
use super::state::{CrashState, Lost, State};
use super::timeline::{self, Asked, Author, Timeline};
use super::workload::Workload;
use engines::native::{Contents, Native, Promises};
use model::recovery::{Breach, Past};
use sim::disk::{Disk, PendingOperation, Primitive, Profile, SECTOR_BYTES, Sectors, choosable, crash_disk};
use sim::isolation::{Allowance, Ended, run_isolated};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is wrong with a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symptom {
    /// A promise about the content is broken.
    Breach(Breach),
    /// The store does not open, or is of no use.
    Stumble(Stumble),
}

impl Symptom {
    /// The same text for symptoms that one defect may have: no numbers, no names of keys.
    pub(super) fn class(&self) -> String {
        match self {
            Self::Breach(breach) => breach.name().to_owned(),
            Self::Stumble(stumble) => {
                let first = stumble.message.lines().next().unwrap_or_default();
                let words: String = without_numbers(first).chars().take(60).collect();
                format!("{} {} {words}", stumble.stage.words(), stumble.kind)
            }
        }
    }
}

/// What is known of an image.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) contents_hash: Option<u64>,
    pub(super) stumble: Option<Stumble>,
}

/// The recorded workload and everything that was seen so far.
pub(super) struct Laboratory {
    pub(super) native: &'static dyn Native,
    pub(super) profile: Profile,
    pub(super) workload: Workload,
    pub(super) timeline: Timeline,
    /// Reads of the workload.
    pub(super) reads: u64,
    pub(super) past: Past,
    /// Who made each change of `past`.
    pub(super) authors: Vec<Author>,
    /// The number of the disk's last operation after each change of the timeline.
    pub(super) sequences: Vec<u64>,
    pub(super) stacks: Stacks,
    contents: BTreeMap<u64, Contents>,
    outcomes: BTreeMap<u128, Outcome>,
    /// Verdicts by content and duty.
    judged: BTreeMap<(u64, Asked), Option<Breach>>,
    /// Disks on the way through the timeline, so that none is replayed from the beginning.
    milestones: Vec<Disk>,
    /// Processor time of the processes that opened images.
    pub(super) processor_time: Duration,
}

/// Changes between two disks that are kept.
const MILESTONE_EVERY: usize = 64;

impl Laboratory {
    /// Records the workload, in a process of its own.
    ///
    /// # Errors
    /// Where the workload cannot be completed even without a fault.
    pub(super) fn new(
        native: &'static dyn Native,
        profile: Profile,
        workload: Workload,
        seed: u64,
    ) -> Result<Self, Trouble> {
        let promises = native.promises();
        let ended = isolated(driver::WORKLOAD, || driver::record(native, &workload, seed))?;
        let processor_time = ended.processor_time;
        let (reads, recording) = frames::workload(ended)?;
        let timeline = Timeline::new(recording, &workload, promises, timeline::needed(profile));
        let (past, authors) = (workload.past(promises), timeline::authors(&workload, promises));
        let mut stacks = Stacks::default();
        stacks.resolve(timeline.operations())?;
        let sequences = timeline.sequences(&Disk::new());
        let mut milestones = vec![Disk::new()];
        let mut disk = Disk::new();
        for after in (0..timeline.len()).step_by(MILESTONE_EVERY) {
            let end = (after + MILESTONE_EVERY).min(timeline.len());
            timeline.replay(&mut disk, after..end);
            milestones.push(disk.clone());
        }
        Ok(Self {
            native,
            profile,
            workload,
            timeline,
            reads,
            past,
            authors,
            sequences,
            stacks,
            contents: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            judged: BTreeMap::new(),
            milestones,
            processor_time,
        })
    }

    pub(super) fn promises(&self) -> &'static Promises {
        self.native.promises()
    }

    /// The disk as it was after so many changes of the workload.
    pub(super) fn disk_after(&self, after: usize) -> Disk {
        let milestone = after / MILESTONE_EVERY;
        let mut disk = self.milestones[milestone].clone();
        self.timeline.replay(&mut disk, milestone * MILESTONE_EVERY..after);
        disk
    }

    pub(super) fn outcome(&self, fingerprint: u128) -> Option<&Outcome> {
        self.outcomes.get(&fingerprint)
    }

    pub(super) fn knows(&self, contents_hash: u64) -> bool {
        self.contents.contains_key(&contents_hash)
    }

    /// Takes note of what opening an image showed.
    pub(super) fn learn(&mut self, fingerprint: u128, seen: Seen) {
        if let (Some(hash), Some(contents)) = (seen.contents_hash, seen.contents) {
            self.contents.insert(hash, contents);
        }
        let outcome = Outcome { contents_hash: seen.contents_hash, stumble: seen.stumble };
        self.outcomes.insert(fingerprint, outcome);
    }

    /// What is wrong with an image that was opened, if the crash came when so much had been asked.
    pub(super) fn judge(&mut self, fingerprint: u128, asked: Asked) -> Option<Symptom> {
        let outcome = &self.outcomes[&fingerprint];
        let breach = outcome.contents_hash.and_then(|hash| {
            let (contents, past) = (&self.contents, &self.past);
            let (authors, ordered) = (&self.authors, self.native.promises().order.is_some());
            let judge = || past.judge(timeline::duty(authors, asked), ordered, &contents[&hash]).err();
            self.judged.entry((hash, asked)).or_insert_with(judge).clone()
        });
        breach.map(Symptom::Breach).or_else(|| outcome.stumble.clone().map(Symptom::Stumble))
    }

    /// What is wrong with a state; opens it if no equal one was opened before.
    ///
    /// # Errors
    /// Where no process can be started, or the state names a change that there is not.
    pub(super) fn examine(&mut self, state: &State) -> Result<Option<Symptom>, Trouble> {
        let (image, asked) = self.image(state)?;
        self.open(image, asked)
    }

    /// What is wrong with an image; opens it if no equal one was opened before.
    ///
    /// # Errors
    /// Where no process can be started.
    pub(super) fn open(&mut self, image: Disk, asked: Asked) -> Result<Option<Symptom>, Trouble> {
        let fingerprint = image.fingerprint();
        if !self.outcomes.contains_key(&fingerprint) {
            let opening = || driver::open_image(self.native, image, &|hash| self.knows(hash));
            let ended = isolated(driver::OPENING, opening)?;
            self.processor_time += ended.processor_time;
            self.learn(fingerprint, frames::seen(ended)?);
        }
        Ok(self.judge(fingerprint, asked))
    }

    /// The disk that the engine finds in `state`, and what had been asked of it by the first crash.
    ///
    /// # Errors
    /// Where the state names a change or an operation that there is not; where a recovery cannot be recorded.
    pub(super) fn image(&self, state: &State) -> Result<(Disk, Asked), Trouble> {
        let last = state.crashes.len() - 1;
        let fell = self.fell_on(state, last)?;
        let lost = &state.crashes[last].lost;
        check_pending(&state.crashes[last], &fell.pending(self.profile))?;
        let image = image_of(&fell.disk, self.profile, fell.now_ns, lost);
        Ok((image, self.timeline.asked(state.crashes[0].after)))
    }

    /// What crash number `depth` of `state`, from 0, fell on.
    ///
    /// # Errors
    /// As [`Laboratory::image`].
    pub(super) fn fell_on(&self, state: &State, depth: usize) -> Result<Fell<'_>, Trouble> {
        let crash = &state.crashes[depth];
        let (start, timeline) = match depth {
            0 => (Disk::new(), Cow::Borrowed(&self.timeline)),
            _ => {
                let (image, _) = self.image(&State { crashes: state.crashes[..depth].to_vec() })?;
                let recovery = self.recovery(image.clone())?;
                (image, Cow::Owned(recovery))
            }
        };
        if depth == 0 && crash.after < timeline.first() {
            let first = timeline.first();
            return Err(Misuse(format!("no crash falls before change {first}: the engine did nothing yet")));
        }
        if crash.after > timeline.len() {
            let (after, len) = (crash.after, timeline.len());
            return Err(Misuse(format!("there is no change {after}: the disk was changed {len} times")));
        }
        let mut disk = match depth {
            0 => self.disk_after(crash.after),
            _ => {
                let mut disk = start.clone();
                timeline.replay(&mut disk, 0..crash.after);
                disk
            }
        };
        if crash.inside_bytes > 0 {
            write_in_part(&timeline, crash, &mut disk)?;
        }
        let now_ns = timeline.now_ns(crash.after);
        Ok(Fell { start, timeline, disk, now_ns })
    }

    /// The state with everything that it loses named.
    ///
    /// # Errors
    /// As [`Laboratory::image`].
    pub(super) fn spelled_out(&self, state: &State) -> Result<State, Trouble> {
        let mut state = state.clone();
        for depth in 0..state.crashes.len() {
            if state.crashes[depth].lost == Lost::All {
                let fell = self.fell_on(&state, depth)?;
                let pending = fell.pending(self.profile);
                state.crashes[depth].lost = Lost::whole(pending.iter().map(|operation| operation.sequence));
            }
        }
        self.image(&state).map(|_| state)
    }

    /// What the engine does to an image while it opens it.
    ///
    /// # Errors
    /// Where the recovery cannot be recorded.
    pub(super) fn recovery(&self, image: Disk) -> Result<Timeline, Trouble> {
        self.recovery_of(isolated(driver::OPENING, || driver::record_recovery(self.native, image))?)
    }

    pub(super) fn recovery_of(&self, ended: Ended) -> Result<Timeline, Trouble> {
        let recording = frames::recording(ended)?;
        let nothing = Workload { actions: Vec::new() };
        let needed = timeline::needed(self.profile);
        Ok(Timeline::new(recording, &nothing, self.promises(), needed))
    }
}

/// The disk that a crash fell on, and how it came to be.
pub(super) struct Fell<'a> {
    /// The disk before the first change of the timeline.
    pub(super) start: Disk,
    pub(super) timeline: Cow<'a, Timeline>,
    pub(super) disk: Disk,
    pub(super) now_ns: u64,
}

impl Fell<'_> {
    /// The operations over which the profile leaves a choice.
    pub(super) fn pending(&self, profile: Profile) -> Vec<&PendingOperation> {
        choosable(&self.disk, profile, self.now_ns)
    }
}

/// Refuses a state that loses what could not be lost.
fn check_pending(state: &CrashState, pending: &[&PendingOperation]) -> Result<(), Trouble> {
    let Lost::Some(lost) = &state.lost else { return Ok(()) };
    let numbers: Vec<u64> = pending.iter().map(|operation| operation.sequence).collect();
    match lost.keys().find(|operation| !numbers.contains(operation)) {
        None => Ok(()),
        Some(operation) => Err(Misuse(format!(
            "operation {operation} cannot be lost after change {}: what can be is {}",
            state.after,
            if numbers.is_empty() { "nothing".to_owned() } else { in_a_row(&numbers) }
        ))),
    }
}

fn in_a_row(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// The image that `lost` leaves of `disk`.
pub(super) fn image_of(disk: &Disk, profile: Profile, now_ns: u64, lost: &Lost) -> Disk {
    crash_disk(disk, profile, now_ns, &mut &*lost)
}

/// Does the first bytes of the next change, which must be a write.
pub(super) fn write_in_part(timeline: &Timeline, state: &CrashState, disk: &mut Disk) -> Result<(), Trouble> {
    match timeline.change(state.after).map(|done| (&done.change, done.stamp)) {
        Some((Primitive::Write { file, offset, bytes }, stamp)) => {
            let touched = Sectors::touched(*offset, bytes.len() as u64);
            let done = Sectors::prefix(touched, state.inside_bytes / SECTOR_BYTES);
            disk.write_partially(*file, *offset, bytes, &done, stamp);
            Ok(())
        }
        Some(_) | None => Err(Misuse(format!("change {} is no write to fall inside of", state.after + 1))),
    }
}

pub(super) fn isolated(allowance: Allowance, work: impl FnOnce() -> Vec<u8>) -> Result<Ended, Trouble> {
    run_isolated(allowance, work).map_err(|error| Incomplete(format!("no process could be started: {error}")))
}
