//! Raft's invariants, each in a story that keeps it and in one that breaks it.

use std::collections::BTreeSet;

use model::raft::{self, Configuration, Entry, NodeSet, RaftEvent, RaftEventKind};

/// One event per line: `node.incarnation what numbers…`; the numbers are the fields of the event in order. Of a
/// configuration they are its index and its voters.
fn events(story: &str) -> Vec<RaftEvent> {
    let event = |(place, line): (usize, &str)| {
        let mut words = line.split_whitespace();
        let (node, incarnation) = words.next().unwrap().split_once('.').unwrap();
        let what = words.next().unwrap();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        let kind = match (what, &numbers[..]) {
            ("start", &[term, vote, commit, applied]) => {
                RaftEventKind::Started { term, vote, commit, applied }
            }
            ("hard", &[term, vote, commit]) => RaftEventKind::HardState { term, vote, commit },
            ("leads", &[term, last_index, last_term]) => {
                RaftEventKind::BecameLeader { term, last_index, last_term }
            }
            ("appends", &[index, term, hash]) => RaftEventKind::Appended(Entry { index, term, hash }),
            ("applies", &[index, term, hash]) => RaftEventKind::Applied(Entry { index, term, hash }),
            ("configures", [index, voters @ ..]) => RaftEventKind::Configured(Configuration {
                index: *index,
                voters: voters.iter().copied().collect(),
                outgoing: NodeSet::default(),
                learners: NodeSet::default(),
            }),
            ("installs", &[index]) => RaftEventKind::SnapshotInstalled { index },
            _ => panic!("not an event: {line}"),
        };
        let (node, incarnation) = (node.parse().unwrap(), incarnation.parse().unwrap());
        RaftEvent { node, incarnation, at_ns: place as u64, kind }
    };
    crate::script::lines(story).enumerate().map(event).collect()
}

fn check(story: &str, expected: &[&str]) {
    let found = raft::check(&events(story), &BTreeSet::new());
    let found: Vec<&str> = found.iter().map(|violation| violation.message.as_str()).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_ordinary_life_keeps_every_invariant() {
    check(
        "1.1 start 0 0 0 0
         2.1 start 0 0 0 0
         1.1 hard 1 1 0
         2.1 hard 1 1 0
         1.1 leads 1 0 0
         1.1 appends 1 1 11
         2.1 appends 1 1 11
         1.1 hard 1 1 1
         1.1 applies 1 1 11
         2.1 hard 1 1 1
         2.1 applies 1 1 11
         1.1 appends 2 1 12
         1.2 start 1 1 1 0
         2.1 hard 2 2 1
         2.1 leads 2 1 1
         2.1 appends 2 2 22
         1.2 applies 1 1 11
         1.2 hard 2 2 1
         1.2 appends 2 2 22
         1.2 hard 2 2 2
         1.2 applies 2 2 22
         3.1 start 0 0 0 0
         3.1 hard 2 0 0
         3.1 installs 2
         3.1 appends 3 2 23",
        &[],
    );
}

#[test]
fn a_term_has_one_leader() {
    check(
        "1.1 leads 3 0 0
         2.1 leads 4 0 0
         2.1 leads 3 0 0",
        &["term 3 has two leaders, nodes 1 and 2"],
    );
}

#[test]
fn a_node_votes_once_per_term_whatever_its_restarts() {
    check(
        "1.1 hard 3 1 0
         1.1 hard 3 2 0",
        &["node 1 voted in term 3 for 1 and for 2"],
    );
    check(
        "1.1 hard 3 1 0
         1.2 start 3 1 0 0
         1.2 hard 3 2 0",
        &["node 1 voted in term 3 for 1 and for 2"],
    );
}

#[test]
fn a_restart_forgets_no_vote() {
    let story = "1.1 hard 3 1 0
                 1.2 start 2 0 0 0
                 1.2 hard 3 2 0";
    check(
        story,
        &[
            "node 1 relied on term 3 and its vote for 1, and restarted with term 2 and vote 0",
            "node 1 voted in term 3 for 1 and for 2",
        ],
    );
    assert_eq!(raft::check(&events(story), &[1].into()), [], "its disk lied about what was synced");
    check(
        "1.1 hard 3 1 0
         1.2 start 3 0 0 0",
        &["node 1 relied on term 3 and its vote for 1, and restarted with term 3 and vote 0"],
    );
}

#[test]
fn term_commit_and_applied_index_never_go_back_within_an_incarnation() {
    check("1.1 hard 3 0 5\n 1.1 hard 2 0 5", &["the term of node 1 went back from 3 to 2"]);
    check("1.1 hard 3 0 5\n 1.1 hard 3 0 4", &["the commit index of node 1 went back from 5 to 4"]);
    check("1.1 start 3 0 5 4\n 1.1 installs 3", &["the applied index of node 1 went back from 4 to 3"]);
    check(
        "1.1 start 1 0 5 4\n 1.1 applies 5 1 15\n 1.1 applies 4 1 14",
        &["node 1 applied entry 4 again, after 5"],
    );
    check("1.1 start 1 0 5 4\n 1.1 applies 5 1 15\n 1.2 start 1 0 5 4\n 1.2 applies 5 1 15", &[]);
}

#[test]
fn no_entry_is_left_out() {
    check("1.1 start 1 0 5 4\n 1.1 applies 6 1 16", &["node 1 applied entry 6 right after 4"]);
    check("1.1 start 1 0 0 0\n 1.1 applies 2 1 12", &["node 1 applied entry 2 right after 0"]);
    check("1.1 start 1 0 5 4\n 1.1 installs 6\n 1.1 applies 7 1 17", &[]);
}

#[test]
fn an_entry_that_the_store_had_applied_before_the_restart_is_not_applied_again() {
    check("1.2 start 1 0 5 5\n 1.2 applies 5 1 15", &["node 1 applied entry 5 again, after 5"]);
}

#[test]
fn no_two_nodes_apply_different_entries_at_an_index() {
    check(
        "1.1 applies 5 2 15
         2.1 applies 5 2 16
         3.1 applies 5 3 15",
        &["nodes 1 and 2 applied different entries at 5", "nodes 1 and 3 applied different entries at 5"],
    );
}

#[test]
fn entries_of_the_same_index_and_term_are_the_same_and_follow_the_same() {
    check(
        "1.1 appends 5 2 15
         2.1 appends 5 2 16",
        &["two entries of index 5 and term 2 differ"],
    );
    check(
        "1.1 appends 5 1 15
         1.1 appends 6 3 16
         2.1 appends 5 2 25
         2.1 appends 6 3 16",
        &["two entries of index 6 and term 3 follow entries of different terms"],
    );
}

#[test]
fn a_leader_has_every_entry_committed_before() {
    let committed = "
        1.1 hard 2 1 0
        1.1 hard 2 1 7
        1.1 applies 7 2 17\n";
    let elected = |event: &str, expected: &[&str]| check(&format!("{committed}{event}"), expected);
    elected("2.1 leads 3 7 2", &[]);
    elected("2.1 leads 3 9 3", &[]);
    elected("2.1 leads 3 6 2", &["node 2 leads term 3 with a log up to 6, but 7 was committed in term 2"]);
    elected(
        "2.1 leads 3 8 1",
        &["node 2 leads with a log that ends in term 1, but entry 7 of term 2 was committed"],
    );
    elected(
        "2.1 appends 7 1 99\n 2.1 appends 8 2 18\n 2.1 leads 3 8 2",
        &["node 2 leads with another entry at 7 than the committed one of term 2"],
    );
}

#[test]
fn the_earliest_report_of_a_commit_dates_it() {
    check(
        "2.1 hard 9 0 7
         1.1 hard 5 1 7
         3.1 leads 6 6 5",
        &["node 3 leads term 6 with a log up to 6, but 7 was committed in term 5"],
    );
    check(
        "2.1 hard 9 0 0
         2.1 applies 7 5 17
         1.1 hard 5 1 0
         1.1 applies 7 5 17
         3.1 leads 6 6 5",
        &["node 3 leads term 6 with a log up to 6, but 7 was committed in term 5"],
    );
}

#[test]
fn a_node_that_has_not_said_its_term_dates_nothing() {
    check("1.1 applies 7 2 17\n 2.1 leads 3 6 2", &[]);
}

#[test]
fn an_entry_that_was_cut_off_is_no_longer_in_the_log() {
    check(
        "1.1 hard 2 1 7
         1.1 applies 7 2 17
         2.1 appends 7 1 99
         2.1 appends 6 1 98
         2.1 leads 3 7 2",
        &[],
    );
}

#[test]
fn a_snapshot_moves_the_commit_index_too() {
    check(
        "1.1 hard 3 0 5\n 1.1 installs 9\n 1.1 hard 3 0 8",
        &["the commit index of node 1 went back from 9 to 8"],
    );
}

#[test]
fn a_late_word_of_an_old_election_proves_nothing() {
    check(
        "1.1 hard 5 1 0
         1.1 hard 5 1 7
         1.1 applies 7 5 17
         2.1 leads 4 6 3",
        &[],
    );
}

/// Node 3 is removed by entry 2. Node 1 hears of it before it goes down, node 2 by a snapshot.
const REMOVAL: &str = "1.1 start 1 1 0 0
                       1.1 configures 0 1 2 3
                       2.1 start 1 1 0 0
                       2.1 configures 0 1 2 3
                       4.1 start 0 0 0 0
                       4.1 configures 0
                       1.1 applies 1 1 11
                       1.1 configures 2 1 2
                       1.1 applies 2 1 12
                       1.1 applies 3 1 13
                       2.1 applies 1 1 11
                       2.1 configures 3 1 2
                       2.1 installs 3
                       1.1 applies 4 1 14
                       1.2 start 1 1 4 1
                       1.2 configures 2 1 2
                       1.2 applies 2 1 12
                       1.2 applies 3 1 13";

#[test]
fn a_change_of_the_members_comes_to_all_at_its_index() {
    check(REMOVAL, &[]);
}

#[test]
fn a_change_that_only_one_node_makes_is_found_at_the_next_entry_of_another() {
    let story = "1.1 start 1 1 0 0
                 1.1 configures 0 1 2 3
                 2.1 start 1 1 0 0
                 2.1 configures 0 1 2 3
                 1.1 configures 1 1 2
                 2.1 applies 1 2 21";
    let goes_by = "node 2 goes by the configuration of 0, though it has come to 1 and there is one of 1";
    check(story, &[goes_by]);
    let other = "1.1 start 1 1 0 0
                 1.1 configures 1 1 2
                 2.1 start 1 1 0 0
                 2.1 configures 1 1 2 3";
    check(other, &["nodes 1 and 2 have different configurations at 1"]);
}

#[test]
fn a_restart_that_forgets_a_change_is_found_at_once() {
    let story = format!(
        "{REMOVAL}
         1.3 start 1 1 4 4
         1.3 configures 0 1 2 3"
    );
    check(&story, &["node 1 goes by the configuration of 0, though it has come to 4 and there is one of 3"]);
}
