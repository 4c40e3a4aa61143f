//! The records of the store in the engine. Revisions in keys are big endian, so that the order of the bytes is
//! the order of the revisions; everything else is little endian.
//!
//! ```text
//! key    0  'k'               value of a put  0  create revision  u64
//!        1  main       u64                    8  version          u64
//!        9  sub        u64                   16  lease            u64   0: none
//!       17  kind       u8                    24  length of key    u32
//!           0 put, 1 tombstone               28  key, then the value
//!                                value of a tombstone: the key
//!
//! 'm' "format"         u32   1
//! 'm' "revision"       u64   the current revision; absent: 1
//! 'm' "applied-term"   u64   the term of the entry at the applied index
//! 'm' "flushed-index"  u64   only under a wrong design (`FlushIndexPlace::InsideEngine`)
//! ```

use engines::Batch;

use super::index::Revision;
use crate::api::KeyValue;

/// Where the records begin in the engine's keys.
pub(super) const RECORDS_START: &[u8] = b"k";
/// Where they end.
pub(super) const RECORDS_END: &[u8] = b"l";
/// The key of the format.
pub(super) const FORMAT_KEY: &[u8] = b"mformat";
/// The key of the current revision.
pub(super) const REVISION_KEY: &[u8] = b"mrevision";
/// The key of the applied term.
pub(super) const TERM_KEY: &[u8] = b"mapplied-term";
/// The key of the flushed index; only the wrong design has it here.
pub(super) const FLUSHED_KEY: &[u8] = b"mflushed-index";
/// The number of this layout.
pub(super) const FORMAT: u32 = 1;

const RECORD_KEY_BYTES: usize = 18;
const PUT_BYTES: usize = 28;
const KIND_PUT: u8 = 0;
const KIND_TOMBSTONE: u8 = 1;

/// One version of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Vec<u8>,
    /// The revision that wrote it.
    pub revision: Revision,
    /// What it holds from then on.
    pub value: RecordValue,
}

/// What a key holds from some revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordValue {
    /// A value.
    Put {
        /// The value.
        value: Vec<u8>,
        /// The revision that created the key.
        create_revision: i64,
        /// How often it was written since.
        version: i64,
    },
    /// Nothing: the key was deleted.
    Tombstone,
}

impl RecordValue {
    /// Whether the key was deleted.
    pub fn is_tombstone(&self) -> bool {
        match self {
            RecordValue::Put { .. } => false,
            RecordValue::Tombstone => true,
        }
    }
}

impl Record {
    /// The key with what it holds, unless it was deleted.
    pub(super) fn into_key_value(self) -> Option<KeyValue> {
        match self.value {
            RecordValue::Put { value, create_revision, version } => Some(KeyValue {
                key: self.key,
                value,
                create_revision,
                mod_revision: self.revision.main,
                version,
            }),
            RecordValue::Tombstone => None,
        }
    }
}

/// The engine's key of a record.
pub(super) fn record_key(record: &Record) -> Vec<u8> {
    key(record.revision, if record.value.is_tombstone() { KIND_TOMBSTONE } else { KIND_PUT })
}

/// The engine's key of the put at `revision`.
pub(super) fn put_key(revision: Revision) -> Vec<u8> {
    key(revision, KIND_PUT)
}

/// The engine's value of a record.
pub(super) fn record_value(record: &Record) -> Vec<u8> {
    match &record.value {
        RecordValue::Put { value, create_revision, version } => {
            let key_bytes = u32::try_from(record.key.len()).expect("requests are bounded far below 4 GiB");
            let mut bytes = Vec::with_capacity(PUT_BYTES + record.key.len() + value.len());
            bytes.extend_from_slice(&encode_revision(*create_revision));
            bytes.extend_from_slice(&encode_revision(*version));
            bytes.extend_from_slice(&0u64.to_le_bytes());
            bytes.extend_from_slice(&key_bytes.to_le_bytes());
            bytes.extend_from_slice(&record.key);
            bytes.extend_from_slice(value);
            bytes
        }
        RecordValue::Tombstone => record.key.clone(),
    }
}

/// The record that the engine holds under `key`, or `None` if there is no such record.
pub(super) fn decode_record(key: &[u8], value: &[u8]) -> Option<Record> {
    if key.len() != RECORD_KEY_BYTES || !key.starts_with(RECORDS_START) {
        return None;
    }
    let number = |bytes: &[u8]| i64::try_from(u64::from_be_bytes(bytes.try_into().ok()?)).ok();
    let revision = Revision { main: number(&key[1..9])?, sub: number(&key[9..17])? };
    match key[17] {
        KIND_PUT => decode_put(revision, value),
        KIND_TOMBSTONE => Some(Record { key: value.to_vec(), revision, value: RecordValue::Tombstone }),
        _ => None,
    }
}

/// A revision or version as the engine holds it in a value.
pub(super) fn encode_revision(revision: i64) -> [u8; 8] {
    u64::try_from(revision).expect("revisions and versions are positive").to_le_bytes()
}

/// The reverse of [`encode_revision`], or `None` for what is none.
pub(super) fn decode_revision(bytes: &[u8]) -> Option<i64> {
    i64::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// Adds to `batch` that the entry at `index` of `term` is applied.
pub(super) fn put_applied(batch: &mut Batch, index: u64, term: u64) {
    batch.put_applied_index(index);
    batch.put(TERM_KEY, term.to_le_bytes());
}

fn key(revision: Revision, kind: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(RECORD_KEY_BYTES);
    key.extend_from_slice(RECORDS_START);
    for number in [revision.main, revision.sub] {
        key.extend_from_slice(&u64::try_from(number).expect("revisions are positive").to_be_bytes());
    }
    key.push(kind);
    key
}

fn decode_put(revision: Revision, bytes: &[u8]) -> Option<Record> {
    let (head, rest) = bytes.split_at_checked(PUT_BYTES)?;
    let key_bytes = u32::from_le_bytes(head[24..28].try_into().ok()?);
    let (key, value) = rest.split_at_checked(usize::try_from(key_bytes).ok()?)?;
    let value = RecordValue::Put {
        value: value.to_vec(),
        create_revision: decode_revision(&head[..8])?,
        version: decode_revision(&head[8..16])?,
    };
    Some(Record { key: key.to_vec(), revision, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_sort_by_revision() {
        let revision = |main, sub| Revision { main, sub };
        let put = RecordValue::Put { value: b"value".to_vec(), create_revision: 2, version: 3 };
        let records = [
            Record { key: b"b".to_vec(), revision: revision(2, 0), value: put.clone() },
            Record { key: b"".to_vec(), revision: revision(2, 1), value: RecordValue::Tombstone },
            Record { key: b"a".to_vec(), revision: revision(255, 0), value: put.clone() },
            Record { key: b"a".to_vec(), revision: revision(256, 0), value: put },
        ];
        let keys: Vec<_> = records.iter().map(record_key).collect();
        assert!(keys.is_sorted());
        for (record, key) in records.iter().zip(&keys) {
            assert!(key.as_slice() > RECORDS_START && key.as_slice() < RECORDS_END);
            assert_eq!(decode_record(key, &record_value(record)).as_ref(), Some(record));
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        let key = put_key(Revision { main: 2, sub: 0 });
        assert_eq!(decode_record(&key, b"short"), None);
        assert_eq!(decode_record(&key[..17], &[0; 28]), None);
        let mut negative = key.clone();
        negative[1] = 0xff;
        assert_eq!(decode_record(&negative, &[0; 28]), None);
        let mut long_key = [0; 28];
        long_key[24] = 1;
        assert_eq!(decode_record(&key, &long_key), None);
    }
}
