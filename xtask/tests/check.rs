//! What `check` prints, and the code that it exits with.

use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = r#"{"history": "cas-register", "version": 1}
{"process": 0, "type": "invoke", "f": "write", "value": 1}
{"process": 0, "type": "ok"}
{"process": 1, "type": "invoke", "f": "write", "value": 2}
{"process": 1, "type": "ok"}
{"process": 2, "type": "invoke", "f": "read"}
{"process": 2, "type": "ok", "value": 2}
{"end": 6}
"#;

/// Runs it on a file of this content: the exit code, and both outputs with the folder's name left out.
fn check(content: &str, options: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("there is room for a temporary directory");
    let file = folder.path().join("history");
    std::fs::write(&file, content).expect("the history can be written");
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("check")
        .arg(&file)
        .args(options)
        .output()
        .expect("the binary of this package can be executed");
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("the command line speaks UTF-8");
        text.replace(path(folder.path()), "")
    };
    (status.code().expect("it exits"), text(stdout), text(stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

#[test]
fn a_legal_history_is_said_to_be_one() {
    let (code, output, errors) = check(GOOD, &[]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(output.starts_with("/history: linearizable: 3 operations of a cas-register, "), "{output}");
}

#[test]
fn a_violation_is_drawn_and_explained() {
    let stale = GOOD.replace("\"value\": 2}\n{\"end\"", "\"value\": 1}\n{\"end\"");
    let (code, output, _) = check(&stale, &[]);
    assert_eq!(code, 1, "{output}");
    for expected in [
        "/history: not linearizable: 3 operations of a cas-register, ",
        "no legal order explains the answer of #2 client 2 [6..7 ns] read -> 1",
        "client 2                  |===|   #2 read -> 1   <- this answer has no place",
        "Without any one of them there is a legal order.",
        "#2 client 2 [6..7 ns] read -> 1: the value is 2",
    ] {
        assert!(output.contains(expected), "{output}\nlacks: {expected}");
    }
    let (code, output, _) = check(&stale, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&output).expect("it is JSON");
    assert_eq!((code, &json["verdict"]), (1, &serde_json::json!("not linearizable")));
    assert_eq!(json["evidence"]["minimal"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["evidence"]["minimal"][2]["returned_line"], 7);
}

#[test]
fn a_budget_that_ends_first_is_no_verdict() {
    let (code, output, _) = check(GOOD, &["--budget", "1"]);
    assert_eq!(code, 3, "{output}");
    assert!(output.contains("undecided"), "{output}");
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let refused = |content: &str, options: &[&str], expected: &str| {
        let (code, output, errors) = check(content, options);
        assert_eq!((code, output.as_str()), (2, ""), "{errors}");
        assert!(errors.contains(expected), "{errors}\nlacks: {expected}");
    };
    refused("", &[], "error: /history: the file is empty");
    refused(
        "\n<html>\n",
        &[],
        "error: /history:2: a Jepsen log, a key-value log of Porcupine, or the header",
    );
    refused(&GOOD[..GOOD.len() - 4], &[], "error: /history:8: the file was cut off here");
    refused(&GOOD.replace("{\"end\": 6}\n", ""), &[], "error: /history:7: the file was cut off here");
    refused(
        &GOOD.replace("\"write\", \"value\": 2", "\"wrote\""),
        &[],
        "error: /history:4: unknown call \"wrote\"",
    );
    refused(GOOD, &["--spec", "queue"], "the history is of a cas-register, not of a queue");
    refused(
        GOOD,
        &["--spec", "stack"],
        "unknown object `stack`; known are register, cas-register, kv, set, ",
    );
}
