//! The crash explorer: one engine, one workload, every crash.
//!
//! A workload is recorded once on the simulated machine. Its changes of the disk are then done again one by one,
//! on a disk without an engine; at each boundary the images that a crash may leave are made, and each distinct
//! one is opened in a process of its own. What is found there is held against what the engine promises
//! ([`engines::native::Promises`]), by [`model::recovery`].

mod blame;
mod driver;
mod emit;
mod explore;
mod faults;
mod frames;
mod laboratory;
mod losses;
mod pattern;
mod queue;
mod report;
mod stacks;
mod state;
mod timeline;
mod workload;

pub use blame::{Between, Cause, Culprit, Shown, Site};
pub use driver::{Stage, Stumble, Trouble};
pub use explore::{Counts, RECOVERIES_MAX};
pub use faults::{CallNumber, FaultCause, FaultCounts, FaultKind, FaultReport};
pub use laboratory::Symptom;
pub use losses::{
    EXHAUSTIVE_PENDING_MAX, EXHAUSTIVE_SAMPLES, SAMPLED_PENDING_MAX, SECTORS_TORN_MAX, Sampling,
};
pub use report::{
    CauseReport, CulpritReport, PromiseReport, PromisesReport, Report, StateReport, SymptomReport,
};
pub use stacks::SourceLine;
pub use state::{CrashState, Lost, Part, State, StateError};
pub use workload::{Action, Workload};

pub use engines::native::{Call, Native, Survives, natives};
pub use sim::disk::Profile;

use blame::Blame;
use explore::{Explorer, Violating};
use laboratory::Laboratory;
use std::time::Duration;

/// What is explored.
#[derive(Clone)]
pub struct Subject {
    /// The engine.
    pub native: &'static dyn Native,
    /// What a crash may take.
    pub profile: Profile,
    /// Decides the workload, and the samples.
    pub seed: u64,
    /// How many steps the workload has.
    pub steps: usize,
    /// How much is tried.
    pub sampling: Sampling,
    /// Processes at the same time; 0 is one for each core.
    pub jobs: usize,
}

/// States whose cause is searched, of those that break a promise. The others are counted.
const ATTRIBUTED_MAX: usize = 20_000;

impl Subject {
    fn laboratory(&self) -> Result<Laboratory, Trouble> {
        check_profile(self.profile).map_err(Trouble::Misuse)?;
        let workload = Workload::generate(self.native.promises(), self.seed, self.steps);
        Laboratory::new(self.native, self.profile, workload, self.seed)
    }

    /// Explores. `progress` is told the boundary, how many there are, and how many images were opened.
    ///
    /// # Errors
    /// Where the workload cannot be completed even without a fault, or the host has no process left.
    pub fn explore(&self, progress: &mut dyn FnMut(usize, usize, usize)) -> Result<Report, Trouble> {
        let began = own_processor_time();
        let mut laboratory = self.laboratory()?;
        let explorer = Explorer::new(&mut laboratory, self.sampling, self.jobs, self.seed);
        let (counts, mut violating) = explorer.run(progress)?;
        violating.sort_by_cached_key(|violating| (violating.state.losses(), violating.state.clone()));
        let processor_time = laboratory.processor_time + (own_processor_time() - began);
        let mut blame = Blame::new(&mut laboratory);
        for violating in violating.iter().take(ATTRIBUTED_MAX) {
            blame.attribute(violating)?;
        }
        let unattributed = violating.len().saturating_sub(ATTRIBUTED_MAX);
        let causes = blame.causes()?;
        Ok(report::report(self, &laboratory, counts, processor_time, &causes, unattributed))
    }

    /// Opens one state, and blames what it loses if it breaks a promise.
    ///
    /// # Errors
    /// Where the state names a change or an operation that there is not; as [`Subject::explore`].
    pub fn examine(&self, state: &State) -> Result<StateReport, Trouble> {
        let began = own_processor_time();
        let mut laboratory = self.laboratory()?;
        let state = laboratory.spelled_out(state)?;
        let cause = match laboratory.examine(&state)? {
            None => None,
            Some(symptom) => {
                let mut blame = Blame::new(&mut laboratory);
                blame.attribute(&Violating { state: state.clone(), symptom })?;
                let causes = blame.causes()?;
                causes.first().map(|cause| report::cause(self, &laboratory, cause))
            }
        };
        let processor_time = laboratory.processor_time + (own_processor_time() - began);
        Ok(StateReport { state: state.to_string(), cause, processor_s: processor_time.as_secs_f64() })
    }

    /// A Rust test that lays out what `state` leaves and opens it, with nothing but the engine's crate and the
    /// standard library.
    ///
    /// # Errors
    /// As [`Subject::examine`]; where the state keeps every promise, for there is nothing to be shown.
    pub fn emit_test(&self, state: &State) -> Result<String, Trouble> {
        let mut laboratory = self.laboratory()?;
        let state = laboratory.spelled_out(state)?;
        let symptom = laboratory.examine(&state)?.ok_or_else(|| {
            Trouble::Misuse(format!("state {state} keeps every promise: there is nothing to test"))
        })?;
        let (image, _) = laboratory.image(&state)?;
        Ok(emit::test(self, &laboratory, &state, &symptom, &image))
    }
}

/// Refuses what no exploration can tell from another profile.
///
/// # Errors
/// The reason, with what to do instead.
pub(crate) fn check_profile(profile: Profile) -> Result<(), String> {
    match profile {
        Profile::ProcessKill | Profile::Ext4Ordered | Profile::Posix => Ok(()),
        Profile::Lying => {
            let remedy = "use posix; lying devices are part of `sim` plans";
            Err(format!("no sync lies in an exploration, so that profile `lying` would be posix: {remedy}"))
        }
    }
}

fn own_processor_time() -> Duration {
    sim::isolation::own_processor_time()
}
