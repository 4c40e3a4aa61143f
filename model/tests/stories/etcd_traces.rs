//! The reference store gives the answers that a real etcd 3.5.16 gave, as recorded in traces: in one that stands
//! beside this test, and in all that stand beside the workspace.

use std::path::{Path, PathBuf};

use model::kv::{
    Call, CallAnswer, Compare, CompareResult, DeleteRangeRequest, Event, EventKind, KeyValue, PutRequest,
    RangeRequest, Refusal, Request, Response, ResponseBody, SortOrder, SortTarget, Target, TxnRequest,
};
use model::store::{CompactedBelow, Store};
use serde_json::{Value, json};

fn text(value: &Value, name: &str) -> Vec<u8> {
    value[name].as_str().unwrap_or("").into()
}

fn number(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or(0)
}

fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or(false)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn range_end(value: &Value) -> Option<Vec<u8>> {
    value["range_end"].as_str().map(Into::into)
}

fn range(request: &Value) -> RangeRequest {
    RangeRequest {
        key: text(request, "key"),
        range_end: range_end(request),
        limit: request["limit"].as_u64().unwrap_or(0),
        revision: number(request, "revision"),
        sort_order: match request["sort_order"].as_str() {
            None | Some("NONE") => SortOrder::None,
            Some("ASCEND") => SortOrder::Ascend,
            Some("DESCEND") => SortOrder::Descend,
            Some(other) => panic!("unknown order {other}"),
        },
        sort_target: match request["sort_target"].as_str() {
            None | Some("KEY") => SortTarget::Key,
            Some("VERSION") => SortTarget::Version,
            Some("CREATE") => SortTarget::Create,
            Some("MOD") => SortTarget::Mod,
            Some("VALUE") => SortTarget::Value,
            Some(other) => panic!("unknown target {other}"),
        },
        serializable: flag(request, "serializable"),
        keys_only: flag(request, "keys_only"),
        count_only: flag(request, "count_only"),
        min_mod_revision: number(request, "min_mod_revision"),
        max_mod_revision: number(request, "max_mod_revision"),
        min_create_revision: number(request, "min_create_revision"),
        max_create_revision: number(request, "max_create_revision"),
    }
}

fn put(request: &Value) -> PutRequest {
    PutRequest {
        key: text(request, "key"),
        value: text(request, "value"),
        lease: number(request, "lease"),
        prev_kv: flag(request, "prev_kv"),
        ignore_value: flag(request, "ignore_value"),
        ignore_lease: flag(request, "ignore_lease"),
    }
}

fn delete_range(request: &Value) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: text(request, "key"),
        range_end: range_end(request),
        prev_kv: flag(request, "prev_kv"),
    }
}

fn txn(request: &Value) -> TxnRequest {
    let branch = |name: &str| list(&request[name]).iter().map(inner).collect();
    TxnRequest {
        compares: list(&request["compare"]).iter().map(compare).collect(),
        success: branch("success"),
        failure: branch("failure"),
    }
}

fn inner(request: &Value) -> Request {
    let (kind, request) = request.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "request_range" => Request::Range(range(request)),
        "request_put" => Request::Put(put(request)),
        "request_delete_range" => Request::DeleteRange(delete_range(request)),
        "request_txn" => Request::Txn(txn(request)),
        other => panic!("unknown {other}"),
    }
}

fn compare(value: &Value) -> Compare {
    let target = match value["target"].as_str().unwrap() {
        "VERSION" => Target::Version(number(value, "version")),
        "CREATE" => Target::CreateRevision(number(value, "create_revision")),
        "MOD" => Target::ModRevision(number(value, "mod_revision")),
        "VALUE" => Target::Value(text(value, "value")),
        "LEASE" => Target::Lease(number(value, "lease")),
        other => panic!("unknown target {other}"),
    };
    let result = match value["result"].as_str().unwrap() {
        "EQUAL" => CompareResult::Equal,
        "GREATER" => CompareResult::Greater,
        "LESS" => CompareResult::Less,
        "NOT_EQUAL" => CompareResult::NotEqual,
        other => panic!("unknown relation {other}"),
    };
    Compare { key: text(value, "key"), range_end: range_end(value), target, result }
}

/// The call of a line, unless it is a watch.
fn call(operation: &str, request: &Value) -> Call {
    let id = number(request, "ID");
    match operation {
        "put" => Call::Kv(Request::Put(put(request))),
        "delete_range" => Call::Kv(Request::DeleteRange(delete_range(request))),
        "range" => Call::Kv(Request::Range(range(request))),
        "txn" => Call::Kv(Request::Txn(txn(request))),
        "compact" => Call::Compact { revision: number(request, "revision"), physical: false },
        "lease_grant" => Call::LeaseGrant { id, ttl_s: number(request, "TTL") },
        "lease_revoke" => Call::LeaseRevoke { id },
        "lease_time_to_live" => Call::LeaseTimeToLive { id, keys: flag(request, "keys") },
        other => panic!("unknown operation {other}"),
    }
}

/// An object of fields, those with values that etcd's gateway leaves out left out.
fn object(fields: &[(&str, Value)]) -> Value {
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_i64() != Some(0),
        Value::String(value) => !value.is_empty(),
        Value::Array(value) => !value.is_empty(),
        Value::Object(_) => true,
    };
    fields
        .iter()
        .filter(|(_, value)| is_set(value))
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect()
}

fn string(bytes: &[u8]) -> Value {
    String::from_utf8(bytes.to_vec()).unwrap().into()
}

fn show_key_value(kv: &KeyValue) -> Value {
    object(&[
        ("key", string(&kv.key)),
        ("value", string(&kv.value)),
        ("create_revision", kv.create_revision.into()),
        ("mod_revision", kv.mod_revision.into()),
        ("version", kv.version.into()),
        ("lease", kv.lease.into()),
    ])
}

fn header(revision: i64) -> (&'static str, Value) {
    ("header", object(&[("revision", revision.into())]))
}

fn show_response(response: &Response) -> Value {
    let header = header(response.revision);
    let shown = |kvs: &[KeyValue]| -> Value { kvs.iter().map(show_key_value).collect() };
    match &response.body {
        ResponseBody::Range { kvs, count, more } => {
            object(&[header, ("kvs", shown(kvs)), ("count", (*count).into()), ("more", (*more).into())])
        }
        ResponseBody::Put { prev } => {
            object(&[header, ("prev_kv", prev.as_ref().map_or(Value::Null, show_key_value))])
        }
        ResponseBody::DeleteRange { deleted, prev } => {
            object(&[header, ("deleted", (*deleted).into()), ("prev_kvs", shown(prev))])
        }
        ResponseBody::Txn { succeeded, responses } => {
            let responses: Value = responses.iter().map(show_inner).collect();
            object(&[header, ("succeeded", (*succeeded).into()), ("responses", responses)])
        }
    }
}

fn show_inner(response: &Response) -> Value {
    let kind = match &response.body {
        ResponseBody::Range { .. } => "response_range",
        ResponseBody::Put { .. } => "response_put",
        ResponseBody::DeleteRange { .. } => "response_delete_range",
        ResponseBody::Txn { .. } => "response_txn",
    };
    json!({ kind: show_response(response) })
}

fn show(answer: &CallAnswer) -> Value {
    match answer {
        CallAnswer::Kv(response) => show_response(response),
        CallAnswer::Compact { revision } | CallAnswer::LeaseRevoke { revision } => {
            object(&[header(*revision)])
        }
        CallAnswer::LeaseGrant { revision, id, ttl_s } => {
            object(&[header(*revision), ("ID", (*id).into()), ("TTL", (*ttl_s).into())])
        }
        // The traces leave the time left out.
        CallAnswer::LeaseTimeToLive { revision, id, ttl_s: _, granted_ttl_s, keys } => object(&[
            header(*revision),
            ("ID", (*id).into()),
            ("grantedTTL", (*granted_ttl_s).into()),
            ("keys", keys.iter().map(|key| string(key)).collect()),
        ]),
        other => panic!("not in the traces: {other:?}"),
    }
}

fn show_refusal(refusal: Refusal) -> Value {
    json!({ "code": refusal.grpc_code(), "message": refusal.to_string() })
}

/// All events of a range of keys from a revision to the present, as a watch delivers them.
fn watch(store: &Store, request: &Value) -> Value {
    let filters: Vec<&str> = list(&request["filters"]).iter().map(|name| name.as_str().unwrap()).collect();
    let events = store.events(
        &text(request, "key"),
        range_end(request).as_deref(),
        number(request, "start_revision"),
        store.revision(),
        flag(request, "prev_kv"),
    );
    let wanted = |event: &&Event| match event.kind {
        EventKind::Put => !filters.contains(&"NOPUT"),
        EventKind::Delete => !filters.contains(&"NODELETE"),
    };
    match events {
        Ok(events) => json!({ "events": events.iter().filter(wanted).map(show_event).collect::<Value>() }),
        Err(CompactedBelow { compact_revision }) => {
            json!({ "canceled": true, "compact_revision": compact_revision, "cancel_reason": "" })
        }
    }
}

fn show_event(event: &Event) -> Value {
    let kind = match event.kind {
        EventKind::Put => "",
        EventKind::Delete => "DELETE",
    };
    object(&[
        ("type", kind.into()),
        ("kv", show_key_value(&event.kv)),
        ("prev_kv", event.prev_kv.as_ref().map_or(Value::Null, show_key_value)),
    ])
}

/// The keys of a lease come in no order.
fn with_sorted_keys(mut response: Value) -> Value {
    if let Some(keys) = response.get_mut("keys").and_then(Value::as_array_mut) {
        keys.sort_by_key(Value::to_string);
    }
    response
}

/// Follows a trace; every response must be equal. Returns how many were compared.
fn follow(file: &Path) -> usize {
    let mut store = Store::default();
    let content = std::fs::read_to_string(file).unwrap();
    let lines = content.lines().enumerate().skip(1);
    lines
        .map(|(place, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            let (operation, request) = (line["op"].as_str().unwrap(), &line["request"]);
            let (status, response) = if operation == "watch" {
                (200, watch(&store, request))
            } else {
                match store.call(&call(operation, request)).unwrap() {
                    Ok(answer) => (200, show(&answer)),
                    Err(refusal) => (refusal.http_status(), show_refusal(refusal)),
                }
            };
            let place = format!("{}:{}: {line}", file.display(), place + 1);
            assert_eq!(line["status"], status, "{place}");
            assert_eq!(response, with_sorted_keys(line["response"].clone()), "{place}");
        })
        .count()
}

#[test]
fn the_reference_store_answers_as_a_real_etcd_did() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/etcd-3.5.16-seed1.jsonl");
    assert_eq!(follow(&fixture), 500);
}

#[test]
fn the_reference_store_answers_as_a_real_etcd_did_in_every_trace_at_hand() {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folders = above.map(|folder| folder.join("shared/etcd-traces"));
    let Some(files) = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).next() else {
        println!("no traces beside the workspace: only the fixture is followed");
        return;
    };
    let files: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    for file in files {
        let compared = follow(&file);
        println!("{}: {compared} answers compared", file.display());
        assert!(compared > 0, "{} is empty", file.display());
    }
}

/// Texts and codes of the refusals that the traces do not show.
#[test]
fn refusals_speak_as_etcd_does() {
    let shown: Vec<String> = Refusal::ALL
        .iter()
        .map(|refusal| format!("{} {} {refusal}", refusal.grpc_code(), refusal.http_status()))
        .collect();
    assert_eq!(
        shown,
        [
            "3 400 etcdserver: key is not provided",
            "3 400 etcdserver: too many operations in txn request",
            "3 400 etcdserver: duplicate key given in txn request",
            "11 400 etcdserver: mvcc: required revision is a future revision",
            "11 400 etcdserver: mvcc: required revision has been compacted",
            "5 404 etcdserver: requested lease not found",
            "9 400 etcdserver: lease already exists",
            "3 400 etcdserver: key not found",
            "3 400 etcdserver: value is provided",
            "3 400 etcdserver: lease is provided",
            "8 429 etcdserver: mvcc: database space exceeded",
            "11 400 etcdserver: too large lease TTL",
        ]
    );
}
