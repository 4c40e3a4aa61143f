use std::collections::BTreeMap;
use std::path::Path;

/// Everything that the database in `dir` holds: (keyspace, key) to value.
fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String> {
    let database =
        fjall::Database::builder(dir).worker_threads(1).open().map_err(|error| error.to_string())?;
    let mut contents = BTreeMap::new();
    for name in database.list_keyspace_names() {
        let keyspace = database
            .keyspace(&name, fjall::KeyspaceCreateOptions::default)
            .map_err(|error| error.to_string())?;
        for pair in keyspace.iter() {
            let (key, value) = pair.into_inner().map_err(|error| error.to_string())?;
            contents.insert((name.to_string(), key.to_vec()), value.to_vec());
        }
    }
    Ok(contents)
}
