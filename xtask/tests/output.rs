//! Standard output: what help and lists say there, and what happens when nobody reads it to its end.

use std::process::{Command, Output, Stdio};

fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the command line speaks UTF-8")
}

/// Runs it to its end, which must be a good one; what it printed.
fn printed(arguments: &[&str]) -> String {
    let output = xtask(arguments).output().expect("the binary of this package can be executed");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs it with a standard output that nobody reads.
fn unread(arguments: &[&str]) -> Output {
    let mut child = xtask(arguments).spawn().expect("the binary of this package can be executed");
    drop(child.stdout.take());
    child.wait_with_output().expect("a child of ours can be waited for")
}

#[test]
fn every_command_ends_quietly_when_nobody_reads_on() {
    for arguments in [
        &["swarm", "--scenario", "calm", "--seeds", "1..1000000", "--json"][..],
        &["corpus", "calm", "--json"],
        &["corpus", "calm"],
        &["zoo", "--only", "reads=local", "--json"],
        &["sim", "--scenario", "calm", "--seed", "1"],
        &["sim", "--scenario", "calm", "--seed", "1", "--twice"],
        &["sim", "--scenario", "calm", "--seed", "1", "--write-plan", "-"],
        &["sim", "--design", "list"],
    ] {
        let output = unread(arguments);
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
    }
}

#[test]
fn help_names_the_command_as_it_is_typed() {
    assert!(printed(&["--help"]).contains("Usage: cargo xtask <COMMAND>"));
    for command in ["sim", "swarm", "corpus", "zoo", "crash"] {
        let help = printed(&[command, "--help"]);
        assert!(help.contains(&format!("Usage: cargo xtask {command} ")), "{help}");
    }
}

#[test]
fn the_list_of_engines_is_json_where_it_is_asked_for() {
    let lines = printed(&["crash", "--engine", "list", "--json"]);
    let engines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let names: Vec<&str> = engines.iter().filter_map(|it| it["engine"].as_str()).collect();
    assert_eq!(names, ["sled", "fjall", "redb", "lsm-tree", "mem"]);
    let durable = |call: &serde_json::Value| call["survives"] == "power-failure";
    for engine in &engines {
        assert!(engine["calls"].as_array().expect("an engine has calls").iter().any(durable), "{engine}");
    }
    let text = printed(&["crash", "--engine", "list"]);
    assert!(names.iter().all(|name| text.contains(&format!("{name} "))), "{text}");
}

#[test]
fn a_test_that_would_show_nothing_is_not_written() {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let (new, old) = (directory.path().join("new.rs"), directory.path().join("old.rs"));
    std::fs::write(&old, "// mine").expect("a temporary file can be written");
    for file in [&new, &old] {
        let file = file.to_str().expect("a temporary path is UTF-8");
        for state in [&[][..], &["--state", "5/"]] {
            let arguments =
                [&["crash", "--engine", "mem", "--ops", "3", "--emit-test", file], state].concat();
            let output = xtask(&arguments).output().expect("the binary of this package can be executed");
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let said = format!("{file} was not written: every promise was kept, there is nothing to test\n");
            assert!(text(&output.stderr).ends_with(&said), "{}", text(&output.stderr));
        }
    }
    assert!(!new.exists());
    assert_eq!(std::fs::read_to_string(&old).expect("it is still there"), "// mine");
}

#[test]
fn the_list_of_designs_needs_no_seed() {
    let list = printed(&["sim", "--design", "list"]);
    for field in fields_of_a_plan() {
        assert!(list.contains(&format!("{field}: ")), "{list}");
    }
    assert!(list.contains("  local (wrong, caught by linearizable; "), "{list}");
    assert_eq!(list, printed(&["sim", "--seed", "1", "--design", "list"]));
}

/// The fields that a plan's design has, one line each.
fn fields_of_a_plan() -> Vec<String> {
    let plan = printed(&["sim", "--scenario", "calm", "--seed", "1", "--write-plan", "-"]);
    let design = plan.lines().skip_while(|line| line.trim() != "design: (").skip(1);
    let fields = design.map_while(|line| line.trim().split_once(": ")).map(|(field, _)| field.to_string());
    let fields: Vec<_> = fields.collect();
    assert!(fields.len() > 5, "{plan}");
    fields
}
