//! A key-value store with get, put and append. Keys are independent and empty at first.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use xxhash_rust::xxh3::Xxh3Default;

use crate::linearizability::SequentialSpec;

/// The specification.
#[derive(Clone, Copy, Debug)]
pub struct AppendKv {
    /// Whether the keys are checked one by one, which is right and fast. Without, all keys are one object:
    /// the same verdicts, by a harder search.
    pub partitioned: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendKvInput {
    /// The key.
    pub key: String,
    /// What to do with it.
    pub action: AppendKvAction,
}

/// What is done with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendKvAction {
    /// Read the value.
    Get,
    /// Replace the value.
    Put(String),
    /// Add to the end of the value.
    Append(String),
}

/// What is answered: to a get the value, to the others nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendKvOutput {
    /// The value read; empty for a key never written.
    Value(String),
    /// The write was done.
    Written,
}

/// The keys that were written, with a hash over them that is kept up to date.
#[derive(Clone, Debug)]
pub struct AppendKvState {
    values: RedBlackTreeMapSync<String, Arc<str>>,
    fingerprint: u128,
}

impl AppendKvState {
    fn value(&self, key: &str) -> &str {
        self.values.get(key).map_or("", |value| value)
    }

    fn with(&self, key: &str, value: String) -> AppendKvState {
        let old = self.values.get(key).map_or(0, |old| fingerprint(key, old));
        let fingerprint = self.fingerprint.wrapping_sub(old).wrapping_add(fingerprint(key, &value));
        AppendKvState { values: self.values.insert(key.to_owned(), value.into()), fingerprint }
    }
}

fn fingerprint(key: &str, value: &str) -> u128 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(value.as_bytes());
    hasher.digest128()
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
            (AppendKvAction::Put(value), None | Some(AppendKvOutput::Written)) => {
                Some(state.with(key, value.clone()))
            }
            (AppendKvAction::Append(more), None | Some(AppendKvOutput::Written)) => {
                Some(state.with(key, format!("{}{more}", state.value(key))))
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
