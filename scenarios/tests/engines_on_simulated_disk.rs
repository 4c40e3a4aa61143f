//! The behavioural suite of the engines, on the simulated machine: the same cases as on the real file system
//! (`engines/tests/behaviour.rs`), each in a process of its own, twice, with equal traces.

#![expect(clippy::unwrap_used, reason = "a test, functions outside #[test] included")]

mod alone;

use alone::alone;
use engines::{Engine, behaviour};
use serde::{Deserialize, Serialize};
use sim::isolation::{Allowance, End, Farm};
use sim::{Completed, Machine, NodeEventKind, NodeOptions, Options, Policy};
use std::time::Duration;

/// Virtual time that an engine's threads have to end after their process has.
const GHOSTS_GONE: Duration = Duration::from_secs(1);

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    /// What the case's process returned: its panic where it failed.
    result: Result<(), String>,
    /// The running hash of everything that happened.
    trace: u64,
    /// Threads of the process that outlived it.
    ghost_threads: usize,
}

/// Which case, and how it is scheduled.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    case: usize,
    policy: Policy,
    seed: u64,
}

/// Runs a case as the main function of a node, in this process.
fn simulate(engine: &'static dyn Engine, run: Run) -> Result<Outcome, String> {
    let options = Options {
        policy: run.policy,
        process_wide_threads: vec!["sled-io-".to_string()],
        virtual_time_limit: Duration::from_secs(3600),
        ..Options::new(run.seed)
    };
    let completed = sim::run(options, None, async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.start(node, move |process| {
            let (_, case) = behaviour::CASES[run.case];
            let store = process.root.join("store");
            std::fs::create_dir(&store).map_err(|error| error.to_string())?;
            case(engine, &store);
            Ok(())
        });
        let result = loop {
            if let NodeEventKind::Stopped(stop) = machine.next_event().await.what {
                break stop.result;
            }
        };
        machine.sleep(GHOSTS_GONE).await;
        (result, machine.ghost_threads())
    });
    match completed {
        Ok(Completed { value: (result, ghost_threads), trace, .. }) => {
            Ok(Outcome { result, trace: trace.hash, ghost_threads })
        }
        Err(aborted) => Err(format!("{:?}\n{}", aborted.abort, aborted.threads.join("\n"))),
    }
}

/// Runs each twice, every run in a process of its own, as many at a time as there are cores; their traces.
fn check(engine: &'static dyn Engine, runs: &[Run]) -> Vec<u64> {
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut farm = Farm::new(Allowance::default());
    let mut waiting = (0..runs.len()).flat_map(|index| [index, index]);
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); runs.len()];
    loop {
        while farm.len() < cores
            && let Some(index) = waiting.next()
        {
            let run = runs[index];
            farm.start(index, move || serde_json::to_vec(&simulate(engine, run)).unwrap()).unwrap();
        }
        let Some((index, ended)) = farm.next(Duration::from_secs(600)).unwrap() else { break };
        let what = format!("{} · {} · {:?}", engine.id(), behaviour::CASES[runs[index].case].0, runs[index]);
        let End::Finished(bytes) = ended.end else { panic!("{what}: {:?}\n{}", ended.end, ended.errors) };
        let simulated: Result<Outcome, String> = serde_json::from_slice(&bytes).unwrap();
        let outcome = simulated.unwrap_or_else(|aborted| panic!("{what}: {aborted}"));
        assert_eq!(outcome.result, Ok(()), "{what}");
        assert_eq!(outcome.ghost_threads, 0, "{what}: the engine left threads behind");
        outcomes[index].push(outcome);
    }
    for (run, twice) in runs.iter().zip(&outcomes) {
        assert_eq!(twice.len(), 2, "{run:?} ran twice");
        assert_eq!(twice[0], twice[1], "{} · {run:?} has two traces", engine.id());
    }
    outcomes.iter().map(|twice| twice[0].trace).collect()
}

#[test]
fn every_engine_behaves_on_the_simulated_machine() {
    alone("every_engine_behaves_on_the_simulated_machine", || {
        let policies = [Policy::Random, Policy::Fixed, Policy::Priority { change_points: 5 }];
        let runs: Vec<Run> = (0..behaviour::CASES.len())
            .flat_map(|case| policies.map(|policy| Run { case, policy, seed: 100 + case as u64 }))
            .collect();
        for engine in engines::registry() {
            check(*engine, &runs);
        }
    });
}

#[test]
fn another_seed_is_another_schedule() {
    alone("another_seed_is_another_schedule", || {
        let engine = engines::engine(engines::EngineId::Fjall).unwrap();
        let case = behaviour::CASES.iter().position(|(name, _)| name.contains("overwritten")).unwrap();
        let run = |seed| Run { case, policy: Policy::Random, seed };
        let traces = check(engine, &[run(1), run(2)]);
        assert_ne!(traces[0], traces[1], "fjall's workers met the writer elsewhere");
    });
}
