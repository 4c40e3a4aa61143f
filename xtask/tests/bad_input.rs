//! What the command line says to input that it cannot take, and the code that it exits with.

use std::path::Path;
use std::process::{Command, Output};

const HELD: i32 = 0;
const USAGE: i32 = 2;

fn xtask(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output();
    output.expect("the binary of this package can be executed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the command line speaks UTF-8")
}

/// Runs it, and expects exit code 2, nothing on standard output, and each of `expected` on standard error.
fn check(arguments: &[&str], expected: &[&str]) {
    let output = xtask(arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {errors}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    for expected in expected {
        assert!(errors.contains(expected), "{arguments:?} says:\n{errors}\nand not: {expected}");
    }
}

/// Writes a plan of seed 1 with `from` replaced by `to`, and expects that `sim --plan` refuses it with `expected`
/// after the file's name.
fn check_plan(from: &str, to: &str, expected: &str) {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let file = directory.path().join("plan.ron");
    let good = xtask(&["sim", "--seed", "1", "--scenario", "calm", "--write-plan", path(&file)]);
    assert_eq!(good.status.code(), Some(HELD));
    let plan = std::fs::read_to_string(&file).expect("the plan was written");
    assert!(plan.contains(from), "a plan contains {from}");
    std::fs::write(&file, plan.replacen(from, to, 1)).expect("the plan can be written");
    check(&["sim", "--plan", path(&file)], &[&format!("error: {}: {expected}", file.display())]);
}

fn path(file: &Path) -> &str {
    file.to_str().expect("a temporary path is UTF-8")
}

#[test]
fn unknown_names_are_refused_with_those_that_exist() {
    check(
        &["sim", "--seed", "1", "--scenario", "stormy"],
        &["unknown scenario `stormy`; the scenarios are default, rolling-upgrade, power, calm"],
    );
    check(
        &["sim", "--seed", "1", "--design", "reeds=local"],
        &["unknown design field `reeds`; the fields are persist_before_send, "],
    );
    check(
        &["swarm", "--seeds", "1..2", "--design", "reads=loud"],
        &["unknown value `loud` of design field `reads`; its values are read-index, local"],
    );
    check(&["sim", "--seed", "1", "--design", "reads"], &["--design reads: a choice looks like reads=local"]);
    check(&["zoo", "--only", "reeds"], &["unknown design field `reeds`"]);
    check(&["zoo", "--only", "reads=read-index"], &["reads=read-index is the right design"]);
    check(&["simm"], &["unrecognized subcommand 'simm'"]);
    check(&["sim", "--seeed", "1"], &["unexpected argument '--seeed'"]);
}

#[test]
fn seeds_that_are_none_are_refused() {
    check(&["swarm", "--seeds", "9..3"], &["the first seed, 9, is above the last, 3"]);
    check(&["swarm", "--seeds", "9"], &["a range of seeds looks like 1..500"]);
    check(&["swarm", "--seeds", "one..3"], &["`one` is no seed"]);
    check(&["sim", "--seed", "-1"], &["-1"]);
    check(&["sim"], &["--seed"]);
    check(&["swarm"], &["--seeds"]);
}

#[test]
fn a_plan_with_an_error_is_refused_with_line_and_column() {
    check_plan("heal_at_ms", "heal_at", "line ");
    check_plan("seed: 1,", "seed: one,", "line 5, column 10: ");
    check_plan("scenario: \"calm\",", "scenario: \"calm\"", "line 5, column 5: ");
    check_plan("faults: [", "faults: [(at_ms: 5, fault: Meteor(target: Leader)),", "line ");
    check_plan(
        "faults: [",
        "faults: [(at_ms: 5, fault: Pause(target: Node(7), for_ms: 1)),",
        "faults[0]: there is no node 7",
    );
    check_plan("policy: Random", "policy: Chaotic", "line ");
    check_plan("(engine: \"", "(engine: \"pebble-", "line ");
}

#[test]
fn an_unknown_fault_engine_or_policy_in_a_plan_is_named_with_those_that_exist() {
    let message = |from: &str, to: &str| {
        let directory = tempfile::tempdir().expect("there is room for a temporary directory");
        let file = directory.path().join("plan.ron");
        xtask(&["sim", "--seed", "1", "--scenario", "calm", "--write-plan", path(&file)]);
        let plan = std::fs::read_to_string(&file).expect("the plan was written");
        std::fs::write(&file, plan.replacen(from, to, 1)).expect("the plan can be written");
        text(&xtask(&["sim", "--plan", path(&file)]).stderr)
    };
    let fault = message("faults: [", "faults: [(at_ms: 5, fault: Meteor(target: Leader)),");
    assert!(fault.contains("`Meteor`") && fault.contains("`Partition`"), "{fault}");
    let engine = message("(engine: \"", "(engine: \"pebble-");
    assert!(engine.contains("unknown engine") && engine.contains("fjall"), "{engine}");
    let policy = message("policy: Random", "policy: Chaotic");
    assert!(policy.contains("`Chaotic`") && policy.contains("`Fixed`"), "{policy}");
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_named() {
    check(
        &["sim", "--plan", "/nowhere/plan.ron"],
        &["error: /nowhere/plan.ron: cannot be read: No such file"],
    );
    check(
        &["sim", "--seed", "1", "--write-plan", "/nowhere/plan.ron"],
        &["error: /nowhere/plan.ron: cannot be written: No such file"],
    );
    check(
        &["sim", "--seed", "1", "--trace", "/nowhere/trace.txt"],
        &["error: /nowhere/trace.txt: cannot be written: No such file"],
    );
    check(
        &["sim", "--seed", "1", "--twice", "--trace", "/nowhere/trace.txt"],
        &["error: /nowhere/trace.first: cannot be written: No such file"],
    );
}

#[test]
fn a_corpus_entry_that_cannot_be_read_is_named_with_line_and_column() {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let add = ["corpus", "--add", "calm", "--scenario", "calm", "--seed", "1", "--about", "Calm."];
    let added = xtask(&[&add[..], &["--directory", path(directory.path())]].concat());
    assert_eq!(added.status.code(), Some(HELD), "{}", text(&added.stderr));
    let rerun = xtask(&["corpus", "--directory", path(directory.path())]);
    assert_eq!(rerun.status.code(), Some(HELD), "{}", text(&rerun.stdout));
    assert!(text(&rerun.stdout).contains("1 entries, each run twice: 1 as expected, 0 differ"));

    let file = directory.path().join("01-calm.ron");
    let entry = std::fs::read_to_string(&file).expect("the entry was written");
    let broken = entry.replacen("verdict: Held", "verdict: Hold", 1);
    std::fs::write(&file, broken).expect("the entry can be written");
    check(
        &["corpus", "--directory", path(directory.path())],
        &[&format!("error: {}: line 4, column ", file.display()), "`Hold`", "`Held`"],
    );
    let wrong = entry.replacen("verdict: Held", "verdict: Violated(Durable)", 1);
    std::fs::write(&file, wrong).expect("the entry can be written");
    let rerun = xtask(&["corpus", "--directory", path(directory.path())]);
    assert_eq!(rerun.status.code(), Some(1));
    assert!(text(&rerun.stdout).contains("expected violated: durable, but the run held"));
}

#[test]
fn corpus_arguments_that_cannot_be_meant_so_are_refused() {
    let add =
        ["corpus", "--add", "entry", "--scenario", "calm", "--about", "Why.", "--directory", "/nowhere"];
    let check_add = |more: &[&str], expected: &str| check(&[&add[..], more].concat(), &[expected]);
    check_add(&[], "--seed or --seeds says where to look");
    check_add(&["--seed", "1", "--require", "world-peace"], "unknown variant `world-peace`, expected one of");
    check_add(
        &["--seed", "1", "--require", "torn-tail-repaired"],
        "`torn tail of the raft log repaired` was not reached",
    );
    check_add(&["--seed", "1"], "/nowhere: cannot be read");
    check(&["corpus", "--directory", "/nowhere"], &["error: /nowhere: cannot be read: No such file"]);
    check(&["corpus", "there-is-no-such-entry"], &["there is no entry named there-is-no-such-entry"]);
    check(&["corpus", "--add", "Ünlikely", "--about", "Why.", "--seed", "1"], &["a name is made of a to z"]);
}
