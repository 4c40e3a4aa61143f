//! Which pending operations a crash may lose: one table.

use std::fmt;

/// A kind of crash and of machine: what it may take.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The process ends, the machine goes on: the page cache survives.
    ProcessKill,
    /// Power fails on the weakest machine that POSIX allows.
    #[default]
    Posix,
    /// As `posix`, on a device whose cache may lose what it acknowledged.
    Lying,
}

/// What a profile allows. One row of the table below; a rule is added as a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether the page cache, and with it everything that is pending, survives.
    pub page_cache_survives: bool,
    /// Whether a write may be torn between two sectors.
    pub writes_tear: bool,
    /// Whether what a lying sync promised may be lost. Where not, it is kept.
    pub device_cache_is_lost: bool,
    /// Where the rules come from.
    pub source: &'static str,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::ProcessKill, Self::Posix, Self::Lying];

    /// The profile's row of the table.
    pub const fn rules(self) -> Rules {
        match self {
            Self::ProcessKill => Rules {
                page_cache_survives: true,
                writes_tear: false,
                device_cache_is_lost: false,
                source: "write(2): after a successful write, reads return the data, whoever reads; the page \
                         cache belongs to the kernel, not to the process",
            },
            Self::Posix => Rules {
                page_cache_survives: false,
                writes_tear: true,
                device_cache_is_lost: false,
                source: "POSIX.1-2024 fsync(): only what was synchronized is assured; Pillai et al., \"All \
                         File Systems Are Not Created Equal\", OSDI 2014, table 1, for what real systems \
                         reorder and tear",
            },
            Self::Lying => Rules {
                page_cache_survives: false,
                writes_tear: true,
                device_cache_is_lost: true,
                source: "Zheng et al., \"Understanding the Robustness of SSDs under Power Fault\", FAST 2013: \
                         unserializable writes and lost flushes on devices with a volatile cache",
            },
        }
    }

    /// The name on the command line and in plans.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessKill => "process-kill",
            Self::Posix => "posix",
            Self::Lying => "lying",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| {
            format!("unknown profile `{name}`; known are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
