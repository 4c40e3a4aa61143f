//! What is no history is refused, with a reason.

use linearizability::history::{History, Operation, Outcome, Recorder, Stamp};

fn operation(client: u32, invoke: u64, returned: Option<u64>) -> Operation<(), ()> {
    let outcome = match returned {
        Some(at) => Outcome::Answered { at: Stamp::at(at), output: () },
        None => Outcome::Unknown,
    };
    Operation { client, invoke: Stamp::at(invoke), input: (), outcome }
}

fn check(operations: Vec<Operation<(), ()>>, expected: &str) {
    let found = match History::new(operations) {
        Ok(history) => format!("{} operations", history.operations().len()),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected);
}

#[test]
fn operations_come_in_any_order_and_stand_by_invocation() {
    let history = History::new(vec![operation(2, 5, Some(9)), operation(1, 0, Some(7))]).unwrap();
    assert_eq!(history.operations()[0].client, 1);
    let clients: Vec<u32> = history.into_operations().iter().map(|operation| operation.client).collect();
    assert_eq!(clients, [1, 2]);
}

#[test]
fn a_client_may_go_on_after_an_unknown_outcome() {
    check(vec![operation(1, 0, None), operation(1, 1, None), operation(1, 2, Some(3))], "3 operations");
}

#[test]
fn malformed_histories_are_refused() {
    check(vec![operation(1, 5, Some(4))], "client 1: the operation invoked at 5 ns returned before, at 4 ns");
    check(vec![operation(1, 5, Some(5))], "two events are stamped 5 ns, order 0");
    check(vec![operation(1, 0, Some(5)), operation(2, 5, None)], "two events are stamped 5 ns, order 0");
    check(
        vec![operation(1, 0, Some(9)), operation(1, 5, Some(12))],
        "client 1 invoked an operation at 5 ns while its operation of 0 ns was open",
    );
}

#[test]
fn a_recorder_follows_each_client() {
    let mut recorder: Recorder<&str, &str> = Recorder::default();
    recorder.invoke(1, Stamp::at(0), "lost").unwrap();
    recorder.invoke(2, Stamp::at(1), "refused").unwrap();
    recorder.invoke(3, Stamp::at(2), "answered").unwrap();
    recorder.give_up(1, Stamp::at(3)).unwrap();
    recorder.fail(2, Stamp::at(4)).unwrap();
    recorder.answer(3, Stamp::at(5), "done").unwrap();
    recorder.invoke(1, Stamp::at(6), "open").unwrap();
    assert_eq!(
        recorder.invoke(1, Stamp::at(7), "too early").unwrap_err().to_string(),
        "client 1 invoked an operation at 7 ns while its operation of 6 ns was open"
    );
    assert_eq!(
        recorder.answer(9, Stamp::at(8), "for nobody").unwrap_err().to_string(),
        "client 9 was answered at 8 ns, but has no open operation"
    );
    let history = recorder.finish().unwrap();
    let shown: Vec<_> = history
        .operations()
        .iter()
        .map(|operation| (operation.input, operation.outcome.output().copied()))
        .collect();
    assert_eq!(shown, [("lost", None), ("answered", Some("done")), ("open", None)]);
}
