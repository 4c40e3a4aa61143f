//! Sequential specifications.

pub mod append_kv;
pub mod etcd;
pub mod register;
