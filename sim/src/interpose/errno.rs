//! The calling thread's `errno`.

use libc::c_int;

/// Sets `errno` and returns −1, which is how most calls fail.
pub(super) fn fail(code: c_int) -> c_int {
    set(code);
    -1
}

/// Sets `errno`.
pub(super) fn set(code: c_int) {
    // SAFETY: the C library gives every thread its own place for errno, valid while it runs.
    unsafe { *libc::__errno_location() = code };
}
