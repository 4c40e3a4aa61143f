use append_log::engine::{AppendLog, Compaction};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that the store in `dir` holds.
fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String> {
    let store = AppendLog::open(dir, Compaction::Careful).map_err(|error| error.to_string())?;
    let pairs = store.scan(b"").map(|pair| {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        Ok((("kv".to_string(), key.to_vec()), value))
    });
    pairs.collect()
}
