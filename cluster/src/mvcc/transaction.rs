//! A request being carried out. It reads the store and collects what is to be written; nothing of it is visible
//! to anyone else before it is committed.

use std::collections::BTreeMap;

use super::index::{self, Found, Revision};
use super::layout::{self, Record, RecordValue};
use super::path::Path;
use super::{Store, StoreError};
use crate::api::{KeyValue, Request, Response, ResponseBody};

/// A request on its way. All of its writes share one main revision.
pub(super) struct Transaction<'a> {
    store: &'a Store,
    path: Path,
    writes: Vec<Record>,
    /// The keys written so far: the place of their last write.
    written: BTreeMap<Vec<u8>, usize>,
}

impl<'a> Transaction<'a> {
    /// A transaction that takes these branches.
    pub(super) fn new(store: &'a Store, path: Path) -> Transaction<'a> {
        Transaction { store, path, writes: Vec::new(), written: BTreeMap::new() }
    }

    /// Carries `request` out: its response, and what is to be written, in order.
    pub(super) fn execute(mut self, request: &Request) -> Result<(Response, Vec<Record>), StoreError> {
        let mut response = self.operation(request)?;
        response.revision = match &response.body {
            ResponseBody::Txn { .. } => self.revision(),
            ResponseBody::Range { .. } | ResponseBody::Put { .. } | ResponseBody::DeleteRange { .. } => {
                response.revision
            }
        };
        Ok((response, self.writes))
    }

    fn operation(&mut self, request: &Request) -> Result<Response, StoreError> {
        let body = match request {
            Request::Range { .. } => self.range(request)?,
            Request::Put { key, value, prev_kv } => self.put(key, value, *prev_kv)?,
            Request::DeleteRange { key, range_end, prev_kv } => {
                self.delete_range(key, range_end.as_deref(), *prev_kv)?
            }
            Request::Txn { compares: _, success, failure } => {
                let succeeded = self.path.next().expect("every transaction on the way has its branch");
                let taken = if succeeded { success } else { failure };
                let responses =
                    taken.iter().map(|request| self.operation(request)).collect::<Result<_, _>>()?;
                return Ok(Response { revision: 0, body: ResponseBody::Txn { succeeded, responses } });
            }
        };
        Ok(Response { revision: self.revision(), body })
    }

    fn range(&self, request: &Request) -> Result<ResponseBody, StoreError> {
        let Request::Range { key, range_end, limit, revision, count_only, keys_only } = request else {
            unreachable!("called for ranges only");
        };
        let found = self.find(key, range_end.as_deref(), *revision);
        let count = found.len() as u64;
        let limit = if *limit == 0 { count } else { *limit };
        let mut kvs = Vec::new();
        if !*count_only {
            let wanted = usize::try_from(limit.min(count)).expect("a count of keys in memory");
            for (key, source) in &found[..wanted] {
                kvs.push(if *keys_only {
                    self.without_value(key, *source)
                } else {
                    self.fetch(key, *source)?
                });
            }
        }
        Ok(ResponseBody::Range { kvs, count, more: !*count_only && limit < count })
    }

    fn put(&mut self, key: &[u8], value: &[u8], prev_kv: bool) -> Result<ResponseBody, StoreError> {
        let before = self.find(key, None, 0).pop().map(|(_, source)| source);
        let prev = match before {
            Some(source) if prev_kv => Some(self.fetch(key, source)?),
            Some(_) | None => None,
        };
        let (create_revision, version) = match before.map(|source| self.without_value(key, source)) {
            Some(before) => (before.create_revision, before.version + 1),
            None => (self.store.revision + 1, 1),
        };
        self.write(key, RecordValue::Put { value: value.to_vec(), create_revision, version });
        Ok(ResponseBody::Put { prev })
    }

    fn delete_range(
        &mut self,
        key: &[u8],
        range_end: Option<&[u8]>,
        prev_kv: bool,
    ) -> Result<ResponseBody, StoreError> {
        let found = self.find(key, range_end, 0);
        let mut prev = Vec::new();
        if prev_kv {
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

    fn without_value(&self, key: &[u8], source: Source) -> KeyValue {
        match source {
            Source::Stored(found) => KeyValue {
                key: key.to_vec(),
                value: Vec::new(),
                create_revision: found.create_revision,
                mod_revision: found.modified.main,
                version: found.version,
            },
            Source::Written(place) => KeyValue { value: Vec::new(), ..self.written_key_value(place) },
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
