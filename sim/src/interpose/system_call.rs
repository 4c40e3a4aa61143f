//! `syscall`: the door through which futexes, locks and entropy of some crates go.

use super::thread::{is_simulated, park};
use super::{entropy, errno, file, names, real, sync, time, transfer};
use crate::machine::clock;
use crate::machine::scheduler::{self, Request, WaitKey, Wake};
use libc::{c_char, c_int, c_long, c_uint, off64_t, timespec};
use std::sync::atomic::{AtomicU32, Ordering};

/// System calls that a simulated thread may make on the host: they touch neither files nor sockets, and what
/// they answer decides nothing.
const HARMLESS: [c_long; 3] = [libc::SYS_gettid, libc::SYS_rseq, libc::SYS_membarrier];

/// Contract (syscall(2)): the number and up to six arguments. A simulated thread's call is answered by the
/// machine or, where it is not known to be harmless, fails the run by its number.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::syscall(number, a, b, c, d, e, f) };
    }
    match number {
        // SAFETY: the caller keeps futex(2)'s contract.
        libc::SYS_futex => unsafe {
            futex(a as *const AtomicU32, b as c_int, c as u32, d as *const timespec)
        },
        libc::SYS_getrandom => {
            // SAFETY: the caller lends `b` writable bytes at `a`.
            unsafe { entropy::fill(a as *mut u8, b as usize) };
            b
        }
        // SAFETY: the caller keeps fcntl(2)'s contract.
        libc::SYS_fcntl => unsafe { file::fcntl(a as c_int, b as c_int, c) }.into(),
        // Calls that rustix makes by number, for the sake of old C libraries.
        // SAFETY: the caller keeps the contract of the call with this number.
        libc::SYS_copy_file_range => unsafe {
            let (from_offset, to_offset) = (b as *mut off64_t, d as *mut off64_t);
            let (from, to) = (a as c_int, c as c_int);
            transfer::copy_file_range(from, from_offset, to, to_offset, e as usize, f as c_uint) as c_long
        },
        // SAFETY: as above.
        libc::SYS_renameat2 => unsafe {
            let (from, to) = (b as *const c_char, d as *const c_char);
            names::renameat2(a as c_int, from, c as c_int, to, e as c_uint).into()
        },
        // SAFETY: as above.
        libc::SYS_syncfs => unsafe { sync::syncfs(a as c_int) }.into(),
        _ if HARMLESS.contains(&number) => {
            // SAFETY: passed on unchanged.
            unsafe { real::syscall(number, a, b, c, d, e, f) }
        }
        _ => {
            scheduler::abort_run(crate::machine::Abort::EscapedCall { call: format!("syscall({number})") });
            errno::fail(libc::ENOSYS).into()
        }
    }
}

/// futex(2), the operations that the standard library and parking_lot use.
unsafe fn futex(word: *const AtomicU32, operation: c_int, value: u32, limit: *const timespec) -> c_long {
    let key = WaitKey::Futex(word as usize);
    match operation & libc::FUTEX_CMD_MASK {
        command @ (libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET) => {
            // SAFETY: a futex word is readable for as long as somebody waits on it.
            if unsafe { (*word).load(Ordering::SeqCst) } != value {
                return errno::fail(libc::EAGAIN).into();
            }
            // SAFETY: the limit is null or readable.
            let deadline = unsafe { time::deadline(limit) }.map(|limit| {
                let realtime = operation & libc::FUTEX_CLOCK_REALTIME != 0;
                match (command == libc::FUTEX_WAIT, realtime) {
                    (true, _) => clock::virtual_after(limit),
                    (false, false) => clock::virtual_at_monotonic(limit),
                    (false, true) => clock::virtual_at_wall(limit),
                }
            });
            match park(Request::Wait { key, deadline }) {
                Wake::TimedOut => errno::fail(libc::ETIMEDOUT).into(),
                Wake::Ready => 0,
            }
        }
        libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => {
            let woken = scheduler::wake(key, value as c_uint as usize);
            if woken > 0 {
                scheduler::preemption_point();
            }
            c_long::try_from(woken).expect("the number of threads fits")
        }
        other => {
            scheduler::abort_run(crate::machine::Abort::EscapedCall {
                call: format!("futex operation {other}"),
            });
            errno::fail(libc::ENOSYS).into()
        }
    }
}
