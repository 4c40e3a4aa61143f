//! Operations as bars on a time line, in plain text.
//!
//! ```text
//! client 1  |=====|                   #0 write 1
//! client 2           |====|           #1 write 2
//! client 3                   |====|   #2 read -> 1   <- this answer has no place
//! ```
//! The bars keep the order of calls and returns, not their distances.

use std::collections::BTreeMap;

use crate::history::{Operation, Stamp};
use crate::spec::SequentialSpec;

/// The widest that the bars get, in characters.
const WIDTH_MAX: usize = 64;

/// The operations with the given indices as bars, one line each, in the order of invocations; `marked` is pointed out.
pub fn diagram<S: SequentialSpec>(
    spec: &S,
    operations: &[Operation<S::Input, S::Output>],
    indices: &[usize],
    marked: Option<usize>,
) -> Vec<String> {
    let columns = columns(operations, indices);
    let width = columns.values().max().map_or(0, |last| last + 2);
    let clients: Vec<String> =
        indices.iter().map(|index| format!("client {}", operations[*index].client)).collect();
    let longest = clients.iter().map(String::len).max().unwrap_or(0);
    indices
        .iter()
        .zip(clients)
        .map(|(index, client)| {
            let operation = &operations[*index];
            let bar = bar(operation, &columns, width);
            let words = spec.describe(&operation.input, operation.outcome.output());
            let mark = if marked == Some(*index) { "   <- this answer has no place" } else { "" };
            format!("{client:longest$}  {bar}  #{index} {words}{mark}")
        })
        .collect()
}

/// The column of each call and return: as far apart as the width allows, each return behind its own call.
fn columns<I, O>(operations: &[Operation<I, O>], indices: &[usize]) -> BTreeMap<Stamp, usize> {
    let mut stamps: Vec<Stamp> = Vec::new();
    for index in indices {
        stamps.push(operations[*index].invoke);
        stamps.extend(operations[*index].outcome.returned());
    }
    stamps.sort_unstable();
    let gap = (WIDTH_MAX / stamps.len().max(1)).clamp(1, 4);
    stamps.into_iter().enumerate().map(|(rank, stamp)| (stamp, rank * gap)).collect()
}

/// `|===|`, or `|===>` where there was no answer.
fn bar<I, O>(operation: &Operation<I, O>, columns: &BTreeMap<Stamp, usize>, width: usize) -> String {
    let from = columns[&operation.invoke];
    let (until, end) = match operation.outcome.returned() {
        Some(returned) => (columns[&returned], '|'),
        None => (width.saturating_sub(1), '>'),
    };
    let line = "=".repeat(until.saturating_sub(from + 1));
    format!("{:width$}", format!("{}|{line}{end}", " ".repeat(from)))
}
