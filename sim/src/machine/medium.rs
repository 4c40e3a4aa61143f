//! Faults of a node's medium as calls meet them: damaged sectors, stale reads, stray writes, a file system that is
//! mounted read-only after an error, and space that grows back.

use super::gate::{Call, Passage};
use super::kernel::Kernel;
use super::node::Incarnation;
use crate::disk::{Decision, Errno, FaultState, Landing, SECTOR_BYTES, SyncFate};
use crate::event::{DiskFault, Event};
use crate::vfs::{MountId, OpenSync};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What of the faults of media is under way between the gate and the call that passed it.
#[derive(Debug, Default)]
pub(crate) struct Underway {
    /// Where each thread's next write goes, if not where it should.
    landings: BTreeMap<u64, (MountId, Landing)>,
    /// Whose last read is a stale one, by which path.
    stale_read: Option<(Incarnation, Arc<str>)>,
    /// Bytes that the sync which passes the gate now has to carry to the medium.
    sync_bytes: u64,
}

/// What a node's disk does in one life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskLife {
    /// Mounted read-only after an error.
    read_only: bool,
    /// Calls that met no space and were answered by a growth.
    no_space_seen: u64,
    /// When space grows back, in virtual nanoseconds.
    grows_at_ns: Option<u64>,
}

impl Kernel {
    fn fault_state(&mut self, owner: Incarnation, path: &str) -> Option<&mut FaultState> {
        self.node(owner.node).fault_state(path)
    }

    fn record_fault(&mut self, owner: Incarnation, operation: u64, fault: DiskFault) {
        self.record(&Event::DiskFault { owner: (owner.node.0, owner.number), operation, fault });
    }

    /// What a call meets before any fault is drawn: a disk that is read-only, or that has grown.
    pub(crate) fn refused(
        &mut self,
        owner: Incarnation,
        call: &Call<'_>,
        operation: u64,
    ) -> Option<Decision> {
        let thread = self.stamp().thread;
        self.underway.landings.remove(&thread);
        if self.node(owner.node).disk_life.read_only {
            return Some(Decision::Error(Errno::EROFS));
        }
        self.grow_back(owner, call, operation);
        None
    }

    /// Lets the capacity grow where the disk met its end some time ago.
    fn grow_back(&mut self, owner: Incarnation, call: &Call<'_>, operation: u64) {
        let Some(state) = self.fault_state(owner, &call.path) else { return };
        let (bytes, after_ns) =
            (state.options().capacity_growth_bytes, state.options().capacity_growth_after_ns);
        if bytes == 0 {
            return;
        }
        let (now_ns, met) = (self.now_ns(), self.files.no_space_count(call.mount));
        let life = &mut self.node(owner.node).disk_life;
        if met > life.no_space_seen && life.grows_at_ns.is_none() {
            life.grows_at_ns = Some(now_ns.saturating_add(after_ns));
        }
        if life.grows_at_ns.is_none_or(|at_ns| now_ns < at_ns) {
            return;
        }
        (life.grows_at_ns, life.no_space_seen) = (None, met);
        let disk = self.files.disk_mut(call.mount);
        disk.set_capacity_bytes(disk.capacity_bytes().saturating_add(bytes));
        if let Some(state) = self.fault_state(owner, &call.path) {
            state.count(|counters| counters.capacity_growths += 1);
        }
        self.record_fault(owner, operation, DiskFault::Grown(bytes));
    }

    /// After an error of the device, the file system may be mounted read-only.
    pub(crate) fn remount(
        &mut self,
        owner: Incarnation,
        call: &Call<'_>,
        operation: u64,
        decision: Decision,
    ) {
        let failed = matches!(decision, Decision::Error(Errno::EIO) | Decision::Sync(SyncFate::Failed));
        if failed && self.fault_state(owner, &call.path).is_some_and(FaultState::remounts) {
            self.node(owner.node).disk_life.read_only = true;
            self.record_fault(owner, operation, DiskFault::ReadOnly);
        }
    }

    /// Sends the write that the calling thread is about to do astray.
    pub(crate) fn send_astray(&mut self, call: &Call<'_>, landing: Landing) {
        let thread = self.stamp().thread;
        self.underway.landings.insert(thread, (call.mount, landing));
    }

    /// Before the calling thread does something to the disks: its next write may go astray.
    pub(crate) fn begin_landing(&mut self, thread: u64) {
        if self.underway.landings.is_empty() {
            return;
        }
        if let Some(&(mount, landing)) = self.underway.landings.get(&thread)
            && self.files.is_mounted(mount)
        {
            self.files.disk_mut(mount).set_landing(Some(landing));
        }
    }

    /// Afterwards: the write is done, or still to come.
    pub(crate) fn end_landing(&mut self, thread: u64) {
        if self.underway.landings.is_empty() {
            return;
        }
        let Some(&(mount, _)) = self.underway.landings.get(&thread) else { return };
        if !self.files.is_mounted(mount) || self.files.disk(mount).landing().is_none() {
            self.underway.landings.remove(&thread);
        } else {
            self.files.disk_mut(mount).set_landing(None);
        }
    }

    /// What a write that is misdirected hits: the same place in another sector of its file; nothing where the file has
    /// no other sector.
    pub(crate) fn wrong_place(&mut self, call: &Call<'_>, pick: u64) -> Landing {
        let described = call.descriptor.and_then(|descriptor| self.files.describe(descriptor));
        let size = described.map_or(0, |it| self.files.disk(call.mount).size(it.inode));
        let (sectors, right) = (size.div_ceil(SECTOR_BYTES), call.offset / SECTOR_BYTES);
        let others = sectors - u64::from(right < sectors);
        if others == 0 {
            return Landing::Lost;
        }
        let other = pick % others;
        let sector = if other >= right { other + 1 } else { other };
        Landing::Misdirected { to: sector * SECTOR_BYTES + call.offset % SECTOR_BYTES }
    }

    /// What a read that no other fault has stopped meets on the medium.
    pub(crate) fn read_medium(&mut self, owner: Incarnation, call: &Call<'_>, passage: Passage) -> Passage {
        let length = match passage {
            Passage::Proceed | Passage::Sync(_) => call.length,
            Passage::Short(count) => count as u64,
            Passage::Fail(_) => return passage,
        };
        let Some(inode) = call.descriptor.and_then(|it| self.files.describe(it)).map(|it| it.inode) else {
            return passage;
        };
        let bytes = call.offset..call.offset.saturating_add(length);
        self.damage_some(owner, call, (inode, bytes.clone()));
        match self.files.disk(call.mount).first_unreadable(inode, bytes) {
            None => passage,
            Some(first) if first > call.offset => {
                Passage::Short(usize::try_from(first - call.offset).expect("a part of a buffer fits"))
            }
            Some(_) => {
                if let Some(state) = self.fault_state(owner, &call.path) {
                    state.count(|counters| counters.unreadable_reads += 1);
                }
                self.record_fault(owner, 0, DiskFault::Error(libc::EIO));
                Passage::Fail(Errno::EIO)
            }
        }
    }

    /// Lets sectors decay that are about to be read.
    fn damage_some(
        &mut self,
        owner: Incarnation,
        call: &Call<'_>,
        (inode, bytes): (crate::disk::InodeNumber, std::ops::Range<u64>),
    ) {
        let drawn = self.fault_state(owner, &call.path).map(FaultState::draw_damage).unwrap_or_default();
        for damage in drawn.into_iter().flatten() {
            let sectors = self.files.disk(call.mount).settled_sectors(inode, bytes.clone());
            if sectors.is_empty() {
                continue;
            }
            let Some(state) = self.fault_state(owner, &call.path) else { continue };
            let sector = state.choose_damaged(&sectors, damage);
            self.files.disk_mut(call.mount).damage(inode, sector, damage);
            self.record_fault(owner, 0, DiskFault::Damage { sector, damage });
        }
    }

    /// The next bytes that are read are old ones.
    pub(crate) fn begin_stale_read(&mut self, owner: Incarnation, call: &Call<'_>) {
        self.underway.stale_read = Some((owner, Arc::clone(&call.path)));
    }

    /// Makes of what was read what the device gives, if it is stale.
    pub(crate) fn end_stale_read(&mut self, call: &Call<'_>, bytes: &mut [u8]) {
        let Some((owner, path)) = self.underway.stale_read.take() else { return };
        let Some(inode) = call.descriptor.and_then(|it| self.files.describe(it)).map(|it| it.inode) else {
            return;
        };
        if self.files.disk(call.mount).read_previous(inode, call.offset, bytes) {
            if let Some(state) = self.fault_state(owner, &path) {
                state.count(|counters| counters.stale_reads += 1);
            }
            self.record_fault(owner, 0, DiskFault::Stale);
        }
    }

    /// Takes note of how much a sync has to carry to the medium, where that takes time.
    pub(crate) fn weigh(&mut self, call: &Call<'_>, sync: &OpenSync) {
        let Some(owner) = self.mount_owner(call.mount) else { return };
        let state = self.fault_state(owner, &call.path);
        if state.is_some_and(|state| state.options().bytes_per_second > 0) {
            self.underway.sync_bytes = self.files.pending_bytes(sync);
        }
    }

    /// Bytes that the call carries to the medium, where that takes time.
    pub(crate) fn bytes_to_carry(&mut self) -> u64 {
        std::mem::take(&mut self.underway.sync_bytes)
    }
}
