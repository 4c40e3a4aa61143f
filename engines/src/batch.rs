//! Writes that become visible together.

use std::collections::BTreeMap;

/// The reserved key of the raft index that the store has applied. The layer above puts it into the same batch
/// as the data of that index, so that a store which recovers the index has recovered the data too.
pub const APPLIED_INDEX_KEY: &[u8] = b"\x00applied-index";

/// The longest key, in bytes: what the smallest engine takes (fjall counts key bytes in a `u16`).
pub const KEY_BYTES_MAX: usize = 65_535;

/// The longest value, in bytes: what a value frame of a legacy snapshot body may hold.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// One change to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The key gets this value.
    Put(&'a [u8], &'a [u8]),
    /// The key and its value go; a missing key is no error.
    Delete(&'a [u8]),
}

/// Puts and deletes in order; where a key occurs twice, the last change wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.push((key.into(), Some(value.into())));
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.push((key.into(), None));
    }

    /// Sets [`APPLIED_INDEX_KEY`]: with this batch, raft index `index` is applied.
    pub fn put_applied_index(&mut self, index: u64) {
        self.put(APPLIED_INDEX_KEY, encode_applied_index(index));
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The last change to each key: what the batch comes to. Engines that number a batch as a whole
    /// (lsm-tree) or hash its keys (sled) are given this, so that none has to know the rule.
    pub fn outcome(&self) -> BTreeMap<&[u8], Option<&[u8]>> {
        self.changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect()
    }

    /// The changes in order.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        self.changes.iter().map(|(key, value)| match value {
            Some(value) => Change::Put(key, value),
            None => Change::Delete(key),
        })
    }
}

/// The value of [`APPLIED_INDEX_KEY`]: eight bytes, little endian.
pub fn encode_applied_index(index: u64) -> [u8; 8] {
    index.to_le_bytes()
}

/// The index in a value of [`APPLIED_INDEX_KEY`], or `None` if the value is not eight bytes long.
pub fn decode_applied_index(value: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(value.try_into().ok()?))
}
