//! redb 4.4: a copy-on-write B+ tree in one file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::{
    Builder, CompactionError, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition,
    TableHandle,
};

use crate::guard::{self, FlushWork, Store};
use crate::{
    Backend, Batch, Engine, EngineError, EngineId, Options, Result, View, Visit, durable, through_scratch,
};

pub(crate) const DATABASE_FILE: &str = "data.redb";

/// The first bytes of a redb file (docs/design.md, "Database header").
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1a, 0x0a, 0xa9, 0x0d, 0x0a];

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("kv");

/// The `redb` engine.
pub(crate) struct Redb;

impl Engine for Redb {
    fn id(&self) -> EngineId {
        EngineId::Redb
    }

    fn open(&self, dir: &Path, options: &Options) -> Result<Box<dyn Backend>> {
        guard::open(EngineId::Redb, || Ok(Box::new(RedbStore::open(dir, options)?)))
    }

    fn encode_body(&self, source: &dyn View, scratch: &Path, body: &mut dyn Write) -> Result<u64> {
        let load = |dir: &Path| {
            through_scratch::load(self, dir, &Options::default(), |visit| source.scan(b"", None, visit))
        };
        through_scratch::with_store(scratch, load, |dir| {
            let copying = "copying a redb file into a snapshot body";
            let mut file = File::open(dir.join(DATABASE_FILE)).map_err(EngineError::io(copying))?;
            io::copy(&mut file, body).map_err(EngineError::io(copying))
        })
    }

    fn restore(&self, body: &mut dyn Read, dir: &Path) -> Result<()> {
        // redb would take an empty file for a new database.
        let mut magic = Vec::new();
        let reading = "reading a snapshot body";
        (&mut *body).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(EngineError::io(reading))?;
        if magic != MAGIC {
            let reason = "it does not begin with the magic of a redb file".to_owned();
            return Err(EngineError::MalformedBody { engine: EngineId::Redb, reason });
        }
        durable::create_vacant_dir(dir)?;
        let path = dir.join(DATABASE_FILE);
        let writing = || format!("writing {}", path.display());
        let mut file = File::create_new(&path).map_err(EngineError::io(writing()))?;
        io::copy(&mut magic.as_slice().chain(body), &mut file).map_err(EngineError::io(writing()))?;
        file.sync_all().map_err(EngineError::io(writing()))?;
        durable::sync_dir(dir)
    }
}

struct RedbStore {
    database: Database,
    dir: PathBuf,
}

impl RedbStore {
    fn open(dir: &Path, options: &Options) -> Result<RedbStore> {
        durable::create_dir_all(dir)?;
        let database = Builder::new()
            .set_cache_size(options.cache_bytes as usize)
            .create(dir.join(DATABASE_FILE))
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => {
                    EngineError::Locked { engine: EngineId::Redb, directory: dir.to_path_buf() }
                }
                other => translate(other),
            })?;
        let store = RedbStore { database, dir: dir.to_path_buf() };
        store.create_table()?;
        // redb syncs the file, never the directory: the file's name is the caller's to make durable. The sync
        // is repeated at every open, because an earlier process may have been killed before it got here.
        durable::sync_dir(&store.dir)?;
        Ok(store)
    }

    fn create_table(&self) -> Result<()> {
        let transaction = self.database.begin_read().map_err(translate)?;
        if transaction.list_tables().map_err(translate)?.any(|table| table.name() == TABLE.name()) {
            return Ok(());
        }
        drop(transaction);
        let transaction = self.database.begin_write().map_err(translate)?;
        drop(transaction.open_table(TABLE).map_err(translate)?);
        transaction.commit().map_err(translate)
    }
}

impl Store for RedbStore {
    fn view(&self) -> Result<Box<dyn View + '_>> {
        let transaction = self.database.begin_read().map_err(translate)?;
        Ok(Box::new(RedbView { table: transaction.open_table(TABLE).map_err(translate)? }))
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let mut transaction = self.database.begin_write().map_err(translate)?;
        transaction.set_durability(Durability::None).map_err(translate)?;
        let mut table = transaction.open_table(TABLE).map_err(translate)?;
        for (key, value) in batch.outcome() {
            match value {
                Some(value) => drop(table.insert(key, value).map_err(translate)?),
                None => drop(table.remove(key).map_err(translate)?),
            }
        }
        drop(table);
        transaction.commit().map_err(translate)
    }

    fn begin_flush(&mut self) -> Result<FlushWork> {
        // An empty transaction with durability `Immediate` makes the `None` commits before it durable.
        self.database.begin_write().map_err(translate)?.commit().map_err(translate)?;
        Ok(FlushWork::Done)
    }

    fn size_bytes(&self) -> Result<u64> {
        let path = self.dir.join(DATABASE_FILE);
        let metadata = path.metadata().map_err(EngineError::io(format!("measuring {}", path.display())))?;
        Ok(metadata.len())
    }

    fn defragment(&mut self) -> Result<()> {
        match self.database.compact() {
            Ok(_progress) => Ok(()),
            Err(CompactionError::Storage(error)) => Err(translate(error)),
            Err(other) => Err(translate(other)),
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Commits what is pending, writes the allocator state and unlocks; redb has no threads to wait for.
        drop(self.database);
        Ok(())
    }
}

struct RedbView {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl View for RedbView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.table.get(key).map_err(translate)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        for pair in self.table.range::<&[u8]>((Bound::Included(start), end)).map_err(translate)? {
            let (key, value) = pair.map_err(translate)?;
            if visit(key.value(), value.value()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

pub(crate) fn translate(error: impl Into<redb::Error>) -> EngineError {
    let engine = EngineId::Redb;
    match error.into() {
        redb::Error::Corrupted(message) => EngineError::Corrupt { engine, message },
        redb::Error::Io(source) => EngineError::engine_io(engine, source),
        other => EngineError::Engine { engine, message: other.to_string() },
    }
}
