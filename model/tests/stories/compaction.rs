//! The oracles of compaction.

use model::compaction::{self, HashKvReport, RevisionReport};
use model::serializable::true_history;

use crate::script;

/// What the check of reads says of a history whose calls took effect in the order in which they stand.
fn check(story: &str, expected: &[&str]) {
    let history = script::history(story);
    let store = true_history(history.operations().iter().map(|operation| &operation.input));
    let found = compaction::reads(&history, &store);
    let found: Vec<&str> = found.iter().map(|violation| violation.message.as_str()).collect();
    let expected: Vec<String> = expected
        .iter()
        .map(|reason| format!("a read at a past revision was answered wrongly: {reason}"))
        .collect();
    assert_eq!(found, expected);
}

fn story(read: &str) -> String {
    format!(
        "1 0..10   put a=1          -> @2
         1 20..30  put a=2          -> @3
         1 40..50  compact 3        -> @3
         1 51..52  compact 9        -> refused future
         1 60..70  put a=3          -> @4
         2 {read}"
    )
}

#[test]
fn reads_keep_to_the_compaction() {
    check(&story("80..90 get a at 3 -> @4 a=2/2/3/2"), &[]);
    check(&story("80..90 get a at 2 -> refused compacted"), &[]);
    check(&story("45..48 get a at 2 -> @3 a=1/2/2/1"), &[]);
    check(&story("45..48 get a at 2 -> refused compacted"), &[]);
    check(&story("80..90 serializable get a at 2 -> @4 a=1/2/2/1"), &[]);
    check(&story("80..90 get a -> @4"), &[]);
}

#[test]
fn reads_that_compaction_spoils_are_seen() {
    let above = "nothing above revision 3 was compacted by then";
    check(&story("80..90 get a at 3 -> refused compacted"), &[above]);
    check(
        &story("35..38 get a at 2 -> refused compacted"),
        &["nothing above revision 2 was compacted by then"],
    );
    check(&story("80..90 get a at 2 -> @4 a=1/2/2/1"), &["revision 3 was compacted before"]);
    check(&story("80..90 get a at 3 -> @4"), &["revision 3 held @3 a=2/2/3/2 count 1"]);
    check(&story("45..48 get a at 2 -> @3 a=2/2/3/2"), &["revision 2 held @2 a=1/2/2/1 count 1"]);
}

#[test]
fn revisions_that_go_back_are_seen() {
    let report = |node, incarnation, applied_index, revision| RevisionReport {
        node,
        incarnation,
        applied_index,
        revision,
    };
    let good = [
        report(1, 1, 5, 3),
        report(1, 1, 9, 6),
        report(2, 1, 7, 4),
        // It restarts behind, and applies again.
        report(1, 2, 6, 4),
        report(1, 2, 9, 6),
    ];
    assert_eq!(compaction::revisions(&good), []);
    let with = |extra| compaction::revisions(&[good.as_slice(), &[extra]].concat()).len();
    assert_eq!(with(report(1, 3, 9, 5)), 1, "it restarts at the same index with a lower revision");
    assert_eq!(with(report(1, 3, 10, 5)), 1, "a higher index, a lower revision");
    assert_eq!(with(report(2, 1, 7, 5)), 1, "another replica at the same index");
    assert_eq!(with(report(2, 1, 8, 5)), 0);
}

#[test]
fn different_hashes_of_one_revision_are_seen() {
    let report = |node, compact_revision, hash| HashKvReport {
        node,
        engine: "redb".to_owned(),
        revision: 9,
        compact_revision,
        hash,
    };
    assert_eq!(compaction::hashes(&[report(1, 4, 7), report(2, 4, 7), report(3, 5, 8)]), []);
    let found = compaction::hashes(&[report(1, 4, 7), report(2, 4, 8)]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message, "nodes 1 and 2 hash revision 9, compacted up to 4, differently");
}
