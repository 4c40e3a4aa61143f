//! Calls that make things durable.

use super::answer::{self, Whose, whose};
use super::real;
use crate::disk::{OperationKind, SyncFate, SyncScope};
use crate::machine::gate::{self, Call, Passage};
use crate::vfs::{self, OpenSync};
use libc::{c_int, c_uint, off64_t};
use std::sync::Arc;

/// Lets a sync pass the gate, where it takes its time, and carries it out. What it covers was settled before.
pub(super) fn carry_out(sync: OpenSync) -> vfs::Result<()> {
    let (offset, length) = sync.range();
    let call = Call {
        mount: sync.mount(),
        kind: sync.kind(),
        path: Arc::clone(sync.path()),
        offset,
        bytes: &[],
        length,
        descriptor: None,
    };
    let fate = match gate::pass_sync(&call, &sync) {
        Passage::Sync(fate) => fate,
        Passage::Proceed | Passage::Short(_) => SyncFate::Honest,
        Passage::Fail(errno) => return Err(answer::errno(errno)),
    };
    gate::files(|files, stamp| files.sync_end(stamp, sync, fate))
}

fn of_descriptor(descriptor: c_int, scope: SyncScope) -> c_int {
    answer::status(gate::files(|files, _| files.sync_begin(descriptor, scope)).and_then(carry_out))
}

/// Contract (fsync(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(descriptor: c_int) -> c_int {
    match whose("fsync", descriptor) {
        Whose::Machine => of_descriptor(descriptor, SyncScope::All),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fsync(descriptor) },
    }
}

/// Contract (fdatasync(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    match whose("fdatasync", descriptor) {
        Whose::Machine => of_descriptor(descriptor, SyncScope::Data),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fdatasync(descriptor) },
    }
}

/// Contract (syncfs(2)): everything on the file system that the descriptor's file is on.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn syncfs(descriptor: c_int) -> c_int {
    match whose("syncfs", descriptor) {
        Whose::Machine => {
            let mount = gate::files(|files, _| files.fstat(descriptor).map(|(mount, _)| mount));
            let begun = mount.map(|mount| gate::files(|files, _| files.sync_all_begin(mount)));
            answer::status(begun.and_then(carry_out))
        }
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::syncfs(descriptor) },
    }
}

/// Contract (sync(2)): everything on the disk of the caller's node; it cannot fail, so a failure is lost.
#[unsafe(no_mangle)]
unsafe extern "C" fn sync() {
    if !super::thread::is_simulated() {
        // SAFETY: takes nothing.
        return unsafe { real::sync() };
    }
    for mount in gate::own_mounts() {
        // The call tells nobody (sync(2): "sync() is always successful").
        let _ = carry_out(gate::files(|files, _| files.sync_all_begin(mount)));
    }
}

/// Contract (sync_file_range(2)): starts write-back and promises nothing.
#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(
    descriptor: c_int,
    offset: off64_t,
    length: off64_t,
    flags: c_uint,
) -> c_int {
    match whose("sync_file_range", descriptor) {
        Whose::Machine => {
            let range = (super::transfer::unsigned(offset), super::transfer::unsigned(length));
            super::file::change(descriptor, OperationKind::RangeSync, range, |files, stamp| {
                files.sync_file_range(stamp, descriptor, offset, length, flags)
            })
        }
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::sync_file_range(descriptor, offset, length, flags) },
    }
}
