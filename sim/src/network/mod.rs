//! The network: what happens to bytes between endpoints.
//!
//! It decides and nothing more. It owns no clock, thread or timer: whoever does passes the time in, keeps the
//! [`Deliveries`] that come out in an [`InFlight`], and hands each to [`Network::deliver`] when it is due,
//! where partitions, deaths and clogged links are judged once more. Times are virtual nanoseconds of the one
//! clock of the simulated machine, never those of a node's own clock.
//!
//! Chance has one stream per directed link, named after it, and draws only for faults whose ratio is not
//! zero. A message draws its fate before partitions and deaths are looked at, so what is sent over a link
//! alone decides what it draws: an edit of a plan elsewhere leaves the link's faults where they were.

mod counters;
mod delivery;
mod endpoint;
mod link;
mod partition;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use counters::Counters;
use delivery::Crossing;
pub use delivery::{Deliveries, Delivery, DropReason, InFlight, Outcome};
pub use endpoint::{Address, Endpoint, Inbound, Inbox};
use link::{Link, MessageFate};
pub use link::{LinkKind, LinkOptions, LinkOptionsError};
use partition::Partitions;
pub use partition::{Pair, Partition, PartitionId};
pub use stream::StreamId;
use stream::{Stream, StreamState};

use crate::entropy::Entropy;

/// The network of a simulated machine.
#[derive(Clone, Debug)]
pub struct Network {
    seed: u64,
    default_link: LinkOptions,
    links: BTreeMap<Pair, Link>,
    endpoints: BTreeMap<Address, Registration>,
    partitions: Partitions,
    streams: BTreeMap<StreamId, Stream>,
    counters: Counters,
    sequence: u64,
    now_ns: u64,
}

/// Who is at an address.
#[derive(Clone, Debug)]
struct Registration {
    incarnation: u64,
    inbox: Inbox,
}

/// The ends of a delivery and the way between them.
#[derive(Clone, Copy, Debug)]
struct Route {
    from: Endpoint,
    to: Endpoint,
    crossing: Crossing,
}

impl Network {
    /// A network of perfect links between nobody; its faults will be those of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            default_link: LinkOptions::default(),
            links: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            partitions: Partitions::default(),
            streams: BTreeMap::new(),
            counters: Counters::default(),
            sequence: 0,
            now_ns: 0,
        }
    }

    /// Sets the options of every link that has none of its own. They must pass [`LinkOptions::check`].
    pub fn set_default_link(&mut self, options: LinkOptions) {
        options.check().expect("link options are checked before they are set");
        self.default_link = options;
    }

    /// Sets the options of one directed link, for what is sent from now on. They must pass
    /// [`LinkOptions::check`].
    pub fn set_link(&mut self, from: Address, to: Address, options: LinkOptions) {
        options.check().expect("link options are checked before they are set");
        self.link_mut(from, to).0.own = Some(options);
    }

    /// The options of a directed link.
    pub fn link(&self, from: Address, to: Address) -> LinkOptions {
        self.links.get(&(from, to)).and_then(|link| link.own).unwrap_or(self.default_link)
    }

    /// Puts an endpoint at its address. An earlier incarnation there is unregistered first; gives the notices
    /// of the streams that this breaks.
    pub fn register(&mut self, now_ns: u64, endpoint: Endpoint) -> Deliveries {
        let notices = match self.registered(endpoint.address) {
            Some(earlier) => {
                assert!(earlier.incarnation < endpoint.incarnation, "{endpoint:?} follows {earlier:?}");
                self.unregister(now_ns, earlier)
            }
            None => Deliveries::new(),
        };
        let registration = Registration { incarnation: endpoint.incarnation, inbox: Inbox::default() };
        self.endpoints.insert(endpoint.address, registration);
        notices
    }

    /// Takes an endpoint away: its inbox is gone, what is under way from and to it will be dropped, its
    /// streams break; gives the notices to their other ends. Nothing happens where it is gone already.
    pub fn unregister(&mut self, now_ns: u64, endpoint: Endpoint) -> Deliveries {
        self.advance(now_ns);
        if !self.is_registered(endpoint) {
            return Deliveries::new();
        }
        self.endpoints.remove(&endpoint.address);
        for (&(from, to), link) in &mut self.links {
            if from == endpoint.address || to == endpoint.address {
                link.break_connection(now_ns);
            }
        }
        let mut notices =
            self.break_streams(now_ns, |stream| stream.from == endpoint || stream.to == endpoint);
        notices.retain(|notice| notice.to != endpoint);
        self.forget_end(endpoint);
        notices
    }

    /// True while `endpoint` is the incarnation at its address.
    pub fn is_registered(&self, endpoint: Endpoint) -> bool {
        self.registered(endpoint.address) == Some(endpoint)
    }

    /// Sends a message to whoever is at `to`. An endpoint that is gone sends nothing.
    pub fn send(&mut self, now_ns: u64, from: Endpoint, to: Address, bytes: Vec<u8>) -> Deliveries {
        self.advance(now_ns);
        if !self.is_registered(from) {
            return Deliveries::new();
        }
        self.counters.messages_sent += 1;
        self.counters.bytes_sent += bytes.len() as u64;
        let (link, options) = self.link_mut(from.address, to);
        let fate = link.message_fate(&options, bytes.len());
        let connection = link.connection;
        let Some(to) = self.registered(to) else {
            self.counters.messages_reset += 1;
            return Deliveries::new();
        };
        if self.is_blocked(from.address, to.address) {
            self.counters.messages_partitioned += 1;
            return Deliveries::new();
        }
        let crossing = match options.kind {
            LinkKind::Datagram => Crossing::Datagram,
            LinkKind::Connection => Crossing::Connection { connection },
        };
        self.put_under_way(now_ns, Route { from, to, crossing }, &fate, bytes)
    }

    fn put_under_way(&mut self, now_ns: u64, route: Route, fate: &MessageFate, bytes: Vec<u8>) -> Deliveries {
        let (link, options) = self.link_mut(route.from.address, route.to.address);
        let put_out_ns = link.transmit(now_ns, &options, bytes.len());
        let arrivals = link.arrivals(put_out_ns, fate);
        match fate.copies.len() {
            0 => self.counters.messages_lost += 1,
            copies => self.counters.messages_duplicated += copies as u64 - 1,
        }
        let mut contents = vec![bytes; fate.copies.len()].into_iter();
        let mut deliveries = Deliveries::with_capacity(fate.copies.len());
        for (copy, at_ns) in fate.copies.iter().zip(arrivals) {
            let mut bytes = contents.next().expect("as many contents as copies");
            if let Some(damage) = copy.damage {
                damage.apply(&mut bytes);
            }
            self.counters.messages_corrupted += u64::from(copy.damage.is_some());
            self.counters.messages_reordered += u64::from(copy.is_reordered());
            let message = Inbound::Message { from: route.from.address, bytes };
            deliveries.push(self.delivery(at_ns, route, message));
        }
        deliveries
    }

    /// How long after `now_ns` a link will have put out everything handed to it, in nanoseconds. A writer who
    /// waits that long before the next chunk leaves room for messages between.
    pub fn backlog_ns(&self, now_ns: u64, from: Address, to: Address) -> u64 {
        self.links.get(&(from, to)).map_or(0, |link| link.backlog_ns(now_ns))
    }

    /// Puts a partition in force; gives the notices of the streams that this breaks.
    pub fn partition(&mut self, now_ns: u64, partition: &Partition) -> (PartitionId, Deliveries) {
        self.advance(now_ns);
        let (id, newly_blocked) = self.partitions.add(partition);
        for &(from, to) in &newly_blocked {
            if self.link(from, to).kind == LinkKind::Connection {
                self.link_mut(from, to).0.break_connection(now_ns);
            }
        }
        let notices = self.break_streams(now_ns, |stream| {
            let (from, to) = (stream.from.address, stream.to.address);
            newly_blocked.contains(&(from, to)) || newly_blocked.contains(&(to, from))
        });
        (id, notices)
    }

    /// Ends one partition. Pairs that another one blocks too stay blocked.
    pub fn heal(&mut self, partition: PartitionId) {
        self.partitions.remove(partition);
    }

    /// Ends every partition. Clogged links stay clogged.
    pub fn heal_all(&mut self) {
        self.partitions.remove_all();
    }

    /// How many directed pairs of addresses the partitions in force block.
    pub fn blocked_links(&self) -> usize {
        self.partitions.blocked_count()
    }

    /// True while a partition blocks what `from` sends to `to`.
    pub fn is_blocked(&self, from: Address, to: Address) -> bool {
        self.partitions.is_blocked(from, to)
    }

    /// Clogs a directed link: nothing comes out of it until it is unclogged, nothing is lost by it.
    pub fn clog(&mut self, from: Address, to: Address) {
        self.link_mut(from, to).0.clogged = true;
    }

    /// Unclogs a directed link; gives what it held, all of it overdue, in its order.
    pub fn unclog(&mut self, from: Address, to: Address) -> Deliveries {
        let link = self.link_mut(from, to).0;
        link.clogged = false;
        std::mem::take(&mut link.held)
    }

    /// Unclogs every link; gives what they held.
    pub fn unclog_all(&mut self) -> Deliveries {
        let clogged: Vec<Pair> =
            self.links.iter().filter(|(_, link)| link.clogged).map(|(&pair, _)| pair).collect();
        clogged.into_iter().flat_map(|(from, to)| self.unclog(from, to)).collect()
    }

    /// True where [`Network::deliver`] would deliver it now.
    pub fn is_deliverable(&self, delivery: &Delivery) -> bool {
        self.obstacle(delivery).is_none() && !self.is_clogged(delivery)
    }

    /// Hands over a delivery that is due. Deliveries must come in their order (see [`Delivery`]).
    pub fn deliver(&mut self, delivery: Delivery) -> Outcome {
        if let Some(reason) = self.obstacle(&delivery) {
            self.count_drop(&delivery, reason);
            return Outcome::Dropped(reason);
        }
        if self.is_clogged(&delivery) {
            self.counters.held += 1;
            self.link_mut(delivery.from.address, delivery.to.address).0.held.push(delivery);
            return Outcome::Held;
        }
        let Delivery { to, item, .. } = delivery;
        self.note_arrival(to, &item);
        let registration = self.endpoints.get_mut(&to.address).expect("a delivery's receiver is registered");
        registration.inbox.push(item);
        Outcome::Delivered { to }
    }

    /// Takes what reached an endpoint first. An endpoint that is gone receives nothing.
    pub fn receive(&mut self, endpoint: Endpoint) -> Option<Inbound> {
        let registration = self.endpoints.get_mut(&endpoint.address)?;
        if registration.incarnation != endpoint.incarnation {
            return None;
        }
        registration.inbox.pop()
    }

    /// How much an endpoint has to receive.
    pub fn inbox_len(&self, endpoint: Endpoint) -> usize {
        if !self.is_registered(endpoint) {
            return 0;
        }
        self.endpoints.get(&endpoint.address).map_or(0, |registration| registration.inbox.len())
    }

    /// What the network did so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Why a delivery that is due cannot be delivered any more.
    fn obstacle(&self, delivery: &Delivery) -> Option<DropReason> {
        let crosses = !matches!(delivery.crossing, Crossing::Notice { .. });
        if !self.is_registered(delivery.to) || (crosses && !self.is_registered(delivery.from)) {
            return Some(DropReason::Reset);
        }
        let (from, to) = (delivery.from.address, delivery.to.address);
        match delivery.crossing {
            Crossing::Datagram => self.is_blocked(from, to).then_some(DropReason::Partition),
            Crossing::Connection { connection } => {
                let breaks = self.links.get(&(from, to)).map_or(0, |link| link.connection);
                (breaks != connection).then_some(DropReason::ConnectionBroken)
            }
            Crossing::Stream { stream } => {
                let alive = self.streams.get(&stream).is_some_and(|record| {
                    record.state != StreamState::Broken && record.unaware.contains(&delivery.to)
                });
                assert!(!(alive && self.is_cut(from, to)), "{stream:?} outlived a partition");
                (!alive).then_some(DropReason::StreamOver)
            }
            Crossing::Notice { stream } => {
                let record = self.streams.get(&stream);
                let unaware = record.is_some_and(|record| record.unaware.contains(&delivery.to));
                (!unaware).then_some(DropReason::StreamOver)
            }
        }
    }

    fn is_clogged(&self, delivery: &Delivery) -> bool {
        let pair = (delivery.from.address, delivery.to.address);
        !matches!(delivery.crossing, Crossing::Notice { .. })
            && self.links.get(&pair).is_some_and(|link| link.clogged)
    }

    fn note_arrival(&mut self, to: Endpoint, item: &Inbound) {
        match item {
            Inbound::Message { bytes, .. } => {
                self.counters.messages_delivered += 1;
                self.counters.bytes_delivered += bytes.len() as u64;
            }
            Inbound::StreamChunk { bytes, .. } => {
                self.counters.chunks_delivered += 1;
                self.counters.bytes_delivered += bytes.len() as u64;
            }
            Inbound::StreamOpened { .. } => {}
            Inbound::StreamFinished { stream, .. } => self.note_finished(*stream),
            Inbound::StreamBroken { stream, .. } => self.note_told(*stream, to),
        }
    }

    fn count_drop(&mut self, delivery: &Delivery, reason: DropReason) {
        let Inbound::Message { .. } = delivery.item else { return };
        match reason {
            DropReason::Reset => self.counters.messages_reset += 1,
            DropReason::Partition | DropReason::ConnectionBroken => self.counters.messages_partitioned += 1,
            DropReason::StreamOver => unreachable!("a message belongs to no stream"),
        }
    }

    /// True where a partition blocks one direction or the other.
    fn is_cut(&self, one: Address, other: Address) -> bool {
        self.is_blocked(one, other) || self.is_blocked(other, one)
    }

    fn registered(&self, address: Address) -> Option<Endpoint> {
        let registration = self.endpoints.get(&address)?;
        Some(Endpoint { address, incarnation: registration.incarnation })
    }

    /// A link and the options in force on it.
    fn link_mut(&mut self, from: Address, to: Address) -> (&mut Link, LinkOptions) {
        let seed = self.seed;
        let link = self
            .links
            .entry((from, to))
            .or_insert_with(|| Link::new(Entropy::stream(seed, &format!("link {from}→{to}"))));
        let options = link.own.unwrap_or(self.default_link);
        (link, options)
    }

    fn delivery(&mut self, at_ns: u64, route: Route, item: Inbound) -> Delivery {
        let Route { from, to, crossing } = route;
        let sequence = self.sequence;
        self.sequence += 1;
        Delivery { at_ns, sequence, from, to, crossing, item }
    }

    fn notice(&mut self, at_ns: u64, to: Endpoint, peer: Endpoint, stream: StreamId) -> Delivery {
        let route = Route { from: peer, to, crossing: Crossing::Notice { stream } };
        self.delivery(at_ns, route, Inbound::StreamBroken { peer: peer.address, stream })
    }

    /// Time goes on; it never goes back.
    fn advance(&mut self, now_ns: u64) {
        assert!(now_ns >= self.now_ns, "time went back from {} to {now_ns} ns", self.now_ns);
        self.now_ns = now_ns;
    }
}
