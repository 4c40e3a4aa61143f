//! Status, hashes, defragmentation, compaction, handing leadership over, reads of any replica.

use cluster::ReplicaEvent;
use cluster::api::{Answer, Call, RangeRequest, Refusal, Request, ResponseBody, Status};
use cluster::client::Outcome;
use engines::EngineId;

use crate::nodes::Nodes;

const ENGINES: [EngineId; 3] = [EngineId::Mem, EngineId::Sled, EngineId::Redb];

fn status(nodes: &mut Nodes, id: u64) -> Status {
    match nodes.ask_call(id, &Call::Status) {
        Some(Outcome::Answer(Answer::Status(status))) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_replica_says_how_it_is_and_defragments() {
    let mut nodes = Nodes::started(&ENGINES);
    nodes.put_many("key", 5);
    let leader = nodes.leader();
    nodes.assert_equal(&[1, 2, 3]);
    for id in nodes.ids() {
        let Status { revision, leader: known, raft_term, raft_index, raft_applied_index, .. } =
            status(&mut nodes, id);
        assert!(revision >= 6 && known == leader && raft_term > 0, "{id}");
        assert!(raft_applied_index > 0 && raft_applied_index <= raft_index, "{id}");
        assert_eq!(nodes.ask_call(id, &Call::Defragment), Some(Outcome::Answer(Answer::Defragment)));
    }
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_compaction_is_answered_when_the_engine_has_forgotten() {
    let mut nodes = Nodes::new(&ENGINES);
    for id in nodes.ids() {
        nodes.configure(id, |config| config.limits.compaction_records = 3);
    }
    nodes.start_all();
    for number in 0..10 {
        nodes.put("key", &number.to_string());
    }
    let revision = nodes.put("key", "last");
    let answer = nodes.answer(&Call::Compact { revision, physical: true });
    assert_eq!(answer, Answer::Compact { revision });
    let leader = nodes.leader();
    let removed = nodes.events[&leader].wait("the end of the compaction", 0, |event| match event {
        ReplicaEvent::CompactionFinished(metrics) => Some(metrics.records_removed),
        _ => None,
    });
    assert!(removed >= 10, "{removed}");
    let early = Request::Range(RangeRequest { key: b"key".to_vec(), revision: 2, ..RangeRequest::default() });
    assert_eq!(nodes.decided(&Call::Kv(early)), Err(Refusal::Compacted));
    let again = Call::Compact { revision, physical: false };
    assert_eq!(nodes.decided(&again), Err(Refusal::Compacted));
    let future = Call::Compact { revision: revision + 100, physical: false };
    assert_eq!(nodes.decided(&future), Err(Refusal::FutureRevision));
    for id in nodes.ids() {
        nodes.events[&id].wait("a compacted revision", 0, |event| {
            matches!(event, ReplicaEvent::CompactedRevision { revision: told } if *told == revision)
                .then_some(())
        });
    }
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn hashes_are_the_same_whoever_leads() {
    let mut nodes = Nodes::started(&ENGINES);
    nodes.put_many("key", 5);
    let revision = nodes.put("key", "now");
    let first = nodes.answer(&Call::HashKv { revision });
    let old = nodes.leader();
    let to = old % 3 + 1;
    assert_eq!(nodes.answer(&Call::MoveLeader { to }), Answer::MoveLeader);
    assert_eq!(nodes.answer(&Call::HashKv { revision }), first);
    let future = Call::HashKv { revision: revision + 100 };
    assert_eq!(nodes.decided(&future), Err(Refusal::FutureRevision));
    let nobody = nodes.ask_call(to, &Call::MoveLeader { to: 9 });
    assert!(matches!(nobody, Some(Outcome::Refused { .. } | Outcome::NotLeader { .. })), "{nobody:?}");
}

#[test]
fn a_serializable_read_is_answered_by_a_replica_that_is_cut_off() {
    let mut nodes = Nodes::started(&ENGINES);
    nodes.put("key", "value");
    nodes.assert_equal(&[1, 2, 3]);
    let follower = nodes.leader() % 3 + 1;
    nodes.network.isolate(follower, true);
    let range = RangeRequest { key: b"key".to_vec(), serializable: true, ..RangeRequest::default() };
    match nodes.ask(follower, &Request::Range(range)) {
        Some(Outcome::Answer(Answer::Kv(response))) => {
            assert!(matches!(response.body, ResponseBody::Range { count: 1, .. }), "{response:?}");
        }
        other => panic!("{other:?}"),
    }
    nodes.network.isolate(follower, false);
}
