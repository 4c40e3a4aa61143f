//! Members that come and go: learners, promotions, joint changes, a leader that removes itself.

use cluster::api::{
    Answer, Call, Member, MemberCall, RangeRequest, Refusal, Request, WatchCall, WatchRequest,
};
use cluster::api::{WatchKind, WatchMessage};
use cluster::client::Outcome;
use cluster::raft_log::RaftLog;
use cluster::{Membership, Recovery, ReplicaEvent};
use engines::EngineId;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeV2, ConfState, Entry, EntryType};

use crate::nodes::Nodes;

/// The first `members` replicas begin a cluster, and the others wait to join it.
fn started(engines: &[EngineId], members: u64) -> Nodes {
    let mut nodes = Nodes::new(engines);
    for id in nodes.ids() {
        nodes.configure(id, |config| {
            config.peers = (1..=members).collect();
            config.join = id > members;
        });
    }
    nodes.start_all();
    nodes
}

/// The voters and learners after a change that is made at last.
fn change(nodes: &mut Nodes, call: MemberCall) -> (Vec<u64>, Vec<u64>) {
    loop {
        match nodes.decided(&Call::Member(call)) {
            Ok(Answer::Members(members)) => return split(&members),
            // It takes a moment to be in sync, or to be known to be active.
            Err(Refusal::LearnerNotReady | Refusal::UnhealthyCluster) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            other => panic!("{call:?}: {other:?}"),
        }
    }
}

fn split(members: &[Member]) -> (Vec<u64>, Vec<u64>) {
    let ids = |learner| members.iter().filter(|it| it.learner == learner).map(|it| it.id).collect();
    (ids(false), ids(true))
}

/// The last members that a replica has told of, and what brought them.
fn told(nodes: &Nodes, id: u64) -> (u64, Membership) {
    let events = nodes.events[&id].all();
    let last = events.iter().rev().find_map(|event| match event {
        ReplicaEvent::MembersChanged { index, members } => Some((*index, members.clone())),
        _ => None,
    });
    last.unwrap()
}

fn wait_for_members(nodes: &Nodes, id: u64, since: usize, voters: &[u64]) {
    nodes.events[&id].wait("a change of the members", since, |event| match event {
        ReplicaEvent::MembersChanged { members, .. } if !members.is_joint() => {
            members.voters.iter().eq(voters).then_some(())
        }
        _ => None,
    });
}

#[test]
fn a_learner_serves_no_watch() {
    let mut nodes = started(&[EngineId::Mem; 2], 1);
    assert_eq!(change(&mut nodes, MemberCall::Add { id: 2, learner: true }), (vec![1], vec![2]));
    nodes.put("key", "1");
    nodes.assert_equal(&[1, 2]);
    nodes.watch(2, WatchCall::Create(WatchRequest { key: b"key".to_vec(), ..WatchRequest::default() }));
    let messages = nodes.watched(|messages| !messages.is_empty());
    let reason = "etcdserver: rpc not supported for learner".to_owned();
    assert_eq!(messages[0].kind, WatchKind::Canceled { compact_revision: 0, reason });
}

#[test]
fn a_replica_joins_as_a_learner_is_promoted_and_stays_a_member() {
    let mut nodes = started(&[EngineId::Mem, EngineId::Sled, EngineId::LsmTree, EngineId::Redb], 3);
    nodes.put_many("key", 30);
    let joined = nodes.events[&4].wait("a start", 0, |event| match event {
        ReplicaEvent::Started { recovery, .. } => Some(*recovery),
        _ => None,
    });
    assert_eq!(joined, Recovery::Join);
    assert_eq!(change(&mut nodes, MemberCall::Add { id: 4, learner: true }), (vec![1, 2, 3], vec![4]));
    nodes.assert_equal(&[1, 2, 3, 4]);
    assert_eq!(change(&mut nodes, MemberCall::Promote { id: 4 }), (vec![1, 2, 3, 4], vec![]));
    nodes.put_many("more", 30);
    for id in nodes.ids() {
        let (index, members) = told(&nodes, id);
        let since = nodes.events[&id].len();
        nodes.restart(id);
        wait_for_members(&nodes, id, since, &[1, 2, 3, 4]);
        assert_eq!(told(&nodes, id), (index, members), "a restart forgets no change and makes none again");
    }
    nodes.assert_equal(&[1, 2, 3, 4]);
    match nodes.answer(&Call::Member(MemberCall::List)) {
        Answer::Members(members) => assert_eq!(split(&members), (vec![1, 2, 3, 4], vec![])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_voter_is_replaced_in_one_joint_change_and_serves_nothing_any_more() {
    let mut nodes = started(&[EngineId::Mem, EngineId::Redb, EngineId::Sled, EngineId::Mem], 3);
    nodes.put_many("key", 10);
    change(&mut nodes, MemberCall::Add { id: 4, learner: true });
    // Who lags when it is removed may never hear of it.
    nodes.assert_equal(&[1, 2, 3, 4]);
    let out = nodes.leader() % 3 + 1;
    let request = WatchRequest { watch_id: 1, key: b"key".to_vec(), ..WatchRequest::default() };
    nodes.watch(out, WatchCall::Create(request));
    let (voters, learners) = change(&mut nodes, MemberCall::Replace { out, with: 4 });
    assert_eq!((voters, learners), (vec![1, 2, 3, 4], vec![]), "joint: both configurations vote");
    let remaining: Vec<u64> = (1..=4).filter(|id| *id != out).collect();
    for id in nodes.ids() {
        nodes.events[&id].wait("a joint configuration", 0, |event| match event {
            ReplicaEvent::MembersChanged { members, .. } => {
                members.outgoing.iter().eq(&[1, 2, 3]).then_some(())
            }
            _ => None,
        });
        wait_for_members(&nodes, id, 0, &remaining);
    }
    let ended = nodes.watched(|messages| messages.len() > 1);
    assert!(
        matches!(&ended[1], WatchMessage { kind: WatchKind::Canceled { reason, .. }, .. } if reason.contains("removed")),
        "{ended:?}"
    );
    let range = RangeRequest { key: b"key".to_vec(), serializable: true, ..RangeRequest::default() };
    let answer = nodes.ask(out, &Request::Range(range));
    assert_eq!(answer, Some(Outcome::Unavailable { may_have_happened: false }));
    nodes.stop(out).unwrap();
    nodes.assert_equal(&remaining);
}

#[test]
fn a_leader_removes_itself_and_the_others_go_on() {
    let mut nodes = started(&[EngineId::Mem, EngineId::Mem, EngineId::Redb], 3);
    nodes.put_many("key", 10);
    let leader = nodes.leader();
    let remaining: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    assert_eq!(change(&mut nodes, MemberCall::Remove { id: leader }), (remaining.clone(), vec![]));
    nodes.events[&leader]
        .wait("stepping down", 0, |event| matches!(event, ReplicaEvent::SteppedDown { .. }).then_some(()));
    nodes.assert_equal(&remaining);
    assert_ne!(nodes.leader(), leader);
    // It comes back with all that it had, and catches up.
    change(&mut nodes, MemberCall::Add { id: leader, learner: true });
    nodes.assert_equal(&[1, 2, 3]);
    assert_eq!(change(&mut nodes, MemberCall::Promote { id: leader }), (vec![1, 2, 3], vec![]));
}

#[test]
fn one_replica_becomes_three_and_one_again() {
    let mut nodes = started(&[EngineId::Redb, EngineId::Sled, EngineId::Mem], 1);
    nodes.put_many("key", 20);
    for id in [2, 3] {
        change(&mut nodes, MemberCall::Add { id, learner: true });
        change(&mut nodes, MemberCall::Promote { id });
    }
    nodes.assert_equal(&[1, 2, 3]);
    assert_eq!(nodes.answer(&Call::MoveLeader { to: 3 }), Answer::MoveLeader);
    for id in [1, 2] {
        change(&mut nodes, MemberCall::Remove { id });
    }
    nodes.assert_equal(&[3]);
    nodes.restart(3);
    nodes.assert_equal(&[3]);
}

#[test]
fn changes_that_are_not_allowed_are_refused() {
    let mut nodes = started(&[EngineId::Mem, EngineId::Mem, EngineId::Mem, EngineId::Mem], 3);
    nodes.put("key", "value");
    let mut refused = |call| nodes.decided(&Call::Member(call)).unwrap_err();
    assert_eq!(refused(MemberCall::Add { id: 3, learner: false }), Refusal::MemberExists);
    assert_eq!(refused(MemberCall::Remove { id: 4 }), Refusal::MemberNotFound);
    assert_eq!(refused(MemberCall::Promote { id: 2 }), Refusal::MemberNotLearner);
    assert_eq!(refused(MemberCall::Replace { out: 4, with: 3 }), Refusal::MemberNotFound);
    // A learner that is never started is never in sync.
    nodes.stop(4).unwrap();
    nodes.put_many("key", 30);
    change(&mut nodes, MemberCall::Add { id: 4, learner: true });
    let promoted = nodes.decided(&Call::Member(MemberCall::Promote { id: 4 }));
    assert_eq!(promoted, Err(Refusal::LearnerNotReady));
    let to = nodes.leader();
    let nobody = nodes.ask_call(to, &Call::MoveLeader { to: 4 });
    assert!(matches!(nobody, Some(Outcome::Refused { .. })), "a learner cannot lead: {nobody:?}");
}

/// Seed 84 of `membership`: the only voter added another, wrote the configuration, and crashed. The commit index was
/// older, so that the new voter was needed to commit the entry again; but it needed a snapshot, of what was to come.
#[test]
fn a_configuration_that_is_written_proves_its_entry_committed() {
    let mut nodes = started(&[EngineId::Redb, EngineId::Mem], 1);
    nodes.put_many("key", 30);
    nodes.stop(1).unwrap();
    let config = nodes.configs[&1].clone();
    let (mut log, _) =
        RaftLog::open(&config.directory.join("raft"), config.raft_log_options, &config.design).unwrap();
    let single = ConfChangeSingle { node_id: 2, ..ConfChangeSingle::default() };
    let change = ConfChangeV2 { changes: vec![single].into(), ..ConfChangeV2::default() };
    let (index, term) = (log.last_index() + 1, log.hard_state().term);
    let mut entry = Entry { index, term, data: change.write_to_bytes().unwrap().into(), ..Entry::default() };
    entry.set_entry_type(EntryType::EntryConfChangeV2);
    log.append(&[entry], None, true).unwrap();
    log.set_conf_state(&ConfState { voters: vec![1, 2], ..ConfState::default() }, index).unwrap();
    drop(log);
    nodes.start(1);
    nodes.assert_equal(&[1, 2]);
}
