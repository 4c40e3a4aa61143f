//! From what is on the disk to a replica that can take part.
//!
//! The decisions are in [`table`]; here they are carried out. What is found is never changed before it is
//! decided upon, but for installations that a crash interrupted: those are finished first.

pub mod table;

use std::io;
use std::path::{Path, PathBuf};

use engines::{EngineError, EngineId, marker};
use raft::eraftpb::{ConfState, HardState};
use snapshots::Release;

pub use table::{
    Cluster, Decision, EngineState, Finding, FlushedIndex, Found, LogState, Refusal, WithoutState, decide,
};

use crate::config::{EngineChange, ReplicaConfig};
use crate::conversion;
use crate::design::FlushIndexPlace;
use crate::directory::{self, Directory};
use crate::error::ReplicaError;
use crate::flushed_index;
use crate::install;
use crate::membership::Membership;
use crate::mvcc::{Store, StoreError};
use crate::observer::{Observer, Recovery, ReplicaEvent};
use crate::raft_log::RaftLog;

/// A replica's durable state, ready to be used.
pub(crate) struct Ready {
    pub(crate) log: RaftLog,
    /// `None` until a peer's snapshot is installed.
    pub(crate) store: Option<Store>,
    pub(crate) recovery: Recovery,
    /// What is persisted as flushed.
    pub(crate) flushed: u64,
}

/// Opens the raft log and the store, as the table says.
pub(crate) fn start(
    config: &ReplicaConfig,
    directory: &Directory,
    observer: &dyn Observer,
) -> Result<Ready, ReplicaError> {
    let (mut log, recovered) = RaftLog::open(&directory.raft(), config.raft_log_options, &config.design)?;
    if recovered.torn_tail_bytes() > 0 {
        observer.event(&ReplicaEvent::TornTail { bytes: recovered.torn_tail_bytes() });
    }
    let resumed = install::resume(directory, &config.design, &mut log)?;
    if let Some((step, index)) = resumed {
        observer.event(&ReplicaEvent::InstallResumed { step, index });
    }
    write_first_configuration(config, &mut log)?;
    let probed = probe(config, directory)?;
    let flushed = flushed_index(config, directory, &log_state(&log))?;
    let found =
        Found { engine: probed.state(), log: log_state(&log), flushed, cluster: cluster_of(config.id, &log) };
    let start = Start {
        config,
        directory,
        observer,
        installed_index: resumed.and_then(|(_, index)| index),
        log_first: found.log.first,
    };
    start.carry_out(decide(&found), probed, log)
}

/// What is persisted as flushed. Where that stands inside the engine, the log alone says it.
fn flushed_index(
    config: &ReplicaConfig,
    directory: &Directory,
    log: &LogState,
) -> Result<FlushedIndex, ReplicaError> {
    match config.design.flush_index_place {
        FlushIndexPlace::OwnFile => flushed_index::read(directory),
        FlushIndexPlace::InsideEngine => Ok(FlushedIndex::Known(log.cut())),
    }
}

/// The first configuration of the cluster is written at its first start. Whoever joins is told later.
fn write_first_configuration(config: &ReplicaConfig, log: &mut RaftLog) -> Result<(), ReplicaError> {
    if config.join || *log.conf_state() != ConfState::default() {
        return Ok(());
    }
    let mut voters = config.peers.clone();
    voters.sort_unstable();
    Ok(log.set_conf_state(&ConfState { voters, ..ConfState::default() }, 0)?)
}

/// What the raft log says of the cluster.
fn cluster_of(own: u64, log: &RaftLog) -> Cluster {
    if *log.conf_state() == ConfState::default() {
        Cluster::Unknown
    } else if Membership::of(log.conf_state()).has_others(own) {
        Cluster::HasPeers
    } else {
        Cluster::Alone
    }
}

/// A store as it was found.
#[expect(clippy::large_enum_variant, reason = "there is one of them, during a start")]
enum Probed {
    Absent,
    Open(Store, u64),
    Unusable { engine: EngineId, finding: Finding },
}

impl Probed {
    fn state(&self) -> EngineState {
        match self {
            Probed::Absent => EngineState::Absent,
            Probed::Open(_, proves) => EngineState::Opens { proves: *proves },
            Probed::Unusable { engine: _, finding } => EngineState::Unusable(finding.clone()),
        }
    }
}

fn probe(config: &ReplicaConfig, directory: &Directory) -> Result<Probed, ReplicaError> {
    if !directory::exists(&directory.store())? {
        return Ok(Probed::Absent);
    }
    let engine = match marker::engine_of(&directory.store()) {
        Ok(Some(engine)) => engine,
        // A crash came before the marker was written.
        Ok(None) => return Ok(Probed::Absent),
        Err(error) => return unusable(config.engine, error.into()),
    };
    if engine != config.engine {
        match config.on_engine_change {
            EngineChange::Refuse => {
                return Err(Refusal::EngineMismatch { found: engine, wanted: config.engine }.into());
            }
            EngineChange::ConvertInPlace if config.release == Release::One => {
                return Err(Refusal::EngineUnknownToRelease { found: engine }.into());
            }
            EngineChange::ConvertInPlace => {}
            EngineChange::WipeAndFetch => {
                return Ok(Probed::Unusable { engine, finding: Finding::NotWanted });
            }
        }
    }
    match open_store(config, &directory.store(), engine) {
        Ok(store) => {
            let proves = match config.design.flush_index_place {
                FlushIndexPlace::OwnFile => store.durable_index()?,
                FlushIndexPlace::InsideEngine => store.flushed_index_inside()?,
            };
            Ok(Probed::Open(store, proves))
        }
        Err(error) => unusable(engine, error),
    }
}

/// Tells a store that is beyond use from a failure that may pass.
fn unusable(engine: EngineId, error: ReplicaError) -> Result<Probed, ReplicaError> {
    let is_finding = match &error {
        ReplicaError::Engine(error) => is_engine_finding(error),
        ReplicaError::Store(StoreError::Engine(error)) => is_engine_finding(error),
        ReplicaError::Store(StoreError::Corrupt(_)) => true,
        ReplicaError::Store(StoreError::Poisoned { .. } | StoreError::Misuse(_)) => false,
        ReplicaError::Configuration(_)
        | ReplicaError::Refused(_)
        | ReplicaError::Io { .. }
        | ReplicaError::RaftLog(_)
        | ReplicaError::Raft(_)
        | ReplicaError::Entry { .. }
        | ReplicaError::ConfChange { .. }
        | ReplicaError::Diverged { .. }
        | ReplicaError::Panicked { .. } => false,
    };
    if !is_finding {
        return Err(error);
    }
    Ok(Probed::Unusable { engine, finding: Finding::Broken { cause: error.to_string() } })
}

fn is_engine_finding(error: &EngineError) -> bool {
    match error {
        EngineError::Corrupt { .. } | EngineError::Engine { .. } | EngineError::MalformedMarker { .. } => {
            true
        }
        // A file of the store that is missing or too short is the engine's finding; a disk that fails to read
        // is not, and may do better the next time.
        EngineError::Io { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
        ),
        EngineError::Poisoned { .. }
        | EngineError::Locked { .. }
        | EngineError::Misuse(_)
        | EngineError::Mismatch { .. }
        | EngineError::MalformedBody { .. } => false,
    }
}

/// Opens the store in the data directory `path`, creating it if it is missing.
pub(crate) fn open_store(
    config: &ReplicaConfig,
    path: &Path,
    engine: EngineId,
) -> Result<Store, ReplicaError> {
    let backend = marker::open_data_dir(path, engine, &config.engine_options)?;
    Ok(Store::open(backend, &config.design)?)
}

/// What the decision needs to be carried out.
struct Start<'a> {
    config: &'a ReplicaConfig,
    directory: &'a Directory,
    observer: &'a dyn Observer,
    installed_index: Option<u64>,
    log_first: u64,
}

impl Start<'_> {
    fn carry_out(&self, decision: Decision, probed: Probed, mut log: RaftLog) -> Result<Ready, ReplicaError> {
        let (store, recovery) = match (decision, probed) {
            (Decision::Refuse(refusal), _) => return Err(refusal.into()),
            (Decision::Replay { from }, Probed::Open(store, _)) => {
                let store = self.in_wanted_engine(store, &mut log)?;
                (Some(store), Recovery::Replay { from })
            }
            (Decision::Join, _) => (None, Recovery::Join),
            (Decision::Fresh, Probed::Open(store, _)) => {
                (Some(self.in_wanted_engine(store, &mut log)?), Recovery::Fresh)
            }
            (Decision::Fresh, _) => (Some(self.open_anew()?), Recovery::Fresh),
            (Decision::NoState(then), _) => self.without_state(then)?,
            (Decision::SetAside { finding, then }, probed) => {
                self.set_aside(finding, probed)?;
                self.without_state(then)?
            }
            (Decision::Replay { .. }, Probed::Absent | Probed::Unusable { .. }) => {
                unreachable!("the table replays only into a store that opens")
            }
        };
        raise_commit(&mut log, store.as_ref().map_or(0, Store::applied_index))?;
        let configured = log.conf_index().min(log.last_index());
        raise_commit(&mut log, configured)?;
        let flushed = self.settle_flushed_index(&log_state(&log))?;
        Ok(Ready { log, store, recovery, flushed })
    }

    /// What is persisted as flushed, written anew where the raft log proves that the file system lost it. A damaged
    /// one is lost, too: the store is set aside by now.
    fn settle_flushed_index(&self, log: &LogState) -> Result<u64, ReplicaError> {
        let flushed = match flushed_index(self.config, self.directory, log)? {
            FlushedIndex::Known(index) => Some(index),
            FlushedIndex::Absent | FlushedIndex::Damaged => None,
        };
        if flushed.unwrap_or(0) >= log.cut() {
            return Ok(flushed.unwrap_or(0));
        }
        self.observer.event(&ReplicaEvent::FlushedIndexBehind { flushed, log_first: log.first });
        flushed_index::persist(self.directory, log.cut(), &self.config.design)?;
        Ok(log.cut())
    }

    fn without_state(&self, then: WithoutState) -> Result<(Option<Store>, Recovery), ReplicaError> {
        match then {
            WithoutState::ReplayAll => Ok((Some(self.open_anew()?), Recovery::Replay { from: 1 })),
            WithoutState::Rebuild => Ok((None, Recovery::Rebuild)),
        }
    }

    /// Begins a store that has flushed nothing yet.
    fn open_anew(&self) -> Result<Store, ReplicaError> {
        flushed_index::forget(self.directory)?;
        self.open()
    }

    fn open(&self) -> Result<Store, ReplicaError> {
        open_store(self.config, &self.directory.store(), self.config.engine)
    }

    /// The store, converted if it belongs to another engine.
    fn in_wanted_engine(&self, store: Store, log: &mut RaftLog) -> Result<Store, ReplicaError> {
        let from = store.engine();
        if from == self.config.engine {
            return Ok(store);
        }
        let applied_index = store.applied_index();
        conversion::convert(self.config, self.directory, log, store)?;
        let store = self.open()?;
        assert_eq!(store.applied_index(), applied_index, "a conversion changes the engine, not the state");
        self.observer.event(&ReplicaEvent::Converted { from, to: self.config.engine, applied_index });
        Ok(store)
    }

    fn set_aside(&self, finding: Finding, probed: Probed) -> Result<(), ReplicaError> {
        let (engine, proven_index) = match probed {
            Probed::Open(store, proves) => {
                let engine = store.engine();
                store.close()?;
                (engine, Some(proves))
            }
            Probed::Unusable { engine, finding: _ } => (engine, None),
            Probed::Absent => unreachable!("the table sets aside only what is there"),
        };
        let set_aside: PathBuf = self.directory.set_store_aside()?;
        self.observer.event(&match finding {
            Finding::NotWanted => {
                ReplicaEvent::StoreDiscarded { from: engine, to: self.config.engine, set_aside }
            }
            Finding::Broken { .. } | Finding::ProvesTooLittle { .. } | Finding::FlushedIndexDamaged => {
                ReplicaEvent::EngineFinding {
                    engine,
                    cause: finding.to_string(),
                    proven_index,
                    log_first: self.log_first,
                    installed_index: self.installed_index,
                    set_aside,
                }
            }
        });
        Ok(())
    }
}

fn log_state(log: &RaftLog) -> LogState {
    LogState { first: log.first_index(), last: log.last_index(), term: log.hard_state().term }
}

/// The commit index is written without a sync, so it may be older than what the store proves to be applied. The
/// raft core takes no applied index above the commit index. A configuration proves its entry committed, too: if that
/// were to be committed again, it would be by the new voters, who may need a snapshot that there is only afterwards.
fn raise_commit(log: &mut RaftLog, applied_index: u64) -> Result<(), ReplicaError> {
    if log.hard_state().commit >= applied_index {
        return Ok(());
    }
    let hard_state = HardState { commit: applied_index, ..log.hard_state().clone() };
    Ok(log.append(&[], Some(&hard_state), true)?)
}
