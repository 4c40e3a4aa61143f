//! Whether everything comes that must.

use super::{TrueEvents, WatchAttempt, WatchRecord, events_of, same, show, violation};
use crate::kv::{Event, WatchKind, WatchMessage};
use crate::verdict::{Check, Violation};

/// From the first event received on, every event that was asked for comes, as it was, and nothing else; and up
/// to [`WatchAttempt::must_reach`] none is left out at the end.
pub fn reliable(truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let attempts = watch.attempts.iter().enumerate();
    attempts.filter_map(|(place, attempt)| check_reliable(truth, watch, place, attempt)).collect()
}

fn check_reliable(
    truth: &TrueEvents,
    watch: &WatchRecord,
    place: usize,
    attempt: &WatchAttempt,
) -> Option<Violation> {
    let fail = |at: usize, message: String| Some(violation(Check::WatchReliable, watch, place, at, message));
    let received: Vec<(usize, &Event)> = attempt.received().collect();
    let start = attempt.start()?;
    let from = received.first().map_or(start, |(_, first)| first.kv.mod_revision);
    let mut expected = truth.asked_for(&attempt.request, from).peekable();
    // What comes first inside its revision is for the other guarantees.
    while let (Some(next), Some((_, first))) = (expected.peek(), received.first())
        && next.kv.mod_revision == from
        && !same(next, first)
        && truth.asked_for(&attempt.request, from).any(|event| same(event, first))
    {
        expected.next();
    }
    for (at, event) in &received {
        match expected.next() {
            Some(next) if same(next, event) => {}
            Some(next) => {
                let message = format!("expected {}, and {} came", show(next), show(event));
                return fail(*at, message);
            }
            None => return fail(*at, format!("{} came, which never happened", show(event))),
        }
    }
    let canceled = attempt.messages.iter().any(|message| matches!(message.kind, WatchKind::Canceled { .. }));
    let reach = attempt.must_reach.filter(|_| !canceled)?;
    let missing = expected.find(|event| event.kv.mod_revision <= reach)?;
    let last = attempt.messages.len().saturating_sub(1);
    fail(last, format!("{} never came, though everything up to revision {reach} had to", show(missing)))
}

/// The first event of an attempt is the first one that was asked for from its start on. An attempt ends as
/// compacted only where what it had still to bring lies below a compaction that was made.
pub fn resumable(truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (place, attempt) in watch.attempts.iter().enumerate() {
        let mut fail = |at: usize, message: String| {
            violations.push(violation(Check::WatchResumable, watch, place, at, message));
        };
        let Some(start) = attempt.start() else { continue };
        if let Some((at, first)) = attempt.received().next() {
            match truth.asked_for(&attempt.request, start).next() {
                Some(expected) if same(expected, first) => {}
                Some(expected) => {
                    fail(at, format!("the first event had to be {}, and is {}", show(expected), show(first)));
                }
                None => fail(at, format!("nothing happened from there on, but {} came", show(first))),
            }
        }
        for (at, message) in attempt.messages.iter().enumerate() {
            if let Some(wrong) = wrong_end(truth, attempt, start, at, message) {
                fail(at, wrong);
            }
        }
    }
    violations
}

fn wrong_end(
    truth: &TrueEvents,
    attempt: &WatchAttempt,
    start: i64,
    at: usize,
    message: &WatchMessage,
) -> Option<String> {
    let WatchKind::Canceled { compact_revision, reason: _ } = message.kind else { return None };
    if compact_revision == 0 {
        return None;
    }
    let covered = attempt.messages[..at].iter().filter_map(covered).max();
    let next = covered.map_or(start, |covered| start.max(covered + 1));
    if compact_revision > truth.compacted_revision {
        let highest = truth.compacted_revision;
        return Some(format!(
            "it ended as compacted at {compact_revision}, but only {highest} was compacted"
        ));
    }
    (next >= compact_revision).then(|| {
        format!("it ended as compacted at {compact_revision}, but had only to bring {next} and above")
    })
}

/// The revision up to which a message shows that everything was sent.
fn covered(message: &WatchMessage) -> Option<i64> {
    match &message.kind {
        WatchKind::Progress => Some(message.revision),
        WatchKind::Events { events, fragment: false } => events.last().map(|event| event.kv.mod_revision),
        WatchKind::Events { events: _, fragment: true } | WatchKind::Created | WatchKind::Canceled { .. } => {
            None
        }
    }
}

/// When a progress notification comes, every event up to its revision has come, and none comes later; and its
/// revision was reached.
pub fn bookmarkable(truth: &TrueEvents, watch: &WatchRecord) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (place, attempt) in watch.attempts.iter().enumerate() {
        let mut fail = |at: usize, message: String| {
            violations.push(violation(Check::WatchBookmarkable, watch, place, at, message));
        };
        let Some(start) = attempt.start() else { continue };
        let mut progress: Option<i64> = None;
        let mut received: Vec<&Event> = Vec::new();
        for (at, message) in attempt.messages.iter().enumerate() {
            for event in events_of(message) {
                if let Some(progress) = progress.filter(|progress| event.kv.mod_revision <= *progress) {
                    fail(at, format!("after progress up to {progress} came {}", show(event)));
                }
                received.push(event);
            }
            if message.kind != WatchKind::Progress {
                continue;
            }
            let revision = message.revision;
            if revision > truth.last_revision {
                fail(
                    at,
                    format!("progress up to {revision}, but the last revision is {}", truth.last_revision),
                );
            }
            // What was covered by earlier progress is judged already.
            let from = start.max(progress.map_or(start, |progress| progress + 1));
            let due = truth.asked_for(&attempt.request, from);
            let mut due = due.take_while(|event| event.kv.mod_revision <= revision);
            if let Some(missing) = due.find(|event| !received.iter().rev().any(|other| same(other, event))) {
                fail(at, format!("progress up to {revision}, but {} had not come", show(missing)));
            }
            progress = progress.max(Some(revision));
        }
    }
    violations
}
