//! Damage of the medium, as an overlay on the bytes of a file: the bytes stay as they were written, and what is wrong
//! with them stands beside them, until they are written anew.

use super::content::PAGE_BYTES;
use super::sectors::SECTOR_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What became of a sector of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Damage {
    /// One bit of it reads inverted, until its byte is written again.
    Rot {
        /// Which bit, below [`SECTOR_BYTES`] × 8.
        bit: u16,
    },
    /// It cannot be read, until it is written whole.
    Unreadable,
}

/// The damage of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Damages {
    /// The inverted bits of each byte, by its offset.
    rotten: BTreeMap<u64, u8>,
    unreadable: BTreeSet<u64>,
}

impl Damages {
    pub(super) fn add(&mut self, sector: u64, damage: Damage) {
        match damage {
            Damage::Rot { bit } => {
                let bit = u64::from(bit) % (SECTOR_BYTES * 8);
                *self.rotten.entry(sector * SECTOR_BYTES + bit / 8).or_default() ^= 1 << (bit % 8);
            }
            Damage::Unreadable => {
                self.unreadable.insert(sector);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rotten.is_empty() && self.unreadable.is_empty()
    }

    /// These bytes were written anew, or are gone.
    pub(super) fn forget(&mut self, bytes: Range<u64>) {
        let (first, end) = (bytes.start.div_ceil(SECTOR_BYTES), bytes.end / SECTOR_BYTES);
        self.rotten.retain(|offset, _| !bytes.contains(offset));
        self.unreadable.retain(|sector| !(first..end).contains(sector));
    }

    /// Makes of the pristine `buffer`, which lies at `offset`, what a read gives.
    pub(super) fn apply(&self, offset: u64, buffer: &mut [u8]) {
        for (&place, mask) in self.rotten.range(offset..offset.saturating_add(buffer.len() as u64)) {
            buffer[usize::try_from(place - offset).expect("a place within a slice")] ^= mask;
        }
    }

    /// The first byte of the first page among `bytes` that cannot be read: the page cache is filled by pages.
    pub(super) fn first_unreadable(&self, bytes: Range<u64>) -> Option<u64> {
        let first = bytes.start / PAGE_BYTES * PAGE_BYTES / SECTOR_BYTES;
        let end = bytes.end.next_multiple_of(PAGE_BYTES) / SECTOR_BYTES;
        self.unreadable.range(first..end).next().map(|sector| sector * SECTOR_BYTES / PAGE_BYTES * PAGE_BYTES)
    }

    /// Everything that is damaged, as numbers: for a fingerprint.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let rotten = self.rotten.iter().flat_map(|(&offset, &mask)| [offset, mask.into()]);
        rotten.chain(self.unreadable.iter().copied())
    }
}
