//! What a violation shows.

use linearizability::diagram::diagram;
use linearizability::formats::jepsen::Jepsen;
use linearizability::history::{Operation, Outcome, Stamp};
use linearizability::minimal::{Found, minimal, minimal_by};
use linearizability::specs::queue::{Queue, QueueInput, QueueOutput};
use linearizability::specs::register::Register;
use linearizability::specs::set::{Set, SetInput, SetOutput};
use linearizability::stream::StreamViolation;
use linearizability::{Budget, Evidence, SequentialSpec, Verdict, check};

use crate::formats::read;

/// A read that misses an acknowledged write, among much else.
const STALE: &str = "
INFO  jepsen.util - 4 :invoke :write 9
INFO  jepsen.util - 4 :ok :write 9
INFO  jepsen.util - 1 :invoke :write 1
INFO  jepsen.util - 3 :invoke :read nil
INFO  jepsen.util - 3 :ok :read 9
INFO  jepsen.util - 1 :ok :write 1
INFO  jepsen.util - 2 :invoke :write 2
INFO  jepsen.util - 4 :invoke :cas [7 8]
INFO  jepsen.util - 4 :fail :cas [7 8]
INFO  jepsen.util - 2 :ok :write 2
INFO  jepsen.util - 5 :invoke :write 5
INFO  jepsen.util - 3 :invoke :read nil
INFO  jepsen.util - 3 :ok :read 1
INFO  jepsen.util - 4 :invoke :read nil
INFO  jepsen.util - 4 :ok :read 5
";

#[test]
fn a_core_is_shown_as_bars_and_in_words() {
    let history = read(STALE, Jepsen).unwrap();
    let Verdict::Violation(evidence) = check(&Register, &history, Budget::default()) else {
        panic!("no violation")
    };
    let violation = StreamViolation::of_history(&Register, history.operations().to_vec(), evidence);
    let core = minimal(&Register, &violation, Budget::default());
    let mut shown = diagram(&Register, &violation.operations, &core.operations, core.evidence.blocked_by);
    shown.push(core.evidence.message(&Register, &violation.operations));
    shown.extend(core.evidence.lines(&Register, &violation.operations));
    insta::assert_snapshot!(shown.join("\n"));
}

/// Why an answer is none, after some calls that were answered rightly.
fn explained<S: SequentialSpec>(
    spec: &S,
    before: &[S::Input],
    input: &S::Input,
    output: &S::Output,
) -> String {
    let state = before.iter().fold(spec.initial(), |state, input| spec.step(&state, input, None).unwrap());
    assert!(spec.step(&state, input, Some(output)).is_none());
    spec.explain(&state, input, output)
}

#[test]
fn an_object_says_what_it_would_have_answered() {
    let dequeue = |before: &[QueueInput]| {
        explained(&Queue, before, &QueueInput::Dequeue, &QueueOutput::Dequeued(Some(9)))
    };
    assert_eq!(dequeue(&[]), "the queue is empty");
    assert_eq!(dequeue(&[QueueInput::Enqueue(3), QueueInput::Enqueue(4)]), "the first element is 3");
    let set = Set { partitioned: false };
    let contains = |element, contained| {
        explained(&set, &[SetInput::Add(3)], &SetInput::Contains(element), &SetOutput::Contained(contained))
    };
    assert_eq!(contains(3, false), "3 is in the set");
    assert_eq!(contains(4, true), "4 is not in the set");
    let read = explained(&set, &[SetInput::Add(3)], &SetInput::Read, &SetOutput::Elements(vec![]));
    assert_eq!(read, "the set is [3]");
}

/// A core is proven where each of its operations is known to be needed. That a search for several at once took too long
/// takes nothing from that.
#[test]
fn a_core_is_proven_by_the_searches_for_single_operations() {
    let operations: Vec<Operation<(), ()>> = (0..4)
        .map(|place| {
            let outcome = Outcome::Answered { at: Stamp::at(10 * place + 5), output: () };
            Operation { client: 1, invoke: Stamp::at(10 * place), input: (), outcome }
        })
        .collect();
    let evidence = Evidence { legal_prefix: vec![], refused: vec![], blocked_by: None, steps: 0 };
    let core = |one: Found, many: Found| {
        minimal_by(&operations, vec![0, 1, 2, 3], &evidence, |operations| {
            let forgotten = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown);
            if forgotten.count() == 1 { one.clone() } else { many.clone() }
        })
    };
    assert!(core(Found::Legal, Found::Legal).proven);
    assert!(core(Found::Legal, Found::Undecided).proven);
    assert!(!core(Found::Undecided, Found::Legal).proven);
    assert_eq!(core(Found::Undecided, Found::Legal).operations, [0, 1, 2, 3]);
}
