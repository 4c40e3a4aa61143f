//! What happens when a store outgrows its quota.
//!
//! That a disk really is full has to be shown in the simulator: no test here can fill one.

use cluster::ReplicaEvent;
use cluster::api::{Answer, Call, Refusal, Request};
use cluster::client::Outcome;
use engines::EngineId;

use crate::nodes::Nodes;

fn alarm(nodes: &Nodes, id: u64, since: usize) -> (u64, bool) {
    nodes.events[&id].wait("an alarm", since, |event| match event {
        ReplicaEvent::Alarm { member, active } => Some((*member, *active)),
        _ => None,
    })
}

/// A quota that nothing fits into, at one replica that has an engine with files.
fn with_quota(bytes: u64) -> Nodes {
    let mut nodes = Nodes::new(&[EngineId::Mem, EngineId::Mem, EngineId::Redb]);
    nodes.configure(3, |config| config.limits.quota_bytes = bytes);
    nodes
}

#[test]
fn writes_are_refused_while_a_member_has_no_space_and_all_else_goes_on() {
    let mut nodes = with_quota(0);
    nodes.start_all();
    let revision = nodes.put("before", "1");
    nodes.put("before", "2");
    nodes.stop(3).unwrap();
    nodes.configure(3, |config| config.limits.quota_bytes = 1);
    nodes.start(3);
    // Whoever leads, all of them hear of it: 3 asks the leader, or proposes it itself.
    for id in nodes.ids() {
        assert_eq!(alarm(&nodes, id, 0), (3, true));
    }
    assert_eq!(nodes.decided(&Call::Kv(Request::put("a", "1"))), Err(Refusal::NoSpace));
    assert_eq!(nodes.decided(&Call::LeaseGrant { id: 1, ttl_s: 5 }), Err(Refusal::NoSpace));
    nodes.call(&Request::get("before"));
    nodes.answer(&Call::Compact { revision, physical: true });
    nodes.call(&Request::delete("before"));
    assert_eq!(nodes.ask_call(3, &Call::Defragment), Some(Outcome::Answer(Answer::Defragment)));
    let Some(Outcome::Answer(Answer::Status(status))) = nodes.ask_call(1, &Call::Status) else {
        panic!("no status")
    };
    assert_eq!(status.alarms, [3]);

    // Disarming does not help while there is no space: the alarm comes back.
    let since = nodes.events[&1].len();
    assert_eq!(nodes.answer(&Call::AlarmDisarm), Answer::AlarmDisarm);
    nodes.events[&1].wait("the alarm again", since, |event| {
        matches!(event, ReplicaEvent::Alarm { member: 3, active: true }).then_some(())
    });

    nodes.stop(3).unwrap();
    nodes.configure(3, |config| config.limits.quota_bytes = 0);
    nodes.start(3);
    assert_eq!(nodes.answer(&Call::AlarmDisarm), Answer::AlarmDisarm);
    nodes.put("after", "1");
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn every_replica_has_its_ballast_and_finds_it_again() {
    let mut nodes = with_quota(0);
    nodes.start_all();
    nodes.put("a", "1");
    let ballast = nodes.configs[&1].directory.join("ballast");
    let bytes = nodes.configs[&1].limits.ballast_bytes;
    assert_eq!(std::fs::metadata(&ballast).unwrap().len(), bytes);
    nodes.restart(1);
    nodes.put("b", "1");
    assert_eq!(std::fs::metadata(&ballast).unwrap().len(), bytes);
    let restored = nodes.events[&1].all().contains(&ReplicaEvent::SpaceRegained);
    assert!(!restored, "it was never missing");
}
