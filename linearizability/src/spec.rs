//! What a specification is asked.

/// The part of an object that an operation sees or changes.
///
/// Operations on different parts commute in every state: in either order both give the same answers and lead to the
/// same state. [`Footprint::Whole`] commutes with nothing. Saying `Whole`, or giving two parts one number, is always
/// right, and only lengthens the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footprint {
    /// Everything.
    Whole,
    /// One part, named by a number.
    Part(u64),
}

/// What one object, used by one client at a time, may answer.
///
/// The specification must be deterministic: a state and an input have one answer and one next state. The first four
/// methods and the two in words are all that a specification needs; the others say what the search may take for
/// granted, and their defaults say nothing.
pub trait SequentialSpec {
    /// The state of the object. Cloned once per step: make it cheap.
    type State: Clone;
    /// What is asked.
    type Input;
    /// What is answered.
    type Output;
    /// Names the independent part of the object that an operation touches. `()` where there is only one.
    type Partition: Ord;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after `input` was answered with `output`, or `None` where the object would have answered
    /// otherwise. Without an output any answer is legal, and the operation takes its effect.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// A hash of the state: equal for equal states, and different for different ones but for a negligible
    /// chance. The search takes states with equal fingerprints for equal.
    fn fingerprint(&self, state: &Self::State) -> u128;

    /// The part of the history that an operation is checked with: parts are checked one by one.
    fn partition(&self, input: &Self::Input) -> Self::Partition;

    /// Whether `input`, where it is answered with `output`, leaves *every* state as it was. That it does so in one
    /// state is not enough: a write of the value that is there does, and is no read.
    fn is_read(&self, _input: &Self::Input, _output: Option<&Self::Output>) -> bool {
        false
    }

    /// The part of the state that an operation sees or changes.
    fn footprint(&self, _input: &Self::Input) -> Footprint {
        Footprint::Whole
    }

    /// A number that inputs share only if they have the same effect in every state, whatever is answered to them;
    /// `None` where the input shares its effect with no other, or nobody knows.
    fn class(&self, _input: &Self::Input) -> Option<u128> {
        None
    }

    /// Whether `state`, which does not answer `input` with `output`, cannot be followed by any state that does.
    /// Saying no is always right; saying yes where it is true spares the search what cannot succeed.
    fn expired(&self, _state: &Self::State, _input: &Self::Input, _output: &Self::Output) -> bool {
        false
    }

    /// Whether [`SequentialSpec::expired`] tells so much of reads that the next one of a part is to be looked at
    /// whenever the part changes.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// An operation in words, for evidence.
    fn describe(&self, input: &Self::Input, output: Option<&Self::Output>) -> String;

    /// Why `output` is no answer to `input` in `state`, for evidence.
    fn explain(&self, state: &Self::State, input: &Self::Input, output: &Self::Output) -> String;
}
