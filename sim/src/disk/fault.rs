//! What goes wrong while the machine runs. Every option is zero by default, and zero is never.

use super::durability::SyncFate;
use super::errno::Errno;
use super::operation::OperationKind;
use crate::entropy::{Entropy, Ratio};

/// The faults of one disk while its machine runs. The default is a disk without faults and without delay.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultOptions {
    /// How often a read fails with `EIO`, per call. Zero: never.
    pub read_error: Ratio,
    /// How often a write, truncation or reservation fails with `EIO` and does nothing, per call. Zero: never.
    pub write_error: Ratio,
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
}

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
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Reads that failed with `EIO`.
    pub read_errors: u64,
    /// Writes, truncations and reservations that failed with `EIO`.
    pub write_errors: u64,
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
    /// A sync that does not fail by `EINTR` is answered by [`Decision::Sync`], with its fate; every other
    /// call by one of the other three.
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
            OperationKind::Open
            | OperationKind::Create
            | OperationKind::RangeSync
            | OperationKind::Link
            | OperationKind::Unlink
            | OperationKind::Rename
            | OperationKind::MakeDirectory
            | OperationKind::RemoveDirectory
            | OperationKind::SetAttributes
            | OperationKind::Metadata
            | OperationKind::Lock => Decision::Proceed,
        }
    }

    /// The virtual time, in nanoseconds, that a call of `kind` takes.
    pub fn latency_ns(&mut self, kind: OperationKind) -> u64 {
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
            _ => 0,
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
        } else {
            Decision::Proceed
        }
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
            assert_eq!(faults.latency_ns(kind), 0);
        }
        assert_eq!(faults.decide(OperationKind::Sync, 0), Decision::Sync(SyncFate::Honest));
        assert_eq!(faults.latency_ns(OperationKind::Sync), 0);
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
                Decision::Sync(fate) => panic!("a write has no fate {fate:?}"),
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
            assert!((1_000..=11_000).contains(&faults.latency_ns(OperationKind::DataSync)));
        }
    }
}
