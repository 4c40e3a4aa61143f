//! Pieces of evidence in rows: the one form for whatever is not drawn. A page shows them as tables, the terminal as
//! columns.

use serde::{Deserialize, Serialize};

/// Rows that a page shows of one piece.
const ROWS_KEPT: usize = 40;

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhibit {
    /// What it shows.
    pub title: String,
    /// What stands in each column.
    pub heads: Vec<String>,
    /// The rows, in their order.
    pub rows: Vec<Row>,
    /// How many rows before and after these are left out.
    pub rows_left_out: usize,
}

/// A row of a piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// A text for each column.
    pub cells: Vec<String>,
    /// Whether this is what broke.
    pub wrong: bool,
}

impl Exhibit {
    /// A piece of all these rows, as far as they can be shown.
    pub(crate) fn new(title: impl Into<String>, heads: &[&str], rows: Vec<Row>) -> Self {
        let kept = around_first_wrong(&rows, ROWS_KEPT).to_vec();
        Self {
            title: title.into(),
            heads: heads.iter().map(ToString::to_string).collect(),
            rows_left_out: rows.len() - kept.len(),
            rows: kept,
        }
    }
}

/// At most so many rows, around the first that is wrong; the last ones where none is.
pub(crate) fn around_first_wrong(rows: &[Row], count: usize) -> &[Row] {
    let wrong = rows.iter().position(|row| row.wrong).unwrap_or(rows.len());
    let from = wrong.saturating_sub(count / 2).min(rows.len().saturating_sub(count));
    &rows[from..rows.len().min(from + count)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_many_rows_lies_around_the_first_wrong_one() {
        let rows = |wrong: &[usize]| -> Vec<Row> {
            (0..10).map(|at| Row { cells: vec![at.to_string()], wrong: wrong.contains(&at) }).collect()
        };
        let kept = |wrong: &[usize]| -> Vec<String> {
            around_first_wrong(&rows(wrong), 4).iter().map(|row| row.cells[0].clone()).collect()
        };
        assert_eq!(kept(&[0, 9]), ["0", "1", "2", "3"]);
        assert_eq!(kept(&[5, 6]), ["3", "4", "5", "6"]);
        assert_eq!(kept(&[9]), ["6", "7", "8", "9"]);
        assert_eq!(kept(&[]), ["6", "7", "8", "9"]);
        assert_eq!(around_first_wrong(&rows(&[1])[..2], 4).len(), 2);
    }
}
