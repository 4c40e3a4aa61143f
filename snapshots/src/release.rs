//! Releases, and the stream formats that a node of a release accepts.

use crate::engine_set::EngineSet;
use crate::header::LEGACY_ENGINE;
use std::fmt;

/// What a node's program knows of snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// Knows the legacy engine and bare streams only. Takes anything that it receives for a bare stream.
    One,
    /// Knows the header, the router and all engines.
    Two,
}

impl Release {
    /// Every release, oldest first.
    pub const ALL: [Release; 2] = [Release::One, Release::Two];

    /// The release as a number, for hellos and plans.
    pub const fn number(self) -> u8 {
        match self {
            Release::One => 1,
            Release::Two => 2,
        }
    }

    /// The release of that number, if there is one.
    pub fn from_number(number: u8) -> Option<Release> {
        Release::ALL.into_iter().find(|release| release.number() == number)
    }

    /// What a node of this release accepts when its program has adapters for `engines`.
    ///
    /// The legacy engine in `engines` is passed over: its streams are bare, and both releases accept those.
    pub const fn formats(self, engines: EngineSet) -> Formats {
        match self {
            Release::One => Formats { bare: true, headed: EngineSet::EMPTY },
            Release::Two => Formats { bare: true, headed: engines.without(LEGACY_ENGINE) },
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "release {}", self.number())
    }
}

/// The stream formats that a node accepts, as it says in its hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Formats {
    /// Whether it accepts bare streams.
    pub bare: bool,
    /// The engines whose headed streams it accepts.
    pub headed: EngineSet,
}
