//! Tests of the model, told as short scripts.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own script has failed")]

mod compaction;
mod durability;
mod equality;
mod equivalence;
mod etcd_traces;
mod generator;
mod judge;
mod lease;
mod linearizability;
mod liveness;
mod mutation;
mod raft;
mod revisions;
mod routing;
mod script;
mod serializable;
mod store;
mod table;
mod verdict;
mod watch;
