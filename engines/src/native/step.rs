//! What a workload does to an engine, and what an engine holds: the words that all engines share.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything a store holds: (space, key) to value.
pub type Contents = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// One call of a workload. Each engine carries it out with calls of its own, see the adapters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Creates a space (sled: tree, fjall: keyspace, redb: table) if it does not exist.
    CreateSpace(String),
    /// Drops a space with everything in it; one that does not exist is no error.
    DropSpace(String),
    /// One atomic batch. Its mutations take effect in their order; a space that does not exist yet is created on
    /// the way.
    Write {
        /// The mutations, in order.
        batch: Vec<Mutation>,
        /// The way of writing: an index into [`super::Promises::writes`].
        mode: usize,
    },
    /// A durability call: an index into [`super::Promises::persists`].
    Persist(usize),
    /// Writes what is in memory out as tables, and waits until that is done.
    Flush,
    /// Rewrites the tables, or the file, without what has been deleted.
    Compact,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mutation {
    /// The key gets this value.
    Put {
        /// The space of the key.
        space: String,
        /// The key; never empty.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The key and its value go; a missing key is no error.
    Delete {
        /// The space of the key.
        space: String,
        /// The key; never empty.
        key: Vec<u8>,
    },
    /// All keys from `start` on, up to but without `end`, go.
    DeleteRange {
        /// The space of the keys.
        space: String,
        /// The first key that goes.
        start: Vec<u8>,
        /// The first key that stays; an end at or before the start deletes nothing.
        end: Vec<u8>,
    },
}

impl Mutation {
    /// The space that is changed.
    pub fn space(&self) -> &str {
        match self {
            Mutation::Put { space, .. }
            | Mutation::Delete { space, .. }
            | Mutation::DeleteRange { space, .. } => space,
        }
    }

    /// Does to a map what it does to a store.
    pub fn apply(&self, contents: &mut Contents) {
        match self {
            Mutation::Put { space, key, value } => {
                contents.insert((space.clone(), key.clone()), value.clone());
            }
            Mutation::Delete { space, key } => {
                contents.remove(&(space.clone(), key.clone()));
            }
            Mutation::DeleteRange { space, start, end } => {
                contents.retain(|(other, key), _| other != space || key < start || key >= end);
            }
        }
    }
}

impl Step {
    /// Does to a map what it does to a store: durability calls, flushes and compactions change nothing.
    pub fn apply(&self, contents: &mut Contents) {
        match self {
            Step::Write { batch, mode: _ } => {
                for mutation in batch {
                    mutation.apply(contents);
                }
            }
            Step::DropSpace(space) => contents.retain(|(other, _), _| other != space),
            Step::CreateSpace(_) | Step::Persist(_) | Step::Flush | Step::Compact => {}
        }
    }
}

/// What an engine answered instead of doing what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of answer it was.
    pub kind: FailureKind,
    /// The engine's words; for a panic its message and, where known, ` at FILE:LINE`.
    pub message: String,
}

/// The kinds of failure, told apart by who has to act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureKind {
    /// An error, of the operating system or of the engine, that does not say that files are damaged.
    Error,
    /// The engine says that its files are damaged, or not where they should be.
    Corruption,
    /// The engine panicked.
    Panic,
    /// Another handle has the store open.
    Locked,
}

impl FailureKind {
    /// The kind as one word.
    pub const fn name(self) -> &'static str {
        match self {
            FailureKind::Error => "error",
            FailureKind::Corruption => "corruption",
            FailureKind::Panic => "panic",
            FailureKind::Locked => "locked",
        }
    }
}

impl Failure {
    /// A failure of this kind, in these words.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into() }
    }

    /// An index that the engine's table of promises does not have.
    pub(crate) fn out_of_table(what: &str, index: usize) -> Failure {
        Failure::new(FailureKind::Error, format!("misuse: there is no {what} number {index}"))
    }

    /// A step that the engine has no call for; see [`super::Abilities`].
    pub(crate) fn unable(what: &str) -> Failure {
        Failure::new(FailureKind::Error, format!("misuse: this engine has no {what}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.name(), self.message)
    }
}

impl std::error::Error for Failure {}
