//! Reading and checking a history, whatever it is of.

use linearizability::formats::json_lines::JsonLines;
use linearizability::formats::{Dialect, ParseError, Reader};
use linearizability::history::{History, Operation};
use linearizability::minimal::{Found, Minimal, minimal, minimal_by};
use linearizability::stream::{Stream, StreamVerdict, StreamViolation};
use linearizability::{Budget, Evidence, SequentialSpec, Verdict, check, check_in_parallel};

use super::evidence::Shown;
use super::words::EtcdWords;
use super::{Check, HELD_MAX, Judged, Judgement, Judging, ObjectName, Options, Showing};
use crate::revisions;
use crate::specs::etcd::{Etcd, StoreHistory};

/// The steps for making evidence small.
const MINIMAL_STEPS: u64 = 5_000_000;

/// An object as the checker is asked about it.
pub(super) trait Object {
    type Spec: SequentialSpec<
            State: Send,
            Input: Clone + Sync + 'static,
            Output: Clone + Sync + 'static,
            Partition: 'static,
        > + Clone
        + Sync
        + 'static;

    /// The specification where nothing is known of what follows.
    fn of_stream(&self, options: Options) -> Self::Spec;

    /// The specification for one history.
    fn of_history(
        &self,
        _history: &History<<Self::Spec as SequentialSpec>::Input, <Self::Spec as SequentialSpec>::Output>,
        options: Options,
    ) -> Self::Spec {
        self.of_stream(options)
    }
}

type OperationOf<S> = Operation<<S as SequentialSpec>::Input, <S as SequentialSpec>::Output>;

/// A file under way.
pub(super) struct Run<D: Dialect, J: Object> {
    reader: Reader<D>,
    taken: Taken<J>,
}

/// The operations read so far.
struct Taken<J: Object> {
    object: J,
    options: Options,
    checking: Checking<J::Spec>,
}

/// What became of the operations read so far.
enum Checking<S: SequentialSpec> {
    Held(Vec<OperationOf<S>>),
    Streamed(Box<Stream<S>>),
    Broken { violation: Box<StreamViolation<S>>, operations: u64 },
}

impl<D: Dialect, J: Object> Run<D, J> {
    pub(super) fn new(dialect: D, object: J, options: Options) -> Run<D, J> {
        let taken = Taken { object, options, checking: Checking::Held(Vec::new()) };
        Run { reader: Reader::new(dialect), taken }
    }
}

impl<J: Object> Taken<J> {
    fn take(&mut self, operation: OperationOf<J::Spec>) {
        match &mut self.checking {
            Checking::Held(operations) if operations.len() < HELD_MAX => operations.push(operation),
            Checking::Held(operations) => {
                let held = std::mem::take(operations);
                let stream = Stream::new(self.object.of_stream(self.options), self.options.budget);
                self.checking = Checking::Streamed(Box::new(stream));
                held.into_iter().chain([operation]).for_each(|operation| self.take(operation));
            }
            Checking::Streamed(stream) => {
                if let Err(violation) = stream.push(operation) {
                    let operations = stream.operations();
                    self.checking = Checking::Broken { violation, operations };
                }
            }
            Checking::Broken { violation: _, operations } => *operations += 1,
        }
    }
}

impl<D, J> Judging for Run<D, J>
where
    J: Object + 'static,
    D: Dialect<Input = <J::Spec as SequentialSpec>::Input, Output = <J::Spec as SequentialSpec>::Output>,
{
    fn skip_lines(&mut self, lines: u64) {
        self.reader.skip_lines(lines);
    }

    fn line(&mut self, text: &str) -> Result<(), ParseError> {
        self.reader.line(text)?;
        while let Some(operation) = self.reader.next_settled() {
            self.taken.take(operation);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, name: ObjectName) -> Result<Box<dyn Check>, ParseError> {
        let Run { reader, mut taken } = *self;
        reader.finish()?.into_iter().for_each(|operation| taken.take(operation));
        let Taken { object, options, checking } = taken;
        Ok(match checking {
            Checking::Held(operations) => {
                let history = History::new(operations).expect("the reader keeps the order of the lines");
                Box::new(Held { history, object, name, options })
            }
            Checking::Streamed(stream) => {
                Box::new(Streamed { spec: object.of_stream(options), stream: *stream, name })
            }
            Checking::Broken { violation, operations } => {
                Box::new(Broken { spec: object.of_stream(options), violation: *violation, operations, name })
            }
        })
    }
}

struct Held<J: Object> {
    history: History<<J::Spec as SequentialSpec>::Input, <J::Spec as SequentialSpec>::Output>,
    object: J,
    name: ObjectName,
    options: Options,
}

impl<J: Object> Check for Held<J> {
    fn check(self: Box<Self>) -> (Judgement, Option<Showing>) {
        let Held { history, object, name, options } = *self;
        let spec = object.of_history(&history, options);
        let verdict = match options.jobs {
            0 | 1 => check(&spec, &history, options.budget),
            jobs => check_in_parallel(&spec, &history, options.budget, jobs),
        };
        let operations = history.operations().len() as u64;
        let judged = |steps, verdict| Judgement { object: name, operations, streamed: false, steps, verdict };
        match verdict {
            Verdict::Linearizable { steps } => (judged(steps, Judged::Linearizable), None),
            Verdict::Undecided { steps } => (judged(steps, Judged::Undecided), None),
            Verdict::Violation(evidence) => {
                let steps = evidence.steps;
                let violation = StreamViolation::of_history(&spec, history.into_operations(), evidence);
                (judged(steps, Judged::Violation), Some(showing(spec, violation)))
            }
        }
    }
}

struct Streamed<S: SequentialSpec> {
    spec: S,
    stream: Stream<S>,
    name: ObjectName,
}

impl<S> Check for Streamed<S>
where
    S: SequentialSpec<Input: Clone, Output: Clone> + 'static,
{
    fn check(self: Box<Self>) -> (Judgement, Option<Showing>) {
        let Streamed { spec, stream, name } = *self;
        let operations = stream.operations();
        let judged = |steps, verdict| Judgement { object: name, operations, streamed: true, steps, verdict };
        match stream.finish() {
            StreamVerdict::Linearizable { steps } => (judged(steps, Judged::Linearizable), None),
            StreamVerdict::Undecided { steps } => (judged(steps, Judged::Undecided), None),
            StreamVerdict::Violation(violation) => {
                (judged(violation.evidence.steps, Judged::Violation), Some(showing(spec, *violation)))
            }
        }
    }
}

/// A history whose violation was found before its end.
struct Broken<S: SequentialSpec> {
    spec: S,
    violation: StreamViolation<S>,
    operations: u64,
    name: ObjectName,
}

impl<S> Check for Broken<S>
where
    S: SequentialSpec<Input: Clone, Output: Clone> + 'static,
{
    fn check(self: Box<Self>) -> (Judgement, Option<Showing>) {
        let Broken { spec, violation, operations, name } = *self;
        let (steps, verdict) = (violation.evidence.steps, Judged::Violation);
        let judgement = Judgement { object: name, operations, streamed: true, steps, verdict };
        (judgement, Some(showing(spec, violation)))
    }
}

/// What makes the evidence of a violation, when it is asked for.
fn showing<S>(spec: S, violation: StreamViolation<S>) -> Showing
where
    S: SequentialSpec<Input: Clone, Output: Clone> + 'static,
{
    Box::new(move || {
        let core = minimal(&spec, &violation, Budget { steps: MINIMAL_STEPS });
        Shown::of(&spec, &violation.operations, &core, &violation.evidence)
    })
}

/// A history of a store like etcd under way.
pub(super) struct EtcdRun {
    reader: Reader<JsonLines<EtcdWords>>,
    options: Options,
}

impl EtcdRun {
    pub(super) fn new(options: Options) -> EtcdRun {
        EtcdRun { reader: Reader::new(JsonLines::new(EtcdWords)), options }
    }
}

impl Judging for EtcdRun {
    fn skip_lines(&mut self, lines: u64) {
        self.reader.skip_lines(lines);
    }

    fn line(&mut self, text: &str) -> Result<(), ParseError> {
        self.reader.line(text)
    }

    fn finish(self: Box<Self>, _name: ObjectName) -> Result<Box<dyn Check>, ParseError> {
        let EtcdRun { reader, options } = *self;
        let history = History::new(reader.finish()?).expect("the reader keeps the order of the lines");
        Ok(Box::new(EtcdHeld { history, options }))
    }
}

struct EtcdHeld {
    history: StoreHistory,
    options: Options,
}

impl Check for EtcdHeld {
    fn check(self: Box<Self>) -> (Judgement, Option<Showing>) {
        let EtcdHeld { history, options: Options { budget, .. } } = *self;
        let operations = history.operations().len() as u64;
        let judged = |steps, verdict| Judgement {
            object: ObjectName::Etcd,
            operations,
            streamed: false,
            steps,
            verdict,
        };
        match revisions::check(&history, budget) {
            Verdict::Linearizable { steps } => (judged(steps, Judged::Linearizable), None),
            Verdict::Undecided { steps } => (judged(steps, Judged::Undecided), None),
            Verdict::Violation(evidence) => {
                let judgement = judged(evidence.steps, Judged::Violation);
                (judgement, Some(Box::new(move || show_store(&history, &evidence))))
            }
        }
    }
}

/// The core of a violation, by the revisions: they find it where a search would not end.
fn show_store(history: &StoreHistory, evidence: &Evidence) -> Shown {
    let operations = history.operations();
    let all = (0..operations.len()).collect();
    let budget = Budget { steps: MINIMAL_STEPS / 50 };
    let core: Minimal = minimal_by(operations, all, evidence, |operations| {
        let history = History::new(operations.to_vec()).expect("a forgotten answer leaves a history");
        match revisions::check(&history, budget) {
            Verdict::Linearizable { .. } => Found::Legal,
            Verdict::Violation(evidence) => Found::Illegal(evidence),
            Verdict::Undecided { .. } => Found::Undecided,
        }
    });
    Shown::of(&Etcd::default(), operations, &core, evidence)
}
