//! The short notation in which evidence shows requests and answers.
//!
//! ```text
//! get a          get a..m limit 2 at 7 count      put a=1 lease 7 prev      put a keep-value      delete a..m
//! get a.. sort mod descend min-mod 3              serializable get a
//! txn if mod(a)=0 & value(b)<x & lease(c..d)=7 then put a=1; get b else get a
//! compact 5      grant 7 ttl 10                   revoke 7          keep-alive 7      time-to-live 7 keys
//! @5             @5 a=1/2/5/3 count 1 more        @5 deleted 2      @5 then [@5; @5 a=1/5/5/1/7]
//! ```
//! An answer starts with the revision of its header; a key shows as
//! `key=value/create revision/mod revision/version`, and `/lease` if it has one. `a..` means every key from `a`
//! on.

use std::fmt::{self, Display, Formatter, Write};

use crate::kv::{
    Answer, Call, CallAnswer, CallResult, Compare, CompareResult, DeleteRangeRequest, KeyValue, PutRequest,
    RangeRequest, Request, Response, ResponseBody, SortOrder, SortTarget, Target, TxnRequest,
};

/// An answer in the short notation.
pub fn answer(answer: &Answer) -> String {
    match answer {
        Ok(response) => response.to_string(),
        Err(refusal) => format!("refused: {refusal}"),
    }
}

/// Bytes beyond this many are not shown in full.
const BYTES_SHOWN: usize = 32;

/// Bytes as text, with everything that is not printable ASCII escaped; of many, the first ones and how many there
/// are.
pub fn bytes(bytes: &[u8]) -> String {
    if bytes.len() <= BYTES_SHOWN {
        return bytes.escape_ascii().to_string();
    }
    format!("{}…({} bytes)", bytes[..BYTES_SHOWN / 2].escape_ascii(), bytes.len())
}

/// The result of a call in the short notation.
pub fn result(result: &CallResult) -> String {
    match result {
        Ok(answer) => answer.to_string(),
        Err(refusal) => format!("refused: {refusal}"),
    }
}

impl Display for Request {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Request::Range(range) => self::range(formatter, range),
            Request::Put(put) => self::put(formatter, put),
            Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv }) => {
                write!(formatter, "delete {}", keys(key, range_end))?;
                flags(formatter, &[(" prev", *prev_kv)])
            }
            Request::Txn(TxnRequest { compares, success, failure }) => {
                txn(formatter, compares, success, failure)
            }
        }
    }
}

fn range(formatter: &mut Formatter<'_>, range: &RangeRequest) -> fmt::Result {
    let RangeRequest { key, range_end, limit, revision, sort_order, sort_target, serializable, .. } = range;
    flags(formatter, &[("serializable ", *serializable)])?;
    write!(formatter, "get {}", keys(key, range_end))?;
    if *limit > 0 {
        write!(formatter, " limit {limit}")?;
    }
    numbers(formatter, &[("at", *revision)])?;
    if (*sort_order, *sort_target) != (SortOrder::None, SortTarget::Key) {
        write!(formatter, " sort {}{}", target_name(*sort_target), order_name(*sort_order))?;
    }
    numbers(
        formatter,
        &[
            ("min-mod", range.min_mod_revision),
            ("max-mod", range.max_mod_revision),
            ("min-create", range.min_create_revision),
            ("max-create", range.max_create_revision),
        ],
    )?;
    flags(formatter, &[(" count", range.count_only), (" keys", range.keys_only)])
}

fn target_name(target: SortTarget) -> &'static str {
    match target {
        SortTarget::Key => "key",
        SortTarget::Version => "version",
        SortTarget::Create => "create",
        SortTarget::Mod => "mod",
        SortTarget::Value => "value",
    }
}

fn order_name(order: SortOrder) -> &'static str {
    match order {
        SortOrder::None => "",
        SortOrder::Ascend => " ascend",
        SortOrder::Descend => " descend",
    }
}

fn put(formatter: &mut Formatter<'_>, put: &PutRequest) -> fmt::Result {
    let PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = put;
    write!(formatter, "put {}", bytes(key))?;
    if !ignore_value || !value.is_empty() {
        write!(formatter, "={}", bytes(value))?;
    }
    numbers(formatter, &[("lease", *lease)])?;
    flags(formatter, &[(" keep-value", *ignore_value), (" keep-lease", *ignore_lease), (" prev", *prev_kv)])
}

fn flags(formatter: &mut Formatter<'_>, flags: &[(&str, bool)]) -> fmt::Result {
    flags.iter().filter(|(_, set)| *set).try_for_each(|(name, _)| formatter.write_str(name))
}

/// Those that are not zero, each after its name.
fn numbers(formatter: &mut Formatter<'_>, numbers: &[(&str, i64)]) -> fmt::Result {
    let set = numbers.iter().filter(|(_, number)| *number != 0);
    set.into_iter().try_for_each(|(name, number)| write!(formatter, " {name} {number}"))
}

impl Display for Call {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Call::Kv(request) => write!(formatter, "{request}"),
            Call::Compact { revision, physical } => {
                write!(formatter, "compact {revision}")?;
                flags(formatter, &[(" physical", *physical)])
            }
            Call::LeaseGrant { id, ttl_s } => write!(formatter, "grant {id} ttl {ttl_s}"),
            Call::LeaseRevoke { id } => write!(formatter, "revoke {id}"),
            Call::LeaseKeepAlive { id } => write!(formatter, "keep-alive {id}"),
            Call::LeaseTimeToLive { id, keys } => {
                write!(formatter, "time-to-live {id}")?;
                flags(formatter, &[(" keys", *keys)])
            }
            Call::Leases => formatter.write_str("leases"),
            Call::HashKv { revision } => write!(formatter, "hash {revision}"),
            Call::Status => formatter.write_str("status"),
            Call::Defragment => formatter.write_str("defragment"),
            Call::AlarmDisarm => formatter.write_str("disarm"),
            Call::Member(call) => write!(formatter, "member {call:?}"),
            Call::MoveLeader { to } => write!(formatter, "move-leader {to}"),
            Call::Watch(call) => write!(formatter, "watch {call:?}"),
        }
    }
}

impl Display for CallAnswer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            CallAnswer::Kv(response) => write!(formatter, "{response}"),
            CallAnswer::Compact { revision } | CallAnswer::LeaseRevoke { revision } => {
                write!(formatter, "@{revision}")
            }
            CallAnswer::LeaseGrant { revision, id, ttl_s }
            | CallAnswer::LeaseKeepAlive { revision, id, ttl_s } => {
                write!(formatter, "@{revision} lease {id} ttl {ttl_s}")
            }
            CallAnswer::LeaseTimeToLive { revision, id, ttl_s, granted_ttl_s, keys } => {
                write!(formatter, "@{revision} lease {id} ttl {ttl_s} of {granted_ttl_s}")?;
                keys.iter().try_for_each(|key| write!(formatter, " {}", bytes(key)))
            }
            CallAnswer::Leases { revision, ids } => write!(formatter, "@{revision} leases {ids:?}"),
            CallAnswer::HashKv { revision, compact_revision, hash } => {
                write!(formatter, "@{revision} compacted {compact_revision} hash {hash:016x}")
            }
            CallAnswer::Status(status) => write!(formatter, "{status:?}"),
            CallAnswer::Defragment | CallAnswer::AlarmDisarm | CallAnswer::MoveLeader => {
                formatter.write_str("done")
            }
            CallAnswer::Members(members) => write!(formatter, "{members:?}"),
        }
    }
}

impl Display for Compare {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let relation = match self.result {
            CompareResult::Equal => "=",
            CompareResult::Greater => ">",
            CompareResult::Less => "<",
            CompareResult::NotEqual => "!=",
        };
        let key = keys(&self.key, &self.range_end);
        match &self.target {
            Target::Lease(operand) => write!(formatter, "lease({key}){relation}{operand}"),
            Target::Version(operand) => write!(formatter, "version({key}){relation}{operand}"),
            Target::CreateRevision(operand) => write!(formatter, "create({key}){relation}{operand}"),
            Target::ModRevision(operand) => write!(formatter, "mod({key}){relation}{operand}"),
            Target::Value(operand) => write!(formatter, "value({key}){relation}{}", bytes(operand)),
        }
    }
}

impl Display for KeyValue {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let KeyValue { key, value, create_revision, mod_revision, version, lease } = self;
        write!(formatter, "{}={}/{create_revision}/{mod_revision}/{version}", bytes(key), bytes(value))?;
        if *lease == 0 { Ok(()) } else { write!(formatter, "/{lease}") }
    }
}

impl Display for Response {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "@{}", self.revision)?;
        match &self.body {
            ResponseBody::Range { kvs, count, more } => {
                key_values(formatter, kvs)?;
                write!(formatter, " count {count}")?;
                formatter.write_str(if *more { " more" } else { "" })
            }
            ResponseBody::Put { prev } => key_values(formatter, prev),
            ResponseBody::DeleteRange { deleted, prev } => {
                write!(formatter, " deleted {deleted}")?;
                key_values(formatter, prev)
            }
            ResponseBody::Txn { succeeded, responses } => {
                formatter.write_str(if *succeeded { " then [" } else { " else [" })?;
                separated(formatter, responses, "; ")?;
                formatter.write_char(']')
            }
        }
    }
}

fn keys(key: &[u8], range_end: &Option<Vec<u8>>) -> String {
    match range_end.as_deref() {
        None | Some([]) => bytes(key),
        Some([0]) => format!("{}..", bytes(key)),
        Some(end) => format!("{}..{}", bytes(key), bytes(end)),
    }
}

fn key_values<'a>(
    formatter: &mut Formatter<'_>,
    key_values: impl IntoIterator<Item = &'a KeyValue>,
) -> fmt::Result {
    for key_value in key_values {
        write!(formatter, " {key_value}")?;
    }
    Ok(())
}

fn txn(
    formatter: &mut Formatter<'_>,
    compares: &[Compare],
    success: &[Request],
    failure: &[Request],
) -> fmt::Result {
    formatter.write_str("txn")?;
    if !compares.is_empty() {
        formatter.write_str(" if ")?;
        separated(formatter, compares, " & ")?;
    }
    formatter.write_str(" then ")?;
    branch(formatter, success)?;
    if !failure.is_empty() {
        formatter.write_str(" else ")?;
        branch(formatter, failure)?;
    }
    Ok(())
}

fn branch(formatter: &mut Formatter<'_>, requests: &[Request]) -> fmt::Result {
    for (place, request) in requests.iter().enumerate() {
        formatter.write_str(if place > 0 { "; " } else { "" })?;
        match request {
            Request::Txn(_) => write!(formatter, "({request})")?,
            Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) => write!(formatter, "{request}")?,
        }
    }
    Ok(())
}

fn separated<T: Display>(formatter: &mut Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    for (place, item) in items.iter().enumerate() {
        formatter.write_str(if place > 0 { separator } else { "" })?;
        write!(formatter, "{item}")?;
    }
    Ok(())
}
