//! Leases, alarms, and puts that keep something.

use super::*;

fn grant(story: &mut Story, id: i64) {
    story.command(&Command::LeaseGrant { id, ttl_s: 60 }).unwrap();
}

fn attach(story: &mut Story, key: &str, lease: i64) {
    let put = PutRequest { key: key.into(), lease, ..PutRequest::default() };
    story.apply(&Request::Put(put)).unwrap();
}

fn keys(story: &mut Story, lease: i64) -> Vec<Vec<u8>> {
    story.store().leases().get(lease).unwrap().keys.iter().cloned().collect()
}

#[test]
fn the_keys_of_a_lease_go_with_it_in_one_revision() {
    for engine in [EngineId::Mem, EngineId::Redb] {
        let mut story = Story::new(engine);
        grant(&mut story, 7);
        for key in ["c", "a", "b"] {
            attach(&mut story, key, 7);
        }
        story.put("b", "without");
        story.store().flush().unwrap();
        story.reopen();
        assert_eq!(keys(&mut story, 7), [b"a", b"c"]);
        assert_eq!(story.command(&Command::LeaseRevoke { id: 7 }), Ok(Answer::LeaseRevoke { revision: 6 }));
        let events = story.store().last_events(true).unwrap();
        let gone: Vec<_> =
            events.iter().map(|event| (event.kind, event.kv.key[0], event.prev_kv.is_some())).collect();
        assert_eq!(gone, [(EventKind::Delete, b'a', true), (EventKind::Delete, b'c', true)]);
        assert_eq!(kvs(story.apply(&range("\0", "\0")).unwrap()), [kv("b", "without", 4, 5, 2)]);
        assert_eq!(story.command(&Command::LeaseRevoke { id: 7 }), Err(Refusal::LeaseNotFound));
        grant(&mut story, 8);
        let revoked = story.command(&Command::LeaseRevoke { id: 8 });
        assert_eq!(revoked, Ok(Answer::LeaseRevoke { revision: 6 }), "without keys there is no revision");
    }
}

#[test]
fn grants_are_refused_as_by_etcd() {
    let mut story = Story::new(EngineId::Mem);
    let mut grant = |id, ttl_s| story.command(&Command::LeaseGrant { id, ttl_s });
    assert_eq!(grant(1, 60), Ok(Answer::LeaseGrant { revision: 1, id: 1, ttl_s: 60 }));
    assert_eq!(grant(1, 60), Err(Refusal::LeaseExists));
    assert_eq!(grant(0, 60), Err(Refusal::LeaseNotFound));
    assert_eq!(grant(2, LEASE_TTL_MAX_S + 1), Err(Refusal::LeaseTtlTooLarge));
    assert_eq!(grant(2, -5), Ok(Answer::LeaseGrant { revision: 1, id: 2, ttl_s: LEASE_TTL_MIN_S }));
}

#[test]
fn checkpoints_last_and_pass_over_leases_that_are_gone() {
    let mut story = Story::new(EngineId::Redb);
    grant(&mut story, 1);
    story.note(&Command::LeaseCheckpoint { remaining: vec![(9, 5), (1, 17)] });
    story.store().flush().unwrap();
    story.reopen();
    let leases: Vec<_> =
        story.store().leases().iter().map(|(id, lease)| (id, lease.remaining_ttl_s)).collect();
    assert_eq!(leases, [(1, 17)]);
}

#[test]
fn a_put_asks_for_its_lease_first_and_in_a_transaction_for_its_key() {
    let mut story = Story::new(EngineId::Mem);
    let put = Request::Put(PutRequest {
        key: b"a".to_vec(),
        lease: 5,
        ignore_value: true,
        ..PutRequest::default()
    });
    assert_eq!(story.apply(&put), Err(Refusal::LeaseNotFound));
    assert_eq!(story.apply(&txn(vec![], vec![put.clone()], vec![])), Err(Refusal::KeyNotFound));
    let future = get_at("a", 9);
    let refused = story.apply(&txn(vec![], vec![future, put], vec![]));
    assert_eq!(refused, Err(Refusal::KeyNotFound), "all puts before all ranges");
}

/// etcd would panic at the second operation: its check beforehand sees the key.
#[test]
fn a_value_that_the_same_transaction_has_deleted_cannot_be_kept() {
    let mut story = Story::new(EngineId::Mem);
    story.put("a", "1");
    let keep = Request::Put(PutRequest { key: b"a".to_vec(), ignore_value: true, ..PutRequest::default() });
    let request = txn(vec![], vec![delete("a", Some("\0"), false), keep], vec![]);
    assert_eq!(story.apply(&request), Err(Refusal::KeyNotFound));
    assert_eq!(kvs(story.apply(&Request::get("a")).unwrap()), [kv("a", "1", 2, 2, 1)]);
}

#[test]
fn while_a_disk_is_full_nothing_more_is_put() {
    let mut story = Story::new(EngineId::Redb);
    story.put("a", "1");
    story.note(&Command::Alarm { member: 3, activate: true });
    story.store().flush().unwrap();
    story.reopen();
    assert_eq!(story.store().alarms().iter().copied().collect::<Vec<_>>(), [3]);
    let put = || Request::put("b", "2");
    assert_eq!(story.apply(&put()), Err(Refusal::NoSpace));
    assert_eq!(story.apply(&txn(vec![], vec![], vec![put()])), Err(Refusal::NoSpace));
    let grant = Command::LeaseGrant { id: 1, ttl_s: 60 };
    assert_eq!(story.command(&grant), Err(Refusal::NoSpace));
    assert_eq!(story.apply(&Request::delete("a")).unwrap().revision, 3, "what gives space back is let in");
    assert_eq!(story.compact(3), Ok(Answer::Compact { revision: 3 }));
    let disarm = Command::Alarm { member: 3, activate: false };
    assert_eq!(story.command(&disarm), Ok(Answer::AlarmDisarm));
    assert_eq!(story.apply(&put()).unwrap().revision, 4);
}

#[test]
fn a_key_whose_lease_is_lost_is_corrupt() {
    let mut story = Story::new(EngineId::Mem);
    grant(&mut story, 7);
    attach(&mut story, "a", 7);
    let error = story.reopen_after(|batch| batch.delete(layout::lease_key(7))).unwrap_err();
    assert_eq!(error.to_string(), "the store is corrupt: key a is attached to lease 7, which does not exist");
}
