//! lsm-tree 3.1: a log-structured merge tree without a log.
//!
//! What is written stays in the memtable until a flush makes a table of it; whoever needs more keeps a log of his
//! own, and plays it again from what the applied index proves. lsm-tree has no threads: tables are written and
//! compacted by whoever calls it, here a thread for each flush.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

use lsm_tree::compaction::Leveled;
use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, Error, Guard, IterGuardImpl, SeqNo, SequenceNumberCounter,
};

use crate::guard::{self, FlushWork, Store};
use crate::{
    Backend, Batch, Engine, EngineError, EngineId, Options, Result, View, Visit, archive, durable,
    through_scratch,
};

/// lsm-tree has no lock of its own.
const LOCK_FILE: &str = "lsm-tree.lock";

/// The file whose absence makes lsm-tree create a new tree.
const CURRENT_FILE: &str = "current";

/// Bytes that a table may reach in a compaction: lsm-tree's own default.
const TABLE_BYTES: u64 = 64 << 20;

/// The `lsm-tree` engine.
pub(crate) struct LsmTree;

impl Engine for LsmTree {
    fn id(&self) -> EngineId {
        EngineId::LsmTree
    }

    fn open(&self, dir: &Path, options: &Options) -> Result<Box<dyn Backend>> {
        if options.memtable_bytes == 0 {
            return Err(EngineError::Misuse("memtable_bytes must not be zero".to_owned()));
        }
        guard::open(EngineId::LsmTree, || Ok(Box::new(LsmTreeStore::open(dir, options)?)))
    }

    fn encode_body(&self, source: &dyn View, scratch: &Path, body: &mut dyn Write) -> Result<u64> {
        through_scratch::with_store(
            scratch,
            |dir| guard::contain(EngineId::LsmTree, || ingest(source, dir)),
            |dir| archive::pack(dir, body),
        )
    }

    fn restore(&self, body: &mut dyn Read, dir: &Path) -> Result<()> {
        durable::create_vacant_dir(dir)?;
        archive::unpack(body, dir, EngineId::LsmTree)?;
        if dir.join(CURRENT_FILE).is_file() {
            return Ok(());
        }
        // lsm-tree would make a new, empty tree of it.
        let reason = format!("it has no file {CURRENT_FILE:?}");
        Err(EngineError::MalformedBody { engine: EngineId::LsmTree, reason })
    }
}

/// A tree with the sequence numbers that lsm-tree leaves to its caller. It has one user, so no reader ever needs
/// an older version than the last: everything below the next number may be collected.
#[derive(Clone)]
pub(crate) struct NumberedTree {
    tree: AnyTree,
    /// The number of the next batch.
    seqno: SequenceNumberCounter,
    /// Readers see what is below.
    visible_seqno: SequenceNumberCounter,
}

impl NumberedTree {
    /// Opens or creates a tree; `configure` sets what is not about sequence numbers.
    pub(crate) fn open(
        dir: &Path,
        configure: impl FnOnce(Config) -> Config,
    ) -> std::result::Result<NumberedTree, Error> {
        let (seqno, visible_seqno) = (SequenceNumberCounter::default(), SequenceNumberCounter::default());
        let tree = configure(Config::new(dir, seqno.clone(), visible_seqno.clone())).open()?;
        let next = tree.get_highest_seqno().map_or(0, |highest| highest + 1);
        seqno.fetch_max(next);
        visible_seqno.fetch_max(next);
        Ok(NumberedTree { tree, seqno, visible_seqno })
    }

    /// Applies a batch in memory. Each key may occur once, since all have one sequence number.
    pub(crate) fn write<'a>(&self, outcome: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) {
        let seqno = self.seqno.next();
        for (key, value) in outcome {
            match value {
                Some(value) => self.tree.insert(key, value, seqno),
                None => self.tree.remove(key, seqno),
            };
        }
        self.visible_seqno.fetch_max(seqno + 1);
    }

    /// Makes a table of everything that is in memory.
    pub(crate) fn flush(&self) -> std::result::Result<(), Error> {
        let collectable = self.seal();
        self.flush_sealed(collectable)
    }

    /// Seals the memtable, so that what is written from now on goes to another one. Returns the sequence number
    /// below which superseded versions may go: every later reader sees at least that.
    fn seal(&self) -> SeqNo {
        self.tree.rotate_memtable();
        self.seqno.get()
    }

    /// Makes tables of the memtables that are sealed.
    fn flush_sealed(&self, collectable: SeqNo) -> std::result::Result<(), Error> {
        let lock = self.tree.get_flush_lock();
        self.tree.flush(&lock, collectable).map(drop)
    }

    /// Compacts where the levels call for it.
    pub(crate) fn compact(&self, strategy: Leveled) -> std::result::Result<(), Error> {
        self.compact_below(strategy, self.seqno.get())
    }

    fn compact_below(&self, strategy: Leveled, collectable: SeqNo) -> std::result::Result<(), Error> {
        self.tree.compact(Arc::new(strategy), collectable)
    }

    /// Compacts everything into tables of about `table_bytes`.
    pub(crate) fn compact_all(&self, table_bytes: u64) -> std::result::Result<(), Error> {
        self.tree.major_compact(table_bytes, self.seqno.get())
    }

    /// Bytes in memory that no table holds yet.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        self.tree.active_memtable().size()
    }

    /// What is visible at `seqno`, from `start` on.
    pub(crate) fn range(
        &self,
        start: &[u8],
        end: Bound<&[u8]>,
        seqno: SeqNo,
    ) -> Box<dyn DoubleEndedIterator<Item = IterGuardImpl> + Send + 'static> {
        self.tree.range::<&[u8], _>((Bound::Included(start), end), seqno, None)
    }

    /// The sequence number of a reader of what is visible now.
    pub(crate) fn snapshot(&self) -> SeqNo {
        self.visible_seqno.get()
    }
}

struct LsmTreeStore {
    tree: NumberedTree,
    memtable_bytes: u64,
    /// Held for its lock.
    _lock: File,
}

impl LsmTreeStore {
    fn open(dir: &Path, options: &Options) -> Result<LsmTreeStore> {
        durable::create_dir_all(dir)?;
        let lock = durable::lock(dir, LOCK_FILE, EngineId::LsmTree)?;
        let cache = Arc::new(Cache::with_capacity_bytes(options.cache_bytes));
        let tree = NumberedTree::open(dir, |config| config.use_cache(cache)).map_err(translate)?;
        Ok(LsmTreeStore { tree, memtable_bytes: options.memtable_bytes, _lock: lock })
    }
}

impl Store for LsmTreeStore {
    fn view(&self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(LsmTreeView { tree: &self.tree, seqno: self.tree.snapshot() }))
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.tree.write(batch.outcome());
        Ok(())
    }

    fn begin_flush(&mut self) -> Result<FlushWork> {
        let collectable = self.tree.seal();
        let tree = self.tree.clone();
        Ok(FlushWork::InBackground(Box::new(move || {
            tree.flush_sealed(collectable).map_err(translate)?;
            tree.compact_below(Leveled::default(), collectable).map_err(translate)
        })))
    }

    fn wants_flush(&self) -> bool {
        self.tree.memtable_bytes() > self.memtable_bytes
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(self.tree.tree.disk_space())
    }

    fn defragment(&mut self) -> Result<()> {
        self.tree.flush().map_err(translate)?;
        self.tree.compact_all(TABLE_BYTES).map_err(translate)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // The guard has waited for the flush, and what was not flushed is gone.
        drop(self);
        Ok(())
    }
}

struct LsmTreeView<'a> {
    tree: &'a NumberedTree,
    seqno: SeqNo,
}

impl View for LsmTreeView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.tree.tree.get(key, self.seqno).map_err(translate)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        for pair in self.tree.range(start, end, self.seqno) {
            let (key, value) = pair.into_inner().map_err(translate)?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Creates a tree in `dir` with the content of `source` as sorted tables.
fn ingest(source: &dyn View, dir: &Path) -> Result<()> {
    durable::create_dir_all(dir)?;
    let tree = NumberedTree::open(dir, |config| config).map_err(translate)?;
    let mut ingestion = tree.tree.ingestion().map_err(translate)?;
    let mut failure = None;
    source.scan(b"", None, &mut |key, value| match ingestion.write(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(translate(error));
            ControlFlow::Break(())
        }
    })?;
    match failure {
        Some(error) => Err(error),
        None => ingestion.finish().map_err(translate),
    }
}

pub(crate) fn translate(error: Error) -> EngineError {
    let engine = EngineId::LsmTree;
    match error {
        Error::Io(source) => EngineError::engine_io(engine, source),
        // Every other error says that a file is not what it should be.
        other => EngineError::Corrupt { engine, message: other.to_string() },
    }
}
