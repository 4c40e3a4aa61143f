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
//! 'm' "compact-scheduled"   0  revision   u64   what lies below can not be read; absent: there was no compaction
//!                           8  kept       u64   how many records at or below it stay
//!                          16  digest     u64   of those: see `compaction`
//! 'm' "compact-finished"       revision   u64   below it the engine has forgotten what is not kept
//!
//! 'l' id  u64 (its bits)    value of a lease  0  granted time to live, in seconds    u64
//!                                             8  what of it the last checkpoint left  u64   0: all
//! 'a' member  u64           no value: the disk of that member is full
//! 'm' "flushed-index"  u64   only under a wrong design (`FlushIndexPlace::InsideEngine`)
//! ```
//!
//! A compaction writes its scheduled marker in the batch of its entry, then forgets records in batches of their
//! own, and then writes the finished marker. Where the two differ, it goes on at the next start.

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
/// The key of the compaction that was begun last.
pub(super) const SCHEDULED_KEY: &[u8] = b"mcompact-scheduled";
/// The key of the compaction that was finished last.
pub(super) const FINISHED_KEY: &[u8] = b"mcompact-finished";
/// Where the leases begin in the engine's keys.
pub(super) const LEASES_START: &[u8] = b"l";
/// Where they end.
pub(super) const LEASES_END: &[u8] = b"m";
/// Where the alarms begin in the engine's keys.
pub(super) const ALARMS_START: &[u8] = b"a";
/// Where they end.
pub(super) const ALARMS_END: &[u8] = b"b";
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
        /// The lease that it is attached to; zero: none.
        lease: i64,
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
            RecordValue::Put { value, create_revision, version, lease } => Some(KeyValue {
                key: self.key,
                value,
                create_revision,
                mod_revision: self.revision.main,
                version,
                lease,
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
        RecordValue::Put { value, create_revision, version, lease } => {
            let key_bytes = u32::try_from(record.key.len()).expect("requests are bounded far below 4 GiB");
            let mut bytes = Vec::with_capacity(PUT_BYTES + record.key.len() + value.len());
            bytes.extend_from_slice(&encode_revision(*create_revision));
            bytes.extend_from_slice(&encode_revision(*version));
            bytes.extend_from_slice(&lease.to_le_bytes());
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

/// The engine's key where the records of main revision `main` begin.
pub(super) fn records_of(main: i64) -> Vec<u8> {
    let mut key = RECORDS_START.to_vec();
    key.extend_from_slice(&u64::try_from(main).expect("revisions are positive").to_be_bytes());
    key
}

/// A number that is part of the engine's key of a lease or an alarm.
pub(super) fn numbered_key(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

/// The number in such a key, or `None` for what is none.
pub(super) fn decode_numbered_key(prefix: &[u8], key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(prefix)?.try_into().ok()?))
}

/// The engine's key of a lease.
pub(super) fn lease_key(id: i64) -> Vec<u8> {
    numbered_key(LEASES_START, id.cast_unsigned())
}

/// Numbers as the engine holds them in a value, one behind the other.
pub(super) fn encode_numbers<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The reverse of [`encode_numbers`], or `None` for bytes of another length.
pub(super) fn decode_numbers<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
    numbers.try_into().ok()
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
        lease: i64::from_le_bytes(head[16..24].try_into().ok()?),
    };
    Some(Record { key: key.to_vec(), revision, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_sort_by_revision() {
        let revision = |main, sub| Revision { main, sub };
        let put = RecordValue::Put { value: b"value".to_vec(), create_revision: 2, version: 3, lease: -7 };
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
    fn numbers_come_back() {
        assert_eq!(decode_numbers::<2>(&encode_numbers([7, u64::MAX])), Some([7, u64::MAX]));
        assert_eq!(decode_numbers::<2>(&encode_numbers([7])), None);
        assert_eq!(decode_numbers::<1>(&[0; 9]), None);
        let key = lease_key(-1);
        assert!(key.as_slice() > LEASES_START && key.as_slice() < LEASES_END);
        assert_eq!(decode_numbered_key(LEASES_START, &key), Some(u64::MAX));
        assert_eq!(decode_numbered_key(ALARMS_START, &key), None);
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
