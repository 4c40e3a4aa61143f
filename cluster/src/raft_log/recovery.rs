//! Opening a log: read everything, decide, and only then repair.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::decision::{Action, Finding, Position, decide};
use super::error::RaftLogError;
use super::layout::Record;
use super::scan::Scan;
use super::segment::{self, Segment};
use super::state::{LogState, Replay};

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How many segments the log has.
    pub segments: usize,
    /// The end of the last segment that was cut off, if something was.
    pub torn_tail: Option<TornTail>,
    /// Segments that were deleted: created but never used, or compacted.
    pub removed: Vec<Removed>,
    /// Bytes that were written once more because nothing proved them durable.
    pub rewritten_bytes: u64,
}

impl Recovery {
    /// Bytes that were cut off the last segment.
    pub fn torn_tail_bytes(&self) -> u64 {
        self.torn_tail.as_ref().map_or(0, |tail| tail.bytes)
    }
}

/// The end of a segment that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's file.
    pub path: PathBuf,
    /// Its length afterwards, in bytes.
    pub offset: u64,
    /// How many bytes went.
    pub bytes: u64,
    /// What they looked like.
    pub finding: Finding,
}

/// A segment that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The segment's file.
    pub path: PathBuf,
    /// Where it stood in the log.
    pub position: Position,
    /// What it looked like.
    pub finding: Finding,
}

/// A log that was recovered and repaired, ready to be written on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) state: LogState,
    pub(super) segments: VecDeque<Segment>,
    /// The last segment's file and its length, all of which is durable; `None` if there is no segment.
    pub(super) last: Option<(File, u64)>,
    pub(super) report: Recovery,
}

/// Recovers the log in `directory`.
pub(super) fn recover(directory: &Path) -> Result<Recovered, RaftLogError> {
    let plan = Plan::new(directory, read_segments(directory)?)?;
    let state = plan.replay()?;
    let (last, report) = plan.repair()?;
    let segments = plan.kept.iter().map(|kept| kept.segment()).collect();
    Ok(Recovered { state, segments, last, report })
}

/// What there is, and what to do about it. Making a plan changes nothing on the disk.
struct Plan<'a> {
    directory: &'a Path,
    /// The segments of the log, oldest first, without gaps.
    kept: Vec<Kept>,
    /// Files to delete, oldest first.
    removed: Vec<(u64, Position, Finding)>,
}

/// A segment that is part of the log.
struct Kept {
    scan: Scan,
    finding: Finding,
    action: Action,
}

impl Kept {
    fn segment(&self) -> Segment {
        let header = self.scan.header.expect("a segment without a header is never kept");
        Segment { sequence: header.sequence, first_index: header.first_index, bytes: self.scan.end() }
    }
}

impl<'a> Plan<'a> {
    fn new(directory: &'a Path, mut scans: Vec<Scan>) -> Result<Plan<'a>, RaftLogError> {
        let mut plan = Plan { directory, kept: Vec::new(), removed: Vec::new() };
        let Some(last) = plan.last_segment(&mut scans)? else {
            return Ok(plan);
        };
        plan.kept.push(last);
        plan.segments_before(scans)?;
        Ok(plan)
    }

    /// The newest segment that was ever used. One behind it, created and never used, is to be removed.
    fn last_segment(&mut self, scans: &mut Vec<Scan>) -> Result<Option<Kept>, RaftLogError> {
        let Some(scan) = scans.pop() else {
            return Ok(None);
        };
        let finding = scan.finding(None);
        let action = self.decide(scan.sequence, Position::Last, finding)?;
        if action != Action::Remove {
            return Ok(Some(Kept { scan, finding, action }));
        }
        self.removed.push((scan.sequence, Position::Last, finding));
        // The one before it was synced to its end before this one was created, though how long it was then
        // cannot be read any more.
        let before = scan.sequence - 1;
        let Some(scan) = scans.pop() else {
            if before > 0 {
                self.decide(before, Position::Sealed, Finding::Absent)?;
            }
            return Ok(None);
        };
        let finding = if scan.sequence == before { scan.finding(None) } else { Finding::Absent };
        let action = self.decide(before, Position::Sealed, finding)?;
        Ok(Some(Kept { scan, finding, action }))
    }

    /// Sorts the segments before the last into those that still count and those that do not.
    fn segments_before(&mut self, scans: Vec<Scan>) -> Result<(), RaftLogError> {
        let last = &self.kept[0];
        let compacted = compacted_index(&last.scan);
        let mut next = last.segment();
        let mut sealed_bytes = last.scan.header.expect("kept").sealed_bytes;
        for mut scan in scans.into_iter().rev() {
            // What stands before `next` has lower indices than its first, unless it was superseded.
            let obsolete = next.first_index <= compacted + 1;
            if obsolete {
                let finding = scan.finding(None);
                let action = self.decide(scan.sequence, Position::Obsolete, finding)?;
                assert_eq!(action, Action::Remove, "what is compacted is not kept");
                self.removed.push((scan.sequence, Position::Obsolete, finding));
                continue;
            }
            if scan.sequence + 1 != next.sequence {
                break;
            }
            let finding = scan.finding(Some(sealed_bytes));
            let action = self.decide(scan.sequence, Position::Sealed, finding)?;
            scan.seal(sealed_bytes);
            sealed_bytes = scan.header.expect("kept").sealed_bytes;
            let kept = Kept { scan, finding, action };
            next = kept.segment();
            self.kept.push(kept);
        }
        if next.first_index > compacted + 1 {
            self.decide(next.sequence - 1, Position::Sealed, Finding::Absent)?;
        }
        self.kept.reverse();
        self.removed.sort_unstable_by_key(|(sequence, ..)| *sequence);
        Ok(())
    }

    fn decide(&self, sequence: u64, position: Position, finding: Finding) -> Result<Action, RaftLogError> {
        match decide(position, finding) {
            Action::Refuse => Err(RaftLogError::Damaged {
                path: segment::path(self.directory, sequence),
                position,
                finding,
            }),
            action @ (Action::Keep | Action::Truncate | Action::Remove) => Ok(action),
        }
    }

    fn replay(&self) -> Result<LogState, RaftLogError> {
        let mut replay = Replay::new();
        for (number, kept) in self.kept.iter().enumerate() {
            let position = if number + 1 == self.kept.len() { Position::Last } else { Position::Sealed };
            self.replay_segment(&mut replay, &kept.scan)
                .map_err(|finding| self.contradiction(kept.scan.sequence, position, finding))?;
        }
        let last = self.kept.last().map_or((0, 0), |kept| (kept.scan.sequence, kept.scan.end()));
        replay.finish(last.1).map_err(|finding| self.contradiction(last.0, Position::Last, finding))
    }

    fn replay_segment(&self, replay: &mut Replay, scan: &Scan) -> Result<(), Finding> {
        replay.segment(&scan.header.expect("a segment without a header is never kept"))?;
        scan.batches.iter().try_for_each(|batch| replay.batch(batch.at, &batch.records))
    }

    fn contradiction(&self, sequence: u64, position: Position, finding: Finding) -> RaftLogError {
        assert_eq!(decide(position, finding), Action::Refuse, "no repair makes contradictory records agree");
        RaftLogError::Damaged { path: segment::path(self.directory, sequence), position, finding }
    }

    /// Repairs what is to be repaired. A crash in between leaves what the same plan comes out of again: the
    /// last segment and every name are durable before anything is deleted that they make superfluous.
    fn repair(&self) -> Result<(Option<(File, u64)>, Recovery), RaftLogError> {
        let mut report = Recovery { segments: self.kept.len(), ..Recovery::default() };
        let last = match self.kept.last() {
            Some(kept) => Some((self.repair_last(kept, &mut report)?, kept.scan.end())),
            None => None,
        };
        segment::sync_directory(self.directory)?;
        for (sequence, position, finding) in &self.removed {
            segment::remove(self.directory, *sequence)?;
            let path = segment::path(self.directory, *sequence);
            report.removed.push(Removed { path, position: *position, finding: *finding });
        }
        if !self.removed.is_empty() {
            segment::sync_directory(self.directory)?;
        }
        Ok((last, report))
    }

    /// Cuts off the torn tail, and writes what nothing proves durable once more before it syncs: where an
    /// earlier process ran into a failed fsync, the pages that can still be read are marked clean, and a sync
    /// alone would pass over them (Rebello et al., ATC 2020).
    fn repair_last(&self, kept: &Kept, report: &mut Recovery) -> Result<File, RaftLogError> {
        let scan = &kept.scan;
        let path = segment::path(self.directory, scan.sequence);
        let file = segment::open(self.directory, scan.sequence)?;
        let doing = || RaftLogError::io(format!("repairing {}", path.display()));
        if kept.action == Action::Truncate {
            file.set_len(scan.end()).map_err(doing())?;
            report.torn_tail = Some(TornTail {
                path: path.clone(),
                offset: scan.end(),
                bytes: scan.length() - scan.end(),
                finding: kept.finding,
            });
        }
        let unproven = usize::try_from(scan.durable_to).expect("inside the content")
            ..usize::try_from(scan.end()).expect("inside the content");
        report.rewritten_bytes = unproven.len() as u64;
        file.write_all_at(&scan.content[unproven], scan.durable_to).map_err(doing())?;
        file.sync_all().map_err(|source| RaftLogError::Sync { path, source })?;
        Ok(file)
    }
}

fn read_segments(directory: &Path) -> Result<Vec<Scan>, RaftLogError> {
    let read = |sequence| {
        let path = segment::path(directory, sequence);
        let content = fs::read(&path).map_err(RaftLogError::io(format!("reading {}", path.display())))?;
        Ok(Scan::new(sequence, content))
    };
    segment::list(directory)?.into_iter().map(read).collect()
}

/// The compacted index of the log whose last segment this is: every segment repeats it at its beginning.
fn compacted_index(last: &Scan) -> u64 {
    let records = last.batches.iter().flat_map(|batch| &batch.records);
    let indices = records.filter_map(|record| match record {
        Record::Compacted(metadata) => Some(metadata.index),
        Record::Entry(_) | Record::HardState(_) | Record::Configuration(_) => None,
    });
    indices.max().unwrap_or(0)
}
