//! Random histories of the store: legal ones, by giving each operation a point between its invocation and its
//! return at which it takes effect, and damaged ones, by changing those.

use model::history::{History, Operation, Outcome, Stamp};
use model::kv::{
    Call, CallAnswer, CallResult, Compare, CompareResult, DeleteRangeRequest, KeyValue, PutRequest,
    RangeRequest, Request, Response, ResponseBody, SortOrder, SortTarget, Target, TxnRequest,
};
use model::specs::etcd::{StoreHistory, StoreOperation};
use model::store::Store;
use proptest::prelude::*;
use proptest::sample::Index;

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    UnknownButDone,
    UnknownNotDone,
}

/// An operation before it has an answer: three moments, to be sorted, and what is asked.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    moments: [u64; 3],
    call: Call,
    fate: Fate,
}

/// Drafts of `count` operations. The longer the `horizon`, the fewer are concurrent.
pub(crate) fn drafts(count: std::ops::Range<usize>, horizon: u64) -> impl Strategy<Value = Vec<Draft>> {
    let fate = prop_oneof![
        5 => Just(Fate::Answered),
        1 => Just(Fate::UnknownButDone),
        1 => Just(Fate::UnknownNotDone),
    ];
    let moments =
        (0..horizon, 0..40_u64, 0..40_u64).prop_map(|(start, a, b)| [start, start + a, start + a + b]);
    let draft = (moments, call(), fate).prop_map(|(moments, call, fate)| Draft { moments, call, fate });
    prop::collection::vec(draft, count)
}

/// The legal history of some drafts. Each operation is a client of its own.
pub(crate) fn legal(drafts: &[Draft]) -> Vec<StoreOperation> {
    let mut by_point: Vec<(u64, usize)> =
        drafts.iter().enumerate().map(|(index, draft)| (draft.moments[1], index)).collect();
    by_point.sort_unstable();
    let mut store = Store::default();
    let mut answers: Vec<Option<CallResult>> = vec![None; drafts.len()];
    for (_, index) in by_point {
        if drafts[index].fate != Fate::UnknownNotDone {
            answers[index] = store.call(&drafts[index].call);
        }
    }
    let operations = drafts.iter().zip(answers).enumerate().map(|(index, (draft, answer))| {
        let [invoke, _, returned] = draft.moments;
        // Invocations come before the points of the same moment, and points before returns; an operation's
        // point has the rank of its index.
        let stamp = |time_ns, side: u64| Stamp { time_ns, order: side * 1_000_000 + index as u64 };
        let outcome = match (draft.fate, answer) {
            (Fate::Answered, Some(output)) => Outcome::Answered { at: stamp(returned, 2), output },
            _ => Outcome::Unknown,
        };
        Operation { client: index as u32, invoke: stamp(invoke, 0), input: draft.call.clone(), outcome }
    });
    operations.collect()
}

/// A change to a history, which may make it illegal.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    AlterRevision(Index, i64),
    AlterKeyValue(Index, u8),
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
        (index(), prop_oneof![Just(-1), Just(1), Just(2)]).prop_map(|(i, by)| Damage::AlterRevision(i, by)),
        (index(), 0..4_u8).prop_map(|(i, field)| Damage::AlterKeyValue(i, field)),
        (index(), index()).prop_map(|(i, j)| Damage::SwapAnswers(i, j)),
        (index(), index()).prop_map(|(i, j)| Damage::SwapReturns(i, j)),
        (index(), 0..80_u64).prop_map(|(i, to)| Damage::MoveReturn(i, to)),
        (index(), 0..80_u64).prop_map(|(i, to)| Damage::MoveInvoke(i, to)),
        index().prop_map(Damage::Drop),
        index().prop_map(Damage::Duplicate),
        index().prop_map(Damage::Forget),
    ]
}

/// A well-formed history, as near to the damaged operations as can be: a return moved before its invocation
/// comes right after it.
pub(crate) fn history(mut operations: Vec<StoreOperation>, damages: &[Damage]) -> StoreHistory {
    for damage in damages {
        if !operations.is_empty() {
            apply(&mut operations, damage);
        }
    }
    for (index, operation) in operations.iter_mut().enumerate() {
        operation.client = index as u32;
        operation.invoke.order = index as u64;
        if let Outcome::Answered { at, output: _ } = &mut operation.outcome {
            at.order = 1_000_000 + index as u64;
            if *at < operation.invoke {
                at.time_ns = operation.invoke.time_ns;
            }
        }
    }
    History::new(operations).unwrap()
}

fn apply(operations: &mut Vec<StoreOperation>, damage: &Damage) {
    let length = operations.len();
    match damage {
        Damage::AlterRevision(index, by) => {
            if let Some(Ok(answer)) = answer_mut(&mut operations[index.index(length)]) {
                match answer {
                    CallAnswer::Kv(Response { revision, .. })
                    | CallAnswer::Compact { revision }
                    | CallAnswer::LeaseGrant { revision, .. }
                    | CallAnswer::LeaseRevoke { revision } => *revision += by,
                    other => panic!("not generated: {other:?}"),
                }
            }
        }
        Damage::AlterKeyValue(index, field) => {
            if let Some(Ok(CallAnswer::Kv(response))) = answer_mut(&mut operations[index.index(length)])
                && let Some(key_value) = first_key_value(&mut response.body)
            {
                match field {
                    0 => key_value.value.push(b'!'),
                    1 => key_value.mod_revision -= 1,
                    2 => key_value.version += 1,
                    _ => key_value.create_revision -= 1,
                }
            }
        }
        Damage::SwapAnswers(first, second) => {
            let (first, second) = (first.index(length), second.index(length));
            let same_kind = std::mem::discriminant(&operations[first].input)
                == std::mem::discriminant(&operations[second].input);
            let (Some(one), Some(other)) =
                (operations[first].outcome.output().cloned(), operations[second].outcome.output().cloned())
            else {
                return;
            };
            if same_kind {
                *answer_mut(&mut operations[first]).unwrap() = other;
                *answer_mut(&mut operations[second]).unwrap() = one;
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

fn set_return(operation: &mut StoreOperation, time_ns: u64) {
    if let Outcome::Answered { at, output: _ } = &mut operation.outcome {
        at.time_ns = time_ns;
    }
}

fn answer_mut(operation: &mut StoreOperation) -> Option<&mut CallResult> {
    match &mut operation.outcome {
        Outcome::Answered { at: _, output } => Some(output),
        Outcome::Unknown => None,
    }
}

fn first_key_value(body: &mut ResponseBody) -> Option<&mut KeyValue> {
    match body {
        ResponseBody::Range { kvs, .. } => kvs.first_mut(),
        ResponseBody::Put { prev } => prev.as_mut(),
        ResponseBody::DeleteRange { deleted: _, prev } => prev.first_mut(),
        ResponseBody::Txn { succeeded: _, responses } => {
            responses.iter_mut().find_map(|response| first_key_value(&mut response.body))
        }
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(b"a".to_vec()), Just(b"b".to_vec())]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(b"1".to_vec()), Just(b"2".to_vec())]
}

fn range_end() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![3 => Just(None), 1 => Just(Some(vec![0])), 1 => Just(Some(b"b".to_vec()))]
}

fn lease() -> impl Strategy<Value = i64> {
    7..9_i64
}

fn sort() -> impl Strategy<Value = (SortOrder, SortTarget)> {
    prop_oneof![
        6 => Just((SortOrder::None, SortTarget::Key)),
        1 => Just((SortOrder::Descend, SortTarget::Key)),
        1 => Just((SortOrder::Ascend, SortTarget::Mod)),
        1 => Just((SortOrder::None, SortTarget::Value)),
    ]
}

fn range() -> impl Strategy<Value = RangeRequest> {
    let revision = prop_oneof![4 => Just(0), 1 => 1..5_i64];
    let flag = || prop::bool::weighted(0.2);
    let filter = || prop_oneof![9 => Just(0), 1 => 1..5_i64];
    (key(), range_end(), 0..2_u64, revision, flag(), flag(), sort(), filter(), filter()).prop_map(
        |(key, range_end, limit, revision, count_only, keys_only, sort, min_mod, max_create)| RangeRequest {
            key,
            range_end,
            limit,
            revision,
            sort_order: sort.0,
            sort_target: sort.1,
            count_only,
            keys_only,
            min_mod_revision: min_mod,
            max_create_revision: max_create,
            ..RangeRequest::default()
        },
    )
}

fn put() -> impl Strategy<Value = PutRequest> {
    let lease = prop_oneof![4 => Just(0), 1 => lease()];
    (key(), value(), lease, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(key, value, lease, prev_kv, ignore_value)| PutRequest {
            key,
            value: if ignore_value { vec![] } else { value },
            lease,
            prev_kv,
            ignore_value,
            ignore_lease: false,
        },
    )
}

fn simple() -> impl Strategy<Value = Request> {
    let delete = (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| {
        Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv })
    });
    prop_oneof![3 => range().prop_map(Request::Range), 4 => put().prop_map(Request::Put), 1 => delete]
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..3_i64).prop_map(Target::Version),
        (0..5_i64).prop_map(Target::ModRevision),
        (0..5_i64).prop_map(Target::CreateRevision),
        value().prop_map(Target::Value),
        prop_oneof![Just(0), lease()].prop_map(Target::Lease),
    ];
    let result = prop_oneof![
        Just(CompareResult::Equal),
        Just(CompareResult::Greater),
        Just(CompareResult::Less),
        Just(CompareResult::NotEqual),
    ];
    (key(), range_end(), target, result).prop_map(|(key, range_end, target, result)| Compare {
        key,
        range_end,
        target,
        result,
    })
}

fn request() -> impl Strategy<Value = Request> {
    let branch = || prop::collection::vec(simple(), 0..3);
    let txn = (prop::collection::vec(compare(), 0..2), branch(), branch())
        .prop_map(|(compares, success, failure)| Request::Txn(TxnRequest { compares, success, failure }));
    prop_oneof![4 => simple(), 1 => txn]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => request().prop_map(Call::Kv),
        1 => (0..5_i64).prop_map(|revision| Call::Compact { revision, physical: false }),
        1 => lease().prop_map(|id| Call::LeaseGrant { id, ttl_s: 5 }),
        1 => lease().prop_map(|id| Call::LeaseRevoke { id }),
    ]
}
