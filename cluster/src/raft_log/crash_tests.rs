//! Random lives of a log with a crash at the end: what was synced is there, and nothing that was not written.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use raft::eraftpb::{Entry, HardState, SnapshotMetadata};

use super::state::LogState;
use super::*;

const SECTOR_BYTES: u64 = 512;

/// One step in the life of a log.
#[derive(Clone, Debug)]
enum Step {
    /// Appends entries; `back` of the uncommitted ones are superseded, by a higher term.
    Append { back: u64, lengths: Vec<u16>, must_sync: bool },
    /// Advances the commit index by up to so many entries.
    Commit { by: u64 },
    /// Votes in a new term.
    Vote { vote: u64 },
    /// Syncs.
    Sync,
    /// Says how much is durable.
    Mark,
    /// Compacts up to so many committed entries.
    Compact { by: u64 },
    /// Installs a snapshot that is so far ahead of the commit index.
    Install { ahead: u64 },
    /// Closes and opens again.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..4u64, prop::collection::vec(0..700u16, 1..5), any::<bool>())
            .prop_map(|(back, lengths, must_sync)| Step::Append { back, lengths, must_sync }),
        4 => (1..6u64).prop_map(|by| Step::Commit { by }),
        2 => (1..4u64).prop_map(|vote| Step::Vote { vote }),
        2 => Just(Step::Sync),
        1 => Just(Step::Mark),
        2 => (1..9u64).prop_map(|by| Step::Compact { by }),
        1 => (0..5u64).prop_map(|ahead| Step::Install { ahead }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// A log, and every state it went through since it was last durable; the first of them is durable.
struct Life {
    log: RaftLog,
    since_durable: Vec<LogState>,
}

impl Life {
    fn open(directory: &Path) -> Life {
        let options = Options { segment_bytes: 2000, ..Options::default() };
        let (log, _) = RaftLog::open(directory, options, &Design::default()).unwrap();
        let since_durable = vec![log.state.clone()];
        Life { log, since_durable }
    }

    fn live(directory: &Path, steps: &[Step]) -> Life {
        let mut life = Life::open(directory);
        for step in steps {
            life.step(directory, step);
            let segment = life.log.current();
            if life.log.synced == segment.bytes {
                life.since_durable.clear();
            }
            life.since_durable.push(life.log.state.clone());
        }
        life
    }

    fn step(&mut self, directory: &Path, step: &Step) {
        let log = &mut self.log;
        let (last_index, hard_state) = (log.last_index(), log.hard_state().clone());
        match step {
            Step::Append { back, lengths, must_sync } => {
                let first = last_index + 1 - (*back).min(last_index - hard_state.commit);
                let last_term = log.term(last_index).unwrap();
                let term = hard_state.term.max(last_term) + u64::from(first <= last_index);
                let entries: Vec<Entry> = (first..)
                    .zip(lengths)
                    .map(|(index, length)| Entry {
                        index,
                        term,
                        data: vec![index as u8; usize::from(*length)].into(),
                        ..Entry::default()
                    })
                    .collect();
                let hard_state = HardState { term, ..hard_state };
                log.append(&entries, Some(&hard_state), *must_sync).unwrap();
            }
            Step::Commit { by } => {
                let commit = (hard_state.commit + by).min(last_index);
                log.append(&[], Some(&HardState { commit, ..hard_state }), false).unwrap();
            }
            Step::Vote { vote } => {
                let term = hard_state.term + 1;
                log.append(&[], Some(&HardState { term, vote: *vote, ..hard_state }), true).unwrap();
            }
            Step::Sync => log.sync().unwrap(),
            Step::Mark => log.mark_synced().unwrap(),
            Step::Compact { by } => {
                log.compact_to((log.compacted().0 + by).min(hard_state.commit)).unwrap();
            }
            Step::Install { ahead } => {
                let index = hard_state.commit + ahead;
                let metadata =
                    SnapshotMetadata { index, term: hard_state.term, ..SnapshotMetadata::default() };
                log.install_snapshot(&metadata, None).unwrap();
            }
            Step::Reopen => *self = Life::open(directory),
        }
    }

    /// The last segment's file, its durable length and how far the log proves it.
    fn last_segment(&self, directory: &Path) -> (std::path::PathBuf, u64, u64) {
        (segment::path(directory, self.log.current().sequence), self.log.synced, self.log.proven)
    }
}

/// What a power failure leaves of the bytes behind `synced`: some sectors are lost, which reads as zeros, and
/// so is everything behind `length`.
fn lose(bytes: &mut Vec<u8>, synced: u64, length: u64, lost_sectors: &[bool]) {
    bytes.truncate(length.max(synced) as usize);
    for (number, _) in lost_sectors.iter().enumerate().filter(|(_, lost)| **lost) {
        let sector = synced / SECTOR_BYTES + number as u64;
        let start = (sector * SECTOR_BYTES).max(synced).min(bytes.len() as u64);
        let end = ((sector + 1) * SECTOR_BYTES).min(bytes.len() as u64).max(start);
        bytes[start as usize..end as usize].fill(0);
    }
}

/// Keeps a copy of every segment as it is now.
fn bury(directory: &Path, graveyard: &Path) {
    for sequence in segment::list(directory).unwrap() {
        fs::copy(segment::path(directory, sequence), segment::path(graveyard, sequence)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_killed_process_loses_nothing(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        let life = Life::live(directory.path(), &steps);
        let state = life.log.state.clone();
        drop(life);
        let reopened = Life::open(directory.path());
        prop_assert_eq!(&reopened.log.state, &state);
    }

    #[test]
    fn a_power_failure_loses_at_most_what_was_not_synced(
        steps in steps(),
        cut in any::<prop::sample::Index>(),
        lost_sectors in prop::collection::vec(any::<bool>(), 0..12),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let life = Life::live(directory.path(), &steps);
        let (path, synced, _) = life.last_segment(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        let length = synced + cut.index((bytes.len() as u64 - synced) as usize + 1) as u64;
        lose(&mut bytes, synced, length, &lost_sectors);
        fs::write(&path, &bytes).unwrap();
        let since_durable = life.since_durable.clone();
        drop(life.log);

        let (log, _) = RaftLog::open(directory.path(), Options::default(), &Design::default()).unwrap();
        prop_assert!(
            since_durable.contains(&log.state),
            "{:?} is none of the states since the last sync: {:?}", log.state, since_durable
        );
        let recovered = log.state.clone();
        drop(log);
        // Recovery is done: a second one finds nothing to do.
        let (log, recovery) = RaftLog::open(directory.path(), Options::default(), &Design::default()).unwrap();
        prop_assert_eq!(&log.state, &recovered);
        prop_assert_eq!(recovery.torn_tail, None);
    }

    /// What was deleted may come back, file by file, and the creation of the next segment may be torn.
    #[test]
    fn a_crash_among_creations_and_deletions_changes_nothing(
        steps in steps(),
        returned in prop::collection::vec(any::<bool>(), 24),
        torn in prop::option::of((any::<prop::sample::Index>(), prop::collection::vec(any::<bool>(), 4))),
    ) {
        let (directory, graveyard) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut life = Life::open(directory.path());
        for step in &steps {
            bury(directory.path(), graveyard.path());
            life.step(directory.path(), step);
        }
        life.log.sync().unwrap();
        let state = life.log.state.clone();
        let present = segment::list(directory.path()).unwrap();
        for sequence in segment::list(graveyard.path()).unwrap() {
            if !present.contains(&sequence) && returned[sequence as usize % returned.len()] {
                fs::copy(segment::path(graveyard.path(), sequence), segment::path(directory.path(), sequence))
                    .unwrap();
            }
        }
        if let Some((cut, lost_sectors)) = torn {
            let (header, mut content) = life.log.next_segment(&life.log.state);
            let length = cut.index(content.len()) as u64;
            lose(&mut content, 0, length, &lost_sectors);
            fs::write(segment::path(directory.path(), header.sequence), content).unwrap();
        }
        drop(life);
        prop_assert_eq!(&Life::open(directory.path()).log.state, &state);
    }

    #[test]
    fn a_flipped_bit_in_what_is_proven_durable_is_refused(
        steps in steps(),
        which in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let life = Life::live(directory.path(), &steps);
        let (last, _, proven) = life.last_segment(directory.path());
        // What is proven: every segment but the last to its end, the last as far as a batch says. Segments that
        // wait for their deletion are not read any more.
        let mut places = Vec::new();
        for segment in life.log.segments.iter().skip(life.log.superfluous_segments()) {
            let path = segment::path(directory.path(), segment.sequence);
            let durable = if path == last { proven } else { segment.bytes };
            places.extend((0..durable).map(|offset| (path.clone(), offset)));
        }
        drop(life);
        prop_assume!(!places.is_empty());
        let (path, offset) = which.get(&places);
        let mut bytes = fs::read(path).unwrap();
        bytes[*offset as usize] ^= 1 << bit;
        fs::write(path, &bytes).unwrap();

        let refused = RaftLog::open(directory.path(), Options::default(), &Design::default());
        match refused {
            Err(RaftLogError::Damaged { path: found, .. }) => prop_assert_eq!(&found, path),
            Err(other) => prop_assert!(false, "{}", other),
            Ok(_) => prop_assert!(false, "byte {} of {} flipped without notice", offset, path.display()),
        }
        prop_assert_eq!(fs::read(path).unwrap(), bytes, "a refusal changes nothing");
    }

    #[test]
    fn arbitrary_files_never_panic(contents in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..300), 0..3)
    ) {
        let directory = tempfile::tempdir().unwrap();
        for (number, content) in contents.iter().enumerate() {
            fs::write(segment::path(directory.path(), number as u64 + 1), content).unwrap();
        }
        let _either = RaftLog::open(directory.path(), Options::default(), &Design::default());
    }
}
