//! Virtual time as a node sees it.
//!
//! madsim counts the nanoseconds of the run. Each node has a monotonic clock that runs a little fast or slow
//! and never goes back, and a wall clock that is offset from it and can be stepped.

use super::kernel::{self, Kernel};
use std::time::Duration;

/// What reading a clock costs: without it a loop that waits for time to pass would never end.
const READ_COST: Duration = Duration::from_nanos(25);
/// The monotonic clock when the run begins. Not zero: programs subtract durations from `Instant`s.
const MONOTONIC_START: Duration = Duration::from_secs(1_000_000);
/// The wall clock when the run begins, before a node's offset: 2026-01-01 00:00:00 UTC.
const WALL_START: Duration = Duration::from_secs(1_767_225_600);

/// A node's deviation from virtual time. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockOptions {
    /// How much faster the node's clocks run, in parts per million; zero is exact.
    pub drift_parts_per_million: i32,
    /// How far the wall clock is ahead at the start, in nanoseconds; zero is exact.
    pub wall_offset_ns: i64,
}

/// A node's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    drift_parts_per_million: i32,
    wall_offset_ns: i64,
}

impl Clock {
    pub(crate) fn new(options: ClockOptions) -> Self {
        Self {
            drift_parts_per_million: options.drift_parts_per_million,
            wall_offset_ns: options.wall_offset_ns,
        }
    }

    /// Sets the wall clock forward, or back.
    pub(crate) fn step(&mut self, step_ns: i64) {
        self.wall_offset_ns = self.wall_offset_ns.saturating_add(step_ns);
    }

    fn monotonic(self, virtual_time: Duration) -> Duration {
        MONOTONIC_START + scale(virtual_time, 1_000_000 + i128::from(self.drift_parts_per_million), 1_000_000)
    }

    fn wall(self, virtual_time: Duration) -> Duration {
        let exact = WALL_START + self.monotonic(virtual_time) - MONOTONIC_START;
        let offset = Duration::from_nanos(self.wall_offset_ns.unsigned_abs());
        if self.wall_offset_ns < 0 { exact.saturating_sub(offset) } else { exact + offset }
    }

    /// How long the node must wait in virtual time until its own clock has advanced by `duration`.
    fn virtual_duration(self, duration: Duration) -> Duration {
        scale(duration, 1_000_000, 1_000_000 + i128::from(self.drift_parts_per_million))
    }
}

fn scale(duration: Duration, numerator: i128, denominator: i128) -> Duration {
    let nanos = i128::try_from(duration.as_nanos()).expect("virtual time fits") * numerator / denominator;
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// The wall clock of the calling thread's node, as time since the Unix epoch.
pub(crate) fn read_wall() -> Duration {
    read(Clock::wall)
}

/// The monotonic clock of the calling thread's node.
pub(crate) fn read_monotonic() -> Duration {
    read(Clock::monotonic)
}

fn read(clock: impl FnOnce(Clock, Duration) -> Duration) -> Duration {
    kernel::with(|kernel| {
        kernel.time.advance(READ_COST);
        clock(current(kernel), kernel.now())
    })
}

/// The virtual time when the calling thread's monotonic clock will have advanced by `duration`.
pub(crate) fn virtual_after(duration: Duration) -> Duration {
    kernel::with(|kernel| kernel.now().saturating_add(current(kernel).virtual_duration(duration)))
}

/// The virtual time when the calling thread's monotonic clock will read `deadline`.
pub(crate) fn virtual_at_monotonic(deadline: Duration) -> Duration {
    kernel::with(|kernel| {
        let (clock, now) = (current(kernel), kernel.now());
        now.saturating_add(clock.virtual_duration(deadline.saturating_sub(clock.monotonic(now))))
    })
}

/// The virtual time when the calling thread's wall clock will read `deadline`, unless it is stepped.
pub(crate) fn virtual_at_wall(deadline: Duration) -> Duration {
    kernel::with(|kernel| {
        let (clock, now) = (current(kernel), kernel.now());
        now.saturating_add(clock.virtual_duration(deadline.saturating_sub(clock.wall(now))))
    })
}

fn current(kernel: &Kernel) -> Clock {
    kernel.current_owner().map_or(Clock::default(), |owner| kernel.nodes[usize::from(owner.node.0)].clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn drift_moves_both_clocks_and_an_offset_only_the_wall() {
        let clock = Clock::new(ClockOptions { drift_parts_per_million: 100, wall_offset_ns: -5_000_000_000 });
        assert_eq!(clock.monotonic(HOUR) - MONOTONIC_START, HOUR + Duration::from_millis(360));
        assert_eq!(clock.wall(HOUR) + Duration::from_secs(5), WALL_START + HOUR + Duration::from_millis(360));
    }

    #[test]
    fn a_step_leaves_the_monotonic_clock_alone() {
        let mut clock = Clock::default();
        let before = clock.monotonic(HOUR);
        clock.step(-3_600_000_000_000);
        assert_eq!(clock.monotonic(HOUR), before);
        assert_eq!(clock.wall(HOUR), WALL_START);
    }

    #[test]
    fn a_slow_clock_waits_longer() {
        let clock = Clock::new(ClockOptions { drift_parts_per_million: -500_000, wall_offset_ns: 0 });
        assert_eq!(clock.virtual_duration(HOUR), 2 * HOUR);
    }
}
