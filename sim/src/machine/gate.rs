//! The gate: what every file-system call passes before it is carried out.
//!
//! In this order: the call is counted and traced; a crash that waits for it falls; its fault is drawn; the time
//! that it takes passes; another thread may get its turn. Only then does it change the disk, so a crash
//! "before operation n" leaves the disk as it was after operation n − 1.

use super::kernel::{self, Kernel};
use super::node::{Crash, CrashPoint, CrashSite, Incarnation};
use super::scheduler::{self, Request};
use crate::disk::{Decision, Errno, OperationKind, Sectors, Stamp, SyncFate};
use crate::event::{DiskFault, Event, hash};
use crate::interpose;
use crate::vfs::{MountId, Vfs};
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

/// Lets a read pass: it may fail or be cut short, but takes no time and moves no turn.
pub(crate) fn pass_read(mount: MountId, path: &str, length: u64) -> Passage {
    kernel::with(|kernel| {
        kernel.counters.reads += 1;
        let Some(owner) = kernel.live_owner(mount) else { return Passage::Proceed };
        let (decision, _) = kernel.node(owner.node).decide(path, OperationKind::Read, length);
        kernel.carry_over(owner, 0, decision)
    })
}

/// Traces what a read gave.
pub(crate) fn record_read(mount: MountId, offset: u64, bytes: &[u8]) {
    kernel::with(|kernel| {
        let owner = kernel.owner_words(mount);
        kernel.record(&Event::Read { owner, offset, length: bytes.len() as u64, data: hash(bytes) });
    });
}

/// Lends the file system to a call that is carried out now.
pub(crate) fn files<R>(work: impl FnOnce(&mut Vfs, Stamp) -> R) -> R {
    kernel::with(|kernel| {
        let stamp = kernel.stamp();
        work(&mut kernel.files, stamp)
    })
}

enum Wait {
    None,
    Latency(Duration),
    Crashed,
    Turn,
}

impl Kernel {
    fn stamp(&self) -> Stamp {
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
        self.counters.disk_operations += 1;
        if matches!(call.kind, OperationKind::Sync | OperationKind::DataSync) {
            self.counters.syncs += 1;
        }
        let operation = self.files.operations(call.mount) + 1;
        self.record_call(call, operation);
        let Some(owner) = self.live_owner(call.mount) else {
            return (honest(call.kind), Wait::None);
        };
        if self.crash_falls(owner, call, operation) {
            return (honest(call.kind), Wait::Crashed);
        }
        let (decision, latency_ns) = self.node(owner.node).decide(&call.path, call.kind, call.length);
        let passage = self.carry_over(owner, operation, decision);
        let wait = if latency_ns > 0 { Wait::Latency(Duration::from_nanos(latency_ns)) } else { Wait::Turn };
        (passage, wait)
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
    fn carry_over(&mut self, owner: Incarnation, operation: u64, decision: Decision) -> Passage {
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
        };
        if let Some(fault) = fault {
            self.record(&Event::DiskFault { owner: (owner.node.0, owner.number), operation, fault });
        }
        passage
    }

    /// Counts the call against the node's crash point, and crashes the node where it is due.
    fn crash_falls(&mut self, owner: Incarnation, call: &Call<'_>, operation: u64) -> bool {
        if self.node(owner.node).crash_point.is_none() {
            return false;
        }
        let mut site = CrashSite {
            operation,
            call: call.kind.name().to_string(),
            path: call.path.to_string(),
            offset: call.offset,
            length: call.length,
            is_write: call.kind == OperationKind::Write,
            inside: false,
            thread: self.current_thread_name(),
        };
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
    /// failure the image tears it further, so it is there whole.
    fn write_in_part(&mut self, owner: Incarnation, call: &Call<'_>, crash: Crash) {
        let descriptor = call.descriptor.expect("a write inside which a crash falls has a descriptor");
        let Some(described) = self.files.describe(descriptor) else { return };
        let inode = described.inode;
        if call.bytes.is_empty() {
            return;
        }
        let stamp = self.stamp();
        let touched = Sectors::touched(call.offset, call.length);
        let written = match crash {
            Crash::PowerFailure => touched,
            Crash::ProcessKill => self.node(owner.node).draw_below(touched),
        };
        let surviving = Sectors::prefix(touched, written);
        self.files.disk_mut(call.mount).write_partially(inode, call.offset, call.bytes, &surviving, stamp);
    }
}

/// What a call is where no fault is drawn.
fn honest(kind: OperationKind) -> Passage {
    match kind {
        OperationKind::Sync | OperationKind::DataSync => Passage::Sync(SyncFate::Honest),
        _ => Passage::Proceed,
    }
}
