//! The lasting facts about leases: which there are, how long they live, and which keys go with them.
//!
//! When a lease ends is not known here: the leader's clock decides, and the end comes as an entry.

use std::collections::{BTreeMap, BTreeSet};

use engines::Batch;

use super::layout::{self, Record, RecordValue};

/// The shortest time to live, in seconds; shorter ones are granted as this. etcd's at its default timing: one and
/// a half elections, rounded up (`minTTL` in `server/etcdserver/server.go`).
pub const LEASE_TTL_MIN_S: i64 = 2;

/// The longest time to live, in seconds (`MaxLeaseTTL` in etcd's `server/lease/lessor.go`).
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// All leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseTable {
    leases: BTreeMap<i64, Lease>,
    lease_of: BTreeMap<Vec<u8>, i64>,
}

/// One lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// How long it lives each time it is kept alive, in seconds.
    pub granted_ttl_s: i64,
    /// What the last checkpoint left of that, in seconds; zero: all of it.
    pub remaining_ttl_s: i64,
    /// The keys that go with it.
    pub keys: BTreeSet<Vec<u8>>,
}

/// A change of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseChange {
    /// It has these times, new or not.
    Set { id: i64, granted_ttl_s: i64, remaining_ttl_s: i64 },
    /// It is gone.
    Remove { id: i64 },
}

impl LeaseTable {
    /// A lease.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// All leases with their ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    /// The number of leases.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The lease that a key goes with.
    pub fn lease_of(&self, key: &[u8]) -> Option<i64> {
        self.lease_of.get(key).copied()
    }

    /// Attaches and detaches the key of a record that was written.
    pub(super) fn follow(&mut self, record: &Record) {
        let lease = match record.value {
            RecordValue::Put { lease, .. } => lease,
            RecordValue::Tombstone => 0,
        };
        let before = if lease == 0 {
            self.lease_of.remove(&record.key)
        } else {
            self.lease_of.insert(record.key.clone(), lease)
        };
        if let Some(lease) = before.and_then(|before| self.leases.get_mut(&before)) {
            lease.keys.remove(&record.key);
        }
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(record.key.clone());
        }
    }

    pub(super) fn change(&mut self, change: LeaseChange) {
        match change {
            LeaseChange::Set { id, granted_ttl_s, remaining_ttl_s } => {
                let lease = self.leases.entry(id).or_default();
                (lease.granted_ttl_s, lease.remaining_ttl_s) = (granted_ttl_s, remaining_ttl_s);
            }
            LeaseChange::Remove { id } => {
                let lease = self.leases.remove(&id);
                assert!(lease.is_none_or(|lease| lease.keys.is_empty()), "the keys go before their lease");
            }
        }
    }

    /// A key whose lease does not exist; there is none where everything is in order.
    pub(super) fn stray_key(&self) -> Option<(&[u8], i64)> {
        let mut attached = self.lease_of.iter().map(|(key, lease)| (key.as_slice(), *lease));
        attached.find(|(_, lease)| !self.leases.contains_key(lease))
    }
}

impl LeaseChange {
    pub(super) fn add_to(self, batch: &mut Batch) {
        match self {
            LeaseChange::Set { id, granted_ttl_s, remaining_ttl_s } => {
                let times = [granted_ttl_s, remaining_ttl_s].map(i64::cast_unsigned);
                batch.put(layout::lease_key(id), layout::encode_numbers(times));
            }
            LeaseChange::Remove { id } => batch.delete(layout::lease_key(id)),
        }
    }

    /// The lease that the engine holds under `key`, or `None` if that is none.
    pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<LeaseChange> {
        let id = layout::decode_numbered_key(layout::LEASES_START, key)?.cast_signed();
        let [granted_ttl_s, remaining_ttl_s] = layout::decode_numbers(value)?.map(u64::cast_signed);
        Some(LeaseChange::Set { id, granted_ttl_s, remaining_ttl_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::Revision;

    fn write(key: &str, lease: i64) -> Record {
        let value = RecordValue::Put { value: vec![], create_revision: 2, version: 1, lease };
        Record { key: key.into(), revision: Revision { main: 2, sub: 0 }, value }
    }

    #[test]
    fn a_key_goes_with_one_lease_at_a_time() {
        let mut table = LeaseTable::default();
        for id in [1, 2] {
            table.change(LeaseChange::Set { id, granted_ttl_s: 10, remaining_ttl_s: 0 });
        }
        let keys = |table: &LeaseTable| {
            [1, 2].map(|id| table.get(id).unwrap().keys.iter().map(|key| key[0]).collect::<Vec<_>>())
        };
        table.follow(&write("a", 1));
        table.follow(&write("b", 1));
        assert_eq!(keys(&table), [vec![b'a', b'b'], vec![]]);
        table.follow(&write("a", 2));
        assert_eq!(keys(&table), [vec![b'b'], vec![b'a']]);
        table.follow(&write("a", 0));
        table.follow(&Record { value: RecordValue::Tombstone, ..write("b", 0) });
        assert_eq!(keys(&table), [vec![], vec![]]);
        assert_eq!(table.stray_key(), None);
        table.follow(&write("c", 3));
        assert_eq!(table.stray_key(), Some((&b"c"[..], 3)));
    }
}
