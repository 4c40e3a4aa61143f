//! A cheap violation is found although other partitions are hard, on one thread and on several.

use linearizability::history::{History, Operation, Outcome, Stamp};
use linearizability::specs::append_kv::{AppendKv, AppendKvAction, AppendKvInput, AppendKvOutput};
use linearizability::{Budget, Verdict, check, check_in_parallel};

type KvOperation = Operation<AppendKvInput, AppendKvOutput>;

fn operation(
    client: u32,
    from: u64,
    to: u64,
    key: &str,
    action: AppendKvAction,
    output: AppendKvOutput,
) -> KvOperation {
    let stamp = |time_ns| Stamp { time_ns, order: u64::from(client) };
    let outcome = Outcome::Answered { at: stamp(to), output };
    Operation { client, invoke: stamp(from), input: AppendKvInput { key: key.to_owned(), action }, outcome }
}

fn get(client: u32, key: &str, value: &str) -> KvOperation {
    operation(client, 200, 300, key, AppendKvAction::Get, AppendKvOutput::Value(value.to_owned()))
}

/// Many appends at once, and then a value that none of their orders gives: a partition that no search finishes which
/// does not look ahead.
fn hard(key: &str, first_client: u32) -> Vec<KvOperation> {
    let append = |client: u32| {
        let action = AppendKvAction::Append(format!("{client},"));
        operation(client, 0, 100, key, action, AppendKvOutput::Written)
    };
    let clients = first_client..first_client + 30;
    clients.map(append).chain([get(first_client + 30, key, "none of them")]).collect()
}

fn verdicts(operations: Vec<KvOperation>) -> [Verdict; 2] {
    let history = History::new(operations).unwrap();
    let (spec, budget) = (AppendKv::new(true), Budget { steps: 100_000 });
    [check(&spec, &history, budget), check_in_parallel(&spec, &history, budget, 2)]
}

#[test]
fn a_hard_partition_alone_is_undecided() {
    for verdict in verdicts(hard("a", 0)) {
        assert!(matches!(verdict, Verdict::Undecided { steps: 90_000..110_000 }), "{verdict:?}");
    }
}

#[test]
fn a_cheap_violation_is_found_between_hard_partitions() {
    let never = [get(80, "m", "never written")];
    let operations = hard("a", 0).into_iter().chain(never).chain(hard("z", 40)).collect();
    for verdict in verdicts(operations) {
        let Verdict::Violation(evidence) = verdict else { panic!("no violation: {verdict:?}") };
        assert_eq!(evidence.refused.len(), 1);
        assert_eq!(evidence.refused[0].reason, "the value is \"\"");
    }
}

#[test]
fn what_is_known_of_the_history_makes_the_hard_partition_easy() {
    let history = History::new(hard("a", 0)).unwrap();
    let verdict = check(&AppendKv::of(&history, false), &history, Budget { steps: 1_000 });
    assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
}
