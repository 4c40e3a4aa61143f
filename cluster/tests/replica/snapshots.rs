//! Peers that lag more than the log reaches back.

use cluster::api::{Answer, Request};
use cluster::client::Outcome;
use cluster::design::{Digest, Header, Reads, WireSize};
use cluster::{Recovery, ReplicaEvent, SendOutcome, SnapshotOutcome};
use engines::EngineId;
use snapshots::Shipment;

use crate::nodes::Nodes;

/// Writes until a follower that is stopped can only catch up by a snapshot.
pub(crate) fn write_beyond_the_log(nodes: &mut Nodes, writers: [u64; 2]) {
    let since = writers.map(|id| nodes.events[&id].len());
    nodes.put_many("beyond", 40);
    for (id, since) in writers.into_iter().zip(since) {
        nodes.events[&id].wait_for_short_log(since, 25);
    }
}

pub(crate) fn reception(nodes: &Nodes, id: u64, since: usize) -> SnapshotOutcome {
    nodes.events[&id].wait("reception of a snapshot", since, |event| match event {
        ReplicaEvent::SnapshotReceived { outcome, .. } => Some(outcome.clone()),
        _ => None,
    })
}

pub(crate) fn installation(nodes: &Nodes, id: u64, since: usize) -> SnapshotOutcome {
    nodes.events[&id].wait("installation of a snapshot", since, |event| match event {
        ReplicaEvent::SnapshotReceived {
            outcome: outcome @ (SnapshotOutcome::Installed | SnapshotOutcome::Transcoded { .. }),
            ..
        } => Some(outcome.clone()),
        _ => None,
    })
}

/// Two replicas of `sender` and one of `receiver`, which lags and catches up by a snapshot.
fn check_catch_up(sender: EngineId, receiver: EngineId) {
    let mut nodes = Nodes::started(&[sender, sender, receiver]);
    nodes.put_many("first", 5);
    nodes.assert_equal(&[1, 2, 3]);
    nodes.stop(3).unwrap();
    write_beyond_the_log(&mut nodes, [1, 2]);
    let since = nodes.events[&3].len();
    nodes.start(3);
    let outcome = installation(&nodes, 3, since);
    if sender == receiver {
        assert_eq!(outcome, SnapshotOutcome::Installed);
    } else {
        assert_eq!(outcome, SnapshotOutcome::Transcoded { from: sender.byte() });
    }
    nodes.assert_equal(&[1, 2, 3]);

    // What was installed survives a restart, and nothing is left over.
    let since = nodes.events[&3].len();
    nodes.restart(3);
    nodes.events[&3].wait("a start with its state", since, |event| match event {
        ReplicaEvent::Started { recovery: Recovery::Replay { from }, .. } => (*from > 40).then_some(()),
        _ => None,
    });
    nodes.assert_equal(&[1, 2, 3]);
    let directory = &nodes.configs[&3].directory;
    for name in ["INSTALL", "store.new", "store.old"] {
        assert!(!directory.join(name).exists(), "{name}");
    }
}

/// From each engine to itself and to another. The other pairs differ in nothing but their transcoding, and that
/// is done for every pair where engines are converted in place.
fn check_from(sender: EngineId, other: EngineId) {
    check_catch_up(sender, sender);
    check_catch_up(sender, other);
}

#[test]
fn a_lagging_replica_catches_up_from_mem() {
    check_from(EngineId::Mem, EngineId::Sled);
}

#[test]
fn a_lagging_replica_catches_up_from_sled() {
    check_from(EngineId::Sled, EngineId::Fjall);
}

#[test]
fn a_lagging_replica_catches_up_from_fjall() {
    check_from(EngineId::Fjall, EngineId::Sled);
}

#[test]
fn a_lagging_replica_catches_up_from_redb() {
    check_from(EngineId::Redb, EngineId::Mem);
}

/// A cluster whose node 3 was stopped after `old` was written, and needs a snapshot to catch up.
fn lagging(engines: [EngineId; 3], change: impl Fn(&mut cluster::ReplicaConfig)) -> Nodes {
    let mut nodes = Nodes::new(&engines);
    for id in nodes.ids() {
        nodes.configure(id, &change);
    }
    nodes.start_all();
    nodes.put("old", "served");
    nodes.assert_equal(&[1, 2, 3]);
    nodes.stop(3).unwrap();
    write_beyond_the_log(&mut nodes, [1, 2]);
    nodes
}

fn flip_a_bit_in_every_stream(nodes: &Nodes) {
    nodes.network.set_stream_fault(Some(Box::new(|_, _, piece, bytes| {
        if piece == 1 {
            let last = bytes.len() - 1;
            bytes[last] ^= 0x10;
        }
    })));
}

#[test]
fn a_damaged_stream_is_refused_and_the_old_state_is_still_served() {
    // A bare stream, whose frames have checksums, and a headed one, which has a digest.
    for sender in [EngineId::Sled, EngineId::Redb] {
        let mut nodes = lagging([sender, sender, EngineId::Mem], |_| {});
        // Only node 3 answers reads by itself, so that its state can be seen while it lags.
        nodes.configure(3, |config| config.design.reads = Reads::Local);
        flip_a_bit_in_every_stream(&nodes);
        let since = nodes.events[&3].len();
        nodes.start(3);
        for _ in 0..2 {
            let outcome = reception(&nodes, 3, since);
            assert!(matches!(outcome, SnapshotOutcome::Refused { .. }), "{sender}: {outcome:?}");
        }
        let Some(Outcome::Answer(Answer::Kv(response))) = nodes.ask(3, &Request::get("old")) else {
            panic!("node 3 does not serve its old state");
        };
        assert!(response.revision < 40, "forty keys were written while node 3 was away");
        assert!(!nodes.configs[&3].directory.join("store.new").exists());
        nodes.network.set_stream_fault(None);
        installation(&nodes, 3, since);
        nodes.assert_equal(&[1, 2, 3]);
    }
}

#[test]
fn a_stream_that_breaks_is_sent_again() {
    let mut nodes = lagging([EngineId::Mem; 3], |config| config.limits.stream_chunks_per_round = 1);
    let network = nodes.network.clone();
    let mut broken = 0;
    // The network is locked while this is called, so another thread breaks the stream.
    nodes.network.set_stream_fault(Some(Box::new(move |_, _, piece, _| {
        if piece == 2 && broken < 2 {
            broken += 1;
            let network = network.clone();
            std::thread::spawn(move || network.break_streams());
        }
    })));
    let since = nodes.events[&3].len();
    nodes.start(3);
    installation(&nodes, 3, since);
    nodes.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_stream_cut_short_or_too_long_is_refused() {
    for extend in [false, true] {
        let mut nodes = lagging([EngineId::Redb; 3], |_| {});
        nodes.network.set_stream_fault(Some(Box::new(move |_, _, piece, bytes| {
            if piece == 1 && extend {
                bytes.push(0);
            } else if piece == 1 {
                bytes.pop();
            }
        })));
        let since = nodes.events[&3].len();
        nodes.start(3);
        let outcome = reception(&nodes, 3, since);
        let SnapshotOutcome::Refused { error } = outcome else { panic!("{outcome:?}") };
        assert!(error.contains(if extend { "over-long" } else { "truncated" }), "{error}");
        nodes.network.set_stream_fault(None);
        installation(&nodes, 3, since);
    }
}

type Change = fn(&mut cluster::ReplicaConfig);

#[test]
fn a_wrong_size_or_header_never_gets_through() {
    let wrong: [(&str, Change); 2] = [
        ("over-long", |config| config.design.wire_size = WireSize::BodyOnly),
        ("version", |config| config.design.header = Header::Bytes17),
    ];
    for (complaint, change) in wrong {
        let mut nodes = lagging([EngineId::Redb; 3], change);
        let since = nodes.events[&3].len();
        nodes.start(3);
        let outcome = reception(&nodes, 3, since);
        let SnapshotOutcome::Refused { error } = outcome else { panic!("{outcome:?}") };
        assert!(error.contains(complaint), "{error}");
        let leader = nodes.leader();
        nodes.events[&leader].wait("the refusal to be heard", 0, |event| {
            matches!(event, ReplicaEvent::SnapshotSendEnded { outcome: SendOutcome::Refused, .. })
                .then_some(())
        });
    }
}

#[test]
fn without_the_digest_check_damage_to_a_value_gets_in() {
    let mut nodes = lagging([EngineId::Redb; 3], |config| config.design.digest = Digest::Skipped);
    nodes.put("victim", &"v".repeat(64));
    nodes.network.set_stream_fault(Some(Box::new(|_, _, _, bytes| {
        if let Some(at) = bytes.windows(64).position(|window| window.iter().all(|byte| *byte == b'v')) {
            bytes[at] = b'w';
        }
    })));
    let since = nodes.events[&3].len();
    nodes.start(3);
    let outcome = reception(&nodes, 3, since);
    // redb checks its pages when it repairs only, so the damage may come to be the state; if not, it was seen.
    assert!(matches!(outcome, SnapshotOutcome::Installed | SnapshotOutcome::Refused { .. }), "{outcome:?}");
}

#[test]
fn what_is_sent_is_what_the_pure_function_says() {
    for (sender, shipment) in [
        (EngineId::Sled, Shipment::Bare),
        (EngineId::Redb, Shipment::Headed { engine: EngineId::Redb.byte() }),
    ] {
        let mut nodes = lagging([sender, sender, EngineId::Mem], |_| {});
        let since = nodes.events[&3].len();
        nodes.start(3);
        installation(&nodes, 3, since);
        let leader = nodes.leader();
        let sent = nodes.events[&leader].wait("a shipment", 0, |event| match event {
            ReplicaEvent::SnapshotSent { to: 3, shipment, announced_bytes, wire_bytes, prefix, .. } => {
                Some((*shipment, *announced_bytes, *wire_bytes, prefix.clone()))
            }
            _ => None,
        });
        let (sent, announced_bytes, wire_bytes, prefix) = sent;
        assert_eq!((sent, announced_bytes), (shipment, wire_bytes));
        assert_eq!(prefix.starts_with(&snapshots::MAGIC), sender != EngineId::Sled);
    }
}
