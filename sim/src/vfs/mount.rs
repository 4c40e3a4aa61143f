//! Disks and the prefixes under which they appear.

use super::Vfs;
use super::lock::Locks;
use super::record::{OperationRecord, Records};
use crate::disk::{Disk, OperationKind, PAGE_BYTES, Stamp};
use std::fmt;
use std::sync::Arc;

/// The number of a mount; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountId(u32);

impl MountId {
    /// The number, as `st_dev` may show it.
    pub const fn get(self) -> u32 {
        self.0
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for MountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// Free space, as `statvfs` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of one block.
    pub block_bytes: u64,
    /// Blocks of the file system. A disk without limit shows 2⁴⁰.
    pub blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
}

#[derive(Debug)]
pub(super) struct Mount {
    pub(super) prefix: Box<[u8]>,
    pub(super) disk: Disk,
    pub(super) locks: Locks,
    records: Records,
    no_space: u64,
}

impl Mount {
    pub(super) fn record(&mut self, kind: OperationKind, path: Arc<str>, range: (u64, u64), stamp: Stamp) {
        self.records.push(kind, path, range, stamp);
    }

    pub(super) fn count_no_space(&mut self) {
        self.no_space += 1;
    }
}

impl Vfs {
    /// Mounts `disk` under `prefix`, an absolute path without `.`, `..` or a trailing slash. No mount lies
    /// below another one.
    ///
    /// Panics where the prefix is not so, or is taken.
    pub fn mount(&mut self, prefix: &str, disk: Disk) -> MountId {
        let well_formed = prefix.len() > 1
            && prefix.starts_with('/')
            && prefix[1..].split('/').all(|part| !matches!(part, "" | "." | ".."));
        assert!(well_formed, "`{prefix}` is no place for a mount");
        let nested = |other: &[u8]| {
            let (short, long) = if other.len() < prefix.len() {
                (other, prefix.as_bytes())
            } else {
                (prefix.as_bytes(), other)
            };
            long.starts_with(short) && (long.len() == short.len() || long[short.len()] == b'/')
        };
        assert!(!self.prefixes.keys().any(|other| nested(other)), "`{prefix}` is taken");
        let id = MountId(u32::try_from(self.mounts.len()).expect("fewer than 2³² mounts"));
        let prefix: Box<[u8]> = prefix.as_bytes().into();
        self.prefixes.insert(prefix.clone(), id);
        let mount = Mount { prefix, disk, locks: Locks::default(), records: Records::default(), no_space: 0 };
        self.mounts.push(Some(mount));
        id
    }

    /// Ends a mount: its prefix is free again, and its descriptors and directory streams are closed. Returns
    /// the disk; nothing on it is held open any more.
    pub fn unmount(&mut self, mount: MountId) -> Disk {
        self.close_all(mount);
        let ended = self.mounts[mount.index()].take().expect("a mount that is ended was there");
        self.prefixes.remove(&ended.prefix);
        ended.disk
    }

    /// True while `mount` is there.
    pub fn is_mounted(&self, mount: MountId) -> bool {
        self.mounts.get(mount.index()).is_some_and(Option::is_some)
    }

    /// Every mount.
    pub fn mounts(&self) -> impl Iterator<Item = MountId> {
        self.prefixes.values().copied()
    }

    /// The path under which `mount` appears.
    pub fn prefix(&self, mount: MountId) -> &str {
        std::str::from_utf8(&self.mount_ref(mount).prefix).expect("prefixes come from strings")
    }

    /// The disk of `mount`.
    pub fn disk(&self, mount: MountId) -> &Disk {
        &self.mount_ref(mount).disk
    }

    /// The disk of `mount`, to change.
    pub fn disk_mut(&mut self, mount: MountId) -> &mut Disk {
        &mut self.mount_mut(mount).disk
    }

    /// How many operations changed or synced `mount`.
    pub fn operations(&self, mount: MountId) -> u64 {
        self.mount_ref(mount).records.count()
    }

    /// The last operations that changed or synced `mount`, oldest first, at most 32.
    pub fn last_operations(&self, mount: MountId) -> impl Iterator<Item = &OperationRecord> {
        self.mount_ref(mount).records.last()
    }

    /// How many calls failed, or were cut short, for want of space.
    pub fn no_space_count(&self, mount: MountId) -> u64 {
        self.mount_ref(mount).no_space
    }

    /// Open descriptors of `mount`, those of directory streams and mappings included.
    pub fn open_descriptors(&self, mount: MountId) -> usize {
        self.descriptors.count(mount) + self.mapping_count(mount)
    }

    /// The free space of `mount`.
    pub fn space(&self, mount: MountId) -> Space {
        let disk = self.disk(mount);
        let unlimited = 1 << 40;
        match disk.capacity_bytes() / PAGE_BYTES {
            0 if disk.capacity_bytes() == 0 => {
                let used = disk.used_bytes() / PAGE_BYTES;
                Space { block_bytes: PAGE_BYTES, blocks: unlimited, free_blocks: unlimited - used }
            }
            blocks => Space { block_bytes: PAGE_BYTES, blocks, free_blocks: disk.free_pages() },
        }
    }

    pub(super) fn mount_ref(&self, mount: MountId) -> &Mount {
        self.mounts[mount.index()].as_ref().expect("descriptors and prefixes lead to mounts that are there")
    }

    pub(super) fn mount_mut(&mut self, mount: MountId) -> &mut Mount {
        self.mounts[mount.index()].as_mut().expect("descriptors and prefixes lead to mounts that are there")
    }
}
