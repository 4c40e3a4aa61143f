//! Crashes: what they are, and the disk operations that they wait for.

use crate::event::StopCause;

/// What a crash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Crash {
    /// The process is killed: everything written survives in the page cache.
    ProcessKill,
    /// The power fails: the disk's profile says what survives.
    PowerFailure,
}

/// A crash that waits for a disk operation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CrashPoint {
    /// Which crash.
    pub crash: Crash,
    /// Falls on the boundary before this matching operation from now on, counted from 1.
    pub operation: u64,
    /// Falls inside that operation instead, if it is a write: some of its sectors are written. Where the power fails
    /// and the disk's profile lets writes tear, this one is torn.
    pub inside: bool,
    /// Which operations count.
    pub filter: OperationFilter,
}

/// Which disk operations count. The default is every one.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationFilter {
    /// Only those of threads whose name begins so; empty is every thread.
    pub thread_prefix: String,
    /// Only those on a path that contains this; empty is every path.
    pub path_contains: String,
    /// Only writes.
    pub writes_only: bool,
}

impl OperationFilter {
    pub(crate) fn matches(&self, site: &CrashSite) -> bool {
        site.thread.starts_with(&self.thread_prefix)
            && site.path.contains(&self.path_contains)
            && (!self.writes_only || site.is_write)
    }
}

/// Where a crash or a chosen fault fell.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CrashSite {
    /// The number of the operation on this incarnation's mount, from 1; 0 for a read, which has none.
    pub operation: u64,
    /// The call.
    pub call: String,
    /// Its path below the mount.
    pub path: String,
    /// Offset in bytes.
    pub offset: u64,
    /// Bytes written.
    pub length: u64,
    /// Whether it is a write.
    pub is_write: bool,
    /// Whether the crash fell inside it.
    pub inside: bool,
    /// The name of the thread that made it.
    pub thread: String,
}

impl Crash {
    pub(crate) fn cause(self) -> StopCause {
        match self {
            Self::ProcessKill => StopCause::ProcessKill,
            Self::PowerFailure => StopCause::PowerFailure,
        }
    }
}
