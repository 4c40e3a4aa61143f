//! Objects that are often wanted.

pub mod append_kv;
pub mod queue;
pub mod register;
pub mod set;
