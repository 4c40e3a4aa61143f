//! The messages between replicas.
//!
//! ```text
//! offset 0  CRC32    4 bytes   little endian, over everything after it
//!        4  kind     1 byte
//!        5  hello    12 bytes and more, see the module `hello`
//!           payload  the rest, by kind
//! ```
//!
//! The length of a frame is bounded before anything is decoded: the protobuf crate allocates what a length
//! field asks for. RUSTSEC-2024-0437 (a message that nests deeply exhausts the stack) does not reach this
//! version through generated code, which refuses nested groups; a test below holds it to that.

use protobuf::Message as _;
use raft::eraftpb::Message;

use crate::hello::Hello;
use crate::replica::StateHash;
use crate::wire::MESSAGE_BYTES_MAX;

const KIND_HELLO: u8 = 1;
const KIND_RAFT: u8 = 2;
const KIND_SNAPSHOT_REFUSED: u8 = 3;
const KIND_ALARM_REQUEST: u8 = 4;
const KIND_STATE_HASH: u8 = 16;
const CRC_BYTES: usize = 4;

/// What a frame carries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    /// Nothing but the hello that every frame carries.
    Hello,
    /// A message of the raft core.
    Raft(Message),
    /// The receiver of a snapshot stream will not install it.
    SnapshotRefused {
        /// The sender's number of the attempt, as in the prelude of the stream.
        attempt: u64,
    },
    /// The sender has no space, and asks the leader to raise the alarm for it.
    AlarmRequest,
    /// What the sender's state is at an applied index: that index and the logical hash.
    StateHash(StateHash),
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame may be.
    #[error("a frame of {bytes} bytes is longer than the limit of {MESSAGE_BYTES_MAX} bytes")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Its checksum does not match its bytes, or it is too short to have one.
    #[error("a frame has a wrong checksum")]
    Checksum,
    /// A raft message that replicas do not send each other, or one for or from somebody else.
    #[error("an unexpected raft message of type {message}")]
    Unexpected {
        /// The number of its type in raft's protocol.
        message: u8,
    },
    /// Intact, and yet not understood: a kind, hello or payload that this program does not know.
    #[error("a frame of kind {kind} cannot be understood")]
    Unknown {
        /// Its kind.
        kind: u8,
    },
}

/// Writes frames that all carry the same hello.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    hello: Vec<u8>,
}

impl FrameWriter {
    pub(crate) fn new(hello: &Hello) -> FrameWriter {
        FrameWriter { hello: hello.encode() }
    }

    pub(crate) fn hello(&self) -> Vec<u8> {
        self.frame(KIND_HELLO, 0, |_| {})
    }

    pub(crate) fn raft(&self, message: &Message) -> Vec<u8> {
        let bytes = message.compute_size() as usize;
        self.frame(KIND_RAFT, bytes, |frame| {
            message.write_to_vec(frame).expect("a vector takes every message of the raft core");
        })
    }

    pub(crate) fn snapshot_refused(&self, attempt: u64) -> Vec<u8> {
        self.frame(KIND_SNAPSHOT_REFUSED, 8, |frame| frame.extend(attempt.to_le_bytes()))
    }

    pub(crate) fn alarm_request(&self) -> Vec<u8> {
        self.frame(KIND_ALARM_REQUEST, 0, |_| {})
    }

    pub(crate) fn state_hash(&self, state: StateHash) -> Vec<u8> {
        self.frame(KIND_STATE_HASH, 16, |frame| {
            frame.extend(state.applied_index.to_le_bytes());
            frame.extend(state.hash.to_le_bytes());
        })
    }

    fn frame(&self, kind: u8, payload_bytes: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut frame = Vec::with_capacity(CRC_BYTES + 1 + self.hello.len() + payload_bytes);
        frame.extend([0; CRC_BYTES]);
        frame.push(kind);
        frame.extend(&self.hello);
        fill(&mut frame);
        let crc = crc32fast::hash(&frame[CRC_BYTES..]);
        frame[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        frame
    }
}

/// What a frame says.
///
/// # Errors
/// Any [`FrameError`]; the frame is then to be dropped, as if it had been lost.
pub(crate) fn read(frame: &[u8]) -> Result<(Hello, Payload), FrameError> {
    if frame.len() > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLong { bytes: frame.len() });
    }
    let (crc, content) = frame.split_first_chunk::<CRC_BYTES>().ok_or(FrameError::Checksum)?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(content) {
        return Err(FrameError::Checksum);
    }
    let (&kind, rest) = content.split_first().ok_or(FrameError::Checksum)?;
    let unknown = FrameError::Unknown { kind };
    let (hello, payload) = Hello::decode(rest).ok_or(unknown)?;
    let payload = match kind {
        KIND_HELLO if payload.is_empty() => Payload::Hello,
        KIND_RAFT => Payload::Raft(Message::parse_from_bytes(payload).map_err(|_| unknown)?),
        KIND_SNAPSHOT_REFUSED => {
            let attempt = u64::from_le_bytes(payload.try_into().map_err(|_| unknown)?);
            Payload::SnapshotRefused { attempt }
        }
        KIND_ALARM_REQUEST if payload.is_empty() => Payload::AlarmRequest,
        KIND_STATE_HASH => {
            let (index, hash) = payload.split_first_chunk::<8>().ok_or(unknown)?;
            let applied_index = u64::from_le_bytes(*index);
            let hash = u64::from_le_bytes(hash.try_into().map_err(|_| unknown)?);
            Payload::StateHash(StateHash { applied_index, hash })
        }
        _ => return Err(unknown),
    };
    Ok((hello, payload))
}

#[cfg(test)]
mod tests {
    use engines::EngineId;
    use proptest::prelude::*;
    use raft::eraftpb::{Entry, MessageType};
    use snapshots::Release;

    use super::*;

    fn hello() -> Hello {
        Hello::of_this_start(Release::Two, EngineId::Mem)
    }

    fn append() -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        message.to = 2;
        message.entries =
            vec![Entry { index: 7, term: 3, data: b"value".to_vec().into(), ..Entry::default() }].into();
        message
    }

    fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
        FrameWriter::new(&hello()).frame(kind, payload.len(), |frame| frame.extend(payload))
    }

    #[test]
    fn every_kind_comes_back_as_it_went() {
        let hello = hello();
        let writer = FrameWriter::new(&hello);
        assert_eq!(read(&writer.hello()), Ok((hello, Payload::Hello)));
        let refused = Payload::SnapshotRefused { attempt: 9 };
        assert_eq!(read(&writer.snapshot_refused(9)), Ok((hello, refused)));
        assert_eq!(read(&writer.alarm_request()), Ok((hello, Payload::AlarmRequest)));
        let state = StateHash { applied_index: 64, hash: 0xfeed };
        assert_eq!(read(&writer.state_hash(state)), Ok((hello, Payload::StateHash(state))));
        let Ok((_, Payload::Raft(message))) = read(&writer.raft(&append())) else { panic!("not raft") };
        assert_eq!(message.entries[0].data, b"value".as_slice());
        assert_eq!((message.to, message.entries[0].index), (2, 7));
    }

    #[test]
    fn intact_frames_that_mean_nothing_are_refused() {
        assert_eq!(read(&raw(0, b"")), Err(FrameError::Unknown { kind: 0 }));
        assert_eq!(read(&raw(KIND_HELLO, b"more")), Err(FrameError::Unknown { kind: KIND_HELLO }));
        assert_eq!(read(&raw(KIND_RAFT, b"\xff")), Err(FrameError::Unknown { kind: KIND_RAFT }));
        assert_eq!(
            read(&raw(KIND_SNAPSHOT_REFUSED, b"short")),
            Err(FrameError::Unknown { kind: KIND_SNAPSHOT_REFUSED })
        );
        assert_eq!(
            read(&vec![0; MESSAGE_BYTES_MAX + 1]),
            Err(FrameError::TooLong { bytes: MESSAGE_BYTES_MAX + 1 })
        );
    }

    /// RUSTSEC-2024-0437: a start-group tag costs one byte and once cost the decoder a stack frame.
    #[test]
    fn a_million_nested_groups_are_refused_without_using_the_stack() {
        let groups = vec![0x7b; 1 << 20];
        assert_eq!(read(&raw(KIND_RAFT, &groups)), Err(FrameError::Unknown { kind: KIND_RAFT }));
    }

    proptest! {
        #[test]
        fn any_single_damaged_byte_is_noticed(position in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let mut frame = FrameWriter::new(&hello()).raft(&append());
            let position = position.index(frame.len());
            frame[position] ^= flip;
            prop_assert_eq!(read(&frame), Err(FrameError::Checksum));
        }

        #[test]
        fn arbitrary_bytes_never_panic(kind: u8, payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&payload);
            let _ = read(&raw(kind, &payload));
        }
    }
}
