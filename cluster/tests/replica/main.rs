//! Replicas on threads, on the real file system, over channels.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod agreement;
mod comparison;
mod leases;
mod maintenance;
mod members;
mod network;
mod nodes;
mod rebuilding;
mod snapshots;
mod space;
mod storm;
mod upgrades;
mod watches;
