//! Mappings of the host's files, for tests that compare ours with them.

use libc::{c_int, c_void};
use std::ffi::CStr;
use std::io::Error;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A mapping of a file of the host's.
#[derive(Debug)]
pub(crate) struct HostMapping {
    address: *mut c_void,
    pub(crate) length: usize,
    pub(crate) writable: bool,
}

fn result(code: c_int) -> Result<(), c_int> {
    if code == 0 { Ok(()) } else { Err(Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

const fn protection(writable: bool) -> c_int {
    if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ }
}

/// truncate(2) of a file of the host's.
///
/// # Errors
/// Its error number.
pub(crate) fn host_truncate(path: &CStr, size: i64) -> Result<(), c_int> {
    // SAFETY: the path ends in NUL.
    result(unsafe { libc::truncate(path.as_ptr(), size) })
}

impl HostMapping {
    /// Maps `length` bytes at `offset`.
    ///
    /// # Errors
    /// The error number of mmap(2).
    pub(crate) fn new(
        file: BorrowedFd<'_>,
        length: usize,
        writable: bool,
        flags: c_int,
        offset: i64,
    ) -> Result<Self, c_int> {
        let null = std::ptr::null_mut();
        // SAFETY: a mapping at an address of the kernel's choice disturbs nobody.
        let address =
            unsafe { libc::mmap(null, length, protection(writable), flags, file.as_raw_fd(), offset) };
        if address == libc::MAP_FAILED {
            result(-1)?;
        }
        Ok(Self { address, length, writable })
    }

    /// Bytes of the mapping. The caller makes sure that the file reaches so far.
    pub(crate) fn load(&self, at: usize, length: usize) -> Vec<u8> {
        assert!(at + length <= self.length, "outside the mapping");
        // SAFETY: just checked, and by the caller.
        unsafe { std::slice::from_raw_parts(self.address.cast::<u8>().add(at), length) }.to_vec()
    }

    /// Stores bytes. The caller makes sure that the file reaches so far.
    pub(crate) fn store(&self, at: usize, bytes: &[u8]) {
        assert!(self.writable && at + bytes.len() <= self.length, "outside the mapping");
        // SAFETY: just checked, and by the caller.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.address.cast::<u8>().add(at), bytes.len());
        }
    }

    /// madvise(2) of all of it.
    ///
    /// # Errors
    /// Its error number.
    pub(crate) fn advise(&self, advice: c_int) -> Result<(), c_int> {
        // SAFETY: the mapping is this one's own.
        result(unsafe { libc::madvise(self.address, self.length, advice) })
    }

    /// mprotect(2) of all of it.
    ///
    /// # Errors
    /// Its error number.
    pub(crate) fn protect(&mut self, writable: bool) -> Result<(), c_int> {
        // SAFETY: as above.
        result(unsafe { libc::mprotect(self.address, self.length, protection(writable)) })?;
        self.writable = writable;
        Ok(())
    }

    /// msync(2) of all of it.
    ///
    /// # Errors
    /// Its error number.
    pub(crate) fn sync(&self, flags: c_int) -> Result<(), c_int> {
        // SAFETY: as above.
        result(unsafe { libc::msync(self.address, self.length, flags) })
    }

    /// mremap(2) with `MREMAP_MAYMOVE`.
    ///
    /// # Errors
    /// Its error number.
    pub(crate) fn resize(&mut self, length: usize) -> Result<(), c_int> {
        // SAFETY: as above; nobody else knows the address.
        let moved = unsafe { libc::mremap(self.address, self.length, length, libc::MREMAP_MAYMOVE) };
        if moved == libc::MAP_FAILED {
            result(-1)?;
        }
        (self.address, self.length) = (moved, length);
        Ok(())
    }
}

impl Drop for HostMapping {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::munmap(self.address, self.length) };
    }
}
