//! fjall 3.1.13 after a crash of profile process-kill: the store does not open: corruption: fjall found its files corrupt: File exists (os error 17).
//!
//! Written by Brownout: cargo xtask crash --engine fjall --profile process-kill --seed 1 --ops 20 --state '8/'
//!
//! In Cargo.toml:
//!
//!     [dev-dependencies]
//!     fjall = "=3.1.13"
//!     lsm-tree = "=3.1.10"

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

/// Every directory of the store.
const DIRECTORIES: &[&str] = &["", "keyspaces"];

/// Every file: its path, its size in bytes, and its bytes where they are not zero, as offset and
/// hexadecimal digits.
const FILES: &[(&str, u64, &[(u64, &str)])] = &[
    ("0.jnl", 0, &[
    ]),
    ("lock", 0, &[
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
