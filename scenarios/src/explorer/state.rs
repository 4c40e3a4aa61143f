//! One crash state, as text that reruns it.
//!
//! ```text
//! 137/45,46:2-3,50:size;3/2
//! ─┬─ ┬─ ──┬─── ───┬─── ─┬─
//!  │  │    │       │     └ then, while it was opened again, a crash after its 3rd change, which lost operation 2
//!  │  │    │       └ of operation 50, the size was lost but not the data
//!  │  │    └ of operation 46, the sectors 2 and 3 were lost
//!  │  └ operation 45 was lost
//!  └ the crash fell after the 137th change of the disk
//! ```
//! `137/all` lost everything that was pending; `137/` nothing. `137~8192/` fell inside the 138th change, a write of
//! which 8192 bytes had been done.

use sim::disk::{Change, CrashChoices, Keep, PendingOperation, Sectors, Tear, TornSize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Crashes one after the other: the first of the workload, the others of the recovery from the one before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// At least one.
    pub crashes: Vec<CrashState>,
}

/// One crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashState {
    /// How many changes of the disk had been done.
    pub after: usize,
    /// Bytes of the next change, a write, that had been done.
    pub inside_bytes: u64,
    /// What of the pending operations did not survive.
    pub lost: Lost,
}

/// What did not survive of the pending operations; everything else did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// Everything.
    All,
    /// These, by their sequence number.
    Some(BTreeMap<u64, Part>),
}

/// What of one operation did not survive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All of it.
    Whole,
    /// Some sectors of a write, counted from the sector of its first byte.
    Sectors(BTreeSet<u64>),
    /// The size that a write gave its file.
    Size,
}

impl Default for Lost {
    fn default() -> Self {
        Self::Some(BTreeMap::new())
    }
}

impl Lost {
    /// Loses nothing but these operations.
    pub fn whole(operations: impl IntoIterator<Item = u64>) -> Self {
        Self::Some(operations.into_iter().map(|operation| (operation, Part::Whole)).collect())
    }

    /// Loses a part of one operation.
    pub fn part(operation: u64, part: Part) -> Self {
        Self::Some(BTreeMap::from([(operation, part)]))
    }
}

impl CrashChoices for &Lost {
    fn decide(&mut self, operation: &PendingOperation) -> Keep {
        let Lost::Some(lost) = self else { return Keep::Drop };
        let torn = |sectors: Sectors, size| Keep::Torn(Tear::sectors(sectors, size));
        match (lost.get(&operation.sequence), &operation.change) {
            (None, _) => Keep::Whole,
            (Some(Part::Sectors(sectors)), Change::Write(payload)) => {
                let count = Sectors::touched(payload.offset(), payload.length());
                torn(Sectors::from_fn(count, |sector| !sectors.contains(&sector)), TornSize::Kept)
            }
            (Some(Part::Size), Change::Write(payload)) => {
                torn(Sectors::all(Sectors::touched(payload.offset(), payload.length())), TornSize::Lost)
            }
            // Only a write has parts; anything else is lost whole or not at all.
            (Some(Part::Whole | Part::Sectors(_) | Part::Size), _) => Keep::Drop,
        }
    }
}

impl State {
    /// The state after one crash.
    pub fn first(after: usize, lost: Lost) -> Self {
        Self { crashes: vec![CrashState { after, inside_bytes: 0, lost }] }
    }

    /// How many operations it names as lost, after how many crashes.
    pub(super) fn losses(&self) -> (usize, usize) {
        let lost = |crash: &CrashState| match &crash.lost {
            Lost::All => usize::MAX,
            Lost::Some(lost) => lost.len(),
        };
        (self.crashes.len(), self.crashes.iter().map(lost).fold(0, usize::saturating_add))
    }

    /// This state, and then a crash while it was recovered from.
    #[must_use]
    pub fn then(&self, next: CrashState) -> Self {
        let mut crashes = self.crashes.clone();
        crashes.push(next);
        Self { crashes }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, crash) in self.crashes.iter().enumerate() {
            let separator = if index > 0 { ";" } else { "" };
            write!(out, "{separator}{crash}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CrashState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.after)?;
        if self.inside_bytes > 0 {
            write!(out, "~{}", self.inside_bytes)?;
        }
        write!(out, "/{}", self.lost)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Some(lost) = self else { return out.write_str("all") };
        for (index, (operation, part)) in lost.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            write!(out, "{separator}{operation}{part}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Size => out.write_str(":size"),
            Self::Sectors(sectors) => {
                for (index, (first, last)) in runs(sectors).into_iter().enumerate() {
                    let separator = if index > 0 { "+" } else { ":" };
                    write!(out, "{separator}{first}")?;
                    if last > first {
                        write!(out, "-{last}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The runs of neighbouring numbers, each as (first, last).
fn runs(numbers: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            Some(_) | None => runs.push((number, number)),
        }
    }
    runs
}

/// A text that is no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no crash state: {problem}. A state looks like 137/45,46:2-3 (after the 137th change; lost are \
         operation 45 and the sectors 2 and 3 of operation 46), 137/all or 137/"
)]
pub struct StateError {
    text: String,
    problem: String,
}

impl FromStr for State {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        let crashes = text.split(';').map(crash).collect::<Result<Vec<_>, _>>();
        crashes
            .map(|crashes| Self { crashes })
            .map_err(|problem| StateError { text: text.to_owned(), problem })
    }
}

fn crash(text: &str) -> Result<CrashState, String> {
    let (place, lost) = text.split_once('/').ok_or_else(|| format!("`{text}` has no `/`"))?;
    let (after, inside) = place.split_once('~').unwrap_or((place, "0"));
    let after = usize::try_from(number(after)?).map_err(|_| format!("`{after}` is too large"))?;
    Ok(CrashState { after, inside_bytes: number(inside)?, lost: self::lost(lost)? })
}

fn lost(text: &str) -> Result<Lost, String> {
    match text {
        "all" => return Ok(Lost::All),
        "" => return Ok(Lost::default()),
        _ => {}
    }
    let parts = text.split(',').map(|item| {
        let (operation, part) = item.split_once(':').map_or((item, None), |(it, part)| (it, Some(part)));
        let part = match part {
            None => Part::Whole,
            Some("size") => Part::Size,
            Some(sectors) => Part::Sectors(self::sectors(sectors)?),
        };
        Ok((number(operation)?, part))
    });
    parts.collect::<Result<_, String>>().map(Lost::Some)
}

/// The most sectors that a run may name: those of a write of 2 GiB, the most that write(2) transfers.
const RUN_MAX: u64 = 1 << 22;

fn sectors(text: &str) -> Result<BTreeSet<u64>, String> {
    let mut sectors = BTreeSet::new();
    for run in text.split('+') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last - first > RUN_MAX {
            return Err(format!("`{run}` is no run of sectors"));
        }
        sectors.extend(first..=last);
    }
    Ok(sectors)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_state_is_read_as_it_is_written() {
        for text in ["137/45,46:2-3+7,50:size;3/2", "0/", "12/all", "7~4096/"] {
            assert_eq!(text.parse::<State>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_state_is_refused_with_the_reason() {
        for (text, problem) in [
            ("137", "`137` has no `/`"),
            ("x/", "`x` is no number"),
            ("1/2:", "`` is no number"),
            ("1/2:5-3", "`5-3` is no run of sectors"),
            ("1/2:0-99999999999", "`0-99999999999` is no run of sectors"),
        ] {
            assert_eq!(text.parse::<State>().unwrap_err().problem, problem);
        }
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            Just(Part::Whole),
            Just(Part::Size),
            prop::collection::btree_set(0..40_u64, 1..6).prop_map(Part::Sectors),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_state_has_a_text(
            crashes in prop::collection::vec(
                (0..500_usize, 0..3_u64, prop::collection::btree_map(0..90_u64, part(), 0..4)), 1..3
            )
        ) {
            let crash = |(after, pages, lost)| CrashState {
                after, inside_bytes: pages * 4096, lost: Lost::Some(lost),
            };
            let state = State { crashes: crashes.into_iter().map(crash).collect() };
            prop_assert_eq!(state.to_string().parse::<State>(), Ok(state));
        }
    }
}
