//! An object for tests that no specification of the crate is like: its parts are written one by one, and all at once, too.
//! Two cells, unset at first.

use linearizability::history::History;
use linearizability::{Footprint, SequentialSpec};
use proptest::prelude::*;

use crate::oracle::Object;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    /// Whether the parts are said to be parts.
    has_parts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellsInput {
    Set(usize, u8),
    Get(usize),
    /// Sets both cells.
    SetAll(u8),
    /// Gives the second cell what the first has.
    Copy,
    GetAll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellsOutput {
    Done,
    Value(u8),
    Values([u8; 2]),
}

impl SequentialSpec for Cells {
    type State = [u8; 2];
    type Input = CellsInput;
    type Output = CellsOutput;
    type Partition = ();

    fn initial(&self) -> [u8; 2] {
        [0, 0]
    }

    fn step(&self, state: &[u8; 2], input: &CellsInput, output: Option<&CellsOutput>) -> Option<[u8; 2]> {
        let mut next = *state;
        let answer = match *input {
            CellsInput::Set(cell, value) => {
                next[cell] = value;
                CellsOutput::Done
            }
            CellsInput::SetAll(value) => {
                next = [value; 2];
                CellsOutput::Done
            }
            CellsInput::Copy => {
                next[1] = next[0];
                CellsOutput::Done
            }
            CellsInput::Get(cell) => CellsOutput::Value(state[cell]),
            CellsInput::GetAll => CellsOutput::Values(*state),
        };
        output.is_none_or(|output| *output == answer).then_some(next)
    }

    fn fingerprint(&self, state: &[u8; 2]) -> u128 {
        u128::from(u16::from_le_bytes(*state))
    }

    fn partition(&self, _input: &CellsInput) {}

    fn is_read(&self, input: &CellsInput, _output: Option<&CellsOutput>) -> bool {
        matches!(input, CellsInput::Get(_) | CellsInput::GetAll)
    }

    fn footprint(&self, input: &CellsInput) -> Footprint {
        match input {
            CellsInput::Set(cell, _) | CellsInput::Get(cell) if self.has_parts => {
                Footprint::Part(*cell as u64)
            }
            CellsInput::Set(..)
            | CellsInput::Get(_)
            | CellsInput::SetAll(_)
            | CellsInput::Copy
            | CellsInput::GetAll => Footprint::Whole,
        }
    }

    fn describe(&self, input: &CellsInput, output: Option<&CellsOutput>) -> String {
        format!("{input:?} -> {output:?}")
    }

    fn explain(&self, state: &[u8; 2], _input: &CellsInput, _output: &CellsOutput) -> String {
        format!("the cells are {state:?}")
    }
}

impl Object for Cells {
    type Spec = Cells;
    type Input = CellsInput;
    type Output = CellsOutput;

    fn specs(_history: &History<CellsInput, CellsOutput>) -> Vec<Cells> {
        vec![Cells { has_parts: true }, Cells { has_parts: false }]
    }

    fn call() -> BoxedStrategy<CellsInput> {
        prop_oneof![
            3 => (0..2_usize, 1..3_u8).prop_map(|(cell, value)| CellsInput::Set(cell, value)),
            3 => (0..2_usize).prop_map(CellsInput::Get),
            1 => (0..3_u8).prop_map(CellsInput::SetAll),
            1 => Just(CellsInput::Copy),
            1 => Just(CellsInput::GetAll),
        ]
        .boxed()
    }

    fn answers(input: &CellsInput, _others: &[CellsInput]) -> Vec<CellsOutput> {
        match input {
            CellsInput::Set(..) | CellsInput::SetAll(_) | CellsInput::Copy => vec![CellsOutput::Done],
            CellsInput::Get(_) => (0..3).map(CellsOutput::Value).collect(),
            CellsInput::GetAll => (0..9).map(|both| CellsOutput::Values([both / 3, both % 3])).collect(),
        }
    }

    fn alter(output: &CellsOutput, by: u8) -> CellsOutput {
        match output {
            CellsOutput::Done => CellsOutput::Done,
            CellsOutput::Value(value) => CellsOutput::Value((value + by) % 3),
            CellsOutput::Values([first, second]) => CellsOutput::Values([*first, (second + by) % 3]),
        }
    }
}
