//! The reference store: what an etcd 3.5 store holds and answers, as a persistent value.
//!
//! ```text
//! key ──► versions, oldest first: (main, sub) revision ─► value, create revision, version | tombstone
//! ```
//! Every write appends one version; nothing is changed in place, so a read at a past revision is the last
//! version at or below it. Copies share all their structure: cloning costs a few pointers, which is what lets a
//! search keep one state per step.

mod admission;
mod transaction;

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, VectorSync};
use xxhash_rust::xxh3::Xxh3Default;

use crate::kv::{Answer, KeyValue, Refusal, Request, Response, ResponseBody};
pub use admission::admit;
use transaction::Transaction;

/// The revision of an empty store, as in etcd.
pub const EMPTY_REVISION: i64 = 1;

/// Where in the order of all writes a version stands: the transaction, and the write inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The revision of the transaction.
    pub main: i64,
    /// The place of the write inside the transaction, from 0.
    pub sub: i64,
}

/// The state of the store with its whole past. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    keys: RedBlackTreeMapSync<Arc<[u8]>, VectorSync<Version>>,
    revision: i64,
    fingerprint: u128,
    current_fingerprint: u128,
}

/// One version of one key, as [`Store::versions`] lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyVersion<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The write that made this version.
    pub revision: Revision,
    /// The value, or `None` for a deletion.
    pub value: Option<&'a [u8]>,
}

#[derive(Clone, Debug)]
struct Version {
    revision: Revision,
    /// `None` is a tombstone.
    record: Option<Arc<Record>>,
}

#[derive(Debug)]
struct Record {
    value: Vec<u8>,
    create_revision: i64,
    version: i64,
}

impl Default for Store {
    fn default() -> Store {
        let keys = RedBlackTreeMapSync::new_sync();
        Store { keys, revision: EMPTY_REVISION, fingerprint: 0, current_fingerprint: 0 }
    }
}

impl Store {
    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// A hash of all versions, kept up to date with each write. Two states with the same past have the same
    /// fingerprint; two with different pasts differ, but for a chance of 2⁻¹²⁸.
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// A hash of what the keys hold now, with their revisions and versions, whatever they held before: all that
    /// requests without a past revision can see, but for the revision of the store.
    pub fn current_fingerprint(&self) -> u128 {
        self.current_fingerprint
    }

    /// Carries out a request and answers it. A refused request changes nothing.
    pub fn apply(&mut self, request: &Request) -> Answer {
        admit(request)?;
        let path = transaction::resolve(self, request)?;
        Ok(Transaction::begin(self, path).execute(request))
    }

    /// Every version of every key, by key and then by revision.
    pub fn versions(&self) -> impl Iterator<Item = KeyVersion<'_>> {
        self.keys.iter().flat_map(|(key, versions)| {
            versions.iter().map(|version| KeyVersion {
                key,
                revision: version.revision,
                value: version.record.as_ref().map(|record| record.value.as_slice()),
            })
        })
    }

    /// Whether a read at `revision` can be served when `current` is the newest one.
    fn check_read(&self, revision: i64) -> Result<(), Refusal> {
        if revision > self.revision { Err(Refusal::FutureRevision) } else { Ok(()) }
    }

    fn current(&self, key: &[u8]) -> Option<&Arc<Record>> {
        self.keys.get(key)?.last()?.record.as_ref()
    }

    fn current_key_value(&self, key: &[u8]) -> Option<KeyValue> {
        let version = self.keys.get(key)?.last()?;
        Some(version.record.as_ref()?.key_value(key, version.revision.main))
    }

    /// The keys of a range with what they held at `revision`, ascending.
    fn read<'a>(
        &'a self,
        key: &'a [u8],
        range_end: Option<&'a [u8]>,
        revision: i64,
    ) -> Box<dyn Iterator<Item = Found<'a>> + 'a> {
        let versions: Box<dyn Iterator<Item = (&'a [u8], &'a VectorSync<Version>)>> = match range_end {
            None | Some([]) => Box::new(self.keys.get(key).map(|versions| (key, versions)).into_iter()),
            Some([0]) => Box::new(self.keys.range::<[u8], _>(from(key)).map(|(key, found)| (&**key, found))),
            Some(end) if key < end => {
                Box::new(self.keys.range::<[u8], _>(between(key, end)).map(|(key, found)| (&**key, found)))
            }
            Some(_inverted) => Box::new(std::iter::empty()),
        };
        Box::new(versions.filter_map(move |(key, versions)| {
            let version = as_of(versions, revision)?;
            Some(Found { key, revision: version.revision, record: version.record.as_ref()? })
        }))
    }

    fn push(&mut self, key: &[u8], version: Version) {
        let fingerprint = version.fingerprint(key);
        self.fingerprint = self.fingerprint.wrapping_add(fingerprint);
        if version.record.is_some() {
            self.current_fingerprint = self.current_fingerprint.wrapping_add(fingerprint);
        }
        match self.keys.get_mut(key) {
            Some(versions) => {
                let last = versions.last().filter(|last| last.record.is_some());
                let replaced = last.map_or(0, |last| last.fingerprint(key));
                self.current_fingerprint = self.current_fingerprint.wrapping_sub(replaced);
                versions.push_back_mut(version);
            }
            None => {
                let mut versions = VectorSync::new_sync();
                versions.push_back_mut(version);
                self.keys.insert_mut(Arc::from(key), versions);
            }
        }
    }
}

/// A key found by a read.
struct Found<'a> {
    key: &'a [u8],
    revision: Revision,
    record: &'a Record,
}

impl Found<'_> {
    fn key_value(&self) -> KeyValue {
        self.record.key_value(self.key, self.revision.main)
    }
}

impl Record {
    fn key_value(&self, key: &[u8], mod_revision: i64) -> KeyValue {
        KeyValue {
            key: key.to_vec(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision,
            version: self.version,
        }
    }
}

impl Version {
    fn fingerprint(&self, key: &[u8]) -> u128 {
        let mut hasher = Xxh3Default::new();
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(&self.revision.main.to_le_bytes());
        hasher.update(&self.revision.sub.to_le_bytes());
        if let Some(record) = &self.record {
            hasher.update(&record.create_revision.to_le_bytes());
            hasher.update(&record.version.to_le_bytes());
            hasher.update(&record.value);
        }
        hasher.digest128()
    }
}

/// The last version at or below a revision.
fn as_of(versions: &VectorSync<Version>, revision: i64) -> Option<&Version> {
    let newest = versions.last()?;
    if newest.revision.main <= revision {
        return Some(newest);
    }
    let (mut low, mut high) = (0, versions.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let below = versions.get(middle).is_some_and(|version| version.revision.main <= revision);
        if below { low = middle + 1 } else { high = middle }
    }
    versions.get(low.checked_sub(1)?)
}

fn from(key: &[u8]) -> (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) {
    (std::ops::Bound::Included(key), std::ops::Bound::Unbounded)
}

fn between<'a>(key: &'a [u8], end: &'a [u8]) -> (std::ops::Bound<&'a [u8]>, std::ops::Bound<&'a [u8]>) {
    (std::ops::Bound::Included(key), std::ops::Bound::Excluded(end))
}

fn range_response(store: &Store, request: &RangeRequest<'_>) -> Response {
    let revision = if request.revision <= 0 { store.revision } else { request.revision };
    let limit = if request.limit == 0 { u64::MAX } else { request.limit };
    let (mut kvs, mut count) = (Vec::new(), 0);
    for found in store.read(request.key, request.range_end, revision) {
        if !request.count_only && count < limit {
            let mut key_value = found.key_value();
            if request.keys_only {
                key_value.value.clear();
            }
            kvs.push(key_value);
        }
        count += 1;
    }
    let more = !request.count_only && count > limit;
    Response { revision: store.revision, body: ResponseBody::Range { kvs, count, more } }
}

/// The fields of [`Request::Range`].
struct RangeRequest<'a> {
    key: &'a [u8],
    range_end: Option<&'a [u8]>,
    limit: u64,
    revision: i64,
    count_only: bool,
    keys_only: bool,
}
