//! A heap whose addresses repeat.
//!
//! Engines and their libraries key behaviour on addresses (parking_lot seeds the fairness of a lock's bucket
//! by it). With the system's allocator 1–5 % of seeds differed from run to run; with allocations made inside a
//! simulation served from an arena at a fixed address, none does (spike, 2026-11).
//!
//! There are two arenas: the program's, and one for what the machine does past it ([`bypass`]). Size classes are powers
//! of two with free lists; a large free block gives its pages back to the kernel. Who asks for more than the limit ends
//! the process, as Linux's out-of-memory killer would.
//! Outside a simulation every call goes to the system's allocator.
//!
//! Most runs are short, and forked from a parent whose memory they share until one of both writes to it: so nothing in
//! a run takes a block from the system's allocator, or gives one back to it, which would copy the pages where its lists
//! run. And their first pages are lent by the parent ([`Pages`]), which keeps them for the next run.

use super::{child, real};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

const PROGRAM_BASE: usize = 0x2000_0000_0000;
const MACHINE_BASE: usize = 0x2100_0000_0000;
const ARENA_BYTES: usize = 64 << 30;
/// The first bytes of an arena come in small pages, many at a time, for most runs need no more: clearing a huge page
/// takes as long as a tenth of such a run. What is behind them comes in huge pages.
const SMALL_PAGES_BYTES: usize = 2 << 20;
/// How many bytes of small pages are asked for at a time.
const STEP_BYTES: usize = 64 << 10;
const SMALLEST_CLASS_BITS: u32 = 4;
const LARGEST_CLASS_BITS: u32 = 26;
/// Free blocks of a class above this one give their pages back to the kernel.
const LARGEST_RESIDENT_BITS: u32 = 20;
const PAGE_BYTES: usize = 4096;
const READ_WRITE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

/// Small pages for the first bytes of a run's heap, which outlive it: the kernel need not find, clear and take back new
/// ones for every child. The child clears them before it uses them, so that it cannot tell them from new ones.
#[derive(Debug)]
pub(crate) struct Pages(File);

impl Pages {
    /// Pages for one child at a time.
    ///
    /// # Errors
    /// Where the host has no descriptor or memory left.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the name is a C string.
        let descriptor = unsafe { libc::memfd_create(c"heap".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let file = unsafe { File::from_raw_fd(descriptor) };
        file.set_len(SMALL_PAGES_BYTES as u64)?;
        Ok(Self(file))
    }

    /// In a child: has its heap begin on these pages once it is active.
    pub(crate) fn lend(&self) {
        HEAP.lent.store(self.0.as_raw_fd(), Ordering::Relaxed);
    }
}

/// The process's allocator.
struct Heap {
    active: AtomicBool,
    /// Descriptor of the [`Pages`] that the program's arena begins on; none below zero.
    lent: AtomicI32,
    /// Whether the machine's own work goes past the arena now.
    bypassed: AtomicBool,
    locked: AtomicBool,
    arenas: UnsafeCell<Arenas>,
}

struct Arenas {
    program: Arena,
    machine: Arena,
}

struct Arena {
    base: usize,
    next: usize,
    /// Up to where the kernel has given pages, or will give them as they are touched.
    prepared: usize,
    /// Whether the small pages were another run's before this one.
    lent: bool,
    /// Bytes of blocks that are handed out, and how many there may be.
    used_bytes: usize,
    limit_bytes: usize,
    free: [usize; LARGEST_CLASS_BITS as usize + 1],
}

// SAFETY: the arenas are reached only through `locked`, a spin lock.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    active: AtomicBool::new(false),
    lent: AtomicI32::new(-1),
    bypassed: AtomicBool::new(false),
    locked: AtomicBool::new(false),
    arenas: UnsafeCell::new(Arenas { program: Arena::new(PROGRAM_BASE), machine: Arena::new(MACHINE_BASE) }),
};

/// Serves every allocation of this process from the fixed arena from now on, `limit_bytes` of them at the same time at
/// most (as far as its range of addresses goes).
///
/// # Panics
/// Where an arena's address range is taken, or called twice.
pub(crate) fn activate(limit_bytes: u64) {
    assert!(!HEAP.active.load(Ordering::SeqCst), "the fixed heap is already active");
    // What the C library allocates for itself comes from one place; with more than eight places it would ask
    // the host how many processors there are, in the middle of a run.
    // SAFETY: mallopt takes integers.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    HEAP.locked(|arenas| {
        arenas.program.map();
        arenas.program.borrow_pages(HEAP.lent.load(Ordering::Relaxed));
        arenas.program.limit_bytes = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        arenas.machine.map();
    });
    HEAP.active.store(true, Ordering::SeqCst);
}

/// Does `work` with the machine's own arena. For what only some runs of a plan do (a trace file, backtraces, the
/// kernel's watch): the program's arena must hand out the same addresses whether they do it or not. The caller holds the
/// baton, and does not pass it on.
pub(crate) fn bypass<R>(work: impl FnOnce() -> R) -> R {
    if !HEAP.active.load(Ordering::Relaxed) {
        return work();
    }
    let before = HEAP.bypassed.swap(true, Ordering::Relaxed);
    let result = work();
    HEAP.bypassed.store(before, Ordering::Relaxed);
    result
}

impl Heap {
    fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    fn locked<R>(&self, work: impl FnOnce(&mut Arenas) -> R) -> R {
        while self.locked.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: the spin lock is held.
        let result = work(unsafe { &mut *self.arenas.get() });
        self.locked.store(false, Ordering::Release);
        result
    }
}

impl Arenas {
    /// The arena that holds `address`; none where that is a block of the system's allocator.
    fn of(&mut self, address: usize) -> Option<&mut Arena> {
        [&mut self.program, &mut self.machine].into_iter().find(|arena| arena.holds(address))
    }
}

/// Whether `address` lies in an arena.
fn in_arena(address: usize) -> bool {
    [PROGRAM_BASE, MACHINE_BASE].iter().any(|&base| (base..base + ARENA_BYTES).contains(&address))
}

/// The size class that serves `layout`, as a power of two; none for a large block.
fn class(layout: Layout) -> Option<u32> {
    let bytes = layout.size().max(layout.align()).max(1 << SMALLEST_CLASS_BITS);
    let bits = bytes.next_power_of_two().trailing_zeros();
    (bits <= LARGEST_CLASS_BITS).then_some(bits)
}

fn page_rounded(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES
}

/// How many bytes the block takes that serves `layout`.
fn occupied(layout: Layout) -> usize {
    class(layout).map_or_else(|| page_rounded(layout.size()), |bits| 1 << bits)
}

/// Ends the process, which asked for `bytes` beyond the `used_bytes` that it has.
///
/// It does not get to see a failed allocation. Nearly every program aborts on one, the standard library only after it
/// has walked the stack and opened files to describe it, which nothing on a simulated thread may do; and Linux, which
/// overcommits, seldom shows one.
fn end_out_of_memory(bytes: usize, used_bytes: usize) -> ! {
    let mut text = [0_u8; 128];
    let mut rest = &mut text[..];
    // What does not fit is left out: the exit code says enough.
    drop(writeln!(rest, "out of memory: {bytes} bytes asked for, {used_bytes} in use"));
    let length = 128 - rest.len();
    // SAFETY: writes a readable buffer to standard error and ends the process.
    unsafe {
        real::write(libc::STDERR_FILENO, text.as_ptr().cast(), length);
        libc::_exit(child::EXIT_OUT_OF_MEMORY)
    }
}

/// Advises the kernel on pages of an arena that hold no live block; whether it took the advice. Where it did not, that
/// costs time or memory, nothing else.
fn advise(address: usize, bytes: usize, advice: libc::c_int) -> bool {
    // SAFETY: the range is an arena's own, and whoever advises to forget content has none there.
    unsafe { real::madvise(address as *mut libc::c_void, bytes, advice) == 0 }
}

/// Maps empty pages that are given as they are touched; where they lie.
fn map_anonymous(address: usize, bytes: usize, place: libc::c_int) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | place;
    // SAFETY: an anonymous mapping at an address that is free, or in an arena where no block lies, disturbs nobody.
    unsafe { real::mmap64(address as *mut libc::c_void, bytes, READ_WRITE, flags, -1, 0) as usize }
}

impl Arena {
    const fn new(base: usize) -> Self {
        Self {
            base,
            next: base,
            prepared: base,
            lent: false,
            used_bytes: 0,
            limit_bytes: ARENA_BYTES,
            free: [0; LARGEST_CLASS_BITS as usize + 1],
        }
    }

    fn holds(&self, address: usize) -> bool {
        (self.base..self.base + ARENA_BYTES).contains(&address)
    }

    fn map(&mut self) {
        let mapped = map_anonymous(self.base, ARENA_BYTES, libc::MAP_FIXED_NOREPLACE);
        assert_eq!(mapped, self.base, "the fixed heap's address range is taken");
        // A long run touches tens of megabytes and ends: by huge pages the kernel gives them in some dozen faults
        // instead of ten thousand. Where it cannot, nothing but time is lost.
        advise(self.base + SMALL_PAGES_BYTES, ARENA_BYTES - SMALL_PAGES_BYTES, libc::MADV_HUGEPAGE);
    }

    /// Puts the pages behind `descriptor`, if it is one, in the place of the first small ones.
    fn borrow_pages(&mut self, descriptor: libc::c_int) {
        if descriptor < 0 {
            return;
        }
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: the range is the arena's own, and nothing lies in it yet.
        let mapped = unsafe {
            real::mmap64(self.base as *mut libc::c_void, SMALL_PAGES_BYTES, READ_WRITE, flags, descriptor, 0)
        };
        assert_eq!(mapped as usize, self.base, "the pages of the parent can be mapped");
        self.lent = true;
    }

    /// Has the kernel give small pages for the block of `bytes` bytes that was just placed last, and for those after
    /// it.
    fn prepare(&mut self, bytes: usize) {
        let small_end = self.base + SMALL_PAGES_BYTES;
        if self.next <= self.prepared || self.prepared >= small_end {
            return;
        }
        if bytes <= STEP_BYTES {
            self.prepare_up_to(self.next.next_multiple_of(STEP_BYTES).min(small_end));
        } else {
            self.skip(self.next - bytes, self.next.next_multiple_of(PAGE_BYTES));
        }
    }

    fn prepare_up_to(&mut self, end: usize) {
        let (begin, bytes) = (self.prepared, end - self.prepared);
        self.prepared = end;
        if self.lent {
            // To read them is enough to have them all, and to write to them.
            advise(begin, bytes, libc::MADV_POPULATE_READ);
            // SAFETY: the range is the arena's own, writable, and holds no block yet.
            unsafe { std::ptr::write_bytes(begin as *mut u8, 0, bytes) };
        } else if !advise(begin, bytes, libc::MADV_POPULATE_WRITE) {
            // Before Linux 5.14 the kernel knows no such advice, and gives each page when it is touched.
            self.prepared = self.base + ARENA_BYTES;
        }
    }

    /// Leaves the pages of a large block to be given as they are touched: it seldom is, to its last byte.
    fn skip(&mut self, begin: usize, end: usize) {
        if self.lent {
            let mapped = map_anonymous(begin, end - begin, libc::MAP_FIXED);
            assert_eq!(mapped, begin, "pages of an arena can be mapped again");
        }
        self.prepared = end;
    }

    fn allocate(&mut self, layout: Layout) -> usize {
        let bytes = occupied(layout);
        if bytes > self.limit_bytes.saturating_sub(self.used_bytes) {
            end_out_of_memory(layout.size(), self.used_bytes);
        }
        self.used_bytes += bytes;
        self.take(layout)
    }

    fn take(&mut self, layout: Layout) -> usize {
        let Some(bits) = class(layout) else {
            return self.extend(page_rounded(layout.size()), layout.align().max(PAGE_BYTES));
        };
        let first = self.free[bits as usize];
        if first == 0 {
            return self.extend(1 << bits, (1usize << bits).min(PAGE_BYTES).max(layout.align()));
        }
        // SAFETY: a free block of a class holds the address of the next one in its first word.
        self.free[bits as usize] = unsafe { *(first as *const usize) };
        first
    }

    fn extend(&mut self, bytes: usize, align: usize) -> usize {
        let start = self.next.next_multiple_of(align);
        if bytes > (self.base + ARENA_BYTES).saturating_sub(start) {
            end_out_of_memory(bytes, self.used_bytes);
        }
        self.next = start + bytes;
        self.prepare(bytes);
        start
    }

    fn release(&mut self, address: usize, layout: Layout) {
        self.used_bytes -= occupied(layout);
        let bits = class(layout);
        if bits.is_none_or(|bits| bits > LARGEST_RESIDENT_BITS) {
            // A large block starts on a page and owns whole pages; its owner gave it up.
            advise(address, page_rounded(layout.size()), libc::MADV_DONTNEED);
        }
        if let Some(bits) = bits {
            // SAFETY: the block is at least 16 bytes, aligned, and its owner gave it up.
            unsafe { *(address as *mut usize) = self.free[bits as usize] };
            self.free[bits as usize] = address;
        }
    }
}

// SAFETY: blocks are disjoint (bump pointer, free lists), large enough and aligned as asked; a block goes back
// to the allocator that its address says it came from.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.is_active() {
            // SAFETY: the caller's contract is the system allocator's.
            return unsafe { System.alloc(layout) };
        }
        let bypassed = self.bypassed.load(Ordering::Relaxed);
        self.locked(|arenas| {
            let arena = if bypassed { &mut arenas.machine } else { &mut arenas.program };
            arena.allocate(layout)
        }) as *mut u8
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.is_active() {
            // SAFETY: the caller's contract is the system allocator's.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the layout is the caller's; the block is at least as large as what is zeroed.
        unsafe {
            let block = self.alloc(layout);
            // A large block is fresh from the kernel, all zero but for the word that linked it.
            let resident = class(layout).is_some_and(|bits| bits <= LARGEST_RESIDENT_BITS);
            let dirty = if resident { layout.size() } else { size_of::<usize>() };
            if !block.is_null() {
                std::ptr::write_bytes(block, 0, dirty);
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_active() {
            self.locked(|arenas| {
                // A block from before the run stays where it is: the process ends with the run, and to give it back
                // would copy pages that are shared with the parent.
                if let Some(arena) = arenas.of(block as usize) {
                    arena.release(block as usize, layout);
                }
            });
        } else {
            // SAFETY: before the arenas are there, every block is the system allocator's.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        if !self.is_active() {
            // SAFETY: before the arenas are there, every block is the system allocator's.
            return unsafe { System.realloc(block, layout, new_bytes) };
        }
        let new_layout =
            Layout::from_size_align(new_bytes, layout.align()).expect("realloc keeps a legal layout");
        if in_arena(block as usize) && class(layout).is_some() && class(layout) == class(new_layout) {
            return block;
        }
        // SAFETY: both blocks are live and at least `min` bytes long; then the old one is given up.
        unsafe {
            let moved = self.alloc(new_layout);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(block, moved, layout.size().min(new_bytes));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_an_earlier_run_are_as_new_ones() {
        const FREE_BASE: usize = 0x2200_0000_0000;
        let pages = Pages::new().unwrap();
        for _run in 0..2 {
            let mut arena = Arena::new(FREE_BASE);
            arena.map();
            arena.borrow_pages(pages.0.as_raw_fd());
            arena.limit_bytes = ARENA_BYTES;
            for bytes in [100, 5_000, 100_000, 3 << 20, 64, 40_000] {
                let address = arena.allocate(Layout::from_size_align(bytes, 8).unwrap());
                // SAFETY: the block was just handed out, and is mapped.
                let block = unsafe { std::slice::from_raw_parts_mut(address as *mut u8, bytes) };
                assert!(block.iter().all(|&byte| byte == 0), "{bytes} bytes");
                block.fill(0xa5);
            }
            // SAFETY: nobody holds a block of this arena any more.
            assert_eq!(unsafe { libc::munmap(FREE_BASE as *mut libc::c_void, ARENA_BYTES) }, 0);
        }
    }
}
