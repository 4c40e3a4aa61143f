//! Tests of the checker: stories, and an oracle that tries all orders.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own script has failed")]

mod cells;
mod costs;
mod equivalence;
mod evidence;
mod formats;
mod histories;
mod history;
mod mutation;
mod oracle;
mod partitions;
mod rules;
mod streaming;
