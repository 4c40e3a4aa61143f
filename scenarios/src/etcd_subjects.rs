//! What is held to a trace of etcd: the cluster's store above an engine, or the reference model.

use crate::etcd_trace::{self, StoreSubject, TraceError, TraceReport, TraceSubject};
use crate::translate;
use cluster::Design;
use cluster::api::{Answer, Call, Event, Refusal, WatchRequest};
use engines::EngineId;
use model::kv;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::{env, fs, io, process};

/// Calls after which the store is closed and opened again.
const CALLS_PER_OPENING: usize = 125;

/// What answers the requests of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The cluster's store above this engine, in a directory of its own that is removed afterwards.
    Store(EngineId),
    /// The reference model.
    Model,
}

/// Gives the requests of a trace to an empty subject, and compares every answer.
///
/// # Errors
/// A trace that makes no sense, with its line; a subject that fails.
pub fn follow(trace: &str, subject: Subject) -> Result<TraceReport, TraceError> {
    match subject {
        Subject::Model => etcd_trace::follow(trace, &mut ModelSubject::default()),
        Subject::Store(engine) => {
            let failed = |cause: String| TraceError::Subject { line: 1, cause };
            let directory = Scratch::create().map_err(|error| failed(error.to_string()))?;
            let mut store = StoreSubject::create(
                engine,
                &directory.0.join("store"),
                Design::default(),
                CALLS_PER_OPENING,
            )
            .map_err(failed)?;
            etcd_trace::follow(trace, &mut store)
        }
    }
}

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> io::Result<Self> {
        let directory = env::temp_dir().join(format!("brownout-etcd-trace-{}", process::id()));
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is in the way of nobody: the next one of this name removes it first.
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

/// The reference model, in the types of the cluster.
#[derive(Default)]
struct ModelSubject(model::store::Store);

impl TraceSubject for ModelSubject {
    fn call(&mut self, call: &Call) -> Result<Result<Answer, Refusal>, String> {
        let asked = translate::call(call).ok_or("the model has no such call")?;
        match self.0.call(&asked).ok_or("the model has no answer to this call")? {
            Ok(answer) => of_model::<_, Answer>(&answer).map(Ok),
            Err(refusal) => of_model::<_, Refusal>(&refusal).map(Err),
        }
    }

    fn watch(&mut self, request: &WatchRequest) -> Result<Result<Vec<Event>, i64>, String> {
        let WatchRequest { key, range_end, start_revision, prev_kv, no_put, no_delete, .. } = request;
        let (from, to) = (*start_revision, self.0.revision());
        match self.0.events(key, range_end.as_deref(), from, to, *prev_kv) {
            Ok(mut events) => {
                events.retain(|event| match event.kind {
                    kv::EventKind::Put => !no_put,
                    kv::EventKind::Delete => !no_delete,
                });
                of_model::<_, Vec<Event>>(&events).map(Ok)
            }
            Err(below) => Ok(Err(below.compact_revision)),
        }
    }
}

/// A value of the model in the type of the cluster that has the same shape.
fn of_model<M: Serialize, C: DeserializeOwned>(value: &M) -> Result<C, String> {
    let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"{"server":"3.5.16","seed":1,"ops":3}
{"op":"put","request":{"key":"a","value":"1"},"status":200,"response":{"header":{"revision":2}}}
{"op":"range","request":{"key":"a"},"status":200,"response":{"header":{"revision":2},"kvs":[{"key":"a","value":"1","create_revision":2,"mod_revision":2,"version":1}],"count":1}}
{"op":"range","request":{"key":"a","revision":9},"status":400,"response":{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}}
"#;

    #[test]
    fn the_store_and_the_model_answer_as_etcd_did() {
        for subject in [Subject::Model, Subject::Store(EngineId::Mem)] {
            let report = follow(TRACE, subject).unwrap();
            assert_eq!((report.requests, report.differences.len()), (3, 0), "{:?}", report.differences);
            let altered = follow(&TRACE.replace("\"count\":1", "\"count\":2"), subject).unwrap();
            assert_eq!(altered.differences.iter().map(|it| it.line).collect::<Vec<_>>(), [3]);
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let error = follow(&TRACE.replace("\"op\":\"put\"", "\"op\":\"push\""), Subject::Model).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the trace: the operation push is unknown");
    }
}
