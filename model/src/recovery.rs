//! One store after one crash: may it hold what it holds, given what it was asked and what it promised?
//!
//! A store is asked for *changes*, one after the other. After a crash each of them has survived or has not.
//! Those that were promised durable must have; a change that was promised atomic has survived as a whole or not
//! at all; where the order was promised, no atomic change has survived without all atomic ones before it. What is
//! not atomic, as the removal of a whole space, has no place in that order. Every value is written once, so what a
//! key holds says which change survived.
//!
//! The search goes from the last change to the first and takes every change that agrees with what was found.
//! That is exact: a change that agrees settles only keys that it explains, so leaving it out could never help
//! an earlier one.

use std::collections::{BTreeMap, BTreeSet};

/// A key in a keyspace, tree or table.
pub type Key = (String, Vec<u8>);

/// Everything a store holds.
pub type Contents = BTreeMap<Key, Vec<u8>>;

/// What one change does to keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Gives a key a value.
    Put(Key, Vec<u8>),
    /// Removes a key.
    Delete(Key),
    /// Removes the keys of a space from `start` on, up to but without `end`.
    DeleteRange {
        /// The space.
        space: String,
        /// The first key.
        start: Vec<u8>,
        /// The first key that stays.
        end: Vec<u8>,
    },
    /// Removes every key of a space.
    DropSpace(String),
}

/// What a change leaves of each key that it touches; `None` is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    outcome: BTreeMap<Key, Option<Vec<u8>>>,
    atomic: bool,
}

/// The changes that a store was asked for, in order.
#[derive(Clone, Debug, Default)]
pub struct Past {
    changes: Vec<Change>,
    /// Every key that ever had a value.
    known: BTreeSet<Key>,
    /// Which change wrote a value of a key.
    writers: BTreeMap<(Key, Vec<u8>), usize>,
}

/// What must be true of a change after the crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It must have survived.
    Survive,
    /// It may have survived.
    Free,
    /// It had not been asked for yet.
    Absent,
}

/// A promise that what a store holds breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A value that was durable is gone.
    Lost {
        /// The change that wrote it.
        change: usize,
        /// Its key.
        key: Key,
        /// The change whose older value stands there instead, if there is one.
        found: Option<usize>,
    },
    /// A value whose removal was durable is back.
    Resurrected {
        /// The change that removed it.
        change: usize,
        /// Its key.
        key: Key,
        /// The change that had written it.
        written: usize,
    },
    /// A part of an atomic change is there, and a part is not.
    Torn {
        /// The change.
        change: usize,
        /// A key that has its value of the change.
        present: Key,
        /// A key that has not.
        absent: Key,
    },
    /// A key holds what nobody wrote to it.
    Invented {
        /// The key.
        key: Key,
        /// What it holds.
        value: Vec<u8>,
    },
    /// An atomic change survived while one before it did not, though the order was promised.
    OutOfOrder {
        /// The change that did not survive.
        lost: usize,
        /// The later one that did.
        kept: usize,
    },
}

impl Breach {
    /// The kind of promise that is broken, in a word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost",
            Self::Resurrected { .. } => "resurrected",
            Self::Torn { .. } => "torn",
            Self::Invented { .. } => "invented",
            Self::OutOfOrder { .. } => "out of order",
        }
    }
}

impl Past {
    /// A store that was asked for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change that has these effects one after the other; `atomic` where all of it or nothing survives.
    ///
    /// # Panics
    /// Where a value is written to a key a second time: the judgement rests on values that differ.
    pub fn push(&mut self, effects: &[Effect], atomic: bool) {
        let number = self.changes.len();
        let mut outcome = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Put(key, value) => {
                    self.known.insert(key.clone());
                    let earlier = self.writers.insert((key.clone(), value.clone()), number);
                    assert!(earlier.is_none_or(|earlier| earlier == number), "a value was written twice");
                    outcome.insert(key.clone(), Some(value.clone()));
                }
                Effect::Delete(key) => {
                    outcome.insert(key.clone(), None);
                }
                Effect::DeleteRange { space, start, end } => {
                    self.remove(&mut outcome, |(of, key)| of == space && start <= key && key < end);
                }
                Effect::DropSpace(space) => self.remove(&mut outcome, |(of, _)| of == space),
            }
        }
        self.changes.push(Change { outcome, atomic });
    }

    fn remove(&self, outcome: &mut BTreeMap<Key, Option<Vec<u8>>>, covered: impl Fn(&Key) -> bool) {
        outcome.extend(self.known.iter().filter(|key| covered(key)).map(|key| (key.clone(), None)));
    }

    /// How many changes there were.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// True where there was none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What a store holds after the changes that `survives` names, and no others.
    pub fn contents(&self, mut survives: impl FnMut(usize) -> bool) -> Contents {
        let mut contents = Contents::new();
        for (number, change) in self.changes.iter().enumerate() {
            if survives(number) {
                change.apply(&mut contents);
            }
        }
        contents
    }

    /// Judges what was `found`. `duty` says of each change what must be true of it; `ordered` whether an atomic
    /// change may survive only with all before it.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn judge(&self, duty: impl Fn(usize) -> Duty, ordered: bool, found: &Contents) -> Result<(), Breach> {
        let mut unsettled: BTreeSet<&Key> = self.known.iter().collect();
        let mut order = OrderOfSurvival::default();
        for (number, change) in self.changes.iter().enumerate().rev() {
            let duty = duty(number);
            if duty == Duty::Absent {
                continue;
            }
            let (agreeing, stray) = change.held_against(found, &unsettled);
            match stray {
                Some(stray) if duty == Duty::Survive => return Err(self.missing(number, stray, found)),
                Some(_) if change.atomic => {
                    order.first_lost = Some(number);
                    continue;
                }
                Some(_) | None => {}
            }
            for key in agreeing {
                unsettled.remove(key);
                if change.atomic {
                    order.survived(number, found.contains_key(key));
                }
            }
        }
        for (key, value) in found {
            if unsettled.contains(key) || !self.known.contains(key) {
                return Err(self.unexplained(key, value, found));
            }
        }
        match order.first_lost {
            Some(lost) if ordered && !self.some_prefix_explains(lost, &duty, found) => {
                Err(Breach::OutOfOrder { lost, kept: order.kept_after(lost) })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// True where the atomic changes before some number, at most `last`, and no later ones explain what was found.
    /// Removals leave no trace of their own, so this asks anew.
    fn some_prefix_explains(&self, last: usize, duty: &impl Fn(usize) -> Duty, found: &Contents) -> bool {
        (0..=last).rev().any(|end| self.prefix_explains(end, duty, found))
    }

    fn prefix_explains(&self, end: usize, duty: &impl Fn(usize) -> Duty, found: &Contents) -> bool {
        let mut unsettled: BTreeSet<&Key> = self.known.iter().collect();
        for (number, change) in self.changes.iter().enumerate().rev() {
            let must = match duty(number) {
                Duty::Absent => continue,
                Duty::Free if change.atomic && number >= end => continue,
                Duty::Free => change.atomic,
                Duty::Survive => true,
            };
            let (agreeing, stray) = change.held_against(found, &unsettled);
            if must && stray.is_some() {
                return false;
            }
            for key in agreeing {
                unsettled.remove(key);
            }
        }
        !found.keys().any(|key| unsettled.contains(key))
    }

    /// Why a change that must have survived does not agree with what `key` holds.
    fn missing(&self, change: usize, key: &Key, found: &Contents) -> Breach {
        let Some(value) = found.get(key) else {
            return Breach::Lost { change, key: key.clone(), found: None };
        };
        match self.writers.get(&(key.clone(), value.clone())) {
            Some(&written) if written > change => self.torn(written, key, found),
            Some(&written) if self.changes[change].outcome[key].is_none() => {
                Breach::Resurrected { change, key: key.clone(), written }
            }
            Some(&written) => Breach::Lost { change, key: key.clone(), found: Some(written) },
            None => Breach::Invented { key: key.clone(), value: value.clone() },
        }
    }

    /// Why a value is there that no change which survived explains.
    fn unexplained(&self, key: &Key, value: &[u8], found: &Contents) -> Breach {
        match self.writers.get(&(key.clone(), value.to_vec())) {
            Some(&written) => self.torn(written, key, found),
            None => Breach::Invented { key: key.clone(), value: value.to_vec() },
        }
    }

    /// A change of which `present` is there although it was not taken: another key of it is not.
    fn torn(&self, change: usize, present: &Key, found: &Contents) -> Breach {
        let absent =
            self.changes[change].outcome.iter().find(|(key, value)| value.as_ref() != found.get(*key));
        match absent {
            Some((absent, _)) => Breach::Torn { change, present: present.clone(), absent: absent.clone() },
            // The change had not been asked for when the crash came.
            None => Breach::Invented { key: present.clone(), value: found[present].clone() },
        }
    }
}

impl Change {
    /// Of the keys that no later change has settled: those that are as the change leaves them, and one that is not.
    fn held_against<'a>(
        &'a self,
        found: &Contents,
        unsettled: &BTreeSet<&Key>,
    ) -> (Vec<&'a Key>, Option<&'a Key>) {
        let open = self.outcome.iter().filter(|(key, _)| unsettled.contains(key));
        let (agreeing, stray): (Vec<_>, Vec<_>) =
            open.partition(|(key, value)| value.as_ref() == found.get(*key));
        (agreeing.into_iter().map(|(key, _)| key).collect(), stray.first().map(|(key, _)| *key))
    }

    fn apply(&self, contents: &mut Contents) {
        for (key, value) in &self.outcome {
            match value {
                Some(value) => contents.insert(key.clone(), value.clone()),
                None => contents.remove(key),
            };
        }
    }
}

/// Which atomic changes survived and which did not, met from the last to the first.
#[derive(Default)]
struct OrderOfSurvival {
    /// The last of which a value is there.
    kept_by_value: Option<usize>,
    /// The last of which only removals can be seen.
    kept_by_absence: Option<usize>,
    /// The first that did not survive.
    first_lost: Option<usize>,
}

impl OrderOfSurvival {
    fn survived(&mut self, change: usize, is_value: bool) {
        let kept = if is_value { &mut self.kept_by_value } else { &mut self.kept_by_absence };
        kept.get_or_insert(change);
    }

    /// A change after `lost` that survived, one that left a value if there is such.
    fn kept_after(&self, lost: usize) -> usize {
        let after = |kept: Option<usize>| kept.filter(|&kept| kept > lost);
        after(self.kept_by_value)
            .or(after(self.kept_by_absence))
            .expect("were nothing kept after the first change that was lost, a prefix would explain all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str) -> Key {
        ("kv".to_owned(), name.as_bytes().to_vec())
    }

    fn put(name: &str, value: &str) -> Effect {
        Effect::Put(key(name), value.as_bytes().to_vec())
    }

    fn delete(name: &str) -> Effect {
        Effect::Delete(key(name))
    }

    fn holding(pairs: &[(&str, &str)]) -> Contents {
        pairs.iter().map(|(name, value)| (key(name), value.as_bytes().to_vec())).collect()
    }

    /// Judges a past of atomic changes of which the first `durable` must have survived.
    fn judged(
        past: &[&[Effect]],
        durable: usize,
        ordered: bool,
        found: &[(&str, &str)],
    ) -> Result<(), Breach> {
        let mut asked = Past::new();
        for effects in past {
            asked.push(effects, true);
        }
        let duty = |change| if change < durable { Duty::Survive } else { Duty::Free };
        asked.judge(duty, ordered, &holding(found))
    }

    #[test]
    fn what_was_durable_must_be_there_and_what_was_not_may_be() {
        let past: &[&[Effect]] = &[&[put("a", "1")], &[put("b", "2")]];
        assert_eq!(judged(past, 1, true, &[("a", "1")]), Ok(()));
        assert_eq!(judged(past, 1, true, &[("a", "1"), ("b", "2")]), Ok(()));
        assert_eq!(judged(past, 1, true, &[]), Err(Breach::Lost { change: 0, key: key("a"), found: None }));
        assert_eq!(judged(past, 0, true, &[]), Ok(()));
    }

    #[test]
    fn an_old_value_in_place_of_a_durable_one_is_a_loss() {
        let past: &[&[Effect]] = &[&[put("a", "1")], &[put("a", "2")]];
        let breach = Breach::Lost { change: 1, key: key("a"), found: Some(0) };
        assert_eq!(judged(past, 2, false, &[("a", "1")]), Err(breach));
        assert_eq!(judged(past, 1, false, &[("a", "1")]), Ok(()));
    }

    #[test]
    fn what_was_durably_removed_stays_removed() {
        let past: &[&[Effect]] = &[&[put("a", "1")], &[delete("a")]];
        let breach = Breach::Resurrected { change: 1, key: key("a"), written: 0 };
        assert_eq!(judged(past, 2, false, &[("a", "1")]), Err(breach));
        assert_eq!(judged(past, 1, false, &[]), Ok(()));
    }

    #[test]
    fn an_atomic_change_is_there_whole_or_not_at_all() {
        let past: &[&[Effect]] = &[&[put("a", "0")], &[put("a", "1"), put("b", "1")]];
        let torn = |present, absent| Breach::Torn { change: 1, present: key(present), absent: key(absent) };
        assert_eq!(judged(past, 1, false, &[("a", "1")]), Err(torn("a", "b")));
        assert_eq!(judged(past, 1, false, &[("a", "0"), ("b", "1")]), Err(torn("b", "a")));
        assert_eq!(judged(past, 1, false, &[("a", "1"), ("b", "1")]), Ok(()));
    }

    #[test]
    fn what_nobody_wrote_is_not_there() {
        let past: &[&[Effect]] = &[&[put("a", "1")], &[put("b", "2")]];
        let invented = |name, value: &str| Breach::Invented { key: key(name), value: value.into() };
        assert_eq!(judged(past, 0, false, &[("a", "2")]), Err(invented("a", "2")));
        assert_eq!(judged(past, 0, false, &[("c", "1")]), Err(invented("c", "1")));
        assert_eq!(judged(past, 1, false, &[("a", "junk")]), Err(invented("a", "junk")));
    }

    #[test]
    fn a_change_that_nobody_had_asked_for_is_not_there() {
        let mut past = Past::new();
        past.push(&[put("a", "1")], true);
        let breach = Breach::Invented { key: key("a"), value: b"1".to_vec() };
        assert_eq!(past.judge(|_| Duty::Absent, false, &holding(&[("a", "1")])), Err(breach));
    }

    #[test]
    fn the_order_counts_only_where_it_was_promised() {
        let past: &[&[Effect]] = &[&[put("a", "1")], &[put("b", "2")], &[delete("a")]];
        assert_eq!(judged(past, 0, false, &[("b", "2")]), Ok(()));
        assert_eq!(judged(past, 0, true, &[("b", "2")]), Ok(()), "the removal survived, too");
        let breach = Breach::OutOfOrder { lost: 0, kept: 1 };
        assert_eq!(judged(&past[..2], 0, true, &[("b", "2")]), Err(breach));
    }

    #[test]
    fn a_range_and_a_space_are_removed_with_all_their_keys() {
        let mut past = Past::new();
        past.push(&[put("a", "1"), put("b", "2"), put("c", "3")], true);
        let range = |start: &str, end: &str| Effect::DeleteRange {
            space: "kv".to_owned(),
            start: start.into(),
            end: end.into(),
        };
        past.push(&[range("a", "c")], true);
        past.push(&[Effect::DropSpace("kv".to_owned())], false);
        assert_eq!(past.contents(|change| change < 2), holding(&[("c", "3")]));
        assert_eq!(past.contents(|_| true), holding(&[]));
        let duty = |change| if change < 2 { Duty::Survive } else { Duty::Free };
        let breach = Breach::Resurrected { change: 1, key: key("b"), written: 0 };
        assert_eq!(past.judge(duty, false, &holding(&[("b", "2"), ("c", "3")])), Err(breach));
    }

    #[test]
    fn a_removal_that_survived_without_what_came_before_it_is_out_of_order() {
        let past: &[&[Effect]] = &[&[put("a", "1")], &[put("b", "2")], &[delete("a")]];
        assert_eq!(judged(past, 1, true, &[]), Err(Breach::OutOfOrder { lost: 1, kept: 2 }));
        assert_eq!(judged(past, 1, false, &[]), Ok(()));
    }

    #[test]
    fn what_is_not_atomic_has_no_place_in_the_order() {
        let mut past = Past::new();
        past.push(&[put("a", "1")], true);
        past.push(&[put("b", "2")], true);
        past.push(&[Effect::DropSpace("kv".to_owned())], false);
        let duty = |change| if change < 1 { Duty::Survive } else { Duty::Free };
        assert_eq!(past.judge(duty, true, &holding(&[])), Ok(()), "the space may go without b");
        assert_eq!(past.judge(duty, true, &holding(&[("a", "1")])), Ok(()));
    }

    /// Small pasts over three keys, with whether each change is atomic; each value is unique.
    fn past() -> impl Strategy<Value = Vec<(Vec<Option<usize>>, bool)>> {
        let effects = prop::collection::vec(prop::option::weighted(0.8, 0..3_usize), 1..4);
        prop::collection::vec((effects, prop::bool::weighted(0.6)), 0..6)
    }

    fn asked(shape: &[(Vec<Option<usize>>, bool)]) -> Past {
        let mut past = Past::new();
        for (number, (effects, atomic)) in shape.iter().enumerate() {
            let effects: Vec<Effect> = effects
                .iter()
                .enumerate()
                .map(|(place, effect)| match effect {
                    Some(name) => put(&format!("k{name}"), &format!("{number}.{place}")),
                    None => delete(&format!("k{}", place % 3)),
                })
                .collect();
            past.push(&effects, *atomic);
        }
        past
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The judgement against everything that may survive, by force.
        #[test]
        fn what_may_survive_is_held_and_nothing_else(
            shape in past(), durable in 0..6_usize, kept in any::<[u8; 6]>(), damage in any::<bool>(), ordered in any::<bool>(),
        ) {
            let past = asked(&shape);
            let mut found = Contents::new();
            for (number, change) in past.changes.iter().enumerate() {
                change.apply_part(if number < durable { u8::MAX } else { kept[number] }, &mut found);
            }
            if damage && let Some(mut entry) = found.first_entry() {
                entry.insert(b"0.0".to_vec());
            }
            let legal = is_reached(&past.changes, durable, ordered, false, &Contents::new(), &found);
            let duty = |change| if change < durable { Duty::Survive } else { Duty::Free };
            let verdict = past.judge(duty, ordered, &found);
            prop_assert_eq!(verdict.is_ok(), legal, "{:?} in {:?}", verdict, found);
        }
    }

    impl Change {
        /// Applies the keys that `kept` has a bit for; all of them or none where the change is atomic.
        fn apply_part(&self, kept: u8, contents: &mut Contents) {
            let is_kept = |place: usize| kept >> (if self.atomic { 0 } else { place }) & 1 == 1;
            let part = self.outcome.iter().enumerate().filter(|(place, _)| is_kept(*place));
            let outcome = part.map(|(_, (key, value))| (key.clone(), value.clone())).collect();
            Self { outcome, atomic: true }.apply(contents);
        }
    }

    /// Whether some survival of `changes`, of which the first `durable` must survive, leads from `contents` to
    /// `found`. Once an atomic one was `cut` off, none survives any more where the order counts.
    fn is_reached(
        changes: &[Change],
        durable: usize,
        ordered: bool,
        cut: bool,
        contents: &Contents,
        found: &Contents,
    ) -> bool {
        let Some((change, rest)) = changes.split_first() else { return contents == found };
        let whole = (1_u8 << if change.atomic { 1 } else { change.outcome.len() }) - 1;
        (0..=whole).any(|kept| {
            let in_order = ordered && change.atomic;
            if (durable > 0 && kept != whole) || (in_order && cut && kept != 0) {
                return false;
            }
            let mut contents = contents.clone();
            change.apply_part(kept, &mut contents);
            let cut = cut || (change.atomic && kept != whole);
            is_reached(rest, durable.saturating_sub(1), ordered, cut, &contents, found)
        })
    }
}
