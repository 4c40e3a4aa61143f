//! `corpus`: the plans that are kept.

use crate::arguments::CorpusArguments;
use crate::failure::{Failure, HELD, VIOLATED};
use crate::render;
use crate::sim_command::set_design;
use scenarios::corpus::{self, DIRECTORY, Entry, Expected};
use scenarios::{RunOptions, execute};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Size of a file above which an entry is hard to read, in bytes.
const BYTES_MAX: usize = 60 << 10;

pub(crate) fn run(arguments: &CorpusArguments) -> Result<ExitCode, Failure> {
    let directory = arguments.directory.clone().unwrap_or_else(|| PathBuf::from(DIRECTORY));
    match &arguments.add {
        Some(words) => add(arguments, words, &directory),
        None => rerun(arguments, &directory),
    }
}

fn rerun(arguments: &CorpusArguments, directory: &Path) -> Result<ExitCode, Failure> {
    let entries = corpus::load(directory, &arguments.names).map_err(Failure::usage)?;
    let mut outcomes = Vec::new();
    corpus::rerun(&entries, arguments.jobs, |outcome| {
        if arguments.json {
            println!("{}", serde_json::to_string(&outcome).expect("an outcome is JSON"));
        } else {
            print!("{}", render::corpus_entry(&outcome));
        }
        outcomes.push(outcome);
    })
    .map_err(Failure::incomplete)?;
    if !arguments.json {
        print!("{}", render::corpus(&outcomes));
    }
    let good = outcomes.iter().all(|outcome| outcome.differences.is_empty());
    Ok(ExitCode::from(if good { HELD } else { VIOLATED }))
}

fn add(arguments: &CorpusArguments, words: &str, directory: &Path) -> Result<ExitCode, Failure> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if words.is_empty() || !words.bytes().all(is_plain) {
        return Err(Failure::usage(format!("--add {words}: a name is made of a to z, 0 to 9 and hyphens")));
    }
    let required = arguments.require.iter().map(|name| corpus::milestone(name));
    let required = required
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::usage(format!("--require: {error}")))?;
    let mut plan = arguments.scenario.plan(arguments.seed.expect("clap asks for a seed"));
    set_design(&mut plan, &arguments.design)?;
    let execution = execute(&plan, RunOptions::default()).map_err(Failure::incomplete)?;
    let about = arguments.about.clone().expect("clap asks for a text");
    let mut entry =
        Entry::observed(about, plan, &execution, arguments.finding).map_err(Failure::incomplete)?;
    if let Some(missed) = required.iter().find(|milestone| !entry.milestones.contains(milestone)) {
        return Err(Failure::incomplete(format!("the run does not reach the milestone `{missed}`")));
    }
    if !required.is_empty() || matches!(entry.verdict, Expected::Violated(_)) {
        entry.milestones = required.into_iter().collect();
    }
    let bytes = entry.to_text().len();
    if bytes > BYTES_MAX {
        return Err(Failure::usage(format!("the entry would be {bytes} bytes, more than {BYTES_MAX}")));
    }
    let path = corpus::store(directory, words, &entry).map_err(Failure::usage)?;
    println!("{}: {}, {bytes} bytes", path.display(), entry.verdict);
    Ok(ExitCode::SUCCESS)
}
