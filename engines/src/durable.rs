//! Files and directories that survive a power failure.
//!
//! The rules are those of POSIX at its weakest: `fsync` on a file makes its bytes and length durable, never its
//! name; a name (created, renamed or removed) is durable only after `fsync` on the directory that holds it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::{EngineError, EngineId, Result};

/// The suffix of files that are being written and do not count yet.
const TEMPORARY_SUFFIX: &str = "tmp";

/// Creates `dir` and its missing ancestors, and makes their names durable.
pub(crate) fn create_dir_all(dir: &Path) -> Result<()> {
    let mut missing = Vec::new();
    let mut ancestor = dir.to_path_buf();
    while !ancestor.try_exists().map_err(EngineError::io(format!("looking for {}", ancestor.display())))? {
        missing.push(ancestor.clone());
        ancestor = parent(&ancestor);
    }
    for path in missing.iter().rev() {
        fs::create_dir(path).map_err(EngineError::io(format!("creating directory {}", path.display())))?;
        sync_dir(&parent(path))?;
    }
    Ok(())
}

/// As [`create_dir_all`], and refuses a directory that has something in it.
pub(crate) fn create_vacant_dir(dir: &Path) -> Result<()> {
    if !is_vacant(dir)? {
        return Err(EngineError::Misuse(format!("{} is not empty", dir.display())));
    }
    create_dir_all(dir)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(EngineError::io(format!("syncing directory {}", dir.display())))
}

/// Makes the name of `path` in its parent durable.
pub(crate) fn sync_name(path: &Path) -> Result<()> {
    sync_dir(&parent(path))
}

/// Makes every file and directory in and below `dir` durable, from the bottom up. Refuses anything else.
pub(crate) fn sync_tree(dir: &Path) -> Result<()> {
    for (path, kind) in sorted_entries(dir)? {
        match kind {
            EntryKind::Directory => sync_tree(&path)?,
            EntryKind::File => File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(EngineError::io(format!("syncing {}", path.display())))?,
        }
    }
    sync_dir(dir)
}

/// How often a directory is listed anew in which files come and go.
const LISTINGS: usize = 1_000;

/// As [`sync_tree`], below an open engine: its threads may rename or remove a file between its being listed and being
/// opened. Then everything is listed and synced again.
pub(crate) fn sync_tree_in_use(dir: &Path) -> Result<()> {
    for _listing in 1..LISTINGS {
        match sync_tree(dir) {
            Err(EngineError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            synced => return synced,
        }
    }
    sync_tree(dir)
}

/// Replaces the file `path` by what `fill` writes, in one step: after a crash there is the old file or the new.
pub(crate) fn replace_file(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let temporary = path.with_added_extension(TEMPORARY_SUFFIX);
    let describe = |what: &str| format!("{what} {}", temporary.display());
    let file = File::create(&temporary).map_err(EngineError::io(describe("creating")))?;
    let mut writer = io::BufWriter::new(file);
    fill(&mut writer)?;
    let file = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .map_err(EngineError::io(describe("writing")))?;
    file.sync_all().map_err(EngineError::io(describe("syncing")))?;
    fs::rename(&temporary, path).map_err(EngineError::io(describe("renaming")))?;
    sync_name(path)
}

/// A directory for temporary files. Whatever stood there before is removed; it goes with its value.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Empties and creates `path`. Nothing of it needs to be durable.
    pub(crate) fn new(path: &Path) -> Result<Scratch> {
        remove_dir_all(path)?;
        fs::create_dir_all(path).map_err(EngineError::io(format!("creating scratch {}", path.display())))?;
        Ok(Scratch { path: path.to_path_buf() })
    }

    /// A path inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes the directory and tells whether that worked.
    pub(crate) fn remove(self) -> Result<()> {
        remove_dir_all(&self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // On the way out with an error that matters more; the next use of the same scratch cleans up.
        let _ = remove_dir_all(&self.path);
    }
}

/// Takes the `flock` on the file `name` in `dir`, for an engine without a lock of its own; the lock goes with the
/// returned handle.
pub(crate) fn lock(dir: &Path, name: &str, engine: EngineId) -> Result<File> {
    let path = dir.join(name);
    let locking = || format!("locking {}", path.display());
    let file = File::create(&path).map_err(EngineError::io(locking()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EngineError::Locked { engine, directory: dir.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(EngineError::io(locking())(error)),
    }
}

/// How long an engine may keep its lock after it was closed, and how often to look.
const UNLOCK_WAIT: Duration = Duration::from_secs(2);
const UNLOCK_POLL: Duration = Duration::from_millis(1);

/// Waits until nobody holds the `flock` on `path`: an engine's threads may hold their handle a little longer
/// than its last owner. A missing file is free.
pub(crate) fn wait_until_unlocked(path: &Path, engine: EngineId) -> Result<()> {
    let testing = || format!("testing the lock on {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(EngineError::io(testing())(error)),
    };
    let deadline = Instant::now() + UNLOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return file.unlock().map_err(EngineError::io(testing())),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(UNLOCK_POLL),
            Err(TryLockError::WouldBlock) => {
                let message =
                    format!("{} is still locked {UNLOCK_WAIT:?} after it was closed", path.display());
                return Err(EngineError::Engine { engine, message });
            }
            Err(TryLockError::Error(error)) => return Err(EngineError::io(testing())(error)),
        }
    }
}

/// What a data directory may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// The entries of `dir` in the order of their names' bytes. Refuses links, devices and the like.
pub(crate) fn sorted_entries(dir: &Path) -> Result<Vec<(PathBuf, EntryKind)>> {
    let reading = || format!("listing {}", dir.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(EngineError::io(reading()))? {
        let entry = entry.map_err(EngineError::io(reading()))?;
        let file_type = entry.file_type().map_err(EngineError::io(reading()))?;
        let kind = match (file_type.is_file(), file_type.is_dir()) {
            (true, _) => EntryKind::File,
            (_, true) => EntryKind::Directory,
            _ => {
                let message = format!("{} is neither a file nor a directory", entry.path().display());
                return Err(EngineError::Misuse(message));
            }
        };
        entries.push((entry.path(), kind));
    }
    entries.sort_by(|left, right| left.0.as_os_str().cmp(right.0.as_os_str()));
    Ok(entries)
}

/// Whether `dir` is missing or has no entries.
pub(crate) fn is_vacant(dir: &Path) -> Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(EngineError::io(format!("listing {}", dir.display()))(error)),
    }
}

/// Removes `path` and what is below; that it is not there is fine. Not durable.
pub(crate) fn remove_dir_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::io(format!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_directory_is_synced_while_files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let (temporary, name) = (dir.path().join("a.tmp"), dir.path().join("b"));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    fs::write(&temporary, "content").unwrap();
                    fs::rename(&temporary, &name).unwrap();
                    fs::remove_file(&name).unwrap();
                }
            });
            let synced: Result<()> = (0..200).try_for_each(|_| sync_tree_in_use(dir.path()));
            done.store(true, Ordering::Relaxed);
            synced.unwrap();
        });
    }

    #[test]
    fn a_directory_that_is_not_there_is_no_directory_in_use() {
        let dir = tempfile::tempdir().unwrap();
        assert!(sync_tree_in_use(&dir.path().join("missing")).is_err());
    }
}
