//! What a stuck search shows: how far the history can be explained, and why not further.

use std::collections::BTreeSet;

use crate::history::Operation;
use crate::spec::SequentialSpec;

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
    pub(crate) fn collect<S: SequentialSpec>(
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
        members: &[usize],
        begin: &S::State,
        legal_prefix: Vec<usize>,
        blocked_by: Option<usize>,
        steps: u64,
    ) -> Evidence {
        let mut state = begin.clone();
        for index in &legal_prefix {
            let operation = &operations[*index];
            state = spec
                .step(&state, &operation.input, operation.outcome.output())
                .expect("the search took the same step");
        }
        let placed: BTreeSet<usize> = legal_prefix.iter().copied().collect();
        let left = || members.iter().copied().filter(|member| !placed.contains(member));
        let first_return = left().filter_map(|index| operations[index].outcome.returned()).min();
        let next = |index: &usize| first_return.is_none_or(|returned| operations[*index].invoke < returned);
        let refused = left()
            .filter(|index| next(index) || blocked_by == Some(*index))
            .filter_map(|index| {
                refuse(spec, &state, &operations[index])
                    .map(|reason| RefusedOperation { operation: index, reason })
            })
            .collect();
        Evidence { legal_prefix, refused, blocked_by, steps }
    }

    /// What broke, in a sentence.
    pub fn message<S: SequentialSpec>(
        &self,
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
    ) -> String {
        match self.blocked_by {
            Some(index) => {
                format!("no legal order explains the answer of {}", describe(spec, index, &operations[index]))
            }
            None => "no legal order of the operations exists".to_owned(),
        }
    }

    /// The end of the longest legal order, and why nothing can follow it, line by line.
    pub fn lines<S: SequentialSpec>(
        &self,
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
    ) -> Vec<String> {
        let line = |index: usize| describe(spec, index, &operations[index]);
        let length = self.legal_prefix.len();
        let mut lines = vec![format!("the longest legal order has {length} operations; it ends with")];
        let skipped = length.saturating_sub(PREFIX_SHOWN);
        lines.extend(self.legal_prefix[skipped..].iter().map(|index| format!("  {}", line(*index))));
        lines.push("and none of these can come next:".to_owned());
        lines.extend(
            self.refused
                .iter()
                .map(|RefusedOperation { operation, reason }| format!("  {}: {reason}", line(*operation))),
        );
        lines
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
pub fn describe<S: SequentialSpec>(
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
