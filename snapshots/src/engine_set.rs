//! A set of engine ids.

use std::fmt;

/// A set of engine ids, small enough to be copied into every hello.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct EngineSet {
    /// Bit `id % 64` of word `id / 64` says whether `id` is a member.
    words: [u64; 4],
}

impl EngineSet {
    /// The empty set.
    pub const EMPTY: EngineSet = EngineSet { words: [0; 4] };

    /// Whether `id` is a member.
    pub const fn contains(&self, id: u8) -> bool {
        self.words[id as usize / 64] >> (id % 64) & 1 == 1
    }

    /// The set with `id` added.
    #[must_use]
    pub const fn with(mut self, id: u8) -> EngineSet {
        self.words[id as usize / 64] |= 1 << (id % 64);
        self
    }

    /// The set with `id` removed.
    #[must_use]
    pub const fn without(mut self, id: u8) -> EngineSet {
        self.words[id as usize / 64] &= !(1 << (id % 64));
        self
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> + use<> {
        let set = *self;
        (0..=u8::MAX).filter(move |id| set.contains(*id))
    }
}

impl FromIterator<u8> for EngineSet {
    fn from_iter<I: IntoIterator<Item = u8>>(ids: I) -> EngineSet {
        ids.into_iter().fold(EngineSet::EMPTY, EngineSet::with)
    }
}

impl fmt::Debug for EngineSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter().map(|id| format!("{id:#04x}"))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::EngineSet;

    #[test]
    fn every_id_can_be_added_and_removed_alone() {
        for id in 0..=u8::MAX {
            let set = EngineSet::EMPTY.with(id);
            assert_eq!(set.iter().collect::<Vec<_>>(), [id]);
            assert_eq!(set.without(id), EngineSet::EMPTY);
        }
        let set: EngineSet = [0xfe, 0x01, 0x40].into_iter().collect();
        assert_eq!(format!("{set:?}"), r#"{"0x01", "0x40", "0xfe"}"#);
    }
}
