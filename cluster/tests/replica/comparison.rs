//! States that are compared between replicas.

use std::ops::ControlFlow;
use std::path::Path;

use cluster::{Recovery, ReplicaEvent};
use engines::{Batch, EngineId, Options, marker};

use crate::nodes::Nodes;
use crate::snapshots::installation;

/// Changes a value in a store, as an engine without checksums gives back what has rotted.
fn rot(store: &Path, engine: EngineId) {
    let mut backend = marker::open_data_dir(store, engine, &Options::default()).unwrap();
    let mut found = None;
    let mut look = |key: &[u8], record: &[u8]| {
        let at = record.windows(5).position(|bytes| bytes == b"value");
        found = at.map(|at| (key.to_vec(), record.to_vec(), at));
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    backend.scan(b"k", Some(b"l"), &mut look).unwrap();
    let (key, mut record, at) = found.expect("a record holds a value");
    record[at] ^= 1;
    let mut batch = Batch::new();
    batch.put(key, record);
    backend.write(&batch).unwrap();
    backend.flush().unwrap();
    backend.close().unwrap();
}

#[test]
fn a_state_that_a_quorum_contradicts_is_set_aside_and_rebuilt() {
    for engine in [EngineId::Mem, EngineId::Redb] {
        let mut nodes = Nodes::started(&[EngineId::Mem, EngineId::Mem, engine]);
        nodes.put_many("key", 40);
        nodes.assert_equal(&[1, 2, 3]);
        nodes.events[&3].wait_for_short_log(0, 20);
        nodes.stop(3).unwrap();
        rot(&nodes.store(3), engine);
        let since = nodes.events[&3].len();
        nodes.start(3);
        nodes.events[&3].wait("a start", since, |event| match event {
            ReplicaEvent::Started { recovery: Recovery::Replay { .. }, .. } => Some(()),
            ReplicaEvent::EngineFinding { cause, .. } => panic!("{engine} noticed: {cause}"),
            _ => None,
        });
        nodes.put_many("more", 3);
        let (own, theirs) = nodes.events[&3].wait("a comparison", since, |event| match event {
            ReplicaEvent::StoreDiverged { own, theirs, set_aside, .. } => {
                assert!(set_aside.join("ENGINE").exists(), "evidence is kept");
                Some((*own, *theirs))
            }
            _ => None,
        });
        assert_ne!(own, theirs);
        installation(&nodes, 3, since);
        nodes.assert_equal(&[1, 2, 3]);
    }
}

#[test]
fn two_replicas_that_differ_cannot_tell_who_is_right() {
    let mut nodes = Nodes::started(&[EngineId::Mem, EngineId::Mem]);
    nodes.put_many("key", 10);
    nodes.stop(2).unwrap();
    rot(&nodes.store(2), EngineId::Mem);
    nodes.start(2);
    nodes.put_many("more", 10);
    for id in nodes.ids() {
        let told = nodes.events[&id].all();
        assert!(!told.iter().any(|event| matches!(event, ReplicaEvent::StoreDiverged { .. })), "{told:#?}");
    }
}
