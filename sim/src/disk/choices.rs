//! Who decides what survives a power failure.

use super::inode::InodeNumber;
use super::operation::{Change, PendingOperation};
use super::sectors::{Sectors, Tear, TornSize};
use crate::entropy::{Entropy, Ratio};
use std::collections::BTreeMap;

/// What becomes of a pending operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is lost.
    Drop,
    /// It reached the medium.
    Whole,
    /// It is a write, and a part of it reached the medium.
    Torn(Tear),
}

/// The choices of one power failure.
pub trait CrashChoices {
    /// Called once, before the decisions, with everything that is pending, in order.
    fn begin(&mut self, pending: &[&PendingOperation]) {
        let _ = pending;
    }

    /// Called before [`CrashChoices::begin`] where the next power failure falls in the middle of a pending write:
    /// the one with this sequence number. Choices made for a purpose of their own may treat it as any other.
    fn power_fails_inside(&mut self, write: u64) {
        let _ = write;
    }

    /// Decides over `operation`. Called in order, and only for those operations over which the profile leaves
    /// a choice: what needs a lost operation is lost without asking. Only a write may be [`Keep::Torn`]. Where only
    /// a part of a write needs a lost operation, that part is lost, whatever the answer.
    fn decide(&mut self, operation: &PendingOperation) -> Keep;
}

/// Every decision the same, from a function: `|_| Keep::Whole`.
impl<F: FnMut(&PendingOperation) -> Keep> CrashChoices for F {
    fn decide(&mut self, operation: &PendingOperation) -> Keep {
        self(operation)
    }
}

/// Random choices made to hurt. A coin per operation would nearly never lose all of them, or keep a prefix,
/// or lose one file and keep another, so each power failure first chooses a mode.
#[derive(Clone, Debug)]
pub struct RandomChoices {
    entropy: Entropy,
    mode: Mode,
    per_file: BTreeMap<InodeNumber, Mode>,
    /// How often a surviving write of this power failure is torn.
    tearing: Ratio,
    /// How often a torn write is torn at a byte.
    byte_tears: Ratio,
    /// The number of the write in whose middle the next power failure falls.
    interrupted: Option<u64>,
    /// The same, of the power failure that is being decided.
    torn: Option<u64>,
}

const TORN_SIZES: [TornSize; 3] = [TornSize::Kept, TornSize::Lost, TornSize::FollowsData];

#[derive(Clone, Copy, Debug)]
enum Mode {
    LoseAll,
    KeepAll,
    /// Keep what is up to this sequence number; that operation itself may be torn.
    Prefix {
        last: u64,
    },
    /// Keep each with this probability.
    Subset(Ratio),
    /// Each file and directory has a mode of its own.
    PerFile,
    /// Keep everything except one operation.
    LoseOne {
        lost: u64,
    },
}

impl RandomChoices {
    /// Choices drawn from `entropy`.
    pub const fn new(entropy: Entropy) -> Self {
        Self {
            entropy,
            mode: Mode::LoseAll,
            per_file: BTreeMap::new(),
            tearing: Ratio::ZERO,
            byte_tears: Ratio::ZERO,
            interrupted: None,
            torn: None,
        }
    }

    /// The same choices, with this share of the torn writes torn at any byte and not between two sectors. Zero, as
    /// it is without this call: none. See [`Tear::cut_at`].
    #[must_use]
    pub fn with_byte_tears(self, share: Ratio) -> Self {
        Self { byte_tears: share, ..self }
    }

    fn draw_mode(&mut self, first: u64, last: u64, may_split: bool) -> Mode {
        match self.entropy.below(if may_split { 16 } else { 11 }) {
            0 | 1 => Mode::LoseAll,
            2 => Mode::KeepAll,
            3..=5 => Mode::Prefix { last: self.entropy.between(first, last) },
            6..=8 => Mode::Subset(Ratio::percent(*self.entropy.choose(&[10, 50, 90]))),
            9 | 10 => Mode::LoseOne { lost: self.entropy.between(first, last) },
            _ => Mode::PerFile,
        }
    }

    fn keeps(&mut self, mode: Mode, operation: &PendingOperation) -> Keep {
        let kept = match mode {
            Mode::LoseAll => false,
            Mode::KeepAll => true,
            Mode::Prefix { last } if operation.sequence == last => return self.tear(operation),
            Mode::Prefix { last } => operation.sequence < last,
            Mode::Subset(ratio) => self.entropy.chance(ratio),
            Mode::LoseOne { lost } => operation.sequence != lost,
            Mode::PerFile => unreachable!("a file's own mode is never to have modes per file"),
        };
        if !kept {
            Keep::Drop
        } else if self.entropy.chance(self.tearing) {
            self.tear(operation)
        } else {
            Keep::Whole
        }
    }

    /// Tears a write; everything else is atomic and survives.
    fn tear(&mut self, operation: &PendingOperation) -> Keep {
        let Change::Write(payload) = &operation.change else { return Keep::Whole };
        let count = Sectors::touched(payload.offset(), payload.length());
        if payload.length() > 1 && self.entropy.chance(self.byte_tears) {
            let cut_at = self.entropy.between(1, payload.length() - 1);
            let size = *self.entropy.choose(&TORN_SIZES);
            return Keep::Torn(Tear::at_byte(payload.offset(), payload.length(), cut_at, size));
        }
        let sectors = match self.entropy.below(4) {
            0 | 1 => Sectors::prefix(count, self.entropy.below(count + 1)),
            2 => {
                let lost = self.entropy.below(count);
                Sectors::from_fn(count, |sector| sector != lost)
            }
            _ => {
                let ratio = Ratio::percent(*self.entropy.choose(&[10, 50, 90]));
                Sectors::from_fn(count, |_| self.entropy.chance(ratio))
            }
        };
        let size = *self.entropy.choose(&TORN_SIZES);
        Keep::Torn(Tear::sectors(sectors, size))
    }

    /// Tears the write in whose middle the power failed: of several sectors some survive and some do not. A single
    /// sector is written whole or not at all, unless it is torn at a byte.
    fn tear_inside(&mut self, operation: &PendingOperation) -> Keep {
        let mut keep = self.tear(operation);
        if let Keep::Torn(Tear { sectors, cut_at: None, .. }) = &mut keep {
            let count = sectors.count();
            if count > 1 && matches!(sectors.survivors(), survivors if survivors == 0 || survivors == count) {
                *sectors = Sectors::prefix(count, self.entropy.between(1, count - 1));
            }
        }
        keep
    }
}

impl CrashChoices for RandomChoices {
    fn power_fails_inside(&mut self, write: u64) {
        self.interrupted = Some(write);
    }

    fn begin(&mut self, pending: &[&PendingOperation]) {
        self.torn = self.interrupted.take();
        let (Some(first), Some(last)) = (pending.first(), pending.last()) else { return };
        self.tearing = *self.entropy.choose(&[Ratio::ZERO, Ratio::percent(10), Ratio::percent(50)]);
        self.mode = self.draw_mode(first.sequence, last.sequence, true);
        self.per_file.clear();
        if matches!(self.mode, Mode::PerFile) {
            let mut ranges: BTreeMap<InodeNumber, (u64, u64)> = BTreeMap::new();
            for operation in pending {
                ranges.entry(operation.inode).or_insert((operation.sequence, 0)).1 = operation.sequence;
            }
            for (inode, (first, last)) in ranges {
                let mode = self.draw_mode(first, last, false);
                self.per_file.insert(inode, mode);
            }
        }
    }

    fn decide(&mut self, operation: &PendingOperation) -> Keep {
        if self.torn == Some(operation.sequence) {
            return self.tear_inside(operation);
        }
        let mode = match self.mode {
            Mode::PerFile => *self.per_file.get(&operation.inode).expect("every file got a mode"),
            mode => mode,
        };
        self.keeps(mode, operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Fate, InodeNumber, Profile, SECTOR_BYTES, Stamp, crash_image};

    /// A disk with two files of ten pending writes each.
    fn busy_disk() -> Disk {
        let mut disk = Disk::new();
        let stamp = Stamp::default();
        let files = [b"a", b"b"].map(|name| disk.create_file(InodeNumber::ROOT, name, 0o644, stamp));
        for offset in (0..10).map(|number| number * 2000) {
            for file in files {
                disk.write(file, offset, &[1; 2000], stamp);
            }
        }
        disk
    }

    #[test]
    fn random_choices_reach_the_extremes_and_what_lies_between() {
        let disk = busy_disk();
        let mut choices = RandomChoices::new(Entropy::stream(1, "crash"));
        let reports: Vec<_> =
            (0..300).map(|_| crash_image(&disk, Profile::Posix, 0, &mut choices).1).collect();
        let share = |holds: fn(&crate::disk::CrashReport) -> bool| {
            100 * reports.iter().filter(|report| holds(report)).count() / reports.len()
        };
        assert!(share(|report| report.dropped == 22) >= 5, "everything is lost now and then");
        assert!(share(|report| report.kept == 22) >= 3, "nothing is lost now and then");
        assert!(share(|report| report.dropped == 1) >= 5, "a single operation is lost now and then");
        assert!(share(|report| report.torn > 0) >= 20, "writes are torn often");
        assert!(share(|report| report.torn == 1) >= 5, "only one is torn now and then");
    }

    #[test]
    fn a_power_failure_in_the_middle_of_a_write_tears_that_write() {
        let disk = busy_disk();
        let last = disk.sequence();
        let mut choices = RandomChoices::new(Entropy::stream(1, "crash"));
        let fate_of_last = |choices: &mut RandomChoices| {
            let (_, report) = crash_image(&disk, Profile::Posix, 0, choices);
            report.losses.iter().find(|loss| loss.sequence == last).map(|loss| loss.fate)
        };
        for _ in 0..100 {
            choices.power_fails_inside(last);
            match fate_of_last(&mut choices) {
                Some(Fate::Torn { survivors, sectors }) => assert!((1..sectors).contains(&survivors)),
                fate => panic!("the write has the fate {fate:?}"),
            }
        }
        let dropped = (0..100).filter(|_| fate_of_last(&mut choices) == Some(Fate::Dropped)).count();
        assert!(dropped >= 20, "the next power failure is as any other: {dropped} of 100");
    }

    #[test]
    fn writes_are_torn_at_bytes_where_that_is_asked_for() {
        let disk = busy_disk();
        let sizes_within_sectors = |mut choices: RandomChoices| {
            let mut count = 0;
            for _ in 0..200 {
                choices.power_fails_inside(disk.sequence());
                let (image, _) = crash_image(&disk, Profile::Posix, 0, &mut choices);
                let files = image.entries(InodeNumber::ROOT).map(|(_, file)| image.size(file));
                count += files.filter(|size| size % SECTOR_BYTES != 0 && size % 2000 != 0).count();
            }
            count
        };
        let choices = RandomChoices::new(Entropy::stream(1, "crash"));
        assert_eq!(sizes_within_sectors(choices.clone()), 0);
        assert!(sizes_within_sectors(choices.with_byte_tears(Ratio::percent(50))) >= 5);
    }
}
