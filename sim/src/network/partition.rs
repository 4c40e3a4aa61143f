//! Partitions: which directed pairs of addresses cannot reach each other, by the names their shapes have.

use std::collections::{BTreeMap, BTreeSet};

use super::endpoint::Address;

/// A directed pair of addresses: from, to.
pub type Pair = (Address, Address);

/// A partition in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u64);

/// The shape of a partition. Addresses it does not name are not touched by it.
///
/// The shapes beyond the plain split are those that have found faults in real systems: one-way and partial
/// partitions (Alfatafta et al., "Toward a Generic Fault Tolerance Technique for Partial Network
/// Partitioning", OSDI 2020), bridges and rings (Jepsen's nemeses).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Partition {
    /// Each group reaches its own members only.
    Split {
        /// The groups. An address in two of them still reaches both.
        groups: Vec<BTreeSet<Address>>,
    },
    /// What `from` sends to `to` is dropped; the other direction works.
    OneWay {
        /// The senders that are not heard.
        from: BTreeSet<Address>,
        /// Those that do not hear them.
        to: BTreeSet<Address>,
    },
    /// Two sides that reach each other through nobody, and one address that reaches both.
    Bridge {
        /// One side.
        left: BTreeSet<Address>,
        /// The address that reaches both; it may stand in either side too.
        bridge: Address,
        /// The other side.
        right: BTreeSet<Address>,
    },
    /// Each reaches its two neighbours in a ring only. With three addresses or fewer that blocks nothing.
    Ring {
        /// The ring, its last next to its first.
        order: Vec<Address>,
    },
    /// One address is cut off, in both directions.
    Isolate {
        /// The address cut off.
        address: Address,
        /// Those it is cut off from.
        others: BTreeSet<Address>,
    },
    /// Exactly these directed pairs.
    Pairs(BTreeSet<Pair>),
}

impl Partition {
    /// The directed pairs that this partition blocks. An address always reaches itself.
    pub fn pairs(&self) -> BTreeSet<Pair> {
        let mut pairs = match self {
            Self::Split { groups } => split(groups),
            Self::OneWay { from, to } => product(from, to).collect(),
            Self::Bridge { left, bridge, right } => {
                let mut pairs = both_ways(left, right);
                pairs.retain(|(from, to)| from != bridge && to != bridge);
                pairs
            }
            Self::Ring { order } => ring(order),
            Self::Isolate { address, others } => both_ways(&BTreeSet::from([*address]), others),
            Self::Pairs(pairs) => pairs.clone(),
        };
        pairs.retain(|(from, to)| from != to);
        pairs
    }
}

/// The partitions in force. They may overlap: a pair is blocked as long as one of them blocks it.
#[derive(Clone, Debug, Default)]
pub(super) struct Partitions {
    next: u64,
    in_force: BTreeMap<PartitionId, BTreeSet<Pair>>,
    /// By how many partitions each pair is blocked; never zero.
    blocked: BTreeMap<Pair, u64>,
}

impl Partitions {
    /// Puts `partition` in force. Also gives the pairs that nothing blocked before.
    pub(super) fn add(&mut self, partition: &Partition) -> (PartitionId, BTreeSet<Pair>) {
        let id = PartitionId(self.next);
        self.next += 1;
        let pairs = partition.pairs();
        let mut newly_blocked = BTreeSet::new();
        for &pair in &pairs {
            let count = self.blocked.entry(pair).or_default();
            *count += 1;
            if *count == 1 {
                newly_blocked.insert(pair);
            }
        }
        self.in_force.insert(id, pairs);
        (id, newly_blocked)
    }

    /// Ends a partition. One that was ended before stays ended.
    pub(super) fn remove(&mut self, id: PartitionId) {
        for pair in self.in_force.remove(&id).unwrap_or_default() {
            let count = self.blocked.get_mut(&pair).expect("a pair of a partition in force is counted");
            *count -= 1;
            if *count == 0 {
                self.blocked.remove(&pair);
            }
        }
    }

    pub(super) fn remove_all(&mut self) {
        self.in_force.clear();
        self.blocked.clear();
    }

    /// How many directed pairs are blocked.
    pub(super) fn blocked_count(&self) -> usize {
        self.blocked.len()
    }

    pub(super) fn is_blocked(&self, from: Address, to: Address) -> bool {
        self.blocked.contains_key(&(from, to))
    }
}

fn product<'a>(from: &'a BTreeSet<Address>, to: &'a BTreeSet<Address>) -> impl Iterator<Item = Pair> + 'a {
    from.iter().flat_map(|&from| to.iter().map(move |&to| (from, to)))
}

fn both_ways(left: &BTreeSet<Address>, right: &BTreeSet<Address>) -> BTreeSet<Pair> {
    product(left, right).chain(product(right, left)).collect()
}

/// Every pair of members of the groups that share none.
fn split(groups: &[BTreeSet<Address>]) -> BTreeSet<Pair> {
    let all: BTreeSet<Address> = groups.iter().flatten().copied().collect();
    let together = |from, to| groups.iter().any(|group| group.contains(&from) && group.contains(&to));
    product(&all, &all).filter(|&(from, to)| !together(from, to)).collect()
}

/// Every pair of members that are not next to each other.
fn ring(order: &[Address]) -> BTreeSet<Pair> {
    let all: BTreeSet<Address> = order.iter().copied().collect();
    let successors = order.iter().copied().cycle().skip(1);
    let edges: BTreeSet<Pair> =
        order.iter().copied().zip(successors).flat_map(|(a, b)| [(a, b), (b, a)]).collect();
    product(&all, &all).filter(|pair| !edges.contains(pair)).collect()
}
