//! The table of mappings: which addresses show which pages of which file.
//!
//! A page is *absent* until it is touched; the fault loads it from the file. From then on it is kept equal to the
//! file: what a call writes is copied into it at once. A store is noticed by the fault of the first one, for a page
//! that may be written is read-only to the processor until then; what was stored is found by comparing the page with
//! the file, and becomes a write of the disk at the next call of its node, or when the thread gives its turn away
//! ([`Vfs::next_store`](super::Vfs::next_store)). So each store has its place between the calls around it.

use super::descriptor::DescriptionId;
use super::memory::Access;
use super::mount::MountId;
use crate::disk::{InodeNumber, PAGE_BYTES};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of one page, of the processor's and of the disk's.
pub(super) const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);

/// A page that has been touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resident {
    /// It is equal to the file's.
    Clean,
    /// It is shared and may have been stored to.
    Stored,
    /// It is a private copy, which the file has nothing to do with any more.
    Private,
}

/// What a program may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protection {
    pub(super) read: bool,
    pub(super) write: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) bytes: usize,
    pub(super) mount: MountId,
    pub(super) inode: InodeNumber,
    /// A mapping keeps the description alive, and with it its locks, after the last descriptor was closed.
    pub(super) description: DescriptionId,
    /// The place in the file of its first byte.
    pub(super) offset: u64,
    pub(super) shared: bool,
    pub(super) protection: Protection,
    /// Whether it may be made writable: not where it is shared and the file is open for reading only.
    pub(super) may_write: bool,
    /// The pages that were touched, by their addresses.
    pub(super) resident: BTreeMap<usize, Resident>,
}

impl Mapping {
    /// The place in the file of the byte at `address`, where the mapping begins at `start`.
    pub(super) const fn position(&self, start: usize, address: usize) -> u64 {
        self.offset + (address - start) as u64
    }

    /// What the processor may do with a page.
    pub(super) const fn access(&self, page: Resident) -> Access {
        match page {
            Resident::Stored | Resident::Private if self.protection.write => Access::ReadWrite,
            Resident::Clean | Resident::Stored | Resident::Private => {
                // A processor cannot let pages be written but not read.
                if self.protection.read || self.protection.write { Access::Read } else { Access::None }
            }
        }
    }
}

/// Every mapping, by its first address. None overlaps another.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    by_address: BTreeMap<usize, Mapping>,
    /// The pages that are [`Resident::Stored`], in the order of the first store to each.
    pub(super) stored: VecDeque<usize>,
}

impl Mappings {
    pub(super) fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    pub(super) fn insert(&mut self, start: usize, mapping: Mapping) {
        self.by_address.insert(start, mapping);
    }

    pub(super) fn get(&self, start: usize) -> &Mapping {
        &self.by_address[&start]
    }

    pub(super) fn get_mut(&mut self, start: usize) -> &mut Mapping {
        self.by_address.get_mut(&start).expect("a mapping that was just found")
    }

    /// The mapping that `address` lies in, with its first address.
    pub(super) fn find(&self, address: usize) -> Option<(usize, &Mapping)> {
        let (&start, mapping) = self.by_address.range(..=address).next_back()?;
        (address - start < mapping.bytes).then_some((start, mapping))
    }

    /// The first addresses of the mappings of a file.
    pub(super) fn of_file(&self, mount: MountId, inode: InodeNumber) -> Vec<usize> {
        let mappings = self.by_address.iter();
        let found = mappings.filter(|(_, mapping)| mapping.mount == mount && mapping.inode == inode);
        found.map(|(&start, _)| start).collect()
    }

    /// The first addresses of the mappings of a mount's files.
    pub(super) fn of_mount(&self, mount: MountId) -> Vec<usize> {
        let mappings = self.by_address.iter().filter(|(_, mapping)| mapping.mount == mount);
        mappings.map(|(&start, _)| start).collect()
    }

    /// The mappings that lie in `start..end` with at least one page: the part of each, in order.
    pub(super) fn overlapping(&self, start: usize, end: usize) -> Vec<(usize, usize)> {
        let before = self.by_address.range(..start).next_back();
        let mappings = before.into_iter().chain(self.by_address.range(start..end));
        mappings
            .map(|(&first, mapping)| (first.max(start), (first + mapping.bytes).min(end)))
            .filter(|(from, to)| from < to)
            .collect()
    }

    /// True where every page of `start..end` is mapped.
    pub(super) fn covers(&self, start: usize, end: usize) -> bool {
        let parts = self.overlapping(start, end);
        parts.iter().map(|(from, to)| to - from).sum::<usize>() == end - start
    }

    /// Cuts mappings in two so that one begins at `address`, where any lies across it. Returns the description that is
    /// held once more then.
    pub(super) fn split(&mut self, address: usize) -> Option<DescriptionId> {
        let (start, _) = self.find(address).filter(|(start, _)| *start < address)?;
        let first = self.get_mut(start);
        let second = Mapping {
            bytes: first.bytes - (address - start),
            offset: first.position(start, address),
            resident: first.resident.split_off(&address),
            ..first.clone()
        };
        first.bytes = address - start;
        let description = second.description;
        self.by_address.insert(address, second);
        Some(description)
    }

    pub(super) fn remove(&mut self, start: usize) -> Mapping {
        let removed = self.by_address.remove(&start).expect("a mapping that was just found");
        self.stored.retain(|page| !(start..start + removed.bytes).contains(page));
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::vfs::Vfs;

    #[test]
    fn a_mapping_that_is_cut_keeps_its_pages_and_their_places() {
        let mount = Vfs::new().mount("/m", Disk::new());
        let mut mappings = Mappings::default();
        let resident = BTreeMap::from([(0x1000, Resident::Clean), (0x3000, Resident::Private)]);
        let protection = Protection { read: true, write: true };
        let mapping = Mapping {
            bytes: 4 * PAGE,
            mount,
            inode: InodeNumber::ROOT,
            description: 7,
            offset: 0x8000,
            shared: false,
            protection,
            may_write: true,
            resident,
        };
        mappings.insert(0x1000, mapping);
        assert_eq!(mappings.split(0x1000), None, "it begins there already");
        assert_eq!(mappings.split(0x3000), Some(7));
        assert_eq!(mappings.overlapping(0x2000, 0x4000), [(0x2000, 0x3000), (0x3000, 0x4000)]);
        let (start, second) = mappings.find(0x4fff).unwrap();
        assert_eq!((start, second.bytes, second.offset), (0x3000, 2 * PAGE, 0xa000));
        assert_eq!(second.resident, BTreeMap::from([(0x3000, Resident::Private)]));
        assert!(mappings.covers(0x1000, 0x5000) && !mappings.covers(0x1000, 0x6000));
        assert!(mappings.find(0x5000).is_none() && mappings.find(0xfff).is_none());
    }
}
