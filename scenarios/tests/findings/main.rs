//! What released storage engines lose: one test for each page of docs/findings.
//!
//! A test here *fails when a finding is gone*: then its engine has been mended, and the page is to say so.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../alone/mod.rs"]
mod alone;
mod fjall_findings;
mod fjall_keyspace_numbers;
mod on_the_host;
mod redb_findings;
mod rig;
mod rot;
mod sled_blobs;
mod sled_findings;
