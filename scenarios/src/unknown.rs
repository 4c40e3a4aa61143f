//! Deciding unknown outcomes by what stands in the raft log.
//!
//! A call is proposed at most once as long as its client cannot exclude that it took effect. So the log of replicas
//! that have converged shows whether an unknown call took effect, and the reference store what it would have been
//! answered. One that did is as good as answered after the end of the run; one that did not is as good as never
//! asked. Without this the judge has to try every unknown call in every gap, which is exponential in their number.
//! Nothing is taken on trust: what a reader has seen and is not in the log turns the reader's answer into a
//! violation.
//!
//! Calls that ask for the same are told apart by their answers; of those without one, the first entry of the log is
//! that of the client that asked first. Any other assignment is legal only if this one is, since a call without an
//! answer is bound by nothing but the moment at which it was asked.
//!
//! Leases end, and nobody asks for it: for each that was or may have been granted, a pseudo-client asks for its end
//! when its time can first be over (see `model::specs::etcd`), and is never answered; the log decides that, too.

use crate::truth::{Step, Truth};
use model::history::{History, Outcome, Stamp};
use model::kv::{Call, CallAnswer, CallResult};
use model::specs::etcd::{StoreHistory, StoreOperation};
use model::store::LEASE_TTL_MIN_S;
use std::borrow::Cow;

/// Clients from here on are those of decided operations: each asked once and was answered at the end.
const DECIDED_CLIENTS: u32 = 1_000_000;
/// The client that asks for the ends of leases.
const EXPIRY_CLIENT: u32 = 900_000;
/// The order of its stamps, after those of all real clients at the same time.
const EXPIRY_ORDER: u64 = 1 << 62;

/// The history with the ends of leases that nobody asked for. `drift` is how many parts per million the clocks run
/// fast, at most.
pub(crate) fn with_expiries(history: StoreHistory, drift: u32) -> StoreHistory {
    let mut operations = history.into_operations();
    let expiries =
        operations.iter().zip(0..).filter_map(|(operation, index)| expiry(operation, index, drift));
    let expiries: Vec<StoreOperation> = expiries.collect();
    operations.extend(expiries);
    History::new(operations).expect("nobody else stamps like this, and a client without answers may overlap")
}

fn expiry(operation: &StoreOperation, index: u64, drift: u32) -> Option<StoreOperation> {
    let (id, ttl_s) = match (&operation.input, operation.outcome.output()) {
        (Call::LeaseGrant { .. }, Some(Ok(CallAnswer::LeaseGrant { id, ttl_s, .. }))) => (*id, *ttl_s),
        (Call::LeaseGrant { id, ttl_s }, None) if *id != 0 => (*id, (*ttl_s).max(LEASE_TTL_MIN_S)),
        (_refused_or_no_grant, _) => return None,
    };
    let ttl_ns = u64::try_from(ttl_s).unwrap_or(0).saturating_mul(1_000_000_000);
    let early_ns = ttl_ns / 1_000_000 * u64::from(drift);
    let time_ns = operation.invoke.time_ns.saturating_add(ttl_ns - early_ns.min(ttl_ns));
    Some(StoreOperation {
        client: EXPIRY_CLIENT,
        invoke: Stamp { time_ns, order: EXPIRY_ORDER + index },
        input: Call::LeaseRevoke { id },
        outcome: Outcome::Unknown,
    })
}

/// The history with what the true one decides decided.
pub(crate) fn decide(history: StoreHistory, truth: &Truth) -> StoreHistory {
    let operations = history.operations();
    let decided = (0..operations.len()).filter_map(|index| decide_one(index, operations, truth)).collect();
    History::new(decided).expect("each decided operation is a client's only one")
}

fn decide_one(index: usize, operations: &[StoreOperation], truth: &Truth) -> Option<StoreOperation> {
    let operation = &operations[index];
    if !matches!(operation.outcome, Outcome::Unknown) {
        return Some(operation.clone());
    }
    let step = step_of(index, operations, truth)?;
    let mut decided = operation.clone();
    let at = Stamp { time_ns: u64::MAX, order: index as u64 };
    decided.client = DECIDED_CLIENTS + u32::try_from(index).expect("a run has fewer operations");
    decided.outcome = Outcome::Answered { at, output: step.result.clone() };
    Some(decided)
}

/// The entry of an unknown operation that changed something.
fn step_of<'a>(index: usize, operations: &[StoreOperation], truth: &'a Truth) -> Option<&'a Step> {
    let call = as_proposed(&operations[index])?;
    let same = |other: &&StoreOperation| as_proposed(other).is_some_and(|other| is_same(&call, &other));
    let mut answers: Vec<&CallResult> =
        operations.iter().filter(same).filter_map(|other| other.outcome.output()).collect();
    let earlier = operations[..index].iter().filter(same);
    let earlier = earlier.filter(|other| matches!(other.outcome, Outcome::Unknown)).count();
    let mut steps = truth.steps.iter().filter(|step| step.result.is_ok() && is_same(&call, &step.call));
    let unanswered = |step: &&Step| match answers.iter().position(|answer| **answer == step.result) {
        Some(place) => {
            answers.swap_remove(place);
            false
        }
        None => true,
    };
    steps.by_ref().filter(unanswered).nth(earlier)
}

/// A call as it stands in the log; none of what never does, or of what nobody can recognise there.
fn as_proposed(operation: &StoreOperation) -> Option<Cow<'_, Call>> {
    match (&operation.input, operation.outcome.output()) {
        (Call::Kv(request), _) if request.is_read_only() => None,
        (Call::LeaseGrant { id: 0, ttl_s }, Some(Ok(CallAnswer::LeaseGrant { id, .. }))) => {
            Some(Cow::Owned(Call::LeaseGrant { id: *id, ttl_s: *ttl_s }))
        }
        (Call::LeaseGrant { id: 0, .. }, _) => None,
        (call, _) => call.is_ordered().then_some(Cow::Borrowed(call)),
    }
}

/// Whether two calls ask for the same. Whether a client waits for the engine to forget does not stand in the log, and
/// a leader lengthens what a lease has to live.
fn is_same(one: &Call, other: &Call) -> bool {
    match (one, other) {
        (Call::Compact { revision: one, .. }, Call::Compact { revision: other, .. }) => one == other,
        (Call::LeaseGrant { id: one, .. }, Call::LeaseGrant { id: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::api::{self, Command};
    use cluster::wire;
    use model::history::Operation;
    use model::kv::Request;

    fn truth(commands: &[Command]) -> Truth {
        let entries = (1..).zip(commands.iter().map(|command| wire::encode(command).unwrap())).collect();
        Truth::of(&entries).unwrap()
    }

    fn put(key: &str, value: &str) -> Command {
        Command::Kv(api::Request::put(key, value))
    }

    fn delete(key: &str) -> Command {
        Command::Kv(api::Request::delete(key))
    }

    /// An operation of a client of its own, asked at `at`, answered at once if it was.
    fn operation(at: u64, input: Call, answer: Option<CallResult>) -> StoreOperation {
        let outcome = match answer {
            Some(output) => Outcome::Answered { at: Stamp::at(at + 1), output },
            None => Outcome::Unknown,
        };
        Operation { client: u32::try_from(at).unwrap(), invoke: Stamp::at(at), input, outcome }
    }

    fn unknown(at: u64, request: Request) -> StoreOperation {
        operation(at, Call::Kv(request), None)
    }

    /// The revisions that the operations of a history were answered with in the end.
    fn decided(operations: Vec<StoreOperation>, commands: &[Command]) -> Vec<(u64, Option<i64>)> {
        let history = decide(History::new(operations).unwrap(), &truth(commands));
        let revision = |operation: &StoreOperation| operation.outcome.output()?.as_ref().ok()?.revision();
        history.operations().iter().map(|it| (it.invoke.time_ns, revision(it))).collect()
    }

    #[test]
    fn a_write_that_is_in_the_log_happened_and_one_that_is_not_did_not() {
        let asked = || vec![unknown(5, Request::put("a", "o1"))];
        assert_eq!(decided(asked(), &[put("b", "o0"), put("a", "o1")]), [(5, Some(3))]);
        assert_eq!(decided(asked(), &[put("b", "o0")]), []);
        assert_eq!(decided(asked(), &[put("a", "o1"), Command::Compact { revision: 2 }]), [(5, Some(2))]);
    }

    #[test]
    fn calls_that_ask_for_the_same_are_told_apart_by_their_answers_and_then_by_their_times() {
        let log = [put("a", "o1"), delete("a"), put("a", "o2"), delete("a")];
        let second = truth(&log).steps[3].result.clone();
        let answered = operation(20, Call::Kv(Request::delete("a")), Some(second));
        let asked = vec![unknown(5, Request::delete("a")), unknown(10, Request::delete("a")), answered];
        assert_eq!(decided(asked, &log), [(5, Some(3)), (20, Some(5))]);
    }

    #[test]
    fn what_was_refused_changed_nothing() {
        let revoke = operation(5, Call::LeaseRevoke { id: 3 }, None);
        assert_eq!(decided(vec![revoke], &[Command::LeaseRevoke { id: 3 }]), []);
    }

    #[test]
    fn a_lease_ends_without_a_client_once_its_time_can_be_over() {
        let log = [Command::LeaseGrant { id: 7, ttl_s: 5 }, Command::LeaseRevoke { id: 7 }];
        let granted = truth(&log).steps[0].result.clone();
        let grant = operation(1, Call::LeaseGrant { id: 0, ttl_s: 5 }, Some(granted));
        let history = with_expiries(History::new(vec![grant]).unwrap(), 1000);
        let decided = decide(history, &truth(&log));
        let [_, end] = decided.operations() else { panic!("{decided:?}") };
        assert_eq!((&end.input, end.invoke.time_ns), (&Call::LeaseRevoke { id: 7 }, 4_995_000_001));
        assert_eq!(end.outcome.output(), Some(&Ok(CallAnswer::LeaseRevoke { revision: 1 })));
    }
}
