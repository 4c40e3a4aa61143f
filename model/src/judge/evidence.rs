//! A violation as a reader sees it.

use linearizability::diagram::diagram;
use linearizability::history::Operation;
use linearizability::minimal::Minimal;
use linearizability::{Evidence, SequentialSpec, describe};
use serde::Serialize;

/// A violation, in words.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// What broke, in a sentence.
    pub message: String,
    /// The operations whose answers contradict each other, whatever else happened, in the order of invocations.
    pub minimal: Vec<ShownOperation>,
    /// Whether it is known of each of them that without its answer there would be a legal order.
    pub minimal_proven: bool,
    /// The same as bars on a time line, a line each.
    pub diagram: Vec<String>,
    /// How many operations the longest legal order of the whole has that was found.
    pub legal_prefix_length: usize,
    /// A legal order of the minimal operations, and of others that may have happened, as far as there is one.
    pub legal_prefix: Vec<String>,
    /// Why each operation that could be next in time after it cannot be.
    pub refused: Vec<Refused>,
}

/// An operation of the evidence.
#[derive(Clone, Debug, Serialize)]
pub struct ShownOperation {
    /// Who asked.
    pub client: u32,
    /// The line of the call.
    pub invoked_line: u64,
    /// The line of the answer.
    pub returned_line: Option<u64>,
    /// What was asked and answered.
    pub operation: String,
}

/// An operation that cannot come next.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// The operation.
    pub operation: String,
    /// Why.
    pub reason: String,
}

impl Shown {
    pub(super) fn of<S: SequentialSpec>(
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
        core: &Minimal,
        whole: &Evidence,
    ) -> Shown {
        let words = |index: usize| {
            let operation = &operations[index];
            spec.describe(&operation.input, operation.outcome.output())
        };
        let place = |index: usize| {
            let known = core.operations.binary_search(&index).is_ok();
            describe(spec, index, &operations[index]) + if known { "" } else { " (may have happened)" }
        };
        let shown = |index: &usize| {
            let operation = &operations[*index];
            ShownOperation {
                client: operation.client,
                invoked_line: operation.invoke.time_ns,
                returned_line: operation.outcome.returned().map(|at| at.time_ns),
                operation: words(*index),
            }
        };
        let evidence = &core.evidence;
        let refused = evidence.refused.iter();
        Shown {
            message: evidence.message(spec, operations),
            minimal: core.operations.iter().map(shown).collect(),
            minimal_proven: core.proven,
            diagram: diagram(spec, operations, &core.operations, evidence.blocked_by),
            legal_prefix_length: whole.legal_prefix.len(),
            legal_prefix: evidence.legal_prefix.iter().map(|index| place(*index)).collect(),
            refused: refused
                .map(|refused| Refused {
                    operation: place(refused.operation),
                    reason: refused.reason.clone(),
                })
                .collect(),
        }
    }
}
