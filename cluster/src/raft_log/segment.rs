//! The files of a raft log: their names, their creation, their deletion.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::RaftLogError;

/// A segment that is part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its number; each is one above the number of the segment before it.
    pub(super) sequence: u64,
    /// The index after the last entry when it was created: lower ones that still count stand before it.
    pub(super) first_index: u64,
    /// Its length in bytes, as far as it counts.
    pub(super) bytes: u64,
}

/// The file of segment `sequence`.
pub(super) fn path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:020}.log"))
}

/// The numbers of the segments in `directory`, ascending. Other files are left alone.
pub(super) fn list(directory: &Path) -> Result<Vec<u64>, RaftLogError> {
    let failed = || RaftLogError::io(format!("listing {}", directory.display()));
    let mut sequences = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        if let Some(sequence) =
            number.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok())
        {
            sequences.push(sequence);
        }
    }
    sequences.sort_unstable();
    Ok(sequences)
}

/// Creates the file of a segment with `content` and syncs it, but not its name. On a failure something of it
/// may be left.
pub(super) fn create(directory: &Path, sequence: u64, content: &[u8]) -> Result<File, RaftLogError> {
    let path = path(directory, sequence);
    let created = OpenOptions::new().read(true).write(true).create_new(true).open(&path).and_then(|file| {
        file.write_all_at(content, 0)?;
        Ok(file)
    });
    let file = created.map_err(RaftLogError::io(format!("creating {}", path.display())))?;
    file.sync_all().map_err(|source| RaftLogError::Sync { path, source })?;
    Ok(file)
}

/// Opens the file of a segment to write on.
pub(super) fn open(directory: &Path, sequence: u64) -> Result<File, RaftLogError> {
    let path = path(directory, sequence);
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(RaftLogError::io(format!("opening {}", path.display())))
}

/// Deletes the file of a segment; durable with the next [`sync_directory`].
pub(super) fn remove(directory: &Path, sequence: u64) -> Result<(), RaftLogError> {
    let path = path(directory, sequence);
    fs::remove_file(&path).map_err(RaftLogError::io(format!("deleting {}", path.display())))
}

/// Makes what was created and deleted in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), RaftLogError> {
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .map_err(|source| RaftLogError::Sync { path: directory.to_owned(), source })
}

/// Creates `directory` where it is missing, and makes its name durable.
pub(super) fn create_directory(directory: &Path) -> Result<(), RaftLogError> {
    match fs::create_dir(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(RaftLogError::io(format!("creating {}", directory.display()))(source)),
    }
    // A directory that a killed process created may not have a durable name yet either.
    match directory.parent() {
        Some(parent) if parent != Path::new("") => sync_directory(parent),
        Some(_) | None => sync_directory(Path::new(".")),
    }
}
