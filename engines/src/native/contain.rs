//! Panics and errors of engines as [`Failure`]s.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::{Failure, FailureKind};
use crate::EngineError;
use crate::guard::panic_text;

thread_local! {
    /// Where this thread panicked last, as `FILE:LINE`.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a call that may panic anywhere inside the engine, on this thread.
pub(crate) fn contain<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    note_places();
    PLACE.take();
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let place = PLACE.take().map(|place| format!(" at {place}")).unwrap_or_default();
        Err(Failure::new(FailureKind::Panic, format!("{}{place}", panic_text(&*payload))))
    })
}

/// Makes every later panic leave its place behind. Only the panic hook is told it; whatever hook there is stays
/// in force.
fn note_places() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line()));
            // A thread that panics while its thread-locals are destroyed has nowhere to leave it.
            let _ = PLACE.try_with(|last| last.replace(place));
            previous(panic);
        }));
    });
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        let message = error.to_string();
        match error {
            EngineError::Corrupt { .. }
            | EngineError::MalformedMarker { .. }
            | EngineError::MalformedBody { .. } => Failure::new(FailureKind::Corruption, message),
            EngineError::Locked { .. } => Failure::new(FailureKind::Locked, message),
            EngineError::Engine { message, .. } if message.starts_with("panic: ") => {
                Failure::new(FailureKind::Panic, message.trim_start_matches("panic: "))
            }
            EngineError::Io { .. }
            | EngineError::Engine { .. }
            | EngineError::Poisoned { .. }
            | EngineError::Misuse(_)
            | EngineError::Mismatch { .. } => Failure::new(FailureKind::Error, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_with_its_message_and_place() {
        let failure = contain(|| -> Result<(), Failure> { panic!("torn {}", "page") }).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Panic);
        let (message, place) = failure.message.rsplit_once(" at ").unwrap();
        assert_eq!(message, "torn page");
        assert!(place.starts_with(file!()), "{place}");
    }
}
