//! The smallest part of a history that is still illegal.
//!
//! Taking a write out of a history makes every read of it illegal, so nothing is shown by what is left then. An
//! operation is therefore *forgotten* rather than deleted: its client is taken to have never been answered, and so it
//! may have happened at any time from its invocation on, or never. Forgetting can make an illegal history legal, and
//! never a legal one illegal. What is left when no more operations can be forgotten is a core: these answers
//! contradict each other, whatever else happened or did not, and without any one of them there is a legal order.

use crate::check::{Budget, Ended, Group, in_turn, partitions, run_here};
use crate::evidence::Evidence;
use crate::history::{Operation, Outcome};
use crate::spec::SequentialSpec;
use crate::stream::StreamViolation;

/// A core of a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimal {
    /// The operations that contradict each other, by their indices in the violation's operations, ascending.
    pub operations: Vec<usize>,
    /// Whether it is known of each of them that there would be a legal order without its answer. Not so where a search
    /// for one took too long.
    pub proven: bool,
    /// How far the history with all others forgotten can be explained, and why not further. The legal prefix may use
    /// forgotten operations.
    pub evidence: Evidence,
}

/// What a check found of a history in which some operations are forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is a legal order.
    Legal,
    /// There is none.
    Illegal(Evidence),
    /// Nobody knows.
    Undecided,
}

/// The share of the steps that one search may take.
const STEPS_OF_ONE_SEARCH: u64 = 50;

/// Finds a core of a violation, in about so many steps.
pub fn minimal<S: SequentialSpec>(spec: &S, violation: &StreamViolation<S>, budget: Budget) -> Minimal
where
    S::Input: Clone,
    S::Output: Clone,
{
    let StreamViolation { operations, begins, evidence } = violation;
    let blocked_by = evidence.blocked_by;
    let of_it = |members: &Vec<usize>| blocked_by.is_some_and(|index| members.contains(&index));
    let all: Vec<usize> = (0..operations.len()).collect();
    let members = partitions(spec, operations).into_iter().find(of_it).unwrap_or(all);
    // No order gets past this return, and what was invoked after it was never looked at.
    let until = blocked_by.and_then(|index| operations[index].outcome.returned());
    let is_in_time = |index: &usize| until.is_none_or(|until| operations[*index].invoke < until);
    let in_time: Vec<usize> = members.iter().copied().filter(is_in_time).collect();
    let mut steps_left = budget.steps;
    minimal_by(operations, in_time, evidence, |operations| {
        let group = Group::new(spec, operations, &members, begins);
        let steps = steps_left.min(budget.steps / STEPS_OF_ONE_SEARCH);
        let ended = in_turn(vec![group], Budget { steps }, run_here);
        steps_left = steps_left.saturating_sub(ended.steps());
        match ended {
            Ended::Legal { .. } => Found::Legal,
            Ended::OutOfSteps { .. } => Found::Undecided,
            Ended::Illegal { .. } => Found::Illegal(ended.into_evidence().expect("it is illegal").1),
        }
    })
}

/// Finds a core with a check of the caller's own, which is given all operations, some of them forgotten. The core is
/// looked for among `kept`, without the others of which the history must be illegal; `evidence` is that of the whole.
pub fn minimal_by<I: Clone, O: Clone>(
    originals: &[Operation<I, O>],
    kept: Vec<usize>,
    evidence: &Evidence,
    mut check: impl FnMut(&[Operation<I, O>]) -> Found,
) -> Minimal {
    let mut kept: Vec<usize> =
        kept.into_iter().filter(|index| originals[*index].outcome.returned().is_some()).collect();
    let mut operations = originals.to_vec();
    for (index, operation) in operations.iter_mut().enumerate() {
        if kept.binary_search(&index).is_err() {
            operation.outcome = Outcome::Unknown;
        }
    }
    let (mut proven, mut evidence, mut size) = (true, evidence.clone(), kept.len());
    while size > 0 {
        let mut place = 0;
        while place < kept.len() {
            let until = (place + size).min(kept.len());
            for index in &kept[place..until] {
                operations[*index].outcome = Outcome::Unknown;
            }
            let found = check(&operations);
            if let Found::Illegal(found) = found {
                evidence = found;
                kept.drain(place..until);
                continue;
            }
            for index in &kept[place..until] {
                operations[*index].outcome = originals[*index].outcome.clone();
            }
            proven &= size > 1 || found == Found::Legal;
            place = until;
        }
        size /= 2;
    }
    Minimal { operations: kept, proven, evidence }
}
