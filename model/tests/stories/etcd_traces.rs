//! The reference store gives the answers that a real etcd 3.5.16 gave, as recorded in traces that stand beside
//! the workspace.
//!
//! The store has no leases, compaction, sorting and filters yet. So that the traces can be followed to their
//! ends all the same, leases are kept here (a revocation is the deletion of its keys), a transaction with a
//! compare that the store does not have takes the branch that etcd took, and answers are compared in the parts
//! that the store knows; requests that were refused for a lease, a compaction or a missing key are left out.

use std::collections::BTreeMap;
use std::path::Path;

use model::kv::{Compare, CompareResult, KeyValue, Refusal, Request, Response, ResponseBody, Target};
use model::store::Store;
use serde_json::Value;

#[derive(Default)]
struct Follower {
    store: Store,
    lease_of: BTreeMap<String, i64>,
    compared: usize,
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

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn key_value(value: &Value) -> KeyValue {
    KeyValue {
        key: text(value, "key"),
        value: text(value, "value"),
        create_revision: number(value, "create_revision"),
        mod_revision: number(value, "mod_revision"),
        version: number(value, "version"),
    }
}

/// Asks for more than the store can do: the keys found are right, but not their choice and order.
fn is_sorted_or_filtered(request: &Value) -> bool {
    ["sort_order", "min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"]
        .iter()
        .any(|option| !request[*option].is_null())
}

impl Follower {
    fn range(&self, request: &Value) -> Request {
        Request::Range {
            key: text(request, "key"),
            range_end: range_end(request),
            limit: request["limit"].as_u64().unwrap_or(0),
            revision: number(request, "revision"),
            count_only: flag(request, "count_only"),
            keys_only: false,
        }
    }

    fn put(&mut self, request: &Value) -> Request {
        let key = text(request, "key");
        let mut value = text(request, "value");
        if flag(request, "ignore_value")
            && let Some(current) = self.current(&key)
        {
            value = current.value;
        }
        Request::Put { key, value, prev_kv: flag(request, "prev_kv") }
    }

    fn delete(&self, request: &Value) -> Request {
        let (key, range_end) = (text(request, "key"), range_end(request));
        Request::DeleteRange { key, range_end, prev_kv: flag(request, "prev_kv") }
    }

    fn txn(&mut self, request: &Value, response: Option<&Value>) -> Request {
        let compares: Option<Vec<Compare>> = list(&request["compare"]).iter().map(compare).collect();
        let success = self.branch(&request["success"], response.filter(|r| flag(r, "succeeded")));
        let failure = self.branch(&request["failure"], response.filter(|r| !flag(r, "succeeded")));
        let compares = compares.unwrap_or_else(|| {
            if response.is_some_and(|response| !flag(response, "succeeded")) {
                // An absent key has version zero, so this never holds.
                let (target, result) = (Target::Version(0), CompareResult::Less);
                vec![Compare { key: b"absent".to_vec(), target, result }]
            } else {
                vec![]
            }
        });
        Request::Txn { compares, success, failure }
    }

    fn branch(&mut self, requests: &Value, response: Option<&Value>) -> Vec<Request> {
        let responses = response.map_or(&[][..], |response| list(&response["responses"]));
        let request = |(place, request): (usize, &Value)| {
            let response = responses.get(place).map(|response| &response["response_txn"]);
            let (kind, request) = request.as_object().unwrap().iter().next().unwrap();
            match kind.as_str() {
                "request_range" => self.range(request),
                "request_put" => self.put(request),
                "request_delete_range" => self.delete(request),
                "request_txn" => self.txn(request, response),
                other => panic!("unknown {other}"),
            }
        };
        list(requests).iter().enumerate().map(request).collect()
    }

    fn current(&mut self, key: &[u8]) -> Option<KeyValue> {
        let (key, range_end) = (key.to_vec(), None);
        let get =
            Request::Range { key, range_end, limit: 0, revision: 0, count_only: false, keys_only: false };
        match self.store.apply(&get).unwrap().body {
            ResponseBody::Range { mut kvs, .. } => kvs.pop(),
            other => panic!("not a range: {other:?}"),
        }
    }

    /// Follows one line of a trace.
    fn follow(&mut self, line: &Value, place: &str) {
        let (request, response) = (&line["request"], &line["response"]);
        let refused = response["message"].as_str();
        if refused.is_some_and(|message| message.contains("lease") || message.contains("compacted")) {
            return;
        }
        let converted = match line["op"].as_str().unwrap() {
            "put" => self.put(request),
            "delete_range" => self.delete(request),
            "range" => self.range(request),
            "txn" if refused.is_some_and(|message| message.contains("future")) && is_beyond(request) => {
                return;
            }
            "txn" => self.txn(request, refused.is_none().then_some(response)),
            "lease_revoke" if refused.is_none() => {
                let lease = number(request, "ID");
                let expired = self.lease_of.iter().filter(|(_, of)| **of == lease);
                let delete = |key: &String| Request::DeleteRange {
                    key: key.clone().into(),
                    range_end: None,
                    prev_kv: false,
                };
                let success = expired.map(|(key, _)| delete(key)).collect();
                let found = self.store.apply(&Request::Txn { compares: vec![], success, failure: vec![] });
                assert_eq!(found.unwrap().revision, number(&response["header"], "revision"), "{place}");
                self.lease_of.retain(|_, of| *of != lease);
                return;
            }
            _ => return,
        };
        if refused == Some("etcdserver: key not found") {
            return;
        }
        let found = self.store.apply(&converted);
        self.note_leases(request, response, line["op"].as_str().unwrap());
        match (refused, found) {
            (None, Ok(found)) => self.compare(request, &found, response, place),
            (Some(message), Err(found)) => assert_eq!(found.to_string(), message, "{place}"),
            (expected, found) => panic!("{place}: {expected:?}, but {found:?}"),
        }
        self.compared += 1;
    }

    fn note_leases(&mut self, request: &Value, response: &Value, kind: &str) {
        if !response["message"].is_null() {
            return;
        }
        match kind {
            "put" if !flag(request, "ignore_lease") => {
                let key = String::from_utf8(text(request, "key")).unwrap();
                self.lease_of.insert(key, number(request, "lease"));
            }
            "txn" => {
                let taken = if flag(response, "succeeded") { "success" } else { "failure" };
                for (inner, answer) in list(&request[taken]).iter().zip(list(&response["responses"])) {
                    let (kind, inner) = inner.as_object().unwrap().iter().next().unwrap();
                    let answer = answer.as_object().unwrap().values().next().unwrap();
                    self.note_leases(inner, answer, kind.strip_prefix("request_").unwrap());
                }
            }
            _ => {}
        }
        let gone: Vec<String> = self.lease_of.keys().cloned().collect();
        for key in gone {
            if self.current(key.as_bytes()).is_none() {
                self.lease_of.remove(&key);
            }
        }
    }

    fn compare(&self, request: &Value, found: &Response, expected: &Value, place: &str) {
        assert_eq!(found.revision, number(&expected["header"], "revision"), "{place}: revision");
        match &found.body {
            ResponseBody::Range { kvs, count, more } => {
                assert_eq!(*count as i64, number(expected, "count"), "{place}: count");
                if !is_sorted_or_filtered(request) {
                    assert_eq!(*more, flag(expected, "more"), "{place}: more");
                    assert_eq!(*kvs, key_values(&expected["kvs"]), "{place}: keys");
                }
            }
            ResponseBody::Put { prev } => {
                let expected = Some(&expected["prev_kv"]).filter(|prev| !prev.is_null());
                assert_eq!(*prev, expected.map(key_value), "{place}: previous");
            }
            ResponseBody::DeleteRange { deleted, prev } => {
                assert_eq!(*deleted as i64, number(expected, "deleted"), "{place}: deleted");
                assert_eq!(*prev, key_values(&expected["prev_kvs"]), "{place}: previous");
            }
            ResponseBody::Txn { succeeded, responses } => {
                assert_eq!(*succeeded, flag(expected, "succeeded"), "{place}: branch");
                let taken = list(&request[if *succeeded { "success" } else { "failure" }]);
                let expected = list(&expected["responses"]);
                assert_eq!(responses.len(), expected.len(), "{place}: responses");
                for (inner, (found, expected)) in taken.iter().zip(responses.iter().zip(expected)) {
                    let only = |value: &Value| value.as_object().unwrap().values().next().cloned().unwrap();
                    self.compare(&only(inner), found, &only(expected), place);
                }
            }
        }
    }
}

fn key_values(value: &Value) -> Vec<KeyValue> {
    list(value).iter().map(key_value).collect()
}

/// Whether a transaction has a compare, at any depth, that the store does not have.
fn is_beyond(txn: &Value) -> bool {
    let branches = list(&txn["success"]).iter().chain(list(&txn["failure"]));
    list(&txn["compare"]).iter().any(|value| compare(value).is_none())
        || branches.filter_map(|request| request.get("request_txn")).any(is_beyond)
}

/// The compare, unless the store does not have its like.
fn compare(value: &Value) -> Option<Compare> {
    let target = match value["target"].as_str().unwrap() {
        "VERSION" => Target::Version(number(value, "version")),
        "CREATE" => Target::CreateRevision(number(value, "create_revision")),
        "MOD" => Target::ModRevision(number(value, "mod_revision")),
        "VALUE" => Target::Value(text(value, "value")),
        "LEASE" => return None,
        other => panic!("unknown target {other}"),
    };
    let result = match value["result"].as_str().unwrap() {
        "EQUAL" => CompareResult::Equal,
        "GREATER" => CompareResult::Greater,
        "LESS" => CompareResult::Less,
        "NOT_EQUAL" => CompareResult::NotEqual,
        other => panic!("unknown relation {other}"),
    };
    value["range_end"].is_null().then(|| Compare { key: text(value, "key"), target, result })
}

#[test]
fn the_reference_store_answers_as_a_real_etcd_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/etcd-traces");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("no traces in {}: nothing was checked", folder.display());
        return;
    };
    let files =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "jsonl"));
    for file in files {
        let mut follower = Follower::default();
        for (place, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate().skip(1) {
            let line: Value = serde_json::from_str(line).unwrap();
            follower.follow(&line, &format!("{}:{}: {line}", file.display(), place + 1));
        }
        println!("{}: {} answers compared", file.display(), follower.compared);
        assert!(follower.compared > 250, "a trace of 500 requests has this many that the store knows");
    }
}

/// The texts of the refusals that the traces do not all show.
#[test]
fn refusals_speak_as_etcd_does() {
    assert_eq!(Refusal::Compacted.to_string(), "etcdserver: mvcc: required revision has been compacted");
    assert_eq!(Refusal::EmptyKey.to_string(), "etcdserver: key is not provided");
    assert_eq!(Refusal::TooManyOperations.to_string(), "etcdserver: too many operations in txn request");
}
