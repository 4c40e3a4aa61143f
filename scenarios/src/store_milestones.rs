//! Milestones of the store that one event alone does not show.

use crate::observation::Observed;
use crate::run::Evidence;
use crate::world::ObservedStop;
use cluster::ReplicaEvent;
use model::history::Outcome;
use model::kv::{Refusal, Request};
use sim::StopCause;
use std::collections::BTreeMap;

/// Whether leaders of two terms answered that the same lease was kept alive.
pub(crate) fn kept_over_leader_change(events: &[Observed]) -> bool {
    let mut terms: BTreeMap<i64, u64> = BTreeMap::new();
    events.iter().any(|observed| match observed.event {
        ReplicaEvent::KeepAliveAnswered { id, ttl_s, term } if ttl_s > 0 => {
            terms.insert(id, term).is_some_and(|before| before < term)
        }
        _ => false,
    })
}

/// Whether a node crashed while a compaction was on its way.
pub(crate) fn crashed_between_steps(evidence: &Evidence) -> bool {
    crashes(evidence).any(|stop| {
        let last = events_before(evidence, stop).find(|event| {
            matches!(
                event,
                ReplicaEvent::Started { .. }
                    | ReplicaEvent::CompactionScheduled { .. }
                    | ReplicaEvent::CompactionStep { .. }
                    | ReplicaEvent::CompactionFinished(_)
            )
        });
        matches!(last, Some(ReplicaEvent::CompactionStep { .. }))
    })
}

/// Whether a node crashed on its way from the end of a flush to the note of its index.
pub(crate) fn crashed_before_flushed_index(evidence: &Evidence) -> bool {
    crashes(evidence).any(|stop| {
        let site = stop.stop.site.as_ref();
        let at_the_note = site.is_some_and(|site| site.path.contains("last-flushed-index"));
        let last = events_before(evidence, stop).next();
        at_the_note && matches!(last, Some(ReplicaEvent::FlushEnd { .. }))
    })
}

fn crashes(evidence: &Evidence) -> impl Iterator<Item = &ObservedStop> {
    evidence.stops.iter().filter(|stop| stop.stop.cause != StopCause::Exit)
}

/// What the node that stopped had told until then, the last first.
fn events_before<'a>(evidence: &'a Evidence, stop: &ObservedStop) -> impl Iterator<Item = &'a ReplicaEvent> {
    let (node, at) = (stop.node, stop.at);
    let events = evidence.log.events.iter().rev();
    events.filter(move |observed| observed.node == node && observed.at <= at).map(|observed| &observed.event)
}

/// Whether a serializable read showed a revision below one that a client had been told before it asked.
pub(crate) fn read_behind(evidence: &Evidence) -> bool {
    let history = evidence.log.history.clone().finish().expect("clients do one thing at a time");
    let mut told: Vec<_> = history
        .operations()
        .iter()
        .filter_map(|operation| match &operation.outcome {
            Outcome::Answered { at, output: Ok(answer) } => Some((*at, answer.revision()?)),
            Outcome::Answered { .. } | Outcome::Unknown => None,
        })
        .collect();
    told.sort_unstable();
    let mut highest = 0;
    for (_, revision) in &mut told {
        highest = highest.max(*revision);
        *revision = highest;
    }
    history.operations().iter().any(|operation| {
        let is_serializable = operation.input.kv().is_some_and(Request::is_serializable);
        let answer = operation.outcome.output().and_then(|result| result.as_ref().ok()?.revision());
        let before = told.partition_point(|(at, _)| *at < operation.invoke);
        let known = before.checked_sub(1).map_or(0, |last| told[last].1);
        is_serializable && answer.is_some_and(|revision| revision < known)
    })
}

/// Whether a read was refused because its revision was compacted.
pub(crate) fn read_compacted(evidence: &Evidence) -> bool {
    let history = evidence.log.history.clone().finish().expect("clients do one thing at a time");
    history.operations().iter().any(|operation| {
        matches!(operation.input.kv(), Some(Request::Range(_)))
            && matches!(operation.outcome.output(), Some(Err(Refusal::Compacted)))
    })
}
