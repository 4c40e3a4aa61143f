//! Where names lead, and what the calls on names share.

use super::answer::{self, bytes};
use super::hermetic::refuse_host_path;
use super::thread::is_simulated;
use super::{errno, real};
use crate::disk::{OperationKind, Stamp};
use crate::machine::gate::{self, Call, Passage};
use crate::vfs::{self, MountId, Vfs};
use libc::{AT_FDCWD, c_char, c_int, size_t, ssize_t};
use std::ffi::CStr;

/// Where a name leads.
pub(super) enum Place {
    /// To the machine.
    Machine(MountId),
    /// To the host; the caller is not simulated.
    Host,
    /// To the host, from a simulated thread: this errno.
    Refused(c_int),
}

pub(super) unsafe fn place(call: &str, directory: c_int, path: *const c_char) -> Place {
    if !is_simulated() {
        return Place::Host;
    }
    // SAFETY: the contract of every call with a path.
    let (name, text) = unsafe { (bytes(path), CStr::from_ptr(path)) };
    match gate::files(|files, _| files.resolve_mount(directory, name)) {
        Some(mount) => Place::Machine(mount),
        None => Place::Refused(refuse_host_path(call, text)),
    }
}

/// Answers a call on a name: `virtually` on the machine, `really` on the host.
pub(super) unsafe fn answer_by(
    call: &str,
    directory: c_int,
    path: *const c_char,
    virtually: impl FnOnce(MountId) -> c_int,
    really: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the contract of every call with a path.
    match unsafe { place(call, directory, path) } {
        Place::Machine(mount) => virtually(mount),
        Place::Host => really(),
        Place::Refused(code) => errno::fail(code),
    }
}

/// Lets a change of names pass the gate, and carries it out.
pub(super) fn change(
    mount: MountId,
    kind: OperationKind,
    path: String,
    work: impl FnOnce(&mut Vfs, Stamp) -> vfs::Result<()>,
) -> c_int {
    let call = Call { mount, kind, path: path.into(), offset: 0, bytes: &[], length: 0, descriptor: None };
    match gate::pass(&call) {
        Passage::Fail(errno) => answer::fail(answer::errno(errno)),
        Passage::Proceed | Passage::Short(_) | Passage::Sync(_) => answer::status(gate::files(work)),
    }
}

/// A path within its mount, as text, for the trace and for reports. Mounts lie two components deep.
pub(super) fn within(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let tail = text.strip_prefix("/brownout/").and_then(|rest| rest.split_once('/'));
    tail.map_or_else(|| text.to_string(), |(_, tail)| tail.to_string())
}

/// Contract (readlink(2)): nothing on the virtual disk is a symbolic link.
#[unsafe(no_mangle)]
unsafe extern "C" fn readlink(path: *const c_char, target: *mut c_char, length: size_t) -> ssize_t {
    // SAFETY: passed on unchanged; nothing is ever written to `target` on the machine.
    unsafe {
        match place("readlink", AT_FDCWD, path) {
            Place::Machine(_) => answer::count(gate::files(|files, _| {
                files.readlinkat(AT_FDCWD, bytes(path)).map(|link| link.len())
            })),
            Place::Host => real::readlink(path, target, length),
            Place::Refused(code) => errno::fail(code) as ssize_t,
        }
    }
}

/// Contract (readlink(2)): as `readlink`.
#[unsafe(no_mangle)]
unsafe extern "C" fn readlinkat(
    directory: c_int,
    path: *const c_char,
    target: *mut c_char,
    length: size_t,
) -> ssize_t {
    // SAFETY: passed on unchanged; nothing is ever written to `target` on the machine.
    unsafe {
        match place("readlinkat", directory, path) {
            Place::Machine(_) => answer::count(gate::files(|files, _| {
                files.readlinkat(directory, bytes(path)).map(|link| link.len())
            })),
            Place::Host => real::readlinkat(directory, path, target, length),
            Place::Refused(code) => errno::fail(code) as ssize_t,
        }
    }
}

/// Contract (realpath(3)): the result is the caller's, from the C library's `malloc`, unless it lent a buffer.
#[unsafe(no_mangle)]
unsafe extern "C" fn realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char {
    // SAFETY: the caller passes a NUL-terminated path, and null or PATH_MAX writable bytes.
    unsafe {
        match place("realpath", AT_FDCWD, path) {
            Place::Host => real::realpath(path, resolved),
            Place::Refused(code) => {
                errno::set(code);
                std::ptr::null_mut()
            }
            Place::Machine(_) => match gate::files(|files, _| files.realpath(AT_FDCWD, bytes(path))) {
                Err(error) => {
                    answer::fail(error);
                    std::ptr::null_mut()
                }
                Ok(name) => give_path(&name, resolved),
            },
        }
    }
}

/// Contract (canonicalize_file_name(3)): `realpath` with memory of its own.
#[unsafe(no_mangle)]
unsafe extern "C" fn canonicalize_file_name(path: *const c_char) -> *mut c_char {
    // SAFETY: passed on unchanged.
    unsafe { realpath(path, std::ptr::null_mut()) }
}

/// Contract (getcwd(3)): a simulated process works in the root, where nothing is its own. (lsm-tree asks while it
/// makes a default that is never used.)
#[unsafe(no_mangle)]
unsafe extern "C" fn getcwd(place: *mut c_char, length: size_t) -> *mut c_char {
    const ROOT: &CStr = c"/";
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::getcwd(place, length) };
    }
    if !place.is_null() && length <= ROOT.count_bytes() {
        errno::set(libc::ERANGE);
        return std::ptr::null_mut();
    }
    // SAFETY: the caller lends `length` bytes, enough as just checked, or null for memory of its own.
    unsafe { give_path(ROOT.to_bytes(), place) }
}

/// Copies a path into `place`, or into memory of its own where that is null.
unsafe fn give_path(name: &[u8], place: *mut c_char) -> *mut c_char {
    // SAFETY: `place` has PATH_MAX bytes, more than any path that the machine resolves; malloc's result is
    // checked, and as large as is written.
    unsafe {
        let place = if place.is_null() { libc::malloc(name.len() + 1).cast::<c_char>() } else { place };
        if !place.is_null() {
            std::ptr::copy_nonoverlapping(name.as_ptr().cast(), place, name.len());
            *place.add(name.len()) = 0;
        }
        place
    }
}
