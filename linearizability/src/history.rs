//! Histories: what clients asked, when, and what they were told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A point on the time line of a history. Points that share a time are told apart by `order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Virtual time in nanoseconds.
    pub time_ns: u64,
    /// The place among the points of the same time. The recorder's event count serves.
    pub order: u64,
}

impl Stamp {
    /// A point that is told apart by its time alone.
    pub fn at(time_ns: u64) -> Stamp {
        Stamp { time_ns, order: 0 }
    }
}

/// How an operation ended, as far as its client knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<O> {
    /// The client was told `output` at `at`.
    Answered {
        /// When the answer arrived.
        at: Stamp,
        /// What it said.
        output: O,
    },
    /// The client never learned: the operation may take effect at any time after its invocation, or never.
    Unknown,
}

impl<O> Outcome<O> {
    /// The answer, where there was one.
    pub fn output(&self) -> Option<&O> {
        match self {
            Outcome::Answered { at: _, output } => Some(output),
            Outcome::Unknown => None,
        }
    }

    /// When the answer arrived, where there was one.
    pub fn returned(&self) -> Option<Stamp> {
        match self {
            Outcome::Answered { at, output: _ } => Some(*at),
            Outcome::Unknown => None,
        }
    }
}

/// One operation of one client. Operations that definitely had no effect are not part of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation<I, O> {
    /// Who asked. A client waits for its answer, or gives an operation up as unknown, before it asks again.
    pub client: u32,
    /// When it asked.
    pub invoke: Stamp,
    /// What it asked.
    pub input: I,
    /// What it was told.
    pub outcome: Outcome<O>,
}

/// The operations of a run, well-formed, in the order of their invocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History<I, O> {
    operations: Vec<Operation<I, O>>,
}

/// Why something is not a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHistory {
    /// Two events share a stamp, so their order is unknown.
    #[error("two events are stamped {} ns, order {}", .at.time_ns, .at.order)]
    SharedStamp {
        /// The stamp.
        at: Stamp,
    },
    /// An operation returned before it was invoked.
    #[error("client {client}: the operation invoked at {} ns returned before, at {} ns", .invoke.time_ns, .returned.time_ns)]
    ReturnBeforeInvoke {
        /// Whose operation.
        client: u32,
        /// Its invocation.
        invoke: Stamp,
        /// Its return.
        returned: Stamp,
    },
    /// A client asked again while an operation of its own, answered later, was open.
    #[error("client {client} invoked an operation at {} ns while its operation of {} ns was open", .second.time_ns, .first.time_ns)]
    Overlap {
        /// Whose operations.
        client: u32,
        /// The invocation of the open operation.
        first: Stamp,
        /// The invocation that came too early.
        second: Stamp,
    },
    /// An answer without an open operation.
    #[error("client {client} was answered at {} ns, but has no open operation", .at.time_ns)]
    NothingOpen {
        /// Who was answered.
        client: u32,
        /// When.
        at: Stamp,
    },
}

impl<I, O> History<I, O> {
    /// Checks operations, in any order, and makes a history of them.
    ///
    /// # Errors
    /// What makes them no history, naming the client and the times.
    pub fn new(mut operations: Vec<Operation<I, O>>) -> Result<History<I, O>, MalformedHistory> {
        operations.sort_by_key(|operation| operation.invoke);
        check_stamps(&operations)?;
        check_clients(&operations)?;
        Ok(History { operations })
    }

    /// The operations, in the order of their invocations. Everywhere in this crate an operation is named by
    /// its index in this slice.
    pub fn operations(&self) -> &[Operation<I, O>] {
        &self.operations
    }

    /// The operations, given back.
    pub fn into_operations(self) -> Vec<Operation<I, O>> {
        self.operations
    }
}

fn check_stamps<I, O>(operations: &[Operation<I, O>]) -> Result<(), MalformedHistory> {
    let mut stamps = Vec::with_capacity(2 * operations.len());
    for operation in operations {
        stamps.push(operation.invoke);
        if let Some(returned) = operation.outcome.returned() {
            if returned < operation.invoke {
                let (client, invoke) = (operation.client, operation.invoke);
                return Err(MalformedHistory::ReturnBeforeInvoke { client, invoke, returned });
            }
            stamps.push(returned);
        }
    }
    stamps.sort_unstable();
    match stamps.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(MalformedHistory::SharedStamp { at: pair[0] }),
        None => Ok(()),
    }
}

fn check_clients<I, O>(operations: &[Operation<I, O>]) -> Result<(), MalformedHistory> {
    let mut answered: BTreeMap<u32, (Stamp, Stamp)> = BTreeMap::new();
    for operation in operations {
        let Operation { client, invoke, .. } = operation;
        if let Some((first, returned)) = answered.get(client)
            && returned > invoke
        {
            return Err(MalformedHistory::Overlap { client: *client, first: *first, second: *invoke });
        }
        if let Some(returned) = operation.outcome.returned() {
            answered.insert(*client, (*invoke, returned));
        }
    }
    Ok(())
}

/// Records a history as it happens: each client has at most one open operation.
#[derive(Clone, Debug)]
pub struct Recorder<I, O> {
    open: BTreeMap<u32, Operation<I, O>>,
    ended: Vec<Operation<I, O>>,
}

impl<I, O> Default for Recorder<I, O> {
    fn default() -> Recorder<I, O> {
        Recorder { open: BTreeMap::new(), ended: Vec::new() }
    }
}

impl<I, O> Recorder<I, O> {
    /// A client asks.
    ///
    /// # Errors
    /// The client's last operation is still open; end it with [`Recorder::give_up`] where it never will.
    pub fn invoke(&mut self, client: u32, at: Stamp, input: I) -> Result<(), MalformedHistory> {
        if let Some(open) = self.open.get(&client) {
            return Err(MalformedHistory::Overlap { client, first: open.invoke, second: at });
        }
        self.open.insert(client, Operation { client, invoke: at, input, outcome: Outcome::Unknown });
        Ok(())
    }

    /// A client is told.
    ///
    /// # Errors
    /// The client has no open operation.
    pub fn answer(&mut self, client: u32, at: Stamp, output: O) -> Result<(), MalformedHistory> {
        let mut operation = self.take(client, at)?;
        operation.outcome = Outcome::Answered { at, output };
        self.ended.push(operation);
        Ok(())
    }

    /// A client stops waiting: the outcome stays unknown.
    ///
    /// # Errors
    /// The client has no open operation.
    pub fn give_up(&mut self, client: u32, at: Stamp) -> Result<(), MalformedHistory> {
        let operation = self.take(client, at)?;
        self.ended.push(operation);
        Ok(())
    }

    /// A client learns that its operation definitely had and will have no effect; it leaves the history.
    ///
    /// # Errors
    /// The client has no open operation.
    pub fn fail(&mut self, client: u32, at: Stamp) -> Result<(), MalformedHistory> {
        self.take(client, at).map(drop)
    }

    /// Ends the recording; what is still open is unknown.
    ///
    /// # Errors
    /// As [`History::new`].
    pub fn finish(self) -> Result<History<I, O>, MalformedHistory> {
        let mut operations = self.ended;
        operations.extend(self.open.into_values());
        History::new(operations)
    }

    fn take(&mut self, client: u32, at: Stamp) -> Result<Operation<I, O>, MalformedHistory> {
        self.open.remove(&client).ok_or(MalformedHistory::NothingOpen { client, at })
    }
}
