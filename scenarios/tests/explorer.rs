//! The crash explorer finds what it must find: promises that an engine does not keep, because the table claims more
//! than the engine gives; and engines that hang, abort or eat up memory while they open what a crash left.

#![expect(clippy::unwrap_used, reason = "a test, functions outside #[test] included")]

mod alone;

use alone::alone;
use engines::native::{
    Call, Contents, Failure, FailureKind, Native, NativeStore, Promises, Step, Survives, TestSource, natives,
};
use scenarios::explorer::{CauseReport, FaultKind, Profile, Report, Sampling, Subject};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

fn named(name: &str) -> &'static dyn Native {
    *natives().iter().find(|native| native.name() == name).unwrap()
}

fn explore(native: &'static dyn Native, profile: Profile, steps: usize) -> Report {
    let subject = Subject { native, profile, seed: 1, steps, sampling: Sampling::Sample(2), jobs: 2 };
    subject.explore(&mut |_, _, _| {}).unwrap()
}

/// An engine whose table claims more than it gives.
struct Overclaiming {
    name: &'static str,
    claim: fn(&Promises) -> Promises,
    promises: OnceLock<Promises>,
}

impl Overclaiming {
    const fn new(name: &'static str, claim: fn(&Promises) -> Promises) -> Self {
        Self { name, claim, promises: OnceLock::new() }
    }
}

impl Native for Overclaiming {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> &'static str {
        named(self.name).version()
    }

    fn promises(&self) -> &'static Promises {
        // The table lives as long as the program, which ends with its test.
        let promises: &'static Self = Box::leak(Box::new(Self::new(self.name, self.claim)));
        promises.promises.get_or_init(|| (self.claim)(named(self.name).promises()))
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure> {
        named(self.name).open(dir)
    }

    fn test_source(&self) -> TestSource {
        named(self.name).test_source()
    }
}

/// Claims that call number `call` of the table of writes survives a power failure.
fn claim_write(promises: &Promises, call: usize) -> Promises {
    let mut writes: Vec<Call> = promises.writes.to_vec();
    writes[call] = Call { survives: Survives::PowerFailure, source: "claimed by this test", ..writes[call] };
    Promises { writes: Box::leak(writes.into_boxed_slice()), ..*promises }
}

static REDB: Overclaiming = Overclaiming::new("redb", |promises| claim_write(promises, 0));
static FJALL: Overclaiming = Overclaiming::new("fjall", |promises| claim_write(promises, 1));
static SLED: Overclaiming = Overclaiming::new("sled", |promises| claim_write(promises, 0));
static LSM_TREE: Overclaiming = Overclaiming::new("lsm-tree", |promises| claim_write(promises, 0));
static MEM: Overclaiming = Overclaiming::new("mem", |promises| claim_write(promises, 0));

/// Every cause by which durable data that this test's claim calls durable is gone.
fn blamed(report: &Report) -> Vec<&CauseReport> {
    let claimed = |cause: &&CauseReport| {
        let is_claimed = |words: &Option<String>| words.as_deref() == Some("claimed by this test");
        cause.symptoms.iter().any(|it| it.title.contains("durable data") && is_claimed(&it.promise))
    };
    report.causes.iter().filter(claimed).collect()
}

#[test]
fn a_claim_that_buffered_writes_of_fjall_are_durable_is_refuted_at_its_journal() {
    alone("a_claim_that_buffered_writes_of_fjall_are_durable_is_refuted_at_its_journal", || {
        let report = explore(&FJALL, Profile::Ext4Ordered, 14);
        let causes = blamed(&report);
        let journal = |cause: &&CauseReport| {
            cause.culprits.iter().any(|it| {
                it.call.contains(".jnl")
                    && it.missing_sync.starts_with("fdatasync store/")
                    && it.lines.first().is_some_and(|line| line.contains("src/journal/writer.rs"))
            })
        };
        assert!(causes.iter().any(journal), "{causes:#?}");
    });
}

#[test]
fn a_claim_that_unsynced_commits_of_redb_are_durable_is_refuted() {
    alone("a_claim_that_unsynced_commits_of_redb_are_durable_is_refuted", || {
        // redb keeps such a commit in its own cache: even a kill loses it, and no operation of the disk.
        let report = explore(&REDB, Profile::Ext4Ordered, 14);
        let causes = blamed(&report);
        assert!(causes.iter().any(|cause| cause.culprits.is_empty()), "{:#?}", report.causes);
    });
}

#[test]
fn a_claim_that_batches_of_sled_are_durable_is_refuted() {
    alone("a_claim_that_batches_of_sled_are_durable_is_refuted", || {
        assert!(!blamed(&explore(&SLED, Profile::Ext4Ordered, 8)).is_empty());
    });
}

#[test]
fn a_claim_that_writes_without_a_log_are_durable_is_refuted() {
    alone("a_claim_that_writes_without_a_log_are_durable_is_refuted", || {
        for engine in [&LSM_TREE, &MEM] {
            for profile in [Profile::ProcessKill, Profile::Posix] {
                let report = explore(engine, profile, 14);
                let in_memory = blamed(&report).iter().any(|cause| cause.culprits.is_empty());
                assert!(in_memory, "{profile}: {:#?}", report.causes);
            }
        }
    });
}

#[test]
fn engines_that_keep_their_promises_are_not_blamed() {
    alone("engines_that_keep_their_promises_are_not_blamed", || {
        for profile in [Profile::ProcessKill, Profile::Ext4Ordered, Profile::Posix] {
            for name in ["lsm-tree", "mem"] {
                let report = explore(named(name), profile, 25);
                assert!(report.held(), "{name}, {profile}: {:#?}", report.causes);
                assert!(report.counts.opened > 10, "{name}, {profile}: {:?}", report.counts);
            }
        }
    });
}

#[test]
fn an_exploration_repeats_byte_for_byte() {
    alone("an_exploration_repeats_byte_for_byte", || {
        let run = || {
            let mut report = explore(named("fjall"), Profile::Posix, 10);
            report.processor_s = 0.0;
            serde_json::to_string(&report).unwrap()
        };
        assert_eq!(run(), run());
    });
}

#[test]
fn a_state_of_a_report_shows_the_same_again() {
    alone("a_state_of_a_report_shows_the_same_again", || {
        let subject = Subject {
            native: named("fjall"),
            profile: Profile::Posix,
            seed: 1,
            steps: 10,
            sampling: Sampling::Sample(2),
            jobs: 2,
        };
        let report = subject.explore(&mut |_, _, _| {}).unwrap();
        let cause = report.causes.iter().find(|cause| !cause.culprits.is_empty()).unwrap();
        let again = subject.examine(&cause.symptoms[0].state.parse().unwrap()).unwrap();
        let again = again.cause.expect("the state is still broken");
        assert_eq!(again.symptoms[0].title, cause.symptoms[0].title);
        let calls = |cause: &CauseReport| -> Vec<String> {
            cause.culprits.iter().map(|culprit| culprit.call.clone()).collect()
        };
        assert_eq!(calls(&again), calls(cause));
        let test = subject.emit_test(&cause.symptoms[0].state.parse().unwrap()).unwrap();
        assert!(test.contains("fn what_a_crash_left_keeps_its_promises()") && test.contains("fjall = \"="));
        let whole = subject.emit_test(&"40/".parse().unwrap()).unwrap_err();
        assert!(whole.to_string().contains("keeps every promise"), "{whole}");
        let beyond = subject.examine(&"99999/".parse().unwrap()).unwrap_err();
        assert!(beyond.to_string().starts_with("there is no change 99999"), "{beyond}");
    });
}

/// What an engine does when it is opened where something was before.
#[derive(Clone, Copy, Debug)]
enum Misbehaviour {
    Spins,
    Sleeps,
    Aborts,
    EatsMemory,
    Panics,
}

/// An engine that writes one file, and misbehaves when it finds that file.
struct Misbehaving(Misbehaviour);

struct OneFile(std::path::PathBuf);

impl Native for Misbehaving {
    fn name(&self) -> &'static str {
        "misbehaving"
    }

    fn version(&self) -> &'static str {
        "0"
    }

    fn promises(&self) -> &'static Promises {
        named("mem").promises()
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure> {
        let path = dir.join("file");
        if path.exists() {
            misbehave(self.0);
        }
        Ok(Box::new(OneFile(path)))
    }

    fn test_source(&self) -> TestSource {
        TestSource { dependencies: String::new(), contents: "" }
    }
}

impl NativeStore for OneFile {
    fn run(&mut self, _step: &Step) -> Result<(), Failure> {
        std::fs::write(&self.0, b"content").unwrap();
        Ok(())
    }

    fn contents(&self) -> Result<Contents, Failure> {
        Ok(Contents::new())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

fn misbehave(how: Misbehaviour) {
    match how {
        Misbehaviour::Spins => loop {
            std::hint::spin_loop();
        },
        Misbehaviour::Sleeps => loop {
            std::thread::sleep(std::time::Duration::from_secs(60));
        },
        Misbehaviour::Aborts => std::process::abort(),
        Misbehaviour::EatsMemory => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 64 << 20]);
                assert!(hoard.len() < 100_000, "the limit is far below");
            }
        }
        Misbehaviour::Panics => panic!("what is this file?"),
    }
}

#[test]
fn an_engine_that_does_not_come_back_is_a_finding_and_no_stuck_run() {
    alone("an_engine_that_does_not_come_back_is_a_finding_and_no_stuck_run", || {
        let cases = [
            (Misbehaviour::Spins, "hang"),
            (Misbehaviour::Sleeps, "hang"),
            (Misbehaviour::Aborts, "abort"),
            (Misbehaviour::EatsMemory, "memory"),
            (Misbehaviour::Panics, "panic"),
        ];
        for (how, word) in cases {
            let native: &'static dyn Native = Box::leak(Box::new(Misbehaving(how)));
            let subject = Subject {
                native,
                profile: Profile::ProcessKill,
                seed: 1,
                steps: 1,
                sampling: Sampling::Sample(0),
                jobs: 2,
            };
            let report = subject.explore(&mut |_, _, _| {}).unwrap();
            let title = &report.causes[0].symptoms[0].title;
            assert!(
                title.starts_with("the store does not open: ") && title.contains(word),
                "{how:?}: {title}"
            );
        }
    });
}

#[test]
fn an_error_of_the_disk_is_reported_or_does_no_harm() {
    alone("an_error_of_the_disk_is_reported_or_does_no_harm", || {
        let subject = Subject {
            native: named("lsm-tree"),
            profile: Profile::Posix,
            seed: 1,
            steps: 8,
            sampling: Sampling::Sample(0),
            jobs: 2,
        };
        let report = subject.inject(&FaultKind::ALL, None, &mut |_, _| {}).unwrap();
        assert!(report.held(), "{:#?}", report.causes);
        for (kind, counts) in &report.counts {
            assert!(counts.injected > 0, "{kind} befell nothing");
            assert_eq!(counts.violating, 0, "{kind}");
        }
    });
}

/// What an engine does about an fsync that fails.
#[derive(Clone, Copy, Debug)]
enum FailedSync {
    Reports,
    Swallows,
}

/// An engine that appends each step to a file, a line of JSON each, and syncs it when it is asked to.
struct Appending(FailedSync);

struct Lines {
    path: std::path::PathBuf,
    file: File,
    failed_sync: FailedSync,
}

/// What the steps in a file make, up to the first that is not whole, and how many bytes they are.
fn read_steps(path: &Path) -> io::Result<(Contents, usize)> {
    let (mut contents, mut whole_bytes) = (Contents::new(), 0);
    for line in std::fs::read(path)?.split_inclusive(|byte| *byte == b'\n') {
        let Some(Ok(step)) = line.strip_suffix(b"\n").map(serde_json::from_slice::<Step>) else { break };
        step.apply(&mut contents);
        whole_bytes += line.len();
    }
    Ok((contents, whole_bytes))
}

fn failure(error: io::Error) -> Failure {
    Failure { kind: FailureKind::Error, message: error.to_string() }
}

impl Native for Appending {
    fn name(&self) -> &'static str {
        "appending"
    }

    fn version(&self) -> &'static str {
        "0"
    }

    fn promises(&self) -> &'static Promises {
        named("mem").promises()
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure> {
        let path = dir.join("lines");
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failure)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failure)?;
        // What a crash left of the last steps was promised to nobody; behind it nothing would be read.
        let (_, whole_bytes) = read_steps(&path).map_err(failure)?;
        file.set_len(whole_bytes as u64).map_err(failure)?;
        Ok(Box::new(Lines { path, file, failed_sync: self.0 }))
    }

    fn test_source(&self) -> TestSource {
        TestSource { dependencies: String::new(), contents: "" }
    }
}

impl NativeStore for Lines {
    fn run(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Persist(_) => match (self.file.sync_data(), self.failed_sync) {
                (Ok(()), _) | (Err(_), FailedSync::Swallows) => Ok(()),
                (Err(error), FailedSync::Reports) => Err(failure(error)),
            },
            step => {
                let line = format!("{}\n", serde_json::to_string(step).unwrap());
                self.file.write_all(line.as_bytes()).map_err(failure)
            }
        }
    }

    fn contents(&self) -> Result<Contents, Failure> {
        read_steps(&self.path).map(|(contents, _)| contents).map_err(failure)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn an_engine_that_swallows_a_failed_fsync_is_caught() {
    alone("an_engine_that_swallows_a_failed_fsync_is_caught", || {
        let inject = |failed_sync| {
            let native: &'static dyn Native = Box::leak(Box::new(Appending(failed_sync)));
            let subject = Subject {
                native,
                profile: Profile::Posix,
                seed: 1,
                steps: 20,
                sampling: Sampling::Sample(0),
                jobs: 2,
            };
            subject.inject(&[FaultKind::FsyncError], None, &mut |_, _| {}).unwrap()
        };
        let honest = inject(FailedSync::Reports);
        assert!(honest.held(), "{:#?}", honest.causes);
        let counts = honest.counts[&FaultKind::FsyncError];
        assert!(counts.injected > 1 && counts.reported == counts.injected, "{counts:?}");

        let swallowing = inject(FailedSync::Swallows);
        let counts = swallowing.counts[&FaultKind::FsyncError];
        assert!(counts.unreported > 0 && counts.violating > 0, "{counts:?}");
        let cause = swallowing.causes.iter().find(|cause| cause.title.contains("durable data is gone"));
        let cause = cause.unwrap_or_else(|| panic!("{:#?}", swallowing.causes));
        assert!(cause.title.starts_with("fsync-error at fdatasync store/lines"), "{}", cause.title);
        assert!(cause.facts.contains(&"no step reported it".to_owned()), "{:?}", cause.facts);
        assert!(cause.rerun.contains("--fault fsync-error --at "), "{}", cause.rerun);
    });
}

#[test]
fn what_would_be_another_profile_is_refused() {
    let subject = Subject {
        native: named("mem"),
        profile: Profile::Lying,
        seed: 1,
        steps: 2,
        sampling: Sampling::Sample(0),
        jobs: 1,
    };
    let refused = subject.explore(&mut |_, _, _| {}).unwrap_err();
    assert!(refused.to_string().ends_with("use posix; lying devices are part of `sim` plans"), "{refused}");
}
