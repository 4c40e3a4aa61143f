//! Carrying out what the raft core has ready, in the order that its documentation asks for:
//!
//! 1. messages that may go before anything is durable: only a leader has such;
//! 2. a snapshot replaces state and log;
//! 3. entries and hard state are written to the raft log, and synced where `must_sync`;
//! 4. messages that may go only now: votes and acknowledgements;
//! 5. the core is told; it may have further messages and committed entries;
//! 6. committed entries are applied. They are durable here: the core gives out none that are not.

use raft::eraftpb::{Message, MessageType};
use raft::{Ready, StateRole};

use super::Replica;
use crate::design::PersistBeforeSend;
use crate::error::ReplicaError;
use crate::observer::ReplicaEvent;

impl Replica {
    /// Carries out everything that is ready.
    pub(super) fn carry_out_ready(&mut self) -> Result<(), ReplicaError> {
        while self.node.has_ready() {
            let ready = self.node.ready();
            self.carry_out(ready)?;
        }
        if self.unsynced {
            self.unsynced = false;
            self.node.mut_store().sync()?;
        }
        Ok(())
    }

    fn carry_out(&mut self, mut ready: Ready) -> Result<(), ReplicaError> {
        self.report_state(&ready);
        self.send_all(ready.take_messages());
        if !ready.snapshot().is_empty() {
            self.take_accepted(ready.snapshot().get_metadata(), ready.hs())?;
        }
        self.persist(&mut ready)?;
        self.confirm_reads(ready.take_read_states());
        let committed = ready.take_committed_entries();
        let mut light = self.node.advance_append(ready);
        self.send_all(light.take_messages());
        self.apply(committed)?;
        self.apply(light.take_committed_entries())?;
        if let Some(store) = &self.store {
            self.node.advance_apply_to(store.applied_index());
        }
        Ok(())
    }

    fn report_state(&self, ready: &Ready) {
        let raft = &self.node.raft;
        let Some(state) = ready.ss() else {
            return;
        };
        self.observer.event(&ReplicaEvent::StateChanged {
            role: state.raft_state.into(),
            term: raft.term,
            vote: raft.vote,
            leader: state.leader_id,
        });
        if state.raft_state == StateRole::Leader {
            // The raft log does not hold the leader's own first entry yet: that is in this very ready.
            let last_index = self.node.store().last_index();
            let last_term = self.node.store().term(last_index).expect("the log knows its last term");
            self.observer.event(&ReplicaEvent::BecameLeader { term: raft.term, last_index, last_term });
        }
    }

    fn persist(&mut self, ready: &mut Ready) -> Result<(), ReplicaError> {
        let messages = ready.take_persisted_messages();
        let log = self.node.mut_store();
        match self.config.design.persist_before_send {
            PersistBeforeSend::Fsync | PersistBeforeSend::Lazy => {
                log.append(ready.entries(), ready.hs(), ready.must_sync())?;
                self.send_all(messages);
            }
            PersistBeforeSend::SendFirst => {
                log.append(ready.entries(), ready.hs(), false)?;
                self.send_all(messages);
                self.unsynced |= ready.must_sync();
            }
        }
        self.take_appended_changes(ready.entries())?;
        if let Some(hard_state) = ready.hs() {
            self.observer.event(&ReplicaEvent::HardState {
                term: hard_state.term,
                vote: hard_state.vote,
                commit: hard_state.commit,
            });
        }
        Ok(())
    }

    fn send_all(&mut self, messages: Vec<Message>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.begin_sending(message);
            } else {
                self.transport.send(message.to, self.frames.raft(&message));
            }
        }
    }
}
