use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Everything that the store in `dir` holds, read through the interface that all engines share.
fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String> {
    let engine = engines::engine(engines::EngineId::Mem).map_err(|error| error.to_string())?;
    let store = engine.open(dir, &engines::Options::default()).map_err(|error| error.to_string())?;
    let mut contents = BTreeMap::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        contents.insert(("kv".to_string(), key.to_vec()), value.to_vec());
        ControlFlow::Continue(())
    };
    store.scan(b"", None, &mut visit).map_err(|error| error.to_string())?;
    store.close().map_err(|error| error.to_string())?;
    Ok(contents)
}
