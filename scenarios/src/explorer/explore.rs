//! The walk over every boundary of a workload, with every image that the menu asks for opened and judged.

use super::driver::{self, Trouble};
use super::frames;
use super::laboratory::{Laboratory, Symptom, image_of};
use super::losses::{Losses, Sampling};
use super::queue::Queue;
use super::state::{CrashState, Lost, State};
use super::timeline::{Asked, Timeline};
use sim::disk::{Disk, Primitive, Profile, choosable};
use sim::entropy::Entropy;
use sim::isolation::Ended;
use std::collections::{BTreeMap, BTreeSet};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Counts {
    /// Boundaries of the workload: one more than the disk was changed.
    pub boundaries: usize,
    /// The most operations that were pending at one of them.
    pub pending_max: usize,
    /// The logarithm to base 2 of the number of states, each pending operation lost or kept.
    pub existing_log2: f64,
    /// States that the menu asked for.
    pub tried: usize,
    /// Of those, states whose image equals one that was opened.
    pub equal: usize,
    /// Images that were opened: distinct ones, each in a process of its own.
    pub opened: usize,
    /// Of those, images of a second crash, during the recovery from a first.
    pub opened_after_second_crash: usize,
    /// Recoveries that differ in what they do to which file, each crashed at every boundary.
    pub recoveries: usize,
    /// States that break a promise.
    pub violating: usize,
}

/// A state that breaks a promise.
#[derive(Clone, Debug)]
pub(super) struct Violating {
    pub(super) state: State,
    pub(super) symptom: Symptom,
}

/// A state on its way.
struct Waiting {
    state: State,
    asked: Asked,
}

/// What a process is doing.
enum Job {
    Open(u128, Found),
    Recover(Found),
}

/// An image, how it came to be, and what had been asked.
struct Found {
    image: Disk,
    state: State,
    asked: Asked,
}

/// Images that are made before the first of them is opened. A fork has parent and child copy each page that one of both
/// writes to afterwards: processes that are started one after the other share what the parent wrote for all of them.
const BATCH: usize = 32;

/// Recoveries that are crashed. An engine whose recovery differs with every image would have no end.
pub const RECOVERIES_MAX: usize = 64;

/// An exploration on its way.
pub(super) struct Explorer<'a> {
    laboratory: &'a mut Laboratory,
    sampling: Sampling,
    queue: Queue<Job>,
    /// Images that are made and not being opened yet.
    batch: Vec<(u128, Found)>,
    /// States whose image is, or will be, opened for another one.
    waiting: BTreeMap<u128, Vec<Waiting>>,
    /// Recoveries to be crashed, found while images were opened.
    recoveries: Vec<Found>,
    recorded: Vec<(Timeline, Found)>,
    shapes: BTreeSet<u64>,
    entropy: Entropy,
    counts: Counts,
    violating: Vec<Violating>,
    /// Distinct images among the violating states.
    blamed: BTreeSet<(u128, String)>,
}

impl<'a> Explorer<'a> {
    pub(super) fn new(laboratory: &'a mut Laboratory, sampling: Sampling, jobs: usize, seed: u64) -> Self {
        let entropy = Entropy::stream(seed, "samples of the crash explorer");
        Self {
            laboratory,
            sampling,
            queue: Queue::new(jobs, driver::OPENING),
            batch: Vec::new(),
            waiting: BTreeMap::new(),
            recoveries: Vec::new(),
            recorded: Vec::new(),
            shapes: BTreeSet::new(),
            entropy,
            counts: Counts { existing_log2: f64::NEG_INFINITY, ..Counts::default() },
            violating: Vec::new(),
            blamed: BTreeSet::new(),
        }
    }

    /// Walks. `progress` is told the boundary, how many there are, and how many images were opened.
    ///
    /// # Errors
    /// Where the host has no process left, or a recovery that was completed once cannot be recorded.
    pub(super) fn run(
        mut self,
        progress: &mut dyn FnMut(usize, usize, usize),
    ) -> Result<(Counts, Vec<Violating>), Trouble> {
        let (first, count) = (self.laboratory.timeline.first(), self.laboratory.timeline.len());
        self.counts.boundaries = count + 1 - first;
        let mut disk = self.laboratory.disk_after(first);
        for after in first..=count {
            self.try_boundary(after, &disk)?;
            progress(after, count, self.counts.opened);
            if after < count {
                self.laboratory.timeline.replay(&mut disk, after..after + 1);
            }
        }
        self.settle()?;
        self.crash_recoveries()?;
        Ok((self.counts, self.violating))
    }

    fn try_boundary(&mut self, after: usize, disk: &Disk) -> Result<(), Trouble> {
        let timeline = &self.laboratory.timeline;
        let (asked, now_ns) = (timeline.asked(after), timeline.now_ns(after));
        let promised_more = after > 0 && timeline.asked(after - 1).durable < asked.durable;
        if !promised_more && timeline.changed_nothing(after) {
            return Ok(());
        }
        let fresh = if promised_more { None } else { newest(timeline, after, disk) };
        for lost in self.losses(disk, now_ns, fresh, self.sampling) {
            let state = State::first(after, lost);
            let image = image_of(disk, self.laboratory.profile, now_ns, &state.crashes[0].lost);
            self.submit(image, state, asked)?;
        }
        if self.laboratory.profile == Profile::ProcessKill {
            self.fall_inside(after, disk, asked)?;
        }
        Ok(())
    }

    /// A process may be killed between two pages of a long write.
    fn fall_inside(&mut self, after: usize, disk: &Disk, asked: Asked) -> Result<(), Trouble> {
        let bytes = match self.laboratory.timeline.change(after).map(|done| &done.change) {
            Some(Primitive::Write { bytes, .. }) => bytes.len() as u64,
            Some(_) | None => return Ok(()),
        };
        for inside_bytes in (4096..bytes).step_by(4096) {
            let crash = CrashState { after, inside_bytes, lost: Lost::default() };
            let mut begun = disk.clone();
            super::laboratory::write_in_part(&self.laboratory.timeline, &crash, &mut begun)?;
            let image = image_of(&begun, self.laboratory.profile, 0, &crash.lost);
            self.submit(image, State { crashes: vec![crash] }, asked)?;
        }
        Ok(())
    }

    fn losses(&mut self, disk: &Disk, now_ns: u64, fresh: Option<u64>, sampling: Sampling) -> BTreeSet<Lost> {
        let profile = self.laboratory.profile;
        let pending = choosable(disk, profile, now_ns);
        self.counts.pending_max = self.counts.pending_max.max(pending.len());
        self.counts.existing_log2 = add_log2(self.counts.existing_log2, pending.len());
        let tears = profile.rules().writes_tear;
        Losses { pending: &pending, fresh, tears, sampling }.list(&mut self.entropy)
    }

    /// Takes an image to be opened, unless an equal one was or is.
    fn submit(&mut self, image: Disk, state: State, asked: Asked) -> Result<(), Trouble> {
        self.counts.tried += 1;
        let fingerprint = image.fingerprint();
        if self.laboratory.outcome(fingerprint).is_some() {
            self.counts.equal += 1;
            self.judge(fingerprint, state, asked);
            return Ok(());
        }
        if let Some(waiting) = self.waiting.get_mut(&fingerprint) {
            self.counts.equal += 1;
            waiting.push(Waiting { state, asked });
            return Ok(());
        }
        self.waiting.insert(fingerprint, Vec::new());
        self.counts.opened += 1;
        self.counts.opened_after_second_crash += usize::from(state.crashes.len() > 1);
        self.batch.push((fingerprint, Found { image, state, asked }));
        if self.batch.len() < BATCH {
            return Ok(());
        }
        self.open_batch()?;
        self.take_ready()
    }

    /// Starts a process for each image of the batch.
    fn open_batch(&mut self) -> Result<(), Trouble> {
        for (fingerprint, found) in std::mem::take(&mut self.batch) {
            let (native, opened) = (self.laboratory.native, found.image.clone());
            let laboratory = &*self.laboratory;
            self.queue.start(Job::Open(fingerprint, found), || {
                driver::open_image(native, opened, &|hash| laboratory.knows(hash))
            })?;
        }
        Ok(())
    }

    fn take_ready(&mut self) -> Result<(), Trouble> {
        while let Some((job, ended)) = self.queue.ready() {
            self.take(job, ended)?;
        }
        Ok(())
    }

    /// Waits until every image is opened, and everything else that was started has ended.
    fn settle(&mut self) -> Result<(), Trouble> {
        self.open_batch()?;
        while let Some((job, ended)) = self.queue.next()? {
            self.take(job, ended)?;
        }
        Ok(())
    }

    fn take(&mut self, job: Job, ended: Ended) -> Result<(), Trouble> {
        self.laboratory.processor_time += ended.processor_time;
        match job {
            Job::Open(fingerprint, found) => {
                let seen = frames::seen(ended)?;
                let is_new_recovery = seen.stumble.is_none()
                    && seen.changes > 0
                    && found.state.crashes.len() == 1
                    && self.shapes.len() < RECOVERIES_MAX
                    && self.shapes.insert(seen.shape);
                self.laboratory.learn(fingerprint, seen);
                self.judge(fingerprint, found.state.clone(), found.asked);
                for waiting in self.waiting.remove(&fingerprint).unwrap_or_default() {
                    self.judge(fingerprint, waiting.state, waiting.asked);
                }
                if is_new_recovery {
                    self.recoveries.push(found);
                }
            }
            Job::Recover(found) => self.recorded.push((self.laboratory.recovery_of(ended)?, found)),
        }
        Ok(())
    }

    /// Records the recoveries that differ, and crashes each.
    fn crash_recoveries(&mut self) -> Result<(), Trouble> {
        for found in std::mem::take(&mut self.recoveries) {
            self.counts.recoveries += 1;
            let (native, image) = (self.laboratory.native, found.image.clone());
            self.queue.start(Job::Recover(found), || driver::record_recovery(native, image))?;
        }
        self.settle()?;
        for (recovery, found) in std::mem::take(&mut self.recorded) {
            self.crash_recovery(&recovery, &found)?;
        }
        self.settle()
    }

    /// Crashes one recovery at each of its boundaries.
    fn crash_recovery(&mut self, recovery: &Timeline, from: &Found) -> Result<(), Trouble> {
        let Found { image, state, asked } = from;
        let mut disk = image.clone();
        for after in 0..=recovery.len() {
            let now_ns = recovery.now_ns(after);
            let fresh = newest(recovery, after, &disk);
            for lost in self.losses(&disk, now_ns, fresh, Sampling::Sample(2)) {
                let second = image_of(&disk, self.laboratory.profile, now_ns, &lost);
                let chain = state.then(CrashState { after, inside_bytes: 0, lost });
                self.submit(second, chain, *asked)?;
            }
            if after < recovery.len() {
                recovery.replay(&mut disk, after..after + 1);
            }
        }
        Ok(())
    }

    fn judge(&mut self, fingerprint: u128, state: State, asked: Asked) {
        if let Some(symptom) = self.laboratory.judge(fingerprint, asked) {
            self.counts.violating += 1;
            if self.blamed.insert((fingerprint, symptom.class())) {
                self.violating.push(Violating { state, symptom });
            }
        }
    }
}

/// The pending operation that change `after` added to `disk`, if it added one: then every state that lacks it was
/// met one boundary before.
fn newest(timeline: &Timeline, after: usize, disk: &Disk) -> Option<u64> {
    let last = timeline.change(after.checked_sub(1)?)?;
    let adds = !matches!(last.change, Primitive::Sync { .. } | Primitive::Open(_) | Primitive::Close(_));
    adds.then(|| disk.sequence())
}

/// log2(2^a + 2^b).
fn add_log2(a: f64, b: usize) -> f64 {
    let b = f64::from(u32::try_from(b).unwrap_or(u32::MAX));
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    large + (small - large).exp2().ln_1p() / std::f64::consts::LN_2
}
