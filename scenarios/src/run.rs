//! One run of one plan, from start to verdict.

use crate::client::{Client, read_everything};
use crate::evidence::{CaseFile, Recorder, Recording};
use crate::injector;
use crate::observation::{Log, SharedLog};
use crate::oracles;
use crate::plan::Plan;
use crate::report::{Report, Verdict};
use crate::rot::{self, Rotted};
use crate::space;
use crate::upgrades::{Done, Mistake};
use crate::watcher::{self, Watched};
use crate::world::{FaultCounters, ObservedStop, World};
use cluster::api::{Call, Request};
use model::kv::Refusal;
use model::specs::etcd::StoreHistory;
use model::verdict::{Check, Violation};
use sim::disk::FaultCounters as DiskFaults;
use sim::network::LinkOptions;
use sim::{Abort, Aborted, Completed, Machine, Options, TextTrace, TraceSink};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

/// Virtual time that the cluster has, once everything is mended, to answer every client and to converge.
pub(crate) const LIVENESS_BOUND: Duration = Duration::from_secs(60);
/// Prefix of the names of sled's I/O threads, which one process shares among all its databases.
const SLED_POOL: &str = "sled-io-";

/// How to run a plan.
#[derive(Default)]
pub struct RunOptions {
    /// Where every event goes as a line of text.
    pub trace: Option<Box<dyn Write + Send>>,
    /// Whether the kernel enforces that no system call leaves the machine.
    pub enforce_hermetic: bool,
}

/// What a run leaves for the oracles.
#[derive(Clone)]
pub(crate) struct Evidence {
    pub(crate) plan: Plan,
    pub(crate) log: Log,
    pub(crate) stops: Vec<ObservedStop>,
    pub(crate) panics: Vec<(u64, String, String)>,
    pub(crate) counters: FaultCounters,
    pub(crate) upgrades: Vec<Done>,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) rotted: BTreeMap<u64, Rotted>,
    pub(crate) disk_faults: Vec<DiskFaults>,
    /// Calls that failed, or were cut short, for want of space.
    pub(crate) no_space: u64,
    pub(crate) network: sim::network::Counters,
    pub(crate) healed_at: Duration,
    /// Whether all clients were done, and all replicas had converged, within the bound.
    pub(crate) clients_done: bool,
    pub(crate) converged_at: Option<Duration>,
    pub(crate) watched: Watched,
    pub(crate) ghost_threads: usize,
    /// Where each thread stood, if the run did not live.
    pub(crate) threads: Vec<String>,
    pub(crate) last_operations: Vec<(u64, Vec<String>)>,
    pub(crate) virtual_time: Duration,
}

impl Evidence {
    /// The members of the cluster in the end. Who was removed owes nothing any more, and whoever never joined.
    pub(crate) fn members(&self) -> BTreeSet<u64> {
        match &self.log.members {
            Some((_, members)) => members.ids(),
            None => self.plan.first_members().into_iter().collect(),
        }
    }
}

/// Runs a plan in this process, which must not run another one. See [`crate::execute`].
pub fn run(plan: &Plan, options: RunOptions) -> Report {
    let sink = options.trace.map(|file| Box::new(TextTrace(file)) as Box<dyn TraceSink>);
    match conduct(plan, sink, options.enforce_hermetic) {
        Ok((_evidence, _decided, report)) => report,
        Err(report) => *report,
    }
}

/// Runs a plan in this process, which must not run another one, and keeps all that a reader may want to see.
pub(crate) fn run_recorded(plan: &Plan) -> (CaseFile, Recording) {
    let recorder = Recorder::default();
    let outcome = conduct(plan, Some(Box::new(recorder.clone())), false);
    let recording = recorder.take();
    let case_file = match outcome {
        Ok((evidence, decided, report)) => CaseFile::of(&evidence, &decided, report, &recording),
        Err(report) => CaseFile::of_aborted(plan, *report, &recording),
    };
    (case_file, recording)
}

/// A run from start to verdict: what was seen, the history as it was judged, and the report; where the run was given
/// up, the report alone.
fn conduct(
    plan: &Plan,
    sink: Option<Box<dyn TraceSink>>,
    enforce_hermetic: bool,
) -> Result<(Evidence, StoreHistory, Report), Box<Report>> {
    match simulate(plan, sink, enforce_hermetic) {
        Ok(Completed { value, trace, counters, .. }) => {
            let (judgement, decided) = oracles::judge(&value);
            let mut report = Report::of(&value, judgement);
            report.trace = trace.hash;
            report.events = trace.events;
            report.hand_overs = counters.hand_overs;
            report.disk_operations = counters.disk_operations;
            Ok((value, decided, report))
        }
        Err(aborted) => Err(Box::new(Report::aborted(plan, verdict_of_abort(&aborted)))),
    }
}

/// A run, and nothing asked of it yet.
fn simulate(
    plan: &Plan,
    sink: Option<Box<dyn TraceSink>>,
    enforce_hermetic: bool,
) -> Result<Completed<Evidence>, Aborted> {
    let machine_options = Options {
        policy: plan.policy,
        process_wide_threads: vec![SLED_POOL.to_string()],
        virtual_time_limit: Duration::from_millis(plan.heal_at_ms) + LIVENESS_BOUND * 4,
        enforce_hermetic,
        ..Options::new(plan.seed)
    };
    let driven = plan.clone();
    sim::run(machine_options, sink, async |machine: Machine| drive(machine, driven).await)
}

/// What was seen of a run that ends.
#[cfg(test)]
pub(crate) fn seen(plan: &Plan) -> Evidence {
    simulate(plan, None, false).expect("the run ends").value
}

/// A deadlock or an exhausted virtual time is the cluster's failing; the rest is the run's.
fn verdict_of_abort(aborted: &Aborted) -> Verdict {
    let threads: Vec<String> =
        aborted.threads.iter().flat_map(|thread| thread.lines().map(str::to_string)).collect();
    let at = aborted.virtual_time.as_secs_f64();
    let broke = |message: String| {
        let violation = Violation { evidence: threads, ..Violation::new(Check::Live, message) };
        Verdict::Violated { violations: vec![violation] }
    };
    match &aborted.abort {
        Abort::Deadlock => broke(format!("deadlock after {at:.3} s: every thread waits, and nothing is due")),
        Abort::VirtualTimeLimit => broke(format!("the run did not end within {at:.0} s of virtual time")),
        other => Verdict::Incomplete { why: format!("{other:?} after {at:.3} s of virtual time") },
    }
}

async fn drive(machine: Machine, plan: Plan) -> Evidence {
    let log = SharedLog::default();
    let world = World::new(plan, machine, log.clone());
    machine.set_default_link(LinkOptions::client());
    for from in 1..=world.count() {
        for to in (1..=world.count()).filter(|to| *to != from) {
            machine.set_link(from, to, world.plan.links);
        }
    }
    machine.spawn(Rc::clone(&world).supervise());
    for node in 1..=world.count() {
        world.start(node);
    }
    injector::inject(&world);
    let pending = start_clients(&world);
    let watchers = watcher::start(&world);
    machine.sleep_until(Duration::from_millis(world.plan.heal_at_ms)).await;
    heal(&world);
    // An upgrade that is under way is the operator's doing, and no fault to recover from.
    while world.upgrading.get() {
        machine.sleep(Duration::from_millis(20)).await;
    }
    let healed_at = machine.now();
    let clients_done = settle(&world, &pending, healed_at).await;
    machine.sleep(Duration::from_millis(world.plan.quiet_ms)).await;
    let quiet_at = healed_at + Duration::from_millis(world.plan.quiet_ms);
    if rot::may_rot(&world.plan) {
        // Whatever rotted until now is found by the next comparison of hashes.
        converge(&world, quiet_at).await;
        machine.sleep(rot::FOUND_WITHIN).await;
    }
    let converged_at = converge(&world, quiet_at).await;
    let watched = watchers.finish(&world, converged_at.is_some()).await;
    // Where somebody never came back, its threads say where they stand.
    let threads = if clients_done && converged_at.is_some() { Vec::new() } else { machine.threads() };
    let last_operations =
        (1..=world.count()).map(|node| (node, machine.last_operations(world.id(node)))).collect();
    world.finish().await;
    Evidence {
        plan: world.plan.clone(),
        stops: world.stops.take(),
        panics: world
            .panics
            .take()
            .into_iter()
            .map(|(node, panic)| (node, format!("{}: {}", panic.thread, panic.message), panic.backtrace()))
            .collect(),
        counters: *world.counters.borrow(),
        upgrades: world.upgrades.take(),
        mistakes: world.mistakes.take(),
        rotted: world.rotted.take(),
        disk_faults: (1..=world.count()).flat_map(|node| machine.disk_faults(world.id(node))).collect(),
        no_space: (1..=world.count()).map(|node| machine.no_space_count(world.id(node))).sum(),
        network: machine.network_counters(),
        healed_at,
        clients_done,
        converged_at,
        watched,
        ghost_threads: machine.ghost_threads(),
        threads,
        last_operations,
        virtual_time: machine.now(),
        log: std::mem::take(&mut *log.lock()),
    }
}

/// Starts the clients; the cell counts those that are not done.
fn start_clients(world: &Rc<World>) -> Rc<Cell<u32>> {
    let pending = Rc::new(Cell::new(world.plan.clients()));
    for number in 0..world.plan.clients() {
        let operations: Vec<_> = world
            .plan
            .operations
            .iter()
            .cloned()
            .enumerate()
            .filter(|(_, operation)| operation.client == number)
            .collect();
        let (world, pending) = (Rc::clone(world), Rc::clone(&pending));
        world.machine.spawn({
            let world = Rc::clone(&world);
            async move {
                Client::new(number, world.count(), world.machine, world.log.clone()).run(&operations).await;
                pending.set(pending.get() - 1);
            }
        });
    }
    pending
}

/// Ends every fault: links are mended, disks healthy, nodes up.
fn heal(world: &Rc<World>) {
    world.machine.heal_all();
    for from in 1..=world.count() {
        for to in (1..=world.count()).filter(|to| *to != from) {
            world.machine.set_link(from, to, LinkOptions::calm());
        }
    }
    world.forget_crashes();
    for node in 1..=world.count() {
        world.machine.mend_disk(world.id(node));
        world.machine.resume(world.id(node));
    }
}

/// Waits until every client is done, and the cluster has answered a last read and a last write.
async fn settle(world: &Rc<World>, pending: &Rc<Cell<u32>>, healed_at: Duration) -> bool {
    let deadline = healed_at + LIVENESS_BOUND;
    while pending.get() > 0 && world.machine.now() < deadline {
        world.machine.sleep(Duration::from_millis(20)).await;
    }
    if space::may_fill(&world.plan) {
        space::disarm(world, deadline).await;
    }
    let mut last = Client::new(world.plan.clients(), world.count(), world.machine, world.log.clone());
    let wrote = insist(world, &mut last, deadline, last_write).await;
    let read = insist(world, &mut last, deadline, |_| read_everything()).await;
    pending.get() == 0 && wrote && read
}

/// The last write; each attempt has a value of its own, for an unknown one may still take effect.
fn last_write(attempt: u32) -> Call {
    Call::Kv(Request::put("last", format!("write {attempt}")))
}

/// Asks until there is an answer, or `deadline` is over; whether there was one.
async fn insist(
    world: &Rc<World>,
    client: &mut Client,
    deadline: Duration,
    request: impl Fn(u32) -> Call,
) -> bool {
    let mut attempt = 0;
    while world.machine.now() < deadline {
        let left = deadline.saturating_sub(world.machine.now());
        match client.perform(request(attempt), left).await {
            Some(Ok(_)) => return true,
            // The alarm may not have been cleared everywhere yet.
            Some(Err(Refusal::NoSpace)) => world.machine.sleep(Duration::from_millis(200)).await,
            Some(Err(_)) | None => {}
        }
        attempt += 1;
    }
    false
}

/// Waits until every member has applied the same index, and the cluster is not between two configurations; when that
/// was.
async fn converge(world: &Rc<World>, healed_at: Duration) -> Option<Duration> {
    let deadline = healed_at + LIVENESS_BOUND;
    loop {
        let members = world.members();
        let converged = {
            let log = world.log.lock();
            let here: Vec<u64> = members.ids().into_iter().filter(|node| !world.is_gone(*node)).collect();
            let applied: BTreeSet<Option<u64>> =
                here.iter().map(|node| log.applied.get(node).copied()).collect();
            let is_rebuilding = |node| log.rebuilding.get(node).copied().unwrap_or(true);
            !members.is_joint() && applied.len() == 1 && !here.iter().any(is_rebuilding)
        };
        let all_up =
            (1..=world.count()).all(|node| world.machine.is_up(world.id(node)) || world.is_gone(node));
        if converged && all_up {
            return Some(world.machine.now());
        }
        if world.machine.now() >= deadline {
            return None;
        }
        world.machine.sleep(Duration::from_millis(20)).await;
    }
}
