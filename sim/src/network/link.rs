//! A directed link: what its options make of the bytes sent over it.

use super::delivery::Delivery;
use crate::entropy::{Entropy, Ratio};

/// What a link promises about messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LinkKind {
    /// May lose, duplicate, reorder and corrupt, each as its option says.
    #[default]
    Datagram,
    /// Behaves like TCP: in order, without loss or damage, until a partition of this direction or the death
    /// of an end breaks it. A break drops what is under way; what is sent later travels on a new connection.
    Connection,
}

/// The faults of a directed link. The default is a perfect link: no delay, no limit, no fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkOptions {
    /// What the link promises about messages.
    pub kind: LinkKind,
    /// Latency of everything sent, in nanoseconds. Zero: none.
    pub latency_ns_base: u64,
    /// Mean of a further, varying latency, in nanoseconds, with a heavy tail. What follows waits behind a
    /// late message unless `reordering` lets it overtake. Zero: the latency does not vary.
    pub latency_ns_mean: u64,
    /// Bound of the whole latency, in nanoseconds. Zero where the latency does not vary.
    pub latency_ns_max: u64,
    /// Bytes per second that the link can put out; what is sent faster queues, messages and streams alike.
    /// Zero: no limit.
    pub bandwidth_bytes_per_second: u64,
    /// Share of messages lost. Datagram links only. Zero: none.
    pub loss: Ratio,
    /// Share of messages of which a second copy arrives later. Datagram links only. Zero: none.
    pub duplication: Ratio,
    /// Share of messages delayed so that later ones can overtake them. Datagram links only. Zero: none.
    pub reordering: Ratio,
    /// Bound of the delay of a reordered message, in nanoseconds. Zero where nothing is reordered.
    pub reordering_ns_max: u64,
    /// Share of messages and stream chunks of which one byte is damaged. Datagram links only. Zero: none.
    pub corruption: Ratio,
    /// Share of stream chunks that never arrive because the stream breaks there. Zero: none.
    pub stream_break: Ratio,
    /// How long after the break of a stream its ends are told, in nanoseconds. Zero: at once.
    pub break_notice_ns: u64,
}

/// Options that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkOptionsError {
    /// The bound of the latency leaves no room for its parts.
    #[error("latency_ns_max is {max}, below latency_ns_base + latency_ns_mean = {least}")]
    LatencyBound {
        /// `latency_ns_max`.
        max: u64,
        /// The least it could be.
        least: u64,
    },
    /// Messages are to be reordered by a delay of nothing.
    #[error("reordering is not zero, but reordering_ns_max is")]
    ReorderingBound,
}

impl LinkOptions {
    /// A healthy local network: a fifth of a millisecond, a mild tail, a gigabit per second, no fault.
    pub fn calm() -> Self {
        Self {
            latency_ns_base: 200_000,
            latency_ns_mean: 50_000,
            latency_ns_max: 10_000_000,
            bandwidth_bytes_per_second: 125_000_000,
            break_notice_ns: 5_000_000,
            ..Self::default()
        }
    }

    /// The calm network as a client sees it, over a connection.
    pub fn client() -> Self {
        Self { kind: LinkKind::Connection, ..Self::calm() }
    }

    /// A datagram link with each class of faults on or off by the toss of a coin, and of any strength when
    /// on (swarm testing: Groce et al., ISSTA 2012).
    pub fn swarm(entropy: &mut Entropy) -> Self {
        let mut options = Self::calm();
        let mut toss = |low, high| {
            let (on, strength) = (entropy.below(2) == 1, entropy.between(low, high));
            on.then_some(strength)
        };
        if let Some(mean_ns) = toss(100_000, 5_000_000) {
            options.latency_ns_mean = mean_ns;
            options.latency_ns_max = options.latency_ns_base + mean_ns * 40;
        }
        if let Some(bytes_per_second) = toss(1_000_000, 50_000_000) {
            options.bandwidth_bytes_per_second = bytes_per_second;
        }
        let mut share = |per_million_max| {
            let drawn = toss(1, per_million_max).unwrap_or(0);
            Ratio::per_million(u32::try_from(drawn).expect("a share is below a million"))
        };
        options.loss = share(50_000);
        options.duplication = share(50_000);
        options.reordering = share(100_000);
        options.corruption = share(10_000);
        options.stream_break = share(20_000);
        options.reordering_ns_max = if options.reordering.is_zero() { 0 } else { 20_000_000 };
        options
    }

    /// Refuses options that contradict each other.
    pub fn check(&self) -> Result<(), LinkOptionsError> {
        let least = self.latency_ns_base.saturating_add(self.latency_ns_mean);
        if self.latency_ns_mean > 0 && self.latency_ns_max < least {
            return Err(LinkOptionsError::LatencyBound { max: self.latency_ns_max, least });
        }
        if !self.reordering.is_zero() && self.reordering_ns_max == 0 {
            return Err(LinkOptionsError::ReorderingBound);
        }
        Ok(())
    }

    /// How long the link needs to put out `bytes`, rounded up.
    pub(super) fn transmission_ns(&self, bytes: usize) -> u64 {
        if self.bandwidth_bytes_per_second == 0 {
            return 0;
        }
        let nanoseconds =
            (bytes as u128 * 1_000_000_000).div_ceil(u128::from(self.bandwidth_bytes_per_second));
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }
}

/// A directed link and its queue.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The options of this link alone; without them the network's default holds.
    pub(super) own: Option<LinkOptions>,
    /// How often its connection was broken.
    pub(super) connection: u64,
    /// True while nothing comes out of it.
    pub(super) clogged: bool,
    /// What would have come out since.
    pub(super) held: Vec<Delivery>,
    entropy: Entropy,
    /// When it will have put out everything handed to it.
    busy_until_ns: u64,
    /// When the last message sent arrives; the next does not arrive before, so that a perfect link keeps the
    /// order.
    last_arrival_ns: u64,
}

/// What chance makes of a message: its copies, none where it is lost.
#[derive(Debug)]
pub(super) struct MessageFate {
    pub(super) copies: Vec<CopyFate>,
}

/// What chance makes of one copy of a message.
#[derive(Debug)]
pub(super) struct CopyFate {
    pub(super) damage: Option<Damage>,
    latency_ns: u64,
    /// The delay that lets later messages overtake it.
    overtaken_ns: u64,
}

/// What chance makes of a chunk of a stream.
#[derive(Debug)]
pub(super) struct ChunkFate {
    pub(super) breaks: bool,
    pub(super) latency_ns: u64,
    pub(super) damage: Option<Damage>,
}

/// One byte changed: at least one of its bits is flipped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    position: usize,
    flipped: u8,
}

impl Link {
    pub(super) fn new(entropy: Entropy) -> Self {
        Self {
            own: None,
            connection: 0,
            clogged: false,
            held: Vec::new(),
            entropy,
            busy_until_ns: 0,
            last_arrival_ns: 0,
        }
    }

    /// Draws what happens to a message of `length` bytes.
    pub(super) fn message_fate(&mut self, options: &LinkOptions, length: usize) -> MessageFate {
        match options.kind {
            LinkKind::Connection => {
                let latency_ns = self.latency_ns(options);
                MessageFate { copies: vec![CopyFate { damage: None, latency_ns, overtaken_ns: 0 }] }
            }
            LinkKind::Datagram => self.datagram_fate(options, length),
        }
    }

    fn datagram_fate(&mut self, options: &LinkOptions, length: usize) -> MessageFate {
        if self.entropy.chance(options.loss) {
            return MessageFate { copies: Vec::new() };
        }
        let latency_ns = self.latency_ns(options);
        let overtaken_ns = if self.entropy.chance(options.reordering) {
            self.entropy.between(1, options.reordering_ns_max)
        } else {
            0
        };
        let damage = self.damage(options, length);
        let mut copies = vec![CopyFate { damage, latency_ns, overtaken_ns }];
        if self.entropy.chance(options.duplication) {
            let latency_ns = self.latency_ns(options);
            let damage = self.damage(options, length);
            copies.push(CopyFate { damage, latency_ns, overtaken_ns: 0 });
        }
        MessageFate { copies }
    }

    /// Draws what happens to a chunk of `length` bytes.
    pub(super) fn chunk_fate(&mut self, options: &LinkOptions, length: usize) -> ChunkFate {
        let breaks = self.entropy.chance(options.stream_break);
        let latency_ns = self.latency_ns(options);
        let damage = match options.kind {
            LinkKind::Connection => None,
            LinkKind::Datagram => self.damage(options, length),
        };
        ChunkFate { breaks, latency_ns, damage }
    }

    /// Draws a latency.
    pub(super) fn latency_ns(&mut self, options: &LinkOptions) -> u64 {
        if options.latency_ns_mean == 0 {
            return options.latency_ns_base;
        }
        let tail_ns_max = options.latency_ns_max - options.latency_ns_base;
        options.latency_ns_base + self.entropy.heavy_tail_ns(options.latency_ns_mean, tail_ns_max)
    }

    fn damage(&mut self, options: &LinkOptions, length: usize) -> Option<Damage> {
        if length == 0 || !self.entropy.chance(options.corruption) {
            return None;
        }
        let position = usize::try_from(self.entropy.below(length as u64)).expect("below a length");
        let flipped = u8::try_from(self.entropy.between(1, 255)).expect("at most 255");
        Some(Damage { position, flipped })
    }

    /// Queues `bytes` behind what was sent before. Gives the time at which the last of them is put out.
    pub(super) fn transmit(&mut self, now_ns: u64, options: &LinkOptions, bytes: usize) -> u64 {
        let start_ns = self.busy_until_ns.max(now_ns);
        self.busy_until_ns = start_ns.saturating_add(options.transmission_ns(bytes));
        self.busy_until_ns
    }

    /// When the copies of a message arrive that is put out at `put_out_ns`.
    pub(super) fn arrivals(&mut self, put_out_ns: u64, fate: &MessageFate) -> Vec<u64> {
        let mut arrivals = Vec::with_capacity(fate.copies.len());
        for copy in &fate.copies {
            let at_ns = match arrivals.first() {
                None => {
                    let in_order_ns = put_out_ns.saturating_add(copy.latency_ns).max(self.last_arrival_ns);
                    self.last_arrival_ns = in_order_ns;
                    in_order_ns.saturating_add(copy.overtaken_ns)
                }
                Some(&first_ns) => u64::saturating_add(first_ns, copy.latency_ns),
            };
            arrivals.push(at_ns);
        }
        arrivals
    }

    /// How long after `now_ns` it will have put out what was handed to it.
    pub(super) fn backlog_ns(&self, now_ns: u64) -> u64 {
        self.busy_until_ns.saturating_sub(now_ns)
    }

    /// Gives back time that the rest of a broken stream would have taken. What waits behind it keeps its
    /// time of arrival; what is sent from now on gains.
    pub(super) fn give_back(&mut self, now_ns: u64, unused_ns: u64) {
        self.busy_until_ns = self.busy_until_ns.saturating_sub(unused_ns).max(now_ns);
    }

    /// Breaks the connection: nothing sent before arrives, nothing sent later waits for it.
    pub(super) fn break_connection(&mut self, now_ns: u64) {
        self.connection += 1;
        self.busy_until_ns = self.busy_until_ns.min(now_ns);
        self.last_arrival_ns = 0;
    }
}

impl CopyFate {
    pub(super) fn is_reordered(&self) -> bool {
        self.overtaken_ns > 0
    }
}

impl Damage {
    /// Damages `bytes`, which have the length that the damage was drawn for.
    pub(super) fn apply(self, bytes: &mut [u8]) {
        bytes[self.position] ^= self.flipped;
    }
}
