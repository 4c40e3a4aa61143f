//! Our own format: `docs/history-format.md`.
//!
//! ```text
//! {"history": "cas-register", "version": 1}
//! {"process": 0, "type": "invoke", "f": "cas", "value": [1, 4]}
//! {"process": 0, "type": "ok"}
//! {"end": 2}
//! ```

use serde::Deserialize;
use serde_json::Value;

use super::{Dialect, EventKind, Line, Problem};
use crate::specs::append_kv::{AppendKvAction, AppendKvInput, AppendKvOutput};
use crate::specs::queue::{QueueInput, QueueOutput};
use crate::specs::register::{RegisterInput, RegisterOutput};
use crate::specs::set::{SetInput, SetOutput};

/// The version of the format that is read.
pub const VERSION: u64 = 1;

/// How one object's calls and answers are written in this format.
pub trait Vocabulary {
    /// What is asked.
    type Input;
    /// What is answered.
    type Output;

    /// A call.
    ///
    /// # Errors
    /// What should have been there.
    fn input(&self, fields: Fields) -> Result<Self::Input, String>;

    /// An answer to a call.
    ///
    /// # Errors
    /// What should have been there.
    fn output(&self, input: &Self::Input, fields: Fields) -> Result<Self::Output, String>;

    /// What it means that a call failed, where that is an answer.
    fn failure(&self, _input: &Self::Input) -> Option<Self::Output> {
        None
    }
}

/// What an event's line may hold beside its process and type.
#[derive(Debug, Default)]
pub struct Fields {
    /// The name of the call.
    pub f: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// The argument, or the answer.
    pub value: Option<Value>,
}

impl Fields {
    fn number(&self) -> Result<i64, String> {
        let number = self.value.as_ref().and_then(Value::as_i64);
        number.ok_or_else(|| "a field `value` with a number is missing".to_owned())
    }

    fn number_or_null(&self) -> Result<Option<i64>, String> {
        match &self.value {
            Some(Value::Null) | None => Ok(None),
            Some(_) => self.number().map(Some),
        }
    }

    fn numbers(&self) -> Result<Vec<i64>, String> {
        let numbers = self.value.as_ref().and_then(Value::as_array);
        let numbers = numbers.and_then(|numbers| numbers.iter().map(Value::as_i64).collect());
        numbers.ok_or_else(|| "a field `value` with a list of numbers is missing".to_owned())
    }

    fn text(self) -> Result<String, String> {
        match self.value {
            Some(Value::String(text)) => Ok(text),
            _no_text => Err("a field `value` with a text is missing".to_owned()),
        }
    }

    fn name(&self, names: &str) -> Result<&str, String> {
        self.f.as_deref().ok_or_else(|| format!("a field `f` is missing: one of {names}"))
    }
}

/// The dialect of one object.
pub struct JsonLines<V> {
    vocabulary: V,
    header_read: bool,
    events: u64,
}

impl<V> JsonLines<V> {
    /// A dialect before the header.
    pub fn new(vocabulary: V) -> JsonLines<V> {
        JsonLines { vocabulary, header_read: false, events: 0 }
    }
}

/// The first line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The name of the object.
    pub history: String,
    /// The version of the format.
    pub version: u64,
}

impl Header {
    /// Reads the first line.
    ///
    /// # Errors
    /// It is no header, or of a version that is not read.
    pub fn of(line: &str) -> Result<Header, Problem> {
        let header: Header = json(line)?;
        if header.version == VERSION {
            Ok(header)
        } else {
            Err(Problem::Json(format!("version {} is not read, only {VERSION}", header.version)))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    process: Option<u32>,
    r#type: Option<Type>,
    f: Option<String>,
    key: Option<String>,
    value: Option<Value>,
    /// Read, so that it may be there; the order of the lines is what counts.
    #[serde(rename = "time")]
    _time: Option<u64>,
    end: Option<u64>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Type {
    Invoke,
    Ok,
    Fail,
    Info,
}

impl<V: Vocabulary> Dialect for JsonLines<V> {
    type Input = V::Input;
    type Output = V::Output;

    fn line<'a>(
        &mut self,
        line: &str,
        open: impl Fn(u32) -> Option<&'a V::Input>,
    ) -> Result<Line<V::Input, V::Output>, Problem>
    where
        V::Input: 'a,
    {
        if line.trim().is_empty() {
            return Ok(Line::Nothing);
        }
        if !self.header_read {
            self.header_read = true;
            return Header::of(line).map(|_| Line::Nothing);
        }
        let EventLine { process, r#type, f, key, value, end, .. } = json(line)?;
        let fields = Fields { f, key, value };
        let (process, r#type) = match (process, r#type, end) {
            (Some(process), Some(r#type), None) => (process, r#type),
            (None, None, Some(events)) if events == self.events => return Ok(Line::End),
            (None, None, Some(events)) => {
                let found = self.events;
                return Err(Problem::Json(format!(
                    "the end speaks of {events} events, but there are {found}: some lines are missing, or too many"
                )));
            }
            _ => return Err(Problem::Json("an event has `process` and `type`, and no `end`".to_owned())),
        };
        self.events += 1;
        let vocabulary = &self.vocabulary;
        let asked = open(process);
        let kind = match (r#type, asked) {
            (Type::Invoke, _) => EventKind::Invoke(vocabulary.input(fields).map_err(Problem::Json)?),
            (Type::Ok, Some(asked)) => {
                EventKind::Answer(vocabulary.output(asked, fields).map_err(Problem::Json)?)
            }
            (Type::Fail, Some(asked)) => vocabulary.failure(asked).map_or(EventKind::Fail, EventKind::Answer),
            (Type::Ok | Type::Fail, None) => EventKind::Fail,
            (Type::Info, _) => EventKind::GiveUp,
        };
        Ok(Line::Event { process, kind })
    }

    fn needs_end(&self) -> bool {
        true
    }
}

fn json<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, Problem> {
    serde_json::from_str(line).map_err(|error| Problem::Json(format!("column {}: {error}", error.column())))
}

fn unknown<T>(name: &str, names: &str) -> Result<T, String> {
    Err(format!("unknown call {name:?}; the calls are {names}"))
}

/// A register with read, write and compare-and-set.
#[derive(Clone, Copy, Debug)]
pub struct RegisterWords;

impl Vocabulary for RegisterWords {
    type Input = RegisterInput;
    type Output = RegisterOutput;

    fn input(&self, fields: Fields) -> Result<RegisterInput, String> {
        let names = "read, write, cas";
        match fields.name(names)? {
            "read" => Ok(RegisterInput::Read),
            "write" => Ok(RegisterInput::Write(fields.number()?)),
            "cas" => match fields.numbers()?.as_slice() {
                [expected, new] => Ok(RegisterInput::CompareAndSet { expected: *expected, new: *new }),
                _ => Err("a cas has a `value` of two numbers: the expected and the new".to_owned()),
            },
            other => unknown(other, names),
        }
    }

    fn output(&self, input: &RegisterInput, fields: Fields) -> Result<RegisterOutput, String> {
        match input {
            RegisterInput::Read => Ok(RegisterOutput::Value(fields.number_or_null()?)),
            RegisterInput::Write(_) => Ok(RegisterOutput::Written),
            RegisterInput::CompareAndSet { .. } => Ok(RegisterOutput::Swapped(true)),
        }
    }

    fn failure(&self, input: &RegisterInput) -> Option<RegisterOutput> {
        match input {
            RegisterInput::CompareAndSet { .. } => Some(RegisterOutput::Swapped(false)),
            RegisterInput::Read | RegisterInput::Write(_) => None,
        }
    }
}

/// A key-value store with get, put and append.
#[derive(Clone, Copy, Debug)]
pub struct AppendKvWords;

impl Vocabulary for AppendKvWords {
    type Input = AppendKvInput;
    type Output = AppendKvOutput;

    fn input(&self, mut fields: Fields) -> Result<AppendKvInput, String> {
        let names = "get, put, append";
        let key = fields.key.take().ok_or("a field `key` with a text is missing")?;
        let action = match fields.name(names)? {
            "get" => AppendKvAction::Get,
            "put" => AppendKvAction::Put(fields.text()?),
            "append" => AppendKvAction::Append(fields.text()?),
            other => return unknown(other, names),
        };
        Ok(AppendKvInput { key, action })
    }

    fn output(&self, input: &AppendKvInput, fields: Fields) -> Result<AppendKvOutput, String> {
        match input.action {
            AppendKvAction::Get => fields.text().map(AppendKvOutput::Value),
            AppendKvAction::Put(_) | AppendKvAction::Append(_) => Ok(AppendKvOutput::Written),
        }
    }
}

/// A set of numbers.
#[derive(Clone, Copy, Debug)]
pub struct SetWords;

impl Vocabulary for SetWords {
    type Input = SetInput;
    type Output = SetOutput;

    fn input(&self, fields: Fields) -> Result<SetInput, String> {
        let names = "add, remove, contains, read";
        match fields.name(names)? {
            "add" => Ok(SetInput::Add(fields.number()?)),
            "remove" => Ok(SetInput::Remove(fields.number()?)),
            "contains" => Ok(SetInput::Contains(fields.number()?)),
            "read" => Ok(SetInput::Read),
            other => unknown(other, names),
        }
    }

    fn output(&self, input: &SetInput, fields: Fields) -> Result<SetOutput, String> {
        match input {
            SetInput::Add(_) | SetInput::Remove(_) => Ok(SetOutput::Done),
            SetInput::Contains(_) => {
                let contained = fields.value.as_ref().and_then(Value::as_bool);
                contained.map(SetOutput::Contained).ok_or_else(|| "`value` must be true or false".to_owned())
            }
            SetInput::Read => {
                let mut elements = fields.numbers()?;
                elements.sort_unstable();
                Ok(SetOutput::Elements(elements))
            }
        }
    }
}

/// A queue of numbers.
#[derive(Clone, Copy, Debug)]
pub struct QueueWords;

impl Vocabulary for QueueWords {
    type Input = QueueInput;
    type Output = QueueOutput;

    fn input(&self, fields: Fields) -> Result<QueueInput, String> {
        let names = "enqueue, dequeue";
        match fields.name(names)? {
            "enqueue" => Ok(QueueInput::Enqueue(fields.number()?)),
            "dequeue" => Ok(QueueInput::Dequeue),
            other => unknown(other, names),
        }
    }

    fn output(&self, input: &QueueInput, fields: Fields) -> Result<QueueOutput, String> {
        match input {
            QueueInput::Enqueue(_) => Ok(QueueOutput::Enqueued),
            QueueInput::Dequeue => Ok(QueueOutput::Dequeued(fields.number_or_null()?)),
        }
    }
}
