//! Backtraces of other threads, and the watchdog against spins that madsim cannot see.

use super::thread::NativeThread;
use super::{child, real};
use std::cell::UnsafeCell;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Frames kept of a backtrace.
const FRAMES: usize = 48;

/// The place where a signalled thread leaves its frames.
struct Frames {
    addresses: UnsafeCell<[usize; FRAMES]>,
    count: AtomicU32,
    ready: AtomicBool,
}

// SAFETY: the signalled thread writes before it sets `ready`; the one asking reads after it saw it, and asks
// one thread at a time.
unsafe impl Sync for Frames {}

static FRAMES_OF_SIGNALLED: Frames = Frames {
    addresses: UnsafeCell::new([0; FRAMES]),
    count: AtomicU32::new(0),
    ready: AtomicBool::new(false),
};

extern "C" fn leave_frames(_signal: libc::c_int) {
    let mut count = 0;
    // SAFETY: the frames are this thread's to write until `ready` is set (see above). Walking needs no
    // lock and no heap that a thread parked in a system call, or spinning in its own code, could hold.
    unsafe {
        let addresses = &mut *FRAMES_OF_SIGNALLED.addresses.get();
        backtrace::trace_unsynchronized(|frame| {
            addresses[count] = frame.ip() as usize;
            count += 1;
            count < FRAMES
        });
    }
    FRAMES_OF_SIGNALLED.count.store(count as u32, Ordering::Relaxed);
    FRAMES_OF_SIGNALLED.ready.store(true, Ordering::Release);
}

/// The frames of a parked or spinning thread, innermost first; empty where it does not answer in time.
pub(crate) fn frames_of(thread: &NativeThread) -> Vec<usize> {
    install(libc::SIGUSR1, leave_frames);
    FRAMES_OF_SIGNALLED.ready.store(false, Ordering::Relaxed);
    thread.signal(libc::SIGUSR1);
    for _ in 0..1_000_000 {
        if FRAMES_OF_SIGNALLED.ready.load(Ordering::Acquire) {
            let count = FRAMES_OF_SIGNALLED.count.load(Ordering::Relaxed) as usize;
            // SAFETY: `ready` was seen, so the signalled thread has finished writing.
            return unsafe { (&*FRAMES_OF_SIGNALLED.addresses.get())[..count].to_vec() };
        }
        // SAFETY: takes nothing.
        unsafe { real::sched_yield() };
    }
    Vec::new()
}

/// The calling thread's frames, innermost first, unresolved.
pub(crate) fn own_frames() -> Vec<usize> {
    let mut frames = Vec::with_capacity(FRAMES);
    // SAFETY: the simulation runs one thread at a time, so nobody else walks a stack now.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            frames.push(frame.ip() as usize);
            frames.len() < FRAMES
        });
    }
    frames
}

fn install(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: an all-zero sigaction is legal; the handler has the type that the kernel calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// The thread that held the baton last, for the watchdog.
static WATCHED: AtomicU32 = AtomicU32::new(u32::MAX);

/// Tells the watchdog who holds the baton: a kernel thread's number.
pub(super) fn watch(kernel_id: u32) {
    WATCHED.store(kernel_id, Ordering::Relaxed);
}

extern "C" fn out_of_time(_signal: libc::c_int) {
    let kernel_id = WATCHED.load(Ordering::Relaxed);
    install(libc::SIGUSR1, leave_frames);
    FRAMES_OF_SIGNALLED.ready.store(false, Ordering::Relaxed);
    // SAFETY: tgkill takes three integers.
    unsafe {
        real::syscall(
            libc::SYS_tgkill,
            std::process::id().into(),
            kernel_id.into(),
            libc::SIGUSR1.into(),
            0,
            0,
            0,
        )
    };
    for _ in 0..1_000_000 {
        if FRAMES_OF_SIGNALLED.ready.load(Ordering::Acquire) {
            break;
        }
        // SAFETY: takes nothing.
        unsafe { real::sched_yield() };
    }
    let count = FRAMES_OF_SIGNALLED.count.load(Ordering::Relaxed) as usize;
    // SAFETY: either the frames are written, or they are stale and worth a guess: the process ends here.
    let frames = unsafe { (&*FRAMES_OF_SIGNALLED.addresses.get())[..count].to_vec() };
    let mut text = String::from("out of time; the thread with the baton stands at\n");
    text.push_str(&describe(&frames));
    // SAFETY: writes a readable buffer to standard error and ends the process.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        libc::_exit(child::EXIT_OUT_OF_TIME)
    }
}

/// Ends the process with a backtrace of whoever holds the baton, after `limit` of real time.
pub(crate) fn start_watchdog(limit: Duration) {
    install(libc::SIGALRM, out_of_time);
    // SAFETY: alarm takes seconds.
    unsafe { libc::alarm(u32::try_from(limit.as_secs().max(1)).unwrap_or(u32::MAX)) };
}

/// A place in the program's source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Frame {
    /// The function, with its path and without its type parameters.
    pub function: String,
    /// The source file, as the compiler was given it; empty where it is not known.
    pub file: String,
    /// The line in it, from 1; 0 where it is not known.
    pub line: u32,
}

/// Where the frames of [`own_frames`] are in the source, innermost first; a frame into which calls were inlined gives
/// several. Reads the program's debug information: neither on a simulated thread, nor in a process whose kernel
/// enforces the hermetic rule. Children forked by [`crate::isolation`] share their parent's addresses, so that it can
/// resolve what they recorded.
pub fn resolve(frames: &[usize]) -> Vec<Frame> {
    let mut resolved = Vec::new();
    for &address in frames {
        // A return address stands behind its call; one byte before is inside it.
        backtrace::resolve((address.saturating_sub(1)) as *mut std::ffi::c_void, |symbol| {
            let function = symbol.name().map(|name| without_generics(&format!("{name:#}")));
            let file = symbol.filename().map(|file| file.to_string_lossy().into_owned());
            resolved.push(Frame {
                function: function.unwrap_or_default(),
                file: file.unwrap_or_default(),
                line: symbol.lineno().unwrap_or(0),
            });
        });
    }
    resolved
}

/// Frames as text, one line each, from the program under test only. Reads the program's debug information, so
/// the caller must not be a simulated thread.
///
/// Where the kernel enforces the hermetic rule even that is forbidden, and the addresses have to do.
pub(crate) fn describe(frames: &[usize]) -> String {
    let mut text = String::new();
    if super::hermetic::is_enforced() {
        for address in frames {
            writeln!(text, "    {address:#x}").expect("writing to a string succeeds");
        }
        return text;
    }
    for Frame { function, file, line } in resolve(frames) {
        if function.is_empty() || file.is_empty() || line == 0 {
            continue;
        }
        let file = shorten(std::path::Path::new(&file));
        if !is_machinery(&file) {
            writeln!(text, "    {function}  {file}:{line}").expect("writing to a string succeeds");
        }
    }
    text
}

/// Whether a source file belongs to what every backtrace has below and above the program's own calls.
fn is_machinery(file: &str) -> bool {
    const MACHINERY: [&str; 9] = [
        "sim/src/interpose/",
        "sim/src/machine/",
        "std/src/",
        "core/src/",
        "alloc/src/",
        "backtrace-",
        "nptl/",
        "sysdeps/",
        "misc/",
    ];
    MACHINERY.iter().any(|part| file.contains(part))
}

/// A function's name without its type parameters, which are long and say little.
fn without_generics(name: &str) -> String {
    let (mut depth, mut short) = (0usize, String::new());
    for character in name.chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => short.push(character),
            _ => {}
        }
    }
    if short.is_empty() { name.to_string() } else { short }
}

/// A source path from its crate's folder on.
fn shorten(path: &std::path::Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let start = parts.iter().rposition(|part| part == "src").map_or(0, |at| at.saturating_sub(1));
    parts[start..].join("/")
}
