//! From lines to operations.

use std::collections::{BTreeMap, VecDeque};

use super::{Dialect, EventKind, Line, ParseError, Problem};
use crate::history::{MalformedHistory, Operation, Outcome, Stamp};

/// The operations of a history in a dialect, in the order of their invocations.
pub type Operations<D> = Vec<Operation<<D as Dialect>::Input, <D as Dialect>::Output>>;

/// Reads a history line by line.
pub struct Reader<D: Dialect> {
    dialect: D,
    line: u64,
    ended: bool,
    /// The operations not given out yet, in the order of invocations.
    waiting: VecDeque<Waiting<D>>,
    /// How many were given out.
    given: u64,
    /// The place of each process's open operation among all.
    open: BTreeMap<u32, u64>,
}

struct Waiting<D: Dialect> {
    operation: Operation<D::Input, D::Output>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Settled,
    /// It did not happen.
    Dropped,
}

impl<D: Dialect> Reader<D> {
    /// A reader before the first line.
    pub fn new(dialect: D) -> Reader<D> {
        Reader { dialect, line: 0, ended: false, waiting: VecDeque::new(), given: 0, open: BTreeMap::new() }
    }

    /// Counts lines that are not given to it.
    pub fn skip_lines(&mut self, lines: u64) {
        self.line += lines;
    }

    /// Reads the next line, with its line end, if it has one. The time of an event is the number of its line.
    ///
    /// # Errors
    /// The line cannot be read, contradicts the ones before, or is cut off.
    pub fn line(&mut self, text: &str) -> Result<(), ParseError> {
        self.line += 1;
        let line = self.line;
        self.read(text).map_err(|problem| ParseError { line, problem })
    }

    /// An operation whose outcome is known, and that of all invoked before it, too.
    pub fn next_settled(&mut self) -> Option<Operation<D::Input, D::Output>> {
        loop {
            match self.waiting.front()?.fate {
                Fate::Open => return None,
                Fate::Settled => return self.pop(),
                Fate::Dropped => drop(self.pop()),
            }
        }
    }

    /// Ends the history: what is still open is unknown, and comes out now with all that waited for it.
    ///
    /// # Errors
    /// The file was cut off.
    pub fn finish(mut self) -> Result<Operations<D>, ParseError> {
        if self.dialect.needs_end() && !self.ended {
            let problem = Problem::Truncated("the last line, {\"end\": EVENTS}, is missing");
            return Err(ParseError { line: self.line, problem });
        }
        let left = std::mem::take(&mut self.waiting).into_iter();
        Ok(left.filter(|waiting| waiting.fate != Fate::Dropped).map(|waiting| waiting.operation).collect())
    }

    fn read(&mut self, text: &str) -> Result<(), Problem> {
        let whole = text.ends_with('\n');
        let content = text.trim_end_matches(['\n', '\r']);
        if !whole && !content.is_empty() {
            return Err(Problem::Truncated("the line has no end; if it is whole, add a newline"));
        }
        let Reader { dialect, waiting, given, open, .. } = self;
        let asked = |process: u32| {
            open.get(&process).map(|place| &waiting[(place - *given) as usize].operation.input)
        };
        let event = dialect.line(content, asked)?;
        match event {
            Line::Nothing => Ok(()),
            Line::End | Line::Event { .. } if self.ended => {
                Err(super::malformed("nothing after the line that says the end", content))
            }
            Line::End => {
                self.ended = true;
                Ok(())
            }
            Line::Event { process, kind } => self.event(process, kind).map_err(Problem::from),
        }
    }

    fn event(&mut self, process: u32, kind: EventKind<D::Input, D::Output>) -> Result<(), MalformedHistory> {
        let at = Stamp::at(self.line);
        match kind {
            EventKind::Invoke(input) => {
                if let Some(place) = self.open.get(&process) {
                    let first = self.waiting[(place - self.given) as usize].operation.invoke;
                    return Err(MalformedHistory::Overlap { client: process, first, second: at });
                }
                self.open.insert(process, self.given + self.waiting.len() as u64);
                let operation = Operation { client: process, invoke: at, input, outcome: Outcome::Unknown };
                self.waiting.push_back(Waiting { operation, fate: Fate::Open });
            }
            EventKind::Answer(output) => {
                let waiting = self.close(process, at)?;
                waiting.operation.outcome = Outcome::Answered { at, output };
                waiting.fate = Fate::Settled;
            }
            EventKind::Fail => self.close(process, at)?.fate = Fate::Dropped,
            EventKind::GiveUp => self.close(process, at)?.fate = Fate::Settled,
        }
        Ok(())
    }

    fn close(&mut self, client: u32, at: Stamp) -> Result<&mut Waiting<D>, MalformedHistory> {
        let place = self.open.remove(&client).ok_or(MalformedHistory::NothingOpen { client, at })?;
        Ok(&mut self.waiting[(place - self.given) as usize])
    }

    fn pop(&mut self) -> Option<Operation<D::Input, D::Output>> {
        self.given += 1;
        self.waiting.pop_front().map(|waiting| waiting.operation)
    }
}
