//! `sim` on good input: its JSON, and its comparison of two runs.

use serde_json::Value;
use std::process::Command;

fn xtask(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output();
    let output = output.expect("the binary of this package can be executed");
    (output.status.code(), String::from_utf8(output.stdout).expect("the command line speaks UTF-8"))
}

#[test]
fn the_report_of_a_seed_is_json() {
    let (code, output) = xtask(&["sim", "--seed", "1", "--json"]);
    assert_eq!(code, Some(0), "{output}");
    let execution: Value = serde_json::from_str(&output).expect("the output is JSON");
    let report = &execution["report"];
    assert_eq!(report["seed"], 1);
    assert_eq!(report["scenario"], "default");
    assert_eq!(report["verdict"], "Held");
    assert!(report["acknowledged"].as_u64().is_some_and(|count| count > 100), "{output}");
    assert!(execution["processor_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{output}");
}

#[test]
fn a_violation_is_json_too_and_exits_with_1() {
    let (code, output) = xtask(&[
        "sim",
        "--seed",
        "1",
        "--scenario",
        "mixed-releases",
        "--design",
        "release_one_streams=headed",
        "--json",
    ]);
    assert_eq!(code, Some(1), "{output}");
    let execution: Value = serde_json::from_str(&output).expect("the output is JSON");
    assert_eq!(execution["report"]["verdict"]["Violated"]["violations"][0]["check"], "Routing");
}

#[test]
fn two_runs_of_a_seed_are_equal() {
    let (code, output) = xtask(&["sim", "--seed", "1", "--twice"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.starts_with("equal: two traces of "), "{output}");
}

#[test]
fn a_plan_that_was_written_runs_as_its_seed_does() {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    let plan = directory.path().join("plan.ron");
    let plan = plan.to_str().expect("a temporary path is UTF-8");
    let trace = |output: &str| {
        let execution: Value = serde_json::from_str(output).expect("the output is JSON");
        execution["report"]["trace"].as_u64().expect("a trace has a hash")
    };
    let (_, of_seed) = xtask(&["sim", "--seed", "5", "--write-plan", plan, "--json"]);
    let (_, of_plan) = xtask(&["sim", "--plan", plan, "--json"]);
    assert_eq!(trace(&of_seed), trace(&of_plan));
}

#[test]
fn the_zoo_says_which_check_caught_a_design() {
    let (code, output) = xtask(&["zoo", "--only", "reads=local", "--json"]);
    assert_eq!(code, Some(0), "{output}");
    let outcome: Value = serde_json::from_str(&output).expect("each line is JSON");
    assert_eq!(outcome["catcher"], "linearizable");
    assert!(outcome["caught_by_seed"].as_u64().is_some(), "{output}");
}
