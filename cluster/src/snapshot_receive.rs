//! Receiving a snapshot stream: check it, and lay it out beside the state that stays in service.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use engines::{EngineId, marker};
use raft::eraftpb::Message;
use snapshots::{
    DigestCheck, ROUTING_PREFIX_BYTES, ReaderOptions, Reception, Refusal, Route, StreamError, StreamReader,
};

use crate::config::ReplicaConfig;
use crate::design::{Digest, SnapshotInstall};
use crate::directory::{self, Directory};
use crate::error::{IoContext, ReplicaError};
use crate::hello::Hello;
use crate::observer::SnapshotOutcome;
use crate::snapshot_stream::{DamagedPrelude, Prelude};
use crate::startup;

/// Why a stream is refused. Nothing of it is installed; the old state stays in service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error(transparent)]
    Prelude(#[from] DamagedPrelude),
    #[error("the stream ended within its prelude")]
    NoPrelude,
    #[error("the stream is meant for another incarnation of this replica: {meant}, this is {this}")]
    WrongIncarnation { meant: u64, this: u64 },
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Route(#[from] Refusal),
    #[error("the snapshot is of applied index {index}, but its content says {found}")]
    WrongIndex { index: u64, found: u64 },
    #[error("the snapshot of index {index} would take back entries up to {last}, which were acknowledged")]
    TooOld { index: u64, last: u64 },
    #[error(transparent)]
    Local(#[from] ReplicaError),
}

/// A snapshot stream that is coming in.
pub(crate) struct Receiving {
    pub(crate) from: u64,
    pub(crate) stream: u64,
    /// Ticks since something of it came.
    pub(crate) idle_ticks: u64,
    /// The bytes of the prelude, until it is whole.
    head: Vec<u8>,
    body: Option<Body>,
}

struct Body {
    prelude: Prelude,
    reader: StreamReader,
    sink: BufWriter<File>,
    prefix: Vec<u8>,
}

/// A stream that has come in whole, and passed every check that can be made on the way.
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) prefix: Vec<u8>,
    route: Route,
}

impl Receiving {
    pub(crate) fn new(from: u64, stream: u64) -> Receiving {
        Receiving { from, stream, idle_ticks: 0, head: Vec::new(), body: None }
    }

    /// The sender's number of the attempt and the index of the snapshot, once known.
    pub(crate) fn attempt(&self) -> Option<u64> {
        self.body.as_ref().map(|body| body.prelude.attempt)
    }

    /// The index of the snapshot; zero until it is known.
    pub(crate) fn index(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.prelude.message.get_snapshot().get_metadata().index)
    }

    /// The first bytes after the prelude.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        self.body.as_ref().map_or_else(Vec::new, |body| body.prefix.clone())
    }

    /// Takes the next bytes.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        own: &Hello,
        config: &ReplicaConfig,
        directory: &Directory,
    ) -> Result<(), ReceiveError> {
        self.idle_ticks = 0;
        if let Some(body) = &mut self.body {
            return body.push(bytes);
        }
        self.head.extend(bytes);
        let Some((prelude, length)) = Prelude::decode(&self.head)? else {
            return Ok(());
        };
        let head = std::mem::take(&mut self.head);
        let incarnation = prelude.incarnation;
        let body = self.body.insert(Body::new(prelude, own, config, directory)?);
        if incarnation != own.incarnation {
            return Err(ReceiveError::WrongIncarnation { meant: incarnation, this: own.incarnation });
        }
        body.push(&head[length..])
    }

    /// Ends the stream.
    pub(crate) fn finish(self) -> Result<Received, ReceiveError> {
        let Body { prelude, reader, sink, prefix } = self.body.ok_or(ReceiveError::NoPrelude)?;
        let route = reader.finish()?.route;
        sink.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .while_doing(|| "writing the body of a snapshot".to_owned())?;
        Ok(Received { message: prelude.message, prefix, route })
    }
}

impl Body {
    fn new(
        prelude: Prelude,
        own: &Hello,
        config: &ReplicaConfig,
        directory: &Directory,
    ) -> Result<Body, ReplicaError> {
        let options = ReaderOptions {
            digest_check: match config.design.digest {
                Digest::Verified => DigestCheck::Verify,
                Digest::Skipped => DigestCheck::Skip,
            },
            ..ReaderOptions::of(&own.peer)
        };
        let path = body_path(directory);
        let sink = File::create(&path).while_doing(|| format!("creating {}", path.display()))?;
        let reader = StreamReader::new(options, prelude.announced_bytes);
        Ok(Body { prelude, reader, sink: BufWriter::new(sink), prefix: Vec::new() })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        let missing = ROUTING_PREFIX_BYTES as usize - self.prefix.len();
        self.prefix.extend(&bytes[..bytes.len().min(missing)]);
        Ok(self.reader.push(bytes, &mut self.sink)?)
    }
}

/// Where the body of the stream goes. There is one stream at a time.
fn body_path(directory: &Directory) -> PathBuf {
    directory.scratch().join("incoming")
}

/// Lays a received body out as a complete, synced and checked data directory in `store.new`.
pub(crate) fn stage(
    received: &Received,
    own: &Hello,
    config: &ReplicaConfig,
    directory: &Directory,
) -> Result<SnapshotOutcome, ReceiveError> {
    directory::remove_tree(&directory.store_new())?;
    let outcome = lay_out(received.route, own, config, directory)?;
    directory::remove_tree(&body_path(directory))?;
    let index = received.message.get_snapshot().get_metadata().index;
    let found = applied_index(config, &directory.store_new())?;
    if found != index {
        return Err(ReceiveError::WrongIndex { index, found });
    }
    match config.design.snapshot_install {
        SnapshotInstall::SyncThenRename => {}
        SnapshotInstall::RenameThenSync => replace_by_unsynced_copy(directory)?,
    }
    directory.sync()?;
    Ok(outcome)
}

fn lay_out(
    route: Route,
    own: &Hello,
    config: &ReplicaConfig,
    directory: &Directory,
) -> Result<SnapshotOutcome, ReceiveError> {
    let path = body_path(directory);
    let mut body = BufReader::new(File::open(&path).while_doing(|| format!("opening {}", path.display()))?);
    let engine = engines::engine(config.engine).map_err(ReplicaError::from)?;
    match snapshots::receive(&own.peer, route) {
        Reception::Install => {
            marker::restore_data_dir(engine, &mut body, &directory.store_new())
                .map_err(ReplicaError::from)?;
            Ok(SnapshotOutcome::Installed)
        }
        Reception::Transcode { from } => {
            let id = EngineId::from_byte(from).ok_or(StreamError::UnknownEngine { id: from })?;
            marker::transcode_data_dir(
                engines::engine(id).map_err(ReplicaError::from)?,
                &mut body,
                engine,
                &directory.scratch().join("transcoding"),
                &directory.store_new(),
                &config.engine_options,
            )
            .map_err(ReplicaError::from)?;
            Ok(SnapshotOutcome::Transcoded { from })
        }
        Reception::Refuse(why) => Err(why.into()),
    }
}

/// Opens a store, to see whether it opens and what it holds, and closes it.
fn applied_index(config: &ReplicaConfig, path: &Path) -> Result<u64, ReplicaError> {
    let store = startup::open_store(config, path, config.engine)?;
    let index = store.applied_index();
    store.close()?;
    Ok(index)
}

/// The wrong design: what is about to be renamed into place was written, but never synced.
fn replace_by_unsynced_copy(directory: &Directory) -> Result<(), ReplicaError> {
    let synced = directory.scratch().join("synced");
    directory::rename(&directory.store_new(), &synced)?;
    directory::copy_tree(&synced, &directory.store_new())?;
    directory::remove_tree(&synced)
}
