//! The baton: exactly one thread of a simulation runs at a time.

use super::real;
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A place to park one operating-system thread until it is given the baton.
///
/// Built on the kernel's futex through the real `syscall`: an interposed wait would recurse.
#[derive(Debug, Default)]
pub(crate) struct Baton(AtomicU32);

impl Baton {
    /// Nobody waits and nothing was passed.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Hands the baton to whoever waits here, now or next.
    pub(crate) fn pass(&self) {
        self.0.store(1, Ordering::Release);
        futex(&self.0, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }

    /// Parks the calling thread until the baton is passed to it.
    pub(crate) fn wait(&self) {
        while self.0.swap(0, Ordering::Acquire) == 0 {
            futex(&self.0, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0);
        }
    }
}

/// Parks the caller in real time while `word` holds `value`; wakes on any change that is signalled.
pub(super) fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) == value {
        futex(word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, value);
    }
}

/// Wakes whoever is parked on `word`.
pub(super) fn wake(word: &AtomicU32) {
    futex(word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
}

fn futex(word: &AtomicU32, operation: libc::c_int, value: u32) {
    // SAFETY: `word` lives for the whole call, and a futex call reads nothing else without a timeout.
    unsafe {
        real::syscall(
            libc::SYS_futex,
            word.as_ptr() as libc::c_long,
            operation.into(),
            value.into(),
            0,
            0,
            0,
        );
    }
}

/// State that only the holder of the baton touches.
///
/// The baton is the lock: the runtime's thread holds it while it polls, a simulated thread from the moment it
/// is given it until it parks. `with` proves both halves at run time: the caller must hold the baton, and must
/// not be inside `with` already.
pub(crate) struct BatonCell<T> {
    value: UnsafeCell<T>,
    entered: AtomicBool,
}

// SAFETY: `with` is the only way in, it asserts that the calling thread holds the baton, and exactly one
// thread holds it at a time; the futex hand-over orders their accesses.
unsafe impl<T> Sync for BatonCell<T> {}

impl<T> BatonCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), entered: AtomicBool::new(false) }
    }

    /// Lends the state to `work`, which must not park, and must not call back into `with`.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        assert!(holds_baton(), "the machine's state was touched by a thread that does not hold the baton");
        assert!(!self.entered.swap(true, Ordering::Relaxed), "the machine's state was entered twice");
        let leave = Leave(&self.entered);
        // SAFETY: this thread holds the baton and nobody is inside, both just asserted.
        let result = work(unsafe { &mut *self.value.get() });
        drop(leave);
        result
    }

    /// True while `with` runs: an interposed call made from inside belongs to the machine itself.
    pub(crate) fn is_entered(&self) -> bool {
        self.entered.load(Ordering::Relaxed)
    }
}

/// Marks the cell as left, on unwinding too: the report of a panic needs the state.
struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

thread_local! {
    static IS_RUNTIME: Cell<bool> = const { Cell::new(false) };
}

/// Declares the calling thread the runtime's own: the one that polls and hands out the baton.
pub(crate) fn become_runtime() {
    IS_RUNTIME.set(true);
}

/// True on the runtime's own thread.
pub(crate) fn is_runtime() -> bool {
    IS_RUNTIME.get()
}

fn holds_baton() -> bool {
    is_runtime() || super::thread::has_simulated_stack()
}
