//! What became of each replica over time.

use super::happening;
use super::recording::{BUCKET_NS, NodeEventKind, Recording};
use crate::observation::Observed;
use crate::run::Evidence;
use crate::world::ObservedStop;
use cluster::{Recovery, ReplicaEvent, Role};
use engines::EngineId;
use serde::{Deserialize, Serialize};
use sim::StopCause;
use std::time::Duration;

/// At most so many points of a replica's applied index are kept.
const CURVE_POINTS: usize = 700;

/// A replica on the time line. Times are virtual nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLane {
    /// Numbered from 1.
    pub node: u64,
    /// Its engine and release at the start, as in "redb, release 2".
    pub what: String,
    /// Its states, in order.
    pub spans: Vec<Span>,
    /// What happened at one moment, in order.
    pub marks: Vec<Mark>,
    /// When it had applied which index of the raft log: each moment and index.
    pub applied: Vec<(u64, u64)>,
    /// Messages that it sent to other replicas, by number of the span of `bucket_ns`.
    pub messages: Vec<(u64, u32)>,
    /// The length of those spans.
    pub bucket_ns: u64,
}

/// A state that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// When it begins.
    pub from_ns: u64,
    /// When it ends.
    pub until_ns: u64,
    /// Which state.
    pub kind: SpanKind,
    /// In words.
    pub text: String,
}

/// The states of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanKind {
    /// Started, and not taking part yet.
    Starting,
    /// It follows.
    Follower,
    /// It wants to lead.
    Candidate,
    /// It leads.
    Leader,
    /// It does not run.
    Down,
    /// It is frozen.
    Paused,
    /// It has no state, and waits for a snapshot.
    Rebuilding,
    /// It sends a snapshot to a peer.
    Sending,
    /// It puts a snapshot in the place of its state.
    Installing,
}

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at_ns: u64,
    /// What kind of moment.
    pub kind: MarkKind,
    /// In words.
    pub text: String,
}

/// The kinds of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// The power failed, or the process was killed.
    Crash,
    /// The replica stopped by itself, and says why.
    Exit,
    /// The replica was asked to stop.
    Stop,
    /// The replica takes part.
    Start,
    /// It won an election.
    Elected,
    /// A fault of its disk.
    DiskFault,
    /// Its wall clock was set.
    Clock,
    /// An engine broke a promise, a log was damaged, a store was set aside.
    Finding,
    /// A snapshot was sent, received, refused.
    Snapshot,
    /// A flush ended, the raft log was cut, a compaction went on.
    Upkeep,
}

/// The lanes of all replicas.
pub(crate) fn lanes(evidence: &Evidence, recording: &Recording) -> Vec<NodeLane> {
    let end_ns = nanoseconds(evidence.virtual_time);
    (1u64..)
        .zip(&evidence.plan.nodes)
        .map(|(node, planned)| {
            let what = format!("{}, release {}", planned.engine, planned.release);
            let mut lane = lane_of_machine(node, recording);
            lane.what = what;
            let mut life = Life {
                node,
                lane,
                end_ns,
                role: None,
                down_since: Some((0, "not started yet".into())),
                rebuilding: None,
                sending: None,
                installing: None,
            };
            life.live(evidence, recording);
            life.lane
        })
        .collect()
}

/// What is known of a replica of which the machine alone has told.
pub(crate) fn lane_of_machine(node: u64, recording: &Recording) -> NodeLane {
    let mut lane = NodeLane { node, bucket_ns: BUCKET_NS, ..NodeLane::default() };
    for fault in recording.disk_faults.iter().filter(|fault| fault.node == node) {
        lane.mark(fault.at_ns, MarkKind::DiskFault, fault.what.clone());
    }
    if let Some(sent) = recording.messages.get(&node) {
        lane.messages = sent.iter().map(|(bucket, count)| (*bucket, *count)).collect();
    }
    let mut paused_since = None;
    for event in recording.node_events.iter().filter(|event| event.node == node) {
        match event.kind {
            NodeEventKind::ClockStepped(step_ns) => {
                let text = format!("its wall clock was set by {:+.3} s", step_ns as f64 / 1e9);
                lane.mark(event.at_ns, MarkKind::Clock, text);
            }
            NodeEventKind::Paused(true) => paused_since = Some(event.at_ns),
            NodeEventKind::Paused(false) | NodeEventKind::Stopped => {
                if let Some(since) = paused_since.take() {
                    lane.span(since, event.at_ns, SpanKind::Paused, "frozen".to_string());
                }
            }
            NodeEventKind::Started => {}
        }
    }
    lane
}

impl NodeLane {
    fn span(&mut self, from_ns: u64, until_ns: u64, kind: SpanKind, text: String) {
        self.spans.push(Span { from_ns, until_ns, kind, text });
    }

    fn mark(&mut self, at_ns: u64, kind: MarkKind, text: String) {
        self.marks.push(Mark { at_ns, kind, text });
    }

    /// The role that the replica had at a moment, in words.
    pub(crate) fn role_at(&self, at_ns: u64) -> Option<&'static str> {
        let span = self.spans.iter().find(|span| {
            let role = matches!(span.kind, SpanKind::Leader | SpanKind::Follower | SpanKind::Candidate);
            role && span.from_ns <= at_ns && at_ns < span.until_ns
        })?;
        Some(match span.kind {
            SpanKind::Leader => "leader",
            SpanKind::Follower => "follower",
            SpanKind::Candidate => "candidate",
            SpanKind::Starting
            | SpanKind::Down
            | SpanKind::Paused
            | SpanKind::Rebuilding
            | SpanKind::Sending
            | SpanKind::Installing => return None,
        })
    }

    /// Moments of a kind between two others.
    pub(crate) fn marks_between(
        &self,
        kind: MarkKind,
        from_ns: u64,
        until_ns: u64,
    ) -> impl Iterator<Item = &Mark> {
        self.marks
            .iter()
            .filter(move |mark| mark.kind == kind && from_ns <= mark.at_ns && mark.at_ns <= until_ns)
    }
}

/// A state that has begun: when, which, and in words.
type Begun = (u64, SpanKind, String);

/// Follows one replica through the run.
struct Life {
    node: u64,
    lane: NodeLane,
    end_ns: u64,
    role: Option<Begun>,
    down_since: Option<(u64, String)>,
    rebuilding: Option<u64>,
    sending: Option<(u64, String)>,
    installing: Option<(u64, u64)>,
}

/// What the replica told, or what the machine did to it.
enum Happening<'a> {
    Told(&'a Observed),
    Began,
    Ended(&'a ObservedStop),
}

impl Life {
    fn live(&mut self, evidence: &Evidence, recording: &Recording) {
        let mut happenings: Vec<(u64, Happening<'_>)> = Vec::new();
        let told = evidence.log.events.iter().filter(|observed| observed.node == self.node);
        happenings.extend(told.map(|observed| (nanoseconds(observed.at), Happening::Told(observed))));
        let began = recording.node_events.iter().filter(|event| event.node == self.node);
        happenings.extend(
            began
                .filter(|event| event.kind == NodeEventKind::Started)
                .map(|event| (event.at_ns, Happening::Began)),
        );
        let stops = evidence.stops.iter().filter(|stop| stop.node == self.node);
        happenings.extend(stops.map(|stop| (nanoseconds(stop.at), Happening::Ended(stop))));
        // At the same moment an incarnation tells, then it ends, then the next begins.
        happenings.sort_by_key(|(at, happening)| {
            let order = match happening {
                Happening::Told(_) => 0,
                Happening::Ended(_) => 1,
                Happening::Began => 2,
            };
            (*at, order)
        });
        for (at, happening) in happenings {
            match happening {
                Happening::Told(observed) => self.told(at, &observed.event),
                Happening::Began => self.began(at),
                Happening::Ended(stop) => self.ended(at, stop),
            }
        }
        self.close(self.end_ns);
        if let Some((since, why)) = self.down_since.take() {
            self.lane.span(since, self.end_ns, SpanKind::Down, why);
        }
        self.lane.spans.sort_by_key(|span| span.from_ns);
        self.lane.marks.sort_by_key(|mark| mark.at_ns);
        self.thin_out();
    }

    fn began(&mut self, at: u64) {
        if let Some((since, why)) = self.down_since.take()
            && since < at
        {
            self.lane.span(since, at, SpanKind::Down, why);
        }
        self.role = Some((at, SpanKind::Starting, "starts: opens its raft log and its store".to_string()));
    }

    fn ended(&mut self, at: u64, stop: &ObservedStop) {
        self.close(at);
        let (kind, why) = end_in_words(stop);
        self.lane.mark(at, kind, why.clone());
        self.down_since = Some((at, format!("down: {why}")));
    }

    /// Ends every state that has begun.
    fn close(&mut self, at: u64) {
        self.change_role(at, None);
        if let Some(since) = self.rebuilding.take() {
            self.lane.span(
                since,
                at,
                SpanKind::Rebuilding,
                "without state, waits for a snapshot".to_string(),
            );
        }
        if let Some((since, text)) = self.sending.take() {
            self.lane.span(since, at, SpanKind::Sending, text);
        }
        if let Some((since, index)) = self.installing.take() {
            self.lane.span(since, at, SpanKind::Installing, format!("installs a snapshot of index {index}"));
        }
    }

    fn change_role(&mut self, at: u64, next: Option<(SpanKind, String)>) {
        if let (Some((_, kind, text)), Some((next_kind, next_text))) = (&self.role, &next)
            && kind == next_kind
            && text == next_text
        {
            return;
        }
        if let Some((since, kind, text)) = self.role.take() {
            self.lane.span(since, at, kind, text);
        }
        self.role = next.map(|(kind, text)| (at, kind, text));
    }

    fn told(&mut self, at: u64, event: &ReplicaEvent) {
        self.follow(at, event);
        if let Some((kind, text)) = happening::mark(event) {
            self.lane.mark(at, kind, text);
        }
    }

    /// What an event changes of the states.
    fn follow(&mut self, at: u64, event: &ReplicaEvent) {
        match event {
            ReplicaEvent::Started { recovery, applied_index, term, .. } => {
                self.applied(at, *applied_index);
                self.change_role(at, Some((SpanKind::Follower, format!("follower in term {term}"))));
                if matches!(recovery, Recovery::Rebuild | Recovery::Join) {
                    self.rebuilding = Some(at);
                }
            }
            ReplicaEvent::StateChanged { role, term, leader, .. } => {
                self.change_role(at, Some(role_in_words(*role, *term, *leader)));
            }
            ReplicaEvent::BecameLeader { term, .. } => {
                self.change_role(at, Some((SpanKind::Leader, format!("leader in term {term}"))));
            }
            ReplicaEvent::Applied { index, .. } => self.applied(at, *index),
            ReplicaEvent::SnapshotSent { .. } => {
                let text = happening::mark(event).map_or(String::new(), |(_, text)| text);
                if let Some((since, earlier)) = self.sending.replace((at, text)) {
                    self.lane.span(since, at, SpanKind::Sending, earlier);
                }
            }
            ReplicaEvent::SnapshotSendEnded { .. } => {
                if let Some((since, text)) = self.sending.take() {
                    self.lane.span(since, at, SpanKind::Sending, text);
                }
            }
            ReplicaEvent::SnapshotInstallBegin { index } => self.installing = Some((at, *index)),
            ReplicaEvent::SnapshotInstallEnd { index } => self.installed(at, *index),
            _that_changes_no_state => {}
        }
    }

    fn installed(&mut self, at: u64, index: u64) {
        if let Some((since, _)) = self.installing.take() {
            let text = format!("installs a snapshot of index {index}");
            self.lane.span(since, at, SpanKind::Installing, text);
        }
        if let Some(since) = self.rebuilding.take() {
            let text = "without state, waits for a snapshot".to_string();
            self.lane.span(since, at, SpanKind::Rebuilding, text);
        }
        self.applied(at, index);
    }

    fn applied(&mut self, at: u64, index: u64) {
        self.lane.applied.push((at, index));
    }

    /// Leaves out points of the curve that are too close to the one before to be seen.
    fn thin_out(&mut self) {
        let apart = self.end_ns / CURVE_POINTS as u64;
        let points = std::mem::take(&mut self.lane.applied);
        let last = points.len().saturating_sub(1);
        for (place, (at, index)) in points.into_iter().enumerate() {
            let kept = self.lane.applied.last();
            let close = kept.is_some_and(|(kept, before)| at < kept + apart && *before <= index);
            if !close || place == last {
                self.lane.applied.push((at, index));
            }
        }
    }
}

fn role_in_words(role: Role, term: u64, leader: u64) -> (SpanKind, String) {
    match role {
        Role::Leader => (SpanKind::Leader, format!("leader in term {term}")),
        Role::Follower if leader == 0 => {
            (SpanKind::Follower, format!("follower in term {term}, knows no leader"))
        }
        Role::Follower => (SpanKind::Follower, format!("follower of node {leader} in term {term}")),
        Role::PreCandidate => {
            (SpanKind::Candidate, format!("asks whether it would win an election, in term {term}"))
        }
        Role::Candidate => (SpanKind::Candidate, format!("candidate in term {term}")),
    }
}

fn end_in_words(stop: &ObservedStop) -> (MarkKind, String) {
    let mut text = match (stop.stop.cause, &stop.stop.result) {
        (StopCause::Exit, Ok(())) => {
            return (MarkKind::Stop, "asked to stop, and stopped in good order".to_string());
        }
        (StopCause::Exit, Err(why)) => return (MarkKind::Exit, format!("stopped by itself: {why}")),
        (StopCause::ProcessKill, _) => "process killed".to_string(),
        (StopCause::PowerFailure, _) => "power failure".to_string(),
    };
    if let Some(site) = &stop.stop.site {
        let place = if site.inside { "inside" } else { "before" };
        text += &format!(", {place} {} {} ({} bytes at {})", site.call, site.path, site.length, site.offset);
    }
    if stop.recovering {
        text += ", while it was starting";
    }
    if stop.installing {
        text += ", while it installed a snapshot";
    }
    if let Some(report) = &stop.stop.report {
        text += &format!(
            "; of what was not synced, {} disk operations survived, {} were lost, {} torn",
            report.kept, report.dropped, report.torn
        );
    }
    (MarkKind::Crash, text)
}

/// The name of an engine.
pub(crate) fn engine(id: u8) -> String {
    EngineId::from_byte(id).map_or_else(|| format!("engine {id:#04x}"), |engine| engine.name().to_string())
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("virtual time fits")
}
