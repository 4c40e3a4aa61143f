//! Watches: see [`crate::watch`].

use std::time::Instant;

use super::Replica;
use crate::api::{WatchKind, WatchMessage, WatchRequest};
use crate::client::encode_watch;
use crate::error::ReplicaError;
use crate::observer::ReplicaEvent;
use crate::watch::{Sent, WatchId};

/// What a refused watch is named where the client has another of the same number (`InvalidWatchID` in etcd's
/// `client/v3/watch.go`).
const NO_WATCH: i64 = -1;

/// What etcd tells those who ask a learner for a watch (`newStreamInterceptor` in its
/// `server/etcdserver/api/v3rpc/interceptor.go`).
const NOT_FOR_LEARNERS: &str = "etcdserver: rpc not supported for learner";
/// What it tells clients that require a leader.
const NO_LEADER: &str = "etcdserver: no leader";

impl Replica {
    pub(super) fn create_watch(&mut self, client: u64, request: WatchRequest) {
        let (watch_id, start_revision) = (request.watch_id, request.start_revision);
        let revision = match self.revision_for_watches() {
            Ok(revision) => revision,
            Err(reason) => {
                let kind = WatchKind::Canceled { compact_revision: 0, reason: reason.to_owned() };
                return self.send_watch((client, WatchMessage { watch_id, revision: 0, kind }));
            }
        };
        let is_known = self.watches.get((client, watch_id)).is_some();
        match self.watches.create(client, request, revision, Instant::now()) {
            Ok(()) => {
                let kind = WatchKind::Created;
                self.send_watch((client, WatchMessage { watch_id, revision, kind }));
                self.observer.event(&ReplicaEvent::WatchCreated {
                    client,
                    watch_id,
                    start_revision,
                    revision,
                });
            }
            Err(refusal) => {
                let watch_id = if is_known { NO_WATCH } else { watch_id };
                let kind = WatchKind::Canceled { compact_revision: 0, reason: refusal.to_string() };
                self.send_watch((client, WatchMessage { watch_id, revision, kind }));
            }
        }
    }

    /// The revision of a store that watches may be served from, or why none may. A learner never finds out that its
    /// leader has fallen silent, for it never campaigns.
    fn revision_for_watches(&self) -> Result<i64, &'static str> {
        let store = self.store.as_ref().filter(|_| self.is_member());
        let store = store.ok_or("this replica has no state, or is no member")?;
        if !self.node.raft.promotable() {
            return Err(NOT_FOR_LEARNERS);
        }
        if self.is_leaderless(Instant::now()) { Err(NO_LEADER) } else { Ok(store.revision()) }
    }

    /// A client wants no more of a watch; it may be none.
    pub(super) fn cancel_watch(&mut self, client: u64, watch_id: i64) {
        if self.watches.get((client, watch_id)).is_some() {
            self.end_watch((client, watch_id), None, "");
        }
    }

    pub(super) fn want_progress(&mut self, client: u64) {
        let Some(revision) = self.store.as_ref().map(|store| store.revision()) else {
            return;
        };
        let sent = self.watches.want_progress(client, revision);
        self.send_watches(sent);
    }

    /// Sends what the entry that was just applied has changed, if it has made a revision after `before`.
    pub(super) fn notify_watches(&mut self, before: i64) -> Result<(), ReplicaError> {
        let Some(prev_kv) = self.watches.wants_events() else {
            return Ok(());
        };
        let Some(store) = self.store.as_ref().filter(|store| store.revision() > before) else {
            return Ok(());
        };
        let (revision, events) = (store.revision(), store.last_events(prev_kv)?);
        let (sent, fell_behind) = self.watches.notify(revision, &events, Instant::now());
        self.send_watches(sent);
        for (client, watch_id) in fell_behind {
            self.observer.event(&ReplicaEvent::WatchFellBehind { client, watch_id, revision });
        }
        Ok(())
    }

    /// Whether there are watches to be brought forward at once.
    pub(super) fn has_watches_to_serve(&self) -> bool {
        self.store.is_some() && self.watches.is_any_behind()
    }

    /// Brings watches forward that are behind, and sends the progress notifications that are due.
    pub(super) fn serve_watches(&mut self) -> Result<(), ReplicaError> {
        for id in self.watches.take_turns() {
            self.bring_forward(id)?;
        }
        if let Some(store) = &self.store {
            let interval = self.config.timing.watch_progress_interval;
            let sent = self.watches.take_progress(store.revision(), interval, Instant::now());
            self.send_watches(sent);
        }
        Ok(())
    }

    fn bring_forward(&mut self, id: WatchId) -> Result<(), ReplicaError> {
        let (Some(store), Some(watcher)) = (&self.store, self.watches.get(id)) else {
            return Ok(());
        };
        let (revision, from) = (store.revision(), watcher.next_revision());
        let through = revision.min(from.saturating_add(self.config.limits.watch_catch_up_revisions - 1));
        let events = if from > revision {
            Ok(Vec::new())
        } else {
            store.events(watcher.key(), watcher.range_end(), from, through, watcher.prev_kv())?
        };
        match events {
            Ok(events) => {
                let (sent, is_synced) =
                    self.watches.bring_forward(id, events, through, revision, Instant::now());
                self.send_watches(sent);
                if is_synced {
                    let (client, watch_id) = id;
                    self.observer.event(&ReplicaEvent::WatchCaughtUp { client, watch_id, revision });
                }
            }
            Err(compacted) => self.end_watch(id, Some(compacted.compact_revision), ""),
        }
        Ok(())
    }

    /// Ends the watches of a replica that has known no leader for long.
    pub(super) fn see_to_leader(&mut self, now: Instant) {
        if self.leader().is_some() {
            self.leaderless_since = None;
            return;
        }
        self.leaderless_since.get_or_insert(now);
        if self.is_leaderless(now) {
            self.end_all_watches(NO_LEADER);
        }
    }

    fn is_leaderless(&self, now: Instant) -> bool {
        let patience = self.config.timing.tick * self.config.timing.leaderless_ticks;
        self.leaderless_since.is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// Ends all watches. Their clients go on elsewhere, or here when this replica is well again.
    pub(super) fn end_all_watches(&mut self, reason: &str) {
        for id in self.watches.ids() {
            self.end_watch(id, None, reason);
        }
    }

    fn end_watch(&mut self, id: WatchId, compact_revision: Option<i64>, reason: &str) {
        if !self.watches.cancel(id) {
            return;
        }
        let (client, watch_id) = id;
        self.observer.event(&ReplicaEvent::WatchCanceled { client, watch_id, compact_revision });
        let kind = WatchKind::Canceled {
            compact_revision: compact_revision.unwrap_or(0),
            reason: reason.to_owned(),
        };
        let revision = self.store.as_ref().map_or(0, |store| store.revision());
        self.send_watch((client, WatchMessage { watch_id, revision, kind }));
    }

    fn send_watches(&mut self, sent: Vec<Sent>) {
        for message in sent {
            self.send_watch(message);
        }
    }

    /// Sends a message; a watch whose message is longer than any may be ends instead.
    fn send_watch(&mut self, (client, message): Sent) {
        let watch_id = message.watch_id;
        match encode_watch(message) {
            Ok(bytes) => self.transport.send(client, bytes),
            Err(error) => self.end_watch((client, watch_id), None, &error.to_string()),
        }
    }
}
