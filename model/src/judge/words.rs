//! A store's calls and answers in our own format: as [`crate::kv`] has them.

use linearizability::formats::json_lines::{Fields, Vocabulary};
use serde::de::DeserializeOwned;

use crate::kv::{Call, CallResult};

/// A store like etcd: `value` is the call, or the answer.
#[derive(Clone, Copy, Debug)]
pub struct EtcdWords;

impl Vocabulary for EtcdWords {
    type Input = Call;
    type Output = CallResult;

    fn input(&self, fields: Fields) -> Result<Call, String> {
        read(fields, "call")
    }

    fn output(&self, _input: &Call, fields: Fields) -> Result<CallResult, String> {
        read(fields, "answer")
    }
}

fn read<T: DeserializeOwned>(fields: Fields, what: &str) -> Result<T, String> {
    let value = fields.value.ok_or_else(|| format!("a field `value` with the {what} is missing"))?;
    serde_json::from_value(value).map_err(|error| format!("the value is no {what}: {error}"))
}
