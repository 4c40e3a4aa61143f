//! The hermetic rule: while a simulation runs, no file or socket call leaves the machine.
//!
//! Two nets. The interposed calls refuse what is not on the machine and fail the run by name. And, where it is
//! asked for, the kernel itself (seccomp) lets the simulation's threads make only the system calls listed here,
//! which is how a test proves that nothing went around the first net.

use super::real;
use super::thread::is_simulated;
use crate::machine::Abort;
use crate::machine::scheduler::abort_run;
use libc::{c_char, c_int};
use seccompiler::{SeccompAction, SeccompFilter};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Host files that a simulated thread may ask for; the answer is always that they do not exist. The standard
/// library's `available_parallelism` asks for control groups before it asks for the affinity mask.
const ABSENT: [&str; 2] = ["/proc/self/cgroup", "/sys/fs/cgroup"];

/// System calls of a simulation's threads on the host, and why they are harmless.
const ALLOWED: [(libc::c_long, &str); 24] = [
    (libc::SYS_futex, "the baton"),
    (libc::SYS_clone, "creating threads"),
    (libc::SYS_clone3, "creating threads"),
    (libc::SYS_exit, "ending threads"),
    (libc::SYS_exit_group, "ending the run"),
    (libc::SYS_set_robust_list, "thread start"),
    (libc::SYS_rseq, "thread start"),
    (libc::SYS_sched_yield, "waiting for a thread's end"),
    (libc::SYS_sched_getaffinity, "thread start: the stack's bounds"),
    (libc::SYS_gettid, "thread start"),
    (libc::SYS_getpid, "signalling a thread"),
    (libc::SYS_tgkill, "signalling a thread"),
    (libc::SYS_mmap, "stacks and the heap"),
    (libc::SYS_munmap, "stacks and the heap"),
    (libc::SYS_mprotect, "guard pages"),
    (libc::SYS_mremap, "the heap"),
    (libc::SYS_madvise, "the heap"),
    (libc::SYS_brk, "the C library's own heap"),
    (libc::SYS_rt_sigprocmask, "thread start and end"),
    (libc::SYS_rt_sigaction, "backtraces"),
    (libc::SYS_rt_sigreturn, "backtraces"),
    (libc::SYS_sigaltstack, "thread start and end"),
    (libc::SYS_write, "the trace file, opened before, and standard error"),
    (libc::SYS_clock_gettime, "the watchdog's real clock"),
];

/// From now on the kernel ends the process, with the call's number on standard error, when this thread or one
/// that it creates makes a system call that is not listed.
///
/// # Panics
/// Where the host's kernel knows no seccomp.
pub(crate) fn enforce() {
    ENFORCED.store(true, Ordering::Relaxed);
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        ALLOWED.iter().map(|(number, _)| (*number, Vec::new())).collect();
    let architecture = std::env::consts::ARCH.try_into().expect("seccomp knows this processor");
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, architecture)
        .expect("the list of calls is a legal filter");
    let program: seccompiler::BpfProgram = filter.try_into().expect("the filter is small enough");
    // SAFETY: an all-zero sigaction is legal; the handler has the type that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = report_escape as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
    }
    seccompiler::apply_filter(&program).expect("the host's kernel knows seccomp");
}

static ENFORCED: AtomicBool = AtomicBool::new(false);

/// True where the kernel enforces the rule.
pub(super) fn is_enforced() -> bool {
    ENFORCED.load(Ordering::Relaxed)
}

/// The process's exit code after a system call that is not listed.
pub(crate) const EXIT_ESCAPED: c_int = 122;

extern "C" fn report_escape(_signal: c_int, info: *const libc::siginfo_t, _context: *const libc::c_void) {
    /// Where siginfo_t keeps the system call's number (linux/asm-generic/siginfo.h: after three ints, padding
    /// and the address of the call).
    const SYSCALL_OFFSET: usize = 24;
    // SAFETY: the kernel passes a whole siginfo_t.
    let number = unsafe { info.cast::<u8>().add(SYSCALL_OFFSET).cast::<c_int>().read_unaligned() };
    let text = format!("system call {number} left the simulated machine\n");
    // SAFETY: writes a readable buffer to standard error and ends the process; both calls are listed.
    unsafe {
        let address = text.as_ptr() as libc::c_long;
        let length = text.len() as libc::c_long;
        real::syscall(libc::SYS_write, libc::STDERR_FILENO.into(), address, length, 0, 0, 0);
        libc::_exit(EXIT_ESCAPED)
    }
}

/// Decides on a host path that a simulated thread asked for: absent, or the end of the run.
pub(super) fn refuse_host_path(call: &str, path: &CStr) -> c_int {
    let text = path.to_string_lossy();
    if !ABSENT.iter().any(|absent| text.starts_with(absent)) {
        abort_run(Abort::EscapedCall { call: format!("{call}({text:?})") });
    }
    libc::ENOENT
}

/// Contract (socket(2)): a simulated thread has no sockets; it talks through its node's endpoint.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    if is_simulated() {
        abort_run(Abort::EscapedCall { call: format!("socket({domain}, {kind}, {protocol})") });
        return super::errno::fail(libc::EAFNOSUPPORT);
    }
    // SAFETY: passed on unchanged.
    unsafe { real::socket(domain, kind, protocol) }
}

/// Contract (connect(2)): as for `socket`.
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(
    socket: c_int,
    address: *const libc::sockaddr,
    length: libc::socklen_t,
) -> c_int {
    if is_simulated() {
        abort_run(Abort::EscapedCall { call: format!("connect({socket})") });
        return super::errno::fail(libc::EAFNOSUPPORT);
    }
    // SAFETY: passed on unchanged.
    unsafe { real::connect(socket, address, length) }
}

/// Contract (fork(2)): a simulated process has no children.
#[unsafe(no_mangle)]
unsafe extern "C" fn fork() -> c_int {
    if is_simulated() {
        abort_run(Abort::EscapedCall { call: "fork()".to_string() });
        return super::errno::fail(libc::ENOSYS);
    }
    // SAFETY: passed on unchanged.
    unsafe { real::fork() }
}

/// Contract (execve(2)): a simulated process runs no other program.
#[unsafe(no_mangle)]
unsafe extern "C" fn execve(
    path: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> c_int {
    if is_simulated() {
        // SAFETY: the contract asks for a NUL-terminated path.
        let text = unsafe { CStr::from_ptr(path) }.to_string_lossy();
        abort_run(Abort::EscapedCall { call: format!("execve({text:?})") });
        return super::errno::fail(libc::ENOSYS);
    }
    // SAFETY: passed on unchanged.
    unsafe { real::execve(path, arguments, environment) }
}
