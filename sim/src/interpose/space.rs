//! Free space, asked by name or by descriptor.

use super::answer::{self, Whose, bytes, whose};
use super::path::answer_by;
use super::real;
use crate::machine::gate;
use crate::vfs::{self, Space};
use libc::{AT_FDCWD, c_char, c_int};

/// `EXT4_SUPER_MAGIC` (statfs(2)): what the virtual file system is most like.
const MAGIC: libc::__fsword_t = 0xef53;
const LONGEST_NAME: u8 = 255;
/// The inodes that a disk seems to have; none are counted.
const INODES: u64 = 1 << 32;

fn fill_statvfs(found: vfs::Result<Space>, place: *mut libc::statvfs64) -> c_int {
    let space = match found {
        Ok(space) => space,
        Err(error) => return answer::fail(error),
    };
    // SAFETY: an all-zero structure is legal, and the caller lends a writable one.
    unsafe {
        let mut filled: libc::statvfs64 = std::mem::zeroed();
        (filled.f_bsize, filled.f_frsize) = (space.block_bytes, space.block_bytes);
        (filled.f_blocks, filled.f_bfree, filled.f_bavail) =
            (space.blocks, space.free_blocks, space.free_blocks);
        (filled.f_files, filled.f_ffree, filled.f_favail) = (INODES, INODES, INODES);
        filled.f_namemax = LONGEST_NAME.into();
        place.write(filled);
    }
    0
}

fn fill_statfs(found: vfs::Result<Space>, place: *mut libc::statfs64) -> c_int {
    let space = match found {
        Ok(space) => space,
        Err(error) => return answer::fail(error),
    };
    let block_bytes = libc::__fsword_t::try_from(space.block_bytes).expect("a block is small");
    // SAFETY: as above.
    unsafe {
        let mut filled: libc::statfs64 = std::mem::zeroed();
        filled.f_type = MAGIC;
        (filled.f_bsize, filled.f_frsize) = (block_bytes, block_bytes);
        (filled.f_blocks, filled.f_bfree, filled.f_bavail) =
            (space.blocks, space.free_blocks, space.free_blocks);
        (filled.f_files, filled.f_ffree) = (INODES, INODES);
        filled.f_namelen = LONGEST_NAME.into();
        place.write(filled);
    }
    0
}

unsafe fn by_name(path: *const c_char) -> vfs::Result<Space> {
    // SAFETY: the contract of every call with a path.
    let name = unsafe { bytes(path) };
    gate::files(|files, _| files.statvfs(AT_FDCWD, name))
}

/// Contract (statvfs(3)).
#[unsafe(no_mangle)]
unsafe extern "C" fn statvfs64(path: *const c_char, space: *mut libc::statvfs64) -> c_int {
    let (virtually, really) = (
        // SAFETY: passed on unchanged.
        |_| fill_statvfs(unsafe { by_name(path) }, space),
        // SAFETY: passed on unchanged.
        || unsafe { real::statvfs64(path, space) },
    );
    // SAFETY: passed on unchanged.
    unsafe { answer_by("statvfs64", AT_FDCWD, path, virtually, really) }
}

/// Contract (statfs(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn statfs64(path: *const c_char, space: *mut libc::statfs64) -> c_int {
    let (virtually, really) = (
        // SAFETY: passed on unchanged.
        |_| fill_statfs(unsafe { by_name(path) }, space),
        // SAFETY: passed on unchanged.
        || unsafe { real::statfs64(path, space) },
    );
    // SAFETY: passed on unchanged.
    unsafe { answer_by("statfs64", AT_FDCWD, path, virtually, really) }
}

/// Contract (statvfs(3)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fstatvfs64(descriptor: c_int, space: *mut libc::statvfs64) -> c_int {
    match whose("fstatvfs64", descriptor) {
        Whose::Machine => fill_statvfs(gate::files(|files, _| files.fstatvfs(descriptor)), space),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fstatvfs64(descriptor, space) },
    }
}

/// Contract (statfs(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fstatfs64(descriptor: c_int, space: *mut libc::statfs64) -> c_int {
    match whose("fstatfs64", descriptor) {
        Whose::Machine => fill_statfs(gate::files(|files, _| files.fstatvfs(descriptor)), space),
        // SAFETY: passed on unchanged.
        Whose::Host => unsafe { real::fstatfs64(descriptor, space) },
    }
}
