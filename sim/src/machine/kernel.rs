//! The machine's state, touched only by the holder of the baton.

use super::agenda::Agenda;
use super::mailbox::Mailbox;
use super::medium::Underway;
use super::node::{Node, NodeEvent};
use super::scheduler::Scheduler;
use super::{Abort, Options};
use crate::entropy::Entropy;
use crate::event::Event;
use crate::interpose::BatonCell;
use crate::network::{InFlight, Network};
use crate::trace::Trace;
use crate::vfs::Vfs;
use madsim::time::TimeHandle;
use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

/// Everything that is not a thread's own stack.
pub(crate) struct Kernel {
    pub(crate) time: TimeHandle,
    pub(crate) options: Options,
    pub(crate) scheduler: Scheduler,
    pub(crate) agenda: Agenda,
    pub(crate) nodes: Vec<Node>,
    pub(crate) files: Vfs,
    pub(crate) network: Network,
    pub(crate) in_flight: InFlight,
    /// Tasks outside every node that wait for a message, by address.
    pub(crate) receivers: BTreeMap<u64, Waker>,
    pub(crate) trace: Trace,
    pub(crate) events: Mailbox<NodeEvent>,
    /// Entropy for threads that belong to no node.
    pub(crate) unowned_entropy: Entropy,
    /// Set once the run cannot go on; the runtime's thread ends it as soon as it holds the baton.
    pub(crate) abort: Option<Abort>,
    pub(crate) counters: Counters,
    pub(crate) underway: Underway,
}

/// What the machine counted over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Times a simulated thread was given the baton.
    pub hand_overs: u64,
    /// Simulated threads created.
    pub threads: u64,
    /// File-system calls that change a disk.
    pub disk_operations: u64,
    /// Syncs among them.
    pub syncs: u64,
    /// Reads of files.
    pub reads: u64,
}

static KERNEL: BatonCell<Option<Kernel>> = BatonCell::new(None);

/// Starts the machine's state.
pub(crate) fn install(kernel: Kernel) {
    KERNEL.with(|slot| {
        assert!(slot.is_none(), "one process runs one simulation");
        *slot = Some(kernel);
    });
}

/// Lends the machine's state to `work`.
pub(crate) fn with<R>(work: impl FnOnce(&mut Kernel) -> R) -> R {
    KERNEL.with(|slot| work(slot.as_mut().expect("the machine is running")))
}

/// True while the machine's own code runs: a call that it makes is not an engine's.
pub(crate) fn is_entered() -> bool {
    KERNEL.is_entered()
}

impl Kernel {
    /// Virtual time since the run began.
    pub(crate) fn now(&self) -> Duration {
        self.time.elapsed()
    }

    /// Virtual nanoseconds since the run began.
    pub(crate) fn now_ns(&self) -> u64 {
        nanoseconds(self.now())
    }

    /// Records an event.
    pub(crate) fn record(&mut self, event: &Event) {
        self.record_with(event, &String::new);
    }

    /// Records that links were cut or mended, after it was done.
    pub(crate) fn record_network(&mut self) {
        self.record(&Event::Network { blocked_links: self.network.blocked_links() as u64 });
    }

    /// Records an event with details for the reader of the trace file.
    pub(crate) fn record_with(&mut self, event: &Event, details: &dyn Fn() -> String) {
        let now_ns = self.now_ns();
        self.trace.record(now_ns, event, details);
    }
}

/// A duration in nanoseconds. A run is far shorter than the 584 years that fit.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("virtual time fits 64 bits of nanoseconds")
}
