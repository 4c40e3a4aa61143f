//! redb 4.4.0 after a crash of profile posix: durable data is gone.
//!
//! Written by Brownout: cargo xtask crash --engine redb --profile posix --seed 1 --ops 20 --state '29/2'
//!
//! In Cargo.toml:
//!
//!     [dev-dependencies]
//!     redb = "=4.4.0"

use std::collections::BTreeMap;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

/// Everything that the database in `dir` holds: (table, key) to value.
fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String> {
    let database = Database::create(dir.join("data.redb")).map_err(|error| error.to_string())?;
    let transaction = database.begin_read().map_err(|error| error.to_string())?;
    let mut contents = BTreeMap::new();
    for handle in transaction.list_tables().map_err(|error| error.to_string())? {
        let definition = TableDefinition::<&[u8], &[u8]>::new(handle.name());
        let table = transaction.open_table(definition).map_err(|error| error.to_string())?;
        for pair in table.iter().map_err(|error| error.to_string())? {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            contents.insert((handle.name().to_string(), key.value().to_vec()), value.value().to_vec());
        }
    }
    Ok(contents)
}

/// Every directory of the store.
const DIRECTORIES: &[&str] = &[""];

/// Every file: its path, its size in bytes, and its bytes where they are not zero, as offset and
/// hexadecimal digits.
const FILES: &[(&str, u64, &[(u64, &str)])] = &[
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
    let found = contents.expect("the store opens");
    assert_eq!(found.get(&("beta".to_owned(), b"key-20".to_vec())), Some(&b"step 2 part 0 \xe0\x1d\x12\\\x08\xb4\xe4\x1a/\xb9\xd6\x9b\x1a\xdeG\x99\xf96\xef\r\x14\xcb\xb2\x13\xc3!\xd7\ro/\xab\x0c\xf5H\x0c\xbc\'\xce\xea\xf3\xcd\x8a{\xdb/\'\xa8\n\xedA\x05\x07scv\'\xb7\xe4h\xea\xcbqL\xfd\xd0](*W\xd1y\xd9\xb1_\xee\x8c@\xcc\xe4\x9feu\x8f\x7f\x1f\x12!\xbc\xde\xf1\xc7\xe4\xd4\xcfM\xeagS(\x97:(\x93\x1c=\xe2Q_o\t\xe0\xd5\xe7.\xaa\x88N\xea\xa7\\f._\xee\xbd[r\xae\x83\x88\xcf\xc5\xb4\x92\xd7\xa6F\x18\xc0uF\xcb\xf1\x8c\xd7$\xd8\xf4&\xf0\x0e\xd4\x91| \x95\xf3\x0e\x7f|V\xe3\xe7]!\xc0F\xd4\xfe\"\xaa\xef\xc7\xd3\xe3-\xbd\xeb)<\xc7\x98\x94\x1f]\xc4\xc6\xe0o\x1d&o\xc4\x99\xe8\xc5^\xf1\x9e\xd9\x9c\xddyqB5\xc8\x9c.\xfc\x9d\xaej\xa8G\x87^Y5\xd7x\xfa\xbf\xf7\xe3l+\xa8#9\xaf\x0c\xf0\xcb\xce\xdaZ\xc5\xb6ppT".to_vec()), "it was durable");
}
