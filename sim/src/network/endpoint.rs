//! An endpoint: one incarnation of a process at an address, and the queue of what has reached it.

use std::collections::VecDeque;

use super::stream::StreamId;

/// Where a process can be reached. An address outlives the incarnations of the process behind it.
pub type Address = u64;

/// One incarnation of the process at an address.
///
/// Every call that sends names its endpoint, not its address alone: a crashed incarnation may go on for a
/// while, and nothing it does may reach anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// Which incarnation of the process; a later one has a larger number.
    pub incarnation: u64,
}

/// What an endpoint receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A message.
    Message {
        /// Its sender.
        from: Address,
        /// Its bytes, damaged where the link corrupted them.
        bytes: Vec<u8>,
    },
    /// A peer has opened a stream to this endpoint.
    StreamOpened {
        /// Who opened it.
        from: Address,
        /// The stream.
        stream: StreamId,
    },
    /// The next bytes of a stream.
    StreamChunk {
        /// Who writes the stream.
        from: Address,
        /// The stream.
        stream: StreamId,
        /// The bytes, damaged where the link corrupted them.
        bytes: Vec<u8>,
    },
    /// The stream is complete: every chunk written has been received.
    StreamFinished {
        /// Who wrote the stream.
        from: Address,
        /// The stream.
        stream: StreamId,
    },
    /// The stream broke before it was complete. Either end is told once, and hears no more of the stream.
    StreamBroken {
        /// The other end.
        peer: Address,
        /// The stream.
        stream: StreamId,
    },
}

/// The queue of what has reached an endpoint and was not yet taken. It dies with its incarnation.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    queue: VecDeque<Inbound>,
}

impl Inbox {
    /// Puts `item` behind everything that arrived before it.
    pub fn push(&mut self, item: Inbound) {
        self.queue.push_back(item);
    }

    /// Takes what arrived first.
    pub fn pop(&mut self) -> Option<Inbound> {
        self.queue.pop_front()
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
