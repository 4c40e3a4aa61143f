//! Where each operation stands in the order of revisions, and what contradicts that at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::Stamp;
use crate::kv::{Refusal, Request};
use crate::notation;
use crate::specs::etcd::StoreOperation;
use crate::store::{EMPTY_REVISION, admit};

/// The places of all operations. Operations are named by their index in the history.
#[derive(Default)]
pub(super) struct Placement {
    /// The answered write that made each revision.
    pub(super) writes: BTreeMap<i64, usize>,
    /// The answered operations that changed nothing, by the revision they saw, in the order of invocations.
    pub(super) reads: BTreeMap<i64, Vec<usize>>,
    /// The operations with unknown outcome that may write, in the order of invocations.
    pub(super) unknown: Vec<usize>,
    /// Operations that no order explains, with the reason. With any of them the history is illegal.
    pub(super) conflicts: BTreeMap<usize, String>,
    /// The highest revision that an answer names.
    pub(super) last_revision: i64,
    /// By revision: the earliest return of anything that stands there or later.
    deadlines: BTreeMap<i64, Stamp>,
    /// By gap: the highest revision that lies below the last one before it and is read above it.
    read_later: BTreeMap<i64, i64>,
}

impl Placement {
    /// Places the operations of a history; `None` if an operation was refused for a reason that only a search
    /// can place.
    pub(super) fn of(operations: &[StoreOperation]) -> Option<Placement> {
        let mut placement = Placement { last_revision: EMPTY_REVISION, ..Placement::default() };
        let mut refused_future = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            match operation.outcome.output() {
                None if operation.input.is_read_only() => {}
                None => placement.unknown.push(index),
                Some(Ok(response)) => placement.place(index, response.revision, response.body.wrote()),
                Some(Err(refusal)) => match (admit(&operation.input), refusal, &operation.input) {
                    (Err(expected), refusal, _) if expected == *refusal => {}
                    (Ok(()), Refusal::FutureRevision, Request::Range { revision, .. }) => {
                        refused_future.push((index, *revision));
                    }
                    (Ok(()), Refusal::FutureRevision | Refusal::Compacted, Request::Txn { .. }) => {
                        return None;
                    }
                    (expected, ..) => {
                        let expected =
                            expected.map_or_else(|refusal| refusal.to_string(), |()| "an answer".into());
                        placement.conflict(index, EMPTY_REVISION, format!("every state gives {expected}"));
                    }
                },
            }
        }
        placement.check_real_time(operations);
        placement.check_refused_future(operations, &refused_future);
        placement.set_deadlines(operations);
        placement.set_read_later(operations);
        Some(placement)
    }

    /// The highest past revision that an operation placed above a gap reads, or zero; a read of the revision
    /// just before the gap sees what the keys hold there, which is not past yet. Nothing else of what happened
    /// before the gap is ever seen again.
    pub(super) fn read_later(&self, gap: i64) -> i64 {
        self.read_later.get(&gap).copied().unwrap_or(0)
    }

    /// Whether an unknown operation invoked at `invoke` can have made `revision`: nothing that stands there or
    /// later had returned. If not, the return that came too early.
    pub(super) fn too_late(&self, revision: i64, invoke: Stamp) -> Option<Stamp> {
        let (_, deadline) = self.deadlines.range(revision..).next()?;
        (*deadline < invoke).then_some(*deadline)
    }

    /// The revisions up to the highest one named that no answered write made, ascending.
    pub(super) fn gaps(&self) -> impl Iterator<Item = i64> {
        (EMPTY_REVISION + 1..=self.last_revision).filter(|revision| !self.writes.contains_key(revision))
    }

    fn place(&mut self, index: usize, revision: i64, wrote: bool) {
        let lowest = EMPTY_REVISION + i64::from(wrote);
        if revision < lowest {
            let reason = format!("no such operation can see a revision below {lowest}");
            return self.conflict(index, EMPTY_REVISION, reason);
        }
        self.last_revision = self.last_revision.max(revision);
        if !wrote {
            return self.reads.entry(revision).or_default().push(index);
        }
        match self.writes.get(&revision) {
            None => drop(self.writes.insert(revision, index)),
            Some(first) => {
                let reason = format!("revision {revision} was made by #{first}");
                self.conflict(index, revision, reason);
            }
        }
    }

    /// Notes an operation that cannot be placed; evidence shows it at `revision`.
    fn conflict(&mut self, index: usize, revision: i64, reason: String) {
        self.reads.entry(revision).or_default().push(index);
        self.conflicts.insert(index, reason);
    }

    /// The groups of operations that may stand in any order among themselves, in the order of revisions.
    fn groups(&self) -> Vec<(i64, &[usize])> {
        let writes = self.writes.iter().map(|(revision, index)| (*revision, 0, std::slice::from_ref(index)));
        let reads = self.reads.iter().map(|(revision, indices)| (*revision, 1, indices.as_slice()));
        let mut groups: Vec<(i64, u8, &[usize])> = writes.chain(reads).collect();
        groups.sort_by_key(|(revision, phase, _)| (*revision, *phase));
        groups.into_iter().map(|(revision, _, indices)| (revision, indices)).collect()
    }

    /// Finds operations that returned before something placed earlier was invoked.
    fn check_real_time(&mut self, operations: &[StoreOperation]) {
        let mut found = Vec::new();
        let mut last_invoked: Option<(Stamp, usize)> = None;
        for (_, indices) in self.groups() {
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

    /// A read refused because its revision was in the future stands after everything that returned before it
    /// was invoked; the store must not have reached the revision by then.
    fn check_refused_future(&mut self, operations: &[StoreOperation], refused: &[(usize, i64)]) {
        let mut returns: Vec<(Stamp, i64, usize)> = Vec::new();
        for (revision, indices) in self.groups() {
            let returned =
                indices.iter().filter_map(|index| Some((operations[*index].outcome.returned()?, *index)));
            returns.extend(returned.map(|(at, index)| (at, revision, index)));
        }
        returns.sort_unstable();
        let mut highest_before: Vec<(Stamp, i64, usize)> = Vec::with_capacity(returns.len());
        for (at, revision, index) in returns {
            let (highest, by) = match highest_before.last() {
                Some((_, highest, by)) if *highest >= revision => (*highest, *by),
                Some(_) | None => (revision, index),
            };
            highest_before.push((at, highest, by));
        }
        for (index, asked) in refused {
            let before = highest_before.partition_point(|(at, ..)| *at < operations[*index].invoke);
            let (reached, by) = match before.checked_sub(1) {
                Some(last) => (highest_before[last].1, Some(highest_before[last].2)),
                None => (EMPTY_REVISION, None),
            };
            if reached >= *asked {
                let seen = by.map_or(String::new(), |by| format!(", as #{by} had seen"));
                let reason = format!("the store had reached revision {reached} before it was invoked{seen}");
                self.conflict(*index, reached, reason);
            }
        }
    }

    /// Only the first gaps matter, as many as there are unknown operations: no replay gets further.
    fn set_read_later(&mut self, operations: &[StoreOperation]) {
        let mut reads: Vec<(i64, i64)> = Vec::new();
        for (place, indices) in self.groups() {
            for index in indices {
                past_revisions(&operations[*index].input, &mut |asked| reads.push((asked, place)));
            }
        }
        reads.sort_unstable();
        let (mut reads, mut open) = (reads.into_iter().peekable(), BTreeSet::new());
        let mut found = BTreeMap::new();
        for gap in self.gaps().take(self.unknown.len() + 1) {
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
        for (revision, indices) in self.groups().into_iter().rev() {
            let returns = indices.iter().filter_map(|index| operations[*index].outcome.returned());
            earliest = returns.chain(earliest).min();
            deadlines.extend(earliest.map(|deadline| (revision, deadline)));
        }
        self.deadlines = deadlines.into_iter().collect();
    }
}

/// The past revisions that a request may read.
fn past_revisions(request: &Request, found: &mut impl FnMut(i64)) {
    match request {
        Request::Range { revision, .. } if *revision > 0 => found(*revision),
        Request::Range { .. } | Request::Put { .. } | Request::DeleteRange { .. } => {}
        Request::Txn { compares: _, success, failure } => {
            for request in success.iter().chain(failure) {
                past_revisions(request, found);
            }
        }
    }
}

/// What the store would have answered, for evidence.
pub(super) fn expected(revision: i64, answer: &crate::kv::Answer) -> String {
    format!("after revision {revision} the answer is {}", notation::answer(answer))
}
