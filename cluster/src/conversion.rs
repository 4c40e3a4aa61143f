//! Converting a data directory from one engine to another in place.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};

use engines::EngineId;
use engines::marker;

use crate::config::ReplicaConfig;
use crate::directory::{self, Directory};
use crate::error::{IoContext, ReplicaError};
use crate::install::{Installation, Installer};
use crate::mvcc::{Store, StoreError};
use crate::observer::InstallStep;
use crate::raft_log::RaftLog;
use crate::startup;

/// Replaces `store`, which is open in its old engine, by the same state in the configured engine. The old state
/// stays until the new one is complete; a crash leaves one of the two.
pub(crate) fn convert(
    config: &ReplicaConfig,
    directory: &Directory,
    log: &mut RaftLog,
    store: Store,
) -> Result<(), ReplicaError> {
    let (from, before) = (store.engine(), Content::of(&store)?);
    write_body(directory, store)?;
    fill_new_directory(config, directory, from)?;
    check_new_directory(config, directory, &before)?;
    let installer = Installer {
        directory,
        design: &config.design,
        installation: &Installation::Conversion,
        hard_state: None,
    };
    installer.run(InstallStep::WriteRecord, log)?;
    directory.clear_scratch()
}

/// What must be equal before and after.
#[derive(Debug, PartialEq)]
struct Content {
    applied_index: u64,
    revision: i64,
    hash: u64,
}

impl Content {
    fn of(store: &Store) -> Result<Content, StoreError> {
        Ok(Content { applied_index: store.applied_index(), revision: store.revision(), hash: store.hash()? })
    }
}

fn write_body(directory: &Directory, mut store: Store) -> Result<(), ReplicaError> {
    let path = directory.scratch().join("body");
    let writing = || format!("writing {}", path.display());
    let mut body = BufWriter::new(File::create(&path).while_doing(writing)?);
    store.checkpoint(&directory.scratch().join("checkpoint"), &mut body)?;
    body.flush().while_doing(writing)?;
    Ok(store.close()?)
}

fn fill_new_directory(
    config: &ReplicaConfig,
    directory: &Directory,
    from: EngineId,
) -> Result<(), ReplicaError> {
    let path = directory.scratch().join("body");
    let mut body = BufReader::new(File::open(&path).while_doing(|| format!("opening {}", path.display()))?);
    directory::remove_tree(&directory.store_new())?;
    marker::transcode_data_dir(
        engines::engine(from)?,
        &mut body,
        engines::engine(config.engine)?,
        &directory.scratch().join("transcoding"),
        &directory.store_new(),
        &config.engine_options,
    )?;
    directory.sync()
}

/// Opens the new store before it replaces the old one.
fn check_new_directory(
    config: &ReplicaConfig,
    directory: &Directory,
    before: &Content,
) -> Result<(), ReplicaError> {
    let store = startup::open_store(config, &directory.store_new(), config.engine)?;
    let after = Content::of(&store)?;
    store.close()?;
    if after != *before {
        let complaint = format!("converted from {before:?} to {after:?}; the old store stays in place");
        return Err(StoreError::Corrupt(complaint).into());
    }
    Ok(())
}
