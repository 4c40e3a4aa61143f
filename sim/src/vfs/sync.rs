//! Syncs: of a file, of a range, of everything.

use super::Vfs;
use super::error::Result;
use super::mount::MountId;
use crate::disk::{Errno, InodeNumber, OperationKind, Stamp, StartedSync, SyncFate, SyncScope};
use libc::{c_int, c_uint};
use std::sync::Arc;

/// A sync that has begun.
#[derive(Clone, Debug)]
pub struct OpenSync {
    mount: MountId,
    path: Arc<str>,
    scope: SyncScope,
    sync: StartedSync,
    /// What else a `syncfs` covers.
    others: Vec<StartedSync>,
    /// The first byte and one past the last; nothing where it covers all.
    range: Option<(u64, u64)>,
}

impl OpenSync {
    /// The mount.
    pub const fn mount(&self) -> MountId {
        self.mount
    }

    /// The path within the mount; empty for a whole file system.
    pub const fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// What it covers: [`OperationKind::Sync`] or [`OperationKind::DataSync`].
    pub const fn kind(&self) -> OperationKind {
        match self.scope {
            SyncScope::All => OperationKind::Sync,
            SyncScope::Data => OperationKind::DataSync,
        }
    }

    /// Offset and length in bytes of what it covers; zeros for all.
    pub fn range(&self) -> (u64, u64) {
        self.range.map_or((0, 0), |(from, to)| (from, to - from))
    }
}

impl Vfs {
    /// `fsync` of a file or directory, with the fate that the caller's faults gave it. A failed one reports
    /// `EIO`.
    pub fn fsync(&mut self, stamp: Stamp, descriptor: c_int, fate: SyncFate) -> Result<()> {
        let sync = self.sync_begin(descriptor, SyncScope::All)?;
        self.sync_end(stamp, sync, fate)
    }

    /// `fdatasync`, likewise.
    pub fn fdatasync(&mut self, stamp: Stamp, descriptor: c_int, fate: SyncFate) -> Result<()> {
        let sync = self.sync_begin(descriptor, SyncScope::Data)?;
        self.sync_end(stamp, sync, fate)
    }

    /// Begins an `fsync` ([`SyncScope::All`]) or `fdatasync` ([`SyncScope::Data`]) that takes time: it will cover
    /// what was done until now.
    pub fn sync_begin(&self, descriptor: c_int, scope: SyncScope) -> Result<OpenSync> {
        let description = self.descriptors.get(descriptor)?;
        let (mount, path) = (description.mount, description.path.clone());
        let sync = self.disk(mount).sync_begin(description.inode);
        Ok(OpenSync { mount, path, scope, sync, others: Vec::new(), range: None })
    }

    /// Begins a `syncfs`: an `fsync` of everything on `mount` with something pending, in one.
    pub fn sync_all_begin(&self, mount: MountId) -> OpenSync {
        let disk = self.disk(mount);
        let mut inodes: Vec<InodeNumber> = disk.pending().iter().map(|operation| operation.inode).collect();
        inodes.sort_unstable();
        inodes.dedup();
        let others = inodes.into_iter().map(|inode| disk.sync_begin(inode)).collect();
        let sync = disk.sync_begin(InodeNumber::ROOT);
        OpenSync { mount, path: "".into(), scope: SyncScope::All, sync, others, range: None }
    }

    /// Begins a sync of the bytes from `range.0` to before `range.1` of a file.
    pub(super) fn sync_range(
        &self,
        mount: MountId,
        inode: InodeNumber,
        path: Arc<str>,
        scope: SyncScope,
        range: (u64, u64),
    ) -> OpenSync {
        let sync = self.disk(mount).sync_range_begin(inode, range);
        OpenSync { mount, path, scope, sync, others: Vec::new(), range: Some(range) }
    }

    /// Bytes of pending writes of what `sync` covers; zero where its mount is gone.
    pub fn pending_bytes(&self, sync: &OpenSync) -> u64 {
        if !self.is_mounted(sync.mount) {
            return 0;
        }
        let disk = self.disk(sync.mount);
        let inodes = sync.others.iter().chain([&sync.sync]).map(StartedSync::inode);
        inodes.filter(|&inode| disk.exists(inode)).map(|inode| disk.pending_bytes(inode)).sum()
    }

    /// Ends a sync with the fate that the caller's faults gave it, whatever became of its descriptor meanwhile.
    /// A failed one reports `EIO`.
    pub fn sync_end(&mut self, stamp: Stamp, sync: OpenSync, fate: SyncFate) -> Result<()> {
        let (kind, range) = (sync.kind(), sync.range());
        let OpenSync { mount, path, scope, sync, others, .. } = sync;
        if !self.is_mounted(mount) {
            return Err(Errno::EBADF.into());
        }
        let mount = self.mount_mut(mount);
        for sync in others.into_iter().chain([sync]) {
            mount.disk.sync_end(sync, scope, fate);
        }
        mount.record(kind, path, range, stamp);
        if fate == SyncFate::Failed { Err(Errno::EIO.into()) } else { Ok(()) }
    }

    /// `sync_file_range`: starts write-back and promises nothing (sync_file_range(2): "extremely
    /// dangerous").
    pub fn sync_file_range(
        &mut self,
        stamp: Stamp,
        descriptor: c_int,
        offset: i64,
        length: i64,
        flags: c_uint,
    ) -> Result<()> {
        let known = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        let description = self.descriptors.get(descriptor)?;
        let overflows = offset.checked_add(length).is_none();
        if flags & !known != 0 || offset < 0 || length < 0 || overflows {
            return Err(Errno::EINVAL.into());
        }
        let (mount, path) = (description.mount, description.path.clone());
        let range = (offset.unsigned_abs(), length.unsigned_abs());
        self.mount_mut(mount).record(OperationKind::RangeSync, path, range, stamp);
        Ok(())
    }
}
