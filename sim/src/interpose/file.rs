//! Calls on descriptors.

use super::answer::{self, Whose, whose};
use super::real;
use crate::disk::{OperationKind, SyncFate};
use crate::machine::gate::{self, Call, Passage};
use crate::machine::scheduler::{self, Request};
use crate::vfs;
use libc::{c_int, c_long, c_uint, c_void, iovec, mode_t, off64_t, size_t, ssize_t};
use std::sync::Arc;
use std::time::Duration;

/// How long a blocked lock waits before it asks again.
const LOCK_POLL: Duration = Duration::from_millis(1);

/// Lets a call on a descriptor pass the gate. A bad descriptor passes: the call itself says EBADF.
fn pass(descriptor: c_int, kind: OperationKind, range: (u64, u64), bytes: &[u8]) -> Passage {
    let described = gate::files(|files, _| {
        files.describe(descriptor).map(|it| (it.mount, Arc::clone(it.path), it.write_offset))
    });
    let Some((mount, path, write_offset)) = described else { return Passage::Proceed };
    let offset = if range.0 == AT_POSITION { write_offset } else { range.0 };
    let call = Call { mount, kind, path, offset, bytes, length: range.1, descriptor: Some(descriptor) };
    gate::pass(&call)
}

/// In place of an offset: wherever the description stands.
const AT_POSITION: u64 = u64::MAX;

fn unsigned(offset: off64_t) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

fn write_at(descriptor: c_int, bytes: &[u8], offset: Option<off64_t>) -> ssize_t {
    let place = offset.map_or(AT_POSITION, unsigned);
    let bytes = match pass(descriptor, OperationKind::Write, (place, bytes.len() as u64), bytes) {
        Passage::Proceed | Passage::Sync(_) => bytes,
        Passage::Short(count) => &bytes[..count],
        Passage::Fail(errno) => return answer::fail(answer::errno(errno)) as ssize_t,
    };
    answer::count(gate::files(|files, stamp| match offset {
        Some(offset) => files.pwrite(stamp, descriptor, bytes, offset),
        None => files.write(stamp, descriptor, bytes),
    }))
}

fn read_at(descriptor: c_int, buffer: &mut [u8], offset: Option<off64_t>) -> ssize_t {
    let described = gate::files(|files, _| {
        files.describe(descriptor).map(|it| (it.mount, Arc::clone(it.path), it.offset))
    });
    let Some((mount, path, position)) = described else {
        return answer::fail(answer::errno(crate::disk::Errno::EBADF)) as ssize_t;
    };
    let buffer = match gate::pass_read(mount, &path, buffer.len() as u64) {
        Passage::Proceed | Passage::Sync(_) => buffer,
        Passage::Short(count) => &mut buffer[..count],
        Passage::Fail(errno) => return answer::fail(answer::errno(errno)) as ssize_t,
    };
    let result = gate::files(|files, _| match offset {
        Some(offset) => files.pread(descriptor, buffer, offset),
        None => files.read(descriptor, buffer),
    });
    if let Ok(count) = result {
        gate::record_read(mount, offset.map_or(position, unsigned), &buffer[..count]);
    }
    answer::count(result)
}

fn sync(descriptor: c_int, kind: OperationKind) -> c_int {
    let fate = match pass(descriptor, kind, (0, 0), &[]) {
        Passage::Sync(fate) => fate,
        Passage::Proceed | Passage::Short(_) => SyncFate::Honest,
        Passage::Fail(errno) => return answer::fail(answer::errno(errno)),
    };
    answer::status(gate::files(|files, stamp| match kind {
        OperationKind::DataSync => files.fdatasync(stamp, descriptor, fate),
        _ => files.fsync(stamp, descriptor, fate),
    }))
}

/// Lets a call pass that can only proceed or fail.
fn change(
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

/// Gathers the buffers of a vectored call.
unsafe fn vectors<'a>(vectors: *const iovec, count: c_int) -> &'a [iovec] {
    // SAFETY: the caller lends `count` vectors.
    unsafe { std::slice::from_raw_parts(vectors, usize::try_from(count).unwrap_or(0)) }
}

unsafe fn gather(list: &[iovec]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(list.iter().map(|part| part.iov_len).sum());
    for part in list.iter().filter(|part| part.iov_len > 0) {
        // SAFETY: each vector describes readable bytes.
        bytes.extend_from_slice(unsafe {
            std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len)
        });
    }
    bytes
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

/// Contract (read(2)): may be cut short or interrupted, as on Linux.
#[unsafe(no_mangle)]
unsafe extern "C" fn read(descriptor: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    match whose("read", descriptor) {
        // SAFETY: the caller lends `length` writable bytes.
        Whose::Machine => read_at(descriptor, unsafe { writable(buffer, length) }, None),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::read(descriptor, buffer, length) },
    }
}

/// Contract (pread(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(
    descriptor: c_int,
    buffer: *mut c_void,
    length: size_t,
    offset: off64_t,
) -> ssize_t {
    match whose("pread64", descriptor) {
        // SAFETY: the caller lends `length` writable bytes.
        Whose::Machine => read_at(descriptor, unsafe { writable(buffer, length) }, Some(offset)),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::pread64(descriptor, buffer, length, offset) },
    }
}

/// Contract (readv(2)): fills the buffers in order; may stop early, as `read` may.
#[unsafe(no_mangle)]
unsafe extern "C" fn readv(descriptor: c_int, list: *const iovec, count: c_int) -> ssize_t {
    if let Whose::Host = whose("readv", descriptor) {
        // SAFETY: passed on unchanged.
        return unsafe { real::readv(descriptor, list, count) };
    }
    let mut total = 0;
    // SAFETY: the caller lends `count` vectors.
    for part in unsafe { vectors(list, count) } {
        // SAFETY: each vector describes writable bytes.
        let got = read_at(descriptor, unsafe { writable(part.iov_base, part.iov_len) }, None);
        if got < 0 {
            return if total > 0 { total } else { got };
        }
        total += got;
        if got.unsigned_abs() < part.iov_len {
            break;
        }
    }
    total
}

/// Contract (write(2)): may be cut short or interrupted, as on Linux.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    match whose("write", descriptor) {
        // SAFETY: the caller lends `length` readable bytes.
        Whose::Machine => write_at(descriptor, unsafe { readable(bytes, length) }, None),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::write(descriptor, bytes, length) },
    }
}

/// Contract (pwrite(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    descriptor: c_int,
    bytes: *const c_void,
    length: size_t,
    offset: off64_t,
) -> ssize_t {
    match whose("pwrite64", descriptor) {
        // SAFETY: the caller lends `length` readable bytes.
        Whose::Machine => write_at(descriptor, unsafe { readable(bytes, length) }, Some(offset)),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::pwrite64(descriptor, bytes, length, offset) },
    }
}

/// Contract (writev(2)): one write of all the buffers.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(descriptor: c_int, list: *const iovec, count: c_int) -> ssize_t {
    match whose("writev", descriptor) {
        // SAFETY: the caller lends `count` vectors of readable bytes.
        Whose::Machine => write_at(descriptor, &unsafe { gather(vectors(list, count)) }, None),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::writev(descriptor, list, count) },
    }
}

unsafe fn writable<'a>(buffer: *mut c_void, length: size_t) -> &'a mut [u8] {
    // SAFETY: the caller of every reading call lends `length` writable bytes; none need no place.
    if length == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(buffer.cast(), length) } }
}

unsafe fn readable<'a>(bytes: *const c_void, length: size_t) -> &'a [u8] {
    // SAFETY: the caller of every writing call lends `length` readable bytes; none need no place.
    if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(bytes.cast(), length) } }
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

/// Contract (fsync(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(descriptor: c_int) -> c_int {
    match whose("fsync", descriptor) {
        Whose::Machine => sync(descriptor, OperationKind::Sync),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fsync(descriptor) },
    }
}

/// Contract (fdatasync(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    match whose("fdatasync", descriptor) {
        Whose::Machine => sync(descriptor, OperationKind::DataSync),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fdatasync(descriptor) },
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
            let range = (unsigned(offset), unsigned(length));
            change(descriptor, OperationKind::RangeSync, range, |files, stamp| {
                files.sync_file_range(stamp, descriptor, offset, length, flags)
            })
        }
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::sync_file_range(descriptor, offset, length, flags) },
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

/// Contract (mmap(2)): anonymous memory is the host's; files cannot be mapped yet, and say so.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    descriptor: c_int,
    offset: off64_t,
) -> *mut c_void {
    if flags & libc::MAP_ANONYMOUS == 0 && super::thread::is_simulated() {
        answer::fail(vfs::Error::Unsupported { call: "mmap of a file" });
        return libc::MAP_FAILED;
    }
    // SAFETY: passed on unchanged.
    unsafe { real::mmap64(address, length, protection, flags, descriptor, offset) }
}

/// Contract (copy_file_range(2)): not supported yet, and says so.
#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    length: size_t,
    flags: c_uint,
) -> ssize_t {
    if super::thread::is_simulated() {
        return answer::fail(vfs::Error::Unsupported { call: "copy_file_range" }) as ssize_t;
    }
    // SAFETY: passed on unchanged.
    unsafe { real::copy_file_range(from, from_offset, to, to_offset, length, flags) }
}
