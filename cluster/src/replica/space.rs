//! Space on the disk: the quota, and what a replica does whose disk is full.
//!
//! The alarm stands in the log like everything else: while any member has it, no replica takes what needs more
//! space, but reads, deletions, compactions and defragmentation go on. A replica wants it raised for itself while
//! its store takes more than the quota, or while its ballast is missing; a follower asks the leader. A client
//! ends it (`AlarmDisarm`), as in etcd; should the space still be missing, the next look raises it again.
//!
//! Where a write really fails for want of space, nobody knows what of it is on the disk. So the replica begins
//! anew from what the disk holds, as after a crash, but in the same process, after it has given up its ballast:
//! see [`super::run`]. What was acknowledged was synced before, so nothing of it is lost.

use std::mem;
use std::time::{Duration, Instant};

use super::Replica;
use super::compacting::Forgetting;
use super::proposals::Asker;
use crate::api::Command;
use crate::client::{self, Outcome, Reply, encode_reply};
use crate::error::ReplicaError;
use crate::observer::ReplicaEvent;
use crate::transport::{CLIENT_ID_MIN, Inbound, Transport};

impl Replica {
    /// Looks whether there is space, at an interval. Called at every tick.
    pub(super) fn see_to_space(&mut self, now: Instant) -> Result<(), ReplicaError> {
        if now < self.next_space_check {
            return Ok(());
        }
        self.next_space_check = now + self.config.timing.space_check_interval;
        if !self.ballast.is_held() && self.ballast.restore()? {
            self.observer.event(&ReplicaEvent::SpaceRegained);
        }
        if !self.has_space()? {
            self.want_alarm();
        }
        Ok(())
    }

    fn has_space(&self) -> Result<bool, ReplicaError> {
        let quota = self.config.limits.quota_bytes;
        let is_within = match &self.store {
            Some(store) if quota > 0 => store.size_bytes()? <= quota,
            Some(_) | None => true,
        };
        Ok(is_within && self.ballast.is_held())
    }

    fn want_alarm(&mut self) {
        let member = self.config.id;
        if self.is_leader() {
            self.propose_alarm(member);
            self.propose_gathered();
        } else if !self.has_alarm(member)
            && let Some(leader) = self.leader()
        {
            self.transport.send(leader, self.frames.alarm_request());
        }
    }

    /// Proposes the alarm for a member that does not have it; only a leader does.
    pub(super) fn propose_alarm(&mut self, member: u64) {
        if self.is_leader() && !self.has_alarm(member) {
            self.gather(Asker::Nobody, &Command::Alarm { member, activate: true });
        }
    }

    fn has_alarm(&self, member: u64) -> bool {
        self.store.as_ref().is_some_and(|store| store.alarms().contains(&member))
    }

    /// Leaves a state that cannot be trusted any more: closes the store, and tells all who wait for something; the
    /// watches end with the words `why`.
    pub(super) fn abandon(mut self, why: &str) {
        for proposal in self.proposals.take_all() {
            self.answer(proposal.asker, Outcome::Unavailable { may_have_happened: true });
        }
        for read in self.reads.take_all() {
            self.reply(read.client, read.id, Outcome::Unavailable { may_have_happened: false });
        }
        for Forgetting { client, id, answer: _ } in mem::take(&mut self.forgetting) {
            self.reply(client, id, Outcome::Unavailable { may_have_happened: true });
        }
        self.give_handovers_up();
        self.end_all_watches(why);
        if let Some(store) = self.store.take() {
            // It failed before; what counts is that its locks are free.
            let _ = store.close();
        }
    }
}

/// Waits before a start is tried again; clients are told meanwhile that there is no service. Returns whether the
/// machine is still there.
pub(super) fn wait_for_space(transport: &dyn Transport, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        match transport.receive(left) {
            Some(Inbound::Closed) => return false,
            Some(Inbound::Message { from, bytes }) if from >= CLIENT_ID_MIN => {
                if let Some((id, _)) = client::split_request(&bytes) {
                    let outcome = Outcome::Unavailable { may_have_happened: false };
                    transport.send(from, encode_reply(Reply { id, outcome }));
                }
            }
            Some(
                Inbound::Message { .. }
                | Inbound::StreamOpened { .. }
                | Inbound::StreamChunk { .. }
                | Inbound::StreamFinished { .. }
                | Inbound::StreamBroken { .. },
            )
            | None => {}
        }
    }
}
