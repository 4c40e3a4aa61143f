//! The lines in which Porcupine keeps its key-value histories.
//!
//! ```text
//! {:process 9, :type :invoke, :f :append, :key "0", :value "x 9 0 y"}
//! ```
//! `:info`, or no end at all, is an unknown outcome; `:fail` takes the operation out of the history. Lines that are not
//! of a numbered process are passed over.

use super::{Dialect, EventKind, Line, Problem, malformed};
use crate::specs::append_kv::{AppendKvAction, AppendKvInput, AppendKvOutput};

/// The dialect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Porcupine;

impl Dialect for Porcupine {
    type Input = AppendKvInput;
    type Output = AppendKvOutput;

    fn line<'a>(
        &mut self,
        line: &str,
        _open: impl Fn(u32) -> Option<&'a AppendKvInput>,
    ) -> Result<Line<AppendKvInput, AppendKvOutput>, Problem> {
        if line.trim().is_empty() {
            return Ok(Line::Nothing);
        }
        let process = field(line, ":process ").ok_or_else(|| malformed(":process", line))?;
        let Ok(process) = process.parse() else { return Ok(Line::Nothing) };
        let kind = field(line, ":type ").ok_or_else(|| malformed(":type", line))?;
        let function = field(line, ":f ").ok_or_else(|| malformed(":f", line))?;
        let value = || text(line, ":value");
        let kind = match (kind, function) {
            (":invoke", function) => {
                let action = match function {
                    ":get" => AppendKvAction::Get,
                    ":put" => AppendKvAction::Put(value()?),
                    ":append" => AppendKvAction::Append(value()?),
                    other => return Err(malformed(":get, :put or :append", other)),
                };
                EventKind::Invoke(AppendKvInput { key: text(line, ":key")?, action })
            }
            (":ok", ":get") => EventKind::Answer(AppendKvOutput::Value(value()?)),
            (":ok", _) => EventKind::Answer(AppendKvOutput::Written),
            (":fail", _) => EventKind::Fail,
            (":info", _) => EventKind::GiveUp,
            (other, _) => return Err(malformed(":invoke, :ok, :fail or :info", other)),
        };
        if !line.trim_end().ends_with('}') {
            return Err(malformed("a closing brace", line));
        }
        Ok(Line::Event { process, kind })
    }
}

/// What follows a keyword that is not a string, up to the next comma or brace.
fn field<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(keyword)?;
    Some(rest.split([',', '}']).next()?.trim())
}

/// The string that follows a keyword.
fn text(line: &str, keyword: &'static str) -> Result<String, Problem> {
    let rest = line.split_once(keyword).ok_or_else(|| malformed(keyword, line))?.1;
    let quoted = rest.strip_prefix(" \"").ok_or_else(|| malformed(keyword, line))?;
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
