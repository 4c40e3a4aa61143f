//! The search through one partition: an explicit stack of configurations, so that no history is too long.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_128;

use super::{Evidence, SequentialSpec};
use crate::history::{History, Operation, Stamp};

/// How a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// A legal order was found.
    Legal,
    /// Every order was tried in vain.
    Stuck,
    /// The steps are spent; the search can go on.
    OutOfSteps,
}

/// A depth-first search for a legal order of one partition.
///
/// The answered operations stand as calls and returns, by time, in a linked list from which placed operations
/// are unlinked; whatever is called before the first return still in the list may come next. Unknown
/// operations stand in a second list of calls and may stay unplaced. Three rules cut the tree:
/// - An answered operation that is legal and changes nothing comes next without alternatives: in any order that
///   goes on from here it can be moved to the front, since all that had to precede it is placed.
/// - An unknown operation that would change nothing is not placed: the order works as well without it.
/// - Where an answer has expired, since no later state can give it, nothing is placed any more.
pub(super) struct Search<'a, S: SequentialSpec> {
    spec: &'a S,
    operations: &'a [Operation<S::Input, S::Output>],
    members: Vec<usize>,
    events: Vec<Event>,
    answered: Links,
    unknown: Vec<Event>,
    unknown_links: Links,
    state: S::State,
    fingerprint: u128,
    placed: u128,
    answered_left: usize,
    levels: Vec<Level<S::State>>,
    successors: Vec<Successor<S::State>>,
    visited: HashSet<u128, BuildHasherDefault<AlreadyHashed>>,
    steps: u64,
    best: Best,
}

/// A call or return of a member.
#[derive(Clone, Copy)]
struct Event {
    at: Stamp,
    member: usize,
    kind: EventKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EventKind {
    Call { return_event: usize },
    Return,
    UnknownCall,
}

/// A configuration on the way down, with what led to it.
struct Level<State> {
    successors_from: usize,
    placed: Option<(EventPlace, State, u128)>,
}

/// Where the call of an operation stands.
#[derive(Clone, Copy)]
enum EventPlace {
    Answered(usize),
    Unknown(usize),
}

/// A configuration that can be entered next.
struct Successor<State> {
    place: EventPlace,
    state: State,
    fingerprint: u128,
}

/// The most answered operations that were ever placed, and how.
#[derive(Default)]
struct Best {
    answered: usize,
    order: Vec<usize>,
    blocked_at: Option<(Stamp, usize)>,
}

impl<'a, S: SequentialSpec> Search<'a, S> {
    /// Starts on the operations with the given indices, ascending.
    pub(super) fn new(
        spec: &'a S,
        history: &'a History<S::Input, S::Output>,
        members: Vec<usize>,
    ) -> Search<'a, S> {
        let operations = history.operations();
        let (events, unknown) = events(operations, &members);
        let state = spec.initial();
        let mut search = Search {
            spec,
            operations,
            answered: Links::new(events.len()),
            unknown_links: Links::new(unknown.len()),
            answered_left: events.len() / 2,
            members,
            events,
            unknown,
            fingerprint: spec.fingerprint(&state),
            state,
            placed: 0,
            levels: Vec::new(),
            successors: Vec::new(),
            visited: HashSet::default(),
            steps: 0,
            best: Best::default(),
        };
        search.push_level(None);
        search
    }

    /// The steps taken so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Goes on until the end, or until about `steps` more were taken.
    pub(super) fn run(&mut self, steps: u64) -> Progress {
        let steps_max = self.steps.saturating_add(steps);
        loop {
            if self.answered_left == 0 {
                return Progress::Legal;
            }
            let Some(level) = self.levels.last() else {
                return Progress::Stuck;
            };
            if self.steps >= steps_max {
                return Progress::OutOfSteps;
            }
            if self.successors.len() > level.successors_from {
                let successor = self.successors.pop().expect("the level has successors left");
                self.enter(successor);
            } else {
                self.leave();
            }
        }
    }

    /// The evidence of a search that is stuck.
    pub(super) fn into_evidence(self, steps: u64) -> Evidence {
        let order = self.best.order.iter().map(|member| self.members[*member]).collect();
        let blocked_by = self.best.blocked_at.map(|(_, member)| self.members[member]);
        Evidence::collect(self.spec, self.operations, &self.members, order, blocked_by, steps)
    }

    fn enter(&mut self, successor: Successor<S::State>) {
        let Successor { place, state, fingerprint } = successor;
        let placed = self.placed ^ random(self.member(place));
        if !self.visited.insert(configuration(placed, fingerprint)) {
            return;
        }
        self.placed = placed;
        match place {
            EventPlace::Answered(call) => {
                self.answered.unlink(call);
                self.answered.unlink(self.return_event(call));
                self.answered_left -= 1;
            }
            EventPlace::Unknown(call) => self.unknown_links.unlink(call),
        }
        let before = std::mem::replace(&mut self.state, state);
        let fingerprint_before = std::mem::replace(&mut self.fingerprint, fingerprint);
        self.push_level(Some((place, before, fingerprint_before)));
    }

    fn push_level(&mut self, placed: Option<(EventPlace, S::State, u128)>) {
        let successors_from = self.successors.len();
        self.levels.push(Level { successors_from, placed });
        if self.answered_left > 0 {
            self.expand(successors_from);
        }
    }

    fn leave(&mut self) {
        let level = self.levels.pop().expect("leave is called on a level");
        let Some((place, state, fingerprint)) = level.placed else { return };
        self.state = state;
        self.fingerprint = fingerprint;
        self.placed ^= random(self.member(place));
        match place {
            EventPlace::Answered(call) => {
                self.answered.relink(self.return_event(call));
                self.answered.relink(call);
                self.answered_left += 1;
            }
            EventPlace::Unknown(call) => self.unknown_links.relink(call),
        }
    }

    /// Puts what may come next on the stack of successors, the most promising last: answered operations in
    /// the order of their calls before unknown ones.
    fn expand(&mut self, from: usize) {
        let mut event = self.answered.first();
        while let EventKind::Call { .. } = self.events[event].kind {
            if let Some(successor) = self.try_next(EventPlace::Answered(event)) {
                let changes_nothing = successor.fingerprint == self.fingerprint;
                if changes_nothing {
                    self.successors.truncate(from);
                    self.successors.push(successor);
                    return;
                }
                self.successors.push(successor);
            } else if self.expired(event) {
                self.successors.truncate(from);
                return self.note(self.events[self.return_event(event)], from);
            }
            event = self.answered.after(event);
        }
        let first_return = self.events[event];
        let mut event = self.unknown_links.first();
        while event < self.unknown.len() && self.unknown[event].at < first_return.at {
            if let Some(successor) = self.try_next(EventPlace::Unknown(event))
                && successor.fingerprint != self.fingerprint
            {
                self.successors.push(successor);
            }
            event = self.unknown_links.after(event);
        }
        self.successors[from..].reverse();
        self.note(first_return, from);
    }

    fn try_next(&mut self, place: EventPlace) -> Option<Successor<S::State>> {
        self.steps += 1;
        let operation = &self.operations[self.members[self.member(place)]];
        let state = self.spec.step(&self.state, &operation.input, operation.outcome.output())?;
        let fingerprint = self.spec.fingerprint(&state);
        Some(Successor { place, state, fingerprint })
    }

    fn expired(&self, call: usize) -> bool {
        let operation = &self.operations[self.members[self.events[call].member]];
        let output = operation.outcome.output();
        output.is_some_and(|output| self.spec.expired(&self.state, &operation.input, output))
    }

    /// Remembers how far the search came: the latest return that stood in the way, and at a dead end the
    /// order, if it is the longest so far.
    fn note(&mut self, first_return: Event, from: usize) {
        if self.best.blocked_at.is_none_or(|(at, _)| at < first_return.at) {
            self.best.blocked_at = Some((first_return.at, first_return.member));
        }
        let answered = self.events.len() / 2 - self.answered_left;
        let dead_end = self.successors.len() == from;
        if dead_end && (answered > self.best.answered || self.best.order.is_empty()) {
            self.best.answered = answered;
            let placed = self.levels.iter().filter_map(|level| level.placed.as_ref());
            self.best.order = placed.map(|(place, ..)| self.member(*place)).collect();
        }
    }

    fn member(&self, place: EventPlace) -> usize {
        match place {
            EventPlace::Answered(event) => self.events[event].member,
            EventPlace::Unknown(event) => self.unknown[event].member,
        }
    }

    fn return_event(&self, call: usize) -> usize {
        match self.events[call].kind {
            EventKind::Call { return_event } => return_event,
            EventKind::Return | EventKind::UnknownCall => {
                unreachable!("only calls of answered operations are placed")
            }
        }
    }
}

/// The calls and returns of the answered members by time, and the calls of the unknown ones.
fn events<I, O>(operations: &[Operation<I, O>], members: &[usize]) -> (Vec<Event>, Vec<Event>) {
    let (mut answered, mut unknown) = (Vec::new(), Vec::new());
    for (member, index) in members.iter().enumerate() {
        let operation = &operations[*index];
        match operation.outcome.returned() {
            Some(returned) => {
                let kind = EventKind::Call { return_event: usize::MAX };
                answered.push(Event { at: operation.invoke, member, kind });
                answered.push(Event { at: returned, member, kind: EventKind::Return });
            }
            None => unknown.push(Event { at: operation.invoke, member, kind: EventKind::UnknownCall }),
        }
    }
    answered.sort_by_key(|event| event.at);
    let mut returns = vec![usize::MAX; members.len()];
    for (place, event) in answered.iter_mut().enumerate().rev() {
        match event.kind {
            EventKind::Return => returns[event.member] = place,
            EventKind::Call { .. } => event.kind = EventKind::Call { return_event: returns[event.member] },
            EventKind::UnknownCall => {}
        }
    }
    (answered, unknown)
}

/// A doubly linked list over the places 0 to n-1, in order, whose links are undone in reverse.
struct Links {
    before: Vec<usize>,
    after: Vec<usize>,
}

impl Links {
    fn new(length: usize) -> Links {
        // Place `length` is the sentinel between the last and the first.
        Links {
            before: (0..=length).map(|place| if place == 0 { length } else { place - 1 }).collect(),
            after: (0..=length).map(|place| if place == length { 0 } else { place + 1 }).collect(),
        }
    }

    /// The first place still linked, or the length of the list.
    fn first(&self) -> usize {
        self.after[self.after.len() - 1]
    }

    fn after(&self, place: usize) -> usize {
        self.after[place]
    }

    fn unlink(&mut self, place: usize) {
        let (before, after) = (self.before[place], self.after[place]);
        self.after[before] = after;
        self.before[after] = before;
    }

    fn relink(&mut self, place: usize) {
        let (before, after) = (self.before[place], self.after[place]);
        self.after[before] = place;
        self.before[after] = place;
    }
}

/// 128 random bits that belong to a member: the set of placed members is the exclusive or of theirs.
fn random(member: usize) -> u128 {
    xxh3_128(&(member as u64).to_le_bytes())
}

fn configuration(placed: u128, fingerprint: u128) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&placed.to_le_bytes());
    bytes[16..].copy_from_slice(&fingerprint.to_le_bytes());
    xxh3_128(&bytes)
}

/// Passes the low half of an already uniform 128-bit key through.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64(bytes);
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
