//! What recovery does about what it finds: one table, over every finding at every position.
//!
//! The rule behind it: recovery may take away only what was never promised. A segment is written front to
//! back, and each part of it is synced before anything that depends on it is acknowledged. So damage behind
//! the last byte that anything proves durable is what a power failure leaves, and is cut off; damage before it
//! has another cause, and only the operator knows what is lost with it. The proof is in the log itself: every
//! batch says how many bytes were durable when it was written, and the existence of a segment says that the
//! one before it was durable to its end. (What was synced last, with no write after it, has no proof yet and
//! is indistinguishable from a torn tail; see Alagappan et al., "Protocol-Aware Recovery for Consensus-Based
//! Storage", FAST 2018, on telling crashes from corruption.)

use std::fmt;

/// Where a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// Everything in it is compacted; it waits for its deletion.
    Obsolete,
    /// Another segment was begun after it, so that all of it is durable.
    Sealed,
    /// The segment that is being written.
    Last,
}

/// What recovery found in a segment. Offsets are in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Every byte belongs to an undamaged batch.
    Whole,
    /// The file has no bytes.
    Empty,
    /// Its header or its first batch is damaged, and nothing proves that they were ever durable.
    Unborn,
    /// From `at` on there are only zeros.
    ZeroTail {
        /// The first byte of them.
        at: u64,
    },
    /// From `at` on there is no undamaged batch.
    TornTail {
        /// The first byte that belongs to no batch.
        at: u64,
    },
    /// There are undamaged batches behind damage at `at`, but none proves that `at` was durable: writes that
    /// were not synced reached the disk out of order.
    Hole {
        /// The first byte that belongs to no batch.
        at: u64,
    },
    /// There is damage at `at`, though bytes up to `durable_to` were durable.
    Rot {
        /// The first byte that belongs to no batch.
        at: u64,
        /// How far the segment is proven durable.
        durable_to: u64,
    },
    /// The file ends at `at`, though bytes up to `durable_to` were durable.
    Short {
        /// The length of the file.
        at: u64,
        /// How far the segment is proven durable.
        durable_to: u64,
    },
    /// There are bytes behind `sealed_at`, where the segment ended when the next was begun.
    Long {
        /// The length that the next segment gives.
        sealed_at: u64,
    },
    /// The header is undamaged, but of a version that this release cannot read.
    UnknownVersion {
        /// That version.
        version: u32,
    },
    /// The header is undamaged, but of another segment than the name says.
    Misplaced {
        /// The number in the header.
        sequence: u64,
    },
    /// The batch at `at` is undamaged, but its records cannot be understood.
    Malformed {
        /// Where the batch begins.
        at: u64,
    },
    /// The file does not exist.
    Absent,
    /// An entry does not follow the one before it.
    IndexGap {
        /// Where its batch begins.
        at: u64,
        /// The index that was to come.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// An entry has a lower term than the one before it.
    TermRegression {
        /// Where its batch begins.
        at: u64,
        /// The index of the entry.
        index: u64,
    },
    /// An entry supersedes one that was committed.
    CommittedSuperseded {
        /// Where its batch begins.
        at: u64,
        /// The index of the entry.
        index: u64,
    },
    /// The log ends before an entry that it says is committed.
    CommitBeyondEnd {
        /// Where the segment ends.
        at: u64,
        /// The commit index.
        commit: u64,
        /// The last index that the log has.
        last_index: u64,
    },
}

/// What recovery does about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: read it.
    Keep,
    /// Cut the file off behind its last undamaged batch, and sync it.
    Truncate,
    /// Delete the file.
    Remove,
    /// Do not open the log: something that was promised is lost.
    Refuse,
}

/// The table.
pub(super) fn decide(position: Position, finding: Finding) -> Action {
    match position {
        // Nothing in it is needed, so nothing about it matters. Where it is gone already, so much the better.
        Position::Obsolete => match finding {
            Finding::Absent => Action::Keep,
            Finding::Whole
            | Finding::Empty
            | Finding::Unborn
            | Finding::ZeroTail { .. }
            | Finding::TornTail { .. }
            | Finding::Hole { .. }
            | Finding::Rot { .. }
            | Finding::Short { .. }
            | Finding::Long { .. }
            | Finding::UnknownVersion { .. }
            | Finding::Misplaced { .. }
            | Finding::Malformed { .. }
            | Finding::IndexGap { .. }
            | Finding::TermRegression { .. }
            | Finding::CommittedSuperseded { .. }
            | Finding::CommitBeyondEnd { .. } => Action::Remove,
        },
        Position::Sealed => match finding {
            // Nobody was promised what stands behind the end.
            Finding::Whole | Finding::Long { .. } => Action::Keep,
            Finding::Empty
            | Finding::Unborn
            | Finding::ZeroTail { .. }
            | Finding::TornTail { .. }
            | Finding::Hole { .. }
            | Finding::Rot { .. }
            | Finding::Short { .. }
            | Finding::UnknownVersion { .. }
            | Finding::Misplaced { .. }
            | Finding::Malformed { .. }
            | Finding::Absent
            | Finding::IndexGap { .. }
            | Finding::TermRegression { .. }
            | Finding::CommittedSuperseded { .. }
            | Finding::CommitBeyondEnd { .. } => Action::Refuse,
        },
        Position::Last => match finding {
            Finding::Whole => Action::Keep,
            // A segment is synced with its first batch before anything else is written to it.
            Finding::Empty | Finding::Unborn => Action::Remove,
            Finding::ZeroTail { .. } | Finding::TornTail { .. } | Finding::Hole { .. } => Action::Truncate,
            // `Long` needs a segment behind it, and `Absent` is not the last of anything.
            Finding::Rot { .. }
            | Finding::Short { .. }
            | Finding::Long { .. }
            | Finding::UnknownVersion { .. }
            | Finding::Misplaced { .. }
            | Finding::Malformed { .. }
            | Finding::Absent
            | Finding::IndexGap { .. }
            | Finding::TermRegression { .. }
            | Finding::CommittedSuperseded { .. }
            | Finding::CommitBeyondEnd { .. } => Action::Refuse,
        },
    }
}

impl Finding {
    /// The offset that an operator should look at.
    pub fn offset(&self) -> u64 {
        match *self {
            Finding::Whole
            | Finding::Empty
            | Finding::Unborn
            | Finding::UnknownVersion { .. }
            | Finding::Misplaced { .. }
            | Finding::Absent => 0,
            Finding::Long { sealed_at } => sealed_at,
            Finding::ZeroTail { at }
            | Finding::TornTail { at }
            | Finding::Hole { at }
            | Finding::Rot { at, .. }
            | Finding::Short { at, .. }
            | Finding::Malformed { at }
            | Finding::IndexGap { at, .. }
            | Finding::TermRegression { at, .. }
            | Finding::CommittedSuperseded { at, .. }
            | Finding::CommitBeyondEnd { at, .. } => at,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Whole => write!(formatter, "every batch is undamaged"),
            Finding::Empty => write!(formatter, "the file is empty"),
            Finding::Unborn => write!(formatter, "the header or the first batch is damaged"),
            Finding::ZeroTail { .. } => write!(formatter, "only zeros follow"),
            Finding::TornTail { .. } => write!(formatter, "no undamaged batch follows"),
            Finding::Hole { .. } => write!(formatter, "damage, with undamaged batches behind it"),
            Finding::Rot { durable_to, .. } => {
                write!(formatter, "damage, though bytes up to {durable_to} were durable")
            }
            Finding::Short { durable_to, .. } => {
                write!(formatter, "the file ends, though bytes up to {durable_to} were durable")
            }
            Finding::Long { .. } => write!(formatter, "bytes behind the end that the next segment gives"),
            Finding::UnknownVersion { version } => {
                write!(formatter, "format version {version}, which this release cannot read")
            }
            Finding::Misplaced { sequence } => write!(formatter, "the header is that of segment {sequence}"),
            Finding::Malformed { .. } => write!(formatter, "an undamaged batch with unknown records"),
            Finding::Absent => write!(formatter, "the file is missing"),
            Finding::IndexGap { expected, found, .. } => {
                write!(formatter, "entry {found} follows where entry {expected} was to come")
            }
            Finding::TermRegression { index, .. } => {
                write!(formatter, "entry {index} has a lower term than the one before it")
            }
            Finding::CommittedSuperseded { index, .. } => {
                write!(formatter, "entry {index} supersedes a committed one")
            }
            Finding::CommitBeyondEnd { commit, last_index, .. } => {
                write!(formatter, "entry {commit} is committed, but the log ends with entry {last_index}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINDINGS: [Finding; 17] = [
        Finding::Whole,
        Finding::Empty,
        Finding::Unborn,
        Finding::ZeroTail { at: 100 },
        Finding::TornTail { at: 100 },
        Finding::Hole { at: 100 },
        Finding::Rot { at: 100, durable_to: 200 },
        Finding::Short { at: 100, durable_to: 200 },
        Finding::Long { sealed_at: 100 },
        Finding::UnknownVersion { version: 9 },
        Finding::Misplaced { sequence: 9 },
        Finding::Malformed { at: 100 },
        Finding::Absent,
        Finding::IndexGap { at: 100, expected: 5, found: 7 },
        Finding::TermRegression { at: 100, index: 5 },
        Finding::CommittedSuperseded { at: 100, index: 5 },
        Finding::CommitBeyondEnd { at: 100, commit: 9, last_index: 7 },
    ];

    #[test]
    fn the_table_reads_as_follows() {
        let mut table = String::from("finding                obsolete  sealed    last\n");
        for finding in FINDINGS {
            let name = format!("{finding:?}");
            let name = name.split_whitespace().next().unwrap();
            let actions = [Position::Obsolete, Position::Sealed, Position::Last]
                .map(|position| format!("{:?}", decide(position, finding)));
            table += &format!("{name:<22} {:<9} {:<9} {}\n", actions[0], actions[1], actions[2]);
        }
        let expected = "\
finding                obsolete  sealed    last
Whole                  Remove    Keep      Keep
Empty                  Remove    Refuse    Remove
Unborn                 Remove    Refuse    Remove
ZeroTail               Remove    Refuse    Truncate
TornTail               Remove    Refuse    Truncate
Hole                   Remove    Refuse    Truncate
Rot                    Remove    Refuse    Refuse
Short                  Remove    Refuse    Refuse
Long                   Remove    Keep      Refuse
UnknownVersion         Remove    Refuse    Refuse
Misplaced              Remove    Refuse    Refuse
Malformed              Remove    Refuse    Refuse
Absent                 Keep      Refuse    Refuse
IndexGap               Remove    Refuse    Refuse
TermRegression         Remove    Refuse    Refuse
CommittedSuperseded    Remove    Refuse    Refuse
CommitBeyondEnd        Remove    Refuse    Refuse
";
        assert_eq!(table, expected);
    }

    #[test]
    fn every_finding_says_where_to_look() {
        for finding in FINDINGS {
            let expected = match finding {
                Finding::Whole
                | Finding::Empty
                | Finding::Unborn
                | Finding::UnknownVersion { .. }
                | Finding::Misplaced { .. }
                | Finding::Absent => 0,
                _ => 100,
            };
            assert_eq!(finding.offset(), expected, "{finding}");
        }
    }
}
