//! Replays a placed history, and searches for the unknown writes that fill its gaps.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::group::Due;
use super::observation::Observations;
use super::placement::{Placement, expected};
use super::silent::{Helped, Needy, Position};
use crate::effect::{Effect, effects};
use crate::kv::{Call, CallAnswer, Refusal, Request, TxnRequest};
use crate::specs::etcd::{StoreOperation, answers, carry_out};
use crate::store::{EMPTY_REVISION, Store};
use linearizability::history::Stamp;
use linearizability::{Budget, Evidence, RefusedOperation, Verdict};

/// A replay in the order of revisions that stops to choose at each gap, and comes back to the last choice that
/// has alternatives where the replay contradicts an answer.
pub(super) struct Fill<'a> {
    pub(super) operations: &'a [StoreOperation],
    pub(super) placement: &'a Placement,
    observations: Observations<'a>,
    pub(super) position: Position,
    /// The operations placed so far, in their order.
    pub(super) order: Vec<usize>,
    /// The revision up to which all writes are replayed.
    pub(super) revision: i64,
    /// The fingerprint of the store at each revision replayed, from the empty one on.
    pasts: Vec<u128>,
    /// The effect of each operation, as a number that operations of equal effect share.
    pub(super) classes: Vec<u128>,
    visited: BTreeSet<(i64, u128)>,
    choices: Vec<Choice>,
    pub(super) steps: u64,
    pub(super) steps_max: u64,
    /// Some group could have been ordered otherwise.
    pub(super) branched: bool,
    deepest: Option<Failure>,
}

/// A gap, and what can still be tried there.
struct Choice {
    gap: i64,
    placed_before: usize,
    /// The next one last.
    left: Vec<Candidate>,
}

/// An operation that can have made the revision of a gap.
struct Candidate {
    index: usize,
    /// The position after it.
    after: Position,
    /// What was placed before it for its sake, and itself.
    placed: Vec<usize>,
}

/// Where a replay stopped.
pub(super) struct Failure {
    revision: i64,
    order: Vec<usize>,
    blocked_by: Option<usize>,
    refused: Vec<RefusedOperation>,
}

/// What the replays come to.
pub(super) enum Conclusion {
    /// The verdict.
    Exact(Verdict),
    /// No order was found, but not all were tried that might do.
    Doubtful,
}

/// How a replay ended.
enum Replay {
    Complete,
    Failed(Failure),
    OutOfSteps,
}

/// How many operations a violation names as unable to fill a gap.
const CANDIDATES_SHOWN: usize = 8;

/// Later than everything.
const END: Stamp = Stamp { time_ns: u64::MAX, order: u64::MAX };

/// Earlier than every return.
const START: Stamp = Stamp { time_ns: 0, order: 0 };

impl<'a> Fill<'a> {
    pub(super) fn new(operations: &'a [StoreOperation], placement: &'a Placement) -> Fill<'a> {
        Fill {
            operations,
            placement,
            observations: Observations::of(operations, placement),
            position: Position::default(),
            order: Vec::new(),
            revision: EMPTY_REVISION,
            pasts: vec![Store::default().fingerprint()],
            classes: operations.iter().map(|operation| class(&operation.input)).collect(),
            visited: BTreeSet::new(),
            choices: Vec::new(),
            steps: 0,
            steps_max: u64::MAX,
            branched: false,
            deepest: None,
        }
    }

    /// Replays until every answer is explained, or every filling was tried.
    pub(super) fn run(mut self, budget: Budget) -> Conclusion {
        // Where the history is illegal whatever fills the gaps, one replay is enough for the evidence.
        let doomed = !self.placement.conflicts.is_empty() || self.more_gaps_than_candidates();
        self.steps_max = if doomed { u64::MAX } else { budget.steps };
        loop {
            match self.replay() {
                Replay::Complete => {
                    assert!(!doomed, "a history with a conflict was replayed to its end");
                    return Conclusion::Exact(Verdict::Linearizable { steps: self.steps });
                }
                Replay::OutOfSteps => {
                    return Conclusion::Exact(Verdict::Undecided { steps: self.steps });
                }
                Replay::Failed(failure) => {
                    if self.deepest.as_ref().is_none_or(|deepest| deepest.revision < failure.revision) {
                        self.deepest = Some(failure);
                    }
                    if doomed {
                        return Conclusion::Exact(self.violation());
                    }
                    if !self.next_choice() {
                        let doubtful = self.branched || self.placement.granted_twice;
                        return if doubtful {
                            Conclusion::Doubtful
                        } else {
                            Conclusion::Exact(self.violation())
                        };
                    }
                }
            }
        }
    }

    /// An operation that may fill a gap may fill any later one, so there are too few of them exactly when some
    /// gap finds fewer candidates than there are gaps up to it that no answered revocation names.
    fn more_gaps_than_candidates(&self) -> bool {
        let Placement { unknown, .. } = self.placement;
        let gaps = self.placement.gaps().filter(|gap| self.revocations(*gap).next().is_none());
        gaps.enumerate().take(unknown.len() + 1).any(|(gaps_before, gap)| {
            let in_time =
                |index: &&usize| self.placement.too_late(gap, self.operations[**index].invoke).is_none();
            unknown.iter().filter(in_time).count() <= gaps_before
        })
    }

    /// The answered revocations that name a revision.
    fn revocations(&self, revision: i64) -> impl Iterator<Item = usize> + use<'_, 'a> {
        let group = self.placement.groups.get(&revision).into_iter().flatten().copied();
        group.filter(|index| {
            matches!(self.operations[*index].outcome.output(), Some(Ok(CallAnswer::LeaseRevoke { .. })))
        })
    }

    fn replay(&mut self) -> Replay {
        loop {
            let settled = self.settle_group();
            if self.steps > self.steps_max {
                return Replay::OutOfSteps;
            }
            if let Some(failure) = settled {
                return Replay::Failed(failure);
            }
            if self.revision == self.placement.last_revision {
                return Replay::Complete;
            }
            if self.steps >= self.steps_max {
                return Replay::OutOfSteps;
            }
            let next = self.revision + 1;
            let failure = match self.placement.writes.get(&next) {
                Some(index) => self.replay_write(*index),
                None => self.fill(next),
            };
            if let Some(failure) = failure {
                return Replay::Failed(failure);
            }
            self.made_revision(next);
        }
    }

    fn made_revision(&mut self, revision: i64) {
        self.revision = revision;
        self.pasts.push(self.position.store.fingerprint());
    }

    fn settle_group(&mut self) -> Option<Failure> {
        let placement = self.placement;
        let next = self.revision + 1;
        self.position.refused.extend(placement.refused.get(&self.revision).into_iter().flatten());
        let before = match placement.writes.get(&next) {
            _ if self.revision == placement.last_revision => END,
            Some(write) => self.operations[*write].invoke,
            // Depends on what fills the gap.
            None => START,
        };
        let group = placement.groups.get(&self.revision).map_or(&[][..], Vec::as_slice);
        self.settle(&Due { group, before, deadline: placement.deadline(next) })
    }

    fn replay_write(&mut self, index: usize) -> Option<Failure> {
        if let Some(conflict) = self.placement.conflicts.get(&index) {
            let refused = RefusedOperation { operation: index, reason: conflict.clone() };
            return Some(self.failure(Some(index), vec![refused]));
        }
        let operation = &self.operations[index];
        self.steps += 1;
        // In place where possible: a copy would have to be unshared step by step.
        let before = if self.placement.silent.is_empty() { None } else { Some(self.position.clone()) };
        let found = carry_out(&mut self.position.store, &operation.input, operation.outcome.output());
        if found.as_ref() == operation.outcome.output() {
            self.order.push(index);
            return None;
        }
        if let Some(before) = before
            && let Some((helped, silent)) = self.helped_write(index, &before)
        {
            self.position = helped;
            self.order.extend(silent);
            self.order.push(index);
            return None;
        }
        let reason = expected(self.revision, found.as_ref());
        Some(self.failure(Some(index), vec![RefusedOperation { operation: index, reason }]))
    }

    fn helped_write(&mut self, index: usize, before: &Position) -> Option<Helped> {
        let operation = &self.operations[index];
        let needy = Needy {
            call: &operation.input,
            output: operation.outcome.output(),
            latest: self.first_return(before, self.revision + 1),
            fits: &|store| answers(&mut store.clone(), operation),
        };
        let (mut helped, silent) = self.helped(&needy, before)?;
        answers(&mut helped.store, operation).then_some((helped, silent))
    }

    /// The earliest return of what is not placed yet.
    fn first_return(&self, position: &Position, revision: i64) -> Option<Stamp> {
        let refused = position.refused.iter().filter_map(|index| self.operations[*index].outcome.returned());
        refused.chain(self.placement.deadline(revision)).min()
    }

    fn fill(&mut self, gap: i64) -> Option<Failure> {
        if !self.visited.insert((gap, self.configuration(gap))) {
            return Some(self.failure(None, Vec::new()));
        }
        let (mut left, refused) = self.candidates(gap);
        left.reverse();
        match left.pop() {
            Some(candidate) => {
                self.choose(candidate, gap, self.order.len(), left);
                None
            }
            None => Some(self.unfilled(gap, refused)),
        }
    }

    /// A gap that nothing can fill: the first answer that speaks of a revision from there on is unexplained.
    fn unfilled(&self, gap: i64, mut refused: Vec<RefusedOperation>) -> Failure {
        let writes = self.placement.writes.range(gap..).map(|(revision, index)| (*revision, *index));
        let groups = self.placement.groups.range(gap..).map(|(revision, group)| (*revision, group[0]));
        let first = writes.take(1).chain(groups.take(1)).min();
        let (_, operation) = first.expect("a gap lies below a revision that an answer names");
        let reason = format!("no operation can have made revision {gap} before it");
        refused.insert(0, RefusedOperation { operation, reason });
        self.failure(Some(operation), refused)
    }

    /// Everything that decides whether the replay can go on from a gap to the end: what the keys hold, the
    /// leases, which operations are used up and which are left, and the past as far as it will be read.
    fn configuration(&self, gap: i64) -> u128 {
        let past = match usize::try_from(self.placement.read_later(gap) - EMPTY_REVISION) {
            Ok(place) => self.pasts[place],
            Err(_nothing_is_read) => 0,
        };
        let mut hasher = Xxh3Default::new();
        for part in [self.position.store.current_fingerprint(), self.position.used_classes, past] {
            hasher.update(&part.to_le_bytes());
        }
        self.position.refused.iter().for_each(|index| hasher.update(&(*index as u64).to_le_bytes()));
        hasher.digest128()
    }

    /// The operations that can have made the revision of a gap, and why the others cannot.
    fn candidates(&mut self, gap: i64) -> (Vec<Candidate>, Vec<RefusedOperation>) {
        let (mut candidates, mut refused) = (Vec::<Candidate>::new(), Vec::new());
        let answered: Vec<usize> = self.revocations(gap).collect();
        let unknown = self.placement.unknown.iter().copied();
        let all: Vec<usize> = answered.iter().copied().chain(unknown).collect();
        for index in all {
            // Equal requests are interchangeable: both were invoked in time for this gap and all later ones.
            let class = self.classes[index];
            let known = candidates.iter().any(|candidate| {
                self.classes[candidate.index] == class && !answered.contains(&candidate.index)
            });
            if known || self.position.used.contains(&index) {
                continue;
            }
            match self.try_to_fill(gap, index) {
                Ok(candidate) => candidates.push(candidate),
                Err(reason) if refused.len() < CANDIDATES_SHOWN => {
                    let reason = format!("cannot have made revision {gap}: {reason}");
                    refused.push(RefusedOperation { operation: index, reason });
                }
                Err(_) => {}
            }
        }
        (candidates, refused)
    }

    /// The position after an operation filled a gap, or why it cannot.
    fn try_to_fill(&mut self, gap: i64, index: usize) -> Result<Candidate, String> {
        let operations = self.operations;
        let operation = &operations[index];
        if let Some(at) = self.placement.too_late(gap, operation.invoke) {
            return Err(format!("it was invoked after that revision was seen, at {} ns", at.time_ns));
        }
        let (position, placed) = (self.position.clone(), self.order.len());
        let due = Due { group: &[], before: operation.invoke, deadline: self.placement.deadline(gap) };
        let unsettled = self.settle(&due);
        let settled = std::mem::replace(&mut self.position, position);
        let mut order = self.order.split_off(placed);
        if unsettled.is_some() {
            return Err("an operation that returned before was refused for what is not so yet".to_owned());
        }
        let (before, silent) = self.ready_to_fill(gap, index, settled)?;
        let mut after = before.clone();
        let answer = after.store.call(&operation.input);
        let effects = match &answer {
            Some(Ok(answer)) => effects_of(&before.store, &operation.input, answer),
            Some(Err(_)) | None => Vec::new(),
        };
        if let Some(contradiction) = self.observations.contradiction(gap, &effects) {
            return Err(contradiction);
        }
        self.mark_used(&mut after, index);
        order.extend(silent);
        order.push(index);
        Ok(Candidate { index, after, placed: order })
    }

    /// A position in which an operation makes the revision of a gap.
    fn ready_to_fill(&mut self, gap: i64, index: usize, position: Position) -> Result<Helped, String> {
        let operations = self.operations;
        let operation = &operations[index];
        self.steps += 1;
        let fills = |store: &Store| {
            let mut store = store.clone();
            answers(&mut store, operation) && store.revision() == gap
        };
        if fills(&position.store) {
            return Ok((position, Vec::new()));
        }
        match position.store.clone().call(&operation.input) {
            Some(Err(Refusal::LeaseNotFound)) => {
                let needy = Needy {
                    call: &operation.input,
                    output: operation.outcome.output(),
                    latest: self.first_return(&position, gap),
                    fits: &fills,
                };
                self.helped(&needy, &position).ok_or_else(|| Refusal::LeaseNotFound.to_string())
            }
            Some(Err(refusal)) => Err(refusal.to_string()),
            Some(Ok(_)) | None => Err("it would have changed nothing".to_owned()),
        }
    }

    fn choose(&mut self, candidate: Candidate, gap: i64, placed_before: usize, left: Vec<Candidate>) {
        self.revision = gap - 1;
        self.pasts.truncate((gap - EMPTY_REVISION) as usize);
        self.order.truncate(placed_before);
        self.position = candidate.after;
        self.order.extend(candidate.placed);
        assert!(self.position.store.revision() == gap, "a candidate makes the revision of its gap");
        self.choices.push(Choice { gap, placed_before, left });
    }

    /// Goes back to the last choice that has alternatives, and takes the next; false if there is none.
    fn next_choice(&mut self) -> bool {
        while let Some(Choice { gap, placed_before, mut left }) = self.choices.pop() {
            if let Some(candidate) = left.pop() {
                self.choose(candidate, gap, placed_before, left);
                self.made_revision(gap);
                return true;
            }
        }
        false
    }

    pub(super) fn failure(&self, blocked_by: Option<usize>, refused: Vec<RefusedOperation>) -> Failure {
        let deepest = self.deepest.as_ref().is_none_or(|deepest| deepest.revision < self.revision);
        let order = if deepest { self.order.clone() } else { Vec::new() };
        Failure { revision: self.revision, order, blocked_by, refused }
    }

    fn violation(self) -> Verdict {
        let Some(failure) = self.deepest else {
            unreachable!("a violation has a replay that failed");
        };
        let Failure { order, blocked_by, refused, .. } = failure;
        Verdict::Violation(Evidence { legal_prefix: order, refused, blocked_by, steps: self.steps })
    }
}

/// A number that calls of equal effect share: what they ask to be shown makes no difference.
fn class(call: &Call) -> u128 {
    let silent = match call {
        Call::Kv(request) => Call::Kv(silent(request)).to_string(),
        call => call.to_string(),
    };
    xxh3_128(silent.as_bytes())
}

fn silent(request: &Request) -> Request {
    let mut request = request.clone();
    match &mut request {
        Request::Put(put) => put.prev_kv = false,
        Request::DeleteRange(delete) => delete.prev_kv = false,
        Request::Range(_) => {}
        Request::Txn(TxnRequest { compares: _, success, failure }) => {
            for request in success.iter_mut().chain(failure) {
                *request = silent(request);
            }
        }
    }
    request
}

/// What an unknown operation would write, given the store before it and the answer.
fn effects_of(before: &Store, call: &Call, answer: &CallAnswer) -> Vec<Effect> {
    match (call, answer) {
        (Call::Kv(request), CallAnswer::Kv(response)) => effects(request, response),
        (Call::LeaseRevoke { id }, _) => {
            before.lease_keys(*id).map(|key| Effect::Deletion { key: key.to_vec() }).collect()
        }
        (_makes_no_revision, _) => Vec::new(),
    }
}
