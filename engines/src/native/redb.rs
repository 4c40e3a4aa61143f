//! redb by its own calls: a space is a table.

use std::path::Path;

use redb::{
    Builder, CompactionError, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable,
    TableDefinition, TableHandle, WriteTransaction,
};

use super::contain::contain;
use super::{
    Abilities, Call, Contents, Drops, Failure, FailureKind, Mutation, Native, NativeStore, Promises, Step,
    Survives, TestSource,
};
use crate::EngineId;
use crate::redb::{DATABASE_FILE, translate};

const IMMEDIATE: &str = "\"Commits with this durability level are guaranteed to be persistent as soon as \
                         `WriteTransaction::commit` returns.\" (redb 4.4.0, src/transactions.rs:378)";

static PROMISES: Promises = Promises {
    writes: &[
        Call {
            name: "commit with Durability::None",
            survives: Survives::Nothing,
            source: "\"Commits with this durability level will not be persisted to disk unless followed by a commit \
                     with `Durability::Immediate`.\" (redb 4.4.0, src/transactions.rs:375)",
        },
        Call {
            name: "commit with Durability::Immediate",
            survives: Survives::PowerFailure,
            source: IMMEDIATE,
        },
        Call {
            name: "commit with Durability::Immediate and set_two_phase_commit(true)",
            survives: Survives::PowerFailure,
            source: IMMEDIATE,
        },
        Call {
            name: "commit with Durability::Immediate and set_quick_repair(true)",
            survives: Survives::PowerFailure,
            source: IMMEDIATE,
        },
    ],
    persists: &[Call {
        name: "commit of an empty transaction with Durability::Immediate",
        survives: Survives::PowerFailure,
        source: "\"Commits with this durability level [None] will not be persisted to disk unless followed by a \
                 commit with `Durability::Immediate`\", which are \"guaranteed to be persistent as soon as \
                 `WriteTransaction::commit` returns\" (redb 4.4.0, src/transactions.rs:375)",
    }],
    flush: None,
    drops: Some(Drops { survives: Survives::PowerFailure, persisted: true, source: IMMEDIATE }),
    abilities: Abilities {
        spaces: true,
        range_delete: true,
        batch_across_spaces: true,
        flush: false,
        compact: true,
    },
    atomic: Some("\"All redb transactions are atomic\" (redb 4.4.0, docs/design.md:321)"),
    order: Some(
        "\"in the event of a crash the database is still guaranteed to be consistent, and will return to either the \
         last non-durable commit or the last full commit that was made\" (redb 4.4.0, docs/design.md:324)",
    ),
    reopens: "\"redb will automatically detect and recover from crashes, power loss, and other unclean shutdowns.\" \
              (redb 4.4.0, src/db.rs:833)",
};

/// The ways to commit, as [`PROMISES`] lists them.
#[derive(Clone, Copy)]
enum Way {
    NonDurable,
    Immediate,
    TwoPhase,
    QuickRepair,
}

const WAYS: [Way; 4] = [Way::NonDurable, Way::Immediate, Way::TwoPhase, Way::QuickRepair];

/// Bytes of the page cache: less than what a run writes, so that pages are written before their commit.
const CACHE_BYTES: usize = 64 << 10;

/// redb, driven by its own calls.
pub(crate) struct NativeRedb;

impl Native for NativeRedb {
    fn name(&self) -> &'static str {
        EngineId::Redb.name()
    }

    fn version(&self) -> &'static str {
        env!("REDB_VERSION")
    }

    fn promises(&self) -> &'static Promises {
        &PROMISES
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure> {
        contain(|| {
            let database = Builder::new()
                .set_cache_size(CACHE_BYTES)
                .create(dir.join(DATABASE_FILE))
                .map_err(|error| match error {
                    DatabaseError::DatabaseAlreadyOpen => {
                        Failure::new(FailureKind::Locked, error.to_string())
                    }
                    other => failure(other),
                })?;
            let store: Box<dyn NativeStore> = Box::new(RedbStore { database });
            Ok(store)
        })
    }

    fn test_source(&self) -> TestSource {
        TestSource {
            dependencies: format!("redb = \"={}\"\n", self.version()),
            contents: include_str!("reopen/redb.rs"),
        }
    }
}

struct RedbStore {
    database: Database,
}

impl NativeStore for RedbStore {
    fn run(&mut self, step: &Step) -> Result<(), Failure> {
        contain(|| match step {
            Step::CreateSpace(space) => {
                let transaction = self.database.begin_write().map_err(failure)?;
                drop(transaction.open_table(table(space)).map_err(failure)?);
                transaction.commit().map_err(failure)
            }
            Step::DropSpace(space) => {
                let transaction = self.database.begin_write().map_err(failure)?;
                transaction.delete_table(table(space)).map_err(failure)?;
                transaction.commit().map_err(failure)
            }
            Step::Write { batch, mode } => {
                let way = WAYS.get(*mode).ok_or_else(|| Failure::out_of_table("way to write", *mode))?;
                self.write(batch, *way)
            }
            Step::Persist(0) => self.database.begin_write().map_err(failure)?.commit().map_err(failure),
            Step::Persist(other) => Err(Failure::out_of_table("durability call", *other)),
            Step::Flush => Err(Failure::unable("memtables")),
            Step::Compact => match self.database.compact() {
                Ok(_progress) => Ok(()),
                Err(CompactionError::Storage(error)) => Err(failure(error)),
                Err(other) => Err(failure(other)),
            },
        })
    }

    fn contents(&self) -> Result<Contents, Failure> {
        contain(|| {
            let transaction = self.database.begin_read().map_err(failure)?;
            let mut contents = Contents::new();
            for handle in transaction.list_tables().map_err(failure)? {
                let table = transaction.open_table(table(handle.name())).map_err(failure)?;
                for pair in table.iter().map_err(failure)? {
                    let (key, value) = pair.map_err(failure)?;
                    let place = (handle.name().to_owned(), key.value().to_vec());
                    contents.insert(place, value.value().to_vec());
                }
            }
            Ok(contents)
        })
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        contain(|| {
            // Unlocks, too; redb has no threads to wait for.
            drop(self.database);
            Ok(())
        })
    }
}

impl RedbStore {
    fn write(&self, mutations: &[Mutation], way: Way) -> Result<(), Failure> {
        let mut transaction = self.database.begin_write().map_err(failure)?;
        match way {
            Way::NonDurable => transaction.set_durability(Durability::None).map_err(failure)?,
            Way::Immediate => transaction.set_durability(Durability::Immediate).map_err(failure)?,
            Way::TwoPhase => transaction.set_two_phase_commit(true),
            Way::QuickRepair => transaction.set_quick_repair(true),
        }
        for mutation in mutations {
            apply(&transaction, mutation)?;
        }
        transaction.commit().map_err(failure)
    }
}

fn apply(transaction: &WriteTransaction, mutation: &Mutation) -> Result<(), Failure> {
    let mut table = transaction.open_table(table(mutation.space())).map_err(failure)?;
    match mutation {
        Mutation::Put { key, value, .. } => {
            table.insert(key.as_slice(), value.as_slice()).map_err(failure)?;
        }
        Mutation::Delete { key, .. } => {
            table.remove(key.as_slice()).map_err(failure)?;
        }
        Mutation::DeleteRange { start, end, .. } if start < end => {
            table.retain_in(start.as_slice()..end.as_slice(), |_, _| false).map_err(failure)?;
        }
        Mutation::DeleteRange { .. } => {}
    }
    Ok(())
}

fn table(space: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(space)
}

fn failure(error: impl Into<redb::Error>) -> Failure {
    translate(error).into()
}

#[cfg(test)]
mod tests {
    use super::super::reading::check_reader;
    use super::*;

    #[expect(clippy::type_complexity, reason = "the text needs no type of this crate")]
    mod reader {
        use super::Contents;

        include!("reopen/redb.rs");

        pub(super) fn read(dir: &Path) -> Result<Contents, String> {
            contents(dir)
        }
    }

    #[test]
    fn the_reader_reads() {
        check_reader(&NativeRedb, &["a", "b"], reader::read);
    }

    #[test]
    fn the_table_lists_the_ways() {
        assert_eq!(PROMISES.writes.len(), WAYS.len());
    }
}
