//! Second names: on 64-bit Linux the calls without `64` in their name are those with it, argument for argument and
//! structure for structure (feature_test_macros(7): `off_t` has 64 bits there anyway). Crates and C code that use
//! the short names must not slip past the machine. Nor must C code that was compiled with `_FORTIFY_SOURCE`: its calls
//! have names of their own, with the size of the buffer as a further argument, which only the C library's checks read
//! (Linux Standard Base, `__read_chk` and its like).

use libc::{
    DIR, c_char, c_int, c_void, dirent64, iovec, off64_t, size_t, ssize_t, stat64, statfs64, statvfs64,
};

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
    fn preadv = preadv64(descriptor: c_int, list: *const iovec, count: c_int, offset: off64_t) -> ssize_t;
    fn pwritev = pwritev64(descriptor: c_int, list: *const iovec, count: c_int, offset: off64_t) -> ssize_t;
    fn preadv2 = preadv64v2(
        descriptor: c_int, list: *const iovec, count: c_int, offset: off64_t, flags: c_int
    ) -> ssize_t;
    fn pwritev2 = pwritev64v2(
        descriptor: c_int, list: *const iovec, count: c_int, offset: off64_t, flags: c_int
    ) -> ssize_t;
    fn sendfile = sendfile64(to: c_int, from: c_int, offset: *mut off64_t, length: size_t) -> ssize_t;
    fn creat = creat64(path: *const c_char, mode: c_int) -> c_int;
    fn statvfs = statvfs64(path: *const c_char, space: *mut statvfs64) -> c_int;
    fn fstatvfs = fstatvfs64(descriptor: c_int, space: *mut statvfs64) -> c_int;
    fn statfs = statfs64(path: *const c_char, space: *mut statfs64) -> c_int;
    fn fstatfs = fstatfs64(descriptor: c_int, space: *mut statfs64) -> c_int;
    fn readdir = readdir64(directory: *mut DIR) -> *mut dirent64;
    fn mmap = mmap64(
        address: *mut c_void, length: size_t, protection: c_int, flags: c_int, descriptor: c_int, offset: off64_t
    ) -> *mut c_void;
}

/// Defines each name for fortified code as the plain one, without the arguments that only the check reads.
macro_rules! fortified_names {
    ($(fn $name:ident = $plain:ident($($argument:ident: $type:ty),*) [$($size:ident),*] -> $result:ty;)*) => {
        mod plain {
            use super::*;
            unsafe extern "C" {
                $(pub(super) fn $plain($($argument: $type),*) -> $result;)*
            }
        }
        $(
            /// Contract: that of the plain name.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type,)* $($size: size_t),*) -> $result {
                $(let _ = $size;)*
                // SAFETY: passed on unchanged.
                unsafe { plain::$plain($($argument),*) }
            }
        )*
    };
}

fortified_names! {
    fn __read_chk = read(descriptor: c_int, buffer: *mut c_void, length: size_t) [_size] -> ssize_t;
    fn __pread_chk = pread64(descriptor: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) [_size] -> ssize_t;
    fn __readlink_chk = readlink(path: *const c_char, target: *mut c_char, length: size_t) [_size] -> ssize_t;
    fn __readlinkat_chk = readlinkat(
        directory: c_int, path: *const c_char, target: *mut c_char, length: size_t
    ) [_size] -> ssize_t;
    fn __realpath_chk = realpath(path: *const c_char, resolved: *mut c_char) [_size] -> *mut c_char;
    fn __getcwd_chk = getcwd(place: *mut c_char, length: size_t) [_size] -> *mut c_char;
}

/// Contract: as `__pread_chk`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __pread64_chk(
    descriptor: c_int,
    buffer: *mut c_void,
    length: size_t,
    offset: off64_t,
    size: size_t,
) -> ssize_t {
    // SAFETY: passed on unchanged.
    unsafe { __pread_chk(descriptor, buffer, length, offset, size) }
}

/// Defines the names by which fortified code opens files without creating them.
macro_rules! opening_names {
    ($($name:ident($($directory:ident)?) = $plain:ident;)*) => {
        $(
            /// Contract: that of the plain name, without `O_CREAT`.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($directory: c_int,)? path: *const c_char, flags: c_int) -> c_int {
                // SAFETY: passed on unchanged; no file is created, so no mode is read.
                unsafe { super::open::$plain($($directory,)? path, flags, 0) }
            }
        )*
    };
}

opening_names! {
    __open_2() = open64;
    __open64_2() = open64;
    __openat_2(directory) = openat64;
    __openat64_2(directory) = openat64;
}
