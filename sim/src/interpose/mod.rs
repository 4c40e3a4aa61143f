//! The libc boundary: the only `unsafe` code of Brownout.
//!
//! The final executable defines the C symbols that the standard library, the engines and their dependencies
//! call. A definition in the executable wins over the C library's, so unmodified published crates run on the
//! machine. Each symbol here states its contract in a sentence and answers
//!
//! - for a *simulated* thread, from the machine's state ([`crate::machine::kernel`]);
//! - for every other thread, and for the machine's own calls, by passing on to the C library ([`real`]).
//!
//! Symbols that madsim defines too are taken with the linker's `--wrap` (build.rs); the rest are plain
//! definitions. Variadic functions are defined with fixed arguments: on x86-64 and AArch64 Linux integer
//! arguments arrive in the same registers either way.
//!
//! | file | symbols |
//! |---|---|
//! | `thread` | creation, join, names, yield, affinity |
//! | `system_call` | `syscall`: futexes, locks, entropy |
//! | `time` | clocks, sleeping |
//! | `entropy` | random bytes |
//! | `file`, `path`, `directory`, `aliases` | descriptors, names, listings |
//! | `hermetic`, `unsupported` | what must not happen |

mod aliases;
mod answer;
mod backtraces;
mod baton;
pub(crate) mod child;
mod directory;
mod entropy;
mod errno;
mod file;
mod heap;
mod hermetic;
mod path;
mod real;
mod system_call;
mod thread;
mod time;
mod unsupported;

pub(crate) use backtraces::{describe, frames_of, own_frames, start_watchdog};
pub(crate) use baton::{BatonCell, become_runtime};
pub(crate) use heap::{activate as activate_heap, bypass as bypass_heap};
pub(crate) use hermetic::enforce as enforce_hermetic;
pub(crate) use thread::{NativeThread, is_simulated, park};
