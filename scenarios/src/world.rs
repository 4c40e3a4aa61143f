//! The running world: nodes with their configurations, and what keeps them going.

use crate::client::Client;
use crate::observation::{Contents, Listener, PauseSpan, SharedLog, StoredVersion};
use crate::plan::{DiskProfile, EngineChange, EngineName, Plan};
use crate::rot::Rotted;
use crate::transport::SimulatedTransport;
use crate::upgrades::{Done, Installed, Mistake};
use cluster::mvcc::Store;
use cluster::{Membership, ReplicaConfig};
use model::compaction::HashKvReport;
use sim::disk::Profile;
use sim::{
    Crash, CrashPoint, Machine, NodeEvent, NodeEventKind, NodeId, NodeOptions, OperationFilter, PathFaults,
    Process, Stop, StopCause,
};
use snapshots::Release;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The numbers of operators among clients.
const FIRST_OPERATOR: u32 = 500;
/// Where a replica keeps everything, below its node's root.
const REPLICA_DIRECTORY: &str = "replica";
/// Where a replica keeps its engine's data directory, below its own (see crate `cluster`).
const STORE_DIRECTORY: &str = "store";
/// How long a node stays down that went down by itself.
const SELF_RESTART: Duration = Duration::from_millis(300);
/// After so many failed starts in a row the pause before the next grows no more; it doubles with each.
const DOUBLINGS_MAX: u32 = 5;

/// A replica's tick.
const TICK: Duration = Duration::from_millis(200);
/// Ticks without a leader until there is an election.
const ELECTION_TICKS: usize = 5;
/// Ticks without a leader until a replica ends its watches: three election timeouts, as in etcd.
const LEADERLESS_TICKS: u32 = 15;
/// The shortest time in which another replica can be elected.
pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_millis(1_000);

/// A replica's node.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) engine: EngineName,
    pub(crate) release: u8,
    change: EngineChange,
    stop: Arc<AtomicBool>,
    /// Whether it is started again when it stops.
    held: bool,
    /// How long it stays down after the crash that is due, and how many operations after each restart it
    /// crashes again.
    down_for: Duration,
    again: Vec<u64>,
    again_crash: Crash,
    failed_starts: u32,
    last_start: Duration,
}

/// A stop, with what the oracles and the report ask of it.
#[derive(Clone, Debug)]
pub(crate) struct ObservedStop {
    pub(crate) at: Duration,
    /// Numbered from 1.
    pub(crate) node: u64,
    pub(crate) incarnation: u32,
    pub(crate) engine: EngineName,
    pub(crate) stop: Stop,
    /// Whether the replica had not come up yet.
    pub(crate) recovering: bool,
    /// Whether a snapshot was being installed.
    pub(crate) installing: bool,
}

/// Everything that the run's tasks share.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) machine: Machine,
    pub(crate) log: SharedLog,
    pub(crate) nodes: RefCell<Vec<Node>>,
    pub(crate) stops: RefCell<Vec<ObservedStop>>,
    pub(crate) panics: RefCell<Vec<(u64, sim::Panic)>>,
    /// Upgrades that were done, and starts that had to be refused.
    pub(crate) upgrades: RefCell<Vec<Done>>,
    pub(crate) mistakes: RefCell<Vec<Mistake>>,
    /// What rotted at rest, by node.
    pub(crate) rotted: RefCell<BTreeMap<u64, Rotted>>,
    /// How many operators have had something to do.
    operators: Cell<u32>,
    /// Set while a node is being upgraded.
    pub(crate) upgrading: Cell<bool>,
    /// Set when the run is over and stores are to be read out.
    finishing: RefCell<bool>,
    pub(crate) counters: RefCell<FaultCounters>,
}

/// What the injector did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FaultCounters {
    /// Partitions made.
    pub partitions: u64,
    /// Nodes frozen.
    pub pauses: u64,
    /// Clock steps.
    pub clock_steps: u64,
    /// Disks filled.
    #[serde(default)]
    pub full_disks: u64,
    /// Upgrade steps done.
    pub upgrades: u64,
    /// Changes of the members that the operator was told are done.
    #[serde(default)]
    pub member_changes: u64,
    /// Times that leadership was handed over as the operator wanted.
    #[serde(default)]
    pub handovers: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, machine: Machine, log: SharedLog) -> Rc<Self> {
        let nodes = (1u64..).zip(&plan.nodes).map(|(number, planned)| Node {
            id: machine.add_node(NodeOptions {
                name: format!("n{number}"),
                address: number,
                profile: match planned.disk {
                    DiskProfile::Posix => Profile::Posix,
                    DiskProfile::Lying => Profile::Lying,
                },
                faults: vec![
                    PathFaults {
                        path_contains: STORE_DIRECTORY.to_string(),
                        options: planned.data_faults.clone(),
                    },
                    PathFaults { path_contains: String::new(), options: planned.log_faults.clone() },
                ],
                byte_tears: planned.byte_tears,
                clock: planned.clock,
            }),
            engine: planned.engine,
            release: planned.release,
            change: EngineChange::WipeAndFetch,
            stop: Arc::default(),
            held: false,
            down_for: SELF_RESTART,
            again: Vec::new(),
            again_crash: Crash::PowerFailure,
            failed_starts: 0,
            last_start: Duration::ZERO,
        });
        let nodes = RefCell::new(nodes.collect());
        Rc::new(Self {
            plan,
            machine,
            log,
            nodes,
            stops: RefCell::default(),
            panics: RefCell::default(),
            upgrades: RefCell::default(),
            mistakes: RefCell::default(),
            rotted: RefCell::default(),
            operators: Cell::new(0),
            upgrading: Cell::new(false),
            finishing: RefCell::new(false),
            counters: RefCell::default(),
        })
    }

    /// The number of replicas.
    pub(crate) fn count(&self) -> u64 {
        self.plan.nodes.len() as u64
    }

    /// The members of the cluster, as far as any replica has told.
    pub(crate) fn members(&self) -> Membership {
        match &self.log.lock().members {
            Some((_, members)) => members.clone(),
            None => Membership {
                voters: self.plan.first_members().into_iter().collect(),
                ..Membership::default()
            },
        }
    }

    fn with_node<R>(&self, number: u64, work: impl FnOnce(&mut Node) -> R) -> R {
        let index = usize::try_from(number - 1).expect("few nodes");
        work(&mut self.nodes.borrow_mut()[index])
    }

    /// The machine's name for replica `number`.
    pub(crate) fn id(&self, number: u64) -> NodeId {
        self.with_node(number, |node| node.id)
    }

    /// A client for an operator, who is none of the plan's.
    pub(crate) fn operator(&self) -> Client {
        self.operators.set(self.operators.get() + 1);
        let number = FIRST_OPERATOR + self.operators.get();
        Client::new(number, self.count(), self.machine, self.log.clone())
    }

    /// Starts replica `number`, if it is down and not held.
    pub(crate) fn start(&self, number: u64) {
        let (id, held) = self.with_node(number, |node| (node.id, node.held));
        if held || self.machine.is_up(id) || *self.finishing.borrow() {
            return;
        }
        let again = self.with_node(number, |node| {
            node.stop = Arc::default();
            node.last_start = self.machine.now();
            (!node.again.is_empty()).then(|| (node.again.remove(0), node.again_crash))
        });
        if let Some((operation, crash)) = again {
            let filter = OperationFilter::default();
            self.machine.crash_at(id, CrashPoint { crash, operation, inside: operation % 2 == 0, filter });
        }
        let (stop, engine, release, change) =
            self.with_node(number, |node| (Arc::clone(&node.stop), node.engine, node.release, node.change));
        let peers = self.plan.first_members();
        let joins = !peers.contains(&number);
        let design = self.plan.design;
        let (sync_after_open, sync_engine_log) = (self.plan.sync_after_open, self.plan.sync_engine_log);
        let log = self.log.clone();
        self.machine.start(id, move |process| {
            let mut config =
                ReplicaConfig::new(number, peers, engine.0, process.root.join(REPLICA_DIRECTORY));
            config.release = if release == 1 { Release::One } else { Release::Two };
            config.design = design;
            config.join = joins;
            config.on_engine_change = match change {
                EngineChange::ConvertInPlace => cluster::EngineChange::ConvertInPlace,
                EngineChange::WipeAndFetch => cluster::EngineChange::WipeAndFetch,
                EngineChange::Refuse => cluster::EngineChange::Refuse,
            };
            tune(&mut config);
            config.engine_options.sync_after_open = sync_after_open;
            config.engine_options.sync_engine_log = sync_engine_log;
            run_replica(number, config, process, stop, log)
        });
    }

    /// Asks replica `number` to stop in good order; it stays down until it is released.
    pub(crate) fn ask_to_stop(&self, number: u64) {
        self.with_node(number, |node| {
            node.held = true;
            node.stop.store(true, Ordering::Relaxed);
        });
    }

    /// Lets a held node start again, with a release and engine.
    pub(crate) fn release(&self, number: u64, release: u8, engine: EngineName, change: EngineChange) {
        self.with_node(number, |node| {
            node.held = false;
            node.release = release;
            node.engine = engine;
            node.change = change;
        });
        self.start(number);
    }

    /// What replica `number` has installed, and what it does with the data of another engine.
    pub(crate) fn installed(&self, number: u64) -> (Installed, EngineChange) {
        self.with_node(number, |node| {
            (Installed { release: node.release, engine: node.engine.0 }, node.change)
        })
    }

    /// Starts a held node once, with a release and engine that it must refuse; it stays held.
    pub(crate) fn start_by_mistake(&self, number: u64, wanted: Installed, change: EngineChange) {
        let (Installed { engine: found, .. }, _) = self.installed(number);
        self.release(number, wanted.release, EngineName(wanted.engine), change);
        self.with_node(number, |node| node.held = true);
        let incarnation = self.machine.incarnation(self.id(number));
        self.mistakes.borrow_mut().push(Mistake { node: number, incarnation, found, wanted });
    }

    /// Notes how long replica `number` stays down after its next crash, and how it crashes again.
    pub(crate) fn expect_crash(&self, number: u64, down_for: Duration, crash: Crash, again: &[u64]) {
        self.with_node(number, |node| {
            node.down_for = down_for;
            node.again_crash = crash;
            node.again = again.to_vec();
        });
    }

    /// Forgets every crash that is still due.
    pub(crate) fn forget_crashes(&self) {
        for number in 1..=self.count() {
            self.with_node(number, |node| {
                node.again.clear();
                node.down_for = SELF_RESTART;
            });
            self.machine.forget_crash_point(self.id(number));
        }
    }

    /// Stops every replica in good order and reads out what its store holds.
    pub(crate) async fn finish(&self) {
        *self.finishing.borrow_mut() = true;
        // What was read out when a node stopped for another reason is outdated.
        self.log.lock().contents.clear();
        for number in 1..=self.count() {
            self.ask_to_stop(number);
        }
        let deadline = self.machine.now() + Duration::from_secs(20);
        while (1..=self.count()).any(|number| self.machine.is_up(self.id(number)))
            && self.machine.now() < deadline
        {
            self.machine.sleep(Duration::from_millis(50)).await;
        }
        // Ghosts need a moment to notice that they are.
        while self.machine.ghost_threads() > 0 && self.machine.now() < deadline {
            self.machine.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Notes that a node is frozen now, for as long as the plan says.
    pub(crate) fn note_pause(&self, node: u64, for_at_most: Duration) {
        self.counters.borrow_mut().pauses += 1;
        let from = self.machine.now();
        let mut log = self.log.lock();
        let was_leader = log.leader.is_some_and(|(_, leader)| leader == node);
        log.pauses.push(PauseSpan { node, was_leader, from, until: from + for_at_most });
    }

    /// Keeps the nodes going: hears what happens to them, and starts again those that went down.
    pub(crate) async fn supervise(self: Rc<Self>) {
        loop {
            let NodeEvent { node, incarnation, what } = self.machine.next_event().await;
            let number = u64::from(node.0) + 1;
            match what {
                NodeEventKind::Panicked(panic) => self.panics.borrow_mut().push((number, panic)),
                NodeEventKind::Stopped(stop) => Rc::clone(&self).node_stopped(number, incarnation, stop),
            }
        }
    }

    fn node_stopped(self: Rc<Self>, number: u64, incarnation: u32, stop: Stop) {
        let now = self.machine.now();
        let (recovering, installing) = self.log.lock().phase(number, incarnation);
        let by_itself = stop.cause == StopCause::Exit;
        if let Err(why) = &stop.result {
            self.machine.mark("exit", &format!("node {number}: {why}"));
        }
        let (held, engine, down_for) = self.with_node(number, |node| {
            let quick = by_itself && now.saturating_sub(node.last_start) < Duration::from_secs(1);
            node.failed_starts = if quick { node.failed_starts + 1 } else { 0 };
            let down_for = match by_itself {
                true => SELF_RESTART * (1 << node.failed_starts.min(DOUBLINGS_MAX)),
                false => std::mem::replace(&mut node.down_for, SELF_RESTART),
            };
            (node.held, node.engine, down_for)
        });
        self.stops.borrow_mut().push(ObservedStop {
            at: now,
            node: number,
            incarnation,
            engine,
            stop,
            recovering,
            installing,
        });
        if !held && !*self.finishing.borrow() {
            let world = Rc::clone(&self);
            self.machine.spawn(async move {
                world.machine.sleep(down_for).await;
                world.start(number);
            });
        }
    }
}

/// Sizes small enough that flushes, log cuts and snapshots happen within a run of some hundred entries; ticks half
/// as often as by default, with the same election timeout, since heartbeats are most of a quiet cluster's work.
fn tune(config: &mut ReplicaConfig) {
    config.timing.tick = TICK;
    config.timing.election_ticks = ELECTION_TICKS;
    config.timing.leaderless_ticks = LEADERLESS_TICKS;
    config.timing.lease_checkpoint_interval = Duration::from_secs(3);
    config.timing.compare_interval = Duration::from_secs(5);
    config.limits.flush_entries = 32;
    config.limits.trailing_entries = 12;
    config.limits.compaction_entries = 8;
    config.limits.compaction_records = 8;
    config.limits.hash_entries = 64;
    config.limits.stream_chunk_bytes = 4 << 10;
    config.raft_log_options.segment_bytes = 16 << 10;
    config.engine_options.memtable_bytes = 16 << 10;
    config.limits.watch_window = 4;
    config.limits.watch_message_bytes = 1 << 10;
    config.limits.watch_catch_up_revisions = 16;
    config.limits.watch_catch_ups_per_round = 2;
    config.timing.watch_progress_interval = Duration::from_secs(3);
}

/// Runs one incarnation of a replica to its end; one that was asked to stop then reads out its store.
fn run_replica(
    number: u64,
    config: ReplicaConfig,
    process: Process,
    stop: Arc<AtomicBool>,
    log: SharedLog,
) -> Result<(), String> {
    let transport = SimulatedTransport { endpoint: process.endpoint, stop: Arc::clone(&stop) };
    let listener = Listener { log: log.clone(), node: number, process: process.clone() };
    let (directory, engine, options, design) =
        (config.directory.clone(), config.engine, config.engine_options.clone(), config.design);
    cluster::run(config, Box::new(transport), Arc::new(listener)).map_err(|error| error.to_string())?;
    if stop.load(Ordering::Relaxed) && process.is_current() {
        let revisions = log.lock().hashes.iter().map(|report| report.revision).collect();
        let read = read_out(number, &directory, engine, &options, &design, &revisions);
        let mut log = log.lock();
        let contents = read.map(|(contents, reports)| {
            log.hashes.extend(reports);
            contents
        });
        log.contents.insert(number, contents);
    }
    Ok(())
}

/// What the store in `directory` holds, with its hashes at some revisions.
fn read_out(
    number: u64,
    directory: &Path,
    engine: engines::EngineId,
    options: &engines::Options,
    design: &cluster::design::Design,
    revisions: &BTreeSet<i64>,
) -> Result<(Contents, Vec<HashKvReport>), String> {
    let backend = engines::marker::open_data_dir(&directory.join(STORE_DIRECTORY), engine, options)
        .map_err(|error| error.to_string())?;
    let store = Store::open(backend, design).map_err(|error| error.to_string())?;
    let mut contents = Contents {
        applied_index: store.applied_index(),
        compacted_revision: store.compacted_revision(),
        versions: Vec::new(),
    };
    let reports = hash_reports(number, engine, &store, revisions)?;
    store
        .contents(&mut |record| contents.versions.push(StoredVersion::from(record)))
        .map_err(|error| error.to_string())?;
    store.close().map_err(|error| error.to_string())?;
    Ok((contents, reports))
}

/// The hashes of a store at its own revision and at those of `revisions` that it can still read.
fn hash_reports(
    node: u64,
    engine: engines::EngineId,
    store: &Store,
    revisions: &BTreeSet<i64>,
) -> Result<Vec<HashKvReport>, String> {
    let readable = revisions.range(store.compacted_revision().max(1)..store.revision()).copied();
    let mut reports = Vec::new();
    for revision in readable.chain([store.revision()]) {
        let found = store.hash_kv(revision).map_err(|error| error.to_string())?;
        let hash =
            found.map_err(|refusal| format!("the hash at revision {revision} is refused: {refusal}"))?;
        let (compact_revision, engine) = (hash.compact_revision, engine.name().to_string());
        reports.push(HashKvReport { node, engine, revision, compact_revision, hash: hash.hash });
    }
    Ok(reports)
}
