//! One operating-system process per seed.
//!
//! Children are forked from a parent that has no thread, so engine statics, hash seeds and addresses start
//! equal; whatever an engine does to its process (panic, abort, exhaust memory, spin), the parent classifies
//! the end and goes on.

use crate::interpose::HeapPages;
use crate::interpose::child::{self, Child, Limits, Status};
use std::io::{self, Read};
use std::sync::Once;
use std::time::{Duration, Instant};

/// What a child may use.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Real time after which the child is killed.
    pub real_time: Duration,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { real_time: Duration::from_secs(120) }
    }
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It returned these bytes.
    Finished(Vec<u8>),
    /// It exited with this code without a result.
    Exited(i32),
    /// This signal ended it: an abort, a fault, or the kernel for want of memory.
    Signalled(i32),
    /// It asked for more memory than [`crate::Options::memory_limit_bytes`] leaves it.
    OutOfMemory,
    /// Its time was over: a thread span without a system call, or the work was too much.
    OutOfTime,
}

/// A child's end, and what it cost.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// What it wrote to standard error.
    pub errors: String,
    /// Its largest resident size in bytes.
    pub peak_bytes: u64,
    /// Its processor time.
    pub processor_time: Duration,
}

struct Running<K> {
    key: K,
    child: Child,
    core: usize,
    pages: HeapPages,
    result: Vec<u8>,
    errors: Vec<u8>,
    open: [bool; 2],
    deadline: Instant,
    killed: bool,
}

/// Children that run at the same time, each pinned to a core of its own.
pub struct Farm<K> {
    allowance: Allowance,
    cores: Vec<usize>,
    running: Vec<Running<K>>,
    /// Pages that no child has now.
    free_pages: Vec<HeapPages>,
}

impl<K> Farm<K> {
    /// A farm without children.
    pub fn new(allowance: Allowance) -> Self {
        Self { allowance, cores: child::cores(), running: Vec::new(), free_pages: Vec::new() }
    }

    /// How many children run now.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// True where no child runs.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Forks a child that runs `work` and returns its bytes.
    ///
    /// # Errors
    /// Where the host has no descriptor or process left.
    pub fn start(&mut self, key: K, work: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        let core =
            self.cores.iter().copied().min_by_key(|core| {
                (self.running.iter().filter(|running| running.core == *core).count(), *core)
            });
        let limits = Limits { processor_time: self.allowance.real_time * 2, core_pin: core };
        let pages = self.free_pages.pop().map_or_else(HeapPages::new, Ok)?;
        let child = child::fork(limits, || {
            pages.lend();
            work()
        })?;
        self.running.push(Running {
            key,
            child,
            core: core.unwrap_or(0),
            pages,
            result: Vec::new(),
            errors: Vec::new(),
            open: [true; 2],
            deadline: Instant::now() + self.allowance.real_time + Duration::from_secs(10),
            killed: false,
        });
        Ok(())
    }

    /// Waits for the next child to end; none where none runs, or where `patience` is over first.
    ///
    /// # Errors
    /// Where reading from or waiting for a child failed.
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<(K, Ended)>> {
        let give_up = Instant::now() + patience;
        loop {
            if let Some(index) = self.running.iter().position(|running| running.open == [false; 2]) {
                let (ended, pages) = self.running.remove(index).finish()?;
                self.free_pages.push(pages);
                return Ok(Some(ended));
            }
            if self.running.is_empty() || Instant::now() >= give_up {
                return Ok(None);
            }
            self.read_some(give_up.saturating_duration_since(Instant::now()).min(Duration::from_secs(1)))?;
        }
    }

    fn read_some(&mut self, patience: Duration) -> io::Result<()> {
        let places: Vec<(usize, usize)> = (0..self.running.len())
            .flat_map(|index| [(index, 0), (index, 1)])
            .filter(|&(index, pipe)| self.running[index].open[pipe])
            .collect();
        let files: Vec<_> = places
            .iter()
            .map(|&(index, pipe)| {
                let child = &self.running[index].child;
                if pipe == 0 { &child.result } else { &child.errors }
            })
            .collect();
        let readable = child::poll_readable(&files, patience)?;
        for (&(index, pipe), readable) in places.iter().zip(readable) {
            if readable {
                self.running[index].read(pipe)?;
            }
        }
        for running in &mut self.running {
            if Instant::now() >= running.deadline && !running.killed {
                running.killed = true;
                running.child.kill();
            }
        }
        Ok(())
    }
}

impl<K> Drop for Farm<K> {
    fn drop(&mut self) {
        for running in &self.running {
            running.child.kill();
            // The child is killed; there is nobody left to tell that reaping it failed.
            drop(running.child.wait());
        }
    }
}

impl<K> Running<K> {
    fn read(&mut self, pipe: usize) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        let (file, bytes) = if pipe == 0 {
            (&mut self.child.result, &mut self.result)
        } else {
            (&mut self.child.errors, &mut self.errors)
        };
        match file.read(&mut buffer)? {
            0 => self.open[pipe] = false,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        Ok(())
    }

    /// Waits for its end; what it left, and its pages, which are free then.
    fn finish(self) -> io::Result<((K, Ended), HeapPages)> {
        let (status, peak_bytes, processor_time) = self.child.wait()?;
        let end = match status {
            Status::Exited(0) => End::Finished(self.result),
            Status::Exited(child::EXIT_OUT_OF_TIME) => End::OutOfTime,
            Status::Signalled(libc::SIGXCPU) => End::OutOfTime,
            Status::Signalled(_) if self.killed => End::OutOfTime,
            Status::Exited(child::EXIT_OUT_OF_MEMORY) => End::OutOfMemory,
            Status::Exited(code) => End::Exited(code),
            Status::Signalled(signal) => End::Signalled(signal),
        };
        let errors = String::from_utf8_lossy(&self.errors).into_owned();
        Ok(((self.key, Ended { end, errors, peak_bytes, processor_time }), self.pages))
    }
}

/// Runs `work` in a child process of its own and waits for its end.
///
/// # Errors
/// Where the host has no descriptor or process left, or reading failed.
pub fn run_isolated(allowance: Allowance, work: impl FnOnce() -> Vec<u8>) -> io::Result<Ended> {
    let mut farm = Farm::new(allowance);
    farm.start((), work)?;
    loop {
        if let Some(((), ended)) = farm.next(Duration::from_secs(3600))? {
            return Ok(ended);
        }
    }
}

/// The processor time of this process so far; that of its children is in their [`Ended`].
pub fn own_processor_time() -> Duration {
    child::own_processor_time()
}

/// Re-executes the program once with address-space randomisation off. Call it first in `main`.
///
/// Where the host forbids that (the default seccomp filters of containers do), the program goes on, and a line on
/// standard error says, once, what then no longer holds: runs still repeat within this execution, whose children are
/// forks of one process, but their traces may differ from those of another execution.
///
/// # Errors
/// Where the program could not be executed again.
pub fn settle_addresses() -> io::Result<()> {
    if !child::settle_addresses()? {
        WARNING.call_once(warn_of_addresses);
    }
    Ok(())
}

static WARNING: Once = Once::new();

#[expect(clippy::print_stderr, reason = "no caller may miss that its traces may not repeat")]
fn warn_of_addresses() {
    eprintln!(
        "warning: the host does not let a process switch address-space randomisation off (personality(2)): traces \
         repeat within this execution, but may differ from those of another one"
    );
}
