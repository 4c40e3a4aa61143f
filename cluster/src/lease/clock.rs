//! The clock that leases are counted by.

use std::time::{Duration, Instant, SystemTime};

use crate::design;

/// Gives the time since some moment in the past, the same one as long as the process lives.
#[derive(Debug)]
pub(super) enum Clock {
    /// It never goes back, and nobody can set it.
    Monotonic {
        /// That moment.
        origin: Instant,
    },
    /// The time of day: see [`design::LeaseClock::Wall`].
    Wall,
}

impl Clock {
    pub(super) fn new(design: design::LeaseClock) -> Clock {
        match design {
            design::LeaseClock::Monotonic => Clock::Monotonic { origin: Instant::now() },
            design::LeaseClock::Wall => Clock::Wall,
        }
    }

    pub(super) fn now(&self) -> Duration {
        match self {
            Clock::Monotonic { origin } => origin.elapsed(),
            Clock::Wall => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO),
        }
    }
}
