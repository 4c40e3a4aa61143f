//! What has happened to keys, for watches.

use std::ops::ControlFlow;

use super::layout::{self, Record};
use super::{Store, StoreError, index};
use crate::api::{Event, EventKind, KeyValue};

/// Events from below the compacted revision are not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The first revision whose events are known.
    pub compact_revision: i64,
}

impl Store {
    /// All events of a key range from main revision `from` up to `to`, in the order in which they happened.
    /// At the compacted revision itself, these are the last of each key.
    ///
    /// # Errors
    /// `Corrupt` for a record that cannot be understood; `Engine`.
    pub fn events(
        &self,
        key: &[u8],
        range_end: Option<&[u8]>,
        from: i64,
        to: i64,
        prev_kv: bool,
    ) -> Result<Result<Vec<Event>, Compacted>, StoreError> {
        self.check_usable()?;
        if from < self.compacted_revision {
            return Ok(Err(Compacted { compact_revision: self.compacted_revision }));
        }
        let Some(bounds) = index::bounds(key, range_end) else {
            return Ok(Ok(Vec::new()));
        };
        let (start, end) = (layout::records_of(from.max(0)), layout::records_of(to.max(0) + 1));
        let (mut records, mut corrupt) = (Vec::new(), Ok(()));
        self.backend.scan(&start, Some(&end), &mut |key, value| match layout::decode_record(key, value) {
            Some(record) => {
                if index::contains(bounds, &record.key) && self.is_kept(&record) {
                    records.push(record);
                }
                ControlFlow::Continue(())
            }
            None => {
                corrupt = Err(StoreError::senseless_record(key));
                ControlFlow::Break(())
            }
        })?;
        corrupt?;
        Ok(Ok(records.iter().map(|record| self.event(record, prev_kv)).collect::<Result<_, _>>()?))
    }

    /// The events of the entry that was applied last, in order; none after a start. They cost nothing to those
    /// who do not ask.
    ///
    /// # Errors
    /// As [`Store::events`].
    pub fn last_events(&self, prev_kv: bool) -> Result<Vec<Event>, StoreError> {
        self.check_usable()?;
        self.last_records.iter().map(|record| self.event(record, prev_kv)).collect()
    }

    /// The event that a record stands for. As in etcd, the previous value is that of the revision before, and a
    /// key that was just created has none.
    fn event(&self, record: &Record, prev_kv: bool) -> Result<Event, StoreError> {
        let main = record.revision.main;
        let (kind, kv) = match record.clone().into_key_value() {
            Some(kv) => (EventKind::Put, kv),
            None => (EventKind::Delete, deleted(&record.key, main)),
        };
        let is_created = kind == EventKind::Put && kv.create_revision == main;
        let has_prev = prev_kv && !is_created && main > self.compacted_revision;
        let prev_kv = if has_prev { self.kv_at(&record.key, main - 1)? } else { None };
        Ok(Event { kind, kv, prev_kv })
    }

    fn kv_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, StoreError> {
        self.index.get(key, revision).map(|found| self.fetch(key, found)).transpose()
    }
}

fn deleted(key: &[u8], mod_revision: i64) -> KeyValue {
    KeyValue { key: key.to_vec(), value: Vec::new(), create_revision: 0, mod_revision, version: 0, lease: 0 }
}
