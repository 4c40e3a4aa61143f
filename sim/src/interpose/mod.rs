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
//! | `system_call` | `syscall`: futexes, locks, entropy, a few calls on files |
//! | `time` | clocks, sleeping |
//! | `entropy` | random bytes |
//! | `transfer`, `sync`, `mapping` | reading and writing, making durable, files in memory |
//! | `file`, `directory` | descriptors, sizes, locks; listings |
//! | `path`, `open`, `names`, `metadata`, `space` | where names lead, opening, changing names, what a file is, free space |
//! | `aliases` | second names of all these |
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
mod mapping;
mod metadata;
mod names;
mod open;
mod path;
mod real;
mod space;
mod sync;
mod system_call;
mod thread;
mod time;
mod transfer;
mod unsupported;

#[cfg(test)]
mod host_mapping;
#[cfg(test)]
mod mapping_tests;

#[cfg(test)]
pub(crate) use host_mapping::{HostMapping, host_truncate};

pub use backtraces::{Frame, resolve as describe_frames};
pub(crate) use backtraces::{describe, frames_of, own_frames, start_watchdog};
pub(crate) use baton::{BatonCell, become_runtime};
pub(crate) use heap::{Pages as HeapPages, activate as activate_heap, bypass as bypass_heap};
pub(crate) use hermetic::enforce as enforce_hermetic;
pub(crate) use mapping::{MappedMemory, collect_stores};
pub(crate) use thread::{NativeThread, is_simulated, park};
