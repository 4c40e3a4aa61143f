//! Clocks and sleeping: virtual on simulated threads.

use super::thread::{is_simulated, park};
use super::{errno, real};
use crate::machine::clock;
use crate::machine::scheduler::Request;
use libc::{c_int, c_uint, c_void, timespec, timeval};
use std::time::Duration;

fn to_timespec(time: Duration) -> timespec {
    timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).expect("virtual time fits a time_t"),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// The duration that a caller of a sleeping call passed; an illegal one is EINVAL.
unsafe fn duration(time: *const timespec) -> Result<Duration, c_int> {
    // SAFETY: the caller's contract asks for a readable timespec.
    let time = unsafe { *time };
    match (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(libc::EINVAL),
    }
}

/// The deadline of a futex wait, as an absolute CLOCK_MONOTONIC or CLOCK_REALTIME time; null is none.
pub(super) unsafe fn deadline(time: *const timespec) -> Option<Duration> {
    if time.is_null() {
        return None;
    }
    // SAFETY: the caller's contract asks for a readable timespec where it is not null.
    unsafe { duration(time) }.ok()
}

/// Contract (clock_gettime(2)): the node's wall clock for the real-time clocks, its monotonic clock for the
/// rest. Reading costs a little virtual time, or loops that wait for time to pass would never end.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_clock_gettime(clock: c_int, time: *mut timespec) -> c_int {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::__real_clock_gettime(clock, time) };
    }
    let now = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => clock::read_wall(),
        _ => clock::read_monotonic(),
    };
    // SAFETY: the caller lends a writable timespec.
    unsafe { *time = to_timespec(now) };
    0
}

/// Contract (gettimeofday(2)): the node's wall clock.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_gettimeofday(time: *mut timeval, zone: *mut c_void) -> c_int {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::__real_gettimeofday(time, zone) };
    }
    let now = to_timespec(clock::read_wall());
    if !time.is_null() {
        // SAFETY: the caller lends a writable timeval where it is not null.
        unsafe { *time = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 } };
    }
    0
}

/// Contract (nanosleep(2)): never interrupted, so nothing is ever left.
#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::nanosleep(time, left) };
    }
    // SAFETY: the caller lends a readable timespec.
    match unsafe { duration(time) } {
        Ok(duration) => {
            park(Request::Sleep(duration));
            0
        }
        Err(code) => errno::fail(code),
    }
}

/// Contract (clock_nanosleep(2)): relative, or until an absolute time of the clock; returns its error.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: c_int,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::clock_nanosleep(clock, flags, time, left) };
    }
    // SAFETY: the caller lends a readable timespec.
    let Ok(duration) = (unsafe { duration(time) }) else { return libc::EINVAL };
    let wait = match (flags & libc::TIMER_ABSTIME != 0, clock) {
        (false, _) => duration,
        (true, libc::CLOCK_REALTIME) => duration.saturating_sub(clock::read_wall()),
        (true, _) => duration.saturating_sub(clock::read_monotonic()),
    };
    park(Request::Sleep(wait));
    0
}

/// Contract (usleep(3)): a relative sleep in microseconds.
#[unsafe(no_mangle)]
unsafe extern "C" fn usleep(microseconds: c_uint) -> c_int {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::usleep(microseconds) };
    }
    park(Request::Sleep(Duration::from_micros(microseconds.into())));
    0
}
