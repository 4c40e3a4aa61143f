//! fjall by its own calls: a space is a keyspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fjall::compaction::Leveled;
use fjall::config::BlockSizePolicy;
use fjall::{AbstractTree, Database, Error, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::contain::contain;
use super::{
    Abilities, Call, Contents, Drops, Failure, FailureKind, Mutation, Native, NativeStore, Promises, Step,
    Survives, TestSource,
};
use crate::fjall::{LOCK_FILE, translate};
use crate::{EngineId, durable};

const BUFFER: &str = "\"Flushes data to OS buffers. This allows the OS to write out data in case of an application \
                      crash. When this function returns, data is **not** guaranteed to be persisted in case of a \
                      power loss event or OS crash.\" (fjall 3.1.13, src/journal/writer.rs:36)";

const SYNC_DATA: &str = "\"Flushes data using `fdatasync`. Use if you know that `fdatasync` is sufficient for your \
                         file system and/or operating system.\" (fjall 3.1.13, src/journal/writer.rs:43); on Linux \
                         it is: fdatasync(2) flushes the metadata that is \"needed in order to allow a subsequent \
                         data retrieval to be correctly handled\"";

const SYNC_ALL: &str = "\"Flushes data + metadata using `fsync`.\" (fjall 3.1.13, src/journal/writer.rs:48); \"Sync \
                        the journal to disk to make sure data is definitely durable\" (README.md:109, src/lib.rs:65)";

/// `PersistMode` is "the durability guarantee of previous writes" (src/journal/writer.rs:33), so each call speaks
/// for the writes before it, too.
static PROMISES: Promises = Promises {
    writes: &[
        Call {
            name: "batch().durability(None)",
            survives: Survives::Nothing,
            source: "nothing is said of a batch without a `PersistMode`; \"you can choose to call \
                     `Database::persist`\" (fjall 3.1.13, README.md:123)",
        },
        Call { name: "batch().durability(Some(Buffer))", survives: Survives::ProcessKill, source: BUFFER },
        Call {
            name: "batch().durability(Some(SyncData))",
            survives: Survives::PowerFailure,
            source: SYNC_DATA,
        },
        Call {
            name: "batch().durability(Some(SyncAll))",
            survives: Survives::PowerFailure,
            source: SYNC_ALL,
        },
    ],
    persists: &[
        Call { name: "persist(Buffer)", survives: Survives::ProcessKill, source: BUFFER },
        Call { name: "persist(SyncData)", survives: Survives::PowerFailure, source: SYNC_DATA },
        Call { name: "persist(SyncAll)", survives: Survives::PowerFailure, source: SYNC_ALL },
    ],
    flush: None,
    drops: Some(Drops {
        survives: Survives::Nothing,
        persisted: false,
        source: "\"Destroys the keyspace, removing all data associated with it.\" (fjall 3.1.13, src/db.rs:409); no \
                 word of durability, and `persist` is said to flush \"the active journal\" (src/db.rs:325)",
    }),
    abilities: Abilities {
        spaces: true,
        range_delete: false,
        batch_across_spaces: true,
        flush: true,
        compact: true,
    },
    atomic: Some(
        "\"Initializes a new atomic write batch. Items may be written to multiple keyspaces, which will be be \
         updated atomically when the batch is committed.\" (fjall 3.1.13, src/db.rs:158)",
    ),
    order: Some(
        "\"The last batch in the journal may be corrupt on crash, and will be discarded without error. This mode will \
         error on any other IO or consistency error, so any data up to the tail will be consistent.\" (fjall 3.1.13, \
         src/journal/error.rs:11, of the recovery mode, which is the only one)",
    ),
    reopens: "\"Persisting only affects durability, NOT consistency! Even without flushing data is crash-safe.\" \
              (fjall 3.1.13, src/db.rs:328)",
};

/// The ways to write and the durability calls, as [`PROMISES`] lists them.
const WRITE_MODES: [Option<PersistMode>; 4] =
    [None, Some(PersistMode::Buffer), Some(PersistMode::SyncData), Some(PersistMode::SyncAll)];
const PERSIST_MODES: [PersistMode; 3] = [PersistMode::Buffer, PersistMode::SyncData, PersistMode::SyncAll];

/// Bytes that a memtable may reach before it becomes a table, of a table, and of a block in it: small, so that
/// short runs see rotations and compactions on several levels. Journals cannot be made small: fjall changes to a
/// new one once the last is 64 MB long, whatever is configured.
const MEMTABLE_BYTES: u64 = 4 << 10;
const TABLE_BYTES: u64 = 4 << 10;
const BLOCK_BYTES: u32 = 1 << 10;
const L0_TABLES: u8 = 2;
const CACHE_BYTES: u64 = 64 << 10;

/// How often to look whether a memtable has become a table, and after how many looks to ask whether the worker
/// that writes tables has failed.
const TABLE_POLL: Duration = Duration::from_millis(1);
const PATIENT_POLLS: u32 = 1_000;

/// fjall, driven by its own calls.
pub(crate) struct NativeFjall;

impl Native for NativeFjall {
    fn name(&self) -> &'static str {
        EngineId::Fjall.name()
    }

    fn version(&self) -> &'static str {
        env!("FJALL_VERSION")
    }

    fn promises(&self) -> &'static Promises {
        &PROMISES
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure> {
        contain(|| {
            let database = Database::builder(dir)
                // With more than one, idle workers send compaction work to each other without end.
                .worker_threads(1)
                .cache_size(CACHE_BYTES)
                .open()
                .map_err(failure)?;
            let mut store =
                Box::new(FjallStore { keyspaces: BTreeMap::new(), database, dir: dir.to_path_buf() });
            for name in store.database.list_keyspace_names() {
                store.keyspace(&name)?;
            }
            let store: Box<dyn NativeStore> = store;
            Ok(store)
        })
    }

    fn test_source(&self) -> TestSource {
        TestSource {
            // The tables are lsm-tree's, and fjall alone would take the newest release of it.
            dependencies: format!(
                "fjall = \"={}\"\nlsm-tree = \"={}\"\n",
                self.version(),
                env!("LSM_TREE_VERSION")
            ),
            contents: include_str!("reopen/fjall.rs"),
        }
    }
}

struct FjallStore {
    // Fields drop in this order: the keyspaces hold the lock file, too.
    keyspaces: BTreeMap<String, Keyspace>,
    database: Database,
    dir: PathBuf,
}

impl NativeStore for FjallStore {
    fn run(&mut self, step: &Step) -> Result<(), Failure> {
        contain(|| match step {
            Step::CreateSpace(space) => self.keyspace(space).map(drop),
            Step::DropSpace(space) => match self.keyspaces.remove(space) {
                Some(keyspace) => self.database.delete_keyspace(keyspace).map_err(failure),
                None => Ok(()),
            },
            Step::Write { batch, mode } => {
                let mode =
                    WRITE_MODES.get(*mode).ok_or_else(|| Failure::out_of_table("way to write", *mode))?;
                self.write(batch, *mode)
            }
            Step::Persist(call) => {
                let mode = PERSIST_MODES
                    .get(*call)
                    .ok_or_else(|| Failure::out_of_table("durability call", *call))?;
                self.database.persist(*mode).map_err(failure)
            }
            Step::Flush => self.keyspaces.values().try_for_each(|keyspace| self.flush(keyspace)),
            Step::Compact => {
                self.keyspaces.values().try_for_each(|keyspace| keyspace.major_compact().map_err(failure))
            }
        })
    }

    fn contents(&self) -> Result<Contents, Failure> {
        contain(|| {
            let snapshot = self.database.snapshot();
            let mut contents = Contents::new();
            for (space, keyspace) in &self.keyspaces {
                for pair in snapshot.iter(keyspace) {
                    let (key, value) = pair.into_inner().map_err(failure)?;
                    contents.insert((space.clone(), key.to_vec()), value.to_vec());
                }
            }
            Ok(contents)
        })
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        contain(|| {
            let FjallStore { keyspaces, database, dir } = *self;
            drop(keyspaces);
            // Waits until the worker has left its loop; the worker's own handles go a moment later.
            drop(database);
            Ok(durable::wait_until_unlocked(&dir.join(LOCK_FILE), EngineId::Fjall)?)
        })
    }
}

impl FjallStore {
    fn keyspace(&mut self, space: &str) -> Result<Keyspace, Failure> {
        if let Some(keyspace) = self.keyspaces.get(space) {
            return Ok(keyspace.clone());
        }
        let keyspace = self.database.keyspace(space, keyspace_options).map_err(failure)?;
        self.keyspaces.insert(space.to_owned(), keyspace.clone());
        Ok(keyspace)
    }

    fn write(&mut self, mutations: &[Mutation], mode: Option<PersistMode>) -> Result<(), Failure> {
        let mut batch = self.database.batch().durability(mode);
        for ((space, key), value) in outcome(mutations)? {
            let keyspace = self.keyspace(space)?;
            match value {
                Some(value) => batch.insert(&keyspace, key, value),
                None => batch.remove(&keyspace, key),
            }
        }
        batch.commit().map_err(failure)
    }

    /// As fjall's own `rotate_memtable_and_wait`, which would wait for ever for a worker that has failed.
    fn flush(&self, keyspace: &Keyspace) -> Result<(), Failure> {
        keyspace.rotate_memtable().map_err(failure)?;
        let mut polls = 0;
        while keyspace.tree.sealed_memtable_count() > 0 {
            thread::sleep(TABLE_POLL);
            polls += 1;
            if polls > PATIENT_POLLS {
                // The only call that answers for the worker. Not sooner: it also hands the journal's buffer to
                // the operating system, which is for the workload to choose.
                self.database.persist(PersistMode::Buffer).map_err(failure)?;
            }
        }
        Ok(())
    }
}

/// They count when a keyspace is created, never again.
fn keyspace_options() -> KeyspaceCreateOptions {
    let strategy = Leveled::default().with_table_target_size(TABLE_BYTES).with_l0_threshold(L0_TABLES);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .compaction_strategy(Arc::new(strategy))
}

/// A space and a key in it.
pub(crate) type Place<'a> = (&'a str, &'a [u8]);

/// The last change to each key. A batch of fjall or lsm-tree has one sequence number, so that two changes to one
/// key would have no order.
pub(crate) fn outcome(mutations: &[Mutation]) -> Result<BTreeMap<Place<'_>, Option<&[u8]>>, Failure> {
    let mut outcome = BTreeMap::new();
    for mutation in mutations {
        match mutation {
            Mutation::Put { space, key, value } => {
                outcome.insert((space.as_str(), key.as_slice()), Some(value.as_slice()))
            }
            Mutation::Delete { space, key } => outcome.insert((space.as_str(), key.as_slice()), None),
            Mutation::DeleteRange { .. } => return Err(Failure::unable("range deletes")),
        };
    }
    Ok(outcome)
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Locked => Failure::new(FailureKind::Locked, error.to_string()),
        other => translate(other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::check_reader;
    use super::*;

    #[expect(clippy::type_complexity, reason = "the text needs no type of this crate")]
    mod reader {
        use super::Contents;

        include!("reopen/fjall.rs");

        pub(super) fn read(dir: &Path) -> Result<Contents, String> {
            contents(dir)
        }
    }

    #[test]
    fn the_reader_reads() {
        check_reader(&NativeFjall, &["a", "b"], reader::read);
    }

    #[test]
    fn the_table_lists_the_modes() {
        assert_eq!(PROMISES.writes.len(), WRITE_MODES.len());
        assert_eq!(PROMISES.persists.len(), PERSIST_MODES.len());
    }
}
