//! Mappings of files: memory whose pages the machine gives out, and the faults of whoever touches them.
//!
//! Virtual files are mapped into one range of addresses, reserved without access at the first mapping, from which each
//! mapping takes the next. What a page shows is the virtual file system's to say ([`crate::vfs::Memory`]); here are the
//! processor's side of it, and the calls.
//!
//! A page without the access that a program wants faults. The handler asks the machine: either the page is loaded, or
//! marked as stored to, and the instruction runs again; or the run ends by the name of what was touched, since a program
//! that gets SIGBUS or SIGSEGV dies. The handler runs on the faulting thread's own stack and with its baton, between
//! two instructions of the program: the machine's own code never touches a mapping (calls that are given a buffer in one
//! use a copy, see [`Lent`]).

use super::answer;
use super::thread::is_simulated;
use super::{errno, real};
use crate::disk::Errno;
use crate::machine::Abort;
use crate::machine::gate;
use crate::machine::scheduler::abort_run;
use crate::vfs::{self, Access, Fault, Memory};
use libc::{c_int, c_void, off64_t, size_t};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where virtual files are mapped: behind the heap's arena.
const BASE: usize = 0x3000_0000_0000;
/// Address space costs nothing until it is touched.
const REGION_BYTES: usize = 4 << 40;
const PAGE: usize = 4096;

/// The next address that is given out; zero before the first mapping. Addresses are never given out again, so what is
/// touched after `munmap` is noticed.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Whether a page was stored to since the last call.
static STORED: AtomicBool = AtomicBool::new(false);

/// The processor's memory.
#[derive(Debug)]
pub(crate) struct MappedMemory;

/// True for addresses that virtual files are mapped at.
fn is_ours(address: usize) -> bool {
    (BASE..BASE + REGION_BYTES).contains(&address)
}

impl Memory for MappedMemory {
    fn reserve(&mut self, bytes: usize) -> Option<usize> {
        if NEXT.load(Ordering::Relaxed) == 0 {
            open_region();
        }
        let start = NEXT.load(Ordering::Relaxed);
        // A page between two mappings, so that a step over the end of one is noticed.
        let next = start.checked_add(bytes)?.checked_add(PAGE)?;
        if next > BASE + REGION_BYTES {
            return None;
        }
        NEXT.store(next, Ordering::Relaxed);
        Some(start)
    }

    fn release(&mut self, address: usize, bytes: usize) {
        self.protect(address, bytes, Access::None);
        // SAFETY: the range lies in the region, which belongs to this module.
        unsafe { real::madvise(address as *mut c_void, bytes, libc::MADV_DONTNEED) };
    }

    fn protect(&mut self, address: usize, bytes: usize, access: Access) {
        assert!(is_ours(address) && bytes <= BASE + REGION_BYTES - address, "not a mapping's memory");
        let bits = match access {
            Access::None => libc::PROT_NONE,
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: as above.
        let result = unsafe { real::mprotect(address as *mut c_void, bytes, bits) };
        assert_eq!(result, 0, "the kernel gives out no more areas of memory");
    }

    fn load(&self, address: usize, bytes: &mut [u8]) {
        assert!(is_ours(address), "not a mapping's memory");
        // SAFETY: the pages can be read, as the trait asks; nobody else runs.
        unsafe {
            std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len());
        }
    }

    fn fill(&mut self, address: usize, page: &[u8], access: Access) {
        assert_eq!(page.len(), PAGE, "a page is filled whole");
        self.protect(address, PAGE, Access::ReadWrite);
        // SAFETY: the page was just made writable, and nobody else runs.
        unsafe { std::ptr::copy_nonoverlapping(page.as_ptr(), address as *mut u8, PAGE) };
        if access != Access::ReadWrite {
            self.protect(address, PAGE, access);
        }
    }
}

/// What a signal did before; read by the handler, written once before it is installed.
static mut BEFORE: Option<libc::sigaction> = None;

fn open_region() {
    // SAFETY: a reservation at addresses that must be free disturbs nobody.
    let region = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        real::mmap64(BASE as *mut c_void, REGION_BYTES, libc::PROT_NONE, flags, -1, 0)
    };
    assert_eq!(region as usize, BASE, "the address range of mappings is taken");
    NEXT.store(BASE, Ordering::Relaxed);
    // SAFETY: an all-zero sigaction is legal; the handler has the type that SA_SIGINFO asks for. Without SA_ONSTACK it
    // runs on the thread's own stack, which has room. `BEFORE` is written before anybody reads it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let mut before: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGSEGV, &raw const action, &raw mut before);
        BEFORE = Some(before);
    }
}

extern "C" fn on_fault(_signal: c_int, info: *const libc::siginfo_t, _context: *const c_void) {
    // SAFETY: for SIGSEGV the kernel passes the address; errno is this thread's own place.
    let (address, saved) = unsafe { ((*info).si_addr() as usize, *libc::__errno_location()) };
    if is_ours(address) && is_simulated() {
        let fault = gate::page_fault(address);
        STORED.store(true, Ordering::Relaxed);
        errno::set(saved);
        match ending(address, &fault) {
            None => return,
            Some(call) => abort_run(Abort::UnsupportedCall { call }),
        }
    }
    // Nobody's page, or the machine's own mistake: as it would have ended without this handler.
    // SAFETY: `BEFORE` was written before this handler was installed.
    unsafe {
        if let Some(before) = (&raw const BEFORE).read() {
            libc::sigaction(libc::SIGSEGV, &raw const before, std::ptr::null_mut());
        }
    }
}

/// How a run ends whose program touched `address`; nothing where it goes on.
fn ending(address: usize, fault: &Fault) -> Option<String> {
    match fault {
        Fault::Resolved => None,
        Fault::Denied(path) => {
            Some(format!("SIGSEGV: an access at {address:#x} that the mapping of {path} does not allow"))
        }
        Fault::BeyondEnd(path) => Some(format!(
            "SIGBUS: an access at {address:#x} to a mapping of {path}, beyond the end of the file"
        )),
        Fault::NoSpace(path) => {
            Some(format!("SIGBUS: a store at {address:#x} to a hole of {path}, on a disk that is full"))
        }
        Fault::NotMapped => {
            Some(format!("SIGSEGV: an access at {address:#x}, where nothing is mapped any more"))
        }
    }
}

/// Makes stores to mappings writes of the disk. Before every call on files, and when the baton is passed on.
pub(crate) fn collect_stores() {
    if STORED.swap(false, Ordering::Relaxed) {
        gate::collect_stores();
    }
}

/// A buffer that a caller lends to a call: in a mapping it must not be touched by the machine, so the call works on a
/// copy.
pub(super) enum Lent {
    /// Where it lies.
    Own,
    /// In a copy.
    Copy(Vec<u8>),
}

impl Lent {
    /// For a call that reads from the buffer.
    ///
    /// # Errors
    /// `EFAULT` where the mapping does not let it be read.
    pub(super) fn to_read(address: *const c_void, length: usize) -> vfs::Result<Self> {
        if length == 0 || !is_ours(address as usize) {
            return Ok(Self::Own);
        }
        Self::check(address as usize, length, false)?;
        // SAFETY: just checked; the bytes fault in as they are copied, here, where the machine is not entered.
        Ok(Self::Copy(unsafe { std::slice::from_raw_parts(address.cast::<u8>(), length) }.to_vec()))
    }

    /// For a call that fills the buffer.
    ///
    /// # Errors
    /// `EFAULT` where the mapping does not let it be written.
    pub(super) fn to_fill(address: *mut c_void, length: usize) -> vfs::Result<Self> {
        if length == 0 || !is_ours(address as usize) {
            return Ok(Self::Own);
        }
        Self::check(address as usize, length, true)?;
        Ok(Self::Copy(vec![0; length]))
    }

    fn check(address: usize, length: usize, write: bool) -> vfs::Result<()> {
        let allowed = gate::files(|files, _| files.may_access(address, length, write));
        if allowed { Ok(()) } else { Err(answer::errno(Errno::EFAULT)) }
    }
}

/// Contract (mmap(2)): anonymous memory is the host's; a virtual file appears at an address of the machine's choice.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    descriptor: c_int,
    offset: off64_t,
) -> *mut c_void {
    if flags & libc::MAP_ANONYMOUS != 0 || !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::mmap64(address, length, protection, flags, descriptor, offset) };
    }
    // Only a simulated thread comes here, and it has no descriptors of the host's.
    answer::whose("mmap64", descriptor);
    match gate::files(|files, _| files.mmap(length, protection, flags, descriptor, offset)) {
        Ok(start) => start as *mut c_void,
        Err(error) => {
            answer::fail(error);
            libc::MAP_FAILED
        }
    }
}

/// Contract (munmap(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(address: *mut c_void, length: size_t) -> c_int {
    if !is_ours(address as usize) {
        // SAFETY: passed on unchanged.
        return unsafe { real::munmap(address, length) };
    }
    answer::status(gate::files(|files, _| files.munmap(address as usize, length)))
}

/// Contract (mprotect(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(address: *mut c_void, length: size_t, protection: c_int) -> c_int {
    if !is_ours(address as usize) {
        // SAFETY: passed on unchanged.
        return unsafe { real::mprotect(address, length, protection) };
    }
    answer::status(gate::files(|files, _| files.mprotect(address as usize, length, protection)))
}

/// Contract (madvise(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn madvise(address: *mut c_void, length: size_t, advice: c_int) -> c_int {
    if !is_ours(address as usize) {
        // SAFETY: passed on unchanged.
        return unsafe { real::madvise(address, length, advice) };
    }
    answer::status(gate::files(|files, _| files.madvise(address as usize, length, advice)))
}

/// Contract (posix_madvise(3)): as `madvise`, but returns its error; and `POSIX_MADV_DONTNEED` does nothing, as in the
/// C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_madvise(address: *mut c_void, length: size_t, advice: c_int) -> c_int {
    if !is_ours(address as usize) {
        // SAFETY: passed on unchanged.
        return unsafe { real::posix_madvise(address, length, advice) };
    }
    let advice = if advice == libc::POSIX_MADV_DONTNEED { libc::MADV_NORMAL } else { advice };
    match gate::files(|files, _| files.madvise(address as usize, length, advice)) {
        Ok(()) => 0,
        Err(error) => {
            answer::fail(error);
            error.errno().raw()
        }
    }
}

/// Contract (mremap(2)): the new address is there only with flags that are refused for files.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(
    address: *mut c_void,
    old_length: size_t,
    new_length: size_t,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    if !is_ours(address as usize) {
        // SAFETY: passed on unchanged.
        return unsafe { real::mremap(address, old_length, new_length, flags, new_address) };
    }
    match gate::files(|files, _| files.mremap(address as usize, old_length, new_length, flags)) {
        Ok(start) => start as *mut c_void,
        Err(error) => {
            answer::fail(error);
            libc::MAP_FAILED
        }
    }
}

/// Contract (msync(2)): with `MS_SYNC` each mapping in the range is synced, as by `fdatasync`; a failed one ends the
/// call.
#[unsafe(no_mangle)]
unsafe extern "C" fn msync(address: *mut c_void, length: size_t, flags: c_int) -> c_int {
    if !is_ours(address as usize) {
        // SAFETY: passed on unchanged.
        return unsafe { real::msync(address, length, flags) };
    }
    let (syncs, mapped) = match gate::files(|files, _| files.msync_begin(address as usize, length, flags)) {
        Ok(begun) => begun,
        Err(error) => return answer::fail(error),
    };
    for sync in syncs {
        if let Err(error) = super::sync::carry_out(sync) {
            return answer::fail(error);
        }
    }
    answer::status(mapped)
}

/// Defines calls on memory that are not answered for mappings of files, and are the host's for all other memory.
macro_rules! of_other_memory {
    ($($symbol:ident)*) => {
        $(
            /// Contract (section 2 of the manual, by its name): not answered for a mapping of a file.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $symbol(
                address: libc::c_long,
                b: libc::c_long,
                c: libc::c_long,
                d: libc::c_long,
                e: libc::c_long,
                f: libc::c_long,
            ) -> libc::c_long {
                if is_ours(address as usize) && is_simulated() {
                    let call = concat!(stringify!($symbol), " of a file's mapping");
                    return answer::fail(vfs::Error::Unsupported { call }).into();
                }
                // SAFETY: passed on unchanged.
                unsafe { real::$symbol(address, b, c, d, e, f) }
            }
        )*
    };
}

of_other_memory! { mincore mlock mlock2 munlock remap_file_pages }
