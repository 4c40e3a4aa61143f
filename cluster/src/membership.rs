//! The members of the cluster, as the raft core's configuration has them, and which changes of them are allowed.
//!
//! ```text
//! Add      adds a voter, or a learner, which has no vote       one step
//! Promote  gives a learner that is in sync a vote              one step
//! Remove   removes a voter or a learner                        one step
//! Replace  promotes a learner in the place of a voter          joint: two majorities decide until it is left
//! ```
//!
//! A configuration takes effect when its entry is applied, and the next change is proposed only then (the raft core
//! sees to that), so what is checked here is what the entry will find.

use std::collections::BTreeSet;

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

use crate::api::{Member, MemberCall, Refusal};
use crate::design::JointLeave;

/// How much of what a leader has a learner must have to be in sync, in percent (`readyPercent` in etcd's
/// `server/etcdserver/server.go`).
const IN_SYNC_PERCENT: u64 = 90;

/// The members by their part in the cluster. A voter that a joint change demotes counts as a voter until it is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Those who vote; of two configurations if one is being left for the other.
    pub voters: BTreeSet<u64>,
    /// The voters of the configuration that is being left; empty unless the configuration is joint.
    pub outgoing: BTreeSet<u64>,
    /// Those who do not vote.
    pub learners: BTreeSet<u64>,
}

/// What a leader knows of the others, for the changes that ask for it.
pub(crate) trait Health {
    /// Whether a member was heard of lately.
    fn is_active(&self, id: u64) -> bool;
    /// Entries that a member is known to have.
    fn matched(&self, id: u64) -> u64;
}

impl Membership {
    /// The members of a configuration.
    pub(crate) fn of(conf_state: &ConfState) -> Membership {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let outgoing = set(&conf_state.voters_outgoing);
        let voters = &set(&conf_state.voters) | &outgoing;
        let learners = &(&set(&conf_state.learners) | &set(&conf_state.learners_next)) - &voters;
        Membership { voters, outgoing, learners }
    }

    /// Whether a configuration has the member.
    pub(crate) fn includes(conf_state: &ConfState, id: u64) -> bool {
        let ConfState { voters, voters_outgoing, learners, learners_next, .. } = conf_state;
        [voters, voters_outgoing, learners, learners_next].iter().any(|ids| ids.contains(&id))
    }

    /// All members, ascending.
    pub fn ids(&self) -> BTreeSet<u64> {
        &self.voters | &self.learners
    }

    /// Whether it is one of them.
    pub fn contains(&self, id: u64) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id)
    }

    /// Whether the cluster is between two configurations.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether there is any member but `own`.
    pub(crate) fn has_others(&self, own: u64) -> bool {
        self.ids().iter().any(|id| *id != own)
    }

    /// As clients are told.
    pub(crate) fn list(&self) -> Vec<Member> {
        self.ids().into_iter().map(|id| Member { id, learner: self.learners.contains(&id) }).collect()
    }

    /// The change that a call asks for, for the raft core; none of a call that changes nothing.
    ///
    /// # Errors
    /// In etcd's words: a member that exists or does not, one that is no learner or not in sync, and a change after
    /// which too few voters would be active (`mayAddMember`, `mayPromote`, `mayRemoveMember` in etcd's `server.go`).
    pub(crate) fn change(
        &self,
        call: MemberCall,
        leader: u64,
        health: &dyn Health,
        joint_leave: JointLeave,
    ) -> Result<Option<ConfChangeV2>, Refusal> {
        use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
        let mut voters = self.voters.clone();
        let steps: Vec<(ConfChangeType, u64)> = match call {
            MemberCall::Add { id, learner } => {
                if self.contains(id) {
                    return Err(Refusal::MemberExists);
                }
                if learner {
                    vec![(AddLearnerNode, id)]
                } else {
                    voters.insert(id);
                    vec![(AddNode, id)]
                }
            }
            MemberCall::Promote { id } => {
                self.check_promotion(id, leader, health)?;
                voters.insert(id);
                vec![(AddNode, id)]
            }
            MemberCall::Remove { id } => {
                if !self.contains(id) {
                    return Err(Refusal::MemberNotFound);
                }
                voters.remove(&id);
                vec![(RemoveNode, id)]
            }
            MemberCall::Replace { out, with } => {
                if !self.voters.contains(&out) {
                    return Err(Refusal::MemberNotFound);
                }
                self.check_promotion(with, leader, health)?;
                voters.remove(&out);
                voters.insert(with);
                vec![(AddNode, with), (RemoveNode, out)]
            }
            MemberCall::List => return Ok(None),
        };
        // A learner that comes or goes leaves the voters as they are.
        if voters != self.voters {
            check_quorum(&voters, leader, health)?;
        }
        Ok(Some(conf_change(&steps, joint_leave)))
    }

    fn check_promotion(&self, id: u64, leader: u64, health: &dyn Health) -> Result<(), Refusal> {
        if !self.contains(id) {
            return Err(Refusal::MemberNotFound);
        }
        if !self.learners.contains(&id) {
            return Err(Refusal::MemberNotLearner);
        }
        let is_in_sync = health.matched(id) * 100 >= health.matched(leader) * IN_SYNC_PERCENT;
        if is_in_sync { Ok(()) } else { Err(Refusal::LearnerNotReady) }
    }
}

/// Whether enough of what would be the voters are active. One who was added right now counts as active.
fn check_quorum(voters: &BTreeSet<u64>, leader: u64, health: &dyn Health) -> Result<(), Refusal> {
    let active = voters.iter().filter(|id| **id == leader || health.is_active(**id)).count();
    if active > voters.len() / 2 { Ok(()) } else { Err(Refusal::UnhealthyCluster) }
}

/// One step takes effect at once. Two go through a joint configuration, which whoever leads leaves by itself when it
/// has been applied, unless the design has it otherwise.
fn conf_change(steps: &[(ConfChangeType, u64)], joint_leave: JointLeave) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    change.set_transition(match joint_leave {
        JointLeave::WhoeverLeads => ConfChangeTransition::Auto,
        JointLeave::Proposer if steps.len() > 1 => ConfChangeTransition::Explicit,
        JointLeave::Proposer => ConfChangeTransition::Auto,
    });
    let single = |(kind, id): &(ConfChangeType, u64)| {
        let mut single = ConfChangeSingle { node_id: *id, ..ConfChangeSingle::default() };
        single.set_change_type(*kind);
        single
    };
    change.set_changes(steps.iter().map(single).collect::<Vec<_>>().into());
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members that are active, and entries that each has.
    struct Known(&'static [u64], &'static [(u64, u64)]);

    impl Health for Known {
        fn is_active(&self, id: u64) -> bool {
            self.0.contains(&id)
        }

        fn matched(&self, id: u64) -> u64 {
            self.1.iter().find(|(known, _)| *known == id).map_or(0, |(_, matched)| *matched)
        }
    }

    const LEADER: u64 = 1;

    /// What becomes of a call where 1, 2, 3 vote and 4 learns.
    fn changed(call: MemberCall, health: &Known) -> Result<(usize, bool), Refusal> {
        let members =
            Membership::of(&ConfState { voters: vec![1, 2, 3], learners: vec![4], ..ConfState::default() });
        let change = members.change(call, LEADER, health, JointLeave::WhoeverLeads)?;
        let change = change.expect("none of these is a list");
        Ok((change.get_changes().len(), change.enter_joint().is_some()))
    }

    #[test]
    fn each_call_is_allowed_or_refused_in_the_words_of_etcd() {
        use MemberCall::{Add, Promote, Remove, Replace};
        let well = Known(&[1, 2, 3, 4], &[(1, 100), (4, 90)]);
        let one_step = Ok((1, false));
        assert_eq!(changed(Add { id: 5, learner: true }, &well), one_step);
        assert_eq!(changed(Add { id: 5, learner: false }, &well), one_step);
        assert_eq!(changed(Add { id: 4, learner: false }, &well), Err(Refusal::MemberExists));
        assert_eq!(changed(Promote { id: 4 }, &well), one_step);
        assert_eq!(changed(Promote { id: 3 }, &well), Err(Refusal::MemberNotLearner));
        assert_eq!(changed(Promote { id: 5 }, &well), Err(Refusal::MemberNotFound));
        assert_eq!(changed(Remove { id: 1 }, &well), one_step);
        assert_eq!(changed(Remove { id: 4 }, &well), one_step);
        assert_eq!(changed(Remove { id: 5 }, &well), Err(Refusal::MemberNotFound));
        assert_eq!(changed(Replace { out: 3, with: 4 }, &well), Ok((2, true)));
        assert_eq!(changed(Replace { out: 4, with: 4 }, &well), Err(Refusal::MemberNotFound));
        assert_eq!(changed(Replace { out: 3, with: 2 }, &well), Err(Refusal::MemberNotLearner));
    }

    #[test]
    fn a_learner_that_is_behind_gets_no_vote() {
        let behind = Known(&[1, 2, 3, 4], &[(1, 100), (4, 89)]);
        assert_eq!(changed(MemberCall::Promote { id: 4 }, &behind), Err(Refusal::LearnerNotReady));
        let replace = MemberCall::Replace { out: 3, with: 4 };
        assert_eq!(changed(replace, &behind), Err(Refusal::LearnerNotReady));
    }

    #[test]
    fn whoever_is_active_must_remain_a_majority() {
        let two_of_three = Known(&[1, 2, 4], &[(1, 100), (4, 100)]);
        assert_eq!(changed(MemberCall::Remove { id: 3 }, &two_of_three), Ok((1, false)), "3 is down anyway");
        assert_eq!(changed(MemberCall::Remove { id: 2 }, &two_of_three), Err(Refusal::UnhealthyCluster));
        let down = Known(&[1, 2], &[(1, 100), (4, 100)]);
        let add = MemberCall::Add { id: 5, learner: false };
        assert_eq!(changed(add, &down), Err(Refusal::UnhealthyCluster), "two of four are no majority");
        assert_eq!(changed(MemberCall::Add { id: 5, learner: true }, &down), Ok((1, false)));
    }

    #[test]
    fn a_joint_configuration_has_the_voters_of_both() {
        let members = Membership::of(&ConfState {
            voters: vec![1, 2, 4],
            voters_outgoing: vec![1, 2, 3],
            learners: vec![5],
            ..ConfState::default()
        });
        assert!(members.is_joint());
        assert_eq!(members.ids(), [1, 2, 3, 4, 5].into());
        let learners: Vec<u64> =
            members.list().into_iter().filter(|member| member.learner).map(|member| member.id).collect();
        assert_eq!(learners, [5]);
    }
}
