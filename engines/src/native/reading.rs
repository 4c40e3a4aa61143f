//! A reader that is handed out as source text, checked against the store that it is to read.

use std::path::Path;

use super::{Contents, Mutation, Native, Step};

/// Writes to `spaces`, makes it durable, and compares what `read` sees with what the store itself says. The text
/// that is handed out must be that of `read`, which the caller includes from the same file.
pub(crate) fn check_reader(
    native: &dyn Native,
    spaces: &[&str],
    read: impl FnOnce(&Path) -> Result<Contents, String>,
) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = native.open(dir.path()).unwrap();
    for number in 0..300_u32 {
        let space = spaces[number as usize % spaces.len()].to_owned();
        let (key, value) = (number.to_be_bytes().to_vec(), format!("value {number}").into_bytes());
        store.run(&Step::Write { batch: vec![Mutation::Put { space, key, value }], mode: 0 }).unwrap();
    }
    store.run(&Step::Persist(native.promises().persists.len() - 1)).unwrap();
    let expected = store.contents().unwrap();
    assert_eq!(expected.len(), 300);
    store.close().unwrap();
    assert_eq!(read(dir.path()), Ok(expected));
    let source = native.test_source();
    assert!(
        source
            .contents
            .contains("fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String>")
    );
    assert!(source.dependencies.contains(native.version()), "{}", source.dependencies);
}
