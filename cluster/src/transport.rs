//! What a replica needs of a network.

use std::time::Duration;

/// Addresses from here on are clients; replicas have the ids below.
pub const CLIENT_ID_MIN: u64 = 1000;

/// Bytes out, bytes in. Nothing here blocks but [`Transport::receive`].
///
/// Messages between replicas may be lost, duplicated, reordered and damaged: each carries a checksum (see the
/// frame codec) and is dropped when it is wrong. Links to clients behave like TCP. A stream delivers its bytes
/// in order, in pieces of any size; they may be damaged, and it may break.
pub trait Transport: Send {
    /// Sends one message. There is no promise that it arrives.
    fn send(&self, to: u64, message: Vec<u8>);

    /// Opens a stream to a peer; returns a number that no other stream from or to this replica has. Should the
    /// peer be out of reach, `StreamBroken` follows.
    fn open_stream(&self, to: u64) -> u64;

    /// Sends the next bytes of a stream that this replica opened. A stream that is broken takes and forgets
    /// them.
    fn write_stream(&self, stream: u64, chunk: Vec<u8>);

    /// Ends a stream that this replica opened.
    fn finish_stream(&self, stream: u64);

    /// Waits for what comes next, at most `timeout`; `None` if nothing came. A zero timeout does not wait.
    fn receive(&self, timeout: Duration) -> Option<Inbound>;
}

/// What a network brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A message from a peer or a client.
    Message {
        /// Who sent it.
        from: u64,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A peer has opened a stream to this replica.
    StreamOpened {
        /// The peer.
        from: u64,
        /// The stream's number, as its sender knows it.
        stream: u64,
    },
    /// The next bytes of a stream.
    StreamChunk {
        /// The peer.
        from: u64,
        /// The stream's number.
        stream: u64,
        /// Its next bytes.
        bytes: Vec<u8>,
    },
    /// The peer has ended the stream; all its bytes have come.
    StreamFinished {
        /// The peer.
        from: u64,
        /// The stream's number.
        stream: u64,
    },
    /// A stream, incoming or outgoing, has broken: no more of it comes or arrives.
    StreamBroken {
        /// The replica at the other end.
        peer: u64,
        /// The stream's number.
        stream: u64,
    },
    /// The machine is gone; nothing more will come. The replica returns.
    Closed,
}
