//! Calls on descriptors: what they refer to, sizes, locks.

use super::answer::{self, Whose, whose};
use super::real;
use super::transfer::{pass, unsigned};
use crate::disk::OperationKind;
use crate::machine::gate::{self, Passage};
use crate::machine::scheduler::{self, Request};
use crate::vfs;
use libc::{c_int, c_long, mode_t, off64_t};
use std::time::Duration;

/// How long a blocked lock waits before it asks again.
const LOCK_POLL: Duration = Duration::from_millis(1);

/// Lets a call pass that can only proceed or fail.
pub(super) fn change(
    descriptor: c_int,
    kind: OperationKind,
    range: (u64, u64),
    work: impl FnOnce(&mut vfs::Vfs, crate::disk::Stamp) -> vfs::Result<()>,
) -> c_int {
    match pass(descriptor, kind, range, &[]) {
        Passage::Fail(errno) => answer::fail(answer::errno(errno)),
        Passage::Proceed | Passage::Short(_) | Passage::Sync(_) => answer::status(gate::files(work)),
    }
}

/// Contract (close(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    match whose("close", descriptor) {
        Whose::Machine => answer::status(gate::files(|files, _| files.close(descriptor))),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::close(descriptor) },
    }
}

/// Contract (lseek(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn lseek64(descriptor: c_int, offset: off64_t, whence: c_int) -> off64_t {
    match whose("lseek64", descriptor) {
        Whose::Machine => match gate::files(|files, _| files.lseek(descriptor, offset, whence)) {
            Ok(position) => position,
            Err(error) => answer::fail(error).into(),
        },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::lseek64(descriptor, offset, whence) },
    }
}

/// Contract (ftruncate(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(descriptor: c_int, size: off64_t) -> c_int {
    match whose("ftruncate64", descriptor) {
        Whose::Machine => change(descriptor, OperationKind::Truncate, (unsigned(size), 0), |files, stamp| {
            files.ftruncate(stamp, descriptor, size)
        }),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::ftruncate64(descriptor, size) },
    }
}

/// Contract (fallocate(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate64(descriptor: c_int, mode: c_int, offset: off64_t, length: off64_t) -> c_int {
    match whose("fallocate64", descriptor) {
        Whose::Machine => {
            let range = (unsigned(offset), unsigned(length));
            change(descriptor, OperationKind::Allocate, range, |files, stamp| {
                files.fallocate(stamp, descriptor, mode, offset, length)
            })
        }
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fallocate64(descriptor, mode, offset, length) },
    }
}

/// Contract (posix_fallocate(3)): as `fallocate` with mode 0, but returns its error.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fallocate64(descriptor: c_int, offset: off64_t, length: off64_t) -> c_int {
    if let Whose::Host = whose("posix_fallocate64", descriptor) {
        // SAFETY: passed on unchanged.
        return unsafe { real::posix_fallocate64(descriptor, offset, length) };
    }
    // SAFETY: fallocate64 is this module's own.
    match unsafe { fallocate64(descriptor, 0, offset, length) } {
        0 => 0,
        // SAFETY: errno was set by the failed call.
        _ => unsafe { *libc::__errno_location() },
    }
}

/// Contract (posix_fadvise(2)): advice, taken without consequence.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fadvise64(
    descriptor: c_int,
    offset: off64_t,
    length: off64_t,
    advice: c_int,
) -> c_int {
    match whose("posix_fadvise64", descriptor) {
        Whose::Machine => match gate::files(|files, _| files.describe(descriptor).is_some()) {
            true => 0,
            false => libc::EBADF,
        },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::posix_fadvise64(descriptor, offset, length, advice) },
    }
}

/// Contract (readahead(2)): advice, taken without consequence.
#[unsafe(no_mangle)]
unsafe extern "C" fn readahead(descriptor: c_int, offset: off64_t, count: libc::size_t) -> libc::ssize_t {
    match whose("readahead", descriptor) {
        Whose::Machine => answer::count(gate::files(|files, _| files.readahead(descriptor)).map(|()| 0)),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::readahead(descriptor, offset, count) },
    }
}

/// Contract (fchmod(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fchmod(descriptor: c_int, mode: mode_t) -> c_int {
    match whose("fchmod", descriptor) {
        Whose::Machine => change(descriptor, OperationKind::SetAttributes, (0, 0), |files, stamp| {
            files.fchmod(stamp, descriptor, mode)
        }),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fchmod(descriptor, mode) },
    }
}

/// Contract (dup(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn dup(descriptor: c_int) -> c_int {
    match whose("dup", descriptor) {
        Whose::Machine => answer::number(gate::files(|files, _| files.dup(descriptor))),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::dup(descriptor) },
    }
}

/// Contract (dup2(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    match whose("dup2", from) {
        Whose::Machine => answer::number(gate::files(|files, _| files.dup_to(from, to, false, false))),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::dup2(from, to) },
    }
}

/// Contract (dup3(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    match whose("dup3", from) {
        Whose::Machine if flags & !libc::O_CLOEXEC != 0 => {
            answer::fail(answer::errno(crate::disk::Errno::EINVAL))
        }
        Whose::Machine => {
            let close_on_exec = flags & libc::O_CLOEXEC != 0;
            answer::number(gate::files(|files, _| files.dup_to(from, to, true, close_on_exec)))
        }
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::dup3(from, to, flags) },
    }
}

/// Asks for a lock until it is granted, where the caller is willing to wait.
fn lock(waits: bool, mut ask: impl FnMut() -> vfs::Result<()>) -> c_int {
    loop {
        match ask() {
            Err(error) if waits && error == answer::errno(crate::disk::Errno::EAGAIN) => {
                super::thread::park(Request::Sleep(LOCK_POLL));
            }
            result => return answer::status(result),
        }
    }
}

/// Contract (flock(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn flock(descriptor: c_int, operation: c_int) -> c_int {
    match whose("flock", descriptor) {
        Whose::Machine => {
            scheduler::preemption_point();
            lock(operation & libc::LOCK_NB == 0, || {
                gate::files(|files, _| files.flock(descriptor, operation))
            })
        }
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::flock(descriptor, operation) },
    }
}

/// Contract (fcntl(2)): descriptors, flags, and record locks of processes and descriptions.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn fcntl(descriptor: c_int, command: c_int, argument: c_long) -> c_int {
    match whose("fcntl", descriptor) {
        // SAFETY: the caller keeps fcntl(2)'s contract.
        Whose::Machine => unsafe { virtual_fcntl(descriptor, command, argument) },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fcntl(descriptor, command, argument) },
    }
}

/// Contract: as `fcntl`; glibc's name for it where files are large.
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl64(descriptor: c_int, command: c_int, argument: c_long) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe { fcntl(descriptor, command, argument) }
}

unsafe fn virtual_fcntl(descriptor: c_int, command: c_int, argument: c_long) -> c_int {
    match command {
        libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW => {
            // SAFETY: for these commands the argument points to a lock.
            let wish = unsafe { &mut *(argument as *mut libc::flock64) };
            let waits = matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW);
            lock(waits, || gate::files(|files, _| files.fcntl_lock(descriptor, command, wish)))
        }
        _ => {
            // The commands that remain take an int, which a variadic call passes in a whole register.
            let argument = argument as c_int;
            answer::number(gate::files(|files, _| files.fcntl(descriptor, command, argument)))
        }
    }
}
