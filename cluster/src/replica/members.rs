//! Changing the members of the cluster, and what a replica does that is no member: see [`crate::membership`].
//!
//! ```text
//! propose       the leader checks the change against the configuration that is in effect
//! apply_change  the entry is committed: the raft core takes the new configuration
//!               the raft log holds it durably, with the index of the entry
//!               only then does the store count the entry as applied, so that no restart can miss it
//! ```
//!
//! A replica that joins has no configuration: it waits for a snapshot, which brings one. A replica that was removed
//! keeps its log, and votes for those who have not heard of it yet; but it serves nothing and does not campaign. If
//! it led, it steps down; what it knew to be committed it has told the others before it applied it.

use std::mem;

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeTransition, ConfChangeV2, Entry, EntryType};
use raft::{INVALID_ID, ProgressTracker, StateRole};

use super::Replica;
use super::applying::AppliedEntry;
use super::proposals::{Asker, refused};
use super::reads::Query;
use crate::api::{Answer, MemberCall};
use crate::client::Outcome;
use crate::design::{ConfChangeEffect, ConfChangeSteps, ConfStateWrite, JointLeave, RemovedLeader};
use crate::error::ReplicaError;
use crate::membership::{Health, Membership};
use crate::observer::ReplicaEvent;

/// What the raft core of a leader knows of the members.
struct Known<'a>(&'a ProgressTracker);

impl Health for Known<'_> {
    fn is_active(&self, id: u64) -> bool {
        // Who is not tracked is yet to be added.
        self.0.get(id).is_none_or(|progress| progress.recent_active)
    }

    fn matched(&self, id: u64) -> u64 {
        self.0.get(id).map_or(0, |progress| progress.matched)
    }
}

impl Replica {
    /// Who belongs to the cluster, as far as this replica has applied.
    pub(super) fn membership(&self) -> Membership {
        Membership::of(self.node.store().conf_state())
    }

    /// Whether this replica belongs to the cluster, as far as it has applied.
    pub(super) fn is_member(&self) -> bool {
        let is_listed = Membership::includes(self.node.store().conf_state(), self.config.id);
        match self.config.design.removed_leader {
            RemovedLeader::StepsDown => is_listed,
            RemovedLeader::Stays => is_listed || self.node.raft.state == StateRole::Leader,
        }
    }

    pub(super) fn take_member_call(&mut self, client: u64, id: u64, call: MemberCall) {
        if call == MemberCall::List {
            return self.queue_query(client, id, Query::Members);
        }
        if !self.leads_or_says_who(client, id) {
            return;
        }
        // The raft core takes one change at a time, from when it is proposed until it is applied and, if it is
        // joint, left. It would put an empty entry in the place of another.
        if self.node.raft.has_pending_conf() || self.membership().is_joint() {
            return self.reply(client, id, Outcome::Unavailable { may_have_happened: false });
        }
        let known = Known(self.node.raft.prs());
        let joint_leave = self.config.design.joint_leave;
        match self.membership().change(call, self.config.id, &known, joint_leave) {
            Ok(Some(change)) => self.propose_change(Asker::Client { client, id }, change),
            Ok(None) => {}
            Err(refusal) => self.reply(client, id, refused(refusal)),
        }
    }

    fn propose_change(&mut self, asker: Asker, change: ConfChangeV2) {
        self.propose_gathered();
        match self.node.propose_conf_change(Vec::new(), change) {
            Ok(()) => self.await_entries(&[asker]),
            Err(_) => self.answer(asker, Outcome::Unavailable { may_have_happened: false }),
        }
    }

    /// Takes the configurations of entries that were only appended, where the design has it so. They stay even if
    /// others take the place of these entries.
    pub(super) fn take_appended_changes(&mut self, entries: &[Entry]) -> Result<(), ReplicaError> {
        match self.config.design.conf_change_effect {
            ConfChangeEffect::WhenApplied => Ok(()),
            ConfChangeEffect::WhenAppended if self.rebuild.is_some() => Ok(()),
            ConfChangeEffect::WhenAppended => {
                entries.iter().filter(|entry| is_change(entry)).try_for_each(|entry| self.reconfigure(entry))
            }
        }
    }

    /// Applies an entry that changes the configuration.
    pub(super) fn apply_change(&mut self, entry: &Entry, is_own: bool) -> Result<AppliedEntry, ReplicaError> {
        self.reconfigure(entry)?;
        let store = self.store.as_mut().expect("without a state nothing is applied");
        store.advance(entry.index, entry.term)?;
        self.has_entered_joint = is_own && self.membership().is_joint();
        if !self.is_member() {
            self.stop_serving();
        }
        Ok(AppliedEntry::Members(Answer::Members(self.membership().list())))
    }

    /// Leaves the joint configuration that this replica has proposed, where the design leaves that to the proposer.
    pub(super) fn leave_joint(&mut self) {
        match self.config.design.joint_leave {
            JointLeave::WhoeverLeads => {}
            JointLeave::Proposer => {
                if mem::take(&mut self.has_entered_joint) && self.is_leader() {
                    self.propose_change(Asker::Nobody, ConfChangeV2::default());
                }
            }
        }
    }

    /// Takes the configuration of an entry, unless it is in effect already: after a restart the log may hold newer
    /// configurations than the store has applied.
    fn reconfigure(&mut self, entry: &Entry) -> Result<(), ReplicaError> {
        if entry.index <= self.node.store().conf_index() {
            return Ok(());
        }
        let change = ConfChangeV2::parse_from_bytes(&entry.data)
            .map_err(|source| ReplicaError::ConfChange { index: entry.index, source })?;
        let conf_state = match self.config.design.conf_change_steps {
            ConfChangeSteps::Joint => self.node.apply_conf_change(&change)?,
            ConfChangeSteps::AtOnce => {
                for single in change.get_changes() {
                    let mut step = ConfChangeV2::default();
                    step.set_transition(ConfChangeTransition::Auto);
                    step.set_changes(vec![single.clone()].into());
                    self.node.apply_conf_change(&step)?;
                }
                self.node.raft.prs().conf().to_conf_state()
            }
        };
        let log = self.node.mut_store();
        match self.config.design.conf_state_write {
            ConfStateWrite::WhenApplied => log.set_conf_state(&conf_state, entry.index)?,
            ConfStateWrite::WithSegment => log.hold_conf_state(&conf_state, entry.index),
        }
        self.report_membership();
        Ok(())
    }

    /// Tells the observer who belongs to the cluster from now on.
    pub(super) fn report_membership(&self) {
        let index = self.node.store().conf_index();
        self.observer.event(&ReplicaEvent::MembersChanged { index, members: self.membership() });
    }

    /// What ends when this replica is no member any more. Whoever waits for an entry may still get an answer; reads
    /// are turned away where they are served. The raft core would go on leading, refuse every proposal, and panic as
    /// soon as another entry is committed, for it keeps no progress of its own then (tikv/raft-rs pull request 584).
    fn stop_serving(&mut self) {
        self.end_all_watches("etcdserver: the member has been permanently removed from the cluster");
        if self.node.raft.state == StateRole::Leader {
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, INVALID_ID);
            self.observer.event(&ReplicaEvent::SteppedDown { term });
        }
    }
}

/// Whether an entry changes the configuration.
fn is_change(entry: &Entry) -> bool {
    match entry.get_entry_type() {
        EntryType::EntryNormal => false,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => true,
    }
}
