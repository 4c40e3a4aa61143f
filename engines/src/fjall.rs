//! fjall 3.1: a log-structured merge tree with its own journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::{Bound, ControlFlow};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use fjall::{
    AbstractTree, Database, Error, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode, Readable, Snapshot,
};

use crate::durable::EntryKind;
use crate::guard::{self, FlushWork, Store};
use crate::{
    Backend, Batch, Engine, EngineError, EngineId, Options, Result, View, Visit, archive, durable,
    through_scratch,
};

const KEYSPACE: &str = "kv";
pub(crate) const LOCK_FILE: &str = "lock";
const JOURNAL_EXTENSION: &str = "jnl";

/// The file whose absence makes fjall create a new database.
const VERSION_FILE: &str = "version";

/// How often to look whether a memtable has become a table.
const TABLE_POLL: Duration = Duration::from_millis(1);

/// The `fjall` engine.
pub(crate) struct Fjall;

impl Engine for Fjall {
    fn id(&self) -> EngineId {
        EngineId::Fjall
    }

    fn open(&self, dir: &Path, options: &Options) -> Result<Box<dyn Backend>> {
        if options.memtable_bytes == 0 {
            return Err(EngineError::Misuse("memtable_bytes must not be zero".to_owned()));
        }
        guard::open(EngineId::Fjall, || Ok(Box::new(FjallStore::open(dir, options)?)))
    }

    fn encode_body(&self, source: &dyn View, scratch: &Path, body: &mut dyn Write) -> Result<u64> {
        through_scratch::with_store(
            scratch,
            |dir| guard::contain(EngineId::Fjall, || ingest(source, dir)),
            |dir| {
                trim_journals(dir)?;
                archive::pack(dir, body)
            },
        )
    }

    fn restore(&self, body: &mut dyn Read, dir: &Path) -> Result<()> {
        durable::create_vacant_dir(dir)?;
        archive::unpack(body, dir, EngineId::Fjall)?;
        if dir.join(VERSION_FILE).is_file() {
            return Ok(());
        }
        // fjall would make a new, empty database of it.
        let reason = format!("it has no file {VERSION_FILE:?}");
        Err(EngineError::MalformedBody { engine: EngineId::Fjall, reason })
    }
}

struct FjallStore {
    // Fields drop in this order: the keyspace holds the lock file, too.
    keyspace: Keyspace,
    database: Database,
    dir: PathBuf,
    /// [`Options::sync_engine_log`].
    sync_journal: bool,
}

impl FjallStore {
    fn open(dir: &Path, options: &Options) -> Result<FjallStore> {
        let database = Database::builder(dir)
            // With more than one, idle workers send compaction work to each other without end.
            .worker_threads(1)
            .cache_size(options.cache_bytes)
            .open()
            .map_err(|error| match error {
                Error::Locked => {
                    EngineError::Locked { engine: EngineId::Fjall, directory: dir.to_path_buf() }
                }
                other => translate(other),
            })?;
        // fjall stores these options with the keyspace: they count when it is created, never again.
        let keyspace_options = || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes);
        let keyspace = database.keyspace(KEYSPACE, keyspace_options).map_err(translate)?;
        let sync_journal = options.sync_engine_log;
        Ok(FjallStore { keyspace, database, dir: dir.to_path_buf(), sync_journal })
    }
}

/// Seals the memtable; fjall's worker thread makes a table of it.
fn seal(keyspace: &Keyspace) -> Result<()> {
    keyspace.rotate_memtable().map(drop).map_err(translate)
}

/// Waits until every sealed memtable has become a table, which fjall syncs before it counts.
fn wait_for_tables(database: &Database, keyspace: &Keyspace) -> Result<()> {
    while keyspace.tree.sealed_memtable_count() > 0 {
        // Fails once the worker thread has; fjall's own `rotate_memtable_and_wait` would wait for ever.
        database.persist(PersistMode::Buffer).map_err(translate)?;
        thread::sleep(TABLE_POLL);
    }
    Ok(())
}

impl Store for FjallStore {
    fn view(&self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(FjallView { snapshot: self.database.snapshot(), keyspace: &self.keyspace }))
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        // Durability `Buffer` is fjall's default: the journal's bytes reach the kernel, not the disk.
        let mut changes = self.database.batch();
        for (key, value) in batch.outcome() {
            match value {
                Some(value) => changes.insert(&self.keyspace, key, value),
                None => changes.remove(&self.keyspace, key),
            }
        }
        changes.commit().map_err(translate)
    }

    fn begin_flush(&mut self) -> Result<FlushWork> {
        if self.sync_journal {
            self.database.persist(PersistMode::SyncAll).map_err(translate)?;
            return Ok(FlushWork::Done);
        }
        seal(&self.keyspace)?;
        let (database, keyspace) = (self.database.clone(), self.keyspace.clone());
        Ok(FlushWork::InBackground(Box::new(move || wait_for_tables(&database, &keyspace))))
    }

    fn size_bytes(&self) -> Result<u64> {
        self.database.disk_space().map_err(translate)
    }

    fn defragment(&mut self) -> Result<()> {
        seal(&self.keyspace)?;
        wait_for_tables(&self.database, &self.keyspace)?;
        self.keyspace.major_compact().map_err(translate)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let FjallStore { keyspace, database, dir, sync_journal: _ } = *self;
        drop(keyspace);
        // Waits until the worker has left its loop; the worker's own handles go a moment later.
        drop(database);
        durable::wait_until_unlocked(&dir.join(LOCK_FILE), EngineId::Fjall)
    }
}

struct FjallView<'a> {
    snapshot: Snapshot,
    keyspace: &'a Keyspace,
}

impl View for FjallView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.snapshot.get(self.keyspace, key).map_err(translate)?.map(|value| value.to_vec()))
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        for guard in self.snapshot.range::<&[u8], _>(self.keyspace, (Bound::Included(start), end)) {
            let (key, value) = guard.into_inner().map_err(translate)?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Creates a database in `dir` with the content of `source` as sorted tables, past journal and memtable, so
/// that the snapshot body does not carry everything twice.
fn ingest(source: &dyn View, dir: &Path) -> Result<()> {
    let store = Box::new(FjallStore::open(dir, &Options::default())?);
    let mut ingestion = store.keyspace.start_ingestion().map_err(translate)?;
    let mut failure = None;
    source.scan(b"", None, &mut |key, value| match ingestion.write(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(translate(error));
            ControlFlow::Break(())
        }
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    ingestion.finish().map_err(translate)?;
    store.close()
}

/// Cuts the preallocated zeros (64 MiB) off the journals of a closed database. fjall does the same when it
/// recovers a journal: it truncates the file behind the last valid batch, and a batch ends with a magic whose
/// last byte is not zero. The file itself must stay: only with a journal present does fjall restore its
/// sequence numbers from the tables.
fn trim_journals(dir: &Path) -> Result<()> {
    for (path, kind) in durable::sorted_entries(dir)? {
        let is_journal = path.extension().is_some_and(|extension| extension == JOURNAL_EXTENSION);
        if kind == EntryKind::File && is_journal {
            trim_zeros(&path).map_err(EngineError::io(format!("trimming {}", path.display())))?;
        }
    }
    Ok(())
}

/// Cuts a file behind its last byte that is not zero, reading only what is not a hole.
fn trim_zeros(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let (mut length, mut position) = (0, 0);
    let mut buffer = vec![0; 64 << 10];
    while let Some(start) = next_data(&file, position)? {
        let end = seek(&file, SeekFrom::Hole(start))?;
        position = start;
        while position < end {
            let wanted = buffer.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
            let read = file.read_at(&mut buffer[..wanted], position)?;
            if read == 0 {
                break;
            }
            if let Some(last) = buffer[..read].iter().rposition(|byte| *byte != 0) {
                length = position + last as u64 + 1;
            }
            position += read as u64;
        }
        position = end;
    }
    OpenOptions::new().write(true).open(path)?.set_len(length)
}

/// The first offset from `position` on that is not in a hole (lseek(2): ENXIO says that there is none).
fn next_data(file: &File, position: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(position)) {
        Ok(start) => Ok(Some(start)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn translate(error: Error) -> EngineError {
    let engine = EngineId::Fjall;
    match error {
        Error::Io(source) | Error::Storage(LsmError::Io(source)) => EngineError::engine_io(engine, source),
        Error::Poisoned => {
            let message = "it is poisoned: its journal or its worker thread failed earlier".to_owned();
            EngineError::Engine { engine, message }
        }
        Error::Storage(_)
        | Error::JournalRecovery(_)
        | Error::InvalidVersion(_)
        | Error::Decompress(_)
        | Error::InvalidTrailer
        | Error::InvalidTag(_)
        | Error::Unrecoverable => EngineError::Corrupt { engine, message: error.to_string() },
        other => EngineError::Engine { engine, message: other.to_string() },
    }
}
