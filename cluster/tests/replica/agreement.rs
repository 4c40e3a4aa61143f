//! Elections, writes, reads, and what survives a restart.

use std::time::Duration;

use cluster::api::{Refusal, Request, ResponseBody};
use cluster::client::Outcome;
use cluster::design::{PersistBeforeSend, Reads};
use cluster::{Recovery, ReplicaEvent};
use engines::EngineId;

use crate::nodes::Nodes;

const MEM: [EngineId; 3] = [EngineId::Mem; 3];

fn value(nodes: &mut Nodes, key: &str) -> Option<String> {
    match nodes.call(&Request::get(key)).body {
        ResponseBody::Range { kvs, .. } => {
            kvs.first().map(|pair| String::from_utf8(pair.value.clone()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_written_is_read_and_all_replicas_agree() {
    let mut nodes = Nodes::started(&[EngineId::Mem, EngineId::Sled, EngineId::Redb]);
    let first = nodes.put("a", "1");
    assert_eq!(nodes.put("b", "2"), first + 1);
    assert_eq!(value(&mut nodes, "a").as_deref(), Some("1"));
    assert_eq!(value(&mut nodes, "c"), None);
    let swapped = nodes.call(&Request::compare_and_set("a", first, "3"));
    assert!(matches!(swapped.body, ResponseBody::Txn { succeeded: true, .. }));
    let missed = nodes.call(&Request::compare_and_set("a", first, "4"));
    assert!(matches!(missed.body, ResponseBody::Txn { succeeded: false, .. }));
    assert_eq!(value(&mut nodes, "a").as_deref(), Some("3"));
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn requests_that_break_a_rule_are_refused_and_followers_answer_nothing() {
    let mut nodes = Nodes::started(&MEM);
    let leader = nodes.leader();
    let refused = nodes.ask(leader, &Request::put("", "value"));
    let text = "etcdserver: key is not provided".to_owned();
    assert_eq!(refused, Some(Outcome::Refused { refusal: Some(Refusal::EmptyKey), text }));
    for follower in nodes.ids().into_iter().filter(|id| *id != leader) {
        for request in [Request::put("a", "1"), Request::get("a")] {
            assert_eq!(nodes.ask(follower, &request), Some(Outcome::NotLeader { leader: Some(leader) }));
        }
    }
}

#[test]
fn a_restarted_follower_catches_up_from_the_log() {
    let mut nodes = Nodes::started(&MEM);
    let follower = nodes.leader() % 3 + 1;
    nodes.put_many("before", 10);
    nodes.assert_equal(&[1, 2, 3]);
    nodes.stop(follower).unwrap();
    nodes.put("meanwhile", "1");
    let since = nodes.events[&follower].len();
    nodes.start(follower);
    nodes.assert_equal(&[1, 2, 3]);
    let started = nodes.events[&follower].wait("a start", since, |event| match event {
        ReplicaEvent::Started { recovery, .. } => Some(*recovery),
        _ => None,
    });
    assert!(matches!(started, Recovery::Replay { .. }));
}

#[test]
fn another_replica_leads_when_the_leader_is_gone_and_nothing_is_lost() {
    let mut nodes = Nodes::started(&MEM);
    nodes.put("a", "1");
    let first = nodes.leader();
    nodes.stop(first).unwrap();
    let revision = nodes.put("b", "2");
    assert_ne!(nodes.leader(), first);
    assert_eq!(value(&mut nodes, "a").as_deref(), Some("1"));
    nodes.start(first);
    assert_eq!(nodes.put("c", "3"), revision + 1);
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_leader_that_is_cut_off_answers_no_read_and_acknowledges_no_write() {
    let mut nodes = Nodes::started(&MEM);
    let old = nodes.leader();
    nodes.network.isolate(old, true);
    for request in [Request::get("a"), Request::put("a", "stale")] {
        let outcome = nodes.ask(old, &request);
        assert!(!matches!(outcome, Some(Outcome::Answer(_))), "{outcome:?}");
    }
    nodes.put("a", "new");
    nodes.network.isolate(old, false);
    assert_eq!(value(&mut nodes, "a").as_deref(), Some("new"));
    nodes.assert_equal(&[1, 2, 3]);
}

/// For as long as its clock lets it believe that nobody else leads, which is longer than others wait.
#[test]
fn in_the_design_that_trusts_the_clock_a_leader_that_is_cut_off_answers_reads() {
    let mut nodes = Nodes::new(&MEM);
    for id in nodes.ids() {
        nodes.configure(id, |config| config.design.reads = Reads::Lease);
    }
    nodes.start_all();
    let is_answered = (0..20).any(|_| {
        let leader = nodes.leader();
        nodes.network.isolate(leader, true);
        let outcome = nodes.ask(leader, &Request::get("a"));
        nodes.network.isolate(leader, false);
        matches!(outcome, Some(Outcome::Answer(_)))
    });
    assert!(is_answered);
}

#[test]
fn a_whole_cluster_comes_back_with_all_that_it_had() {
    for persist_before_send in
        [PersistBeforeSend::Fsync, PersistBeforeSend::SendFirst, PersistBeforeSend::Lazy]
    {
        let mut nodes = Nodes::new(&MEM);
        for id in nodes.ids() {
            nodes.configure(id, |config| config.design.persist_before_send = persist_before_send);
        }
        nodes.start_all();
        nodes.put_many("key", 20);
        for id in nodes.ids() {
            nodes.stop(id).unwrap();
        }
        nodes.start_all();
        assert_eq!(value(&mut nodes, "key-19").as_deref(), Some("value".repeat(6).as_str()));
        nodes.assert_equal(&[1, 2, 3]);
    }
}

#[test]
fn a_single_replica_is_a_cluster() {
    let mut nodes = Nodes::started(&[EngineId::Mem]);
    nodes.put_many("key", 40);
    nodes.restart(1);
    assert_eq!(value(&mut nodes, "key-0").as_deref(), Some("value"));
}

#[test]
fn the_members_are_those_of_the_log_whatever_the_configuration_says_later() {
    let mut nodes = Nodes::started(&MEM);
    nodes.put("a", "1");
    nodes.stop(3).unwrap();
    nodes.configure(3, |config| config.peers = vec![3]);
    let since = nodes.events[&3].len();
    nodes.start(3);
    let voters = nodes.events[&3].wait("a start", since, |event| match event {
        ReplicaEvent::MembersChanged { members, .. } => Some(members.voters.clone()),
        _ => None,
    });
    assert_eq!(voters, [1, 2, 3].into());
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_request_that_nobody_can_commit_is_answered_in_the_end() {
    let mut nodes = Nodes::new(&MEM);
    for id in nodes.ids() {
        nodes.configure(id, |config| config.timing.request_timeout = Duration::from_millis(200));
    }
    nodes.start_all();
    let leader = nodes.leader();
    nodes.network.isolate(leader, true);
    let outcome = nodes.ask(leader, &Request::put("a", "1"));
    assert_eq!(outcome, Some(Outcome::Unavailable { may_have_happened: true }));
}
