//! From the virtual file system's results to what C callers expect.

use super::errno;
use super::thread::is_simulated;
use crate::disk::Errno;
use crate::machine::Abort;
use crate::machine::scheduler::abort_run;
use crate::vfs;
use libc::{c_char, c_int, ssize_t};
use std::ffi::CStr;

/// A failed call: `errno` is set, or the run is over where the call is not supported.
pub(super) fn fail(error: vfs::Error) -> c_int {
    if let vfs::Error::Unsupported { call } = error {
        abort_run(Abort::UnsupportedCall { call: call.to_string() });
    }
    errno::fail(error.errno().raw())
}

/// Zero, or the failure.
pub(super) fn status(result: vfs::Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => fail(error),
    }
}

/// A descriptor or another number, or the failure.
pub(super) fn number(result: vfs::Result<c_int>) -> c_int {
    result.unwrap_or_else(fail)
}

/// A count of bytes, or the failure.
pub(super) fn count(result: vfs::Result<usize>) -> ssize_t {
    match result {
        Ok(count) => ssize_t::try_from(count).expect("a buffer's length fits ssize_t"),
        Err(error) => fail(error) as ssize_t,
    }
}

/// A failure with this errno.
pub(super) fn errno(errno: Errno) -> vfs::Error {
    vfs::Error::Errno(errno)
}

/// Whose a descriptor is.
pub(super) enum Whose {
    /// The virtual file system's; or nobody's, which it answers by EBADF.
    Machine,
    /// The host's, and the call may go there.
    Host,
}

/// Decides about a call on `descriptor`: a simulated thread has only virtual ones, and standard output and
/// error, to which engines may print.
pub(super) fn whose(call: &str, descriptor: c_int) -> Whose {
    if !is_simulated() {
        return Whose::Host;
    }
    let printing = matches!(descriptor, libc::STDOUT_FILENO | libc::STDERR_FILENO);
    if (0..vfs::FIRST_DESCRIPTOR).contains(&descriptor) {
        if printing && matches!(call, "write" | "writev") {
            return Whose::Host;
        }
        abort_run(Abort::EscapedCall { call: format!("{call}(descriptor {descriptor})") });
    }
    Whose::Machine
}

/// The bytes of a path that a caller passed, without its NUL.
pub(super) unsafe fn bytes<'a>(path: *const c_char) -> &'a [u8] {
    // SAFETY: every call with a path asks for a NUL-terminated one, which outlives the call.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}
