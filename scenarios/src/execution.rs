//! Plans run in processes of their own.

use crate::evidence::{CaseFile, Recording};
use crate::plan::Plan;
use crate::report::{Report, Verdict};
use crate::run::{self, RunOptions};
use serde::{Deserialize, Serialize};
use sim::isolation::{Allowance, End, Ended, Farm, run_isolated};
use std::io;
use std::time::Duration;

/// A run, and what it cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// What it found.
    pub report: Report,
    /// Processor time in seconds.
    pub processor_s: f64,
    /// Largest resident size in bytes.
    pub peak_bytes: u64,
}

/// Runs plans in parallel, each in a process of its own. `K` tells them apart.
pub struct Executor<K> {
    farm: Farm<(K, Plan)>,
}

impl<K> Default for Executor<K> {
    fn default() -> Self {
        Self { farm: Farm::new(Allowance::default()) }
    }
}

impl<K> Executor<K> {
    /// How many plans run now.
    pub fn running(&self) -> usize {
        self.farm.len()
    }

    /// Starts a plan.
    ///
    /// # Errors
    /// Where the host has no process or descriptor left.
    pub fn start(&mut self, key: K, plan: Plan, options: RunOptions) -> io::Result<()> {
        let given = plan.clone();
        self.farm.start((key, plan), move || {
            let report = run::run(&given, options);
            serde_json::to_vec(&report).expect("a report has nothing that JSON cannot write")
        })
    }

    /// Waits at most `patience` for the next plan to end.
    ///
    /// # Errors
    /// Where waiting failed.
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<(K, Execution)>> {
        Ok(self.farm.next(patience)?.map(|((key, plan), ended)| (key, classify(&plan, ended))))
    }
}

/// Runs one plan in a process of its own.
///
/// # Errors
/// Where the host has no process or descriptor left.
pub fn execute(plan: &Plan, options: RunOptions) -> io::Result<Execution> {
    let mut executor = Executor::default();
    executor.start((), plan.clone(), options)?;
    loop {
        if let Some(((), execution)) = executor.next(Duration::from_secs(3600))? {
            return Ok(execution);
        }
    }
}

/// A run with all that was seen of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Investigation {
    /// The run, and what it cost.
    pub execution: Execution,
    /// What it did and what broke.
    pub case_file: CaseFile,
    /// What the machine did.
    pub recording: Recording,
}

/// Runs one plan in a process of its own, as [`execute`], and keeps all that can be seen of it. The trace is the same.
///
/// # Errors
/// Where the host has no process or descriptor left.
pub fn investigate(plan: &Plan) -> io::Result<Investigation> {
    let ended = run_isolated(Allowance::default(), || {
        serde_json::to_vec(&run::run_recorded(plan)).expect("a case file has nothing that JSON cannot write")
    })?;
    let seen = match &ended.end {
        End::Finished(bytes) => serde_json::from_slice::<(CaseFile, Recording)>(bytes).ok(),
        End::Exited(_) | End::Signalled(_) | End::OutOfMemory | End::OutOfTime => None,
    };
    let Some((case_file, recording)) = seen else {
        let execution = classify(plan, ended);
        let case_file = CaseFile::empty(execution.report.clone(), plan);
        return Ok(Investigation { execution, case_file, recording: Recording::default() });
    };
    let (processor_s, peak_bytes) = (ended.processor_time.as_secs_f64(), ended.peak_bytes);
    let execution = Execution { report: case_file.report.clone(), processor_s, peak_bytes };
    Ok(Investigation { execution, case_file, recording })
}

/// How many processes run at the same time where `jobs` were asked for: 0 is one for each core.
pub(crate) fn processes(jobs: usize) -> usize {
    match jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    }
}

fn classify(plan: &Plan, ended: Ended) -> Execution {
    let incomplete = |why: String| Report::aborted(plan, Verdict::Incomplete { why });
    let errors = ended.errors.trim_end();
    let report = match ended.end {
        End::Finished(bytes) => serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| incomplete(format!("its report cannot be read: {error}\n{errors}"))),
        End::Exited(code) => incomplete(format!("its process exited with {code}\n{errors}")),
        End::Signalled(signal) => incomplete(format!("signal {signal} ended its process\n{errors}")),
        End::OutOfMemory => incomplete(format!("its memory was used up\n{errors}")),
        End::OutOfTime => incomplete(format!("its time was over\n{errors}")),
    };
    Execution { report, processor_s: ended.processor_time.as_secs_f64(), peak_bytes: ended.peak_bytes }
}
