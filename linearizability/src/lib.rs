//! A linearizability checker, for use alone.
//!
//! What is inside: the specification of an object as a trait ([`SequentialSpec`]) with some objects that are often
//! wanted ([`specs`]), histories of what clients asked and were told ([`history`]), the search for a legal order
//! ([`check`]), the same for histories too long to be held ([`stream`]), the smallest part of a history that is still
//! illegal ([`minimal`]) and a picture of it ([`diagram`]), and readers for the histories of others ([`formats`]).
//! What is not: no input or output, no clock, no randomness, and no knowledge of the store that this project tests,
//! which is the business of crate `model`.
//!
//! ```
//! use linearizability::history::{Recorder, Stamp};
//! use linearizability::specs::register::{Register, RegisterInput, RegisterOutput};
//! use linearizability::{Budget, Verdict, check};
//!
//! let mut recorder = Recorder::default();
//! recorder.invoke(1, Stamp::at(0), RegisterInput::Write(7))?;
//! recorder.answer(1, Stamp::at(10), RegisterOutput::Written)?;
//! recorder.invoke(2, Stamp::at(20), RegisterInput::Read)?;
//! recorder.answer(2, Stamp::at(30), RegisterOutput::Value(None))?;
//! let verdict = check(&Register, &recorder.finish()?, Budget::default());
//! assert!(matches!(verdict, Verdict::Violation(_)), "the read missed an acknowledged write");
//! # Ok::<(), linearizability::history::MalformedHistory>(())
//! ```

mod check;
mod evidence;
mod memory;
mod search;
mod spec;

pub mod diagram;
pub mod formats;
pub mod history;
pub mod minimal;
pub mod specs;
pub mod stream;
pub mod workload;

pub use check::{Budget, Verdict, check, check_in_parallel};
pub use evidence::{Evidence, RefusedOperation, describe};
pub use spec::{Footprint, SequentialSpec};
