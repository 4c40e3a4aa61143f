//! The file `last-flushed-index`: up to which entry of the raft log the engine once said that its flush had ended.
//!
//! ```text
//! offset 0  CRC32   4 bytes   little endian, over what follows
//!        4  index   8 bytes   little endian
//! ```
//!
//! # The protocol of a flush
//! The raft log is the only log of what is applied; the engine's own need not exist, or not be synced. So:
//!
//! 1. Entries are applied in batches that nobody syncs.
//! 2. A flush begins: the applied index N is captured, which stands in the same memtable as what it covers.
//! 3. The flush ends: the engine's tables, and their names, are synced.
//! 4. N is persisted here: temporary file, fsync, rename, fsync of the directory.
//! 5. The raft log is cut, at N or before.
//!
//! Steps 2 to 5 are in `replica::flushing`, step 4 is here. A start compares N with what the engine's tables prove
//! (`startup::table`): a store that proves less has lost what it had flushed.
//!
//! N does not stand inside the engine, since there it would be one more write that is not flushed.

use std::fs::{self, File};
use std::io::{self, Write};

use crate::design::{Design, FlushIndexDirectorySync};
use crate::directory::{self, Directory};
use crate::error::{IoContext, ReplicaError};
use crate::startup::FlushedIndex;

const CRC_BYTES: usize = 4;

/// What the file says.
pub(crate) fn read(directory: &Directory) -> Result<FlushedIndex, ReplicaError> {
    let path = directory.flushed_index();
    match fs::read(&path) {
        Ok(bytes) => Ok(decode(&bytes).map_or(FlushedIndex::Damaged, FlushedIndex::Known)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FlushedIndex::Absent),
        Err(error) => Err(error).while_doing(|| format!("reading {}", path.display())),
    }
}

/// Step 4: `index` takes the place of what the file says, durably.
pub(crate) fn persist(directory: &Directory, index: u64, design: &Design) -> Result<(), ReplicaError> {
    write_temporary(directory, index)?;
    directory::rename(&directory.flushed_index_temporary(), &directory.flushed_index())?;
    match design.flush_index_directory_sync {
        FlushIndexDirectorySync::Synced => directory.sync(),
        FlushIndexDirectorySync::Skipped => Ok(()),
    }
}

/// Removes the file, durably: there is no store any more that had flushed anything.
pub(crate) fn forget(directory: &Directory) -> Result<(), ReplicaError> {
    directory::remove_tree(&directory.flushed_index())?;
    directory.sync()
}

fn write_temporary(directory: &Directory, index: u64) -> Result<(), ReplicaError> {
    let path = directory.flushed_index_temporary();
    let writing = || format!("writing {}", path.display());
    let mut file = File::create(&path).while_doing(writing)?;
    file.write_all(&encode(index)).and_then(|()| file.sync_all()).while_doing(writing)
}

fn encode(index: u64) -> Vec<u8> {
    let content = index.to_le_bytes();
    [crc32fast::hash(&content).to_le_bytes().as_slice(), &content].concat()
}

/// `None` for a damaged file, which an honest disk cannot bring about.
fn decode(bytes: &[u8]) -> Option<u64> {
    let (crc, content) = bytes.split_first_chunk::<CRC_BYTES>()?;
    let index = u64::from_le_bytes(content.try_into().ok()?);
    (u32::from_le_bytes(*crc) == crc32fast::hash(content)).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back_until_it_is_forgotten() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("replica")).unwrap();
        assert_eq!(read(&directory).unwrap(), FlushedIndex::Absent);
        for index in [0, 7, u64::MAX] {
            persist(&directory, index, &Design::default()).unwrap();
            assert_eq!(read(&directory).unwrap(), FlushedIndex::Known(index));
        }
        for _ in 0..2 {
            forget(&directory).unwrap();
            assert_eq!(read(&directory).unwrap(), FlushedIndex::Absent);
        }
    }

    #[test]
    fn a_damaged_file_is_seen() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("replica")).unwrap();
        let whole = encode(0x0102_0304);
        assert_eq!(decode(&whole), Some(0x0102_0304));
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 1;
            fs::write(directory.flushed_index(), &damaged).unwrap();
            assert_eq!(read(&directory).unwrap(), FlushedIndex::Damaged);
            assert_eq!(decode(&whole[..position]), None);
        }
        assert_eq!(decode(&[whole.as_slice(), &[0]].concat()), None);
    }
}
