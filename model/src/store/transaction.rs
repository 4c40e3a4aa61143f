//! One request on its way through the store: which branches it takes, and what it then does.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{RangeRequest, Record, Revision, Store, Version, range_response};
use crate::kv::{Compare, CompareResult, KeyValue, Refusal, Request, Response, ResponseBody, Target};

/// Which branch each transaction takes, outermost first, in the order of execution.
pub(super) type Path = std::vec::IntoIter<bool>;

/// Decides every branch on the state *before* the request, nested transactions included, and refuses reads
/// that cannot be served from it. As in etcd, a nested transaction therefore does not see what the ones
/// around it write when its compares are decided.
pub(super) fn resolve(store: &Store, request: &Request) -> Result<Path, Refusal> {
    let mut path = Vec::new();
    resolve_into(store, request, &mut path)?;
    Ok(path.into_iter())
}

fn resolve_into(store: &Store, request: &Request, path: &mut Vec<bool>) -> Result<(), Refusal> {
    match request {
        Request::Range { revision, .. } => store.check_read(*revision),
        Request::Put { .. } | Request::DeleteRange { .. } => Ok(()),
        Request::Txn { compares, success, failure } => {
            let succeeded = compares.iter().all(|compare| holds(store, compare));
            path.push(succeeded);
            let taken = if succeeded { success } else { failure };
            taken.iter().try_for_each(|request| resolve_into(store, request, path))
        }
    }
}

fn holds(store: &Store, compare: &Compare) -> bool {
    let found = store.current_key_value(&compare.key);
    let (version, create_revision, mod_revision) =
        found.as_ref().map_or((0, 0, 0), |kv| (kv.version, kv.create_revision, kv.mod_revision));
    let ordering = match &compare.target {
        Target::Version(operand) => version.cmp(operand),
        Target::CreateRevision(operand) => create_revision.cmp(operand),
        Target::ModRevision(operand) => mod_revision.cmp(operand),
        Target::Value(operand) => match &found {
            Some(found) => found.value.cmp(operand),
            None => return false,
        },
    };
    match compare.result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
        CompareResult::NotEqual => ordering != Ordering::Equal,
    }
}

/// A request being carried out. All of its writes share one main revision.
pub(super) struct Transaction<'a> {
    store: &'a mut Store,
    path: Path,
    revision_before: i64,
    changes: i64,
}

impl<'a> Transaction<'a> {
    /// Starts on a request whose branches were decided by [`resolve`].
    pub(super) fn begin(store: &'a mut Store, path: Path) -> Transaction<'a> {
        let revision_before = store.revision;
        Transaction { store, path, revision_before, changes: 0 }
    }

    /// Carries the request out. It can no longer be refused.
    pub(super) fn execute(&mut self, request: &Request) -> Response {
        let mut response = self.operation(request);
        if let ResponseBody::Txn { .. } = response.body {
            response.revision = self.store.revision;
        }
        response
    }

    fn operation(&mut self, request: &Request) -> Response {
        match request {
            Request::Range { key, range_end, limit, revision, count_only, keys_only } => {
                let request = RangeRequest {
                    key,
                    range_end: range_end.as_deref(),
                    limit: *limit,
                    revision: *revision,
                    count_only: *count_only,
                    keys_only: *keys_only,
                };
                range_response(self.store, &request)
            }
            Request::Put { key, value, prev_kv } => self.put(key, value, *prev_kv),
            Request::DeleteRange { key, range_end, prev_kv } => {
                self.delete_range(key, range_end.as_deref(), *prev_kv)
            }
            Request::Txn { compares: _, success, failure } => {
                let succeeded = self.path.next().expect("resolve decided every transaction on the path");
                let taken = if succeeded { success } else { failure };
                let responses = taken.iter().map(|request| self.operation(request)).collect();
                Response { revision: 0, body: ResponseBody::Txn { succeeded, responses } }
            }
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8], prev_kv: bool) -> Response {
        let prev = if prev_kv { self.store.current_key_value(key) } else { None };
        let revision = self.next_revision();
        let (create_revision, version) = match self.store.current(key) {
            Some(record) => (record.create_revision, record.version + 1),
            None => (revision.main, 1),
        };
        let record = Arc::new(Record { value: value.to_vec(), create_revision, version });
        self.store.push(key, Version { revision, record: Some(record) });
        Response { revision: revision.main, body: ResponseBody::Put { prev } }
    }

    fn delete_range(&mut self, key: &[u8], range_end: Option<&[u8]>, prev_kv: bool) -> Response {
        let found: Vec<KeyValue> =
            self.store.read(key, range_end, self.store.revision).map(|found| found.key_value()).collect();
        for key_value in &found {
            let revision = self.next_revision();
            self.store.push(&key_value.key, Version { revision, record: None });
        }
        let deleted = found.len() as u64;
        let prev = if prev_kv { found } else { Vec::new() };
        Response { revision: self.store.revision, body: ResponseBody::DeleteRange { deleted, prev } }
    }

    /// The place of the next write; the first one moves the store to its new revision.
    fn next_revision(&mut self) -> Revision {
        let revision = Revision { main: self.revision_before + 1, sub: self.changes };
        self.changes += 1;
        self.store.revision = revision.main;
        revision
    }
}
