//! What `cargo xtask check` says of a store's history, from the lines of a file on, is what an oracle says that tries all
//! orders.

use model::judge::{Judge, Judged, Options};
use model::kv::{Call, Request};
use model::linearizability::Budget;
use model::specs::etcd::StoreHistory;
use model::store::Store;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::equivalence::{all_orders, config};
use crate::generator;

const OPTIONS: Options =
    Options { object: None, partitioned: true, budget: Budget { steps: 1_000_000 }, jobs: 1 };

/// A history in our own format: an event a line, by time.
fn lines(history: &StoreHistory) -> Vec<String> {
    let mut events = Vec::new();
    for operation in history.operations() {
        let process = operation.client;
        let asked = json!({ "process": process, "type": "invoke", "value": operation.input });
        events.push((operation.invoke, asked));
        if let (Some(at), Some(output)) = (operation.outcome.returned(), operation.outcome.output()) {
            events.push((at, json!({ "process": process, "type": "ok", "value": output })));
        }
    }
    events.sort_by_key(|(at, _)| *at);
    let header = json!({ "history": "etcd", "version": 1 });
    let end = json!({ "end": events.len() });
    let lines = [header].into_iter().chain(events.into_iter().map(|(_, event)| event)).chain([end]);
    lines.map(|line| format!("{line}\n")).collect()
}

fn judged(history: &StoreHistory) -> Judged {
    let lines = lines(history);
    let mut judge = Judge::of(&lines[0], OPTIONS).unwrap();
    lines.iter().for_each(|line| judge.line(line).unwrap());
    let (judgement, showing) = judge.finish().unwrap().check();
    assert_eq!(judgement.operations, history.operations().len() as u64);
    assert_eq!(showing.is_some(), judgement.verdict == Judged::Violation);
    judgement.verdict
}

fn is_legal(history: &StoreHistory) -> bool {
    all_orders(history.operations(), &mut Vec::new(), &Store::default())
}

fn small() -> impl Strategy<Value = StoreHistory> {
    (generator::drafts(1..7, 120), prop::collection::vec(generator::damage(), 0..8))
        .prop_map(|(drafts, damages)| generator::history(generator::legal(&drafts), &damages))
}

proptest! {
    #![proptest_config(config(3_000))]

    #[test]
    fn the_judge_says_what_all_orders_say(history in small()) {
        let expected = if is_legal(&history) { Judged::Linearizable } else { Judged::Violation };
        prop_assert_eq!(judged(&history), expected, "{}", lines(&history).concat());
    }
}

/// What a history is to have in it, so that the judge is asked about it.
fn kinds(history: &StoreHistory) -> [bool; 7] {
    let operations = history.operations();
    let asks = |found: fn(&Call) -> bool| operations.iter().any(|operation| found(&operation.input));
    [
        operations.iter().any(|operation| operation.outcome.returned().is_none()),
        operations.iter().any(|operation| matches!(operation.outcome.output(), Some(Err(_)))),
        asks(|call| matches!(call, Call::Kv(Request::Txn(_)))),
        asks(|call| matches!(call, Call::Kv(Request::Range(range)) if range.range_end.is_some())),
        asks(|call| matches!(call, Call::Kv(Request::Range(range)) if range.revision > 0)),
        asks(|call| matches!(call, Call::LeaseGrant { .. } | Call::LeaseRevoke { .. })),
        asks(|call| matches!(call, Call::Compact { .. })),
    ]
}

#[test]
fn small_histories_of_every_kind_are_legal_and_illegal() {
    let mut runner = TestRunner::new(config(1));
    let mut found = [[0; 7]; 2];
    for _ in 0..1000 {
        let history = small().new_tree(&mut runner).unwrap().current();
        let counts = &mut found[usize::from(is_legal(&history))];
        for (count, present) in counts.iter_mut().zip(kinds(&history)) {
            *count += u32::from(present);
        }
    }
    assert!(found.iter().flatten().all(|count| *count >= 20), "illegal and legal: {found:?}");
}
