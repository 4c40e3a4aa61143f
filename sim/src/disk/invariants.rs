//! What must hold of every disk at any time, counted anew from nothing. Tests only.

use super::Disk;
use super::inode::{Body, InodeNumber};
use super::operation::PendingOperation;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default, PartialEq, Eq, Debug)]
struct Count {
    links: u32,
    durable_links: u32,
    pending_links: u32,
}

impl Disk {
    /// Panics where a count or an index of the disk is not what it is an index of.
    pub(crate) fn check_invariants(&self) {
        let mut counts: BTreeMap<InodeNumber, Count> = BTreeMap::new();
        let root = counts.entry(InodeNumber::ROOT).or_default();
        (root.links, root.durable_links) = (1, 1);
        for node in self.inodes.values() {
            let Body::Directory(directory) = &node.body else { continue };
            for &child in directory.entries.values() {
                counts.entry(child).or_default().links += 1;
            }
            for &child in directory.durable.values() {
                counts.entry(child).or_default().durable_links += 1;
            }
        }
        for operation in self.entry_operations.values() {
            let bindings = &operation.entries().unwrap().bindings;
            for target in bindings.iter().filter_map(|binding| binding.target) {
                counts.entry(target).or_default().pending_links += 1;
            }
        }
        for (&inode, node) in &self.inodes {
            let counted = Count {
                links: node.links,
                durable_links: node.durable_links,
                pending_links: node.pending_links,
            };
            assert_eq!(counts.remove(&inode).unwrap_or_default(), counted, "references of {inode}");
            assert!(!node.is_unreferenced(), "{inode} should have been released");
            let promised = node.pending.iter().any(|operation| operation.promised_by.is_some());
            assert_eq!(self.promised.inodes.contains(&inode), promised, "promises of {inode}");
        }
        assert!(counts.is_empty(), "references to what is gone: {counts:?}");
        assert_eq!(self.pages, self.inodes.values().map(|node| node.pages()).sum::<u64>(), "pages in use");
        self.check_directories();
        self.check_operations();
    }

    fn check_directories(&self) {
        for (&inode, node) in &self.inodes {
            let Body::Directory(directory) = &node.body else { continue };
            let is_directory = |child: &InodeNumber| matches!(self.inode(*child).body, Body::Directory(_));
            let below: Vec<_> = directory.entries.values().copied().filter(is_directory).collect();
            assert_eq!(directory.subdirectories as usize, below.len(), "subdirectories of {inode}");
            for child in below {
                assert_eq!(self.parent(child), inode, "the directory above {child}");
            }
            let touches = |operation: &&PendingOperation| {
                operation.entries().unwrap().bindings.iter().any(|binding| binding.directory == inode)
            };
            let pending: BTreeSet<u64> =
                self.entry_operations.values().filter(touches).map(|operation| operation.sequence).collect();
            assert_eq!(directory.pending, pending, "pending changes in {inode}");
        }
    }

    fn check_operations(&self) {
        let sequences: Vec<u64> = self.pending().iter().map(|operation| operation.sequence).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "two operations with one number");
        assert!(sequences.last().is_none_or(|&last| last <= self.sequence), "an operation from the future");
        for operation in self.entry_operations.values() {
            let needs = &operation.entries().unwrap().needs;
            assert!(needs.iter().all(|&need| need < operation.sequence), "a need from the future");
            let promised = self.promised.entries.contains(&operation.sequence);
            assert_eq!(operation.promised_by.is_some(), promised, "promise of {}", operation.sequence);
        }
    }
}
