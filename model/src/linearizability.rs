//! Linearizability of any history against any sequential specification.
//!
//! A history is linearizable when its answered operations, together with any choice of its unknown ones, can be
//! put in an order that (1) keeps an operation that returned before another was invoked in front of it, and
//! (2) is legal for the sequential specification. The check is a depth-first search in the manner of Wing and
//! Gong, with Lowe's memory of visited configurations (G. Lowe, "Testing for linearizability", 2017): a
//! configuration is the set of operations placed so far and the state that they led to, and none is visited
//! twice. A history whose operations fall into independent partitions is checked partition by partition, all of
//! them in turn, so that a cheap violation in one is found although another is hard.

mod evidence;
mod search;

use std::collections::BTreeMap;

use crate::history::History;
pub use evidence::{Evidence, RefusedOperation};
use search::{Progress, Search};

/// What one object, used by one client at a time, may answer.
///
/// The specification must be deterministic: a state and an input have one answer and one next state.
pub trait SequentialSpec {
    /// The state of the object. Cloned once per step: make it cheap.
    type State: Clone;
    /// What is asked.
    type Input;
    /// What is answered.
    type Output;
    /// Names the independent part of the object that an operation touches. `()` where there is only one.
    type Partition: Ord;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after `input` was answered with `output`, or `None` where the object would have answered
    /// otherwise. Without an output any answer is legal, and the operation takes its effect.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Whether `state`, which does not answer `input` with `output`, cannot be followed by any state that does.
    /// Saying no is always right; saying yes where it is true spares the search what cannot succeed.
    fn expired(&self, _state: &Self::State, _input: &Self::Input, _output: &Self::Output) -> bool {
        false
    }

    /// A hash of the state: equal for equal states, and different for different ones but for a negligible
    /// chance. The search takes states with equal fingerprints for equal.
    fn fingerprint(&self, state: &Self::State) -> u128;

    /// The part of the object that an operation touches.
    fn partition(&self, input: &Self::Input) -> Self::Partition;

    /// An operation in words, for evidence.
    fn describe(&self, input: &Self::Input, output: Option<&Self::Output>) -> String;

    /// Why `output` is no answer to `input` in `state`, for evidence.
    fn explain(&self, state: &Self::State, input: &Self::Input, output: &Self::Output) -> String;
}

/// How long a search may take, in steps: one step asks the specification once. A step of a small object takes
/// some tens of nanoseconds; each configuration remembered takes 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most steps, over all partitions.
    pub steps: u64,
}

impl Default for Budget {
    /// Ten million steps: seconds, and some hundreds of megabytes at worst.
    fn default() -> Budget {
        Budget { steps: 10_000_000 }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A legal order exists.
    Linearizable {
        /// The steps that it took to find.
        steps: u64,
    },
    /// No legal order exists.
    Violation(Evidence),
    /// The budget ran out first.
    Undecided {
        /// The steps taken.
        steps: u64,
    },
}

/// The steps that each partition gets in the first round; every further round gives twice as many.
const SLICE_STEPS: u64 = 256;

/// Searches for a legal order of a history.
pub fn check<S: SequentialSpec>(spec: &S, history: &History<S::Input, S::Output>, budget: Budget) -> Verdict {
    let mut searches: Vec<Search<'_, S>> =
        partitions(spec, history).into_iter().map(|members| Search::new(spec, history, members)).collect();
    let (mut slice, mut spent) = (SLICE_STEPS, 0);
    while !searches.is_empty() {
        let mut undone = Vec::with_capacity(searches.len());
        for mut search in searches {
            let before = search.steps();
            let progress = search.run(slice.min(budget.steps.saturating_sub(spent)));
            spent += search.steps() - before;
            match progress {
                Progress::Legal => {}
                Progress::Stuck => return Verdict::Violation(search.into_evidence(spent)),
                Progress::OutOfSteps if spent >= budget.steps => return Verdict::Undecided { steps: spent },
                Progress::OutOfSteps => undone.push(search),
            }
        }
        searches = undone;
        slice = slice.saturating_mul(2);
    }
    Verdict::Linearizable { steps: spent }
}

/// The indices of the operations of each partition.
fn partitions<S: SequentialSpec>(spec: &S, history: &History<S::Input, S::Output>) -> Vec<Vec<usize>> {
    let mut partitions: BTreeMap<S::Partition, Vec<usize>> = BTreeMap::new();
    for (index, operation) in history.operations().iter().enumerate() {
        partitions.entry(spec.partition(&operation.input)).or_default().push(index);
    }
    partitions.into_values().collect()
}
