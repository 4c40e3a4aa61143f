//! The reference store: what an etcd 3.5 store holds and answers, as a persistent value.
//!
//! ```text
//! key   ──► versions, oldest first: (main, sub) revision ─► value, create revision, version, lease | tombstone
//! lease ──► granted time to live, keys
//! ```
//! Every write appends one version; nothing is changed in place, so a read at a past revision is the last
//! version at or below it. A compaction is a number below which reads are refused: it removes nothing, so what
//! it leaves cannot be wrong. Copies share all their structure: cloning costs a few pointers, which is what lets
//! a search keep one state per step.

mod admission;
mod events;
mod lease;
mod range;
mod transaction;

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, VectorSync};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::kv::{Answer, Call, CallAnswer, CallResult, KeyValue, Refusal, Request, Status};
pub use admission::{admit, admit_call};
pub use events::CompactedBelow;
use lease::Lease;
pub use lease::{LEASE_TTL_MAX_S, LEASE_TTL_MIN_S};
pub(crate) use range::covers;
use transaction::Transaction;

/// The revision of an empty store, as in etcd.
pub const EMPTY_REVISION: i64 = 1;

/// The compacted revision of a store that was never compacted, as in etcd: even revision zero can be compacted,
/// once.
pub const NEVER_COMPACTED: i64 = -1;

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
    leases: RedBlackTreeMapSync<i64, Lease>,
    revision: i64,
    compacted: i64,
    versions_fingerprint: u128,
    keys_fingerprint: u128,
    leases_fingerprint: u128,
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
    lease: i64,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            keys: RedBlackTreeMapSync::new_sync(),
            leases: RedBlackTreeMapSync::new_sync(),
            revision: EMPTY_REVISION,
            compacted: NEVER_COMPACTED,
            versions_fingerprint: 0,
            keys_fingerprint: 0,
            leases_fingerprint: 0,
        }
    }
}

impl Store {
    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision below which reads are refused, or [`NEVER_COMPACTED`].
    pub fn compacted_revision(&self) -> i64 {
        self.compacted
    }

    /// A hash of all versions, the leases and the compacted revision, kept up to date with each change. Two
    /// states with the same past have the same fingerprint; two with different pasts differ, but for a chance of
    /// 2⁻¹²⁸.
    pub fn fingerprint(&self) -> u128 {
        self.versions_fingerprint.wrapping_add(self.silent_fingerprint())
    }

    /// A hash of what the keys hold now, with their revisions and versions, whatever they held before, and of
    /// leases and compacted revision: all that calls without a past revision can see, but for the revision of
    /// the store.
    pub fn current_fingerprint(&self) -> u128 {
        self.keys_fingerprint.wrapping_add(self.silent_fingerprint())
    }

    /// A hash of what changes without a revision.
    fn silent_fingerprint(&self) -> u128 {
        let compacted = match self.compacted {
            NEVER_COMPACTED => 0,
            revision => xxh3_128(&[b"compact-".as_slice(), &revision.to_le_bytes()].concat()),
        };
        self.leases_fingerprint.wrapping_add(compacted)
    }

    /// Carries out a call and answers it; `None` where the answer does not follow from the contents. A refused
    /// call changes nothing. Times to live are answered as if each lease were just kept alive; hashes are the
    /// model's own.
    pub fn call(&mut self, call: &Call) -> Option<CallResult> {
        Some(match call {
            Call::Kv(request) => self.apply(request).map(CallAnswer::Kv),
            Call::Compact { revision, physical: _ } => self.compact(*revision),
            Call::LeaseGrant { id, ttl_s } => self.lease_grant(*id, *ttl_s),
            Call::LeaseRevoke { id } => self.lease_revoke(*id),
            Call::LeaseKeepAlive { id } => Ok(self.lease_keep_alive(*id)),
            Call::LeaseTimeToLive { id, keys } => Ok(self.lease_time_to_live(*id, *keys)),
            Call::Leases => Ok(CallAnswer::Leases { revision: self.revision, ids: self.leases().collect() }),
            Call::HashKv { revision } => self.hash_kv(*revision),
            Call::Status => Ok(CallAnswer::Status(Status { revision: self.revision, ..Status::default() })),
            Call::Defragment
            | Call::AlarmDisarm
            | Call::Member(_)
            | Call::MoveLeader { .. }
            | Call::Watch(_) => return None,
        })
    }

    /// Carries out a request to the keys and answers it. A refused request changes nothing.
    pub fn apply(&mut self, request: &Request) -> Answer {
        admit(request)?;
        let path = transaction::resolve(self, request)?;
        let before = transaction::may_fail_late(request).then(|| self.clone());
        let answer = Transaction::begin(self, path).execute(request);
        if let (Err(_), Some(before)) = (&answer, before) {
            *self = before;
        }
        answer
    }

    /// What reads saw at a past revision, before any compaction; leases, which no read sees, are left out. A
    /// revision in the future is the present.
    pub fn at(&self, revision: i64) -> Store {
        let mut past = Store { revision: revision.clamp(EMPTY_REVISION, self.revision), ..Store::default() };
        for (key, versions) in self.keys.iter() {
            let until = versions.iter().take_while(|version| version.revision.main <= past.revision);
            let until: VectorSync<Version> = until.cloned().collect();
            if let Some(last) = until.last() {
                let fingerprint = |version: &Version| version.fingerprint(key);
                let all = until.iter().map(fingerprint).fold(0, u128::wrapping_add);
                let current = if last.record.is_some() { fingerprint(last) } else { 0 };
                past.versions_fingerprint = past.versions_fingerprint.wrapping_add(all);
                past.keys_fingerprint = past.keys_fingerprint.wrapping_add(current);
                past.keys.insert_mut(Arc::clone(key), until);
            }
        }
        past
    }

    /// Every version of every key, by key and then by revision, whatever was compacted.
    pub fn versions(&self) -> impl Iterator<Item = KeyVersion<'_>> {
        self.keys.iter().flat_map(|(key, versions)| {
            versions.iter().map(|version| KeyVersion {
                key,
                revision: version.revision,
                value: version.record.as_ref().map(|record| record.value.as_slice()),
            })
        })
    }

    /// The refusals are in the order of `mvcc/kvstore.go` `updateCompactRev`.
    fn compact(&mut self, revision: i64) -> CallResult {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = revision;
        Ok(CallAnswer::Compact { revision: self.revision })
    }

    /// A hash over what reads at the compacted revision or above it, up to `revision`, can see.
    fn hash_kv(&self, revision: i64) -> CallResult {
        if revision > 0 && revision < self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        let until = if revision <= 0 { self.revision } else { revision };
        let mut hash = 0_u64;
        for (key, versions) in self.keys.iter() {
            let kept = as_of(versions, self.compacted).filter(|version| version.record.is_some());
            let above = versions.iter().filter(|version| version.revision.main > self.compacted);
            for version in kept.into_iter().chain(above).filter(|version| version.revision.main <= until) {
                hash = hash.wrapping_add(version.fingerprint(key) as u64);
            }
        }
        Ok(CallAnswer::HashKv { revision: self.revision, compact_revision: self.compacted, hash })
    }

    fn current(&self, key: &[u8]) -> Option<&Arc<Record>> {
        self.keys.get(key)?.last()?.record.as_ref()
    }

    fn current_key_value(&self, key: &[u8]) -> Option<KeyValue> {
        let version = self.keys.get(key)?.last()?;
        Some(version.record.as_ref()?.key_value(key, version.revision.main))
    }

    fn push(&mut self, key: &[u8], version: Version) {
        let fingerprint = version.fingerprint(key);
        self.versions_fingerprint = self.versions_fingerprint.wrapping_add(fingerprint);
        if version.record.is_some() {
            self.keys_fingerprint = self.keys_fingerprint.wrapping_add(fingerprint);
        }
        let lease = version.record.as_ref().map_or(0, |record| record.lease);
        let lease_before = self.current(key).map_or(0, |record| record.lease);
        match self.keys.get_mut(key) {
            Some(versions) => {
                let last = versions.last().filter(|last| last.record.is_some());
                let replaced = last.map_or(0, |last| last.fingerprint(key));
                self.keys_fingerprint = self.keys_fingerprint.wrapping_sub(replaced);
                versions.push_back_mut(version);
            }
            None => {
                let mut versions = VectorSync::new_sync();
                versions.push_back_mut(version);
                self.keys.insert_mut(Arc::from(key), versions);
            }
        }
        if lease != lease_before {
            self.reattach(&Arc::from(key), lease_before, lease);
        }
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
            lease: self.lease,
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
            hasher.update(&record.lease.to_le_bytes());
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
