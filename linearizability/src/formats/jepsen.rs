//! Jepsen's text log of a register.
//!
//! ```text
//! INFO  jepsen.util - 3    :invoke    :cas    [1 4]
//! ```
//! `:info`, or no end at all, is an unknown outcome. `:fail` says that the operation did not happen and takes
//! it out of the history, but for a compare-and-set: its failure is an answer, that the value was not as
//! expected. Lines that are not of a numbered process, such as those of the nemesis, are passed over.

use std::str::FromStr;

use super::{Dialect, EventKind, Line, Problem, malformed};
use crate::specs::register::{RegisterInput, RegisterOutput};

/// The dialect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jepsen;

impl Dialect for Jepsen {
    type Input = RegisterInput;
    type Output = RegisterOutput;

    fn line<'a>(
        &mut self,
        line: &str,
        _open: impl Fn(u32) -> Option<&'a RegisterInput>,
    ) -> Result<Line<RegisterInput, RegisterOutput>, Problem> {
        let fields: Vec<&str> = line.split([' ', '\t', '[', ']']).filter(|field| !field.is_empty()).collect();
        if fields.is_empty() {
            return Ok(Line::Nothing);
        }
        let ["INFO", "jepsen.util", "-", process, rest @ ..] = fields.as_slice() else {
            return Err(malformed("INFO jepsen.util - PROCESS", line));
        };
        let Ok(process) = process.parse() else { return Ok(Line::Nothing) };
        let kind = match rest {
            [":invoke", ":read", ..] => EventKind::Invoke(RegisterInput::Read),
            [":invoke", ":write", value] => EventKind::Invoke(RegisterInput::Write(number(value)?)),
            [":invoke", ":cas", expected, new] => EventKind::Invoke(RegisterInput::CompareAndSet {
                expected: number(expected)?,
                new: number(new)?,
            }),
            [":ok", ":read", "nil"] => EventKind::Answer(RegisterOutput::Value(None)),
            [":ok", ":read", value] => EventKind::Answer(RegisterOutput::Value(Some(number(value)?))),
            [":ok", ":write", _] => EventKind::Answer(RegisterOutput::Written),
            [":ok", ":cas", _, _] => EventKind::Answer(RegisterOutput::Swapped(true)),
            [":fail", ":cas", _, _] => EventKind::Answer(RegisterOutput::Swapped(false)),
            [":fail", ..] => EventKind::Fail,
            [":info", ..] => EventKind::GiveUp,
            _ => return Err(malformed("an event of a read, write or cas", line)),
        };
        Ok(Line::Event { process, kind })
    }
}

fn number(text: &str) -> Result<i64, Problem> {
    i64::from_str(text).map_err(|_| malformed("a number", text))
}
