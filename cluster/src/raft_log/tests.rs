//! Stories of a raft log: what is written, what happens to it, and what is there afterwards.

use std::fs;
use std::path::PathBuf;

use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};
use raft::{Error, GetEntriesContext, RawNode, Storage, StorageError};
use tempfile::TempDir;

use super::*;

/// A log in a directory of its own.
struct Story {
    directory: TempDir,
    options: Options,
    design: Design,
}

impl Story {
    fn new() -> Story {
        Story {
            directory: tempfile::tempdir().unwrap(),
            options: Options { segment_bytes: 600, ..Options::default() },
            design: Design::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("raft-log")
    }

    fn segment(&self, sequence: u64) -> PathBuf {
        segment::path(&self.path(), sequence)
    }

    fn try_open(&self) -> Result<(RaftLog, Recovery), RaftLogError> {
        RaftLog::open(&self.path(), self.options, &self.design)
    }

    fn open(&self) -> RaftLog {
        self.try_open().unwrap().0
    }

    fn damage(&self, sequence: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.segment(sequence)).unwrap();
        change(&mut bytes);
        fs::write(self.segment(sequence), bytes).unwrap();
    }

    /// Opening is refused for this reason, and changes nothing.
    fn refused(&self, sequence: u64, position: Position, finding: Finding) {
        let files = || segment::list(&self.path()).unwrap();
        let before = (files(), fs::read(self.segment(sequence)).ok());
        match self.try_open().unwrap_err() {
            RaftLogError::Damaged { path, position: found_position, finding: found } => {
                assert_eq!((path, found_position, found), (self.segment(sequence), position, finding));
            }
            other => panic!("{other}"),
        }
        assert_eq!((files(), fs::read(self.segment(sequence)).ok()), before);
    }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, data: format!("entry {index} of term {term}").into(), ..Entry::default() }
}

fn entries(indices: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    indices.map(|index| entry(index, term)).collect()
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit, ..HardState::default() }
}

fn metadata(index: u64, term: u64, voters: &[u64]) -> SnapshotMetadata {
    let mut metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
    metadata.set_conf_state(configuration(voters));
    metadata
}

fn configuration(voters: &[u64]) -> ConfState {
    ConfState { voters: voters.to_vec(), ..ConfState::default() }
}

fn all(log: &RaftLog) -> Vec<Entry> {
    log.entries(log.first_index(), log.last_index() + 1, None).unwrap()
}

#[test]
fn a_new_log_is_empty_and_stays_so() {
    let story = Story::new();
    for _ in 0..2 {
        let (log, recovery) = story.try_open().unwrap();
        assert_eq!((log.first_index(), log.last_index(), log.compacted()), (1, 0, (0, 0)));
        assert_eq!(log.hard_state(), &HardState::default());
        assert_eq!((recovery.segments, recovery.torn_tail, recovery.removed), (1, None, vec![]));
    }
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let story = Story::new();
    let mut log = story.open();
    log.set_conf_state(&configuration(&[1, 2, 3]), 0).unwrap();
    log.append(&entries(1..=40, 1), Some(&hard_state(1, 2, 30)), true).unwrap();
    log.append(&[], Some(&hard_state(1, 2, 40)), false).unwrap();
    drop(log);
    let log = story.open();
    assert_eq!(all(&log), entries(1..=40, 1));
    assert_eq!(log.hard_state(), &hard_state(1, 2, 40));
    assert_eq!(log.conf_state(), &configuration(&[1, 2, 3]));
}

#[test]
fn a_lower_index_supersedes_what_follows_it_across_segments() {
    let story = Story::new();
    let mut log = story.open();
    for index in 1..=60 {
        log.append(&[entry(index, 1)], None, true).unwrap();
    }
    assert!(log.segment_count() > 2, "the story needs segments");
    log.append(&entries(11..=12, 2), Some(&hard_state(2, 0, 10)), true).unwrap();
    let expected: Vec<Entry> = entries(1..=10, 1).into_iter().chain(entries(11..=12, 2)).collect();
    assert_eq!(all(&log), expected);
    drop(log);
    assert_eq!(all(&story.open()), expected);
}

#[test]
fn compaction_deletes_the_segments_that_only_held_what_is_compacted() {
    let story = Story::new();
    let mut log = story.open();
    log.set_conf_state(&configuration(&[1, 2, 3]), 0).unwrap();
    for index in 1..=60 {
        log.append(&[entry(index, 1)], Some(&hard_state(1, 3, index)), true).unwrap();
    }
    let before = log.segment_count();
    let deleted = log.compact_to(50).unwrap();
    assert!(deleted > 0);
    assert_eq!(log.segment_count(), before - deleted);
    assert_eq!(log.compact_to(50).unwrap(), 0, "compacted already");
    assert!(matches!(log.compact_to(61), Err(RaftLogError::Misuse(_))));
    drop(log);
    let (log, recovery) = story.try_open().unwrap();
    assert_eq!((log.first_index(), log.compacted(), recovery.removed), (51, (50, 1), vec![]));
    assert_eq!(all(&log), entries(51..=60, 1));
    assert_eq!(
        log.hard_state(),
        &hard_state(1, 3, 60),
        "vote and term outlive the segments they were written in"
    );
    assert_eq!(log.conf_state(), &configuration(&[1, 2, 3]));
}

/// The deletions of a compaction reach the disk in any order: segment 2 is gone, 1 has come back.
#[test]
fn a_compacted_segment_that_comes_back_is_deleted_again_whatever_is_in_it() {
    let story = Story::new();
    let mut log = story.open();
    for index in 1..=60 {
        log.append(&[entry(index, 1)], Some(&hard_state(1, 3, index)), true).unwrap();
    }
    assert!(log.compact_to(60).unwrap() > 1);
    drop(log);
    fs::write(story.segment(1), b"whatever").unwrap();
    let (log, recovery) = story.try_open().unwrap();
    assert_eq!(
        recovery.removed,
        [Removed { path: story.segment(1), position: Position::Obsolete, finding: Finding::Unborn }]
    );
    assert_eq!((log.first_index(), log.last_index()), (61, 60));
    assert!(!story.segment(1).exists());
}

#[test]
fn a_snapshot_begins_the_log_anew() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=40, 1), Some(&hard_state(1, 2, 20)), true).unwrap();
    log.install_snapshot(&metadata(100, 4, &[1, 2, 4]), Some(&hard_state(5, 2, 102))).unwrap();
    assert_eq!((log.first_index(), log.last_index(), log.segment_count()), (101, 100, 1));
    log.append(&entries(101..=102, 4), Some(&hard_state(5, 2, 102)), true).unwrap();
    drop(log);
    let log = story.open();
    assert_eq!(all(&log), entries(101..=102, 4));
    assert_eq!(log.compacted(), (100, 4));
    assert_eq!(log.hard_state(), &hard_state(5, 2, 102));
    assert_eq!(log.conf_state(), &configuration(&[1, 2, 4]));
}

/// The entries behind the snapshot's index belong to another history.
#[test]
fn a_snapshot_below_the_last_entry_drops_what_is_behind_it() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=40, 1), Some(&hard_state(1, 2, 20)), true).unwrap();
    assert!(matches!(log.install_snapshot(&metadata(19, 1, &[1]), None), Err(RaftLogError::Misuse(_))));
    log.install_snapshot(&metadata(30, 2, &[1]), None).unwrap();
    drop(log);
    let log = story.open();
    assert_eq!((log.first_index(), log.last_index()), (31, 30));
    assert_eq!(log.hard_state(), &hard_state(2, 2, 30));
}

/// Segment 2 began with entry 21, but its first batch superseded the log from entry 8 on. Recovery that took
/// "begins at 21" for "compacted to 20" refused the batch as superseding what is committed.
#[test]
fn a_segment_may_begin_by_superseding_entries_of_the_one_before() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=20, 1), Some(&hard_state(1, 0, 7)), true).unwrap();
    assert!(log.size_bytes() >= story.options.segment_bytes, "the next batch begins a segment");
    log.append(&entries(8..=30, 2), Some(&hard_state(2, 0, 7)), true).unwrap();
    log.append(&[], Some(&hard_state(2, 0, 30)), true).unwrap();
    assert!(log.compact_to(25).unwrap() > 0);
    drop(log);
    let log = story.open();
    assert_eq!((log.compacted(), all(&log)), ((25, 2), entries(26..=30, 2)));
}

/// Segment 2 began with entry 21; the snapshot's segment begins with entry 8. Deletion that stopped at the
/// first segment that is still needed by its first index left segments 1 and 2 behind.
#[test]
fn a_snapshot_makes_every_older_segment_superfluous() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=20, 1), Some(&hard_state(1, 0, 7)), true).unwrap();
    log.append(&entries(21..=21, 1), None, true).unwrap();
    assert_eq!(log.segment_count(), 2);
    log.install_snapshot(&metadata(7, 1, &[1]), None).unwrap();
    assert_eq!(log.segment_count(), 1);
}

/// A crash between the creation of the new segment and the deletion of the old ones.
#[test]
fn a_snapshot_counts_as_soon_as_its_segment_is_there() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=40, 1), Some(&hard_state(1, 2, 20)), true).unwrap();
    let old = fs::read(story.segment(1)).unwrap();
    log.install_snapshot(&metadata(30, 2, &[1]), None).unwrap();
    drop(log);
    fs::write(story.segment(1), old).unwrap();
    let (log, recovery) = story.try_open().unwrap();
    assert_eq!((log.first_index(), log.last_index(), recovery.removed.len()), (31, 30, 1));
}

#[test]
fn a_torn_tail_is_cut_off_and_reported() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=3, 1), None, true).unwrap();
    let kept = fs::metadata(story.segment(1)).unwrap().len();
    log.append(&entries(4..=5, 1), None, false).unwrap();
    drop(log);
    story.damage(1, |bytes| bytes.truncate(bytes.len() - 1));
    let torn = fs::metadata(story.segment(1)).unwrap().len() - kept;
    let (mut log, recovery) = story.try_open().unwrap();
    assert_eq!(all(&log), entries(1..=3, 1));
    assert_eq!(
        recovery.torn_tail,
        Some(TornTail {
            path: story.segment(1),
            offset: kept,
            bytes: torn,
            finding: Finding::TornTail { at: kept }
        })
    );
    assert_eq!(recovery.torn_tail_bytes(), torn);
    log.append(&entries(4..=4, 2), None, true).unwrap();
    drop(log);
    let (log, recovery) = story.try_open().unwrap();
    assert_eq!((log.last_index(), log.term(4).unwrap(), recovery.torn_tail), (4, 2, None));
}

#[test]
fn a_tail_of_zeros_is_cut_off() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=3, 1), None, true).unwrap();
    drop(log);
    let at = fs::metadata(story.segment(1)).unwrap().len();
    story.damage(1, |bytes| bytes.resize(bytes.len() + 1000, 0));
    let (log, recovery) = story.try_open().unwrap();
    assert_eq!(recovery.torn_tail.unwrap().finding, Finding::ZeroTail { at });
    assert_eq!(all(&log), entries(1..=3, 1));
}

/// Batches 4 and 5 were written but not synced, and the disk kept only the second.
#[test]
fn a_hole_in_what_was_never_synced_is_cut_off_with_what_is_behind_it() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=3, 1), None, true).unwrap();
    let at = log.size_bytes();
    log.append(&entries(4..=4, 1), None, false).unwrap();
    log.append(&entries(5..=5, 1), None, false).unwrap();
    drop(log);
    story.damage(1, |bytes| bytes[at as usize + 30] ^= 1);
    let (log, recovery) = story.try_open().unwrap();
    assert_eq!(recovery.torn_tail.unwrap().finding, Finding::Hole { at });
    assert_eq!(all(&log), entries(1..=3, 1));
}

/// The same damage, but batch 5 says that batch 4 was durable.
#[test]
fn damage_before_the_proven_end_is_refused() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=3, 1), None, true).unwrap();
    let at = log.size_bytes();
    log.append(&entries(4..=4, 1), None, true).unwrap();
    let durable_to = log.size_bytes();
    log.append(&entries(5..=5, 1), None, false).unwrap();
    drop(log);
    story.damage(1, |bytes| bytes[at as usize + 30] ^= 1);
    story.refused(1, Position::Last, Finding::Rot { at, durable_to });
}

#[test]
fn a_mark_proves_the_last_batch_of_a_log_left_in_peace() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=3, 1), None, true).unwrap();
    let durable_to = log.size_bytes();
    log.mark_synced().unwrap();
    let marked = log.size_bytes();
    log.mark_synced().unwrap();
    assert_eq!(log.size_bytes(), marked, "nothing new to say");
    drop(log);
    story.damage(1, |bytes| bytes[durable_to as usize - 1] ^= 1);
    let error = story.try_open().unwrap_err();
    assert!(error.is_damage());
    let Finding::Rot { durable_to: found, .. } = (match error {
        RaftLogError::Damaged { finding, .. } => finding,
        other => panic!("{other}"),
    }) else {
        panic!("not rot");
    };
    assert_eq!(found, durable_to);
}

#[test]
fn damage_in_a_sealed_segment_is_refused() {
    let story = Story::new();
    let mut log = story.open();
    for index in 1..=60 {
        log.append(&[entry(index, 1)], None, true).unwrap();
    }
    drop(log);
    let pristine = fs::read(story.segment(2)).unwrap();
    let sealed = pristine.len() as u64;
    story.damage(2, |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert!(story.try_open().unwrap_err().is_damage());
    story.damage(2, |bytes| bytes.clear());
    story.refused(2, Position::Sealed, Finding::Short { at: 0, durable_to: sealed });
    fs::remove_file(story.segment(2)).unwrap();
    story.refused(2, Position::Sealed, Finding::Absent);
    fs::write(story.segment(2), &pristine).unwrap();
    story.damage(2, |bytes| bytes.extend_from_slice(b"behind the end"));
    assert_eq!(all(&story.open()), entries(1..=60, 1), "nobody was promised what is behind the end");
}

#[test]
fn a_missing_first_segment_is_refused() {
    let story = Story::new();
    let mut log = story.open();
    for index in 1..=60 {
        log.append(&[entry(index, 1)], None, true).unwrap();
    }
    drop(log);
    fs::remove_file(story.segment(1)).unwrap();
    story.refused(1, Position::Sealed, Finding::Absent);
}

/// A crash during the creation of segment 2: its name is there, its content is not, or not all of it.
#[test]
fn a_segment_whose_creation_was_torn_is_deleted() {
    for content in [&b""[..], &[0; 100], b"RAFTLOG\n\x01\0\0\0"] {
        let story = Story::new();
        let mut log = story.open();
        log.append(&entries(1..=20, 1), None, true).unwrap();
        drop(log);
        fs::write(story.segment(2), content).unwrap();
        let (mut log, recovery) = story.try_open().unwrap();
        let finding = if content.is_empty() { Finding::Empty } else { Finding::Unborn };
        assert_eq!(recovery.removed, [Removed { path: story.segment(2), position: Position::Last, finding }]);
        assert_eq!(all(&log), entries(1..=20, 1));
        log.append(&entries(21..=21, 1), None, true).unwrap();
        assert_eq!(log.segment_count(), 2);
    }
}

/// The same, but the segment before it is damaged: it was synced before segment 2 was created.
#[test]
fn a_torn_creation_excuses_nothing_in_the_segment_before() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=20, 1), None, true).unwrap();
    drop(log);
    fs::write(story.segment(2), b"").unwrap();
    story.damage(1, |bytes| bytes.truncate(bytes.len() - 1));
    let RaftLogError::Damaged { position: Position::Sealed, finding: Finding::TornTail { .. }, .. } =
        story.try_open().unwrap_err()
    else {
        panic!("not refused for a torn tail of a sealed segment");
    };
}

#[test]
fn a_damaged_header_is_refused_once_the_segment_was_written_on() {
    let story = Story::new();
    let mut log = story.open();
    let durable_to = log.size_bytes();
    log.append(&entries(1..=2, 1), None, true).unwrap();
    drop(log);
    story.damage(1, |bytes| bytes[10] ^= 1);
    story.refused(1, Position::Last, Finding::Rot { at: 0, durable_to });
}

#[test]
fn a_segment_of_another_version_or_place_is_refused() {
    let story = Story::new();
    drop(story.open());
    let header = Header { version: 7, sequence: 1, first_index: 1, sealed_bytes: 0 };
    story.damage(1, |bytes| bytes[..layout::HEADER_BYTES].copy_from_slice(&header.encode()));
    story.refused(1, Position::Last, Finding::UnknownVersion { version: 7 });
    let header = Header { version: VERSION, sequence: 3, first_index: 1, sealed_bytes: 0 };
    story.damage(1, |bytes| bytes[..layout::HEADER_BYTES].copy_from_slice(&header.encode()));
    story.refused(1, Position::Last, Finding::Misplaced { sequence: 3 });
}

/// Records that contradict each other, in batches whose checksums are right.
#[test]
fn contradictory_records_are_refused() {
    let at = |story: &Story| fs::metadata(story.segment(1)).unwrap().len();
    let check = |build: fn(&mut BatchBuilder), finding: fn(u64) -> Finding| {
        let story = Story::new();
        let mut log = story.open();
        log.append(&entries(1..=5, 2), Some(&hard_state(2, 0, 3)), true).unwrap();
        drop(log);
        let end = at(&story);
        let mut batch = BatchBuilder::new();
        build(&mut batch);
        let batch = batch.finish(1, end, end);
        story.damage(1, |bytes| bytes.extend_from_slice(&batch));
        let offset = if matches!(finding(end), Finding::CommitBeyondEnd { .. }) { at(&story) } else { end };
        story.refused(1, Position::Last, finding(offset));
    };
    check(|batch| batch.entry(&entry(7, 2)), |at| Finding::IndexGap { at, expected: 6, found: 7 });
    check(|batch| batch.entry(&entry(6, 1)), |at| Finding::TermRegression { at, index: 6 });
    check(|batch| batch.entry(&entry(3, 3)), |at| Finding::CommittedSuperseded { at, index: 3 });
    check(
        |batch| batch.hard_state(&hard_state(2, 0, 9)),
        |at| Finding::CommitBeyondEnd { at, commit: 9, last_index: 5 },
    );
}

#[test]
fn a_refusal_names_file_and_offset_and_says_what_to_do() {
    let error = RaftLogError::Damaged {
        path: "/data/raft-log/00000000000000000003.log".into(),
        position: Position::Sealed,
        finding: Finding::Rot { at: 812, durable_to: 1200 },
    };
    assert_eq!(
        error.to_string(),
        "raft log segment /data/raft-log/00000000000000000003.log is damaged at byte 812: damage, though bytes up \
         to 1200 were durable. This replica may have promised what is lost, so its log was not opened and no file \
         was changed. Set the replica's whole directory aside and let it rejoin from a peer's snapshot under a new \
         id, or put an undamaged copy of the file in its place"
    );
}

#[test]
fn what_would_break_the_log_is_refused_and_changes_nothing() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=5, 2), Some(&hard_state(2, 1, 3)), true).unwrap();
    let bytes = log.size_bytes();
    let huge = Entry { data: vec![0; 5 << 20].into(), ..entry(6, 2) };
    for wrong in
        [vec![entry(7, 2)], vec![entry(6, 1)], vec![entry(3, 3)], vec![entry(6, 2), entry(8, 2)], vec![huge]]
    {
        assert!(matches!(log.append(&wrong, None, true), Err(RaftLogError::Misuse(_))));
    }
    assert!(matches!(log.append(&[], Some(&hard_state(1, 1, 3)), true), Err(RaftLogError::Misuse(_))));
    assert!(matches!(log.append(&[], Some(&hard_state(2, 1, 6)), true), Err(RaftLogError::Misuse(_))));
    assert_eq!((log.size_bytes(), all(&log)), (bytes, entries(1..=5, 2)));
    assert!(!log.is_poisoned());
}

#[test]
fn the_raft_core_reads_the_log_through_its_storage_trait() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=20, 1), Some(&hard_state(1, 0, 20)), true).unwrap();
    log.compact_to(10).unwrap();
    let storage: &dyn Fn(u64, u64, u64) -> raft::Result<Vec<Entry>> =
        &|low, high, bytes| Storage::entries(&log, low, high, bytes, GetEntriesContext::empty(false));
    assert_eq!(storage(11, 15, u64::MAX).unwrap(), entries(11..=14, 1));
    assert_eq!(storage(11, 15, 0).unwrap(), entries(11..=11, 1), "at least one");
    assert_eq!(storage(21, 21, 0).unwrap(), []);
    assert!(matches!(storage(10, 15, 0), Err(Error::Store(StorageError::Compacted))));
    assert_eq!(Storage::term(&log, 10).unwrap(), 1);
    assert!(matches!(Storage::term(&log, 9), Err(Error::Store(StorageError::Compacted))));
    assert!(matches!(Storage::term(&log, 21), Err(Error::Store(StorageError::Unavailable))));
    assert_eq!((Storage::first_index(&log).unwrap(), Storage::last_index(&log).unwrap()), (11, 20));
    assert_eq!(log.initial_state().unwrap().hard_state, hard_state(1, 0, 20));
}

/// Carries out what the raft core has ready, as a replica does; returns the indices that were committed.
fn carry_out(node: &mut RawNode<RaftLog>) -> Vec<u64> {
    let mut committed = Vec::new();
    while node.has_ready() {
        let mut ready = node.ready();
        committed.extend(ready.take_committed_entries());
        let (entries, hard_state) = (ready.take_entries(), ready.hs().cloned());
        node.mut_store().append(&entries, hard_state.as_ref(), ready.must_sync()).unwrap();
        let mut light = node.advance(ready);
        committed.extend(light.take_committed_entries());
        if let Some(commit) = light.commit_index() {
            let hard_state = HardState { commit, ..node.store().hard_state().clone() };
            node.mut_store().append(&[], Some(&hard_state), false).unwrap();
        }
        node.advance_apply();
    }
    committed.iter().map(|entry| entry.index).collect()
}

#[test]
fn a_raft_core_lives_on_the_log_through_restarts_and_compactions() {
    let story = Story::new();
    story.open().set_conf_state(&configuration(&[1]), 0).unwrap();
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut applied = 0;
    for life in 1..=5 {
        let config = raft::Config { id: 1, applied, ..raft::Config::default() };
        let mut node = RawNode::new(&config, story.open(), &logger).unwrap();
        node.campaign().unwrap();
        for number in 0..20 {
            for index in carry_out(&mut node) {
                assert_eq!(index, applied + 1, "life {life}");
                applied = index;
            }
            node.propose(vec![], format!("proposal {number} of life {life}").into_bytes()).unwrap();
        }
        node.mut_store().compact_to(applied - 3).unwrap();
    }
    let log = story.open();
    assert_eq!((log.hard_state().term, log.compacted()), (5, (applied - 3, 5)));
    assert_eq!(
        (applied, log.last_index()),
        (100, 100),
        "per life the first entry of the term and 19 proposals"
    );
}

#[test]
fn a_snapshot_is_offered_to_raft_or_asked_for() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=20, 1), Some(&hard_state(1, 0, 20)), true).unwrap();
    log.compact_to(10).unwrap();
    assert!(matches!(log.snapshot(5, 3), Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))));
    assert_eq!(log.take_snapshot_request(), Some(SnapshotRequest { to: 3, index: 10 }));
    assert_eq!(log.take_snapshot_request(), None, "once");
    log.offer_snapshot(Some(metadata(9, 1, &[1])));
    assert!(log.snapshot(5, 3).is_err(), "entry 10 could not follow it");
    log.offer_snapshot(Some(metadata(15, 1, &[1])));
    assert_eq!(log.snapshot(5, 3).unwrap().get_metadata(), &metadata(15, 1, &[1]));
    assert!(log.snapshot(16, 3).is_err());
}

#[test]
fn the_lazy_design_leaves_batches_unsynced_until_the_segment_is_full() {
    let mut story = Story::new();
    story.design.set("persist_before_send", "lazy").unwrap();
    let mut log = story.open();
    let created = log.synced;
    log.append(&entries(1..=2, 1), None, true).unwrap();
    assert_eq!(log.synced, created);
    for index in 3..=60 {
        log.append(&[entry(index, 1)], None, true).unwrap();
    }
    assert!(log.segment_count() > 1);
    drop(log);
    assert_eq!(all(&story.open()), entries(1..=60, 1));
}

/// The segment is open read-only, so that writes to it fail, and cutting it back fails too.
#[test]
fn after_a_failed_write_that_cannot_be_cut_back_the_log_is_closed() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=2, 1), None, true).unwrap();
    log.file = fs::File::open(story.segment(1)).unwrap();
    assert!(matches!(log.append(&entries(3..=4, 1), None, true), Err(RaftLogError::Io { .. })));
    assert_eq!(log.last_index(), 2);
    assert!(log.is_poisoned());
    assert!(matches!(log.append(&entries(3..=4, 1), None, true), Err(RaftLogError::Poisoned { .. })));
    drop(log);
    let mut log = story.open();
    log.append(&entries(3..=4, 1), None, true).unwrap();
    assert_eq!(all(&log), entries(1..=4, 1));
}

/// `/dev/null` takes every write, but cannot be synced.
#[test]
fn after_a_failed_sync_the_log_is_closed_and_never_synced_again() {
    let story = Story::new();
    let mut log = story.open();
    log.file = fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    assert!(matches!(log.append(&entries(1..=2, 1), None, true), Err(RaftLogError::Sync { .. })));
    for again in [log.sync(), log.append(&[], Some(&hard_state(1, 1, 0)), false), log.mark_synced()] {
        assert!(matches!(again, Err(RaftLogError::Poisoned { .. })));
    }
    assert!(matches!(log.compact_to(1), Err(RaftLogError::Poisoned { .. })));
    assert!(matches!(log.install_snapshot(&metadata(9, 1, &[1]), None), Err(RaftLogError::Poisoned { .. })));
}

/// What a killed process left in the page cache may be marked clean there, after a failed sync, though the disk
/// does not have it.
#[test]
fn what_nothing_proves_durable_is_written_once_more() {
    let story = Story::new();
    let mut log = story.open();
    log.append(&entries(1..=2, 1), None, true).unwrap();
    let durable = log.size_bytes();
    log.append(&entries(3..=4, 1), None, true).unwrap();
    let length = log.size_bytes();
    drop(log);
    let (mut log, recovery) = story.try_open().unwrap();
    assert_eq!(recovery.rewritten_bytes, length - durable);
    log.mark_synced().unwrap();
    drop(log);
    let (log, recovery) = story.try_open().unwrap();
    assert_eq!(recovery.rewritten_bytes, log.size_bytes() - length, "only the mark");
}
