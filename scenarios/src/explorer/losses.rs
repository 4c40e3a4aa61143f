//! Which losses are tried at one boundary: the menu of "Crash points".

use super::state::{Lost, Part};
use serde::{Deserialize, Serialize};
use sim::disk::{Change, InodeNumber, PendingOperation, SECTOR_BYTES, Sectors};
use sim::entropy::{Entropy, Ratio};
use std::collections::{BTreeMap, BTreeSet};

/// How much is tried where not everything can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sampling {
    /// Every subset wherever at most [`EXHAUSTIVE_PENDING_MAX`] operations are pending, and beyond that the menu with
    /// [`EXHAUSTIVE_SAMPLES`] random subsets; each write torn at each of its first [`SECTORS_TORN_MAX`] sectors.
    Exhaustive,
    /// The menu, with so many random subsets at each boundary.
    Sample(usize),
}

/// Pending operations up to which an exhaustive exploration tries every subset.
pub const EXHAUSTIVE_PENDING_MAX: usize = 10;

/// Random subsets at each boundary of an exhaustive exploration that has more pending.
pub const EXHAUSTIVE_SAMPLES: usize = 256;

/// Pending operations up to which a sampled exploration tries every subset.
pub const SAMPLED_PENDING_MAX: usize = 4;

impl Sampling {
    /// Pending operations up to which every subset is tried.
    pub const fn every_subset_up_to(self) -> usize {
        match self {
            Self::Exhaustive => EXHAUSTIVE_PENDING_MAX,
            Self::Sample(_) => SAMPLED_PENDING_MAX,
        }
    }

    /// Random subsets at each boundary.
    pub const fn samples(self) -> usize {
        match self {
            Self::Exhaustive => EXHAUSTIVE_SAMPLES,
            Self::Sample(samples) => samples,
        }
    }
}

/// What may be lost at a boundary.
pub(super) struct Losses<'a> {
    /// The operations over which the profile leaves a choice, in order.
    pub(super) pending: &'a [&'a PendingOperation],
    /// The operation that the last change added, where every state without it was met at the boundary before.
    pub(super) fresh: Option<u64>,
    /// Whether the profile tears writes.
    pub(super) tears: bool,
    pub(super) sampling: Sampling,
}

impl Losses<'_> {
    /// Each loss once.
    pub(super) fn list(&self, entropy: &mut Entropy) -> BTreeSet<Lost> {
        let mut losses = BTreeSet::new();
        if self.pending.is_empty() {
            losses.insert(Lost::default());
            return losses;
        }
        self.add_extremes(&mut losses);
        self.add_files(&mut losses);
        if self.pending.len() <= self.sampling.every_subset_up_to() {
            self.add_subsets(&mut losses);
        } else {
            self.add_random(&mut losses, entropy);
        }
        if self.tears {
            self.add_tears(&mut losses);
        }
        match self.fresh {
            Some(newest) => losses.into_iter().filter(|lost| keeps_some_of(lost, newest)).collect(),
            None => losses,
        }
    }

    fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> + Clone + '_ {
        self.pending.iter().map(|operation| operation.sequence)
    }

    /// Nothing, everything, each one lost, each one kept, each prefix.
    fn add_extremes(&self, losses: &mut BTreeSet<Lost>) {
        losses.insert(Lost::default());
        losses.insert(Lost::whole(self.numbers()));
        for one in self.numbers() {
            losses.insert(Lost::whole([one]));
            losses.insert(Lost::whole(self.numbers().filter(|&other| other != one)));
            losses.insert(Lost::whole(self.numbers().filter(|&other| other >= one)));
        }
    }

    /// Each file and directory lost, and each the only one kept.
    fn add_files(&self, losses: &mut BTreeSet<Lost>) {
        let mut files: BTreeMap<InodeNumber, Vec<u64>> = BTreeMap::new();
        for operation in self.pending {
            files.entry(operation.inode).or_default().push(operation.sequence);
        }
        for own in files.values() {
            losses.insert(Lost::whole(own.iter().copied()));
            losses.insert(Lost::whole(self.numbers().filter(|number| !own.contains(number))));
        }
    }

    fn add_subsets(&self, losses: &mut BTreeSet<Lost>) {
        for set in 0..1_u64 << self.pending.len() {
            let lost = self.numbers().enumerate().filter(|(place, _)| set >> place & 1 == 1);
            losses.insert(Lost::whole(lost.map(|(_, number)| number)));
        }
    }

    fn add_random(&self, losses: &mut BTreeSet<Lost>, entropy: &mut Entropy) {
        for _ in 0..self.sampling.samples() {
            let kept = Ratio::percent(*entropy.choose(&[10, 50, 90]));
            let tears = self.tears && entropy.chance(Ratio::percent(50));
            let mut lost = BTreeMap::new();
            for operation in self.pending {
                if !entropy.chance(kept) {
                    lost.insert(operation.sequence, Part::Whole);
                } else if tears && entropy.chance(Ratio::percent(30)) {
                    let parts = parts(operation, self.sampling);
                    if !parts.is_empty() {
                        lost.insert(operation.sequence, entropy.choose(&parts).clone());
                    }
                }
            }
            losses.insert(Lost::Some(lost));
        }
    }

    /// Writes torn: the newest with everything else kept; where everything is new, each of them.
    fn add_tears(&self, losses: &mut BTreeSet<Lost>) {
        let torn = self.pending.iter().filter(|it| self.fresh.is_none_or(|newest| newest == it.sequence));
        for operation in torn {
            for part in parts(operation, self.sampling) {
                losses.insert(Lost::part(operation.sequence, part.clone()));
                let mut prefix: BTreeMap<u64, Part> = self
                    .numbers()
                    .filter(|&other| other > operation.sequence)
                    .map(|other| (other, Part::Whole))
                    .collect();
                prefix.insert(operation.sequence, part);
                losses.insert(Lost::Some(prefix));
            }
        }
    }
}

/// True where `lost` leaves something of operation `newest`.
fn keeps_some_of(lost: &Lost, newest: u64) -> bool {
    match lost {
        Lost::All => false,
        Lost::Some(lost) => lost.get(&newest) != Some(&Part::Whole),
    }
}

/// The sectors of one write, from its first, at each of which an exhaustive exploration tears it.
pub const SECTORS_TORN_MAX: u64 = 64;

/// The parts of a write that are torn off: its end, from a few places on; its beginning; single sectors; its
/// size alone.
fn parts(operation: &PendingOperation, sampling: Sampling) -> Vec<Part> {
    let Change::Write(payload) = &operation.change else { return Vec::new() };
    let count = Sectors::touched(payload.offset(), payload.length());
    let mut parts = BTreeSet::from([Part::Size]);
    if count < 2 {
        return parts.into_iter().collect();
    }
    let page_sectors = 4096 / SECTOR_BYTES;
    let places: BTreeSet<u64> = match sampling {
        Sampling::Exhaustive => (1..count.min(SECTORS_TORN_MAX)).collect(),
        Sampling::Sample(_) => {
            [1, count / 2, count - 1, page_sectors].into_iter().filter(|it| *it < count).collect()
        }
    };
    for &place in &places {
        parts.insert(Part::Sectors((place..count).collect()));
        parts.insert(Part::Sectors((0..place).collect()));
        parts.insert(Part::Sectors(BTreeSet::from([place])));
    }
    parts.into_iter().collect()
}
