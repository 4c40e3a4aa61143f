//! Counts of what the network did.

/// What the network did so far, over all links.
///
/// Once nothing is under way or held, `messages_sent + messages_duplicated` is the sum of
/// `messages_delivered`, `messages_lost`, `messages_partitioned` and `messages_reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Messages handed to the network.
    pub messages_sent: u64,
    /// Messages that reached an inbox, copies included.
    pub messages_delivered: u64,
    /// Messages lost by their link's loss ratio.
    pub messages_lost: u64,
    /// Copies of messages made by their link's duplication ratio.
    pub messages_duplicated: u64,
    /// Messages sent on their way late, so that later ones can overtake them.
    pub messages_reordered: u64,
    /// Messages damaged.
    pub messages_corrupted: u64,
    /// Messages dropped by a partition, or by the break of their connection that it caused.
    pub messages_partitioned: u64,
    /// Messages dropped because one of their ends was gone.
    pub messages_reset: u64,
    /// Bytes of messages and chunks handed to the network.
    pub bytes_sent: u64,
    /// Bytes of messages and chunks that reached an inbox.
    pub bytes_delivered: u64,
    /// Streams opened.
    pub streams_opened: u64,
    /// Streams received to their end.
    pub streams_finished: u64,
    /// Streams broken.
    pub streams_broken: u64,
    /// Chunks of streams handed to the network.
    pub chunks_sent: u64,
    /// Chunks of streams that reached an inbox.
    pub chunks_delivered: u64,
    /// Chunks of streams damaged.
    pub chunks_corrupted: u64,
    /// Deliveries that a clogged link held back.
    pub held: u64,
}
