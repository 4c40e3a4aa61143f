//! Simulated threads: who runs, who waits for what, and which policy decides.
//!
//! madsim is the only executor. Each thread is driven by a madsim task ([`drive`]) that gives it the baton,
//! takes it back with a [`Request`], awaits what the request asks for, and gives it back.

use super::Abort;
use super::agenda::Slot;
use super::kernel::{self, Kernel};
use super::node::Incarnation;
use super::policy::{Policy, Turns};
use crate::entropy::{Entropy, Ratio};
use crate::event::Event;
use crate::interpose::{self, NativeThread};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A simulated thread's number, in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ThreadId(pub(crate) u32);

/// Why a thread gives the baton back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// To let others run.
    Yield,
    /// To sleep for a duration of its node's clock.
    Sleep(Duration),
    /// To wait for a wake-up, until a virtual time at most.
    Wait { key: WaitKey, deadline: Option<Duration> },
    /// To wait for the end of another thread.
    Join(ThreadId),
    /// To end.
    Exit,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WaitKey {
    /// A futex word, by its address.
    Futex(usize),
    /// A message for an address.
    Inbox(u64),
    /// The end of a thread.
    End(ThreadId),
    /// The end of a pause of a node.
    Resume(u16),
    /// Nothing but its own deadline.
    Alone(ThreadId),
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// What it waited for, or nothing in particular.
    Ready,
    /// Its deadline.
    TimedOut,
}

/// What a thread is waiting for now, for the report of a deadlock.
#[derive(Clone, Debug)]
struct Waiting {
    key: WaitKey,
    slot: Option<Slot>,
    waker: Option<Waker>,
    ended: Option<Wake>,
}

pub(crate) struct Thread {
    pub(crate) native: Arc<NativeThread>,
    pub(crate) name: String,
    pub(crate) owner: Option<Incarnation>,
    waiting: Option<Waiting>,
}

/// The table of threads and of what they wait for.
pub(crate) struct Scheduler {
    threads: Vec<Option<Thread>>,
    handles: BTreeMap<u64, ThreadId>,
    starting: Vec<ThreadId>,
    waiters: BTreeMap<WaitKey, VecDeque<ThreadId>>,
    /// The thread that holds the baton.
    running: Option<ThreadId>,
    /// Whether the runtime's thread is creating a simulated thread now, and for whom.
    spawning: Option<Option<Incarnation>>,
    turns: Turns,
    preemption: Ratio,
    entropy: Entropy,
}

impl Scheduler {
    pub(crate) fn new(seed: u64, policy: Policy, preemption: Ratio) -> Self {
        Self {
            threads: Vec::new(),
            handles: BTreeMap::new(),
            starting: Vec::new(),
            waiters: BTreeMap::new(),
            running: None,
            spawning: None,
            turns: Turns::new(policy, Entropy::stream(seed, "scheduling policy")),
            preemption,
            entropy: Entropy::stream(seed, "preemption"),
        }
    }

    fn thread(&mut self, id: ThreadId) -> &mut Thread {
        self.threads[id.0 as usize].as_mut().expect("a thread is in the table until it has ended")
    }

    /// Threads that have not ended, in order of creation.
    pub(crate) fn live(&self) -> impl Iterator<Item = (ThreadId, &Thread)> {
        (0u32..)
            .zip(&self.threads)
            .filter_map(|(id, thread)| thread.as_ref().map(|thread| (ThreadId(id), thread)))
    }

    /// The thread that holds the baton, if the runtime does not.
    pub(crate) fn running(&self) -> Option<ThreadId> {
        self.running
    }
}

impl Thread {
    /// What the thread is doing, in words.
    pub(crate) fn activity(&self) -> String {
        match &self.waiting {
            None => "is ready to run".to_string(),
            Some(Waiting { key, slot, .. }) => {
                let until = if slot.is_some() { " with a deadline" } else { "" };
                match key {
                    WaitKey::Futex(address) => format!("waits on a lock or condition at {address:#x}{until}"),
                    WaitKey::Inbox(address) => format!("waits for a message to address {address}{until}"),
                    WaitKey::End(thread) => format!("waits for the end of thread T{}", thread.0),
                    WaitKey::Resume(node) => format!("is frozen with node {node}"),
                    WaitKey::Alone(_) => "sleeps".to_string(),
                }
            }
        }
    }
}

impl Kernel {
    /// The incarnation that the thread with the baton belongs to.
    pub(crate) fn current_owner(&self) -> Option<Incarnation> {
        let running = self.scheduler.running?;
        self.scheduler.threads[running.0 as usize].as_ref().and_then(|thread| thread.owner)
    }

    /// The name of the thread with the baton; empty where it has none.
    pub(crate) fn current_thread_name(&self) -> String {
        let thread = self.scheduler.running.and_then(|id| self.scheduler.threads[id.0 as usize].as_ref());
        thread.map(|thread| thread.name.clone()).unwrap_or_default()
    }

    /// Ends a thread's wait, whatever it waits for.
    pub(crate) fn end_wait(&mut self, id: ThreadId, wake: Wake) {
        let Some(waiting) = &mut self.scheduler.thread(id).waiting else { return };
        let (key, slot) = (waiting.key, waiting.slot.take());
        waiting.ended = Some(wake);
        let waker = waiting.waker.take();
        if let Some(slot) = slot {
            self.agenda.cancel(slot);
        }
        if let Some(queue) = self.scheduler.waiters.get_mut(&key) {
            queue.retain(|waiter| *waiter != id);
            if queue.is_empty() {
                self.scheduler.waiters.remove(&key);
            }
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes up to `count` threads that wait for `key`, first come first served; how many it were.
    pub(crate) fn wake(&mut self, key: WaitKey, count: usize) -> usize {
        let mut woken = 0;
        while woken < count {
            let Some(&id) = self.scheduler.waiters.get(&key).and_then(|queue| queue.front()) else { break };
            self.end_wait(id, Wake::Ready);
            woken += 1;
        }
        woken
    }

    /// Enters a thread's wait.
    fn begin_wait(&mut self, id: ThreadId, key: WaitKey, deadline: Option<Duration>) {
        let slot = deadline.map(|at| self.agenda.add_thread(at, id));
        self.scheduler.waiters.entry(key).or_default().push_back(id);
        self.scheduler.thread(id).waiting = Some(Waiting { key, slot, waker: None, ended: None });
    }

    fn finish_thread(&mut self, id: ThreadId) {
        let thread = self.scheduler.threads[id.0 as usize].take().expect("a thread ends once");
        self.record(&Event::ThreadEnded { thread: id.0 });
        self.wake(WaitKey::End(id), usize::MAX);
        if let Some(owner) = thread.owner {
            self.thread_left(owner);
        }
    }

    fn is_frozen(&self, id: ThreadId) -> Option<u16> {
        let owner = self.scheduler.threads[id.0 as usize].as_ref()?.owner?;
        let node = &self.nodes[usize::from(owner.node.0)];
        (node.is_paused() && node.is_current(owner)).then_some(owner.node.0)
    }
}

/// Drives one thread to its end.
async fn drive(id: ThreadId) {
    let mut wake = Wake::Ready;
    loop {
        while let Some(node) = kernel::with(|kernel| kernel.is_frozen(id)) {
            wait(id, WaitKey::Resume(node), None).await;
        }
        take_turn(id).await;
        let request = run(id, wake);
        wake = match request {
            Request::Exit => return,
            Request::Yield => {
                madsim::task::yield_now().await;
                Wake::Ready
            }
            Request::Sleep(duration) => {
                let deadline = kernel::with(|kernel| kernel.now() + duration);
                wait(id, WaitKey::Alone(id), Some(deadline)).await
            }
            Request::Wait { key, deadline } => wait(id, key, deadline).await,
            Request::Join(target) if has_ended(target) => Wake::Ready,
            Request::Join(target) => wait(id, WaitKey::End(target), None).await,
        };
    }
}

/// Gives the thread the baton, and carries out what became due while it ran.
fn run(id: ThreadId, wake: Wake) -> Request {
    let native = kernel::with(|kernel| {
        kernel.counters.hand_overs += 1;
        kernel.scheduler.running = Some(id);
        kernel.record(&Event::Run { thread: id.0 });
        Arc::clone(&kernel.scheduler.thread(id).native)
    });
    let request = native.run(wake);
    let abort = kernel::with(|kernel| {
        kernel.scheduler.running = None;
        kernel.scheduler.turns.end(id, matches!(request, Request::Yield));
        if matches!(request, Request::Exit) {
            kernel.finish_thread(id);
        }
        kernel.abort.is_some()
    });
    start_drivers();
    if abort {
        std::panic::resume_unwind(Box::new(super::RunAborted));
    }
    request
}

fn has_ended(id: ThreadId) -> bool {
    kernel::with(|kernel| kernel.scheduler.threads[id.0 as usize].is_none())
}

/// Awaits the wake-up that a thread asked for.
async fn wait(id: ThreadId, key: WaitKey, deadline: Option<Duration>) -> Wake {
    kernel::with(|kernel| kernel.begin_wait(id, key, deadline));
    poll_fn(|context| {
        kernel::with(|kernel| {
            let thread = kernel.scheduler.thread(id);
            let waiting = thread.waiting.as_mut().expect("a wait was begun");
            match waiting.ended {
                Some(wake) => {
                    thread.waiting = None;
                    Poll::Ready(wake)
                }
                None => {
                    waiting.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    })
    .await
}

/// Awaits the policy's leave to run.
async fn take_turn(id: ThreadId) {
    kernel::with(|kernel| kernel.scheduler.turns.begin(id));
    poll_fn(|context| kernel::with(|kernel| kernel.scheduler.turns.poll(id, context))).await
}

/// Starts the driver tasks of threads created since the last call. Runtime thread only.
fn start_drivers() {
    for id in kernel::with(|kernel| std::mem::take(&mut kernel.scheduler.starting)) {
        drop(madsim::task::spawn(drive(id)));
    }
}

/// Runs `start` on a new simulated thread that belongs to `owner`. Runtime thread only.
pub(crate) fn spawn(owner: Option<Incarnation>, name: &str, start: impl FnOnce() + Send + 'static) {
    kernel::with(|kernel| kernel.scheduler.spawning = Some(owner));
    let started = std::thread::Builder::new().name(name.to_string()).spawn(start);
    kernel::with(|kernel| kernel.scheduler.spawning = None);
    drop(started.expect("the host has room for one more thread"));
    start_drivers();
}

/// True while the runtime's thread creates a simulated thread.
pub(crate) fn is_spawning() -> bool {
    kernel::with(|kernel| kernel.scheduler.spawning.is_some())
}

/// The number that the next thread gets.
pub(crate) fn next_thread_id() -> ThreadId {
    kernel::with(|kernel| {
        let id = ThreadId(u32::try_from(kernel.scheduler.threads.len()).expect("a run has fewer threads"));
        kernel.scheduler.threads.push(None);
        id
    })
}

/// Enters a created, parked thread into the table.
pub(crate) fn register_thread(handle: u64, native: Arc<NativeThread>) {
    let id = native.id();
    kernel::with(|kernel| {
        let owner = kernel.scheduler.spawning.unwrap_or_else(|| kernel.current_owner());
        kernel.counters.threads += 1;
        kernel.record(&Event::ThreadStarted {
            thread: id.0,
            owner: owner.map(|owner| (owner.node.0, owner.number)),
        });
        kernel.scheduler.threads[id.0 as usize] =
            Some(Thread { native, name: String::new(), owner, waiting: None });
        kernel.scheduler.handles.insert(handle, id);
        kernel.scheduler.starting.push(id);
        if let Some(owner) = owner {
            kernel.thread_joined(owner);
        }
    });
}

/// The thread that a handle named last.
pub(crate) fn thread_by_handle(handle: u64) -> Option<ThreadId> {
    kernel::with(|kernel| kernel.scheduler.handles.get(&handle).copied())
}

/// Names the calling thread. A thread of a process-wide pool (by its name's prefix) belongs to no node.
pub(crate) fn name_current(name: &str) {
    kernel::with(|kernel| {
        let id = kernel.scheduler.running.expect("a simulated thread is running");
        let shared =
            kernel.options.process_wide_threads.iter().any(|prefix| name.starts_with(prefix.as_str()));
        let thread = kernel.scheduler.thread(id);
        thread.name = name.to_string();
        kernel.trace.name_thread(id.0, name);
        if shared && let Some(owner) = thread.owner.take() {
            kernel.thread_left(owner);
        }
    });
}

/// Wakes threads that wait for `key`.
pub(crate) fn wake(key: WaitKey, count: usize) -> usize {
    kernel::with(|kernel| kernel.wake(key, count))
}

/// A place where the policy may take the baton from the calling simulated thread.
pub(crate) fn preemption_point() {
    let preempt = kernel::with(|kernel| {
        let scheduler = &mut kernel.scheduler;
        match scheduler.running {
            Some(id) => scheduler.turns.preempts(id, &mut scheduler.entropy, scheduler.preemption),
            None => false,
        }
    });
    if preempt {
        interpose::park(Request::Yield);
    }
}

/// Ends the run as soon as the runtime's thread holds the baton: gives it back and never returns control to
/// the caller in a run that goes on.
pub(crate) fn abort_run(abort: Abort) {
    kernel::with(|kernel| {
        kernel.abort.get_or_insert(abort);
    });
    if interpose::is_simulated() {
        interpose::park(Request::Yield);
    }
}
