//! A network with its clock: time goes on in steps, and everything due is delivered in its order.

use crate::network::{Address, Deliveries, DropReason, Endpoint, InFlight, Inbound, Network, Outcome};

/// Something that reached the end of its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Received { at_ns: u64, by: Endpoint, item: Inbound },
    Held { at_ns: u64 },
    Dropped { at_ns: u64, reason: DropReason },
}

pub(super) struct World {
    pub(super) network: Network,
    pub(super) now_ns: u64,
    pub(super) seen: Vec<Seen>,
    in_flight: InFlight,
}

pub(super) fn endpoint(address: Address, incarnation: u64) -> Endpoint {
    Endpoint { address, incarnation }
}

impl World {
    /// A world with the first incarnations of `addresses`.
    pub(super) fn new(seed: u64, addresses: impl IntoIterator<Item = Address>) -> Self {
        let mut world =
            Self { network: Network::new(seed), now_ns: 0, seen: Vec::new(), in_flight: InFlight::new() };
        for address in addresses {
            assert_eq!(world.network.register(0, endpoint(address, 1)), []);
        }
        world
    }

    /// Puts what `call` gives under way.
    pub(super) fn call(&mut self, call: impl FnOnce(&mut Network, u64) -> Deliveries) {
        let deliveries = call(&mut self.network, self.now_ns);
        self.in_flight.add(deliveries);
    }

    pub(super) fn add(&mut self, deliveries: Deliveries) {
        self.in_flight.add(deliveries);
    }

    /// Lets time go on to `until_ns`.
    pub(super) fn run_until(&mut self, until_ns: u64) {
        while let Some(at_ns) = self.in_flight.next_at_ns().filter(|&at_ns| at_ns <= until_ns) {
            self.now_ns = self.now_ns.max(at_ns);
            while let Some(delivery) = self.in_flight.pop_due(self.now_ns) {
                let deliverable = self.network.is_deliverable(&delivery);
                let outcome = self.network.deliver(delivery);
                assert_eq!(deliverable, matches!(outcome, Outcome::Delivered { .. }));
                self.look(outcome);
            }
        }
        self.now_ns = self.now_ns.max(until_ns);
    }

    fn look(&mut self, outcome: Outcome) {
        let at_ns = self.now_ns;
        self.seen.push(match outcome {
            Outcome::Delivered { to } => {
                assert_eq!(self.network.inbox_len(to), 1, "{to:?} takes what it gets at once");
                let item = self.network.receive(to).unwrap();
                Seen::Received { at_ns, by: to, item }
            }
            Outcome::Held => Seen::Held { at_ns },
            Outcome::Dropped(reason) => Seen::Dropped { at_ns, reason },
        });
    }

    /// Heals and unclogs everything and lets everything arrive.
    pub(super) fn settle(&mut self) {
        self.network.heal_all();
        let held = self.network.unclog_all();
        self.in_flight.add(held);
        self.run_until(u64::MAX / 2);
        assert!(self.in_flight.is_empty(), "{} deliveries never arrive", self.in_flight.len());
    }

    /// Everything received, in order.
    pub(super) fn received(&self) -> impl Iterator<Item = (u64, Endpoint, &Inbound)> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::Received { at_ns, by, item } => Some((*at_ns, *by, item)),
            Seen::Held { .. } | Seen::Dropped { .. } => None,
        })
    }

    /// Every message received, in order: receiver, sender, bytes.
    pub(super) fn messages(&self) -> impl Iterator<Item = (Endpoint, Address, &[u8])> {
        self.received().filter_map(|(_, by, item)| match item {
            Inbound::Message { from, bytes } => Some((by, *from, bytes.as_slice())),
            _ => None,
        })
    }
}
