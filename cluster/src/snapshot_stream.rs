//! What stands before a snapshot on its stream.
//!
//! ```text
//! offset 0  CRC32        4 bytes   little endian, over the rest of the prelude
//!        4  length       4 bytes   little endian, of the message
//!        8  attempt      8 bytes   little endian, the sender's number for this stream
//!       16  incarnation  8 bytes   little endian, of the receiver that the sender knows
//!       24  announced    8 bytes   little endian, bytes of the snapshot on the wire
//!       32  message      length    the protobuf MsgSnapshot that the raft core is given once all is received
//!           snapshot     announced a headed or bare stream, see the crate `snapshots`
//! ```

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

const FIXED_BYTES: usize = 32;
const CRC_BYTES: usize = 4;

/// A MsgSnapshot without data is its metadata; with the configuration of a large cluster far below this.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The prelude of a snapshot stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prelude {
    pub(crate) attempt: u64,
    pub(crate) incarnation: u64,
    pub(crate) announced_bytes: u64,
    pub(crate) message: Message,
}

/// Why a prelude was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the prelude of the snapshot stream is damaged")]
pub(crate) struct DamagedPrelude;

impl Prelude {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; CRC_BYTES];
        bytes.extend(self.message.compute_size().to_le_bytes());
        bytes.extend(self.attempt.to_le_bytes());
        bytes.extend(self.incarnation.to_le_bytes());
        bytes.extend(self.announced_bytes.to_le_bytes());
        self.message.write_to_vec(&mut bytes).expect("a vector takes every message of the raft core");
        let crc = crc32fast::hash(&bytes[CRC_BYTES..]);
        bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The prelude at the beginning of `bytes`, and its length; `None` if more bytes are needed.
    ///
    /// # Errors
    /// `DamagedPrelude`; no number of further bytes will help.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Prelude, usize)>, DamagedPrelude> {
        let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else {
            return Ok(None);
        };
        let message_bytes = u32::from_le_bytes(fixed[4..8].try_into().expect("four bytes")) as usize;
        if message_bytes > MESSAGE_BYTES_MAX {
            return Err(DamagedPrelude);
        }
        let length = FIXED_BYTES + message_bytes;
        let Some(whole) = bytes.get(..length) else {
            return Ok(None);
        };
        if fixed[..CRC_BYTES] != crc32fast::hash(&whole[CRC_BYTES..]).to_le_bytes() {
            return Err(DamagedPrelude);
        }
        let message = Message::parse_from_bytes(&whole[FIXED_BYTES..]).map_err(|_| DamagedPrelude)?;
        if message.get_msg_type() != MessageType::MsgSnapshot {
            return Err(DamagedPrelude);
        }
        let number = |at: usize| u64::from_le_bytes(fixed[at..at + 8].try_into().expect("eight bytes"));
        let prelude =
            Prelude { attempt: number(8), incarnation: number(16), announced_bytes: number(24), message };
        Ok(Some((prelude, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prelude() -> Prelude {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.mut_snapshot().mut_metadata().index = 77;
        Prelude { attempt: 1, incarnation: 2, announced_bytes: 3, message }
    }

    #[test]
    fn a_prelude_comes_back_from_whatever_pieces_it_came_in() {
        let mut bytes = prelude().encode();
        let length = bytes.len();
        for cut in 0..length {
            assert_eq!(Prelude::decode(&bytes[..cut]), Ok(None));
        }
        bytes.extend(b"ETCDSNAP");
        assert_eq!(Prelude::decode(&bytes).map(|found| found.map(|(_, length)| length)), Ok(Some(length)));
        assert_eq!(Prelude::decode(&bytes).unwrap().unwrap().0.encode(), prelude().encode());
    }

    #[test]
    fn any_damage_is_noticed_or_waits_for_bytes_that_never_come() {
        let bytes = prelude().encode();
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x40;
            assert!(!matches!(Prelude::decode(&damaged), Ok(Some(_))), "byte {position}");
        }
    }

    #[test]
    fn another_raft_message_than_a_snapshot_is_none() {
        let mut wrong = prelude();
        wrong.message.set_msg_type(MessageType::MsgAppend);
        assert_eq!(Prelude::decode(&wrong.encode()), Err(DamagedPrelude));
    }
}
