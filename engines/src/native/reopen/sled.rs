use std::collections::BTreeMap;
use std::path::Path;

/// The segment size that the store was created with: sled refuses another one.
const SEGMENT_BYTES: usize = 8 << 10;

/// Everything that the database in `dir` holds: (tree, key) to value.
fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String> {
    let config = sled::Config::new().path(dir).segment_size(SEGMENT_BYTES).flush_every_ms(None);
    let db = config.open().map_err(|error| error.to_string())?;
    let mut contents = BTreeMap::new();
    for name in db.tree_names() {
        let tree = db.open_tree(&name).map_err(|error| error.to_string())?;
        let space = String::from_utf8_lossy(&name).into_owned();
        for pair in tree.iter() {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            contents.insert((space.clone(), key.to_vec()), value.to_vec());
        }
    }
    Ok(contents)
}
