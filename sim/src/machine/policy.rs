//! Which of the threads that could run does run.

use super::scheduler::ThreadId;
use crate::entropy::{Entropy, Ratio};
use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

/// How the next thread is chosen among those that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Policy {
    /// Any of them, by madsim's seeded choice.
    #[default]
    Random,
    /// The one of highest priority. Priorities are drawn at a thread's start, and at so many change points of
    /// the run the running thread's falls below all others (PCT: Burckhardt et al., ASPLOS 2010).
    Priority {
        /// How many change points there are.
        change_points: u32,
    },
    /// The one that became ready first.
    Fixed,
}

/// Scheduling points of a run among which the change points are spread.
const RUN_LENGTH: u64 = 50_000;

/// Hands out turns by the policy.
pub(crate) struct Turns {
    policy: Policy,
    entropy: Entropy,
    /// Threads that are ready and wait for their turn, the next one first.
    ready: BTreeMap<(u64, ThreadId), Option<Waker>>,
    /// The rank of each thread: lower runs first.
    ranks: BTreeMap<ThreadId, u64>,
    last_rank: u64,
    scheduling_points: u64,
    change_at: Vec<u64>,
}

/// Ranks drawn at random stay below this; those given later, at a change point or by order, above.
const FIRST_DEMOTED_RANK: u64 = 1 << 32;

impl Turns {
    pub(crate) fn new(policy: Policy, mut entropy: Entropy) -> Self {
        let count = if let Policy::Priority { change_points } = policy { change_points } else { 0 };
        let mut change_at: Vec<u64> = (0..count).map(|_| entropy.below(RUN_LENGTH)).collect();
        change_at.sort_unstable();
        Self {
            policy,
            entropy,
            ready: BTreeMap::new(),
            ranks: BTreeMap::new(),
            last_rank: FIRST_DEMOTED_RANK,
            scheduling_points: 0,
            change_at,
        }
    }

    /// The thread is ready and wants a turn.
    pub(crate) fn begin(&mut self, id: ThreadId) {
        if self.policy != Policy::Random {
            let rank = self.rank(id);
            self.ready.insert((rank, id), None);
        }
    }

    /// Ready when it is the thread's turn.
    pub(crate) fn poll(&mut self, id: ThreadId, context: &Context<'_>) -> Poll<()> {
        let Some(mut first) = self.ready.first_entry() else { return Poll::Ready(()) };
        if first.key().1 == id {
            first.remove();
            return Poll::Ready(());
        }
        if let Some(waker) = first.get_mut().take() {
            waker.wake();
        }
        let rank = self.rank(id);
        if let Some(waker) = self.ready.get_mut(&(rank, id)) {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The thread gave the baton back; one that yielded goes behind the others.
    pub(crate) fn end(&mut self, id: ThreadId, yielded: bool) {
        if self.policy == Policy::Random {
            return;
        }
        if yielded || self.policy == Policy::Fixed {
            self.demote(id);
        }
        if let Some(mut first) = self.ready.first_entry()
            && let Some(waker) = first.get_mut().take()
        {
            waker.wake();
        }
    }

    /// Whether the running thread loses the baton at this scheduling point.
    pub(crate) fn preempts(&mut self, id: ThreadId, entropy: &mut Entropy, ratio: Ratio) -> bool {
        match self.policy {
            Policy::Random => entropy.chance(ratio),
            Policy::Fixed => false,
            Policy::Priority { .. } => {
                self.scheduling_points += 1;
                let changes = self.change_at.first().is_some_and(|&at| at <= self.scheduling_points);
                if changes {
                    self.change_at.remove(0);
                    self.demote(id);
                }
                changes
            }
        }
    }

    fn rank(&mut self, id: ThreadId) -> u64 {
        if let Some(&rank) = self.ranks.get(&id) {
            return rank;
        }
        let rank = match self.policy {
            Policy::Priority { .. } => self.entropy.below(FIRST_DEMOTED_RANK),
            Policy::Random | Policy::Fixed => self.next_rank(),
        };
        self.ranks.insert(id, rank);
        rank
    }

    fn demote(&mut self, id: ThreadId) {
        let rank = self.next_rank();
        self.ranks.insert(id, rank);
    }

    fn next_rank(&mut self) -> u64 {
        self.last_rank += 1;
        self.last_rank
    }
}
