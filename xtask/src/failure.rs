//! Why a command could not do its work.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// Nothing was violated.
pub(crate) const HELD: u8 = 0;
/// A violation was found.
pub(crate) const VIOLATED: u8 = 1;
/// Bad usage or input.
const USAGE: u8 = 2;
/// A run could not be completed.
pub(crate) const INCOMPLETE: u8 = 3;
/// Nobody reads standard output any more: what a shell reports of a program that SIGPIPE (13) has ended. It must
/// not be [`HELD`], for the work was left undone; nor is anything wrong that would be worth a message.
const UNREAD: u8 = 128 + 13;

/// A command that could not do its work: the reason, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// None where there is nobody to tell.
    message: Option<String>,
    code: u8,
}

impl Failure {
    /// Bad usage or input.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { message: Some(message.to_string()), code: USAGE }
    }

    /// A run that could not be completed.
    pub(crate) fn incomplete(message: impl Display) -> Self {
        Self { message: Some(message.to_string()), code: INCOMPLETE }
    }

    /// The reader of standard output has gone.
    pub(crate) fn unread() -> Self {
        Self { message: None, code: UNREAD }
    }

    /// Prints the reason; the exit code.
    #[expect(clippy::print_stderr, reason = "a command line says what went wrong")]
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            eprintln!("error: {message}");
        }
        ExitCode::from(self.code)
    }
}

/// The host had no process or descriptor left.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::incomplete(error)
    }
}
