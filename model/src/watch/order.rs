//! In which order and in which messages events come.

use std::collections::BTreeMap;

use super::{TrueEvents, WatchAttempt, WatchRecord, events_of, same, show, violation};
use crate::kv::{Event, WatchKind};
use crate::verdict::{Check, Violation};

/// Events come in the order of revisions, also over attempts that go on after the last event received; and the
/// header of a message is not older than its events.
pub fn ordered(_truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut last: Option<i64> = None;
    for (place, attempt) in watch.attempts.iter().enumerate() {
        let goes_on = last.is_none_or(|last| attempt.start().is_some_and(|start| start > last));
        let mut newest = if goes_on { last } else { None };
        for (at, event) in attempt.received() {
            let revision = event.kv.mod_revision;
            if let Some(newest) = newest.filter(|newest| revision < *newest) {
                let message = format!("revision {revision} came after revision {newest}");
                violations.push(violation(Check::WatchOrdered, watch, place, at, message));
            }
            let header = attempt.messages[at].revision;
            if header < revision {
                let message = format!("revision {revision} came under a header of revision {header}");
                violations.push(violation(Check::WatchOrdered, watch, place, at, message));
            }
            newest = newest.max(Some(revision));
        }
        last = last.max(newest);
    }
    violations
}

/// No event comes twice in an attempt. (A transaction that deletes a key and puts it again makes two events of
/// one key and revision.)
pub fn unique(truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (place, attempt) in watch.attempts.iter().enumerate() {
        let mut counts: BTreeMap<(i64, &[u8]), usize> = BTreeMap::new();
        for (at, event) in attempt.received() {
            let count = counts.entry((event.kv.mod_revision, &event.kv.key)).or_default();
            *count += 1;
            if *count > 1 && *count > times(truth, event) {
                let revision = event.kv.mod_revision;
                let message = format!("an event of revision {revision} came {count} times");
                violations.push(violation(Check::WatchUnique, watch, place, at, message).with(show(event)));
            }
        }
    }
    violations
}

/// How often a revision changed a key.
fn times(truth: &TrueEvents, event: &Event) -> usize {
    let revision = event.kv.mod_revision;
    let from = truth.events.partition_point(|event| event.kv.mod_revision < revision);
    let of_revision = truth.events[from..].iter().take_while(|event| event.kv.mod_revision == revision);
    of_revision.filter(|other| other.kv.key == event.kv.key).count()
}

/// The events of a revision come in one message, or in messages each but the last of which says that more
/// follows. A connection may break between fragments.
pub fn atomic(truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let attempts = watch.attempts.iter().enumerate();
    attempts.flat_map(|(place, attempt)| check_atomic(truth, watch, place, attempt)).collect()
}

fn check_atomic(
    truth: &TrueEvents,
    watch: &WatchRecord,
    place: usize,
    attempt: &WatchAttempt,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut fail = |at: usize, message: String| {
        violations.push(violation(Check::WatchAtomic, watch, place, at, message))
    };
    let mut run: Vec<&Event> = Vec::new();
    let mut open = false;
    for (at, message) in attempt.messages.iter().enumerate() {
        let WatchKind::Events { events: _, fragment } = &message.kind else {
            if open && matches!(message.kind, WatchKind::Progress) {
                fail(
                    at,
                    format!(
                        "a progress notification of revision {} came between fragments",
                        message.revision
                    ),
                );
            }
            continue;
        };
        if *fragment && !attempt.request.fragment {
            fail(at, "a fragment came that was not asked for".to_owned());
        }
        let events = events_of(message);
        if !open
            && let (Some(last), Some(first)) = (run.last(), events.first())
            && last.kv.mod_revision == first.kv.mod_revision
        {
            fail(at, format!("revision {} was split over two messages", first.kv.mod_revision));
        }
        if !open {
            run.clear();
        }
        run.extend(events);
        open = *fragment;
        if !open && let Some(missing) = first_missing(truth, attempt, &run) {
            let revision = missing.kv.mod_revision;
            fail(at, format!("revision {revision} came without one of its events: {}", show(missing)));
        }
    }
    violations
}

/// An event that is missing from a revision of which others came.
fn first_missing<'a>(truth: &'a TrueEvents, attempt: &'a WatchAttempt, run: &[&Event]) -> Option<&'a Event> {
    let (first, last) = (run.first()?.kv.mod_revision, run.last()?.kv.mod_revision);
    let of_run = truth.asked_for(&attempt.request, first.max(attempt.start()?));
    let mut of_run = of_run.take_while(|event| event.kv.mod_revision <= last);
    of_run.find(|expected| {
        let revision = expected.kv.mod_revision;
        let begun = run.iter().any(|event| event.kv.mod_revision == revision);
        begun && !run.iter().any(|event| same(event, expected))
    })
}
