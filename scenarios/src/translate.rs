//! From the store's types to the model's, which by the dependency rule know nothing of each other.

use cluster::api;
use model::kv;

/// A request as the model knows it.
pub(crate) fn request(request: &api::Request) -> kv::Request {
    match request {
        api::Request::Range { key, range_end, limit, revision, count_only, keys_only } => {
            kv::Request::Range {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: *limit,
                revision: *revision,
                count_only: *count_only,
                keys_only: *keys_only,
            }
        }
        api::Request::Put { key, value, prev_kv } => {
            kv::Request::Put { key: key.clone(), value: value.clone(), prev_kv: *prev_kv }
        }
        api::Request::DeleteRange { key, range_end, prev_kv } => {
            kv::Request::DeleteRange { key: key.clone(), range_end: range_end.clone(), prev_kv: *prev_kv }
        }
        api::Request::Txn { compares, success, failure } => kv::Request::Txn {
            compares: compares.iter().map(compare).collect(),
            success: success.iter().map(self::request).collect(),
            failure: failure.iter().map(self::request).collect(),
        },
    }
}

fn compare(compare: &api::Compare) -> kv::Compare {
    kv::Compare {
        key: compare.key.clone(),
        target: match &compare.target {
            api::Target::Version(version) => kv::Target::Version(*version),
            api::Target::CreateRevision(revision) => kv::Target::CreateRevision(*revision),
            api::Target::ModRevision(revision) => kv::Target::ModRevision(*revision),
            api::Target::Value(value) => kv::Target::Value(value.clone()),
        },
        result: match compare.result {
            api::CompareResult::Equal => kv::CompareResult::Equal,
            api::CompareResult::Greater => kv::CompareResult::Greater,
            api::CompareResult::Less => kv::CompareResult::Less,
            api::CompareResult::NotEqual => kv::CompareResult::NotEqual,
        },
    }
}

/// A response as the model knows it.
pub(crate) fn response(response: &api::Response) -> kv::Response {
    let body = match &response.body {
        api::ResponseBody::Range { kvs, count, more } => {
            kv::ResponseBody::Range { kvs: kvs.iter().map(key_value).collect(), count: *count, more: *more }
        }
        api::ResponseBody::Put { prev } => kv::ResponseBody::Put { prev: prev.as_ref().map(key_value) },
        api::ResponseBody::DeleteRange { deleted, prev } => {
            kv::ResponseBody::DeleteRange { deleted: *deleted, prev: prev.iter().map(key_value).collect() }
        }
        api::ResponseBody::Txn { succeeded, responses } => kv::ResponseBody::Txn {
            succeeded: *succeeded,
            responses: responses.iter().map(self::response).collect(),
        },
    };
    kv::Response { revision: response.revision, body }
}

fn key_value(pair: &api::KeyValue) -> kv::KeyValue {
    kv::KeyValue {
        key: pair.key.clone(),
        value: pair.value.clone(),
        create_revision: pair.create_revision,
        mod_revision: pair.mod_revision,
        version: pair.version,
    }
}

/// A refusal as the model knows it; none where the rule is about the size of a message, which the model has not.
pub(crate) fn refusal(refusal: api::Refusal) -> Option<kv::Refusal> {
    Some(match refusal {
        api::Refusal::DuplicateKey => kv::Refusal::DuplicateKey,
        api::Refusal::FutureRevision => kv::Refusal::FutureRevision,
        api::Refusal::Compacted => kv::Refusal::Compacted,
        api::Refusal::EmptyKey => kv::Refusal::EmptyKey,
        api::Refusal::TooManyOperations => kv::Refusal::TooManyOperations,
        api::Refusal::TooLarge => return None,
    })
}
