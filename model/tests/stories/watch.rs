//! The nine guarantees of watches, on a good stream, on legal variations of it, and on mutations.

use model::kv::{Event, WatchKind, WatchMessage, WatchRequest};
use model::store::Store;
use model::verdict::Check;
use model::watch::{self, OwedAndGot, TrueEvents, WatchAttempt, WatchRecord};

use crate::script;

const STORY: &str = "
    put a=1
    put b=1
    put a=2
    txn then put a=3; put b=2; delete c; put d=1
    delete b
    put a=4
    put a=5";

fn store() -> Store {
    let mut store = Store::default();
    for line in script::lines(STORY) {
        store.call(&script::call(line)).unwrap().unwrap();
    }
    store
}

fn truth() -> TrueEvents {
    TrueEvents::of(&store())
}

fn request(start_revision: i64) -> WatchRequest {
    let (key, range_end) = (b"a".to_vec(), Some(b"d".to_vec()));
    WatchRequest { watch_id: 1, key, range_end, start_revision, prev_kv: true, ..WatchRequest::default() }
}

fn message(revision: i64, kind: WatchKind) -> WatchMessage {
    WatchMessage { watch_id: 1, revision, kind }
}

/// The message with the events of revisions `from` to `to`.
fn events(request: &WatchRequest, from: i64, to: i64) -> WatchMessage {
    let all = store().events(&request.key, request.range_end.as_deref(), from, to, request.prev_kv).unwrap();
    message(to, WatchKind::Events { events: all, fragment: false })
}

/// A watch that broke after revision 5 and went on elsewhere to the end.
fn good() -> WatchRecord {
    let (first, second) = (request(2), request(6));
    let created = |revision| message(revision, WatchKind::Created);
    let first_messages = vec![created(3), events(&first, 2, 3), events(&first, 4, 4), events(&first, 5, 5)];
    let second_messages =
        vec![created(7), events(&second, 6, 7), message(7, WatchKind::Progress), events(&second, 8, 8)];
    let attempt = |node, request, messages, must_reach| WatchAttempt { node, request, messages, must_reach };
    let attempts =
        vec![attempt(1, first, first_messages, None), attempt(2, second, second_messages, Some(8))];
    WatchRecord { client: 7, attempts }
}

/// The checks that a changed watch fails, each once.
fn failed(truth: &TrueEvents, change: impl FnOnce(&mut WatchRecord)) -> Vec<Check> {
    let mut watch = good();
    change(&mut watch);
    let mut checks: Vec<Check> =
        watch::check(truth, &[watch]).iter().map(|violation| violation.check).collect();
    checks.sort_unstable();
    checks.dedup();
    checks
}

fn check(expected: &[Check], change: impl FnOnce(&mut WatchRecord)) {
    assert_eq!(failed(&truth(), change), expected);
}

/// The events of a message.
fn of(watch: &mut WatchRecord, attempt: usize, message: usize) -> &mut Vec<Event> {
    match &mut watch.attempts[attempt].messages[message].kind {
        WatchKind::Events { events, .. } => events,
        other => panic!("no events in {other:?}"),
    }
}

#[test]
fn a_good_watch_keeps_all_guarantees() {
    assert_eq!(watch::check(&truth(), &[good()]), []);
}

#[test]
fn what_was_owed_and_what_came_are_compared_by_revision() {
    let mut watch = good();
    let compare = |watch: &WatchRecord| watch::owed_and_got(&truth(), &watch.attempts[1]);
    let revisions: Vec<(i64, bool)> = compare(&watch).iter().map(|it| (it.revision, it.differs)).collect();
    assert_eq!(revisions, [(6, false), (7, false), (8, false)]);
    of(&mut watch, 1, 1).remove(0);
    let differing: Vec<OwedAndGot> = compare(&watch).into_iter().filter(|it| it.differs).collect();
    let owed = vec!["delete b at 6".to_string()];
    assert_eq!(differing, [OwedAndGot { revision: 6, owed, got: vec![], differs: true }]);
}

#[test]
fn legal_variations_are_not_blamed() {
    check(&[], |watch| watch.attempts[0].messages.truncate(2));
    check(&[], |watch| watch.attempts[0].messages.clear());
    check(&[], |watch| drop(watch.attempts[1].messages.remove(2)));
    check(&[], |watch| watch.attempts.truncate(1));
    // Two messages in one.
    check(&[], |watch| {
        let mut later = std::mem::take(of(watch, 0, 2));
        of(watch, 0, 1).append(&mut later);
        watch.attempts[0].messages[1].revision = 4;
        watch.attempts[0].messages.remove(2);
    });
    // A second look at what was seen already.
    check(&[], |watch| {
        let again = watch.attempts[0].clone();
        watch.attempts.push(again);
    });
    // From now on: what is created at revision 5 starts with 6.
    check(&[], |watch| {
        watch.attempts[1].request.start_revision = 0;
        watch.attempts[1].messages[0].revision = 5;
    });
    // Fragments, where they were asked for, also broken off.
    for keep in [true, false] {
        check(&[], |watch| {
            watch.attempts[0].request.fragment = true;
            let rest = of(watch, 0, 3).split_off(1);
            let WatchKind::Events { fragment, .. } = &mut watch.attempts[0].messages[3].kind else {
                panic!()
            };
            *fragment = true;
            if keep {
                let kind = WatchKind::Events { events: rest, fragment: false };
                watch.attempts[0].messages.push(message(5, kind));
            }
        });
    }
}

#[test]
fn compaction_may_end_a_watch_and_take_previous_values() {
    let compacted = TrueEvents { compacted_revision: 6, ..truth() };
    let canceled = |compact_revision| WatchKind::Canceled { compact_revision, reason: String::new() };
    let end = |compact_revision| {
        move |watch: &mut WatchRecord| {
            watch.attempts[0].messages.truncate(3);
            watch.attempts[0].messages.push(message(6, canceled(compact_revision)));
        }
    };
    assert_eq!(failed(&compacted, end(6)), []);
    assert_eq!(failed(&compacted, end(5)), [Check::WatchResumable], "revision 5 is the next");
    assert_eq!(failed(&compacted, end(7)), [Check::WatchResumable], "nothing compacted 7");
    assert_eq!(failed(&compacted, |watch| of(watch, 0, 2)[0].prev_kv = None), []);
    assert_eq!(failed(&compacted, |watch| of(watch, 1, 3)[0].prev_kv = None), [Check::WatchPrevious]);
}

#[test]
fn every_dropped_event_is_seen() {
    for (attempt, message) in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 3)] {
        for event in 0..of(&mut good(), attempt, message).len() {
            let found = failed(&truth(), |watch| drop(of(watch, attempt, message).remove(event)));
            let last_of_open_attempt = (attempt, message, event) == (0, 3, 2);
            assert!(!found.is_empty() || last_of_open_attempt, "{attempt}, {message}, {event}");
        }
    }
}

#[test]
fn every_duplicated_event_is_seen() {
    for (attempt, message) in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 3)] {
        for event in 0..of(&mut good(), attempt, message).len() {
            let found = failed(&truth(), |watch| {
                let again = of(watch, attempt, message)[event].clone();
                of(watch, attempt, message).insert(event, again);
            });
            assert!(found.contains(&Check::WatchUnique), "{attempt}, {message}, {event}: {found:?}");
        }
    }
}

#[test]
fn every_altered_event_is_seen() {
    type Change = fn(&mut Event);
    let changes: [(Change, Check); 5] = [
        (|event| event.kv.value.push(b'!'), Check::WatchReliable),
        (|event| event.kv.version += 1, Check::WatchReliable),
        (|event| event.kv.lease = 9, Check::WatchReliable),
        (|event| event.kv.key = b"z".to_vec(), Check::WatchFiltered),
        (|event| event.prev_kv = Some(event.kv.clone()), Check::WatchPrevious),
    ];
    for (attempt, message) in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 3)] {
        for event in 0..of(&mut good(), attempt, message).len() {
            for (change, expected) in changes {
                let found = failed(&truth(), |watch| change(&mut of(watch, attempt, message)[event]));
                assert!(found.contains(&expected), "{attempt}, {message}, {event}: {found:?}");
            }
        }
    }
}

#[test]
fn events_out_of_order_are_seen() {
    let swapped = failed(&truth(), |watch| watch.attempts[0].messages.swap(1, 2));
    assert!(swapped.contains(&Check::WatchOrdered), "{swapped:?}");
    check(&[Check::WatchReliable], |watch| of(watch, 0, 3).swap(0, 1));
    check(&[Check::WatchOrdered], |watch| watch.attempts[0].messages[3].revision = 4);
}

#[test]
fn a_split_revision_is_seen() {
    check(&[Check::WatchAtomic], |watch| {
        let rest = of(watch, 0, 3).split_off(1);
        watch.attempts[0].messages.push(message(5, WatchKind::Events { events: rest, fragment: false }));
    });
    check(&[Check::WatchAtomic], |watch| drop(of(watch, 0, 3).pop()));
}

#[test]
fn a_lost_message_is_seen() {
    check(&[Check::WatchReliable], |watch| drop(watch.attempts[0].messages.remove(2)));
    check(&[Check::WatchResumable], |watch| drop(watch.attempts[0].messages.remove(1)));
    check(&[Check::WatchReliable], |watch| drop(watch.attempts[1].messages.pop()));
    check(&[Check::WatchResumable, Check::WatchBookmarkable], |watch| {
        drop(watch.attempts[1].messages.remove(1));
    });
}

#[test]
fn progress_that_says_too_much_is_seen() {
    let progress = |at: usize, revision| {
        move |watch: &mut WatchRecord| {
            watch.attempts[1].messages.insert(at, message(revision, WatchKind::Progress));
        }
    };
    check(&[Check::WatchBookmarkable], progress(3, 8));
    check(&[Check::WatchBookmarkable], progress(4, 9));
    check(&[], progress(1, 5));
    check(&[], progress(4, 8));
}

#[test]
fn what_was_not_asked_for_is_seen() {
    let no_put = |watch: &mut WatchRecord| watch.attempts[0].request.no_put = true;
    assert!(failed(&truth(), no_put).contains(&Check::WatchFiltered));
    let later = |watch: &mut WatchRecord| watch.attempts[1].request.start_revision = 7;
    assert!(failed(&truth(), later).contains(&Check::WatchFiltered));
    check(&[Check::WatchPrevious], |watch| watch.attempts[0].request.prev_kv = false);
}

#[test]
fn a_watch_that_is_not_created_once_is_seen() {
    check(&[Check::WatchCreated], |watch| drop(watch.attempts[0].messages.remove(0)));
    check(&[Check::WatchCreated], |watch| {
        watch.attempts[0].messages.insert(2, message(3, WatchKind::Created));
    });
    check(&[Check::WatchCreated], |watch| watch.attempts[0].messages[2].watch_id = 2);
    check(&[Check::WatchCreated], |watch| {
        let kind = WatchKind::Canceled { compact_revision: 0, reason: "asked".to_owned() };
        watch.attempts[0].messages.insert(3, message(5, kind));
    });
}

#[test]
fn a_violation_names_watch_revision_and_expectation_and_shows_the_messages_around() {
    let mut watch = good();
    watch.attempts[0].messages.remove(2);
    assert_eq!(
        watch::check(&truth(), &[watch])[0].to_string(),
        "watch reliable: watch 1 of client 7, attempt 0 on node 1: expected put a=2/2/4/2, and put a=3/2/5/3 came\n  \
         it asked for a..d from revision 2 on, with what was before\n    \
         message 0, at revision 3: the watch stands\n    \
         message 1, at revision 3: put a=1/2/2/1; put b=1/3/3/1\n  \
         > message 2, at revision 5: put a=3/2/5/3; put b=2/3/5/2"
    );
}
