//! A recorded workload, to be walked through change by change on a disk of its own.

use super::workload::{Action, Workload};
use engines::native::{Promises, Survives};
use model::recovery::Duty;
use sim::disk::{Disk, Primitive, Profile, Stamp};
use sim::{Recorded, RecordedOperation, Recording};
use std::ops::Range;

/// What the driver notes in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// This action begins.
    Begun(usize),
    /// It returned without an error.
    Returned(usize),
    /// It returned an error; whether it took effect is unknown.
    Failed(usize),
}

impl Mark {
    /// The number that stands for the mark in a recording.
    pub(super) const fn number(self) -> u64 {
        match self {
            Self::Begun(action) => action as u64 * 3,
            Self::Returned(action) => action as u64 * 3 + 1,
            Self::Failed(action) => action as u64 * 3 + 2,
        }
    }

    /// The mark that `number` stands for.
    pub(super) fn from_number(number: u64) -> Self {
        let action = usize::try_from(number / 3).expect("actions are counted in memory");
        match number % 3 {
            0 => Self::Begun(action),
            1 => Self::Returned(action),
            _ => Self::Failed(action),
        }
    }
}

/// One change of the disk.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// The number of the call that caused it, as [`Timeline::operation`] takes it.
    pub(super) operation: u64,
    pub(super) stamp: Stamp,
    pub(super) change: Primitive,
}

/// What had been asked and promised when a number of changes had been done, and the next not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    /// Actions below this number had begun.
    pub(super) begun: usize,
    /// What actions below this number wrote must survive.
    pub(super) durable: usize,
}

/// A recording taken apart.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    operations: Vec<RecordedOperation>,
    changes: Vec<Done>,
    /// For each number of changes, from none to all.
    asked: Vec<Asked>,
    /// Changes that were done before the engine was asked for anything.
    first: usize,
    /// What a promise must name to count.
    needed: Survives,
}

impl Timeline {
    /// The timeline of a workload. `needed` is what a promise must name to count.
    pub(super) fn new(
        recording: Recording,
        workload: &Workload,
        promises: &Promises,
        needed: Survives,
    ) -> Self {
        let (mut changes, mut places) = (Vec::new(), Vec::new());
        let (mut now, mut first) = (Asked::default(), None);
        for event in recording.events {
            match event {
                Recorded::Change { operation, stamp, change } => {
                    places.push(now);
                    changes.push(Done { operation, stamp, change });
                }
                Recorded::Note(number) => match Mark::from_number(number) {
                    Mark::Begun(action) => {
                        first.get_or_insert(changes.len());
                        now.begun = action + 1;
                    }
                    Mark::Returned(action) => {
                        if needed > Survives::Nothing && workload.survives(action, promises) >= needed {
                            now.durable = action + 1;
                        }
                    }
                    Mark::Failed(_) => {}
                },
            }
        }
        places.push(now);
        Self { operations: recording.operations, changes, asked: places, first: first.unwrap_or(0), needed }
    }

    /// How many changes were done before the engine was asked for anything: no crash falls before.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// How many changes were done.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Change number `number`, from 0.
    pub(super) fn change(&self, number: usize) -> Option<&Done> {
        self.changes.get(number)
    }

    /// True where the last of so many changes leaves every crash what the one before left it: a file was opened.
    pub(super) fn changed_nothing(&self, after: usize) -> bool {
        after > self.first && matches!(self.changes[after - 1].change, Primitive::Open(_))
    }

    /// What had been asked after so many changes.
    pub(super) fn asked(&self, after: usize) -> Asked {
        self.asked[after]
    }

    /// Virtual nanoseconds at the last of the first `after` changes.
    pub(super) fn now_ns(&self, after: usize) -> u64 {
        after.checked_sub(1).map_or(0, |last| self.changes[last].stamp.now_ns)
    }

    /// The call with this number.
    pub(super) fn operation(&self, number: u64) -> Option<&RecordedOperation> {
        let place = self.operations.binary_search_by_key(&number, |operation| operation.number).ok()?;
        Some(&self.operations[place])
    }

    /// What a promise must name to count.
    pub(super) fn needed(&self) -> Survives {
        self.needed
    }

    /// Every call.
    pub(super) fn operations(&self) -> &[RecordedOperation] {
        &self.operations
    }

    /// The calls that were made when the engine had been asked for something.
    pub(super) fn operations_of_the_engine(&self) -> impl Iterator<Item = &RecordedOperation> {
        let before = self.changes[..self.first].iter().map(|done| done.operation).max().unwrap_or(0);
        self.operations.iter().filter(move |operation| operation.number > before)
    }

    /// Does the changes in `range` to `disk`.
    pub(super) fn replay(&self, disk: &mut Disk, range: Range<usize>) {
        for done in &self.changes[range] {
            disk.replay(&done.change, done.stamp);
        }
    }

    /// The number of the disk's last operation after each change, where it began as `start`.
    pub(super) fn sequences(&self, start: &Disk) -> Vec<u64> {
        let mut disk = start.clone();
        let number = |done: &Done| {
            disk.replay(&done.change, done.stamp);
            disk.sequence()
        };
        self.changes.iter().map(number).collect()
    }
}

/// Which action made a change, and what makes it durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author {
    pub(super) action: usize,
    /// Whether a durability call that comes later covers it.
    pub(super) is_persisted: bool,
}

/// The duties of changes by these authors.
pub(super) fn duty(authors: &[Author], asked: Asked) -> impl Fn(usize) -> Duty + '_ {
    move |change| match authors[change] {
        Author { action, .. } if action >= asked.begun => Duty::Absent,
        Author { action, is_persisted: true } if action < asked.durable => Duty::Survive,
        Author { .. } => Duty::Free,
    }
}

/// What the engine must have promised for a crash of this profile.
pub(super) const fn needed(profile: Profile) -> Survives {
    match profile {
        Profile::ProcessKill => Survives::ProcessKill,
        Profile::Ext4Ordered | Profile::Posix | Profile::Lying => Survives::PowerFailure,
    }
}

/// Who made the changes of a workload.
///
/// What a process may forget when it ends is not covered by durability calls of a later one: an engine without a log
/// has forgotten what was in memory only, as it says it does.
pub(super) fn authors(workload: &Workload, promises: &Promises) -> Vec<Author> {
    let drops_persist = promises.drops.is_some_and(|drops| drops.persisted);
    let (mut authors, mut survives_kill) = (Vec::<Author>::new(), 0);
    let mut changes = workload.changes().peekable();
    for number in 0..workload.actions.len() {
        while let Some((action, _, is_batch)) = changes.next_if(|(action, ..)| *action == number) {
            authors.push(Author { action, is_persisted: is_batch || drops_persist });
        }
        if workload.survives(number, promises) >= Survives::ProcessKill {
            survives_kill = number + 1;
        }
        if workload.actions[number] == Action::Close {
            let forgotten = authors.iter_mut().rev().take_while(|author| author.action >= survives_kill);
            forgotten.for_each(|author| author.is_persisted = false);
        }
    }
    authors
}

#[cfg(test)]
mod tests {
    use super::*;
    use engines::native::{Mutation, Step, natives};

    /// The actions of lsm-tree whose changes a later flush covers.
    fn persisted(actions: &[Action]) -> Vec<usize> {
        let native = natives().iter().find(|native| native.name() == "lsm-tree").unwrap();
        let authors = authors(&Workload { actions: actions.to_vec() }, native.promises());
        authors.iter().filter(|author| author.is_persisted).map(|author| author.action).collect()
    }

    #[test]
    fn what_was_not_flushed_when_a_store_was_closed_is_not_owed() {
        let put = |value: &str| {
            let (space, key) = ("kv".to_owned(), b"key".to_vec());
            let batch = vec![Mutation::Put { space, key, value: value.into() }];
            Action::Run(Step::Write { batch, mode: 0 })
        };
        let flush = Action::Run(Step::Persist(0));
        let (open, close) = (Action::Open, Action::Close);
        let actions =
            [open.clone(), put("1"), flush.clone(), put("2"), close.clone(), open, put("3"), flush, close];
        assert_eq!(persisted(&actions), [1, 6]);
    }
}
