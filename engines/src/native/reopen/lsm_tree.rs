use std::collections::BTreeMap;
use std::path::Path;

use lsm_tree::{AbstractTree, Config, Guard, SeqNo, SequenceNumberCounter};

/// Everything that the tree in `dir` holds. Its keys are a space's name, a zero byte, and a key of that space.
fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String> {
    let counter = SequenceNumberCounter::default;
    let tree = Config::new(dir, counter(), counter()).open().map_err(|error| error.to_string())?;
    let mut contents = BTreeMap::new();
    for pair in tree.iter(SeqNo::MAX, None) {
        let (key, value) = pair.into_inner().map_err(|error| error.to_string())?;
        let zero = key.iter().position(|byte| *byte == 0).ok_or("a key without a space")?;
        let space = String::from_utf8_lossy(&key[..zero]).into_owned();
        contents.insert((space, key[zero + 1..].to_vec()), value.to_vec());
    }
    Ok(contents)
}
