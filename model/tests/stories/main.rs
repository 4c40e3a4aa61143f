//! Tests of the model, told as short scripts.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own script has failed")]

mod equivalence;
mod generator;
mod linearizability;
mod script;
mod store;
