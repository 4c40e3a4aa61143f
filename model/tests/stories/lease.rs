//! The oracles of leases.

use model::history::{History, Operation, Outcome, Stamp};
use model::kv::{Call, CallAnswer, Event, PutRequest, Request};
use model::lease::{self, LeaseBounds, LeaseLife, Renewal, Revocation, TakenOver};
use model::store::Store;

use crate::script;

const SECOND: u64 = 1_000_000_000;

const BOUNDS: LeaseBounds =
    LeaseBounds { early_ns: 0, grace_ns: 2 * SECOND, healed_at_ns: 10 * SECOND, ended_at_ns: 100 * SECOND };

/// A lease of 5 s, granted at 1 s, kept alive at 4 s and ended at 9 s.
fn life() -> LeaseLife {
    let renewal = |asked: u64, acknowledged| Renewal {
        asked_at_ns: asked * SECOND,
        done_at_ns: asked * SECOND + 1000,
        acknowledged,
    };
    LeaseLife {
        id: 7,
        ttl_s: 5,
        renewals: vec![renewal(1, true), renewal(4, true)],
        revoke_asked_at_ns: None,
        ended_at_ns: Some(9 * SECOND),
    }
}

fn check(expected: &[&str], change: impl FnOnce(&mut LeaseLife)) {
    let mut life = life();
    change(&mut life);
    let mut found = lease::not_too_early(std::slice::from_ref(&life), BOUNDS);
    found.extend(lease::not_too_late(&[life], BOUNDS));
    let found: Vec<&str> = found.iter().map(|violation| violation.message.as_str()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_lease_that_lives_as_promised_is_not_blamed() {
    check(&[], |_| {});
    check(&[], |life| life.ended_at_ns = Some(17 * SECOND));
    check(&[], |life| life.renewals[1].acknowledged = false);
}

#[test]
fn a_lease_that_ends_too_early_is_seen() {
    let early = "lease 7 was ended at 8999999999 ns, but was promised until 9000000000 ns";
    check(&[early], |life| life.ended_at_ns = Some(9 * SECOND - 1));
    check(&[], |life| {
        life.ended_at_ns = Some(6 * SECOND);
        life.renewals[1].acknowledged = false;
    });
    check(&[], |life| {
        life.ended_at_ns = Some(6 * SECOND);
        life.revoke_asked_at_ns = Some(5 * SECOND);
    });
    let promised = "lease 7 was ended at 6000000000 ns, but was promised until 9000000000 ns";
    check(&[promised], |life| {
        life.ended_at_ns = Some(6 * SECOND);
        life.revoke_asked_at_ns = Some(7 * SECOND);
    });
    let bounds = LeaseBounds { early_ns: SECOND, ..BOUNDS };
    let hasty = LeaseLife { ended_at_ns: Some(8 * SECOND), ..life() };
    assert_eq!(lease::not_too_early(&[hasty], bounds), []);
}

#[test]
fn a_lease_that_lives_on_is_seen() {
    check(&["lease 7 never ended; it was due by 17000000000 ns"], |life| life.ended_at_ns = None);
    check(&["lease 7 ended only at 17000000001 ns; it was due by 17000000000 ns"], |life| {
        life.ended_at_ns = Some(17 * SECOND + 1);
    });
    check(&[], |life| {
        life.ended_at_ns = None;
        life.renewals[1].done_at_ns = 94 * SECOND;
    });
}

const STORY: &str = "
    grant 7 ttl 9
    put b=1 lease 7
    put a=1 lease 7
    put c=1
    revoke 7
    put a=2";

fn story() -> Vec<Event> {
    let mut store = Store::default();
    for line in script::lines(STORY) {
        store.call(&script::call(line)).unwrap().unwrap();
    }
    store.all_events()
}

fn keys(change: impl FnOnce(&mut Vec<Event>, &mut Revocation)) -> usize {
    let mut events = story();
    let mut revocation = Revocation { id: 7, revision: 5, made_revision: true };
    change(&mut events, &mut revocation);
    lease::keys_go_with_their_lease(&events, &[revocation]).len()
}

#[test]
fn keys_that_go_with_their_lease_are_not_blamed() {
    assert_eq!(keys(|_, _| {}), 0);
    let none = Revocation { id: 8, revision: 5, made_revision: false };
    assert_eq!(lease::keys_go_with_their_lease(&story(), &[none]), []);
}

#[test]
fn keys_that_do_not_go_with_their_lease_are_seen() {
    assert_eq!(story().len(), 6);
    assert_eq!(keys(|events, _| drop(events.remove(3))), 1, "one stays");
    assert_eq!(keys(|events, _| events.swap(3, 4)), 1, "not in order");
    assert_eq!(keys(|events, _| events[4].kv.mod_revision = 6), 1, "one goes later");
    assert_eq!(keys(|events, _| events[2].kv.lease = 7), 1, "a third should have gone");
    assert_eq!(keys(|events, _| events[0].kv.lease = 0), 1, "one should not have gone");
    assert_eq!(keys(|_, revocation| revocation.id = 8), 1, "another lease");
    assert_eq!(
        keys(|_, revocation| (revocation.revision, revocation.made_revision) = (4, false)),
        1,
        "none went"
    );
}

#[test]
fn who_asks_after_the_end_is_not_told_that_a_lease_lives() {
    let check = |asked: u64, acknowledged| {
        let mut life = life();
        let (asked_at_ns, done_at_ns) = (asked * SECOND, asked * SECOND + 1);
        life.renewals.push(Renewal { asked_at_ns, done_at_ns, acknowledged });
        lease::not_after_the_end(&[life]).len()
    };
    assert_eq!([check(8, true), check(9, true), check(10, false)], [0, 0, 0]);
    assert_eq!(check(10, true), 1);
}

#[test]
fn a_new_leader_gives_what_the_log_leaves_and_an_extension() {
    let check = |given_ms, is_checkpointed| {
        let taken_over = TakenOver {
            node: 2,
            term: 5,
            at_ns: 9,
            id: 7,
            given_ms,
            left_s: 4,
            is_checkpointed,
            extension_ms: 1000,
        };
        lease::taken_over(&[taken_over]).pop().map(|violation| violation.to_string())
    };
    assert_eq!([check(4000, true), check(5000, true), check(5000, false)], [None, None, None]);
    assert_eq!(
        check(11_000, true).unwrap(),
        "lease: node 2 took over lease 7 with 11000 ms to live; 4000 ms are left\n  at 9 ns, in term 5; the last \
         checkpoint says so, and a new leader may add 1000 ms"
    );
    assert!(check(3000, false).unwrap().ends_with("it was granted so, and a new leader may add 1000 ms"));
}

/// What clients may be told of leases while lease 7, with key a, is made, and ended again.
#[test]
fn clients_are_told_of_leases_what_was_so() {
    let mut states = vec![Store::default()];
    for call in [
        Call::LeaseGrant { id: 7, ttl_s: 10 },
        Call::Kv(Request::Put(PutRequest { key: b"a".to_vec(), lease: 7, ..PutRequest::default() })),
        Call::LeaseRevoke { id: 7 },
    ] {
        let mut next = states[states.len() - 1].clone();
        next.call(&call).unwrap().unwrap();
        states.push(next);
    }
    let check = |call: Call, answer: CallAnswer| {
        let operation = Operation {
            client: 1,
            invoke: Stamp::at(1),
            input: call,
            outcome: Outcome::Answered { at: Stamp::at(2), output: Ok(answer) },
        };
        lease::answers(&History::new(vec![operation]).unwrap(), states.iter()).len()
    };
    let left = |revision, ttl_s, granted_ttl_s, keys: &[&str]| {
        let keys = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        let answer = CallAnswer::LeaseTimeToLive { revision, id: 7, ttl_s, granted_ttl_s, keys };
        check(Call::LeaseTimeToLive { id: 7, keys: true }, answer)
    };
    assert_eq!(
        [left(1, -1, 0, &[]), left(1, 9, 10, &[]), left(2, 3, 10, &["a"]), left(3, -1, 0, &[])],
        [0; 4]
    );
    assert_eq!(
        [left(2, 3, 10, &[]), left(2, 16, 10, &["a"]), left(2, 3, 9, &["a"]), left(3, 1, 10, &[])],
        [1; 4]
    );
    let alive = |revision, ttl_s| {
        check(Call::LeaseKeepAlive { id: 7 }, CallAnswer::LeaseKeepAlive { revision, id: 7, ttl_s })
    };
    assert_eq!([alive(2, 10), alive(3, 0), alive(2, 0), alive(3, 10)], [0, 0, 1, 1]);
    let leases =
        |revision, ids: &[i64]| check(Call::Leases, CallAnswer::Leases { revision, ids: ids.to_vec() });
    assert_eq!([leases(1, &[]), leases(1, &[7]), leases(2, &[])], [0, 0, 1]);
}
