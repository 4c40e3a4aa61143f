//! What goes wrong while the machine runs. Every option is zero by default, and zero is never.

use super::damage::Damage;
use super::durability::SyncFate;
use super::errno::Errno;
use super::operation::OperationKind;
use super::sectors::SECTOR_BYTES;
use crate::entropy::{Entropy, Ratio};

/// The faults of one disk while its machine runs. The default is a disk without faults and without delay.
///
/// Some of them lose what was acknowledged, whatever the program does: `sync_error` (what it covered, though at least
/// the error was reported), `lying_sync`, `bit_rot`, `latent_error`, `lost_write` and `misdirected_write`. A plan that
/// switches these on must bound them by what the protocol under test promises to survive: on how many replicas of the
/// same data at the same time. This folder knows of no replica, and bounds nothing. `stale_read` shows old data and
/// loses none. All the others either report themselves or only take time.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultOptions {
    /// How often a read fails with `EIO`, per call. Zero: never.
    pub read_error: Ratio,
    /// How often a write, truncation or reservation fails with `EIO` and does nothing, per call. Zero: never.
    pub write_error: Ratio,
    /// How often a call that changes names or modes (a creation, `mkdir`, `link`, `rename`, `unlink`, `rmdir`,
    /// `chmod`) fails and does nothing, per call: with `EIO`, and one that adds an entry, for which its directory
    /// may need a block, half the time with `ENOSPC`. Truncations by name fall under `write_error`. Zero: never.
    pub path_error: Ratio,
    /// How often `fsync` or `fdatasync` fails with `EIO`, per call. What it should have written is marked
    /// clean though it is lost ([`SyncFate::Failed`]). Zero: never.
    pub sync_error: Ratio,
    /// How often a sync is acknowledged though a power failure may still lose what it covered, until the
    /// next honest sync of the disk ([`SyncFate::Lying`]). Zero: never.
    pub lying_sync: Ratio,
    /// How often a read of more than one byte gives fewer bytes than there are, per call. Zero: never.
    pub short_read: Ratio,
    /// How often a write of more than one byte takes fewer bytes than it was given, per call. Zero: never.
    pub short_write: Ratio,
    /// How often a read, write or sync fails with `EINTR` and does nothing, per call. Zero: never.
    pub interrupted: Ratio,
    /// The capacity in bytes; beyond it writes are cut short and then fail with `ENOSPC`. Zero: no limit.
    /// Of several options for one disk the largest counts.
    pub capacity_bytes: u64,
    /// The least virtual time that a sync takes, in nanoseconds. Zero: none.
    pub sync_latency_base_ns: u64,
    /// The mean of the virtual time that a sync takes beyond that, in nanoseconds; heavy-tailed. Zero: none.
    pub sync_latency_mean_ns: u64,
    /// The most that a sync takes beyond its least time, in nanoseconds. Zero: none.
    pub sync_latency_max_ns: u64,
    /// The virtual time that a write into the page cache takes, in nanoseconds. Zero: none.
    pub write_latency_ns: u64,
    /// The bandwidth: how many bytes of a file's pending writes a sync carries to the medium per second of virtual
    /// time. Zero: any number at once.
    pub bytes_per_second: u64,
    /// How often a call that changes or syncs the disk stalls, per call. Zero: never.
    pub stall: Ratio,
    /// The mean time that a stall takes, in nanoseconds; heavy-tailed.
    pub stall_mean_ns: u64,
    /// The most that a stall takes, in nanoseconds.
    pub stall_max_ns: u64,
    /// How often, per read, a bit of a sector that is read has rotted: it reads inverted from then on, until its byte is
    /// written again. Only sectors whose newest version is on the medium rot. Zero: never.
    pub bit_rot: Ratio,
    /// How often, per read, a sector that is read has become unreadable: reads that touch its page fail with `EIO`, or
    /// end before it, until it is written whole. Only sectors whose newest version is on the medium. Zero: never.
    pub latent_error: Ratio,
    /// How often a write is acknowledged and never reaches the medium, whatever is synced, per call. Reads see it as
    /// long as the page cache lives: until the power fails. Zero: never.
    pub lost_write: Ratio,
    /// How often a write reaches the medium in the place of another sector of its file, per call: so both are wrong
    /// there, once the power has failed. In a file of one sector it is lost. Zero: never.
    pub misdirected_write: Ratio,
    /// How often a read gives, of sectors whose newest version is on the medium, the version before the last sync of
    /// the file, per call. Zero: never.
    pub stale_read: Ratio,
    /// How often an injected `EIO` of a call that changes or syncs the disk has the file system mounted read-only, for
    /// the rest of the incarnation: then every such call fails with `EROFS` (`errors=remount-ro`, ext4(5)). Zero: never.
    pub remount_read_only: Ratio,
    /// By how many bytes the capacity grows after a call met its end, as often as that happens. Zero: never.
    pub capacity_growth_bytes: u64,
    /// How long after such a call, in nanoseconds of virtual time; zero is before the next call.
    pub capacity_growth_after_ns: u64,
}

/// How a call that adds an entry to a directory may fail.
const ADDING_ENTRY: &[Errno] = &[Errno::EIO, Errno::ENOSPC];

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It does what it should.
    Proceed,
    /// It does so for this many bytes only: at least one, and fewer than it was asked for.
    Short(u64),
    /// It fails with this error and does nothing.
    Error(Errno),
    /// It is a sync with this fate.
    Sync(SyncFate),
    /// It is a write that never reaches the medium.
    Lost,
    /// It is a write that reaches the medium in the wrong place.
    Misdirected {
        /// Chooses the place.
        pick: u64,
    },
    /// It is a read of old data.
    Stale,
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Reads that failed with `EIO`.
    pub read_errors: u64,
    /// Writes, truncations and reservations that failed with `EIO`.
    pub write_errors: u64,
    /// Changes of names or modes that failed with `EIO` or `ENOSPC`.
    pub path_errors: u64,
    /// Syncs that failed with `EIO`.
    pub sync_errors: u64,
    /// Syncs that lied.
    pub lying_syncs: u64,
    /// Reads that gave fewer bytes.
    pub short_reads: u64,
    /// Writes that took fewer bytes.
    pub short_writes: u64,
    /// Calls that failed with `EINTR`.
    pub interrupts: u64,
    /// Calls that stalled.
    pub stalls: u64,
    /// Bits that rotted.
    pub rotten_bits: u64,
    /// Sectors that became unreadable.
    pub latent_errors: u64,
    /// Reads that failed for an unreadable sector.
    pub unreadable_reads: u64,
    /// Writes that were lost.
    pub lost_writes: u64,
    /// Writes that went to the wrong place.
    pub misdirected_writes: u64,
    /// Reads that gave old data which differed from the newest.
    pub stale_reads: u64,
    /// Times the file system was mounted read-only.
    pub read_only_remounts: u64,
    /// Times the capacity grew.
    pub capacity_growths: u64,
}

/// The faults of one disk, with their stream of randomness.
#[derive(Clone, Debug)]
pub struct FaultState {
    options: FaultOptions,
    entropy: Entropy,
    counters: FaultCounters,
}

impl FaultState {
    /// Faults after `options`, drawn from `entropy`.
    pub fn new(options: FaultOptions, entropy: Entropy) -> Self {
        Self { options, entropy, counters: FaultCounters::default() }
    }

    /// The options.
    pub const fn options(&self) -> &FaultOptions {
        &self.options
    }

    /// Changes the options, for faults that begin or end while the machine runs.
    pub fn set_options(&mut self, options: FaultOptions) {
        self.options = options;
    }

    /// How often each fault happened.
    pub const fn counters(&self) -> &FaultCounters {
        &self.counters
    }

    /// Decides what becomes of a call of `kind` over `length` bytes (zero where it has none), and counts it.
    ///
    /// A sync that does not fail by `EINTR` is answered by [`Decision::Sync`], with its fate; every other call by one of
    /// the others.
    pub fn decide(&mut self, kind: OperationKind, length: u64) -> Decision {
        match kind {
            OperationKind::Read => self.decide_read(length),
            OperationKind::Write => self.decide_write(length),
            OperationKind::Truncate | OperationKind::Allocate => {
                if self.entropy.chance(self.options.write_error) {
                    self.counters.write_errors += 1;
                    return Decision::Error(Errno::EIO);
                }
                Decision::Proceed
            }
            OperationKind::Sync | OperationKind::DataSync => self.decide_sync(),
            OperationKind::Create
            | OperationKind::MakeDirectory
            | OperationKind::Link
            | OperationKind::Rename => self.decide_path(ADDING_ENTRY),
            OperationKind::Unlink | OperationKind::RemoveDirectory | OperationKind::SetAttributes => {
                self.decide_path(&[Errno::EIO])
            }
            OperationKind::Open
            | OperationKind::RangeSync
            | OperationKind::Metadata
            | OperationKind::Lock => Decision::Proceed,
        }
    }

    /// Counts what the caller found out.
    pub fn count(&mut self, count: impl FnOnce(&mut FaultCounters)) {
        count(&mut self.counters);
    }

    /// Draws what decays at a read.
    pub fn draw_damage(&mut self) -> [Option<Damage>; 2] {
        let rots = self.entropy.chance(self.options.bit_rot);
        let bit = rots.then(|| u16::try_from(self.entropy.below(SECTOR_BYTES * 8)).expect("few bits"));
        let unreadable = self.entropy.chance(self.options.latent_error).then_some(Damage::Unreadable);
        [bit.map(|bit| Damage::Rot { bit }), unreadable]
    }

    /// Chooses one of `sectors`, which are not none, to be damaged, and counts it.
    pub fn choose_damaged(&mut self, sectors: &[u64], damage: Damage) -> u64 {
        match damage {
            Damage::Rot { .. } => self.counters.rotten_bits += 1,
            Damage::Unreadable => self.counters.latent_errors += 1,
        }
        *self.entropy.choose(sectors)
    }

    /// Whether an error has the file system mounted read-only; counts it.
    pub fn remounts(&mut self) -> bool {
        let remounts = self.entropy.chance(self.options.remount_read_only);
        self.counters.read_only_remounts += u64::from(remounts);
        remounts
    }

    /// The virtual time, in nanoseconds, that a call of `kind` takes that carries so many bytes to the medium.
    pub fn latency_ns(&mut self, kind: OperationKind, bytes: u64) -> u64 {
        let stall_ns = if self.entropy.chance(self.options.stall) {
            self.counters.stalls += 1;
            self.entropy.heavy_tail_ns(self.options.stall_mean_ns, self.options.stall_max_ns)
        } else {
            0
        };
        let transfer_ns = match self.options.bytes_per_second {
            0 => 0,
            bandwidth => u128::from(bytes) * 1_000_000_000 / u128::from(bandwidth),
        };
        let transfer_ns = u64::try_from(transfer_ns).unwrap_or(u64::MAX);
        self.own_latency_ns(kind).saturating_add(transfer_ns).saturating_add(stall_ns)
    }

    fn own_latency_ns(&mut self, kind: OperationKind) -> u64 {
        let options = &self.options;
        match kind {
            OperationKind::Sync | OperationKind::DataSync | OperationKind::RangeSync => {
                let (mean_ns, max_ns) = (options.sync_latency_mean_ns, options.sync_latency_max_ns);
                if mean_ns == 0 {
                    return options.sync_latency_base_ns;
                }
                options.sync_latency_base_ns.saturating_add(self.entropy.heavy_tail_ns(mean_ns, max_ns))
            }
            OperationKind::Write => options.write_latency_ns,
            OperationKind::Open
            | OperationKind::Create
            | OperationKind::Read
            | OperationKind::Truncate
            | OperationKind::Allocate
            | OperationKind::Link
            | OperationKind::Unlink
            | OperationKind::Rename
            | OperationKind::MakeDirectory
            | OperationKind::RemoveDirectory
            | OperationKind::SetAttributes
            | OperationKind::Metadata
            | OperationKind::Lock => 0,
        }
    }

    fn decide_read(&mut self, length: u64) -> Decision {
        if self.entropy.chance(self.options.read_error) {
            self.counters.read_errors += 1;
            Decision::Error(Errno::EIO)
        } else if self.entropy.chance(self.options.interrupted) {
            self.counters.interrupts += 1;
            Decision::Error(Errno::EINTR)
        } else if length > 1 && self.entropy.chance(self.options.short_read) {
            self.counters.short_reads += 1;
            Decision::Short(self.entropy.between(1, length - 1))
        } else if self.entropy.chance(self.options.stale_read) {
            Decision::Stale
        } else {
            Decision::Proceed
        }
    }

    fn decide_write(&mut self, length: u64) -> Decision {
        if self.entropy.chance(self.options.write_error) {
            self.counters.write_errors += 1;
            Decision::Error(Errno::EIO)
        } else if self.entropy.chance(self.options.interrupted) {
            self.counters.interrupts += 1;
            Decision::Error(Errno::EINTR)
        } else if length > 1 && self.entropy.chance(self.options.short_write) {
            self.counters.short_writes += 1;
            Decision::Short(self.entropy.between(1, length - 1))
        } else if length > 0 && self.entropy.chance(self.options.lost_write) {
            self.counters.lost_writes += 1;
            Decision::Lost
        } else if length > 0 && self.entropy.chance(self.options.misdirected_write) {
            self.counters.misdirected_writes += 1;
            Decision::Misdirected { pick: self.entropy.next_u64() }
        } else {
            Decision::Proceed
        }
    }

    fn decide_path(&mut self, errors: &[Errno]) -> Decision {
        if !self.entropy.chance(self.options.path_error) {
            return Decision::Proceed;
        }
        self.counters.path_errors += 1;
        Decision::Error(*self.entropy.choose(errors))
    }

    fn decide_sync(&mut self) -> Decision {
        if self.entropy.chance(self.options.interrupted) {
            self.counters.interrupts += 1;
            Decision::Error(Errno::EINTR)
        } else if self.entropy.chance(self.options.sync_error) {
            self.counters.sync_errors += 1;
            Decision::Sync(SyncFate::Failed)
        } else if self.entropy.chance(self.options.lying_sync) {
            self.counters.lying_syncs += 1;
            Decision::Sync(SyncFate::Lying)
        } else {
            Decision::Sync(SyncFate::Honest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_options_has_no_faults_and_draws_nothing() {
        let entropy = Entropy::stream(1, "disk");
        let mut faults = FaultState::new(FaultOptions::default(), entropy.clone());
        for kind in
            [OperationKind::Read, OperationKind::Write, OperationKind::Truncate, OperationKind::Rename]
        {
            assert_eq!(faults.decide(kind, 4096), Decision::Proceed);
            assert_eq!(faults.latency_ns(kind, 1 << 20), 0);
            assert_eq!(faults.draw_damage(), [None, None]);
            assert!(!faults.remounts());
        }
        assert_eq!(faults.decide(OperationKind::Sync, 0), Decision::Sync(SyncFate::Honest));
        assert_eq!(faults.latency_ns(OperationKind::Sync, 1 << 20), 0);
        assert_eq!(faults.counters(), &FaultCounters::default());
        assert_eq!(faults.entropy.next_u64(), entropy.clone().next_u64());
    }

    #[test]
    fn faults_come_as_often_as_asked_and_are_counted() {
        let options = FaultOptions {
            write_error: Ratio::percent(10),
            short_write: Ratio::percent(50),
            sync_error: Ratio::percent(10),
            lying_sync: Ratio::percent(20),
            ..FaultOptions::default()
        };
        let mut faults = FaultState::new(options, Entropy::stream(1, "disk"));
        for _ in 0..1000 {
            match faults.decide(OperationKind::Write, 100) {
                Decision::Short(length) => assert!((1..100).contains(&length)),
                Decision::Error(errno) => assert_eq!(errno, Errno::EIO),
                Decision::Proceed => {}
                other => panic!("nobody asked for {other:?}"),
            }
            assert!(matches!(faults.decide(OperationKind::Sync, 0), Decision::Sync(_)));
            assert_eq!(faults.decide(OperationKind::Read, 100), Decision::Proceed);
        }
        let counted = faults.counters();
        assert!((70..130).contains(&counted.write_errors), "{counted:?}");
        assert!((380..520).contains(&counted.short_writes), "{counted:?}");
        assert!((70..130).contains(&counted.sync_errors), "{counted:?}");
        assert!((130..230).contains(&counted.lying_syncs), "{counted:?}");
    }

    #[test]
    fn a_change_of_names_fails_by_its_own_option_only() {
        let others = FaultOptions {
            read_error: Ratio::ONE,
            write_error: Ratio::ONE,
            sync_error: Ratio::ONE,
            interrupted: Ratio::ONE,
            ..FaultOptions::default()
        };
        let mut faults = FaultState::new(others, Entropy::stream(1, "disk"));
        assert_eq!(faults.decide(OperationKind::Rename, 0), Decision::Proceed);
        let options = FaultOptions { path_error: Ratio::ONE, ..FaultOptions::default() };
        faults.set_options(options);
        assert_eq!(faults.decide(OperationKind::Write, 100), Decision::Proceed);
        let mut errors = |kind| {
            let drawn: Vec<_> = (0..100).map(|_| faults.decide(kind, 0)).collect();
            [Errno::EIO, Errno::ENOSPC].map(|errno| drawn.contains(&Decision::Error(errno)))
        };
        assert_eq!(errors(OperationKind::Rename), [true, true]);
        assert_eq!(errors(OperationKind::Create), [true, true]);
        assert_eq!(errors(OperationKind::Unlink), [true, false], "what removes a name needs no space");
        assert_eq!(faults.counters().path_errors, 300);
    }

    #[test]
    fn one_byte_is_never_cut_short() {
        let options =
            FaultOptions { short_read: Ratio::ONE, short_write: Ratio::ONE, ..FaultOptions::default() };
        let mut faults = FaultState::new(options, Entropy::stream(1, "disk"));
        assert_eq!(faults.decide(OperationKind::Read, 1), Decision::Proceed);
        assert_eq!(faults.decide(OperationKind::Write, 1), Decision::Proceed);
    }

    #[test]
    fn a_sync_takes_its_time() {
        let options = FaultOptions {
            sync_latency_base_ns: 1_000,
            sync_latency_mean_ns: 500,
            sync_latency_max_ns: 10_000,
            ..FaultOptions::default()
        };
        let mut faults = FaultState::new(options, Entropy::stream(1, "disk"));
        for _ in 0..1000 {
            assert!((1_000..=11_000).contains(&faults.latency_ns(OperationKind::DataSync, 1 << 20)));
        }
    }

    #[test]
    fn bandwidth_counts_bytes_and_stalls_are_rare_and_long() {
        let options = FaultOptions {
            bytes_per_second: 1 << 20,
            stall: Ratio::percent(5),
            stall_mean_ns: 50_000_000,
            stall_max_ns: 2_000_000_000,
            ..FaultOptions::default()
        };
        let mut faults = FaultState::new(options, Entropy::stream(1, "disk"));
        let latencies: Vec<_> = (0..1000).map(|_| faults.latency_ns(OperationKind::Sync, 1 << 18)).collect();
        let stalls = latencies.iter().filter(|&&latency_ns| latency_ns > 250_000_000).count();
        assert!((25..80).contains(&stalls) && faults.counters().stalls >= stalls as u64, "{stalls}");
        assert!(latencies.iter().all(|latency_ns| (250_000_000..=2_250_000_000).contains(latency_ns)));
        assert!(latencies.iter().any(|&latency_ns| latency_ns > 500_000_000), "the tail is heavy");
    }
}
