//! Watches: what they ask for, and what they are sent.

use serde::{Deserialize, Serialize};

use super::KeyValue;

/// What a client asks about its watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchCall {
    /// Begins a watch.
    Create(WatchRequest),
    /// Ends a watch.
    Cancel {
        /// Which one.
        watch_id: i64,
    },
    /// Asks for a progress notification on all watches of this client. Each gets one as soon as nothing that it
    /// waits for is left to be sent.
    Progress,
    /// Says that the client has taken messages with events or progress, so that as many more may come.
    Ack {
        /// Of which watch.
        watch_id: i64,
        /// How many.
        messages: u32,
    },
}

/// What to watch, from when on, and what to be told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRequest {
    /// Chosen by the client, unique on its connection.
    pub watch_id: i64,
    /// The key, or the first key of a range.
    pub key: Vec<u8>,
    /// As in [`super::RangeRequest::range_end`].
    pub range_end: Option<Vec<u8>>,
    /// The first revision whose events to send; zero: those from now on.
    pub start_revision: i64,
    /// Send what the key held before each event.
    pub prev_kv: bool,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletions.
    pub no_delete: bool,
    /// Send a progress notification from time to time where there are no events.
    pub progress_notify: bool,
    /// Events of one revision may be sent in several messages.
    pub fragment: bool,
}

/// What the server sends on a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchMessage {
    /// Which watch.
    pub watch_id: i64,
    /// The revision of the store when the message was made.
    pub revision: i64,
    /// What it says.
    pub kind: WatchKind,
}

/// What a message of a watch says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchKind {
    /// The watch has begun.
    Created,
    /// What has happened, in the order in which it has.
    Events {
        /// The events.
        events: Vec<Event>,
        /// Whether further events of the same revision follow in the next message.
        fragment: bool,
    },
    /// All events up to the revision of the message have been sent.
    Progress,
    /// The watch has ended.
    Canceled {
        /// The compacted revision, where the watch wanted events from below it; else zero.
        compact_revision: i64,
        /// Why, in words; empty where the compacted revision says it.
        reason: String,
    },
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key as it is from then on; of a deletion the key and the revision that deleted it, all else zero.
    pub kv: KeyValue,
    /// The key as it was in the revision before, where that is asked for, known and not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// What can happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
}
