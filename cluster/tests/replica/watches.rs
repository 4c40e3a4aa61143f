//! Watches, on leaders and followers, through restarts of what lies below them.

use cluster::api::{Call, EventKind, WatchCall, WatchKind, WatchMessage, WatchRequest};
use engines::EngineId;

use crate::nodes::Nodes;
use crate::snapshots::{installation, write_beyond_the_log};

const MEM: [EngineId; 3] = [EngineId::Mem; 3];

/// A watch on all keys.
fn all_keys(watch_id: i64, start_revision: i64) -> WatchRequest {
    let range_end = Some(b"\0".to_vec());
    WatchRequest { watch_id, key: b"\0".to_vec(), range_end, start_revision, ..WatchRequest::default() }
}

/// The events in messages, as revision, `+` or `-`, and key.
fn events(messages: &[WatchMessage]) -> Vec<String> {
    let all = messages.iter().filter_map(|message| match &message.kind {
        WatchKind::Events { events, .. } => Some(events),
        WatchKind::Created | WatchKind::Progress | WatchKind::Canceled { .. } => None,
    });
    all.flatten()
        .map(|event| {
            let sign = match event.kind {
                EventKind::Put => '+',
                EventKind::Delete => '-',
            };
            format!("{}{sign}{}", event.kv.mod_revision, event.kv.key.escape_ascii())
        })
        .collect()
}

fn has_events(count: usize) -> impl Fn(&[WatchMessage]) -> bool {
    move |messages| events(messages).len() >= count
}

#[test]
fn a_watch_is_sent_what_was_and_what_comes() {
    let mut nodes = Nodes::started(&MEM);
    let first = nodes.put("a", "1");
    nodes.put("b", "2");
    nodes.assert_equal(&[1, 2, 3]);
    let last = nodes.put("c", "3");
    let follower = nodes.leader() % 3 + 1;
    for id in [nodes.leader(), follower] {
        nodes.watch(id, WatchCall::Create(all_keys(1, first)));
        let range_end = Some(b"c".to_vec());
        let filtered = WatchRequest { key: b"a".to_vec(), range_end, no_put: true, ..all_keys(2, last + 1) };
        nodes.watch(id, WatchCall::Create(WatchRequest { prev_kv: true, ..filtered }));
        nodes.call(&cluster::api::Request::delete("b"));
        nodes.put("b", "4");
        let until = "+b";
        let messages = nodes.watched(|messages| {
            events(messages).last().is_some_and(|event| event.ends_with(until))
                && messages.iter().any(|message| message.watch_id == 2 && !is_created(message))
        });
        let of = |watch_id: i64| -> Vec<WatchMessage> {
            messages.iter().filter(|message| message.watch_id == watch_id).cloned().collect()
        };
        assert_eq!(of(1)[0].kind, WatchKind::Created);
        let seen = events(&of(1));
        assert_eq!(seen[..2], [format!("{first}+a"), format!("{}+b", first + 1)]);
        let revisions: Vec<i64> =
            seen.iter().map(|event| event.split(['+', '-']).next().unwrap().parse().unwrap()).collect();
        assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        let deletions = events(&of(2));
        assert!(
            !deletions.is_empty() && deletions.iter().all(|event| event.ends_with("-b")),
            "{deletions:?}"
        );
        for message in of(2) {
            if let WatchKind::Events { events, .. } = message.kind {
                assert!(events.iter().all(|event| event.prev_kv.is_some()), "{events:?}");
            }
        }
        nodes.watch(id, WatchCall::Cancel { watch_id: 1 });
        nodes.watch(id, WatchCall::Cancel { watch_id: 2 });
        nodes.watched(|messages| messages.iter().filter(|message| is_canceled(message)).count() == 2);
    }
}

fn is_created(message: &WatchMessage) -> bool {
    message.kind == WatchKind::Created
}

fn is_canceled(message: &WatchMessage) -> bool {
    matches!(message.kind, WatchKind::Canceled { .. })
}

#[test]
fn a_watch_below_the_compacted_revision_ends() {
    let mut nodes = Nodes::started(&MEM);
    nodes.put_many("key", 10);
    let revision = nodes.put("key", "last");
    nodes.answer(&Call::Compact { revision, physical: false });
    let leader = nodes.leader();
    nodes.watch(leader, WatchCall::Create(all_keys(1, revision - 1)));
    nodes.watch(leader, WatchCall::Create(all_keys(2, revision)));
    let messages = nodes.watched(|messages| messages.iter().any(is_canceled) && has_events(1)(messages));
    let canceled = messages.iter().find(|message| is_canceled(message)).unwrap();
    let kind = WatchKind::Canceled { compact_revision: revision, reason: String::new() };
    assert_eq!((canceled.watch_id, &canceled.kind), (1, &kind));
    assert_eq!(events(&messages), [format!("{revision}+key")]);
}

#[test]
fn a_slow_client_gets_everything_in_the_end_and_progress_after_it() {
    let mut nodes = Nodes::new(&[EngineId::Mem]);
    nodes.configure(1, |config| config.limits.watch_window = 2);
    nodes.start_all();
    let first = nodes.put("key", "1");
    nodes.watch(1, WatchCall::Create(all_keys(1, 0)));
    nodes.watched(|messages| messages.iter().any(is_created));
    for number in 0..6 {
        nodes.put("key", &number.to_string());
    }
    let mut messages = nodes.watched(has_events(2));
    assert_eq!(events(&messages).len(), 2, "its window is full");
    nodes.watch(1, WatchCall::Progress);
    nodes.watch(1, WatchCall::Ack { watch_id: 1, messages: 2 });
    messages
        .extend(nodes.watched(|messages| messages.iter().any(|message| message.kind == WatchKind::Progress)));
    let expected: Vec<String> = (first + 1..=first + 6).map(|revision| format!("{revision}+key")).collect();
    assert_eq!(events(&messages), expected);
    let progress = messages.last().unwrap();
    assert_eq!((progress.kind.clone(), progress.revision), (WatchKind::Progress, first + 6));
}

#[test]
fn a_watch_on_a_replica_that_gets_a_snapshot_misses_nothing_and_does_not_go_back() {
    let mut nodes = Nodes::started(&MEM);
    nodes.put_many("first", 5);
    nodes.assert_equal(&[1, 2, 3]);
    let follower = nodes.leader() % 3 + 1;
    let before = nodes.put("last before", "1");
    nodes.assert_equal(&[1, 2, 3]);
    nodes.watch(follower, WatchCall::Create(all_keys(1, before + 1)));
    nodes.watch(follower, WatchCall::Create(all_keys(2, before + 1000)));
    let mut messages = nodes.watched(|messages| messages.iter().filter(|m| is_created(m)).count() == 2);
    nodes.network.isolate(follower, true);
    let since = nodes.events[&follower].len();
    let others: Vec<u64> = nodes.ids().into_iter().filter(|id| *id != follower).collect();
    write_beyond_the_log(&mut nodes, [others[0], others[1]]);
    let last = nodes.put("last", "1");
    nodes.network.isolate(follower, false);
    installation(&nodes, follower, since);
    let until = format!("{last}+last");
    messages.extend(nodes.watched(|messages| events(messages).last() == Some(&until)));
    let seen: Vec<i64> = events(&messages)
        .iter()
        .map(|event| event.split(['+', '-']).next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(seen, (before + 1..=last).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| message.watch_id == 1 || is_created(message)));
}

/// Whether the last message says that the watch has ended, for that reason.
fn ends(messages: &[WatchMessage], why: &str) -> bool {
    messages.last().is_some_and(|message| match &message.kind {
        WatchKind::Canceled { reason, .. } => reason == why,
        WatchKind::Created | WatchKind::Progress | WatchKind::Events { .. } => false,
    })
}

#[test]
fn the_watches_of_a_replica_without_a_leader_end() {
    let mut nodes = Nodes::new(&MEM);
    for id in nodes.ids() {
        nodes.configure(id, |config| config.timing.leaderless_ticks = 30);
    }
    nodes.start_all();
    nodes.put("key", "1");
    nodes.assert_equal(&[1, 2, 3]);
    let follower = nodes.leader() % 3 + 1;
    nodes.watch(follower, WatchCall::Create(all_keys(1, 0)));
    nodes.watched(|messages| messages.iter().any(is_created));
    nodes.network.isolate(follower, true);
    nodes.watched(|messages| ends(messages, "etcdserver: no leader"));
    nodes.watch(follower, WatchCall::Create(all_keys(2, 0)));
    nodes.watched(|messages| ends(messages, "etcdserver: no leader"));
    nodes.network.isolate(follower, false);
    let last = nodes.put("key", "2");
    nodes.assert_equal(&[1, 2, 3]);
    nodes.watch(follower, WatchCall::Create(all_keys(3, last)));
    nodes.watched(has_events(1));
}

#[test]
fn a_watch_that_asks_for_it_hears_that_nothing_happens() {
    let mut nodes = Nodes::new(&[EngineId::Mem]);
    nodes.configure(1, |config| {
        config.timing.watch_progress_interval = std::time::Duration::from_millis(50);
    });
    nodes.start_all();
    let revision = nodes.put("key", "1");
    let request = WatchRequest { progress_notify: true, ..all_keys(1, 0) };
    nodes.watch(1, WatchCall::Create(request));
    let messages = nodes.watched(|messages| messages.len() >= 3);
    assert!(messages[1..].iter().all(|message| message.kind == WatchKind::Progress), "{messages:?}");
    assert!(messages.iter().all(|message| message.revision == revision));
}
