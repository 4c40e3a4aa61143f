//! A register with read, write and compare-and-set, unset at first. Where nobody compares, it is a plain register.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::spec::SequentialSpec;

/// The specification.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What is asked of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterInput {
    /// Read the value.
    Read,
    /// Set the value.
    Write(i64),
    /// Set the value if it is as expected.
    CompareAndSet {
        /// The value that must be there.
        expected: i64,
        /// The value to set.
        new: i64,
    },
}

/// What the register answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterOutput {
    /// The value read; `None` is unset.
    Value(Option<i64>),
    /// The write was done.
    Written,
    /// Whether the value was as expected, and so was set.
    Swapped(bool),
}

impl Register {
    fn apply(state: Option<i64>, input: RegisterInput) -> (Option<i64>, RegisterOutput) {
        match input {
            RegisterInput::Read => (state, RegisterOutput::Value(state)),
            RegisterInput::Write(value) => (Some(value), RegisterOutput::Written),
            RegisterInput::CompareAndSet { expected, new } if state == Some(expected) => {
                (Some(new), RegisterOutput::Swapped(true))
            }
            RegisterInput::CompareAndSet { .. } => (state, RegisterOutput::Swapped(false)),
        }
    }
}

impl SequentialSpec for Register {
    type State = Option<i64>;
    type Input = RegisterInput;
    type Output = RegisterOutput;
    type Partition = ();

    fn initial(&self) -> Option<i64> {
        None
    }

    fn step(
        &self,
        state: &Option<i64>,
        input: &RegisterInput,
        output: Option<&RegisterOutput>,
    ) -> Option<Option<i64>> {
        let (next, answer) = Register::apply(*state, *input);
        output.is_none_or(|output| *output == answer).then_some(next)
    }

    fn fingerprint(&self, state: &Option<i64>) -> u128 {
        match state {
            None => u128::MAX,
            Some(value) => u128::from(value.cast_unsigned()),
        }
    }

    fn partition(&self, _input: &RegisterInput) {}

    fn is_read(&self, input: &RegisterInput, output: Option<&RegisterOutput>) -> bool {
        match (input, output) {
            (RegisterInput::Read, _) => true,
            (RegisterInput::CompareAndSet { .. }, Some(RegisterOutput::Swapped(false))) => true,
            (RegisterInput::CompareAndSet { expected, new }, _) => expected == new,
            (RegisterInput::Write(_), _) => false,
        }
    }

    fn class(&self, input: &RegisterInput) -> Option<u128> {
        let class = match input {
            RegisterInput::Read => "read".to_owned(),
            RegisterInput::Write(value) => format!("write {value}"),
            RegisterInput::CompareAndSet { expected, new } => format!("cas {expected} {new}"),
        };
        Some(xxh3_128(class.as_bytes()))
    }

    fn describe(&self, input: &RegisterInput, output: Option<&RegisterOutput>) -> String {
        let asked = match input {
            RegisterInput::Read => "read".to_owned(),
            RegisterInput::Write(value) => format!("write {value}"),
            RegisterInput::CompareAndSet { expected, new } => format!("cas {expected} to {new}"),
        };
        match output {
            None => format!("{asked} -> ?"),
            Some(RegisterOutput::Value(value)) => format!("{asked} -> {}", show(*value)),
            Some(RegisterOutput::Written) => asked,
            Some(RegisterOutput::Swapped(swapped)) => {
                format!("{asked} -> {}", if *swapped { "done" } else { "not as expected" })
            }
        }
    }

    fn explain(&self, state: &Option<i64>, _input: &RegisterInput, _output: &RegisterOutput) -> String {
        format!("the value is {}", show(*state))
    }
}

fn show(value: Option<i64>) -> String {
    value.map_or("unset".to_owned(), |value| value.to_string())
}
