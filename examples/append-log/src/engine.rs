//! A map from keys to values in one append-only file.
//!
//! ```text
//! DIRECTORY/log       records, oldest first
//! DIRECTORY/log.new   a compaction that has not taken the log's place
//! DIRECTORY/lock      locked while the store is open
//!
//! record, offset 0  length    4 bytes  of the payload, little endian
//!                4  checksum  4 bytes  CRC-32 of length and payload
//!                8  payload            the changes of one batch, one after another:
//!                                      0 put, 1 delete; length of the key (4 bytes), length of the value (4 bytes),
//!                                      key, value
//! ```
//!
//! A batch is one record, so it is there as a whole or not at all. The first record that is not whole ends the log:
//! what follows was never durable, and is cut off. The index, where each value stands, is in memory.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const LOG: &str = "log";
const COMPACTED: &str = "log.new";
const LOCK: &str = "lock";

const HEADER_BYTES: u64 = 8;
const CHANGE_BYTES: usize = 9;
const PUT: u8 = 0;
const DELETE: u8 = 1;

/// A log shorter than this is not worth compacting, however much it has grown.
const COMPACTION_BYTES_MIN: u64 = 4 << 10;

/// A change: a key gets a value, or loses it.
pub type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// Where a value stands in the log.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    bytes: usize,
}

/// Whether a compaction is made durable before it takes the log's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// The new log is renamed over the old one as it is. **This is the bug**: after a power failure the name may
    /// stand for a file without its bytes, and the old log is gone.
    Careless,
    /// The new log is synced first.
    Careful,
}

/// An open store.
#[derive(Debug)]
pub struct AppendLog {
    directory: PathBuf,
    log: File,
    /// Bytes of the log; the next record begins there.
    end: u64,
    index: BTreeMap<Vec<u8>, Place>,
    /// Bytes of the log when it was opened or compacted. One that has doubled since is compacted.
    compacted_bytes: u64,
    compaction: Compaction,
    /// Held for its lock.
    _lock: File,
}

impl AppendLog {
    /// Opens the store in `directory`, or creates one.
    ///
    /// What is there when this returns is durable.
    ///
    /// # Errors
    /// `WouldBlock` while the store is open elsewhere; what the file system answers.
    pub fn open(directory: &Path, compaction: Compaction) -> io::Result<AppendLog> {
        fs::create_dir_all(directory)?;
        let lock = File::create(directory.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::from(ErrorKind::WouldBlock),
            TryLockError::Error(error) => error,
        })?;
        match fs::remove_file(directory.join(COMPACTED)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let path = directory.join(LOG);
        let log = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut store = AppendLog {
            directory: directory.to_path_buf(),
            log,
            end: 0,
            index: BTreeMap::new(),
            compacted_bytes: 0,
            compaction,
            _lock: lock,
        };
        store.recover()?;
        Ok(store)
    }

    /// Reads the log up to its first record that is not whole, and cuts off what follows.
    fn recover(&mut self) -> io::Result<()> {
        let length = self.log.metadata()?.len();
        while let Some(payload) = read_record(&self.log, self.end, length)? {
            let start = self.end + HEADER_BYTES;
            for (at, (key, value)) in changes(&payload)? {
                let place = value.map(|value| Place { offset: start + at as u64, bytes: value.len() });
                self.note(key, place);
            }
            self.end = start + payload.len() as u64;
        }
        self.compacted_bytes = self.end;
        if self.end < length {
            self.log.set_len(self.end)?;
        }
        // A killed process may have written what it did not sync, and what was cut off must not come back behind the
        // next record.
        self.log.sync_all()?;
        sync_directory(&self.directory)
    }

    /// Applies changes: all or none. Visible on return, durable after the next [`AppendLog::sync`].
    ///
    /// # Errors
    /// What the file system answers. The store must be opened again, then.
    pub fn write(&mut self, batch: &[Change<'_>]) -> io::Result<()> {
        let (record, places) = encode(batch)?;
        self.log.write_all_at(&record, self.end)?;
        for ((key, _), place) in batch.iter().zip(places) {
            self.note(key, place.map(|place| Place { offset: place.offset + self.end, ..place }));
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// As [`AppendLog::write`].
    pub fn sync(&mut self) -> io::Result<()> {
        self.log.sync_data()?;
        if self.end > COMPACTION_BYTES_MIN.max(2 * self.compacted_bytes) {
            self.compact()?;
        }
        Ok(())
    }

    /// Writes what the index leads to into a new log, which takes the place of the old one.
    ///
    /// # Errors
    /// As [`AppendLog::write`].
    pub fn compact(&mut self) -> io::Result<()> {
        let path = self.directory.join(COMPACTED);
        let log = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let (mut end, mut index) = (0, BTreeMap::new());
        for (key, place) in &self.index {
            let value = read(&self.log, *place)?;
            let (record, places) = encode(&[(key, Some(&value))])?;
            log.write_all_at(&record, end)?;
            if let [Some(place)] = places[..] {
                index.insert(key.clone(), Place { offset: place.offset + end, ..place });
            }
            end += record.len() as u64;
        }
        if self.compaction == Compaction::Careful {
            log.sync_all()?;
        }
        fs::rename(&path, self.directory.join(LOG))?;
        sync_directory(&self.directory)?;
        (self.log, self.end, self.index, self.compacted_bytes) = (log, end, index, end);
        Ok(())
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.index.get(key).map(|place| read(&self.log, *place)).transpose()
    }

    /// The keys from `start` on, in their order, with their values.
    pub fn scan(&self, start: &[u8]) -> impl Iterator<Item = io::Result<(&[u8], Vec<u8>)>> {
        let from_start = self.index.range(start.to_vec()..);
        from_start.map(|(key, place)| Ok((key.as_slice(), read(&self.log, *place)?)))
    }

    /// Bytes of the log.
    pub fn size_bytes(&self) -> u64 {
        self.end
    }

    fn note(&mut self, key: &[u8], place: Option<Place>) {
        match place {
            Some(place) => self.index.insert(key.to_vec(), place),
            None => self.index.remove(key),
        };
    }
}

fn read(log: &File, place: Place) -> io::Result<Vec<u8>> {
    let mut value = vec![0; place.bytes];
    log.read_exact_at(&mut value, place.offset)?;
    Ok(value)
}

/// A batch as a record, and where in it the values stand.
fn encode(batch: &[Change<'_>]) -> io::Result<(Vec<u8>, Vec<Option<Place>>)> {
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_| io::Error::from(ErrorKind::FileTooLarge));
    let mut record = vec![0; HEADER_BYTES as usize];
    let mut places = Vec::new();
    for (key, value) in batch {
        record.push(if value.is_some() { PUT } else { DELETE });
        record.extend(length(key.len())?.to_le_bytes());
        record.extend(length(value.unwrap_or_default().len())?.to_le_bytes());
        record.extend(*key);
        places.push(value.map(|value| Place { offset: record.len() as u64, bytes: value.len() }));
        record.extend(value.unwrap_or_default());
    }
    let payload_bytes = length(record.len() - HEADER_BYTES as usize)?.to_le_bytes();
    let checksum = checksum(payload_bytes, &record[HEADER_BYTES as usize..]).to_le_bytes();
    record[..4].copy_from_slice(&payload_bytes);
    record[4..8].copy_from_slice(&checksum);
    Ok((record, places))
}

/// The length is in it, so that zeros, which a crash may leave, are no empty record.
fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// The payload of the record at `offset`; none where there is no whole one.
fn read_record(log: &File, offset: u64, end: u64) -> io::Result<Option<Vec<u8>>> {
    if end - offset < HEADER_BYTES {
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES as usize];
    log.read_exact_at(&mut header, offset)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let (length, expected) = ([l0, l1, l2, l3], u32::from_le_bytes([c0, c1, c2, c3]));
    let bytes = u64::from(u32::from_le_bytes(length));
    if end - offset - HEADER_BYTES < bytes {
        return Ok(None);
    }
    let mut payload = vec![0; bytes as usize];
    log.read_exact_at(&mut payload, offset + HEADER_BYTES)?;
    Ok((checksum(length, &payload) == expected).then_some(payload))
}

/// The changes in a payload, each with the offset of its value.
fn changes(mut payload: &[u8]) -> io::Result<Vec<(usize, Change<'_>)>> {
    let total = payload.len();
    let damaged =
        || io::Error::new(ErrorKind::InvalidData, "a record has a right checksum and a wrong content");
    let mut changes = Vec::new();
    while let Some((head, rest)) = payload.split_first_chunk::<CHANGE_BYTES>() {
        let [kind, k0, k1, k2, k3, v0, v1, v2, v3] = *head;
        let [key_bytes, value_bytes] = [[k0, k1, k2, k3], [v0, v1, v2, v3]].map(u32::from_le_bytes);
        let (key, rest) = rest.split_at_checked(key_bytes as usize).ok_or_else(damaged)?;
        let offset = total - rest.len();
        let (value, rest) = rest.split_at_checked(value_bytes as usize).ok_or_else(damaged)?;
        changes.push((offset, (key, (kind == PUT).then_some(value))));
        payload = rest;
    }
    if payload.is_empty() { Ok(changes) } else { Err(damaged()) }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
