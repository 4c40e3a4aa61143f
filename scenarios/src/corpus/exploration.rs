//! Explorations that are kept: an engine, a workload, and every reason for which its promises break. A version of
//! the engine that mends one is noticed, and so is one that breaks a promise anew.
//!
//! An entry names what breaks and where, not the numbers of operations: these move with every version.

use super::Outcome;
use super::files::{CorpusError, CorpusProblem, texts};
use crate::explorer::{CauseReport, Profile, Report, Sampling, Subject, Trouble, natives};
use crate::plan::{self, PlanError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// An entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exploration {
    /// Why it is there, in a sentence.
    pub about: String,
    /// The engine.
    pub engine: String,
    /// The version in which the findings were seen.
    pub version: String,
    /// What a crash may take.
    pub profile: Profile,
    /// The seed of the workload.
    pub seed: u64,
    /// Steps of the workload.
    pub steps: usize,
    /// Random subsets at each boundary.
    pub samples: usize,
    /// What breaks; empty where every promise must be kept.
    pub findings: Vec<KnownFinding>,
}

/// A reason for which promises break, and that has a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFinding {
    /// The page in `docs/findings`, without its extension.
    pub page: String,
    /// A part of the words for what is wrong.
    pub symptom: String,
    /// A part of the call that is lost, or "" where the crash alone does the harm.
    pub lost: String,
}

/// An entry and its name.
#[derive(Clone, Debug)]
pub struct NamedExploration {
    /// That of its file, without the extension.
    pub name: String,
    /// The entry.
    pub entry: Exploration,
}

impl KnownFinding {
    fn describes(&self, cause: &CauseReport) -> bool {
        let shows = cause.symptoms.iter().any(|symptom| symptom.title.contains(&self.symptom));
        let lost = match self.lost.as_str() {
            "" => cause.culprits.is_empty(),
            lost => cause.culprits.iter().any(|culprit| culprit.call.contains(lost)),
        };
        shows && lost
    }
}

impl Exploration {
    /// Reads an entry.
    ///
    /// # Errors
    /// Where the text is not an entry, with line and column; where it names an engine or a page that there is
    /// not.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let entry: Self = plan::options().from_str(text)?;
        let invalid = |field: &str, problem: String| PlanError::Invalid { field: field.to_owned(), problem };
        if !natives().iter().any(|native| native.name() == entry.engine) {
            let names: Vec<&str> = natives().iter().map(|native| native.name()).collect();
            let problem = format!("unknown engine `{}`; known are {}", entry.engine, names.join(", "));
            return Err(invalid("engine", problem));
        }
        match entry.steps {
            0 => Err(invalid("steps", "a workload has at least one step".to_owned())),
            _ => Ok(entry),
        }
    }

    /// Explores again; `jobs` processes at a time.
    ///
    /// # Errors
    /// Where the exploration could not be completed.
    pub fn explore(&self, jobs: usize) -> Result<Report, Trouble> {
        let native = natives().iter().copied().find(|native| native.name() == self.engine);
        let native =
            native.ok_or_else(|| Trouble::Incomplete(format!("there is no engine {}", self.engine)))?;
        let Self { profile, seed, steps, samples, .. } = *self;
        let subject = Subject { native, profile, seed, steps, sampling: Sampling::Sample(samples), jobs };
        subject.explore(&mut |_, _, _| {})
    }

    /// What is not as the entry says; empty where all is.
    pub fn differences(&self, report: &Report) -> Vec<String> {
        let (engine, version) = (&report.engine, &report.version);
        let gone = self.findings.iter().filter(|known| !report.causes.iter().any(|it| known.describes(it)));
        let gone: BTreeSet<String> = gone
            .map(|known| {
                let KnownFinding { page, symptom, lost } = known;
                format!("{page} is not found any more in {engine} {version}: {symptom}, by {lost:?}: mended?")
            })
            .collect();
        let new = report.causes.iter().filter(|cause| !self.findings.iter().any(|it| it.describes(cause)));
        let new = new.map(|cause| {
            let lost: Vec<&str> = cause.culprits.iter().map(|culprit| culprit.call.as_str()).collect();
            let first = &cause.symptoms[0];
            format!("no page describes: {}, by {:?}; {}", first.title, lost.join(", "), first.rerun)
        });
        gone.into_iter().chain(new).collect()
    }
}

impl NamedExploration {
    /// Explores again and compares.
    pub fn rerun(&self, jobs: usize) -> Outcome {
        let expected = match self.entry.findings.len() {
            0 => "promises kept".to_owned(),
            1 => "known finding: 1".to_owned(),
            count => format!("known findings: {count}"),
        };
        let (differences, processor_s) = match self.entry.explore(jobs) {
            Ok(report) => (self.entry.differences(&report), report.processor_s),
            Err(incomplete) => (vec![format!("was not completed: {incomplete}")], 0.0),
        };
        Outcome {
            name: self.name.clone(),
            about: self.entry.about.clone(),
            expected,
            differences,
            trace: None,
            milestones: BTreeSet::new(),
            processor_s,
        }
    }
}

/// The explorations in `directory`, as [`super::load`] does it for runs; none is no error.
///
/// # Errors
/// The first entry that cannot be read.
pub fn load_explorations(directory: &Path, names: &[String]) -> Result<Vec<NamedExploration>, CorpusError> {
    let directory = directory.join(EXPLORATIONS);
    let texts = if directory.is_dir() { texts(&directory, names)? } else { Vec::new() };
    let parse = |(name, path, text): (String, std::path::PathBuf, String)| {
        let entry = Exploration::parse(&text);
        let entry = entry.map_err(|error| CorpusError { path, problem: CorpusProblem::Entry(error) })?;
        Ok(NamedExploration { name, entry })
    };
    texts.into_iter().map(parse).collect()
}

/// Where explorations are, below the corpus.
const EXPLORATIONS: &str = "crash";

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"(
        about: "An entry.", engine: "mem", version: "0.1.0", profile: posix, seed: 1, steps: 8, samples: 2,
        findings: [],
    )"#;

    #[test]
    fn an_entry_is_read_and_explored() {
        let entry = Exploration::parse(ENTRY).unwrap();
        assert_eq!((entry.steps, entry.profile), (8, Profile::Posix));
        let missing = entry_with_a_finding(entry);
        assert_eq!(missing.findings.len(), 1);
    }

    fn entry_with_a_finding(entry: Exploration) -> Exploration {
        let known = KnownFinding { page: "99".into(), symptom: "gone".into(), lost: "write".into() };
        Exploration { findings: vec![known], ..entry }
    }

    #[test]
    fn what_is_no_entry_is_refused_with_its_place() {
        let unknown = Exploration::parse(&ENTRY.replace("\"mem\"", "\"rocksdb\"")).unwrap_err();
        assert!(
            unknown.to_string().starts_with("engine: unknown engine `rocksdb`; known are sled"),
            "{unknown}"
        );
        let typo = Exploration::parse(&ENTRY.replace("seed", "sead")).unwrap_err();
        assert!(typo.to_string().starts_with("line 2, column"), "{typo}");
    }
}
