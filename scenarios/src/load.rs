//! The clients' load, drawn from a seed: bursts and pauses, some kinds of operations switched off.

use crate::generate::{CLIENTS, KEYS, LOAD_MS, small, stream};
use crate::plan::{Action, PlannedOperation};
use crate::planned_request::{
    PlannedCompare, PlannedDelete, PlannedPut, PlannedRange, PlannedRequest, PlannedTarget, PlannedTxn,
};
use cluster::api::{CompareResult, SortOrder, SortTarget};
use sim::entropy::{Entropy, Ratio};

/// Operations of a run, about.
const OPERATIONS: u64 = 500;
/// How far below what a client knows the past revisions lie that it asks for.
const BEHIND: u64 = 30;
/// How many of the leases granted last are still spoken of.
const LEASES_IN_USE: u32 = 6;
/// How deep transactions are nested.
const NESTED_MAX: u32 = 2;

/// A kind of operations, which a seed has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Get,
    CompareAndSet,
    Scan,
    Delete,
    PutTwo,
    /// Reads in every way that there is, of the current revision.
    Range,
    /// The same, of past revisions.
    PastRange,
    /// The same, from any replica.
    Serializable,
    /// Writes in every way that there is.
    AnyPut,
    /// Deletions likewise.
    AnyDelete,
    Txn,
    Compact,
    Lease,
    /// Questions about the store.
    Look,
    /// Work on one replica's store, and the end of alarms.
    Maintain,
}

/// Every kind with its weight. The first two are never switched off.
const KINDS: [(Kind, u64); 16] = [
    (Kind::Put, 5),
    (Kind::Get, 5),
    (Kind::CompareAndSet, 3),
    (Kind::Scan, 2),
    (Kind::Delete, 3),
    (Kind::PutTwo, 2),
    (Kind::Range, 2),
    (Kind::PastRange, 2),
    (Kind::Serializable, 2),
    (Kind::AnyPut, 3),
    (Kind::AnyDelete, 1),
    (Kind::Txn, 4),
    (Kind::Compact, 1),
    (Kind::Lease, 4),
    (Kind::Look, 1),
    (Kind::Maintain, 1),
];

/// The load of a seed, in the order of time.
pub(crate) fn operations(seed: u64) -> Vec<PlannedOperation> {
    let mut entropy = stream(seed, "operations");
    let is_on = |(place, _): &(usize, (Kind, u64))| *place < 2 || entropy.chance(Ratio::percent(75));
    let kinds: Vec<Kind> = KINDS
        .into_iter()
        .enumerate()
        .filter(is_on)
        .flat_map(|(_, (kind, weight))| (0..weight).map(move |_| kind))
        .collect();
    let mut times: Vec<u64> = (0..OPERATIONS).map(|_| 500 + entropy.below(LOAD_MS - 1_000)).collect();
    times.sort_unstable();
    let mut load =
        Load { leases: 0, with_leases: kinds.contains(&Kind::Lease), operations: OPERATIONS, entropy };
    let operation = |at_ms| {
        let client = small(load.entropy.below(CLIENTS));
        let kind = *load.entropy.choose(&kinds);
        PlannedOperation { at_ms, client, action: load.action(kind) }
    };
    times.into_iter().map(operation).collect()
}

/// Draws operations in the order of time.
pub(crate) struct Load {
    pub(crate) entropy: Entropy,
    /// Leases asked for so far: the numbers below are theirs.
    pub(crate) leases: u32,
    /// Whether keys are attached to leases at all.
    pub(crate) with_leases: bool,
    /// How many operations the plan has, about.
    pub(crate) operations: u64,
}

impl Load {
    fn action(&mut self, kind: Kind) -> Action {
        match kind {
            Kind::Put => Action::Put { key: self.key(), bytes: self.bytes() },
            Kind::Get => Action::Get { key: self.key() },
            Kind::CompareAndSet => Action::CompareAndSet { key: self.key(), bytes: self.bytes() },
            Kind::Scan => {
                let (from, count) = (self.key(), 1 + self.below(8));
                Action::Scan { from, to: from + count, limit: self.below(4) }
            }
            Kind::Delete if self.percent(15) => {
                let from = self.key();
                Action::DeleteRange { from, to: from + 1 + self.below(4) }
            }
            Kind::Delete => Action::Delete { key: self.key() },
            Kind::PutTwo => {
                let first = self.key();
                Action::PutTwo { first, second: (first + 1) % small(KEYS), bytes: self.bytes() }
            }
            Kind::Range => ask(PlannedRequest::Range(self.range())),
            Kind::PastRange => ask(PlannedRequest::Range(self.past_range())),
            Kind::Serializable => self.serializable(),
            Kind::AnyPut => ask(PlannedRequest::Put(self.put(None, true))),
            Kind::AnyDelete => ask(PlannedRequest::Delete(self.delete())),
            Kind::Txn => ask(PlannedRequest::Txn(self.txn())),
            Kind::Compact => self.compact(),
            Kind::Lease => self.lease(),
            Kind::Look => self.look(),
            Kind::Maintain => self.maintain(),
        }
    }

    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.entropy.chance(Ratio::percent(percent))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u32 {
        small(self.entropy.below(bound))
    }

    pub(crate) fn key(&mut self) -> u32 {
        self.below(KEYS)
    }

    fn bytes(&mut self) -> u32 {
        if self.percent(5) { 4_000 } else { 20 + self.below(300) }
    }

    /// A replica; the plan may have fewer, then it is one of those.
    fn replica(&mut self) -> u64 {
        1 + self.entropy.below(3)
    }

    /// The end of a range of keys, or none.
    fn to(&mut self, from: u32) -> Option<u32> {
        self.percent(70).then(|| from + 1 + self.below(12))
    }

    fn behind(&mut self) -> i64 {
        -i64::from(self.below(BEHIND))
    }

    /// A revision that is sometimes yet to come.
    fn about_now(&mut self) -> i64 {
        if self.percent(10) { 1 + i64::from(self.below(5)) } else { self.behind() }
    }

    fn range(&mut self) -> PlannedRange {
        let from = self.key();
        let mut range = PlannedRange { from, to: self.to(from), ..PlannedRange::default() };
        if self.percent(50) {
            range.limit = u64::from(1 + self.below(4));
        }
        if self.percent(50) {
            range.order = *self.entropy.choose(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
            let targets = [
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::Create,
                SortTarget::Mod,
                SortTarget::Value,
            ];
            range.by = *self.entropy.choose(&targets);
        }
        range.keys_only = self.percent(15);
        range.count_only = self.percent(10);
        for bound in [&mut range.mod_from, &mut range.mod_to, &mut range.create_from, &mut range.create_to] {
            if self.entropy.chance(Ratio::percent(10)) {
                *bound = Some(-i64::from(small(self.entropy.below(BEHIND))));
            }
        }
        range
    }

    pub(crate) fn past_range(&mut self) -> PlannedRange {
        let at = Some(self.about_now());
        PlannedRange { at, ..self.range() }
    }

    /// A read from any replica; sometimes a transaction of such.
    pub(crate) fn serializable(&mut self) -> Action {
        let past = self.percent(30);
        let read = |load: &mut Self| {
            let range = if past { load.past_range() } else { load.range() };
            PlannedRequest::Range(PlannedRange { serializable: true, ..range })
        };
        let request = if self.percent(15) {
            let compares = vec![self.compare()];
            PlannedRequest::Txn(PlannedTxn {
                compares,
                then: vec![read(self), read(self)],
                otherwise: vec![read(self)],
            })
        } else {
            read(self)
        };
        Action::Ask { request, replica: Some(self.replica()) }
    }

    /// A put. What may be kept is what is there: see [`Load::txn`].
    fn put(&mut self, key: Option<u32>, may_keep: bool) -> PlannedPut {
        let key = key.unwrap_or_else(|| self.key());
        let ignore_value = may_keep && self.percent(25);
        let ignore_lease = may_keep && self.percent(25);
        // To give what is to be kept is refused.
        let gives_both = self.percent(3);
        PlannedPut {
            key,
            bytes: if ignore_value && !gives_both { 0 } else { self.bytes() },
            lease: (self.with_leases && (!ignore_lease || gives_both) && self.percent(40))
                .then(|| self.known_lease())
                .flatten(),
            prev_kv: self.percent(50),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> PlannedDelete {
        let from = self.key();
        let to = self.percent(50).then(|| from + 1 + self.below(4));
        PlannedDelete { from, to, prev_kv: self.percent(50) }
    }

    fn compare(&mut self) -> PlannedCompare {
        let from = self.key();
        let relations =
            [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
        let of = match self.below(6) {
            0 => PlannedTarget::Version(i64::from(self.below(4))),
            1 => PlannedTarget::Create(self.behind()),
            2 => PlannedTarget::Mod(self.behind()),
            3 => PlannedTarget::ModAsSeen,
            4 => PlannedTarget::Value(self.below(self.operations) as usize),
            _ => PlannedTarget::Lease(self.known_lease().filter(|_| self.percent(70))),
        };
        let to = self.percent(20).then(|| from + 1 + self.below(4));
        PlannedCompare { from, to, is: *self.entropy.choose(&relations), of }
    }

    /// A transaction. One that deletes a key and then puts it, keeping its value or its lease, makes etcd panic where
    /// the deletion hides behind a nested one; so a transaction either deletes or keeps.
    pub(crate) fn txn(&mut self) -> PlannedTxn {
        let mut keys: Vec<u32> = (0..small(KEYS)).collect();
        self.entropy.shuffle(&mut keys);
        let keeps = self.percent(30);
        self.txn_over(&mut keys, keeps, 0)
    }

    /// A transaction whose writes take their keys from `keys`, since none may be written twice.
    fn txn_over(&mut self, keys: &mut Vec<u32>, keeps: bool, depth: u32) -> PlannedTxn {
        let compares = (0..self.below(3)).map(|_| self.compare()).collect();
        let mut list = |load: &mut Self| {
            let count = load.below(4);
            (0..count).map(|_| load.part(keys, keeps, depth)).collect()
        };
        let (then, otherwise) = (list(self), list(self));
        PlannedTxn { compares, then, otherwise }
    }

    fn part(&mut self, keys: &mut Vec<u32>, keeps: bool, depth: u32) -> PlannedRequest {
        // Now and then a key is written twice, and the whole is refused.
        let key = if self.percent(2) { None } else { keys.pop() };
        match self.below(10) {
            0..=3 => PlannedRequest::Put(self.put(key, keeps)),
            4 | 5 if !keeps => {
                let from = key.unwrap_or(0);
                PlannedRequest::Delete(PlannedDelete { from, to: None, prev_kv: self.percent(50) })
            }
            6 => PlannedRequest::Range(self.past_range()),
            7 if depth < NESTED_MAX => PlannedRequest::Txn(self.txn_over(keys, keeps, depth + 1)),
            _ => PlannedRequest::Range(self.range()),
        }
    }

    fn compact(&mut self) -> Action {
        Action::Compact { behind: self.entropy.below(BEHIND), physical: self.percent(30) }
    }

    /// One of the leases granted last.
    fn known_lease(&mut self) -> Option<u32> {
        let oldest = self.leases.saturating_sub(LEASES_IN_USE);
        (self.leases > 0).then(|| oldest + self.below((self.leases - oldest).into()))
    }

    fn lease(&mut self) -> Action {
        let Some(lease) = self.known_lease().filter(|_| self.percent(75)) else {
            return self.grant();
        };
        match self.below(12) {
            0..=4 => Action::LeaseKeepAlive { lease },
            5 => Action::LeaseRevoke { lease },
            6 => Action::LeaseTimeToLive { lease, keys: self.percent(50) },
            _ => {
                let put = PlannedPut { lease: Some(lease), ..self.put(None, false) };
                ask(PlannedRequest::Put(put))
            }
        }
    }

    fn grant(&mut self) -> Action {
        // Now and then one that is there already.
        let lease = self.known_lease().filter(|_| self.percent(5)).unwrap_or(self.leases);
        self.leases = self.leases.max(lease + 1);
        Action::LeaseGrant { lease, ttl_s: 1 + i64::from(self.below(12)), server_chooses: self.percent(30) }
    }

    fn look(&mut self) -> Action {
        match self.below(5) {
            0 => Action::Leases,
            1 => Action::Status { replica: self.replica() },
            2 => Action::HashKv { behind: None },
            _ => Action::HashKv { behind: Some(self.entropy.below(BEHIND)) },
        }
    }

    fn maintain(&mut self) -> Action {
        if self.percent(50) { Action::AlarmDisarm } else { Action::Defragment { replica: self.replica() } }
    }
}

/// Asks whoever leads.
pub(crate) fn ask(request: PlannedRequest) -> Action {
    Action::Ask { request, replica: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a request deletes anywhere, and whether it keeps value or lease of a key anywhere.
    fn deletes_and_keeps(request: &PlannedRequest) -> (bool, bool) {
        match request {
            PlannedRequest::Range(_) => (false, false),
            PlannedRequest::Delete(_) => (true, false),
            PlannedRequest::Put(put) => (false, put.ignore_value || put.ignore_lease),
            PlannedRequest::Txn(PlannedTxn { compares: _, then, otherwise }) => {
                let parts = then.iter().chain(otherwise).map(deletes_and_keeps);
                parts.fold((false, false), |all, part| (all.0 | part.0, all.1 | part.1))
            }
        }
    }

    #[test]
    fn no_transaction_deletes_a_key_and_keeps_what_one_had() {
        let (mut deleting, mut keeping) = (0, 0);
        for operation in (1..=60).flat_map(operations) {
            let Action::Ask { request, .. } = operation.action else { continue };
            let (deletes, keeps) = deletes_and_keeps(&request);
            assert!(!(deletes && keeps), "{request:?}");
            deleting += u32::from(deletes);
            keeping += u32::from(keeps);
        }
        assert!(deleting > 100 && keeping > 100, "{deleting} delete, {keeping} keep");
    }

    #[test]
    fn leases_are_asked_for_before_they_are_spoken_of() {
        for seed in 1..=60 {
            let mut granted = 0;
            for operation in operations(seed) {
                match operation.action {
                    Action::LeaseGrant { lease, .. } => granted = granted.max(lease + 1),
                    Action::LeaseKeepAlive { lease }
                    | Action::LeaseRevoke { lease }
                    | Action::LeaseTimeToLive { lease, .. } => assert!(lease < granted, "seed {seed}"),
                    _ => {}
                }
            }
        }
    }
}
