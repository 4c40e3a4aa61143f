//! Child processes: one per seed, forked before any thread exists.

use super::real;
use libc::{c_int, pid_t};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Once;
use std::time::Duration;

/// The parent's side of a forked child.
#[derive(Debug)]
pub(crate) struct Child {
    process: pid_t,
    /// What the child writes as its result.
    pub(crate) result: File,
    /// What the child writes to standard error.
    pub(crate) errors: File,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(c_int),
    Signalled(c_int),
}

/// Limits that the kernel enforces on a child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Processor time after which the child is ended by SIGXCPU.
    pub(crate) processor_time: Duration,
    /// Bytes of data segment and anonymous memory that it may touch; the fixed heap's reservation is not
    /// counted against it, being MAP_NORESERVE, so the address space is left unlimited.
    pub(crate) core_pin: Option<usize>,
}

fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptors are new and owned by nobody else.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

/// Forks; the child runs `work`, writes what it returns to its result pipe, and exits at once.
///
/// # Errors
/// Where the host has no descriptor or process left.
///
/// # Panics
/// Where this process has more than one thread: a fork copies only the calling one.
pub(crate) fn fork(limits: Limits, work: impl FnOnce() -> Vec<u8>) -> io::Result<Child> {
    // Once here, and not in every child.
    static LOOKED_UP: Once = Once::new();
    LOOKED_UP.call_once(real::look_all_up);
    let ((result_reader, result_writer), (errors_reader, errors_writer)) = (pipe()?, pipe()?);
    // SAFETY: the child goes on with the calling thread only; the allocator and the standard library hold no
    // lock here, since this process has one thread (or the test harness's, which wait for this one).
    match unsafe { real::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop((result_reader, errors_reader));
            // SAFETY: both descriptors are open.
            unsafe { libc::dup2(errors_writer.as_raw_fd(), libc::STDERR_FILENO) };
            run_child(limits, result_writer, work)
        }
        process => Ok(Child { process, result: result_reader, errors: errors_reader }),
    }
}

fn run_child(limits: Limits, mut result: File, work: impl FnOnce() -> Vec<u8>) -> ! {
    if let Some(core) = limits.core_pin {
        pin(core);
    }
    let seconds = limits.processor_time.as_secs().max(1);
    let limit = libc::rlimit { rlim_cur: seconds, rlim_max: seconds + 5 };
    // SAFETY: `limit` is readable; the process must not outlive its parent.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CPU, &raw const limit);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    let bytes = work();
    let code = match result.write_all(&bytes) {
        Ok(()) => 0,
        Err(_) => EXIT_RESULT_LOST,
    };
    // SAFETY: ends the process without destructors: parked threads still own their stacks.
    unsafe { libc::_exit(code) }
}

/// The child's exit code where its result could not be written.
pub(crate) const EXIT_RESULT_LOST: c_int = 120;
/// The child's exit code where a simulated thread span without a system call until its time was over.
pub(crate) const EXIT_OUT_OF_TIME: c_int = 121;

/// The child's exit code where it asked for more memory than it may have.
pub(crate) const EXIT_OUT_OF_MEMORY: c_int = 123;

/// Pins the calling process to one core: handing the baton over within a core is 5 to 10 times faster.
fn pin(core: usize) {
    // SAFETY: an all-zero set is legal; the call reads it only. A refusal costs speed, not truth.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// The cores that this process may use.
pub(crate) fn cores() -> Vec<usize> {
    // SAFETY: an all-zero set is legal and the kernel fills it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&core| libc::CPU_ISSET(core, &set)).collect()
    }
}

impl Child {
    /// Kills the child at once.
    pub(crate) fn kill(&self) {
        // SAFETY: the process is our child and not yet waited for, so its number is still its own.
        unsafe { libc::kill(self.process, libc::SIGKILL) };
    }

    /// Waits for the child's end; its peak memory in bytes and its processor time come with it.
    ///
    /// # Errors
    /// Where waiting itself failed.
    pub(crate) fn wait(&self) -> io::Result<(Status, u64, Duration)> {
        let mut status = 0;
        // SAFETY: an all-zero rusage is legal; both places are writable.
        let (waited, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(self.process, &raw mut status, 0, &raw mut usage), usage)
        };
        if waited != self.process {
            return Err(io::Error::last_os_error());
        }
        let ended = if libc::WIFSIGNALED(status) {
            Status::Signalled(libc::WTERMSIG(status))
        } else {
            Status::Exited(libc::WEXITSTATUS(status))
        };
        let peak_bytes = usage.ru_maxrss.unsigned_abs() * 1024;
        Ok((ended, peak_bytes, processor_time(&usage)))
    }
}

fn processor_time(usage: &libc::rusage) -> Duration {
    let time = |part: libc::timeval| {
        Duration::from_secs(part.tv_sec.unsigned_abs()) + Duration::from_micros(part.tv_usec.unsigned_abs())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The processor time of this process so far, its children left out.
pub(crate) fn own_processor_time() -> Duration {
    // SAFETY: an all-zero rusage is legal and writable; asking for one's own usage cannot fail.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    processor_time(&usage)
}

/// Waits until one of `files` can be read or has ended, or until `timeout`; which ones it are.
///
/// # Errors
/// Where polling failed.
pub(crate) fn poll_readable(files: &[&File], timeout: Duration) -> io::Result<Vec<bool>> {
    let mut entries: Vec<libc::pollfd> = files
        .iter()
        .map(|file| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: `entries` has as many places as is said.
    let count = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, milliseconds) };
    if count < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(entries.iter().map(|entry| entry.revents != 0).collect())
}

/// Re-executes this program once with address-space randomisation off, so that addresses repeat between
/// processes as well as between forks. Returns true where that is already so, false where the host forbids it.
///
/// # Errors
/// Where the program could not be executed again.
pub(crate) fn settle_addresses() -> io::Result<bool> {
    const QUERY: libc::c_ulong = 0xffff_ffff;
    // SAFETY: personality takes and returns flags.
    let flags = unsafe { libc::personality(QUERY) };
    if flags >= 0 && flags & libc::ADDR_NO_RANDOMIZE != 0 {
        return Ok(true);
    }
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::personality((flags | libc::ADDR_NO_RANDOMIZE) as libc::c_ulong) } < 0 {
        return Ok(false);
    }
    use std::os::unix::process::CommandExt;
    Err(std::process::Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec())
}
