//! sled 0.34.7 after a crash of profile ext4-ordered: the store does not open: corruption: sled found its files corrupt: Read corrupted data at file offset None backtrace ().
//!
//! Written by Brownout: cargo xtask crash --engine sled --profile ext4-ordered --seed 1 --ops 12 --state '11/5'
//!
//! In Cargo.toml:
//!
//!     [dev-dependencies]
//!     sled = "=0.34.7"

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

/// Every directory of the store.
const DIRECTORIES: &[&str] = &["", "blobs"];

/// Every file: its path, its size in bytes, and its bytes where they are not zero, as offset and
/// hexadecimal digits.
const FILES: &[(&str, u64, &[(u64, &str)])] = &[
    ("conf", 56, &[
        (0, "7365676d656e745f73697a653a20383139320a7573655f636f6d7072657373696f6e3a2066616c73650a76657273696f\
         6e3a20302e33340a"),
    ]),
    ("db", 0, &[
    ]),
];

/// Lays out what the crash left.
fn lay_out(dir: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    for directory in DIRECTORIES {
        std::fs::create_dir_all(dir.join(directory))?;
    }
    for (path, size, runs) in FILES {
        let file = std::fs::File::create(dir.join(path))?;
        file.set_len(*size)?;
        for (offset, digits) in *runs {
            let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            file.write_all_at(&digits.chunks(2).map(byte).collect::<Vec<u8>>(), *offset)?;
        }
    }
    Ok(())
}

#[test]
fn what_a_crash_left_keeps_its_promises() {
    let dir = std::env::temp_dir().join(format!("crash-state-{}", std::process::id()));
    lay_out(&dir).expect("the directory can be laid out");
    let contents = contents(&dir);
    std::fs::remove_dir_all(&dir).expect("the directory can be removed");
    let _ = contents.expect("the store opens");
}
