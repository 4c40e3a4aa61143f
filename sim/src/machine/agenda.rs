//! What is due when: deadlines of waiting threads and tasks, in one ordered list behind one madsim timer.
//!
//! madsim's own `Sleep` has a floor of 1 ms and leaves its timer behind when dropped; a replica that waits for
//! a message with a deadline, thousands of times, would fill its heap.

use super::kernel::{self, Kernel, nanoseconds};
use super::scheduler::{ThreadId, Wake};
use crate::event::Event;
use crate::network::Outcome;
use madsim::time::Sleep;
use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A place in the agenda: due time in virtual nanoseconds, then order of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    at_ns: u64,
    sequence: u64,
}

#[derive(Debug)]
enum Due {
    Thread(ThreadId),
    Task(Waker),
}

#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BTreeMap<Slot, Due>,
    sequence: u64,
    timer: Option<Waker>,
    armed_ns: Option<u64>,
}

impl Agenda {
    /// Enters a thread's deadline.
    pub(crate) fn add_thread(&mut self, at: Duration, thread: ThreadId) -> Slot {
        self.add(nanoseconds(at), Due::Thread(thread))
    }

    /// Enters a task's waking time.
    pub(crate) fn add_task(&mut self, at: Duration, waker: Waker) -> Slot {
        self.add(nanoseconds(at), Due::Task(waker))
    }

    /// Takes an entry out, if it is still there.
    pub(crate) fn cancel(&mut self, slot: Slot) {
        self.entries.remove(&slot);
    }

    fn add(&mut self, at_ns: u64, due: Due) -> Slot {
        self.sequence += 1;
        let slot = Slot { at_ns, sequence: self.sequence };
        self.entries.insert(slot, due);
        self.rearm(at_ns);
        slot
    }

    /// Wakes the timer's task where `at_ns` is earlier than what it waits for.
    pub(crate) fn rearm(&mut self, at_ns: u64) {
        if self.armed_ns.is_none_or(|armed_ns| at_ns < armed_ns)
            && let Some(timer) = self.timer.take()
        {
            timer.wake();
        }
    }

    fn pop_due(&mut self, now_ns: u64) -> Option<Due> {
        let entry = self.entries.first_entry()?;
        (entry.key().at_ns <= now_ns).then(|| entry.remove())
    }

    fn next_ns(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(slot, _)| slot.at_ns)
    }
}

/// The timer's task: runs for as long as the machine does.
pub(crate) async fn run_timer() {
    let (time, start) = kernel::with(|kernel| (kernel.time.clone(), kernel.time.now_instant()));
    let mut sleep = pin!(time.sleep_until(start));
    poll_fn(|context| poll_timer(sleep.as_mut(), context)).await
}

fn poll_timer(mut sleep: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
    loop {
        let next = kernel::with(|kernel| {
            carry_out_due(kernel);
            let next_ns = match (kernel.agenda.next_ns(), kernel.in_flight.next_at_ns()) {
                (Some(left), Some(right)) => Some(left.min(right)),
                (left, right) => left.or(right),
            };
            kernel.agenda.armed_ns = next_ns;
            kernel.agenda.timer = Some(context.waker().clone());
            next_ns.map(|at_ns| {
                let wait_ns = at_ns.saturating_sub(kernel.now_ns());
                kernel.time.now_instant() + Duration::from_nanos(wait_ns)
            })
        });
        let Some(instant) = next else { return Poll::Pending };
        sleep.as_mut().reset(instant);
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
    }
}

fn carry_out_due(kernel: &mut Kernel) {
    let now_ns = kernel.now_ns();
    while let Some(due) = kernel.agenda.pop_due(now_ns) {
        match due {
            Due::Thread(thread) => kernel.end_wait(thread, Wake::TimedOut),
            Due::Task(waker) => waker.wake(),
        }
    }
    while let Some(delivery) = kernel.in_flight.pop_due(now_ns) {
        let (from, to, sequence) = (delivery.from().address, delivery.to().address, delivery.sequence());
        if let Outcome::Delivered { to: endpoint } = kernel.network.deliver(delivery) {
            kernel.record(&Event::Deliver { from, to, sequence });
            kernel.wake_receiver(endpoint);
        }
    }
}
