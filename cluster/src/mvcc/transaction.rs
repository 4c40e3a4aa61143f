//! A request being carried out. It reads the store and collects what is to be written; nothing of it is visible
//! to anyone else before it is committed.

use std::collections::BTreeMap;

use super::index::{self, Found, Revision};
use super::layout::{self, Record, RecordValue};
use super::path::Path;
use super::{Store, StoreError, sorting};
use crate::api::{
    DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Refusal, Request, Response, ResponseBody,
};

/// A request on its way. All of its writes share one main revision.
pub(super) struct Transaction<'a> {
    store: &'a Store,
    path: Path,
    writes: Vec<Record>,
    /// The keys written so far: the place of their last write.
    written: BTreeMap<Vec<u8>, usize>,
}

/// Why a request is not carried out to its end.
pub(super) enum Halt {
    /// It is refused; nothing of it counts.
    Refused(Refusal),
    /// The store has failed.
    Failed(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Halt {
        Halt::Failed(error)
    }
}

/// What became of a request: its response, and what is to be written, in order.
pub(super) type Executed = Result<(Response, Vec<Record>), Refusal>;

impl<'a> Transaction<'a> {
    /// A transaction that takes these branches.
    pub(super) fn new(store: &'a Store, path: Path) -> Transaction<'a> {
        Transaction { store, path, writes: Vec::new(), written: BTreeMap::new() }
    }

    /// Carries `request` out.
    pub(super) fn execute(mut self, request: &Request) -> Result<Executed, StoreError> {
        match self.operation(request) {
            Ok(mut response) => {
                response.revision = match &response.body {
                    ResponseBody::Txn { .. } => self.revision(),
                    ResponseBody::Range { .. }
                    | ResponseBody::Put { .. }
                    | ResponseBody::DeleteRange { .. } => response.revision,
                };
                Ok(Ok((response, self.writes)))
            }
            Err(Halt::Refused(refusal)) => Ok(Err(refusal)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// Deletes keys that exist, in this order; returns what is to be written.
    pub(super) fn delete_keys<'k>(mut self, keys: impl Iterator<Item = &'k Vec<u8>>) -> Vec<Record> {
        keys.for_each(|key| self.write(key, RecordValue::Tombstone));
        self.writes
    }

    fn operation(&mut self, request: &Request) -> Result<Response, Halt> {
        let body = match request {
            Request::Range(range) => self.range(range)?,
            Request::Put(put) => self.put(put)?,
            Request::DeleteRange(delete) => self.delete_range(delete)?,
            Request::Txn(txn) => {
                let succeeded = self.path.next().expect("every transaction on the way has its branch");
                let taken = if succeeded { &txn.success } else { &txn.failure };
                let responses =
                    taken.iter().map(|request| self.operation(request)).collect::<Result<_, _>>()?;
                return Ok(Response { revision: 0, body: ResponseBody::Txn { succeeded, responses } });
            }
        };
        Ok(Response { revision: self.revision(), body })
    }

    fn range(&self, request: &RangeRequest) -> Result<ResponseBody, StoreError> {
        let found = self.find(&request.key, request.range_end.as_deref(), request.revision);
        let count = found.len() as u64;
        if request.count_only {
            return Ok(ResponseBody::Range { kvs: Vec::new(), count, more: false });
        }
        let wanted = found.iter().take(sorting::wanted(request));
        let mut kvs = wanted.map(|(key, source)| self.fetch(key, *source)).collect::<Result<Vec<_>, _>>()?;
        let more = sorting::arrange(request, &mut kvs);
        Ok(ResponseBody::Range { kvs, count, more })
    }

    fn put(&mut self, request: &PutRequest) -> Result<ResponseBody, Halt> {
        let key = &request.key;
        let before = self.find(key, None, 0).pop().map(|(_, source)| source);
        let keeps = request.ignore_value || request.ignore_lease;
        let prev = match before {
            Some(source) if request.prev_kv || keeps => Some(self.fetch(key, source)?),
            // The key was there before the request, but an operation before this one has deleted it: etcd lets
            // such requests in by a delete without end, and then panics ("unexpected error during txn with writes").
            None if keeps => return Err(Halt::Refused(Refusal::KeyNotFound)),
            Some(_) | None => None,
        };
        let (create_revision, version) = match before.map(|source| self.life(source)) {
            Some((create_revision, version)) => (create_revision, version + 1),
            None => (self.store.revision + 1, 1),
        };
        let kept = prev.as_ref().filter(|_| keeps);
        let value = kept.filter(|_| request.ignore_value).map_or(&request.value, |kv| &kv.value).clone();
        let lease = kept.filter(|_| request.ignore_lease).map_or(request.lease, |kv| kv.lease);
        self.write(key, RecordValue::Put { value, create_revision, version, lease });
        Ok(ResponseBody::Put { prev: prev.filter(|_| request.prev_kv) })
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> Result<ResponseBody, StoreError> {
        let found = self.find(&request.key, request.range_end.as_deref(), 0);
        let mut prev = Vec::new();
        if request.prev_kv {
            for (key, source) in &found {
                prev.push(self.fetch(key, *source)?);
            }
        }
        for (key, _) in &found {
            self.write(key, RecordValue::Tombstone);
        }
        Ok(ResponseBody::DeleteRange { deleted: found.len() as u64, prev })
    }

    /// The revision as the request sees it: a new one from its first write on.
    fn revision(&self) -> i64 {
        self.store.revision + i64::from(!self.writes.is_empty())
    }

    fn write(&mut self, key: &[u8], value: RecordValue) {
        let sub = i64::try_from(self.writes.len()).expect("requests are bounded");
        let revision = Revision { main: self.store.revision + 1, sub };
        self.written.insert(key.to_vec(), self.writes.len());
        self.writes.push(Record { key: key.to_vec(), revision, value });
    }

    /// The keys of a range, ascending, with where their values are: at `revision`, or now, with the writes of
    /// this request, where that is zero or less.
    fn find(&self, key: &[u8], range_end: Option<&[u8]>, revision: i64) -> Vec<(Vec<u8>, Source)> {
        let at = if revision > 0 { revision } else { self.store.revision };
        let stored = self.store.index.range(key, range_end, at);
        let mut found: BTreeMap<Vec<u8>, Source> =
            stored.map(|(key, found)| (key.to_vec(), Source::Stored(found))).collect();
        if let (false, Some(bounds)) = (revision > 0, index::bounds(key, range_end)) {
            for (key, place) in self.written.range::<[u8], _>(bounds) {
                if self.writes[*place].value.is_tombstone() {
                    found.remove(key);
                } else {
                    found.insert(key.clone(), Source::Written(*place));
                }
            }
        }
        found.into_iter().collect()
    }

    fn fetch(&self, key: &[u8], source: Source) -> Result<KeyValue, StoreError> {
        match source {
            Source::Stored(found) => self.store.fetch(key, found),
            Source::Written(place) => Ok(self.written_key_value(place)),
        }
    }

    /// The revision that created a key, and its version.
    fn life(&self, source: Source) -> (i64, i64) {
        match source {
            Source::Stored(found) => (found.create_revision, found.version),
            Source::Written(place) => {
                let kv = self.written_key_value(place);
                (kv.create_revision, kv.version)
            }
        }
    }

    fn written_key_value(&self, place: usize) -> KeyValue {
        self.writes[place].clone().into_key_value().expect("a tombstone is not found")
    }
}

/// Where the value of a key is.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// In the engine.
    Stored(Found),
    /// In this place among the writes of the request.
    Written(usize),
}

impl Store {
    /// The key with its value, as the index has found it.
    pub(super) fn fetch(&self, key: &[u8], found: Found) -> Result<KeyValue, StoreError> {
        let record_key = layout::put_key(found.modified);
        let missing = || {
            let Revision { main, sub } = found.modified;
            StoreError::Corrupt(format!("no record of key {} at revision {main}.{sub}", key.escape_ascii()))
        };
        let value = self.backend.get(&record_key)?.ok_or_else(missing)?;
        let record = layout::decode_record(&record_key, &value).filter(|record| record.key == key);
        record.and_then(Record::into_key_value).ok_or_else(missing)
    }
}
