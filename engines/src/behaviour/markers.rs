//! Cases about data directories and their markers.

use std::fs;
use std::path::Path;

use super::fixture::*;
use crate::marker::{self, DATA_DIRECTORY, MARKER_FILE};
use crate::{Engine, EngineError, EngineId, Options, registry};

pub(super) fn marked_directory_opens_with_its_engine_only(engine: &dyn Engine, dir: &Path) {
    let home = dir.join("some/node");
    assert_eq!(marker::engine_of(&home).expect("asking for the engine"), None);
    let mut store = open_marked(engine.id(), &home);
    put(&mut *store, &[("a", "1")]);
    flush(&mut *store);
    close(store);
    assert_eq!(marker::engine_of(&home).expect("asking for the engine"), Some(engine.id()));
    for other in registry().iter().filter(|other| other.id() != engine.id()) {
        let error = open_error(other.id(), &home);
        assert!(matches!(error, EngineError::Mismatch { .. }), "opening with {} gave {error}", other.id());
        let message = error.to_string();
        for name in [engine.id().name(), other.id().name(), &home.display().to_string()] {
            assert!(message.contains(name), "{message:?} does not name {name}");
        }
    }
    let store = open_marked(engine.id(), &home);
    assert_eq!(content(&*store), pairs(&[("a", "1")]), "the refusals did no harm");
    close(store);
}

pub(super) fn malformed_marker_is_refused(engine: &dyn Engine, dir: &Path) {
    close(open_marked(engine.id(), dir));
    let marker = dir.join(MARKER_FILE);
    let sound = fs::read(&marker).expect("reading the marker");
    assert_eq!(sound, format!("brownout-engine 1 {}\n", engine.id()).into_bytes());
    let mut malformed = vec![sound.repeat(2), sound.repeat(100), b"brownout-engine 1 rocksdb\n".to_vec()];
    malformed.extend((0..sound.len()).map(|length| sound[..length].to_vec()));
    malformed.extend((0..sound.len()).map(|index| {
        let mut flipped = sound.clone();
        flipped[index] ^= 0x80;
        flipped
    }));
    for bytes in malformed {
        fs::write(&marker, &bytes).expect("damaging the marker");
        let error = open_error(engine.id(), dir);
        let shown = bytes.escape_ascii();
        assert!(matches!(error, EngineError::MalformedMarker { .. }), "\"{shown}\" gave {error}");
    }
    fs::write(&marker, &sound).expect("mending the marker");
    close(open_marked(engine.id(), dir));
}

pub(super) fn data_without_a_marker_are_sleds(engine: &dyn Engine, dir: &Path) {
    fs::create_dir_all(dir.join(DATA_DIRECTORY)).expect("preparing an empty data directory");
    assert_eq!(marker::engine_of(dir).expect("asking for the engine"), None, "no data, nobody's");
    let mut store = open_marked(engine.id(), dir);
    put(&mut *store, &[("a", "1")]);
    flush(&mut *store);
    close(store);
    fs::remove_file(dir.join(MARKER_FILE)).expect("removing the marker");
    assert_eq!(marker::engine_of(dir).expect("asking for the engine"), Some(EngineId::Sled));
    if engine.id() == EngineId::Sled {
        let store = open_marked(EngineId::Sled, dir);
        assert_eq!(content(&*store), pairs(&[("a", "1")]));
        close(store);
        assert!(dir.join(MARKER_FILE).exists(), "a legacy directory gets its marker");
    } else {
        let error = open_error(engine.id(), dir);
        assert!(
            matches!(error, EngineError::Mismatch { found: EngineId::Sled, .. }),
            "legacy data opened as {} gave {error}",
            engine.id()
        );
    }
}

pub(super) fn open_error(id: EngineId, dir: &Path) -> EngineError {
    match marker::open_data_dir(dir, id, &Options::default()) {
        Ok(_) => panic!("the data directory opened with {id}"),
        Err(error) => error,
    }
}
