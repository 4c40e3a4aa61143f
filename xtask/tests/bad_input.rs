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
/// after the file's name. What there is to refuse in a plan is tested in `scenarios/tests/plans.rs`.
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
    check(
        &["bench", "--only", "speed"],
        &["unknown figures `speed`; known are machine, runs, growth, crash, zoo, checker"],
    );
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
    check(&["sim"], &["--seed or --plan says what to run"]);
    check(&["swarm"], &["--seeds"]);
}

#[test]
fn a_plan_with_an_error_is_refused_with_line_and_column() {
    check_plan("seed: 1,", "seed: one,", "line 5, column 10: ");
    check_plan("scenario: \"calm\",", "scenario: \"calm\"", "line 5, column 5: ");
    check_plan(
        "faults: [",
        "faults: [(at_ms: 5, fault: Pause(target: Node(7), for_ms: 1)),",
        "faults[0]: there is no node 7",
    );
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
    assert!(text(&rerun.stdout).contains("1 entries, runs done twice: 1 as expected, 0 differ"));

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

#[test]
fn nodes_get_engines_that_there_are() {
    check(
        &["sim", "--seed", "1", "--engines", "redb,rocksdb"],
        &["unknown engine \"rocksdb\"; known engines: sled, "],
    );
    let no_guest = "error: nodes[1]: misuse: this program has no engine guest (0xf0); it has sled, fjall, ";
    check(&["sim", "--seed", "1", "--engines", "redb,guest"], &[no_guest]);
    check(&["swarm", "--seeds", "1..2", "--engines", "redb,guest"], &[no_guest]);
    check(
        &["sim", "--seed", "1", "--scenario", "rolling-upgrade", "--engines", "redb"],
        &["error: nodes[0]: release 1 knows only sled, not redb"],
    );
}

#[test]
fn options_of_crash_that_would_be_ignored_are_refused() {
    let mem = ["crash", "--engine", "mem"];
    let both = |first: &[&'static str], second: &[&'static str]| {
        let arguments = [&mem[..], first, second].concat();
        check(&arguments, &["cannot be used with", first[0], second[0]]);
    };
    for other in [
        &["--profile", "posix"][..],
        &["--sample", "4"],
        &["--exhaustive"],
        &["--state", "12/"],
        &["--emit-test", "lost.rs"],
    ] {
        both(&["--fault", "eio"], other);
    }
    for other in [&["--sample", "4"][..], &["--exhaustive"], &["--jobs", "1"]] {
        both(&["--state", "12/"], other);
    }
    let list = ["crash", "--engine", "list", "--seed", "1"];
    check(&list, &["--engine list only lists: `--seed` needs the name of an engine"]);
}

#[test]
fn a_crash_exploration_of_what_there_is_not_is_refused() {
    check(
        &["crash", "--engine", "rocksdb"],
        &["unknown engine `rocksdb`; known are sled, fjall, redb, lsm-tree, mem"],
    );
    check(
        &["crash", "--engine", "mem", "--profile", "zfs"],
        &["unknown profile `zfs`; known are process-kill, "],
    );
    check(&["crash", "--engine", "mem", "--fault", "zap"], &["unknown fault `zap`; known are eio, enospc, "]);
    check(&["crash", "--engine", "mem", "--ops", "0"], &["0 is not in 1.."]);
    let mem = ["crash", "--engine", "mem", "--ops", "5"];
    let with = |more: &[&'static str]| [&mem[..], more].concat();
    check(&with(&["--state", "12"]), &["`12` is no crash state: `12` has no `/`. A state looks like 137/"]);
    check(&with(&["--state", "999/"]), &["there is no change 999: the disk was changed"]);
    check(&with(&["--state", "4/77"]), &["operation 77 cannot be lost after change 4: what can be is"]);
    check(&with(&["--state", "4~4096/"]), &["change 5 is no write to fall inside of"]);
    check(&with(&["--fault", "eio", "--at", "r99999"]), &["call r99999: the engine makes no such call"]);
    check(&with(&["--emit-test", "/nonexistent/lost.rs"]), &["/nonexistent/lost.rs cannot be written"]);
    check(&with(&["--state", "0/"]), &["no crash falls before change "]);
    check(
        &with(&["--profile", "lying"]),
        &["no sync lies in an exploration", "use posix; lying devices are part of `sim` plans"],
    );
}
