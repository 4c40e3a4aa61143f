//! Entries as files of a directory.

use super::Entry;
use crate::plan::PlanError;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Where the entries of this project are.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
/// The extension of an entry's file.
const EXTENSION: &str = "ron";

/// An entry and its name: that of its file, without the extension.
#[derive(Clone, Debug)]
pub struct Named {
    /// A number for the order, and words.
    pub name: String,
    /// The entry.
    pub entry: Entry,
}

/// An entry that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct CorpusError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub problem: CorpusProblem,
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CorpusProblem {
    /// The directory or file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The text is not an entry.
    #[error(transparent)]
    Entry(#[from] PlanError),
}

/// The entries in `directory` whose names contain one of `names`, or all where there are none, in order.
///
/// # Errors
/// The first entry that cannot be read.
pub fn load(directory: &Path, names: &[String]) -> Result<Vec<Named>, CorpusError> {
    let parse = |(name, path, text): (String, PathBuf, String)| {
        let entry = Entry::parse(&text).map_err(|error| CorpusError { path, problem: error.into() })?;
        Ok(Named { name, entry })
    };
    texts(directory, names)?.into_iter().map(parse).collect()
}

/// The names, paths and texts of the files in `directory` whose names contain one of `names`, or of all where there
/// are none, in order.
///
/// # Errors
/// The first that cannot be read.
pub(super) fn texts(
    directory: &Path,
    names: &[String],
) -> Result<Vec<(String, PathBuf, String)>, CorpusError> {
    let failed =
        |path: &Path, error: io::Error| CorpusError { path: path.to_path_buf(), problem: error.into() };
    let mut texts = Vec::new();
    for (name, path) in files(directory).map_err(|error| failed(directory, error))? {
        if names.is_empty() || names.iter().any(|wanted| name.contains(wanted.as_str())) {
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            texts.push((name, path, text));
        }
    }
    Ok(texts)
}

/// The names and paths of the entries in `directory`, in order.
fn files(directory: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            files.insert(name.to_string(), path);
        }
    }
    Ok(files)
}

/// Writes an entry under the next free number, or over the entry of the same words. Returns its path.
///
/// # Errors
/// Where the directory cannot be read, or the file not be written.
pub fn store(directory: &Path, words: &str, entry: &Entry) -> Result<PathBuf, CorpusError> {
    let failed =
        |path: &Path, error: io::Error| CorpusError { path: path.to_path_buf(), problem: error.into() };
    let files = files(directory).map_err(|error| failed(directory, error))?;
    let known = files.iter().find(|(name, _)| name.split_once('-').is_some_and(|(_, rest)| rest == words));
    let path = match known {
        Some((_, path)) => path.clone(),
        None => {
            let numbers = files.keys().filter_map(|name| name.split_once('-')?.0.parse::<u32>().ok());
            directory.join(format!("{:02}-{words}.{EXTENSION}", numbers.max().unwrap_or(0) + 1))
        }
    };
    std::fs::write(&path, entry.to_text()).map_err(|error| failed(&path, error))?;
    Ok(path)
}
