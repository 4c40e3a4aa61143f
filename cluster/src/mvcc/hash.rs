//! Hashes of what the store holds. They are equal for replicas that applied the same entries, whatever their
//! engines, and however far each has come with forgetting what was compacted.

use std::ops::ControlFlow;

use xxhash_rust::xxh3::Xxh3;

use super::{Record, Store, StoreError, layout};
use crate::api::Refusal;

/// The hash of what a store holds up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The current revision.
    pub revision: i64,
    /// The compacted revision. Hashes can be compared where it is the same.
    pub compact_revision: i64,
    /// The hash.
    pub hash: u64,
}

impl Store {
    /// A hash of all that entries have made: revisions, every record that is not compacted, leases, alarms.
    ///
    /// # Errors
    /// `Corrupt` for a record that cannot be understood; `Engine`.
    pub fn hash(&self) -> Result<u64, StoreError> {
        let mut hash = Xxh3::new();
        hash.update(&self.revision.to_le_bytes());
        hash.update(&self.compacted_revision.to_le_bytes());
        self.hash_records(self.revision, &mut hash)?;
        hash.update(&(self.leases.len() as u64).to_le_bytes());
        for (id, lease) in self.leases.iter() {
            for number in [id, lease.granted_ttl_s, lease.remaining_ttl_s] {
                hash.update(&number.to_le_bytes());
            }
        }
        self.alarms.iter().for_each(|member| hash.update(&member.to_le_bytes()));
        Ok(hash.digest())
    }

    /// A hash of what reads from the compacted revision up to `revision` can see; zero: up to the current one.
    ///
    /// # Errors
    /// As [`Store::hash`]. Refused: `Compacted`, `FutureRevision`.
    pub fn hash_kv(&self, revision: i64) -> Result<Result<HashKv, Refusal>, StoreError> {
        self.check_usable()?;
        if revision > 0 && revision < self.compacted_revision {
            return Ok(Err(Refusal::Compacted));
        }
        if revision > self.revision {
            return Ok(Err(Refusal::FutureRevision));
        }
        let mut hash = Xxh3::new();
        self.hash_records(if revision > 0 { revision } else { self.revision }, &mut hash)?;
        Ok(Ok(HashKv {
            revision: self.revision,
            compact_revision: self.compacted_revision,
            hash: hash.digest(),
        }))
    }

    /// Adds the records up to main revision `last`. As in etcd, a deletion at the compacted revision itself does
    /// not count: no read can see it.
    fn hash_records(&self, last: i64, hash: &mut Xxh3) -> Result<(), StoreError> {
        let (above, end) = (layout::records_of(self.compacted_revision + 1), layout::records_of(last + 1));
        let mut corrupt = Ok(());
        self.backend.scan(layout::RECORDS_START, Some(&end), &mut |key, value| {
            let counts = key >= above.as_slice()
                || match layout::decode_record(key, value) {
                    Some(record) => self.can_be_read(&record),
                    None => {
                        corrupt = Err(StoreError::senseless_record(key));
                        return ControlFlow::Break(());
                    }
                };
            if counts {
                for part in [key, value] {
                    hash.update(&(part.len() as u64).to_le_bytes());
                    hash.update(part);
                }
            }
            ControlFlow::Continue(())
        })?;
        corrupt
    }

    fn can_be_read(&self, record: &Record) -> bool {
        let is_boundary = record.revision.main == self.compacted_revision;
        self.is_kept(record) && !(is_boundary && record.value.is_tombstone())
    }
}
