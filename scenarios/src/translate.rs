//! From the store's types to the model's, which by the dependency rule know nothing of each other.

use cluster::api;
use model::kv;

/// A call as the model knows it; none of an acknowledgement of watch messages, which is nobody's business but the
/// replica's.
pub(crate) fn call(call: &api::Call) -> Option<kv::Call> {
    Some(match call {
        api::Call::Kv(request) => kv::Call::Kv(self::request(request)),
        api::Call::Compact { revision, physical } => {
            kv::Call::Compact { revision: *revision, physical: *physical }
        }
        api::Call::LeaseGrant { id, ttl_s } => kv::Call::LeaseGrant { id: *id, ttl_s: *ttl_s },
        api::Call::LeaseRevoke { id } => kv::Call::LeaseRevoke { id: *id },
        api::Call::LeaseKeepAlive { id } => kv::Call::LeaseKeepAlive { id: *id },
        api::Call::LeaseTimeToLive { id, keys } => kv::Call::LeaseTimeToLive { id: *id, keys: *keys },
        api::Call::Leases => kv::Call::Leases,
        api::Call::HashKv { revision } => kv::Call::HashKv { revision: *revision },
        api::Call::Status => kv::Call::Status,
        api::Call::Defragment => kv::Call::Defragment,
        api::Call::AlarmDisarm => kv::Call::AlarmDisarm,
        api::Call::Member(member) => kv::Call::Member(member_call(*member)),
        api::Call::MoveLeader { to } => kv::Call::MoveLeader { to: *to },
        api::Call::Watch(watch) => kv::Call::Watch(watch_call(watch)?),
    })
}

fn member_call(call: api::MemberCall) -> kv::MemberCall {
    match call {
        api::MemberCall::Add { id, learner } => kv::MemberCall::Add { id, learner },
        api::MemberCall::Remove { id } => kv::MemberCall::Remove { id },
        api::MemberCall::Promote { id } => kv::MemberCall::Promote { id },
        api::MemberCall::Replace { out, with } => kv::MemberCall::Replace { out, with },
        api::MemberCall::List => kv::MemberCall::List,
    }
}

fn watch_call(call: &api::WatchCall) -> Option<kv::WatchCall> {
    match call {
        api::WatchCall::Create(request) => Some(kv::WatchCall::Create(watch_request(request))),
        api::WatchCall::Cancel { watch_id } => Some(kv::WatchCall::Cancel { watch_id: *watch_id }),
        api::WatchCall::Progress => Some(kv::WatchCall::Progress),
        api::WatchCall::Ack { .. } => None,
    }
}

/// What a watch asks for, as the model knows it.
pub(crate) fn watch_request(request: &api::WatchRequest) -> kv::WatchRequest {
    let api::WatchRequest {
        watch_id,
        key,
        range_end,
        start_revision,
        prev_kv,
        no_put,
        no_delete,
        progress_notify,
        fragment,
    } = request;
    kv::WatchRequest {
        watch_id: *watch_id,
        key: key.clone(),
        range_end: range_end.clone(),
        start_revision: *start_revision,
        prev_kv: *prev_kv,
        no_put: *no_put,
        no_delete: *no_delete,
        progress_notify: *progress_notify,
        fragment: *fragment,
    }
}

/// A message of a watch, as the model knows it.
pub(crate) fn watch_message(message: &api::WatchMessage) -> kv::WatchMessage {
    let kind = match &message.kind {
        api::WatchKind::Created => kv::WatchKind::Created,
        api::WatchKind::Events { events, fragment } => {
            kv::WatchKind::Events { events: events.iter().map(event).collect(), fragment: *fragment }
        }
        api::WatchKind::Progress => kv::WatchKind::Progress,
        api::WatchKind::Canceled { compact_revision, reason } => {
            kv::WatchKind::Canceled { compact_revision: *compact_revision, reason: reason.clone() }
        }
    };
    kv::WatchMessage { watch_id: message.watch_id, revision: message.revision, kind }
}

fn event(event: &api::Event) -> kv::Event {
    kv::Event {
        kind: match event.kind {
            api::EventKind::Put => kv::EventKind::Put,
            api::EventKind::Delete => kv::EventKind::Delete,
        },
        kv: key_value(&event.kv),
        prev_kv: event.prev_kv.as_ref().map(key_value),
    }
}

/// A request to the keys as the model knows it.
pub(crate) fn request(request: &api::Request) -> kv::Request {
    match request {
        api::Request::Range(range) => kv::Request::Range(self::range(range)),
        api::Request::Put(put) => {
            let api::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = put;
            kv::Request::Put(kv::PutRequest {
                key: key.clone(),
                value: value.clone(),
                lease: *lease,
                prev_kv: *prev_kv,
                ignore_value: *ignore_value,
                ignore_lease: *ignore_lease,
            })
        }
        api::Request::DeleteRange(api::DeleteRangeRequest { key, range_end, prev_kv }) => {
            kv::Request::DeleteRange(kv::DeleteRangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                prev_kv: *prev_kv,
            })
        }
        api::Request::Txn(api::TxnRequest { compares, success, failure }) => {
            kv::Request::Txn(kv::TxnRequest {
                compares: compares.iter().map(compare).collect(),
                success: success.iter().map(self::request).collect(),
                failure: failure.iter().map(self::request).collect(),
            })
        }
    }
}

fn range(range: &api::RangeRequest) -> kv::RangeRequest {
    let api::RangeRequest {
        key,
        range_end,
        limit,
        revision,
        sort_order,
        sort_target,
        serializable,
        keys_only,
        count_only,
        min_mod_revision,
        max_mod_revision,
        min_create_revision,
        max_create_revision,
    } = range;
    kv::RangeRequest {
        key: key.clone(),
        range_end: range_end.clone(),
        limit: *limit,
        revision: *revision,
        sort_order: match sort_order {
            api::SortOrder::None => kv::SortOrder::None,
            api::SortOrder::Ascend => kv::SortOrder::Ascend,
            api::SortOrder::Descend => kv::SortOrder::Descend,
        },
        sort_target: match sort_target {
            api::SortTarget::Key => kv::SortTarget::Key,
            api::SortTarget::Version => kv::SortTarget::Version,
            api::SortTarget::Create => kv::SortTarget::Create,
            api::SortTarget::Mod => kv::SortTarget::Mod,
            api::SortTarget::Value => kv::SortTarget::Value,
        },
        serializable: *serializable,
        keys_only: *keys_only,
        count_only: *count_only,
        min_mod_revision: *min_mod_revision,
        max_mod_revision: *max_mod_revision,
        min_create_revision: *min_create_revision,
        max_create_revision: *max_create_revision,
    }
}

fn compare(compare: &api::Compare) -> kv::Compare {
    kv::Compare {
        key: compare.key.clone(),
        range_end: compare.range_end.clone(),
        target: match &compare.target {
            api::Target::Version(version) => kv::Target::Version(*version),
            api::Target::CreateRevision(revision) => kv::Target::CreateRevision(*revision),
            api::Target::ModRevision(revision) => kv::Target::ModRevision(*revision),
            api::Target::Value(value) => kv::Target::Value(value.clone()),
            api::Target::Lease(lease) => kv::Target::Lease(*lease),
        },
        result: match compare.result {
            api::CompareResult::Equal => kv::CompareResult::Equal,
            api::CompareResult::Greater => kv::CompareResult::Greater,
            api::CompareResult::Less => kv::CompareResult::Less,
            api::CompareResult::NotEqual => kv::CompareResult::NotEqual,
        },
    }
}

/// An answer as the model knows it.
pub(crate) fn answer(answer: &api::Answer) -> kv::CallAnswer {
    match answer {
        api::Answer::Kv(response) => kv::CallAnswer::Kv(self::response(response)),
        api::Answer::Compact { revision } => kv::CallAnswer::Compact { revision: *revision },
        api::Answer::LeaseGrant { revision, id, ttl_s } => {
            kv::CallAnswer::LeaseGrant { revision: *revision, id: *id, ttl_s: *ttl_s }
        }
        api::Answer::LeaseRevoke { revision } => kv::CallAnswer::LeaseRevoke { revision: *revision },
        api::Answer::LeaseKeepAlive { revision, id, ttl_s } => {
            kv::CallAnswer::LeaseKeepAlive { revision: *revision, id: *id, ttl_s: *ttl_s }
        }
        api::Answer::LeaseTimeToLive { revision, id, ttl_s, granted_ttl_s, keys } => {
            kv::CallAnswer::LeaseTimeToLive {
                revision: *revision,
                id: *id,
                ttl_s: *ttl_s,
                granted_ttl_s: *granted_ttl_s,
                keys: keys.clone(),
            }
        }
        api::Answer::Leases { revision, ids } => {
            kv::CallAnswer::Leases { revision: *revision, ids: ids.clone() }
        }
        api::Answer::HashKv { revision, compact_revision, hash } => {
            kv::CallAnswer::HashKv { revision: *revision, compact_revision: *compact_revision, hash: *hash }
        }
        api::Answer::Status(status) => kv::CallAnswer::Status(self::status(status)),
        api::Answer::Defragment => kv::CallAnswer::Defragment,
        api::Answer::AlarmDisarm => kv::CallAnswer::AlarmDisarm,
        api::Answer::Members(members) => kv::CallAnswer::Members(
            members.iter().map(|member| kv::Member { id: member.id, learner: member.learner }).collect(),
        ),
        api::Answer::MoveLeader => kv::CallAnswer::MoveLeader,
    }
}

fn status(status: &api::Status) -> kv::Status {
    let api::Status {
        revision,
        size_bytes,
        leader,
        raft_index: _,
        raft_term,
        raft_applied_index,
        is_learner,
        alarms,
    } = status;
    kv::Status {
        revision: *revision,
        leader: *leader,
        term: *raft_term,
        applied_index: *raft_applied_index,
        size_bytes: *size_bytes,
        learner: *is_learner,
        no_space: alarms.clone(),
    }
}

fn response(response: &api::Response) -> kv::Response {
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
        lease: pair.lease,
    }
}

/// A refusal as the model knows it; none where the rule is about the size of a message or about the members, which
/// the model has not.
pub(crate) fn refusal(refusal: api::Refusal) -> Option<kv::Refusal> {
    Some(match refusal {
        api::Refusal::DuplicateKey => kv::Refusal::DuplicateKey,
        api::Refusal::FutureRevision => kv::Refusal::FutureRevision,
        api::Refusal::Compacted => kv::Refusal::Compacted,
        api::Refusal::EmptyKey => kv::Refusal::EmptyKey,
        api::Refusal::TooManyOperations => kv::Refusal::TooManyOperations,
        api::Refusal::TooLarge
        | api::Refusal::MemberExists
        | api::Refusal::MemberNotFound
        | api::Refusal::MemberNotLearner
        | api::Refusal::LearnerNotReady
        | api::Refusal::UnhealthyCluster => return None,
        api::Refusal::LeaseNotFound => kv::Refusal::LeaseNotFound,
        api::Refusal::LeaseExists => kv::Refusal::LeaseExists,
        api::Refusal::KeyNotFound => kv::Refusal::KeyNotFound,
        api::Refusal::ValueProvided => kv::Refusal::ValueProvided,
        api::Refusal::LeaseProvided => kv::Refusal::LeaseProvided,
        api::Refusal::NoSpace => kv::Refusal::NoSpace,
        api::Refusal::LeaseTtlTooLarge => kv::Refusal::LeaseTtlTooLarge,
    })
}
