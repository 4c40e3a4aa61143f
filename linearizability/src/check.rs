//! Linearizability of any history against any sequential specification.
//!
//! A history is linearizable when its answered operations, together with any choice of its unknown ones, can be
//! put in an order that (1) keeps an operation that returned before another was invoked in front of it, and
//! (2) is legal for the sequential specification. The check is a depth-first search in the manner of Wing and
//! Gong, with Lowe's memory of visited configurations (G. Lowe, "Testing for linearizability", 2017) and rules that
//! cut what need not be visited (see [`Search`]). A history whose operations fall into independent partitions is
//! checked partition by partition, all of them in turn, so that a cheap violation in one is found although another is
//! hard.

use std::collections::BTreeMap;
use std::thread;

use crate::evidence::Evidence;
use crate::history::{History, Operation};
use crate::search::{End, Progress, Search};
use crate::spec::SequentialSpec;

/// How long a search may take, in steps: one step asks the specification once, or compares or keeps 16 numbers of
/// unknown operations. A step of a small object takes some tens of nanoseconds, and less than a hundred bytes: each
/// configuration remembered takes 16 to 40 of them, and 4 for each class of unknown operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most steps, over all partitions.
    pub steps: u64,
}

impl Default for Budget {
    /// Ten million steps: seconds, and less than a gigabyte at worst.
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

/// Searches for a legal order of a history, on the calling thread.
pub fn check<S: SequentialSpec>(spec: &S, history: &History<S::Input, S::Output>, budget: Budget) -> Verdict {
    verdict(in_turn(groups(spec, history.operations()), budget, run_here))
}

/// The same on several threads, each with its share of the partitions; a history of one partition has no use for them.
/// The verdict is the same for any number of threads, but for the steps.
pub fn check_in_parallel<S>(
    spec: &S,
    history: &History<S::Input, S::Output>,
    budget: Budget,
    jobs: usize,
) -> Verdict
where
    S: SequentialSpec + Sync,
    S::State: Send,
    S::Input: Sync,
    S::Output: Sync,
{
    verdict(in_turn(groups(spec, history.operations()), budget, |groups, steps| {
        let share = groups.len().div_ceil(jobs.max(1)).max(1);
        thread::scope(|scope| {
            let run = |share: &mut [Group<'_, S>]| run_here(share, steps);
            let threads: Vec<_> =
                groups.chunks_mut(share).map(|share| scope.spawn(move || run(share))).collect();
            let ended = threads.into_iter().map(|thread| thread.join().expect("a search does not panic"));
            ended.flatten().collect()
        })
    }))
}

/// Searches through one partition, one for each state in which it may have begun: one that succeeds is enough.
pub(crate) struct Group<'a, S: SequentialSpec> {
    open: Vec<(S::State, Search<'a, S>)>,
    /// Of those that failed, the one that came furthest.
    failed: Option<(S::State, Search<'a, S>)>,
    steps: u64,
}

impl<'a, S: SequentialSpec> Group<'a, S> {
    /// The searches through the operations of a partition.
    pub(crate) fn new(
        spec: &'a S,
        operations: &'a [Operation<S::Input, S::Output>],
        members: &[usize],
        begins: &[End<S::State>],
    ) -> Group<'a, S> {
        let search = |begin: &End<S::State>| Search::new(spec, operations, members.to_vec(), begin.clone());
        let open = begins.iter().map(|begin| (begin.state.clone(), search(begin))).collect();
        Group { open, failed: None, steps: 0 }
    }

    fn run(&mut self, steps: u64) -> Progress {
        for (state, mut search) in std::mem::take(&mut self.open) {
            let before = search.steps();
            let progress = search.run(steps);
            self.steps += search.steps() - before;
            match progress {
                Progress::Legal => return Progress::Legal,
                Progress::OutOfSteps => self.open.push((state, search)),
                Progress::Exhausted => {
                    let further =
                        |failed: &(_, Search<'a, S>)| failed.1.answered_placed() < search.answered_placed();
                    if self.failed.as_ref().is_none_or(further) {
                        self.failed = Some((state, search));
                    }
                }
            }
        }
        if self.open.is_empty() { Progress::Exhausted } else { Progress::OutOfSteps }
    }

    fn into_evidence(self, steps: u64) -> Evidence {
        let (state, search) = self.failed.expect("a group is exhausted when all its searches have failed");
        search.into_evidence(&state, steps)
    }
}

/// How several groups ended.
pub(crate) enum Ended<'a, S: SequentialSpec> {
    /// Each found an order.
    Legal { steps: u64 },
    /// One of them found that there is none: its place among the groups, and itself.
    Illegal { place: usize, group: Box<Group<'a, S>>, steps: u64 },
    /// The budget ran out first.
    OutOfSteps { steps: u64 },
}

impl<S: SequentialSpec> Ended<'_, S> {
    /// The steps taken.
    pub(crate) fn steps(&self) -> u64 {
        match self {
            Ended::Legal { steps } | Ended::OutOfSteps { steps } | Ended::Illegal { steps, .. } => *steps,
        }
    }

    /// The evidence, where one found that there is no order.
    pub(crate) fn into_evidence(self) -> Option<(usize, Evidence)> {
        match self {
            Ended::Illegal { place, group, steps } => Some((place, group.into_evidence(steps))),
            Ended::Legal { .. } | Ended::OutOfSteps { .. } => None,
        }
    }
}

fn verdict<S: SequentialSpec>(ended: Ended<'_, S>) -> Verdict {
    match ended {
        Ended::Legal { steps } => Verdict::Linearizable { steps },
        Ended::Illegal { place: _, group, steps } => Verdict::Violation(group.into_evidence(steps)),
        Ended::OutOfSteps { steps } => Verdict::Undecided { steps },
    }
}

fn groups<'a, S: SequentialSpec>(
    spec: &'a S,
    operations: &'a [Operation<S::Input, S::Output>],
) -> Vec<Group<'a, S>> {
    let begin = [End { state: spec.initial(), used: Vec::new() }];
    partitions(spec, operations).iter().map(|members| Group::new(spec, operations, members, &begin)).collect()
}

/// One round of each group, on the calling thread.
pub(crate) fn run_here<S: SequentialSpec>(groups: &mut [Group<'_, S>], steps: u64) -> Vec<Progress> {
    groups.iter_mut().map(|group| group.run(steps)).collect()
}

/// Runs the groups round by round until all have ended, one has failed, or the budget is spent.
pub(crate) fn in_turn<'a, S: SequentialSpec>(
    groups: Vec<Group<'a, S>>,
    budget: Budget,
    mut round: impl FnMut(&mut [Group<'a, S>], u64) -> Vec<Progress>,
) -> Ended<'a, S> {
    let mut places: Vec<usize> = (0..groups.len()).collect();
    let mut groups = groups;
    let (mut slice, mut ended_steps) = (SLICE_STEPS, 0);
    while !groups.is_empty() {
        let spent = ended_steps + groups.iter().map(|group| group.steps).sum::<u64>();
        if spent >= budget.steps {
            return Ended::OutOfSteps { steps: spent };
        }
        // Every group gets the same, so that the budget is not spent on the first ones.
        let left = (budget.steps - spent).div_ceil(groups.len() as u64);
        let progress = round(&mut groups, slice.min(left));
        let steps = ended_steps + groups.iter().map(|group| group.steps).sum::<u64>();
        let (mut undone, mut undone_places) = (Vec::new(), Vec::new());
        for ((group, place), progress) in groups.into_iter().zip(places).zip(progress) {
            match progress {
                Progress::Legal => ended_steps += group.steps,
                Progress::Exhausted => return Ended::Illegal { place, group: Box::new(group), steps },
                Progress::OutOfSteps => {
                    undone.push(group);
                    undone_places.push(place);
                }
            }
        }
        (groups, places) = (undone, undone_places);
        slice = slice.saturating_mul(2);
    }
    Ended::Legal { steps: ended_steps }
}

/// The indices of the operations of each partition.
pub(crate) fn partitions<S: SequentialSpec>(
    spec: &S,
    operations: &[Operation<S::Input, S::Output>],
) -> Vec<Vec<usize>> {
    let mut partitions: BTreeMap<S::Partition, Vec<usize>> = BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        partitions.entry(spec.partition(&operation.input)).or_default().push(index);
    }
    partitions.into_values().collect()
}
