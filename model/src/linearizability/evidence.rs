//! What a stuck search shows: how far the history can be explained, and why not further.

use std::collections::BTreeSet;

use super::SequentialSpec;
use crate::history::Operation;
use crate::verdict::{Check, Violation};

/// Why a history, or one partition of it, has no legal order. Operations are indices into the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// A legal order of operations as long as the search found one, counted in answered operations.
    pub legal_prefix: Vec<usize>,
    /// The operations that could be next in time after that prefix, and why none of them can be.
    pub refused: Vec<RefusedOperation>,
    /// No order of the operations gets past the return of this one.
    pub blocked_by: Option<usize>,
    /// The steps that the check took.
    pub steps: u64,
}

/// An operation that cannot follow the legal prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedOperation {
    /// The operation.
    pub operation: usize,
    /// Why it cannot come next.
    pub reason: String,
}

/// How many operations of the legal prefix a violation shows.
const PREFIX_SHOWN: usize = 6;

impl Evidence {
    /// Replays the longest legal prefix and asks why nothing can follow it.
    pub(super) fn collect<S: SequentialSpec>(
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
        members: &[usize],
        legal_prefix: Vec<usize>,
        blocked_by: Option<usize>,
        steps: u64,
    ) -> Evidence {
        let mut state = spec.initial();
        for index in &legal_prefix {
            let operation = &operations[*index];
            state = spec
                .step(&state, &operation.input, operation.outcome.output())
                .expect("the search took the same step");
        }
        let placed: BTreeSet<usize> = legal_prefix.iter().copied().collect();
        let left = || members.iter().copied().filter(|member| !placed.contains(member));
        let first_return = left().filter_map(|index| operations[index].outcome.returned()).min();
        let refused = left()
            .filter(|index| first_return.is_none_or(|returned| operations[*index].invoke < returned))
            .filter_map(|index| {
                refuse(spec, &state, &operations[index])
                    .map(|reason| RefusedOperation { operation: index, reason })
            })
            .collect();
        Evidence { legal_prefix, refused, blocked_by, steps }
    }

    /// The evidence in words.
    pub fn violation<S: SequentialSpec>(
        &self,
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
    ) -> Violation {
        let line = |index: usize| describe(spec, index, &operations[index]);
        let message = match self.blocked_by {
            Some(index) => format!("no legal order explains the answer of {}", line(index)),
            None => "no legal order of the operations exists".to_owned(),
        };
        let mut violation = Violation::new(Check::Linearizable, message).with(format!(
            "the longest legal order has {} operations; it ends with",
            self.legal_prefix.len()
        ));
        let skipped = self.legal_prefix.len().saturating_sub(PREFIX_SHOWN);
        for index in &self.legal_prefix[skipped..] {
            violation = violation.with(format!("  {}", line(*index)));
        }
        violation = violation.with("and none of these can come next:");
        for RefusedOperation { operation, reason } in &self.refused {
            violation = violation.with(format!("  {}: {reason}", line(*operation)));
        }
        violation
    }
}

fn refuse<S: SequentialSpec>(
    spec: &S,
    state: &S::State,
    operation: &Operation<S::Input, S::Output>,
) -> Option<String> {
    let output = operation.outcome.output()?;
    match spec.step(state, &operation.input, Some(output)) {
        None => Some(spec.explain(state, &operation.input, output)),
        Some(_) => Some("legal here, but every order that goes on so is stuck no later".to_owned()),
    }
}

/// One operation as a line: its index, client, times, request and answer.
pub(crate) fn describe<S: SequentialSpec>(
    spec: &S,
    index: usize,
    operation: &Operation<S::Input, S::Output>,
) -> String {
    let output = operation.outcome.output();
    let until = match operation.outcome.returned() {
        Some(returned) => returned.time_ns.to_string(),
        None => "?".to_owned(),
    };
    let words = spec.describe(&operation.input, output);
    format!("#{index} client {} [{}..{until} ns] {words}", operation.client, operation.invoke.time_ns)
}
