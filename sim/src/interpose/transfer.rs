//! Calls that read and write bytes.

use super::answer::{self, Whose, whose};
use super::mapping::Lent;
use super::{real, sync};
use crate::disk::{Errno, OperationKind};
use crate::machine::gate::{self, Call, Passage};
use crate::vfs::{self, Copy, CopyEnds};
use libc::{c_int, c_uint, c_void, iovec, off64_t, size_t, ssize_t};
use std::sync::Arc;

/// Lets a call on a descriptor pass the gate. A bad descriptor passes: the call itself says EBADF.
pub(super) fn pass(descriptor: c_int, kind: OperationKind, range: (u64, u64), bytes: &[u8]) -> Passage {
    let described =
        gate::files(|files, _| files.describe(descriptor).map(|it| (it.mount, Arc::clone(it.path))));
    let Some((mount, path)) = described else { return Passage::Proceed };
    let (offset, length) = range;
    gate::pass(&Call { mount, kind, path, offset, bytes, length, descriptor: Some(descriptor) })
}

pub(super) fn unsigned(offset: off64_t) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

/// A write of bytes that do not lie in a mapping, and the sync that it ends with where it is a synchronous one.
fn write_at(descriptor: c_int, bytes: &[u8], offset: Option<off64_t>, flags: c_int) -> ssize_t {
    let place = gate::files(|files, _| files.write_place(descriptor, offset.map(unsigned), flags));
    let range = (place.unwrap_or(0), bytes.len() as u64);
    let bytes = match pass(descriptor, OperationKind::Write, range, bytes) {
        Passage::Proceed | Passage::Sync(_) => bytes,
        Passage::Short(count) => &bytes[..count],
        Passage::Fail(errno) => return answer::fail(answer::errno(errno)) as ssize_t,
    };
    let written = gate::files(|files, stamp| {
        let written = files.write_with(stamp, descriptor, bytes, offset, flags)?;
        Ok((written.count, files.sync_of_write(descriptor, written, flags)))
    });
    // A write that cannot be made durable fails, though its bytes stand in the page cache (`generic_write_sync`).
    answer::count(written.and_then(|(count, sync)| {
        sync.map_or(Ok(()), sync::carry_out)?;
        Ok(count)
    }))
}

/// A read into bytes that do not lie in a mapping.
fn read_at(descriptor: c_int, buffer: &mut [u8], offset: Option<off64_t>) -> ssize_t {
    let described = gate::files(|files, _| {
        files.describe(descriptor).map(|it| (it.mount, Arc::clone(it.path), it.offset))
    });
    let Some((mount, path, position)) = described else {
        return answer::fail(answer::errno(Errno::EBADF)) as ssize_t;
    };
    let offset_read = offset.map_or(position, unsigned);
    let call = Call {
        mount,
        kind: OperationKind::Read,
        path,
        offset: offset_read,
        bytes: &[],
        length: buffer.len() as u64,
        descriptor: Some(descriptor),
    };
    let buffer = match gate::pass_read(&call) {
        Passage::Proceed | Passage::Sync(_) => buffer,
        Passage::Short(count) => &mut buffer[..count],
        Passage::Fail(errno) => return answer::fail(answer::errno(errno)) as ssize_t,
    };
    let result = gate::files(|files, _| match offset {
        Some(offset) => files.pread(descriptor, buffer, offset),
        None => files.read(descriptor, buffer),
    });
    if let Ok(count) = result {
        gate::finish_read(&call, &mut buffer[..count]);
    }
    answer::count(result)
}

/// What `O_DIRECT` asks of the buffers of a call.
fn check_direct(
    descriptor: c_int,
    offset: Option<off64_t>,
    buffers: &[(usize, usize)],
    write: bool,
) -> vfs::Result<()> {
    gate::files(|files, _| files.check_direct(descriptor, offset, buffers, write))
}

/// Likewise, and the flags of a vectored call.
fn check(
    descriptor: c_int,
    offset: Option<off64_t>,
    buffers: &[(usize, usize)],
    flags: c_int,
    write: bool,
) -> vfs::Result<()> {
    let total = buffers.iter().map(|(_, length)| length).sum();
    gate::files(|files, _| files.check_flags(descriptor, flags, total, write))?;
    check_direct(descriptor, offset, buffers, write)
}

/// Reads into one buffer, wherever it lies.
unsafe fn read_into(
    descriptor: c_int,
    buffer: *mut c_void,
    length: size_t,
    offset: Option<off64_t>,
) -> ssize_t {
    match Lent::to_fill(buffer, length) {
        Err(error) => answer::fail(error) as ssize_t,
        // SAFETY: the caller of every reading call lends `length` writable bytes; none need no place.
        Ok(Lent::Own) => unsafe {
            let place = if length == 0 {
                &mut []
            } else {
                std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
            };
            read_at(descriptor, place, offset)
        },
        Ok(Lent::Copy(mut copy)) => {
            let count = read_at(descriptor, &mut copy, offset);
            // SAFETY: as above; the pages of the mapping fault in here.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    copy.as_ptr(),
                    buffer.cast::<u8>(),
                    usize::try_from(count).unwrap_or(0),
                );
            }
            count
        }
    }
}

/// Writes the bytes of one buffer, wherever it lies.
unsafe fn write_from(
    descriptor: c_int,
    bytes: *const c_void,
    length: size_t,
    offset: Option<off64_t>,
) -> ssize_t {
    let direct = check_direct(descriptor, offset, &[(bytes as usize, length)], true);
    match direct.and_then(|()| Lent::to_read(bytes, length)) {
        Err(error) => answer::fail(error) as ssize_t,
        // SAFETY: the caller of every writing call lends `length` readable bytes; none need no place.
        Ok(Lent::Own) => unsafe {
            let bytes =
                if length == 0 { &[] } else { std::slice::from_raw_parts(bytes.cast::<u8>(), length) };
            write_at(descriptor, bytes, offset, 0)
        },
        Ok(Lent::Copy(copy)) => write_at(descriptor, &copy, offset, 0),
    }
}

/// Contract (read(2)): may be cut short or interrupted, as on Linux.
#[unsafe(no_mangle)]
unsafe extern "C" fn read(descriptor: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    match whose("read", descriptor) {
        // SAFETY: passed on unchanged.
        Whose::Machine => match check_direct(descriptor, None, &[(buffer as usize, length)], false) {
            Ok(()) => unsafe { read_into(descriptor, buffer, length, None) },
            Err(error) => answer::fail(error) as ssize_t,
        },
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
        // SAFETY: passed on unchanged.
        Whose::Machine => match check_direct(descriptor, Some(offset), &[(buffer as usize, length)], false) {
            Ok(()) => unsafe { read_into(descriptor, buffer, length, Some(offset)) },
            Err(error) => answer::fail(error) as ssize_t,
        },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::pread64(descriptor, buffer, length, offset) },
    }
}

/// Contract (write(2)): may be cut short or interrupted, as on Linux.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    match whose("write", descriptor) {
        // SAFETY: passed on unchanged.
        Whose::Machine => unsafe { write_from(descriptor, bytes, length, None) },
        Whose::Host => match Lent::to_read(bytes, length) {
            // SAFETY: passed on unchanged.
            Ok(Lent::Own) => unsafe { real::write(descriptor, bytes, length) },
            // SAFETY: the copy is as long as what was given.
            Ok(Lent::Copy(copy)) => unsafe { real::write(descriptor, copy.as_ptr().cast(), length) },
            Err(error) => answer::fail(error) as ssize_t,
        },
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
        // SAFETY: passed on unchanged.
        Whose::Machine => unsafe { write_from(descriptor, bytes, length, Some(offset)) },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::pwrite64(descriptor, bytes, length, offset) },
    }
}

/// The most buffers that one call takes (`IOV_MAX`).
const MOST_VECTORS: c_int = 1024;

/// The address and length of a buffer.
type Extent = (usize, usize);

/// The buffers of a vectored call, with the place of each.
unsafe fn vectors<'a>(list: *const iovec, count: c_int) -> vfs::Result<(&'a [iovec], Vec<Extent>)> {
    if !(0..=MOST_VECTORS).contains(&count) {
        return Err(answer::errno(Errno::EINVAL));
    }
    let count = usize::try_from(count).expect("just checked");
    // SAFETY: the caller lends `count` vectors; none need no place.
    let list = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(list, count) } };
    Ok((list, list.iter().map(|part| (part.iov_base as usize, part.iov_len)).collect()))
}

/// Fills the buffers in order; may stop early, as `read` may.
unsafe fn read_vectors(
    descriptor: c_int,
    list: *const iovec,
    count: c_int,
    offset: Option<off64_t>,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller lends `count` vectors.
    let checked = unsafe { vectors(list, count) }.and_then(|(list, places)| {
        check(descriptor, offset, &places, flags, false)?;
        Ok(list)
    });
    let list = match checked {
        Ok(list) => list,
        Err(error) => return answer::fail(error) as ssize_t,
    };
    if list.is_empty() {
        // SAFETY: no bytes need no place; the call still says what is wrong with the descriptor.
        return unsafe { read_into(descriptor, std::ptr::null_mut(), 0, offset) };
    }
    let mut total = 0;
    for part in list {
        let next = offset.map(|offset| offset + total as off64_t);
        // SAFETY: each vector describes writable bytes.
        let got = unsafe { read_into(descriptor, part.iov_base, part.iov_len, next) };
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

/// One write of all the buffers.
unsafe fn write_vectors(
    descriptor: c_int,
    list: *const iovec,
    count: c_int,
    offset: Option<off64_t>,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller lends `count` vectors of readable bytes.
    let gathered = unsafe { vectors(list, count) }.and_then(|(list, places)| {
        check(descriptor, offset, &places, flags, true)?;
        let mut bytes = Vec::with_capacity(places.iter().map(|(_, length)| length).sum());
        for part in list.iter().filter(|part| part.iov_len > 0) {
            match Lent::to_read(part.iov_base, part.iov_len)? {
                Lent::Copy(copy) => bytes.extend_from_slice(&copy),
                // SAFETY: each vector describes readable bytes.
                Lent::Own => bytes.extend_from_slice(unsafe {
                    std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len)
                }),
            }
        }
        Ok(bytes)
    });
    match gathered {
        Ok(bytes) => write_at(descriptor, &bytes, offset, flags),
        Err(error) => answer::fail(error) as ssize_t,
    }
}

/// Contract (readv(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn readv(descriptor: c_int, list: *const iovec, count: c_int) -> ssize_t {
    match whose("readv", descriptor) {
        // SAFETY: passed on unchanged.
        Whose::Machine => unsafe { read_vectors(descriptor, list, count, None, 0) },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::readv(descriptor, list, count) },
    }
}

/// Contract (preadv(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn preadv64(
    descriptor: c_int,
    list: *const iovec,
    count: c_int,
    offset: off64_t,
) -> ssize_t {
    match whose("preadv64", descriptor) {
        // SAFETY: passed on unchanged.
        Whose::Machine => unsafe { read_vectors(descriptor, list, count, Some(offset), 0) },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::preadv64(descriptor, list, count, offset) },
    }
}

/// Contract (preadv2(2)): an offset of −1 is wherever the description stands.
#[unsafe(no_mangle)]
unsafe extern "C" fn preadv64v2(
    descriptor: c_int,
    list: *const iovec,
    count: c_int,
    offset: off64_t,
    flags: c_int,
) -> ssize_t {
    match whose("preadv64v2", descriptor) {
        Whose::Machine => {
            let offset = (offset != -1).then_some(offset);
            // SAFETY: passed on unchanged.
            unsafe { read_vectors(descriptor, list, count, offset, flags) }
        }
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::preadv64v2(descriptor, list, count, offset, flags) },
    }
}

/// Contract (writev(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(descriptor: c_int, list: *const iovec, count: c_int) -> ssize_t {
    match whose("writev", descriptor) {
        // SAFETY: passed on unchanged.
        Whose::Machine => unsafe { write_vectors(descriptor, list, count, None, 0) },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::writev(descriptor, list, count) },
    }
}

/// Contract (pwritev(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(
    descriptor: c_int,
    list: *const iovec,
    count: c_int,
    offset: off64_t,
) -> ssize_t {
    match whose("pwritev64", descriptor) {
        // SAFETY: passed on unchanged.
        Whose::Machine => unsafe { write_vectors(descriptor, list, count, Some(offset), 0) },
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::pwritev64(descriptor, list, count, offset) },
    }
}

/// Contract (pwritev2(2)): an offset of −1 is wherever the description stands.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64v2(
    descriptor: c_int,
    list: *const iovec,
    count: c_int,
    offset: off64_t,
    flags: c_int,
) -> ssize_t {
    match whose("pwritev64v2", descriptor) {
        Whose::Machine => {
            let offset = (offset != -1).then_some(offset);
            // SAFETY: passed on unchanged.
            unsafe { write_vectors(descriptor, list, count, offset, flags) }
        }
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::pwritev64v2(descriptor, list, count, offset, flags) },
    }
}

/// Carries out a copy: one write of the bytes, which may be cut short, and its sync.
fn copy(ends: CopyEnds, begun: vfs::Result<Copy>) -> vfs::Result<usize> {
    let mut copy = begun?;
    if copy.bytes.is_empty() {
        return Ok(0);
    }
    match pass(ends.to, OperationKind::Write, (copy.to, copy.bytes.len() as u64), &copy.bytes) {
        Passage::Proceed | Passage::Sync(_) => {}
        Passage::Short(count) => copy.bytes.truncate(count),
        Passage::Fail(errno) => return Err(answer::errno(errno)),
    }
    let written = gate::files(|files, stamp| files.copy_end(stamp, ends, &copy))?;
    let sync = gate::files(|files, _| files.sync_of_write(ends.to, written, 0));
    sync.map_or(Ok(()), sync::carry_out)?;
    Ok(written.count)
}

/// The offset that a caller lends, if it does.
unsafe fn lent(offset: *const off64_t) -> Option<off64_t> {
    // SAFETY: the offset is null or readable.
    unsafe { offset.as_ref() }.copied()
}

unsafe fn advance(offset: *mut off64_t, copied: &vfs::Result<usize>) {
    // SAFETY: the offset is null or writable.
    if let (Some(offset), Ok(count)) = (unsafe { offset.as_mut() }, copied) {
        *offset += off64_t::try_from(*count).expect("a file's length fits");
    }
}

/// Contract (copy_file_range(2)): between two files of one disk.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    length: size_t,
    flags: c_uint,
) -> ssize_t {
    if let (Whose::Host, Whose::Host) = (whose("copy_file_range", from), whose("copy_file_range", to)) {
        // SAFETY: passed on unchanged.
        return unsafe { real::copy_file_range(from, from_offset, to, to_offset, length, flags) };
    }
    // SAFETY: the offsets are null or lent.
    unsafe {
        let ends = CopyEnds { from, from_offset: lent(from_offset), to, to_offset: lent(to_offset) };
        let copied = copy(ends, gate::files(|files, _| files.copy_file_range_begin(ends, length, flags)));
        advance(from_offset, &copied);
        advance(to_offset, &copied);
        answer::count(copied)
    }
}

/// Contract (sendfile(2)): between two files.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(to: c_int, from: c_int, offset: *mut off64_t, length: size_t) -> ssize_t {
    if let (Whose::Host, Whose::Host) = (whose("sendfile64", to), whose("sendfile64", from)) {
        // SAFETY: passed on unchanged.
        return unsafe { real::sendfile64(to, from, offset, length) };
    }
    // SAFETY: the offset is null or lent.
    unsafe {
        let ends = CopyEnds { from, from_offset: lent(offset), to, to_offset: None };
        let copied = copy(ends, gate::files(|files, _| files.sendfile_begin(ends, length)));
        advance(offset, &copied);
        answer::count(copied)
    }
}
