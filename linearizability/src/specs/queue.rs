//! A queue of numbers, first in, first out, empty at first.

use rpds::QueueSync;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::spec::SequentialSpec;

/// The specification.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue;

/// What is asked of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueInput {
    /// Put an element at the end.
    Enqueue(i64),
    /// Take the first element out.
    Dequeue,
}

/// What the queue answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueOutput {
    /// To enqueue.
    Enqueued,
    /// To dequeue: the element that was first, or `None` from an empty queue.
    Dequeued(Option<i64>),
}

/// The elements, with a hash over their sequence that is kept up to date.
#[derive(Clone, Debug)]
pub struct QueueState {
    elements: QueueSync<i64>,
    /// The sum of the elements' hashes, each multiplied by [`BASE`] for every element behind it, modulo 2¹²⁸.
    fingerprint: u128,
}

/// Odd, so that multiplying by it loses nothing.
const BASE: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

impl QueueState {
    fn first(&self) -> Option<i64> {
        self.elements.peek().copied()
    }

    fn with(&self, element: i64) -> QueueState {
        let fingerprint = self.fingerprint.wrapping_mul(BASE).wrapping_add(hash(element));
        QueueState { elements: self.elements.enqueue(element), fingerprint }
    }

    fn without_first(&self) -> QueueState {
        let (Some(first), Some(elements)) = (self.first(), self.elements.dequeue()) else {
            return self.clone();
        };
        let behind =
            u32::try_from(elements.len()).expect("a queue is shorter than four thousand million elements");
        let fingerprint = self.fingerprint.wrapping_sub(hash(first).wrapping_mul(BASE.wrapping_pow(behind)));
        QueueState { elements, fingerprint }
    }
}

/// Never zero for all elements of a queue, so that its length counts, too.
fn hash(element: i64) -> u128 {
    xxh3_128(&element.to_le_bytes())
}

impl SequentialSpec for Queue {
    type State = QueueState;
    type Input = QueueInput;
    type Output = QueueOutput;
    type Partition = ();

    fn initial(&self) -> QueueState {
        QueueState { elements: QueueSync::new_sync(), fingerprint: 0 }
    }

    fn step(
        &self,
        state: &QueueState,
        input: &QueueInput,
        output: Option<&QueueOutput>,
    ) -> Option<QueueState> {
        match (input, output) {
            (QueueInput::Enqueue(element), None | Some(QueueOutput::Enqueued)) => Some(state.with(*element)),
            (QueueInput::Dequeue, None) => Some(state.without_first()),
            (QueueInput::Dequeue, Some(QueueOutput::Dequeued(element))) => {
                (state.first() == *element).then(|| state.without_first())
            }
            (QueueInput::Enqueue(_), Some(QueueOutput::Dequeued(_)))
            | (QueueInput::Dequeue, Some(QueueOutput::Enqueued)) => None,
        }
    }

    fn fingerprint(&self, state: &QueueState) -> u128 {
        state.fingerprint
    }

    fn partition(&self, _input: &QueueInput) {}

    /// A dequeue that found nothing.
    fn is_read(&self, input: &QueueInput, output: Option<&QueueOutput>) -> bool {
        match (input, output) {
            (QueueInput::Dequeue, Some(QueueOutput::Dequeued(None))) => true,
            (QueueInput::Dequeue | QueueInput::Enqueue(_), _) => false,
        }
    }

    fn class(&self, input: &QueueInput) -> Option<u128> {
        Some(xxh3_128(self.describe(input, None).as_bytes()))
    }

    fn describe(&self, input: &QueueInput, output: Option<&QueueOutput>) -> String {
        let asked = match input {
            QueueInput::Enqueue(element) => format!("enqueue {element}"),
            QueueInput::Dequeue => "dequeue".to_owned(),
        };
        match output {
            None => format!("{asked} -> ?"),
            Some(QueueOutput::Enqueued) => asked,
            Some(QueueOutput::Dequeued(Some(element))) => format!("{asked} -> {element}"),
            Some(QueueOutput::Dequeued(None)) => format!("{asked} -> empty"),
        }
    }

    fn explain(&self, state: &QueueState, _input: &QueueInput, _output: &QueueOutput) -> String {
        match state.first() {
            Some(element) => format!("the first element is {element}"),
            None => "the queue is empty".to_owned(),
        }
    }
}
