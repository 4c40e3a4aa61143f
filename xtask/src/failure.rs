//! Why a command could not do its work.

use std::fmt::Display;
use std::process::ExitCode;

/// Nothing was violated.
pub(crate) const HELD: u8 = 0;
/// A violation was found.
pub(crate) const VIOLATED: u8 = 1;
/// Bad usage or input.
const USAGE: u8 = 2;
/// A run could not be completed.
pub(crate) const INCOMPLETE: u8 = 3;

/// A command that could not do its work: the reason, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Bad usage or input.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { message: message.to_string(), code: USAGE }
    }

    /// A run that could not be completed.
    pub(crate) fn incomplete(message: impl Display) -> Self {
        Self { message: message.to_string(), code: INCOMPLETE }
    }

    /// Prints the reason; the exit code.
    pub(crate) fn report(self) -> ExitCode {
        eprintln!("error: {}", self.message);
        ExitCode::from(self.code)
    }
}
