//! Plans as text: what is written is read back, and what cannot be read says where.

use proptest::prelude::*;
use scenarios::corpus::{Entry, Expected};
use scenarios::plan::{Plan, PlanError};
use scenarios::scenario::Scenario;

#[test]
fn every_plan_of_every_scenario_comes_back_from_its_text() {
    for scenario in Scenario::ALL {
        for seed in 1..=50 {
            let plan = scenario.plan(seed);
            assert_eq!(plan.seed, seed);
            assert_eq!(plan.scenario, scenario.name());
            assert_eq!(Plan::parse(&plan.to_text()).unwrap(), plan, "{scenario} {seed}");
        }
    }
}

#[test]
fn an_entry_of_the_corpus_comes_back_from_its_text() {
    let entry = Entry {
        about: "A \"quoted\" reason.".to_string(),
        verdict: Expected::Violated(model::verdict::Check::ReplicasEqual),
        milestones: scenarios::milestones::Milestone::ALL.into(),
        routes: ["fjall→sled transcoded".to_string()].into(),
        plan: Scenario::RollingUpgrade.plan(3),
    };
    assert_eq!(Entry::parse(&entry.to_text()).unwrap(), entry);
}

/// Replaces the first `from` in a good plan by `to`, and says what the reader makes of it: the line of the
/// replacement, and the error.
fn error_after(from: &str, to: &str) -> (usize, PlanError) {
    let text = Scenario::Default.plan(1).to_text();
    let at = text.find(from).unwrap_or_else(|| panic!("a plan contains `{from}`"));
    let line = text[..at].lines().count();
    let broken = text.replacen(from, to, 1);
    (line, Plan::parse(&broken).expect_err("the plan is broken"))
}

fn check_syntax(from: &str, to: &str, expected_problem: &str) {
    match error_after(from, to) {
        (expected_line, PlanError::Syntax { line, column, problem }) => {
            assert!(
                line == expected_line || line == expected_line + 1,
                "{from}: line {line}, not {expected_line}"
            );
            assert!(column >= 1);
            assert!(problem.contains(expected_problem), "{problem}");
        }
        (_, error @ PlanError::Invalid { .. }) => panic!("{error}"),
    }
}

#[test]
fn an_error_in_the_text_has_a_place() {
    check_syntax("heal_at_ms", "heals_at_ms", "heals_at_ms");
    check_syntax("(at_ms: ", "(at_ms: -", "");
    check_syntax("action: Put(", "action: Putt(", "Putt");
    check_syntax("engine: \"", "engine: \"x", "known engines: sled");
    check_syntax("reads: \"read-index\"", "reads: \"loud\"", "its values are read-index, local");
    check_syntax("nodes: [", "nodes: {", "");
    check_syntax("scenario: \"default\",", "scenario: \"default\"", "");
    check_syntax("faults: [", "faults: [(at_ms: 5, fault: Meteor(target: Leader)),", "`Partition`");
    check_syntax("policy: ", "policy: Chaotic", "`Fixed`");
}

#[test]
fn a_plan_that_cannot_be_run_names_the_field() {
    let invalid = |from: &str, to: &str| match error_after(from, to).1 {
        PlanError::Invalid { field, problem } => format!("{field}: {problem}"),
        error @ PlanError::Syntax { .. } => panic!("{error}"),
    };
    assert_eq!(invalid("format: 1", "format: 7"), "format: this build reads format 1, not 7");
    assert_eq!(invalid("release: 2", "release: 3"), "nodes[0]: there is no release 3; releases are 1 and 2");
    let pause = "faults: [(at_ms: 5, fault: Pause(target: Node(7), for_ms: 1)),";
    assert_eq!(invalid("faults: [", pause), "faults[0]: there is no node 7; nodes are 1 to 3");
    assert!(
        invalid("heal_at_ms: 45000", "heal_at_ms: 45").starts_with("operations[0].at_ms: after heal_at_ms")
    );
}

proptest! {
    /// Whatever one cuts out of a plan: it is refused with a place in the text, or is still a plan.
    #[test]
    fn a_damaged_plan_is_refused_within_its_text(seed in 1u64..9, from in 0usize..40_000, length in 1usize..40) {
        let text = Scenario::Default.plan(seed).to_text();
        prop_assume!(from + length < text.len() && text.is_char_boundary(from) && text.is_char_boundary(from + length));
        let damaged = format!("{}{}", &text[..from], &text[from + length..]);
        match Plan::parse(&damaged) {
            Ok(plan) => prop_assert_eq!(Plan::parse(&plan.to_text()).unwrap(), plan),
            Err(PlanError::Syntax { line, column, .. }) => {
                prop_assert!((1..=damaged.lines().count() + 1).contains(&line) && column >= 1);
            }
            Err(PlanError::Invalid { field, .. }) => prop_assert!(!field.is_empty()),
        }
    }
}
