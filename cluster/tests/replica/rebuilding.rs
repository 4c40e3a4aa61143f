//! Stores that are lost, and how a replica comes back without its state.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cluster::{Recovery, ReplicaError, ReplicaEvent, Role};
use engines::EngineId;

use crate::nodes::Nodes;
use crate::snapshots::{installation, write_beyond_the_log};

/// Overwrites every file of the store with garbage of the same length.
fn ruin(store: &Path) {
    for entry in fs::read_dir(store).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            ruin(&path);
        } else if path.file_name().unwrap() != "ENGINE" {
            let length = fs::metadata(&path).unwrap().len() as usize;
            fs::write(&path, vec![0xa5; length]).unwrap();
        }
    }
}

/// Three replicas whose logs begin after entry 1, with node 3 stopped.
fn with_short_logs(engine: EngineId) -> Nodes {
    let mut nodes = Nodes::started(&[EngineId::Mem, EngineId::Mem, engine]);
    nodes.put_many("key", 40);
    nodes.assert_equal(&[1, 2, 3]);
    nodes.events[&3].wait_for_short_log(0, 20);
    nodes.stop(3).unwrap();
    nodes
}

fn recovery(nodes: &Nodes, id: u64, since: usize) -> Recovery {
    nodes.events[&id].wait("a start", since, |event| match event {
        ReplicaEvent::Started { recovery, .. } => Some(*recovery),
        _ => None,
    })
}

#[test]
fn a_ruined_store_is_set_aside_and_rebuilt_from_a_peer() {
    for engine in [EngineId::Mem, EngineId::Sled, EngineId::Fjall, EngineId::Redb] {
        let mut nodes = with_short_logs(engine);
        ruin(&nodes.store(3));
        let since = nodes.events[&3].len();
        nodes.start(3);
        let (found, set_aside) = nodes.events[&3].wait("a finding", since, |event| match event {
            ReplicaEvent::EngineFinding { engine, set_aside, .. } => Some((*engine, set_aside.clone())),
            ReplicaEvent::Started { recovery, .. } => panic!("{engine} started: {recovery:?}"),
            _ => None,
        });
        assert_eq!(found, engine);
        assert!(set_aside.join("ENGINE").exists(), "evidence is kept");
        assert_eq!(recovery(&nodes, 3, since), Recovery::Rebuild);
        installation(&nodes, 3, since);
        nodes.assert_equal(&[1, 2, 3]);
    }
}

#[test]
fn a_store_that_proves_too_little_is_set_aside_and_rebuilt() {
    let mut nodes = Nodes::started(&[EngineId::Mem; 3]);
    nodes.put("a", "1");
    nodes.assert_equal(&[1, 2, 3]);
    nodes.events[&3].wait("a flush", 0, |event| matches!(event, ReplicaEvent::FlushEnd { .. }).then_some(()));
    nodes.stop(3).unwrap();
    let old = tempfile::tempdir().unwrap();
    fs::copy(nodes.store(3).join("data/mem.data"), old.path().join("mem.data")).unwrap();
    nodes.start(3);
    write_beyond_the_log(&mut nodes, [1, 3]);
    nodes.stop(3).unwrap();
    fs::copy(old.path().join("mem.data"), nodes.store(3).join("data/mem.data")).unwrap();
    let since = nodes.events[&3].len();
    nodes.start(3);
    let (proven_index, log_first) = nodes.events[&3].wait("a finding", since, |event| match event {
        ReplicaEvent::EngineFinding { proven_index, log_first, .. } => Some((*proven_index, *log_first)),
        _ => None,
    });
    assert!(proven_index.unwrap() + 1 < log_first);
    installation(&nodes, 3, since);
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_store_lost_while_the_log_is_whole_is_replayed() {
    let mut nodes = Nodes::started(&[EngineId::Mem; 3]);
    nodes.put("a", "1");
    nodes.stop(3).unwrap();
    fs::remove_dir_all(nodes.store(3)).unwrap();
    let since = nodes.events[&3].len();
    nodes.start(3);
    assert_eq!(recovery(&nodes, 3, since), Recovery::Replay { from: 1 });
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_crash_in_the_middle_of_a_rebuild_is_another_rebuild() {
    let mut nodes = with_short_logs(EngineId::Mem);
    fs::remove_dir_all(nodes.store(3)).unwrap();
    nodes.network.isolate(3, true);
    for _ in 0..2 {
        let since = nodes.events[&3].len();
        nodes.start(3);
        assert_eq!(recovery(&nodes, 3, since), Recovery::Rebuild);
        nodes.stop(3).unwrap();
    }
    nodes.network.isolate(3, false);
    let since = nodes.events[&3].len();
    nodes.start(3);
    installation(&nodes, 3, since);
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn two_replicas_that_lost_their_state_are_rebuilt_from_the_third() {
    let mut nodes = Nodes::started(&[EngineId::Mem, EngineId::Mem, EngineId::Mem]);
    nodes.put_many("key", 40);
    nodes.assert_equal(&[1, 2, 3]);
    for id in [1, 2, 3] {
        nodes.events[&id].wait_for_short_log(0, 20);
    }
    // Whoever leads stays: its log is as good as any.
    let survivor = nodes.leader();
    let lost: Vec<u64> = nodes.ids().into_iter().filter(|id| *id != survivor).collect();
    let since: Vec<usize> = lost.iter().map(|id| nodes.events[id].len()).collect();
    for id in &lost {
        nodes.stop(*id).unwrap();
        fs::remove_dir_all(nodes.store(*id)).unwrap();
    }
    for id in &lost {
        nodes.start(*id);
    }
    for (id, since) in lost.iter().zip(&since) {
        installation(&nodes, *id, *since);
    }
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_replica_without_state_never_campaigns_and_still_votes() {
    let mut nodes = with_short_logs(EngineId::Mem);
    fs::remove_dir_all(nodes.store(3)).unwrap();
    // Streams come to nothing, so that node 3 stays without a state.
    nodes.network.set_stream_fault(Some(Box::new(|_, _, _, bytes| bytes.clear())));
    let since = nodes.events[&3].len();
    nodes.start(3);
    assert_eq!(recovery(&nodes, 3, since), Recovery::Rebuild);
    nodes.put("with", "three");
    nodes.network.isolate(3, true);
    std::thread::sleep(Duration::from_millis(1200));
    nodes.network.isolate(3, false);
    // With one of the others gone, the last one needs the vote of node 3, which has all entries in its log.
    let leader = nodes.leader();
    nodes.put("before", "election");
    std::thread::sleep(Duration::from_millis(300));
    nodes.stop(leader).unwrap();
    nodes.events[&(3 - leader)].wait("election of the other", 0, |event| match event {
        ReplicaEvent::BecameLeader { .. } => Some(()),
        _ => None,
    });
    let campaigned = nodes.events[&3].all()[since..]
        .iter()
        .any(|event| matches!(event, ReplicaEvent::StateChanged { role, .. } if *role != Role::Follower));
    assert!(!campaigned);
    nodes.start(leader);
    nodes.network.set_stream_fault(None);
    installation(&nodes, 3, since);
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn the_only_replica_refuses_to_start_without_its_state() {
    let mut nodes = Nodes::started(&[EngineId::Mem]);
    nodes.put_many("key", 40);
    nodes.events[&1].wait_for_short_log(0, 0);
    nodes.stop(1).unwrap();
    fs::remove_dir_all(nodes.store(1)).unwrap();
    nodes.start(1);
    let error = nodes.join(1).unwrap_err();
    assert!(matches!(error, ReplicaError::Refused(_)) && !error.restart_may_help(), "{error}");
}

#[test]
fn a_log_that_lost_what_was_applied_is_refused() {
    let mut nodes = Nodes::started(&[EngineId::Mem; 3]);
    nodes.put_many("key", 5);
    nodes.assert_equal(&[1, 2, 3]);
    nodes.events[&3].wait("a flush", 0, |event| {
        matches!(event, ReplicaEvent::FlushEnd { index } if *index > 5).then_some(())
    });
    nodes.stop(3).unwrap();
    fs::remove_dir_all(nodes.configs[&3].directory.join("raft")).unwrap();
    nodes.start(3);
    let error = nodes.join(3).unwrap_err();
    assert!(error.to_string().contains("lost entries"), "{error}");
}

/// A store that went back to an earlier state, though the raft log has all that it lacks: only the file says so.
#[test]
fn a_store_that_proves_less_than_was_noted_as_flushed_is_not_used() {
    let mut nodes = Nodes::started(&[EngineId::Mem; 3]);
    nodes.configure(3, |config| config.limits.trailing_entries = 1_000);
    nodes.restart(3);
    nodes.put("a", "1");
    nodes.stop(3).unwrap();
    let old = tempfile::tempdir().unwrap();
    fs::copy(nodes.store(3).join("data/mem.data"), old.path().join("mem.data")).unwrap();
    nodes.start(3);
    nodes.put_many("key", 20);
    nodes.events[&3].wait("a flush", 0, |event| {
        matches!(event, ReplicaEvent::FlushEnd { index } if *index > 15).then_some(())
    });
    nodes.stop(3).unwrap();
    fs::copy(old.path().join("mem.data"), nodes.store(3).join("data/mem.data")).unwrap();
    for _ in 0..2 {
        let since = nodes.events[&3].len();
        nodes.start(3);
        assert_eq!(recovery(&nodes, 3, since), Recovery::Replay { from: 1 });
        let findings = nodes.events[&3].all()[since..]
            .iter()
            .filter(|event| matches!(event, ReplicaEvent::EngineFinding { .. }))
            .count();
        assert_eq!(findings, 1, "set aside, and found out again once the store is back");
        nodes.assert_equal(&[1, 2, 3]);
        nodes.events[&3].wait("a flush", since, |event| {
            matches!(event, ReplicaEvent::FlushEnd { index } if *index > 15).then_some(())
        });
        nodes.stop(3).unwrap();
        fs::copy(old.path().join("mem.data"), nodes.store(3).join("data/mem.data")).unwrap();
    }
}

#[test]
fn a_note_of_what_is_flushed_that_is_older_than_the_log_is_told_and_written_anew() {
    let mut nodes = with_short_logs(EngineId::Redb);
    let note = nodes.configs[&3].directory.join("last-flushed-index");
    let before = fs::read(&note).unwrap();
    fs::remove_file(&note).unwrap();
    let since = nodes.events[&3].len();
    nodes.start(3);
    let (flushed, log_first) = nodes.events[&3].wait("the loss", since, |event| match event {
        ReplicaEvent::FlushedIndexBehind { flushed, log_first } => Some((*flushed, *log_first)),
        _ => None,
    });
    assert_eq!(flushed, None);
    assert!(log_first > 20);
    assert!(matches!(recovery(&nodes, 3, since), Recovery::Replay { .. }));
    assert_eq!(fs::read(&note).unwrap().len(), before.len());
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_damaged_note_of_what_is_flushed_costs_the_store_and_no_data() {
    let mut nodes = with_short_logs(EngineId::Redb);
    let note = nodes.configs[&3].directory.join("last-flushed-index");
    fs::write(&note, b"not an index").unwrap();
    let since = nodes.events[&3].len();
    nodes.start(3);
    assert_eq!(recovery(&nodes, 3, since), Recovery::Rebuild);
    installation(&nodes, 3, since);
    nodes.assert_equal(&[1, 2, 3]);
}
