//! Engines by their own calls, with what they promise: what the crash explorer drives.
//!
//! Ordinary `std::fs` code. The adapters of [`crate::Engine`] bend an engine to one interface; those here keep
//! its own words: its ways to write, its durability calls, its spaces. What they add is nothing, not even a
//! sync that the engine's documentation forgets to ask for.
//!
//! | file | holds |
//! |---|---|
//! | `step` | what a workload does, and what it may be answered |
//! | `promise` | the shape of the promise tables |
//! | `contain` | panics and errors of engines as [`Failure`]s |
//! | `sled`, `fjall`, `lsm_tree`, `redb` | one engine each, with its table of promises |
//! | `through_backend` | any [`crate::Engine`] as a [`Native`] |
//! | `reopen/*.rs` | how to read a store, for a test that stands alone |

mod contain;
mod fjall;
mod lsm_tree;
mod promise;
#[cfg(test)]
mod reading;
mod redb;
mod sled;
mod step;
#[cfg(test)]
mod tests;
mod through_backend;

use std::path::Path;

pub use promise::{Abilities, Call, Drops, Promises, Survives};
pub use step::{Contents, Failure, FailureKind, Mutation, Step};
pub use through_backend::ThroughBackend;

/// The only space of an engine without spaces.
pub const ONLY_SPACE: &str = "kv";

/// An engine that can be opened.
pub trait Native: Sync {
    /// The name of its crate: `fjall`.
    fn name(&self) -> &'static str;

    /// The version of its crate in this build, as Cargo.lock has it: `3.1.13`.
    fn version(&self) -> &'static str;

    /// What it promises.
    fn promises(&self) -> &'static Promises;

    /// Opens the store in `dir` (which exists and is durable), or creates it. Spaces are created by steps, not here.
    ///
    /// # Errors
    /// Whatever the engine answers; `Locked` while another handle has the store open.
    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure>;

    /// How a program that knows nothing of this crate reads the store.
    fn test_source(&self) -> TestSource;
}

/// An opened store. It has one user, its owner. Dropped, it is closed as far as the engine's own drop does that.
pub trait NativeStore: Send {
    /// Carries out one step.
    ///
    /// # Errors
    /// Whatever the engine answers. Whether the step took effect is then unknown.
    fn run(&mut self, step: &Step) -> Result<(), Failure>;

    /// Everything that a reader sees.
    ///
    /// # Errors
    /// Whatever the engine answers.
    fn contents(&self) -> Result<Contents, Failure>;

    /// Closes the store and waits until its threads are gone and its locks are free.
    ///
    /// # Errors
    /// Whatever the engine answers. The store is gone all the same.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// Source text for a test that reproduces a finding without this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSource {
    /// The lines below `[dependencies]`, exact versions.
    pub dependencies: String,
    /// `fn contents(dir: &Path) -> Result<BTreeMap<(String, Vec<u8>), Vec<u8>>, String>` with its `use` lines,
    /// needing nothing but the engine's crate and std.
    pub contents: &'static str,
}

static NATIVES: [&dyn Native; 5] = [
    &sled::NativeSled,
    &fjall::NativeFjall,
    &redb::NativeRedb,
    &lsm_tree::NativeLsmTree,
    &through_backend::MEM,
];

/// Every engine of this build.
pub fn natives() -> &'static [&'static dyn Native] {
    &NATIVES
}

/// The engine with this name, as [`Native::name`] has it.
pub fn native(name: &str) -> Option<&'static dyn Native> {
    NATIVES.iter().copied().find(|native| native.name() == name)
}
