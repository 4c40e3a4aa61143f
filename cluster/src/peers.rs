//! What a replica knows of its peers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use snapshots::Release;

use crate::hello::Hello;
use crate::observer::HeldBack;

/// Retries are spaced by at most two to this power times the first interval.
const BACKOFF_DOUBLINGS_MAX: u32 = 3;

/// The other replicas of the cluster.
#[derive(Debug)]
pub(crate) struct Peers {
    peers: BTreeMap<u64, Peer>,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// What it last said about itself.
    pub(crate) hello: Option<Hello>,
    /// Why it was last denied a snapshot, so that it is told only once.
    held_back: Option<HeldBack>,
    /// Snapshots to it that failed one after the other.
    failures: u32,
    /// Before that, no further snapshot is produced for it.
    retry_at: Option<Instant>,
}

impl Peers {
    /// The peers of `own` among those that it knows of at its start.
    pub(crate) fn new(own: u64, all: impl IntoIterator<Item = u64>) -> Peers {
        let others = all.into_iter().filter(|id| *id != own);
        Peers { peers: others.map(|id| (id, Peer::default())).collect() }
    }

    /// A peer that was heard of; it may have joined since the start.
    pub(crate) fn heard_of(&mut self, id: u64) -> &mut Peer {
        self.peers.entry(id).or_default()
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Peer> {
        self.peers.get_mut(&id)
    }

    /// Whether a peer has said that it is of release 2.
    pub(crate) fn knows_release_two(&self, id: u64) -> bool {
        let hello = self.peers.get(&id).and_then(|peer| peer.hello);
        hello.is_some_and(|hello| hello.peer.release == Release::Two)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.peers.keys().copied()
    }
}

impl Peer {
    /// Takes a hello; true if it differs from the last.
    pub(crate) fn hear(&mut self, hello: Hello) -> bool {
        let changed = self.hello != Some(hello);
        self.hello = Some(hello);
        changed
    }

    /// Notes that the peer is denied a snapshot; true if the reason is new.
    pub(crate) fn hold_back(&mut self, why: HeldBack) -> bool {
        let new = self.held_back != Some(why);
        self.held_back = Some(why);
        new
    }

    /// Notes that nothing stands against a snapshot any more.
    pub(crate) fn release(&mut self) {
        self.held_back = None;
    }

    /// Whether enough time has passed since the last failed snapshot.
    pub(crate) fn may_retry(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// Notes a failed snapshot.
    pub(crate) fn fail(&mut self, now: Instant, interval: Duration) {
        self.retry_at = Some(now + self.backoff(interval));
        self.failures = self.failures.saturating_add(1);
    }

    /// Notes a snapshot that was installed.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// `interval`, doubled for each failure so far.
    pub(crate) fn backoff(&self, interval: Duration) -> Duration {
        interval * 2u32.pow(self.failures.min(BACKOFF_DOUBLINGS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_space_the_attempts_and_a_success_ends_that() {
        let mut peers = Peers::new(1, [1, 2, 3]);
        assert_eq!(peers.ids().collect::<Vec<_>>(), [2, 3]);
        assert!(peers.get_mut(1).is_none() && peers.get_mut(4).is_none());
        assert!(peers.heard_of(4).hello.is_none() && peers.get_mut(4).is_some());
        let peer = peers.get_mut(2).unwrap();
        let (now, interval) = (Instant::now(), Duration::from_secs(1));
        let mut waits = Vec::new();
        for _ in 0..6 {
            peer.fail(now, interval);
            let seconds = (0..100).find(|wait| peer.may_retry(now + interval * *wait)).unwrap();
            waits.push(seconds);
        }
        assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
        peer.succeed();
        assert!(peer.may_retry(now));
        assert_eq!(peer.backoff(interval), interval);
    }

    #[test]
    fn a_reason_is_new_once() {
        let mut peer = Peer::default();
        assert!(peer.hold_back(HeldBack::NoHello));
        assert!(!peer.hold_back(HeldBack::NoHello));
        peer.release();
        assert!(peer.hold_back(HeldBack::NoHello));
    }
}
