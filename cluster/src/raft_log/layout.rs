//! The bytes of a segment: a header, then batches without gaps. All integers are little endian.
//!
//! ```text
//! header   0  magic         8 bytes  "RAFTLOG\n"
//!          8  version       u32      1
//!         12  sequence      u64      number of the segment, also in its name
//!         20  first_index   u64      index that the first entry appended to this segment was to have: one
//!                                    above the last entry of the log when the segment was created
//!         28  sealed_bytes  u64      length of the segment before it, all of it durable; 0 for the first
//!         36  crc32         u32      over bytes 0 to 36
//!         40
//!
//! batch    0  magic         4 bytes  "LOGB"
//!          4  crc32         u32      over sequence, offset (both u64) and everything from byte 8 on
//!          8  length        u32      bytes of the records
//!         12  synced_to     u64      so many bytes of this segment were durable when the batch was written
//!         20  records
//!
//! record   0  kind          u8       1 entry, 2 hard state, 3 configuration, 4 compacted
//!          1  length        u32      bytes of the payload
//!          5  payload                protobuf: eraftpb Entry, HardState, SnapshotMetadata, SnapshotMetadata
//! ```
//!
//! A batch is one write and, by its checksum, all or nothing. The checksum covers the place of the batch, so
//! that neither a batch that was written elsewhere nor one inside the data of an entry is taken for one.

use protobuf::Message;
use raft::eraftpb::{Entry, HardState, SnapshotMetadata};

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 40;
/// Bytes of a batch without its records.
pub(super) const BATCH_BYTES: usize = 20;
/// Bytes of a record without its payload.
pub(super) const RECORD_BYTES: usize = 5;
/// The version of this layout.
pub(super) const VERSION: u32 = 1;

const HEADER_MAGIC: [u8; 8] = *b"RAFTLOG\n";
const BATCH_MAGIC: [u8; 4] = *b"LOGB";

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The version of the layout that follows.
    pub(super) version: u32,
    /// The number of the segment.
    pub(super) sequence: u64,
    /// The index after the last entry when the segment was created.
    pub(super) first_index: u64,
    /// The durable length of the segment before it, in bytes; zero for the first.
    pub(super) sealed_bytes: u64,
}

impl Header {
    /// The header as it stands in the file.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&HEADER_MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first_index.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.sealed_bytes.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header that a segment begins with, or `None` if there is no undamaged one.
    pub(super) fn decode(segment: &[u8]) -> Option<Header> {
        let bytes = segment.get(..HEADER_BYTES)?;
        if bytes[..8] != HEADER_MAGIC || u32_at(bytes, 36) != crc32fast::hash(&bytes[..36]) {
            return None;
        }
        Some(Header {
            version: u32_at(bytes, 8),
            sequence: u64_at(bytes, 12),
            first_index: u64_at(bytes, 20),
            sealed_bytes: u64_at(bytes, 28),
        })
    }
}

/// One thing that the log remembers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    /// An entry. It supersedes every entry from its index on.
    Entry(Entry),
    /// Term, vote and commit index from here on.
    HardState(HardState),
    /// The configuration from here on, with the index of the entry or snapshot that brought it.
    Configuration(SnapshotMetadata),
    /// Every entry up to this index is in the store or in a snapshot.
    Compacted(SnapshotMetadata),
}

/// The records that one write appends, being encoded.
pub(super) struct BatchBuilder {
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch.
    pub(super) fn new() -> BatchBuilder {
        BatchBuilder { bytes: vec![0; BATCH_BYTES] }
    }

    /// Whether there is no record yet.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == BATCH_BYTES
    }

    /// Adds an [`Record::Entry`].
    pub(super) fn entry(&mut self, entry: &Entry) {
        self.record(1, entry);
    }

    /// Adds a [`Record::HardState`].
    pub(super) fn hard_state(&mut self, hard_state: &HardState) {
        self.record(2, hard_state);
    }

    /// Adds a [`Record::Configuration`].
    pub(super) fn configuration(&mut self, metadata: &SnapshotMetadata) {
        self.record(3, metadata);
    }

    /// Adds a [`Record::Compacted`].
    pub(super) fn compacted(&mut self, metadata: &SnapshotMetadata) {
        self.record(4, metadata);
    }

    /// The batch as it stands at byte `offset` of segment `sequence`, of which `synced_to` bytes are durable.
    pub(super) fn finish(mut self, sequence: u64, offset: u64, synced_to: u64) -> Vec<u8> {
        assert!(synced_to <= offset, "a batch cannot be durable before it is written");
        let length = u32::try_from(self.bytes.len() - BATCH_BYTES)
            .expect("entries are bounded, so a batch is below 4 GiB");
        self.bytes[..4].copy_from_slice(&BATCH_MAGIC);
        self.bytes[8..12].copy_from_slice(&length.to_le_bytes());
        self.bytes[12..20].copy_from_slice(&synced_to.to_le_bytes());
        let crc = batch_crc(sequence, offset, &self.bytes);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }

    fn record(&mut self, kind: u8, message: &impl Message) {
        let payload = message.write_to_bytes().expect("a message without required fields can be encoded");
        let length = u32::try_from(payload.len()).expect("entries are bounded far below 4 GiB");
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&payload);
    }
}

/// A batch whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch<'a> {
    /// So many bytes of the segment were durable when it was written.
    pub(super) synced_to: u64,
    /// The offset of the byte after it.
    pub(super) end: u64,
    records: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch at byte `offset` of segment `sequence`, or `None` if there is no undamaged one.
    pub(super) fn decode(segment: &'a [u8], sequence: u64, offset: u64) -> Option<Batch<'a>> {
        let bytes = segment.get(usize::try_from(offset).ok()?..)?;
        if bytes.len() < BATCH_BYTES || bytes[..4] != BATCH_MAGIC {
            return None;
        }
        let length = BATCH_BYTES + usize::try_from(u32_at(bytes, 8)).ok()?;
        let bytes = bytes.get(..length)?;
        let synced_to = u64_at(bytes, 12);
        if u32_at(bytes, 4) != batch_crc(sequence, offset, bytes) || synced_to > offset {
            return None;
        }
        Some(Batch { synced_to, end: offset + length as u64, records: &bytes[BATCH_BYTES..] })
    }

    /// The records, or `None` if the batch holds something else, though its checksum is right.
    pub(super) fn records(&self) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        let mut rest = self.records;
        while !rest.is_empty() {
            if rest.len() < RECORD_BYTES {
                return None;
            }
            let end = RECORD_BYTES.checked_add(usize::try_from(u32_at(rest, 1)).ok()?)?;
            let payload = rest.get(RECORD_BYTES..end)?;
            records.push(match rest[0] {
                1 => Record::Entry(Message::parse_from_bytes(payload).ok()?),
                2 => Record::HardState(Message::parse_from_bytes(payload).ok()?),
                3 => Record::Configuration(Message::parse_from_bytes(payload).ok()?),
                4 => Record::Compacted(Message::parse_from_bytes(payload).ok()?),
                _ => return None,
            });
            rest = &rest[end..];
        }
        Some(records)
    }
}

/// Where the next batch could begin: the offset of the next batch magic at or after `offset`.
pub(super) fn next_batch_magic(segment: &[u8], offset: u64) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    let found = segment.get(start..)?.windows(BATCH_MAGIC.len()).position(|window| window == BATCH_MAGIC)?;
    Some((start + found) as u64)
}

fn batch_crc(sequence: u64, offset: u64, batch: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&sequence.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(&batch[8..]);
    crc.finalize()
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_at(offset: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.entry(&Entry { index: 7, term: 2, data: "data".into(), ..Entry::default() });
        builder.hard_state(&HardState { term: 2, vote: 1, commit: 6, ..HardState::default() });
        builder.finish(3, offset, offset)
    }

    #[test]
    fn a_header_comes_back_and_any_flipped_bit_destroys_it() {
        let header = Header { version: VERSION, sequence: 3, first_index: 7, sealed_bytes: 900 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_batch_comes_back_and_any_flipped_bit_destroys_it() {
        let bytes = batch_at(0);
        let batch = Batch::decode(&bytes, 3, 0).unwrap();
        assert_eq!((batch.synced_to, batch.end), (0, bytes.len() as u64));
        assert_eq!(batch.records().unwrap().len(), 2);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Batch::decode(&damaged, 3, 0), None, "bit {bit}");
        }
    }

    #[test]
    fn a_batch_counts_only_where_it_was_written() {
        let mut bytes = vec![0; 100];
        bytes.extend_from_slice(&batch_at(100));
        assert!(Batch::decode(&bytes, 3, 100).is_some());
        assert!(Batch::decode(&bytes, 4, 100).is_none(), "another segment");
        assert!(Batch::decode(&bytes[1..], 3, 99).is_none(), "another offset");
        assert_eq!(next_batch_magic(&bytes, 0), Some(100));
        assert_eq!(next_batch_magic(&bytes, 101), None);
    }
}
