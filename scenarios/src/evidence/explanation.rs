//! A violation on one screen, for the terminal.

use super::diagram::{WIDTH, bars};
use super::exhibit::{Exhibit, Row, around_first_wrong};
use super::order::BrokenOrder;
use super::{Broken, CaseFile, LostWrites, SnapshotStream, plainly};
use model::verdict::{Check, Violation};
use std::collections::BTreeSet;

/// What is shown at most, so that it stays within a screen: operations, reasons, rows of the first piece of evidence
/// and of each further one, lines of a check's own.
const OPERATIONS_SHOWN: usize = 6;
const REASONS_SHOWN: usize = 4;
const ROWS_SHOWN: usize = 8;
const ROWS_SHOWN_FURTHER: usize = 4;
const LINES_SHOWN: usize = 16;
/// Columns of the longest line.
const COLUMNS: usize = WIDTH + 78;
/// Columns of the widest cell of a table.
const CELL_COLUMNS: usize = 64;

/// What broke, as a terminal shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The check that found it.
    pub check: Check,
    /// What broke, in one plain sentence.
    pub sentence: String,
    /// What shows it: a diagram, reasons, tables.
    pub lines: Vec<String>,
    /// The replicas that it is about; none where it may be about all.
    pub nodes: BTreeSet<u64>,
}

impl Explanation {
    /// Of the first violation of a run; none where every check held.
    pub fn of(case_file: &CaseFile) -> Option<Self> {
        let broken = case_file.broken.first()?;
        Some(Self {
            check: broken.check,
            sentence: broken.sentence.clone(),
            lines: lines(case_file, broken).iter().map(|line| cut(line)).collect(),
            nodes: broken.nodes.clone(),
        })
    }

    /// Of a violation of which nothing but the check's words is known.
    pub fn plain(violation: &Violation) -> Self {
        let broken = plainly(violation);
        let lines = own_lines(&broken).iter().map(|line| cut(line)).collect();
        Self { check: broken.check, sentence: broken.sentence, lines, nodes: BTreeSet::new() }
    }
}

fn lines(case_file: &CaseFile, broken: &Broken) -> Vec<String> {
    let mut lines = operations(case_file, &broken.operations);
    lines.extend(broken.order.iter().flat_map(of_order));
    lines.extend(broken.lost.iter().flat_map(of_lost));
    let stream = broken.stream.and_then(|place| case_file.streams.get(place));
    lines.extend(stream.into_iter().flat_map(of_stream));
    for (place, exhibit) in broken.exhibits.iter().enumerate() {
        lines.extend(table(exhibit, if place == 0 { ROWS_SHOWN } else { ROWS_SHOWN_FURTHER }));
    }
    if lines.is_empty() { own_lines(broken) } else { lines }
}

fn operations(case_file: &CaseFile, places: &[usize]) -> Vec<String> {
    let shown: Vec<usize> = places.iter().copied().take(OPERATIONS_SHOWN).collect();
    let mut lines = bars(case_file, &shown);
    if places.len() > shown.len() {
        lines.push(format!("… and {} more operations", places.len() - shown.len()));
    }
    lines
}

fn of_order(order: &BrokenOrder) -> Vec<String> {
    let mut lines = Vec::new();
    if order.minimal {
        lines.push("without any one of these answers there would be a legal order".to_string());
    }
    let of_the_core = order.refused.iter().filter(|refused| order.core.contains(&refused.operation));
    let reason =
        |refused: &super::Refused| format!("#{} cannot come next: {}", refused.operation, refused.reason);
    lines.extend(of_the_core.take(REASONS_SHOWN).map(reason));
    lines
}

fn of_lost(lost: &LostWrites) -> Vec<String> {
    let (revision, first) = (lost.first.revision, &lost.first);
    let held = first
        .held
        .iter()
        .map(|held| format!("at revision {revision} node {} holds {}", held.node, held.what));
    let crashes = first.crashes.iter().take(REASONS_SHOWN);
    let crashes = crashes
        .map(|crash| format!("{:.6} s  node {}: {}", crash.at_ns as f64 / 1e9, crash.node, crash.what));
    held.chain(crashes).collect()
}

fn of_stream(stream: &SnapshotStream) -> Vec<String> {
    let (sender, receiver) = (&stream.sender, &stream.receiver);
    vec![
        format!("  node {} ──[ {} bytes ]──▶ node {}", sender.node, stream.wire_bytes, receiver.node),
        format!("  it begins with {}", stream.form),
        format!("  node {} reads {}", receiver.node, receiver.reads),
    ]
}

/// A piece of evidence in columns; what is wrong is pointed at.
fn table(exhibit: &Exhibit, count: usize) -> Vec<String> {
    let rows = around_first_wrong(&exhibit.rows, count);
    let heads = Row { cells: exhibit.heads.clone(), wrong: false };
    let width = |column: usize| {
        let cells = std::iter::once(&heads).chain(rows).filter_map(|row| row.cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).min(CELL_COLUMNS)
    };
    let widths: Vec<usize> = (0..exhibit.heads.len()).map(width).collect();
    let line = |row: &Row| {
        let cells = row.cells.iter().zip(&widths).map(|(cell, width)| {
            let cell = cut_to(cell, *width);
            format!("{cell:<width$}")
        });
        let cells: Vec<String> = cells.collect();
        format!("{} {}", if row.wrong { ">" } else { " " }, cells.join("  ")).trim_end().to_string()
    };
    let left_out = exhibit.rows_left_out + exhibit.rows.len() - rows.len();
    let title = match left_out {
        0 => format!("{}:", exhibit.title),
        left_out => format!("{} ({left_out} rows left out):", exhibit.title),
    };
    [title, line(&heads)].into_iter().chain(rows.iter().map(line)).collect()
}

/// What the check itself said.
fn own_lines(broken: &Broken) -> Vec<String> {
    let mut lines: Vec<String> =
        broken.lines.iter().take(LINES_SHOWN).map(|line| format!("  {line}")).collect();
    if broken.lines.len() > lines.len() {
        lines.push(format!("  … and {} more lines (--json has all)", broken.lines.len() - lines.len()));
    }
    lines
}

/// A line, cut where it would be too long.
fn cut(line: &str) -> String {
    cut_to(line, COLUMNS)
}

fn cut_to(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width - 1).chain(['…']).collect(),
        false => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_case;
    use super::*;

    #[test]
    fn a_stale_read_is_drawn_in_time() {
        let expected = [
            "             1.000000 s                                        1.003000 s",
            "  client 0   ├──────────────────┤                                          #0 on node 1",
            "             put k=v → @2",
            "  client 1                                          ├───────────────────┤  #1 on node 2",
            "             get k → @1 count 0",
            "without any one of these answers there would be a legal order",
            "#1 cannot come next: at revision 2 the answer is @2 k=v/2/2/1 count 1",
        ];
        let explanation = Explanation::of(&small_case()).unwrap();
        assert_eq!(
            (explanation.check, explanation.sentence.as_str()),
            (Check::Linearizable, "A stale answer.")
        );
        assert_eq!(explanation.lines, expected);
    }

    #[test]
    fn evidence_stands_in_columns_and_what_is_wrong_is_pointed_at() {
        let row = |revision: i64, owed: &str, got: &str| Row {
            cells: vec![revision.to_string(), owed.to_string(), got.to_string()],
            wrong: owed != got,
        };
        let mut rows: Vec<Row> = (2..100).map(|revision| row(revision, "put", "put")).collect();
        rows[50] = row(52, "delete k", "nothing");
        let mut case_file = small_case();
        case_file.broken[0].operations.clear();
        case_file.broken[0].order = None;
        let exhibit = Exhibit::new("What was owed, and what came", &["revision", "owed", "got"], rows);
        case_file.broken[0].exhibits = vec![exhibit];
        let lines = Explanation::of(&case_file).unwrap().lines;
        assert_eq!(lines[0], "What was owed, and what came (90 rows left out):");
        assert_eq!(lines[1], "  revision  owed      got");
        assert_eq!(
            lines[5..=7],
            ["  51        put       put", "> 52        delete k  nothing", "  53        put       put"]
        );
        assert_eq!(lines.len(), 2 + ROWS_SHOWN);
    }

    #[test]
    fn what_is_not_drawn_is_told_in_the_check_s_own_lines() {
        let mut violation = Violation::new(Check::Live, "node 2 never came back");
        for at in 0..20 {
            violation = violation.with(format!("it stood at {at} ns"));
        }
        let explanation = Explanation::plain(&violation);
        assert_eq!(explanation.sentence, "Node 2 never came back.");
        assert_eq!(explanation.lines.len(), LINES_SHOWN + 1);
        assert_eq!(explanation.lines[1], "  it stood at 0.000000001 s");
        assert_eq!(explanation.lines[LINES_SHOWN], "  … and 4 more lines (--json has all)");
    }
}
