//! Entropy: a node's own stream answers its threads.

use super::real;
use super::thread::is_simulated;
use crate::machine::node;
use libc::{c_char, c_int, c_uint, c_void, size_t, ssize_t};
use std::ffi::CStr;

/// Fills `length` bytes for the calling simulated thread.
pub(super) unsafe fn fill(bytes: *mut u8, length: usize) {
    // SAFETY: the caller lends `length` writable bytes.
    node::fill_entropy(unsafe { std::slice::from_raw_parts_mut(bytes, length) });
}

/// Contract (getrandom(2)): fills the whole buffer.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_getrandom(bytes: *mut u8, length: size_t, flags: c_uint) -> ssize_t {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::__real_getrandom(bytes, length, flags) };
    }
    // SAFETY: the caller lends `length` writable bytes.
    unsafe { fill(bytes, length) };
    ssize_t::try_from(length).expect("a buffer's length fits ssize_t")
}

/// Contract (getentropy(3)): fills the whole buffer.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_getentropy(bytes: *mut u8, length: size_t) -> c_int {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::__real_getentropy(bytes, length) };
    }
    // SAFETY: the caller lends `length` writable bytes.
    unsafe { fill(bytes, length) };
    0
}

/// Contract (dlsym(3)). Crate `getrandom` 0.3 and later looks `getrandom` up at run time; it finds ours.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void {
    // SAFETY: the caller passes a NUL-terminated symbol.
    if handle == libc::RTLD_DEFAULT && unsafe { CStr::from_ptr(symbol) } == c"getrandom" {
        return __wrap_getrandom as *const () as *mut c_void;
    }
    // SAFETY: passed on unchanged.
    unsafe { real::dlsym(handle, symbol) }
}
