//! Snapshots to peers.
//!
//! The raft core asks for a snapshot when a peer needs entries that the log no longer holds, or asked for one.
//! If there is a stream that the peer can read, the core is offered the state as it is applied now, and answers
//! with a MsgSnapshot. That message goes in the prelude of a stream, and the core is told the outcome.

use std::time::Instant;

use raft::SnapshotStatus;
use raft::eraftpb::{Message, SnapshotMetadata};
use snapshots::{LEGACY_ENGINE, Release, Shipment, ship};

use super::Replica;
use crate::design::ReleaseOneStreams;
use crate::error::ReplicaError;
use crate::hello::Hello;
use crate::observer::{HeldBack, ReplicaEvent, SendOutcome};
use crate::snapshot_send::{Sending, produce};
use crate::snapshot_stream::Prelude;

impl Replica {
    /// Offers the core a snapshot for the peer that it asked for, unless something stands against it.
    pub(super) fn answer_snapshot_requests(&mut self) {
        let Some(request) = self.node.store().take_snapshot_request() else {
            return;
        };
        let applied = self.applied_index();
        let is_member = self.node.raft.prs().get(request.to).is_some();
        if !self.is_leader() || !is_member || request.index > applied || !self.may_send_to(request.to) {
            return;
        }
        let log = self.node.store();
        if log.conf_index() > applied {
            // After a restart: the configuration is not that of the state yet.
            return;
        }
        let term = log.term(applied).expect("the log reaches back to what is applied");
        let mut metadata = SnapshotMetadata { index: applied, term, ..SnapshotMetadata::default() };
        metadata.set_conf_state(log.conf_state().clone());
        self.node.mut_store().offer_snapshot(Some(metadata));
        self.node.raft.send_append(request.to);
        self.node.mut_store().offer_snapshot(None);
    }

    /// Whether a snapshot may be sent to the peer now: there is none under way, the last failure is long enough
    /// ago, and the peer can read what this replica can produce.
    fn may_send_to(&mut self, to: u64) -> bool {
        if self.sendings.iter().any(|sending| sending.to == to) {
            return false;
        }
        let shipment = self.shipment(to);
        let Some(peer) = self.peers.get_mut(to) else {
            return false;
        };
        match shipment {
            Ok(_) => {
                peer.release();
                peer.may_retry(Instant::now())
            }
            Err(why) => {
                if peer.hold_back(why) {
                    self.observer.event(&ReplicaEvent::HeldBack { peer: to, why });
                }
                false
            }
        }
    }

    /// Which stream the peer gets, and what it has said about itself.
    fn shipment(&mut self, to: u64) -> Result<(Shipment, Hello), HeldBack> {
        let own = self.hello.peer;
        let hello = self.peers.get_mut(to).and_then(|peer| peer.hello).ok_or(HeldBack::NoHello)?;
        match (self.config.design.release_one_streams, ship(&own, &hello.peer)) {
            (ReleaseOneStreams::Headed, _)
                if hello.peer.release == Release::One && own.engine != LEGACY_ENGINE =>
            {
                Ok((Shipment::Headed { engine: own.engine }, hello))
            }
            (_, Shipment::HoldBack(why)) => Err(why.into()),
            (_, shipment) => Ok((shipment, hello)),
        }
    }

    /// Begins to send the snapshot that a MsgSnapshot is about.
    pub(super) fn begin_sending(&mut self, message: Message) {
        let to = message.to;
        if let Err(error) = self.try_begin_sending(message) {
            self.fail_sending(to);
            let outcome = SendOutcome::Failed { error: error.to_string() };
            self.observer.event(&ReplicaEvent::SnapshotSendEnded { to, index: 0, outcome });
        }
    }

    fn try_begin_sending(&mut self, mut message: Message) -> Result<(), ReplicaError> {
        let to = message.to;
        let (shipment, receiver) =
            self.shipment(to).expect("the core is offered a snapshot only for a peer that can read it");
        let store = self.store.as_mut().expect("a leader has a state");
        self.attempts += 1;
        let attempt = self.attempts;
        let produced = produce(store, shipment, &self.config.design, &self.directory.scratch(), attempt)?;
        let metadata = message.mut_snapshot().mut_metadata();
        assert_eq!(metadata.index, produced.index, "nothing is applied between the offer and the snapshot");
        self.observer.event(&ReplicaEvent::SnapshotSent {
            to,
            shipment,
            index: produced.index,
            announced_bytes: produced.announced_bytes,
            wire_bytes: produced.wire_bytes,
            prefix: produced.prefix.clone(),
            receiver,
        });
        let announced_bytes = produced.announced_bytes;
        let prelude = Prelude { attempt, incarnation: receiver.incarnation, announced_bytes, message };
        let stream = self.transport.open_stream(to);
        self.transport.write_stream(stream, prelude.encode());
        self.sendings.push(Sending::new(produced, to, stream, attempt, self.node.raft.term)?);
        Ok(())
    }

    pub(super) fn has_unfinished_sendings(&self) -> bool {
        self.sendings.iter().any(|sending| sending.finished_at.is_none())
    }

    /// Hands the next pieces of each stream to the network.
    pub(super) fn pump_sendings(&mut self) {
        let (chunk_bytes, chunks) =
            (self.config.limits.stream_chunk_bytes, self.config.limits.stream_chunks_per_round);
        let (leads, term) = (self.is_leader(), self.node.raft.term);
        for position in (0..self.sendings.len()).rev() {
            let sending = &mut self.sendings[position];
            if !leads || sending.term != term {
                self.end_sending(position, SendOutcome::Deposed);
            } else if sending.finished_at.is_none()
                && let Err(error) = sending.pump(&*self.transport, chunk_bytes, chunks)
            {
                self.end_sending(position, SendOutcome::Failed { error: error.to_string() });
            }
        }
    }

    /// Gives up on streams whose receiver has given no sign.
    pub(super) fn expire_sendings(&mut self, now: Instant) {
        for position in (0..self.sendings.len()).rev() {
            let Sending { to, finished_at, .. } = self.sendings[position];
            let timeout = self.config.timing.snapshot_answer_timeout;
            let timeout = self.peers.get_mut(to).map_or(timeout, |peer| peer.backoff(timeout));
            if finished_at.is_some_and(|at| at + timeout <= now) {
                self.end_sending(position, SendOutcome::Unanswered);
            }
        }
    }

    /// A peer says that it will not install a snapshot.
    pub(super) fn snapshot_refused(&mut self, from: u64, attempt: u64) {
        let refused =
            self.sendings.iter().position(|sending| sending.to == from && sending.attempt == attempt);
        if let Some(position) = refused {
            self.end_sending(position, SendOutcome::Refused);
        }
    }

    /// Forgets a stream and tells the core how it ended.
    pub(super) fn end_sending(&mut self, position: usize, outcome: SendOutcome) {
        let sending = self.sendings.swap_remove(position);
        let (to, index) = (sending.to, sending.index);
        sending.end(&*self.transport);
        match outcome {
            SendOutcome::Installed => {
                if let Some(peer) = self.peers.get_mut(to) {
                    peer.succeed();
                }
                self.node.report_snapshot(to, SnapshotStatus::Finish);
            }
            SendOutcome::Refused
            | SendOutcome::Broken
            | SendOutcome::Unanswered
            | SendOutcome::Failed { .. } => self.fail_sending(to),
            SendOutcome::Deposed => {}
        }
        self.observer.event(&ReplicaEvent::SnapshotSendEnded { to, index, outcome });
    }

    fn fail_sending(&mut self, to: u64) {
        if let Some(peer) = self.peers.get_mut(to) {
            peer.fail(Instant::now(), self.config.timing.snapshot_retry_interval);
        }
        self.node.report_snapshot(to, SnapshotStatus::Failure);
    }
}
