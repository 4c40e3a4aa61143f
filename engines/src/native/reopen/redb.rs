use std::collections::BTreeMap;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

/// Everything that the database in `dir` holds: (table, key) to value.
fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String> {
    let database = Database::create(dir.join("data.redb")).map_err(|error| error.to_string())?;
    let transaction = database.begin_read().map_err(|error| error.to_string())?;
    let mut contents = BTreeMap::new();
    for handle in transaction.list_tables().map_err(|error| error.to_string())? {
        let definition = TableDefinition::<&[u8], &[u8]>::new(handle.name());
        let table = transaction.open_table(definition).map_err(|error| error.to_string())?;
        for pair in table.iter().map_err(|error| error.to_string())? {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            contents.insert((handle.name().to_string(), key.value().to_vec()), value.value().to_vec());
        }
    }
    Ok(contents)
}
