//! What answers show of writes that nobody was told about.
//!
//! These are necessary conditions, so that most wrong fillings of a gap are never tried. What is missed here
//! the replay finds.

use std::collections::BTreeMap;

use super::placement::Placement;
use crate::effect::Effect;
use crate::kv::{DeleteRangeRequest, KeyValue, PutRequest, Request, Response, ResponseBody, TxnRequest};
use crate::specs::etcd::StoreOperation;

/// What a key held as of some revision, as an answer showed it.
#[derive(Clone, Copy)]
struct Observation<'a> {
    as_of: i64,
    by: usize,
    /// `None`: the key did not exist.
    seen: Option<Seen<'a>>,
}

#[derive(Clone, Copy)]
struct Seen<'a> {
    create_revision: i64,
    mod_revision: i64,
    /// `None` where the answer left the value out.
    value: Option<&'a [u8]>,
}

/// All observations of a history: necessary conditions on the write that made a revision.
#[derive(Default)]
pub(super) struct Observations<'a> {
    by_key: BTreeMap<&'a [u8], Vec<Observation<'a>>>,
    /// By revision: a key that its write must have put, and the answer that shows it.
    required: BTreeMap<i64, Vec<(&'a [u8], usize)>>,
}

/// How an operation saw the store.
#[derive(Clone, Copy)]
struct View {
    by: usize,
    revision: i64,
    /// The operation made `revision` itself, so what it found was the state before, or its own doing.
    wrote: bool,
    in_transaction: bool,
}

impl<'a> Observations<'a> {
    /// Collects what the placed operations show.
    pub(super) fn of(operations: &'a [StoreOperation], placement: &Placement) -> Observations<'a> {
        let mut observations = Observations::default();
        let placed = placement.writes.values().chain(placement.groups.values().flatten());
        for index in placed {
            let operation = &operations[*index];
            let response = operation.outcome.output().and_then(|result| result.as_ref().ok()?.kv());
            if let (Some(request), Some(response)) = (operation.input.kv(), response) {
                let wrote = response.body.wrote();
                let view = View { by: *index, revision: response.revision, wrote, in_transaction: false };
                observations.collect(request, response, view);
            }
        }
        for found in observations.by_key.values_mut() {
            found.sort_by_key(|observation| observation.as_of);
        }
        observations
    }

    /// Why a write with these effects cannot have made `revision`, if an answer contradicts it.
    pub(super) fn contradiction(&self, revision: i64, effects: &[Effect]) -> Option<String> {
        for (key, by) in self.required.get(&revision).into_iter().flatten() {
            let puts = |effect: &Effect| matches!(effect, Effect::Put { key: put, value: _ } if put == key);
            if !effects.iter().any(puts) {
                let key = key.escape_ascii();
                return Some(format!("#{by} shows that revision {revision} put {key}, which it does not"));
            }
        }
        effects.iter().find_map(|effect| self.contradicted_effect(revision, effect))
    }

    fn contradicted_effect(&self, revision: i64, effect: &Effect) -> Option<String> {
        // Whether it is a put, and the value where that is known.
        let (key, put, value) = match effect {
            Effect::Put { key, value } => (key, true, value.as_deref()),
            Effect::Deletion { key } | Effect::Deletions { key, range_end: None, count: _ } => {
                (key, false, None)
            }
            Effect::Deletions { key: _, range_end: Some(_), count: _ } => return None,
        };
        let Observation { as_of, by, seen } = self.first_from(key, revision)?;
        let seen = seen?;
        let lasted = if put { seen.mod_revision } else { seen.create_revision };
        let key = key.escape_ascii();
        if lasted < revision {
            return Some(format!("#{by} shows that {key} was as revision {lasted} left it until {as_of}"));
        }
        let other = matches!((seen.value, value), (Some(seen), Some(value)) if seen != value);
        (seen.mod_revision == revision && other)
            .then(|| format!("#{by} shows another value of {key} at revision {revision}"))
    }

    /// The first observation of a key as of a revision or later.
    fn first_from(&self, key: &[u8], revision: i64) -> Option<Observation<'a>> {
        let found = self.by_key.get(key)?;
        found.get(found.partition_point(|observation| observation.as_of < revision)).copied()
    }

    fn collect(&mut self, request: &'a Request, response: &'a Response, view: View) {
        match (request, &response.body) {
            (Request::Range(range), ResponseBody::Range { kvs, .. }) => {
                let past = range.revision > 0;
                for found in kvs {
                    let value = if range.keys_only { None } else { Some(found.value.as_slice()) };
                    if past {
                        self.saw(view.by, range.revision, found, value);
                    } else {
                        self.saw_current(view, found, value);
                    }
                }
                let single = range.range_end.as_ref().is_none_or(Vec::is_empty);
                let untouched = past || !view.wrote;
                if single && kvs.is_empty() && !range.count_only && !range.is_filtered() && untouched {
                    let as_of = if past { range.revision } else { view.revision };
                    self.saw_nothing(view.by, as_of, &range.key);
                }
            }
            (Request::Put(PutRequest { key, prev_kv, .. }), ResponseBody::Put { prev }) => match prev {
                Some(prev) => self.saw_current(view, prev, Some(&prev.value)),
                None if *prev_kv && !view.in_transaction => self.saw_nothing(view.by, view.revision - 1, key),
                None => {}
            },
            (
                Request::DeleteRange(DeleteRangeRequest { .. }),
                ResponseBody::DeleteRange { deleted: _, prev },
            ) => {
                for prev in prev {
                    self.saw_current(view, prev, Some(&prev.value));
                }
            }
            (
                Request::Txn(TxnRequest { compares: _, success, failure }),
                ResponseBody::Txn { succeeded, responses },
            ) => {
                let taken = if *succeeded { success } else { failure };
                for (request, response) in taken.iter().zip(responses) {
                    self.collect(request, response, View { in_transaction: true, ..view });
                }
            }
            // An answer of another kind than its request is found illegal where it is replayed.
            (
                Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) | Request::Txn(_),
                ResponseBody::Range { .. }
                | ResponseBody::Put { .. }
                | ResponseBody::DeleteRange { .. }
                | ResponseBody::Txn { .. },
            ) => {}
        }
    }

    /// A key as the operation found it; its own writes show nothing of others.
    fn saw_current(&mut self, view: View, found: &'a KeyValue, value: Option<&'a [u8]>) {
        let own = view.wrote && found.mod_revision == view.revision;
        if !own {
            let as_of = view.revision - i64::from(view.wrote);
            self.saw(view.by, as_of, found, value);
        }
    }

    fn saw(&mut self, by: usize, as_of: i64, found: &'a KeyValue, value: Option<&'a [u8]>) {
        let KeyValue { key, create_revision, mod_revision, .. } = found;
        let seen = Seen { create_revision: *create_revision, mod_revision: *mod_revision, value };
        self.by_key.entry(key).or_default().push(Observation { as_of, by, seen: Some(seen) });
        for revision in [*create_revision, *mod_revision] {
            self.required.entry(revision).or_default().push((key, by));
        }
    }

    fn saw_nothing(&mut self, by: usize, as_of: i64, key: &'a [u8]) {
        self.by_key.entry(key).or_default().push(Observation { as_of, by, seen: None });
    }
}
