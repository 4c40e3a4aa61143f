//! The rules of the house that no compiler checks: who may depend on whom, where `unsafe` may stand, what the
//! code under test must not know, and that nothing of ours is bound to one place on the network.

#![expect(clippy::unwrap_used, reason = "a test, functions outside #[test] included")]

use cargo_metadata::MetadataCommand;
// Linked with the flags of interposition as every program of this crate is, so it must have the symbols.
use sim as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who depends on whom among our own crates, whatever the kind of dependency.
///
/// `xtask` names `sim` beside `scenarios` for two things only: cargo hands a crate's linker flags to its direct
/// dependents, and `main` settles the addresses of the process before anything else runs.
const DEPENDENCIES: [(&str, &[&str]); 8] = [
    ("sim", &[]),
    ("linearizability", &[]),
    ("model", &["linearizability"]),
    ("snapshots", &[]),
    ("engines", &[]),
    ("cluster", &["engines", "snapshots"]),
    ("scenarios", &["cluster", "engines", "model", "sim", "snapshots"]),
    ("xtask", &["scenarios", "sim"]),
];

/// What `xtask` may use of `sim`: nothing that would be logic of its own.
const SIM_IN_XTASK: [&str; 3] = ["isolation::settle_addresses", "first_difference", "Difference"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every file below `directory` whose name ends so, as (path from the workspace's root, text).
fn files(directory: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![workspace().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                let name = path.strip_prefix(workspace()).unwrap().to_str().unwrap().to_string();
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{directory} holds files that end with {ending:?}");
    found
}

fn crates() -> impl Iterator<Item = &'static str> {
    DEPENDENCIES.iter().map(|(name, _)| *name)
}

#[test]
fn our_crates_depend_on_each_other_as_the_architecture_says() {
    let metadata =
        MetadataCommand::new().manifest_path(workspace().join("Cargo.toml")).no_deps().exec().unwrap();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let found: BTreeMap<&str, BTreeSet<&str>> = metadata
        .packages
        .iter()
        .map(|package| {
            let names = package.dependencies.iter().map(|dependency| dependency.name.as_str());
            (package.name.as_str(), names.filter(|name| ours.contains(name)).collect())
        })
        .collect();
    let expected = DEPENDENCIES.map(|(name, dependencies)| (name, dependencies.iter().copied().collect()));
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn the_command_line_has_no_logic_of_the_machine() {
    for (path, text) in files("xtask/src", ".rs") {
        let code = code(&text, Strings::Dropped);
        for (at, _) in words(&code).filter(|(_, word)| *word == "sim") {
            let Some(used) = code[at..].strip_prefix("sim::") else { continue };
            assert!(
                SIM_IN_XTASK.iter().any(|allowed| used.starts_with(allowed)),
                "{path}: `sim::{}` belongs in `scenarios`",
                used.split(['(', ';', ')', ' ']).next().unwrap_or(used)
            );
        }
    }
}

#[test]
fn unsafe_code_stands_at_the_libc_boundary_only() {
    let mut at_the_boundary = 0;
    for name in crates() {
        for (path, text) in files(name, ".rs") {
            let found = words(&code(&text, Strings::Dropped)).filter(|(_, word)| *word == "unsafe").count();
            if path.starts_with("sim/src/interpose/") {
                at_the_boundary += found;
            } else {
                assert_eq!(found, 0, "{path} has unsafe code");
            }
        }
    }
    assert!(at_the_boundary > 100, "the search sees unsafe code where there is some: {at_the_boundary}");
}

#[test]
fn the_code_under_test_does_not_know_that_it_is_simulated() {
    for (path, text) in files("cluster", ".rs").into_iter().chain(files("engines", ".rs")) {
        let code = code(&text, Strings::Kept);
        for word in ["simulat", "madsim"] {
            assert!(!code.to_lowercase().contains(word), "{path} knows of {word}…");
        }
        for foreign in ["sim", "scenarios", "model"] {
            let mut paths = words(&code).filter(|(_, word)| *word == foreign);
            assert!(
                !paths.any(|(at, _)| code[at + foreign.len()..].starts_with("::")),
                "{path} uses {foreign}"
            );
        }
    }
}

/// What would bind a build to one registry, mirror or proxy.
const SOURCES_OF_PACKAGES: [&str; 7] =
    ["crates.io", "sparse+", "[source.", "[registries", "replace-with", "CARGO_REGISTRIES", "_proxy"];

/// A build must work wherever cargo does.
#[test]
fn no_file_of_ours_names_a_registry() {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let sources: BTreeSet<&str> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    let default = "\"registry+https://github.com/rust-lang/crates.io-index\"";
    assert_eq!(sources, BTreeSet::from([default]), "cargo's name for the default registry, and no other");

    let code = crates().flat_map(|name| [files(name, ".rs"), files(name, ".toml")]).flatten();
    let rest = [".cargo", ".ci", ".github", "docs"].into_iter().flat_map(|directory| files(directory, ""));
    for (path, text) in code.chain(rest).filter(|(path, _)| *path != file!()) {
        let named = SOURCES_OF_PACKAGES.iter().find(|source| text.contains(*source));
        assert_eq!(named, None, "{path} says where packages come from");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Strings {
    Kept,
    Dropped,
}

/// The text of a Rust file without its comments, and without the content of its strings where asked. Each is
/// replaced by a blank, so that what stood beside it stays apart.
fn code(text: &str, strings: Strings) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let token = first_token(rest, code.chars().next_back());
        match token {
            Token::Comment(length) => {
                code.push(' ');
                rest = &rest[length..];
            }
            Token::String(length) => {
                code.push_str(if strings == Strings::Kept { &rest[..length] } else { " " });
                rest = &rest[length..];
            }
            Token::Other => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    code
}

/// What a text begins with, and how many bytes of it are that.
#[derive(Debug, PartialEq)]
enum Token {
    Comment(usize),
    String(usize),
    Other,
}

fn first_token(text: &str, before: Option<char>) -> Token {
    if text.starts_with("//") {
        return Token::Comment(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Token::Comment(block_comment(text));
    }
    if text.starts_with('\'') {
        return character(text).map_or(Token::Other, Token::String);
    }
    if before.is_some_and(is_of_a_word) {
        return Token::Other;
    }
    let prefix = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    let raw = text[..prefix].ends_with('r');
    let after = text[prefix..].trim_start_matches('#');
    let hashes = text.len() - prefix - after.len();
    match after.strip_prefix('"') {
        Some(content) if raw => {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = content.find(&end).map_or(content.len(), |at| at + end.len());
            Token::String(text.len() - content.len() + length)
        }
        Some(content) if hashes == 0 => Token::String(text.len() - content.len() + until_quote(content)),
        _ => Token::Other,
    }
}

/// The length of a block comment, others within it included.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a character literal; none where the quote begins a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut content = text[1..].chars();
    match content.next()? {
        '\\' => Some(3 + text[3..].find('\'')?),
        one => (content.next()? == '\'').then_some(2 + one.len_utf8()),
    }
}

/// The length up to and with the quote that ends a string.
fn until_quote(content: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in content.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    content.len()
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The words of a text, each with its offset.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(|letter| !is_of_a_word(letter))
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

#[test]
fn the_search_tells_code_from_comments_and_strings() {
    let check = |text: &str, expected: &str| {
        let seen: Vec<_> = words(&code(text, Strings::Dropped)).map(|(_, word)| word.to_string()).collect();
        assert_eq!(seen.join(" "), expected, "{text}");
    };
    check("a // unsafe\nb /* unsafe /* unsafe */ unsafe */ c", "a b c");
    check(r##"a "unsafe \" unsafe" b r#"unsafe " unsafe"# c b"unsafe" d br"unsafe\" e"##, "a b c d e");
    check("a '\"' b '\\'' c 'x' &'a d '\\u{41}' e", "a b c a d e");
    check("#[unsafe(no_mangle)] unsafe_code rusty", "unsafe no_mangle unsafe_code rusty");
    assert_eq!(code("a \"b\" // c", Strings::Kept), "a \"b\"  ");
}
