//! What broke, in one plain sentence.

use super::lost::LostWrites;
use super::operation::{ClientOperation, OperationKind};
use super::order::{BrokenOrder, Conflict};
use super::stream::{Party, SnapshotStream};
use model::verdict::{Check, Violation};

/// The promise that a check watches, as a stranger would ask for it.
pub(crate) fn promise(check: Check) -> &'static str {
    match check {
        Check::Linearizable => {
            "Clients must see the store as if each operation took effect at one moment between its call and its answer."
        }
        Check::Serializable => "Every read at a revision must show what the store held at that revision.",
        Check::Durable => {
            "What a client was told is written must still be there in the end, whatever crashed."
        }
        Check::ReplicasEqual => "Replicas that have applied the same entries must hold the same data.",
        Check::Routing => {
            "A snapshot must reach a replica in a form that it can read, and be taken or refused as the format says."
        }
        Check::Raft => "At most one leader in a term, and the same entry at the same index on every replica.",
        Check::Live => "Once everything is mended, every operation must end and the replicas must catch up.",
        Check::WatchOrdered => "A watch must bring its events in the order of revisions.",
        Check::WatchUnique => "A watch must bring no event twice.",
        Check::WatchAtomic => "A watch must bring the events of one revision together.",
        Check::WatchReliable => "A watch must leave out no event between two, and invent none.",
        Check::WatchResumable => {
            "A watch from a past revision must begin with the first event from there on, or say that it is compacted."
        }
        Check::WatchBookmarkable => {
            "After a progress notification nothing may come of what it covers, and nothing before may be missing."
        }
        Check::WatchFiltered => "A watch must bring only what it asked for.",
        Check::WatchCreated => "A watch must say that it stands, once, before anything else.",
        Check::WatchPrevious => {
            "An event must show what the key held before, exactly where that was asked for."
        }
        Check::Lease => "A key must go with its lease: not before its time, and not much later.",
        Check::Compaction => {
            "A compaction may take away only what lies below it, and no revision may go back."
        }
        Check::Engine => "A replica must not stop or panic unless its disk failed it.",
        Check::Deterministic => "The same plan must give the same trace.",
    }
}

/// Virtual time as a reader sees it.
pub(super) fn seconds(at_ns: u64) -> String {
    format!("{:.3} s", at_ns as f64 / 1e9)
}

/// How long something took, in a unit that fits.
fn span(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1000),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        1_000_000_000.. => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// Of a broken order.
pub(crate) fn of_order(order: &BrokenOrder, operations: &[ClientOperation]) -> String {
    match &order.conflict {
        Some(Conflict::Stale { earlier, later, known, shown }) => {
            let (earlier, later) = (&operations[*earlier], &operations[*later]);
            let returned = earlier.return_ns.unwrap_or(earlier.invoke_ns);
            let did = match later.kind {
                // Only a write can contradict the revision that was known: it says that it made that one.
                _ if known == shown => "was told that it made",
                OperationKind::Read => "was answered from the outdated",
                OperationKind::Write
                | OperationKind::Delete
                | OperationKind::Transaction
                | OperationKind::Other => "was told the outdated",
            };
            format!(
                "A stale answer: at {} {} {} {did} revision {shown}, although {} before it asked, {} had already been \
                 told revision {known}.",
                seconds(later.return_ns.unwrap_or(later.invoke_ns)),
                whose(later),
                asked(later),
                span(later.invoke_ns.saturating_sub(returned)),
                whose_answer(earlier),
            )
        }
        Some(Conflict::SameRevision { first, second, revision }) => {
            let (first, second) = (&operations[*first], &operations[*second]);
            format!(
                "Two writes were both told that they made revision {revision}: {} {} and {} {}; one of them must be \
                 lost.",
                whose(first),
                asked(first),
                whose(second),
                asked(second).trim_end_matches(',')
            )
        }
        None => contradiction(order, operations),
    }
}

/// Of a broken order without two answers that contradict each other by themselves.
fn contradiction(order: &BrokenOrder, operations: &[ClientOperation]) -> String {
    let last = order.core.iter().max_by_key(|place| operations[**place].return_ns);
    let Some(last) = last.map(|place| &operations[*place]) else {
        return "No order of the operations explains the answers.".to_string();
    };
    let others = order.core.len() - 1;
    let against = match others {
        0 => "which no order of the operations explains".to_string(),
        1 => "which contradicts one other answer".to_string(),
        _ => format!("which contradicts {others} other answers taken together"),
    };
    let at = seconds(last.return_ns.unwrap_or(last.invoke_ns));
    format!("At {at} {} {} was answered `{}`, {against}.", whose(last), asked(last), last.told)
}

fn whose(operation: &ClientOperation) -> String {
    format!("client {}'s", operation.client)
}

/// `get k1` as words, with the replica that answered.
fn asked(operation: &ClientOperation) -> String {
    match (operation.node, &operation.role) {
        (Some(node), Some(role)) => format!("`{}` on node {node}, then a {role},", operation.asked),
        (Some(node), None) => format!("`{}` on node {node}", operation.asked),
        (None, _) => format!("`{}`", operation.asked),
    }
}

fn whose_answer(operation: &ClientOperation) -> String {
    let asked = asked(operation);
    format!("client {}, asking {},", operation.client, asked.trim_end_matches(','))
}

/// Of lost writes.
pub(crate) fn of_lost(lost: &LostWrites, operations: &[ClientOperation]) -> String {
    let first = &lost.first;
    let operation = &operations[first.operation];
    let without = first.held.iter().filter(|held| !held.has_it);
    let without: Vec<String> = without.map(|held| held.node.to_string()).collect();
    let crashed = match first.crashes.first() {
        None => String::new(),
        Some(crash) => {
            let same = first.crashes.iter().filter(|other| other.at_ns < crash.at_ns + 1_000_000_000);
            let nodes: Vec<String> = std::collections::BTreeSet::from_iter(same.map(|crash| crash.node))
                .iter()
                .map(u64::to_string)
                .collect();
            format!(
                "; {} later {} crashed",
                span(crash.at_ns.saturating_sub(operation.return_ns.unwrap_or(0))),
                list("node", &nodes)
            )
        }
    };
    format!(
        "{} of {} acknowledged writes are gone. The first: at {} client {} was told that its {} is written as revision \
         {}{crashed}; in the end {} not hold it.",
        lost.lost,
        lost.acknowledged,
        seconds(operation.return_ns.unwrap_or(operation.invoke_ns)),
        operation.client,
        asked(operation),
        first.revision,
        match without.len() {
            1 => format!("node {} does", without[0]),
            _ => format!("{} do", list("node", &without)),
        },
    )
}

/// `node 1`, `nodes 1 and 2`, `nodes 1, 2 and 3`.
pub(super) fn list(noun: &str, of: &[String]) -> String {
    match of {
        [] => format!("no {noun}"),
        [one] => format!("{noun} {one}"),
        [most @ .., last] => format!("{noun}s {} and {last}", most.join(", ")),
    }
}

/// Of a snapshot stream. `message` is the oracle's, after the stream's number.
pub(crate) fn of_stream(stream: &SnapshotStream, message: &str) -> String {
    let outcome =
        stream.outcome.as_ref().map_or(String::new(), |(_, what)| format!(" The receiver: {what}."));
    format!(
        "At {} {} sent {} a snapshot stream that breaks the format: it {message}.{outcome}",
        seconds(stream.at_ns),
        party(&stream.sender),
        party(&stream.receiver),
    )
}

fn party(party: &Party) -> String {
    format!("node {} (release {}, {})", party.node, party.release, party.engine)
}

/// Of a watch that went wrong. `keys` says which keys it is of, and from when on; `detail` is the check's.
pub(crate) fn of_watch(check: Check, client: u32, node: u64, keys: &str, detail: &str) -> String {
    let wrong = match check {
        Check::WatchOrdered => "brought its events out of order",
        Check::WatchUnique => "brought an event twice",
        Check::WatchAtomic => "tore the events of a revision apart",
        Check::WatchReliable => "left an event out, or invented one",
        Check::WatchResumable => "did not begin where it had to",
        Check::WatchBookmarkable => "was wrong about how far it had come",
        Check::WatchFiltered => "brought what was not asked for",
        Check::WatchCreated => "did not say as it must that it stands, or is over",
        Check::WatchPrevious => "showed a wrong value from before an event",
        _not_of_watches => "went wrong",
    };
    format!("The watch that client {client} had on node {node}, of {keys}, {wrong}: {detail}.")
}

/// Of an answer that is wrong by itself.
pub(crate) fn of_answer(operation: &ClientOperation, why: &str) -> String {
    format!(
        "A wrong answer: at {} {} {} was answered `{}`, but {why}.",
        seconds(operation.return_ns.unwrap_or(operation.invoke_ns)),
        whose(operation),
        asked(operation),
        in_short(&operation.told),
    )
}

/// Of any other violation.
pub(crate) fn of_message(violation: &Violation) -> String {
    let message = in_seconds(&violation.message);
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str().trim_end_matches('.')),
        None => format!("The check `{}` failed.", violation.check),
    }
}

/// Letters of a value, or an answer, inside a sentence.
const LETTERS_SHOWN: usize = 100;

/// The beginning of a text that may be long.
pub(super) fn in_short(text: &str) -> String {
    match text.char_indices().nth(LETTERS_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// What a check says, with its nanoseconds as seconds: exactly, for a nanosecond may be what it is about.
pub(super) fn in_seconds(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let before = words.last().and_then(|word| word.parse::<u64>().ok());
        match (before, word.strip_prefix("ns")) {
            (Some(ns), Some(rest)) => {
                let exact = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
                words.pop();
                words.push(exact.trim_end_matches('0').trim_end_matches('.').to_string());
                words.push(format!("s{rest}"));
            }
            (None, _) | (_, None) => words.push(word.to_string()),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_become_seconds_and_stay_exact() {
        assert_eq!(
            in_seconds(
                "ended at 8999999999 ns, but was promised until 9000000000 ns; 12 nodes, at 4000 ns: x"
            ),
            "ended at 8.999999999 s, but was promised until 9 s; 12 nodes, at 0.000004 s: x"
        );
    }
}
