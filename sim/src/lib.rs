//! The simulated machine: threads, disk, network, clock, entropy, trace.
//!
//! Real, unmodified storage engines run on a machine that exists only in memory. The executable that links this
//! crate defines the libc symbols that the standard library calls; inside [`run`], file, thread, time and entropy
//! calls of the machine's threads are answered by the machine, one thread at a time, everything decided by one
//! seed. This crate knows no raft, no key and no engine.
//!
//! ```no_run
//! use sim::{Crash, Machine, NodeOptions, Options};
//! use std::time::Duration;
//!
//! let completed = sim::run(Options::new(42), None, async |machine: Machine| {
//!     let node = machine.add_node(NodeOptions::new("store", 1));
//!     machine.start(node, |process| {
//!         std::fs::write(process.root.join("greeting"), b"written, never synced").map_err(|e| e.to_string())?;
//!         std::thread::sleep(Duration::from_secs(3600));
//!         Ok(())
//!     });
//!     machine.sleep(Duration::from_secs(1)).await;
//!     machine.crash(node, Crash::PowerFailure);
//!     machine.next_event().await
//! });
//! ```
//!
//! Three things the executable must do: link with the flags that this crate's build script names (three lines in
//! a `build.rs`, see `scenarios/build.rs`), build with `--cfg madsim`, and run each machine in a process of its
//! own ([`isolation`]).

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!(
    "Brownout interposes the C library of Linux (glibc, x86-64 or AArch64). On another system, run it in a Linux \
     virtual machine or container."
);

#[cfg(not(madsim))]
compile_error!(
    "Brownout needs `--cfg madsim` in RUSTFLAGS: copy the [build] section of its .cargo/config.toml."
);

pub mod disk;
pub mod entropy;
mod event;
#[expect(
    unsafe_code,
    reason = "the libc boundary is the one place of unsafe code; each block says why it is sound"
)]
mod interpose;
pub mod isolation;
mod machine;
pub mod network;
mod trace;
pub mod vfs;

pub use event::{DiskFault, Event, StopCause};
pub use interpose::{Frame, describe_frames};
pub use machine::*;
pub use trace::{Difference, TextTrace, TraceSink, TraceSummary, first_difference};
