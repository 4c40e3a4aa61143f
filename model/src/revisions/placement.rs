//! Where each operation stands in the order of revisions, and what contradicts that at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::kv::{Call, CallAnswer, CallResult, Refusal};
use crate::specs::etcd::{StoreOperation, past_revisions};
use crate::store::{EMPTY_REVISION, admit_call};
use linearizability::history::Stamp;

/// The places of all operations. Operations are named by their index in the history, in the order of
/// invocations.
#[derive(Default)]
pub(super) struct Placement {
    /// The answered write that made each revision.
    pub(super) writes: BTreeMap<i64, usize>,
    /// The answered operations that made no revision, by the revision they saw, in the order of invocations.
    /// A revocation may have made the revision that it names, if no write claims it.
    pub(super) groups: BTreeMap<i64, Vec<usize>>,
    /// The refused operations, by the lowest revision that real time allows, in the order of invocations.
    pub(super) refused: BTreeMap<i64, Vec<usize>>,
    /// The operations with unknown outcome that may make a revision, in the order of invocations.
    pub(super) unknown: Vec<usize>,
    /// The operations with unknown outcome that may change something without a revision, likewise.
    pub(super) silent: Vec<usize>,
    /// Operations that no order explains, with the reason. With any of them the history is illegal.
    pub(super) conflicts: BTreeMap<usize, String>,
    /// The highest revision that an answer names.
    pub(super) last_revision: i64,
    /// Whether an id of a lease may have been granted twice.
    pub(super) granted_twice: bool,
    /// By revision: the earliest return of anything that stands there or later.
    deadlines: BTreeMap<i64, Stamp>,
    /// By gap: the highest revision that lies below the last one before it and is read above it.
    read_later: BTreeMap<i64, i64>,
}

impl Placement {
    /// Places the operations of a history.
    pub(super) fn of(operations: &[StoreOperation]) -> Placement {
        let mut placement = Placement { last_revision: EMPTY_REVISION, ..Placement::default() };
        let mut refused = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            if !operation.input.is_ordered() {
                continue;
            }
            match operation.outcome.output() {
                None => placement.unknown(index, &operation.input),
                Some(Ok(answer)) => placement.answered(index, answer),
                Some(Err(refusal)) if refusal.is_of_the_machine() => {}
                Some(Err(refusal)) => match admit_call(&operation.input) {
                    Err(expected) if expected == *refusal => {}
                    Err(expected) => placement.never(index, expected.to_string()),
                    Ok(()) if is_of_form(*refusal) => placement.never(index, "an answer".into()),
                    Ok(()) => refused.push(index),
                },
            }
        }
        placement.granted_twice = granted_twice(operations);
        placement.check_real_time(operations);
        placement.set_refused(operations, &refused);
        placement.set_deadlines(operations);
        placement.set_read_later(operations);
        placement
    }

    /// The highest past revision that an operation placed above a gap reads, or zero; a read of the revision
    /// just before the gap sees what the keys hold there, which is not past yet. Nothing else of what happened
    /// before the gap is ever seen again.
    pub(super) fn read_later(&self, gap: i64) -> i64 {
        self.read_later.get(&gap).copied().unwrap_or(0)
    }

    /// The earliest return of anything that stands at a revision or later.
    pub(super) fn deadline(&self, revision: i64) -> Option<Stamp> {
        self.deadlines.range(revision..).next().map(|(_, deadline)| *deadline)
    }

    /// Whether an unknown operation invoked at `invoke` can have made `revision`: nothing that stands there or
    /// later had returned. If not, the return that came too early.
    pub(super) fn too_late(&self, revision: i64, invoke: Stamp) -> Option<Stamp> {
        self.deadline(revision).filter(|deadline| *deadline < invoke)
    }

    /// The revisions up to the highest one named that no answered write made, ascending.
    pub(super) fn gaps(&self) -> impl Iterator<Item = i64> {
        (EMPTY_REVISION + 1..=self.last_revision).filter(|revision| !self.writes.contains_key(revision))
    }

    fn unknown(&mut self, index: usize, call: &Call) {
        match call {
            Call::Kv(request) if request.is_read_only() => {}
            Call::Kv(_) => self.unknown.push(index),
            Call::LeaseRevoke { .. } => {
                self.unknown.push(index);
                self.silent.push(index);
            }
            // Of a lease without an id nobody can know.
            Call::LeaseGrant { id: 0, .. } => {}
            Call::LeaseGrant { .. } | Call::Compact { .. } => self.silent.push(index),
            Call::LeaseKeepAlive { .. }
            | Call::LeaseTimeToLive { .. }
            | Call::Leases
            | Call::HashKv { .. }
            | Call::Status
            | Call::Defragment
            | Call::AlarmDisarm
            | Call::Member(_)
            | Call::MoveLeader { .. }
            | Call::Watch(_) => {}
        }
    }

    fn answered(&mut self, index: usize, answer: &CallAnswer) {
        let wrote = answer.kv().is_some_and(|response| response.body.wrote());
        let Some(revision) = answer.revision() else {
            return self.conflict(index, EMPTY_REVISION, "no such operation is answered so".to_owned());
        };
        let lowest = EMPTY_REVISION + i64::from(wrote);
        if revision < lowest {
            let reason = format!("no such operation can see a revision below {lowest}");
            return self.conflict(index, EMPTY_REVISION, reason);
        }
        self.last_revision = self.last_revision.max(revision);
        if !wrote {
            return self.groups.entry(revision).or_default().push(index);
        }
        match self.writes.get(&revision) {
            None => drop(self.writes.insert(revision, index)),
            Some(first) => {
                let reason = format!("revision {revision} was made by #{first}");
                self.conflict(index, revision, reason);
            }
        }
    }

    fn never(&mut self, index: usize, expected: String) {
        self.conflict(index, EMPTY_REVISION, format!("every state gives {expected}"));
    }

    /// Notes an operation that cannot be placed; evidence shows it at `revision`.
    fn conflict(&mut self, index: usize, revision: i64, reason: String) {
        self.groups.entry(revision).or_default().push(index);
        self.conflicts.insert(index, reason);
    }

    /// The groups of operations that may stand in any order among themselves, in the order of revisions.
    fn places(&self) -> Vec<(i64, &[usize])> {
        let writes = self.writes.iter().map(|(revision, index)| (*revision, 0, std::slice::from_ref(index)));
        let reads = self.groups.iter().map(|(revision, indices)| (*revision, 1, indices.as_slice()));
        let mut groups: Vec<(i64, u8, &[usize])> = writes.chain(reads).collect();
        groups.sort_by_key(|(revision, phase, _)| (*revision, *phase));
        groups.into_iter().map(|(revision, _, indices)| (revision, indices)).collect()
    }

    /// Finds operations that returned before something placed earlier was invoked.
    fn check_real_time(&mut self, operations: &[StoreOperation]) {
        let mut found = Vec::new();
        let mut last_invoked: Option<(Stamp, usize)> = None;
        for (_, indices) in self.places() {
            for index in indices {
                if let (Some(returned), Some((invoke, earlier))) =
                    (operations[*index].outcome.returned(), last_invoked)
                    && returned < invoke
                {
                    found.push((*index, earlier));
                }
            }
            for index in indices {
                last_invoked = last_invoked.max(Some((operations[*index].invoke, *index)));
            }
        }
        for (index, earlier) in found {
            let reason = format!("it returned before #{earlier} was invoked, but its revision puts it after");
            self.conflicts.entry(index).or_insert(reason);
        }
    }

    /// A refused operation stands after everything that returned before it was invoked.
    fn set_refused(&mut self, operations: &[StoreOperation], refused: &[usize]) {
        let mut returns: Vec<(Stamp, i64)> = Vec::new();
        for (revision, indices) in self.places() {
            let returned = indices.iter().filter_map(|index| operations[*index].outcome.returned());
            returns.extend(returned.map(|at| (at, revision)));
        }
        returns.sort_unstable();
        let mut highest = EMPTY_REVISION;
        for (_, revision) in &mut returns {
            highest = highest.max(*revision);
            *revision = highest;
        }
        for index in refused {
            let before = returns.partition_point(|(at, _)| *at < operations[*index].invoke);
            let lowest = before.checked_sub(1).map_or(EMPTY_REVISION, |last| returns[last].1);
            self.refused.entry(lowest).or_default().push(*index);
        }
    }

    /// Only the first gaps matter, as many as there are unknown operations and revisions that a revocation may name:
    /// no replay gets further.
    fn set_read_later(&mut self, operations: &[StoreOperation]) {
        let mut reads: Vec<(i64, i64)> = Vec::new();
        for (place, indices) in self.places() {
            for index in indices {
                if let Some(request) = operations[*index].input.kv() {
                    past_revisions(request, &mut |asked| reads.push((asked, place)));
                }
            }
        }
        reads.sort_unstable();
        let (mut reads, mut open) = (reads.into_iter().peekable(), BTreeSet::new());
        let mut found = BTreeMap::new();
        for gap in self.gaps().take(self.unknown.len() + self.groups.len() + 1) {
            while let Some(read) = reads.next_if(|(asked, _)| *asked < gap - 1) {
                open.insert(read);
            }
            while let Some((asked, place)) = open.last().copied() {
                if place >= gap {
                    found.insert(gap, asked);
                    break;
                }
                open.pop_last();
            }
        }
        self.read_later = found;
    }

    fn set_deadlines(&mut self, operations: &[StoreOperation]) {
        let mut earliest: Option<Stamp> = None;
        let mut deadlines = Vec::new();
        for (revision, indices) in self.places().into_iter().rev() {
            let returns = indices.iter().filter_map(|index| operations[*index].outcome.returned());
            earliest = returns.chain(earliest).min();
            deadlines.extend(earliest.map(|deadline| (revision, deadline)));
        }
        self.deadlines = deadlines.into_iter().collect();
    }
}

/// Whether a refusal follows from the form of the call alone.
fn is_of_form(refusal: Refusal) -> bool {
    match refusal {
        Refusal::EmptyKey
        | Refusal::TooManyOperations
        | Refusal::DuplicateKey
        | Refusal::ValueProvided
        | Refusal::LeaseProvided
        | Refusal::LeaseTtlTooLarge => true,
        Refusal::FutureRevision
        | Refusal::Compacted
        | Refusal::LeaseNotFound
        | Refusal::LeaseExists
        | Refusal::KeyNotFound
        | Refusal::NoSpace => false,
    }
}

fn granted_twice(operations: &[StoreOperation]) -> bool {
    let mut ids = BTreeSet::new();
    operations.iter().any(|operation| {
        let granted = match (&operation.input, operation.outcome.output()) {
            (Call::LeaseGrant { .. }, Some(Ok(CallAnswer::LeaseGrant { id, .. }))) => Some(*id),
            (Call::LeaseGrant { id, .. }, None) if *id != 0 => Some(*id),
            (_refused_or_no_grant, _) => None,
        };
        granted.is_some_and(|id| !ids.insert(id))
    })
}

/// What the store would have answered, for evidence.
pub(super) fn expected(revision: i64, found: Option<&CallResult>) -> String {
    match found {
        Some(found) => format!("after revision {revision} the answer is {}", crate::notation::result(found)),
        None => format!("after revision {revision} any answer is legal"),
    }
}
