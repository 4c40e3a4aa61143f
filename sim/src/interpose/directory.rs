//! Directory streams.

use super::answer;
use super::baton::BatonCell;
use super::hermetic::refuse_host_path;
use super::thread::is_simulated;
use super::{errno, real};
use crate::machine::gate;
use crate::vfs::{self, StreamId};
use libc::{AT_FDCWD, DIR, c_char, c_int, c_long, dirent64};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::ptr::null_mut;

/// A stream of the machine: what its caller's `DIR *` points to.
struct Stream {
    id: StreamId,
    /// The entry that `readdir64` returned last; valid until the next call on the stream.
    entry: dirent64,
}

// A boxed stream stays where it is while the map grows, for its address is the caller's handle.
static STREAMS: BatonCell<BTreeMap<usize, Box<Stream>>> = BatonCell::new(BTreeMap::new());

fn begin(descriptor: vfs::Result<c_int>) -> *mut DIR {
    let opened = descriptor.and_then(|descriptor| gate::files(|files, _| files.fdopendir(descriptor)));
    match opened {
        Ok(id) => {
            // SAFETY: an all-zero dirent64 is legal.
            let stream = Box::new(Stream { id, entry: unsafe { std::mem::zeroed() } });
            let address = std::ptr::from_ref(&*stream) as usize;
            STREAMS.with(|streams| streams.insert(address, stream));
            address as *mut DIR
        }
        Err(error) => {
            answer::fail(error);
            null_mut()
        }
    }
}

/// The machine's stream behind a handle; none for a handle of the host's.
fn stream(directory: *mut DIR) -> Option<StreamId> {
    if !is_simulated() {
        return None;
    }
    STREAMS.with(|streams| streams.get(&(directory as usize)).map(|stream| stream.id))
}

/// Contract (opendir(3)).
#[unsafe(no_mangle)]
unsafe extern "C" fn opendir(path: *const c_char) -> *mut DIR {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::opendir(path) };
    }
    // SAFETY: the contract asks for a NUL-terminated path.
    let (name, text) = unsafe { (answer::bytes(path), CStr::from_ptr(path)) };
    if gate::files(|files, _| files.resolve_mount(AT_FDCWD, name)).is_none() {
        errno::set(refuse_host_path("opendir", text));
        return null_mut();
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    begin(gate::files(|files, stamp| files.openat(stamp, AT_FDCWD, name, flags, 0)))
}

/// Contract (fdopendir(3)): the descriptor belongs to the stream from then on.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdopendir(descriptor: c_int) -> *mut DIR {
    match answer::whose("fdopendir", descriptor) {
        answer::Whose::Machine => begin(Ok(descriptor)),
        // SAFETY: passed on unchanged.
        answer::Whose::Host => unsafe { real::fdopendir(descriptor) },
    }
}

/// Contract (readdir(3)): the next entry, or null at the end with errno unchanged.
#[unsafe(no_mangle)]
unsafe extern "C" fn readdir64(directory: *mut DIR) -> *mut dirent64 {
    let Some(id) = stream(directory) else {
        // SAFETY: passed on unchanged.
        return unsafe { real::readdir64(directory) };
    };
    let next = gate::files(|files, _| {
        files.readdir(id).map(|entry| {
            entry.map(|entry| {
                // SAFETY: an all-zero dirent64 is legal.
                let mut filled: dirent64 = unsafe { std::mem::zeroed() };
                filled.d_ino = entry.inode.get();
                filled.d_type = entry.d_type();
                filled.d_reclen = u16::try_from(size_of::<dirent64>()).expect("an entry is small");
                for (place, byte) in filled.d_name.iter_mut().zip(entry.name.iter()) {
                    *place = byte.cast_signed();
                }
                filled
            })
        })
    });
    match next {
        Ok(None) => null_mut(),
        Ok(Some(entry)) => STREAMS.with(|streams| {
            let stream = streams.get_mut(&(directory as usize)).expect("the stream was found above");
            stream.entry = entry;
            &raw mut stream.entry
        }),
        Err(error) => {
            answer::fail(error);
            null_mut()
        }
    }
}

/// Contract (rewinddir(3)): begins anew with the entries as they are now.
#[unsafe(no_mangle)]
unsafe extern "C" fn rewinddir(directory: *mut DIR) {
    match stream(directory) {
        Some(id) => {
            answer::status(gate::files(|files, _| files.rewinddir(id)));
        }
        // SAFETY: passed on unchanged.
        None => unsafe { real::rewinddir(directory) },
    }
}

/// Contract (telldir(3)).
#[unsafe(no_mangle)]
unsafe extern "C" fn telldir(directory: *mut DIR) -> c_long {
    match stream(directory) {
        Some(id) => match gate::files(|files, _| files.telldir(id)) {
            Ok(position) => position,
            Err(error) => answer::fail(error).into(),
        },
        // SAFETY: passed on unchanged.
        None => unsafe { real::telldir(directory) },
    }
}

/// Contract (seekdir(3)).
#[unsafe(no_mangle)]
unsafe extern "C" fn seekdir(directory: *mut DIR, position: c_long) {
    match stream(directory) {
        Some(id) => {
            answer::status(gate::files(|files, _| files.seekdir(id, position)));
        }
        // SAFETY: passed on unchanged.
        None => unsafe { real::seekdir(directory, position) },
    }
}

/// Contract (dirfd(3)).
#[unsafe(no_mangle)]
unsafe extern "C" fn dirfd(directory: *mut DIR) -> c_int {
    match stream(directory) {
        Some(id) => answer::number(gate::files(|files, _| files.dirfd(id))),
        // SAFETY: passed on unchanged.
        None => unsafe { real::dirfd(directory) },
    }
}

/// Contract (closedir(3)).
#[unsafe(no_mangle)]
unsafe extern "C" fn closedir(directory: *mut DIR) -> c_int {
    let Some(id) = stream(directory) else {
        // SAFETY: passed on unchanged.
        return unsafe { real::closedir(directory) };
    };
    STREAMS.with(|streams| streams.remove(&(directory as usize)));
    answer::status(gate::files(|files, _| files.closedir(id)))
}
