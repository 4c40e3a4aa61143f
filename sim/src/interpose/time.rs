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

/// Contract (time(2)): the seconds of the node's wall clock. C code asks so; the C library would read the host's clock
/// without a call that could be taken.
#[unsafe(no_mangle)]
unsafe extern "C" fn time(place: *mut libc::time_t) -> libc::time_t {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::time(place) };
    }
    let seconds = to_timespec(clock::read_wall()).tv_sec;
    // SAFETY: the caller lends a writable place where it is not null.
    if let Some(place) = unsafe { place.as_mut() } {
        *place = seconds;
    }
    seconds
}

/// Contract (sleep(3)): a relative sleep in seconds, of which none are ever left.
#[unsafe(no_mangle)]
unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::sleep(seconds) };
    }
    park(Request::Sleep(Duration::from_secs(seconds.into())));
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

#[cfg(test)]
mod tests {
    use crate::isolation::{Allowance, End, run_isolated};
    use crate::{Machine, NodeEventKind, NodeOptions, Options, run};

    /// What C code sees of the clock around a sleep of a hundred seconds.
    fn seconds_slept() -> String {
        // SAFETY: `time` writes to the place that it is lent; `sleep` takes a number.
        let (before, left, after) = unsafe {
            let mut before = 0;
            libc::time(&raw mut before);
            (before, libc::sleep(100), libc::time(std::ptr::null_mut()))
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        format!("{left} left, {} passed, {} off", after - before, now.as_secs().cast_signed() - after)
    }

    #[test]
    fn the_clock_of_c_code_is_virtual() {
        let ended = run_isolated(Allowance::default(), || {
            let told = run(Options::new(1), None, async |machine: Machine| {
                let node = machine.add_node(NodeOptions::new("one", 1));
                machine.start(node, |_| Err(seconds_slept()));
                match machine.next_event().await.what {
                    NodeEventKind::Stopped(stop) => stop.result.unwrap_err(),
                    NodeEventKind::Panicked(panic) => format!("{panic:?}"),
                }
            });
            told.map_or_else(|aborted| format!("{:?}", aborted.abort), |done| done.value).into_bytes()
        });
        let ended = ended.unwrap();
        assert_eq!(ended.end, End::Finished(b"0 left, 100 passed, 0 off".to_vec()), "{}", ended.errors);
    }
}
