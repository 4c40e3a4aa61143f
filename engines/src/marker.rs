//! The engine marker: the file that says which engine a data directory belongs to.
//!
//! ```text
//! DIRECTORY/ENGINE   "brownout-engine 1 NAME\n": written before any data, replaced never
//! DIRECTORY/data/    the engine's own files
//! ```
//!
//! A directory without a marker whose `data` is not empty is legacy: it belongs to sled, as a snapshot stream
//! without a magic does. It gets its marker when it is next opened.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::{Backend, Engine, EngineError, EngineId, Options, Result, durable, through_scratch};

/// The name of the marker file in a data directory.
pub const MARKER_FILE: &str = "ENGINE";

/// The name of the engine's own directory in a data directory.
pub const DATA_DIRECTORY: &str = "data";

const PREFIX: &str = "brownout-engine 1 ";

/// A marker is one short line; whatever is longer is none.
const MARKER_BYTES_MAX: u64 = 64;

/// Opens the data directory `dir` with the engine that both the option `wanted` and the marker name. A fresh
/// directory (missing, empty, or left so by a crash) is created, and marked for `wanted`; its own entry, its
/// marker and its `data` directory are durable before the engine writes its first byte.
///
/// # Errors
/// `Mismatch` if the directory belongs to another engine, `MalformedMarker` if its marker is unreadable,
/// `Misuse` if `wanted` has no adapter; then those of [`Engine::open`].
pub fn open_data_dir(dir: &Path, wanted: EngineId, options: &Options) -> Result<Box<dyn Backend>> {
    let engine = crate::engine(wanted)?;
    match owner(dir)? {
        Owner::Marked(found) => check_match(dir, found, "its marker says so", wanted)?,
        Owner::Legacy => {
            check_match(dir, EngineId::Sled, "data without a marker is legacy", wanted)?;
            write_marker(dir, wanted)?;
        }
        Owner::Nobody => {
            durable::create_dir_all(dir)?;
            write_marker(dir, wanted)?;
        }
    }
    let data = dir.join(DATA_DIRECTORY);
    durable::create_dir_all(&data)?;
    // Names that are found may be those of a process that was killed before it could sync them.
    durable::sync_dir(dir)?;
    durable::sync_name(dir)?;
    let backend = engine.open(&data, options)?;
    if options.sync_after_open {
        durable::sync_tree_in_use(&data)?;
    }
    Ok(backend)
}

/// The engine that the data directory `dir` belongs to; `None` for a fresh one.
///
/// # Errors
/// `MalformedMarker`, or `Io`.
pub fn engine_of(dir: &Path) -> Result<Option<EngineId>> {
    Ok(match owner(dir)? {
        Owner::Marked(id) => Some(id),
        Owner::Legacy => Some(EngineId::Sled),
        Owner::Nobody => None,
    })
}

/// Lays a snapshot body of `engine` out as a marked data directory in `dir`, which must be empty or missing.
/// Everything from `dir` downwards is durable on return, so that the caller can put `dir` in place with one
/// rename (and a sync of the parent). On an error what was written stays, to be thrown away.
///
/// # Errors
/// Those of [`Engine::restore`]; `Misuse` if `dir` is not empty.
pub fn restore_data_dir(engine: &dyn Engine, body: &mut dyn Read, dir: &Path) -> Result<()> {
    durable::create_vacant_dir(dir)?;
    engine.restore(body, &dir.join(DATA_DIRECTORY))?;
    write_marker(dir, engine.id())
}

/// As [`restore_data_dir`], for a body of `from` and a store of `to`: through a logical scan of the body.
/// `scratch` is as in [`Engine::scan_body`] and must not lie in `dir`.
///
/// # Errors
/// Those of [`Engine::scan_body`] and of the new store; `Misuse` if `dir` is not empty.
pub fn transcode_data_dir(
    from: &dyn Engine,
    body: &mut dyn Read,
    to: &dyn Engine,
    scratch: &Path,
    dir: &Path,
    options: &Options,
) -> Result<()> {
    durable::create_vacant_dir(dir)?;
    let data = dir.join(DATA_DIRECTORY);
    through_scratch::load(to, &data, options, |visit| from.scan_body(body, scratch, visit))?;
    durable::sync_tree(&data)?;
    write_marker(dir, to.id())
}

enum Owner {
    Marked(EngineId),
    Legacy,
    Nobody,
}

fn owner(dir: &Path) -> Result<Owner> {
    if let Some(id) = read_marker(dir)? {
        return Ok(Owner::Marked(id));
    }
    // The marker is durable before the engine writes, so a crash of ours leaves `data` empty or marked.
    Ok(if durable::is_vacant(&dir.join(DATA_DIRECTORY))? { Owner::Nobody } else { Owner::Legacy })
}

fn check_match(dir: &Path, found: EngineId, evidence: &'static str, wanted: EngineId) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(EngineError::Mismatch { directory: dir.to_path_buf(), found, evidence, wanted })
}

fn write_marker(dir: &Path, id: EngineId) -> Result<()> {
    let path = dir.join(MARKER_FILE);
    durable::replace_file(&path, |file| {
        writeln!(file, "{PREFIX}{id}").map_err(EngineError::io(format!("writing {}", path.display())))
    })
}

fn read_marker(dir: &Path) -> Result<Option<EngineId>> {
    let path = dir.join(MARKER_FILE);
    let mut bytes = Vec::new();
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EngineError::io(format!("opening {}", path.display()))(error)),
    };
    file.take(MARKER_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(EngineError::io(format!("reading {}", path.display())))?;
    parse_marker(&bytes).map(Some).map_err(|reason| EngineError::MalformedMarker { path, reason })
}

fn parse_marker(bytes: &[u8]) -> std::result::Result<EngineId, String> {
    let name = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.strip_prefix(PREFIX))
        .and_then(|rest| rest.strip_suffix('\n'))
        .ok_or_else(|| {
            let shown = bytes.escape_ascii();
            format!("it should read \"{PREFIX}NAME\" and a line feed, but reads \"{shown}\"")
        })?;
    name.parse().map_err(|error: crate::UnknownEngineName| error.to_string())
}
