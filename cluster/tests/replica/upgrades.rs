//! Changes of release and engine, node by node.

use cluster::design::ReleaseOneStreams;
use cluster::{EngineChange, Recovery, Release, ReplicaError, ReplicaEvent, SnapshotOutcome};
use engines::EngineId;
use snapshots::Shipment;

use crate::nodes::Nodes;
use crate::snapshots::{installation, reception, write_beyond_the_log};

/// Three replicas of release 1.
fn release_one() -> Nodes {
    let mut nodes = Nodes::new(&[EngineId::Sled; 3]);
    for id in nodes.ids() {
        nodes.configure(id, |config| config.release = Release::One);
    }
    nodes.start_all();
    nodes
}

#[test]
fn a_cluster_goes_from_release_one_to_two_to_another_engine_and_back() {
    let mut nodes = release_one();
    nodes.put_many("key", 10);
    let steps = [
        (Release::Two, EngineId::Sled, EngineChange::Refuse),
        (Release::Two, EngineId::Fjall, EngineChange::ConvertInPlace),
        (Release::Two, EngineId::Sled, EngineChange::WipeAndFetch),
        (Release::One, EngineId::Sled, EngineChange::Refuse),
    ];
    for (release, engine, change) in steps {
        for id in nodes.ids() {
            nodes.stop(id).unwrap();
            nodes.configure(id, |config| {
                config.release = release;
                config.engine = engine;
                config.on_engine_change = change;
            });
            nodes.put_many("meanwhile", 3);
            let since = nodes.events[&id].len();
            nodes.start(id);
            nodes.assert_equal(&[1, 2, 3]);
            let change_seen = nodes.events[&id].all()[since..].iter().any(|event| {
                matches!(event, ReplicaEvent::Converted { .. } | ReplicaEvent::StoreDiscarded { .. })
            });
            assert_eq!(change_seen, change != EngineChange::Refuse, "node {id}");
        }
    }
    // The first revision is 2. Each of twelve restarts came with three writes and one to compare by.
    assert!(nodes.put("last", "1") > 1 + 10 + 12 * 4);
}

/// Nodes 1 and 2 of release 2 with fjall, node 3 of release 1 and far behind.
fn lagging_release_one(streams: ReleaseOneStreams) -> (Nodes, usize) {
    let mut nodes = Nodes::new(&[EngineId::Fjall, EngineId::Fjall, EngineId::Sled]);
    for id in nodes.ids() {
        nodes.configure(id, |config| config.design.release_one_streams = streams);
    }
    nodes.configure(3, |config| config.release = Release::One);
    nodes.start_all();
    nodes.put("a", "1");
    nodes.stop(3).unwrap();
    write_beyond_the_log(&mut nodes, [1, 2]);
    let since = nodes.events[&3].len();
    nodes.start(3);
    (nodes, since)
}

fn shipment(nodes: &mut Nodes) -> Shipment {
    let leader = nodes.leader();
    nodes.events[&leader].wait("a shipment", 0, |event| match event {
        ReplicaEvent::SnapshotSent { to: 3, shipment, receiver, .. } => {
            assert_eq!(receiver.peer.release, Release::One);
            Some(*shipment)
        }
        _ => None,
    })
}

#[test]
fn a_peer_of_release_one_gets_a_bare_stream_from_any_engine() {
    let (mut nodes, since) = lagging_release_one(ReleaseOneStreams::Bare);
    assert_eq!(installation(&nodes, 3, since), SnapshotOutcome::Installed);
    assert_eq!(shipment(&mut nodes), Shipment::TranscodeToBare);
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_peer_of_release_one_takes_a_header_for_a_bare_body_and_refuses_it() {
    let (mut nodes, since) = lagging_release_one(ReleaseOneStreams::Headed);
    let outcome = reception(&nodes, 3, since);
    assert!(matches!(outcome, SnapshotOutcome::Refused { .. }), "{outcome:?}");
    assert_eq!(shipment(&mut nodes), Shipment::Headed { engine: EngineId::Fjall.byte() });
}

#[test]
fn a_changed_engine_is_refused_unless_a_change_is_allowed() {
    let mut nodes = Nodes::started(&[EngineId::Mem; 3]);
    nodes.put("a", "1");
    nodes.stop(3).unwrap();
    nodes.configure(3, |config| config.engine = EngineId::Sled);
    nodes.start(3);
    let error = nodes.join(3).unwrap_err();
    assert!(matches!(error, ReplicaError::Refused(_)) && !error.restart_may_help());
    assert!(error.to_string().contains("mem") && error.to_string().contains("sled"), "{error}");
    nodes.configure(3, |config| {
        config.release = Release::One;
        config.on_engine_change = EngineChange::ConvertInPlace;
    });
    nodes.start(3);
    let error = nodes.join(3).unwrap_err();
    assert!(error.to_string().contains("release 1"), "{error}");
}

#[test]
fn every_engine_is_converted_to_every_other_with_its_state() {
    let engines = [EngineId::Mem, EngineId::Sled, EngineId::Fjall, EngineId::Redb];
    let mut nodes = Nodes::started(&[EngineId::Mem]);
    nodes.configure(1, |config| config.on_engine_change = EngineChange::ConvertInPlace);
    nodes.put_many("key", 30);
    // A path over the complete graph of the engines: each ordered pair once.
    let mut pairs = 0;
    let mut current = EngineId::Mem;
    let mut left: Vec<(EngineId, EngineId)> = engines
        .iter()
        .flat_map(|from| engines.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| from != to)
        .collect();
    while let Some(position) =
        left.iter().position(|(from, _)| *from == current).or(left.iter().position(|_| true))
    {
        let (from, to) = left[position];
        if from == current {
            left.remove(position);
            pairs += 1;
        }
        // Otherwise a pair is walked again, to get to one that is left.
        let next = if from == current { to } else { from };
        let before = nodes.put("number", &pairs.to_string());
        nodes.stop(1).unwrap();
        nodes.configure(1, |config| config.engine = next);
        let since = nodes.events[&1].len();
        nodes.start(1);
        let converted = nodes.events[&1].wait("a conversion", since, |event| match event {
            ReplicaEvent::Converted { from, to, .. } => Some((*from, *to)),
            ReplicaEvent::Started { recovery, .. } => panic!("started without a conversion: {recovery:?}"),
            _ => None,
        });
        assert_eq!(converted, (current, next));
        assert_eq!(nodes.put("after", "1"), before + 1);
        current = next;
    }
    assert_eq!(pairs, 12);
    let recoveries = nodes.events[&1]
        .all()
        .into_iter()
        .filter(|event| matches!(event, ReplicaEvent::Started { recovery: Recovery::Rebuild, .. }));
    assert_eq!(recoveries.count(), 0);
}
