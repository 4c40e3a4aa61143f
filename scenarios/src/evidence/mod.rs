//! Evidence that a person can read: what a run did and what broke, as data for a page ([`page`]), for the Perfetto
//! viewer ([`perfetto`]) and for the terminal ([`Explanation`]).
//!
//! Recording moves nothing: a run that is recorded has the trace that it has without.

mod diagram;
mod exhibit;
mod explanation;
mod happening;
mod lease;
mod lost;
mod node;
mod operation;
mod order;
mod page;
mod perfetto;
mod recording;
mod replicas;
mod sentence;
mod stream;
mod watch;

pub use exhibit::{Exhibit, Row};
pub use explanation::Explanation;
pub use lost::{CrashAfter, FirstLost, Held, LostWrites};
pub use node::{Mark, MarkKind, NodeLane, Span, SpanKind};
pub use operation::{ClientOperation, OperationKind};
pub use order::{BrokenOrder, Conflict, OrderWithout, Refused, Step};
pub use page::page;
pub use perfetto::perfetto;
pub(crate) use recording::Recorder;
pub use recording::{DiskCall, InjectedFault, NodeEvent, NodeEventKind, Recording, Thread};
pub use stream::{Party, SnapshotStream};

use crate::plan::{Fault, PartitionShape, Plan, Target};
use crate::report::{Report, Verdict};
use crate::run::Evidence;
use crate::truth::Truth;
use model::history::Stamp;
use model::specs::etcd::StoreHistory;
use model::verdict::{Check, Subject, Violation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything about one run. Times are virtual nanoseconds; an operation is named by its place in `operations`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseFile {
    /// What the run did and found.
    pub report: Report,
    /// The choices of the protocol that are not the believed ones.
    pub design: Vec<DesignChoice>,
    /// When everything was mended.
    pub healed_ns: u64,
    /// When the run ended.
    pub end_ns: u64,
    /// What broke, the first check's first.
    pub broken: Vec<Broken>,
    /// The replicas.
    pub nodes: Vec<NodeLane>,
    /// Links that were cut.
    pub cuts: Vec<Cut>,
    /// What clients did, in the order in which they asked.
    pub operations: Vec<ClientOperation>,
    /// Snapshots that were sent.
    pub streams: Vec<SnapshotStream>,
}

/// A choice of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesignChoice {
    /// As in `reads=local`.
    pub choice: String,
    /// What it means.
    pub doc: String,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The check that found it.
    pub check: Check,
    /// What must hold.
    pub promise: String,
    /// What broke, in one plain sentence.
    pub sentence: String,
    /// What the check said.
    pub message: String,
    /// The check's evidence, line by line.
    pub lines: Vec<String>,
    /// The moment to look at.
    pub at_ns: Option<u64>,
    /// The operations that it is about.
    pub operations: Vec<usize>,
    /// Where no legal order exists: why.
    pub order: Option<BrokenOrder>,
    /// Where acknowledged writes are gone: which.
    pub lost: Option<LostWrites>,
    /// Where a snapshot went wrong: which, a place in [`CaseFile::streams`].
    pub stream: Option<usize>,
    /// What else shows it.
    pub exhibits: Vec<Exhibit>,
    /// The replicas that it is about; none where it is not known to be about some more than about others.
    pub nodes: BTreeSet<u64>,
}

/// Links that are cut for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// From when on.
    pub from_ns: u64,
    /// Until when.
    pub until_ns: u64,
    /// How many directed links.
    pub links: u64,
    /// What was asked for, in words.
    pub text: String,
}

impl CaseFile {
    /// The file on a run that came to its end. `decided` is its history after what is proven of unknown outcomes.
    pub(crate) fn of(
        evidence: &Evidence,
        decided: &StoreHistory,
        report: Report,
        recording: &Recording,
    ) -> Self {
        let history = evidence.log.history.clone().finish().expect("clients do one thing at a time");
        let nodes = node::lanes(evidence, recording);
        let operations = operation::operations(&history, decided, recording, &nodes);
        let stamps: Vec<Stamp> = history.operations().iter().map(|operation| operation.invoke).collect();
        let streams = stream::streams(&evidence.log.events);
        let end_ns = node::nanoseconds(evidence.virtual_time);
        let case = Case {
            evidence,
            history: &history,
            decided,
            nodes: &nodes,
            operations: &operations,
            streams: &streams,
            stamps,
            truth: Truth::of(&evidence.log.entries).ok(),
        };
        let broken = violations(&report.verdict).iter().map(|violation| case.broken(violation)).collect();
        let mut case_file = Self::empty(report, &evidence.plan);
        case_file.broken = point_once(broken);
        case_file.healed_ns = node::nanoseconds(evidence.healed_at);
        case_file.cuts = cuts(&evidence.plan, recording, end_ns);
        case_file.end_ns = end_ns;
        case_file.nodes = nodes;
        case_file.operations = operations;
        case_file.streams = streams;
        case_file
    }

    /// The file on a run that was given up: all that is known of it is what the machine did.
    pub(crate) fn of_aborted(plan: &Plan, report: Report, recording: &Recording) -> Self {
        let mut case_file = Self::empty(report, plan);
        case_file.end_ns = recording.node_events.iter().map(|event| event.at_ns).max().unwrap_or(0).max(1);
        case_file.cuts = cuts(plan, recording, case_file.end_ns);
        for (number, lane) in (1u64..).zip(&mut case_file.nodes) {
            let what = std::mem::take(&mut lane.what);
            *lane = NodeLane { what, ..node::lane_of_machine(number, recording) };
        }
        case_file.broken = violations(&case_file.report.verdict).iter().map(plainly).collect();
        case_file
    }

    /// The file on a run of which nothing but its report is known.
    pub fn empty(report: Report, plan: &Plan) -> Self {
        let lane = |(number, planned): (u64, &crate::plan::NodePlan)| NodeLane {
            node: number,
            what: format!("{}, release {}", planned.engine, planned.release),
            ..NodeLane::default()
        };
        Self {
            broken: violations(&report.verdict).iter().map(plainly).collect(),
            report,
            design: plan.design.differences().into_iter().map(design_choice).collect(),
            healed_ns: plan.heal_at_ms * 1_000_000,
            end_ns: plan.heal_at_ms * 1_000_000 + 1,
            nodes: (1u64..).zip(&plan.nodes).map(lane).collect(),
            cuts: Vec::new(),
            operations: Vec::new(),
            streams: Vec::new(),
        }
    }
}

fn design_choice((field, value): (&str, &str)) -> DesignChoice {
    let known = crate::design_fields().iter().filter(|known| known.name == field);
    let doc = known.flat_map(|known| known.choices).find(|choice| choice.name == value);
    DesignChoice {
        choice: format!("{field}={value}"),
        doc: doc.map_or(String::new(), |choice| choice.doc.trim().to_string()),
    }
}

fn violations(verdict: &Verdict) -> &[Violation] {
    match verdict {
        Verdict::Violated { violations } => violations,
        Verdict::Held | Verdict::Incomplete { .. } => &[],
    }
}

/// A violation of which no more is known than what its check said.
fn plainly(violation: &Violation) -> Broken {
    Broken {
        check: violation.check,
        promise: sentence::promise(violation.check).to_string(),
        sentence: sentence::of_message(violation),
        message: violation.message.clone(),
        lines: violation.evidence.iter().map(|line| sentence::in_seconds(line)).collect(),
        at_ns: None,
        operations: Vec::new(),
        order: None,
        lost: None,
        stream: None,
        exhibits: Vec::new(),
        nodes: BTreeSet::new(),
    }
}

/// A broken order and lost writes are the whole history's: where a check reports one for each replica, the first tells
/// it.
fn point_once(mut broken: Vec<Broken>) -> Vec<Broken> {
    let mut told = Vec::new();
    for broken in &mut broken {
        if (broken.order.is_some() || broken.lost.is_some()) && told.contains(&broken.check) {
            *broken = Broken { order: None, lost: None, ..broken.clone() };
        }
        told.push(broken.check);
    }
    broken
}

/// What violations are explained from.
struct Case<'a> {
    evidence: &'a Evidence,
    history: &'a StoreHistory,
    decided: &'a StoreHistory,
    nodes: &'a [NodeLane],
    operations: &'a [ClientOperation],
    streams: &'a [SnapshotStream],
    /// When each operation was asked, by its place.
    stamps: Vec<Stamp>,
    /// What the raft log has made; none where that is not known.
    truth: Option<Truth>,
}

impl Case<'_> {
    fn broken(&self, violation: &Violation) -> Broken {
        let mut broken = plainly(violation);
        match violation.check {
            Check::Linearizable => self.order(&mut broken),
            Check::Durable => self.lost(&mut broken),
            Check::Routing => self.stream(&mut broken),
            _told_by_its_subject => self.subject(&mut broken, violation),
        }
        if broken.nodes.is_empty() {
            broken.nodes.extend(broken.operations.iter().filter_map(|place| self.operations[*place].node));
        }
        broken
    }

    fn subject(&self, broken: &mut Broken, violation: &Violation) {
        match violation.subject {
            Some(Subject::Operation(place)) => self.answer(broken, place),
            Some(Subject::WatchMessage { client, watch_id, message }) => {
                self.watch(broken, client, watch_id, message);
            }
            Some(Subject::AppliedIndex(index)) => self.hashes_at_index(broken, index),
            Some(Subject::Revision(revision)) => self.hashes_at_revision(broken, revision),
            Some(Subject::Lease(id)) => self.lease(broken, id),
            None => {}
        }
        if broken.check == Check::ReplicasEqual {
            self.stores(broken);
        }
    }

    /// An answer that is wrong whatever others were told. The check says why, in its message or in its last line.
    fn answer(&self, broken: &mut Broken, place: usize) {
        let why = match broken.message.split_once(": ") {
            Some((_, why)) => Some(why),
            None => broken.lines.last().map(String::as_str),
        };
        let operation = &self.operations[place];
        broken.sentence = sentence::of_answer(operation, why.unwrap_or("that cannot be"));
        broken.at_ns = operation.return_ns;
        broken.operations = vec![place];
    }

    fn order(&self, broken: &mut Broken) {
        let places: BTreeMap<Stamp, usize> =
            self.stamps.iter().enumerate().map(|(place, stamp)| (*stamp, place)).collect();
        let Some(order) = order::explain(self.decided, &places) else { return };
        // Where what contradicts itself is no client's, as the end of a lease, only the check's words tell it.
        if order.core.is_empty() {
            return;
        }
        broken.sentence = sentence::of_order(&order, self.operations);
        broken.at_ns = order.core.iter().filter_map(|place| self.operations[*place].return_ns).max();
        broken.operations = order.core.clone();
        broken.order = Some(order);
    }

    fn lost(&self, broken: &mut Broken) {
        let Some(lost) = lost::lost(self.evidence, self.history, self.nodes) else { return };
        broken.sentence = sentence::of_lost(&lost, self.operations);
        broken.at_ns = self.operations[lost.first.operation].return_ns;
        broken.operations = lost.operations.clone();
        broken.nodes = lost.first.held.iter().filter(|held| !held.has_it).map(|held| held.node).collect();
        broken.lost = Some(lost);
    }

    /// The oracle's message begins with `stream` and its number.
    fn stream(&self, broken: &mut Broken) {
        let Some(rest) = broken.message.strip_prefix("stream ") else { return };
        let Some((number, message)) = rest.split_once(' ') else { return };
        let Some(place) = self.streams.iter().position(|stream| stream.number.to_string() == number) else {
            return;
        };
        broken.sentence = sentence::of_stream(&self.streams[place], message);
        broken.at_ns = Some(self.streams[place].at_ns);
        broken.stream = Some(place);
        broken.nodes.extend([self.streams[place].sender.node, self.streams[place].receiver.node]);
    }
}

/// When links were cut, with what the plan asked for then.
fn cuts(plan: &Plan, recording: &Recording, end_ns: u64) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    for (place, (from_ns, links)) in recording.blocked_links.iter().enumerate() {
        let until_ns = recording.blocked_links.get(place + 1).map_or(end_ns, |(at, _)| *at);
        if *links == 0 || until_ns <= *from_ns {
            continue;
        }
        let asked = plan.faults.iter().filter_map(|planned| match &planned.fault {
            Fault::Partition { shape, for_ms } => {
                let begin = planned.at_ms * 1_000_000;
                let covers = begin <= from_ns + 2_000_000 && *from_ns < begin + for_ms * 1_000_000;
                covers.then(|| shape_in_words(*shape))
            }
            Fault::Crash { .. }
            | Fault::Pause { .. }
            | Fault::FillDisk { .. }
            | Fault::Rot { .. }
            | Fault::StepClock { .. } => None,
        });
        let asked: Vec<String> = asked.collect();
        cuts.push(Cut { from_ns: *from_ns, until_ns, links: *links, text: asked.join("; ") });
    }
    cuts
}

fn shape_in_words(shape: PartitionShape) -> String {
    let who = |target: Target| match target {
        Target::Node(node) => format!("node {node}"),
        Target::Leader => "who led then".to_string(),
        Target::Follower => "the node after the leader".to_string(),
    };
    match shape {
        PartitionShape::Isolate(target) => format!("all links of {}", who(target)),
        PartitionShape::Mute(target) => format!("everything that {} sends", who(target)),
        PartitionShape::Deafen(target) => format!("everything that {} would receive", who(target)),
        PartitionShape::Bridge(target) => format!("all links but those of {}", who(target)),
        PartitionShape::WithLeader(node) => {
            format!("all links between the leader with {} and everybody else", who(node))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of two operations: a write, and a read after it that does not see it.
    pub(super) fn small_case() -> CaseFile {
        let operation =
            |client: u32, times: (u64, u64), asked: &str, told: &str, node: u64| ClientOperation {
                client,
                invoke_ns: times.0,
                return_ns: Some(times.1),
                kind: if client == 0 { OperationKind::Write } else { OperationKind::Read },
                keys: vec!["k".to_string()],
                asked: asked.to_string(),
                told: told.to_string(),
                revision: Some(2 - i64::from(client)),
                node: Some(node),
                role: None,
            };
        let order = BrokenOrder {
            core: vec![0, 1],
            minimal: true,
            conflict: None,
            orders_without: vec![
                OrderWithout { without: 0, order: vec![1] },
                OrderWithout { without: 1, order: vec![0] },
            ],
            legal_until_ns: 1_001_000_000,
            legal_answers: 1,
            steps: vec![Step { operation: 0, revision: 2, changes: vec![("k".into(), Some("v".into()))] }],
            steps_left_out: 0,
            refused: vec![Refused {
                operation: 1,
                reason: "at revision 2 the answer is @2 k=v/2/2/1 count 1".into(),
            }],
        };
        let mut plan = crate::scenario::Scenario::Calm.plan(1);
        plan.operations.clear();
        let violation = Violation::new(Check::Linearizable, "no legal order");
        let verdict = Verdict::Violated { violations: vec![violation.clone()] };
        let mut case_file = CaseFile::empty(Report::aborted(&plan, verdict), &plan);
        case_file.broken[0].sentence = "A stale answer.".to_string();
        case_file.broken[0].operations = order.core.clone();
        case_file.broken[0].order = Some(order);
        case_file.operations = vec![
            operation(0, (1_000_000_000, 1_001_000_000), "put k=v", "@2", 1),
            operation(1, (1_002_000_000, 1_003_000_000), "get k", "@1 count 0", 2),
        ];
        case_file.nodes[0].marks =
            vec![Mark { at_ns: 1_000_500_000, kind: MarkKind::Crash, text: "power failure".to_string() }];
        case_file
    }
}
