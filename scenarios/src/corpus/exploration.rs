//! Explorations that are kept: an engine, a workload, and every reason for which its promises break. A version of
//! the engine that mends one is noticed, and so is one that breaks a promise anew.
//!
//! An entry names what breaks and where, not the numbers of operations: these move with every version.

use super::Outcome;
use super::files::{CorpusError, CorpusProblem, texts};
use crate::explorer::{CauseReport, Profile, Report, Sampling, Subject, Trouble, check_profile, natives};
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
    /// What a crash may take, by its name on the command line.
    #[serde(with = "profile_name")]
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
        check_profile(entry.profile).map_err(|problem| invalid("profile", problem))?;
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
        let gone = self.findings.iter().filter(|known| !report.causes.iter().any(|it| known.describes(it)));
        let gone: BTreeSet<String> = gone.map(|known| self.is_gone(known, report)).collect();
        let new = report.causes.iter().filter(|cause| !self.findings.iter().any(|it| it.describes(cause)));
        let new = new.map(|cause| {
            let lost: Vec<&str> = cause.culprits.iter().map(|culprit| culprit.call.as_str()).collect();
            let first = &cause.symptoms[0];
            format!("no page describes: {}, by {:?}; {}", first.title, lost.join(", "), first.rerun)
        });
        gone.into_iter().chain(new).collect()
    }

    /// A known finding that was not found, in words.
    fn is_gone(&self, KnownFinding { page, symptom, lost }: &KnownFinding, report: &Report) -> String {
        let Report { engine, version, .. } = report;
        let recorded = match &self.version == version {
            true => format!("is not found any more, though this is {engine} {version} as before."),
            false => format!("was recorded with {engine} {}, this is {version}: is it mended?", self.version),
        };
        format!("finding {page} {recorded} Gone is: {symptom}, by {lost:?}")
    }
}

/// Profiles by their names on the command line.
mod profile_name {
    use super::Profile;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(of: &Profile, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(of.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Profile, D::Error> {
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

    use super::super::DIRECTORY;
    use crate::explorer::{Counts, CulpritReport, SymptomReport};

    const ENTRY: &str = r#"(
        about: "An entry.", engine: "mem", version: "0.1.0", profile: "posix", seed: 1, steps: 8, samples: 2,
        findings: [(page: "99-mem", symptom: "durable data is gone", lost: "of store/log")],
    )"#;

    fn entry() -> Exploration {
        Exploration::parse(ENTRY).unwrap()
    }

    /// A cause of which one call was lost, or nothing where it is "".
    fn cause(title: &str, lost: &str) -> CauseReport {
        let symptom = SymptomReport {
            title: title.to_owned(),
            facts: vec![],
            promise: None,
            images: 1,
            state: "9/4".to_owned(),
            rerun: "cargo xtask crash --engine mem --state '9/4'".to_owned(),
        };
        let culprit = CulpritReport {
            call: lost.to_owned(),
            lost: "lost".to_owned(),
            thread: "node".to_owned(),
            missing_sync: "fdatasync store/log".to_owned(),
            lines: vec![],
            during_recovery: false,
        };
        CauseReport {
            symptoms: vec![symptom],
            culprits: if lost.is_empty() { vec![] } else { vec![culprit] },
            during_creation: false,
            fell: vec![],
            images: 1,
        }
    }

    /// What an exploration of the entry reports that found these causes in this version.
    fn report(version: &str, causes: Vec<CauseReport>) -> Report {
        Report {
            engine: "mem".to_owned(),
            version: version.to_owned(),
            profile: "posix".to_owned(),
            seed: 1,
            steps: 8,
            disk_operations: 12,
            sampling: Sampling::Sample(2),
            counts: Counts::default(),
            processor_s: 0.0,
            causes,
            unattributed: 0,
        }
    }

    fn known_cause() -> CauseReport {
        cause("durable data is gone", "write 12 bytes at 40 of store/log")
    }

    #[test]
    fn what_is_found_as_it_was_recorded_is_no_difference() {
        assert_eq!(entry().differences(&report("0.1.0", vec![known_cause()])), [""; 0]);
        assert_eq!(entry().differences(&report("0.2.0", vec![known_cause()])), [""; 0]);
    }

    #[test]
    fn a_known_finding_that_is_gone_is_asked_about_with_both_versions() {
        let gone = "Gone is: durable data is gone, by \"of store/log\"";
        assert_eq!(
            entry().differences(&report("0.2.0", vec![])),
            [format!("finding 99-mem was recorded with mem 0.1.0, this is 0.2.0: is it mended? {gone}")]
        );
        assert_eq!(
            entry().differences(&report("0.1.0", vec![])),
            [format!("finding 99-mem is not found any more, though this is mem 0.1.0 as before. {gone}")]
        );
    }

    #[test]
    fn a_cause_without_a_page_is_named_with_the_line_that_reruns_it() {
        let nothing_lost = cause("durable data is gone", "");
        let elsewhere = cause("durable data is gone", "create store/names");
        let other = cause("the store does not open: panic: oops", "write 12 bytes at 40 of store/log");
        let differences =
            entry().differences(&report("0.1.0", vec![known_cause(), nothing_lost, elsewhere, other]));
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
