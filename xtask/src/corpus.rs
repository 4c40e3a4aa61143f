//! `corpus`: the plans that are kept.

use crate::arguments::CorpusArguments;
use crate::failure::{Failure, HELD, VIOLATED};
use crate::run_arguments::set_design;
use crate::{output, render};
use scenarios::corpus::{self, CollectError, DIRECTORY, Outcome, Wanted};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Size of a file above which an entry is hard to read, in bytes.
const BYTES_MAX: usize = 90 << 10;

pub(crate) fn run(arguments: &CorpusArguments) -> Result<ExitCode, Failure> {
    let directory = arguments.directory.clone().unwrap_or_else(|| PathBuf::from(DIRECTORY));
    match &arguments.add {
        Some(words) => add(arguments, words, &directory),
        None => rerun(arguments, &directory),
    }
}

fn rerun(arguments: &CorpusArguments, directory: &Path) -> Result<ExitCode, Failure> {
    let entries = corpus::load(directory, &arguments.names).map_err(Failure::usage)?;
    let explorations = corpus::load_explorations(directory, &arguments.names).map_err(Failure::usage)?;
    if entries.is_empty() && explorations.is_empty() {
        let names = match arguments.names.join(" or ") {
            none if none.is_empty() => none,
            names => format!(" named {names}"),
        };
        return Err(Failure::usage(format!("{}: there is no entry{names}", directory.display())));
    }
    let mut outcomes = Vec::new();
    let mut take = |outcome: Outcome| {
        if arguments.json {
            output::print_json(&outcome)?;
        } else {
            output::print(&render::corpus_entry(&outcome))?;
        }
        outcomes.push(outcome);
        Ok::<(), Failure>(())
    };
    corpus::rerun(&entries, arguments.jobs, &mut take)?;
    for exploration in &explorations {
        take(exploration.rerun(arguments.jobs))?;
    }
    // Some entries alone need not reach everything.
    let is_whole = arguments.names.is_empty() && arguments.directory.is_none();
    let unreached = if is_whole { corpus::unreached(&outcomes) } else { BTreeSet::new() };
    if !arguments.json {
        output::print(&render::corpus(&outcomes, &unreached))?;
    }
    let good = unreached.is_empty() && outcomes.iter().all(|outcome| outcome.differences.is_empty());
    Ok(ExitCode::from(if good { HELD } else { VIOLATED }))
}

fn add(arguments: &CorpusArguments, words: &str, directory: &Path) -> Result<ExitCode, Failure> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if words.is_empty() || !words.bytes().all(is_plain) {
        return Err(Failure::usage(format!("--add {words}: a name is made of a to z, 0 to 9 and hyphens")));
    }
    let milestones = arguments.require.iter().map(|name| corpus::milestone(name)).collect::<Result<_, _>>();
    let wanted = Wanted {
        about: arguments.about.clone().expect("clap asks for a text"),
        milestones: milestones.map_err(|error| Failure::usage(format!("--require: {error}")))?,
        routes: arguments.route.clone(),
        plan_contains: arguments.plan_contains.clone(),
        plan_lacks: arguments.plan_lacks.clone(),
        finding: arguments.finding.clone(),
    };
    let seeds = match (arguments.seed, &arguments.seeds) {
        (Some(seed), _) => seed..=seed,
        (None, Some(seeds)) => seeds.clone(),
        (None, None) => return Err(Failure::usage("--seed or --seeds says where to look for the entry")),
    };
    let mut sample = arguments.scenario.plan(*seeds.start());
    set_design(&mut sample, &arguments.design)?;
    let collected = corpus::collect(arguments.scenario, sample.design, seeds, &wanted);
    let entry = collected.map_err(|error| match error {
        CollectError::None { .. } => Failure::usage(error),
        CollectError::Io(error) => Failure::incomplete(error),
    })?;
    let bytes = entry.to_text().len();
    if bytes > BYTES_MAX {
        return Err(Failure::usage(format!("the entry would be {bytes} bytes, more than {BYTES_MAX}")));
    }
    let path = corpus::store(directory, words, &entry).map_err(Failure::usage)?;
    output::print(&format!(
        "{}: {} with seed {}, {bytes} bytes\n",
        path.display(),
        entry.verdict,
        entry.plan.seed
    ))?;
    Ok(ExitCode::SUCCESS)
}
