//! Nodes: simulated processes, one incarnation after another on one surviving disk.
//!
//! A node is a main function on a simulated thread, the threads that it starts, its disk, its clocks, its
//! entropy and its place on the network. When it crashes, the surviving disk is computed at once; the crashed
//! incarnation goes on as a *ghost* against a discarded copy, unseen, until its threads have ended: engines
//! keep process-wide state that a thread frozen for ever would jam.

use super::Machine;
use super::clock::{Clock, ClockOptions};
use super::crash::{Crash, CrashPoint, CrashSite};
use super::endpoint::NodeEndpoint;
use super::fault_point::ArmedFault;
use super::kernel::{self, Kernel};
use super::medium::DiskLife;
use super::panic::{Panic, last_panic, panic_message};
use super::recorder::Recorder;
use super::scheduler::{self, WaitKey};
use crate::disk::{
    CrashChoices, CrashReport, Decision, Disk, FaultCounters, FaultOptions, FaultState, OperationKind,
    Profile, RandomChoices, SyncFate, crash_image,
};
use crate::entropy::{Entropy, Ratio};
use crate::event::{Event, StopCause};
use crate::network;
use crate::vfs::MountId;
use std::path::PathBuf;

/// A node's number, from 0 in the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u16);

/// One life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Incarnation {
    pub(crate) node: NodeId,
    pub(crate) number: u32,
}

/// How a node is made.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its name, in its mount's path and in reports.
    pub name: String,
    /// Its address on the network.
    pub address: u64,
    /// What a power failure may do to its disk.
    pub profile: Profile,
    /// What goes wrong with its disk while it runs: the first entry whose path matches.
    pub faults: Vec<PathFaults>,
    /// The share of the writes torn by a power failure that are torn at any byte, and not between two sectors.
    pub byte_tears: Ratio,
    /// How its clocks deviate.
    pub clock: ClockOptions,
}

impl NodeOptions {
    /// A healthy node on a disk of profile `posix`.
    pub fn new(name: impl Into<String>, address: u64) -> Self {
        Self {
            name: name.into(),
            address,
            profile: Profile::Posix,
            faults: Vec::new(),
            byte_tears: Ratio::ZERO,
            clock: ClockOptions::default(),
        }
    }
}

/// What goes wrong with a part of a node's disk, as if it were a device of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFaults {
    /// The files and directories whose path within the mount contains this; empty is every one.
    pub path_contains: String,
    /// What goes wrong.
    pub options: FaultOptions,
}

/// Something that happened to a node.
#[derive(Clone, Debug)]
pub struct NodeEvent {
    /// The node.
    pub node: NodeId,
    /// The incarnation that it happened to.
    pub incarnation: u32,
    /// What happened.
    pub what: NodeEventKind,
}

/// What happened to a node.
#[derive(Clone, Debug)]
pub enum NodeEventKind {
    /// The incarnation ended; the node stays down until it is started again.
    Stopped(Stop),
    /// A thread other than the main one panicked; the process goes on.
    Panicked(Panic),
}

/// The end of an incarnation.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Why.
    pub cause: StopCause,
    /// What the main function returned, or its panic; only where it ended by itself.
    pub result: Result<(), String>,
    /// Where a crash fell, if it waited for a disk operation.
    pub site: Option<CrashSite>,
    /// What a power failure did to the disk.
    pub report: Option<CrashReport>,
    /// The last disk operations, oldest first, as text.
    pub last_operations: Vec<String>,
}

/// What a node's main function is given.
#[derive(Clone, Debug)]
pub struct Process {
    /// The node.
    pub node: NodeId,
    /// The incarnation's number, from 1.
    pub incarnation: u32,
    /// The root of the node's disk.
    pub root: PathBuf,
    /// Its place on the network.
    pub endpoint: NodeEndpoint,
}

/// A node's state in the machine.
pub(crate) struct Node {
    options: NodeOptions,
    number: u32,
    up: bool,
    paused: bool,
    pub(crate) clock: Clock,
    entropy: Entropy,
    crash_choices: Box<dyn CrashChoices>,
    /// Where in a write a process kill falls.
    partial_writes: Entropy,
    faults: Vec<(String, FaultState)>,
    /// Calls of earlier incarnations that failed for want of space.
    no_space: u64,
    /// The disk while the node is down.
    disk: Option<Disk>,
    mount: Option<MountId>,
    pub(crate) crash_point: Option<CrashPoint>,
    pub(crate) armed_fault: ArmedFault,
    pub(crate) disk_life: DiskLife,
    pub(crate) recorder: Option<Recorder>,
    /// Live threads and the mount of each incarnation that is not quite gone.
    lives: Vec<Life>,
}

struct Life {
    number: u32,
    threads: usize,
    mount: MountId,
}

impl Node {
    /// The node's name.
    pub(crate) fn name(&self) -> &str {
        &self.options.name
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// True where `incarnation` is the one that runs now, not a ghost.
    pub(crate) fn is_current(&self, incarnation: Incarnation) -> bool {
        self.up && self.number == incarnation.number
    }

    /// The faults of the device that `path` lies on.
    pub(crate) fn fault_state(&mut self, path: &str) -> Option<&mut FaultState> {
        self.faults.iter_mut().find(|(part, _)| path.contains(part.as_str())).map(|(_, state)| state)
    }

    /// What becomes of a call on `path`.
    pub(crate) fn decide(&mut self, path: &str, kind: OperationKind, length: u64) -> Decision {
        match self.fault_state(path) {
            Some(state) => state.decide(kind, length),
            None if matches!(kind, OperationKind::Sync | OperationKind::DataSync) => {
                Decision::Sync(SyncFate::Honest)
            }
            None => Decision::Proceed,
        }
    }

    /// How many nanoseconds of virtual time a call on `path` takes that carries so many bytes to the medium.
    pub(crate) fn latency_ns(&mut self, path: &str, kind: OperationKind, bytes: u64) -> u64 {
        self.fault_state(path).map_or(0, |state| state.latency_ns(kind, bytes))
    }

    /// The power is about to fail in the middle of the pending write with this sequence number.
    pub(crate) fn power_fails_inside(&mut self, write: u64) {
        self.crash_choices.power_fails_inside(write);
    }

    /// A number in `0..=bound` for a part of a write.
    pub(crate) fn draw_below(&mut self, bound: u64) -> u64 {
        self.partial_writes.between(0, bound)
    }

    fn endpoint(&self) -> network::Endpoint {
        network::Endpoint { address: self.options.address, incarnation: self.number.into() }
    }
}

impl Kernel {
    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::from(id.0)]
    }

    /// A thread of `owner` was created.
    pub(crate) fn thread_joined(&mut self, owner: Incarnation) {
        if let Some(life) = self.node(owner.node).lives.iter_mut().find(|life| life.number == owner.number) {
            life.threads += 1;
        }
    }

    /// A thread of `owner` ended.
    pub(crate) fn thread_left(&mut self, owner: Incarnation) {
        if let Some(life) = self.node(owner.node).lives.iter_mut().find(|life| life.number == owner.number) {
            life.threads -= 1;
        }
        self.discard_ghosts(owner.node);
    }

    /// Discards the disks of ghosts that are quite gone: no thread left, and no descriptor. (A pool thread of
    /// the whole process may hold a file of a ghost for a while.)
    fn discard_ghosts(&mut self, id: NodeId) {
        let node = &mut self.nodes[usize::from(id.0)];
        let current = node.up.then_some(node.number);
        let files = &mut self.files;
        node.lives.retain(|life| {
            let gone =
                Some(life.number) != current && life.threads == 0 && files.open_descriptors(life.mount) == 0;
            if gone {
                files.unmount(life.mount);
            }
            !gone
        });
    }

    /// The incarnation that a mount belongs to.
    pub(crate) fn mount_owner(&self, mount: MountId) -> Option<Incarnation> {
        (0u16..).zip(&self.nodes).find_map(|(node, state)| {
            let life = state.lives.iter().find(|life| life.mount == mount)?;
            Some(Incarnation { node: NodeId(node), number: life.number })
        })
    }

    /// Ends an incarnation now: its disk is computed, it becomes a ghost, and the driver hears of it.
    pub(crate) fn stop(
        &mut self,
        id: NodeId,
        cause: StopCause,
        result: Result<(), String>,
        site: Option<CrashSite>,
    ) {
        let now_ns = self.now_ns();
        let node = &mut self.nodes[usize::from(id.0)];
        assert!(node.up, "a node that is down cannot stop");
        let mount = node.mount.take().expect("a running node has its disk mounted");
        let profile = match cause {
            StopCause::PowerFailure => node.options.profile,
            StopCause::Exit | StopCause::ProcessKill => Profile::ProcessKill,
        };
        let (image, report) = crash_image(self.files.disk(mount), profile, now_ns, &mut *node.crash_choices);
        let last_operations = self.files.last_operations(mount).map(ToString::to_string).collect();
        let endpoint = node.endpoint();
        let number = node.number;
        node.no_space += self.files.no_space_count(mount);
        let (kept, lost) = (report.kept as u64, report.losses.len() as u64);
        node.up = false;
        node.paused = false;
        node.crash_point = None;
        node.armed_fault.forget();
        node.disk = Some(image);
        self.end_recording(id);
        self.unregister(endpoint);
        self.wake(WaitKey::Resume(id.0), usize::MAX);
        self.record(&Event::Stopped { node: (id.0, number), cause, kept, lost });
        let report = (cause == StopCause::PowerFailure).then_some(report);
        let stop = Stop { cause, result, site, report, last_operations };
        self.events.push(NodeEvent { node: id, incarnation: number, what: NodeEventKind::Stopped(stop) });
        self.discard_ghosts(id);
    }

    /// Gives a node that is down a new incarnation on its surviving disk.
    fn begin_life(&mut self, id: NodeId) -> Process {
        self.discard_ghosts(id);
        let node = &mut self.nodes[usize::from(id.0)];
        assert!(!node.up, "node {} is up already", node.options.name);
        node.number += 1;
        node.up = true;
        let number = node.number;
        let root = format!("/brownout/{}.{number}", node.options.name);
        let disk = node.disk.take().expect("a node that is down has its disk");
        let capacity_bytes =
            node.faults.iter().map(|(_, state)| state.options().capacity_bytes).max().unwrap_or(0);
        let keeps_previous = node.faults.iter().any(|(_, state)| !state.options().stale_read.is_zero());
        node.disk_life = DiskLife::default();
        let mount = self.files.mount(&root, disk);
        node.mount = Some(mount);
        node.lives.push(Life { number, threads: 0, mount });
        let endpoint = node.endpoint();
        self.begin_recording(id, mount);
        let disk = self.files.disk_mut(mount);
        disk.set_capacity_bytes(capacity_bytes);
        disk.set_keeps_previous(keeps_previous);
        self.register(endpoint);
        self.record(&Event::Started { node: (id.0, number) });
        Process {
            node: id,
            incarnation: number,
            root: PathBuf::from(root),
            endpoint: NodeEndpoint::new(endpoint),
        }
    }
}

impl Kernel {
    /// Sets what a node's disk can hold, in this life and the next ones; zero is no limit.
    fn limit_disk(&mut self, id: NodeId, capacity_bytes: u64) {
        if let Some(mount) = self.node(id).mount {
            self.files.disk_mut(mount).set_capacity_bytes(capacity_bytes);
        }
        for (_, state) in &mut self.node(id).faults {
            let options = FaultOptions { capacity_bytes, ..state.options().clone() };
            state.set_options(options);
        }
    }
}

impl Machine {
    /// Adds a node with an empty disk. It is down until it is started.
    pub fn add_node(&self, options: NodeOptions) -> NodeId {
        kernel::with(|kernel| {
            let id = NodeId(u16::try_from(kernel.nodes.len()).expect("a machine has fewer nodes"));
            let seed = kernel.options.seed;
            kernel.nodes.push(Node {
                clock: Clock::new(options.clock),
                entropy: Entropy::stream(seed, &format!("entropy of {}", options.name)),
                crash_choices: Box::new(
                    RandomChoices::new(Entropy::stream(seed, &format!("crashes of {}", options.name)))
                        .with_byte_tears(options.byte_tears),
                ),
                partial_writes: Entropy::stream(seed, &format!("partial writes of {}", options.name)),
                faults: fault_states(seed, &options),
                no_space: 0,
                options,
                number: 0,
                up: false,
                paused: false,
                disk: Some(Disk::new()),
                mount: None,
                crash_point: None,
                armed_fault: ArmedFault::default(),
                disk_life: DiskLife::default(),
                recorder: None,
                lives: Vec::new(),
            });
            id
        })
    }

    /// Starts a node that is down. When `main` returns or panics, the process exits.
    pub fn start(&self, id: NodeId, main: impl FnOnce(Process) -> Result<(), String> + Send + 'static) {
        let process = kernel::with(|kernel| kernel.begin_life(id));
        let owner = Incarnation { node: id, number: process.incarnation };
        let name = kernel::with(|kernel| kernel.node(id).options.name.clone());
        scheduler::spawn(Some(owner), &name, move || {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| main(process)));
            let result = caught.unwrap_or_else(|payload| {
                Err(last_panic().unwrap_or_else(|| panic_message(payload.as_ref())))
            });
            crate::interpose::collect_stores();
            kernel::with(|kernel| {
                if kernel.node(owner.node).is_current(owner) {
                    kernel.stop(owner.node, StopCause::Exit, result, None);
                }
            });
        });
    }

    /// Crashes a running node now; one that is down stays down.
    pub fn crash(&self, id: NodeId, crash: Crash) {
        kernel::with(|kernel| {
            if kernel.node(id).up {
                kernel.stop(id, crash.cause(), Ok(()), None);
            }
        });
    }

    /// Crashes a node at one of its next disk operations. A node has one crash point: the latest given.
    pub fn crash_at(&self, id: NodeId, point: CrashPoint) {
        kernel::with(|kernel| kernel.node(id).crash_point = Some(point));
    }

    /// From now on `choices` decide what a node's power failures leave, in place of random ones: to lose one
    /// chosen operation, or to search for the smallest loss that does harm.
    pub fn choose_losses(&self, id: NodeId, choices: impl CrashChoices + 'static) {
        kernel::with(|kernel| kernel.node(id).crash_choices = Box::new(choices));
    }

    /// The disk of a node that is down, as its next incarnation will find it. Cloning shares all bytes.
    ///
    /// Panics where the node is up.
    pub fn disk(&self, id: NodeId) -> Disk {
        kernel::with(|kernel| kernel.node(id).disk.clone().expect("the disk of a running node is its own"))
    }

    /// Replaces the disk of a node that is down: by an empty one, by an older image of itself, or by any other on
    /// which nothing is held open. The limit of space is the node's.
    ///
    /// Panics where the node is up.
    pub fn set_disk(&self, id: NodeId, disk: Disk) {
        kernel::with(|kernel| {
            let node = kernel.node(id);
            assert!(!node.up, "node {} is up: its disk cannot be replaced", node.options.name);
            node.disk = Some(disk);
        });
    }

    /// Takes back a crash point that was not reached.
    pub fn forget_crash_point(&self, id: NodeId) {
        kernel::with(|kernel| kernel.node(id).crash_point = None);
    }

    /// True while an incarnation of the node runs.
    pub fn is_up(&self, id: NodeId) -> bool {
        kernel::with(|kernel| kernel.node(id).up)
    }

    /// The number of the node's latest incarnation, 0 before the first.
    pub fn incarnation(&self, id: NodeId) -> u32 {
        kernel::with(|kernel| kernel.node(id).number)
    }

    /// Freezes a node: its threads do not run while the world goes on. A crash ends the pause.
    pub fn pause(&self, id: NodeId) {
        kernel::with(|kernel| {
            kernel.node(id).paused = true;
            kernel.record(&Event::Paused { node: id.0, paused: true });
        });
    }

    /// Lets a frozen node go on.
    pub fn resume(&self, id: NodeId) {
        kernel::with(|kernel| {
            kernel.node(id).paused = false;
            kernel.record(&Event::Paused { node: id.0, paused: false });
            kernel.wake(WaitKey::Resume(id.0), usize::MAX);
        });
    }

    /// Sets a node's wall clock forward, or back, by `step_ns` nanoseconds.
    pub fn step_clock(&self, id: NodeId, step_ns: i64) {
        kernel::with(|kernel| {
            kernel.node(id).clock.step(step_ns);
            kernel.record(&Event::ClockStepped { node: id.0, step_ns });
        });
    }

    /// Leaves so many bytes free on a node's disk, as if somebody else had taken the rest, until there is no limit any
    /// more ([`Machine::free_disk`], [`Machine::mend_disk`]).
    pub fn fill_disk(&self, id: NodeId, free_bytes: u64) {
        kernel::with(|kernel| {
            let used_bytes = match kernel.node(id).mount {
                Some(mount) => kernel.files.disk(mount).used_bytes(),
                None => kernel.node(id).disk.as_ref().map_or(0, Disk::used_bytes),
            };
            kernel.limit_disk(id, used_bytes.saturating_add(free_bytes));
        });
    }

    /// Ends the limit of a node's disk.
    pub fn free_disk(&self, id: NodeId) {
        kernel::with(|kernel| kernel.limit_disk(id, 0));
    }

    /// Ends every fault of a node's disk, and its limit of space; syncs take the time that they took. What was lost or
    /// damaged stays so: a damaged sector is whole again once it is written.
    pub fn mend_disk(&self, id: NodeId) {
        kernel::with(|kernel| {
            if let Some(mount) = kernel.node(id).mount {
                kernel.files.disk_mut(mount).set_capacity_bytes(0);
            }
            kernel.node(id).disk_life = DiskLife::default();
            for (_, state) in &mut kernel.node(id).faults {
                let healthy = FaultOptions {
                    sync_latency_base_ns: state.options().sync_latency_base_ns,
                    sync_latency_mean_ns: state.options().sync_latency_mean_ns,
                    sync_latency_max_ns: state.options().sync_latency_max_ns,
                    write_latency_ns: state.options().write_latency_ns,
                    bytes_per_second: state.options().bytes_per_second,
                    ..FaultOptions::default()
                };
                state.set_options(healthy);
            }
        });
    }

    /// How many calls of the node failed, or were cut short, for want of space, over all its lives.
    pub fn no_space_count(&self, id: NodeId) -> u64 {
        kernel::with(|kernel| {
            let now = kernel.node(id).mount.map_or(0, |mount| kernel.files.no_space_count(mount));
            kernel.node(id).no_space + now
        })
    }

    /// What was injected into a node's file-system calls so far, over all its lives.
    pub fn disk_faults(&self, id: NodeId) -> Vec<FaultCounters> {
        kernel::with(|kernel| kernel.node(id).faults.iter().map(|(_, state)| *state.counters()).collect())
    }

    /// The last operations on a running node's disk, oldest first, as text; none for one that is down.
    pub fn last_operations(&self, id: NodeId) -> Vec<String> {
        kernel::with(|kernel| match kernel.node(id).mount {
            Some(mount) => kernel.files.last_operations(mount).map(ToString::to_string).collect(),
            None => Vec::new(),
        })
    }

    /// Threads of crashed incarnations that have not ended yet.
    pub fn ghost_threads(&self) -> usize {
        kernel::with(|kernel| {
            kernel
                .nodes
                .iter()
                .flat_map(|node| node.lives.iter().filter(|life| !node.up || life.number != node.number))
                .map(|life| life.threads)
                .sum()
        })
    }
}

fn fault_states(seed: u64, options: &NodeOptions) -> Vec<(String, FaultState)> {
    let state = |(index, part): (usize, &PathFaults)| {
        let entropy = Entropy::stream(seed, &format!("disk faults {index} of {}", options.name));
        (part.path_contains.clone(), FaultState::new(part.options.clone(), entropy))
    };
    options.faults.iter().enumerate().map(state).collect()
}

impl Process {
    /// True while this incarnation is the node's current one, and not a ghost.
    pub fn is_current(&self) -> bool {
        let incarnation = Incarnation { node: self.node, number: self.incarnation };
        kernel::with(|kernel| kernel.node(self.node).is_current(incarnation))
    }
}

/// Fills `bytes` from the stream of the calling thread's node.
pub(crate) fn fill_entropy(bytes: &mut [u8]) {
    kernel::with(|kernel| match kernel.current_owner() {
        Some(owner) => kernel.node(owner.node).entropy.fill(bytes),
        None => kernel.unowned_entropy.fill(bytes),
    });
}
