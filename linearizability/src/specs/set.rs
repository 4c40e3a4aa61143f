//! A set of numbers, empty at first.

use rpds::RedBlackTreeSetSync;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::spec::{Footprint, SequentialSpec};

/// The specification.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// Whether the elements are checked one by one. Right only where nobody reads the whole set.
    pub partitioned: bool,
}

/// What is asked of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetInput {
    /// Put an element in.
    Add(i64),
    /// Take an element out.
    Remove(i64),
    /// Ask whether an element is in.
    Contains(i64),
    /// Ask for all elements.
    Read,
}

/// What the set answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetOutput {
    /// To add and remove: it was done, whatever was there before.
    Done,
    /// To contains.
    Contained(bool),
    /// To read: all elements, ascending.
    Elements(Vec<i64>),
}

/// The elements, with a hash over them that is kept up to date.
#[derive(Clone, Debug)]
pub struct SetState {
    elements: RedBlackTreeSetSync<i64>,
    fingerprint: u128,
}

impl SetState {
    fn with(&self, element: i64) -> SetState {
        if self.elements.contains(&element) {
            return self.clone();
        }
        let fingerprint = self.fingerprint.wrapping_add(xxh3_128(&element.to_le_bytes()));
        SetState { elements: self.elements.insert(element), fingerprint }
    }

    fn without(&self, element: i64) -> SetState {
        if !self.elements.contains(&element) {
            return self.clone();
        }
        let fingerprint = self.fingerprint.wrapping_sub(xxh3_128(&element.to_le_bytes()));
        SetState { elements: self.elements.remove(&element), fingerprint }
    }
}

fn element(input: SetInput) -> Option<i64> {
    match input {
        SetInput::Add(element) | SetInput::Remove(element) | SetInput::Contains(element) => Some(element),
        SetInput::Read => None,
    }
}

impl SequentialSpec for Set {
    type State = SetState;
    type Input = SetInput;
    type Output = SetOutput;
    type Partition = Option<i64>;

    fn initial(&self) -> SetState {
        SetState { elements: RedBlackTreeSetSync::new_sync(), fingerprint: 0 }
    }

    fn step(&self, state: &SetState, input: &SetInput, output: Option<&SetOutput>) -> Option<SetState> {
        let legal = |right: bool| right.then(|| state.clone());
        match (input, output) {
            (SetInput::Add(element), None | Some(SetOutput::Done)) => Some(state.with(*element)),
            (SetInput::Remove(element), None | Some(SetOutput::Done)) => Some(state.without(*element)),
            (SetInput::Contains(_) | SetInput::Read, None) => Some(state.clone()),
            (SetInput::Contains(element), Some(SetOutput::Contained(contained))) => {
                legal(state.elements.contains(element) == *contained)
            }
            (SetInput::Read, Some(SetOutput::Elements(elements))) => {
                legal(state.elements.iter().eq(elements))
            }
            (
                SetInput::Add(_) | SetInput::Remove(_),
                Some(SetOutput::Contained(_) | SetOutput::Elements(_)),
            )
            | (SetInput::Contains(_), Some(SetOutput::Done | SetOutput::Elements(_)))
            | (SetInput::Read, Some(SetOutput::Done | SetOutput::Contained(_))) => None,
        }
    }

    fn fingerprint(&self, state: &SetState) -> u128 {
        state.fingerprint
    }

    fn partition(&self, input: &SetInput) -> Option<i64> {
        element(*input).filter(|_| self.partitioned)
    }

    fn is_read(&self, input: &SetInput, _output: Option<&SetOutput>) -> bool {
        match input {
            SetInput::Contains(_) | SetInput::Read => true,
            SetInput::Add(_) | SetInput::Remove(_) => false,
        }
    }

    fn footprint(&self, input: &SetInput) -> Footprint {
        element(*input).map_or(Footprint::Whole, |element| Footprint::Part(element.cast_unsigned()))
    }

    fn class(&self, input: &SetInput) -> Option<u128> {
        Some(xxh3_128(self.describe(input, None).as_bytes()))
    }

    fn describe(&self, input: &SetInput, output: Option<&SetOutput>) -> String {
        let asked = match input {
            SetInput::Add(element) => format!("add {element}"),
            SetInput::Remove(element) => format!("remove {element}"),
            SetInput::Contains(element) => format!("contains {element}"),
            SetInput::Read => "read".to_owned(),
        };
        match output {
            None => format!("{asked} -> ?"),
            Some(SetOutput::Done) => asked,
            Some(SetOutput::Contained(contained)) => format!("{asked} -> {contained}"),
            Some(SetOutput::Elements(elements)) => format!("{asked} -> {elements:?}"),
        }
    }

    fn explain(&self, state: &SetState, input: &SetInput, _output: &SetOutput) -> String {
        match element(*input) {
            Some(element) if state.elements.contains(&element) => format!("{element} is in the set"),
            Some(element) => format!("{element} is not in the set"),
            None => format!("the set is {:?}", state.elements.iter().collect::<Vec<_>>()),
        }
    }
}
