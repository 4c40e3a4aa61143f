//! Requests to the keys as plans write them: keys, leases and operations by their numbers, revisions by how far they
//! lie from what the client knows.

use crate::client::key;
use cluster::api::{
    Compare, CompareResult, DeleteRangeRequest, PutRequest, RangeRequest, Request, SortOrder, SortTarget,
    Target, TxnRequest,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A request to the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlannedRequest {
    /// Reads keys.
    Range(PlannedRange),
    /// Writes a key.
    Put(PlannedPut),
    /// Deletes keys.
    Delete(PlannedDelete),
    /// Carries out one of two lists.
    Txn(PlannedTxn),
}

/// A revision, by how far it lies above (below, if negative) the highest one that the client has seen, and at least 1.
pub type RelativeRevision = i64;

/// What to read. What is left out is as in an ordinary read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRange {
    /// The first key's number.
    pub from: u32,
    /// The number after the last key; none: only the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to: Option<u32>,
    /// At most so many keys; 0 is no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit: u64,
    /// At which revision; none: the current one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub at: Option<RelativeRevision>,
    /// In which order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: SortOrder,
    /// By what.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by: SortTarget,
    /// From whichever replica is asked, though it may be behind.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serializable: bool,
    /// Without values.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keys_only: bool,
    /// Only how many there are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub count_only: bool,
    /// Only keys written at this revision or later.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mod_from: Option<RelativeRevision>,
    /// Only keys written at this revision or earlier.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mod_to: Option<RelativeRevision>,
    /// Only keys created at this revision or later.
    #[serde(default, skip_serializing_if = "is_default")]
    pub create_from: Option<RelativeRevision>,
    /// Only keys created at this revision or earlier.
    #[serde(default, skip_serializing_if = "is_default")]
    pub create_to: Option<RelativeRevision>,
}

/// What to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedPut {
    /// The key's number.
    pub key: u32,
    /// Length of the value in bytes, as in [`crate::plan::Action::Put`]; where the value is to be kept, 0 gives none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bytes: u32,
    /// The plan's number of the lease that the key is attached to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lease: Option<u32>,
    /// Ask for what the key held.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: bool,
    /// Keep the value that it has.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ignore_value: bool,
    /// Keep the lease that it has.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ignore_lease: bool,
}

/// What to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedDelete {
    /// The first key's number.
    pub from: u32,
    /// The number after the last key; none: only the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to: Option<u32>,
    /// Ask for what the keys held.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: bool,
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTxn {
    /// All must hold for `then`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compares: Vec<PlannedCompare>,
    /// Carried out if they do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub then: Vec<PlannedRequest>,
    /// Carried out if they do not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub otherwise: Vec<PlannedRequest>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedCompare {
    /// The first key's number.
    pub from: u32,
    /// The number after the last key; none: only the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to: Option<u32>,
    /// The relation that must hold.
    pub is: CompareResult,
    /// What is compared, and with what.
    pub of: PlannedTarget,
}

/// What a condition looks at, with the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlannedTarget {
    /// How often the key was written.
    Version(i64),
    /// The revision that created it.
    Create(RelativeRevision),
    /// The revision that wrote it.
    Mod(RelativeRevision),
    /// The same, and the operand is what the client saw last.
    ModAsSeen,
    /// The value, compared with the beginning of what this operation of the plan writes.
    Value(usize),
    /// The lease, by the plan's number; none: no lease.
    Lease(Option<u32>),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a client knows when it asks.
pub(crate) struct Known<'a> {
    /// The plan's number of the operation, which stands in its values.
    pub(crate) operation: usize,
    /// The highest revision that it has seen.
    pub(crate) revision: i64,
    /// The modification revision of each key as it saw it last.
    pub(crate) seen: &'a BTreeMap<u32, i64>,
    /// The ids of leases by the plan's numbers, where they are not [`lease_id`].
    pub(crate) leases: &'a BTreeMap<u32, i64>,
}

/// The id of a lease by the plan's number, unless the server has chosen one.
pub(crate) fn lease_id(lease: u32) -> i64 {
    1_000 + i64::from(lease)
}

impl Known<'_> {
    /// The revision that a plan means.
    pub(crate) fn revision(&self, relative: RelativeRevision) -> i64 {
        self.revision.saturating_add(relative).max(1)
    }

    /// The lease that a plan means.
    pub(crate) fn lease(&self, lease: u32) -> i64 {
        self.leases.get(&lease).copied().unwrap_or_else(|| lease_id(lease))
    }

    /// The request that a plan means.
    pub(crate) fn request(&self, planned: &PlannedRequest) -> Request {
        self.part(planned, &mut 0)
    }

    /// The same; `written` counts the values, so that no two of them are alike.
    fn part(&self, planned: &PlannedRequest, written: &mut u32) -> Request {
        match planned {
            PlannedRequest::Range(range) => Request::Range(self.range(range)),
            PlannedRequest::Put(put) => {
                *written += 1;
                Request::Put(self.put(put, *written - 1))
            }
            PlannedRequest::Delete(PlannedDelete { from, to, prev_kv }) => {
                let (key, range_end) = keys(*from, *to);
                Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: *prev_kv })
            }
            PlannedRequest::Txn(PlannedTxn { compares, then, otherwise }) => {
                let mut parts =
                    |list: &[PlannedRequest]| list.iter().map(|it| self.part(it, written)).collect();
                let (success, failure) = (parts(then), parts(otherwise));
                let compares = compares.iter().map(|compare| self.compare(compare)).collect();
                Request::Txn(TxnRequest { compares, success, failure })
            }
        }
    }

    fn range(&self, range: &PlannedRange) -> RangeRequest {
        let revision = |relative: Option<RelativeRevision>| relative.map_or(0, |it| self.revision(it));
        let (key, range_end) = keys(range.from, range.to);
        RangeRequest {
            key,
            range_end,
            limit: range.limit,
            revision: revision(range.at),
            sort_order: range.order,
            sort_target: range.by,
            serializable: range.serializable,
            keys_only: range.keys_only,
            count_only: range.count_only,
            min_mod_revision: revision(range.mod_from),
            max_mod_revision: revision(range.mod_to),
            min_create_revision: revision(range.create_from),
            max_create_revision: revision(range.create_to),
        }
    }

    fn put(&self, put: &PlannedPut, part: u32) -> PutRequest {
        let is_kept = put.ignore_value && put.bytes == 0;
        PutRequest {
            key: key(put.key),
            value: if is_kept { Vec::new() } else { value(self.operation, part, put.bytes) },
            lease: put.lease.map_or(0, |lease| self.lease(lease)),
            prev_kv: put.prev_kv,
            ignore_value: put.ignore_value,
            ignore_lease: put.ignore_lease,
        }
    }

    fn compare(&self, compare: &PlannedCompare) -> Compare {
        let (key, range_end) = keys(compare.from, compare.to);
        let target = match compare.of {
            PlannedTarget::Version(version) => Target::Version(version),
            PlannedTarget::Create(relative) => Target::CreateRevision(self.revision(relative)),
            PlannedTarget::Mod(relative) => Target::ModRevision(self.revision(relative)),
            PlannedTarget::ModAsSeen => {
                Target::ModRevision(self.seen.get(&compare.from).copied().unwrap_or(0))
            }
            PlannedTarget::Value(operation) => Target::Value(value(operation, 0, 0)),
            PlannedTarget::Lease(lease) => Target::Lease(lease.map_or(0, |lease| self.lease(lease))),
        };
        Compare { key, range_end, target, result: compare.is }
    }
}

fn keys(from: u32, to: Option<u32>) -> (Vec<u8>, Option<Vec<u8>>) {
    (key(from), to.map(key))
}

/// A value that names its operation, so that no two writes are alike, filled up to `bytes`.
pub(crate) fn value(operation: usize, part: u32, bytes: u32) -> Vec<u8> {
    let mut value = format!("o{operation}.{part};").into_bytes();
    let fill = (operation as u8).wrapping_mul(31) | 1;
    while value.len() < bytes as usize {
        value.push(b'a' + (fill.wrapping_mul(value.len() as u8) % 26));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known<'a>(seen: &'a BTreeMap<u32, i64>, leases: &'a BTreeMap<u32, i64>) -> Known<'a> {
        Known { operation: 7, revision: 40, seen, leases }
    }

    #[test]
    fn revisions_lie_where_the_client_is() {
        let (seen, leases) = (BTreeMap::from([(2, 33)]), BTreeMap::from([(1, 99)]));
        let known = known(&seen, &leases);
        assert_eq!([known.revision(-3), known.revision(2), known.revision(-100)], [37, 42, 1]);
        assert_eq!([known.lease(0), known.lease(1)], [1_000, 99]);
        let compare =
            PlannedCompare { from: 2, to: None, is: CompareResult::Equal, of: PlannedTarget::ModAsSeen };
        assert_eq!(known.compare(&compare).target, Target::ModRevision(33));
    }

    #[test]
    fn every_write_of_a_transaction_has_a_value_of_its_own() {
        let put = |key| PlannedRequest::Put(PlannedPut { key, ..PlannedPut::default() });
        let nested = PlannedRequest::Txn(PlannedTxn { then: vec![put(2)], ..PlannedTxn::default() });
        let planned = PlannedRequest::Txn(PlannedTxn {
            then: vec![put(1), nested],
            otherwise: vec![put(1)],
            compares: vec![],
        });
        let (seen, leases) = (BTreeMap::new(), BTreeMap::new());
        let text = format!("{:?}", translated(&known(&seen, &leases).request(&planned)));
        assert_eq!(text, r#"["o7.0;", "o7.1;", "o7.2;"]"#);
    }

    /// The values of a request, in their order.
    fn translated(request: &Request) -> Vec<String> {
        match request {
            Request::Range(_) | Request::DeleteRange(_) => Vec::new(),
            Request::Put(put) => vec![String::from_utf8(put.value.clone()).unwrap()],
            Request::Txn(txn) => txn.success.iter().chain(&txn.failure).flat_map(translated).collect(),
        }
    }

    #[test]
    fn a_text_leaves_out_what_is_as_usual() {
        let range = PlannedRange { from: 3, at: Some(-5), ..PlannedRange::default() };
        let text = crate::plan::options().to_string(&PlannedRequest::Range(range.clone())).unwrap();
        assert_eq!(text, "Range((from:3,at:-5))");
        let read: PlannedRequest = crate::plan::options().from_str(&text).unwrap();
        assert_eq!(read, PlannedRequest::Range(range));
    }
}
