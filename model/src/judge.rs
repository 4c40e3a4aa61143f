//! Histories of others, from the lines of a file to a verdict with evidence: what `cargo xtask check` prints.
//!
//! A history is held whole until it has [`HELD_MAX`] operations; a longer one is checked as a stream, by parts. That of
//! a store like etcd is held whole whatever its length: its operations carry revisions, and are checked by them.

mod evidence;
mod run;
mod words;

use linearizability::Budget;
use linearizability::formats::jepsen::Jepsen;
use linearizability::formats::json_lines::{
    AppendKvWords, Header, JsonLines, QueueWords, RegisterWords, SetWords,
};
use linearizability::formats::porcupine::Porcupine;
use linearizability::formats::{Format, ParseError, Problem};
use linearizability::history::History;
use linearizability::specs::append_kv::AppendKv;
use linearizability::specs::queue::Queue;
use linearizability::specs::register::Register;
use linearizability::specs::set::{Set, SetInput, SetOutput};

pub use evidence::{Refused, Shown, ShownOperation};
use run::{Object, Run};
pub use words::EtcdWords;

/// The most operations of a history that is held whole.
pub const HELD_MAX: usize = 100_000;

/// The objects that a history can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectName {
    /// A register with read and write.
    Register,
    /// The same with compare-and-set.
    CasRegister,
    /// A key-value store with get, put and append.
    Kv,
    /// A set of numbers.
    Set,
    /// A queue of numbers.
    Queue,
    /// A store like etcd.
    Etcd,
}

impl ObjectName {
    /// All of them.
    pub const ALL: [ObjectName; 6] = [
        ObjectName::Register,
        ObjectName::CasRegister,
        ObjectName::Kv,
        ObjectName::Set,
        ObjectName::Queue,
        ObjectName::Etcd,
    ];

    /// As it is written in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ObjectName::Register => "register",
            ObjectName::CasRegister => "cas-register",
            ObjectName::Kv => "kv",
            ObjectName::Set => "set",
            ObjectName::Queue => "queue",
            ObjectName::Etcd => "etcd",
        }
    }

    /// The object of a name.
    pub fn of(name: &str) -> Option<ObjectName> {
        ObjectName::ALL.into_iter().find(|object| object.name() == name)
    }
}

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the history must be of; `None`: what it says itself.
    pub object: Option<ObjectName>,
    /// Whether keys, or elements of a set, are checked one by one where that is right.
    pub partitioned: bool,
    /// The most steps of the search.
    pub budget: Budget,
    /// How many threads share the partitions.
    pub jobs: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Judgement {
    /// What the history was taken for.
    pub object: ObjectName,
    /// How many operations it has.
    pub operations: u64,
    /// Whether it was checked in parts.
    pub streamed: bool,
    /// The steps taken.
    pub steps: u64,
    /// The verdict.
    pub verdict: Judged,
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// A legal order exists.
    Linearizable,
    /// None exists.
    Violation,
    /// The budget ran out first.
    Undecided,
}

/// A check of one file. Feed it lines, with their line ends.
pub struct Judge {
    object: ObjectName,
    run: Box<dyn Judging>,
}

/// Whatever object a history is of.
trait Judging {
    fn skip_lines(&mut self, lines: u64);
    fn line(&mut self, text: &str) -> Result<(), ParseError>;
    fn finish(self: Box<Self>, object: ObjectName) -> Result<Box<dyn Check>, ParseError>;
}

/// A history that was read.
trait Check {
    fn check(self: Box<Self>) -> (Judgement, Option<Showing>);
}

/// Makes the evidence of a violation: a longer work than finding it.
pub type Showing = Box<dyn FnOnce() -> Shown>;

/// A history that was read, and can be checked.
pub struct Ready(Box<dyn Check>);

impl Ready {
    /// Checks it; with a violation comes what makes its evidence.
    pub fn check(self) -> (Judgement, Option<Showing>) {
        self.0.check()
    }
}

impl Judge {
    /// A check of the file that has this line first, of those that are not empty.
    ///
    /// # Errors
    /// The format is not recognised, or is not of the object that was asked for.
    pub fn of(first_line: &str, options: Options) -> Result<Judge, Problem> {
        let found = match Format::of(first_line) {
            Some(Format::Jepsen) => ObjectName::CasRegister,
            Some(Format::Porcupine) => ObjectName::Kv,
            Some(Format::JsonLines) => {
                let name = Header::of(first_line.trim_end())?.history;
                ObjectName::of(&name).ok_or_else(|| {
                    let known = ObjectName::ALL.map(ObjectName::name).join(", ");
                    Problem::Json(format!("unknown object {name:?}; known are {known}"))
                })?
            }
            None => {
                let shown: String = first_line.trim_end().chars().take(80).collect();
                return Err(Problem::Malformed {
                    expected: "a Jepsen log, a key-value log of Porcupine, or the header of docs/history-format.md",
                    text: shown,
                });
            }
        };
        let object = options.object.unwrap_or(found);
        let alike = |name| matches!(name, ObjectName::Register | ObjectName::CasRegister);
        if object != found && !(alike(object) && alike(found)) {
            let (asked, found) = (object.name(), found.name());
            return Err(Problem::Json(format!("the history is of a {found}, not of a {asked}")));
        }
        let json = Format::of(first_line) == Some(Format::JsonLines);
        let run: Box<dyn Judging> = match object {
            ObjectName::Register | ObjectName::CasRegister if json => {
                Box::new(Run::new(JsonLines::new(RegisterWords), RegisterObject, options))
            }
            ObjectName::Register | ObjectName::CasRegister => {
                Box::new(Run::new(Jepsen, RegisterObject, options))
            }
            ObjectName::Kv if json => Box::new(Run::new(JsonLines::new(AppendKvWords), KvObject, options)),
            ObjectName::Kv => Box::new(Run::new(Porcupine, KvObject, options)),
            ObjectName::Set => Box::new(Run::new(JsonLines::new(SetWords), SetObject, options)),
            ObjectName::Queue => Box::new(Run::new(JsonLines::new(QueueWords), QueueObject, options)),
            ObjectName::Etcd => Box::new(run::EtcdRun::new(options)),
        };
        Ok(Judge { object, run })
    }

    /// Counts lines that are left out, before the first one.
    pub fn skip_lines(&mut self, lines: u64) {
        self.run.skip_lines(lines);
    }

    /// The next line, the first one included. What can be settled of a long history is.
    ///
    /// # Errors
    /// The line cannot be read.
    pub fn line(&mut self, text: &str) -> Result<(), ParseError> {
        self.run.line(text)
    }

    /// No line follows.
    ///
    /// # Errors
    /// The file was cut off.
    pub fn finish(self) -> Result<Ready, ParseError> {
        self.run.finish(self.object).map(Ready)
    }
}

struct RegisterObject;

impl Object for RegisterObject {
    type Spec = Register;

    fn of_stream(&self, _options: Options) -> Register {
        Register
    }
}

struct KvObject;

impl Object for KvObject {
    type Spec = AppendKv;

    fn of_stream(&self, options: Options) -> AppendKv {
        AppendKv::new(options.partitioned)
    }

    fn of_history(
        &self,
        history: &History<
            linearizability::specs::append_kv::AppendKvInput,
            linearizability::specs::append_kv::AppendKvOutput,
        >,
        options: Options,
    ) -> AppendKv {
        AppendKv::of(history, options.partitioned)
    }
}

struct SetObject;

impl Object for SetObject {
    type Spec = Set;

    /// Somebody may read the whole set later.
    fn of_stream(&self, _options: Options) -> Set {
        Set { partitioned: false }
    }

    fn of_history(&self, history: &History<SetInput, SetOutput>, options: Options) -> Set {
        let whole = history.operations().iter().any(|operation| operation.input == SetInput::Read);
        Set { partitioned: options.partitioned && !whole }
    }
}

struct QueueObject;

impl Object for QueueObject {
    type Spec = Queue;

    fn of_stream(&self, _options: Options) -> Queue {
        Queue
    }
}
