//! A key-value store with get, put and append. Keys are independent and empty at first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64, xxh3_128};

use crate::history::History;
use crate::spec::{Footprint, SequentialSpec};

/// The specification.
#[derive(Clone, Debug)]
pub struct AppendKv {
    partitioned: bool,
    /// By key, what puts of the history set. `None`: nobody knows.
    puts: Option<BTreeMap<String, Puts>>,
}

/// The values that puts of a key set, whether they took effect or not.
#[derive(Clone, Debug, Default)]
struct Puts {
    /// How many puts there are of each value.
    values: BTreeMap<String, u32>,
    lengths: BTreeSet<usize>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendKvInput {
    /// The key.
    pub key: String,
    /// What to do with it.
    pub action: AppendKvAction,
}

/// What is done with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendKvAction {
    /// Read the value.
    Get,
    /// Replace the value.
    Put(String),
    /// Add to the end of the value.
    Append(String),
}

/// What is answered: to a get the value, to the others nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendKvOutput {
    /// The value read; empty for a key never written.
    Value(String),
    /// The write was done.
    Written,
}

/// The keys that were written, with a hash over them that is kept up to date.
#[derive(Clone, Debug)]
pub struct AppendKvState {
    /// By the key's hash, which is short to compare.
    values: RedBlackTreeMapSync<u128, Written>,
    fingerprint: u128,
}

/// What a key holds.
#[derive(Clone, Debug)]
struct Written {
    value: Arc<str>,
    /// The length of what was put last, which the value begins with; `None` where nothing was put. Left out of the
    /// hash: it says which puts are placed, and a configuration knows that anyway.
    put: Option<usize>,
}

impl AppendKvState {
    fn value(&self, key: &str) -> &str {
        self.written(key).map_or("", |written| &written.value)
    }

    fn written(&self, key: &str) -> Option<&Written> {
        self.values.get(&xxh3_128(key.as_bytes()))
    }

    fn put(&self, key: &str, value: &str) -> AppendKvState {
        let hash = xxh3_128(key.as_bytes());
        self.with(hash, self.values.get(&hash), Written { value: value.into(), put: Some(value.len()) })
    }

    fn append(&self, key: &str, more: &str) -> AppendKvState {
        let hash = xxh3_128(key.as_bytes());
        let old = self.values.get(&hash);
        let value = [old.map_or("", |old| &old.value), more].concat().into();
        self.with(hash, old, Written { value, put: old.and_then(|old| old.put) })
    }

    fn with(&self, key: u128, old: Option<&Written>, new: Written) -> AppendKvState {
        let old = old.map_or(0, |old| fingerprint(key, &old.value));
        let fingerprint = self.fingerprint.wrapping_sub(old).wrapping_add(fingerprint(key, &new.value));
        AppendKvState { values: self.values.insert(key, new), fingerprint }
    }
}

/// Nothing for an empty value, which is what a key holds that was never written.
fn fingerprint(key: u128, value: &str) -> u128 {
    if value.is_empty() {
        return 0;
    }
    let mut hasher = Xxh3Default::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(value.as_bytes());
    hasher.digest128()
}

impl AppendKv {
    /// The specification of any history. Where it is `partitioned`, the keys are checked one by one. Without, all
    /// keys are one object: the same verdicts by one search.
    pub fn new(partitioned: bool) -> AppendKv {
        AppendKv { partitioned, puts: None }
    }

    /// The specification for one history. It knows the values that are put in it, and so sees sooner what a get can
    /// not answer any more. The verdict is the same as without, the search shorter.
    pub fn of(history: &History<AppendKvInput, AppendKvOutput>, partitioned: bool) -> AppendKv {
        let mut puts: BTreeMap<String, Puts> = BTreeMap::new();
        for operation in history.operations() {
            if let AppendKvInput { key, action: AppendKvAction::Put(value) } = &operation.input {
                let puts = puts.entry(key.clone()).or_default();
                *puts.values.entry(value.clone()).or_default() += 1;
                puts.lengths.insert(value.len());
            }
        }
        AppendKv { partitioned, puts: Some(puts) }
    }

    /// Whether some put of the history that may be still to come starts a value that can grow into this one. The put
    /// of what the key was put last has come, so it is not to come if it is the only one of that value.
    fn may_be_put(&self, key: &str, value: &str, written: Option<&Written>) -> bool {
        let Some(puts) = &self.puts else { return true };
        let Some(Puts { values, lengths }) = puts.get(key) else { return false };
        let last = written.and_then(|written| written.value.get(..written.put?));
        lengths.range(..=value.len()).filter_map(|length| value.get(..*length)).any(|beginning| {
            let puts = values.get(beginning).copied().unwrap_or(0);
            puts > u32::from(last == Some(beginning))
        })
    }
}

impl SequentialSpec for AppendKv {
    type State = AppendKvState;
    type Input = AppendKvInput;
    type Output = AppendKvOutput;
    type Partition = Option<String>;

    fn initial(&self) -> AppendKvState {
        AppendKvState { values: RedBlackTreeMapSync::new_sync(), fingerprint: 0 }
    }

    fn step(
        &self,
        state: &AppendKvState,
        input: &AppendKvInput,
        output: Option<&AppendKvOutput>,
    ) -> Option<AppendKvState> {
        let AppendKvInput { key, action } = input;
        match (action, output) {
            (AppendKvAction::Get, Some(AppendKvOutput::Value(value))) => {
                (state.value(key) == value).then(|| state.clone())
            }
            (AppendKvAction::Get, None) => Some(state.clone()),
            (AppendKvAction::Put(value), None | Some(AppendKvOutput::Written)) => Some(state.put(key, value)),
            (AppendKvAction::Append(more), None | Some(AppendKvOutput::Written)) => {
                Some(state.append(key, more))
            }
            (AppendKvAction::Get, Some(AppendKvOutput::Written))
            | (AppendKvAction::Put(_) | AppendKvAction::Append(_), Some(AppendKvOutput::Value(_))) => None,
        }
    }

    fn fingerprint(&self, state: &AppendKvState) -> u128 {
        state.fingerprint
    }

    fn partition(&self, input: &AppendKvInput) -> Option<String> {
        self.partitioned.then(|| input.key.clone())
    }

    fn is_read(&self, input: &AppendKvInput, _output: Option<&AppendKvOutput>) -> bool {
        match &input.action {
            AppendKvAction::Get => true,
            AppendKvAction::Append(more) => more.is_empty(),
            AppendKvAction::Put(_) => false,
        }
    }

    fn footprint(&self, input: &AppendKvInput) -> Footprint {
        Footprint::Part(xxh3_64(input.key.as_bytes()))
    }

    fn class(&self, input: &AppendKvInput) -> Option<u128> {
        let AppendKvInput { key, action } = input;
        let (kind, value) = match action {
            AppendKvAction::Get => ("get", ""),
            AppendKvAction::Put(value) => ("put", value.as_str()),
            AppendKvAction::Append(value) => ("append", value.as_str()),
        };
        Some(xxh3_128(format!("{kind} {} {key}{value}", key.len()).as_bytes()))
    }

    /// A value only grows, until it is put anew: what is no beginning of the value that a get saw will not become it,
    /// unless by a put of such a beginning.
    fn expired(&self, state: &AppendKvState, input: &AppendKvInput, output: &AppendKvOutput) -> bool {
        match (&input.action, output) {
            (AppendKvAction::Get, AppendKvOutput::Value(value)) => {
                let written = state.written(&input.key);
                let grown = written.is_none_or(|written| value.starts_with(&*written.value));
                !grown && !self.may_be_put(&input.key, value, written)
            }
            (AppendKvAction::Get, AppendKvOutput::Written)
            | (AppendKvAction::Put(_) | AppendKvAction::Append(_), AppendKvOutput::Value(_)) => true,
            (AppendKvAction::Put(_) | AppendKvAction::Append(_), AppendKvOutput::Written) => false,
        }
    }

    fn looks_ahead(&self) -> bool {
        self.puts.is_some()
    }

    fn describe(&self, input: &AppendKvInput, output: Option<&AppendKvOutput>) -> String {
        let AppendKvInput { key, action } = input;
        let asked = match action {
            AppendKvAction::Get => format!("get {key}"),
            AppendKvAction::Put(value) => format!("put {key} {value:?}"),
            AppendKvAction::Append(value) => format!("append {key} {value:?}"),
        };
        match output {
            None => format!("{asked} -> ?"),
            Some(AppendKvOutput::Value(value)) => format!("{asked} -> {value:?}"),
            Some(AppendKvOutput::Written) => asked,
        }
    }

    fn explain(&self, state: &AppendKvState, input: &AppendKvInput, _output: &AppendKvOutput) -> String {
        format!("the value is {:?}", state.value(&input.key))
    }
}
