//! Reads the notation of `model::notation`, so that tests can be written in what evidence prints.
//!
//! A line of a history is `client from..to request -> answer`, with times in nanoseconds and `?` for the
//! return of an unknown outcome: `1 0..10 put a=1 -> @2`, `2 5..? delete a`.

use model::history::{History, Operation, Outcome, Stamp};
use model::kv::{
    Call, CallAnswer, CallResult, Compare, CompareResult, DeleteRangeRequest, KeyValue, PutRequest,
    RangeRequest, Refusal, Request, Response, ResponseBody, SortOrder, SortTarget, Target, TxnRequest,
};
use model::specs::etcd::{StoreHistory, StoreOperation};

/// The order of the first return at some time.
const RETURNS: u64 = 1_000_000;

/// The history in a script, one operation per line.
pub(crate) fn history(script: &str) -> StoreHistory {
    History::new(lines(script).enumerate().map(|(place, line)| operation(place as u64, line)).collect())
        .unwrap()
}

/// The lines of a script that say something.
pub(crate) fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// At equal times, invocations come before returns, and otherwise what is written first.
fn operation(place: u64, line: &str) -> StoreOperation {
    let (client, rest) = line.split_once(' ').unwrap();
    let (times, rest) = rest.trim().split_once(' ').unwrap();
    let (from, to) = times.split_once("..").unwrap();
    let (asked, answered) = rest.split_once("->").unwrap_or((rest, "?"));
    let input = call(asked);
    let outcome = if to == "?" {
        Outcome::Unknown
    } else {
        let at = Stamp { time_ns: to.parse().unwrap(), order: RETURNS + place };
        Outcome::Answered { at, output: result(&input, answered) }
    };
    let invoke = Stamp { time_ns: from.parse().unwrap(), order: place };
    Operation { client: client.parse().unwrap(), invoke, input, outcome }
}

/// A request, such as `txn if mod(a)=0 then put a=1 else get a`.
pub(crate) fn request(text: &str) -> Request {
    match call(text) {
        Call::Kv(request) => request,
        other => panic!("{text:?} is no request to the keys, but {other:?}"),
    }
}

/// A call, such as a request, `compact 5`, `grant 7 ttl 10` or `revoke 7`.
pub(crate) fn call(text: &str) -> Call {
    let mut tokens = Tokens::of(text);
    let call = tokens.call();
    assert!(tokens.peek().is_none(), "left over in {text:?}: {:?}", tokens.peek());
    call
}

/// The answer to a call, such as `@5 a=1/2/5/3 more`. The count of a range may be left out where it is the
/// number of keys shown.
pub(crate) fn result(call: &Call, text: &str) -> CallResult {
    let mut tokens = Tokens::of(text);
    if tokens.take("refused") {
        return Err(match tokens.next().as_str() {
            "empty" => Refusal::EmptyKey,
            "many" => Refusal::TooManyOperations,
            "duplicate" => Refusal::DuplicateKey,
            "future" => Refusal::FutureRevision,
            "compacted" => Refusal::Compacted,
            "no-lease" => Refusal::LeaseNotFound,
            "lease-exists" => Refusal::LeaseExists,
            "no-key" => Refusal::KeyNotFound,
            "value" => Refusal::ValueProvided,
            "lease" => Refusal::LeaseProvided,
            "space" => Refusal::NoSpace,
            "ttl" => Refusal::LeaseTtlTooLarge,
            other => panic!("no refusal is called {other}"),
        });
    }
    let answer = tokens.answer(call);
    assert!(tokens.peek().is_none(), "left over in {text:?}: {:?}", tokens.peek());
    Ok(answer)
}

struct Tokens {
    tokens: Vec<String>,
    place: usize,
}

impl Tokens {
    fn of(text: &str) -> Tokens {
        let (mut tokens, mut token, mut inside) = (Vec::new(), String::new(), 0);
        for character in text.chars() {
            match character {
                '(' if !token.is_empty() => inside += 1,
                ')' if inside > 0 => inside -= 1,
                ' ' | ';' | '&' | '[' | ']' | '(' | ')' => {
                    tokens.push(std::mem::take(&mut token));
                    tokens.push(character.to_string());
                    continue;
                }
                _ => {}
            }
            token.push(character);
        }
        tokens.push(token);
        tokens.retain(|token| !token.trim().is_empty());
        Tokens { tokens, place: 0 }
    }

    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.place).map(String::as_str)
    }

    fn next(&mut self) -> String {
        self.place += 1;
        self.tokens[self.place - 1].clone()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.place += usize::from(found);
        found
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&mut self) -> T {
        self.next().parse().unwrap()
    }

    /// The number after a word, or zero.
    fn named<T: std::str::FromStr<Err: std::fmt::Debug> + Default>(&mut self, name: &str) -> T {
        if self.take(name) { self.number() } else { T::default() }
    }

    fn call(&mut self) -> Call {
        match self.peek().unwrap() {
            "compact" => {
                self.next();
                Call::Compact { revision: self.number(), physical: self.take("physical") }
            }
            "grant" => {
                self.next();
                let id = self.number();
                Call::LeaseGrant { id, ttl_s: self.named("ttl") }
            }
            "revoke" => {
                self.next();
                Call::LeaseRevoke { id: self.number() }
            }
            "time-to-live" => {
                self.next();
                Call::LeaseTimeToLive { id: self.number(), keys: self.take("keys") }
            }
            _ => Call::Kv(self.request()),
        }
    }

    fn answer(&mut self, call: &Call) -> CallAnswer {
        match call {
            Call::Kv(request) => CallAnswer::Kv(self.response(request)),
            Call::Compact { .. } => CallAnswer::Compact { revision: self.revision() },
            Call::LeaseRevoke { .. } => CallAnswer::LeaseRevoke { revision: self.revision() },
            Call::LeaseGrant { id, ttl_s } => {
                let revision = self.revision();
                let id = if self.take("lease") { self.number() } else { *id };
                CallAnswer::LeaseGrant { revision, id, ttl_s: *ttl_s }
            }
            Call::LeaseTimeToLive { id, .. } => {
                let revision = self.revision();
                let (ttl_s, granted_ttl_s) = (self.named("ttl"), self.named("of"));
                let keys = std::iter::from_fn(|| self.peek().is_some().then(|| self.next().into())).collect();
                CallAnswer::LeaseTimeToLive { revision, id: *id, ttl_s, granted_ttl_s, keys }
            }
            other => panic!("the notation has no answer to {other:?}"),
        }
    }

    fn revision(&mut self) -> i64 {
        self.next().strip_prefix('@').unwrap().parse().unwrap()
    }

    fn request(&mut self) -> Request {
        match self.next().as_str() {
            "serializable" => {
                assert!(self.take("get"));
                Request::Range(RangeRequest { serializable: true, ..self.range() })
            }
            "get" => Request::Range(self.range()),
            "put" => {
                let pair = self.next();
                let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
                Request::Put(PutRequest {
                    key: key.into(),
                    value: value.into(),
                    lease: self.named("lease"),
                    ignore_value: self.take("keep-value"),
                    ignore_lease: self.take("keep-lease"),
                    prev_kv: self.take("prev"),
                })
            }
            "delete" => {
                let (key, range_end) = keys(&self.next());
                Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: self.take("prev") })
            }
            "txn" => self.txn(),
            other => panic!("no request starts with {other:?}"),
        }
    }

    fn range(&mut self) -> RangeRequest {
        let (key, range_end) = keys(&self.next());
        let (limit, revision) = (self.named("limit"), self.named("at"));
        let (sort_target, sort_order) =
            if self.take("sort") { (self.target(), self.order()) } else { Default::default() };
        RangeRequest {
            key,
            range_end,
            limit,
            revision,
            sort_order,
            sort_target,
            serializable: false,
            min_mod_revision: self.named("min-mod"),
            max_mod_revision: self.named("max-mod"),
            min_create_revision: self.named("min-create"),
            max_create_revision: self.named("max-create"),
            count_only: self.take("count"),
            keys_only: self.take("keys"),
        }
    }

    fn target(&mut self) -> SortTarget {
        match self.next().as_str() {
            "key" => SortTarget::Key,
            "version" => SortTarget::Version,
            "create" => SortTarget::Create,
            "mod" => SortTarget::Mod,
            "value" => SortTarget::Value,
            other => panic!("nothing is sorted by {other}"),
        }
    }

    fn order(&mut self) -> SortOrder {
        if self.take("ascend") {
            SortOrder::Ascend
        } else if self.take("descend") {
            SortOrder::Descend
        } else {
            SortOrder::None
        }
    }

    fn txn(&mut self) -> Request {
        let mut compares = Vec::new();
        if self.take("if") {
            compares.push(compare(&self.next()));
            while self.take("&") {
                compares.push(compare(&self.next()));
            }
        }
        assert!(self.take("then"));
        let success = self.branch();
        let failure = if self.take("else") { self.branch() } else { Vec::new() };
        Request::Txn(TxnRequest { compares, success, failure })
    }

    fn branch(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        while let Some(token) = self.peek() {
            match token {
                "else" | ")" => break,
                ";" => drop(self.next()),
                "(" => {
                    self.next();
                    requests.push(self.request());
                    assert!(self.take(")"));
                }
                _ => requests.push(self.request()),
            }
        }
        requests
    }

    fn response(&mut self, request: &Request) -> Response {
        let revision = self.revision();
        let body = match request {
            Request::Range(_) => {
                let kvs = self.key_values();
                let count = if self.take("count") { self.number() } else { kvs.len() as u64 };
                ResponseBody::Range { kvs, count, more: self.take("more") }
            }
            Request::Put(_) => ResponseBody::Put { prev: self.key_values().pop() },
            Request::DeleteRange(_) => {
                assert!(self.take("deleted"));
                ResponseBody::DeleteRange { deleted: self.number(), prev: self.key_values() }
            }
            Request::Txn(TxnRequest { compares: _, success, failure }) => {
                let succeeded = self.next() == "then";
                let taken = if succeeded { success } else { failure };
                ResponseBody::Txn { succeeded, responses: self.responses(taken) }
            }
        };
        Response { revision, body }
    }

    fn responses(&mut self, requests: &[Request]) -> Vec<Response> {
        assert!(self.take("["));
        let mut responses = Vec::new();
        while !self.take("]") {
            self.take(";");
            responses.push(self.response(&requests[responses.len()]));
        }
        responses
    }

    fn key_values(&mut self) -> Vec<KeyValue> {
        let mut found = Vec::new();
        while let Some((key, rest)) = self.peek().and_then(|token| token.split_once('=')) {
            let fields: Vec<&str> = rest.split('/').collect();
            let (value, create_revision, mod_revision, version, lease) = match fields[..] {
                [value, create, modified, version] => (value, create, modified, version, "0"),
                [value, create, modified, version, lease] => (value, create, modified, version, lease),
                _ => panic!("not value/create/mod/version or value/create/mod/version/lease: {rest}"),
            };
            found.push(KeyValue {
                key: key.into(),
                value: value.into(),
                create_revision: create_revision.parse().unwrap(),
                mod_revision: mod_revision.parse().unwrap(),
                version: version.parse().unwrap(),
                lease: lease.parse().unwrap(),
            });
            self.place += 1;
        }
        found
    }
}

pub(crate) fn keys(text: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    match text.split_once("..") {
        None => (text.into(), None),
        Some((key, "")) => (key.into(), Some(vec![0])),
        Some((key, end)) => (key.into(), Some(end.into())),
    }
}

fn compare(text: &str) -> Compare {
    let (what, rest) = text.split_once('(').unwrap();
    let (key, rest) = rest.split_once(')').unwrap();
    let (result, operand) = if let Some(operand) = rest.strip_prefix("!=") {
        (CompareResult::NotEqual, operand)
    } else {
        let result = match &rest[..1] {
            "=" => CompareResult::Equal,
            ">" => CompareResult::Greater,
            "<" => CompareResult::Less,
            other => panic!("no relation is written {other}"),
        };
        (result, &rest[1..])
    };
    let number = || -> i64 { operand.parse().unwrap() };
    let target = match what {
        "version" => Target::Version(number()),
        "create" => Target::CreateRevision(number()),
        "mod" => Target::ModRevision(number()),
        "value" => Target::Value(operand.into()),
        "lease" => Target::Lease(number()),
        other => panic!("no compare looks at {other}"),
    };
    let (key, range_end) = keys(key);
    Compare { key, range_end, target, result }
}
