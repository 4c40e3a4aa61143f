//! Something under way to an endpoint, and the queue of everything under way.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::endpoint::{Endpoint, Inbound};
use super::stream::StreamId;

/// What one call put under way. Often one delivery, two where a message was duplicated.
pub type Deliveries = Vec<Delivery>;

/// An item under way to an endpoint.
///
/// Its order is the order of delivery: by time, then by the order of sending. Deliveries of equal times are
/// frequent, and handing them over in any other order breaks the promise that connections and streams keep
/// theirs.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub(super) at_ns: u64,
    pub(super) sequence: u64,
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) crossing: Crossing,
    pub(super) item: Inbound,
}

/// By what way a delivery travels, which decides what can still stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crossing {
    /// Dropped where the link is blocked when it would arrive.
    Datagram,
    /// Dropped where the connection has been broken since; `connection` counts the link's breaks.
    Connection { connection: u64 },
    /// Dropped where its stream has been broken since.
    Stream { stream: StreamId },
    /// Crosses no link: an endpoint's own system tells it of a broken stream.
    Notice { stream: StreamId },
}

/// What became of a delivery when its time came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stands in the inbox of this endpoint, which should be woken.
    Delivered {
        /// The endpoint that has something to receive.
        to: Endpoint,
    },
    /// Its link is clogged; the network keeps it until the link is unclogged.
    Held,
    /// It is gone.
    Dropped(DropReason),
}

/// Why a delivery was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// One of its ends is no longer the incarnation it was when this was sent: a connection reset.
    Reset,
    /// A partition blocks its way.
    Partition,
    /// Its connection broke after it was sent.
    ConnectionBroken,
    /// Its stream is over.
    StreamOver,
}

/// Everything under way, in the order of delivery.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    queue: BinaryHeap<Reverse<Delivery>>,
}

impl Delivery {
    /// When it is to be handed to [`super::Network::deliver`], in virtual nanoseconds. What a clogged link
    /// held keeps its time, which is then past, and so its place before what was due after it.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// Its number in the order of sending, unique in its network.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The endpoint it comes from. For the notice of a broken stream: the other end of that stream.
    pub fn from(&self) -> Endpoint {
        self.from
    }

    /// The endpoint it goes to.
    pub fn to(&self) -> Endpoint {
        self.to
    }

    /// What it carries.
    pub fn item(&self) -> &Inbound {
        &self.item
    }

    fn rank(&self) -> (u64, u64) {
        (self.at_ns, self.sequence)
    }
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Delivery {}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl InFlight {
    /// Nothing under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `deliveries` under way.
    pub fn add(&mut self, deliveries: Deliveries) {
        self.queue.extend(deliveries.into_iter().map(Reverse));
    }

    /// When the next delivery is due, in virtual nanoseconds.
    pub fn next_at_ns(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(delivery)| delivery.at_ns)
    }

    /// Takes the next delivery that is due at `now_ns`.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Delivery> {
        self.next_at_ns().filter(|&at_ns| at_ns <= now_ns)?;
        self.queue.pop().map(|Reverse(delivery)| delivery)
    }

    /// How many deliveries are under way.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True where nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
