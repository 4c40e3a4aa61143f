//! What a file is besides its bytes: its size, mode and times, asked and set by name or by descriptor.

use super::answer::{self, bytes};
use super::path::{Place, answer_by, change, place, within};
use super::thread::is_simulated;
use super::{errno, real};
use crate::disk::{Errno, Metadata, OperationKind};
use crate::machine::gate;
use crate::vfs::{self, MountId, Times};
use libc::{AT_FDCWD, c_char, c_int, c_uint, mode_t, off64_t};

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

/// Contract (fchmodat(2)): the flag changes nothing, for the virtual disk has no symbolic links.
#[unsafe(no_mangle)]
unsafe extern "C" fn fchmodat(directory: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "fchmodat",
            directory,
            path,
            |mount| {
                if flags & !libc::AT_SYMLINK_NOFOLLOW != 0 {
                    return answer::fail(answer::errno(Errno::EINVAL));
                }
                let name = bytes(path);
                change(mount, OperationKind::SetAttributes, within(name), |files, stamp| {
                    files.fchmodat(stamp, directory, name, mode)
                })
            },
            || real::fchmodat(directory, path, mode, flags),
        )
    }
}

/// What a caller of `utimensat` or `futimens` asks for: null means now, for both times. Times before 1970 are not
/// supported.
unsafe fn times(wished: *const libc::timespec) -> vfs::Result<[Time; 2]> {
    if wished.is_null() {
        return Ok([Time::Now; 2]);
    }
    // SAFETY: the caller lends two times.
    let wished = unsafe { std::slice::from_raw_parts(wished, 2) };
    let time = |wish: &libc::timespec| match wish.tv_nsec {
        libc::UTIME_NOW => Ok(Time::Now),
        libc::UTIME_OMIT => Ok(Time::Omit),
        nanos if !(0..1_000_000_000).contains(&nanos) => Err(answer::errno(Errno::EINVAL)),
        nanos => {
            let total = i128::from(wish.tv_sec) * 1_000_000_000 + i128::from(nanos);
            let call = "utimensat with a time before 1970, or after 2554";
            u64::try_from(total).map(Time::At).map_err(|_| vfs::Error::Unsupported { call })
        }
    };
    Ok([time(&wished[0])?, time(&wished[1])?])
}

#[derive(Clone, Copy)]
enum Time {
    Now,
    Omit,
    At(u64),
}

/// The times to set at `now_ns`; none where there is nothing to set.
fn at(times: [Time; 2], now_ns: u64) -> Option<Times> {
    let [accessed_ns, modified_ns] = times.map(|time| match time {
        Time::Now => Some(now_ns),
        Time::Omit => None,
        Time::At(nanos) => Some(nanos),
    });
    (accessed_ns.is_some() || modified_ns.is_some()).then_some(Times { accessed_ns, modified_ns })
}

/// Contract (utimensat(2)): the flag changes nothing, for the virtual disk has no symbolic links.
#[unsafe(no_mangle)]
unsafe extern "C" fn utimensat(
    directory: c_int,
    path: *const c_char,
    wished: *const libc::timespec,
    flags: c_int,
) -> c_int {
    if path.is_null() && is_simulated() {
        return errno::fail(libc::EINVAL);
    }
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "utimensat",
            directory,
            path,
            |mount| {
                let name = bytes(path);
                if flags & !libc::AT_SYMLINK_NOFOLLOW != 0 {
                    return answer::fail(answer::errno(Errno::EINVAL));
                }
                match times(wished) {
                    Err(error) => answer::fail(error),
                    Ok(wish) => change(mount, OperationKind::SetAttributes, within(name), |files, stamp| {
                        match at(wish, stamp.now_ns) {
                            Some(times) => files.utimensat(stamp, directory, name, times),
                            None => Ok(()),
                        }
                    }),
                }
            },
            || real::utimensat(directory, path, wished, flags),
        )
    }
}

/// Contract (futimens(3)).
#[unsafe(no_mangle)]
unsafe extern "C" fn futimens(descriptor: c_int, wished: *const libc::timespec) -> c_int {
    if let answer::Whose::Host = answer::whose("futimens", descriptor) {
        // SAFETY: passed on unchanged.
        return unsafe { real::futimens(descriptor, wished) };
    }
    // SAFETY: the caller lends two times, or null.
    match unsafe { times(wished) } {
        Err(error) => answer::fail(error),
        Ok(wish) => super::file::change(descriptor, OperationKind::SetAttributes, (0, 0), |files, stamp| {
            match at(wish, stamp.now_ns) {
                Some(times) => files.futimens(stamp, descriptor, times),
                None => Ok(()),
            }
        }),
    }
}

/// Contract (faccessat(2)): the flags change nothing, for every process is root and there are no symbolic links.
#[unsafe(no_mangle)]
unsafe extern "C" fn faccessat(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe {
        answer_by(
            "faccessat",
            directory,
            path,
            |_| {
                if flags & !(libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW) != 0 {
                    return answer::fail(answer::errno(Errno::EINVAL));
                }
                answer::status(gate::files(|files, _| files.faccessat(directory, bytes(path), mode)))
            },
            || real::faccessat(directory, path, mode, flags),
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
