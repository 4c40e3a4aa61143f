//! What is measured: the costs of the machine, of runs, of explorations, of the zoo and of the checker, each beside its
//! target. Processor seconds wherever there are any, since hosts are shared; no test depends on a figure.

mod checker;
mod growth;
mod host;
mod machine;
mod runs;

pub use host::description;

use crate::explorer::{Profile, Sampling, Subject, Trouble, natives};
use crate::zoo;
use serde::Serialize;
use std::io;

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Given for comparison only.
    None,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much it is.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it is to be, on a host of the year 2026 that does nothing else.
    pub target: Target,
}

impl Figure {
    fn new(name: impl Into<String>, value: f64, unit: &'static str, target: Target) -> Self {
        Self { name: name.into(), value, unit, target }
    }

    /// Whether it is what it is to be.
    pub fn reached(&self) -> bool {
        match self.target {
            Target::AtLeast(bound) => self.value >= bound,
            Target::AtMost(bound) => self.value <= bound,
            Target::None => true,
        }
    }
}

/// Why a figure could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Untaken {
    /// The host has no process left.
    #[error(transparent)]
    Host(#[from] io::Error),
    /// An engine could not be explored.
    #[error(transparent)]
    Exploration(#[from] Trouble),
    /// A run, or a check, did not come to its end.
    #[error("{0}")]
    Incomplete(String),
}

/// Figures that are taken together.
pub struct Group {
    /// What the command line calls them.
    pub name: &'static str,
    /// What they are about.
    pub title: &'static str,
    take: fn() -> Result<Vec<Figure>, Untaken>,
}

impl Group {
    /// Takes them. That takes up to a minute.
    ///
    /// # Errors
    /// Where a run did not come to its end, or the host has no process left.
    pub fn take(&self) -> Result<Vec<Figure>, Untaken> {
        (self.take)()
    }
}

/// All of them, in the order in which they are shown.
pub const GROUPS: [Group; 6] = [
    Group { name: "machine", title: "the machine", take: machine::figures },
    Group { name: "runs", title: "runs of a cluster", take: runs::figures },
    Group { name: "growth", title: "growth, in processor time", take: growth::figures },
    Group { name: "crash", title: "crash images opened and judged, profile posix", take: explorations },
    Group { name: "zoo", title: "the zoo: processor time until a wrong design is caught", take: zoo_figures },
    Group { name: "checker", title: "the checker", take: checker::figures },
];

/// Images for each second of processor time, engine by engine; one process at a time, since cores of one host slow each
/// other down.
fn explorations() -> Result<Vec<Figure>, Untaken> {
    // As many steps as give some hundred images at least, in some seconds.
    let subjects = [("sled", 6, 60.0), ("fjall", 20, 400.0), ("redb", 60, 500.0), ("lsm-tree", 60, 500.0)];
    let named = |name: &str| natives().iter().copied().find(|native| native.name() == name);
    let explore = |(name, steps, target)| {
        let native = named(name).expect("the engines have natives");
        let (profile, sampling) = (Profile::Posix, Sampling::Sample(4));
        let subject = Subject { native, profile, seed: 1, steps, sampling, jobs: 1 };
        let report = subject.explore(&mut |_, _, _| {})?;
        let name = format!("{} {}", report.engine, report.version);
        let value = report.images_per_processor_s();
        Ok(Figure::new(name, value, "images per CPU-second", Target::AtLeast(target)))
    };
    subjects.into_iter().map(explore).collect()
}

fn zoo_figures() -> Result<Vec<Figure>, Untaken> {
    let entries = zoo::entries();
    let mut seconds = Vec::new();
    for entry in &entries {
        let outcome = zoo::hunt(entry, 0)?;
        if outcome.is_good() {
            seconds.push(outcome.processor_s);
        }
    }
    seconds.sort_by(f64::total_cmp);
    let all = entries.len() as f64;
    let caught = seconds.len() as f64;
    let [median, worst] = [seconds.len() / 2, seconds.len().saturating_sub(1)]
        .map(|place| seconds.get(place).copied().unwrap_or(f64::NAN));
    Ok(vec![
        Figure::new(format!("caught, of {all}"), caught, "designs", Target::AtLeast(all)),
        Figure::new("median", median, "CPU s", Target::AtMost(5.0)),
        Figure::new("worst", worst, "CPU s", Target::AtMost(120.0)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_reached_from_its_own_side() {
        let figure = |value, target| Figure::new("a figure", value, "s", target).reached();
        assert!(figure(2.0, Target::AtLeast(2.0)) && !figure(1.9, Target::AtLeast(2.0)));
        assert!(figure(2.0, Target::AtMost(2.0)) && !figure(2.1, Target::AtMost(2.0)));
        assert!(figure(f64::MAX, Target::None));
        assert!(!figure(f64::NAN, Target::AtMost(1.0)), "what was not measured is not reached");
    }
}
