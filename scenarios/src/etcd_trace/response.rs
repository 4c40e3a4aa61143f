//! From answers to the responses of etcd's JSON gateway: what is zero, empty or false is left out.

use cluster::api::{Answer, Event, EventKind, KeyValue, Refusal, Response, ResponseBody};
use serde_json::{Map, Value, json};

pub(super) fn of_refusal(refusal: Refusal) -> Value {
    json!({ "code": refusal.grpc_code(), "message": refusal.to_string() })
}

pub(super) fn of_answer(answer: &Answer) -> Value {
    match answer {
        Answer::Kv(response) => of_response(response),
        Answer::Compact { revision } | Answer::LeaseRevoke { revision } => {
            fields([("header", header(*revision))])
        }
        Answer::LeaseGrant { revision, id, ttl_s } | Answer::LeaseKeepAlive { revision, id, ttl_s } => {
            fields([("header", header(*revision)), ("ID", json!(id)), ("TTL", json!(ttl_s))])
        }
        // What is left of the time to live differs from run to run, and is not recorded.
        Answer::LeaseTimeToLive { revision, id, ttl_s: _, granted_ttl_s, keys } => {
            with_sorted_keys(fields([
                ("header", header(*revision)),
                ("ID", json!(id)),
                ("grantedTTL", json!(granted_ttl_s)),
                ("keys", keys.iter().map(|key| text(key)).collect()),
            ]))
        }
        Answer::Leases { revision, ids } => fields([
            ("header", header(*revision)),
            ("leases", ids.iter().map(|id| json!({ "ID": id })).collect()),
        ]),
        Answer::HashKv { revision, compact_revision, hash } => fields([
            ("header", header(*revision)),
            ("compact_revision", json!(compact_revision)),
            ("hash", json!(hash)),
        ]),
        Answer::Status(_)
        | Answer::Defragment
        | Answer::AlarmDisarm
        | Answer::Members(_)
        | Answer::MoveLeader => {
            json!({})
        }
    }
}

pub(super) fn of_watch(answer: &Result<Vec<Event>, i64>) -> Value {
    match answer {
        Ok(events) => json!({ "events": events.iter().map(event).collect::<Vec<_>>() }),
        Err(compact_revision) => {
            json!({ "canceled": true, "compact_revision": compact_revision, "cancel_reason": "" })
        }
    }
}

/// The response with the keys of a lease in ascending order.
pub(super) fn with_sorted_keys(mut response: Value) -> Value {
    if let Some(keys) = response.get_mut("keys").and_then(Value::as_array_mut) {
        keys.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    response
}

fn of_response(response: &Response) -> Value {
    let header = ("header", header(response.revision));
    match &response.body {
        ResponseBody::Range { kvs, count, more } => fields([
            header,
            ("kvs", kvs.iter().map(key_value).collect()),
            ("count", json!(count)),
            ("more", json!(more)),
        ]),
        ResponseBody::Put { prev } => {
            fields([header, ("prev_kv", prev.as_ref().map_or(Value::Null, key_value))])
        }
        ResponseBody::DeleteRange { deleted, prev } => {
            fields([header, ("deleted", json!(deleted)), ("prev_kvs", prev.iter().map(key_value).collect())])
        }
        ResponseBody::Txn { succeeded, responses } => fields([
            header,
            ("succeeded", json!(succeeded)),
            ("responses", responses.iter().map(operation).collect()),
        ]),
    }
}

fn operation(response: &Response) -> Value {
    let kind = match response.body {
        ResponseBody::Range { .. } => "response_range",
        ResponseBody::Put { .. } => "response_put",
        ResponseBody::DeleteRange { .. } => "response_delete_range",
        ResponseBody::Txn { .. } => "response_txn",
    };
    json!({ kind: of_response(response) })
}

fn event(event: &Event) -> Value {
    let kind = match event.kind {
        EventKind::Put => Value::Null,
        EventKind::Delete => json!("DELETE"),
    };
    let prev = event.prev_kv.as_ref().map_or(Value::Null, key_value);
    fields([("type", kind), ("kv", key_value(&event.kv)), ("prev_kv", prev)])
}

fn key_value(kv: &KeyValue) -> Value {
    fields([
        ("key", text(&kv.key)),
        ("value", text(&kv.value)),
        ("create_revision", json!(kv.create_revision)),
        ("mod_revision", json!(kv.mod_revision)),
        ("version", json!(kv.version)),
        ("lease", json!(kv.lease)),
    ])
}

/// A header stands there even if it is empty, as that of a nested transaction is.
fn header(revision: i64) -> Value {
    fields([("revision", json!(revision))])
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let given = fields.into_iter().filter(|(_, value)| !is_zero(value));
    Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Object(_) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
    }
}
