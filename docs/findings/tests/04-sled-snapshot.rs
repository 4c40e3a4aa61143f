//! sled 0.34.7 after a crash of profile process-kill: the store does not open: corruption: sled found its files corrupt: Read corrupted data at file offset None backtrace ().
//!
//! Written by Brownout: cargo xtask crash --engine sled --profile process-kill --seed 1 --ops 15 --state '18/;10/'
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
    ("blobs/726", 0, &[
    ]),
    ("conf", 60, &[
        (0, "7365676d656e745f73697a653a20383139320a7573655f636f6d7072657373696f6e3a2066616c73650a76657273696f\
         6e3a20302e33340ac1a3b9c3"),
    ]),
    ("db", 8191, &[
        (0, "ffbac70fffffffffffffff7f00000000000000803f7fd0fb0600000071a2c6780501000100eb2183a108080002000000\
         0000000000f122736f080a000300000000000001010002cb82ba8d061100000f5f5f736c65645f5f64656661756c7403\
         de84e04808080004000000000000000064725009080a000500000000000001010004c4e79651061700000f5f5f736c65\
         645f5f64656661756c7403046265746105f31918a2030800ff65fdffffffffffffcb01000000000000f1d2327b0af11a\
         000400066b65792d3230f1107374657020322070617274203020e01d125c08b4e41a2fb9d69b1ade4799f936ef0d14cb\
         b213c321d70d6f2fab0cf5480cbc27ceeaf3cd8a7bdb2f27a80aed41050773637627b7e468eacb714cfdd05d282a57d1\
         79d9b15fee8c40cce49f65758f7f1f1221bcdef1c7e4d4cf4dea675328973a28931c3de2515f6f09e0d5e72eaa884eea\
         a75c662e5feebd5b72ae8388cfc5b492d7a64618c07546cbf18cd724d8f426f00ed4917c2095f30e7f7c56e3e75d21c0\
         46d4fe22aaefc7d3e32dbdeb293cc798941f5dc4c6e06f1d266fc499e8c55ef19ed99cdd79714235c89c2efc9dae6aa8\
         47875e5935d778fabff7e36c2ba82339af0cf0cbceda5ac5b6707054"),
    ]),
    ("snap.00000000000001CC.generating", 93, &[
        (0, "cd010000000000000101820000000000000000821f011c00000000000000001c09012500000000000000002510013500\
         000000000000003512026000000000000000006010b90000000000000000b9f123017000000000000000007012"),
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
