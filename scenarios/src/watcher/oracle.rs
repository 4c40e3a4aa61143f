//! From what watchers were told to the model's verdicts, and to milestones.

use super::Watched;
use crate::milestones::Milestone;
use crate::observation::Observed;
use crate::run::Evidence;
use crate::truth::Truth;
use cluster::ReplicaEvent;
use model::kv::WatchKind;
use model::verdict::{Check, Violation};
use model::watch::{self, TrueEvents, WatchAttempt};

/// Asks the nine guarantees; and whether everybody was told in time.
pub(crate) fn check(watched: &Watched, truth: &Truth) -> Vec<Violation> {
    let mut violations = watch::check(&TrueEvents::of(&truth.store), &watched.records);
    violations.extend(watched.late.iter().map(|(record, goal)| late(watched, *record, *goal)));
    violations
}

fn late(watched: &Watched, record: usize, goal: i64) -> Violation {
    let record = &watched.records[record];
    let message = format!(
        "{} s after the replicas had converged, watcher {} did not know that it had everything up to revision {goal}",
        super::BOUND.as_secs(),
        record.client
    );
    let attempts = record.attempts.iter().enumerate();
    let last = attempts.skip(record.attempts.len().saturating_sub(5)).map(|(place, attempt)| {
        let WatchAttempt { node, request, messages, must_reach: _ } = attempt;
        let last = messages.last().map(|message| message.revision);
        format!(
            "attempt {place} on node {node} from revision {}: {} messages, the last one at revision {last:?}",
            request.start_revision,
            messages.len()
        )
    });
    last.fold(Violation::new(Check::Live, message), Violation::with)
}

/// What the watches of a run have reached.
pub(crate) fn reached(evidence: &Evidence) -> impl Iterator<Item = Milestone> {
    let attempts = || evidence.watched.records.iter().flat_map(|record| &record.attempts);
    let told = |wanted: fn(&WatchKind) -> bool| {
        attempts().any(|attempt| attempt.messages.iter().any(|message| wanted(&message.kind)))
    };
    let seen = |wanted: fn(&ReplicaEvent) -> bool| {
        evidence.log.events.iter().any(|observed| wanted(&observed.event))
    };
    let conditions = [
        (evidence.watched.records.iter().any(|record| is_resumed(&record.attempts)), Milestone::WatchResumed),
        (
            told(|kind| matches!(kind, WatchKind::Canceled { compact_revision: 1.., .. })),
            Milestone::WatchCompacted,
        ),
        (seen(|event| matches!(event, ReplicaEvent::WatchCaughtUp { .. })), Milestone::WatchCaughtUp),
        (across_installation(&evidence.log.events), Milestone::WatchAcrossInstallation),
        (told(|kind| matches!(kind, WatchKind::Progress)), Milestone::WatchProgress),
        (told(|kind| matches!(kind, WatchKind::Events { fragment: true, .. })), Milestone::WatchFragment),
        (seen(|event| matches!(event, ReplicaEvent::WatchFellBehind { .. })), Milestone::WatchFellBehind),
    ];
    conditions.into_iter().filter(|(held, _)| *held).map(|(_, milestone)| milestone)
}

/// An attempt brought events, and so did a later one on another replica, from where the first had come to.
fn is_resumed(attempts: &[WatchAttempt]) -> bool {
    let has_events = |attempt: &WatchAttempt| {
        attempt.messages.iter().any(|message| matches!(message.kind, WatchKind::Events { .. }))
    };
    let first = attempts.iter().position(has_events);
    first.is_some_and(|first| {
        attempts[first + 1..].iter().any(|later| later.node != attempts[first].node && has_events(later))
    })
}

/// A watch stood on a replica before that installed a snapshot, and caught up with it.
fn across_installation(events: &[Observed]) -> bool {
    events.iter().enumerate().any(|(place, created)| {
        let ReplicaEvent::WatchCreated { client, watch_id, .. } = created.event else { return false };
        let is_of_it = |observed: &&Observed| {
            observed.node == created.node && observed.incarnation == created.incarnation
        };
        let mut installed = false;
        for later in events[place..].iter().filter(is_of_it) {
            match later.event {
                ReplicaEvent::SnapshotInstallEnd { .. } => installed = true,
                ReplicaEvent::WatchCanceled { client: other, watch_id: id, .. }
                    if (other, id) == (client, watch_id) =>
                {
                    return false;
                }
                ReplicaEvent::WatchCaughtUp { client: other, watch_id: id, .. }
                    if (other, id) == (client, watch_id) && installed =>
                {
                    return true;
                }
                _ => {}
            }
        }
        false
    })
}
