//! Readers for the histories of others, and for a format of our own: `docs/history-format.md` describes all three.
//!
//! A [`Dialect`] reads one line. A [`Reader`] feeds it lines and puts calls and answers together, so that operations
//! come out complete, in the order of their invocations, and no more of a file is held than the open operations and
//! what was invoked after them.

pub mod jepsen;
pub mod json_lines;
pub mod porcupine;
mod reader;

pub use reader::{Operations, Reader};

use crate::history::MalformedHistory;

/// The formats, recognised by what the first line that is not empty begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Jepsen's text log: `INFO  jepsen.util - 3 :invoke :write 1`.
    Jepsen,
    /// Porcupine's key-value log: `{:process 0, :type :invoke, …}`.
    Porcupine,
    /// Our own: a JSON object per line, the first with a field `history`.
    JsonLines,
}

impl Format {
    /// The format of a file that has this line first, if it is one of ours.
    pub fn of(first_line: &str) -> Option<Format> {
        let line = first_line.trim_start();
        if line.starts_with("{:") {
            return Some(Format::Porcupine);
        }
        if line.starts_with("{\"") || line.starts_with("{ \"") {
            return Some(Format::JsonLines);
        }
        let mut words = line.split_whitespace();
        (words.next() == Some("INFO") && words.next() == Some("jepsen.util")).then_some(Format::Jepsen)
    }
}

/// A line that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The line does not have the form of an event.
    #[error("{expected} expected in {text:?}")]
    Malformed {
        /// What should be there.
        expected: &'static str,
        /// What is there, shortened.
        text: String,
    },
    /// The event contradicts the ones before.
    #[error("{0}; each process has one operation at a time, and each answer belongs to one")]
    History(#[from] MalformedHistory),
    /// The line is no JSON of the right shape.
    #[error("{0}; see docs/history-format.md")]
    Json(String),
    /// The file ends too early.
    #[error("the file was cut off here: {0}")]
    Truncated(&'static str),
}

/// The most of a line that a message shows, in characters.
const SHOWN_MAX: usize = 120;

pub(crate) fn malformed(expected: &'static str, text: &str) -> Problem {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    Problem::Malformed { expected, text: shown }
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<I, O> {
    /// Nothing about an operation.
    Nothing,
    /// Something that a process did.
    Event {
        /// The process.
        process: u32,
        /// What it did.
        kind: EventKind<I, O>,
    },
    /// That nothing follows.
    End,
}

/// What a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind<I, O> {
    /// It asked.
    Invoke(I),
    /// It was told.
    Answer(O),
    /// It learned that nothing has happened, or will.
    Fail,
    /// It stopped waiting.
    GiveUp,
}

/// One way to write a history of one object.
pub trait Dialect {
    /// What is asked.
    type Input;
    /// What is answered.
    type Output;

    /// Reads a line. `open` is what a process has asked and was not told yet.
    ///
    /// # Errors
    /// What is wrong with it.
    fn line<'a>(
        &mut self,
        text: &str,
        open: impl Fn(u32) -> Option<&'a Self::Input>,
    ) -> Result<Line<Self::Input, Self::Output>, Problem>
    where
        Self::Input: 'a;

    /// Whether the last line must say that nothing follows.
    fn needs_end(&self) -> bool {
        false
    }
}
