//! The ends of all leases, as one leader counts them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clock::Clock;
use crate::design::{Design, LeasePromotion};
use crate::mvcc::LeaseTable;

/// The most leases in one checkpoint (`maxLeaseCheckpointBatchSize` in etcd's `server/lease/lessor.go`).
const CHECKPOINT_LEASES_MAX: usize = 1000;

/// How long a proposed end of a lease is waited for until it is proposed again (`defaultExpiredleaseRetryInterval`
/// in etcd's `server/lease/lessor.go`).
const REVOKE_AGAIN: Duration = Duration::from_secs(3);

/// Counts leases while its replica leads. Times are those of its own clock.
#[derive(Debug)]
pub(crate) struct Lessor {
    clock: Clock,
    promotion: LeasePromotion,
    /// The term in which its replica leads and it counts; `None`: it does not.
    term: Option<u64>,
    ends: BTreeMap<i64, End>,
    /// When leases were heard of, for [`LeasePromotion::AsGranted`].
    heard: BTreeMap<i64, Duration>,
    next_checkpoint: Duration,
}

/// When a lease ends.
#[derive(Clone, Copy, Debug)]
struct End {
    at: Duration,
    /// When its end is to be proposed again; `None` as long as it was not proposed.
    again: Option<Duration>,
    /// What is left of it was written down since it began its time, or is about to be.
    is_checkpointed: bool,
    /// A keep-alive has proposed to write down that all of its time is left.
    is_clearing: bool,
}

impl End {
    fn at(at: Duration) -> End {
        End { at, again: None, is_checkpointed: false, is_clearing: false }
    }
}

impl Lessor {
    pub(crate) fn new(design: &Design) -> Lessor {
        Lessor {
            clock: Clock::new(design.lease_clock),
            promotion: design.lease_promotion,
            term: None,
            ends: BTreeMap::new(),
            heard: BTreeMap::new(),
            next_checkpoint: Duration::ZERO,
        }
    }

    /// The term in which it counts, if it does.
    pub(crate) fn term(&self) -> Option<u64> {
        self.term
    }

    /// Takes over all leases, for a leader that has applied all that was decided before its `term`. Returns how
    /// long each is given to live, in milliseconds.
    ///
    /// `extension` is an election timeout: an earlier leader may have answered keep-alives for that long.
    pub(crate) fn promote(&mut self, term: u64, leases: &LeaseTable, extension: Duration) -> Vec<(i64, i64)> {
        let now = self.clock.now();
        self.term = Some(term);
        self.next_checkpoint = now;
        self.ends.clear();
        let mut given = Vec::with_capacity(leases.len());
        for (id, lease) in leases.iter() {
            let whole = seconds(lease.granted_ttl_s);
            let at = match self.promotion {
                LeasePromotion::Extended if lease.remaining_ttl_s > 0 => {
                    now + seconds(lease.remaining_ttl_s) + extension
                }
                LeasePromotion::Extended | LeasePromotion::Whole => now + whole + extension,
                LeasePromotion::AsGranted => self.heard.get(&id).copied().unwrap_or_default() + whole,
            };
            self.ends.insert(id, End::at(at));
            given.push((id, at.as_millis() as i64 - now.as_millis() as i64));
        }
        given
    }

    /// Forgets everything that only a leader knows.
    pub(crate) fn demote(&mut self) {
        self.term = None;
        self.ends.clear();
    }

    /// A lease was granted.
    pub(crate) fn granted(&mut self, id: i64, ttl_s: i64) {
        match self.promotion {
            LeasePromotion::AsGranted => {
                self.heard.insert(id, self.clock.now());
            }
            LeasePromotion::Extended | LeasePromotion::Whole => {}
        }
        self.renew(id, ttl_s);
    }

    /// A lease has ended; returns whether that was proposed here, because its time was over.
    pub(crate) fn ended(&mut self, id: i64) -> bool {
        self.heard.remove(&id);
        self.ends.remove(&id).is_some_and(|end| end.again.is_some())
    }

    /// Lets a lease begin its time anew.
    pub(crate) fn renew(&mut self, id: i64, ttl_s: i64) {
        if self.term.is_some() {
            self.ends.insert(id, End::at(self.clock.now() + seconds(ttl_s)));
        }
    }

    /// Whether a checkpoint has taken time from a lease since it was renewed, or is about to. Then a keep-alive
    /// must not be answered before all of its time is written down again, or the next leader would not know.
    pub(crate) fn is_checkpointed(&self, id: i64) -> bool {
        self.ends.get(&id).is_some_and(|end| end.is_checkpointed)
    }

    /// That all of a lease's time is left is about to be written down; no checkpoint may come after that.
    pub(crate) fn clearing(&mut self, id: i64) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.is_clearing = true;
        }
    }

    /// Whether the time of a lease is over.
    pub(crate) fn is_over(&self, id: i64) -> bool {
        self.ends.get(&id).is_some_and(|end| end.again.is_some() || end.at <= self.clock.now())
    }

    /// How long a lease will live, in whole seconds, rounded down; zero if its time is over.
    pub(crate) fn left_s(&self, id: i64) -> Option<i64> {
        let end = self.ends.get(&id)?;
        Some(end.at.saturating_sub(self.clock.now()).as_secs() as i64)
    }

    /// At most `max` leases whose end is to be proposed now.
    pub(crate) fn take_over(&mut self, max: usize) -> Vec<i64> {
        let now = self.clock.now();
        let due =
            self.ends.iter_mut().filter(|(_, end)| end.at <= now && end.again.is_none_or(|at| at <= now));
        due.take(max)
            .map(|(id, end)| {
                end.again = Some(now + REVOKE_AGAIN);
                *id
            })
            .collect()
    }

    /// What is to be written down of the leases that live longer than `interval`, if it is time for that: ids
    /// and seconds left, rounded up, in lists of bounded length.
    pub(crate) fn take_checkpoints(
        &mut self,
        leases: &LeaseTable,
        interval: Duration,
    ) -> Vec<Vec<(i64, i64)>> {
        let now = self.clock.now();
        if self.term.is_none() || now < self.next_checkpoint {
            return Vec::new();
        }
        self.next_checkpoint = now + interval;
        let mut remaining = Vec::new();
        for (id, lease) in leases.iter() {
            let Some(end) = self.ends.get_mut(&id).filter(|end| !end.is_clearing) else {
                continue;
            };
            let left = end.at.saturating_sub(now);
            let left_s = left.as_secs() as i64 + i64::from(left.subsec_nanos() > 0);
            let known = if lease.remaining_ttl_s > 0 { lease.remaining_ttl_s } else { lease.granted_ttl_s };
            // Never more than is known: a checkpoint takes time away, only a keep-alive gives it.
            if left > interval && left_s < known {
                end.is_checkpointed = true;
                remaining.push((id, left_s));
            }
        }
        remaining.chunks(CHECKPOINT_LEASES_MAX).map(<[_]>::to_vec).collect()
    }
}

/// A time to live. None is negative, nor longer than the store lets it be.
fn seconds(ttl_s: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use engines::EngineId;
    use engines::marker::open_data_dir;

    use super::*;
    use crate::api::Command;
    use crate::mvcc::Store;

    const EXTENSION: Duration = Duration::from_secs(1);

    /// A store with leases 1 (of 100 s) and 2 (of 1,000 s, of which a checkpoint has left 400 s).
    fn store(path: &std::path::Path) -> Store {
        let backend = open_data_dir(path, EngineId::Mem, &engines::Options::default()).unwrap();
        let mut store = Store::open(backend, &Design::default()).unwrap();
        for (index, command) in [
            Command::LeaseGrant { id: 1, ttl_s: 100 },
            Command::LeaseGrant { id: 2, ttl_s: 1000 },
            Command::LeaseCheckpoint { remaining: vec![(2, 400)] },
        ]
        .iter()
        .enumerate()
        {
            store.apply(index as u64 + 1, 1, command).unwrap();
        }
        store
    }

    fn given(promotion: LeasePromotion) -> Vec<(i64, i64)> {
        let directory = tempfile::tempdir().unwrap();
        let mut lessor = Lessor::new(&Design { lease_promotion: promotion, ..Design::default() });
        lessor.promote(3, store(&directory.path().join("store")).leases(), EXTENSION)
    }

    #[test]
    fn a_new_leader_extends_every_lease() {
        assert_eq!(given(LeasePromotion::Extended), [(1, 101_000), (2, 401_000)]);
        assert_eq!(given(LeasePromotion::Whole), [(1, 101_000), (2, 1_001_000)]);
        let as_granted = given(LeasePromotion::AsGranted);
        assert!(as_granted[0].1 <= 100_000 && as_granted[1].1 <= 1_000_000, "{as_granted:?}");
    }

    #[test]
    fn only_a_leader_counts() {
        let mut lessor = Lessor::new(&Design::default());
        lessor.granted(1, 0);
        assert_eq!((lessor.take_over(10), lessor.left_s(1)), (vec![], None));
        lessor.promote(2, &LeaseTable::default(), EXTENSION);
        lessor.granted(1, 0);
        lessor.granted(2, 50);
        assert!(lessor.is_over(1) && !lessor.is_over(2));
        assert_eq!(lessor.left_s(2), Some(49));
        assert_eq!(lessor.take_over(10), [1]);
        assert_eq!(lessor.take_over(10), [0; 0], "it was proposed just now");
        assert!(lessor.ended(1) && !lessor.ended(2));
        lessor.granted(3, 0);
        lessor.demote();
        assert_eq!((lessor.term(), lessor.take_over(10)), (None, vec![]));
    }

    #[test]
    fn what_is_left_of_long_leases_is_written_down_at_an_interval() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory.path().join("store"));
        let mut lessor = Lessor::new(&Design::default());
        lessor.promote(2, store.leases(), Duration::ZERO);
        lessor.ends.get_mut(&1).unwrap().at -= Duration::from_secs(10);
        lessor.ends.get_mut(&2).unwrap().at -= Duration::from_secs(10);
        let interval = Duration::from_secs(300);
        assert_eq!(lessor.take_checkpoints(store.leases(), interval), [vec![(2, 390)]], "1 lives shorter");
        assert_eq!(lessor.take_checkpoints(store.leases(), interval).len(), 0, "not again so soon");
        assert!(lessor.is_checkpointed(2) && !lessor.is_checkpointed(1));
        lessor.clearing(2);
        lessor.next_checkpoint = Duration::ZERO;
        lessor.ends.get_mut(&2).unwrap().at -= Duration::from_secs(10);
        assert_eq!(lessor.take_checkpoints(store.leases(), interval).len(), 0, "a keep-alive goes first");
        lessor.renew(2, 1000);
        assert!(!lessor.is_checkpointed(2));
    }
}
