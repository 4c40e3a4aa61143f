//! Histories too long to be held: operations come in the order of their invocations, and what is settled is forgotten.
//!
//! Whenever no operation of a partition is open, what came before is a *segment* whose operations all precede whatever
//! comes after. The search finds all states that a legal order of the segment can end in, each with the unknown
//! operations that it has used; those are what the next segment begins with, and the operations go. So a segment is
//! held, not the history: memory follows the longest time between two moments without an open operation, the number of
//! unknown operations, which may take effect at any time later, and the number of states that are possible at once.
//!
//! Where a segment has too many possible ends to be enumerated at little cost, it is not cut there, and the next
//! attempt is made when it has twice the length; a history that never rests is held whole. The verdict is the same
//! as that of [`crate::check`], wherever cuts are made.
//!
//! *How it grows.* Without unknown operations the steps are proportional to the operations. An unknown write stays
//! possible for ever, and is tried again at every later write of its partition: the steps grow with the operations of a
//! partition times its unknown ones, and faster where these can follow each other. Once that is more than 64 steps for
//! each operation, the partition is no longer cut, and held. What attempts cost in vain is bounded by the budget, and so
//! is the search at the end: a verdict comes, if only [`StreamVerdict::Undecided`].

use std::collections::BTreeMap;

use crate::check::{Budget, Ended, Group, in_turn, run_here};
use crate::evidence::Evidence;
use crate::history::{Operation, Stamp};
use crate::memory::{Memory, Met};
use crate::search::{End, Progress, Search, mixed};
use crate::spec::SequentialSpec;

/// Operations that a segment has at least, unless the history ends.
const SEGMENT_OPERATIONS_MIN: usize = 256;
/// Steps that are spent on the ends of a segment before it is left to grow, for each of its operations.
const CUT_STEPS_PER_OPERATION: u64 = 64;
/// The most ends that a segment is cut with.
const ENDS_MAX: usize = 1_024;

/// A check under way.
pub struct Stream<S: SequentialSpec> {
    spec: S,
    budget: Budget,
    segments: BTreeMap<S::Partition, Segment<S>>,
    operations: u64,
    cuts: u64,
    steps: u64,
    /// Of the steps, those of attempts to cut that failed.
    in_vain: u64,
}

/// What a stream found.
#[derive(Debug)]
pub enum StreamVerdict<S: SequentialSpec> {
    /// A legal order exists.
    Linearizable {
        /// The steps taken.
        steps: u64,
    },
    /// No legal order exists.
    Violation(Box<StreamViolation<S>>),
    /// The budget ran out first.
    Undecided {
        /// The steps taken.
        steps: u64,
    },
}

/// The segment in which a history broke.
pub struct StreamViolation<S: SequentialSpec> {
    /// Its operations, after the unknown ones of earlier segments.
    pub operations: Vec<Operation<S::Input, S::Output>>,
    /// Where it can have begun.
    pub(crate) begins: Vec<End<S::State>>,
    /// Why it has no legal order. Operations are indices into `operations`.
    pub evidence: Evidence,
}

impl<S: SequentialSpec> std::fmt::Debug for StreamViolation<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StreamViolation").field("evidence", &self.evidence).finish_non_exhaustive()
    }
}

impl<S: SequentialSpec> StreamViolation<S> {
    /// A violation in a history that was held whole.
    pub fn of_history(
        spec: &S,
        operations: Vec<Operation<S::Input, S::Output>>,
        evidence: Evidence,
    ) -> StreamViolation<S> {
        StreamViolation {
            operations,
            begins: vec![End { state: spec.initial(), used: Vec::new() }],
            evidence,
        }
    }
}

/// The operations of a partition since it was last cut.
struct Segment<S: SequentialSpec> {
    begins: Vec<End<S::State>>,
    /// First the unknown operations of earlier segments, then those of this one.
    operations: Vec<Operation<S::Input, S::Output>>,
    /// How many unknown operations of earlier segments there are.
    carried: usize,
    /// How many operations of its own it has at least before a cut is tried.
    cut_from: usize,
    last_return: Option<Stamp>,
}

/// How an attempt to cut ended.
enum Cut<State> {
    Ends(Vec<End<State>>),
    TooMany,
}

impl<S: SequentialSpec> Stream<S> {
    /// A check that begins. The budget is for searches over segments that were not cut, and once more for attempts to
    /// cut them; cutting that succeeds has one of its own, in proportion to the operations.
    pub fn new(spec: S, budget: Budget) -> Stream<S> {
        Stream { spec, budget, segments: BTreeMap::new(), operations: 0, cuts: 0, steps: 0, in_vain: 0 }
    }

    /// How many operations came.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// How often operations were forgotten.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// The next operation, invoked after all that came before.
    ///
    /// # Errors
    /// The history has no legal order, whatever follows.
    pub fn push(&mut self, operation: Operation<S::Input, S::Output>) -> Result<(), Box<StreamViolation<S>>> {
        self.operations += 1;
        let segment = self.segments.entry(self.spec.partition(&operation.input)).or_insert_with(|| Segment {
            begins: vec![End { state: self.spec.initial(), used: Vec::new() }],
            operations: Vec::new(),
            carried: 0,
            cut_from: SEGMENT_OPERATIONS_MIN,
            last_return: None,
        });
        let at_rest = segment.last_return.is_none_or(|at| at < operation.invoke);
        let has_failed = segment.cut_from > SEGMENT_OPERATIONS_MIN;
        let is_hopeless = has_failed && self.in_vain >= self.budget.steps;
        if at_rest && !is_hopeless && segment.operations.len() - segment.carried >= segment.cut_from {
            let (cut, steps) = segment.cut(&self.spec, self.budget);
            self.steps += steps;
            match cut? {
                true => self.cuts += 1,
                false => self.in_vain += steps,
            }
        }
        segment.last_return = segment.last_return.max(operation.outcome.returned());
        segment.operations.push(operation);
        Ok(())
    }

    /// The verdict.
    pub fn finish(self) -> StreamVerdict<S> {
        let Stream { spec, budget, segments, steps: cut_steps, .. } = self;
        let mut segments: Vec<Segment<S>> = segments.into_values().collect();
        let members = |segment: &Segment<S>| (0..segment.operations.len()).collect::<Vec<_>>();
        let group =
            |segment| Group::new(&spec, Segment::operations(segment), &members(segment), &segment.begins);
        let ended = in_turn(segments.iter().map(group).collect(), budget, run_here);
        let steps = cut_steps + ended.steps();
        let undecided = matches!(ended, Ended::OutOfSteps { .. });
        match ended.into_evidence() {
            None if undecided => StreamVerdict::Undecided { steps },
            None => StreamVerdict::Linearizable { steps },
            Some((place, evidence)) => {
                let Segment { begins, operations, .. } = segments.swap_remove(place);
                StreamVerdict::Violation(Box::new(StreamViolation { operations, begins, evidence }))
            }
        }
    }
}

impl<S: SequentialSpec> Segment<S> {
    fn operations(segment: &Segment<S>) -> &[Operation<S::Input, S::Output>] {
        &segment.operations
    }

    /// Forgets what is settled, if that costs little: whether it did, and the steps that it took to know.
    fn cut(&mut self, spec: &S, budget: Budget) -> (Result<bool, Box<StreamViolation<S>>>, u64) {
        let members: Vec<usize> = (0..self.operations.len()).collect();
        let (ends, steps) = self.ends(spec, &members, budget);
        match ends {
            Cut::TooMany => {
                self.cut_from = 2 * (self.operations.len() - self.carried);
                (Ok(false), steps)
            }
            Cut::Ends(ends) if ends.is_empty() => {
                let operations = std::mem::take(&mut self.operations);
                let begins = std::mem::take(&mut self.begins);
                let group = Group::new(spec, &operations, &members, &begins);
                let (_, evidence) = in_turn(vec![group], Budget { steps: u64::MAX }, run_here)
                    .into_evidence()
                    .expect("the search for one end finds none where the search for all found none");
                (Err(Box::new(StreamViolation { operations, begins, evidence })), steps)
            }
            Cut::Ends(ends) => {
                self.begins = ends;
                self.operations.retain(|operation| {
                    operation.outcome.returned().is_none() && !spec.is_read(&operation.input, None)
                });
                self.carried = self.operations.len();
                self.cut_from = SEGMENT_OPERATIONS_MIN;
                (Ok(true), steps)
            }
        }
    }

    /// All ends that no other dominates, from all begins.
    fn ends(&self, spec: &S, members: &[usize], budget: Budget) -> (Cut<S::State>, u64) {
        let mut left = budget.steps.min(CUT_STEPS_PER_OPERATION * members.len() as u64);
        let mut found: Vec<End<S::State>> = Vec::new();
        let mut met: Option<Memory> = None;
        let mut steps = 0;
        for begin in &self.begins {
            let mut search =
                Search::new(spec, &self.operations, members.to_vec(), begin.clone()).for_all_ends();
            let progress = search.run(left);
            steps += search.steps();
            left = left.saturating_sub(search.steps());
            match progress {
                Progress::OutOfSteps => return (Cut::TooMany, steps),
                Progress::Legal | Progress::Exhausted => {}
            }
            for end in search.into_ends() {
                let met = met.get_or_insert_with(|| Memory::new(end.used.len(), false));
                let met = met.insert(mixed(0, spec.fingerprint(&end.state)), &end.used, 0);
                if let Met::New(_) = met {
                    found.push(end);
                }
                if found.len() > ENDS_MAX {
                    return (Cut::TooMany, steps);
                }
            }
        }
        (Cut::Ends(found), steps)
    }
}
