//! Threads: every simulated thread is a parked operating-system thread that owns its stack and thread-locals.
//!
//! `pthread_create` makes the thread and parks it; a driver task of the machine gives it the baton. The thread
//! gives it back with a [`Request`]. It keeps the baton through its thread-local destructors, which may call
//! anything: the request to exit is made by a `pthread_key` destructor in the last round.

use super::backtraces;
use super::baton::{self, Baton};
use super::{errno, mapping, real};
use crate::machine::kernel;
use crate::machine::scheduler::{self, Request, ThreadId, Wake};
use libc::{c_char, c_int, c_long, c_void, pthread_attr_t, pthread_t};
use std::cell::Cell;
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Rounds of thread-local destructors that the C library makes before a thread ends
/// (PTHREAD_DESTRUCTOR_ITERATIONS).
const DESTRUCTOR_ROUNDS: usize = 4;

/// What the machine knows of a thread's operating-system side.
pub(crate) struct NativeThread {
    id: ThreadId,
    go: Baton,
    kernel_id: AtomicU32,
    start: real::StartRoutine,
    argument: *mut c_void,
    request: Cell<Option<Request>>,
    wake: Cell<Wake>,
}

// SAFETY: the cells are touched only by the baton's holder, and the argument only by the new thread itself.
unsafe impl Send for NativeThread {}
// SAFETY: as above.
unsafe impl Sync for NativeThread {}

/// The runtime's own place to wait while a simulated thread runs.
static RUNTIME: Baton = Baton::new();

thread_local! {
    static CURRENT: Cell<*const NativeThread> = const { Cell::new(std::ptr::null()) };
}

/// True on a simulated thread that holds the baton.
/// The machine's own code, while it runs on such a thread, is not simulated: its calls are its own.
pub(crate) fn is_simulated() -> bool {
    has_simulated_stack() && !kernel::is_entered()
}

/// True on a simulated thread, whoever's code runs on it.
pub(super) fn has_simulated_stack() -> bool {
    !CURRENT.get().is_null()
}

fn native() -> Option<&'static NativeThread> {
    // SAFETY: the pointer comes from `Arc::into_raw` in `pthread_create`, and that reference is never given
    // back, so it outlives its thread.
    unsafe { CURRENT.get().as_ref() }
}

/// Gives the baton back with `request` and parks until it returns; what ended the wait is the result.
///
/// # Panics
/// On a thread that is not simulated.
pub(crate) fn park(request: Request) -> Wake {
    let thread = native().expect("only a simulated thread parks");
    mapping::collect_stores();
    thread.request.set(Some(request));
    RUNTIME.pass();
    thread.go.wait();
    thread.wake.get()
}

impl NativeThread {
    /// The thread's number.
    pub(crate) fn id(&self) -> ThreadId {
        self.id
    }

    /// Gives this thread the baton, and returns what it asks for when it gives it back. Runtime thread only.
    pub(crate) fn run(&self, wake: Wake) -> Request {
        self.wake.set(wake);
        backtraces::watch(self.kernel_id.load(Ordering::Relaxed));
        self.go.pass();
        RUNTIME.wait();
        let request = self.request.take().expect("a thread gives the baton back with a request");
        if matches!(request, Request::Exit) {
            self.wait_until_gone();
        }
        request
    }

    /// Signals the parked or spinning thread, for a backtrace.
    pub(crate) fn signal(&self, signal: c_int) {
        let kernel_id = c_long::from(self.kernel_id.load(Ordering::Relaxed));
        // SAFETY: tgkill takes three integers.
        unsafe {
            real::syscall(libc::SYS_tgkill, std::process::id().into(), kernel_id, signal.into(), 0, 0, 0)
        };
    }

    /// Waits in real time until the kernel has torn the thread down: its heap and stack caches are given back
    /// late, and must not race with whoever runs next.
    fn wait_until_gone(&self) {
        let kernel_id = c_long::from(self.kernel_id.load(Ordering::Relaxed));
        loop {
            // SAFETY: tgkill with signal 0 and sched_yield only ask.
            let gone = unsafe {
                real::syscall(libc::SYS_tgkill, std::process::id().into(), kernel_id, 0, 0, 0, 0) != 0
            };
            if gone {
                return;
            }
            // SAFETY: as above.
            unsafe { real::sched_yield() };
        }
    }
}

/// The key whose destructor re-arms until the last round, and then asks to exit.
fn exit_key() -> libc::pthread_key_t {
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` is a place for the result, and the destructor has the right type.
        let result = unsafe { libc::pthread_key_create(&raw mut key, Some(destructor_round)) };
        assert_eq!(result, 0, "no thread key is left");
        key
    })
}

extern "C" fn trampoline(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` below passes a leaked Arc of this type.
    let thread = unsafe { &*(argument as *const NativeThread) };
    // SAFETY: gettid takes nothing.
    let kernel_id = unsafe { real::syscall(libc::SYS_gettid, 0, 0, 0, 0, 0, 0) };
    thread.kernel_id.store(u32::try_from(kernel_id).expect("a thread id is positive"), Ordering::Release);
    baton::wake(&thread.kernel_id);
    thread.go.wait();
    CURRENT.set(thread);
    // SAFETY: the key exists; the value is the round's number, never dereferenced.
    unsafe { libc::pthread_setspecific(exit_key(), std::ptr::without_provenance(1)) };
    (thread.start)(thread.argument)
}

unsafe extern "C" fn destructor_round(value: *mut c_void) {
    let round = value as usize;
    if round < DESTRUCTOR_ROUNDS {
        // SAFETY: as in the trampoline.
        unsafe { libc::pthread_setspecific(exit_key(), std::ptr::without_provenance(round + 1)) };
        return;
    }
    let thread = native().expect("the key is set on simulated threads only");
    mapping::collect_stores();
    CURRENT.set(std::ptr::null());
    thread.request.set(Some(Request::Exit));
    RUNTIME.pass();
}

/// Contract (pthread_create(3)): starts a thread; here it is parked until the scheduler runs it, and the
/// creator never loses the baton inside the call (sled's readers spin on a `Lazy` meanwhile).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: real::StartRoutine,
    argument: *mut c_void,
) -> c_int {
    let on_the_machine = is_simulated() || (baton::is_runtime() && scheduler::is_spawning());
    if !on_the_machine {
        // SAFETY: passed on unchanged.
        return unsafe { real::pthread_create(thread, attributes, start, argument) };
    }
    let native = Arc::new(NativeThread {
        id: scheduler::next_thread_id(),
        go: Baton::new(),
        kernel_id: AtomicU32::new(0),
        start,
        argument,
        request: Cell::new(None),
        wake: Cell::new(Wake::Ready),
    });
    let raw = Arc::into_raw(Arc::clone(&native));
    // SAFETY: the trampoline takes the leaked Arc; the rest is passed on.
    let result = unsafe { real::pthread_create(thread, attributes, trampoline, raw as *mut c_void) };
    if result == 0 {
        baton::wait_while(&native.kernel_id, 0);
        // SAFETY: on success the handle is written.
        scheduler::register_thread(unsafe { *thread }, native);
    }
    result
}

/// Contract (pthread_join(3)): waits for the thread's end; in virtual time first, then for the formality.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int {
    if is_simulated()
        && let Some(id) = scheduler::thread_by_handle(thread)
    {
        park(Request::Join(id));
    }
    // SAFETY: passed on unchanged.
    unsafe { real::pthread_join(thread, result) }
}

/// Contract (pthread_setname_np(3)): names a thread. The name tells process-wide pool threads from a node's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
    if is_simulated() {
        // SAFETY: the contract asks for a NUL-terminated name.
        scheduler::name_current(&unsafe { CStr::from_ptr(name) }.to_string_lossy());
        return 0;
    }
    // SAFETY: passed on unchanged.
    unsafe { real::pthread_setname_np(thread, name) }
}

/// Contract (prctl(2)): only PR_SET_NAME concerns the machine.
#[unsafe(no_mangle)]
unsafe extern "C" fn prctl(option: c_int, two: c_long, three: c_long, four: c_long, five: c_long) -> c_int {
    if option == libc::PR_SET_NAME && is_simulated() {
        // SAFETY: for this option the second argument is a NUL-terminated name.
        scheduler::name_current(&unsafe { CStr::from_ptr(two as *const c_char) }.to_string_lossy());
        return 0;
    }
    // SAFETY: passed on unchanged.
    unsafe { real::prctl(option, two, three, four, five) }
}

/// Contract (pthread_attr_init(3)). madsim's definition forbids threads inside a simulation; ours are driven.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_pthread_attr_init(attributes: *mut pthread_attr_t) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe { real::pthread_attr_init(attributes) }
}

/// Contract (sched_yield(2)): lets others run.
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_yield() -> c_int {
    if is_simulated() {
        park(Request::Yield);
        return 0;
    }
    // SAFETY: takes nothing.
    unsafe { real::sched_yield() }
}

/// Contract (sched_getaffinity(2)): the simulated machine has two cores.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_sched_getaffinity(
    process: c_int,
    bytes: usize,
    set: *mut libc::cpu_set_t,
) -> c_int {
    if is_simulated() {
        // SAFETY: the caller lends `bytes` bytes at `set`, at least one word as the kernel also demands.
        unsafe {
            std::ptr::write_bytes(set.cast::<u8>(), 0, bytes);
            libc::CPU_SET(0, &mut *set);
            libc::CPU_SET(1, &mut *set);
        }
        return 0;
    }
    // SAFETY: passed on unchanged.
    unsafe { real::__real_sched_getaffinity(process, bytes, set) }
}

/// Memory of the simulated machine in pages: 4 GiB. Engines size their caches by it.
const MEMORY_PAGES: c_long = 1 << 20;

/// Contract (getrlimit(2)): a simulated process has no limits.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrlimit64(resource: c_int, limit: *mut libc::rlimit64) -> c_int {
    if !is_simulated() {
        // SAFETY: passed on unchanged.
        return unsafe { real::getrlimit64(resource, limit) };
    }
    let none = libc::rlimit64 { rlim_cur: libc::RLIM64_INFINITY, rlim_max: libc::RLIM64_INFINITY };
    // SAFETY: the caller lends a writable limit.
    unsafe { limit.write(none) };
    0
}

/// Contract: as `getrlimit64`, whose structure is the same on 64-bit Linux.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrlimit(resource: c_int, limit: *mut libc::rlimit64) -> c_int {
    // SAFETY: passed on unchanged.
    unsafe { getrlimit64(resource, limit) }
}

/// Contract (sysconf(3)): the simulated machine has two cores and 4 GiB; other values are the host's.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_sysconf(name: c_int) -> c_long {
    match name {
        libc::_SC_NPROCESSORS_ONLN | libc::_SC_NPROCESSORS_CONF if is_simulated() => 2,
        libc::_SC_PHYS_PAGES | libc::_SC_AVPHYS_PAGES if is_simulated() => MEMORY_PAGES,
        // SAFETY: passed on unchanged.
        _ => unsafe { real::__real_sysconf(name) },
    }
}

/// Contract (gethostname(2)): every simulated node is called `node`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_gethostname(name: *mut c_char, bytes: usize) -> c_int {
    const NAME: &CStr = c"node";
    if is_simulated() {
        if bytes < NAME.count_bytes() + 1 {
            return errno::fail(libc::ENAMETOOLONG);
        }
        // SAFETY: the caller lends `bytes` bytes, enough as just checked.
        unsafe { std::ptr::copy_nonoverlapping(NAME.as_ptr(), name, NAME.count_bytes() + 1) };
        return 0;
    }
    // SAFETY: passed on unchanged.
    unsafe { real::__real_gethostname(name, bytes) }
}
