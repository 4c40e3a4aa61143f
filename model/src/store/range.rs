//! Reads: which keys, as of when, in which order.

use std::cmp::Ordering;
use std::ops::Bound;

use rpds::VectorSync;

use super::{Record, Revision, Store, Version, as_of};
use crate::kv::{KeyValue, RangeRequest, Refusal, Response, ResponseBody, SortOrder, SortTarget};

/// Whether a range holds a key; `range_end` as in [`RangeRequest::range_end`].
pub(crate) fn covers(key: &[u8], range_end: Option<&[u8]>, candidate: &[u8]) -> bool {
    match range_end {
        None | Some([]) => key == candidate,
        Some([0]) => key <= candidate,
        Some(end) => key <= candidate && candidate < end,
    }
}

/// A key found by a read.
pub(super) struct Found<'a> {
    key: &'a [u8],
    revision: Revision,
    record: &'a Record,
}

impl Found<'_> {
    pub(super) fn key_value(&self) -> KeyValue {
        self.record.key_value(self.key, self.revision.main)
    }
}

impl Store {
    /// Whether a read at `revision` can be served.
    pub(super) fn check_read(&self, revision: i64) -> Result<(), Refusal> {
        if revision > self.revision {
            Err(Refusal::FutureRevision)
        } else if revision > 0 && revision < self.compacted {
            Err(Refusal::Compacted)
        } else {
            Ok(())
        }
    }

    /// The keys of a range with what they held at `revision`, ascending.
    pub(super) fn read<'a>(
        &'a self,
        key: &'a [u8],
        range_end: Option<&'a [u8]>,
        revision: i64,
    ) -> Box<dyn Iterator<Item = Found<'a>> + 'a> {
        Box::new(self.versions_of(key, range_end).filter_map(move |(key, versions)| {
            let version = as_of(versions, revision)?;
            Some(Found { key, revision: version.revision, record: version.record.as_ref()? })
        }))
    }

    /// The keys of a range with all their versions.
    pub(super) fn versions_of<'a>(
        &'a self,
        key: &'a [u8],
        range_end: Option<&'a [u8]>,
    ) -> Box<dyn Iterator<Item = (&'a [u8], &'a VectorSync<Version>)> + 'a> {
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = match range_end {
            None | Some([]) => {
                return Box::new(self.keys.get(key).map(|versions| (key, versions)).into_iter());
            }
            Some([0]) => (Bound::Included(key), Bound::Unbounded),
            Some(end) if key < end => (Bound::Included(key), Bound::Excluded(end)),
            Some(_inverted) => return Box::new(std::iter::empty()),
        };
        Box::new(self.keys.range::<[u8], _>(bounds).map(|(key, found)| (&**key, found)))
    }
}

/// Answers a read that was not refused (`etcdserver/apply.go` `Range`). A limit without order and filters cuts
/// the keys off before they are sorted by another target than the key. Keys that are equal in the target stay in
/// their order, in both directions, as etcd's sort leaves them where there are no more than twelve.
pub(super) fn range_response(store: &Store, request: &RangeRequest) -> Response {
    let revision = if request.revision <= 0 { store.revision } else { request.revision };
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let cut_first = limit > 0 && request.sort_order == SortOrder::None && !request.is_filtered();
    let fetch = if cut_first { limit.saturating_add(1) } else { usize::MAX };
    let (mut kvs, mut count) = (Vec::new(), 0);
    for found in store.read(&request.key, request.range_end.as_deref(), revision) {
        if !request.count_only && kvs.len() < fetch {
            kvs.push(found.key_value());
        }
        count += 1;
    }
    kvs.retain(|kv| is_wanted(request, kv));
    sort(request, &mut kvs);
    let more = limit > 0 && kvs.len() > limit;
    if more {
        kvs.truncate(limit);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    Response { revision: store.revision, body: ResponseBody::Range { kvs, count, more } }
}

fn is_wanted(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within =
        |revision: i64, min: i64, max: i64| (min == 0 || revision >= min) && (max == 0 || revision <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let order = |one: &KeyValue, other: &KeyValue| -> Ordering {
        match request.sort_target {
            SortTarget::Key => one.key.cmp(&other.key),
            SortTarget::Version => one.version.cmp(&other.version),
            SortTarget::Create => one.create_revision.cmp(&other.create_revision),
            SortTarget::Mod => one.mod_revision.cmp(&other.mod_revision),
            SortTarget::Value => one.value.cmp(&other.value),
        }
    };
    match request.sort_order {
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(order),
        SortOrder::Descend => kvs.sort_by(|one, other| order(other, one)),
    }
}
