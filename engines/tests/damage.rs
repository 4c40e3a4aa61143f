//! Damaged files: an engine may refuse them or cope, but it must not take the process down, and what it serves
//! without complaint must be what was written.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, functions outside #[test] included")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use engines::{Batch, Engine, EngineId, Options};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

fn write_content(engine: &dyn Engine, dir: &Path) -> Content {
    let mut content = Content::new();
    let mut store = engine.open(dir, &Options::default()).unwrap();
    for number in 0..200_u8 {
        let mut batch = Batch::new();
        let value = vec![number; 700];
        batch.put([number], value.as_slice());
        store.write(&batch).unwrap();
        content.insert(vec![number], value);
    }
    store.flush().unwrap();
    store.close().unwrap();
    content
}

fn read_content(engine: &dyn Engine, dir: &Path) -> engines::Result<Content> {
    let mut content = Content::new();
    let store = engine.open(dir, &Options::default())?;
    store.scan(b"", None, &mut |key, value| {
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    store.close()?;
    Ok(content)
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// `checks_pages`: whether the engine verifies what it reads, so that it cannot serve what was never written.
fn damage_every_file(id: EngineId, checks_pages: bool) {
    let engine = engines::engine(id).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound");
    let content = write_content(engine, &sound);
    assert_eq!(read_content(engine, &sound).unwrap(), content);
    let files = files_below(&sound);
    for (number, file) in files.iter().enumerate() {
        let damages: [fn(&mut Vec<u8>); 3] = [
            |bytes| bytes.truncate(bytes.len() / 2),
            |bytes| bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0x5a),
            |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle..].iter_mut().take(64).for_each(|byte| *byte ^= 0x5a);
            },
        ];
        for (kind, damage) in damages.iter().enumerate() {
            let copy = dir.path().join(format!("damaged-{number}-{kind}"));
            copy_dir(&sound, &copy);
            let damaged = copy.join(file.strip_prefix(&sound).unwrap());
            let mut bytes = fs::read(&damaged).unwrap();
            damage(&mut bytes);
            fs::write(&damaged, &bytes).unwrap();
            let name = file.strip_prefix(&sound).unwrap().display();
            match read_content(engine, &copy) {
                Ok(found) => {
                    println!("{id}: {name}, damage {kind}: {} of {} pairs", found.len(), content.len());
                    for (key, value) in found.iter().filter(|_| checks_pages) {
                        assert_eq!(content.get(key), Some(value), "{name}, damage {kind}: an invented pair");
                    }
                }
                Err(error) => println!("{id}: {name}, damage {kind}: {error}"),
            }
        }
    }
}

#[test]
fn fjall_with_damaged_files() {
    damage_every_file(EngineId::Fjall, true);
}

#[test]
fn lsm_tree_with_damaged_files() {
    damage_every_file(EngineId::LsmTree, true);
}

/// redb verifies its checksums when it repairs after a crash (and on `check_integrity`), not when it reads
/// pages of a file that was closed in order: such damage is served as data.
#[test]
fn redb_with_damaged_files() {
    damage_every_file(EngineId::Redb, false);
}

#[test]
fn mem_with_damaged_files() {
    damage_every_file(EngineId::Mem, true);
}

#[test]
fn sled_with_damaged_files() {
    damage_every_file(EngineId::Sled, true);
}
