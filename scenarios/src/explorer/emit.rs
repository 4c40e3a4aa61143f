//! A state as a Rust test that needs nothing of this project: it lays the broken directory out with `std::fs` and
//! opens it.

use super::laboratory::{Laboratory, Symptom};
use super::state::State;
use super::{Subject, report};
use model::recovery::{Breach, Key};
use sim::disk::{Disk, Node, View};
use std::fmt::Write as _;

/// Zeros that end a run of bytes: shorter gaps are written out.
const GAP_BYTES: usize = 32;

/// Bytes of a line of hexadecimal digits.
const LINE_BYTES: usize = 48;

pub(super) fn test(
    subject: &Subject,
    laboratory: &Laboratory,
    state: &State,
    symptom: &Symptom,
    image: &Disk,
) -> String {
    let native = subject.native;
    let source = native.test_source();
    let (directories, files) = layout(image);
    let header = format!(
        "//! {} {} after a crash of profile {}: {}.\n//!\n//! Written by Brownout: {}\n//!\n//! In Cargo.toml:\n{}",
        native.name(),
        native.version(),
        subject.profile,
        report::title(symptom),
        report::rerun(subject, state),
        commented(&format!("\n[dev-dependencies]\n{}", source.dependencies)),
    );
    let expectation = expectation(laboratory, symptom);
    format!(
        "{header}\n{}\n\n/// Every directory of the store.\nconst DIRECTORIES: &[&str] = &[{directories}];\n\n/// \
         Every file: its path, its size in bytes, and its bytes where they are not zero, as offset and\n/// \
         hexadecimal digits.\nconst FILES: &[(&str, u64, &[(u64, &str)])] = &[\n{files}];\n{LAY_OUT}{expectation}",
        source.contents.trim(),
    )
}

fn commented(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| match line {
        "" => "//!\n".to_owned(),
        line => format!("//!     {line}\n"),
    });
    lines.collect()
}

const LAY_OUT: &str = r#"
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
"#;

/// The directories and the files below the store's directory, as Rust source.
fn layout(image: &Disk) -> (String, String) {
    let (mut directories, mut files) = (vec!["\"\"".to_owned()], String::new());
    for (path, node) in image.tree(View::Volatile) {
        let Some(path) = path.strip_prefix(&format!("{}/", super::driver::STORE)) else { continue };
        match node {
            Node::Directory => directories.push(format!("{path:?}")),
            Node::File(bytes) => {
                writeln!(files, "    ({path:?}, {}, &[", bytes.len()).expect("a string takes text");
                for (offset, run) in runs(&bytes) {
                    let digits = hexadecimal(run);
                    writeln!(files, "        ({offset}, \"{digits}\"),").expect("a string takes text");
                }
                files.push_str("    ]),\n");
            }
        }
    }
    (directories.join(", "), files)
}

/// The runs of bytes that are not zero, each with its offset.
fn runs(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(start) = bytes[at..].iter().position(|byte| *byte != 0).map(|found| at + found) {
        let mut end = start + 1;
        while let Some(next) = bytes[end..].iter().take(GAP_BYTES).position(|byte| *byte != 0) {
            end += next + 1;
        }
        runs.push((start, &bytes[start..end]));
        at = end;
    }
    runs
}

fn hexadecimal(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(LINE_BYTES).map(line).collect::<Vec<_>>().join("\\\n         ")
}

fn expectation(laboratory: &Laboratory, symptom: &Symptom) -> String {
    let key = |(space, key): &Key| format!("({space:?}.to_owned(), {})", literal(key));
    let written = |change: usize, key: &Key| {
        let mut past = laboratory.past.contents(|other| other == change);
        past.remove(key)
    };
    let assertion = match symptom {
        Symptom::Stumble(_) => String::new(),
        Symptom::Breach(Breach::Lost { change, key: lost, .. }) => {
            let value =
                written(*change, lost).map_or("None".to_owned(), |it| format!("Some(&{})", literal(&it)));
            format!("assert_eq!(found.get(&{}), {value}, \"it was durable\");", key(lost))
        }
        Symptom::Breach(Breach::Resurrected { key: back, .. }) => {
            format!("assert_eq!(found.get(&{}), None, \"it had been removed durably\");", key(back))
        }
        Symptom::Breach(Breach::Torn { change, present, absent }) => {
            let is = |of: &Key| match written(*change, of) {
                Some(value) => format!("found.get(&{}) == Some(&{})", key(of), literal(&value)),
                None => format!("!found.contains_key(&{})", key(of)),
            };
            format!("assert_eq!({}, {}, \"one batch wrote both\");", is(present), is(absent))
        }
        Symptom::Breach(Breach::Invented { key: of, value }) => {
            format!("assert_ne!(found.get(&{}), Some(&{}), \"nobody wrote it\");", key(of), literal(value))
        }
        Symptom::Breach(Breach::OutOfOrder { lost, kept }) => {
            let first = |change: usize| laboratory.past.contents(|other| other == change).pop_first();
            match (first(*lost), first(*kept)) {
                (Some((lost, value)), Some((kept, kept_value))) => format!(
                    "assert!(found.get(&{}) != Some(&{}) || found.get(&{}) == Some(&{}), \"the later write \
                     survived, the earlier one did not\");",
                    key(&kept),
                    literal(&kept_value),
                    key(&lost),
                    literal(&value)
                ),
                _ => String::new(),
            }
        }
    };
    let (found, claim) = match assertion.as_str() {
        "" => ("_", String::new()),
        assertion => ("found", format!("    {assertion}\n")),
    };
    format!(
        "\n#[test]\nfn what_a_crash_left_keeps_its_promises() {{\n    let dir = \
         std::env::temp_dir().join(format!(\"crash-state-{{}}\", std::process::id()));\n    lay_out(&dir).expect(\"the \
         directory can be laid out\");\n    let contents = contents(&dir);\n    \
         std::fs::remove_dir_all(&dir).expect(\"the directory can be removed\");\n    let {found} = \
         contents.expect(\"the store opens\");\n{claim}}}\n"
    )
}

/// Bytes as a vector in Rust source.
fn literal(bytes: &[u8]) -> String {
    format!("b\"{}\".to_vec()", bytes.escape_ascii())
}
