//! redb 4.4.0.

use crate::alone::alone;
use crate::rig::{Open, Story, sync, text, words};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::path::Path;

const TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("items");

fn open(dir: &Path) -> Result<Database, String> {
    Database::create(dir.join("data.redb")).map_err(text)
}

fn fill(dir: &Path) -> Result<Open, String> {
    let database = open(dir)?;
    let transaction = database.begin_write().map_err(text)?;
    transaction.open_table(TABLE).map_err(text)?.insert("first", "value").map_err(text)?;
    transaction.commit().map_err(text)?;
    Ok(Box::new(database))
}

fn check(dir: &Path) -> Result<(), String> {
    let transaction = open(dir)?.begin_read().map_err(text)?;
    let table = transaction.open_table(TABLE).map_err(text)?;
    match table.get("first").map_err(text)? {
        Some(value) if value.value() == "value" => Ok(()),
        _ => Err("the committed key is gone".to_string()),
    }
}

fn check_opening(dir: &Path) -> Result<(), String> {
    open(dir).map(drop)
}

/// docs/findings/09-redb-name.md
#[test]
fn redb_leaves_the_name_of_its_file_to_the_caller() {
    alone("redb_findings::redb_leaves_the_name_of_its_file_to_the_caller", || {
        let culprits = words(&Story::new(fill, check).culprits());
        assert_eq!(
            culprits.into_iter().collect::<Vec<_>>(),
            ["create store/data.redb: Table 'items' does not exist"]
        );

        let protected = Story::new(fill_and_sync_name, check).culprits();
        assert!(protected.is_empty(), "{protected:#?}");
    });
}

fn fill_and_sync_name(dir: &Path) -> Result<Open, String> {
    let open = fill(dir)?;
    sync(dir)?;
    Ok(open)
}

/// docs/findings/08-creation.md
#[test]
fn redb_does_not_open_what_it_had_not_finished_creating() {
    alone("redb_findings::redb_does_not_open_what_it_had_not_finished_creating", || {
        // Operation 1 creates the file, 2 sizes it, 3 to 5 write and sync it; 5 writes the magic, at last.
        for operation in 3..=5 {
            let killed = Story::new(fill, check_opening).killed_at("data.redb", operation);
            let refusal = "I/O error: Not a redb database: magic number mismatch".to_string();
            assert_eq!(killed.verdict(), Err(refusal), "before operation {operation}");
        }
    });
}
