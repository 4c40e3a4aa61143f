//! The changes. Each is made to a good run of its own.

use model::history::{Outcome, Stamp};
use model::kv::{Call, Event, WatchKind};
use model::raft::{RaftEvent, RaftEventKind};
use model::routing::{End, Reason, Received, Sent, SnapshotEvent};

use super::run::{Run, SECOND, message, of_entry, renewal, revision};
use crate::script;

type Change = fn(&mut Run);

/// What is changed, how, and the change.
pub(super) const CHANGES: [(&str, &str, Change); 63] = [
    ("clients", "a write is left out", |run| drop(run.operations.remove(0))),
    ("clients", "a write is there twice", |run| again(run, 0)),
    ("clients", "a value is altered", |run| answer(run, 5, "@4 a=9/2/4/2 b=1/3/3/1/7 c=1/4/4/1")),
    ("clients", "a key is left out", |run| answer(run, 5, "@4 a=2/2/4/2 b=1/3/3/1/7")),
    ("clients", "a revision is altered", |run| answer(run, 10, "@7")),
    ("clients", "a read is a revision late", |run| answer(run, 11, "@5 a=2/2/4/2 c=1/4/4/1")),
    ("clients", "two answers are swapped", |run| swap_answers(run, 5, 11)),
    ("clients", "two writes change places", |run| swap_moments(run, 0, 10)),
    ("clients", "a read of what is compacted is answered", |run| answer(run, 8, "@4 a=1/2/2/1")),
    ("clients", "a read of what is not compacted is refused", |run| answer(run, 6, "refused compacted")),
    ("clients", "a lease is answered as another one", |run| {
        let other = script::call("time-to-live 8 keys");
        let Some(answered) = model::store::Store::default().call(&other) else { panic!("no answer") };
        set_answer(run, 3, answered);
    }),
    ("clients", "a serializable read shows what never was", |run| {
        serializable(run, "@3 a=2/2/4/2 b=1/3/3/1/7");
    }),
    ("clients", "legal: a serializable read shows the past", |run| {
        serializable(run, "@3 a=1/2/2/1 b=1/3/3/1/7");
    }),
    ("clients", "legal: a read is left out", |run| drop(run.operations.remove(5))),
    ("clients", "legal: a read is there twice", |run| again(run, 5)),
    ("clients", "legal: an answer is forgotten", |run| run.operations[4].outcome = Outcome::Unknown),
    ("clients", "legal: a write takes as long as the run", |run| {
        run.operations[4].invoke.time_ns = 0;
        set_return(run, 4, 10_000);
    }),
    ("clients", "legal: two reads at once are swapped", |run| {
        run.operations[11].invoke.time_ns = 1200;
        set_return(run, 11, 1250);
        swap_moments(run, 11, 12);
    }),
    ("stores", "a replica loses an entry", |run| drop(run.stores[1].remove(0))),
    ("stores", "a replica loses a lease's end", |run| drop(run.stores[1].remove(5))),
    ("stores", "a replica forgets a compaction", |run| drop(run.stores[1].remove(4))),
    ("stores", "a replica carries out an entry twice", |run| {
        let entry = run.stores[1][0].clone();
        run.stores[1].insert(0, entry);
    }),
    ("stores", "a replica carries out two entries in turn", |run| run.stores[1].swap(2, 3)),
    ("stores", "a replica alters a value", |run| run.stores[1][6] = script::call("put a=9")),
    ("stores", "a replica lacks the last entry", |run| drop(run.stores[1].pop())),
    ("stores", "all replicas lose an entry", |run| {
        run.stores.iter_mut().for_each(|store| drop(store.remove(0)));
    }),
    ("stores", "legal: what nobody was told is there, too", |run| {
        run.stores.iter_mut().for_each(|store| store.push(script::call("put d=1")));
    }),
    ("reports", "a revision goes back", |run| run.revisions.push(revision(1, 8, 5))),
    ("reports", "two replicas differ in their revision", |run| run.revisions[3].revision = 5),
    ("reports", "a hash of keys differs", |run| run.hash_kv[1].hash = 78),
    ("reports", "legal: a hash of keys after another compaction", |run| {
        (run.hash_kv[1].hash, run.hash_kv[1].compact_revision) = (78, 4);
    }),
    ("watch", "an event is lost", |run| drop(events(run, 0, 3).remove(1))),
    ("watch", "a message is lost", |run| drop(run.watch.attempts[0].messages.remove(2))),
    ("watch", "an event comes twice", |run| {
        let event = events(run, 0, 2)[0].clone();
        events(run, 0, 2).push(event);
    }),
    ("watch", "two messages are swapped", |run| run.watch.attempts[0].messages.swap(1, 2)),
    ("watch", "a value is altered", |run| events(run, 1, 3)[0].kv.value = b"9".to_vec()),
    ("watch", "a revision is split", |run| {
        let rest = events(run, 0, 3).split_off(1);
        let kind = WatchKind::Events { events: rest, fragment: false };
        run.watch.attempts[0].messages.push(message(4, kind));
    }),
    ("watch", "the first message is lost", |run| drop(run.watch.attempts[0].messages.remove(1))),
    ("watch", "the last message is lost", |run| drop(run.watch.attempts[1].messages.pop())),
    ("watch", "progress is said too early", |run| run.watch.attempts[1].messages[2].revision = 6),
    ("watch", "a key comes that was not asked for", |run| events(run, 0, 2)[0].kv.key = b"z".to_vec()),
    ("watch", "it is not said to stand", |run| drop(run.watch.attempts[0].messages.remove(0))),
    ("watch", "what was before is left out", |run| events(run, 1, 3)[0].prev_kv = None),
    ("watch", "legal: it breaks earlier", |run| run.watch.attempts[0].messages.truncate(2)),
    ("watch", "legal: no progress is said", |run| drop(run.watch.attempts[1].messages.remove(2))),
    ("leases", "a lease ends too early", |run| run.lives[0].ended_at_ns = Some(9 * SECOND - 1)),
    ("leases", "a lease never ends", |run| run.lives[0].ended_at_ns = None),
    ("leases", "a lease is kept alive after its end", |run| run.lives[0].renewals.push(renewal(10))),
    ("leases", "a new leader gives too much", |run| run.taken_over[0].given_ms = 11_000),
    ("leases", "a key stays when its lease ends", |run| {
        run.events.retain(|event| event.kv.mod_revision != 5)
    }),
    ("leases", "legal: a renewal was not acknowledged", |run| run.lives[0].renewals[1].acknowledged = false),
    ("snapshots", "a damaged one is installed", |run| received(run).damaged = true),
    ("snapshots", "a short one is installed", |run| received(run).received_bytes = 999),
    ("snapshots", "a wrong size is announced", |run| sent(run).announced_bytes = 947),
    ("snapshots", "it has no header", |run| {
        sent(run).first_bytes = b"\x05\0\0\0\x01key12345678901234".to_vec()
    }),
    ("snapshots", "a refusal changes the state", |run| {
        (received(run).received_bytes, received(run).end) = (10, End::Refused(Reason::Truncated));
    }),
    ("snapshots", "legal: a crash ends it", |run| received(run).end = End::Crashed),
    ("raft", "two lead in a term", |run| {
        let kind = RaftEventKind::BecameLeader { term: 1, last_index: 7, last_term: 1 };
        run.raft.push(RaftEvent { node: 2, incarnation: 1, at_ns: 99, kind });
    }),
    ("raft", "an entry is altered", |run| {
        for event in &mut run.raft[of_entry(3)..] {
            if let (2, RaftEventKind::Applied(entry)) = (event.node, &mut event.kind) {
                entry.hash ^= 1;
            }
        }
    }),
    ("raft", "an entry is applied twice", |run| run.raft.push(run.raft[of_entry(7) + 7])),
    ("raft", "a vote is forgotten", |run| {
        let kind = RaftEventKind::Started { term: 1, vote: 0, commit: 7, applied: 7 };
        run.raft.push(RaftEvent { node: 2, incarnation: 2, at_ns: 99, kind });
    }),
    ("raft", "legal: nodes append in another order", |run| run.raft.swap(of_entry(3), of_entry(3) + 1)),
    ("liveness", "an operation never ends", |run| run.spans[1].ended_at_ns = None),
];

fn again(run: &mut Run, place: usize) {
    let mut again = run.operations[place].clone();
    again.client = 99;
    again.invoke.order += 100;
    if let Outcome::Answered { at, output: _ } = &mut again.outcome {
        at.order += 100;
    }
    run.operations.push(again);
}

fn answer(run: &mut Run, place: usize, text: &str) {
    let result = script::result(&run.operations[place].input, text);
    set_answer(run, place, result);
}

fn set_answer(run: &mut Run, place: usize, answer: model::kv::CallResult) {
    if let Outcome::Answered { at: _, output } = &mut run.operations[place].outcome {
        *output = answer;
    }
}

fn set_return(run: &mut Run, place: usize, time_ns: u64) {
    if let Outcome::Answered { at, output: _ } = &mut run.operations[place].outcome {
        at.time_ns = time_ns;
    }
}

fn swap_answers(run: &mut Run, one: usize, other: usize) {
    let answers = [one, other].map(|place| run.operations[place].outcome.output().unwrap().clone());
    let [first, second] = answers;
    set_answer(run, one, second);
    set_answer(run, other, first);
}

fn swap_moments(run: &mut Run, one: usize, other: usize) {
    let moments = |run: &Run, place: usize| -> (Stamp, Stamp) {
        let operation = &run.operations[place];
        (operation.invoke, operation.outcome.returned().unwrap())
    };
    let (first, second) = (moments(run, one), moments(run, other));
    for (place, (invoke, returned)) in [(one, second), (other, first)] {
        run.operations[place].invoke = invoke;
        if let Outcome::Answered { at, output: _ } = &mut run.operations[place].outcome {
            *at = returned;
        }
    }
}

/// Makes a serializable read of the last one.
fn serializable(run: &mut Run, text: &str) {
    let Call::Kv(request) = script::call("serializable get a..") else { panic!("a request") };
    run.operations[12].input = Call::Kv(request);
    answer(run, 12, text);
}

fn events(run: &mut Run, attempt: usize, message: usize) -> &mut Vec<Event> {
    match &mut run.watch.attempts[attempt].messages[message].kind {
        WatchKind::Events { events, .. } => events,
        other => panic!("no events in {other:?}"),
    }
}

fn sent(run: &mut Run) -> &mut Sent {
    match &mut run.snapshots[0] {
        SnapshotEvent::Sent(sent) => sent,
        other => panic!("{other:?}"),
    }
}

fn received(run: &mut Run) -> &mut Received {
    match &mut run.snapshots[1] {
        SnapshotEvent::Received(received) => received,
        other => panic!("{other:?}"),
    }
}
