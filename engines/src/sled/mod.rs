//! sled 0.34.7: the legacy engine.

pub mod export;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use sled::Db;
use sled::transaction::TransactionError;

use crate::guard::{self, FlushWork, Store};
use crate::{
    Backend, Batch, Engine, EngineError, EngineId, Options, Result, View, Visit, durable, through_scratch,
};

/// The file that sled keeps its log in and locks.
pub(crate) const LOG_FILE: &str = "db";

/// sled's words for a lock that is taken; it gives no error kind of its own.
const LOCK_REFUSAL: &str = "could not acquire lock on";

/// How often, and after which pauses, to ask again for the lock of a database that was just closed: a thread of
/// sled's process-wide pool may hold the file a little longer than the last handle.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The `sled` engine.
pub(crate) struct Sled;

impl Engine for Sled {
    fn id(&self) -> EngineId {
        EngineId::Sled
    }

    fn open(&self, dir: &Path, options: &Options) -> Result<Box<dyn Backend>> {
        guard::open(EngineId::Sled, || Ok(Box::new(SledStore::open(dir, options)?)))
    }

    fn encode_body(&self, source: &dyn View, scratch: &Path, body: &mut dyn Write) -> Result<u64> {
        durable::remove_dir_all(scratch)?;
        export::write_body(source, body)
    }

    fn restore(&self, body: &mut dyn Read, dir: &Path) -> Result<()> {
        through_scratch::load(self, dir, &Options::default(), |visit| export::read_pairs(body, visit))?;
        // The caller is promised durable files and names; sled itself syncs neither `conf` nor directories.
        durable::sync_tree(dir)
    }

    fn scan_body(&self, body: &mut dyn Read, scratch: &Path, visit: &mut Visit<'_>) -> Result<()> {
        durable::remove_dir_all(scratch)?;
        export::read_pairs(body, visit)
    }
}

struct SledStore {
    db: Db,
    dir: PathBuf,
}

impl SledStore {
    fn open(dir: &Path, options: &Options) -> Result<SledStore> {
        let config = sled::Config::new().path(dir).cache_capacity(options.cache_bytes).flush_every_ms(None);
        switch_readers(&config, dir)?;
        let interval_ms = options.background_flush.map(|interval| interval.as_millis().max(1) as u64);
        let db = open_patiently(&config.flush_every_ms(interval_ms), dir)?;
        Ok(SledStore { db, dir: dir.to_path_buf() })
    }
}

impl Store for SledStore {
    fn view(&self) -> Result<Box<dyn View + '_>> {
        // sled has no snapshots. It needs none here: while the view borrows the store, nobody can write.
        Ok(Box::new(SledView { tree: &self.db }))
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch.outcome() {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        self.db.apply_batch(changes).map_err(translate)
    }

    fn begin_flush(&mut self) -> Result<FlushWork> {
        self.db.flush().map(|_bytes| FlushWork::Done).map_err(translate)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.db.size_on_disk().map_err(translate)
    }

    /// sled cleans its segments as it writes and offers no call for it.
    fn defragment(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        let SledStore { db, dir } = *self;
        // Joins the flusher thread; the pool's threads belong to the process and stay.
        drop(db);
        durable::wait_until_unlocked(&dir.join(LOG_FILE), EngineId::Sled)
    }
}

struct SledView<'a> {
    tree: &'a sled::Tree,
}

impl View for SledView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.tree.get(key).map_err(translate)?.map(|value| value.to_vec()))
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let pairs = match end {
            Some(end) => self.tree.range(start..end),
            None => self.tree.range(start..),
        };
        for pair in pairs {
            let (key, value) = pair.map_err(translate)?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Makes every reader in this process take sled's read-write lock, once and for all.
///
/// sled starts without that lock. Its first transaction or batch in a process switches it on, and until every
/// reader that began without it is done, spins without a system call; a flusher thread that is inside a disk
/// write just then keeps it spinning for as long as the write takes. So the first database of a process is
/// opened once without its flusher, when there are no readers, to make the switch.
fn switch_readers(config: &sled::Config, dir: &Path) -> Result<()> {
    static SWITCHED: Mutex<bool> = Mutex::new(false);
    let mut switched = SWITCHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *switched {
        return Ok(());
    }
    let db = open_patiently(config, dir)?;
    db.transaction(|_| Ok::<(), sled::transaction::ConflictableTransactionError<()>>(())).map_err(
        |error| match error {
            TransactionError::Storage(error) => translate(error),
            TransactionError::Abort(()) => unreachable!("an empty transaction does not abort"),
        },
    )?;
    *switched = true;
    drop(db);
    durable::wait_until_unlocked(&dir.join(LOG_FILE), EngineId::Sled)
}

pub(crate) fn open_patiently(config: &sled::Config, dir: &Path) -> Result<Db> {
    for _ in 1..LOCK_ATTEMPTS {
        match config.open() {
            Err(sled::Error::Io(error)) if is_lock_refusal(&error) => thread::sleep(LOCK_PAUSE),
            outcome => return outcome.map_err(translate),
        }
    }
    config.open().map_err(|error| match error {
        sled::Error::Io(error) if is_lock_refusal(&error) => {
            EngineError::Locked { engine: EngineId::Sled, directory: dir.to_path_buf() }
        }
        other => translate(other),
    })
}

fn is_lock_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other && error.to_string().starts_with(LOCK_REFUSAL)
}

pub(crate) fn translate(error: sled::Error) -> EngineError {
    match error {
        sled::Error::Io(source) => EngineError::engine_io(EngineId::Sled, source),
        corruption @ sled::Error::Corruption { .. } => {
            EngineError::Corrupt { engine: EngineId::Sled, message: corruption.to_string() }
        }
        other @ (sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)) => {
            EngineError::Engine { engine: EngineId::Sled, message: other.to_string() }
        }
    }
}
