//! What every other test is held to: an oracle that tries all orders, and histories of every object, random ones
//! that are legal by construction, and the same damaged.

use std::fmt::Debug;

use linearizability::history::{History, Operation, Outcome, Stamp};
use linearizability::specs::append_kv::{AppendKv, AppendKvAction, AppendKvInput, AppendKvOutput};
use linearizability::specs::queue::{Queue, QueueInput, QueueOutput};
use linearizability::specs::register::{Register, RegisterInput, RegisterOutput};
use linearizability::specs::set::{Set, SetInput, SetOutput};
use linearizability::{Budget, SequentialSpec, Verdict, check};
use proptest::prelude::*;
use proptest::sample::Index;

/// Whether some order of the operations is legal, by trying every one.
pub(crate) fn all_orders<S: SequentialSpec>(spec: &S, operations: &[Operation<S::Input, S::Output>]) -> bool {
    let last = operations.iter().filter_map(|operation| operation.outcome.returned()).max();
    last.is_none_or(|last| all_orders_until(spec, operations, last))
}

/// Whether some order is legal that holds at least what has returned until then.
pub(crate) fn all_orders_until<S: SequentialSpec>(
    spec: &S,
    operations: &[Operation<S::Input, S::Output>],
    until: Stamp,
) -> bool {
    let mut placed = vec![false; operations.len()];
    some_order(spec, operations, until, &mut placed, &spec.initial())
}

fn some_order<S: SequentialSpec>(
    spec: &S,
    operations: &[Operation<S::Input, S::Output>],
    until: Stamp,
    placed: &mut [bool],
    state: &S::State,
) -> bool {
    let left: Vec<usize> = (0..operations.len()).filter(|index| !placed[*index]).collect();
    let first_return = left.iter().filter_map(|index| operations[*index].outcome.returned()).min();
    let Some(first_return) = first_return.filter(|first| *first <= until) else { return true };
    left.into_iter().filter(|index| operations[*index].invoke < first_return).any(|index| {
        let operation = &operations[index];
        let Some(next) = spec.step(state, &operation.input, operation.outcome.output()) else { return false };
        placed[index] = true;
        let legal = some_order(spec, operations, until, placed, &next);
        placed[index] = false;
        legal
    })
}

/// An object with random calls, for tests.
pub(crate) trait Object: Debug + Clone + Copy {
    type Spec: SequentialSpec<Input = Self::Input, Output = Self::Output, State: Send> + Clone + Sync;
    type Input: Clone + Debug + PartialEq + Sync + 'static;
    type Output: Clone + Debug + PartialEq + Sync;

    /// Every way of specifying it that must have the same verdict.
    fn specs(history: &History<Self::Input, Self::Output>) -> Vec<Self::Spec>;

    fn call() -> BoxedStrategy<Self::Input>;

    /// All answers that the object may give to a call: the specification says which one it does.
    fn answers(input: &Self::Input, others: &[Self::Input]) -> Vec<Self::Output>;

    /// Another answer of the same kind.
    fn alter(output: &Self::Output, by: u8) -> Self::Output;
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    UnknownButDone,
    UnknownNotDone,
}

/// A call before it has an answer: when it was invoked, took effect, and returned.
#[derive(Clone, Debug)]
pub(crate) struct Draft<I> {
    moments: [u64; 3],
    input: I,
    fate: Fate,
}

/// Drafts of `count` operations. The longer the `horizon`, the fewer are concurrent; `answered` are answered for two
/// that are not.
pub(crate) fn drafts<O: Object>(
    count: std::ops::Range<usize>,
    horizon: u64,
    answered: u32,
) -> impl Strategy<Value = Vec<Draft<O::Input>>> {
    let fate = prop_oneof![
        answered => Just(Fate::Answered),
        1 => Just(Fate::UnknownButDone),
        1 => Just(Fate::UnknownNotDone),
    ];
    let moments =
        (0..horizon, 0..20_u64, 0..20_u64).prop_map(|(start, a, b)| [start, start + a, start + a + b]);
    let draft = (moments, O::call(), fate).prop_map(|(moments, input, fate)| Draft { moments, input, fate });
    prop::collection::vec(draft, count)
}

/// The legal history of some drafts. Each operation is a client of its own.
pub(crate) fn legal<O: Object>(drafts: &[Draft<O::Input>]) -> Vec<Operation<O::Input, O::Output>> {
    let empty = History::new(Vec::new()).unwrap();
    let spec = O::specs(&empty).remove(0);
    let inputs: Vec<O::Input> = drafts.iter().map(|draft| draft.input.clone()).collect();
    let mut by_point: Vec<(u64, usize)> =
        drafts.iter().enumerate().map(|(index, draft)| (draft.moments[1], index)).collect();
    by_point.sort_unstable();
    let mut state = spec.initial();
    let mut found: Vec<Option<O::Output>> = vec![None; drafts.len()];
    for (_, index) in by_point {
        if drafts[index].fate == Fate::UnknownNotDone {
            continue;
        }
        let input = &drafts[index].input;
        let answer = O::answers(input, &inputs)
            .into_iter()
            .find_map(|output| Some((spec.step(&state, input, Some(&output))?, output)));
        match answer {
            Some((next, output)) => {
                state = next;
                found[index] = Some(output);
            }
            // The answer is none of those that were thought of: the call stays unknown, and happens.
            None => state = spec.step(&state, input, None).unwrap(),
        }
    }
    let operations = drafts.iter().zip(found).enumerate().map(|(index, (draft, answer))| {
        let [invoke, _, returned] = draft.moments;
        let stamp = |time_ns, side: u64| Stamp { time_ns, order: side * 1_000_000 + index as u64 };
        let outcome = match (draft.fate, answer) {
            (Fate::Answered, Some(output)) => Outcome::Answered { at: stamp(returned, 2), output },
            _ => Outcome::Unknown,
        };
        Operation { client: index as u32, invoke: stamp(invoke, 0), input: draft.input.clone(), outcome }
    });
    operations.collect()
}

/// A change to a history, which may make it illegal.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    AlterValue(Index, u8),
    SwapAnswers(Index, Index),
    SwapReturns(Index, Index),
    MoveReturn(Index, u64),
    MoveInvoke(Index, u64),
    Drop(Index),
    Duplicate(Index),
    Forget(Index),
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        (index(), 1..4_u8).prop_map(|(i, by)| Damage::AlterValue(i, by)),
        (index(), index()).prop_map(|(i, j)| Damage::SwapAnswers(i, j)),
        (index(), index()).prop_map(|(i, j)| Damage::SwapReturns(i, j)),
        (index(), 0..60_u64).prop_map(|(i, to)| Damage::MoveReturn(i, to)),
        (index(), 0..60_u64).prop_map(|(i, to)| Damage::MoveInvoke(i, to)),
        index().prop_map(Damage::Drop),
        index().prop_map(Damage::Duplicate),
        index().prop_map(Damage::Forget),
    ]
}

/// A well-formed history, as near to the damaged operations as can be: a return moved before its invocation comes
/// right after it.
pub(crate) fn history<O: Object>(
    mut operations: Vec<Operation<O::Input, O::Output>>,
    damages: &[Damage],
) -> History<O::Input, O::Output> {
    for damage in damages {
        if !operations.is_empty() {
            apply::<O>(&mut operations, damage);
        }
    }
    for (index, operation) in operations.iter_mut().enumerate() {
        operation.client = index as u32;
        operation.invoke.order = index as u64;
        if let Outcome::Answered { at, output: _ } = &mut operation.outcome {
            at.order = 1_000_000 + index as u64;
            at.time_ns = at.time_ns.max(operation.invoke.time_ns);
        }
    }
    History::new(operations).unwrap()
}

fn apply<O: Object>(operations: &mut Vec<Operation<O::Input, O::Output>>, damage: &Damage) {
    let length = operations.len();
    match damage {
        Damage::AlterValue(index, by) => {
            if let Outcome::Answered { at: _, output } = &mut operations[index.index(length)].outcome {
                *output = O::alter(output, *by);
            }
        }
        Damage::SwapAnswers(first, second) => {
            let (first, second) = (first.index(length), second.index(length));
            let (one, other) =
                (operations[first].outcome.output().cloned(), operations[second].outcome.output().cloned());
            if let (Some(one), Some(other)) = (one, other)
                && std::mem::discriminant(&one) == std::mem::discriminant(&other)
            {
                set_answer(&mut operations[first], other);
                set_answer(&mut operations[second], one);
            }
        }
        Damage::SwapReturns(first, second) => {
            let (first, second) = (first.index(length), second.index(length));
            let (one, other) = (operations[first].outcome.returned(), operations[second].outcome.returned());
            if let (Some(one), Some(other)) = (one, other) {
                set_return(&mut operations[first], other.time_ns);
                set_return(&mut operations[second], one.time_ns);
            }
        }
        Damage::MoveReturn(index, to) => set_return(&mut operations[index.index(length)], *to),
        Damage::MoveInvoke(index, to) => operations[index.index(length)].invoke.time_ns = *to,
        Damage::Drop(index) => drop(operations.remove(index.index(length))),
        Damage::Duplicate(index) => operations.push(operations[index.index(length)].clone()),
        Damage::Forget(index) => operations[index.index(length)].outcome = Outcome::Unknown,
    }
}

fn set_answer<I, O>(operation: &mut Operation<I, O>, answer: O) {
    if let Outcome::Answered { at: _, output } = &mut operation.outcome {
        *output = answer;
    }
}

fn set_return<I, O>(operation: &mut Operation<I, O>, time_ns: u64) {
    if let Outcome::Answered { at, output: _ } = &mut operation.outcome {
        at.time_ns = time_ns;
    }
}

/// The verdict of the search; undecided is a failure of the test.
pub(crate) fn is_legal<S: SequentialSpec>(spec: &S, history: &History<S::Input, S::Output>) -> bool {
    match check(spec, history, Budget::default()) {
        Verdict::Linearizable { .. } => true,
        Verdict::Violation(_) => false,
        Verdict::Undecided { steps } => panic!("undecided after {steps} steps"),
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers;

impl Object for Registers {
    type Spec = Register;
    type Input = RegisterInput;
    type Output = RegisterOutput;

    fn specs(_history: &History<RegisterInput, RegisterOutput>) -> Vec<Register> {
        vec![Register]
    }

    fn call() -> BoxedStrategy<RegisterInput> {
        prop_oneof![
            2 => Just(RegisterInput::Read),
            2 => (0..3_i64).prop_map(RegisterInput::Write),
            2 => (0..3_i64, 0..3_i64)
                .prop_map(|(expected, new)| RegisterInput::CompareAndSet { expected, new }),
        ]
        .boxed()
    }

    fn answers(input: &RegisterInput, _others: &[RegisterInput]) -> Vec<RegisterOutput> {
        match input {
            RegisterInput::Read => {
                let values = (0..3).map(Some).chain([None]);
                values.map(RegisterOutput::Value).collect()
            }
            RegisterInput::Write(_) => vec![RegisterOutput::Written],
            RegisterInput::CompareAndSet { .. } => {
                vec![RegisterOutput::Swapped(true), RegisterOutput::Swapped(false)]
            }
        }
    }

    fn alter(output: &RegisterOutput, by: u8) -> RegisterOutput {
        match output {
            RegisterOutput::Value(value) => {
                RegisterOutput::Value(Some((value.unwrap_or(0) + i64::from(by)) % 4))
            }
            RegisterOutput::Written => RegisterOutput::Written,
            RegisterOutput::Swapped(swapped) => RegisterOutput::Swapped(!swapped),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendKvs;

impl Object for AppendKvs {
    type Spec = AppendKv;
    type Input = AppendKvInput;
    type Output = AppendKvOutput;

    fn specs(history: &History<AppendKvInput, AppendKvOutput>) -> Vec<AppendKv> {
        vec![
            AppendKv::new(false),
            AppendKv::new(true),
            AppendKv::of(history, false),
            AppendKv::of(history, true),
        ]
    }

    fn call() -> BoxedStrategy<AppendKvInput> {
        let value = || prop_oneof![Just("1".to_owned()), Just("2".to_owned())];
        let action = prop_oneof![
            3 => Just(AppendKvAction::Get),
            1 => value().prop_map(AppendKvAction::Put),
            3 => value().prop_map(AppendKvAction::Append),
        ];
        let key = prop_oneof![Just("a".to_owned()), Just("b".to_owned())];
        (key, action).prop_map(|(key, action)| AppendKvInput { key, action }).boxed()
    }

    fn answers(input: &AppendKvInput, _others: &[AppendKvInput]) -> Vec<AppendKvOutput> {
        if input.action != AppendKvAction::Get {
            return vec![AppendKvOutput::Written];
        }
        // All values of up to six writes.
        let mut values = vec![String::new()];
        let mut from = 0;
        for _ in 0..6 {
            let until = values.len();
            for place in from..until {
                values.push(format!("{}1", values[place]));
                values.push(format!("{}2", values[place]));
            }
            from = until;
        }
        values.into_iter().map(AppendKvOutput::Value).collect()
    }

    fn alter(output: &AppendKvOutput, by: u8) -> AppendKvOutput {
        match output {
            AppendKvOutput::Value(value) if by == 1 => AppendKvOutput::Value(format!("{value}1")),
            AppendKvOutput::Value(value) => AppendKvOutput::Value(value.chars().skip(1).collect()),
            AppendKvOutput::Written => AppendKvOutput::Written,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sets;

impl Object for Sets {
    type Spec = Set;
    type Input = SetInput;
    type Output = SetOutput;

    fn specs(history: &History<SetInput, SetOutput>) -> Vec<Set> {
        let whole = history.operations().iter().any(|operation| operation.input == SetInput::Read);
        let partitioned = (!whole).then_some(Set { partitioned: true });
        [Set { partitioned: false }].into_iter().chain(partitioned).collect()
    }

    fn call() -> BoxedStrategy<SetInput> {
        prop_oneof![
            3 => (0..2_i64).prop_map(SetInput::Add),
            2 => (0..2_i64).prop_map(SetInput::Remove),
            3 => (0..2_i64).prop_map(SetInput::Contains),
            1 => Just(SetInput::Read),
        ]
        .boxed()
    }

    fn answers(input: &SetInput, _others: &[SetInput]) -> Vec<SetOutput> {
        match input {
            SetInput::Add(_) | SetInput::Remove(_) => vec![SetOutput::Done],
            SetInput::Contains(_) => vec![SetOutput::Contained(true), SetOutput::Contained(false)],
            SetInput::Read => {
                [vec![], vec![0], vec![1], vec![0, 1]].into_iter().map(SetOutput::Elements).collect()
            }
        }
    }

    fn alter(output: &SetOutput, by: u8) -> SetOutput {
        match output {
            SetOutput::Done => SetOutput::Done,
            SetOutput::Contained(contained) => SetOutput::Contained(!contained),
            SetOutput::Elements(elements) if elements.is_empty() => {
                SetOutput::Elements(vec![i64::from(by % 2)])
            }
            SetOutput::Elements(elements) => SetOutput::Elements(elements[1..].to_vec()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Queues;

impl Object for Queues {
    type Spec = Queue;
    type Input = QueueInput;
    type Output = QueueOutput;

    fn specs(_history: &History<QueueInput, QueueOutput>) -> Vec<Queue> {
        vec![Queue]
    }

    fn call() -> BoxedStrategy<QueueInput> {
        prop_oneof![(0..4_i64).prop_map(QueueInput::Enqueue), Just(QueueInput::Dequeue)].boxed()
    }

    fn answers(input: &QueueInput, _others: &[QueueInput]) -> Vec<QueueOutput> {
        match input {
            QueueInput::Enqueue(_) => vec![QueueOutput::Enqueued],
            QueueInput::Dequeue => {
                let elements = (0..4).map(Some).chain([None]);
                elements.map(QueueOutput::Dequeued).collect()
            }
        }
    }

    fn alter(output: &QueueOutput, by: u8) -> QueueOutput {
        match output {
            QueueOutput::Enqueued => QueueOutput::Enqueued,
            QueueOutput::Dequeued(element) => {
                QueueOutput::Dequeued(Some((element.unwrap_or(0) + i64::from(by)) % 4))
            }
        }
    }
}
