//! The directory of a replica: its paths, and the few durable operations on them.
//!
//! The rules are those of POSIX at its weakest: a name is durable only after an fsync of the directory that
//! holds it, a rename is atomic.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{IoContext, ReplicaError};

/// How many stores that were set aside are kept, so that disk use stays bounded.
const KEPT_ASIDE: usize = 2;

/// The paths of one replica. See the drawing at the top of the crate.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Creates the directory and its missing ancestors, all of them durable.
    pub(crate) fn create(root: &Path) -> Result<Directory, ReplicaError> {
        create_durably(root)?;
        Ok(Directory { root: root.to_path_buf() })
    }

    /// The directory, which exists.
    pub(crate) fn at(root: &Path) -> Directory {
        Directory { root: root.to_path_buf() }
    }

    #[cfg(test)]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn raft(&self) -> PathBuf {
        self.root.join("raft")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub(crate) fn store_new(&self) -> PathBuf {
        self.root.join("store.new")
    }

    pub(crate) fn store_old(&self) -> PathBuf {
        self.root.join("store.old")
    }

    pub(crate) fn install_record(&self) -> PathBuf {
        self.root.join("INSTALL")
    }

    pub(crate) fn flushed_index(&self) -> PathBuf {
        self.root.join("last-flushed-index")
    }

    pub(crate) fn flushed_index_temporary(&self) -> PathBuf {
        self.flushed_index().with_added_extension("tmp")
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Empties the scratch directory, creating it if it is missing. Nothing in it needs to be durable.
    pub(crate) fn clear_scratch(&self) -> Result<(), ReplicaError> {
        remove_tree(&self.scratch())?;
        fs::create_dir(self.scratch()).while_doing(|| format!("creating {}", self.scratch().display()))
    }

    /// Moves the store out of the way, durably; returns where to. Of those set aside before, the last remain: the
    /// others go first, so that a disk that does not let them go leaves the store where it is found again.
    pub(crate) fn set_store_aside(&self) -> Result<PathBuf, ReplicaError> {
        let aside = self.stores_aside()?;
        for (_, path) in &aside[..(aside.len() + 1).saturating_sub(KEPT_ASIDE)] {
            remove_tree(path)?;
        }
        let number = aside.last().map_or(1, |(number, _)| number + 1);
        let target = self.root.join(format!("store.aside-{number}"));
        rename(&self.store(), &target)?;
        self.sync()?;
        Ok(target)
    }

    /// Makes the names in the directory durable.
    pub(crate) fn sync(&self) -> Result<(), ReplicaError> {
        sync_directory(&self.root)
    }

    /// The stores set aside, by ascending number.
    fn stores_aside(&self) -> Result<Vec<(u64, PathBuf)>, ReplicaError> {
        let listing = || format!("listing {}", self.root.display());
        let mut aside = Vec::new();
        for entry in fs::read_dir(&self.root).while_doing(listing)? {
            let entry = entry.while_doing(listing)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("store.aside-")?.parse().ok());
            if let Some(number) = number {
                aside.push((number, entry.path()));
            }
        }
        aside.sort();
        Ok(aside)
    }
}

/// Whether there is anything at `path`.
pub(crate) fn exists(path: &Path) -> Result<bool, ReplicaError> {
    path.try_exists().while_doing(|| format!("looking for {}", path.display()))
}

/// Renames; durable only after a sync of the directory.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), ReplicaError> {
    fs::rename(from, to).while_doing(|| format!("renaming {} to {}", from.display(), to.display()))
}

/// Removes a file or a directory with all it holds. Nothing there is no error.
pub(crate) fn remove_tree(path: &Path) -> Result<(), ReplicaError> {
    let removing = || format!("removing {}", path.display());
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).while_doing(removing),
    };
    if !metadata.is_dir() {
        return fs::remove_file(path).while_doing(removing);
    }
    fs::remove_dir_all(path).while_doing(removing)
}

/// Replaces the file `path` by `bytes` in one step, durably.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), ReplicaError> {
    let temporary = path.with_added_extension("tmp");
    let writing = || format!("writing {}", temporary.display());
    let mut file = File::create(&temporary).while_doing(writing)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).while_doing(writing)?;
    rename(&temporary, path)?;
    sync_directory(parent(path))
}

/// Makes the names in `path` durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), ReplicaError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .while_doing(|| format!("syncing directory {}", path.display()))
}

/// Makes every file and directory in and below `path` durable, from the bottom up.
pub(crate) fn sync_tree(path: &Path) -> Result<(), ReplicaError> {
    let syncing = || format!("syncing {}", path.display());
    for entry in fs::read_dir(path).while_doing(syncing)? {
        let entry = entry.while_doing(syncing)?;
        if entry.file_type().while_doing(syncing)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path()).and_then(|file| file.sync_all()).while_doing(syncing)?;
        }
    }
    sync_directory(path)
}

/// Copies the files and directories below `from` to `to`, which must not exist, and syncs none of them.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), ReplicaError> {
    let copying = || format!("copying {} to {}", from.display(), to.display());
    fs::create_dir(to).while_doing(copying)?;
    for entry in fs::read_dir(from).while_doing(copying)? {
        let entry = entry.while_doing(copying)?;
        let target = to.join(entry.file_name());
        if entry.file_type().while_doing(copying)?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::read(entry.path()).and_then(|bytes| fs::write(&target, bytes)).while_doing(copying)?;
        }
    }
    Ok(())
}

fn create_durably(path: &Path) -> Result<(), ReplicaError> {
    if !exists(path)? {
        let parent = parent(path);
        create_durably(parent)?;
        fs::create_dir(path).while_doing(|| format!("creating {}", path.display()))?;
        sync_directory(parent)?;
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_set_aside_under_rising_numbers_and_the_last_two_are_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("a/b")).unwrap();
        for number in 1..=12 {
            fs::create_dir(directory.store()).unwrap();
            fs::write(directory.store().join("content"), number.to_string()).unwrap();
            let target = directory.set_store_aside().unwrap();
            assert_eq!(target, directory.root().join(format!("store.aside-{number}")));
        }
        let left = directory.stores_aside().unwrap();
        assert_eq!(left.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [11, 12]);
        assert_eq!(fs::read_to_string(left[1].1.join("content")).unwrap(), "12");
    }

    #[test]
    fn a_tree_is_copied_with_all_it_holds_and_removed_without_a_trace() {
        let temporary = tempfile::tempdir().unwrap();
        let (from, to) = (temporary.path().join("from"), temporary.path().join("to"));
        fs::create_dir_all(from.join("inner/innermost")).unwrap();
        fs::write(from.join("inner/innermost/file"), "bytes").unwrap();
        copy_tree(&from, &to).unwrap();
        sync_tree(&to).unwrap();
        remove_tree(&from).unwrap();
        remove_tree(&from).unwrap();
        assert!(!from.exists());
        assert_eq!(fs::read_to_string(to.join("inner/innermost/file")).unwrap(), "bytes");
    }
}
