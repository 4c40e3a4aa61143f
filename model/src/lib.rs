//! The reference model: pure functions over histories.
//!
//! What is inside: the reference store ([`store`]) and the shape of its requests ([`kv`]), its specification for the
//! checker of crate `linearizability` ([`specs::etcd`]), and one check per promise, from history or telemetry to
//! [`verdict::Violation`].
//! What is not: no input or output, no engine, no simulator, no clock, no randomness. The model knows none of
//! the code that it judges, so that an error there is not repeated here.

pub mod compaction;
pub mod durability;
pub mod effect;
pub mod equality;
pub mod judge;
pub mod kv;
pub mod lease;
pub mod liveness;
pub mod notation;
pub mod raft;
pub mod recovery;
pub mod revisions;
pub mod routing;
pub mod serializable;
pub mod specs;
pub mod store;
pub mod verdict;
pub mod watch;

pub use linearizability;
pub use linearizability::history;
