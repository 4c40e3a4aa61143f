//! What messages may hold.

use super::{TrueEvents, WatchAttempt, WatchRecord, same, show, violation, wants};
use crate::kv::{Event, KeyValue, WatchKind};
use crate::verdict::{Check, Violation};

/// Every event is of the range and the kind asked for, and not from before the start.
pub fn filtered(_truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (place, attempt) in watch.attempts.iter().enumerate() {
        let start = attempt.start();
        for (at, event) in attempt.received() {
            let early = start.filter(|start| event.kv.mod_revision < *start);
            let message = match early {
                Some(start) => format!("{} came, which is from before revision {start}", show(event)),
                None if !wants(&attempt.request, event) => {
                    format!("{} came, which was not asked for", show(event))
                }
                None => continue,
            };
            violations.push(violation(Check::WatchFiltered, watch, place, at, message));
        }
    }
    violations
}

/// The first message says that the watch stands, and no other does; all carry its id; and none follows one that
/// says that it is over.
pub fn created(_truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (place, attempt) in watch.attempts.iter().enumerate() {
        let mut over = false;
        for (at, message) in attempt.messages.iter().enumerate() {
            let mut fail =
                |message: String| violations.push(violation(Check::WatchCreated, watch, place, at, message));
            if message.watch_id != attempt.request.watch_id {
                fail(format!("message {at} carries the id of watch {}", message.watch_id));
            }
            if over {
                fail(format!("message {at} came after the end of the watch"));
            }
            match (&message.kind, at) {
                (WatchKind::Created, 0) => {}
                (WatchKind::Created, _) => fail(format!("message {at} says again that the watch stands")),
                (WatchKind::Events { .. } | WatchKind::Progress | WatchKind::Canceled { .. }, 0) => {
                    fail("the first message does not say that the watch stands".to_owned());
                }
                (WatchKind::Canceled { .. }, _) => over = true,
                (WatchKind::Events { .. } | WatchKind::Progress, _) => {}
            }
        }
    }
    violations
}

/// With `prev_kv` an event shows what its key held at the revision before, and nothing only where there was
/// nothing or where that revision may have been compacted away; without, it shows nothing.
pub fn previous(truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (place, attempt) in watch.attempts.iter().enumerate() {
        for (at, event) in attempt.received() {
            if let Some(message) = wrong_previous(truth, attempt, event) {
                violations.push(violation(Check::WatchPrevious, watch, place, at, message));
            }
        }
    }
    violations
}

fn wrong_previous(truth: &TrueEvents, attempt: &WatchAttempt, event: &Event) -> Option<String> {
    let shown = |kv: Option<&KeyValue>| kv.map_or("nothing".to_owned(), ToString::to_string);
    let found = event.prev_kv.as_ref();
    let revision = event.kv.mod_revision;
    if !attempt.request.prev_kv {
        return found.map(|_| format!("{} shows {} before it, unasked", show(event), shown(found)));
    }
    let from = truth.events.partition_point(|event| event.kv.mod_revision < revision);
    // An event that never happened is for the other guarantees.
    let expected = truth.events[from..].iter().find(|other| same(other, event))?.prev_kv.as_ref();
    let may_be_compacted = found.is_none() && revision <= truth.compacted_revision;
    (found != expected && !may_be_compacted)
        .then(|| format!("{} shows {} before it, not {}", show(event), shown(found), shown(expected)))
}
