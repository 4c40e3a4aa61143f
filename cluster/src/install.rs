//! Putting a new state in the place of the old one, so that a crash at any point leaves one of the two.
//!
//! A state is a data directory; a snapshot also says where the raft log goes on. The new data directory stands
//! in `store.new`, complete and synced, before the first step:
//!
//! ```text
//! step            does                                         durable by
//! WriteRecord     INSTALL says that store.new is to replace    its own sync, rename, sync of the directory
//!                 store, and where the raft log goes on
//! MoveOldAway     store -> store.old                           sync of the directory
//! MoveNewIn       store.new -> store                           sync of the directory
//! ResetLog        last-flushed-index is that of the snapshot,  sync of the directory,
//!                 and the raft log begins after it             the raft log
//! RemoveRecord    INSTALL goes                                 sync of the directory
//! RemoveOld       store.old goes                               nothing: its presence does no harm
//! ```
//!
//! The record is the point of no return: until it is durable a crash leaves the old state, and from then on
//! every start goes on where the last one stopped. A start knows where that is by what there is:
//!
//! ```text
//! INSTALL   store   store.new   store.old   goes on with
//! no        yes     any         any         nothing: what is left over is removed
//! no        no      any         yes         PutOldBack: only a disk that lied comes to this
//! no        no      any         no          nothing
//! yes       yes     yes         any         MoveOldAway
//! yes       no      yes         any         MoveNewIn
//! yes       yes     no          any         ResetLog
//! yes       no      no          yes         PutOldBack: only a disk that lied comes to this
//! yes       no      no          no          nothing, likewise
//! ```
//!
//! Whatever state a start ends up with, the startup table judges it against the raft log.
//!
//! ```text
//! INSTALL   offset 0  CRC32     4 bytes   little endian, over what follows
//!                  4  kind      1 byte    1: a snapshot, 2: a conversion of the data directory
//!                  5  metadata            of a snapshot: a protobuf SnapshotMetadata
//! ```

use std::fs;
use std::io;

use protobuf::Message as _;
use raft::eraftpb::{HardState, SnapshotMetadata};

use crate::design::{Design, FlushIndexPlace, SnapshotInstall};
use crate::directory::{self, Directory};
use crate::error::{IoContext, ReplicaError};
use crate::flushed_index;
use crate::observer::InstallStep;
use crate::raft_log::RaftLog;

const CRC_BYTES: usize = 4;
const KIND_SNAPSHOT: u8 = 1;
const KIND_CONVERSION: u8 = 2;

/// The steps of an installation, in order.
pub(crate) const STEPS: [InstallStep; 6] = [
    InstallStep::WriteRecord,
    InstallStep::MoveOldAway,
    InstallStep::MoveNewIn,
    InstallStep::ResetLog,
    InstallStep::RemoveRecord,
    InstallStep::RemoveOld,
];

/// What is being installed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Installation {
    /// A snapshot; the raft log goes on behind it.
    Snapshot(SnapshotMetadata),
    /// The same state in another engine.
    Conversion,
}

impl Installation {
    /// The applied index of a snapshot.
    pub(crate) fn index(&self) -> Option<u64> {
        match self {
            Installation::Snapshot(metadata) => Some(metadata.index),
            Installation::Conversion => None,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; CRC_BYTES];
        match self {
            Installation::Snapshot(metadata) => {
                bytes.push(KIND_SNAPSHOT);
                metadata.write_to_vec(&mut bytes).expect("a vector takes every metadata");
            }
            Installation::Conversion => bytes.push(KIND_CONVERSION),
        }
        let crc = crc32fast::hash(&bytes[CRC_BYTES..]);
        bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for a damaged record, which an honest disk cannot bring about.
    fn decode(bytes: &[u8]) -> Option<Installation> {
        let (crc, content) = bytes.split_first_chunk::<CRC_BYTES>()?;
        if u32::from_le_bytes(*crc) != crc32fast::hash(content) {
            return None;
        }
        match content.split_first()? {
            (&KIND_SNAPSHOT, metadata) => {
                SnapshotMetadata::parse_from_bytes(metadata).ok().map(Installation::Snapshot)
            }
            (&KIND_CONVERSION, []) => Some(Installation::Conversion),
            _ => None,
        }
    }
}

/// An installation under way.
pub(crate) struct Installer<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) design: &'a Design,
    pub(crate) installation: &'a Installation,
    /// What the raft log's hard state becomes with the reset; `None`: as it is.
    pub(crate) hard_state: Option<&'a HardState>,
}

impl Installer<'_> {
    /// Carries out every step from `first` on. The store must be closed.
    pub(crate) fn run(&self, first: InstallStep, log: &mut RaftLog) -> Result<(), ReplicaError> {
        STEPS.into_iter().filter(|step| *step >= first).try_for_each(|step| self.carry_out(step, log))
    }

    /// Lets the raft log go on behind a snapshot, before the snapshot stands in the place of the state. After a crash
    /// the record has the next start make up for that.
    pub(crate) fn run_for_log(&self, log: &mut RaftLog) -> Result<(), ReplicaError> {
        self.carry_out(InstallStep::WriteRecord, log)?;
        self.carry_out(InstallStep::ResetLog, log)
    }

    fn carry_out(&self, step: InstallStep, log: &mut RaftLog) -> Result<(), ReplicaError> {
        let directory = self.directory;
        match step {
            InstallStep::WriteRecord => {
                directory::replace_file(&directory.install_record(), &self.installation.encode())
            }
            InstallStep::MoveOldAway => {
                // Left over from an earlier installation that was interrupted before its last step.
                directory::remove_tree(&directory.store_old())?;
                if directory::exists(&directory.store())? {
                    directory::rename(&directory.store(), &directory.store_old())?;
                }
                directory.sync()
            }
            InstallStep::MoveNewIn => {
                directory::rename(&directory.store_new(), &directory.store())?;
                directory.sync()?;
                match self.design.snapshot_install {
                    SnapshotInstall::SyncThenRename => Ok(()),
                    SnapshotInstall::RenameThenSync => directory::sync_tree(&directory.store()),
                }
            }
            InstallStep::ResetLog => self.reset_log(log),
            InstallStep::RemoveRecord => {
                directory::remove_tree(&directory.install_record())?;
                directory.sync()
            }
            InstallStep::RemoveOld => directory::remove_tree(&directory.store_old()),
            InstallStep::PutOldBack => {
                directory::rename(&directory.store_old(), &directory.store())?;
                directory::remove_tree(&directory.install_record())?;
                directory.sync()
            }
        }
    }

    fn reset_log(&self, log: &mut RaftLog) -> Result<(), ReplicaError> {
        match self.installation {
            // A log that is cut there already needs nothing. It is never cut behind what is persisted as flushed.
            Installation::Snapshot(metadata) if metadata.index > log.compacted().0 => {
                match self.design.flush_index_place {
                    FlushIndexPlace::OwnFile => {
                        flushed_index::persist(self.directory, metadata.index, self.design)?;
                    }
                    FlushIndexPlace::InsideEngine => {}
                }
                Ok(log.install_snapshot(metadata, self.hard_state)?)
            }
            Installation::Snapshot(_) | Installation::Conversion => Ok(()),
        }
    }
}

/// What a start finds of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Present {
    record: bool,
    store: bool,
    new: bool,
    old: bool,
}

/// The second table at the top: the step to go on with; `None` if no installation is under way.
fn next_step(present: Present) -> Option<InstallStep> {
    match present {
        Present { record: false, store: true, new: _, old: _ } => None,
        Present { record: false, store: false, new: _, old: true } => Some(InstallStep::PutOldBack),
        Present { record: false, store: false, new: _, old: false } => None,
        Present { record: true, store: true, new: true, old: _ } => Some(InstallStep::MoveOldAway),
        Present { record: true, store: false, new: true, old: _ } => Some(InstallStep::MoveNewIn),
        Present { record: true, store: true, new: false, old: _ } => Some(InstallStep::ResetLog),
        Present { record: true, store: false, new: false, old: true } => Some(InstallStep::PutOldBack),
        Present { record: true, store: false, new: false, old: false } => None,
    }
}

/// Finishes or undoes an installation that a crash interrupted, and removes what is left over. Returns what had
/// to be done, if anything, and the index of the snapshot that is installed now.
pub(crate) fn resume(
    directory: &Directory,
    design: &Design,
    log: &mut RaftLog,
) -> Result<Option<(InstallStep, Option<u64>)>, ReplicaError> {
    let record = read_record(directory)?;
    let present = Present {
        record: record.is_some(),
        store: directory::exists(&directory.store())?,
        new: directory::exists(&directory.store_new())?,
        old: directory::exists(&directory.store_old())?,
    };
    let step = next_step(present);
    let installation = record.unwrap_or(Installation::Conversion);
    let installer = Installer { directory, design, installation: &installation, hard_state: None };
    // A process that was killed between a rename and its sync left names that are there, but not durable.
    directory.sync()?;
    let resumed = match step {
        None => None,
        Some(InstallStep::PutOldBack) => {
            installer.carry_out(InstallStep::PutOldBack, log)?;
            Some((InstallStep::PutOldBack, None))
        }
        Some(step) => {
            for step in STEPS.into_iter().filter(|later| *later >= step) {
                if step == InstallStep::ResetLog && log_goes_on_after(&installation, log) {
                    take_configuration(&installation, log)?;
                    continue;
                }
                installer.carry_out(step, log)?;
            }
            Some((step, installation.index()))
        }
    };
    remove_leftovers(directory)?;
    Ok(resumed)
}

/// Whether the log holds the last entry of the snapshot and thereby joins it. A record that comes back (from a
/// disk that lied about its removal) must not cost entries that were acknowledged since.
fn log_goes_on_after(installation: &Installation, log: &RaftLog) -> bool {
    match installation {
        Installation::Snapshot(metadata) => log.term(metadata.index).is_ok_and(|term| term == metadata.term),
        Installation::Conversion => true,
    }
}

/// A log that keeps its entries still takes the configuration that the snapshot brings: the entries which brought it
/// are not applied again.
fn take_configuration(installation: &Installation, log: &mut RaftLog) -> Result<(), ReplicaError> {
    match installation {
        Installation::Snapshot(metadata) if log.conf_index() < metadata.index => {
            Ok(log.set_conf_state(metadata.get_conf_state(), metadata.index)?)
        }
        Installation::Snapshot(_) | Installation::Conversion => Ok(()),
    }
}

fn read_record(directory: &Directory) -> Result<Option<Installation>, ReplicaError> {
    match fs::read(directory.install_record()) {
        Ok(bytes) => Ok(Installation::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).while_doing(|| format!("reading {}", directory.install_record().display())),
    }
}

/// Removes what no installation needs any more.
fn remove_leftovers(directory: &Directory) -> Result<(), ReplicaError> {
    directory::remove_tree(&directory.install_record())?;
    directory::remove_tree(&directory.store_new())?;
    directory::remove_tree(&directory.store_old())?;
    directory.clear_scratch()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use raft::eraftpb::Entry;
    use tempfile::TempDir;

    use super::*;
    use crate::raft_log::Options;
    use crate::startup::FlushedIndex;

    const OLD_INDEX: u64 = 3;
    const NEW_INDEX: u64 = 9;

    fn metadata() -> SnapshotMetadata {
        let mut metadata = SnapshotMetadata { index: NEW_INDEX, term: 2, ..SnapshotMetadata::default() };
        metadata.mut_conf_state().voters = vec![1, 2, 3];
        metadata
    }

    fn open_log(directory: &Directory) -> RaftLog {
        RaftLog::open(&directory.raft(), Options::default(), &Design::default()).unwrap().0
    }

    fn write_store(path: &Path, content: &str) {
        fs::create_dir(path).unwrap();
        fs::write(path.join("content"), content).unwrap();
    }

    /// A replica's directory with an old state at index 3 and a new one, ready to be installed.
    fn prepared() -> (TempDir, Directory, RaftLog) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("replica")).unwrap();
        let mut log = open_log(&directory);
        let entries =
            (1..=OLD_INDEX).map(|index| Entry { index, term: 1, ..Entry::default() }).collect::<Vec<_>>();
        let hard_state = HardState { term: 1, vote: 2, commit: OLD_INDEX, ..HardState::default() };
        log.append(&entries, Some(&hard_state), true).unwrap();
        write_store(&directory.store(), "old");
        write_store(&directory.store_new(), "new");
        (temporary, directory, log)
    }

    fn content(directory: &Directory) -> String {
        fs::read_to_string(directory.store().join("content")).unwrap()
    }

    #[test]
    fn a_record_comes_back_and_a_damaged_one_is_none() {
        for installation in [Installation::Snapshot(metadata()), Installation::Conversion] {
            let bytes = installation.encode();
            assert_eq!(Installation::decode(&bytes), Some(installation));
            for position in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1;
                assert_eq!(Installation::decode(&damaged), None);
                assert_eq!(Installation::decode(&bytes[..position]), None);
            }
        }
    }

    /// A crash after any number of steps, and then again after any number of steps of the recovery.
    #[test]
    fn a_crash_after_any_step_leaves_the_old_state_or_the_new_one() {
        for done in 0..=STEPS.len() {
            for done_by_recovery in 0..=STEPS.len() {
                let (_temporary, directory, mut log) = prepared();
                let installation = Installation::Snapshot(metadata());
                let hard_state = HardState { term: 2, vote: 0, commit: NEW_INDEX, ..HardState::default() };
                let installer = Installer {
                    directory: &directory,
                    design: &Design::default(),
                    installation: &installation,
                    hard_state: Some(&hard_state),
                };
                for step in &STEPS[..done] {
                    installer.carry_out(*step, &mut log).unwrap();
                }
                drop(log);

                let mut log = open_log(&directory);
                let first = next_step(present(&directory));
                let remaining = STEPS.into_iter().filter(|step| first.is_some_and(|first| *step >= first));
                for step in remaining.take(done_by_recovery) {
                    installer.carry_out(step, &mut log).unwrap();
                }
                drop(log);

                let mut log = open_log(&directory);
                resume(&directory, &Design::default(), &mut log).unwrap();
                if done == 0 {
                    assert_eq!((content(&directory).as_str(), log.last_index()), ("old", OLD_INDEX));
                } else {
                    assert_eq!((content(&directory).as_str(), log.last_index()), ("new", NEW_INDEX));
                    assert_eq!(log.compacted(), (NEW_INDEX, 2));
                    assert_eq!(flushed_index::read(&directory).unwrap(), FlushedIndex::Known(NEW_INDEX));
                    assert_eq!(log.hard_state().commit, NEW_INDEX);
                }
                assert_nothing_left_over(&directory);
                assert_eq!(resume(&directory, &Design::default(), &mut log).unwrap(), None);
            }
        }
    }

    #[test]
    fn a_start_puts_the_state_behind_which_the_log_goes_on_in_its_place() {
        let (_temporary, directory, mut log) = prepared();
        let installer = Installer {
            directory: &directory,
            design: &Design::default(),
            installation: &Installation::Snapshot(metadata()),
            hard_state: None,
        };
        installer.run_for_log(&mut log).unwrap();
        assert_eq!((content(&directory).as_str(), log.compacted()), ("old", (NEW_INDEX, 2)));
        drop(log);
        let mut log = open_log(&directory);
        resume(&directory, &Design::default(), &mut log).unwrap();
        assert_eq!((content(&directory).as_str(), log.last_index()), ("new", NEW_INDEX));
        assert_nothing_left_over(&directory);
    }

    fn present(directory: &Directory) -> Present {
        Present {
            record: read_record(directory).unwrap().is_some(),
            store: directory.store().exists(),
            new: directory.store_new().exists(),
            old: directory.store_old().exists(),
        }
    }

    fn assert_nothing_left_over(directory: &Directory) {
        let mut names: Vec<_> = fs::read_dir(directory.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            // It belongs to the state, not to its installation.
            .filter(|name| name != "last-flushed-index")
            .collect();
        names.sort();
        assert_eq!(names, ["raft", "scratch", "store"]);
    }

    /// Every combination of what can be there: no start fails, and no state is lost that was there.
    #[test]
    fn every_combination_of_leftovers_is_resumed() {
        for bits in 0..16u8 {
            let [record, store, new, old] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let (_temporary, directory, mut log) = prepared();
            fs::remove_dir_all(directory.store()).unwrap();
            fs::remove_dir_all(directory.store_new()).unwrap();
            if record {
                let bytes = Installation::Snapshot(metadata()).encode();
                directory::replace_file(&directory.install_record(), &bytes).unwrap();
            }
            for (there, path, name) in [
                (store, directory.store(), "store"),
                (new, directory.store_new(), "new"),
                (old, directory.store_old(), "old"),
            ] {
                if there {
                    write_store(&path, name);
                }
            }
            resume(&directory, &Design::default(), &mut log).unwrap();
            let left = directory.store().exists().then(|| content(&directory));
            let expected = match (record, store, new, old) {
                (true, _, true, _) => Some("new"),
                (_, true, _, _) => Some("store"),
                (_, false, _, true) => Some("old"),
                (_, false, _, false) => None,
            };
            assert_eq!(left.as_deref(), expected, "{record} {store} {new} {old}");
        }
    }

    /// A disk that lied about the removal of the record brings it back after entries were acknowledged.
    #[test]
    fn a_record_that_comes_back_costs_no_entry() {
        let (_temporary, directory, mut log) = prepared();
        let installation = Installation::Snapshot(metadata());
        let design = Design::default();
        let installer = Installer {
            directory: &directory,
            design: &design,
            installation: &installation,
            hard_state: None,
        };
        installer.run(InstallStep::WriteRecord, &mut log).unwrap();
        let entry = Entry { index: NEW_INDEX + 1, term: 2, ..Entry::default() };
        log.append(&[entry], None, true).unwrap();
        directory::replace_file(&directory.install_record(), &installation.encode()).unwrap();
        let resumed = resume(&directory, &design, &mut log).unwrap();
        assert_eq!(resumed, Some((InstallStep::ResetLog, Some(NEW_INDEX))));
        assert_eq!(log.last_index(), NEW_INDEX + 1);
    }

    /// Seed 172 of `membership`: a replica that joined had the entries up to its first snapshot in its log, crashed
    /// while it installed that, and knew no member afterwards.
    #[test]
    fn a_log_that_keeps_its_entries_takes_the_configuration_all_the_same() {
        let (_temporary, directory, mut log) = prepared();
        let entries: Vec<Entry> =
            (OLD_INDEX + 1..=NEW_INDEX).map(|index| Entry { index, term: 2, ..Entry::default() }).collect();
        log.append(&entries, None, true).unwrap();
        directory::replace_file(&directory.install_record(), &Installation::Snapshot(metadata()).encode())
            .unwrap();
        resume(&directory, &Design::default(), &mut log).unwrap();
        assert_eq!(
            (content(&directory).as_str(), log.last_index(), log.first_index()),
            ("new", NEW_INDEX, 1)
        );
        assert_eq!((log.conf_state(), log.conf_index()), (metadata().get_conf_state(), NEW_INDEX));
    }
}
