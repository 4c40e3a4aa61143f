//! Reading a segment: which batches are undamaged, how far the rest proves them durable, and what that makes
//! of the segment.

use super::decision::Finding;
use super::layout::{Batch, HEADER_BYTES, Header, Record, VERSION, next_batch_magic};

/// What stands in the file of a segment.
#[derive(Debug)]
pub(super) struct Scan {
    /// The number in its name.
    pub(super) sequence: u64,
    /// Its header, if undamaged.
    pub(super) header: Option<Header>,
    /// Its batches, from the first up to the first damage.
    pub(super) batches: Vec<ScannedBatch>,
    /// How far any batch, behind damage too, proves it durable, in bytes.
    pub(super) durable_to: u64,
    /// The bytes of the file.
    pub(super) content: Vec<u8>,
    /// The first batch whose records cannot be understood.
    malformed_at: Option<u64>,
    /// Whether there are undamaged batches behind damage.
    batches_behind: bool,
}

/// An undamaged batch.
#[derive(Debug)]
pub(super) struct ScannedBatch {
    /// Where it begins, in bytes.
    pub(super) at: u64,
    /// Where it ends, in bytes.
    pub(super) end: u64,
    /// What is in it.
    pub(super) records: Vec<Record>,
}

impl Scan {
    /// Reads the bytes of segment `sequence`.
    pub(super) fn new(sequence: u64, content: Vec<u8>) -> Scan {
        let mut scan = Scan {
            sequence,
            header: Header::decode(&content),
            batches: Vec::new(),
            durable_to: 0,
            content,
            malformed_at: None,
            batches_behind: false,
        };
        if scan.header.is_some_and(|header| header.version == VERSION) {
            scan.read_batches();
        }
        scan.look_behind_damage();
        scan
    }

    /// The offset of the byte after the last undamaged batch, or after the header where there is none.
    pub(super) fn end(&self) -> u64 {
        match (self.batches.last(), self.header) {
            (Some(batch), _) => batch.end,
            (None, Some(_)) => HEADER_BYTES as u64,
            (None, None) => 0,
        }
    }

    /// The length of the file in bytes.
    pub(super) fn length(&self) -> u64 {
        self.content.len() as u64
    }

    /// Drops what stands behind byte `sealed_bytes`, where the segment ended when the next was begun.
    pub(super) fn seal(&mut self, sealed_bytes: u64) {
        self.batches.retain(|batch| batch.end <= sealed_bytes);
    }

    /// What to make of it. `sealed_bytes` is its durable length according to the next segment, if that says so.
    pub(super) fn finding(&self, sealed_bytes: Option<u64>) -> Finding {
        let durable_to = sealed_bytes.unwrap_or(0).max(self.durable_to);
        let damage = |at| {
            if self.length() == at {
                Finding::Short { at, durable_to }
            } else {
                Finding::Rot { at, durable_to }
            }
        };
        let (at, length) = (self.end(), self.length());
        match self.header {
            Some(header) if header.version != VERSION => {
                return Finding::UnknownVersion { version: header.version };
            }
            Some(header) if header.sequence != self.sequence => {
                return Finding::Misplaced { sequence: header.sequence };
            }
            Some(_) | None => {}
        }
        if let Some(at) = self.malformed_at {
            return Finding::Malformed { at };
        }
        if durable_to > at {
            return damage(at);
        }
        if length == 0 {
            return Finding::Empty;
        }
        if self.batches.is_empty() {
            return Finding::Unborn;
        }
        if length == at {
            return Finding::Whole;
        }
        if let Some(sealed_at) = sealed_bytes {
            return Finding::Long { sealed_at };
        }
        if self.batches_behind {
            return Finding::Hole { at };
        }
        let tail = &self.content[usize::try_from(at).expect("inside the content")..];
        if tail.iter().all(|byte| *byte == 0) { Finding::ZeroTail { at } } else { Finding::TornTail { at } }
    }

    fn read_batches(&mut self) {
        let mut at = HEADER_BYTES as u64;
        while let Some(batch) = Batch::decode(&self.content, self.sequence, at) {
            let Some(records) = batch.records() else {
                self.malformed_at = Some(at);
                return;
            };
            self.durable_to = self.durable_to.max(batch.synced_to);
            self.batches.push(ScannedBatch { at, end: batch.end, records });
            at = batch.end;
        }
    }

    fn look_behind_damage(&mut self) {
        let mut at = self.end();
        while let Some(candidate) = next_batch_magic(&self.content, at) {
            at = candidate + 1;
            if let Some(batch) = Batch::decode(&self.content, self.sequence, candidate) {
                self.batches_behind = true;
                self.durable_to = self.durable_to.max(batch.synced_to);
                at = batch.end;
            }
        }
    }
}
