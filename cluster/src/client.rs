//! What clients and replicas say to each other.
//!
//! ```text
//! request   offset 0  id       8 bytes   little endian, chosen by the client, comes back in the reply
//!                  8  call     the wire encoding of an api::Call
//! message to a client the wire encoding of a ServerMessage: a reply, or what happens on a watch
//! ```
//!
//! Only the leader proposes: a follower answers [`Outcome::NotLeader`] and forwards nothing, so that a request
//! is in the log at most once. Links to clients deliver in order and without duplicates, and break with the
//! node; so requests need no deduplication, and a reply that never comes leaves the outcome unknown.
//!
//! Any replica answers serializable ranges, `Status` and `Defragment`, and serves watches. A [`Call::Watch`]
//! gets no reply: what comes of it are [`WatchMessage`]s. Only one that is no call at all is refused by a reply.

use serde::{Deserialize, Serialize};

use crate::api::{Answer, Call, Refusal, WatchMessage};
use crate::wire::{self, WireError};

const ID_BYTES: usize = 8;

/// What a replica sends to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// The answer to one request.
    Reply(Reply),
    /// What happens on a watch.
    Watch(WatchMessage),
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The id of the request.
    pub id: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was carried out.
    Answer(Answer),
    /// It was not carried out: this replica does not lead.
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<u64>,
    },
    /// It was not carried out, and never will be as it stands.
    Refused {
        /// The rule it breaks; `None` if it is not even a request.
        refusal: Option<Refusal>,
        /// The same in words; those of etcd where it is a refusal.
        text: String,
    },
    /// There was no answer in time, or none could be found out.
    Unavailable {
        /// Whether it may have been carried out all the same, or may yet be.
        may_have_happened: bool,
    },
}

/// The message for a request.
///
/// # Errors
/// `TooLong` if the request is longer than any message may be.
pub fn encode_request(id: u64, call: &Call) -> Result<Vec<u8>, WireError> {
    let call = wire::encode(call)?;
    let mut message = Vec::with_capacity(ID_BYTES + call.len());
    message.extend(id.to_le_bytes());
    message.extend(call);
    Ok(message)
}

/// What a replica has sent to a client.
///
/// # Errors
/// `Decode` and the like if it is nothing that a replica sends.
pub fn decode_message(message: &[u8]) -> Result<ServerMessage, WireError> {
    wire::decode(message)
}

/// The id of a request and its undecoded rest; `None` if the message is too short to have an id.
pub(crate) fn split_request(message: &[u8]) -> Option<(u64, &[u8])> {
    let (id, request) = message.split_first_chunk::<ID_BYTES>()?;
    Some((u64::from_le_bytes(*id), request))
}

/// The message for a reply.
pub(crate) fn encode_reply(reply: Reply) -> Vec<u8> {
    let id = reply.id;
    match wire::encode(&ServerMessage::Reply(reply)) {
        Ok(message) => message,
        // The request may have been carried out; only its answer is too long for a message.
        Err(_) => {
            let outcome = Outcome::Unavailable { may_have_happened: true };
            wire::encode(&ServerMessage::Reply(Reply { id, outcome }))
                .expect("a reply without content has an encoding")
        }
    }
}

/// The message for what happens on a watch.
///
/// # Errors
/// `TooLong` if it is longer than any message may be.
pub(crate) fn encode_watch(message: WatchMessage) -> Result<Vec<u8>, WireError> {
    wire::encode(&ServerMessage::Watch(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{KeyValue, Request, Response, ResponseBody, WatchKind};

    fn decode_reply(message: &[u8]) -> Reply {
        match decode_message(message).unwrap() {
            ServerMessage::Reply(reply) => reply,
            ServerMessage::Watch(message) => panic!("{message:?}"),
        }
    }

    #[test]
    fn requests_and_replies_come_back_as_they_went() {
        let call = Call::Kv(Request::put("key", "value"));
        let message = encode_request(7, &call).unwrap();
        let (id, rest) = split_request(&message).unwrap();
        assert_eq!((id, wire::decode::<Call>(rest).unwrap()), (7, call));
        let reply = Reply { id: 7, outcome: Outcome::NotLeader { leader: Some(2) } };
        assert_eq!(decode_reply(&encode_reply(reply.clone())), reply);
        let created = WatchMessage { watch_id: 1, revision: 4, kind: WatchKind::Created };
        let watch = encode_watch(created.clone()).unwrap();
        assert_eq!(decode_message(&watch).unwrap(), ServerMessage::Watch(created));
        assert_eq!(split_request(&message[..7]), None);
    }

    #[test]
    fn an_answer_too_long_for_a_message_leaves_the_outcome_open() {
        let value = vec![0; wire::MESSAGE_BYTES_MAX];
        let kv = KeyValue { key: vec![1], value, create_revision: 1, mod_revision: 1, version: 1, lease: 0 };
        let body = ResponseBody::Range { kvs: vec![kv], count: 1, more: false };
        let answer = Answer::Kv(Response { revision: 1, body });
        let reply = Reply { id: 3, outcome: Outcome::Answer(answer) };
        let Reply { id, outcome } = decode_reply(&encode_reply(reply));
        assert_eq!((id, outcome), (3, Outcome::Unavailable { may_have_happened: true }));
    }
}
