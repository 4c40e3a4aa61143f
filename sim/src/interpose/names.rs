//! Calls that change names.

use super::answer::{self, bytes};
use super::path::{answer_by, change, within};
use super::real;
use crate::disk::{FileType, OperationKind};
use crate::machine::gate;
use crate::vfs::MountId;
use libc::{AT_FDCWD, c_char, c_int, c_uint, mode_t};

/// Contract (mkdir(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "mkdir",
            AT_FDCWD,
            path,
            |mount| make_directory(mount, AT_FDCWD, path, mode),
            || real::mkdir(path, mode),
        )
    }
}

/// Contract (mkdirat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn mkdirat(directory: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "mkdirat",
            directory,
            path,
            |mount| make_directory(mount, directory, path, mode),
            || real::mkdirat(directory, path, mode),
        )
    }
}

unsafe fn make_directory(mount: MountId, directory: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the contract of mkdir(2).
    let name = unsafe { bytes(path) };
    change(mount, OperationKind::MakeDirectory, within(name), |files, stamp| {
        files.mkdirat(stamp, directory, name, mode)
    })
}

/// Contract (unlink(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "unlink",
            AT_FDCWD,
            path,
            |mount| remove_virtual(mount, AT_FDCWD, path, 0),
            || real::unlink(path),
        )
    }
}

/// Contract (rmdir(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "rmdir",
            AT_FDCWD,
            path,
            |mount| remove_virtual(mount, AT_FDCWD, path, libc::AT_REMOVEDIR),
            || real::rmdir(path),
        )
    }
}

/// Contract (remove(3)): `unlink`, or `rmdir` of a directory.
#[unsafe(no_mangle)]
unsafe extern "C" fn remove(path: *const c_char) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "remove",
            AT_FDCWD,
            path,
            |mount| {
                let found = gate::files(|files, _| files.fstatat(AT_FDCWD, bytes(path), 0));
                let directory = found.is_ok_and(|(_, found)| found.file_type == FileType::Directory);
                remove_virtual(mount, AT_FDCWD, path, if directory { libc::AT_REMOVEDIR } else { 0 })
            },
            || real::remove(path),
        )
    }
}

/// Contract (unlinkat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "unlinkat",
            directory,
            path,
            |mount| remove_virtual(mount, directory, path, flags),
            || real::unlinkat(directory, path, flags),
        )
    }
}

unsafe fn remove_virtual(mount: MountId, directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the contract of unlinkat(2).
    let name = unsafe { bytes(path) };
    let kind =
        if flags & libc::AT_REMOVEDIR == 0 { OperationKind::Unlink } else { OperationKind::RemoveDirectory };
    change(mount, kind, within(name), |files, stamp| files.unlinkat(stamp, directory, name, flags))
}

/// Contract (rename(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "rename",
            AT_FDCWD,
            from,
            |mount| rename_virtual(mount, (AT_FDCWD, from), (AT_FDCWD, to), 0),
            || real::rename(from, to),
        )
    }
}

/// Contract (renameat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "renameat",
            from_directory,
            from,
            |mount| rename_virtual(mount, (from_directory, from), (to_directory, to), 0),
            || real::renameat(from_directory, from, to_directory, to),
        )
    }
}

/// Contract (renameat2(2)).
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn renameat2(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "renameat2",
            from_directory,
            from,
            |mount| rename_virtual(mount, (from_directory, from), (to_directory, to), flags),
            || real::renameat2(from_directory, from, to_directory, to, flags),
        )
    }
}

unsafe fn rename_virtual(
    mount: MountId,
    from: (c_int, *const c_char),
    to: (c_int, *const c_char),
    flags: c_uint,
) -> c_int {
    // SAFETY: the contract of renameat2(2).
    let (old, new) = unsafe { (bytes(from.1), bytes(to.1)) };
    let path = format!("{} → {}", within(old), within(new));
    change(mount, OperationKind::Rename, path, |files, stamp| {
        files.renameat2(stamp, (from.0, old), (to.0, new), flags)
    })
}

/// Contract (link(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "link",
            AT_FDCWD,
            from,
            |mount| link_virtual(mount, (AT_FDCWD, from), (AT_FDCWD, to), 0),
            || real::link(from, to),
        )
    }
}

/// Contract (linkat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "linkat",
            from_directory,
            from,
            |mount| link_virtual(mount, (from_directory, from), (to_directory, to), flags),
            || real::linkat(from_directory, from, to_directory, to, flags),
        )
    }
}

unsafe fn link_virtual(
    mount: MountId,
    from: (c_int, *const c_char),
    to: (c_int, *const c_char),
    flags: c_int,
) -> c_int {
    // SAFETY: the contract of linkat(2).
    let (old, new) = unsafe { (bytes(from.1), bytes(to.1)) };
    let path = format!("{} → {}", within(old), within(new));
    change(mount, OperationKind::Link, path, |files, stamp| {
        files.linkat(stamp, (from.0, old), (to.0, new), flags)
    })
}

/// Contract (symlink(2)): the virtual disk has no symbolic links, and says so.
#[unsafe(no_mangle)]
unsafe extern "C" fn symlink(target: *const c_char, path: *const c_char) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "symlink",
            AT_FDCWD,
            path,
            |_| answer::status(gate::files(|files, _| files.symlinkat())),
            || real::symlink(target, path),
        )
    }
}
