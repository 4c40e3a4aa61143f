//! Taking what the network brings.

use std::time::{Duration, Instant};

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
            timeout = Duration::ZERO;
            match inbound {
                Inbound::Message { from, bytes } if from >= CLIENT_ID_MIN => {
                    self.take_request(from, &bytes)?
                }
                Inbound::Message { from, bytes } => self.take_frame(from, &bytes),
                Inbound::StreamOpened { from, stream } => self.stream_opened(from, stream),
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
        Ok(Taken::Open)
    }

    fn take_frame(&mut self, from: u64, bytes: &[u8]) {
        let (hello, payload) = match frame::read(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.observer.event(&ReplicaEvent::FrameDropped { from, error }),
        };
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        if peer.hear(hello) {
            self.observer.event(&ReplicaEvent::PeerHello { from, hello });
        }
        match payload {
            Payload::Hello => {}
            Payload::Raft(message) => self.take_raft_message(from, message),
            Payload::SnapshotRefused { attempt } => self.snapshot_refused(from, attempt),
        }
    }

    fn take_raft_message(&mut self, from: u64, message: Message) {
        let is_expected = match message.get_msg_type() {
            MessageType::MsgAppend
            | MessageType::MsgRequestVote
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
