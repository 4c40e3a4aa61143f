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

#[cfg(test)]
mod tests {
    use super::*;
    use model::kv::{WatchMessage, WatchRequest};
    use model::watch::WatchRecord;
    use std::time::Duration;

    /// An attempt that brought something, or nothing.
    fn attempt(node: u64, has_events: bool) -> WatchAttempt {
        let message = |kind| WatchMessage { watch_id: 1, revision: 4, kind };
        let mut messages = vec![message(WatchKind::Created)];
        if has_events {
            messages.push(message(WatchKind::Events { events: Vec::new(), fragment: false }));
        }
        let request = WatchRequest { start_revision: 3, ..WatchRequest::default() };
        WatchAttempt { node, request, messages, must_reach: None }
    }

    #[test]
    fn a_watch_is_resumed_where_another_replica_goes_on_with_it() {
        assert!(is_resumed(&[attempt(1, false), attempt(1, true), attempt(3, false), attempt(2, true)]));
        assert!(!is_resumed(&[attempt(1, false), attempt(2, true), attempt(2, true)]));
        assert!(!is_resumed(&[attempt(1, true), attempt(2, false)]));
    }

    #[test]
    fn whoever_hears_of_nothing_is_named_with_the_last_attempts() {
        let record = WatchRecord { client: 7, attempts: vec![attempt(1, true), attempt(2, false)] };
        let watched = Watched { records: vec![record], late: vec![(0, 12)] };
        let truth = Truth::of(&[(1, Vec::new())].into()).unwrap();
        let violations = check(&watched, &truth);
        let live: Vec<String> =
            violations.iter().filter(|it| it.check == Check::Live).map(Violation::to_string).collect();
        assert_eq!(
            live,
            [
                "live: 30 s after the replicas had converged, watcher 7 did not know that it had everything up to \
              revision 12\n  attempt 0 on node 1 from revision 3: 2 messages, the last one at revision Some(4)\n  \
              attempt 1 on node 2 from revision 3: 1 messages, the last one at revision Some(4)"
            ]
        );
    }

    #[test]
    fn a_watch_crosses_an_installation_if_it_stands_before_and_catches_up_after_it() {
        let event = |incarnation, event| Observed { at: Duration::ZERO, node: 2, incarnation, event };
        let (client, watch_id, revision) = (3000, 1, 9);
        let created =
            || event(1, ReplicaEvent::WatchCreated { client, watch_id, start_revision: 0, revision });
        let installed = |incarnation| event(incarnation, ReplicaEvent::SnapshotInstallEnd { index: 5 });
        let caught_up =
            |incarnation| event(incarnation, ReplicaEvent::WatchCaughtUp { client, watch_id, revision });
        let canceled =
            || event(1, ReplicaEvent::WatchCanceled { client, watch_id, compact_revision: Some(4) });
        assert!(across_installation(&[created(), installed(1), caught_up(1)]));
        assert!(!across_installation(&[installed(1), created(), caught_up(1)]));
        assert!(!across_installation(&[created(), installed(2), caught_up(2)]));
        assert!(!across_installation(&[created(), installed(1), canceled(), caught_up(1)]));
    }
}
