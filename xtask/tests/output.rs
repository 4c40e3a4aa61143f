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
    for command in ["sim", "swarm", "corpus", "zoo"] {
        let help = printed(&[command, "--help"]);
        assert!(help.contains(&format!("Usage: cargo xtask {command} ")), "{help}");
    }
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
