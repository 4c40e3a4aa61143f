//! Putting events into messages.

use std::mem;

use crate::api::{Event, KeyValue, WatchKind};

/// Messages that go together, or not at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    /// The first revision in it.
    pub(super) first: i64,
    /// The messages: one, or the fragments of one revision.
    pub(super) kinds: Vec<WatchKind>,
}

/// Puts events, in order, into messages of about `bytes_max`. The events of one revision stand in one message; if
/// they are more than `bytes_max` and may be split, in several messages that go together.
pub(super) fn pack(events: Vec<Event>, bytes_max: usize, may_split: bool) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    let (mut open, mut open_bytes) = (Vec::new(), 0);
    for revision in by_revision(events) {
        let bytes: usize = revision.iter().map(event_bytes).sum();
        if !open.is_empty() && open_bytes + bytes > bytes_max {
            parcels.push(whole(mem::take(&mut open)));
            open_bytes = 0;
        }
        if may_split && bytes > bytes_max {
            parcels.push(split(revision, bytes_max));
        } else {
            open.extend(revision);
            open_bytes += bytes;
        }
    }
    if !open.is_empty() {
        parcels.push(whole(open));
    }
    parcels
}

fn by_revision(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut revisions: Vec<Vec<Event>> = Vec::new();
    for event in events {
        match revisions.last_mut() {
            Some(last) if revision_of(last) == event.kv.mod_revision => last.push(event),
            _ => revisions.push(vec![event]),
        }
    }
    revisions
}

fn revision_of(events: &[Event]) -> i64 {
    events.first().expect("no list of events is empty here").kv.mod_revision
}

fn whole(events: Vec<Event>) -> Parcel {
    Parcel { first: revision_of(&events), kinds: vec![WatchKind::Events { events, fragment: false }] }
}

/// The fragments of one revision: at least one event in each.
fn split(revision: Vec<Event>, bytes_max: usize) -> Parcel {
    let first = revision_of(&revision);
    let (mut kinds, mut open, mut open_bytes) = (Vec::new(), Vec::new(), 0);
    for event in revision {
        let bytes = event_bytes(&event);
        if !open.is_empty() && open_bytes + bytes > bytes_max {
            kinds.push(WatchKind::Events { events: mem::take(&mut open), fragment: true });
            open_bytes = 0;
        }
        open.push(event);
        open_bytes += bytes;
    }
    kinds.push(WatchKind::Events { events: open, fragment: false });
    Parcel { first, kinds }
}

fn event_bytes(event: &Event) -> usize {
    let bytes = |kv: &KeyValue| kv.key.len() + kv.value.len();
    bytes(&event.kv) + event.prev_kv.as_ref().map_or(0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EventKind;

    /// An event of 10 bytes.
    fn event(revision: i64, key: u8) -> Event {
        let kv = KeyValue {
            key: vec![key],
            value: vec![0; 9],
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
        };
        Event { kind: EventKind::Put, kv, prev_kv: None }
    }

    /// The parcels as text: events as revision and key, `+` where more of the revision follow.
    fn packed(revisions: &[(i64, u8)], bytes_max: usize, may_split: bool) -> Vec<String> {
        let events = revisions
            .iter()
            .flat_map(|(revision, count)| (0..*count).map(move |number| event(*revision, b'a' + number)));
        pack(events.collect(), bytes_max, may_split).iter().map(parcel_text).collect()
    }

    fn parcel_text(parcel: &Parcel) -> String {
        let messages = parcel.kinds.iter().map(|kind| match kind {
            WatchKind::Events { events, fragment } => {
                assert!(events[0].kv.mod_revision >= parcel.first);
                let names = events
                    .iter()
                    .map(|event| format!("{}{}", event.kv.mod_revision, char::from(event.kv.key[0])));
                names.collect::<Vec<_>>().join(" ") + if *fragment { "+" } else { "" }
            }
            other => panic!("{other:?}"),
        });
        messages.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn the_events_of_a_revision_stay_together() {
        assert_eq!(packed(&[(2, 1), (3, 1)], 100, false), ["2a 3a"]);
        assert_eq!(packed(&[(2, 1), (3, 2), (4, 1)], 20, false), ["2a", "3a 3b", "4a"]);
        assert_eq!(packed(&[(2, 3), (3, 1)], 20, false), ["2a 2b 2c", "3a"]);
        assert_eq!(packed(&[], 20, false), [""; 0]);
    }

    #[test]
    fn a_large_revision_is_split_where_that_is_wanted() {
        assert_eq!(packed(&[(2, 1), (3, 3), (4, 1)], 20, true), ["2a", "3a 3b+ | 3c", "4a"]);
        assert_eq!(packed(&[(2, 2)], 5, true), ["2a+ | 2b"]);
        assert_eq!(packed(&[(2, 1), (3, 1)], 20, true), ["2a 3a"]);
    }
}
