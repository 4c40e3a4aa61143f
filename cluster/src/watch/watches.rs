//! All watches of a replica, by client.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::{Standing, Watcher};
use crate::api::{Event, WatchKind, WatchMessage, WatchRequest};
use crate::config::Limits;
use crate::design::{Design, WatchFuture, WatchProgress, WatchRestore};

/// A client, and its number for a watch.
pub(crate) type WatchId = (u64, i64);

/// A message, and the client that it goes to.
pub(crate) type Sent = (u64, WatchMessage);

/// Why a watch is not begun. The texts are those of etcd where it refuses the same
/// (`server/storage/mvcc/watcher.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WatchRefusal {
    /// The range holds no key.
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    /// The client has a watch of this number.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
    /// There are as many as there may be.
    #[error("too many watches")]
    TooMany,
}

/// All watches of a replica.
#[derive(Debug)]
pub(crate) struct Watches {
    watchers: BTreeMap<WatchId, Watcher>,
    /// The watch that was brought forward last; the next one comes first.
    turn: WatchId,
    limits: Limits,
    restore: WatchRestore,
    future: WatchFuture,
    progress: WatchProgress,
}

impl Watches {
    pub(crate) fn new(limits: Limits, design: &Design) -> Watches {
        Watches {
            watchers: BTreeMap::new(),
            turn: (0, 0),
            limits,
            restore: design.watch_restore,
            future: design.watch_future,
            progress: design.watch_progress,
        }
    }

    pub(crate) fn ids(&self) -> Vec<WatchId> {
        self.watchers.keys().copied().collect()
    }

    /// Begins a watch on a store at `revision`.
    pub(crate) fn create(
        &mut self,
        client: u64,
        request: WatchRequest,
        revision: i64,
        now: Instant,
    ) -> Result<(), WatchRefusal> {
        let id = (client, request.watch_id);
        if self.watchers.contains_key(&id) {
            return Err(WatchRefusal::DuplicateId);
        }
        if self.watchers.len() >= self.limits.watches_max {
            return Err(WatchRefusal::TooMany);
        }
        let watcher = Watcher::new(request, revision, self.limits.watch_window, now);
        match watcher.range_end() {
            None | Some([] | [0]) => {}
            Some(end) if watcher.key() < end => {}
            Some(_) => return Err(WatchRefusal::EmptyRange),
        }
        self.watchers.insert(id, watcher);
        Ok(())
    }

    /// Ends a watch; returns whether there was one.
    pub(crate) fn cancel(&mut self, id: WatchId) -> bool {
        self.watchers.remove(&id).is_some()
    }

    pub(crate) fn acknowledge(&mut self, id: WatchId, messages: u32) {
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.acknowledge(messages);
        }
    }

    /// Notes that a client wants to hear of progress; returns what goes at once.
    pub(crate) fn want_progress(&mut self, client: u64, revision: i64) -> Vec<Sent> {
        let mut sent = Vec::new();
        for (_, watcher) in self.watchers.range_mut((client, i64::MIN)..=(client, i64::MAX)) {
            match self.progress {
                WatchProgress::AfterEvents => watcher.progress_wanted = true,
                WatchProgress::AtOnce => sent.push((client, progress(watcher, revision))),
            }
        }
        sent
    }

    /// Whether any watch waits for the events of the next entry, and whether for previous values, too.
    pub(crate) fn wants_events(&self) -> Option<bool> {
        let mut synced =
            self.watchers.values().filter(|watcher| watcher.standing == Standing::Synced).peekable();
        synced.peek()?;
        Some(synced.any(Watcher::prev_kv))
    }

    /// Sends the events of an entry that made `revision` to the watches that are synced. Returns also the
    /// watches whose windows have no room.
    pub(crate) fn notify(
        &mut self,
        revision: i64,
        events: &[Event],
        now: Instant,
    ) -> (Vec<Sent>, Vec<WatchId>) {
        let (mut sent, mut fell_behind) = (Vec::new(), Vec::new());
        for (id, watcher) in &mut self.watchers {
            if watcher.standing != Standing::Synced || watcher.next_revision > revision {
                continue;
            }
            let kinds = watcher.take(events.iter().cloned(), revision, self.limits.watch_message_bytes, now);
            sent.extend(kinds.into_iter().map(|kind| (id.0, message(watcher, revision, kind))));
            if watcher.standing == Standing::Behind {
                fell_behind.push(*id);
            }
        }
        (sent, fell_behind)
    }

    /// The state was replaced by that of a snapshot, at `revision`.
    pub(crate) fn restored(&mut self, revision: i64) {
        for watcher in self.watchers.values_mut() {
            match self.restore {
                WatchRestore::Resumed => watcher.standing = Standing::Behind,
                WatchRestore::Skipped => watcher.next_revision = watcher.next_revision.max(revision + 1),
            }
        }
    }

    /// Whether there are watches that can be brought forward.
    pub(crate) fn is_any_behind(&self) -> bool {
        self.watchers.values().any(is_due)
    }

    /// The watches whose turn it is to be brought forward in this round.
    pub(crate) fn take_turns(&mut self) -> Vec<WatchId> {
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let due = self.watchers.range(after).chain(self.watchers.range(..=self.turn));
        let ids: Vec<WatchId> = due
            .filter(|(_, watcher)| is_due(watcher))
            .map(|(id, _)| *id)
            .take(self.limits.watch_catch_ups_per_round)
            .collect();
        self.turn = ids.last().copied().unwrap_or(self.turn);
        ids
    }

    pub(crate) fn get(&self, id: WatchId) -> Option<&Watcher> {
        self.watchers.get(&id)
    }

    /// Sends events to a watch that is behind: all of those in its range from where it stands up to `through`,
    /// on a store at `revision`. Returns the messages, and whether it is synced now.
    pub(crate) fn bring_forward(
        &mut self,
        id: WatchId,
        events: Vec<Event>,
        through: i64,
        revision: i64,
        now: Instant,
    ) -> (Vec<Sent>, bool) {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return (Vec::new(), false);
        };
        let mut kinds = Vec::new();
        if watcher.next_revision <= revision {
            kinds = watcher.take(events, through, self.limits.watch_message_bytes, now);
        } else {
            match self.future {
                WatchFuture::Kept => {}
                WatchFuture::Lowered => watcher.next_revision = revision + 1,
            }
        }
        if watcher.next_revision > revision {
            watcher.standing = Standing::Synced;
        }
        let is_synced = watcher.standing == Standing::Synced;
        (kinds.into_iter().map(|kind| (id.0, message(watcher, revision, kind))).collect(), is_synced)
    }

    /// The progress notifications that are due on a store at `revision`: those that were asked for, and those of
    /// watches that heard nothing for `interval`.
    pub(crate) fn take_progress(&mut self, revision: i64, interval: Duration, now: Instant) -> Vec<Sent> {
        let since = now.checked_sub(interval);
        let mut sent = Vec::new();
        for (id, watcher) in &mut self.watchers {
            let is_due = watcher.progress_wanted || since.is_some_and(|since| watcher.is_quiet(since));
            if is_due && watcher.is_at(revision) && watcher.has_credit() {
                watcher.progress_wanted = false;
                watcher.count(1, now);
                sent.push((id.0, progress(watcher, revision)));
            }
        }
        sent
    }
}

fn is_due(watcher: &Watcher) -> bool {
    watcher.standing == Standing::Behind && watcher.has_credit()
}

fn progress(watcher: &Watcher, revision: i64) -> WatchMessage {
    message(watcher, revision, WatchKind::Progress)
}

fn message(watcher: &Watcher, revision: i64, kind: WatchKind) -> WatchMessage {
    WatchMessage { watch_id: watcher.watch_id(), revision, kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EventKind, KeyValue};

    const CLIENT: u64 = 1000;

    fn event(revision: i64, key: &str) -> Event {
        let kv = KeyValue {
            key: key.into(),
            value: vec![],
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
        };
        Event { kind: EventKind::Put, kv, prev_kv: None }
    }

    fn watches(design: Design, window: u32) -> Watches {
        Watches::new(Limits { watch_window: window, ..Limits::default() }, &design)
    }

    fn request(watch_id: i64, start_revision: i64) -> WatchRequest {
        let range_end = Some(b"\0".to_vec());
        WatchRequest { watch_id, key: b"a".to_vec(), range_end, start_revision, ..WatchRequest::default() }
    }

    /// The revisions of the events in messages.
    fn revisions(sent: &[Sent]) -> Vec<i64> {
        let events = sent.iter().flat_map(|(_, message)| match &message.kind {
            WatchKind::Events { events, .. } => events.clone(),
            other => panic!("{other:?}"),
        });
        events.map(|event| event.kv.mod_revision).collect()
    }

    /// All events of a store at `revision` with one event in each revision, sent to watch 1.
    fn catch_up(watches: &mut Watches, revision: i64, now: Instant) -> (Vec<i64>, bool) {
        assert_eq!(watches.take_turns(), [(CLIENT, 1)]);
        let next = watches.get((CLIENT, 1)).unwrap().next_revision();
        let events = (next..=revision).map(|revision| event(revision, "b")).collect();
        let (sent, is_synced) = watches.bring_forward((CLIENT, 1), events, revision, revision, now);
        (revisions(&sent), is_synced)
    }

    #[test]
    fn a_watch_is_sent_what_happens_from_its_start_on() {
        let (mut watches, now) = (watches(Design::default(), 10), Instant::now());
        watches.create(CLIENT, request(1, 0), 4, now).unwrap();
        watches.create(CLIENT, request(2, 7), 4, now).unwrap();
        assert_eq!(watches.create(CLIENT, request(1, 0), 4, now), Err(WatchRefusal::DuplicateId));
        let empty = WatchRequest { range_end: Some(b"a".to_vec()), ..request(3, 0) };
        assert_eq!(watches.create(CLIENT, empty, 4, now), Err(WatchRefusal::EmptyRange));
        for revision in 5..=7 {
            let (sent, _) = watches.notify(revision, &[event(revision, "b"), event(revision, "A")], now);
            let ids: Vec<i64> = sent.iter().map(|(_, message)| message.watch_id).collect();
            assert_eq!(ids, if revision < 7 { vec![1] } else { vec![1, 2] });
            assert!(revisions(&sent).iter().all(|sent| *sent == revision));
        }
        assert!(watches.cancel((CLIENT, 1)) && !watches.cancel((CLIENT, 1)));
        assert_eq!(watches.notify(8, &[event(8, "b")], now).0.len(), 1);
    }

    #[test]
    fn a_slow_client_is_sent_no_more_than_its_window_and_loses_nothing() {
        let (mut watches, now) = (watches(Design::default(), 2), Instant::now());
        watches.create(CLIENT, request(1, 0), 1, now).unwrap();
        let mut all = Vec::new();
        let mut behind = Vec::new();
        for revision in 2..=6 {
            let (sent, fell_behind) = watches.notify(revision, &[event(revision, "b")], now);
            all.extend(revisions(&sent));
            behind.extend(fell_behind);
        }
        assert_eq!((all.as_slice(), behind.as_slice()), (&[2, 3][..], &[(CLIENT, 1)][..]));
        assert!(!watches.is_any_behind(), "nothing can be sent");
        watches.acknowledge((CLIENT, 1), 1);
        assert_eq!(catch_up(&mut watches, 6, now), (vec![4, 5, 6], true));
    }

    /// What a watch from `start` is sent if a snapshot takes the store from revision 1 to 5, and three entries
    /// follow.
    fn sent_around_a_snapshot(design: Design, start: i64) -> Vec<i64> {
        let (mut watches, now) = (watches(design, 10), Instant::now());
        watches.create(CLIENT, request(1, start), 1, now).unwrap();
        watches.restored(5);
        let mut all = Vec::new();
        if watches.is_any_behind() {
            let (sent, is_synced) = catch_up(&mut watches, 5, now);
            assert!(is_synced);
            all.extend(sent);
        }
        for revision in 6..=8 {
            all.extend(revisions(&watches.notify(revision, &[event(revision, "b")], now).0));
        }
        all
    }

    #[test]
    fn after_a_snapshot_every_watch_goes_on_where_it_stood() {
        assert_eq!(sent_around_a_snapshot(Design::default(), 0), [2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(sent_around_a_snapshot(Design::default(), 7), [7, 8]);
    }

    /// etcd issues 8411, 15271 and 20221.
    #[test]
    fn watches_that_do_not_go_on_where_they_stood_skip_events_or_go_back() {
        let skipped = Design { watch_restore: WatchRestore::Skipped, ..Design::default() };
        assert_eq!(sent_around_a_snapshot(skipped, 0), [6, 7, 8]);
        let lowered = Design { watch_future: WatchFuture::Lowered, ..Design::default() };
        assert_eq!(sent_around_a_snapshot(lowered, 7), [6, 7, 8]);
    }

    #[test]
    fn progress_comes_after_the_events_that_it_stands_for() {
        let (mut watches, now) = (watches(Design::default(), 10), Instant::now());
        watches.create(CLIENT, request(1, 2), 5, now).unwrap();
        watches.create(CLIENT, request(2, 9), 5, now).unwrap();
        assert_eq!(watches.want_progress(CLIENT, 5), []);
        let progress = |watches: &mut Watches, revision| {
            let sent = watches.take_progress(revision, Duration::MAX, now);
            sent.iter().map(|(_, message)| (message.watch_id, message.revision)).collect::<Vec<_>>()
        };
        assert_eq!(progress(&mut watches, 5), [], "one is behind, the other begins later");
        assert_eq!(catch_up(&mut watches, 5, now), (vec![2, 3, 4, 5], true));
        assert_eq!(progress(&mut watches, 5), [(1, 5)]);
        for revision in 6..=9 {
            watches.notify(revision, &[], now);
        }
        assert_eq!(progress(&mut watches, 9), [(2, 9)]);
        assert_eq!(progress(&mut watches, 9), []);
    }

    /// etcd issue 15220.
    #[test]
    fn progress_at_once_runs_ahead_of_events() {
        let design = Design { watch_progress: WatchProgress::AtOnce, ..Design::default() };
        let (mut watches, now) = (watches(design, 10), Instant::now());
        watches.create(CLIENT, request(1, 2), 5, now).unwrap();
        let sent = watches.want_progress(CLIENT, 5);
        assert_eq!(sent[0].1, WatchMessage { watch_id: 1, revision: 5, kind: WatchKind::Progress });
        assert_eq!(catch_up(&mut watches, 5, now).0, [2, 3, 4, 5]);
    }

    #[test]
    fn a_watch_that_hears_nothing_is_told_so_at_an_interval() {
        let (mut watches, now) = (watches(Design::default(), 1), Instant::now());
        let interval = Duration::from_secs(5);
        let request = WatchRequest { progress_notify: true, ..request(1, 0) };
        watches.create(CLIENT, request, 5, now).unwrap();
        assert_eq!(watches.take_progress(5, interval, now), []);
        assert_eq!(watches.take_progress(5, interval, now + interval).len(), 1);
        assert_eq!(watches.take_progress(5, interval, now + interval * 2), [], "its window is full");
        watches.acknowledge((CLIENT, 1), 1);
        assert_eq!(watches.take_progress(5, interval, now + interval * 2).len(), 1);
    }
}
