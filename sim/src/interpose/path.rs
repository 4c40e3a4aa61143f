//! Calls on names.

use super::answer::{self, bytes};
use super::hermetic::refuse_host_path;
use super::thread::is_simulated;
use super::{errno, real};
use crate::disk::{Metadata, OperationKind, Stamp};
use crate::machine::gate::{self, Call, Passage};
use crate::vfs::{self, MountId, Vfs};
use libc::{AT_FDCWD, c_char, c_int, c_uint, mode_t, off64_t, size_t, ssize_t};
use std::ffi::CStr;

/// Where a name leads.
enum Place {
    /// To the machine.
    Machine(MountId),
    /// To the host; the caller is not simulated.
    Host,
    /// To the host, from a simulated thread: this errno.
    Refused(c_int),
}

unsafe fn place(call: &str, directory: c_int, path: *const c_char) -> Place {
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
unsafe fn answer_by(
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
fn change(
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
fn within(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let tail = text.strip_prefix("/brownout/").and_then(|rest| rest.split_once('/'));
    tail.map_or_else(|| text.to_string(), |(_, tail)| tail.to_string())
}

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
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
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

/// Contract (openat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: c_int) -> c_int {
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
        answer_by("unlink", AT_FDCWD, path, |mount| remove(mount, AT_FDCWD, path, 0), || real::unlink(path))
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
            |mount| remove(mount, AT_FDCWD, path, libc::AT_REMOVEDIR),
            || real::rmdir(path),
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
            |mount| remove(mount, directory, path, flags),
            || real::unlinkat(directory, path, flags),
        )
    }
}

unsafe fn remove(mount: MountId, directory: c_int, path: *const c_char, flags: c_int) -> c_int {
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
unsafe extern "C" fn renameat2(
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

/// Contract (truncate(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn truncate64(path: *const c_char, size: off64_t) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "truncate64",
            AT_FDCWD,
            path,
            |mount| {
                let name = bytes(path);
                change(mount, OperationKind::Truncate, within(name), |files, stamp| {
                    files.truncate(stamp, name, size)
                })
            },
            || real::truncate64(path, size),
        )
    }
}

/// Contract (chmod(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn chmod(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "chmod",
            AT_FDCWD,
            path,
            |mount| {
                let name = bytes(path);
                change(mount, OperationKind::SetAttributes, within(name), |files, stamp| {
                    files.fchmodat(stamp, AT_FDCWD, name, mode)
                })
            },
            || real::chmod(path, mode),
        )
    }
}

/// Contract (access(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn access(path: *const c_char, mode: c_int) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "access",
            AT_FDCWD,
            path,
            |_| answer::status(gate::files(|files, _| files.faccessat(AT_FDCWD, bytes(path), mode))),
            || real::access(path, mode),
        )
    }
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

fn fill_stat(found: vfs::Result<(MountId, Metadata)>, status: *mut libc::stat64) -> c_int {
    let (mount, metadata) = match found {
        Ok(found) => found,
        Err(error) => return answer::fail(error),
    };
    // SAFETY: an all-zero stat64 is legal, and the caller lends a writable one.
    unsafe {
        let mut filled: libc::stat64 = std::mem::zeroed();
        filled.st_dev = mount.get().into();
        filled.st_ino = metadata.inode.get();
        filled.st_mode = metadata.mode();
        filled.st_nlink = metadata.links.into();
        filled.st_size = off64_t::try_from(metadata.size).expect("files are small");
        filled.st_blksize = 4096;
        filled.st_blocks = i64::try_from(metadata.blocks).expect("files are small");
        (filled.st_atime, filled.st_atime_nsec) = seconds(metadata.attributes.accessed_ns);
        (filled.st_mtime, filled.st_mtime_nsec) = seconds(metadata.attributes.modified_ns);
        (filled.st_ctime, filled.st_ctime_nsec) = seconds(metadata.attributes.changed_ns);
        *status = filled;
    }
    0
}

/// Virtual nanoseconds as seconds and the rest.
fn seconds(nanos: u64) -> (i64, i64) {
    let part = |number: u64| i64::try_from(number).expect("virtual time fits");
    (part(nanos / 1_000_000_000), part(nanos % 1_000_000_000))
}

/// Contract (fstat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fstat64(descriptor: c_int, status: *mut libc::stat64) -> c_int {
    match answer::whose("fstat64", descriptor) {
        answer::Whose::Machine => fill_stat(gate::files(|files, _| files.fstat(descriptor)), status),
        // SAFETY: passed on unchanged.
        answer::Whose::Host => unsafe { real::fstat64(descriptor, status) },
    }
}

/// Contract (stat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn stat64(path: *const c_char, status: *mut libc::stat64) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "stat64",
            AT_FDCWD,
            path,
            |_| fill_stat(gate::files(|files, _| files.fstatat(AT_FDCWD, bytes(path), 0)), status),
            || real::stat64(path, status),
        )
    }
}

/// Contract (lstat(2)): as `stat`, for the virtual disk has no symbolic links.
#[unsafe(no_mangle)]
unsafe extern "C" fn lstat64(path: *const c_char, status: *mut libc::stat64) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "lstat64",
            AT_FDCWD,
            path,
            |_| fill_stat(gate::files(|files, _| files.fstatat(AT_FDCWD, bytes(path), 0)), status),
            || real::lstat64(path, status),
        )
    }
}

/// Contract (fstatat(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn fstatat64(
    directory: c_int,
    path: *const c_char,
    status: *mut libc::stat64,
    flags: c_int,
) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "fstatat64",
            directory,
            path,
            |_| fill_stat(gate::files(|files, _| files.fstatat(directory, bytes(path), flags)), status),
            || real::fstatat64(directory, path, status, flags),
        )
    }
}

/// Contract (statx(2)): the basic fields.
#[unsafe(no_mangle)]
unsafe extern "C" fn statx(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    status: *mut libc::statx,
) -> c_int {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::statx(directory, path, flags, mask, status) };
    }
    // The standard library probes for the call with null pointers, and takes EFAULT for "it exists".
    if status.is_null() {
        return errno::fail(libc::EFAULT);
    }
    // SAFETY: the caller passes a NUL-terminated path, empty where the descriptor itself is meant.
    let found = unsafe {
        if path.is_null() || (*path == 0 && flags & libc::AT_EMPTY_PATH != 0) {
            gate::files(|files, _| files.fstat(directory))
        } else {
            match place("statx", directory, path) {
                Place::Machine(_) => gate::files(|files, _| files.fstatat(directory, bytes(path), flags)),
                Place::Host => return errno::fail(libc::ENOENT),
                Place::Refused(code) => return errno::fail(code),
            }
        }
    };
    fill_statx(found, status)
}

fn fill_statx(found: vfs::Result<(MountId, Metadata)>, status: *mut libc::statx) -> c_int {
    let (mount, metadata) = match found {
        Ok(found) => found,
        Err(error) => return answer::fail(error),
    };
    let time = |nanos: u64| {
        let (tv_sec, rest) = seconds(nanos);
        // SAFETY: an all-zero timestamp is legal.
        let mut time: libc::statx_timestamp = unsafe { std::mem::zeroed() };
        time.tv_sec = tv_sec;
        time.tv_nsec = u32::try_from(rest).expect("below a second");
        time
    };
    // SAFETY: an all-zero statx is legal, and the caller lends a writable one.
    unsafe {
        let mut filled: libc::statx = std::mem::zeroed();
        filled.stx_mask = libc::STATX_BASIC_STATS;
        filled.stx_blksize = 4096;
        filled.stx_nlink = metadata.links;
        filled.stx_mode = u16::try_from(metadata.mode()).expect("a mode has 16 bits");
        filled.stx_ino = metadata.inode.get();
        filled.stx_size = metadata.size;
        filled.stx_blocks = metadata.blocks;
        filled.stx_atime = time(metadata.attributes.accessed_ns);
        filled.stx_mtime = time(metadata.attributes.modified_ns);
        filled.stx_ctime = time(metadata.attributes.changed_ns);
        filled.stx_dev_minor = mount.get();
        status.write(filled);
    }
    0
}
