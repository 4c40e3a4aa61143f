//! The choice and order of the keys of a range, as in `applierV3backend.Range` of etcd 3.5.

use std::cmp::Ordering;

use crate::api::{KeyValue, RangeRequest, SortOrder, SortTarget};

/// How many of the keys found are to be read: all where they are yet to be sorted or chosen from, else one more
/// than the limit. etcd does not count an order that is only implied by a target among the sorted ones: what
/// it sorts then are the first keys up to the limit, and one more.
pub(super) fn wanted(request: &RangeRequest) -> usize {
    let is_sorted = request.sort_order != SortOrder::None;
    if request.limit == 0 || is_sorted || is_filtered(request) {
        usize::MAX
    } else {
        limit(request).saturating_add(1)
    }
}

/// Leaves out what the filters leave out, sorts, and cuts at the limit; returns whether that left keys out.
pub(super) fn arrange(request: &RangeRequest, kvs: &mut Vec<KeyValue>) -> bool {
    kvs.retain(|kv| passes(request, kv));
    sort(request, kvs);
    let more = request.limit > 0 && kvs.len() > limit(request);
    if more {
        kvs.truncate(limit(request));
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    more
}

fn limit(request: &RangeRequest) -> usize {
    usize::try_from(request.limit).unwrap_or(usize::MAX)
}

fn bounds(request: &RangeRequest) -> [i64; 4] {
    [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ]
}

fn is_filtered(request: &RangeRequest) -> bool {
    bounds(request).iter().any(|bound| *bound != 0)
}

fn passes(request: &RangeRequest, kv: &KeyValue) -> bool {
    let [min_mod, max_mod, min_create, max_create] = bounds(request);
    (max_mod == 0 || kv.mod_revision <= max_mod)
        && (min_mod == 0 || kv.mod_revision >= min_mod)
        && (max_create == 0 || kv.create_revision <= max_create)
        && (min_create == 0 || kv.create_revision >= min_create)
}

/// Keys that are equal by the target stay in their order.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let by_target = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match request.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match request.sort_order {
        // By key they are sorted as they come.
        SortOrder::None if request.sort_target == SortTarget::Key => {}
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(by_target),
        SortOrder::Descend => kvs.sort_by(|a, b| by_target(b, a)),
    }
}
