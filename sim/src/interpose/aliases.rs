//! Second names: on 64-bit Linux the calls without `64` in their name are those with it, argument for argument and
//! structure for structure (feature_test_macros(7): `off_t` has 64 bits there anyway). Crates and C code that use
//! the short names must not slip past the machine.

use libc::{DIR, c_char, c_int, c_void, dirent64, off64_t, size_t, ssize_t, stat64};

/// Defines each short name as its long one.
macro_rules! second_names {
    ($(fn $short:ident = $long:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        mod long {
            use super::*;
            unsafe extern "C" {
                $(pub(super) fn $long($($argument: $type),*) -> $result;)*
            }
        }
        $(
            /// Contract: that of the name with `64`.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $short($($argument: $type),*) -> $result {
                // SAFETY: passed on unchanged.
                unsafe { long::$long($($argument),*) }
            }
        )*
    };
}

second_names! {
    fn pread = pread64(descriptor: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) -> ssize_t;
    fn pwrite = pwrite64(descriptor: c_int, bytes: *const c_void, length: size_t, offset: off64_t) -> ssize_t;
    fn lseek = lseek64(descriptor: c_int, offset: off64_t, whence: c_int) -> off64_t;
    fn ftruncate = ftruncate64(descriptor: c_int, size: off64_t) -> c_int;
    fn truncate = truncate64(path: *const c_char, size: off64_t) -> c_int;
    fn fallocate = fallocate64(descriptor: c_int, mode: c_int, offset: off64_t, length: off64_t) -> c_int;
    fn posix_fallocate = posix_fallocate64(descriptor: c_int, offset: off64_t, length: off64_t) -> c_int;
    fn posix_fadvise = posix_fadvise64(descriptor: c_int, offset: off64_t, length: off64_t, advice: c_int) -> c_int;
    fn stat = stat64(path: *const c_char, status: *mut stat64) -> c_int;
    fn lstat = lstat64(path: *const c_char, status: *mut stat64) -> c_int;
    fn fstat = fstat64(descriptor: c_int, status: *mut stat64) -> c_int;
    fn fstatat = fstatat64(directory: c_int, path: *const c_char, status: *mut stat64, flags: c_int) -> c_int;
    fn readdir = readdir64(directory: *mut DIR) -> *mut dirent64;
    fn mmap = mmap64(
        address: *mut c_void, length: size_t, protection: c_int, flags: c_int, descriptor: c_int, offset: off64_t
    ) -> *mut c_void;
}
