//! Standard output: the only way to it, so that a reader who has seen enough (`… | head`) ends every command
//! alike. `println!` would panic there.

use crate::OWN_COMMAND;
use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, Write};
use std::sync::OnceLock;

/// What the program is called, where it is not [`OWN_COMMAND`].
static COMMAND: OnceLock<&str> = OnceLock::new();

/// Says what the program is called; once, before anything is printed.
pub(crate) fn say_command(command: &'static str) {
    // A second time would be a second `main`.
    let _ = COMMAND.set(command);
}

/// What the program is called.
pub(crate) fn command() -> &'static str {
    COMMAND.get().copied().unwrap_or(OWN_COMMAND)
}

/// A text of reports with the lines that rerun something as they must be typed.
pub(crate) fn as_typed(text: &str) -> String {
    text.replace(OWN_COMMAND, command())
}

/// Prints a text as it is, at once: what is piped on is seen when it happens.
///
/// # Errors
/// The reader has gone, or standard output cannot be written. The caller gives up, and in doing so ends its runs.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(as_typed(text).as_bytes()).and_then(|()| output.flush()).map_err(|error| {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::unread(),
            _ => Failure::incomplete(format!("standard output cannot be written: {error}")),
        }
    })
}

/// Prints a remark on standard error, so that what is piped on, JSON too, stays as it is.
#[expect(clippy::print_stderr, reason = "a command line says what it did not do")]
pub(crate) fn remark(text: &str) {
    eprintln!("{}", as_typed(text));
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string(value).expect("what is printed has a form in JSON")))
}
