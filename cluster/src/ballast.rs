//! A file of zeros that is given up when the disk is full.
//!
//! What it frees lets the replica go on: reopen its store, replay its log, vote, hear that the alarm was raised,
//! and serve reads. The file comes back when there is room for twice its size, so that it does not take the very
//! space that it has just freed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use crate::directory::{self, Directory};
use crate::error::{IoContext, ReplicaError};

const CHUNK_BYTES: usize = 64 << 10;

/// The file, whether it is there or not.
#[derive(Debug)]
pub(crate) struct Ballast {
    directory: Directory,
    path: PathBuf,
    bytes: u64,
    is_held: bool,
}

impl Ballast {
    /// Looks for the file of `bytes`; zero: there is to be none. One of another size counts as missing.
    pub(crate) fn find(directory: &Directory, bytes: u64) -> Result<Ballast, ReplicaError> {
        let path = directory.ballast();
        let found = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error).while_doing(|| format!("looking for {}", path.display())),
        };
        Ok(Ballast { directory: directory.clone(), path, bytes, is_held: found == bytes })
    }

    /// Whether the file is there, or none is wanted.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Writes the file if there is room for twice its size; returns whether it is there now.
    ///
    /// # Errors
    /// `Io`, but not for want of space.
    pub(crate) fn restore(&mut self) -> Result<bool, ReplicaError> {
        if self.is_held {
            return Ok(true);
        }
        match self.write() {
            Ok(()) => self.is_held = true,
            Err(error) if error.is_out_of_space() => self.remove()?,
            Err(error) => return Err(error),
        }
        Ok(self.is_held)
    }

    /// Gives the space of the file back; returns whether there was any.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn release(&mut self) -> Result<bool, ReplicaError> {
        let was_held = self.is_held && self.bytes > 0;
        self.remove()?;
        self.is_held = self.bytes == 0;
        Ok(was_held)
    }

    fn write(&self) -> Result<(), ReplicaError> {
        let writing = || format!("writing {}", self.path.display());
        let mut file = File::create(&self.path).while_doing(writing)?;
        let zeros = vec![0; CHUNK_BYTES];
        let mut left = self.bytes.saturating_mul(2);
        while left > 0 {
            let chunk = left.min(CHUNK_BYTES as u64);
            file.write_all(&zeros[..chunk as usize]).while_doing(writing)?;
            left -= chunk;
        }
        file.sync_all().while_doing(writing)?;
        file.set_len(self.bytes).while_doing(writing)?;
        file.sync_all().while_doing(writing)?;
        self.directory.sync()
    }

    fn remove(&self) -> Result<(), ReplicaError> {
        if !directory::exists(&self.path)? {
            return Ok(());
        }
        directory::remove_tree(&self.path)?;
        self.directory.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_is_written_found_given_up_and_restored() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(temporary.path()).unwrap();
        let bytes = CHUNK_BYTES as u64 + 1;
        let mut ballast = Ballast::find(&directory, bytes).unwrap();
        assert!(!ballast.is_held() && !ballast.release().unwrap());
        assert!(ballast.restore().unwrap());
        assert_eq!(fs::metadata(directory.ballast()).unwrap().len(), bytes);
        let mut found = Ballast::find(&directory, bytes).unwrap();
        assert!(found.is_held() && found.release().unwrap());
        assert!(!found.is_held() && !directory.ballast().exists());
        assert!(found.restore().unwrap());
        assert!(!Ballast::find(&directory, bytes - 1).unwrap().is_held(), "it has another size");
    }

    #[test]
    fn no_ballast_is_wanted_and_none_is_missing() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(temporary.path()).unwrap();
        let mut ballast = Ballast::find(&directory, 0).unwrap();
        assert!(ballast.is_held() && ballast.restore().unwrap());
        assert!(!ballast.release().unwrap() && ballast.is_held());
        assert!(!directory.ballast().exists());
    }

    /// `/dev/full` fails every write with ENOSPC.
    #[cfg(target_os = "linux")]
    #[test]
    fn where_there_is_no_room_nothing_is_left_behind_and_it_is_tried_again() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(temporary.path()).unwrap();
        std::os::unix::fs::symlink("/dev/full", directory.ballast()).unwrap();
        let mut ballast = Ballast::find(&directory, 1).unwrap();
        assert!(!ballast.is_held() && !ballast.restore().unwrap());
        assert!(fs::symlink_metadata(directory.ballast()).is_err(), "what did not fit is gone");
        assert!(ballast.restore().unwrap() && ballast.is_held());
    }
}
