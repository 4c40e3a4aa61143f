//! Where in an engine's source the calls of a recording were made.
//!
//! Resolving reads the program's debug information, some hundred megabytes. A child does it, so that this process
//! stays small: it forks once for every image.

use super::driver::{self, Trouble};
use super::frames;
use super::laboratory::isolated;
use serde::{Deserialize, Serialize};
use sim::RecordedOperation;
use std::collections::BTreeMap;

/// A line of source in a stack of calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceLine {
    /// The function.
    pub function: String,
    /// The file, from its crate's directory on: `fjall-3.1.13/src/keyspace/mod.rs`.
    pub file: String,
    /// The line in it.
    pub line: u32,
}

/// Stacks of return addresses with their lines of the engine and its dependencies, innermost first.
#[derive(Clone, Debug, Default)]
pub(super) struct Stacks {
    known: BTreeMap<Vec<usize>, Vec<SourceLine>>,
}

/// Lines that are kept of a stack.
const LINES_KEPT: usize = 6;

/// Parts of paths of source files that are not the engine's: this project's, the standard library's, the C
/// library's.
const NOT_THE_ENGINE: [&str; 8] = [
    "/sim/src/",
    "/scenarios/src/",
    "/engines/src/",
    "/rustc/",
    "/library/",
    "/backtrace-",
    "/nptl/",
    "/sysdeps/",
];

impl Stacks {
    /// Resolves the stacks of these calls that are not known yet.
    ///
    /// # Errors
    /// Where no process can be started, or it did not come to its end.
    pub(super) fn resolve(&mut self, operations: &[RecordedOperation]) -> Result<(), Trouble> {
        let unknown: Vec<&Vec<usize>> = {
            let all = operations.iter().map(|operation| &operation.frames);
            let distinct: std::collections::BTreeSet<_> =
                all.filter(|stack| !self.known.contains_key(*stack)).collect();
            distinct.into_iter().collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let ended = isolated(driver::WORKLOAD, || {
            let lines: Vec<Vec<SourceLine>> = unknown.iter().map(|stack| lines(stack)).collect();
            frames::frame(&lines)
        })?;
        let lines: Vec<Vec<SourceLine>> = frames::value(ended)?;
        self.known.extend(unknown.into_iter().cloned().zip(lines));
        Ok(())
    }

    /// The lines of a stack that was resolved.
    pub(super) fn lines(&self, stack: &[usize]) -> &[SourceLine] {
        self.known.get(stack).map_or(&[], Vec::as_slice)
    }
}

fn lines(stack: &[usize]) -> Vec<SourceLine> {
    let frames = sim::describe_frames(stack).into_iter();
    let own = frames.filter(|frame| {
        !frame.file.is_empty() && !NOT_THE_ENGINE.iter().any(|part| frame.file.contains(part))
    });
    own.take(LINES_KEPT)
        .map(|frame| SourceLine {
            file: from_crate(&frame.file).to_owned(),
            function: frame.function,
            line: frame.line,
        })
        .collect()
}

/// The path of a source file from its crate's directory on.
fn from_crate(file: &str) -> &str {
    match file.rfind("/src/") {
        Some(at) => file[..at].rfind('/').map_or(file, |start| &file[start + 1..]),
        None => file,
    }
}
