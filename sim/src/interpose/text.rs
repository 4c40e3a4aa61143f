//! The program's own code, in memory that forked children find mapped.
//!
//! The kernel does not copy the page tables of mapped files when a process forks. Each child would fault in anew, 64 KiB at
//! a time, the megabytes of code that it runs, and find each in the processor's tables of small pages. Anonymous memory it
//! does copy, and gives in huge pages: a handful of entries for the whole program.

use super::real;
use libc::{c_int, c_void, dl_phdr_info};
use std::ops::Range;

/// A huge page on x86-64, and on AArch64 with pages of 4 KiB.
const HUGE_BYTES: usize = 2 << 20;

/// Moves the program's code to anonymous memory at the same addresses, as far as it fills huge pages. Where the host
/// refuses, everything stays as it was: nothing but time is lost.
///
/// The process must have one thread.
pub(super) fn keep() {
    let code = code();
    let (start, end) = (code.start.next_multiple_of(HUGE_BYTES), code.end / HUGE_BYTES * HUGE_BYTES);
    if start < end {
        move_to_anonymous(start, end - start);
    }
}

fn move_to_anonymous(start: usize, bytes: usize) {
    let reserved_bytes = bytes + HUGE_BYTES;
    // SAFETY: a new mapping, written within its bounds from code that can be read, and moved as a whole over that code,
    // of which it is a copy: whatever returns there finds the same instructions. Nobody else runs.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let reserved = real::mmap64(std::ptr::null_mut(), reserved_bytes, protection, flags, -1, 0);
        if reserved == libc::MAP_FAILED {
            return;
        }
        let copy = (reserved as usize).next_multiple_of(HUGE_BYTES);
        let target = copy as *mut c_void;
        real::madvise(target, bytes, libc::MADV_HUGEPAGE);
        std::ptr::copy_nonoverlapping(start as *const u8, target.cast(), bytes);
        if real::mprotect(target, bytes, libc::PROT_READ | libc::PROT_EXEC) == 0 {
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            real::mremap(target, bytes, bytes, flags, start as *mut c_void);
        }
        // What is left of the reservation: what surrounds the copy, and the copy itself where it could not be moved.
        real::munmap(reserved, reserved_bytes);
    }
}

/// The addresses of the program's own code.
fn code() -> Range<usize> {
    let mut code = 0..0;
    // SAFETY: the visitor has the type that is called, and its data outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut code).cast()) };
    code
}

/// Called for the program first; leaves its executable segment in `code`, a [`Range`], and ends the walk.
unsafe extern "C" fn visit(object: *mut dl_phdr_info, _bytes: usize, code: *mut c_void) -> c_int {
    // SAFETY: the C library lends the object and its headers for this call; `code` is what `code()` passed.
    unsafe {
        let headers = std::slice::from_raw_parts((*object).dlpi_phdr, (*object).dlpi_phnum.into());
        let is_code =
            |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0;
        if let Some(header) = headers.iter().find(is_code) {
            let start = (*object).dlpi_addr as usize + header.p_vaddr as usize;
            code.cast::<Range<usize>>().write(start..start + header.p_filesz as usize);
        }
    }
    1
}
