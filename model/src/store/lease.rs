//! The leases of the store: who lives, and which keys go with them. When one expires is not the store's affair.

use std::sync::Arc;

use rpds::RedBlackTreeSetSync;
use xxhash_rust::xxh3::xxh3_128;

use super::{Revision, Store, Version};
use crate::kv::{CallAnswer, CallResult, Refusal};

/// The shortest time to live of a lease, in seconds; a shorter one is lengthened (etcd: one and a half election
/// timeouts, rounded up, with its default of one second; `lease/lessor.go` `minLeaseTTL`).
pub const LEASE_TTL_MIN_S: i64 = 2;

/// The longest time to live of a lease, in seconds (`lease/lessor.go` `MaxLeaseTTL`).
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// The id that a server chooses for a lease granted without one, where nobody tells which it chose.
const CHOSEN_ID: i64 = 1;

#[derive(Clone, Debug)]
pub(super) struct Lease {
    granted_ttl_s: i64,
    keys: RedBlackTreeSetSync<Arc<[u8]>>,
}

impl Store {
    /// The ids of the leases, ascending.
    pub fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    /// Whether a lease lives.
    pub fn has_lease(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// The keys of a lease, ascending; none if there is no such lease.
    pub fn lease_keys(&self, id: i64) -> impl Iterator<Item = &[u8]> {
        self.leases.get(&id).into_iter().flat_map(|lease| lease.keys.iter().map(|key| &**key))
    }

    /// The refusals are in the order of `lease/lessor.go` `Grant`. An id of zero gives the lowest free one.
    pub(super) fn lease_grant(&mut self, id: i64, ttl_s: i64) -> CallResult {
        let id =
            if id == 0 { (CHOSEN_ID..).find(|id| !self.has_lease(*id)).unwrap_or(CHOSEN_ID) } else { id };
        if ttl_s > LEASE_TTL_MAX_S {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.has_lease(id) {
            return Err(Refusal::LeaseExists);
        }
        let ttl_s = ttl_s.max(LEASE_TTL_MIN_S);
        let lease = Lease { granted_ttl_s: ttl_s, keys: RedBlackTreeSetSync::new_sync() };
        self.leases_fingerprint = self.leases_fingerprint.wrapping_add(fingerprint(id, &lease));
        self.leases.insert_mut(id, lease);
        Ok(CallAnswer::LeaseGrant { revision: self.revision, id, ttl_s })
    }

    /// Deletes the keys of a lease, ascending, in one revision; no revision if it has none.
    pub(super) fn lease_revoke(&mut self, id: i64) -> CallResult {
        let Some(lease) = self.leases.get(&id).cloned() else { return Err(Refusal::LeaseNotFound) };
        let main = self.revision + 1;
        for (sub, key) in lease.keys.iter().enumerate() {
            let revision = Revision { main, sub: i64::try_from(sub).expect("a lease has fewer keys") };
            self.push(key, Version { revision, record: None });
            self.revision = main;
        }
        self.leases.remove_mut(&id);
        self.leases_fingerprint = self.leases_fingerprint.wrapping_sub(fingerprint(id, &lease));
        Ok(CallAnswer::LeaseRevoke { revision: self.revision })
    }

    pub(super) fn lease_time_to_live(&self, id: i64, keys: bool) -> CallAnswer {
        let revision = self.revision;
        match self.leases.get(&id) {
            Some(lease) => CallAnswer::LeaseTimeToLive {
                revision,
                id,
                ttl_s: lease.granted_ttl_s,
                granted_ttl_s: lease.granted_ttl_s,
                keys: lease.keys.iter().filter(|_| keys).map(|key| key.to_vec()).collect(),
            },
            None => {
                CallAnswer::LeaseTimeToLive { revision, id, ttl_s: -1, granted_ttl_s: 0, keys: Vec::new() }
            }
        }
    }

    pub(super) fn lease_keep_alive(&self, id: i64) -> CallAnswer {
        let ttl_s = self.leases.get(&id).map_or(0, |lease| lease.granted_ttl_s);
        CallAnswer::LeaseKeepAlive { revision: self.revision, id, ttl_s }
    }

    /// Moves a key from one lease to another; zero is none.
    pub(super) fn reattach(&mut self, key: &Arc<[u8]>, from: i64, to: i64) {
        if from == to {
            return;
        }
        if let Some(lease) = self.leases.get_mut(&from) {
            lease.keys.remove_mut(&**key);
        }
        if let Some(lease) = self.leases.get_mut(&to) {
            lease.keys.insert_mut(Arc::clone(key));
        }
    }
}

/// Which keys a lease has follows from the keys.
fn fingerprint(id: i64, lease: &Lease) -> u128 {
    xxh3_128(&[b"lease---".as_slice(), &id.to_le_bytes(), &lease.granted_ttl_s.to_le_bytes()].concat())
}
