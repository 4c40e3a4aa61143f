//! From the requests of a trace to calls.

use cluster::api::{
    Call, Compare, CompareResult, DeleteRangeRequest, PutRequest, RangeRequest, Request, SortOrder,
    SortTarget, Target, TxnRequest, WatchRequest,
};
use serde_json::Value;

use super::Asked;

/// The request of a line.
///
/// # Errors
/// What of it is unknown, in words.
pub(super) fn parse(op: &str, request: &Value) -> Result<Asked, String> {
    let call = match op {
        "put" => Call::Kv(put(request)),
        "delete_range" => Call::Kv(delete_range(request)),
        "range" => Call::Kv(Request::Range(range(request)?)),
        "txn" => Call::Kv(Request::Txn(txn(request)?)),
        "compact" => {
            Call::Compact { revision: number(request, "revision"), physical: flag(request, "physical") }
        }
        "lease_grant" => Call::LeaseGrant { id: number(request, "ID"), ttl_s: number(request, "TTL") },
        "lease_revoke" => Call::LeaseRevoke { id: number(request, "ID") },
        "lease_time_to_live" => {
            Call::LeaseTimeToLive { id: number(request, "ID"), keys: flag(request, "keys") }
        }
        "watch" => return Ok(Asked::Watch(watch(request)?)),
        other => return Err(format!("the operation {other} is unknown")),
    };
    Ok(Asked::Call(call))
}

fn range(request: &Value) -> Result<RangeRequest, String> {
    Ok(RangeRequest {
        key: text(request, "key"),
        range_end: range_end(request),
        limit: request["limit"].as_u64().unwrap_or(0),
        revision: number(request, "revision"),
        sort_order: match request["sort_order"].as_str() {
            None | Some("NONE") => SortOrder::None,
            Some("ASCEND") => SortOrder::Ascend,
            Some("DESCEND") => SortOrder::Descend,
            Some(other) => return Err(format!("the order {other} is unknown")),
        },
        sort_target: match request["sort_target"].as_str() {
            None | Some("KEY") => SortTarget::Key,
            Some("VERSION") => SortTarget::Version,
            Some("CREATE") => SortTarget::Create,
            Some("MOD") => SortTarget::Mod,
            Some("VALUE") => SortTarget::Value,
            Some(other) => return Err(format!("the sort target {other} is unknown")),
        },
        serializable: flag(request, "serializable"),
        keys_only: flag(request, "keys_only"),
        count_only: flag(request, "count_only"),
        min_mod_revision: number(request, "min_mod_revision"),
        max_mod_revision: number(request, "max_mod_revision"),
        min_create_revision: number(request, "min_create_revision"),
        max_create_revision: number(request, "max_create_revision"),
    })
}

fn put(request: &Value) -> Request {
    Request::Put(PutRequest {
        key: text(request, "key"),
        value: text(request, "value"),
        lease: number(request, "lease"),
        prev_kv: flag(request, "prev_kv"),
        ignore_value: flag(request, "ignore_value"),
        ignore_lease: flag(request, "ignore_lease"),
    })
}

fn delete_range(request: &Value) -> Request {
    Request::DeleteRange(DeleteRangeRequest {
        key: text(request, "key"),
        range_end: range_end(request),
        prev_kv: flag(request, "prev_kv"),
    })
}

fn txn(request: &Value) -> Result<TxnRequest, String> {
    Ok(TxnRequest {
        compares: list(request, "compare").iter().map(compare).collect::<Result<_, _>>()?,
        success: list(request, "success").iter().map(operation).collect::<Result<_, _>>()?,
        failure: list(request, "failure").iter().map(operation).collect::<Result<_, _>>()?,
    })
}

fn operation(operation: &Value) -> Result<Request, String> {
    let only = operation.as_object().and_then(|fields| fields.iter().next());
    let (kind, request) = only.ok_or_else(|| format!("{operation} is no operation"))?;
    match kind.as_str() {
        "request_range" => Ok(Request::Range(range(request)?)),
        "request_put" => Ok(put(request)),
        "request_delete_range" => Ok(delete_range(request)),
        "request_txn" => Ok(Request::Txn(txn(request)?)),
        other => Err(format!("the operation {other} is unknown")),
    }
}

fn compare(compare: &Value) -> Result<Compare, String> {
    let target = match compare["target"].as_str() {
        None | Some("VERSION") => Target::Version(number(compare, "version")),
        Some("CREATE") => Target::CreateRevision(number(compare, "create_revision")),
        Some("MOD") => Target::ModRevision(number(compare, "mod_revision")),
        Some("VALUE") => Target::Value(text(compare, "value")),
        Some("LEASE") => Target::Lease(number(compare, "lease")),
        Some(other) => return Err(format!("the target {other} is unknown")),
    };
    let result = match compare["result"].as_str() {
        None | Some("EQUAL") => CompareResult::Equal,
        Some("GREATER") => CompareResult::Greater,
        Some("LESS") => CompareResult::Less,
        Some("NOT_EQUAL") => CompareResult::NotEqual,
        Some(other) => return Err(format!("the relation {other} is unknown")),
    };
    Ok(Compare { key: text(compare, "key"), range_end: range_end(compare), target, result })
}

fn watch(request: &Value) -> Result<WatchRequest, String> {
    let mut watch = WatchRequest {
        key: text(request, "key"),
        range_end: range_end(request),
        start_revision: number(request, "start_revision"),
        prev_kv: flag(request, "prev_kv"),
        ..WatchRequest::default()
    };
    for filter in list(request, "filters") {
        match filter.as_str() {
            Some("NOPUT") => watch.no_put = true,
            Some("NODELETE") => watch.no_delete = true,
            Some(_) | None => return Err(format!("the filter {filter} is unknown")),
        }
    }
    Ok(watch)
}

fn text(value: &Value, name: &str) -> Vec<u8> {
    value[name].as_str().unwrap_or("").into()
}

fn number(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or(0)
}

fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or(false)
}

fn range_end(value: &Value) -> Option<Vec<u8>> {
    value["range_end"].as_str().map(Into::into)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}
