//! Snapshot streams between replicas, for readers.

use super::node::{engine, nanoseconds};
use crate::observation::Observed;
use cluster::{Hello, ReplicaEvent, SnapshotOutcome};
use serde::{Deserialize, Serialize};
use snapshots::Shipment;
use std::collections::BTreeMap;

/// A snapshot stream: what was sent, and what became of it. Times are virtual nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotStream {
    /// The number by which violations name it.
    pub number: u64,
    /// When it began.
    pub at_ns: u64,
    /// Who sent it.
    pub sender: Party,
    /// Whom to, as the sender knew it.
    pub receiver: Party,
    /// The raft index of the snapshot.
    pub index: u64,
    /// The size that was announced, in bytes.
    pub announced_bytes: u64,
    /// The size that was sent, in bytes.
    pub wire_bytes: u64,
    /// Its first bytes, in hexadecimal.
    pub first_bytes: String,
    /// What those bytes are: with the header, or bare.
    pub form: String,
    /// What the receiver made of it, and when; none if nothing is known.
    pub outcome: Option<(u64, String)>,
}

/// A replica at one end of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Numbered from 1.
    pub node: u64,
    /// Its release.
    pub release: u8,
    /// Its engine.
    pub engine: String,
    /// What it said that it can read.
    pub reads: String,
}

/// Every stream of a run, numbered as the oracle numbers them: by the place of the event that begins one.
pub(crate) fn streams(events: &[Observed]) -> Vec<SnapshotStream> {
    let mut hellos: BTreeMap<u64, Hello> = BTreeMap::new();
    let mut last: BTreeMap<(u64, u64, u64), usize> = BTreeMap::new();
    let mut streams: Vec<SnapshotStream> = Vec::new();
    for (number, observed) in (1u64..).zip(events) {
        match &observed.event {
            ReplicaEvent::Started { hello, .. } => {
                hellos.insert(observed.node, *hello);
            }
            ReplicaEvent::SnapshotSent {
                to, index, announced_bytes, wire_bytes, prefix, receiver, ..
            } => {
                let Some(sender) = hellos.get(&observed.node) else { continue };
                last.insert((observed.node, *to, *index), streams.len());
                streams.push(SnapshotStream {
                    number,
                    at_ns: nanoseconds(observed.at),
                    sender: party(observed.node, sender),
                    receiver: party(*to, receiver),
                    index: *index,
                    announced_bytes: *announced_bytes,
                    wire_bytes: *wire_bytes,
                    first_bytes: prefix.iter().map(|byte| format!("{byte:02x} ")).collect::<String>(),
                    form: form(prefix),
                    outcome: None,
                });
            }
            ReplicaEvent::SnapshotReceived { from, index, outcome, .. } => {
                if let Some(stream) = last.get(&(*from, observed.node, *index)) {
                    streams[*stream].outcome = Some((nanoseconds(observed.at), in_words(outcome)));
                }
            }
            _other => {}
        }
    }
    streams
}

/// What a sender chose to send, in words.
pub(super) fn shipped(shipment: &Shipment) -> String {
    match shipment {
        Shipment::Bare => "sled's own stream, without a header".to_string(),
        Shipment::Headed { engine: id } => format!("the stream of {}, with a header", engine(*id)),
        Shipment::TranscodeToBare => "its state as a stream of sled, without a header".to_string(),
        Shipment::HoldBack(why) => format!("nothing: {why}"),
    }
}

fn form(prefix: &[u8]) -> String {
    match prefix.strip_prefix(&snapshots::MAGIC[..]) {
        Some([id, ..]) => format!("a header: the magic, then engine {id:#04x} ({})", engine(*id)),
        Some([]) => "a header: the magic, and no engine".to_string(),
        None => "no header: a bare stream".to_string(),
    }
}

fn in_words(outcome: &SnapshotOutcome) -> String {
    match outcome {
        SnapshotOutcome::Installed => "installed as it came".to_string(),
        SnapshotOutcome::Transcoded { from } => format!("transcoded from {}", engine(*from)),
        SnapshotOutcome::Refused { error } => format!("refused: {error}"),
        SnapshotOutcome::Outdated => "not needed any more".to_string(),
        SnapshotOutcome::Abandoned => "given up".to_string(),
    }
}

fn party(node: u64, hello: &Hello) -> Party {
    let peer = &hello.peer;
    let headed: Vec<String> = peer.accepts.headed.iter().map(engine).collect();
    let bare = if peer.accepts.bare { "bare streams" } else { "no bare streams" };
    let reads = match headed.is_empty() {
        true => format!("{bare}, none with a header"),
        false => format!("{bare}, and headed ones of {}", headed.join(", ")),
    };
    Party { node, release: peer.release.number(), engine: engine(peer.engine), reads }
}
