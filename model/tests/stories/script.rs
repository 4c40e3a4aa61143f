//! Reads the notation of `model::notation`, so that tests can be written in what evidence prints.
//!
//! A line of a history is `client from..to request -> answer`, with times in nanoseconds and `?` for the
//! return of an unknown outcome: `1 0..10 put a=1 -> @2`, `2 5..? delete a`.

use model::history::{History, Operation, Outcome, Stamp};
use model::kv::{Answer, Compare, CompareResult, KeyValue, Refusal, Request, Response, ResponseBody, Target};
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
    let input = request(asked);
    let outcome = if to == "?" {
        Outcome::Unknown
    } else {
        let at = Stamp { time_ns: to.parse().unwrap(), order: RETURNS + place };
        Outcome::Answered { at, output: answer(&input, answered) }
    };
    let invoke = Stamp { time_ns: from.parse().unwrap(), order: place };
    Operation { client: client.parse().unwrap(), invoke, input, outcome }
}

/// A request, such as `txn if mod(a)=0 then put a=1 else get a`.
pub(crate) fn request(text: &str) -> Request {
    let mut tokens = Tokens::of(text);
    let request = tokens.request();
    assert!(tokens.peek().is_none(), "left over in {text:?}: {:?}", tokens.peek());
    request
}

/// The answer to a request, such as `@5 a=1/2/5/3 more`. The count of a range may be left out where it is the
/// number of keys shown.
pub(crate) fn answer(request: &Request, text: &str) -> Answer {
    let mut tokens = Tokens::of(text);
    if tokens.take("refused") {
        return Err(match tokens.next().as_str() {
            "empty" => Refusal::EmptyKey,
            "many" => Refusal::TooManyOperations,
            "duplicate" => Refusal::DuplicateKey,
            "future" => Refusal::FutureRevision,
            "compacted" => Refusal::Compacted,
            other => panic!("no refusal is called {other}"),
        });
    }
    let response = tokens.response(request);
    assert!(tokens.peek().is_none(), "left over in {text:?}: {:?}", tokens.peek());
    Ok(response)
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

    fn request(&mut self) -> Request {
        match self.next().as_str() {
            "get" => {
                let (key, range_end) = keys(&self.next());
                let limit = if self.take("limit") { self.number() } else { 0 };
                let revision = if self.take("at") { self.number() } else { 0 };
                let (count_only, keys_only) = (self.take("count"), self.take("keys"));
                Request::Range { key, range_end, limit, revision, count_only, keys_only }
            }
            "put" => {
                let pair = self.next();
                let (key, value) = pair.split_once('=').unwrap();
                Request::Put { key: key.into(), value: value.into(), prev_kv: self.take("prev") }
            }
            "delete" => {
                let (key, range_end) = keys(&self.next());
                Request::DeleteRange { key, range_end, prev_kv: self.take("prev") }
            }
            "txn" => self.txn(),
            other => panic!("no request starts with {other:?}"),
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
        Request::Txn { compares, success, failure }
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
        let revision = self.next().strip_prefix('@').unwrap().parse().unwrap();
        let body = match request {
            Request::Range { .. } => {
                let kvs = self.key_values();
                let count = if self.take("count") { self.number() } else { kvs.len() as u64 };
                ResponseBody::Range { kvs, count, more: self.take("more") }
            }
            Request::Put { .. } => ResponseBody::Put { prev: self.key_values().pop() },
            Request::DeleteRange { .. } => {
                assert!(self.take("deleted"));
                ResponseBody::DeleteRange { deleted: self.number(), prev: self.key_values() }
            }
            Request::Txn { compares: _, success, failure } => {
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
            let [value, create_revision, mod_revision, version] = fields[..] else {
                panic!("not value/create/mod/version: {rest}")
            };
            found.push(KeyValue {
                key: key.into(),
                value: value.into(),
                create_revision: create_revision.parse().unwrap(),
                mod_revision: mod_revision.parse().unwrap(),
                version: version.parse().unwrap(),
            });
            self.place += 1;
        }
        found
    }
}

fn keys(text: &str) -> (Vec<u8>, Option<Vec<u8>>) {
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
    let number = || operand.parse().unwrap();
    let target = match what {
        "version" => Target::Version(number()),
        "create" => Target::CreateRevision(number()),
        "mod" => Target::ModRevision(number()),
        "value" => Target::Value(operand.into()),
        other => panic!("no compare looks at {other}"),
    };
    Compare { key: key.into(), target, result }
}
