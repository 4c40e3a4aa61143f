//! Opening files.

use super::answer::{self, bytes};
use super::path::{answer_by, within};
use super::real;
use crate::disk::OperationKind;
use crate::machine::gate::{self, Call, Passage};
use crate::vfs::MountId;
use libc::{AT_FDCWD, c_char, c_int, mode_t};

unsafe fn open_virtual(
    mount: MountId,
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: the contract of open(2).
    let name = unsafe { bytes(path) };
    let kind = gate::files(|files, _| files.open_kind(directory, name, flags));
    if kind != OperationKind::Open {
        let call = Call {
            mount,
            kind,
            path: within(name).into(),
            offset: 0,
            bytes: &[],
            length: 0,
            descriptor: None,
        };
        if let Passage::Fail(errno) = gate::pass(&call) {
            return answer::fail(answer::errno(errno));
        }
    }
    answer::number(gate::files(|files, stamp| files.openat(stamp, directory, name, flags, mode)))
}

/// Contract (open(2)). The mode is there only where a file may be created.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "open64",
            AT_FDCWD,
            path,
            |mount| open_virtual(mount, AT_FDCWD, path, flags, mode.cast_unsigned()),
            || real::open64(path, flags, mode),
        )
    }
}

/// Contract: as `open64`.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe { open64(path, flags, mode) }
}

/// Contract (creat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn creat64(path: *const c_char, mode: c_int) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe { open64(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

/// Contract (openat(2)).
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn openat64(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: c_int,
) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "openat64",
            directory,
            path,
            |mount| open_virtual(mount, directory, path, flags, mode.cast_unsigned()),
            || real::openat64(directory, path, flags, mode),
        )
    }
}

/// Contract: as `openat64`.
#[unsafe(no_mangle)]
unsafe extern "C" fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe { openat64(directory, path, flags, mode) }
}
