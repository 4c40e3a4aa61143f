//! Taking what the network brings.

use std::time::Instant;

use raft::eraftpb::{Message, MessageType};

use super::Replica;
use crate::error::ReplicaError;
use crate::frame::{self, FrameError, Payload};
use crate::observer::{ReplicaEvent, SendOutcome};
use crate::transport::{CLIENT_ID_MIN, Inbound};

/// Whether there is a network any more.
pub(super) enum Taken {
    Open,
    Closed,
}

impl Replica {
    /// Waits for something to come in, and takes all that is there, so that one fsync serves it all.
    pub(super) fn take_inbound(&mut self) -> Result<Taken, ReplicaError> {
        let mut timeout = self.patience(Instant::now());
        for _ in 0..self.config.limits.inbound_per_round {
            let Some(inbound) = self.transport.receive(timeout) else {
                break;
            };
            timeout = self.patience_for_more();
            match inbound {
                Inbound::Message { from, bytes } if from >= CLIENT_ID_MIN => {
                    self.take_request(from, &bytes)?
                }
                Inbound::Message { from, bytes } => self.take_frame(from, &bytes),
                Inbound::StreamOpened { from, stream } => self.stream_opened(from, stream)?,
                Inbound::StreamChunk { from, stream, bytes } => self.stream_chunk(from, stream, &bytes),
                Inbound::StreamFinished { from, stream } => {
                    self.stream_finished(from, stream)?;
                    // The raft core may have accepted a snapshot, which is to be installed before anything else.
                    break;
                }
                Inbound::StreamBroken { peer, stream } => self.stream_broken(peer, stream),
                Inbound::Closed => return Ok(Taken::Closed),
            }
        }
        self.propose_gathered();
        Ok(Taken::Open)
    }

    fn take_frame(&mut self, from: u64, bytes: &[u8]) {
        let (hello, payload) = match frame::read(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.observer.event(&ReplicaEvent::FrameDropped { from, error }),
        };
        if self.peers.heard_of(from).hear(hello) {
            self.observer.event(&ReplicaEvent::PeerHello { from, hello });
        }
        match payload {
            Payload::Hello => {}
            Payload::Raft(message) => self.take_raft_message(from, message),
            Payload::SnapshotRefused { attempt } => self.snapshot_refused(from, attempt),
            Payload::AlarmRequest => self.propose_alarm(from),
            Payload::StateHash(state) => self.hear_state_hash(from, state),
        }
    }

    fn take_raft_message(&mut self, from: u64, message: Message) {
        let is_expected = match message.get_msg_type() {
            MessageType::MsgAppend => is_whole(&message),
            MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse => true,
            MessageType::MsgAppendResponse => {
                self.note_acknowledgement(&message);
                true
            }
            // Whoever has no state must not lead.
            MessageType::MsgTimeoutNow => self.rebuild.is_none(),
            // Snapshots come on streams; proposals and reads are never forwarded; the others are local.
            MessageType::MsgSnapshot
            | MessageType::MsgPropose
            | MessageType::MsgReadIndex
            | MessageType::MsgReadIndexResp
            | MessageType::MsgTransferLeader
            | MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum => false,
        };
        if !is_expected || message.from != from || message.to != self.config.id {
            let error = FrameError::Unexpected { message: message.get_msg_type() as u8 };
            return self.observer.event(&ReplicaEvent::FrameDropped { from, error });
        }
        // What the core refuses is as good as lost on the way.
        let _ = self.node.step(message);
    }

    /// A peer that acknowledges the index of a snapshot has it. The core is told before it sees the
    /// acknowledgement: it would otherwise keep a request that this snapshot has met, and send another.
    fn note_acknowledgement(&mut self, message: &Message) {
        let met = self.sendings.iter().position(|sending| {
            sending.to == message.from && !message.reject && message.index >= sending.index
        });
        if let Some(position) = met {
            self.end_sending(position, SendOutcome::Installed);
        }
    }
}

/// Whether the entries of an append follow the entry that it names, one after the other. The raft core would
/// acknowledge by their number alone, and not notice.
fn is_whole(append: &Message) -> bool {
    append.entries.iter().zip(append.index + 1..).all(|(entry, expected)| entry.index == expected)
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{ConfState, Entry};
    use raft::storage::MemStorage;
    use raft::{Config, RawNode};

    use super::*;

    fn leader(batch_append: bool) -> RawNode<MemStorage> {
        let config = Config { id: 1, batch_append, ..Config::default() };
        let conf_state = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        let storage = MemStorage::new_with_conf_state(conf_state);
        let mut node =
            RawNode::new(&config, storage, &slog::Logger::root(slog::Discard, slog::o!())).unwrap();
        node.campaign().unwrap();
        carry_out(&mut node);
        step(&mut node, MessageType::MsgRequestVoteResponse, |_| {});
        carry_out(&mut node);
        node
    }

    /// A message from peer 2.
    fn step(node: &mut RawNode<MemStorage>, kind: MessageType, fill: impl FnOnce(&mut Message)) {
        let mut message = Message { from: 2, to: 1, term: node.raft.term, ..Message::default() };
        message.set_msg_type(kind);
        fill(&mut message);
        node.step(message).unwrap();
    }

    /// Carries out what is ready, and returns the appends to peer 2.
    fn carry_out(node: &mut RawNode<MemStorage>) -> Vec<Message> {
        let mut messages = Vec::new();
        while node.has_ready() {
            let mut ready = node.ready();
            messages.extend(ready.take_messages());
            messages.extend(ready.take_persisted_messages());
            node.store().wl().append(ready.entries()).unwrap();
            let mut light = node.advance(ready);
            messages.extend(light.take_messages());
            node.advance_apply();
        }
        messages.retain(|message| message.to == 2 && message.get_msg_type() == MessageType::MsgAppend);
        messages
    }

    /// Seen in a storm of reordered messages: "to_commit 1903 is out of range [last_index 1902]". A rejection
    /// that came late sent the leader back to entry 2 while an empty append after entry 2 was waiting; with
    /// `batch_append` the core puts the entry into that append. Whoever has entry 2 takes it for two entries
    /// and acknowledges entry 3, which it does not have.
    fn appends_after_a_late_rejection(batch_append: bool) -> Vec<Message> {
        let mut node = leader(batch_append);
        step(&mut node, MessageType::MsgAppendResponse, |message| message.index = 1);
        node.propose(Vec::new(), b"entry 2".to_vec()).unwrap();
        carry_out(&mut node);
        step(&mut node, MessageType::MsgHeartbeatResponse, |_| {});
        step(&mut node, MessageType::MsgAppendResponse, |message| {
            message.index = 2;
            message.reject = true;
            message.reject_hint = 1;
            message.log_term = 1;
        });
        carry_out(&mut node)
    }

    #[test]
    fn the_core_batches_entries_into_appends_they_do_not_follow_and_such_are_not_whole() {
        let batched = appends_after_a_late_rejection(true);
        assert_eq!(batched.len(), 1);
        assert_eq!((batched[0].index, batched[0].entries[0].index), (2, 2), "raft-rs batches rightly now");
        assert!(!is_whole(&batched[0]));
        let separate = appends_after_a_late_rejection(false);
        assert_eq!(separate.iter().map(|append| append.entries.len()).collect::<Vec<_>>(), [0, 1]);
        assert!(separate.iter().all(is_whole));
    }

    #[test]
    fn an_append_with_a_gap_is_not_whole() {
        let entries = |indices: &[u64]| {
            indices.iter().map(|index| Entry { index: *index, ..Entry::default() }).collect::<Vec<_>>().into()
        };
        assert!(is_whole(&Message { index: 4, entries: entries(&[5, 6]), ..Message::default() }));
        assert!(!is_whole(&Message { index: 4, entries: entries(&[5, 7]), ..Message::default() }));
        assert!(!is_whole(&Message { index: 4, entries: entries(&[6]), ..Message::default() }));
    }
}
