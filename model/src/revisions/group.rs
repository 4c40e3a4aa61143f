//! The operations between two writes: in which order they can stand, and where refusals fit in.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::Xxh3Default;

use super::fill::{Failure, Fill};
use super::placement::expected;
use super::silent::{Needy, Position};
use crate::kv::{Call, Refusal, Request};
use crate::specs::etcd::{answers, carry_out};
use linearizability::RefusedOperation;
use linearizability::history::Stamp;

/// What is to be placed before the replay goes on.
pub(super) struct Due<'a> {
    /// The answered operations of the group, ascending: all of them.
    pub(super) group: &'a [usize],
    /// The refused operations that returned before this: what comes next was invoked then.
    pub(super) before: Stamp,
    /// The earliest return of anything placed later.
    pub(super) deadline: Option<Stamp>,
}

/// Configurations inside a group that lead nowhere.
type DeadEnds = BTreeSet<u128>;

impl Fill<'_> {
    /// Places what is due at the present revision, and of the other refused operations whatever fits.
    pub(super) fn settle(&mut self, due: &Due<'_>) -> Option<Failure> {
        let unused = due.group.iter().filter(|index| !self.position.used.contains(*index));
        let mut left: Vec<usize> = unused.chain(&self.position.refused).copied().collect();
        left.sort_unstable();
        let placed_before = self.order.len();
        self.place_unchanging(&mut left);
        let stuck = (self.position.clone(), left.clone(), self.order.len());
        if self.place(&mut left, due, &mut DeadEnds::new()) {
            self.branched |= left.iter().any(|index| self.might_come_early(*index, due));
            self.position.refused = left;
            return None;
        }
        let (position, left, placed) = stuck;
        // At the end, an unknown operation may have made a revision that no answer names.
        let refused =
            |index: &usize| !self.placement.conflicts.contains_key(index) && !self.is_answered(*index);
        self.branched |=
            due.deadline.is_none() && left.iter().any(refused) && !self.placement.unknown.is_empty();
        self.position = position;
        self.order.truncate(placed);
        let failure = self.stuck(&left, due);
        self.order.truncate(placed_before);
        Some(failure)
    }

    fn place(&mut self, left: &mut Vec<usize>, due: &Due<'_>, dead_ends: &mut DeadEnds) -> bool {
        self.place_unchanging(left);
        if !left.iter().any(|index| self.is_due(*index, due)) {
            return true;
        }
        if self.steps >= self.steps_max || !dead_ends.insert(self.group_configuration(left)) {
            return false;
        }
        let available = self.available(left);
        let changing: Vec<usize> = available.iter().copied().filter(|index| self.changes(*index)).collect();
        if changing.len() > 1 && left.len() > changing.len() {
            self.branched = true;
        }
        let silent = changing.into_iter().map(|index| (index, false));
        let needy = available.iter().map(|index| (*index, true));
        for (index, with_help) in silent.chain(needy) {
            let before = (self.position.clone(), left.clone(), self.order.len());
            if self.place_one(index, with_help, left, due) && self.place(left, due, dead_ends) {
                return true;
            }
            self.position = before.0;
            *left = before.1;
            self.order.truncate(before.2);
        }
        false
    }

    /// Whether a refused operation that is left for later could come now with the help of a silent operation, and
    /// perhaps not later, since its refusal depends on keys as well.
    fn might_come_early(&mut self, index: usize, due: &Due<'_>) -> bool {
        let operation = &self.operations[index];
        let on_keys_too = match (&operation.input, operation.outcome.output()) {
            (Call::Kv(Request::Put(_)), Some(Err(Refusal::LeaseNotFound))) => false,
            (Call::Kv(request), _) => !request.leases().is_empty(),
            (_on_no_keys, _) => false,
        };
        let position = self.position.clone();
        let placed = self.order.len();
        let helped = on_keys_too && self.help(index, &[], due);
        self.position = position;
        self.order.truncate(placed);
        helped
    }

    /// Places everything that changes nothing, fits, and waits for nothing that is left. To do so at once costs
    /// nothing.
    fn place_unchanging(&mut self, left: &mut Vec<usize>) {
        let mut blocked_from: Option<Stamp> = None;
        let mut kept = Vec::new();
        for index in left.iter().copied() {
            let operation = &self.operations[index];
            let free = blocked_from.is_none_or(|returned| operation.invoke < returned);
            if free && !self.changes(index) && self.fits(index) {
                self.order.push(index);
                continue;
            }
            kept.push(index);
            blocked_from = operation.outcome.returned().into_iter().chain(blocked_from).min();
        }
        *left = kept;
    }

    fn place_one(&mut self, index: usize, with_help: bool, left: &mut Vec<usize>, due: &Due<'_>) -> bool {
        if with_help && !self.help(index, left, due) {
            return false;
        }
        self.steps += 1;
        let mut store = self.position.store.clone();
        if self.placement.conflicts.contains_key(&index)
            || !answers(&mut store, &self.operations[index])
            || store.revision() != self.position.store.revision()
        {
            return false;
        }
        self.position.store = store;
        self.order.push(index);
        left.retain(|other| *other != index);
        true
    }

    fn help(&mut self, index: usize, left: &[usize], due: &Due<'_>) -> bool {
        let operations = self.operations;
        let operation = &operations[index];
        let returns = left.iter().filter_map(|index| operations[*index].outcome.returned());
        let needy = Needy {
            call: &operation.input,
            output: operation.outcome.output(),
            latest: returns.chain(due.deadline).min(),
            fits: &|store| answers(&mut store.clone(), operation),
        };
        let position = self.position.clone();
        let Some((position, silent)) = self.helped(&needy, &position) else { return false };
        self.position = position;
        self.order.extend(silent);
        true
    }

    /// The operations that wait for nothing else that is left, by their returns.
    fn available(&self, left: &[usize]) -> Vec<usize> {
        let returned = |index: &usize| self.operations[*index].outcome.returned();
        let first_return = left.iter().filter_map(returned).min();
        let free = |index: &usize| first_return.is_none_or(|at| self.operations[*index].invoke < at);
        let mut available: Vec<usize> = left.iter().copied().filter(free).collect();
        available.sort_by_key(returned);
        available
    }

    /// Whether an answered operation of a group changes something.
    fn changes(&self, index: usize) -> bool {
        let operation = &self.operations[index];
        let succeeded = operation.outcome.output().is_some_and(Result::is_ok);
        succeeded
            && match &operation.input {
                Call::Compact { .. } | Call::LeaseGrant { .. } | Call::LeaseRevoke { .. } => true,
                Call::Kv(_)
                | Call::LeaseKeepAlive { .. }
                | Call::LeaseTimeToLive { .. }
                | Call::Leases
                | Call::HashKv { .. }
                | Call::Status
                | Call::Defragment
                | Call::AlarmDisarm
                | Call::Member(_)
                | Call::MoveLeader { .. }
                | Call::Watch(_) => false,
            }
    }

    fn fits(&mut self, index: usize) -> bool {
        self.steps += 1;
        !self.placement.conflicts.contains_key(&index)
            && answers(&mut self.position.store.clone(), &self.operations[index])
    }

    fn is_due(&self, index: usize, due: &Due<'_>) -> bool {
        let operation = &self.operations[index];
        self.is_answered(index)
            || self.placement.conflicts.contains_key(&index)
            || operation.outcome.returned().is_some_and(|returned| returned < due.before)
    }

    /// Whether an operation was not refused.
    fn is_answered(&self, index: usize) -> bool {
        self.operations[index].outcome.output().is_some_and(Result::is_ok)
    }

    fn group_configuration(&self, left: &[usize]) -> u128 {
        let Position { store, used: _, used_classes, refused: _ } = &self.position;
        let mut hasher = Xxh3Default::new();
        hasher.update(&store.fingerprint().to_le_bytes());
        hasher.update(&used_classes.to_le_bytes());
        left.iter().for_each(|index| hasher.update(&(*index as u64).to_le_bytes()));
        hasher.digest128()
    }

    /// Why nothing goes on from here: the operation that must come first of those left.
    fn stuck(&self, left: &[usize], due: &Due<'_>) -> Failure {
        let available = self.available(left);
        let must = left.iter().copied().filter(|index| self.is_due(*index, due));
        let first = available.into_iter().find(|index| self.is_due(*index, due)).or_else(|| must.min());
        let refused = first.map(|operation| {
            let reason = match self.placement.conflicts.get(&operation) {
                Some(conflict) => conflict.clone(),
                None => self.refusal(operation),
            };
            RefusedOperation { operation, reason }
        });
        self.failure(first, refused.into_iter().collect())
    }

    fn refusal(&self, index: usize) -> String {
        let operation = &self.operations[index];
        let mut store = self.position.store.clone();
        let found = carry_out(&mut store, &operation.input, operation.outcome.output());
        expected(self.revision, found.as_ref())
    }
}
