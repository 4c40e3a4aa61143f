//! An append-only storage engine.
//!
//! [`engine`] is the engine, which knows nothing of Brownout; [`adapter`] is what Brownout needs of it.

pub mod adapter;
pub mod engine;
