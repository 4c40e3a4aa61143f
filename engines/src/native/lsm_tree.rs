//! lsm-tree by its own calls: one tree, since nothing is flushed atomically across trees, with the space in the
//! key.
//!
//! ```text
//! offset  0  name of the space   N bytes, none of them zero
//!         N  0x00                1 byte
//!       N+1  key                 the rest
//! ```

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use lsm_tree::compaction::Leveled;
use lsm_tree::config::BlockSizePolicy;
use lsm_tree::{Cache, Guard};

use super::contain::contain;
use super::fjall::outcome;
use super::{
    Abilities, Call, Contents, Drops, Failure, FailureKind, Native, NativeStore, Promises, Step, Survives,
    TestSource,
};
use crate::EngineId;
use crate::lsm_tree::{NumberedTree, translate};

const MEMORY_ONLY: &str = "\"it does not ship with a write-ahead log, so writes are not persisted until manually \
                           flushing the memtable\" (lsm-tree 3.1.10, src/lib.rs:11)";

const FLUSHED: Call = Call {
    name: "rotate_memtable, then flush",
    survives: Survives::PowerFailure,
    source: "\"writes are not persisted until manually flushing the memtable\" (lsm-tree 3.1.10, src/lib.rs:11); \
             \"Synchronously flushes pending sealed memtables to tables.\" (src/abstract_tree.rs:64); a table: \
             \"Finishes the table, making sure all data is written durably\" (src/table/writer/mod.rs:370); the list \
             of tables: \"The function takes care of persisting the version changes on disk.\" \
             (src/version/super_version.rs:112)",
};

static PROMISES: Promises = Promises {
    writes: &[Call {
        name: "insert and remove with one sequence number",
        survives: Survives::Nothing,
        source: MEMORY_ONLY,
    }],
    persists: &[FLUSHED],
    flush: Some(FLUSHED),
    drops: Some(Drops {
        survives: Survives::Nothing,
        persisted: true,
        source: "a space is a prefix of keys here, and its drop a batch of removals",
    }),
    abilities: Abilities {
        spaces: true,
        range_delete: false,
        batch_across_spaces: true,
        flush: true,
        compact: true,
    },
    atomic: Some(
        "a batch lies in one memtable, and a memtable is flushed whole: \"Atomically registers flushed tables into \
         the tree, removing their associated sealed memtables.\" (lsm-tree 3.1.10, src/abstract_tree.rs:227)",
    ),
    order: None,
    reopens: "\"Will recover previous state if the folder was previously occupied by an LSM-tree\" (lsm-tree 3.1.10, \
              src/tree/mod.rs:809)",
};

/// Bytes of a table and of a block in it, and the tables on the first level before they are merged: small, so
/// that short runs see compactions on several levels.
const TABLE_BYTES: u64 = 4 << 10;
const BLOCK_BYTES: u32 = 1 << 10;
const L0_TABLES: u8 = 2;
const CACHE_BYTES: u64 = 64 << 10;

/// lsm-tree, driven by its own calls.
pub(crate) struct NativeLsmTree;

impl Native for NativeLsmTree {
    fn name(&self) -> &'static str {
        EngineId::LsmTree.name()
    }

    fn version(&self) -> &'static str {
        env!("LSM_TREE_VERSION")
    }

    fn promises(&self) -> &'static Promises {
        &PROMISES
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure> {
        contain(|| {
            let tree = NumberedTree::open(dir, |config| {
                config
                    .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)))
                    .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
            })
            .map_err(failure)?;
            let store: Box<dyn NativeStore> = Box::new(LsmTreeStore { tree });
            Ok(store)
        })
    }

    fn test_source(&self) -> TestSource {
        TestSource {
            // The feature is one that fjall asks for, so that in this build tables are compressed.
            dependencies: format!(
                "lsm-tree = {{ version = \"={}\", features = [\"lz4\"] }}\n",
                self.version()
            ),
            contents: include_str!("reopen/lsm_tree.rs"),
        }
    }
}

struct LsmTreeStore {
    tree: NumberedTree,
}

impl NativeStore for LsmTreeStore {
    fn run(&mut self, step: &Step) -> Result<(), Failure> {
        contain(|| match step {
            Step::CreateSpace(_) => Ok(()),
            Step::DropSpace(space) => self.drop_space(space),
            Step::Write { batch, mode: 0 } => {
                let outcome = outcome(batch)?;
                let keys: Vec<_> =
                    outcome.into_iter().map(|((space, key), value)| (full_key(space, key), value)).collect();
                self.tree.write(keys.iter().map(|(key, value)| (key.as_slice(), *value)));
                Ok(())
            }
            Step::Write { batch: _, mode } => Err(Failure::out_of_table("way to write", *mode)),
            Step::Persist(0) | Step::Flush => self.tree.flush().map_err(failure),
            Step::Persist(other) => Err(Failure::out_of_table("durability call", *other)),
            Step::Compact => {
                let strategy =
                    Leveled::default().with_table_target_size(TABLE_BYTES).with_l0_threshold(L0_TABLES);
                self.tree.compact(strategy).map_err(failure)?;
                self.tree.compact_all(TABLE_BYTES).map_err(failure)
            }
        })
    }

    fn contents(&self) -> Result<Contents, Failure> {
        contain(|| {
            let mut contents = Contents::new();
            for pair in self.tree.range(b"", Bound::Unbounded, self.tree.snapshot()) {
                let (key, value) = pair.into_inner().map_err(failure)?;
                let zero = key.iter().position(|byte| *byte == 0).ok_or_else(|| {
                    let message = format!("the key {:?} has no space", &*key);
                    Failure::new(FailureKind::Corruption, message)
                })?;
                let space = String::from_utf8_lossy(&key[..zero]).into_owned();
                contents.insert((space, key[zero + 1..].to_vec()), value.to_vec());
            }
            Ok(contents)
        })
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        contain(|| {
            // There are neither threads nor locks, and what was not flushed is gone.
            drop(self.tree);
            Ok(())
        })
    }
}

impl LsmTreeStore {
    fn drop_space(&self, space: &str) -> Result<(), Failure> {
        let (start, mut end) = (full_key(space, b""), space.as_bytes().to_vec());
        end.push(1);
        let mut keys = Vec::new();
        for pair in self.tree.range(&start, Bound::Excluded(end.as_slice()), self.tree.snapshot()) {
            keys.push(pair.key().map_err(failure)?);
        }
        if !keys.is_empty() {
            self.tree.write(keys.iter().map(|key| (&**key, None)));
        }
        Ok(())
    }
}

fn full_key(space: &str, key: &[u8]) -> Vec<u8> {
    [space.as_bytes(), &[0], key].concat()
}

fn failure(error: lsm_tree::Error) -> Failure {
    translate(error).into()
}

#[cfg(test)]
mod tests {
    use super::super::reading::check_reader;
    use super::super::{Mutation, ONLY_SPACE};
    use super::*;

    #[expect(clippy::type_complexity, reason = "the text needs no type of this crate")]
    mod reader {
        use super::Contents;

        include!("reopen/lsm_tree.rs");

        pub(super) fn read(dir: &Path) -> Result<Contents, String> {
            contents(dir)
        }
    }

    #[test]
    fn the_reader_reads() {
        check_reader(&NativeLsmTree, &["a", "b"], reader::read);
    }

    /// What has no log loses what was not flushed, even in a clean close: the promises say so.
    #[test]
    fn nothing_survives_without_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = NativeLsmTree.open(dir.path()).unwrap();
        let (space, key, value) = (ONLY_SPACE.to_owned(), b"key".to_vec(), b"value".to_vec());
        store.run(&Step::Write { batch: vec![Mutation::Put { space, key, value }], mode: 0 }).unwrap();
        assert_eq!(store.contents().unwrap().len(), 1);
        store.close().unwrap();
        assert_eq!(NativeLsmTree.open(dir.path()).unwrap().contents().unwrap(), Contents::new());
    }
}
