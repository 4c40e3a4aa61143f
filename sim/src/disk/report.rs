//! What a crash took, for reports.

use super::operation::{OperationKind, Stamp};
use super::profile::Profile;
use std::fmt;

/// What a crash took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashReport {
    /// The rules it followed.
    pub profile: Profile,
    /// Pending operations that survived whole. After a process kill: all of them, still pending.
    pub kept: usize,
    /// Pending operations that were lost whole.
    pub dropped: usize,
    /// Writes of which a part survived.
    pub torn: usize,
    /// Lying syncs whose promises were still open.
    pub lying_syncs: u64,
    /// Those of them that lost something they had promised.
    pub broken_promises: usize,
    /// Files and directories that could be reached by a path before and cannot any more.
    pub inodes_lost: usize,
    /// Every operation that did not survive whole, in order.
    pub losses: Vec<Loss>,
}

/// An operation that did not survive whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its place in the order of all operations of the disk.
    pub sequence: u64,
    /// The call that did it.
    pub kind: OperationKind,
    /// The path within the disk, as it was before the crash; of a rename `old → new`.
    pub path: String,
    /// The bytes of the file: offset and length. A size change has the new size and 0.
    pub range: Option<(u64, u64)>,
    /// When it was done, and by which thread.
    pub stamp: Stamp,
    /// The number of the lying sync that had promised it.
    pub promised_by: Option<u64>,
    /// How it was lost.
    pub fate: Fate,
}

/// How an operation was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was chosen to be lost.
    Dropped,
    /// It needed an operation that was lost: the one with this number.
    NeededLost(u64),
    /// Only some of the sectors it touches reached the medium.
    Torn {
        /// How many did.
        survivors: u64,
        /// Of how many.
        sectors: u64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{} {} {}", self.sequence, self.kind, self.path)?;
        match self.range {
            Some((size, 0)) => write!(formatter, " to {size} bytes")?,
            Some((offset, length)) => write!(formatter, " {length} bytes at {offset}")?,
            None => {}
        }
        write!(formatter, ", thread {} at {} ns: ", self.stamp.thread, self.stamp.now_ns)?;
        match self.fate {
            Fate::Dropped => formatter.write_str("lost")?,
            Fate::NeededLost(sequence) => write!(formatter, "lost with #{sequence}")?,
            Fate::Torn { survivors, sectors } => {
                write!(formatter, "torn, {survivors} of {sectors} sectors survive")?
            }
        }
        match self.promised_by {
            Some(sync) => write!(formatter, " (promised by lying sync {sync})"),
            None => Ok(()),
        }
    }
}
