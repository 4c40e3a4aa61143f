//! `etcd-trace`: the store and the reference model, held to what a real etcd has answered.

use crate::arguments::EtcdTraceArguments;
use crate::failure::{Failure, HELD, VIOLATED};
use crate::output;
use scenarios::etcd_subjects::{Subject, follow};
use scenarios::etcd_trace::{TraceDifference, TraceError, TraceReport};
use serde_json::json;
use std::fs;
use std::process::ExitCode;

pub(crate) fn run(arguments: &EtcdTraceArguments) -> Result<ExitCode, Failure> {
    let subject = if arguments.model { Subject::Model } else { Subject::Store(arguments.engine.0) };
    let name = if arguments.model { "model".to_owned() } else { arguments.engine.to_string() };
    let mut different = 0;
    for file in &arguments.files {
        let unreadable = |error: String| Failure::usage(format!("{}: {error}", file.display()));
        let trace = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        let report = follow(&trace, subject).map_err(|error| match error {
            TraceError::Line { .. } => unreadable(error.to_string()),
            TraceError::Subject { .. } => Failure::incomplete(format!("{}: {error}", file.display())),
        })?;
        different += report.differences.len();
        let file = file.display().to_string();
        match arguments.json {
            true => output::print_json(&as_json(&file, &name, &report))?,
            false => output::print(&as_text(&file, &name, &report))?,
        }
    }
    Ok(ExitCode::from(if different == 0 { HELD } else { VIOLATED }))
}

fn as_json(file: &str, subject: &str, report: &TraceReport) -> serde_json::Value {
    let first = report.differences.first().map(|first| {
        json!({ "line": first.line, "op": first.op, "request": first.request,
                "expected": first.expected, "found": first.found })
    });
    json!({ "file": file, "subject": subject, "server": report.server, "requests": report.requests,
            "differences": report.differences.len(), "first": first })
}

/// One line, and the first difference in full. What follows it may be its consequence.
fn as_text(file: &str, subject: &str, report: &TraceReport) -> String {
    let TraceReport { server, requests, differences } = report;
    let mut text =
        format!("{file}: {server}, {subject}: {requests} requests compared, {} differ\n", differences.len());
    if let Some(TraceDifference { line, op, request, expected, found }) = differences.first() {
        text += &format!(
            "  line {line}   {op} {request}\n  expected   {} {}\n  got        {} {}\n",
            expected.0, expected.1, found.0, found.1
        );
    }
    text
}
