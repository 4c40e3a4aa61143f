//! The search through one partition: an explicit stack of configurations, so that no history is too long.

use xxhash_rust::xxh3::xxh3_128;

use crate::evidence::Evidence;
use crate::history::{Operation, Stamp};
use crate::memory::{Memory, Met};
use crate::spec::{Footprint, SequentialSpec};

/// How a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A legal order was found.
    Legal,
    /// Every order was tried.
    Exhausted,
    /// The steps are spent; the search can go on.
    OutOfSteps,
}

/// So many numbers that the memory keeps or compares count as one step. Each configuration keeps one number for each
/// class of unknown operations: with a thousand of them, how often the specification was asked says little of time and
/// memory.
const NUMBERS_PER_STEP: u64 = 16;

/// A configuration at one end of a search: where it begins, or what an order of all answered operations led to.
#[derive(Clone, Debug)]
pub(crate) struct End<State> {
    pub(crate) state: State,
    /// How many unknown operations of each class are placed, the classes in the order of their first members.
    pub(crate) used: Vec<u32>,
}

/// A depth-first search for a legal order of one partition.
///
/// The answered operations stand as calls and returns, by time, in a linked list from which placed operations
/// are unlinked; whatever is called before the first return still in the list is a *candidate* to come next. Unknown
/// operations are candidates from their call on, and may stay unplaced. Six rules cut the tree. Each keeps this: if
/// any order of `n` operations goes on from a configuration to the end, then so does one of `n` or fewer that begins
/// with a successor that is tried.
/// 1. *Reads first.* A legal candidate that leaves every state as it was comes next without alternatives: in an order
///    that places it later it can be moved to the front, for what had to precede it is placed, and what it passes
///    does not see it. It does not do that the operation happens to change nothing here, as a write of the present
///    value does: where it stood later, it may have been needed there.
/// 2. *One part at a time.* Let `f` be the footprint of the operation that returns first. If no candidate has the
///    footprint of the whole object, only candidates of `f` are tried. In an order that goes on from here let `o` be
///    the first operation of `f`: one there is, since the operation that returns first is placed, and `o` is that one
///    or comes before it. What comes before `o` was therefore invoked before the first return, so it is a candidate,
///    not of `f`, and commutes with `o`; and `o` is a candidate, too. So `o` can be moved to the front.
/// 3. *Classes.* Of unknown operations with the same effect only the first invoked is tried. In an order that places
///    another one next, the two can change places.
/// 4. *No idle unknowns.* An unknown operation that changes nothing here is not placed: the order works without it.
/// 5. *Dominance.* See [`Memory`].
/// 6. *Expiry.* Where an answer has expired, since no later state can give it, nothing is placed any more. Where the
///    specification asks for it, the next read of the part that an operation changes is looked at before it is
///    placed, though it may not be invoked yet.
/// 7. *Blame.* A configuration at which only operations of one part are tried *fails for* that part if each successor
///    fails for it, or there is none: then the operations of the part that are left have no legal order from what
///    the part is like here, whatever happens elsewhere. If a successor fails for another part, so does the
///    configuration itself, since what was placed has not touched that part; the other successors need not be
///    tried. Without this the choices of independent parts would multiply where one of them has no way out.
pub(crate) struct Search<'a, S: SequentialSpec> {
    spec: &'a S,
    operations: &'a [Operation<S::Input, S::Output>],
    members: Vec<usize>,
    calls: Calls,
    unknown: Unknown,
    state: S::State,
    fingerprint: u128,
    /// The exclusive or of the random numbers of the answered operations placed.
    placed: u128,
    /// How many operations of each class of unknown ones are placed.
    used: Vec<u32>,
    answered_left: usize,
    levels: Vec<Level<S::State>>,
    successors: Vec<Successor<S::State>>,
    memory: Memory,
    /// How often the specification was asked.
    steps: u64,
    best: Best,
    /// Set where all ends are wanted: those found so far, and which they are.
    ends: Option<(Vec<End<S::State>>, Memory)>,
}

/// A configuration on the way down, with what led to it.
struct Level<State> {
    successors_from: usize,
    placed: Option<Placed<State>>,
    /// The part whose operations are tried.
    part: u32,
    /// What it fails for, as far as known.
    blame: u32,
    /// Its entry in the memory.
    entry: u32,
}

/// What was placed, and how to take it back.
struct Placed<State> {
    place: Place,
    operation: u32,
    state_before: State,
    fingerprint_before: u128,
}

/// What is placed: an answered operation by the place of its call, or the next one of a class.
#[derive(Clone, Copy)]
enum Place {
    Answered(u32),
    Unknown(u32),
}

/// A configuration that can be entered next.
struct Successor<State> {
    place: Place,
    state: State,
    fingerprint: u128,
}

/// The most answered operations that were ever placed, and how.
#[derive(Default)]
struct Best {
    answered: usize,
    order: Vec<u32>,
    /// How much of `order` is still the way that the search is on.
    shared: usize,
    blocked_at: Option<(Stamp, usize)>,
}

impl<'a, S: SequentialSpec> Search<'a, S> {
    /// Starts on the operations with the given indices, ascending.
    pub(crate) fn new(
        spec: &'a S,
        operations: &'a [Operation<S::Input, S::Output>],
        members: Vec<usize>,
        begin: End<S::State>,
    ) -> Search<'a, S> {
        let mut parts = Parts::default();
        let mut calls = Calls::of(spec, operations, &members, &mut parts);
        let unknown = Unknown::of(spec, operations, &members, &mut parts);
        calls.has_parts = parts.numbers.len() > 1;
        let mut used = begin.used;
        used.resize(unknown.classes.len(), 0);
        let mut search = Search {
            spec,
            operations,
            members,
            answered_left: calls.events.len() / 2,
            memory: Memory::new(unknown.classes.len(), calls.has_parts),
            calls,
            unknown,
            fingerprint: spec.fingerprint(&begin.state),
            state: begin.state,
            placed: 0,
            used,
            levels: Vec::new(),
            successors: Vec::new(),
            steps: 0,
            best: Best::default(),
            ends: None,
        };
        search.push_level(None, NOWHERE);
        search
    }

    /// The same search for every end that no other dominates, instead of for one.
    pub(crate) fn for_all_ends(mut self) -> Search<'a, S> {
        self.ends = Some((Vec::new(), Memory::new(self.unknown.classes.len(), false)));
        self
    }

    /// The ends found.
    pub(crate) fn into_ends(self) -> Vec<End<S::State>> {
        self.ends.map_or_else(Vec::new, |(ends, _)| ends)
    }

    /// The steps taken so far: those of the specification, and those that the memory cost.
    pub(crate) fn steps(&self) -> u64 {
        let ends = self.ends.as_ref().map_or(0, |(_, met)| met.work());
        self.steps + (self.memory.work() + ends) / NUMBERS_PER_STEP
    }

    /// How many answered operations the longest order has placed.
    pub(crate) fn answered_placed(&self) -> usize {
        self.best.answered
    }

    /// Goes on until the end, or until about `steps` more were taken.
    pub(crate) fn run(&mut self, steps: u64) -> Progress {
        let steps_max = self.steps().saturating_add(steps);
        loop {
            if self.answered_left == 0 && !self.note_end() {
                return Progress::Legal;
            }
            let Some(level) = self.levels.last() else {
                return Progress::Exhausted;
            };
            if self.steps() >= steps_max {
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

    /// The evidence of a search that found nothing.
    pub(crate) fn into_evidence(self, begin: &S::State, steps: u64) -> Evidence {
        let order = self.best.order.iter().map(|operation| *operation as usize).collect();
        let blocked_by = self.best.blocked_at.map(|(_, operation)| operation);
        Evidence::collect(self.spec, self.operations, &self.members, begin, order, blocked_by, steps)
    }

    /// Notes that all answered operations are placed, and goes back; false where one such order is enough.
    fn note_end(&mut self) -> bool {
        let Some((ends, met)) = &mut self.ends else { return false };
        if let Met::New(_) = met.insert(mixed(0, self.fingerprint), &self.used, WHOLE) {
            ends.push(End { state: self.state.clone(), used: self.used.clone() });
        }
        // Not a failure, so no successor may be spared for it.
        self.levels.last_mut().expect("an end has a level").blame = WHOLE;
        self.leave();
        true
    }

    fn enter(&mut self, successor: Successor<S::State>) {
        let Successor { place, state, fingerprint } = successor;
        let operation = match place {
            Place::Answered(call) => {
                self.placed ^= self.calls.random[call as usize];
                self.calls.events[call as usize].operation
            }
            Place::Unknown(class) => {
                self.used[class as usize] += 1;
                self.unknown.classes[class as usize].operations[self.used[class as usize] as usize - 1]
            }
        };
        let entry = match self.memory.insert(mixed(self.placed, fingerprint), &self.used, WHOLE) {
            Met::New(entry) => entry,
            Met::Known(blame) => {
                self.take_back(place);
                return self.note_failure(blame);
            }
        };
        if let Place::Answered(call) = place {
            self.calls.links.unlink(call);
            self.calls.links.unlink(self.calls.events[call as usize].partner);
            self.answered_left -= 1;
        }
        let state_before = std::mem::replace(&mut self.state, state);
        let fingerprint_before = std::mem::replace(&mut self.fingerprint, fingerprint);
        self.push_level(Some(Placed { place, operation, state_before, fingerprint_before }), entry);
    }

    fn take_back(&mut self, place: Place) {
        match place {
            Place::Answered(call) => self.placed ^= self.calls.random[call as usize],
            Place::Unknown(class) => self.used[class as usize] -= 1,
        }
    }

    fn push_level(&mut self, placed: Option<Placed<S::State>>, entry: u32) {
        let successors_from = self.successors.len();
        self.levels.push(Level { successors_from, placed, part: WHOLE, blame: WHOLE, entry });
        if self.answered_left > 0 {
            self.expand(successors_from);
        }
    }

    fn leave(&mut self) {
        let Level { placed, blame, entry, .. } = self.levels.pop().expect("leave is called on a level");
        self.memory.blame(entry, &self.used, blame);
        self.best.shared = self.best.shared.min(self.levels.len().saturating_sub(1));
        let Some(Placed { place, operation: _, state_before, fingerprint_before }) = placed else { return };
        self.state = state_before;
        self.fingerprint = fingerprint_before;
        self.take_back(place);
        if let Place::Answered(call) = place {
            self.calls.links.relink(self.calls.events[call as usize].partner);
            self.calls.links.relink(call);
            self.answered_left += 1;
        }
        self.note_failure(blame);
    }

    /// Rule 7: a successor of the present configuration has failed for a part.
    fn note_failure(&mut self, blame: u32) {
        let Some(level) = self.levels.last_mut() else { return };
        if level.part == WHOLE || blame == WHOLE {
            level.blame = WHOLE;
        } else if level.part != blame {
            level.blame = blame;
            self.successors.truncate(level.successors_from);
        }
    }

    /// Puts what may come next on the stack of successors, the most promising last: answered operations in
    /// the order of their returns before unknown ones.
    fn expand(&mut self, from: usize) {
        let first_return = self.calls.first_return();
        let wanted = self.wanted(first_return);
        let level = self.levels.last_mut().expect("what is expanded has a level");
        level.part = if self.ends.is_some() { WHOLE } else { wanted };
        level.blame = level.part;
        let found = self.expand_answered(wanted, from);
        if let Found::Open = found {
            self.expand_unknown(wanted, first_return);
            self.successors[from..].reverse();
        }
        self.note(first_return);
    }

    /// Rule 2: the part to which the candidates can be confined.
    fn wanted(&self, first_return: u32) -> u32 {
        if !self.calls.has_parts {
            return WHOLE;
        }
        let mut event = self.calls.links.first();
        while event != first_return {
            if self.calls.parts[event as usize] == WHOLE {
                return WHOLE;
            }
            event = self.calls.links.after(event);
        }
        if self.unknown.has_whole {
            let until = self.returned_at(first_return);
            let whole = |class: &Class, used| class.part == WHOLE && class.is_available(used, until);
            let mut classes = self.unknown.classes.iter().zip(&self.used);
            if classes.any(|(class, used)| whole(class, *used)) {
                return WHOLE;
            }
        }
        self.calls.parts[first_return as usize]
    }

    /// Tries the answered candidates, the reads first.
    fn expand_answered(&mut self, wanted: u32, from: usize) -> Found {
        let first = self.calls.links.first();
        for reads in [true, false] {
            let mut event = first;
            while self.calls.is_call(event) {
                let place = event as usize;
                let part = self.calls.parts[place];
                if self.calls.reads[place] == reads && (wanted == WHOLE || part == wanted) {
                    let operation = &self.operations[self.calls.events[place].operation as usize];
                    let successor = self.try_next(Place::Answered(event), operation);
                    let legal = successor.is_some();
                    if legal && reads {
                        self.successors.extend(successor);
                        return Found::Settled;
                    }
                    if !legal && self.expired(operation) {
                        // It stands in the way, though another one may return before it.
                        self.note_return(self.calls.events[place].partner);
                        self.successors.truncate(from);
                        return Found::Settled;
                    }
                    if let Some(successor) = successor
                        && self.is_promising(&successor, part)
                    {
                        self.successors.push(successor);
                    }
                }
                event = self.calls.links.after(event);
            }
        }
        Found::Open
    }

    fn expand_unknown(&mut self, wanted: u32, first_return: u32) {
        if self.unknown.classes.is_empty() {
            return;
        }
        let until = self.returned_at(first_return);
        for class in 0..self.unknown.classes.len() {
            let Class { part, operations, .. } = &self.unknown.classes[class];
            let (part, used) = (*part, self.used[class]);
            let in_turn = wanted == WHOLE || part == wanted;
            if in_turn && self.unknown.classes[class].is_available(used, until) {
                let operation = &self.operations[operations[used as usize] as usize];
                let successor = self.try_next(Place::Unknown(class as u32), operation);
                if let Some(successor) = successor
                    && successor.fingerprint != self.fingerprint
                    && self.is_promising(&successor, part)
                {
                    self.successors.push(successor);
                }
            }
        }
    }

    /// Rule 6 for what is to come: whether the next read of a part has not expired after a change of it.
    fn is_promising(&mut self, successor: &Successor<S::State>, part: u32) -> bool {
        let Some(read) = self.calls.next_read(part) else { return true };
        let operation = self.calls.events[read as usize].operation as usize;
        let Operation { input, outcome, .. } = &self.operations[operation];
        let expired =
            outcome.output().is_some_and(|output| self.spec.expired(&successor.state, input, output));
        if expired {
            self.note_return(self.calls.events[read as usize].partner);
        }
        !expired
    }

    fn try_next(
        &mut self,
        place: Place,
        operation: &Operation<S::Input, S::Output>,
    ) -> Option<Successor<S::State>> {
        self.steps += 1;
        let state = self.spec.step(&self.state, &operation.input, operation.outcome.output())?;
        let fingerprint = self.spec.fingerprint(&state);
        Some(Successor { place, state, fingerprint })
    }

    fn expired(&self, operation: &Operation<S::Input, S::Output>) -> bool {
        let output = operation.outcome.output();
        output.is_some_and(|output| self.spec.expired(&self.state, &operation.input, output))
    }

    /// Remembers how far the search came: the latest return that stood in the way, and the order, if it has more
    /// answered operations than any before.
    fn note(&mut self, first_return: u32) {
        self.note_return(first_return);
        let answered = self.calls.events.len() / 2 - self.answered_left;
        if answered > self.best.answered {
            self.best.answered = answered;
            self.best.order.truncate(self.best.shared);
            let new =
                self.levels[1 + self.best.order.len()..].iter().filter_map(|level| level.placed.as_ref());
            self.best.order.extend(new.map(|placed| placed.operation));
            self.best.shared = self.best.order.len();
        }
    }

    /// Remembers that an answer stood in the way. The latest of all is that of an operation that no order gets past: what
    /// is invoked after its return was never looked at.
    fn note_return(&mut self, event: u32) {
        let at = self.returned_at(event);
        if self.best.blocked_at.is_none_or(|(latest, _)| latest < at) {
            self.best.blocked_at = Some((at, self.calls.events[event as usize].operation as usize));
        }
    }

    fn returned_at(&self, event: u32) -> Stamp {
        let operation = &self.operations[self.calls.events[event as usize].operation as usize];
        operation.outcome.returned().expect("only answered operations have returns")
    }
}

/// What the answered candidates showed.
enum Found {
    /// There is nothing else to try.
    Settled,
    /// Unknown operations may come next, too.
    Open,
}

/// A call or return of an answered operation.
#[derive(Clone, Copy)]
struct Event {
    operation: u32,
    /// The place of the return of this call, or of the call of this return.
    partner: u32,
}

/// The calls and returns of the answered operations, by time; everything else by the place of the event.
struct Calls {
    events: Vec<Event>,
    links: Links,
    random: Vec<u128>,
    reads: Vec<bool>,
    parts: Vec<u32>,
    /// By part: the calls of reads, ascending. Empty where the specification does not look ahead.
    reads_of: Vec<Vec<u32>>,
    /// Whether there are different parts, so that rules 2 and 7 can spare anything.
    has_parts: bool,
}

/// Numbers for the parts that are named in a partition. [`WHOLE`] is no part.
#[derive(Default)]
struct Parts {
    numbers: std::collections::BTreeMap<u64, u32>,
}

/// The number of everything.
const WHOLE: u32 = 0;

impl Parts {
    fn number(&mut self, footprint: Footprint) -> u32 {
        match footprint {
            Footprint::Whole => WHOLE,
            Footprint::Part(part) => {
                let next = self.numbers.len() as u32 + 1;
                *self.numbers.entry(part).or_insert(next)
            }
        }
    }
}

impl Calls {
    fn of<S: SequentialSpec>(
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
        members: &[usize],
        numbers: &mut Parts,
    ) -> Calls {
        let mut points: Vec<(Stamp, u32)> = Vec::with_capacity(2 * members.len());
        for index in members {
            let operation = &operations[*index];
            if let Some(returned) = operation.outcome.returned() {
                let index =
                    u32::try_from(*index).expect("a history has fewer than four thousand million operations");
                points.extend([(operation.invoke, index), (returned, index)]);
            }
        }
        points.sort_unstable();
        let mut open: Vec<(u32, u32)> = Vec::new();
        let mut events: Vec<Event> = Vec::with_capacity(points.len());
        for (place, (_, operation)) in points.iter().enumerate() {
            let place = place as u32;
            let mut partner = NOWHERE;
            match open.iter().position(|(of, _)| of == operation) {
                Some(at) => {
                    partner = open.swap_remove(at).1;
                    events[partner as usize].partner = place;
                }
                None => open.push((*operation, place)),
            }
            events.push(Event { operation: *operation, partner });
        }
        let (mut reads, mut parts) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (place, event) in events.iter().enumerate() {
            let call = event.partner as usize;
            let Operation { input, outcome, .. } = &operations[event.operation as usize];
            let known = call < place;
            reads.push(if known { reads[call] } else { spec.is_read(input, outcome.output()) });
            parts.push(if known { parts[call] } else { numbers.number(spec.footprint(input)) });
        }
        let mut reads_of = Vec::new();
        if spec.looks_ahead() {
            reads_of = vec![Vec::new(); numbers.numbers.len() + 1];
            for (place, event) in events.iter().enumerate().filter(|(place, _)| reads[*place]) {
                if event.partner as usize > place {
                    reads_of[parts[place] as usize].push(place as u32);
                }
            }
        }
        Calls {
            links: Links::new(events.len()),
            random: events.iter().map(|event| random(event.operation)).collect(),
            reads,
            parts,
            reads_of,
            has_parts: false,
            events,
        }
    }

    /// The first call of a read of a part that is not placed, if the specification looks ahead.
    fn next_read(&self, part: u32) -> Option<u32> {
        let reads = self.reads_of.get(part as usize)?;
        let from = reads.partition_point(|read| *read < self.links.first());
        reads[from..].iter().copied().find(|read| self.links.is_linked(*read))
    }

    fn is_call(&self, event: u32) -> bool {
        self.events[event as usize].partner > event
    }

    /// The place of the first return still linked; there is one while an answered operation is left.
    fn first_return(&self) -> u32 {
        let mut event = self.links.first();
        while self.is_call(event) {
            event = self.links.after(event);
        }
        event
    }
}

/// The unknown operations that may change something, by class.
struct Unknown {
    classes: Vec<Class>,
    /// Whether some of them are of no part.
    has_whole: bool,
}

/// Unknown operations with the same effect, in the order of their invocations.
struct Class {
    operations: Vec<u32>,
    invoked: Vec<Stamp>,
    part: u32,
}

impl Class {
    /// Whether, when so many are used, another was invoked before a return.
    fn is_available(&self, used: u32, until: Stamp) -> bool {
        self.invoked.get(used as usize).is_some_and(|invoked| *invoked < until)
    }
}

impl Unknown {
    fn of<S: SequentialSpec>(
        spec: &S,
        operations: &[Operation<S::Input, S::Output>],
        members: &[usize],
        parts: &mut Parts,
    ) -> Unknown {
        let mut named: std::collections::BTreeMap<u128, usize> = std::collections::BTreeMap::new();
        let mut classes: Vec<Class> = Vec::new();
        for index in members {
            let Operation { invoke, input, outcome, .. } = &operations[*index];
            if outcome.returned().is_some() || spec.is_read(input, None) {
                continue;
            }
            let name = spec.class(input);
            let place = match name.and_then(|name| named.get(&name)) {
                Some(place) => *place,
                None => {
                    let part = parts.number(spec.footprint(input));
                    classes.push(Class { operations: Vec::new(), invoked: Vec::new(), part });
                    classes.len() - 1
                }
            };
            named.extend(name.map(|name| (name, place)));
            classes[place].operations.push(*index as u32);
            classes[place].invoked.push(*invoke);
        }
        Unknown { has_whole: classes.iter().any(|class| class.part == WHOLE), classes }
    }
}

/// A doubly linked list over the places 0 to n-1, in order, whose links are undone in reverse.
struct Links {
    around: Vec<(u32, u32)>,
}

/// No place.
const NOWHERE: u32 = u32::MAX;

impl Links {
    fn new(length: usize) -> Links {
        // Place `length` is the sentinel between the last and the first.
        let last = length as u32;
        let before = |place| if place == 0 { last } else { place - 1 };
        let after = |place| if place == last { 0 } else { place + 1 };
        Links { around: (0..=last).map(|place| (before(place), after(place))).collect() }
    }

    /// The first place still linked, or the length of the list.
    fn first(&self) -> u32 {
        self.around[self.around.len() - 1].1
    }

    fn after(&self, place: u32) -> u32 {
        self.around[place as usize].1
    }

    fn is_linked(&self, place: u32) -> bool {
        self.around[self.around[place as usize].0 as usize].1 == place
    }

    fn unlink(&mut self, place: u32) {
        let (before, after) = self.around[place as usize];
        self.around[before as usize].1 = after;
        self.around[after as usize].0 = before;
    }

    fn relink(&mut self, place: u32) {
        let (before, after) = self.around[place as usize];
        self.around[before as usize].1 = place;
        self.around[after as usize].0 = place;
    }
}

/// 128 random bits that belong to an operation: the set of placed operations is the exclusive or of theirs.
fn random(operation: u32) -> u128 {
    xxh3_128(&operation.to_le_bytes())
}

/// One number for a set of placed operations and a state.
pub(crate) fn mixed(placed: u128, fingerprint: u128) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&placed.to_le_bytes());
    bytes[16..].copy_from_slice(&fingerprint.to_le_bytes());
    xxh3_128(&bytes)
}
