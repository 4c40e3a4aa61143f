//! sled by its own calls: a space is a tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional, TransactionalTree};
use sled::{Config, Db, Tree};

use super::contain::contain;
use super::{
    Abilities, Call, Contents, Drops, Failure, FailureKind, Mutation, Native, NativeStore, Promises, Step,
    Survives, TestSource,
};
use crate::sled::{LOG_FILE, open_patiently, translate};
use crate::{EngineId, durable};

const UNFLUSHED: &str = "\"Note that database state is only guaranteed to be present up to the last call to \
                         `flush`! Otherwise state is synced to disk periodically\" (sled 0.34.7, src/db.rs:228)";

const FLUSHED: &str = "\"Synchronously flushes all dirty IO buffers and calls fsync. If this succeeds, it is \
                       guaranteed that all previous writes will be recovered if the system crashes.\" (sled \
                       0.34.7, src/tree.rs:788)";

static PROMISES: Promises = Promises {
    writes: &[
        Call { name: "Tree::apply_batch", survives: Survives::Nothing, source: UNFLUSHED },
        Call { name: "transaction", survives: Survives::Nothing, source: UNFLUSHED },
        Call {
            name: "transaction with TransactionalTree::flush",
            survives: Survives::PowerFailure,
            source: "\"Flush the database before returning from the transaction.\" (sled 0.34.7, \
                     src/transaction.rs:332); of a flush: \"it is guaranteed that all previous writes will be \
                     recovered if the system crashes\" (src/tree.rs:789)",
        },
    ],
    persists: &[Call { name: "Db::flush", survives: Survives::PowerFailure, source: FLUSHED }],
    flush: None,
    drops: Some(Drops {
        survives: Survives::Nothing,
        persisted: true,
        source: "\"Remove a disk-backed collection.\" (sled 0.34.7, src/db.rs:160), one of the \"all previous \
                 writes\" of a flush (src/tree.rs:789)",
    }),
    abilities: Abilities {
        spaces: true,
        range_delete: false,
        batch_across_spaces: true,
        flush: false,
        compact: false,
    },
    atomic: Some(
        "\"A batch of updates that will be applied atomically to the Tree.\" (sled 0.34.7, src/batch.rs:13); \
         \"Fully serializable (ACID) multi-`Tree` transactions\" (src/transaction.rs:1)",
    ),
    order: None,
    reopens: FLUSHED,
};

/// Bytes of a segment of the log, so that short runs fill many: "a testing-only method for reducing the io-buffer
/// size to trigger correctness-critical behavior more often" (sled 0.34.7, src/config.rs:324). To be kept equal to that in `reopen/sled.rs`.
const SEGMENT_BYTES: usize = 8 << 10;

/// Bytes of the page cache: less than what a run writes, so that pages go and come back.
const CACHE_BYTES: u64 = 64 << 10;

/// The ways to write, as [`PROMISES`] lists them.
#[derive(Clone, Copy)]
enum Way {
    Batch,
    Transaction,
    FlushedTransaction,
}

const WAYS: [Way; 3] = [Way::Batch, Way::Transaction, Way::FlushedTransaction];

/// sled, driven by its own calls.
pub(crate) struct NativeSled;

impl Native for NativeSled {
    fn name(&self) -> &'static str {
        EngineId::Sled.name()
    }

    fn version(&self) -> &'static str {
        env!("SLED_VERSION")
    }

    fn promises(&self) -> &'static Promises {
        &PROMISES
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure> {
        contain(|| {
            let config = Config::new()
                .path(dir)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES)
                // No flusher thread: when something is synced is the workload's choice.
                .flush_every_ms(None);
            let db = open_patiently(&config, dir)?;
            let store: Box<dyn NativeStore> = Box::new(SledStore { db, dir: dir.to_path_buf() });
            Ok(store)
        })
    }

    fn test_source(&self) -> TestSource {
        TestSource {
            dependencies: format!("sled = \"={}\"\n", self.version()),
            contents: include_str!("reopen/sled.rs"),
        }
    }
}

struct SledStore {
    db: Db,
    dir: PathBuf,
}

impl NativeStore for SledStore {
    fn run(&mut self, step: &Step) -> Result<(), Failure> {
        contain(|| match step {
            Step::CreateSpace(space) => self.tree(space).map(drop),
            Step::DropSpace(space) => self.db.drop_tree(space).map(drop).map_err(failure),
            Step::Write { batch, mode } => {
                let way = WAYS.get(*mode).ok_or_else(|| Failure::out_of_table("way to write", *mode))?;
                self.write(batch, *way)
            }
            Step::Persist(0) => self.db.flush().map(drop).map_err(failure),
            Step::Persist(other) => Err(Failure::out_of_table("durability call", *other)),
            Step::Flush => Err(Failure::unable("memtables")),
            Step::Compact => Err(Failure::unable("call to compact")),
        })
    }

    fn contents(&self) -> Result<Contents, Failure> {
        contain(|| {
            let mut contents = Contents::new();
            for name in self.db.tree_names() {
                let space = String::from_utf8_lossy(&name).into_owned();
                for pair in &self.db.open_tree(&name).map_err(failure)? {
                    let (key, value) = pair.map_err(failure)?;
                    contents.insert((space.clone(), key.to_vec()), value.to_vec());
                }
            }
            Ok(contents)
        })
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        contain(|| {
            let SledStore { db, dir } = *self;
            drop(db);
            Ok(durable::wait_until_unlocked(&dir.join(LOG_FILE), EngineId::Sled)?)
        })
    }
}

impl SledStore {
    fn tree(&self, space: &str) -> Result<Tree, Failure> {
        self.db.open_tree(space).map_err(failure)
    }

    fn write(&self, mutations: &[Mutation], way: Way) -> Result<(), Failure> {
        let batches = batches(mutations)?;
        let trees = batches.keys().map(|space| self.tree(space)).collect::<Result<Vec<Tree>, Failure>>()?;
        let batches: Vec<sled::Batch> = batches.into_values().collect();
        let flushes = match (way, trees.as_slice()) {
            (_, []) => return Ok(()),
            (Way::Batch, [tree]) => {
                return batches.into_iter().try_for_each(|batch| tree.apply_batch(batch)).map_err(failure);
            }
            // For more than one tree sled's documentation says to apply batches in a transaction.
            (Way::Batch | Way::Transaction, _) => false,
            (Way::FlushedTransaction, _) => true,
        };
        let apply = |trees: &Vec<TransactionalTree>| {
            for (tree, batch) in trees.iter().zip(&batches) {
                tree.apply_batch(batch)?;
                if flushes {
                    tree.flush();
                }
            }
            Ok::<(), ConflictableTransactionError<()>>(())
        };
        trees.as_slice().transaction(apply).map_err(|error| match error {
            TransactionError::Storage(error) => failure(error),
            TransactionError::Abort(()) => Failure::new(FailureKind::Error, "sled aborted a transaction"),
        })
    }
}

/// One batch for each space; the last change to a key wins, as it would in order.
fn batches(mutations: &[Mutation]) -> Result<BTreeMap<&str, sled::Batch>, Failure> {
    let mut batches = BTreeMap::<&str, sled::Batch>::new();
    for mutation in mutations {
        let batch = batches.entry(mutation.space()).or_default();
        match mutation {
            Mutation::Put { key, value, .. } => batch.insert(key.as_slice(), value.as_slice()),
            Mutation::Delete { key, .. } => batch.remove(key.as_slice()),
            Mutation::DeleteRange { .. } => return Err(Failure::unable("range deletes")),
        }
    }
    Ok(batches)
}

fn failure(error: sled::Error) -> Failure {
    translate(error).into()
}

#[cfg(test)]
mod tests {
    use super::super::reading::check_reader;
    use super::*;

    #[expect(clippy::type_complexity, reason = "the text needs no type of this crate")]
    mod reader {
        use super::Contents;

        include!("reopen/sled.rs");

        pub(super) fn read(dir: &Path) -> Result<Contents, String> {
            assert_eq!(SEGMENT_BYTES, super::SEGMENT_BYTES);
            contents(dir)
        }
    }

    #[test]
    fn the_reader_reads() {
        check_reader(&NativeSled, &["a", "b"], reader::read);
    }

    #[test]
    fn the_table_lists_the_ways() {
        assert_eq!(PROMISES.writes.len(), WAYS.len());
    }
}
