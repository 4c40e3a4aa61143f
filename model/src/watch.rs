//! The nine guarantees of watches, over what clients received and what really happened (etcd's API guarantees,
//! <https://etcd.io/docs/v3.5/learning/api_guarantees/#watch-apis>, as its `tests/robustness/validate/watch.go`
//! checks them, and the rules of `mvcc/watchable_store.go`):
//!
//! | guarantee | |
//! |---|---|
//! | [`ordered`] | events come in the order of revisions |
//! | [`unique`] | no event comes twice |
//! | [`atomic`] | the events of a revision come in one message, or in the fragments of one |
//! | [`reliable`] | no event between two that came is left out, and none is invented |
//! | [`resumable`] | a watch starts with the first event from its start revision on, or is told that it is compacted |
//! | [`bookmarkable`] | a progress notification covers everything up to its revision, and nothing of it comes later |
//! | [`filtered`] | only what was asked for comes |
//! | [`created`] | the first message, and only it, says that the watch stands; nothing follows its end |
//! | [`previous`] | an event shows what its key held before exactly where that was asked for |
//!
//! Each is a function of its own that names the watch, the revision and what was expected.

mod completeness;
mod contents;
mod order;

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::kv::{Event, EventKind, WatchKind, WatchMessage, WatchRequest};
use crate::notation::bytes;
use crate::store::{Store, covers};
use crate::verdict::{Check, Subject, Violation};
pub use completeness::{bookmarkable, reliable, resumable};
pub use contents::{created, filtered, previous};
pub use order::{atomic, ordered, unique};

/// What really happened, from the first revision to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueEvents {
    /// Every event of every key, in the order of (main, sub) revisions; each with what the key held at the
    /// revision before, whatever was compacted.
    pub events: Vec<Event>,
    /// The last revision.
    pub last_revision: i64,
    /// The highest revision that was ever compacted, or may have been; zero or less: none.
    pub compacted_revision: i64,
}

impl TrueEvents {
    /// The events of a store that replayed the true history.
    pub fn of(store: &Store) -> TrueEvents {
        TrueEvents {
            events: store.all_events(),
            last_revision: store.revision(),
            compacted_revision: store.compacted_revision(),
        }
    }

    /// The events that a request asks for, from a revision on.
    fn asked_for<'a>(&'a self, request: &'a WatchRequest, from: i64) -> impl Iterator<Item = &'a Event> {
        let first = self.events.partition_point(|event| event.kv.mod_revision < from);
        self.events[first..].iter().filter(|event| wants(request, event))
    }
}

/// One watch as its client saw it: the first attempt, and one more for each time that it started again, on the
/// same replica or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRecord {
    /// The client.
    pub client: u32,
    /// The attempts, in order.
    pub attempts: Vec<WatchAttempt>,
}

/// One creation of a watch on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchAttempt {
    /// The replica that was asked; for evidence only.
    pub node: u64,
    /// What was asked.
    pub request: WatchRequest,
    /// What was received, in order.
    pub messages: Vec<WatchMessage>,
    /// The revision up to which every event must have come by the time at which the client stopped listening:
    /// the scenario sets it where it gave the watch time enough, on a healed cluster. `None`: nothing is known.
    pub must_reach: Option<i64>,
}

/// All nine guarantees, for all watches.
pub fn check(truth: &TrueEvents, watches: &[WatchRecord]) -> Vec<Violation> {
    let guarantees: [fn(&TrueEvents, &WatchRecord) -> Vec<Violation>; 9] =
        [ordered, unique, atomic, reliable, resumable, bookmarkable, filtered, created, previous];
    let of_watch = |watch| guarantees.iter().flat_map(move |guarantee| guarantee(truth, watch));
    watches.iter().flat_map(of_watch).collect()
}

impl WatchAttempt {
    /// The revision from which events were asked for; `None` where the server never said what `now` was.
    fn start(&self) -> Option<i64> {
        if self.request.start_revision > 0 {
            return Some(self.request.start_revision);
        }
        let created = self.messages.iter().find(|message| message.kind == WatchKind::Created);
        created.map(|message| message.revision + 1)
    }

    /// The events received, in order, each with the place of its message.
    fn received(&self) -> impl Iterator<Item = (usize, &Event)> {
        self.messages
            .iter()
            .enumerate()
            .flat_map(|(place, message)| events_of(message).iter().map(move |event| (place, event)))
    }
}

/// The events that a message carries.
fn events_of(message: &WatchMessage) -> &[Event] {
    match &message.kind {
        WatchKind::Events { events, fragment: _ } => events,
        WatchKind::Created | WatchKind::Progress | WatchKind::Canceled { .. } => &[],
    }
}

/// Whether a request asks for an event, whatever its revision.
fn wants(request: &WatchRequest, event: &Event) -> bool {
    let wanted_kind = match event.kind {
        EventKind::Put => !request.no_put,
        EventKind::Delete => !request.no_delete,
    };
    wanted_kind && covers(&request.key, request.range_end.as_deref(), &event.kv.key)
}

/// Whether two events are the same, but for what the key held before.
fn same(one: &Event, other: &Event) -> bool {
    one.kind == other.kind && one.kv == other.kv
}

fn show(event: &Event) -> String {
    match event.kind {
        EventKind::Put => format!("put {}", event.kv),
        EventKind::Delete => format!("delete {} at {}", bytes(&event.kv.key), event.kv.mod_revision),
    }
}

/// Messages that a violation shows before the one that it is about, and after it.
const SHOWN_BEFORE: usize = 6;
const SHOWN_AFTER: usize = 2;
/// Events that a violation shows of a message.
const EVENTS_SHOWN: usize = 4;

/// A violation that names the watch and the attempt, and shows the messages around the one that it is about, by its
/// place.
fn violation(
    check: Check,
    watch: &WatchRecord,
    attempt: usize,
    about: usize,
    message: impl Display,
) -> Violation {
    let WatchAttempt { node, request, messages, must_reach: _ } = &watch.attempts[attempt];
    let WatchRequest { watch_id, key, range_end, start_revision, .. } = request;
    let end = range_end.as_deref().map_or(String::new(), |end| format!("..{}", bytes(end)));
    let which = format!("watch {watch_id} of client {}, attempt {attempt} on node {node}", watch.client);
    let asked =
        format!("it asked for {}{end} from revision {start_revision} on{}", bytes(key), options(request));
    let subject = Subject::WatchMessage { client: watch.client, watch_id: *watch_id, message: about };
    let violation = Violation::new(check, format!("{which}: {message}")).with(asked).about(subject);
    let around =
        messages.iter().enumerate().take(about + 1 + SHOWN_AFTER).skip(about.saturating_sub(SHOWN_BEFORE));
    around.fold(violation, |violation, (place, message)| {
        let mark = if place == about { ">" } else { " " };
        violation.with(format!("{mark} message {place}, at revision {}: {}", message.revision, said(message)))
    })
}

/// A revision on a watch: the events that the client was owed of it, and those that it got, each with the place of its
/// message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedAndGot {
    /// The revision.
    pub revision: i64,
    /// What was asked for and happened.
    pub owed: Vec<String>,
    /// What came.
    pub got: Vec<(usize, String)>,
    /// Whether that differs.
    pub differs: bool,
}

/// The events of a revision on a watch.
#[derive(Default)]
struct OfRevision<'a> {
    owed: Vec<&'a Event>,
    got: Vec<(usize, &'a Event)>,
}

/// What an attempt was owed, and what it got, by revision: up to the highest one of which it was told, or had to be.
pub fn owed_and_got(truth: &TrueEvents, attempt: &WatchAttempt) -> Vec<OwedAndGot> {
    let told = attempt.messages.iter().filter(|message| message.kind == WatchKind::Progress);
    let told = told.map(|message| message.revision);
    let told = told.chain(attempt.received().map(|(_, event)| event.kv.mod_revision));
    let Some(last) = told.chain(attempt.must_reach).max() else { return Vec::new() };
    let mut revisions: BTreeMap<i64, OfRevision<'_>> = BTreeMap::new();
    if let Some(start) = attempt.start() {
        let owed = truth.asked_for(&attempt.request, start);
        for event in owed.take_while(|event| event.kv.mod_revision <= last) {
            revisions.entry(event.kv.mod_revision).or_default().owed.push(event);
        }
    }
    for (place, event) in attempt.received() {
        revisions.entry(event.kv.mod_revision).or_default().got.push((place, event));
    }
    let compared = |(revision, OfRevision { owed, got })| OwedAndGot {
        revision,
        differs: owed.len() != got.len() || owed.iter().zip(&got).any(|(owed, (_, got))| !same(owed, got)),
        owed: owed.into_iter().map(show).collect(),
        got: got.into_iter().map(|(place, event)| (place, show(event))).collect(),
    };
    revisions.into_iter().map(compared).collect()
}

/// What a request asks for beside keys and revisions.
fn options(request: &WatchRequest) -> String {
    let options = [
        (request.prev_kv, "with what was before"),
        (request.no_put, "without puts"),
        (request.no_delete, "without deletions"),
        (request.fragment, "in fragments"),
    ];
    options.iter().filter(|(on, _)| *on).map(|(_, words)| format!(", {words}")).collect()
}

/// What a message says, in short.
pub fn said(message: &WatchMessage) -> String {
    match &message.kind {
        WatchKind::Created => "the watch stands".to_owned(),
        WatchKind::Events { events, fragment } => {
            let shown: Vec<String> = events.iter().take(EVENTS_SHOWN).map(show).collect();
            let others = events.iter().skip(EVENTS_SHOWN).next_back().map_or(String::new(), |last| {
                format!(" … in all {} events up to {}", events.len(), last.kv.mod_revision)
            });
            format!("{}{others}{}", shown.join("; "), if *fragment { "; more follows" } else { "" })
        }
        WatchKind::Progress => "progress".to_owned(),
        WatchKind::Canceled { compact_revision: 0, reason } => format!("over: {reason}"),
        WatchKind::Canceled { compact_revision, reason: _ } => {
            format!("over: compacted at {compact_revision}")
        }
    }
}
