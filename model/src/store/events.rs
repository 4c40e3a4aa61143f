//! What watches see of the store: the changes of a range of keys, in order.

use super::{Record, Revision, Store, as_of};
use crate::kv::{Event, EventKind, KeyValue};

/// Events below the compacted revision cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactedBelow {
    /// The compacted revision.
    pub compact_revision: i64,
}

impl Store {
    /// Every change of every key, in order, each with what the key held at the revision before, whatever was
    /// compacted.
    pub fn all_events(&self) -> Vec<Event> {
        let uncompacted = Store { compacted: super::NEVER_COMPACTED, ..self.clone() };
        let every_key = Some([0].as_slice());
        uncompacted.events(b"", every_key, 0, self.revision, true).expect("nothing is compacted")
    }

    /// The changes of a range of keys from a revision to another, both included, in the order of (main, sub)
    /// revisions. A deletion carries key and modification revision only. With `prev_kv` an event shows what the
    /// key held at the revision before, if that is not below the compacted one: as in etcd, an event at the
    /// compacted revision never shows it (`mvcc/watchable_store.go`, `v3rpc/watch.go` `sendLoop`).
    ///
    /// # Errors
    /// `from_revision` lies below the compacted revision.
    pub fn events(
        &self,
        key: &[u8],
        range_end: Option<&[u8]>,
        from_revision: i64,
        to_revision: i64,
        prev_kv: bool,
    ) -> Result<Vec<Event>, CompactedBelow> {
        if from_revision < self.compacted {
            return Err(CompactedBelow { compact_revision: self.compacted });
        }
        let mut events: Vec<(Revision, Event)> = Vec::new();
        for (key, versions) in self.versions_of(key, range_end) {
            for version in versions.iter() {
                let Revision { main, sub: _ } = version.revision;
                if from_revision <= main && main <= to_revision {
                    let before = as_of(versions, main - 1).filter(|_| prev_kv && main > self.compacted);
                    let prev_kv = before.and_then(|before| {
                        Some(before.record.as_ref()?.key_value(key, before.revision.main))
                    });
                    events.push((version.revision, event(key, main, version.record.as_deref(), prev_kv)));
                }
            }
        }
        events.sort_by_key(|(revision, _)| *revision);
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }
}

fn event(key: &[u8], main: i64, record: Option<&Record>, prev_kv: Option<KeyValue>) -> Event {
    match record {
        Some(record) => Event { kind: EventKind::Put, kv: record.key_value(key, main), prev_kv },
        None => Event { kind: EventKind::Delete, kv: tombstone(key, main), prev_kv },
    }
}

fn tombstone(key: &[u8], mod_revision: i64) -> KeyValue {
    let (key, value) = (key.to_vec(), Vec::new());
    KeyValue { key, value, create_revision: 0, mod_revision, version: 0, lease: 0 }
}
