//! Replays a placed history, and searches for the unknown writes that fill its gaps.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_128;

use super::observation::Observations;
use super::placement::{Placement, expected};
use crate::effect::effects;
use crate::kv::Request;
use crate::linearizability::{Budget, Evidence, RefusedOperation, Verdict};
use crate::specs::etcd::StoreOperation;
use crate::store::{EMPTY_REVISION, Store};

/// A replay in the order of revisions that stops to choose at each gap, and comes back to the last choice that
/// has alternatives where the replay contradicts an answer.
pub(super) struct Fill<'a> {
    operations: &'a [StoreOperation],
    placement: &'a Placement,
    observations: Observations<'a>,
    store: Store,
    /// The revision up to which all writes are replayed.
    revision: i64,
    /// The fingerprint of the store at each revision replayed, from the empty one on.
    pasts: Vec<u128>,
    used: Vec<bool>,
    /// The effect of each unknown operation, as a number that operations of equal effect share.
    classes: Vec<u128>,
    /// The sum of the classes of the operations used.
    used_classes: u128,
    visited: BTreeSet<(i64, u128)>,
    choices: Vec<Choice>,
    steps: u64,
    deepest: Option<Failure>,
}

/// A gap with the unknown operation that fills it for now.
struct Choice {
    gap: i64,
    chosen: usize,
    before: Store,
    /// Those not tried yet, the next one last.
    left: Vec<usize>,
}

/// Where a replay stopped.
struct Failure {
    revision: i64,
    reads_done: usize,
    fills: Vec<(i64, usize)>,
    blocked_by: Option<usize>,
    refused: Vec<RefusedOperation>,
}

/// How a replay ended.
enum Replay {
    Complete,
    Failed(Failure),
    OutOfSteps,
}

/// How many operations a violation names as unable to fill a gap.
const CANDIDATES_SHOWN: usize = 8;

impl<'a> Fill<'a> {
    pub(super) fn new(operations: &'a [StoreOperation], placement: &'a Placement) -> Fill<'a> {
        Fill {
            operations,
            placement,
            observations: Observations::of(operations, placement),
            store: Store::default(),
            revision: EMPTY_REVISION,
            pasts: vec![Store::default().fingerprint()],
            used: vec![false; operations.len()],
            classes: operations.iter().map(|operation| class(&operation.input)).collect(),
            used_classes: 0,
            visited: BTreeSet::new(),
            choices: Vec::new(),
            steps: 0,
            deepest: None,
        }
    }

    /// Replays until every answer is explained, or every filling was tried.
    pub(super) fn run(mut self, budget: Budget) -> Verdict {
        // Where the history is illegal whatever fills the gaps, one replay is enough for the evidence.
        let doomed = !self.placement.conflicts.is_empty() || self.more_gaps_than_candidates();
        let steps_max = if doomed { u64::MAX } else { budget.steps };
        loop {
            match self.replay(steps_max) {
                Replay::Complete => {
                    assert!(!doomed, "a history with a conflict was replayed to its end");
                    return Verdict::Linearizable { steps: self.steps };
                }
                Replay::OutOfSteps => return Verdict::Undecided { steps: self.steps },
                Replay::Failed(failure) => {
                    if self.deepest.as_ref().is_none_or(|deepest| deepest.revision < failure.revision) {
                        self.deepest = Some(failure);
                    }
                    if doomed || !self.next_choice() {
                        return self.violation();
                    }
                }
            }
        }
    }

    /// An operation that may fill a gap may fill any later one, so there are too few of them exactly when some
    /// gap finds fewer candidates than there are gaps up to it.
    fn more_gaps_than_candidates(&self) -> bool {
        let Placement { unknown, .. } = self.placement;
        self.placement.gaps().enumerate().take(unknown.len() + 1).any(|(gaps_before, gap)| {
            let in_time =
                |index: &&usize| self.placement.too_late(gap, self.operations[**index].invoke).is_none();
            unknown.iter().filter(in_time).count() <= gaps_before
        })
    }

    fn replay(&mut self, steps_max: u64) -> Replay {
        loop {
            if let Some(failure) = self.replay_reads() {
                return Replay::Failed(failure);
            }
            if self.revision == self.placement.last_revision {
                return Replay::Complete;
            }
            if self.steps >= steps_max {
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
        self.pasts.push(self.store.fingerprint());
    }

    fn replay_reads(&mut self) -> Option<Failure> {
        let placement = self.placement;
        let reads = placement.reads.get(&self.revision)?;
        reads.iter().enumerate().find_map(|(done, index)| {
            let mut unchanged = self.store.clone();
            let reason = self.replay_operation(*index, &mut unchanged)?;
            Some(self.failure(done, Some(*index), vec![RefusedOperation { operation: *index, reason }]))
        })
    }

    fn replay_write(&mut self, index: usize) -> Option<Failure> {
        let mut store = std::mem::take(&mut self.store);
        let reason = self.replay_operation(index, &mut store);
        self.store = store;
        let refused = vec![RefusedOperation { operation: index, reason: reason? }];
        Some(self.failure(usize::MAX, Some(index), refused))
    }

    /// Carries an answered operation out, and says why its answer is wrong, if it is.
    fn replay_operation(&mut self, index: usize, store: &mut Store) -> Option<String> {
        if let Some(conflict) = self.placement.conflicts.get(&index) {
            return Some(conflict.clone());
        }
        self.steps += 1;
        let operation = &self.operations[index];
        let answer = store.apply(&operation.input);
        (operation.outcome.output() != Some(&answer)).then(|| expected(self.revision, &answer))
    }

    fn fill(&mut self, gap: i64) -> Option<Failure> {
        if !self.visited.insert((gap, self.configuration(gap))) {
            return Some(self.failure(usize::MAX, None, Vec::new()));
        }
        let (mut left, refused) = self.candidates(gap);
        left.reverse();
        match left.pop() {
            Some(chosen) => {
                let before = self.store.clone();
                self.choose(Choice { gap, chosen, before, left });
                None
            }
            None => Some(self.unfilled(gap, refused)),
        }
    }

    /// A gap that nothing can fill: the first answer that speaks of a revision from there on is unexplained.
    fn unfilled(&self, gap: i64, mut refused: Vec<RefusedOperation>) -> Failure {
        let writes = self.placement.writes.range(gap..).map(|(revision, index)| (*revision, *index));
        let reads = self.placement.reads.range(gap..).map(|(revision, reads)| (*revision, reads[0]));
        let first = writes.take(1).chain(reads.take(1)).min();
        let (_, operation) = first.expect("a gap lies below a revision that an answer names");
        let reason = format!("no operation can have made revision {gap} before it");
        refused.insert(0, RefusedOperation { operation, reason });
        self.failure(usize::MAX, Some(operation), refused)
    }

    /// Everything that decides whether the replay can go on from a gap to the end: what the keys hold, which
    /// operations are used up, and the past as far as it will be read.
    fn configuration(&self, gap: i64) -> u128 {
        let past = match usize::try_from(self.placement.read_later(gap) - EMPTY_REVISION) {
            Ok(place) => self.pasts[place],
            Err(_nothing_is_read) => 0,
        };
        let parts = [self.store.current_fingerprint(), self.used_classes, past];
        xxh3_128(&parts.map(u128::to_le_bytes).concat())
    }

    /// The unknown operations that can have made the revision of a gap, and why the others cannot.
    fn candidates(&mut self, gap: i64) -> (Vec<usize>, Vec<RefusedOperation>) {
        let (mut candidates, mut refused): (Vec<usize>, Vec<RefusedOperation>) = (Vec::new(), Vec::new());
        let placement = self.placement;
        for index in placement.unknown.iter().copied().filter(|index| !self.used[*index]).collect::<Vec<_>>()
        {
            // Equal requests are interchangeable: both were invoked in time for this gap and all later ones.
            if candidates.iter().any(|candidate: &usize| self.classes[*candidate] == self.classes[index]) {
                continue;
            }
            match self.cannot_fill(gap, index) {
                None => candidates.push(index),
                Some(reason) if refused.len() < CANDIDATES_SHOWN => {
                    let reason = format!("cannot have made revision {gap}: {reason}");
                    refused.push(RefusedOperation { operation: index, reason });
                }
                Some(_) => {}
            }
        }
        (candidates, refused)
    }

    fn cannot_fill(&mut self, gap: i64, index: usize) -> Option<String> {
        let operation = &self.operations[index];
        if let Some(at) = self.placement.too_late(gap, operation.invoke) {
            return Some(format!("it was invoked after that revision was seen, at {} ns", at.time_ns));
        }
        self.steps += 1;
        let mut store = self.store.clone();
        match store.apply(&operation.input) {
            Err(refusal) => Some(refusal.to_string()),
            Ok(_) if store.revision() != gap => Some("it would have changed nothing".to_owned()),
            Ok(response) => self.observations.contradiction(gap, &effects(&operation.input, &response)),
        }
    }

    fn choose(&mut self, choice: Choice) {
        self.store = choice.before.clone();
        self.revision = choice.gap - 1;
        self.pasts.truncate((choice.gap - EMPTY_REVISION) as usize);
        self.used[choice.chosen] = true;
        self.used_classes = self.used_classes.wrapping_add(self.classes[choice.chosen]);
        let answer = self.store.apply(&self.operations[choice.chosen].input);
        assert!(
            answer.is_ok() && self.store.revision() == choice.gap,
            "a candidate makes the revision of its gap"
        );
        self.choices.push(choice);
    }

    /// Goes back to the last choice that has alternatives, and takes the next; false if there is none.
    fn next_choice(&mut self) -> bool {
        while let Some(Choice { gap, chosen, before, mut left }) = self.choices.pop() {
            self.used[chosen] = false;
            self.used_classes = self.used_classes.wrapping_sub(self.classes[chosen]);
            if let Some(chosen) = left.pop() {
                self.choose(Choice { gap, chosen, before, left });
                self.made_revision(gap);
                return true;
            }
        }
        false
    }

    fn failure(
        &self,
        reads_done: usize,
        blocked_by: Option<usize>,
        refused: Vec<RefusedOperation>,
    ) -> Failure {
        let fills = self.choices.iter().map(|choice| (choice.gap, choice.chosen)).collect();
        Failure { revision: self.revision, reads_done, fills, blocked_by, refused }
    }

    fn violation(self) -> Verdict {
        let Some(failure) = self.deepest else {
            unreachable!("a violation has a replay that failed");
        };
        let Placement { writes, reads, .. } = self.placement;
        let mut legal_prefix = Vec::new();
        for revision in EMPTY_REVISION..=failure.revision {
            let fill = || failure.fills.iter().find(|(gap, _)| *gap == revision).map(|(_, index)| index);
            legal_prefix.extend(writes.get(&revision).or_else(fill));
            let reads = reads.get(&revision).into_iter().flatten();
            let done = if revision == failure.revision { failure.reads_done } else { usize::MAX };
            legal_prefix.extend(reads.take(done));
        }
        let Failure { blocked_by, refused, .. } = failure;
        Verdict::Violation(Evidence { legal_prefix, refused, blocked_by, steps: self.steps })
    }
}

/// A number that requests of equal effect share: what they ask to be shown makes no difference.
fn class(request: &Request) -> u128 {
    xxh3_128(silent(request).to_string().as_bytes())
}

fn silent(request: &Request) -> Request {
    let mut request = request.clone();
    match &mut request {
        Request::Put { prev_kv, .. } | Request::DeleteRange { prev_kv, .. } => *prev_kv = false,
        Request::Range { .. } => {}
        Request::Txn { compares: _, success, failure } => {
            for request in success.iter_mut().chain(failure) {
                *request = silent(request);
            }
        }
    }
    request
}
