//! Unknown operations that change something without making a revision: put where an answer needs them.

use rpds::RedBlackTreeSetSync;

use super::fill::Fill;
use crate::kv::{Call, CallResult, Refusal};
use crate::store::Store;
use linearizability::history::Stamp;

/// How far a replay is, apart from the revision. Cheap to clone.
#[derive(Clone)]
pub(super) struct Position {
    pub(super) store: Store,
    /// The unknown operations that took effect, and the answered revocations that made a revision.
    pub(super) used: RedBlackTreeSetSync<usize>,
    /// The sum of their classes.
    pub(super) used_classes: u128,
    /// The refused operations that real time allows by now and that are not placed yet, ascending.
    pub(super) refused: Vec<usize>,
}

/// A position after some silent operations, with those.
pub(super) type Helped = (Position, Vec<usize>);

/// The most silent operations put before one operation: a transaction may put keys of several leases.
const SILENT_MAX: usize = 3;

impl Default for Position {
    fn default() -> Position {
        let used = RedBlackTreeSetSync::new_sync();
        Position { store: Store::default(), used, used_classes: 0, refused: Vec::new() }
    }
}

/// An operation that cannot come next as things are.
pub(super) struct Needy<'a> {
    pub(super) call: &'a Call,
    pub(super) output: Option<&'a CallResult>,
    /// Whatever is put before it must be invoked before this.
    pub(super) latest: Option<Stamp>,
    /// Whether the operation can come next in a state.
    pub(super) fits: &'a dyn Fn(&Store) -> bool,
}

impl Fill<'_> {
    /// Looks for unknown operations that, put now, let an operation come next.
    pub(super) fn helped(&mut self, needy: &Needy<'_>, position: &Position) -> Option<Helped> {
        self.helped_by(needy, position, SILENT_MAX)
    }

    fn helped_by(&mut self, needy: &Needy<'_>, position: &Position, silent_max: usize) -> Option<Helped> {
        for index in self.silent_for(needy, position) {
            self.steps += 1;
            let mut next = position.clone();
            let answer = next.store.call(&self.operations[index].input);
            let silent = next.store.revision() == position.store.revision();
            if !silent || !matches!(answer, Some(Ok(_))) {
                continue;
            }
            self.mark_used(&mut next, index);
            if (needy.fits)(&next.store) {
                return Some((next, vec![index]));
            }
            if silent_max > 1
                && let Some((next, mut more)) = self.helped_by(needy, &next, silent_max - 1)
            {
                more.insert(0, index);
                return Some((next, more));
            }
        }
        None
    }

    /// The unused silent operations that what an operation depends on depends on, one of each kind. Compactions
    /// come lowest revision first: the least that helps leaves most.
    fn silent_for(&self, needy: &Needy<'_>, position: &Position) -> Vec<usize> {
        let leases = leases(needy.call);
        let compacted = matches!(needy.output, Some(Err(Refusal::Compacted)));
        let mut found: Vec<(i64, usize)> = Vec::new();
        for index in &self.placement.silent {
            let operation = &self.operations[*index];
            let in_time = needy.latest.is_none_or(|latest| operation.invoke < latest);
            let rank = match &operation.input {
                Call::LeaseGrant { id, .. } | Call::LeaseRevoke { id } => leases.contains(id).then_some(0),
                Call::Compact { revision, .. } => compacted.then_some(*revision),
                _never_silent => None,
            };
            let known = found.iter().any(|(_, other)| self.classes[*other] == self.classes[*index]);
            if let Some(rank) = rank
                && in_time
                && !known
                && !position.used.contains(index)
            {
                found.push((rank, *index));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, index)| index).collect()
    }

    pub(super) fn mark_used(&self, position: &mut Position, index: usize) {
        position.used.insert_mut(index);
        position.used_classes = position.used_classes.wrapping_add(self.classes[index]);
    }
}

/// The leases whose existence decides on the answer of a call.
fn leases(call: &Call) -> Vec<i64> {
    match call {
        Call::Kv(request) => request.leases(),
        Call::LeaseGrant { id, .. } | Call::LeaseRevoke { id } => vec![*id],
        Call::Compact { .. }
        | Call::LeaseKeepAlive { .. }
        | Call::LeaseTimeToLive { .. }
        | Call::Leases
        | Call::HashKv { .. }
        | Call::Status
        | Call::Defragment
        | Call::AlarmDisarm
        | Call::Member(_)
        | Call::MoveLeader { .. }
        | Call::Watch(_) => Vec::new(),
    }
}
