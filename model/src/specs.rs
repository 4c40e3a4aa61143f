//! Sequential specifications of what this project tests. Those of other objects stand in crate `linearizability`.

pub mod etcd;
