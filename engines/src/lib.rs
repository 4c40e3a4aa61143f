//! The backend interface and one adapter per storage engine.
//!
//! Ordinary `std::fs` code: nothing here knows whether the disk is real.
//!
//! | module | holds |
//! |---|---|
//! | `backend` | the traits: [`Engine`] (a kind), [`Backend`] (an opened store), [`View`] (a picture of it) |
//! | [`guard`] | the one place where engine failures and panics become errors, and stick |
//! | `sled`, `fjall`, `redb`, `lsm_tree`, `mem` | the adapters; a new one is a file like these and a line in `registry` |
//! | [`marker`] | data directories: which engine one belongs to, opening, restoring, transcoding |
//! | `archive`, [`sled::export`], `through_scratch` | snapshot bodies: tar, export frames, and the way through a scratch store |
//! | [`native`] | engines by their own calls, with what they promise: what the crash explorer drives |
//! | `durable` | files and names that survive a power failure |
//! | [`behaviour`] | what every engine must do, as cases that run on any file system |
//!
//! An engine of another repository implements the same traits and is made known by [`register_guest`]; see
//! docs/bring-your-own-engine.md.
//!
//! What an adapter adds to its engine is no more than the engine leaves to its caller in writing. Where an
//! engine forgets a sync of its own, it stays forgotten: that is what is to be found.

mod archive;
mod backend;
mod batch;
pub mod behaviour;
mod durable;
mod engine_id;
mod error;
mod fjall;
pub mod guard;
mod lsm_tree;
pub mod marker;
mod mem;
pub mod native;
mod options;
mod redb;
mod registry;
pub mod sled;
mod through_scratch;

pub use backend::{Backend, Engine, FlushState, View, Visit, content_hash};
pub use batch::{
    APPLIED_INDEX_KEY, Batch, Change, KEY_BYTES_MAX, VALUE_BYTES_MAX, decode_applied_index,
    encode_applied_index,
};
pub use engine_id::{EngineId, UnknownEngineName};
pub use error::{EngineError, Result};
pub use options::Options;
pub use registry::{engine, register_guest, registry};
