//! Errors in place of crashes: each call of the disk fails in turn, once, and the engine is asked what it made of
//! that.
//!
//! The workload runs until the engine reports an error, or to its end. Then the store is opened twice more, each
//! time in a clean process: as the process left it, and as a power failure leaves it that came after everything
//! pending had been written back. In the second, what a failed fsync lost is missing. So an error that was
//! swallowed shows as data that is gone although a later durability call returned.

use super::driver::{self, Run, Trouble};
use super::frames;
use super::laboratory::{Laboratory, Symptom, image_of};
use super::pattern::without_numbers;
use super::queue::Queue;
use super::report::{in_source, in_words, title};
use super::state::Lost;
use super::timeline::{self, Asked, Timeline};
use super::{Subject, own_processor_time};
use serde::{Deserialize, Serialize};
use sim::disk::{Disk, Errno, OperationKind, Profile};
use sim::isolation::Ended;
use sim::{CrashSite, FaultPoint, PointFault, Recording};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// It fails with `EIO`: reads, writes, and changes of names.
    Eio,
    /// The disk is full from this call on, until the process ends.
    Enospc,
    /// A sync fails with `EIO`, and what it should have written is lost though the pages are clean.
    FsyncError,
    /// A write takes half of what it was given.
    ShortWrite,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Eio, Self::Enospc, Self::FsyncError, Self::ShortWrite];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eio => "eio",
            Self::Enospc => "enospc",
            Self::FsyncError => "fsync-error",
            Self::ShortWrite => "short-write",
        }
    }

    /// The fault for a call of `kind` over `length` bytes; none where it does not befall such a call.
    fn of(self, kind: OperationKind, length: u64) -> Option<PointFault> {
        let is_sync = matches!(kind, OperationKind::Sync | OperationKind::DataSync);
        match self {
            Self::Eio => (!is_sync).then_some(PointFault::Error(Errno::EIO)),
            Self::Enospc => (!is_sync).then_some(PointFault::FullDisk),
            Self::FsyncError => is_sync.then_some(PointFault::SyncError),
            Self::ShortWrite => {
                (kind == OperationKind::Write && length > 1).then_some(PointFault::Short(length / 2))
            }
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            format!("unknown fault `{name}`; known are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// A call of the workload, as `--at` names it: `17` is the 17th that changes the disk, `r17` the 17th read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CallNumber {
    /// Its number, from 1.
    pub number: u64,
    /// Whether it is a read.
    pub is_read: bool,
}

impl fmt::Display for CallNumber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", if self.is_read { "r" } else { "" }, self.number)
    }
}

impl FromStr for CallNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('r');
        let number = digits.unwrap_or(text).parse().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| format!("`{text}` is no call: 17 is a change, r17 a read"))?;
        Ok(Self { number, is_read: digits.is_some() })
    }
}

/// What injecting faults found.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// The engine.
    pub engine: String,
    /// Its version, as Cargo built it.
    pub version: String,
    /// The seed of the workload.
    pub seed: u64,
    /// Steps of the workload.
    pub steps: usize,
    /// What came of each kind of fault.
    pub counts: BTreeMap<FaultKind, FaultCounts>,
    /// Processor time in seconds.
    pub processor_s: f64,
    /// Why promises were broken; the most frequent first.
    pub causes: Vec<FaultCause>,
}

/// What came of one kind of fault.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FaultCounts {
    /// Runs in which a call failed.
    pub injected: usize,
    /// Of those: a step returned an error.
    pub reported: usize,
    /// A step, or another thread of the engine, panicked.
    pub panicked: usize,
    /// No step reported it.
    pub unreported: usize,
    /// A promise was broken, or the process did not go on.
    pub violating: usize,
}

/// Why a promise was broken.
#[derive(Clone, Debug, Serialize)]
pub struct FaultCause {
    /// What is wrong, in one line.
    pub title: String,
    /// What was asked, what was promised, and what was found.
    pub facts: Vec<String>,
    /// Where in the engine's source the call that failed was made, innermost first; not known of reads.
    pub lines: Vec<String>,
    /// Runs that show it.
    pub runs: usize,
    /// The line that reruns the first of them.
    pub rerun: String,
}

impl FaultReport {
    /// True where every promise was kept.
    pub fn held(&self) -> bool {
        self.causes.is_empty()
    }
}

/// One run that is under way.
#[derive(Clone, Copy)]
struct Job {
    kind: FaultKind,
    call: CallNumber,
}

/// What tells causes apart: fault, call, path without numbers, line of source, symptom.
type CauseKey = (FaultKind, String, String, Option<String>, String);

struct Injector<'a> {
    subject: &'a Subject,
    laboratory: Laboratory,
    queue: Queue<Job>,
    counts: BTreeMap<FaultKind, FaultCounts>,
    causes: BTreeMap<CauseKey, FaultCause>,
}

impl Subject {
    /// Lets each call fail in turn, with each of `kinds`; or only the call `at`. `progress` is told how many runs
    /// are done, of how many.
    ///
    /// # Errors
    /// As [`Subject::explore`].
    pub fn inject(
        &self,
        kinds: &[FaultKind],
        at: Option<CallNumber>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<FaultReport, Trouble> {
        let began = own_processor_time();
        let laboratory = self.laboratory()?;
        let mut injector = Injector {
            subject: self,
            laboratory,
            queue: Queue::new(self.jobs, driver::WORKLOAD),
            counts: kinds.iter().map(|&kind| (kind, FaultCounts::default())).collect(),
            causes: BTreeMap::new(),
        };
        let jobs = injector.jobs(kinds, at);
        if let (Some(at), []) = (at, &jobs[..]) {
            let none = "the engine makes no such call that one of these faults befalls";
            return Err(Trouble::Misuse(format!("call {at}: {none}")));
        }
        let count = jobs.len();
        for (done, job) in jobs.into_iter().enumerate() {
            injector.start(job)?;
            while let Some((job, ended)) = injector.queue.ready() {
                injector.take(job, ended)?;
            }
            progress(done, count);
        }
        while let Some((job, ended)) = injector.queue.next()? {
            injector.take(job, ended)?;
        }
        Ok(injector.report(own_processor_time() - began))
    }
}

impl Injector<'_> {
    /// Every call of the recorded workload that a fault befalls.
    fn jobs(&self, kinds: &[FaultKind], at: Option<CallNumber>) -> Vec<Job> {
        let mut jobs = Vec::new();
        for &kind in kinds {
            for operation in self.laboratory.timeline.operations_of_the_engine() {
                let call = CallNumber { number: operation.number, is_read: false };
                if kind.of(operation.kind, operation.length).is_some() {
                    jobs.push(Job { kind, call });
                }
            }
            if kind == FaultKind::Eio {
                let reads = 1..=self.laboratory.reads;
                jobs.extend(reads.map(|number| Job { kind, call: CallNumber { number, is_read: true } }));
            }
        }
        jobs.retain(|job| at.is_none_or(|at| at == job.call));
        jobs
    }

    fn start(&mut self, job: Job) -> Result<(), Trouble> {
        let point = self.point(job);
        let (native, workload, seed) = (self.subject.native, &self.laboratory.workload, self.subject.seed);
        self.queue.start(job, || driver::run_with_fault(native, workload, seed, point))
    }

    fn point(&self, Job { kind, call }: Job) -> FaultPoint {
        let operation = call.number;
        let fault = match call.is_read {
            true => PointFault::Error(Errno::EIO),
            false => {
                let recorded =
                    self.laboratory.timeline.operation(operation).expect("a job's call is recorded");
                kind.of(recorded.kind, recorded.length).expect("a job's fault befalls its call")
            }
        };
        FaultPoint { fault, operation, reads: call.is_read }
    }

    fn take(&mut self, job: Job, ended: Ended) -> Result<(), Trouble> {
        self.laboratory.processor_time += ended.processor_time;
        let (run, recording) = match frames::run(ended)? {
            Ok(run) => run,
            Err(words) => {
                let counts = self.counts.get_mut(&job.kind).expect("every kind is counted");
                counts.injected += 1;
                counts.violating += 1;
                self.blame(job, None, false, &words, vec![]);
                return Ok(());
            }
        };
        let Some(fell) = &run.fell else { return Ok(()) };
        let counts = self.counts.get_mut(&job.kind).expect("every kind is counted");
        counts.injected += 1;
        counts.panicked += usize::from(run.panicked.is_some());
        counts.reported += usize::from(run.reported.is_some() && run.panicked.is_none());
        counts.unreported += usize::from(run.reported.is_none() && run.panicked.is_none());
        if let Some((symptom, asked, profile)) = self.judge(&recording)? {
            self.counts.get_mut(&job.kind).expect("every kind is counted").violating += 1;
            let facts = self.facts(&run, &symptom, asked, profile);
            self.blame(job, Some(fell), asked.begun <= 1, &title(&symptom), facts);
        }
        Ok(())
    }

    /// What is wrong with the store as the process left it, or as a power failure leaves it that came after
    /// everything pending had been written back.
    fn judge(&mut self, recording: &Recording) -> Result<Option<(Symptom, Asked, Profile)>, Trouble> {
        let promises = self.laboratory.promises();
        for profile in [Profile::ProcessKill, Profile::Posix] {
            let (workload, needed) = (&self.laboratory.workload, timeline::needed(profile));
            let timeline = Timeline::new(recording.clone(), workload, promises, needed);
            let (end, mut disk) = (timeline.len(), Disk::new());
            timeline.replay(&mut disk, 0..end);
            let image = image_of(&disk, profile, timeline.now_ns(end), &Lost::default());
            let asked = timeline.asked(end);
            if let Some(symptom) = self.laboratory.open(image, asked)? {
                return Ok(Some((symptom, asked, profile)));
            }
        }
        Ok(None)
    }

    fn facts(&self, run: &Run, symptom: &Symptom, asked: Asked, profile: Profile) -> Vec<String> {
        let mut facts = Vec::new();
        facts.push(match (&run.reported, &run.panicked) {
            (Some((action, words)), _) => {
                let step = self.laboratory.workload.describe(*action, self.laboratory.promises());
                format!("reported by step {action}, {step}: {words}")
            }
            (None, Some(words)) => format!("a thread panicked: {words}"),
            (None, None) => "no step reported it".to_owned(),
        });
        facts.extend(in_words(&self.laboratory, symptom, asked, timeline::needed(profile)));
        facts.push(match profile {
            Profile::ProcessKill => "seen when the store was opened by the next process".to_owned(),
            Profile::Ext4Ordered | Profile::Posix | Profile::Lying => {
                "seen after a power failure, though everything that was pending had been written".to_owned()
            }
        });
        facts
    }

    fn blame(
        &mut self,
        job: Job,
        fell: Option<&CrashSite>,
        during_creation: bool,
        title: &str,
        facts: Vec<String>,
    ) {
        let first = title.lines().next().unwrap_or_default();
        let recorded = self.laboratory.timeline.operation(job.call.number).filter(|_| !job.call.is_read);
        let lines = recorded.map(|operation| in_source(self.laboratory.stacks.lines(&operation.frames)));
        let lines = lines.unwrap_or_default();
        let (call, path) = match (fell, recorded) {
            (Some(site), _) => (site.call.clone(), site.path.clone()),
            (None, Some(operation)) => (operation.kind.name().to_owned(), operation.path.clone()),
            (None, None) => ("read".to_owned(), String::new()),
        };
        let pattern = without_numbers(&path);
        let class = without_numbers(first);
        let key = match during_creation {
            // A store that was not quite created is one story, whichever call of it failed.
            true => (job.kind, String::new(), String::new(), None, class),
            false => (job.kind, call.clone(), pattern, lines.first().cloned(), class),
        };
        if let Some(known) = self.causes.get_mut(&key) {
            known.runs += 1;
            return;
        }
        let Subject { native, seed, steps, .. } = self.subject;
        let rerun = format!(
            "cargo xtask crash --engine {} --seed {seed} --ops {steps} --fault {} --at {}",
            native.name(),
            job.kind,
            job.call
        );
        let when = if during_creation { ", while the store is created" } else { "" };
        let title = format!("{} at {call} {path}{when}: {first}", job.kind);
        self.causes.insert(key, FaultCause { title, facts, lines, runs: 1, rerun });
    }

    fn report(self, own: Duration) -> FaultReport {
        let mut causes: Vec<FaultCause> = self.causes.into_values().collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.runs));
        FaultReport {
            engine: self.subject.native.name().to_owned(),
            version: self.subject.native.version().to_owned(),
            seed: self.subject.seed,
            steps: self.subject.steps,
            counts: self.counts,
            processor_s: (own + self.laboratory.processor_time).as_secs_f64(),
            causes,
        }
    }
}
