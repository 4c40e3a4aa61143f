//! Operations as bars over time, for the terminal.

use super::CaseFile;
use super::operation::ClientOperation;
use std::collections::BTreeSet;

/// Columns of the time line.
pub(super) const WIDTH: usize = 60;

/// A bar for each operation, and under it what was asked and told.
pub(super) fn bars(case_file: &CaseFile, shown: &[usize]) -> Vec<String> {
    let operations: Vec<&ClientOperation> = shown.iter().map(|place| &case_file.operations[*place]).collect();
    let Some(from) = operations.iter().map(|it| it.invoke_ns).min() else { return Vec::new() };
    let ends = operations.iter().map(|it| it.return_ns.unwrap_or(it.invoke_ns));
    let until = ends.max().unwrap_or(from).max(from + 1);
    let scale = Scale::of(&operations, from, until);
    let begin = format!("{:.6} s", from as f64 / 1e9);
    let end = format!("{:.6} s", until as f64 / 1e9);
    let mut lines =
        vec![format!("  {:10} {begin:<left$}{end:>right$}", "", left = WIDTH / 2, right = WIDTH - WIDTH / 2)];
    for (place, operation) in shown.iter().zip(&operations) {
        let node = operation.node.map_or(String::new(), |node| format!(" on node {node}"));
        lines.push(format!("  client {:<3} {}  #{place}{node}", operation.client, scale.bar(operation)));
        lines.push(format!("  {:10} {} → {}", "", operation.asked, operation.told));
    }
    lines
}

/// Gives each moment at which an operation was asked or answered its column: in order, and as far apart as they are in
/// time, but never closer than one column.
struct Scale {
    moments: Vec<u64>,
    columns: Vec<usize>,
}

impl Scale {
    fn of(operations: &[&ClientOperation], from: u64, until: u64) -> Self {
        let moments: BTreeSet<u64> =
            operations.iter().flat_map(|it| [Some(it.invoke_ns), it.return_ns]).flatten().collect();
        let moments: Vec<u64> = moments.into_iter().collect();
        let spare = WIDTH - 1 - (moments.len() - 1) * 2;
        let column = |(rank, at): (usize, &u64)| {
            let share = (at - from) as f64 / (until - from) as f64;
            rank * 2 + (share * spare as f64) as usize
        };
        let columns = moments.iter().enumerate().map(column).collect();
        Self { moments, columns }
    }

    fn column(&self, at: u64) -> usize {
        self.columns[self.moments.binary_search(&at).expect("the scale was made of these moments")]
    }

    fn bar(&self, operation: &ClientOperation) -> String {
        let begin = self.column(operation.invoke_ns);
        let (end, last) = match operation.return_ns {
            Some(at) => (self.column(at), '┤'),
            None => (WIDTH - 1, '…'),
        };
        let bar = |column: usize| match column {
            _ if column < begin || column > end => ' ',
            _ if column == begin => '├',
            _ if column == end => last,
            _ => '─',
        };
        (0..WIDTH).map(bar).collect()
    }
}
