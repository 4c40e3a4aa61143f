//! Violations as reports show them.

use model::verdict::{Check, Violation};

#[test]
fn every_check_is_found_by_its_name() {
    for check in Check::ALL {
        assert_eq!(check.to_string().parse(), Ok(check));
    }
    assert_eq!(
        "linear".parse::<Check>().unwrap_err().to_string(),
        "unknown check \"linear\"; the checks are: linearizable, serializable, durable, replicas equal, \
         routing, raft, live, watch ordered, watch unique, watch atomic, watch reliable, watch resumable, watch \
         bookmarkable, watch filtered, watch created, watch previous, lease, compaction, engine, deterministic"
    );
}

#[test]
fn a_violation_shows_its_evidence_line_by_line() {
    let violation = Violation::new(Check::Durable, "a write is lost").with("this one").with("here");
    assert_eq!(violation.to_string(), "durable: a write is lost\n  this one\n  here");
}
