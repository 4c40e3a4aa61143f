//! What the engine is asked to do before it crashes: steps drawn from a seed, and what they promise to leave.

use engines::native::{Call, Mutation, ONLY_SPACE, Promises, Step, Survives};
use model::recovery::{Effect, Past};
use sim::entropy::{Entropy, Ratio};
use std::fmt::Write as _;

/// The spaces (keyspaces, trees, tables) of an engine that has them.
const SPACES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Keys of a space. Few, so that values are overwritten and removed.
const KEYS: u64 = 24;

/// The longest value in bytes: long enough to cross pages and to fill memtables.
const VALUE_BYTES_MAX: u64 = 3000;

/// One thing that the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Opens the store, which creates it the first time.
    Open,
    /// Runs a step.
    Run(Step),
    /// Closes the store.
    Close,
}

/// Actions in order: the first opens the store, the last closes it.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The actions.
    pub actions: Vec<Action>,
}

impl Workload {
    /// `steps` steps for an engine with these promises, drawn from `seed`.
    pub fn generate(promises: &Promises, seed: u64, steps: usize) -> Self {
        let mut draft = Draft {
            entropy: Entropy::stream(seed, "workload of the crash explorer"),
            promises,
            spaces: if promises.abilities.spaces { Vec::new() } else { vec![ONLY_SPACE] },
            actions: vec![Action::Open],
        };
        while draft.actions.len() <= steps {
            draft.add();
        }
        draft.actions.push(Action::Close);
        Self { actions: draft.actions }
    }

    /// What the actions change, as the model sees it: one change for each of [`Workload::changes`].
    pub fn past(&self, promises: &Promises) -> Past {
        let mut past = Past::new();
        for (_, effects, is_batch) in self.changes() {
            past.push(&effects, is_batch && promises.atomic.is_some());
        }
        past
    }

    /// The actions that change the content: their numbers, their effects, and whether they are batches.
    pub fn changes(&self) -> impl Iterator<Item = (usize, Vec<Effect>, bool)> + '_ {
        self.actions.iter().enumerate().filter_map(|(number, action)| match action {
            Action::Run(Step::Write { batch, .. }) => {
                Some((number, batch.iter().map(effect).collect(), true))
            }
            Action::Run(Step::DropSpace(space)) => {
                Some((number, vec![Effect::DropSpace(space.clone())], false))
            }
            Action::Open
            | Action::Close
            | Action::Run(Step::CreateSpace(_) | Step::Persist(_) | Step::Flush | Step::Compact) => None,
        })
    }

    /// What everything written before an action returned survives from then on.
    pub fn survives(&self, number: usize, promises: &Promises) -> Survives {
        match &self.actions[number] {
            Action::Run(Step::DropSpace(_)) => {
                promises.drops.map_or(Survives::Nothing, |drops| drops.survives)
            }
            Action::Open | Action::Close | Action::Run(_) => {
                self.call(number, promises).map_or(Survives::Nothing, |call| call.survives)
            }
        }
    }

    /// The engine's words on what an action's return promises.
    pub fn source(&self, number: usize, promises: &Promises) -> Option<&'static str> {
        match &self.actions[number] {
            Action::Run(Step::DropSpace(_)) => promises.drops.map(|drops| drops.source),
            Action::Open | Action::Close | Action::Run(_) => {
                self.call(number, promises).map(|call| call.source)
            }
        }
    }

    fn call(&self, number: usize, promises: &Promises) -> Option<Call> {
        match &self.actions[number] {
            Action::Run(Step::Write { mode, .. }) => Some(promises.writes[*mode]),
            Action::Run(Step::Persist(call)) => Some(promises.persists[*call]),
            Action::Run(Step::Flush) => promises.flush,
            Action::Open
            | Action::Close
            | Action::Run(Step::CreateSpace(_) | Step::DropSpace(_) | Step::Compact) => None,
        }
    }

    /// An action in words, with the engine's own name for a call.
    pub fn describe(&self, number: usize, promises: &Promises) -> String {
        match &self.actions[number] {
            Action::Open => "open".to_owned(),
            Action::Close => "close".to_owned(),
            Action::Run(Step::CreateSpace(space)) => format!("create {space}"),
            Action::Run(Step::DropSpace(space)) => format!("drop {space}"),
            Action::Run(Step::Flush) => promises.flush.map_or("flush", |call| call.name).to_owned(),
            Action::Run(Step::Compact) => "compact".to_owned(),
            Action::Run(Step::Persist(call)) => promises.persists[*call].name.to_owned(),
            Action::Run(Step::Write { batch, mode }) => {
                let mut words = String::new();
                for (index, mutation) in batch.iter().enumerate() {
                    let separator = if index > 0 { ", " } else { "" };
                    write!(words, "{separator}{}", mutation_in_words(mutation)).expect("a string takes text");
                }
                format!("{} ({})", words, promises.writes[*mode].name)
            }
        }
    }
}

fn mutation_in_words(mutation: &Mutation) -> String {
    let text = String::from_utf8_lossy;
    match mutation {
        Mutation::Put { space, key, value } => {
            format!("put {space}/{} = {} bytes", text(key), value.len())
        }
        Mutation::Delete { space, key } => format!("delete {space}/{}", text(key)),
        Mutation::DeleteRange { space, start, end } => {
            format!("delete {space}/{}..{}", text(start), text(end))
        }
    }
}

fn effect(mutation: &Mutation) -> Effect {
    match mutation.clone() {
        Mutation::Put { space, key, value } => Effect::Put((space, key), value),
        Mutation::Delete { space, key } => Effect::Delete((space, key)),
        Mutation::DeleteRange { space, start, end } => Effect::DeleteRange { space, start, end },
    }
}

/// A workload while it is drawn.
struct Draft<'a> {
    entropy: Entropy,
    promises: &'a Promises,
    /// Those that exist now.
    spaces: Vec<&'static str>,
    actions: Vec<Action>,
}

impl Draft<'_> {
    fn add(&mut self) {
        let able = &self.promises.abilities;
        if self.spaces.is_empty() {
            return self.create_space();
        }
        match self.entropy.below(100) {
            0..=64 => self.write(),
            65..=81 => {
                let call = self.entropy.below(self.promises.persists.len() as u64);
                self.run(Step::Persist(usize::try_from(call).expect("one of a few calls")));
            }
            82..=85 if able.flush => self.run(Step::Flush),
            86..=88 if able.compact => self.run(Step::Compact),
            89..=92 if able.spaces => self.create_space(),
            93..=94 if able.spaces && self.spaces.len() > 1 => self.drop_space(),
            95..=97 => self.actions.extend([Action::Close, Action::Open]),
            _ => self.write(),
        }
    }

    fn run(&mut self, step: Step) {
        self.actions.push(Action::Run(step));
    }

    fn create_space(&mut self) {
        let missing: Vec<_> = SPACES.into_iter().filter(|space| !self.spaces.contains(space)).collect();
        if missing.is_empty() {
            return self.write();
        }
        let space = *self.entropy.choose(&missing);
        self.spaces.push(space);
        self.run(Step::CreateSpace(space.to_owned()));
    }

    fn drop_space(&mut self) {
        let place = self.entropy.below(self.spaces.len() as u64);
        let space = self.spaces.remove(usize::try_from(place).expect("a place among a few spaces"));
        self.run(Step::DropSpace(space.to_owned()));
    }

    fn write(&mut self) {
        let able = &self.promises.abilities;
        let (has_ranges, crosses) = (able.range_delete, able.batch_across_spaces);
        let modes = self.promises.writes.len() as u64;
        let mode = usize::try_from(self.entropy.below(modes)).expect("one of a few modes");
        let space = *self.entropy.choose(&self.spaces);
        let count = if self.entropy.chance(Ratio::percent(70)) { 1 } else { self.entropy.between(2, 6) };
        let batch = (0..count)
            .map(|place| {
                let space = if crosses { *self.entropy.choose(&self.spaces) } else { space };
                self.mutation(space, place, has_ranges)
            })
            .collect();
        self.run(Step::Write { batch, mode });
    }

    fn mutation(&mut self, space: &str, place: u64, has_ranges: bool) -> Mutation {
        let space = space.to_owned();
        let number = self.entropy.below(KEYS);
        let key = key(number);
        match self.entropy.below(20) {
            0..=3 => Mutation::Delete { space, key },
            4 if has_ranges => {
                let end = self::key(self.entropy.between(number, KEYS));
                Mutation::DeleteRange { space, start: key, end }
            }
            _ => Mutation::Put { space, key, value: self.value(place) },
        }
    }

    /// A value that no other step writes: it names its step.
    fn value(&mut self, place: u64) -> Vec<u8> {
        let mut value = format!("step {} part {place} ", self.actions.len()).into_bytes();
        let length = match self.entropy.below(10) {
            0..=4 => self.entropy.between(20, 100),
            5..=8 => self.entropy.between(100, 1000),
            _ => self.entropy.between(1000, VALUE_BYTES_MAX),
        };
        // Bytes that do not compress, so that tables and journals grow as the value does.
        let begun = value.len();
        value.resize(begun.max(usize::try_from(length).expect("a value fits in memory")), 0);
        self.entropy.fill(&mut value[begun..]);
        value
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number:02}").into_bytes()
}
