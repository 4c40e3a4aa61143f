//! Which configurations a search has met.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// The configurations met so far.
///
/// A configuration is what is placed and the state that it led to. Its *key* stands for the state and the answered
/// operations placed; `used` counts the unknown operations placed, class by class. Of two configurations with one key
/// the one that has used no more of any class *dominates* the other: whatever order goes on from the other goes on
/// from it, for it has the same operations left and perhaps more that need not be placed. So only configurations that
/// no earlier one dominates are worth a visit. That loses no verdict although the earlier one may still be under way:
/// of all configurations visited from which a legal order can be completed, take one with the fewest operations to
/// go. Among its successors is one with fewer still, so that one was not visited, and what dominates it and was
/// visited has no more to go: a contradiction, unless nothing is left to place.
pub(crate) struct Memory {
    classes: usize,
    /// Where equality is all, and nobody asks why a configuration failed.
    keys: HashSet<u128, BuildHasherDefault<AlreadyHashed>>,
    /// Otherwise: the newest entry of each key.
    heads: HashMap<u128, u32, BuildHasherDefault<AlreadyHashed>>,
    entries: Vec<Entry>,
    /// What each entry has used: `classes` numbers an entry.
    used: Vec<u32>,
    blames: bool,
    work: u64,
}

struct Entry {
    /// The entry before, of the same key.
    before: u32,
    blame: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

/// A configuration that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// Now for the first time; the number of its entry, if it has one.
    New(u32),
    /// Before, or one that dominates it: what it was found to fail for, as [`Memory::blame`] was told.
    Known(u32),
}

impl Memory {
    /// A memory of nothing, for so many classes of unknown operations. It remembers why configurations failed where
    /// it is asked to keep `blames`.
    pub(crate) fn new(classes: usize, blames: bool) -> Memory {
        Memory {
            classes,
            keys: HashSet::default(),
            heads: HashMap::default(),
            entries: Vec::new(),
            used: Vec::new(),
            blames,
            work: 0,
        }
    }

    /// How many numbers of `used` were compared or kept so far: what the memory costs beyond a constant for each
    /// configuration.
    pub(crate) fn work(&self) -> u64 {
        self.work
    }

    /// Remembers a configuration. Until more is known it fails for `blame`.
    pub(crate) fn insert(&mut self, key: u128, used: &[u32], blame: u32) -> Met {
        if self.classes == 0 && !self.blames {
            return if self.keys.insert(key) { Met::New(NONE) } else { Met::Known(blame) };
        }
        let head = self.heads.get(&key).copied().unwrap_or(NONE);
        let mut place = head;
        self.work += self.classes as u64;
        while place != NONE {
            self.work += self.classes as u64;
            let from = place as usize * self.classes;
            let stored = &mut self.used[from..from + self.classes];
            let entry = &mut self.entries[place as usize];
            if is_at_most(stored, used) {
                return Met::Known(entry.blame);
            }
            if is_at_most(used, stored) {
                stored.copy_from_slice(used);
                entry.blame = blame;
                return Met::New(place);
            }
            place = entry.before;
        }
        let place =
            u32::try_from(self.entries.len()).expect("memory ends before four thousand million entries");
        self.entries.push(Entry { before: head, blame });
        self.used.extend_from_slice(used);
        self.heads.insert(key, place);
        Met::New(place)
    }

    /// Notes what the configuration of an entry has failed for, unless another has taken its place.
    pub(crate) fn blame(&mut self, entry: u32, used: &[u32], blame: u32) {
        let from = entry as usize * self.classes;
        if entry != NONE && self.used[from..from + self.classes] == *used {
            self.entries[entry as usize].blame = blame;
        }
    }
}

/// Whether no count of `these` is above the same one of `those`.
fn is_at_most(these: &[u32], those: &[u32]) -> bool {
    these.iter().zip(those).all(|(this, that)| this <= that)
}

/// Passes the low half of an already uniform 128-bit key through.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64(bytes);
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, Met};

    fn is_new(memory: &mut Memory, key: u128, used: &[u32]) -> bool {
        matches!(memory.insert(key, used, 0), Met::New(_))
    }

    #[test]
    fn what_has_used_no_less_is_known() {
        let mut memory = Memory::new(2, false);
        assert!(is_new(&mut memory, 7, &[1, 1]));
        assert!(!is_new(&mut memory, 7, &[1, 1]), "the same");
        assert!(!is_new(&mut memory, 7, &[2, 1]), "more of one class");
        assert!(is_new(&mut memory, 7, &[2, 0]), "less of one, more of the other");
        assert!(is_new(&mut memory, 8, &[2, 1]), "another key");
        assert!(is_new(&mut memory, 7, &[0, 1]), "less");
        assert!(!is_new(&mut memory, 7, &[1, 1]), "and that takes the place of what it dominates");
    }

    #[test]
    fn what_is_kept_and_compared_is_counted() {
        let mut memory = Memory::new(3, false);
        memory.insert(7, &[1, 0, 0], 0);
        assert_eq!(memory.work(), 3, "kept");
        memory.insert(7, &[0, 1, 0], 0);
        assert_eq!(memory.work(), 9, "compared with one, and kept");
        memory.insert(7, &[0, 0, 1], 0);
        assert_eq!(memory.work(), 18, "compared with two, and kept");
    }

    #[test]
    fn without_unknown_operations_equal_keys_are_known() {
        let mut memory = Memory::new(0, false);
        assert!(is_new(&mut memory, 7, &[]));
        assert!(!is_new(&mut memory, 7, &[]));
        assert!(is_new(&mut memory, 8, &[]));
    }

    #[test]
    fn what_a_configuration_failed_for_is_remembered_until_another_takes_its_place() {
        let mut memory = Memory::new(1, true);
        let Met::New(entry) = memory.insert(7, &[2], 0) else { panic!("nothing was met yet") };
        memory.blame(entry, &[2], 5);
        assert_eq!(memory.insert(7, &[3], 0), Met::Known(5));
        assert_eq!(memory.insert(7, &[1], 0), Met::New(entry));
        memory.blame(entry, &[2], 5);
        assert_eq!(memory.insert(7, &[1], 0), Met::Known(0));
    }
}
