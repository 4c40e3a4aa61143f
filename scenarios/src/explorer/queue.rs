//! Processes whose results are taken in the order in which they were started, whichever ends first: what is decided
//! from them repeats.

use super::driver::Trouble;
use crate::execution::processes;
use sim::isolation::{Allowance, Ended, Farm};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Jobs that run, or have ended and wait for those before them.
pub(super) struct Queue<J> {
    farm: Farm<u64>,
    /// Processes at the same time.
    jobs: usize,
    waiting: VecDeque<(J, Option<Ended>)>,
    /// How many jobs were taken.
    taken: u64,
}

impl<J> Queue<J> {
    /// A queue that runs so many processes at the same time (0: one for each core), each with this allowance.
    pub(super) fn new(jobs: usize, allowance: Allowance) -> Self {
        Self { farm: Farm::new(allowance), jobs: processes(jobs), waiting: VecDeque::new(), taken: 0 }
    }

    /// Starts a process as soon as there is room for one.
    pub(super) fn start(&mut self, job: J, work: impl FnOnce() -> Vec<u8>) -> Result<(), Trouble> {
        while self.farm.len() >= self.jobs {
            self.wait()?;
        }
        let number = self.taken + self.waiting.len() as u64;
        self.farm.start(number, work).map_err(no_process)?;
        self.waiting.push_back((job, None));
        Ok(())
    }

    /// The next job in order, if it has ended.
    pub(super) fn ready(&mut self) -> Option<(J, Ended)> {
        let ended = self.waiting.front_mut()?.1.take()?;
        let (job, _) = self.waiting.pop_front()?;
        self.taken += 1;
        Some((job, ended))
    }

    /// The next job in order, once it has ended; none where there is none.
    pub(super) fn next(&mut self) -> Result<Option<(J, Ended)>, Trouble> {
        loop {
            if let Some(ready) = self.ready() {
                return Ok(Some(ready));
            }
            if self.waiting.is_empty() {
                return Ok(None);
            }
            self.wait()?;
        }
    }

    /// Waits a while for the next process to end.
    fn wait(&mut self) -> Result<(), Trouble> {
        if let Some((number, ended)) = self.farm.next(Duration::from_secs(60)).map_err(no_process)? {
            let place = usize::try_from(number - self.taken).expect("jobs are counted in memory");
            self.waiting[place].1 = Some(ended);
        }
        Ok(())
    }
}

fn no_process(error: io::Error) -> Trouble {
    Trouble::Incomplete(format!("no process could be started, or waited for: {error}"))
}
