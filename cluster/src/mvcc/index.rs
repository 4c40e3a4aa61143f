//! The key index: for every key, the revisions that wrote it, in generations.
//!
//! A generation begins with the creation of the key and ends with its deletion; versions count inside it. As in
//! etcd's `mvcc/key_index.go`, a read at a revision is answered from the generation that was alive then.
//!
//! Compaction at a revision drops the generations that ended below it, and of the others every write but the
//! newest at or below it. So a key that was deleted at that very revision keeps its tombstone alone, until the
//! next compaction: a watch from there must see the deletion (etcd issue 18089).

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use super::layout::{Record, RecordValue};
use crate::design::CompactionTombstone;

/// When something was written: the transaction, and the place inside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// The revision of the whole transaction.
    pub main: i64,
    /// The place inside it, from zero.
    pub sub: i64,
}

/// What the index knows about a key at some revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The revision that last wrote it.
    pub(super) modified: Revision,
    /// The main revision that created it.
    pub(super) create_revision: i64,
    /// How often it was written since.
    pub(super) version: i64,
}

/// All keys that exist, or existed at or above the compacted revision.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    keys: BTreeMap<Vec<u8>, Vec<Generation>>,
}

/// A life of a key.
#[derive(Debug)]
struct Generation {
    /// The main revision that created the key.
    create_revision: i64,
    /// The version that the first of `puts` made; above 1 where compaction has dropped writes.
    first_version: i64,
    /// The revisions that wrote it, ascending; empty only where compaction has left the tombstone alone.
    puts: Vec<Revision>,
    /// The revision that deleted it.
    tombstone: Option<Revision>,
}

impl KeyIndex {
    /// Adds a revision of `key`, above all others: a put, or a deletion of a key that exists.
    pub(super) fn insert(&mut self, key: Vec<u8>, revision: Revision, is_tombstone: bool) {
        let generations = self.keys.entry(key).or_default();
        match generations.last_mut() {
            Some(alive @ Generation { tombstone: None, .. }) => {
                if is_tombstone {
                    alive.tombstone = Some(revision);
                } else {
                    alive.puts.push(revision);
                }
            }
            Some(Generation { tombstone: Some(_), .. }) | None => {
                assert!(!is_tombstone, "only a key that exists is deleted");
                generations.push(Generation {
                    create_revision: revision.main,
                    first_version: 1,
                    puts: vec![revision],
                    tombstone: None,
                });
            }
        }
    }

    /// Adds a record that may be the first one that compaction has left of its key: nothing is known of those
    /// before it but what it says itself.
    pub(super) fn insert_first(&mut self, record: &Record) {
        let generations = self.keys.entry(record.key.clone()).or_default();
        generations.push(match &record.value {
            RecordValue::Put { create_revision, version, .. } => Generation {
                create_revision: *create_revision,
                first_version: *version,
                puts: vec![record.revision],
                tombstone: None,
            },
            RecordValue::Tombstone => Generation {
                create_revision: record.revision.main,
                first_version: 1,
                puts: Vec::new(),
                tombstone: Some(record.revision),
            },
        });
    }

    /// Forgets what was before the record that comes next: all of the key but the generations that ended at
    /// main revision `at`, of which only the tombstones stay.
    pub(super) fn forget_before(&mut self, key: &[u8], at: i64) {
        if let Some(generations) = self.keys.get_mut(key) {
            generations.retain_mut(|generation| {
                generation.puts.clear();
                generation.tombstone.is_some_and(|tombstone| tombstone.main == at)
            });
        }
    }

    /// Whether a record of `key` was added, though it may be forgotten.
    pub(super) fn knows(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// Forgets the keys of which nothing is left.
    pub(super) fn forget_empty(&mut self) {
        self.keys.retain(|_, generations| !generations.is_empty());
    }

    /// The key as it was at main revision `at`, if it existed then.
    pub(super) fn get(&self, key: &[u8], at: i64) -> Option<Found> {
        alive_at(self.keys.get(key)?, at)
    }

    /// Whether the index has this write of `key`.
    pub(super) fn holds(&self, key: &[u8], revision: Revision) -> bool {
        self.keys.get(key).is_some_and(|generations| {
            generations.iter().any(|generation| {
                generation.tombstone == Some(revision) || generation.puts.binary_search(&revision).is_ok()
            })
        })
    }

    /// The keys from `start` on that existed at main revision `at`, ascending; `range_end` as in a request.
    pub(super) fn range<'a>(
        &'a self,
        start: &'a [u8],
        range_end: Option<&'a [u8]>,
        at: i64,
    ) -> impl Iterator<Item = (&'a [u8], Found)> {
        let bounds = bounds(start, range_end);
        let keys = bounds.map(|bounds| self.keys.range::<[u8], _>(bounds));
        keys.into_iter().flatten().filter_map(move |(key, generations)| {
            alive_at(generations, at).map(|found| (key.as_slice(), found))
        })
    }

    /// What compaction at main revision `at` keeps of the writes at or below it, ascending by key: the key, the
    /// revision, and whether it is a tombstone.
    pub(super) fn kept_at(
        &self,
        at: i64,
        tombstones: CompactionTombstone,
    ) -> impl Iterator<Item = (&[u8], Revision, bool)> {
        self.keys.iter().flat_map(move |(key, generations)| {
            let reaching = generations.iter().filter(move |generation| !generation.is_over(at, tombstones));
            reaching.filter_map(move |generation| {
                let (revision, is_tombstone) = generation.newest_at(at)?;
                Some((key.as_slice(), revision, is_tombstone))
            })
        })
    }

    /// Drops what compaction at main revision `at` does not keep.
    pub(super) fn compact(&mut self, at: i64, tombstones: CompactionTombstone) {
        for generations in self.keys.values_mut() {
            generations.retain(|generation| !generation.is_over(at, tombstones));
            generations.iter_mut().for_each(|generation| generation.drop_before_newest(at));
        }
        self.forget_empty();
    }
}

impl Generation {
    /// Whether it ended so early that nothing of it is kept by a compaction at `at`.
    fn is_over(&self, at: i64, tombstones: CompactionTombstone) -> bool {
        self.tombstone.is_some_and(|tombstone| match tombstones {
            CompactionTombstone::Kept => tombstone.main < at,
            CompactionTombstone::Dropped => tombstone.main <= at,
        })
    }

    /// The last write at or below main revision `at`, and whether it is the deletion.
    fn newest_at(&self, at: i64) -> Option<(Revision, bool)> {
        let tombstone = self.tombstone.filter(|tombstone| tombstone.main <= at);
        let put = self.puts[..self.writes_at(at)].last();
        tombstone.map(|revision| (revision, true)).or(put.map(|revision| (*revision, false)))
    }

    /// The number of puts at or below main revision `at`.
    fn writes_at(&self, at: i64) -> usize {
        self.puts.partition_point(|put| put.main <= at)
    }

    fn drop_before_newest(&mut self, at: i64) {
        let writes = self.writes_at(at);
        let dropped = match self.newest_at(at) {
            None => 0,
            Some((_, true)) => writes,
            Some((_, false)) => writes - 1,
        };
        self.puts.drain(..dropped);
        self.first_version += i64::try_from(dropped).expect("fewer writes than revisions");
    }

    fn first(&self) -> Option<Revision> {
        self.puts.first().copied().or(self.tombstone)
    }
}

/// The first key of a range, and its last or the one behind it.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The bounds of the keys that a request names, or `None` where the end does not lie behind the start.
pub(super) fn bounds<'a>(start: &'a [u8], range_end: Option<&'a [u8]>) -> Option<Bounds<'a>> {
    match range_end {
        None | Some([]) => Some((Bound::Included(start), Bound::Included(start))),
        Some([0]) => Some((Bound::Included(start), Bound::Unbounded)),
        Some(end) if start < end => Some((Bound::Included(start), Bound::Excluded(end))),
        Some(_) => None,
    }
}

/// Whether a key lies inside.
pub(super) fn contains(bounds: Bounds<'_>, key: &[u8]) -> bool {
    RangeBounds::<[u8]>::contains(&bounds, key)
}

fn alive_at(generations: &[Generation], at: i64) -> Option<Found> {
    let generation = generations
        .iter()
        .rfind(|generation| generation.first().is_some_and(|revision| revision.main <= at))?;
    if generation.tombstone.is_some_and(|tombstone| tombstone.main <= at) {
        return None;
    }
    let writes = generation.writes_at(at);
    Some(Found {
        modified: *generation.puts.get(writes.checked_sub(1)?)?,
        create_revision: generation.create_revision,
        version: generation.first_version + i64::try_from(writes).expect("fewer writes than revisions") - 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(writes: &[(&str, i64, bool)]) -> KeyIndex {
        let mut index = KeyIndex::default();
        for (number, (key, main, is_tombstone)) in writes.iter().enumerate() {
            let revision = Revision { main: *main, sub: number as i64 };
            index.insert(key.as_bytes().to_vec(), revision, *is_tombstone);
        }
        index
    }

    #[test]
    fn a_read_sees_the_generation_that_was_alive_then() {
        let index = index(&[("a", 2, false), ("a", 4, false), ("a", 6, true), ("a", 9, false)]);
        let seen: Vec<_> = (1..=10)
            .map(|at| {
                index.get(b"a", at).map(|found| (found.modified.main, found.create_revision, found.version))
            })
            .collect();
        let first = Some((2, 2, 1));
        let second = Some((4, 2, 2));
        let third = Some((9, 9, 1));
        assert_eq!(seen, [None, first, first, second, second, None, None, None, third, third]);
    }

    /// A transaction may put a key in one nested transaction and delete it in the next.
    #[test]
    fn a_key_put_and_deleted_at_one_revision_was_never_there() {
        let index = index(&[("a", 2, false), ("a", 2, true)]);
        assert_eq!(index.get(b"a", 2), None);
        assert_eq!(index.get(b"a", 3), None);
    }

    #[test]
    fn ranges_follow_the_rules_of_a_request() {
        let index = index(&[("a", 2, false), ("b", 3, false), ("c", 4, false), ("b", 5, true)]);
        let keys = |start: &str, end: Option<&str>, at| -> Vec<String> {
            let range = index.range(start.as_bytes(), end.map(str::as_bytes), at);
            range.map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
        };
        assert_eq!(keys("a", None, 5), ["a"]);
        assert_eq!(keys("a", Some(""), 5), ["a"]);
        assert_eq!(keys("b", None, 5), [""; 0]);
        assert_eq!(keys("a", Some("c"), 4), ["a", "b"]);
        assert_eq!(keys("a", Some("\0"), 5), ["a", "c"]);
        assert_eq!(keys("\0", Some("\0"), 3), ["a", "b"]);
        assert_eq!(keys("c", Some("a"), 5), [""; 0]);
        assert_eq!(keys("a", Some("a"), 5), [""; 0]);
    }

    /// The example of etcd's `key_index.go`, with the rule of 3.5.16 for the tombstone at the boundary.
    #[test]
    fn compaction_keeps_the_newest_at_or_below_and_all_above() {
        let writes = [("a", 1, false), ("a", 2, false), ("a", 3, true), ("a", 4, false), ("a", 5, true)];
        for (at, kept, below) in [
            (1, vec![1, 2, 3, 4, 5], vec![1]),
            (2, vec![2, 3, 4, 5], vec![2]),
            (3, vec![3, 4, 5], vec![3]),
            (4, vec![4, 5], vec![4]),
            (5, vec![5], vec![5]),
            (6, vec![], vec![]),
        ] {
            let mut index = index(&writes);
            let early: Vec<_> = (at..7).map(|main| index.get(b"a", main)).collect();
            let announced: Vec<_> =
                index.kept_at(at, CompactionTombstone::Kept).map(|kept| kept.1.main).collect();
            assert_eq!(announced, below, "at {at}");
            index.compact(at, CompactionTombstone::Kept);
            let revision = |number: usize| Revision { main: writes[number].1, sub: number as i64 };
            let held: Vec<_> =
                (0..5).filter(|number| index.holds(b"a", revision(*number))).map(|n| n as i64 + 1).collect();
            assert_eq!(held, kept, "at {at}");
            let late: Vec<_> = (at..7).map(|main| index.get(b"a", main)).collect();
            assert_eq!(late, early, "reads at or above {at} are as before");
            assert_eq!(index.keys.is_empty(), kept.is_empty());
        }
    }

    #[test]
    fn the_wrong_rule_drops_the_tombstone_at_the_boundary() {
        let mut index = index(&[("a", 2, false), ("a", 3, true)]);
        index.compact(3, CompactionTombstone::Dropped);
        assert!(index.keys.is_empty());
    }
}
