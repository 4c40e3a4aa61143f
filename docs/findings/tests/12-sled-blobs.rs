//! sled 0.34.7 after a crash of profile ext4-ordered: durable data is gone.
//!
//! Written by Brownout: cargo xtask crash --engine sled --profile ext4-ordered --seed 1 --ops 12 --state '29/11'
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
    ("db", 1564, &[
        (0, "ffbac70fffffffffffffff7f00000000000000803f7fd0fb0600000071a2c6780501000100eb2183a108080002000000\
         0000000000f122736f080a000300000000000001010002cb82ba8d061100000f5f5f736c65645f5f64656661756c7403\
         de84e04808080004000000000000000064725009080a000500000000000001010004c4e79651061700000f5f5f736c65\
         645f5f64656661756c7403046265746105f31918a2030800ff65fdffffffffffffcb01000000000000f1d2327b0af11a\
         000400066b65792d3230f1107374657020322070617274203020e01d125c08b4e41a2fb9d69b1ade4799f936ef0d14cb\
         b213c321d70d6f2fab0cf5480cbc27ceeaf3cd8a7bdb2f27a80aed41050773637627b7e468eacb714cfdd05d282a57d1\
         79d9b15fee8c40cce49f65758f7f1f1221bcdef1c7e4d4cf4dea675328973a28931c3de2515f6f09e0d5e72eaa884eea\
         a75c662e5feebd5b72ae8388cfc5b492d7a64618c07546cbf18cd724d8f426f00ed4917c2095f30e7f7c56e3e75d21c0\
         46d4fe22aaefc7d3e32dbdeb293cc798941f5dc4c6e06f1d266fc499e8c55ef19ed99cdd79714235c89c2efc9dae6aa8\
         47875e5935d778fabff7e36c2ba82339af0cf0cbceda5ac5b6707054db42ab49030800ff65fdffffffffffff93020000\
         0000000088b2aa260aa8000400066b65792d31369f737465702033207061727420302003867d7cd9a760195c7b9fcdf5\
         3277eb229fb7d9abe1a8867892bb9ed720f39ee062521850c5f84997aa0a4d5d89d6bd9ad6930132bf36b3da07cf2d39\
         5d8dc2080e28d2dddeff863aba658e3c43022bfe9a34ce42649806ce49365043e817cb69e52f7f5fef1544a36c1da058\
         6150df0cdcec0f7637149876c31ad91b5d6a03a73db0ead3da6eb9c3b95b57cc25c377f8c5f92efb030800ff65fdffff\
         ffffffff92030000000000007c168b580a22000400066b65792d3032197374657020342070617274203220073465b67e\
         ca1eda0a88d7fd02b8b10b080004d602000000000000081142c60a50000400066b65792d313047737465702034207061\
         72742030202c968d11c0a8199718dd0a2216bce709401b24ae5948fe55fd376e743c45ac672d89352e2d8706be552a06\
         4219699978058ecb00c365f971145bb962a60a4d000400066b65792d3232447374657020342070617274203320c5bf67\
         067f8ffb645402a2af64237c94c7061a838a3d86fcd7702f650fcd7af9423cd7d168781b4f927d8346054d2020d01050\
         f5bb0aa7d9e956030800ff65fdffffffffffff1b060000000000008d8297300af278000400066b65792d3032f26e7374\
         65702035207061727420302078aee0d3d0f8f251868229d3ed3d22434bba5b8812c0315322808be660a4f9d3b45d15ee\
         c526adcdbd63c29fcd21bd79d133758f414615632e21ee082ee58a9f5511e05dab3c94cf2b3581542be73cde33eec44f\
         4598beb9eb289299e2f43c4f29617b3ade386082e082da698e773241d9a970c0a816f7a340fb71ef81c7b3b357375941\
         84a923a91f876dace355f00892719daf9fd99bd05018418dce34cc5526da0caa4995dd0b74ff007fa48b4dd319db0f8d\
         c6aab83722208ba3c5b123b47ddf6ea920b596ee3ca4746e4d170690dbd6dbd18de467462fb054b6d7ff6c14033ab84f\
         77e7d534cabd493ea85717718af9611da1b8843e15b7bda352e6cf376f1d10aa3f2fd568895c67b3cb9612f87dccd6a0\
         d6b4fd06ed3bdfd3fe9f1a766ffa12fd1d163de126b18f61bc12b51d651f9734a86c9910ac9bea6fc6004f92d8e41473\
         359fab3c9240d66ef10c187f6807e1dcb183746fe377cc841005805bf5947efe8908ec2686e40e228944ffff1d78b93e\
         3d0171da721111a906a4c992e520e102f1f513ccb91df9ad544eb404425c2ff2612baf27066a20bb604f7bbe7b5c5f69\
         5ec8d63d5abd5f369856581454e5c428f971dfa15f35bf9d905f08f789ae91c5542ef5991e6fe02c2149fc2c833a5034\
         be60c5805d54a601636e6cadb9bdaadcf6ed8cff7921eef60d11b13b398e21e4b665fa35f434b55c1a61b89c03e7b6b1\
         67956ac564252b395f38ae93a5edffb5a16cec62f555d9874eebb41bfb8acde52a1a999889daadfa37b5db63b940be8b\
         cd14cfc586a73e24960a2eb8be402ce200de17a3b0296adc65c5ffc5"),
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
    let found = contents.expect("the store opens");
    assert_eq!(found.get(&("beta".to_owned(), b"key-02".to_vec())), Some(&b"step 5 part 0 x\xae\xe0\xd3\xd0\xf8\xf2Q\x86\x82)\xd3\xed=\"CK\xba[\x88\x12\xc01S\"\x80\x8b\xe6`\xa4\xf9\xd3\xb4]\x15\xee\xc5&\xad\xcd\xbdc\xc2\x9f\xcd!\xbdy\xd13u\x8fAF\x15c.!\xee\x08.\xe5\x8a\x9fU\x11\xe0]\xab<\x94\xcf+5\x81T+\xe7<\xde3\xee\xc4OE\x98\xbe\xb9\xeb(\x92\x99\xe2\xf4<O)a{:\xde8`\x82\xe0\x82\xdai\x8ew2A\xd9\xa9p\xc0\xa8\x16\xf7\xa3@\xfbq\xef\x81\xc7\xb3\xb3W7YA\x84\xa9#\xa9\x1f\x87m\xac\xe3U\xf0\x08\x92q\x9d\xaf\x9f\xd9\x9b\xd0P\x18A\x8d\xce4\xccU&\xda\x0c\xaaI\x95\xdd\x0bt\xff\x00\x7f\xa4\x8bM\xd3\x19\xdb\x0f\x8d\xc6\xaa\xb87\" \x8b\xa3\xc5\xb1#\xb4}\xdfn\xa9 \xb5\x96\xee<\xa4tnM\x17\x06\x90\xdb\xd6\xdb\xd1\x8d\xe4gF/\xb0T\xb6\xd7\xffl\x14\x03:\xb8Ow\xe7\xd54\xca\xbdI>\xa8W\x17q\x8a\xf9a\x1d\xa1\xb8\x84>\x15\xb7\xbd\xa3R\xe6\xcf7o\x1d\x10\xaa?/\xd5h\x89\\g\xb3\xcb\x96\x12\xf8}\xcc\xd6\xa0\xd6\xb4\xfd\x06\xed;\xdf\xd3\xfe\x9f\x1avo\xfa\x12\xfd\x1d\x16=\xe1&\xb1\x8fa\xbc\x12\xb5\x1de\x1f\x974\xa8l\x99\x10\xac\x9b\xeao\xc6\x00O\x92\xd8\xe4\x14s5\x9f\xab<\x92@\xd6n\xf1\x0c\x18\x7fh\x07\xe1\xdc\xb1\x83to\xe3w\xcc\x84\x10\x05\x80[\xf5\x94~\xfe\x89\x08\xec&\x86\xe4\x0e\"\x89D\xff\xff\x1dx\xb9>=\x01q\xdar\x11\x11\xa9\x06\xa4\xc9\x92\xe5 \xe1\x02\xf1\xf5\x13\xcc\xb9\x1d\xf9\xadTN\xb4\x04B\\/\xf2a+\xaf\'\x06j \xbb`O{\xbe{\\_i^\xc8\xd6=Z\xbd_6\x98VX\x14T\xe5\xc4(\xf9q\xdf\xa1_5\xbf\x9d\x90_\x08\xf7\x89\xae\x91\xc5T.\xf5\x99\x1eo\xe0,!I\xfc,\x83:P4\xbe`\xc5\x80]T\xa6\x01cnl\xad\xb9\xbd\xaa\xdc\xf6\xed\x8c\xffy!\xee\xf6\r\x11\xb1;9\x8e!\xe4\xb6e\xfa5\xf44\xb5\\\x1aa\xb8\x9c\x03\xe7\xb6\xb1g\x95j\xc5d%+9_8\xae\x93\xa5\xed\xff\xb5\xa1l\xecb\xf5U\xd9\x87N\xeb\xb4\x1b\xfb\x8a\xcd\xe5*\x1a\x99\x98\x89\xda\xad\xfa7\xb5\xdbc\xb9@\xbe\x8b\xcd\x14\xcf\xc5\x86\xa7>$\x96\n.\xb8\xbe@,\xe2\x00\xde\x17\xa3\xb0)j\xdce\xc5\xff\xc5".to_vec()), "it was durable");
}
