//! The gate: what every file-system call passes before it is carried out.
//!
//! In this order: the call is counted and traced; a crash that waits for it falls; its fault is drawn; the time
//! that it takes passes; another thread may get its turn. Only then does it change the disk, so a crash
//! "before operation n" leaves the disk as it was after operation n − 1.

use super::crash::{Crash, CrashPoint, CrashSite};
use super::kernel::{self, Kernel};
use super::node::Incarnation;
use super::scheduler::{self, Request};
use crate::disk::{Decision, Errno, Landing, OperationKind, Sectors, Stamp, SyncFate};
use crate::event::{DiskFault, Event, hash};
use crate::interpose;
use crate::vfs::{Fault, MountId, OpenSync, Store, Vfs};
use std::sync::Arc;
use std::time::Duration;

/// A call on its way to the disk.
pub(crate) struct Call<'a> {
    pub(crate) mount: MountId,
    pub(crate) kind: OperationKind,
    /// The path within the mount; of a rename `old → new`.
    pub(crate) path: Arc<str>,
    /// The first byte, or the new size.
    pub(crate) offset: u64,
    /// What is written.
    pub(crate) bytes: &'a [u8],
    /// How many bytes the call is about.
    pub(crate) length: u64,
    /// The descriptor, where the call has one.
    pub(crate) descriptor: Option<libc::c_int>,
}

/// How a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// As it was made.
    Proceed,
    /// For this many bytes only.
    Short(usize),
    /// Not at all.
    Fail(Errno),
    /// As a sync with this fate.
    Sync(SyncFate),
}

/// Lets a call that changes a disk pass. The calling thread may lose the baton, and its node may crash.
pub(crate) fn pass(call: &Call<'_>) -> Passage {
    interpose::collect_stores();
    let (passage, wait) = kernel::with(|kernel| kernel.admit(call));
    match wait {
        Wait::None => {}
        Wait::Latency(duration) => {
            interpose::park(Request::Sleep(duration));
        }
        Wait::Crashed => {
            interpose::park(Request::Yield);
        }
        Wait::Turn => scheduler::preemption_point(),
    }
    passage
}

/// Lets a sync pass. How much it has to carry to the medium may decide how long it takes.
pub(crate) fn pass_sync(call: &Call<'_>, sync: &OpenSync) -> Passage {
    kernel::with(|kernel| kernel.weigh(call, sync));
    pass(call)
}

/// Lets a read pass: it may fail or be cut short, but takes no time and moves no turn.
pub(crate) fn pass_read(call: &Call<'_>) -> Passage {
    kernel::with(|kernel| {
        kernel.counters.reads += 1;
        let Some(owner) = kernel.live_owner(call.mount) else { return Passage::Proceed };
        let chosen = kernel.fault_falls(owner, call, 0);
        let decision =
            chosen.unwrap_or_else(|| kernel.node(owner.node).decide(&call.path, call.kind, call.length));
        let passage = kernel.carry_over(owner, call, 0, decision);
        kernel.read_medium(owner, call, passage)
    })
}

/// Ends a read that passed the gate and gave these bytes: a device may give others. Traces what was given.
pub(crate) fn finish_read(call: &Call<'_>, bytes: &mut [u8]) {
    kernel::with(|kernel| {
        kernel.end_stale_read(call, bytes);
        let (owner, offset) = (kernel.owner_words(call.mount), call.offset);
        kernel.record(&Event::Read { owner, offset, length: bytes.len() as u64, data: hash(bytes) });
    });
}

/// Lends the file system to a call that is carried out now.
pub(crate) fn files<R>(work: impl FnOnce(&mut Vfs, Stamp) -> R) -> R {
    interpose::collect_stores();
    kernel::with(|kernel| {
        let stamp = kernel.stamp();
        kernel.begin_landing(stamp.thread);
        let result = work(&mut kernel.files, stamp);
        kernel.end_landing(stamp.thread);
        kernel.record_changes(stamp);
        result
    })
}

/// What a fault of the processor at an address of a mapping means. Changes no disk.
pub(crate) fn page_fault(address: usize) -> Fault {
    kernel::with(|kernel| kernel.files.page_fault(address))
}

/// Makes what was stored to mappings of files writes of their disks. Each is counted and traced, and a crash may fall
/// before it, as with a write by a call; but no fault of the disk, since nobody could be told, and it takes no time.
pub(crate) fn collect_stores() {
    kernel::with(|kernel| {
        let stamp = kernel.stamp();
        while let Some(store) = kernel.files.next_store() {
            kernel.admit_store(&store);
            kernel.files.carry_out_store(stamp, &store);
            kernel.record_changes(stamp);
        }
    });
}

/// The mounts of the process that the calling thread belongs to; those of a ghost, too.
pub(crate) fn own_mounts() -> Vec<MountId> {
    kernel::with(|kernel| {
        let Some(owner) = kernel.current_owner() else { return Vec::new() };
        kernel.files.mounts().filter(|&mount| kernel.mount_owner(mount) == Some(owner)).collect()
    })
}

enum Wait {
    None,
    Latency(Duration),
    Crashed,
    Turn,
}

impl Kernel {
    pub(crate) fn stamp(&self) -> Stamp {
        let thread = self.scheduler.running().map_or(0, |thread| thread.0);
        Stamp { now_ns: self.now_ns(), thread: thread.into() }
    }

    fn owner_words(&self, mount: MountId) -> (u16, u32) {
        self.mount_owner(mount).map_or((u16::MAX, 0), |owner| (owner.node.0, owner.number))
    }

    /// Whose mount it is, unless it is a ghost's.
    fn live_owner(&self, mount: MountId) -> Option<Incarnation> {
        let owner = self.mount_owner(mount)?;
        self.nodes[usize::from(owner.node.0)].is_current(owner).then_some(owner)
    }

    fn admit(&mut self, call: &Call<'_>) -> (Passage, Wait) {
        let bytes = self.bytes_to_carry();
        self.counters.disk_operations += 1;
        if matches!(call.kind, OperationKind::Sync | OperationKind::DataSync) {
            self.counters.syncs += 1;
        }
        let operation = self.files.operations(call.mount) + 1;
        self.record_call(call, operation);
        let Some(owner) = self.live_owner(call.mount) else {
            return (honest(call.kind), Wait::None);
        };
        self.record_operation(owner, call);
        if self.crash_falls(owner, call, operation) {
            return (honest(call.kind), Wait::Crashed);
        }
        let refused = self.refused(owner, call, operation);
        let chosen = self.fault_falls(owner, call, operation).or(refused);
        let decision =
            chosen.unwrap_or_else(|| self.node(owner.node).decide(&call.path, call.kind, call.length));
        let latency_ns = self.node(owner.node).latency_ns(&call.path, call.kind, bytes);
        let passage = self.carry_over(owner, call, operation, decision);
        self.remount(owner, call, operation, decision);
        let wait = if latency_ns > 0 { Wait::Latency(Duration::from_nanos(latency_ns)) } else { Wait::Turn };
        (passage, wait)
    }

    fn admit_store(&mut self, store: &Store) {
        let call = Call {
            mount: store.mount,
            kind: OperationKind::Write,
            path: Arc::clone(&store.path),
            offset: store.offset,
            bytes: &store.bytes,
            length: store.bytes.len() as u64,
            descriptor: None,
        };
        self.counters.disk_operations += 1;
        let operation = self.files.operations(call.mount) + 1;
        self.record_call(&call, operation);
        if let Some(owner) = self.live_owner(call.mount) {
            self.record_operation(owner, &call);
            if !self.crash_falls(owner, &call, operation) {
                self.fault_passes_by(owner);
            }
        }
    }

    fn record_call(&mut self, call: &Call<'_>, operation: u64) {
        let event = Event::Disk {
            owner: self.owner_words(call.mount),
            operation,
            call: call.kind.name(),
            path: hash(call.path.as_bytes()),
            offset: call.offset,
            length: call.length,
            data: hash(call.bytes),
        };
        self.record_with(&event, &|| call.path.to_string());
    }

    /// Makes a drawn decision the call's, and traces it where it is a fault.
    fn carry_over(
        &mut self,
        owner: Incarnation,
        call: &Call<'_>,
        operation: u64,
        decision: Decision,
    ) -> Passage {
        let (passage, fault) = match decision {
            Decision::Proceed => (Passage::Proceed, None),
            Decision::Short(bytes) => {
                let count = usize::try_from(bytes).expect("a part of a buffer fits");
                (Passage::Short(count), Some(DiskFault::Short(bytes)))
            }
            Decision::Error(errno) => (Passage::Fail(errno), Some(DiskFault::Error(errno.raw()))),
            Decision::Sync(SyncFate::Honest) => (Passage::Sync(SyncFate::Honest), None),
            Decision::Sync(SyncFate::Lying) => (Passage::Sync(SyncFate::Lying), Some(DiskFault::Lie)),
            Decision::Sync(SyncFate::Failed) => {
                (Passage::Sync(SyncFate::Failed), Some(DiskFault::Error(libc::EIO)))
            }
            Decision::Lost => {
                self.send_astray(call, Landing::Lost);
                (Passage::Proceed, Some(DiskFault::Astray(Landing::Lost)))
            }
            Decision::Misdirected { pick } => {
                let landing = self.wrong_place(call, pick);
                self.send_astray(call, landing);
                (Passage::Proceed, Some(DiskFault::Astray(landing)))
            }
            Decision::Stale => {
                self.begin_stale_read(owner, call);
                (Passage::Proceed, None)
            }
        };
        if let Some(fault) = fault {
            self.record(&Event::DiskFault { owner: (owner.node.0, owner.number), operation, fault });
        }
        passage
    }

    /// Where a call stands.
    pub(crate) fn site(&self, call: &Call<'_>, operation: u64) -> CrashSite {
        CrashSite {
            operation,
            call: call.kind.name().to_string(),
            path: call.path.to_string(),
            offset: call.offset,
            length: call.length,
            is_write: call.kind == OperationKind::Write,
            inside: false,
            thread: self.current_thread_name(),
        }
    }

    /// Counts the call against the node's crash point, and crashes the node where it is due.
    fn crash_falls(&mut self, owner: Incarnation, call: &Call<'_>, operation: u64) -> bool {
        if self.node(owner.node).crash_point.is_none() {
            return false;
        }
        let mut site = self.site(call, operation);
        let Some(point) = &mut self.node(owner.node).crash_point else { return false };
        if !point.filter.matches(&site) {
            return false;
        }
        point.operation = point.operation.saturating_sub(1);
        if point.operation > 0 {
            return false;
        }
        let CrashPoint { crash, inside, .. } = *point;
        site.inside = inside && site.is_write && call.descriptor.is_some();
        if site.inside {
            self.write_in_part(owner, call, crash);
        }
        self.stop(owner.node, crash.cause(), Ok(()), Some(site));
        true
    }

    /// Carries out the part of a write that had reached the page cache when the crash fell. After a power
    /// failure it is the image that tears the write, so here it is done whole.
    fn write_in_part(&mut self, owner: Incarnation, call: &Call<'_>, crash: Crash) {
        let descriptor = call.descriptor.expect("a write inside which a crash falls has a descriptor");
        let Some(described) = self.files.describe(descriptor) else { return };
        let inode = described.inode;
        let stamp = self.stamp();
        let room = self.files.disk(call.mount).room(inode, call.offset, call.length);
        let bytes = &call.bytes[..usize::try_from(room).expect("no more room than bytes")];
        if bytes.is_empty() {
            return;
        }
        match crash {
            Crash::PowerFailure => {
                let disk = self.files.disk_mut(call.mount);
                disk.write(inode, call.offset, bytes, stamp);
                let write = disk.sequence();
                self.node(owner.node).power_fails_inside(write);
            }
            Crash::ProcessKill => {
                let touched = Sectors::touched(call.offset, room);
                let surviving = Sectors::prefix(touched, self.node(owner.node).draw_below(touched));
                self.files.disk_mut(call.mount).write_partially(inode, call.offset, bytes, &surviving, stamp);
            }
        }
    }
}

/// What a call is where no fault is drawn.
fn honest(kind: OperationKind) -> Passage {
    match kind {
        OperationKind::Sync | OperationKind::DataSync => Passage::Sync(SyncFate::Honest),
        OperationKind::Open
        | OperationKind::Create
        | OperationKind::Read
        | OperationKind::Write
        | OperationKind::Truncate
        | OperationKind::Allocate
        | OperationKind::RangeSync
        | OperationKind::Link
        | OperationKind::Unlink
        | OperationKind::Rename
        | OperationKind::MakeDirectory
        | OperationKind::RemoveDirectory
        | OperationKind::SetAttributes
        | OperationKind::Metadata
        | OperationKind::Lock => Passage::Proceed,
    }
}
