//! Explorations that are kept: an engine, a workload, and every reason for which its promises break. A version of
//! the engine that mends one is noticed, and so is one that breaks a promise anew.
//!
//! An entry names what breaks and where, not the numbers of operations: these move with every version. Only one crash,
//! and one call that fails, have to be named by numbers.

use super::Outcome;
use super::files::{CorpusError, CorpusProblem, texts};
use crate::explorer::{
    CallNumber, CauseReport, FaultCause, FaultKind, FaultReport, Profile, Report, Sampling, State, Subject,
    Trouble, check_profile, natives,
};
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
    /// The seed of the workload.
    pub seed: u64,
    /// Steps of the workload.
    pub steps: usize,
    /// What befalls the engine meanwhile.
    pub ordeal: Ordeal,
    /// What breaks; empty where every promise must be kept.
    pub findings: Vec<KnownFinding>,
}

/// What befalls an engine. Profiles, states, faults and calls have the names that they have on the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Ordeal {
    /// A crash at every place.
    Crashes {
        /// What a crash may take.
        #[serde(with = "by_name")]
        profile: Profile,
        /// Random subsets at each place.
        samples: usize,
    },
    /// One crash: what only a long workload shows, and where exploring all of it would take long.
    Crash {
        /// What a crash may take.
        #[serde(with = "by_name")]
        profile: Profile,
        /// Where it falls, and what is lost.
        #[serde(with = "by_name")]
        state: State,
    },
    /// One call fails, in a run without a crash.
    Failure {
        /// How it fails.
        #[serde(with = "by_name")]
        fault: FaultKind,
        /// The call.
        #[serde(with = "by_name")]
        at: CallNumber,
    },
}

/// A reason for which promises break, and that has a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFinding {
    /// The page in `docs/findings`, without its extension.
    pub page: String,
    /// A part of the words for what is wrong.
    pub symptom: String,
    /// A part of the call that is lost, or "" where the crash, or the failure, alone does the harm.
    pub lost: String,
}

/// A reason for which promises broke, from a search of either kind.
struct Found {
    /// What is wrong, in a line each; at least one.
    titles: Vec<String>,
    /// The calls that were lost.
    lost: Vec<String>,
    /// The line that reruns it.
    rerun: String,
}

impl From<&CauseReport> for Found {
    fn from(cause: &CauseReport) -> Self {
        let titles = cause.symptoms.iter().map(|symptom| symptom.title.clone()).collect();
        let lost = cause.culprits.iter().map(|culprit| culprit.call.clone()).collect();
        Self { titles, lost, rerun: cause.symptoms[0].rerun.clone() }
    }
}

impl From<&FaultCause> for Found {
    fn from(cause: &FaultCause) -> Self {
        Self { titles: vec![cause.title.clone()], lost: vec![], rerun: cause.rerun.clone() }
    }
}

/// What a search found in which version.
struct Findings {
    version: String,
    found: Vec<Found>,
    processor_s: f64,
}

impl From<Report> for Findings {
    fn from(report: Report) -> Self {
        let found = report.causes.iter().map(Found::from).collect();
        Self { version: report.version, found, processor_s: report.processor_s }
    }
}

impl From<FaultReport> for Findings {
    fn from(report: FaultReport) -> Self {
        let found = report.causes.iter().map(Found::from).collect();
        Self { version: report.version, found, processor_s: report.processor_s }
    }
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
    fn describes(&self, found: &Found) -> bool {
        let shows = found.titles.iter().any(|title| title.contains(&self.symptom));
        let lost = match self.lost.as_str() {
            "" => found.lost.is_empty(),
            lost => found.lost.iter().any(|call| call.contains(lost)),
        };
        shows && lost
    }
}

impl Exploration {
    /// Reads an entry.
    ///
    /// # Errors
    /// Where the text is not an entry, with line and column; where it names an engine that there is not, or asks for
    /// what cannot be explored.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let entry: Self = plan::options().from_str(text)?;
        let invalid = |field: &str, problem: String| PlanError::Invalid { field: field.to_owned(), problem };
        if !natives().iter().any(|native| native.name() == entry.engine) {
            let names: Vec<&str> = natives().iter().map(|native| native.name()).collect();
            let problem = format!("unknown engine `{}`; known are {}", entry.engine, names.join(", "));
            return Err(invalid("engine", problem));
        }
        match entry.ordeal {
            Ordeal::Crashes { profile, .. } | Ordeal::Crash { profile, .. } => {
                check_profile(profile).map_err(|problem| invalid("profile", problem))?;
            }
            Ordeal::Failure { .. } => {}
        }
        match entry.steps {
            0 => Err(invalid("steps", "a workload has at least one step".to_owned())),
            _ => Ok(entry),
        }
    }

    /// Does it again; `jobs` processes at a time.
    fn search(&self, jobs: usize) -> Result<Findings, Trouble> {
        let native = natives().iter().copied().find(|native| native.name() == self.engine);
        let native =
            native.ok_or_else(|| Trouble::Incomplete(format!("there is no engine {}", self.engine)))?;
        let subject = |profile, samples| {
            let Self { seed, steps, .. } = *self;
            Subject { native, profile, seed, steps, sampling: Sampling::Sample(samples), jobs }
        };
        match &self.ordeal {
            Ordeal::Crashes { profile, samples } => {
                subject(*profile, *samples).explore(&mut |_, _, _| {}).map(Findings::from)
            }
            Ordeal::Crash { profile, state } => {
                let report = subject(*profile, 0).examine(state)?;
                let found = report.cause.iter().map(Found::from).collect();
                Ok(Findings { version: native.version().to_owned(), found, processor_s: report.processor_s })
            }
            Ordeal::Failure { fault, at } => {
                subject(Profile::Posix, 0).inject(&[*fault], Some(*at), &mut |_, _| {}).map(Findings::from)
            }
        }
    }

    /// What is not as the entry says; empty where all is.
    fn differences(&self, Findings { version, found, .. }: &Findings) -> Vec<String> {
        let gone = self.findings.iter().filter(|known| !found.iter().any(|it| known.describes(it)));
        let gone: BTreeSet<String> = gone.map(|known| self.is_gone(known, version)).collect();
        let new = found.iter().filter(|found| !self.findings.iter().any(|known| known.describes(found)));
        let new = new.map(|Found { titles, lost, rerun }| {
            format!("no page describes: {}, by {:?}; {rerun}", titles[0], lost.join(", "))
        });
        gone.into_iter().chain(new).collect()
    }

    /// A known finding that was not found in `version`, in words.
    fn is_gone(&self, KnownFinding { page, symptom, lost }: &KnownFinding, version: &str) -> String {
        let engine = &self.engine;
        let recorded = match self.version == version {
            true => format!("is not found any more, though this is {engine} {version} as before."),
            false => format!("was recorded with {engine} {}, this is {version}: is it mended?", self.version),
        };
        format!("finding {page} {recorded} Gone is: {symptom}, by {lost:?}")
    }
}

/// What has a name on the command line.
mod by_name {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(of: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(of)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
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
        let (differences, processor_s) = match self.entry.search(jobs) {
            Ok(findings) => (self.entry.differences(&findings), findings.processor_s),
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

    use super::super::DIRECTORY;
    const ENTRY: &str = r#"(
        about: "An entry.", engine: "mem", version: "0.1.0", seed: 1, steps: 8,
        ordeal: Crashes(profile: "posix", samples: 2),
        findings: [(page: "99-mem", symptom: "durable data is gone", lost: "of store/log")],
    )"#;

    fn entry() -> Exploration {
        Exploration::parse(ENTRY).unwrap()
    }

    /// A reason of which one call was lost, or nothing where it is "".
    fn found(title: &str, lost: &str) -> Found {
        let lost = if lost.is_empty() { vec![] } else { vec![lost.to_owned()] };
        let rerun = "cargo xtask crash --engine mem --state '9/4'".to_owned();
        Found { titles: vec![title.to_owned()], lost, rerun }
    }

    /// What a search finds in this version.
    fn findings(version: &str, found: Vec<Found>) -> Findings {
        Findings { version: version.to_owned(), found, processor_s: 0.0 }
    }

    fn known() -> Found {
        found("durable data is gone", "write 12 bytes at 40 of store/log")
    }

    #[test]
    fn what_is_found_as_it_was_recorded_is_no_difference() {
        assert_eq!(entry().differences(&findings("0.1.0", vec![known()])), [""; 0]);
        assert_eq!(entry().differences(&findings("0.2.0", vec![known()])), [""; 0]);
    }

    #[test]
    fn a_known_finding_that_is_gone_is_asked_about_with_both_versions() {
        let gone = "Gone is: durable data is gone, by \"of store/log\"";
        assert_eq!(
            entry().differences(&findings("0.2.0", vec![])),
            [format!("finding 99-mem was recorded with mem 0.1.0, this is 0.2.0: is it mended? {gone}")]
        );
        assert_eq!(
            entry().differences(&findings("0.1.0", vec![])),
            [format!("finding 99-mem is not found any more, though this is mem 0.1.0 as before. {gone}")]
        );
    }

    #[test]
    fn a_cause_without_a_page_is_named_with_the_line_that_reruns_it() {
        let nothing_lost = found("durable data is gone", "");
        let elsewhere = found("durable data is gone", "create store/names");
        let other = found("the store does not open: panic: oops", "write 12 bytes at 40 of store/log");
        let differences =
            entry().differences(&findings("0.1.0", vec![known(), nothing_lost, elsewhere, other]));
        let rerun = "cargo xtask crash --engine mem --state '9/4'";
        assert_eq!(
            differences,
            [
                format!("no page describes: durable data is gone, by \"\"; {rerun}"),
                format!("no page describes: durable data is gone, by \"create store/names\"; {rerun}"),
                format!(
                    "no page describes: the store does not open: panic: oops, by \"write 12 bytes at 40 of \
                     store/log\"; {rerun}"
                ),
            ]
        );
    }

    #[test]
    fn an_entry_is_read_as_it_is_written() {
        let text = plan::options().to_string(&entry()).unwrap();
        assert!(text.contains("profile:\"posix\""), "{text}");
        assert_eq!(Exploration::parse(&text).unwrap(), entry());
    }

    #[test]
    fn a_failure_is_read_as_it_is_written() {
        let crashes = "Crashes(profile: \"posix\", samples: 2)";
        let failure = ENTRY.replace(crashes, "Failure(fault: \"fsync-error\", at: \"r17\")");
        let at = CallNumber { number: 17, is_read: true };
        let entry = Exploration::parse(&failure).unwrap();
        assert_eq!(entry.ordeal, Ordeal::Failure { fault: FaultKind::FsyncError, at });
        let text = plan::options().to_string(&entry).unwrap();
        assert_eq!(Exploration::parse(&text).unwrap(), entry);
        let refused = Exploration::parse(&failure.replace("r17", "x17")).unwrap_err().to_string();
        assert!(refused.contains("`x17` is no call: 17 is a change, r17 a read"), "{refused}");
    }

    #[test]
    fn every_finding_of_the_corpus_has_its_page() {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/findings");
        let entries = load_explorations(Path::new(DIRECTORY), &[]).unwrap();
        let findings: Vec<&KnownFinding> = entries.iter().flat_map(|named| &named.entry.findings).collect();
        assert!(!findings.is_empty());
        for KnownFinding { page, .. } in findings {
            assert!(pages.join(page).with_extension("md").is_file(), "there is no page {page}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused_with_its_place() {
        let refused =
            |from: &str, to: &str| Exploration::parse(&ENTRY.replace(from, to)).unwrap_err().to_string();
        let unknown = refused("\"mem\"", "\"rocksdb\"");
        assert!(unknown.starts_with("engine: unknown engine `rocksdb`; known are sled"), "{unknown}");
        let typo = refused("seed", "sead");
        assert!(typo.starts_with("line 2, column"), "{typo}");
        let profile = refused("\"posix\"", "\"zfs\"");
        assert!(profile.contains("unknown profile `zfs`; known are process-kill"), "{profile}");
        let lying = refused("\"posix\"", "\"lying\"");
        assert!(lying.starts_with("profile: no sync lies in an exploration"), "{lying}");
        let empty = refused("steps: 8", "steps: 0");
        assert_eq!(empty, "steps: a workload has at least one step");
    }
}
