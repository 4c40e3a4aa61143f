//! The encoding of everything that a replica says to a peer or a client, and of every proposal in the raft log.
//!
//! bincode 2.0.1 is the last working release and unmaintained (3.0.0 does not compile on purpose; see
//! RUSTSEC-2025-0141), so this module is its only user: a successor replaces it here.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message, in bytes. It leaves room for the largest value that every engine takes and for what
/// surrounds it.
pub const MESSAGE_BYTES_MAX: usize = 20 << 20;

/// Why bytes could not be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {bytes} bytes is longer than the limit of {MESSAGE_BYTES_MAX} bytes")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The value has no encoding.
    #[error("a message cannot be encoded: {0}")]
    Encode(#[source] bincode::error::EncodeError),
    /// The bytes are not a message of the type expected.
    #[error("a message cannot be decoded: {0}")]
    Decode(#[source] bincode::error::DecodeError),
    /// The bytes begin with a message, but do not end with it.
    #[error("a message of {message} bytes is followed by {trailing} bytes that belong to nothing")]
    Trailing {
        /// Bytes of the message.
        message: usize,
        /// Bytes after it.
        trailing: usize,
    },
}

/// Little endian, integers of variable length. The limit bounds what a length prefix can make the decoder
/// allocate.
fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MESSAGE_BYTES_MAX>()
}

/// The bytes of `value`.
///
/// # Errors
/// `TooLong` above [`MESSAGE_BYTES_MAX`]; `Encode` for a type that has no encoding.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    let bytes = bincode::serde::encode_to_vec(value, configuration()).map_err(WireError::Encode)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// The value that all of `bytes` stand for.
///
/// # Errors
/// `TooLong` above [`MESSAGE_BYTES_MAX`]; `Decode` if the bytes are not a `T`; `Trailing` if they are more.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong { bytes: bytes.len() });
    }
    let (value, message) =
        bincode::serde::decode_from_slice(bytes, configuration()).map_err(WireError::Decode)?;
    if message < bytes.len() {
        return Err(WireError::Trailing { message, trailing: bytes.len() - message });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::{Command, NESTING_MAX, Request, TxnRequest};

    /// A read inside `levels` transactions.
    fn nested(levels: usize) -> Request {
        (0..levels).fold(Request::get("key"), |inner, _| {
            Request::Txn(TxnRequest { success: vec![inner], ..TxnRequest::default() })
        })
    }

    #[test]
    fn a_message_comes_back_as_it_went() {
        let request = Request::put(b"key", b"value");
        let bytes = encode(&request).unwrap();
        assert_eq!(decode::<Request>(&bytes).unwrap(), request);
    }

    #[test]
    fn a_message_with_bytes_after_it_is_refused() {
        let mut bytes = encode(&Request::put(b"key", b"value")).unwrap();
        bytes.push(0);
        assert!(matches!(decode::<Request>(&bytes), Err(WireError::Trailing { trailing: 1, .. })));
    }

    #[test]
    fn a_truncated_message_is_refused() {
        let bytes = encode(&Request::put(b"key", b"value")).unwrap();
        for length in 0..bytes.len() {
            assert!(matches!(decode::<Request>(&bytes[..length]), Err(WireError::Decode(_))), "{length}");
        }
    }

    #[test]
    fn a_message_above_the_limit_is_refused_on_both_sides() {
        let value = vec![0; MESSAGE_BYTES_MAX];
        assert!(matches!(encode(&value), Err(WireError::TooLong { .. })));
        let bytes = vec![0; MESSAGE_BYTES_MAX + 1];
        assert!(matches!(decode::<Vec<u8>>(&bytes), Err(WireError::TooLong { .. })));
    }

    /// Nesting costs a sender one or two bytes per level and the decoder a stack frame, so that a short
    /// message could otherwise exhaust the stack.
    #[test]
    fn a_deeply_nested_transaction_is_refused() {
        let deepest = encode(&nested(NESTING_MAX)).unwrap();
        assert_eq!(decode::<Request>(&deepest).unwrap(), nested(NESTING_MAX));
        let deeper = encode(&nested(NESTING_MAX + 1)).unwrap();
        assert!(matches!(decode::<Request>(&deeper), Err(WireError::Decode(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(command) = decode::<Command>(&bytes) {
                prop_assert_eq!(decode::<Command>(&encode(&command).unwrap()).unwrap(), command);
            }
        }
    }
}
