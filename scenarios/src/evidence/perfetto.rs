//! A run as a trace in Chrome's JSON format, which the Perfetto viewer opens.
//!
//! Replicas are processes, with their threads, calls that change a disk, states and counters. Clients are a process,
//! with their operations as asynchronous slices. Times are virtual microseconds. Source of the format: "Trace Event
//! Format", the Chromium project.

use super::recording::{BUCKET_NS, Recording};
use super::{CaseFile, MarkKind, NodeLane, SpanKind};
use serde_json::{Value, json};

/// The process of the clients; replicas have their own numbers.
const CLIENTS: u64 = 1000;
/// The process of threads that belong to no replica.
const SHARED: u64 = 1001;
/// The process of the network.
const NETWORK: u64 = 1002;
/// The track of a replica's states among its threads. The threads' numbers follow.
const STATES: u64 = 0;

/// The trace, as the text of a file.
pub fn perfetto(case_file: &CaseFile, recording: &Recording) -> String {
    let mut trace = Trace { events: Vec::new(), asynchronous: 0 };
    for lane in &case_file.nodes {
        trace.process(lane.node, &format!("node {} ({})", lane.node, lane.what), lane.node);
        trace.thread(lane.node, STATES, "state");
        trace.states(lane);
        trace.counters(lane);
    }
    trace.process(CLIENTS, "clients", 0);
    trace.process(NETWORK, "network", CLIENTS);
    trace.process(SHARED, "threads of no node", SHARED);
    trace.operations(case_file);
    for cut in &case_file.cuts {
        trace.slice_of_its_own(
            NETWORK,
            "cut",
            &format!("{} links cut", cut.links),
            (cut.from_ns, cut.until_ns),
            json!({"asked": cut.text}),
        );
    }
    trace.threads(case_file, recording);
    json!({"displayTimeUnit": "ms", "otherData": {"seed": case_file.report.seed, "scenario": case_file.report.scenario}, "traceEvents": trace.events}).to_string()
}

struct Trace {
    events: Vec<Value>,
    asynchronous: u64,
}

fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

impl Trace {
    fn process(&mut self, process: u64, name: &str, place: u64) {
        self.events.push(json!({"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}));
        self.events.push(
            json!({"ph": "M", "name": "process_sort_index", "pid": process, "args": {"sort_index": place}}),
        );
    }

    fn thread(&mut self, process: u64, thread: u64, name: &str) {
        self.events.push(
            json!({"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": name}}),
        );
    }

    /// A slice on a track on which no other begins before it ends.
    fn slice(&mut self, track: (u64, u64), category: &str, name: &str, span: (u64, u64), args: Value) {
        let (from, until) = span;
        self.events.push(json!({
            "ph": "X", "cat": category, "name": name, "pid": track.0, "tid": track.1,
            "ts": microseconds(from), "dur": microseconds(until.saturating_sub(from)), "args": args,
        }));
    }

    /// A slice that may overlap others.
    fn slice_of_its_own(&mut self, process: u64, category: &str, name: &str, span: (u64, u64), args: Value) {
        self.asynchronous += 1;
        let id = self.asynchronous;
        let (from, until) = span;
        self.events.push(json!({"ph": "b", "cat": category, "name": name, "id": id, "pid": process, "tid": 0, "ts": microseconds(from), "args": args}));
        self.events.push(json!({"ph": "e", "cat": category, "name": name, "id": id, "pid": process, "tid": 0, "ts": microseconds(until)}));
    }

    fn states(&mut self, lane: &NodeLane) {
        for span in &lane.spans {
            let times = (span.from_ns, span.until_ns);
            match span.kind {
                SpanKind::Starting
                | SpanKind::Follower
                | SpanKind::Candidate
                | SpanKind::Leader
                | SpanKind::Down => {
                    self.slice((lane.node, STATES), "state", &span.text, times, json!({}));
                }
                SpanKind::Paused | SpanKind::Rebuilding | SpanKind::Sending | SpanKind::Installing => {
                    self.slice_of_its_own(lane.node, "state", &span.text, times, json!({}));
                }
            }
        }
        for mark in &lane.marks {
            let category = match mark.kind {
                MarkKind::Crash => "crash",
                MarkKind::DiskFault => "disk fault",
                MarkKind::Exit => "exit",
                MarkKind::Stop => "stop",
                MarkKind::Start => "start",
                MarkKind::Elected => "election",
                MarkKind::Clock => "clock",
                MarkKind::Finding => "finding",
                MarkKind::Snapshot => "snapshot",
                MarkKind::Upkeep => "upkeep",
            };
            self.events.push(json!({
                "ph": "i", "s": "p", "cat": category, "name": format!("{category}: {}", mark.text), "pid": lane.node,
                "tid": STATES, "ts": microseconds(mark.at_ns),
            }));
        }
    }

    fn counters(&mut self, lane: &NodeLane) {
        for (bucket, count) in &lane.messages {
            self.counter(lane.node, "messages sent", bucket * BUCKET_NS, u64::from(*count));
            // Silence is no event: say so where it begins.
            if !lane.messages.iter().any(|(other, _)| *other == bucket + 1) {
                self.counter(lane.node, "messages sent", (bucket + 1) * BUCKET_NS, 0);
            }
        }
        for (at, index) in &lane.applied {
            self.counter(lane.node, "applied index", *at, *index);
        }
    }

    fn counter(&mut self, process: u64, name: &str, at_ns: u64, value: u64) {
        self.events.push(json!({"ph": "C", "name": name, "pid": process, "tid": 0, "ts": microseconds(at_ns), "args": {"value": value}}));
    }

    fn operations(&mut self, case_file: &CaseFile) {
        for operation in &case_file.operations {
            let until = operation.return_ns.unwrap_or(case_file.end_ns);
            let args = json!({"client": operation.client, "told": operation.told, "revision": operation.revision, "node": operation.node});
            let category = format!("client {}", operation.client);
            self.slice_of_its_own(CLIENTS, &category, &operation.asked, (operation.invoke_ns, until), args);
        }
    }

    fn threads(&mut self, case_file: &CaseFile, recording: &Recording) {
        for (number, thread) in &recording.threads {
            let process = thread.owner.map_or(SHARED, |(node, _)| node);
            let name = if thread.name.is_empty() { "unnamed" } else { &thread.name };
            let life = thread.owner.map_or(String::new(), |(_, incarnation)| format!(", life {incarnation}"));
            let track = (process, u64::from(*number) + 1);
            self.thread(track.0, track.1, &format!("T{number} {name}{life}"));
            let until = thread.until_ns.unwrap_or(case_file.end_ns);
            self.slice(track, "thread", name, (thread.from_ns, until), json!({}));
            for call in &thread.calls {
                let (name, path) =
                    (&recording.texts[call.call as usize], &recording.texts[call.path as usize]);
                let args = json!({"path": path, "offset": call.offset, "length": call.length, "operation": call.operation});
                self.slice(track, "disk", name, (call.from_ns, call.until_ns), args);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_case;
    use super::*;
    use crate::evidence::{DiskCall, Thread};

    #[test]
    fn processes_threads_slices_and_instants_are_as_the_format_says() {
        let call =
            DiskCall { from_ns: 1500, until_ns: 2500, operation: 1, call: 0, path: 1, offset: 0, length: 7 };
        let thread = Thread {
            name: "n1".into(),
            owner: Some((1, 1)),
            from_ns: 1000,
            until_ns: None,
            calls: vec![call],
        };
        let recording = Recording {
            threads: [(4, thread)].into(),
            texts: vec!["fsync".into(), "replica/raft".into()],
            ..Recording::default()
        };
        let case_file = small_case();
        let trace: Value = serde_json::from_str(&perfetto(&case_file, &recording)).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let one = |phase: &str, name: &str| {
            let found: Vec<_> = events.iter().filter(|it| it["ph"] == phase && it["name"] == name).collect();
            assert_eq!(found.len(), 1, "{phase} {name}");
            found[0].clone()
        };
        let sync = one("X", "fsync");
        assert_eq!(
            (&sync["pid"], &sync["tid"], &sync["ts"], &sync["dur"]),
            (&json!(1), &json!(5), &json!(1.5), &json!(1.0))
        );
        assert_eq!(sync["args"]["path"], "replica/raft");
        let named = events.iter().find(|it| it["name"] == "thread_name" && it["tid"] == 5).unwrap();
        assert_eq!(named["args"]["name"], "T4 n1, life 1");
        assert_eq!(one("i", "crash: power failure")["s"], "p");
        let asked = &case_file.operations[0].asked;
        assert_eq!(one("b", asked)["id"], one("e", asked)["id"]);
        // Of every asynchronous slice both ends are there.
        let ends = |phase: &str| events.iter().filter(|it| it["ph"] == phase).count();
        assert_eq!(ends("b"), ends("e"));
    }
}
