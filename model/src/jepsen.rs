//! Reads histories of other systems: Jepsen's text log of a register, and the line format in which Porcupine
//! keeps its key-value histories.
//!
//! ```text
//! INFO  jepsen.util - 3    :invoke    :cas    [1 4]
//! {:process 9, :type :invoke, :f :append, :key "0", :value "x 9 0 y"}
//! ```
//! `:info`, or no end at all, is an unknown outcome. `:fail` says that the operation did not happen and takes
//! it out of the history, but for a compare-and-set: its failure is an answer, that the value was not as
//! expected. Lines that are not of a numbered process, such as those of the nemesis, are passed over.

use std::str::FromStr;

use crate::history::{History, MalformedHistory, Recorder, Stamp};
use crate::specs::append_kv::{AppendKvAction, AppendKvInput, AppendKvOutput};
use crate::specs::register::{RegisterInput, RegisterOutput};

/// A line that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line, from 1; 0 where no single line is at fault.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The line does not have the form of an event.
    #[error("{expected} expected in {text:?}")]
    Malformed {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        text: String,
    },
    /// The event contradicts the ones before.
    #[error(transparent)]
    History(#[from] MalformedHistory),
}

/// Reads a Jepsen log of a register with read, write and compare-and-set.
///
/// # Errors
/// The first line that cannot be read, or that contradicts the ones before.
pub fn register(text: &str) -> Result<History<RegisterInput, RegisterOutput>, ParseError> {
    record(text, register_event)
}

/// Reads a history of a key-value store with get, put and append.
///
/// # Errors
/// The first line that cannot be read, or that contradicts the ones before.
pub fn append_kv(text: &str) -> Result<History<AppendKvInput, AppendKvOutput>, ParseError> {
    record(text, append_kv_event)
}

/// One line.
struct Event<I, O> {
    process: u32,
    kind: Kind<I, O>,
}

enum Kind<I, O> {
    Invoke(I),
    Ok(O),
    Fail,
    Info,
}

type ReadLine<I, O> = fn(&str) -> Result<Option<Event<I, O>>, Problem>;

fn record<I, O>(text: &str, read: ReadLine<I, O>) -> Result<History<I, O>, ParseError> {
    let mut recorder = Recorder::default();
    for (place, content) in text.lines().enumerate() {
        let line = place + 1;
        let wrong = |problem| ParseError { line, problem };
        let Some(Event { process, kind }) = read(content).map_err(wrong)? else { continue };
        let at = Stamp::at(line as u64);
        let recorded = match kind {
            Kind::Invoke(input) => recorder.invoke(process, at, input),
            Kind::Ok(output) => recorder.answer(process, at, output),
            Kind::Fail => recorder.fail(process, at),
            Kind::Info => recorder.give_up(process, at),
        };
        recorded.map_err(|error| wrong(error.into()))?;
    }
    recorder.finish().map_err(|error| ParseError { line: 0, problem: error.into() })
}

fn register_event(line: &str) -> Result<Option<Event<RegisterInput, RegisterOutput>>, Problem> {
    let fields: Vec<&str> = line.split([' ', '\t', '[', ']']).filter(|field| !field.is_empty()).collect();
    if fields.is_empty() {
        return Ok(None);
    }
    let ["INFO", "jepsen.util", "-", process, rest @ ..] = fields.as_slice() else {
        return Err(malformed("INFO jepsen.util - PROCESS", line));
    };
    let Ok(process) = process.parse() else { return Ok(None) };
    let kind = match rest {
        [":invoke", ":read", ..] => Kind::Invoke(RegisterInput::Read),
        [":invoke", ":write", value] => Kind::Invoke(RegisterInput::Write(number(value)?)),
        [":invoke", ":cas", expected, new] => {
            Kind::Invoke(RegisterInput::CompareAndSet { expected: number(expected)?, new: number(new)? })
        }
        [":ok", ":read", "nil"] => Kind::Ok(RegisterOutput::Value(None)),
        [":ok", ":read", value] => Kind::Ok(RegisterOutput::Value(Some(number(value)?))),
        [":ok", ":write", _] => Kind::Ok(RegisterOutput::Written),
        [":ok", ":cas", _, _] => Kind::Ok(RegisterOutput::Swapped(true)),
        [":fail", ":cas", _, _] => Kind::Ok(RegisterOutput::Swapped(false)),
        [":fail", ..] => Kind::Fail,
        [":info", ..] => Kind::Info,
        _ => return Err(malformed("an event of a read, write or cas", line)),
    };
    Ok(Some(Event { process, kind }))
}

fn append_kv_event(line: &str) -> Result<Option<Event<AppendKvInput, AppendKvOutput>>, Problem> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let process = field(line, ":process").ok_or_else(|| malformed(":process", line))?;
    let Ok(process) = process.parse() else { return Ok(None) };
    let kind = field(line, ":type").ok_or_else(|| malformed(":type", line))?;
    let function = field(line, ":f").ok_or_else(|| malformed(":f", line))?;
    let value = || text(line, ":value");
    let kind = match (kind, function) {
        (":invoke", function) => {
            let action = match function {
                ":get" => AppendKvAction::Get,
                ":put" => AppendKvAction::Put(value()?),
                ":append" => AppendKvAction::Append(value()?),
                other => return Err(malformed(":get, :put or :append", other)),
            };
            Kind::Invoke(AppendKvInput { key: text(line, ":key")?, action })
        }
        (":ok", ":get") => Kind::Ok(AppendKvOutput::Value(value()?)),
        (":ok", _) => Kind::Ok(AppendKvOutput::Written),
        (":fail", _) => Kind::Fail,
        (":info", _) => Kind::Info,
        (other, _) => return Err(malformed(":invoke, :ok, :fail or :info", other)),
    };
    Ok(Some(Event { process, kind }))
}

/// What follows a keyword that is not a string, up to the next comma or brace.
fn field<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{keyword} "))?;
    Some(rest.split([',', '}']).next()?.trim())
}

/// The string that follows a keyword.
fn text(line: &str, keyword: &'static str) -> Result<String, Problem> {
    let quoted = line.split_once(&format!("{keyword} \"")).ok_or_else(|| malformed(keyword, line))?.1;
    let (mut text, mut characters) = (String::new(), quoted.chars());
    loop {
        match characters.next() {
            None => return Err(malformed("a closing quote", line)),
            Some('"') => return Ok(text),
            Some('\\') => text.push(escaped(characters.next(), line)?),
            Some(character) => text.push(character),
        }
    }
}

fn escaped(character: Option<char>, line: &str) -> Result<char, Problem> {
    match character {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some(character @ ('"' | '\\')) => Ok(character),
        Some(_) | None => Err(malformed("one of \\n \\t \\\" \\\\", line)),
    }
}

fn number(text: &str) -> Result<i64, Problem> {
    i64::from_str(text).map_err(|_| malformed("a number", text))
}

fn malformed(expected: &'static str, text: &str) -> Problem {
    Problem::Malformed { expected, text: text.to_owned() }
}
