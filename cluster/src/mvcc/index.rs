//! The key index: for every key, the revisions that wrote it, in generations.
//!
//! A generation begins with the creation of the key and ends with its deletion; versions count inside it. As in
//! etcd's `mvcc/key_index.go`, a read at a revision is answered from the generation that was alive then.

use std::collections::BTreeMap;
use std::ops::Bound;

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

/// All keys that ever existed.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    keys: BTreeMap<Vec<u8>, Vec<Generation>>,
}

/// A life of a key.
#[derive(Debug)]
struct Generation {
    /// The revisions that wrote it, ascending; never empty.
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
                generations.push(Generation { puts: vec![revision], tombstone: None });
            }
        }
    }

    /// The key as it was at main revision `at`, if it existed then.
    pub(super) fn get(&self, key: &[u8], at: i64) -> Option<Found> {
        alive_at(self.keys.get(key)?, at)
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

fn alive_at(generations: &[Generation], at: i64) -> Option<Found> {
    let generation = generations.iter().rfind(|generation| generation.puts[0].main <= at)?;
    if generation.tombstone.is_some_and(|tombstone| tombstone.main <= at) {
        return None;
    }
    let writes = generation.puts.partition_point(|put| put.main <= at);
    Some(Found {
        modified: generation.puts[writes - 1],
        create_revision: generation.puts[0].main,
        version: i64::try_from(writes).expect("fewer writes than revisions"),
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
}
