//! The simulated machine: nodes, their threads, disks, clocks and network, and the run as a whole.

pub(crate) mod agenda;
pub(crate) mod clock;
mod crash;
mod endpoint;
mod fault_point;
pub(crate) mod gate;
pub(crate) mod kernel;
mod mailbox;
mod medium;
pub(crate) mod node;
mod panic;
mod policy;
mod recorder;
pub(crate) mod scheduler;

pub use clock::ClockOptions;
pub use crash::{Crash, CrashPoint, CrashSite, OperationFilter};
pub use endpoint::{NodeEndpoint, OutsideEndpoint, Received};
pub use fault_point::{FaultPoint, PointFault};
pub use kernel::Counters;
pub use node::{NodeEvent, NodeEventKind, NodeId, NodeOptions, PathFaults, Process, Stop};
pub use panic::Panic;
pub use policy::Policy;
pub use recorder::{Recorded, RecordedOperation, Recording};

use crate::entropy::{Entropy, Ratio};
use crate::event::{Event, hash};
use crate::interpose;
use crate::network::{InFlight, LinkOptions, Network, Partition, PartitionId};
use crate::trace::{Trace, TraceSink, TraceSummary};
use crate::vfs::Vfs;
use kernel::Kernel;
use mailbox::Mailbox;
use scheduler::Scheduler;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// How a machine is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Who runs next.
    pub policy: Policy,
    /// How often a thread loses the baton at a disk operation or a wake-up; zero is never. Only under
    /// [`Policy::Random`].
    pub preemption: Ratio,
    /// Virtual time after which the run is given up.
    pub virtual_time_limit: Duration,
    /// Real time after which the process is ended with a backtrace of whoever holds the baton.
    pub real_time_limit: Duration,
    /// Bytes that the program may have allocated at the same time, the machine's own share (the bytes on its disks
    /// above all) included. Who asks for more ends the process ([`crate::isolation::End::OutOfMemory`]).
    pub memory_limit_bytes: u64,
    /// Prefixes of the names of threads that a library keeps for the whole process, whichever node made them
    /// first (sled's `sled-io-`): they belong to no node and survive its crashes.
    pub process_wide_threads: Vec<String>,
    /// Whether the kernel enforces that no system call leaves the machine (seccomp). The run and its trace
    /// are the same, and so is, as far as can be measured, its cost.
    pub enforce_hermetic: bool,
}

impl Options {
    /// The usual machine for `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            policy: Policy::Random,
            preemption: Ratio::percent(5),
            virtual_time_limit: Duration::from_secs(24 * 3600),
            real_time_limit: Duration::from_secs(60),
            memory_limit_bytes: 4 << 30,
            process_wide_threads: Vec::new(),
            enforce_hermetic: false,
        }
    }
}

/// Why a run could not be completed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Abort {
    /// A call would have left the machine: a file or socket of the host, or an unknown system call.
    EscapedCall {
        /// The call and what it was made with.
        call: String,
    },
    /// A call that the virtual disk does not support.
    UnsupportedCall {
        /// The call and what it was made with.
        call: String,
    },
    /// Every thread waits and nothing is due.
    Deadlock,
    /// The virtual time limit was reached.
    VirtualTimeLimit,
    /// The code that drives the machine panicked.
    Panic {
        /// The panic's message and place.
        message: String,
    },
    /// The trace could not be written.
    TraceLost {
        /// What writing it met.
        error: String,
    },
}

/// An aborted run, with what every thread was doing.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Aborted {
    /// Why.
    pub abort: Abort,
    /// Virtual time when it ended.
    pub virtual_time: Duration,
    /// Each live thread: its name, node, what it waits for, and its backtrace.
    pub threads: Vec<String>,
}

/// A completed run.
#[derive(Clone, Debug)]
pub struct Completed<T> {
    /// What the driving task returned.
    pub value: T,
    /// The trace's hash and length.
    pub trace: TraceSummary,
    /// Virtual time that passed.
    pub virtual_time: Duration,
    /// What was counted.
    pub counters: Counters,
}

/// Panic payload that ends a run whose `Abort` is already noted.
pub(crate) struct RunAborted;

/// Runs `main` on a new machine, until it returns. One process runs one machine: call it in a child of
/// [`crate::isolation`].
///
/// `trace` is told every event ([`crate::TextTrace`] writes each as a line of text).
///
/// # Errors
/// Where the run could not be completed: a deadlock, a call that left the machine, a time limit, a panic.
pub fn run<T: Send>(
    options: Options,
    trace: Option<Box<dyn TraceSink>>,
    main: impl AsyncFnOnce(Machine) -> T + Send,
) -> Result<Completed<T>, Aborted> {
    interpose::activate_heap(options.memory_limit_bytes);
    // A fresh thread: the hash seeds and thread-locals of the caller's have a history.
    std::thread::scope(|scope| {
        let runtime = std::thread::Builder::new().name("brownout".to_string());
        let thread = runtime.spawn_scoped(scope, || run_here(options, trace, main));
        thread.expect("the host has room for one thread").join().expect("run_here catches panics")
    })
}

fn run_here<T>(
    options: Options,
    trace: Option<Box<dyn TraceSink>>,
    main: impl AsyncFnOnce(Machine) -> T,
) -> Result<Completed<T>, Aborted> {
    interpose::become_runtime();
    interpose::start_watchdog(options.real_time_limit);
    panic::install_panic_hook();
    let mut runtime = madsim::runtime::Runtime::with_seed_and_config(options.seed, madsim::Config::default());
    runtime.set_time_limit(options.virtual_time_limit);
    // madsim's runtime probes the kernel's entropy once while it is made.
    if options.enforce_hermetic {
        interpose::bypass_heap(interpose::enforce_hermetic);
    }
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            kernel::install(new_kernel(options, trace));
            drop(madsim::task::spawn(agenda::run_timer()));
            main(Machine { _not_send: std::marker::PhantomData }).await
        })
    }));
    // Parked threads and pending tasks go with the process; dropping them here would run their destructors
    // on the wrong thread.
    std::mem::forget(runtime);
    let finished = kernel::with(|kernel| kernel.trace.finish());
    match (outcome, finished) {
        (Ok(value), Ok(())) => Ok(kernel::with(|kernel| Completed {
            value,
            trace: kernel.trace.summary(),
            virtual_time: kernel.now(),
            counters: kernel.counters,
        })),
        (Ok(_), Err(error)) => Err(aborted(Abort::TraceLost { error: error.to_string() })),
        (Err(payload), _) => Err(aborted(classify(payload.as_ref()))),
    }
}

fn new_kernel(options: Options, trace: Option<Box<dyn TraceSink>>) -> Kernel {
    let seed = options.seed;
    Kernel {
        time: madsim::time::TimeHandle::current(),
        scheduler: Scheduler::new(seed, options.policy, options.preemption),
        options,
        agenda: agenda::Agenda::default(),
        nodes: Vec::new(),
        files: Vfs::with_memory(Box::new(interpose::MappedMemory)),
        network: Network::new(seed),
        in_flight: InFlight::new(),
        receivers: BTreeMap::new(),
        trace: Trace::new(trace),
        events: Mailbox::new(),
        unowned_entropy: Entropy::stream(seed, "threads without a node"),
        abort: None,
        underway: medium::Underway::default(),
        counters: Counters::default(),
    }
}

/// Why the runtime unwound. madsim reports a deadlock and its time limit as panics of its own.
fn classify(payload: &(dyn std::any::Any + Send)) -> Abort {
    if payload.is::<RunAborted>() {
        return kernel::with(|kernel| kernel.abort.clone()).expect("an abort is noted before it is raised");
    }
    let message = panic::panic_message(payload);
    if message.contains("all tasks will block forever") {
        Abort::Deadlock
    } else if message.contains("time limit exceeded") {
        Abort::VirtualTimeLimit
    } else {
        Abort::Panic { message: panic::last_panic().unwrap_or(message) }
    }
}

fn aborted(abort: Abort) -> Aborted {
    Aborted { abort, virtual_time: kernel::with(|kernel| kernel.now()), threads: describe_threads() }
}

/// Every thread that has not ended: its name, its node, what it waits for, and its backtrace.
fn describe_threads() -> Vec<String> {
    let threads = kernel::with(|kernel| {
        let describe = |(id, thread): (scheduler::ThreadId, &scheduler::Thread)| {
            let owner = match thread.owner {
                Some(owner) => {
                    format!("{}.{}", kernel.nodes[usize::from(owner.node.0)].name(), owner.number)
                }
                None => "no node".to_string(),
            };
            let name = if thread.name.is_empty() { "unnamed" } else { &thread.name };
            let what = format!("T{} {name} ({owner}) {}", id.0, thread.activity());
            (what, std::sync::Arc::clone(&thread.native))
        };
        kernel.scheduler.live().map(describe).collect::<Vec<_>>()
    });
    threads
        .into_iter()
        .map(|(what, native)| format!("{what}\n{}", interpose::describe(&interpose::frames_of(&native))))
        .collect()
}

/// The running machine, for the task that drives it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Keeps the handle on the runtime's thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Machine {
    /// Virtual time since the run began.
    pub fn now(&self) -> Duration {
        kernel::with(|kernel| kernel.now())
    }

    /// Waits for `duration` of virtual time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Waits until virtual time `at`.
    pub async fn sleep_until(&self, at: Duration) {
        let mut slot = None;
        poll_fn(|context| {
            kernel::with(|kernel| {
                if let Some(slot) = slot.take() {
                    kernel.agenda.cancel(slot);
                }
                if kernel.now() >= at {
                    return std::task::Poll::Ready(());
                }
                slot = Some(kernel.agenda.add_task(at, context.waker().clone()));
                std::task::Poll::Pending
            })
        })
        .await;
    }

    /// Starts a task beside the calling one. It ends with the run at the latest.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        drop(madsim::task::spawn_local(task));
    }

    /// The next thing that happened to a node: it stopped, or one of its threads panicked.
    pub async fn next_event(&self) -> NodeEvent {
        poll_fn(|context| kernel::with(|kernel| kernel.events.poll_next(context))).await
    }

    /// Sets how every link behaves that has no setting of its own.
    pub fn set_default_link(&self, options: LinkOptions) {
        kernel::with(|kernel| kernel.network.set_default_link(options));
    }

    /// Sets how the link from one address to another behaves.
    pub fn set_link(&self, from: u64, to: u64, options: LinkOptions) {
        kernel::with(|kernel| kernel.network.set_link(from, to, options));
    }

    /// Cuts links until the partition is healed.
    pub fn partition(&self, partition: &Partition) -> PartitionId {
        kernel::with(|kernel| {
            let now_ns = kernel.now_ns();
            let (id, deliveries) = kernel.network.partition(now_ns, partition);
            kernel.put_in_flight(deliveries);
            kernel.record_network();
            id
        })
    }

    /// Mends what a partition cut.
    pub fn heal(&self, partition: PartitionId) {
        kernel::with(|kernel| {
            kernel.network.heal(partition);
            kernel.record_network();
        });
    }

    /// Mends every partition.
    pub fn heal_all(&self) {
        kernel::with(|kernel| {
            kernel.network.heal_all();
            kernel.record_network();
        });
    }

    /// A place on the network outside every node.
    pub fn endpoint(&self, address: u64) -> OutsideEndpoint {
        OutsideEndpoint::new(address)
    }

    /// What the network counted.
    pub fn network_counters(&self) -> crate::network::Counters {
        kernel::with(|kernel| *kernel.network.counters())
    }

    /// Every thread that has not ended: its name, its node, what it waits for, and its backtrace, a line each.
    pub fn threads(&self) -> Vec<String> {
        describe_threads()
    }

    /// Notes in the trace that something happened above the machine.
    pub fn mark(&self, topic: &'static str, details: &str) {
        mark(0, topic, details);
    }
}

/// Virtual time since the run began, on any thread of the simulation.
pub fn now() -> Duration {
    kernel::with(|kernel| kernel.now())
}

/// Notes in the trace that something happened above the machine, on a node (numbered from 1) or outside (0).
/// Where no machine runs, or on a thread of a crashed incarnation, it notes nothing.
pub fn mark(node: u16, topic: &'static str, details: &str) {
    kernel::with(|kernel| {
        let event = Event::Mark { node, topic, details: hash(details.as_bytes()) };
        kernel.record_with(&event, &|| details.to_string());
    });
}
