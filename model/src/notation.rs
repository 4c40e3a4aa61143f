//! The short notation in which evidence shows requests and answers.
//!
//! ```text
//! get a          get a..m limit 2 at 7 count      put a=1 prev      delete a..m
//! txn if mod(a)=0 & value(b)<x then put a=1; get b else get a
//! @5             @5 a=1/2/5/3 count 1 more         @5 deleted 2      @5 then [@5; @5 a=1/5/5/1]
//! ```
//! An answer starts with the revision of its header; a key shows as
//! `key=value/create revision/mod revision/version`. `a..` means every key from `a` on.

use std::fmt::{self, Display, Formatter, Write};

use crate::kv::{Answer, Compare, CompareResult, KeyValue, Request, Response, ResponseBody, Target};

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

impl Display for Request {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Request::Range { key, range_end, limit, revision, count_only, keys_only } => {
                write!(formatter, "get {}", keys(key, range_end))?;
                if *limit > 0 {
                    write!(formatter, " limit {limit}")?;
                }
                if *revision != 0 {
                    write!(formatter, " at {revision}")?;
                }
                formatter.write_str(if *count_only { " count" } else { "" })?;
                formatter.write_str(if *keys_only { " keys" } else { "" })
            }
            Request::Put { key, value, prev_kv } => {
                write!(formatter, "put {}={}", bytes(key), bytes(value))?;
                formatter.write_str(if *prev_kv { " prev" } else { "" })
            }
            Request::DeleteRange { key, range_end, prev_kv } => {
                write!(formatter, "delete {}", keys(key, range_end))?;
                formatter.write_str(if *prev_kv { " prev" } else { "" })
            }
            Request::Txn { compares, success, failure } => txn(formatter, compares, success, failure),
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
        let key = bytes(&self.key);
        match &self.target {
            Target::Version(operand) => write!(formatter, "version({key}){relation}{operand}"),
            Target::CreateRevision(operand) => write!(formatter, "create({key}){relation}{operand}"),
            Target::ModRevision(operand) => write!(formatter, "mod({key}){relation}{operand}"),
            Target::Value(operand) => write!(formatter, "value({key}){relation}{}", bytes(operand)),
        }
    }
}

impl Display for KeyValue {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let KeyValue { key, value, create_revision, mod_revision, version } = self;
        write!(formatter, "{}={}/{create_revision}/{mod_revision}/{version}", bytes(key), bytes(value))
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
            Request::Txn { .. } => write!(formatter, "({request})")?,
            Request::Range { .. } | Request::Put { .. } | Request::DeleteRange { .. } => {
                write!(formatter, "{request}")?;
            }
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
