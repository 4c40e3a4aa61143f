//! One watch: what it wants, and where it stands.

use std::time::Instant;

use super::packing::pack;
use crate::api::{Event, EventKind, WatchKind, WatchRequest};

/// Where a watch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// After everything that the store holds: it is sent what comes.
    Synced,
    /// Events that the store holds may still have to be sent.
    Behind,
}

/// One watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    request: WatchRequest,
    pub(super) standing: Standing,
    /// The first revision that is not sent.
    pub(super) next_revision: i64,
    /// Messages that may still go before the client acknowledges some; negative after a revision in fragments.
    credit: i64,
    window: i64,
    /// The client has asked for a progress notification.
    pub(super) progress_wanted: bool,
    /// When the last message went.
    quiet_since: Instant,
}

impl Watcher {
    /// A watch on a store at `revision`.
    pub(super) fn new(mut request: WatchRequest, revision: i64, window: u32, now: Instant) -> Watcher {
        if request.key.is_empty() {
            // As in etcd, the empty key is before every other.
            request.key = vec![0];
        }
        let is_past = request.start_revision != 0 && request.start_revision <= revision;
        Watcher {
            standing: if is_past { Standing::Behind } else { Standing::Synced },
            next_revision: if request.start_revision == 0 { revision + 1 } else { request.start_revision },
            credit: i64::from(window),
            window: i64::from(window),
            progress_wanted: false,
            quiet_since: now,
            request,
        }
    }

    pub(super) fn watch_id(&self) -> i64 {
        self.request.watch_id
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.request.key
    }

    pub(crate) fn range_end(&self) -> Option<&[u8]> {
        self.request.range_end.as_deref()
    }

    pub(crate) fn prev_kv(&self) -> bool {
        self.request.prev_kv
    }

    pub(crate) fn next_revision(&self) -> i64 {
        self.next_revision
    }

    pub(super) fn has_credit(&self) -> bool {
        self.credit > 0
    }

    pub(super) fn acknowledge(&mut self, messages: u32) {
        self.credit = (self.credit + i64::from(messages)).min(self.window);
    }

    /// Whether a progress notification may go that names `revision`, that of the store: everything up to it is
    /// sent, and it is not before the watch begins.
    pub(super) fn is_at(&self, revision: i64) -> bool {
        self.standing == Standing::Synced
            && self.next_revision > revision
            && self.request.start_revision <= revision
    }

    /// Whether a notification is due because nothing was sent since `since`.
    pub(super) fn is_quiet(&self, since: Instant) -> bool {
        self.request.progress_notify && self.quiet_since <= since
    }

    /// Sends what it wants of `events`, which are all of those from where it stands up to revision `through`, as
    /// far as its window goes; it stands after what was sent.
    pub(super) fn take(
        &mut self,
        events: impl IntoIterator<Item = Event>,
        through: i64,
        bytes_max: usize,
        now: Instant,
    ) -> Vec<WatchKind> {
        let wanted = events.into_iter().filter(|event| self.wants(event)).map(|event| self.shown(event));
        let mut sent = Vec::new();
        for parcel in pack(wanted.collect(), bytes_max, self.request.fragment) {
            if !self.has_credit() {
                self.standing = Standing::Behind;
                self.next_revision = parcel.first;
                return sent;
            }
            self.count(parcel.kinds.len(), now);
            sent.extend(parcel.kinds);
        }
        self.next_revision = through + 1;
        sent
    }

    /// Notes that messages go that the client will acknowledge.
    pub(super) fn count(&mut self, messages: usize, now: Instant) {
        self.credit -= messages as i64;
        self.quiet_since = now;
    }

    fn wants(&self, event: &Event) -> bool {
        let by_kind = match event.kind {
            EventKind::Put => !self.request.no_put,
            EventKind::Delete => !self.request.no_delete,
        };
        by_kind && event.kv.mod_revision >= self.next_revision && self.covers(&event.kv.key)
    }

    fn covers(&self, key: &[u8]) -> bool {
        let start = self.key();
        match self.range_end() {
            None | Some([]) => key == start,
            Some([0]) => start <= key,
            Some(end) => start <= key && key < end,
        }
    }

    fn shown(&self, event: Event) -> Event {
        if self.request.prev_kv { event } else { Event { prev_kv: None, ..event } }
    }
}
