//! The store as it would be without an engine: the whole content at every revision, each a map, and everything
//! that ever happened. Compaction changes only what is refused.

use std::collections::BTreeMap;

use super::admission::check;
use super::{LEASE_TTL_MAX_S, LEASE_TTL_MIN_S};
use crate::api::{
    Answer, Command, Compare, CompareResult, Event, EventKind, KeyValue, RangeRequest, Refusal, Request,
    Response, ResponseBody, SortOrder, SortTarget, Target, TxnRequest,
};

type State = BTreeMap<Vec<u8>, KeyValue>;

/// The states at the revisions from zero on; the last is the current one.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    states: Vec<State>,
    /// Every write: the key as it is from then on, its version zero where it is deleted.
    writes: Vec<KeyValue>,
    /// Granted and remaining seconds, by id.
    pub(super) leases: BTreeMap<i64, (i64, i64)>,
    pub(super) compacted: i64,
    has_alarm: bool,
}

/// A request on its way: the state so far, and what was written.
struct Attempt {
    now: State,
    writes: Vec<KeyValue>,
}

impl Reference {
    pub(super) fn new() -> Reference {
        Reference {
            states: vec![State::new(), State::new()],
            writes: vec![],
            leases: BTreeMap::new(),
            compacted: -1,
            has_alarm: false,
        }
    }

    pub(super) fn revision(&self) -> i64 {
        self.states.len() as i64 - 1
    }

    pub(super) fn state(&self, revision: i64) -> Vec<KeyValue> {
        self.states[revision as usize].values().cloned().collect()
    }

    /// The keys of a lease, ascending.
    pub(super) fn keys_of(&self, lease: i64) -> Vec<Vec<u8>> {
        let current = self.states.last().unwrap().values();
        current.filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
    }

    /// All events from `from` on; those at the compacted revision only as far as nothing came after them there.
    pub(super) fn events(&self, from: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for (place, kv) in self.writes.iter().enumerate() {
            let main = kv.mod_revision;
            let mut later = self.writes[place + 1..].iter().take_while(|later| later.mod_revision == main);
            let is_put = kv.version > 0;
            // Of a key that is deleted and put again at the boundary both are kept, as they end two lives.
            let is_covered = later.any(|later| later.key == kv.key && (is_put || later.version == 0));
            if main < from || main == self.compacted && is_covered {
                continue;
            }
            let before = self.states[main as usize - 1].get(&kv.key).cloned();
            let is_created = is_put && kv.create_revision == main;
            events.push(Event {
                kind: if is_put { EventKind::Put } else { EventKind::Delete },
                kv: kv.clone(),
                prev_kv: before.filter(|_| main > self.compacted && !is_created),
            });
        }
        events
    }

    /// `None` where nobody waits for an answer.
    pub(super) fn command(&mut self, command: &Command) -> Option<Result<Answer, Refusal>> {
        match command {
            Command::Kv(request) => Some(self.apply(request).map(Answer::Kv)),
            Command::Compact { revision } => Some(self.compact(*revision)),
            Command::LeaseGrant { id, ttl_s } => Some(self.grant(*id, *ttl_s)),
            Command::LeaseRevoke { id } => Some(self.revoke(*id)),
            Command::LeaseCheckpoint { remaining } => {
                for (id, left) in remaining {
                    self.leases.entry(*id).and_modify(|(_, remaining)| *remaining = *left);
                }
                None
            }
            Command::Alarm { member: _, activate } => {
                self.has_alarm = *activate;
                if *activate { None } else { Some(Ok(Answer::AlarmDisarm)) }
            }
        }
    }

    fn compact(&mut self, revision: i64) -> Result<Answer, Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision() {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = revision;
        Ok(Answer::Compact { revision: self.revision() })
    }

    fn grant(&mut self, id: i64, ttl_s: i64) -> Result<Answer, Refusal> {
        if self.has_alarm {
            return Err(Refusal::NoSpace);
        }
        if id == 0 {
            return Err(Refusal::LeaseNotFound);
        }
        if ttl_s > LEASE_TTL_MAX_S {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Refusal::LeaseExists);
        }
        let ttl_s = ttl_s.max(LEASE_TTL_MIN_S);
        self.leases.insert(id, (ttl_s, 0));
        Ok(Answer::LeaseGrant { revision: self.revision(), id, ttl_s })
    }

    fn revoke(&mut self, id: i64) -> Result<Answer, Refusal> {
        if self.leases.remove(&id).is_none() {
            return Err(Refusal::LeaseNotFound);
        }
        let mut attempt = self.attempt();
        self.keys_of(id).iter().for_each(|key| self.delete(key, &mut attempt));
        self.keep(attempt);
        Ok(Answer::LeaseRevoke { revision: self.revision() })
    }

    pub(super) fn apply(&mut self, request: &Request) -> Result<Response, Refusal> {
        check(request)?;
        let puts = |requests: &[Request]| requests.iter().any(|request| matches!(request, Request::Put(_)));
        let takes_space = match request {
            Request::Put(_) => true,
            Request::Range(_) | Request::DeleteRange(_) => false,
            Request::Txn(txn) => puts(&txn.success) || puts(&txn.failure),
        };
        if self.has_alarm && takes_space {
            return Err(Refusal::NoSpace);
        }
        match request {
            Request::Txn(_) => {
                self.check_puts(request)?;
                self.check_ranges(request)?;
            }
            Request::Range(range) => self.check_revision(range.revision.max(0))?,
            Request::Put(put) if put.lease != 0 && !self.leases.contains_key(&put.lease) => {
                return Err(Refusal::LeaseNotFound);
            }
            Request::Put(_) => self.check_puts(request)?,
            Request::DeleteRange(_) => {}
        }
        let mut attempt = self.attempt();
        let mut response = self.carry_out(request, &mut attempt)?;
        response.revision = self.seen(&attempt);
        self.keep(attempt);
        Ok(response)
    }

    fn attempt(&self) -> Attempt {
        Attempt { now: self.states.last().unwrap().clone(), writes: vec![] }
    }

    fn keep(&mut self, attempt: Attempt) {
        if !attempt.writes.is_empty() {
            self.states.push(attempt.now);
            self.writes.extend(attempt.writes);
        }
    }

    fn seen(&self, attempt: &Attempt) -> i64 {
        self.revision() + i64::from(!attempt.writes.is_empty())
    }

    fn taken<'a>(&self, txn: &'a TxnRequest) -> &'a [Request] {
        let before = self.states.last().unwrap();
        let succeeded = txn.compares.iter().all(|compare| holds(compare, before));
        if succeeded { &txn.success } else { &txn.failure }
    }

    fn check_puts(&self, request: &Request) -> Result<(), Refusal> {
        match request {
            Request::Txn(txn) => self.taken(txn).iter().try_for_each(|request| self.check_puts(request)),
            Request::Put(put) => {
                let exists = self.states.last().unwrap().contains_key(&put.key);
                if (put.ignore_value || put.ignore_lease) && !exists {
                    return Err(Refusal::KeyNotFound);
                }
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Err(Refusal::LeaseNotFound);
                }
                Ok(())
            }
            Request::Range(_) | Request::DeleteRange(_) => Ok(()),
        }
    }

    fn check_ranges(&self, request: &Request) -> Result<(), Refusal> {
        match request {
            Request::Txn(txn) => self.taken(txn).iter().try_for_each(|request| self.check_ranges(request)),
            Request::Range(range) => self.check_revision(range.revision),
            Request::Put(_) | Request::DeleteRange(_) => Ok(()),
        }
    }

    fn check_revision(&self, revision: i64) -> Result<(), Refusal> {
        if revision > self.revision() {
            Err(Refusal::FutureRevision)
        } else if revision != 0 && revision < self.compacted {
            Err(Refusal::Compacted)
        } else {
            Ok(())
        }
    }

    fn carry_out(&self, request: &Request, attempt: &mut Attempt) -> Result<Response, Refusal> {
        let body = match request {
            Request::Range(range) => self.range(range, attempt),
            Request::Put(put) => {
                let revision = self.revision() + 1;
                let prev = attempt.now.get(&put.key).cloned();
                let mut kv = KeyValue {
                    key: put.key.clone(),
                    value: put.value.clone(),
                    create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
                    mod_revision: revision,
                    version: prev.as_ref().map_or(1, |prev| prev.version + 1),
                    lease: put.lease,
                };
                if put.ignore_value {
                    kv.value = prev.as_ref().ok_or(Refusal::KeyNotFound)?.value.clone();
                }
                if put.ignore_lease {
                    kv.lease = prev.as_ref().ok_or(Refusal::KeyNotFound)?.lease;
                }
                attempt.now.insert(put.key.clone(), kv.clone());
                attempt.writes.push(kv);
                ResponseBody::Put { prev: prev.filter(|_| put.prev_kv) }
            }
            Request::DeleteRange(delete) => {
                let found = inside(&attempt.now, &delete.key, &delete.range_end);
                found.iter().for_each(|kv| self.delete(&kv.key, attempt));
                let deleted = found.len() as u64;
                ResponseBody::DeleteRange { deleted, prev: if delete.prev_kv { found } else { vec![] } }
            }
            Request::Txn(txn) => {
                let taken = self.taken(txn);
                let succeeded =
                    txn.compares.iter().all(|compare| holds(compare, self.states.last().unwrap()));
                let responses =
                    taken.iter().map(|request| self.carry_out(request, attempt)).collect::<Result<_, _>>()?;
                return Ok(Response { revision: 0, body: ResponseBody::Txn { succeeded, responses } });
            }
        };
        Ok(Response { revision: self.seen(attempt), body })
    }

    fn delete(&self, key: &[u8], attempt: &mut Attempt) {
        attempt.now.remove(key).unwrap();
        let mod_revision = self.revision() + 1;
        attempt.writes.push(KeyValue { key: key.to_vec(), mod_revision, ..nothing() });
    }

    fn range(&self, range: &RangeRequest, attempt: &Attempt) -> ResponseBody {
        let state = if range.revision > 0 { &self.states[range.revision as usize] } else { &attempt.now };
        let mut kvs = inside(state, &range.key, &range.range_end);
        let count = kvs.len() as u64;
        if range.count_only {
            return ResponseBody::Range { kvs: vec![], count, more: false };
        }
        let limit = if range.limit == 0 { usize::MAX } else { range.limit as usize };
        let filters = [
            range.min_mod_revision,
            range.max_mod_revision,
            range.min_create_revision,
            range.max_create_revision,
        ];
        if range.sort_order == SortOrder::None && filters == [0; 4] {
            kvs.truncate(limit.saturating_add(1));
        }
        let inside = |value: i64, min: i64, max: i64| value >= min && (max == 0 || value <= max);
        kvs.retain(|kv| {
            inside(kv.mod_revision, range.min_mod_revision, range.max_mod_revision)
                && inside(kv.create_revision, range.min_create_revision, range.max_create_revision)
        });
        match range.sort_target {
            SortTarget::Key => kvs.sort_by_key(|kv| kv.key.clone()),
            SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
            SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
            SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
            SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
        }
        if range.sort_order == SortOrder::Descend {
            // Equal ones keep their order, so the list cannot just be turned round.
            kvs.reverse();
            let same = |a: &KeyValue, b: &KeyValue| match range.sort_target {
                SortTarget::Key => a.key == b.key,
                SortTarget::Version => a.version == b.version,
                SortTarget::Create => a.create_revision == b.create_revision,
                SortTarget::Mod => a.mod_revision == b.mod_revision,
                SortTarget::Value => a.value == b.value,
            };
            kvs.chunk_by_mut(same).for_each(<[KeyValue]>::reverse);
        }
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        ResponseBody::Range { kvs, count, more }
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

fn nothing() -> KeyValue {
    KeyValue { key: vec![], value: vec![], create_revision: 0, mod_revision: 0, version: 0, lease: 0 }
}

fn holds(compare: &Compare, state: &State) -> bool {
    let found = inside(state, &compare.key, &compare.range_end);
    if found.is_empty() {
        return !matches!(compare.target, Target::Value(_)) && holds_for(compare, &nothing());
    }
    found.iter().all(|kv| holds_for(compare, kv))
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let ordering = match &compare.target {
        Target::Version(operand) => kv.version.cmp(operand),
        Target::CreateRevision(operand) => kv.create_revision.cmp(operand),
        Target::ModRevision(operand) => kv.mod_revision.cmp(operand),
        Target::Value(operand) => kv.value.cmp(operand),
        Target::Lease(operand) => kv.lease.cmp(operand),
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::NotEqual => ordering.is_ne(),
    }
}
