//! Histories made for measuring: legal by construction, of any length and any number of clients, decided by a seed.

use std::collections::BTreeMap;

use crate::history::{Operation, Outcome, Stamp};
use crate::specs::append_kv::{AppendKvAction, AppendKvInput, AppendKvOutput};

/// What a made history is like.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Decides everything that the other fields leave open.
    pub seed: u64,
    /// How many operations.
    pub operations: u64,
    /// How many clients; each has an operation open nearly all the time.
    pub clients: u32,
    /// How many keys.
    pub keys: u64,
    /// How many operations of a thousand are never answered; half of them take effect.
    pub unknown_per_mille: u64,
    /// How many operations of a hundred are puts.
    pub puts_percent: u64,
    /// How many operations of a hundred are appends; the rest are gets.
    pub appends_percent: u64,
}

/// A client between two of its moves.
enum Client {
    Idle,
    /// It asked; the call has not taken effect.
    Asked(u64),
    /// The call has taken effect, and this is the answer.
    Done(u64, AppendKvOutput),
}

/// Makes the operations of a history, in the order in which they end.
pub struct Making {
    workload: Workload,
    random: u64,
    time: u64,
    invoked: u64,
    clients: Vec<Client>,
    /// The open operations.
    open: BTreeMap<u64, Operation<AppendKvInput, AppendKvOutput>>,
    /// Those that have ended, or never will.
    ended: BTreeMap<u64, Operation<AppendKvInput, AppendKvOutput>>,
    given: u64,
    values: BTreeMap<String, String>,
}

impl Workload {
    /// Starts making the history. Operations come in the order of their invocations.
    pub fn make(self) -> Making {
        Making {
            workload: self,
            random: self.seed,
            time: 0,
            invoked: 0,
            clients: (0..self.clients).map(|_| Client::Idle).collect(),
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
            given: 0,
            values: BTreeMap::new(),
        }
    }
}

impl Making {
    /// A number below `below`, by SplitMix64 (G. Steele and others, 2014).
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    /// One client makes its next move.
    fn tick(&mut self) {
        self.time += 1;
        let chosen = self.draw(self.clients.len() as u64) as usize;
        self.clients[chosen] = match std::mem::replace(&mut self.clients[chosen], Client::Idle) {
            Client::Idle if self.invoked == self.workload.operations => Client::Idle,
            Client::Idle => self.ask(chosen as u32),
            Client::Asked(number) => self.take_effect(number),
            Client::Done(number, output) => {
                let mut operation = self.open.remove(&number).expect("what is done was asked");
                operation.outcome = Outcome::Answered { at: Stamp::at(self.time), output };
                self.ended.insert(number, operation);
                Client::Idle
            }
        };
    }

    fn ask(&mut self, client: u32) -> Client {
        let (kind, key) = (self.draw(100), self.draw(self.workload.keys).to_string());
        let number = self.invoked;
        let value = format!("x {client} {number} y");
        let Workload { puts_percent, appends_percent, .. } = self.workload;
        let action = if kind < puts_percent {
            AppendKvAction::Put(value)
        } else if kind < puts_percent + appends_percent {
            AppendKvAction::Append(value)
        } else {
            AppendKvAction::Get
        };
        self.invoked += 1;
        let input = AppendKvInput { key, action };
        let invoke = Stamp::at(self.time);
        self.open.insert(number, Operation { client, invoke, input, outcome: Outcome::Unknown });
        Client::Asked(number)
    }

    fn take_effect(&mut self, number: u64) -> Client {
        let is_lost = self.draw(1000) < self.workload.unknown_per_mille;
        if is_lost && self.draw(2) == 0 {
            return self.lose(number);
        }
        let AppendKvInput { key, action } = &self.open[&number].input;
        let held = self.values.entry(key.clone()).or_default();
        let output = match action {
            AppendKvAction::Get => AppendKvOutput::Value(held.clone()),
            AppendKvAction::Put(value) => {
                held.clone_from(value);
                AppendKvOutput::Written
            }
            AppendKvAction::Append(value) => {
                held.push_str(value);
                AppendKvOutput::Written
            }
        };
        if is_lost { self.lose(number) } else { Client::Done(number, output) }
    }

    fn lose(&mut self, number: u64) -> Client {
        let operation = self.open.remove(&number).expect("what is lost was asked");
        self.ended.insert(number, operation);
        Client::Idle
    }
}

impl Iterator for Making {
    type Item = Operation<AppendKvInput, AppendKvOutput>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.given < self.workload.operations {
            if let Some(operation) = self.ended.remove(&self.given) {
                self.given += 1;
                return Some(operation);
            }
            self.tick();
        }
        None
    }
}
