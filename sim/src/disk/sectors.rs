//! Sectors of one write, and which of them a torn write leaves on the medium.

/// Bytes of one sector, the unit that a device writes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// A set of the sectors that one write touches, numbered from the sector of its first byte. Sectors are
/// those of the file: they begin at multiples of [`SECTOR_BYTES`] of the file's offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sectors {
    count: u64,
    words: Vec<u64>,
}

impl Sectors {
    /// How many sectors a write of `length` bytes at `offset` touches.
    pub const fn touched(offset: u64, length: u64) -> u64 {
        if length == 0 { 0 } else { (offset + length).div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES }
    }

    /// Those of `count` sectors for which `survives` answers true.
    pub fn from_fn(count: u64, mut survives: impl FnMut(u64) -> bool) -> Self {
        let mut words = Vec::new();
        for base in (0..count).step_by(64) {
            let width = (count - base).min(64);
            let word = (0..width).fold(0_u64, |word, bit| word | (u64::from(survives(base + bit)) << bit));
            words.push(word);
        }
        Self { count, words }
    }

    /// None of `count` sectors.
    pub fn none(count: u64) -> Self {
        Self::from_fn(count, |_| false)
    }

    /// All of `count` sectors.
    pub fn all(count: u64) -> Self {
        Self::from_fn(count, |_| true)
    }

    /// The first `survivors` of `count` sectors.
    pub fn prefix(count: u64, survivors: u64) -> Self {
        Self::from_fn(count, |sector| sector < survivors)
    }

    /// How many sectors the write touches.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// True where sector number `sector` survives.
    pub fn survives(&self, sector: u64) -> bool {
        assert!(sector < self.count, "sector {sector} of {}", self.count);
        let word = usize::try_from(sector / 64).expect("a set in memory is indexed by usize");
        self.words[word] >> (sector % 64) & 1 == 1
    }

    /// How many sectors survive.
    pub fn survivors(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The last sector that survives.
    pub fn last_survivor(&self) -> Option<u64> {
        (0..self.count).rev().find(|&sector| self.survives(sector))
    }

    /// The surviving runs of neighbouring sectors, each as (first, one past the last).
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = (next..self.count).find(|&sector| self.survives(sector))?;
            let end = (first..self.count).find(|&sector| !self.survives(sector)).unwrap_or(self.count);
            next = end;
            Some((first, end))
        })
    }
}

/// What became of the file size that a torn write would have set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TornSize {
    /// The size reached the medium, though not all of the data did: what is missing reads as before, or as
    /// zeros where there was nothing.
    Kept,
    /// The size did not reach the medium: data beyond the old size is out of reach.
    Lost,
    /// The size covers the data that did reach the medium.
    FollowsData,
}

/// How a write was torn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tear {
    /// The sectors that reached the medium.
    pub sectors: Sectors,
    /// Where set, the write broke off at a byte, also within a sector: none of its bytes from this one on, counted
    /// from the first, reached the medium. Devices write sectors whole; a process that dies while the kernel copies
    /// its bytes, or memory that keeps its content, do not know them. `ext4-ordered`
    /// goes by whole pages all the same.
    pub cut_at: Option<u64>,
    /// What became of the file's size.
    pub size: TornSize,
}

impl Tear {
    /// A write of which these sectors survived, whole.
    pub const fn sectors(sectors: Sectors, size: TornSize) -> Self {
        Self { sectors, cut_at: None, size }
    }

    /// A write of `length` bytes at `offset` of which the first `cut_at` bytes survived.
    pub fn at_byte(offset: u64, length: u64, cut_at: u64, size: TornSize) -> Self {
        assert!(cut_at <= length, "a write of {length} bytes cannot be cut at byte {cut_at}");
        let count = Sectors::touched(offset, length);
        Self { sectors: Sectors::prefix(count, Sectors::touched(offset, cut_at)), cut_at: Some(cut_at), size }
    }

    /// True where nothing of a write of `length` bytes is missing, its size included.
    pub(super) fn is_whole(&self, length: u64) -> bool {
        self.sectors.survivors() == self.sectors.count()
            && self.cut_at.is_none_or(|cut_at| cut_at >= length)
            && self.size != TornSize::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_touches_the_sectors_of_the_file() {
        let cases = [(0, 0, 0), (0, 1, 1), (511, 1, 1), (511, 2, 2), (512, 512, 1), (100, 1024, 3)];
        for (offset, length, expected) in cases {
            assert_eq!(Sectors::touched(offset, length), expected, "{length} bytes at {offset}");
        }
    }

    #[test]
    fn runs_are_maximal() {
        let sectors = Sectors::from_fn(130, |sector| [0, 1, 63, 64, 129].contains(&sector));
        assert_eq!(sectors.runs().collect::<Vec<_>>(), [(0, 2), (63, 65), (129, 130)]);
        assert_eq!((sectors.survivors(), sectors.last_survivor()), (5, Some(129)));
        assert_eq!(Sectors::none(5).runs().count(), 0);
        assert_eq!(Sectors::prefix(5, 3).survivors(), 3);
    }
}
