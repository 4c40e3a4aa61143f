//! The store as it would be without an engine: the whole content at every revision, each a map.

use std::collections::BTreeMap;

use super::admission::check;
use crate::api::{Compare, CompareResult, KeyValue, Refusal, Request, Response, ResponseBody, Target};

type State = BTreeMap<Vec<u8>, KeyValue>;

/// The states at the revisions from zero on; the last is the current one.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    states: Vec<State>,
}

impl Reference {
    pub(super) fn new() -> Reference {
        Reference { states: vec![State::new(), State::new()] }
    }

    pub(super) fn revision(&self) -> i64 {
        self.states.len() as i64 - 1
    }

    pub(super) fn apply(&mut self, request: &Request) -> Result<Response, Refusal> {
        check(request)?;
        let before = self.states.last().unwrap().clone();
        self.check_revisions(request, &before)?;
        let mut now = before.clone();
        let mut wrote = false;
        let mut response = self.carry_out(request, &before, &mut now, &mut wrote);
        response.revision = self.revision() + i64::from(wrote);
        if wrote {
            self.states.push(now);
        }
        Ok(response)
    }

    fn check_revisions(&self, request: &Request, before: &State) -> Result<(), Refusal> {
        match request {
            Request::Range { revision, .. } if *revision > self.revision() => Err(Refusal::FutureRevision),
            Request::Range { .. } | Request::Put { .. } | Request::DeleteRange { .. } => Ok(()),
            Request::Txn { compares, success, failure } => {
                let taken =
                    if compares.iter().all(|compare| holds(compare, before)) { success } else { failure };
                taken.iter().try_for_each(|request| self.check_revisions(request, before))
            }
        }
    }

    fn carry_out(&self, request: &Request, before: &State, now: &mut State, wrote: &mut bool) -> Response {
        let body = match request {
            Request::Range { key, range_end, limit, revision, count_only, keys_only } => {
                let state = if *revision > 0 { &self.states[*revision as usize] } else { &*now };
                let mut kvs = inside(state, key, range_end);
                let count = kvs.len() as u64;
                let mut more = false;
                if *limit > 0 && *limit < count {
                    kvs.truncate(*limit as usize);
                    more = true;
                }
                if *count_only {
                    (kvs, more) = (vec![], false);
                }
                if *keys_only {
                    kvs.iter_mut().for_each(|kv| kv.value.clear());
                }
                ResponseBody::Range { kvs, count, more }
            }
            Request::Put { key, value, prev_kv } => {
                let revision = self.revision() + 1;
                let prev = now.get(key).cloned();
                let (create_revision, version) =
                    prev.as_ref().map_or((revision, 1), |prev| (prev.create_revision, prev.version + 1));
                let kv = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision,
                    mod_revision: revision,
                    version,
                };
                now.insert(key.clone(), kv);
                *wrote = true;
                ResponseBody::Put { prev: prev.filter(|_| *prev_kv) }
            }
            Request::DeleteRange { key, range_end, prev_kv } => {
                let found = inside(now, key, range_end);
                for kv in &found {
                    now.remove(&kv.key);
                    *wrote = true;
                }
                let deleted = found.len() as u64;
                ResponseBody::DeleteRange { deleted, prev: if *prev_kv { found } else { vec![] } }
            }
            Request::Txn { compares, success, failure } => {
                let succeeded = compares.iter().all(|compare| holds(compare, before));
                let taken = if succeeded { success } else { failure };
                let responses =
                    taken.iter().map(|request| self.carry_out(request, before, now, wrote)).collect();
                return Response { revision: 0, body: ResponseBody::Txn { succeeded, responses } };
            }
        };
        Response { revision: self.revision() + i64::from(*wrote), body }
    }
}

fn inside(state: &State, key: &[u8], range_end: &Option<Vec<u8>>) -> Vec<KeyValue> {
    let is_inside = |candidate: &[u8]| match range_end.as_deref() {
        None | Some([]) => candidate == key,
        Some([0]) => candidate >= key,
        Some(end) => candidate >= key && candidate < end,
    };
    state.values().filter(|kv| is_inside(&kv.key)).cloned().collect()
}

fn holds(compare: &Compare, state: &State) -> bool {
    let nothing = KeyValue { key: vec![], value: vec![], create_revision: 0, mod_revision: 0, version: 0 };
    let found = state.get(&compare.key);
    let kv = found.unwrap_or(&nothing);
    let ordering = match &compare.target {
        Target::Version(operand) => kv.version.cmp(operand),
        Target::CreateRevision(operand) => kv.create_revision.cmp(operand),
        Target::ModRevision(operand) => kv.mod_revision.cmp(operand),
        Target::Value(_) if found.is_none() => return false,
        Target::Value(operand) => kv.value.cmp(operand),
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::NotEqual => ordering.is_ne(),
    }
}
