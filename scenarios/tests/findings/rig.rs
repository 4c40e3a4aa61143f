//! One engine on one node, with no cluster around it: it is filled, the power fails, it is opened again.
//!
//! A run is deterministic, so the operations of a first run, in which everything pending is lost, can be lost
//! one by one in later runs: what remains is the smallest loss that does harm.

use sim::disk::{CrashChoices, Fate, Keep, PendingOperation, Profile, Sectors, Tear, TornSize};
use sim::isolation::{Allowance, End, Ended, run_isolated};
use sim::{
    Crash, CrashPoint, FaultPoint, Machine, NodeEventKind, NodeOptions, OperationFilter, Options, PathFaults,
    Stop,
};
use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

/// The file whose creation says that everything is flushed. The power fails before it is there.
const ALL_FLUSHED: &str = "all-is-flushed";

/// The store's directory below the node's disk. It is there and durable before the engine sees it.
const STORE: &str = "store";

/// A store that is open: only to be kept so.
pub(crate) type Open = Box<dyn Any>;

/// Fills a store and flushes it as its documentation says; returns it open.
pub(crate) type Fill = fn(&Path) -> Result<Open, String>;

/// What happens to one store.
pub(crate) struct Story {
    /// The first life. What it flushed before it returned must survive.
    pub(crate) fill: Fill,
    /// The second life: opens the store and says what is wrong with it.
    pub(crate) check: fn(&Path) -> Result<(), String>,
    /// Where in the first life it ends; none is after everything was flushed.
    pub(crate) ends_at: Option<CrashPoint>,
    /// What is wrong with the disk, in both lives.
    pub(crate) faults: Vec<PathFaults>,
    /// What a power failure may take.
    pub(crate) profile: Profile,
    /// The one call of the second life that goes wrong.
    pub(crate) check_fault: Option<FaultPoint>,
}

/// What the power failure takes of what is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Losing {
    /// All of it.
    Everything,
    /// These operations, by number.
    These(Vec<u64>),
    /// One 512-byte sector of one write.
    Sector { write: u64, sector: u64 },
}

/// An operation that was lost.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Lost {
    pub(crate) sequence: u64,
    pub(crate) call: String,
    pub(crate) path: String,
    /// Offset and length of a write.
    pub(crate) range: Option<(u64, u64)>,
}

/// What a run showed.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Outcome {
    pub(crate) losses: Vec<Lost>,
    /// What the second life found.
    pub(crate) verdict: Result<(), String>,
}

/// A loss that does harm on its own.
#[derive(Clone, Debug)]
pub(crate) struct Culprit {
    pub(crate) lost: Lost,
    pub(crate) harm: String,
}

/// The culprits in words, each once: `create store/db: the harm`.
pub(crate) fn words(culprits: &[Culprit]) -> BTreeSet<String> {
    let word = |culprit: &Culprit| format!("{} {}: {}", culprit.lost.call, culprit.lost.path, culprit.harm);
    culprits.iter().map(word).collect()
}

impl Story {
    /// A power failure after everything was flushed.
    pub(crate) fn new(fill: Fill, check: fn(&Path) -> Result<(), String>) -> Self {
        let (faults, profile) = (Vec::new(), Profile::Posix);
        Self { fill, check, ends_at: None, faults, profile, check_fault: None }
    }

    /// The process is killed before its `operation`th disk operation on a path that contains `path`. Nothing
    /// that it wrote is lost: the page cache survives.
    pub(crate) fn killed_at(self, path: &str, operation: u64) -> Self {
        let filter = OperationFilter { path_contains: path.to_string(), ..OperationFilter::default() };
        let point = CrashPoint { crash: Crash::ProcessKill, operation, inside: false, filter };
        Self { ends_at: Some(point), ..self }
    }

    /// What the second life found where nothing of the first was lost.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        self.run(&Losing::These(Vec::new())).verdict
    }

    /// How its process ends, and what it said, where nothing of the first life was lost.
    pub(crate) fn ended(&self) -> Ended {
        self.isolated(&Losing::These(Vec::new()))
    }

    fn isolated(&self, losing: &Losing) -> Ended {
        let allowance = Allowance::default();
        run_isolated(allowance, || serde_json::to_vec(&self.simulate(losing)).unwrap()).unwrap()
    }

    /// Runs it once, in a process of its own.
    pub(crate) fn run(&self, losing: &Losing) -> Outcome {
        let ended = self.isolated(losing);
        match ended.end {
            End::Finished(bytes) => serde_json::from_slice(&bytes).unwrap(),
            end => panic!("{end:?}: {}", ended.errors),
        }
    }

    /// Every single operation whose loss alone does harm.
    pub(crate) fn culprits(&self) -> Vec<Culprit> {
        let blame = |lost: Lost| {
            let verdict = self.run(&Losing::These(vec![lost.sequence])).verdict;
            verdict.err().map(|harm| Culprit { lost, harm })
        };
        self.run(&Losing::Everything).losses.into_iter().filter_map(blame).collect()
    }

    /// Every single sector of a pending write whose loss alone does harm.
    pub(crate) fn torn_culprits(&self) -> Vec<Culprit> {
        let mut culprits = Vec::new();
        for lost in self.run(&Losing::Everything).losses {
            let Some((offset, length)) = lost.range.filter(|_| lost.call == "write") else { continue };
            for sector in 0..Sectors::touched(offset, length) {
                let verdict = self.run(&Losing::Sector { write: lost.sequence, sector }).verdict;
                if let Err(harm) = verdict {
                    culprits.push(Culprit { lost: lost.clone(), harm });
                }
            }
        }
        culprits
    }

    fn simulate(&self, losing: &Losing) -> Outcome {
        let options = Options { process_wide_threads: vec!["sled-io-".to_string()], ..Options::new(1) };
        let completed =
            sim::run(options, None, async |machine: Machine| self.both_lives(machine, losing).await);
        completed
            .unwrap_or_else(|aborted| panic!("{:?}\n{}", aborted.abort, aborted.threads.join("\n")))
            .value
    }

    async fn both_lives(&self, machine: Machine, losing: &Losing) -> Outcome {
        let faults = self.faults.clone();
        let node =
            machine.add_node(NodeOptions { faults, profile: self.profile, ..NodeOptions::new("node", 1) });
        let (fill, check) = (self.fill, self.check);
        machine.choose_losses(node, Chosen(losing.clone()));
        machine.crash_at(node, self.ends_at.clone().unwrap_or_else(after_the_flush));
        machine.start(node, move |process| {
            let store = process.root.join(STORE);
            std::fs::create_dir(&store).map_err(text)?;
            sync(&process.root)?;
            let open_store = fill(&store)?;
            std::fs::write(process.root.join(ALL_FLUSHED), "").map_err(text)?;
            drop(open_store);
            Ok(())
        });
        let end = next_stop(machine).await;
        if end.site.is_none() {
            let verdict = Err(format!("the first life ended by itself: {:?}", end.result));
            return Outcome { losses: Vec::new(), verdict };
        }
        if let Some(point) = self.check_fault {
            machine.fault_at(node, point);
        }
        machine.start(node, move |process| check(&process.root.join(STORE)));
        let verdict = next_stop(machine).await.result;
        let losses = end.report.map(|report| report.losses).unwrap_or_default();
        let lost = |loss: &sim::disk::Loss| Lost {
            sequence: loss.sequence,
            call: loss.kind.name().to_string(),
            path: loss.path.clone(),
            range: loss.range,
        };
        let chosen = losses.iter().filter(|loss| !matches!(loss.fate, Fate::NeededLost(_)));
        Outcome { losses: chosen.map(lost).collect(), verdict }
    }
}

/// Syncs a file or directory, as a careful caller would.
pub(crate) fn sync(path: &Path) -> Result<(), String> {
    std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(text)
}

/// An error in words.
pub(crate) fn text(error: impl Display) -> String {
    error.to_string()
}

fn after_the_flush() -> CrashPoint {
    let filter = OperationFilter { path_contains: ALL_FLUSHED.to_string(), ..OperationFilter::default() };
    CrashPoint { crash: Crash::PowerFailure, operation: 1, inside: false, filter }
}

async fn next_stop(machine: Machine) -> Stop {
    loop {
        if let NodeEventKind::Stopped(stop) = machine.next_event().await.what {
            return stop;
        }
    }
}

struct Chosen(Losing);

impl CrashChoices for Chosen {
    fn decide(&mut self, operation: &PendingOperation) -> Keep {
        match &self.0 {
            Losing::Everything => Keep::Drop,
            Losing::These(lost) if lost.contains(&operation.sequence) => Keep::Drop,
            Losing::Sector { write, sector } if *write == operation.sequence => {
                let (offset, length) = operation.range().expect("a write has a range");
                let count = Sectors::touched(offset, length);
                let sectors = Sectors::from_fn(count, |survivor| survivor != *sector);
                Keep::Torn(Tear::sectors(sectors, TornSize::Kept))
            }
            Losing::These(_) | Losing::Sector { .. } => Keep::Whole,
        }
    }
}
