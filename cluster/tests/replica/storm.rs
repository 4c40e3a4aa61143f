//! Everything at once: lost, doubled, overtaken and damaged messages, broken and damaged streams, restarts,
//! partitions and lost stores, under writes that can be counted.

use std::fs;
use std::time::{Duration, Instant};

use cluster::api::{Answer, Request, ResponseBody};
use cluster::client::Outcome;
use cluster::{ReplicaEvent, SnapshotOutcome};
use engines::EngineId;

use crate::network::Fate;
use crate::nodes::Nodes;

const STORM: Duration = Duration::from_secs(3);

/// xorshift64*: the storm's choices; the threads' timing is the rest of it.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

fn let_loose(nodes: &Nodes) {
    let mut dice = Dice(7);
    nodes.network.set_message_fault(Some(Box::new(move |_, _, bytes| match dice.roll(40) {
        0 => Fate::Lost,
        1 => Fate::Duplicated,
        2 => Fate::Overtaken,
        3 => {
            let position = dice.roll(bytes.len() as u64) as usize;
            bytes[position] ^= 1 << dice.roll(8);
            Fate::Delivered
        }
        _ => Fate::Delivered,
    })));
    let mut dice = Dice(11);
    nodes.network.set_stream_fault(Some(Box::new(move |_, _, _, bytes| {
        if dice.roll(400) == 0 {
            bytes.pop();
        }
    })));
}

fn counter(response: &ResponseBody) -> Option<(u64, i64)> {
    let ResponseBody::Range { kvs, .. } = response else { panic!("{response:?}") };
    let pair = kvs.first()?;
    Some((String::from_utf8(pair.value.clone()).unwrap().parse().unwrap(), pair.mod_revision))
}

/// How the increments of the counter ended.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: u64,
    unknown: u64,
}

/// Increments the counter once, by reading it and comparing its revision.
fn increment(nodes: &mut Nodes, target: &mut u64, tally: &mut Tally) {
    let (value, revision) = match nodes.ask(*target, &Request::get("counter")) {
        Some(Outcome::Answer(Answer::Kv(response))) => counter(&response.body).unwrap_or((0, 0)),
        other => return turn_to(target, other),
    };
    assert!(tally.acknowledged <= value, "read {value} after {tally:?}");
    assert!(value <= tally.acknowledged + tally.unknown, "read {value} after {tally:?}");
    let next = (value + 1).to_string();
    match nodes.ask(*target, &Request::compare_and_set("counter", revision, next)) {
        Some(Outcome::Answer(Answer::Kv(response))) => match response.body {
            ResponseBody::Txn { succeeded: true, .. } => tally.acknowledged += 1,
            // An increment whose outcome was unknown came in between.
            ResponseBody::Txn { succeeded: false, .. } => {}
            other => panic!("{other:?}"),
        },
        Some(Outcome::Unavailable { may_have_happened: true }) | None => tally.unknown += 1,
        other => turn_to(target, other),
    }
}

fn turn_to(target: &mut u64, outcome: Option<Outcome>) {
    *target = match outcome {
        Some(Outcome::NotLeader { leader: Some(leader) }) => leader,
        _ => *target % 3 + 1,
    };
}

/// Restarts a replica, sometimes without its store, or cuts one off.
fn disturb(nodes: &mut Nodes, dice: &mut Dice, cut_off: &mut Option<u64>) {
    if let Some(id) = cut_off.take() {
        nodes.network.isolate(id, false);
    }
    let id = dice.roll(3) + 1;
    match dice.roll(4) {
        0 => {
            nodes.network.isolate(id, true);
            *cut_off = Some(id);
        }
        // One state may be lost at a time: the others must be there to rebuild it from.
        1 if nodes.ids().iter().all(|id| has_state(nodes, *id)) => {
            nodes.stop(id).unwrap();
            fs::remove_dir_all(nodes.store(id)).unwrap();
            nodes.start(id);
        }
        _ => nodes.restart(id),
    }
}

/// Whether the replica's last start found a state, or it has installed one since.
fn has_state(nodes: &Nodes, id: u64) -> bool {
    let events = nodes.events[&id].all();
    let last = events.iter().rev().find(|event| {
        matches!(event, ReplicaEvent::Started { .. } | ReplicaEvent::SnapshotInstallEnd { .. })
    });
    match last {
        Some(ReplicaEvent::Started { recovery, .. }) => *recovery != cluster::Recovery::Rebuild,
        Some(_) => true,
        None => false,
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_storm() {
    let mut nodes = Nodes::started(&[EngineId::Mem, EngineId::Sled, EngineId::Redb]);
    nodes.put_many("ballast", 30);
    let_loose(&nodes);
    let (mut dice, mut cut_off) = (Dice(3), None);
    let (mut tally, mut target) = (Tally::default(), 1);
    let end = Instant::now() + STORM;
    let mut next_disturbance = Instant::now();
    while Instant::now() < end {
        if next_disturbance <= Instant::now() {
            disturb(&mut nodes, &mut dice, &mut cut_off);
            next_disturbance = Instant::now() + Duration::from_millis(300 + dice.roll(500));
        }
        increment(&mut nodes, &mut target, &mut tally);
    }
    nodes.network.set_message_fault(None);
    nodes.network.set_stream_fault(None);
    if let Some(id) = cut_off {
        nodes.network.isolate(id, false);
    }
    let value = counter(&nodes.call(&Request::get("counter")).body).map_or(0, |(value, _)| value);
    assert!(tally.acknowledged <= value && value <= tally.acknowledged + tally.unknown, "{value}, {tally:?}");
    assert!(tally.acknowledged > 10, "{tally:?}");
    nodes.assert_equal(&[1, 2, 3]);
    let installed = nodes.events.values().flat_map(|events| events.all()).filter(|event| {
        matches!(
            event,
            ReplicaEvent::SnapshotReceived {
                outcome: SnapshotOutcome::Installed | SnapshotOutcome::Transcoded { .. },
                ..
            }
        )
    });
    println!("{tally:?}, {} snapshots installed", installed.count());
}
