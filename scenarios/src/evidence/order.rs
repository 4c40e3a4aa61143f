//! Why a history has no legal order, for readers: the answers that contradict each other, how far an order goes, and
//! what would come next and cannot. The one place that knows what the checker of linearizability says.

use super::operation::wrote;
use model::history::{History, Operation, Outcome, Stamp};
use model::kv::{Call, CallAnswer, Request, Response, ResponseBody};
use model::linearizability::minimal::{Found, minimal_by};
use model::linearizability::{Budget, Evidence, SequentialSpec, Verdict};
use model::notation;
use model::revisions;
use model::specs::etcd::{Etcd, StoreHistory, StoreOperation};
use model::store::Store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Answers that have no legal order. An operation is named by its place among the run's operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenOrder {
    /// The answers that contradict each other: without any one of them there is a legal order, whatever else happened
    /// or did not.
    pub core: Vec<usize>,
    /// Whether it is known that none of them can be left out; not so where finding out took too long.
    pub minimal: bool,
    /// Which two of the core contradict each other by revision and time alone, if two do.
    pub conflict: Option<Conflict>,
    /// For each operation of the core, in its order: the rest of the core in a legal order.
    pub orders_without: Vec<OrderWithout>,
    /// Until when, in virtual nanoseconds, all answers have a legal order.
    pub legal_until_ns: u64,
    /// How many answers that are.
    pub legal_answers: usize,
    /// That order, or its end, with the state after each step.
    pub steps: Vec<Step>,
    /// How many steps at its beginning are left out.
    pub steps_left_out: usize,
    /// What would come next, and why it cannot.
    pub refused: Vec<Refused>,
}

/// Two answers that cannot both be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conflict {
    /// The first was answered before the second was asked, but from a later state.
    Stale {
        /// Answered first, from the later state.
        earlier: usize,
        /// Asked afterwards, answered from the earlier state.
        later: usize,
        /// The revision that the first showed.
        known: i64,
        /// The revision that the second showed.
        shown: i64,
    },
    /// Both were told that they made the same revision.
    SameRevision {
        /// One of them.
        first: usize,
        /// The other.
        second: usize,
        /// That revision.
        revision: i64,
    },
}

/// A legal order of the core's answers without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderWithout {
    /// The one left out.
    pub without: usize,
    /// The others.
    pub order: Vec<usize>,
}

/// One step of a legal order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The operation.
    pub operation: usize,
    /// The revision of the store after it.
    pub revision: i64,
    /// What it changed: keys, with their new values; no value where deleted.
    pub changes: Vec<(String, Option<String>)>,
}

/// An operation that cannot come next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The operation.
    pub operation: usize,
    /// Why.
    pub reason: String,
}

/// Steps that a page shows.
const STEPS_SHOWN: usize = 400;
/// What one search may cost, and how many there may be: a page must not take minutes.
const STEPS_OF_ONE_SEARCH: u64 = 50_000;
const SEARCHES: usize = 200;
/// The client of the answer that nobody can explain ([`legal_order`]).
const PHANTOM: u32 = u32::MAX;
/// Clients from here on are those of answers that came late ([`keep_late`]).
const LATE_CLIENTS: u32 = 2_000_000;
/// Their stamps' orders begin here, after those of what was proven in the end.
const LATE_ORDERS: u64 = 1 << 40;

/// Turns the violation of a decided history into what a page shows; none where the history has a legal order.
/// `places` gives each operation of the run its place, by when it was asked.
pub(crate) fn explain(history: &StoreHistory, places: &BTreeMap<Stamp, usize>) -> Option<BrokenOrder> {
    let Verdict::Violation(whole) = revisions::check(history, Budget::default()) else { return None };
    let place = |operation: &StoreOperation| places.get(&operation.invoke).copied();
    let legal_until = latest_legal(history);
    let prefix = until(history, legal_until);
    let order = legal_order(&prefix);
    let (steps, state) = replay(&prefix, &order, &place);
    let steps_left_out = steps.len().saturating_sub(STEPS_SHOWN);
    let Core { kept, minimal } = core(&until_next(history, legal_until), &whole);
    let operations = history.operations();
    let by_stamp: BTreeMap<Stamp, &StoreOperation> =
        operations.iter().map(|operation| (operation.invoke, operation)).collect();
    let core: Vec<&StoreOperation> = kept.iter().filter_map(|stamp| by_stamp.get(stamp).copied()).collect();
    Some(BrokenOrder {
        core: core.iter().filter_map(|operation| place(operation)).collect(),
        minimal,
        conflict: conflict(&core, &place),
        orders_without: orders_without(history, legal_until, &core, &place),
        legal_until_ns: legal_until.time_ns,
        legal_answers: operations.iter().filter(|it| returned_until(it, legal_until)).count(),
        steps: steps.into_iter().skip(steps_left_out).collect(),
        steps_left_out,
        refused: refused(history, legal_until, &order, &state, &place),
    })
}

fn returned_until(operation: &StoreOperation, until: Stamp) -> bool {
    operation.outcome.returned().is_some_and(|at| at <= until)
}

fn search(history: &StoreHistory) -> Found {
    match revisions::check(history, Budget { steps: STEPS_OF_ONE_SEARCH }) {
        Verdict::Linearizable { .. } => Found::Legal,
        Verdict::Violation(evidence) => Found::Illegal(evidence),
        Verdict::Undecided { .. } => Found::Undecided,
    }
}

/// The history as it was known at a moment: what was not answered by then is open.
fn until(history: &StoreHistory, moment: Stamp) -> StoreHistory {
    let asked = history.operations().iter().filter(|operation| operation.invoke <= moment);
    let operations = asked.map(|operation| match returned_until(operation, moment) || proven(operation) {
        true => operation.clone(),
        false => forgotten(operation),
    });
    History::new(operations.collect()).expect("a part of a history is one")
}

/// Whether its answer is not a client's, but what was proven after the end.
fn proven(operation: &StoreOperation) -> bool {
    operation.outcome.returned().is_some_and(|at| at.time_ns == u64::MAX)
}

/// The same operation, taken to have never been answered.
fn forgotten(operation: &StoreOperation) -> StoreOperation {
    Operation { outcome: Outcome::Unknown, ..operation.clone() }
}

/// The moments at which clients were answered, in order.
fn returns(history: &StoreHistory) -> Vec<Stamp> {
    let answered = history.operations().iter().filter(|operation| !proven(operation));
    let mut returns: Vec<Stamp> = answered.filter_map(|operation| operation.outcome.returned()).collect();
    returns.sort_unstable();
    returns
}

/// The latest moment at which all that had been answered has a legal order.
fn latest_legal(history: &StoreHistory) -> Stamp {
    let returns = returns(history);
    // Later moments know more answers, so what is illegal stays so.
    let legal = returns.partition_point(|moment| !is_illegal(&search(&until(history, *moment))));
    legal.checked_sub(1).map_or(Stamp { time_ns: 0, order: 0 }, |place| returns[place])
}

/// The history up to the first answer after a moment.
fn until_next(history: &StoreHistory, moment: Stamp) -> StoreHistory {
    let next = returns(history).into_iter().find(|at| *at > moment);
    until(history, next.unwrap_or(moment))
}

/// Answers that contradict each other: all but two are forgotten where two contradict each other by themselves;
/// otherwise as many as can be.
fn core(history: &StoreHistory, whole: &Evidence) -> Core {
    let operations = history.operations();
    let answered = operations.iter().enumerate().filter(|(_, it)| it.outcome.returned().is_some());
    let answered: Vec<(usize, &StoreOperation)> = answered.collect();
    let all: Vec<&StoreOperation> = answered.iter().map(|(_, operation)| *operation).collect();
    let two = conflicting(&all).map(|(first, second)| [first.invoke, second.invoke]);
    let two = two.filter(|two| is_illegal(&search_with(history, two, two)));
    let apart = two.map_or(Vec::new(), Vec::from);
    let is_kept = |operation: &StoreOperation| two.is_none_or(|two| two.contains(&operation.invoke));
    let kept = answered.iter().filter(|(_, operation)| is_kept(operation)).map(|(index, _)| *index);
    let mut searches = 0;
    let minimal = minimal_by(operations, kept.collect(), whole, |operations| {
        searches += 1;
        let known = operations.iter().filter(|it| it.outcome.returned().is_some());
        let known: Vec<Stamp> = known.map(|operation| operation.invoke).collect();
        if searches > SEARCHES { Found::Undecided } else { search_with(history, &known, &apart) }
    });
    Core {
        kept: minimal.operations.iter().map(|index| operations[*index].invoke).collect(),
        minimal: minimal.proven,
    }
}

/// Answers that contradict each other, by when they were asked.
struct Core {
    kept: Vec<Stamp>,
    minimal: bool,
}

fn is_illegal(found: &Found) -> bool {
    matches!(found, Found::Illegal(_))
}

/// Whether a history is illegal with only some answers known.
///
/// Which unknown operation made which revision can take long to search. So the answers of the others are kept at
/// first, but as if they had come at the end: what is legal so is legal all the more without them. Those `apart` are
/// not, for they contradict what is kept whenever they come.
fn search_with(history: &StoreHistory, kept: &[Stamp], apart: &[Stamp]) -> Found {
    match search(&keep_late(history, kept, apart)) {
        Found::Legal => Found::Legal,
        Found::Illegal(_) | Found::Undecided => search(&keep(history, kept)),
    }
}

/// The history with only some answers known. A read that is not known is left out.
fn keep(history: &StoreHistory, kept: &[Stamp]) -> StoreHistory {
    let kept: BTreeSet<Stamp> = kept.iter().copied().collect();
    let operations = history.operations().iter().filter_map(|operation| {
        match (kept.contains(&operation.invoke), operation.input.kv().is_some_and(Request::is_read_only)) {
            (true, _) => Some(operation.clone()),
            (false, true) => None,
            (false, false) => Some(forgotten(operation)),
        }
    });
    History::new(operations.collect()).expect("a part of a history is one")
}

/// The history with only some answers known in time. The others came as late as can be, but for reads, which are left
/// out, and those `apart`, which are not known.
fn keep_late(history: &StoreHistory, kept: &[Stamp], apart: &[Stamp]) -> StoreHistory {
    let kept: BTreeSet<Stamp> = kept.iter().copied().collect();
    let operations = history.operations().iter().zip(0u32..).filter_map(|(operation, number)| {
        let reads = operation.input.kv().is_some_and(Request::is_read_only);
        match (&operation.outcome, kept.contains(&operation.invoke)) {
            (_, true) | (Outcome::Unknown, false) => Some(operation.clone()),
            (Outcome::Answered { .. }, false) if reads => None,
            (Outcome::Answered { .. }, false) if apart.contains(&operation.invoke) => {
                Some(forgotten(operation))
            }
            (Outcome::Answered { output, .. }, false) => {
                let at = Stamp { time_ns: u64::MAX, order: LATE_ORDERS + u64::from(number) };
                let outcome = Outcome::Answered { at, output: output.clone() };
                Some(Operation { client: LATE_CLIENTS + number, outcome, ..operation.clone() })
            }
        }
    });
    History::new(operations.collect()).expect("a late answer is its client's only one")
}

/// A legal order of a legal history. The checker tells an order only where it is stuck, so it is given one more
/// answer, that nobody can explain, after everything else.
fn legal_order(history: &StoreHistory) -> Vec<Stamp> {
    let mut operations = history.operations().to_vec();
    let last = operations.iter().filter_map(|it| it.outcome.output()?.as_ref().ok()?.revision()).max();
    let impossible = Response {
        revision: last.unwrap_or(1),
        body: ResponseBody::DeleteRange { deleted: 0, prev: vec![] },
    };
    let at = |order: u64| Stamp { time_ns: u64::MAX, order: u64::MAX - order };
    operations.push(Operation {
        client: PHANTOM,
        invoke: at(1),
        input: Call::Kv(Request::get("")),
        outcome: Outcome::Answered { at: at(0), output: Ok(CallAnswer::Kv(impossible)) },
    });
    let Ok(history) = History::new(operations) else { return Vec::new() };
    match revisions::check(&history, Budget { steps: STEPS_OF_ONE_SEARCH }) {
        Verdict::Violation(Evidence { legal_prefix, .. }) => {
            legal_prefix.into_iter().map(|index| history.operations()[index].invoke).collect()
        }
        Verdict::Linearizable { .. } | Verdict::Undecided { .. } => Vec::new(),
    }
}

/// Goes through an order, and notes the state after each step; and the last state.
fn replay(
    history: &StoreHistory,
    order: &[Stamp],
    place: &impl Fn(&StoreOperation) -> Option<usize>,
) -> (Vec<Step>, Store) {
    let spec = Etcd::of(history);
    let by_stamp: BTreeMap<Stamp, &StoreOperation> =
        history.operations().iter().map(|operation| (operation.invoke, operation)).collect();
    let (mut steps, mut state) = (Vec::new(), spec.initial());
    for operation in order.iter().filter_map(|stamp| by_stamp.get(stamp)) {
        let Some(next) = spec.step(&state, &operation.input, operation.outcome.output()) else { break };
        let changes = changes(&state, &next);
        state = next;
        if let Some(operation) = place(operation) {
            steps.push(Step { operation, revision: state.revision(), changes });
        }
    }
    (steps, state)
}

/// What was written after a state.
fn changes(before: &Store, after: &Store) -> Vec<(String, Option<String>)> {
    if before.revision() == after.revision() {
        return Vec::new();
    }
    let written = after.versions().filter(|version| version.revision.main > before.revision());
    written.map(|version| (notation::bytes(version.key), version.value.map(notation::bytes))).collect()
}

/// What could be next in time after the legal order, and why it cannot.
fn refused(
    history: &StoreHistory,
    legal_until: Stamp,
    order: &[Stamp],
    state: &Store,
    place: &impl Fn(&StoreOperation) -> Option<usize>,
) -> Vec<Refused> {
    let spec = Etcd::of(history);
    let placed: BTreeSet<Stamp> = order.iter().copied().collect();
    let Some(next) = returns(history).into_iter().find(|at| *at > legal_until) else { return Vec::new() };
    let open = history.operations().iter().filter(|it| it.invoke < next && !placed.contains(&it.invoke));
    open.filter_map(|operation| {
        let output = operation.outcome.output()?;
        let reason = match spec.step(state, &operation.input, Some(output)) {
            Some(_) => "legal here, but every order that goes on so is stuck no later".to_string(),
            None => spec.explain(state, &operation.input, output),
        };
        Some(Refused { operation: place(operation)?, reason })
    })
    .collect()
}

/// Two of the core that contradict each other by revision and time alone.
fn conflict(core: &[&StoreOperation], place: &impl Fn(&StoreOperation) -> Option<usize>) -> Option<Conflict> {
    let (first, second) = conflicting(core)?;
    let (known, shown) = (revision(first)?, revision(second)?);
    Some(match known == shown && wrote(first) && wrote(second) {
        true => Conflict::SameRevision { first: place(first)?, second: place(second)?, revision: known },
        false => Conflict::Stale { earlier: place(first)?, later: place(second)?, known, shown },
    })
}

/// Two answers that contradict each other by revision and time alone: of those with the second asked first, the closest
/// in time.
fn conflicting<'a>(operations: &[&'a StoreOperation]) -> Option<(&'a StoreOperation, &'a StoreOperation)> {
    let contradicts = |first: &StoreOperation, second: &StoreOperation| {
        let same = first.invoke < second.invoke
            && wrote(first)
            && wrote(second)
            && revision(first) == revision(second);
        is_stale(first, second) || (same && revision(first).is_some())
    };
    operations.iter().find_map(|second| {
        let firsts = operations.iter().rev().filter(|first| first.invoke < second.invoke);
        firsts.copied().find(|first| contradicts(first, second)).map(|first| (first, *second))
    })
}

/// The revision of the state that an answer shows; none where it need not be the latest.
fn revision(operation: &StoreOperation) -> Option<i64> {
    if !operation.input.is_ordered() {
        return None;
    }
    operation.outcome.output()?.as_ref().ok()?.revision()
}

/// Whether the second was asked after the first had been answered, and was answered from an earlier state.
fn is_stale(first: &StoreOperation, second: &StoreOperation) -> bool {
    let (Some(known), Some(shown)) = (revision(first), revision(second)) else { return false };
    let before = first.outcome.returned().is_some_and(|at| at < second.invoke);
    // A write shows the state before its own revision.
    before && shown - i64::from(wrote(second)) < known
}

/// A legal order of the core without each one of its answers, as far as it is known that there is one.
fn orders_without(
    history: &StoreHistory,
    legal_until: Stamp,
    core: &[&StoreOperation],
    place: &impl Fn(&StoreOperation) -> Option<usize>,
) -> Vec<OrderWithout> {
    let history = until_next(history, legal_until);
    let apart: Vec<Stamp> = core.iter().map(|operation| operation.invoke).collect();
    let without = |left_out: &&StoreOperation| {
        let mut rest: Vec<&StoreOperation> =
            core.iter().copied().filter(|operation| operation.invoke != left_out.invoke).collect();
        let stamps: Vec<Stamp> = rest.iter().map(|operation| operation.invoke).collect();
        let by_revision = rest.iter().all(|operation| revision(operation).is_some());
        if !by_revision || search_with(&history, &stamps, &apart) != Found::Legal {
            return None;
        }
        // Where there is a legal order it is that of the revisions: a write comes before those who saw it, and those
        // who saw the same can keep the order in which they asked.
        rest.sort_by_key(|operation| (revision(operation), !wrote(operation), operation.invoke));
        let order = rest.iter().filter_map(|operation| place(operation)).collect();
        Some(OrderWithout { without: place(left_out)?, order })
    };
    core.iter().filter_map(without).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::kv::KeyValue;

    /// One operation of a client of its own, answered from a revision.
    fn operation(
        client: u32,
        times: (u64, u64),
        request: Request,
        revision: i64,
        body: ResponseBody,
    ) -> StoreOperation {
        let output = Ok(CallAnswer::Kv(Response { revision, body }));
        let outcome = Outcome::Answered { at: Stamp::at(times.1), output };
        Operation { client, invoke: Stamp::at(times.0), input: Call::Kv(request), outcome }
    }

    fn put(client: u32, times: (u64, u64), key: &str, revision: i64) -> StoreOperation {
        operation(client, times, Request::put(key, "1"), revision, ResponseBody::Put { prev: None })
    }

    /// A read that shows the key as it was written by a revision, or not at all.
    fn get(client: u32, times: (u64, u64), key: &str, revision: i64, written: Option<i64>) -> StoreOperation {
        let pair = |written: i64| KeyValue {
            key: key.into(),
            value: b"1".to_vec(),
            create_revision: written,
            mod_revision: written,
            version: 1,
            lease: 0,
        };
        let kvs: Vec<KeyValue> = written.map(pair).into_iter().collect();
        let body = ResponseBody::Range { count: kvs.len() as u64, kvs, more: false };
        operation(client, times, Request::get(key), revision, body)
    }

    fn explained(operations: Vec<StoreOperation>) -> Option<BrokenOrder> {
        let places =
            operations.iter().enumerate().map(|(place, operation)| (operation.invoke, place)).collect();
        explain(&History::new(operations).unwrap(), &places)
    }

    #[test]
    fn a_stale_read_and_what_was_known_before_it_are_the_core() {
        let written = [put(0, (10, 20), "a", 2), put(1, (30, 40), "b", 3)];
        let order = explained([&written[..], &[get(2, (50, 60), "a", 2, Some(2))]].concat()).unwrap();
        assert_eq!(order.conflict, Some(Conflict::Stale { earlier: 1, later: 2, known: 3, shown: 2 }));
        assert_eq!((&order.core[..], order.minimal), (&[1, 2][..], true));
        let without = |without: usize, order: usize| OrderWithout { without, order: vec![order] };
        assert_eq!(order.orders_without, [without(1, 2), without(2, 1)]);
        assert_eq!((order.legal_until_ns, order.legal_answers), (40, 2));
        let step = |operation: usize, revision: i64, key: &str| Step {
            operation,
            revision,
            changes: vec![(key.to_string(), Some("1".to_string()))],
        };
        assert_eq!(order.steps, [step(0, 2, "a"), step(1, 3, "b")]);
        assert_eq!(order.refused.iter().map(|refused| refused.operation).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn two_writes_of_one_revision_are_the_core() {
        let order = explained(vec![put(0, (10, 20), "a", 2), put(1, (11, 21), "b", 2)]).unwrap();
        assert_eq!(order.conflict, Some(Conflict::SameRevision { first: 0, second: 1, revision: 2 }));
        assert_eq!((&order.core[..], order.minimal), (&[0, 1][..], true));
    }

    #[test]
    fn an_answer_that_nothing_explains_is_a_core_by_itself() {
        let order = explained(vec![put(0, (10, 20), "a", 2), get(1, (30, 40), "a", 2, None)]).unwrap();
        assert_eq!(order.conflict, None);
        assert_eq!((&order.core[..], order.minimal), (&[1][..], true));
    }

    #[test]
    fn what_has_a_legal_order_needs_no_explanation() {
        let concurrent = get(1, (15, 40), "a", 1, None);
        assert_eq!(explained(vec![put(0, (10, 20), "a", 2), concurrent]), None);
    }
}
