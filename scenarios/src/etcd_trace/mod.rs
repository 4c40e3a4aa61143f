//! Holding a store to what a real etcd has answered.
//!
//! ```text
//! line 1     {"server": version, "seed": …, "ops": …}
//! further    {"op": …, "request": {…}, "status": HTTP status, "response": {…}}, in the order of the requests
//! ```
//!
//! Requests and responses are those of etcd's JSON gateway, with keys and values as plain text; fields that are
//! zero are left out, as the gateway does. Every response must be equal, status, error text and fields, but for
//! two things: the recorder has dropped what differs from run to run (ids of cluster and member, raft terms, how
//! long a lease still lives), and the keys of a lease are compared as a set, since etcd's order is that of a Go
//! map.

mod request;
mod response;
mod store_subject;

use cluster::api::{Answer, Call, Event, Refusal, WatchRequest};
use serde_json::Value;

pub use store_subject::StoreSubject;

/// What can be held to a trace.
pub trait TraceSubject {
    /// Carries out a call.
    ///
    /// # Errors
    /// A failure of the subject itself, in words.
    fn call(&mut self, call: &Call) -> Result<Result<Answer, Refusal>, String>;

    /// The events that a watch with this request is sent up to the current revision, filters and previous values
    /// as asked for; or the compacted revision, if it wants events from below.
    ///
    /// # Errors
    /// As [`TraceSubject::call`].
    fn watch(&mut self, request: &WatchRequest) -> Result<Result<Vec<Event>, i64>, String>;
}

/// What came of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceReport {
    /// The server that the trace was recorded from, and its version.
    pub server: String,
    /// Requests that were compared.
    pub requests: usize,
    /// Answers that were not as recorded, in order. Whatever follows the first may be its consequence.
    pub differences: Vec<TraceDifference>,
}

/// An answer that was not as recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceDifference {
    /// The line of the trace, from 1.
    pub line: usize,
    /// The operation.
    pub op: String,
    /// The request.
    pub request: Value,
    /// Status and response of etcd.
    pub expected: (u16, Value),
    /// Status and response of the subject.
    pub found: (u16, Value),
}

/// Why a trace could not be followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A line of the trace makes no sense.
    #[error("line {line} of the trace: {problem}")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The subject has failed.
    #[error("line {line} of the trace: the store failed: {cause}")]
    Subject {
        /// The line of the request, from 1.
        line: usize,
        /// How.
        cause: String,
    },
}

/// Gives `subject`, which must be empty, the requests of a trace, and compares every answer.
///
/// # Errors
/// A trace that makes no sense; a subject that fails.
pub fn follow(trace: &str, subject: &mut dyn TraceSubject) -> Result<TraceReport, TraceError> {
    let mut report = TraceReport::default();
    for (place, text) in trace.lines().enumerate() {
        let line = place + 1;
        let bad = |problem: String| TraceError::Line { line, problem };
        let value: Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        if line == 1 {
            report.server = server(&value).ok_or_else(|| bad("names no server".to_owned()))?;
            continue;
        }
        let exchange = Exchange::of(&value).ok_or_else(|| bad("is no request with its answer".to_owned()))?;
        let asked = request::parse(exchange.op, exchange.request).map_err(bad)?;
        let found = answer(&asked, subject).map_err(|cause| TraceError::Subject { line, cause })?;
        report.requests += 1;
        let expected = (exchange.status, response::with_sorted_keys(exchange.response.clone()));
        if found != expected {
            let (op, request) = (exchange.op.to_owned(), exchange.request.clone());
            report.differences.push(TraceDifference { line, op, request, expected, found });
        }
    }
    Ok(report)
}

/// One line of a trace.
struct Exchange<'a> {
    op: &'a str,
    request: &'a Value,
    status: u16,
    response: &'a Value,
}

impl<'a> Exchange<'a> {
    fn of(line: &'a Value) -> Option<Exchange<'a>> {
        Some(Exchange {
            op: line["op"].as_str()?,
            request: line.get("request")?,
            status: line["status"].as_u64()?.try_into().ok()?,
            response: line.get("response")?,
        })
    }
}

fn server(header: &Value) -> Option<String> {
    Some(format!("etcd {}", header["server"].as_str()?))
}

/// What a line asks for.
enum Asked {
    Call(Call),
    Watch(WatchRequest),
}

fn answer(asked: &Asked, subject: &mut dyn TraceSubject) -> Result<(u16, Value), String> {
    Ok(match asked {
        Asked::Call(call) => match subject.call(call)? {
            Ok(answer) => (200, response::of_answer(&answer)),
            Err(refusal) => (refusal.http_status(), response::of_refusal(refusal)),
        },
        Asked::Watch(request) => (200, response::of_watch(&subject.watch(request)?)),
    })
}
