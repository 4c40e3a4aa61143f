//! A violation as a small time diagram for the terminal.

use super::operation::ClientOperation;
use super::{Broken, CaseFile};
use std::collections::BTreeSet;

/// Operations that a diagram shows at most, so that it stays within a screen.
const OPERATIONS_SHOWN: usize = 8;
/// Columns of the time line.
const WIDTH: usize = 60;
/// Columns of what was asked and told beside it.
const WORDS: usize = 78;

/// The first violation that is about single operations or a stream, as lines; none if there is none.
pub fn diagram(case_file: &CaseFile) -> Vec<String> {
    let mut drawn = case_file.broken.iter().filter(|it| !it.operations.is_empty() || it.stream.is_some());
    let Some(broken) = drawn.next() else { return Vec::new() };
    let mut lines = vec![broken.sentence.clone()];
    let shown: Vec<usize> = broken.operations.iter().copied().take(OPERATIONS_SHOWN).collect();
    lines.extend(bars(case_file, &shown));
    let left_out = broken.operations.len() - shown.len();
    if left_out > 0 {
        lines.push(format!("… and {left_out} more operations"));
    }
    lines.extend(reasons(case_file, broken));
    lines
}

/// A bar for each operation, and under it what was asked and told.
fn bars(case_file: &CaseFile, shown: &[usize]) -> Vec<String> {
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
        lines.push(cut(&format!("  {:10} {} → {}", "", operation.asked, operation.told)));
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

fn reasons(case_file: &CaseFile, broken: &Broken) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(order) = &broken.order {
        if order.minimal {
            lines.push("without any one of these answers there would be a legal order".to_string());
        }
        let of_the_core = order.refused.iter().filter(|refused| order.core.contains(&refused.operation));
        for refused in of_the_core.take(OPERATIONS_SHOWN) {
            lines.push(cut(&format!("#{} cannot come next: {}", refused.operation, refused.reason)));
        }
    }
    if let Some(lost) = &broken.lost {
        for held in &lost.first.held {
            lines.push(cut(&format!(
                "at revision {} node {} holds {}",
                lost.first.revision, held.node, held.what
            )));
        }
        for crash in lost.first.crashes.iter().take(3) {
            lines.push(cut(&format!(
                "{:.6} s  node {}: {}",
                crash.at_ns as f64 / 1e9,
                crash.node,
                crash.what
            )));
        }
    }
    if let Some(stream) = broken.stream.and_then(|place| case_file.streams.get(place)) {
        let (sender, receiver) = (&stream.sender, &stream.receiver);
        lines.push(format!(
            "  node {} ──[ {} bytes ]──▶ node {}",
            sender.node, stream.wire_bytes, receiver.node
        ));
        lines.push(format!("  it begins with {}", stream.form));
        lines.push(format!("  node {} reads {}", receiver.node, receiver.reads));
    }
    lines
}

/// A line, cut where it would be too long.
fn cut(line: &str) -> String {
    let width = WIDTH + WORDS;
    match line.chars().count() > width {
        true => line.chars().take(width - 1).chain(['…']).collect(),
        false => line.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_case;
    use super::*;

    #[test]
    fn a_stale_read_is_drawn_in_time() {
        let expected = [
            "A stale answer.",
            "             1.000000 s                                        1.003000 s",
            "  client 0   ├──────────────────┤                                          #0 on node 1",
            "             put k=v → @2",
            "  client 1                                          ├───────────────────┤  #1 on node 2",
            "             get k → @1 count 0",
            "without any one of these answers there would be a legal order",
            "#1 cannot come next: at revision 2 the answer is @2 k=v/2/2/1 count 1",
        ];
        assert_eq!(diagram(&small_case()), expected);
    }

    #[test]
    fn what_has_no_single_operations_has_no_diagram() {
        let mut case_file = small_case();
        case_file.broken[0].operations.clear();
        assert_eq!(diagram(&case_file), Vec::<String>::new());
    }
}
