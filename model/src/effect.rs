//! What a response says was written.

use crate::kv::{DeleteRangeRequest, Request, Response, ResponseBody, TxnRequest};

/// A write that an answer acknowledges, as far as it can be told from request and response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A version of `key` with `value`.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its value; `None` where the put kept the one before.
        value: Option<Vec<u8>>,
    },
    /// A tombstone of `key`.
    Deletion {
        /// The key.
        key: Vec<u8>,
    },
    /// At least `count` tombstones in a range, where the answer did not say of which keys.
    Deletions {
        /// The first key.
        key: Vec<u8>,
        /// The end, as in [`DeleteRangeRequest::range_end`].
        range_end: Option<Vec<u8>>,
        /// How many keys were deleted.
        count: u64,
    },
}

/// The writes that a response acknowledges, in order. A response of another kind than its request says nothing.
pub fn effects(request: &Request, response: &Response) -> Vec<Effect> {
    let mut effects = Vec::new();
    collect(request, response, &mut effects);
    effects
}

fn collect(request: &Request, response: &Response, effects: &mut Vec<Effect>) {
    match (request, &response.body) {
        (Request::Put(put), ResponseBody::Put { prev: _ }) => {
            let value = (!put.ignore_value).then(|| put.value.clone());
            effects.push(Effect::Put { key: put.key.clone(), value });
        }
        (
            Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv }),
            ResponseBody::DeleteRange { deleted, prev },
        ) => {
            if *prev_kv {
                effects.extend(prev.iter().map(|prev| Effect::Deletion { key: prev.key.clone() }));
            } else if *deleted > 0 {
                effects.push(Effect::Deletions {
                    key: key.clone(),
                    range_end: range_end.clone(),
                    count: *deleted,
                });
            }
        }
        (
            Request::Txn(TxnRequest { compares: _, success, failure }),
            ResponseBody::Txn { succeeded, responses },
        ) => {
            let taken = if *succeeded { success } else { failure };
            for (request, response) in taken.iter().zip(responses) {
                collect(request, response, effects);
            }
        }
        // A range writes nothing; an answer of another kind than its request is for the linearizability check.
        (
            Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) | Request::Txn(_),
            ResponseBody::Range { .. }
            | ResponseBody::Put { .. }
            | ResponseBody::DeleteRange { .. }
            | ResponseBody::Txn { .. },
        ) => {}
    }
}
