//! Snapshots from peers.

use std::time::{Duration, Instant};

use raft::eraftpb::{HardState, SnapshotMetadata};

use super::Replica;
use super::flushing::Flushing;
use crate::client::Outcome;
use crate::design::SnapshotCleanup;
use crate::directory;
use crate::error::ReplicaError;
use crate::install::{Installation, Installer};
use crate::observer::{InstallStep, ReplicaEvent, SnapshotOutcome};
use crate::snapshot_receive::{ReceiveError, Received, Receiving, stage};
use crate::startup;

/// A snapshot that stands complete in `store.new`, and that the raft core was given.
#[derive(Debug)]
pub(super) struct Staged {
    from: u64,
    index: u64,
    prefix: Vec<u8>,
    outcome: SnapshotOutcome,
}

impl Replica {
    /// A peer begins a stream. It takes the place of one that may still be under way: a peer begins anew when
    /// it has given up the last, and another peer when it leads.
    pub(super) fn stream_opened(&mut self, from: u64, stream: u64) -> Result<(), ReplicaError> {
        if let Some(last) = self.receiving.replace(Receiving::new(from, stream)) {
            self.end_receiving(&last, SnapshotOutcome::Abandoned);
        }
        match self.config.design.snapshot_cleanup {
            SnapshotCleanup::WhenInstalled => Ok(()),
            SnapshotCleanup::WithNextStream => directory::remove_tree(&self.directory.store_new()),
        }
    }

    pub(super) fn stream_chunk(&mut self, from: u64, stream: u64, bytes: &[u8]) {
        let Some(receiving) = self.receiving.as_mut() else {
            return;
        };
        if (receiving.from, receiving.stream) != (from, stream) {
            return;
        }
        if let Err(error) = receiving.push(bytes, &self.hello, &self.config, &self.directory) {
            let receiving = self.receiving.take().expect("there is one");
            self.end_receiving(&receiving, SnapshotOutcome::Refused { error: error.to_string() });
        }
    }

    pub(super) fn stream_broken(&mut self, peer: u64, stream: u64) {
        let is_broken = |from: u64, number: u64| (from, number) == (peer, stream);
        if let Some(receiving) = self.receiving.take_if(|incoming| is_broken(incoming.from, incoming.stream))
        {
            self.end_receiving(&receiving, SnapshotOutcome::Abandoned);
        }
        if let Some(position) = self.sendings.iter().position(|sending| is_broken(sending.to, sending.stream))
        {
            self.end_sending(position, crate::observer::SendOutcome::Broken);
        }
    }

    /// A stream has come to its end: it is checked and laid out, and its message given to the raft core.
    pub(super) fn stream_finished(&mut self, from: u64, stream: u64) -> Result<(), ReplicaError> {
        let is_finished = |incoming: &mut Receiving| (incoming.from, incoming.stream) == (from, stream);
        let Some(receiving) = self.receiving.take_if(is_finished) else {
            return Ok(());
        };
        let (index, prefix, attempt) = (receiving.index(), receiving.prefix(), receiving.attempt());
        let outcome = match receiving.finish().and_then(|received| self.take_snapshot(from, received)) {
            // It is accepted, and reported once it is installed.
            Ok(None) => return Ok(()),
            Ok(Some(outcome)) => outcome,
            Err(error) => SnapshotOutcome::Refused { error: error.to_string() },
        };
        directory::remove_tree(&self.directory.store_new())?;
        self.report_reception(from, index, prefix, attempt, outcome);
        Ok(())
    }

    /// Gives the raft core the message of a snapshot, with the snapshot laid out if it is of any use. Returns
    /// its outcome unless the core has accepted it.
    fn take_snapshot(
        &mut self,
        from: u64,
        received: Received,
    ) -> Result<Option<SnapshotOutcome>, ReceiveError> {
        let metadata = received.message.get_snapshot().get_metadata();
        let (index, term) = (metadata.index, received.message.term);
        let raft = &mut self.node.raft;
        let is_outdated = term < raft.term || index < raft.raft_log.committed;
        if is_outdated {
            // The core ignores the snapshot, and tells the leader what it has instead.
            let _ = self.node.step(received.message);
            return Ok(Some(SnapshotOutcome::Outdated));
        }
        if self.rebuild.is_some() {
            // The core takes a snapshot that its log covers only if it was asked for. It would then drop what
            // the log holds beyond, though it was acknowledged.
            let last = raft.raft_log.last_index();
            if index < last {
                return Err(ReceiveError::TooOld { index, last });
            }
            raft.pending_request_snapshot = index;
        }
        let outcome = stage(&received, &self.hello, &self.config, &self.directory)?;
        let _ = self.node.step(received.message);
        if self.node.snap().is_none_or(|snapshot| snapshot.get_metadata().index != index) {
            return Ok(Some(SnapshotOutcome::Outdated));
        }
        self.staged = Some(Staged { from, index, prefix: received.prefix, outcome });
        Ok(None)
    }

    /// Carries out what follows when the raft core has accepted a snapshot. It is acknowledged after that.
    pub(super) fn take_accepted(
        &mut self,
        metadata: &SnapshotMetadata,
        hard_state: Option<&HardState>,
    ) -> Result<(), ReplicaError> {
        let staged = self.staged.take().expect("the core accepts only a snapshot that it was given");
        assert_eq!(staged.index, metadata.index, "the core accepts the snapshot that it was given last");
        match self.config.design.snapshot_cleanup {
            SnapshotCleanup::WhenInstalled => self.install(staged, metadata, hard_state),
            SnapshotCleanup::WithNextStream => {
                let installer = Installer {
                    directory: &self.directory,
                    design: &self.config.design,
                    installation: &Installation::Snapshot(metadata.clone()),
                    hard_state,
                };
                installer.run_for_log(self.node.mut_store())?;
                self.uninstalled = Some((staged, metadata.clone()));
                Ok(())
            }
        }
    }

    /// How long a round waits for more when something has come in: not at all, so that it is carried out. In the
    /// wrong design installing takes until the next tick, and what comes meanwhile is taken all the same.
    pub(super) fn patience_for_more(&self) -> Duration {
        match self.uninstalled {
            None => Duration::ZERO,
            Some(_) => self.next_tick.saturating_duration_since(Instant::now()),
        }
    }

    /// The wrong design's second half, after something else may have come in.
    pub(super) fn install_what_is_left(&mut self) -> Result<(), ReplicaError> {
        let Some((staged, metadata)) = self.uninstalled.take() else {
            return Ok(());
        };
        self.install(staged, &metadata, None)?;
        self.node.advance_apply_to(metadata.index);
        Ok(())
    }

    /// Puts a snapshot in the place of state and log. Until then the old state is in service.
    fn install(
        &mut self,
        staged: Staged,
        metadata: &SnapshotMetadata,
        hard_state: Option<&HardState>,
    ) -> Result<(), ReplicaError> {
        let index = metadata.index;
        self.observer.event(&ReplicaEvent::SnapshotInstallBegin { index });
        for proposal in self.proposals.take_up_to(index) {
            self.answer(proposal.asker, Outcome::Unavailable { may_have_happened: true });
        }
        if let Some(store) = self.store.take() {
            store.close()?;
        }
        let installer = Installer {
            directory: &self.directory,
            design: &self.config.design,
            installation: &Installation::Snapshot(metadata.clone()),
            hard_state,
        };
        installer.run(InstallStep::WriteRecord, self.node.mut_store())?;
        let store = startup::open_store(&self.config, &self.directory.store(), self.config.engine)?;
        assert_eq!(store.applied_index(), index, "what was laid out is what was checked");
        self.watches.restored(store.revision());
        self.store = Some(store);
        self.report_membership();
        self.report_compaction(None);
        self.flushing = Flushing::new(index, index);
        self.comparison.forget_own();
        self.rebuild = None;
        self.observer.event(&ReplicaEvent::SnapshotInstallEnd { index });
        self.observer.event(&ReplicaEvent::SnapshotReceived {
            from: staged.from,
            index,
            prefix: staged.prefix,
            outcome: staged.outcome,
        });
        self.report_state_hash()
    }

    fn end_receiving(&self, receiving: &Receiving, outcome: SnapshotOutcome) {
        self.report_reception(
            receiving.from,
            receiving.index(),
            receiving.prefix(),
            receiving.attempt(),
            outcome,
        );
    }

    /// Tells the observer what became of a stream, and the sender if it was refused.
    fn report_reception(
        &self,
        from: u64,
        index: u64,
        prefix: Vec<u8>,
        attempt: Option<u64>,
        outcome: SnapshotOutcome,
    ) {
        match &outcome {
            SnapshotOutcome::Refused { .. } => {
                // Without a prelude the sender's number is not known; it finds out by waiting.
                if let Some(attempt) = attempt {
                    self.transport.send(from, self.frames.snapshot_refused(attempt));
                }
            }
            SnapshotOutcome::Installed
            | SnapshotOutcome::Transcoded { .. }
            | SnapshotOutcome::Outdated
            | SnapshotOutcome::Abandoned => {}
        }
        self.observer.event(&ReplicaEvent::SnapshotReceived { from, index, prefix, outcome });
    }
}
