//! A replica whose state is gone.
//!
//! It keeps its vote and its log: it votes, and takes and acknowledges entries, since its log is as good as any.
//! But it does not campaign, so it never leads, and so never serves a read or a write. It asks the leader for a
//! snapshot that covers all of its log.
//!
//! While a request is pending, the raft core takes no entries and acknowledges none. Should an acknowledgement
//! have been lost just before, the leader may never be able to commit the entry that the snapshot must cover.
//! So a request that has waited too long is withdrawn for a while, and then made anew; and a leader forgets a
//! request that it cannot meet yet, or it would send the peer nothing else.

use raft::{INVALID_INDEX, StateRole};

use super::Replica;
use crate::observer::ReplicaEvent;

/// Where the rebuild stands.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    /// The term in which the pending request was made.
    term: u64,
    /// Ticks since the pending request was made or withdrawn.
    ticks: u64,
}

impl Replica {
    /// One tick of a replica that must not campaign. The election clock runs all the same: a voter ignores
    /// other candidates for as long as it believes in a leader.
    pub(super) fn tick_without_state(&mut self) {
        assert_eq!(self.node.raft.state, StateRole::Follower, "whoever has no state does not campaign");
        self.node.raft.election_elapsed += 1;
        let patience = self.config.timing.snapshot_request_ticks;
        let coming = self.receiving.as_mut().is_some_and(|receiving| {
            receiving.idle_ticks += 1;
            receiving.idle_ticks <= patience
        });
        let raft = &mut self.node.raft;
        let rebuild = self.rebuild.as_mut().expect("called while rebuilding only");
        rebuild.ticks += 1;
        if raft.pending_request_snapshot != INVALID_INDEX {
            let outlived = raft.term != rebuild.term || rebuild.ticks > patience && !coming;
            if outlived {
                raft.pending_request_snapshot = INVALID_INDEX;
                rebuild.ticks = 0;
            }
            return;
        }
        let rested = rebuild.term != raft.term || rebuild.ticks > patience / 2;
        if rested && !coming && self.node.request_snapshot().is_ok() {
            let (leader, term) = (self.node.raft.leader_id, self.node.raft.term);
            self.rebuild = Some(Rebuild { term, ticks: 0 });
            self.observer.event(&ReplicaEvent::SnapshotRequested { leader, term });
        }
    }

    /// Forgets the requests for snapshots that cover more than this leader has applied.
    pub(super) fn forget_requests_ahead(&mut self) {
        if !self.is_leader() {
            return;
        }
        let applied = self.applied_index();
        for (_, progress) in self.node.raft.mut_prs().iter_mut() {
            if progress.pending_request_snapshot > applied {
                progress.pending_request_snapshot = INVALID_INDEX;
            }
        }
    }
}
