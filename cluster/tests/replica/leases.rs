//! Leases, by the clocks of real leaders.

use std::thread;
use std::time::Duration;

use cluster::ReplicaEvent;
use cluster::api::{Answer, Call, PutRequest, Refusal, Request, ResponseBody};
use cluster::client::Outcome;
use cluster::design::LeaseKeepAlive;
use engines::EngineId;

use crate::nodes::Nodes;

const MEM: [EngineId; 3] = [EngineId::Mem; 3];

fn grant(nodes: &mut Nodes, id: i64, ttl_s: i64) -> (i64, i64) {
    match nodes.answer(&Call::LeaseGrant { id, ttl_s }) {
        Answer::LeaseGrant { id, ttl_s, .. } => (id, ttl_s),
        other => panic!("{other:?}"),
    }
}

fn keep_alive(nodes: &mut Nodes, id: i64) -> i64 {
    match nodes.answer(&Call::LeaseKeepAlive { id }) {
        Answer::LeaseKeepAlive { id: answered, ttl_s, .. } if answered == id => ttl_s,
        other => panic!("{other:?}"),
    }
}

fn put(nodes: &mut Nodes, key: &str, lease: i64) {
    let put = PutRequest { key: key.into(), lease, ..PutRequest::default() };
    nodes.call(&Request::Put(put));
}

fn count(nodes: &mut Nodes, key: &str) -> u64 {
    match nodes.call(&Request::get(key)).body {
        ResponseBody::Range { count, .. } => count,
        other => panic!("{other:?}"),
    }
}

/// Hands leadership to the next replica; returns which.
fn move_leader(nodes: &mut Nodes) -> u64 {
    let to = nodes.leader() % 3 + 1;
    assert_eq!(nodes.answer(&Call::MoveLeader { to }), Answer::MoveLeader);
    to
}

/// What a new leader gives lease `id` to live, in milliseconds.
fn taken_over(nodes: &Nodes, leader: u64, since: usize, id: i64) -> i64 {
    nodes.events[&leader].wait("a new leader", since, |event| match event {
        ReplicaEvent::LeasesTakenOver { leases, .. } => {
            leases.iter().find(|(lease, _)| *lease == id).map(|(_, left_ms)| *left_ms)
        }
        _ => None,
    })
}

#[test]
fn a_lease_ends_unless_it_is_kept_alive_and_takes_its_keys_with_it() {
    let mut nodes = Nodes::started(&MEM);
    let (chosen, ttl_s) = grant(&mut nodes, 0, 1);
    assert!(chosen > 0 && ttl_s == 2, "{chosen}, {ttl_s}");
    grant(&mut nodes, 7, 3);
    assert_eq!(nodes.decided(&Call::LeaseGrant { id: 7, ttl_s: 2 }), Err(Refusal::LeaseExists));
    put(&mut nodes, "forgotten", chosen);
    put(&mut nodes, "kept", 7);
    for _ in 0..9 {
        assert_eq!(keep_alive(&mut nodes, 7), 3);
        thread::sleep(Duration::from_millis(400));
    }
    let leader = nodes.leader();
    nodes.events[&leader].wait("the end of a lease", 0, |event| {
        matches!(event, ReplicaEvent::LeaseRevoked { id, .. } if *id == chosen).then_some(())
    });
    assert_eq!((count(&mut nodes, "forgotten"), count(&mut nodes, "kept")), (0, 1));
    assert_eq!(keep_alive(&mut nodes, chosen), 0);
    let Answer::Leases { ids, .. } = nodes.answer(&Call::Leases) else { panic!("not the leases") };
    assert_eq!(ids, [7]);
    nodes.answer(&Call::LeaseRevoke { id: 7 });
    assert_eq!(count(&mut nodes, "kept"), 0);
    assert_eq!(nodes.decided(&Call::LeaseRevoke { id: 7 }), Err(Refusal::LeaseNotFound));
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn what_a_lease_has_left_is_known_to_the_leader() {
    let mut nodes = Nodes::started(&MEM);
    grant(&mut nodes, 3, 100);
    put(&mut nodes, "b", 3);
    put(&mut nodes, "a", 3);
    let call = Call::LeaseTimeToLive { id: 3, keys: true };
    let Answer::LeaseTimeToLive { ttl_s, granted_ttl_s, keys, .. } = nodes.answer(&call) else {
        panic!("not the time to live")
    };
    assert!((60..=100).contains(&ttl_s) && granted_ttl_s == 100, "{ttl_s}, {granted_ttl_s}");
    assert_eq!(keys, [b"a", b"b"]);
    let none = Call::LeaseTimeToLive { id: 4, keys: true };
    let Answer::LeaseTimeToLive { ttl_s, granted_ttl_s, keys, .. } = nodes.answer(&none) else {
        panic!("not the time to live")
    };
    assert_eq!((ttl_s, granted_ttl_s, keys.len()), (-1, 0, 0));
    let leader = nodes.leader();
    for call in [call, Call::Leases, Call::LeaseKeepAlive { id: 3 }, Call::LeaseGrant { id: 5, ttl_s: 5 }] {
        let outcome = nodes.ask_call(leader % 3 + 1, &call);
        assert_eq!(outcome, Some(Outcome::NotLeader { leader: Some(leader) }), "{call:?}");
    }
}

#[test]
fn a_new_leader_goes_on_from_the_checkpoint_but_never_below_what_a_client_was_told() {
    let mut nodes = Nodes::new(&MEM);
    for id in nodes.ids() {
        nodes.configure(id, |config| config.timing.lease_checkpoint_interval = Duration::from_millis(500));
    }
    nodes.start_all();
    grant(&mut nodes, 3, 100);
    let leader = nodes.leader();
    let left_s = nodes.events[&leader].wait("a checkpoint", 0, |event| match event {
        ReplicaEvent::LeasesCheckpointed { remaining } if remaining[0].1 > 0 => Some(remaining[0].1),
        _ => None,
    });
    assert!((50..100).contains(&left_s), "{left_s}");
    let since: Vec<usize> = nodes.ids().iter().map(|id| nodes.events[id].len()).collect();
    let second = move_leader(&mut nodes);
    let left_ms = taken_over(&nodes, second, since[second as usize - 1], 3);
    assert!(left_ms < 100_000, "{left_ms}: less than all of it, with the extension of 200 ms");

    assert_eq!(keep_alive(&mut nodes, 3), 100);
    let since: Vec<usize> = nodes.ids().iter().map(|id| nodes.events[id].len()).collect();
    let third = move_leader(&mut nodes);
    let left_ms = taken_over(&nodes, third, since[third as usize - 1], 3);
    // A later checkpoint may have taken the time again that has passed since.
    assert!(left_ms > left_s * 1000 || left_ms > 90_000, "{left_ms} after {left_s} s");
}

/// Whether a leader that is cut off says that it has kept a lease alive, at one of `attempts`.
fn is_kept_alive_by_a_leader_cut_off(design: LeaseKeepAlive, attempts: usize) -> bool {
    let mut nodes = Nodes::new(&MEM);
    for id in nodes.ids() {
        nodes.configure(id, |config| config.design.lease_keep_alive = design);
    }
    nodes.start_all();
    grant(&mut nodes, 3, 100);
    for _ in 0..attempts {
        let leader = nodes.leader();
        nodes.network.isolate(leader, true);
        let outcome = nodes.ask_call(leader, &Call::LeaseKeepAlive { id: 3 });
        nodes.network.isolate(leader, false);
        if matches!(outcome, Some(Outcome::Answer(_))) {
            return true;
        }
    }
    false
}

/// etcd issue 15247.
#[test]
fn a_leader_that_is_cut_off_keeps_no_lease_alive() {
    assert!(!is_kept_alive_by_a_leader_cut_off(LeaseKeepAlive::Confirmed, 2));
    assert!(is_kept_alive_by_a_leader_cut_off(LeaseKeepAlive::Local, 20), "the wrong design does");
}
