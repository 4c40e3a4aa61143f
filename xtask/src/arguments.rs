//! What the command line accepts.

use crate::run_arguments::{RunArguments, Variant};
use clap::{Args, Parser, Subcommand};
use scenarios::explorer::{CallNumber, FaultKind, Profile, State};
use scenarios::judge::ObjectName;
use scenarios::plan::EngineName;
use scenarios::scenario::Scenario;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Brownout: storage engines and replicated stores on a machine that exists only in memory.
#[derive(Debug, Parser)]
// Without `bin_name` help would name the file that the process executed last, which is `exe`.
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one seed, or one plan, and say what happened.
    #[command(
        after_help = "Examples:\n  cargo xtask sim --seed 42\n  cargo xtask sim --seed 7 --scenario power \
                            --trace power-7.txt\n  cargo xtask sim --seed 7 --write-plan p.ron && cargo xtask sim \
                            --plan p.ron\n  cargo xtask sim --seed 3 --design reads=local\n  cargo xtask sim --seed 3 --engines lsm-tree,redb,lsm-tree\n  cargo xtask sim --scenario kill-gate --kills 1000 --engines lsm-tree"
    )]
    Sim(SimArguments),
    /// Run one seed, or one plan, and write what happened as a page for a browser.
    #[command(
        after_help = "Examples:\n  cargo xtask report --seed 42\n  cargo xtask report --scenario lagging --seed 1 \
                            --design reads=local --out stale.html\n  cargo xtask report --plan p.ron --perfetto p.json"
    )]
    Report(ReportArguments),
    /// Run many seeds, one process each, and sum up.
    #[command(
        after_help = "Examples:\n  cargo xtask swarm --seeds 1..500\n  cargo xtask swarm --minutes 10 \
                            --scenario rolling-upgrade --jobs 2"
    )]
    Swarm(SwarmArguments),
    /// Rerun the regression corpus, each entry with its expected verdict and milestones, twice.
    #[command(
        after_help = "Examples:\n  cargo xtask corpus\n  cargo xtask corpus 07 torn-tail\n  cargo xtask corpus --add \
                            torn-tail --about \"a torn tail of the raft log is cut off\" --scenario blackout --seeds 1..50 \
                            --require torn-tail-repaired"
    )]
    Corpus(CorpusArguments),
    /// Run every design that is known to be wrong until its check catches it.
    #[command(
        after_help = "Examples:\n  cargo xtask zoo\n  cargo xtask zoo --only reads=local --only digest --json"
    )]
    Zoo(ZooArguments),
    /// Explore what one engine loses in a crash: no cluster, every boundary between two changes of the disk.
    #[command(
        after_help = "Examples:\n  cargo xtask crash --engine fjall\n  cargo xtask crash --engine redb --profile \
                            ext4-ordered --ops 500 --exhaustive\n  cargo xtask crash --engine sled --state 24/13\n  cargo \
                            xtask crash --engine sled --state 24/13 --emit-test lost.rs\n  cargo xtask crash --engine \
                            fjall --fault eio --fault fsync-error"
    )]
    Crash(CrashArguments),
    /// Give the recorded requests of a real etcd to the store or to the reference model, and compare every answer.
    #[command(
        after_help = "Examples:\n  cargo xtask etcd-trace cluster/tests/fixtures/etcd-traces/*.jsonl\n  cargo xtask \
                            etcd-trace trace.jsonl --engine fjall\n  cargo xtask etcd-trace trace.jsonl --model --json"
    )]
    EtcdTrace(EtcdTraceArguments),
    /// Say whether histories that others recorded are linearizable, and if not, why.
    #[command(
        after_help = "Examples:\n  cargo xtask check history.jsonl\n  cargo xtask check jepsen/*.log --json\n  cargo xtask \
                            check kv.txt --spec kv --no-partition --budget 100000000\n\nThe formats are recognised by \
                            their content; docs/history-format.md describes them. Exit codes: 0 linearizable, 1 not, \
                            2 a file that cannot be read, 3 undecided within the budget."
    )]
    Check(CheckArguments),
    /// Measure the machine, runs, growth, explorations, the zoo and the checker, each figure beside its target.
    #[command(after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --only checker --histories \
                            ../shared/histories\n  cargo xtask bench --only runs --only growth --json\n\nIt takes some \
                            minutes. Processor time wherever there is any: compare figures of one host, taken in turn. Exit \
                            codes: 0 measured, whether targets are reached or not; 1 a history was judged wrongly.")]
    Bench(BenchArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Histories: Jepsen's text logs, Porcupine's key-value logs, or JSON lines of our own.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// What the histories must be of: register, cas-register, kv, set, queue or etcd. Without it, what they say.
    #[arg(long, value_name = "OBJECT", value_parser = object)]
    pub(crate) spec: Option<ObjectName>,
    /// Check all keys as one object. A store like etcd always is one: its revisions span the keys.
    #[arg(long)]
    pub(crate) no_partition: bool,
    /// The most steps of the search; then the verdict is undecided, and the exit code 3. A step takes some tens of
    /// nanoseconds.
    #[arg(long, value_name = "STEPS", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) budget: u64,
    /// How many threads share the partitions, at most. Histories of a store like etcd, and of more than 100,000
    /// operations, which are checked in parts, take one thread.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) jobs: u32,
    /// Print each verdict as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// Only these figures, and again for more: machine, runs, growth, crash, zoo or checker.
    #[arg(long, value_name = "FIGURES")]
    pub(crate) only: Vec<String>,
    /// A folder with histories and expected.csv: file, model, operations, verdict, Porcupine's seconds.
    #[arg(long, value_name = "DIR")]
    pub(crate) histories: Option<PathBuf>,
    /// Print each figure as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn object(name: &str) -> Result<ObjectName, String> {
    let known = || ObjectName::ALL.map(ObjectName::name).join(", ");
    ObjectName::of(name).ok_or_else(|| format!("unknown object `{name}`; known are {}", known()))
}

#[derive(Debug, Args)]
pub(crate) struct EtcdTraceArguments {
    /// Traces, one JSON object per line: first the server, then each request with its answer.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The engine below the store.
    #[arg(long, value_name = "ENGINE", default_value = "mem", conflicts_with = "model")]
    pub(crate) engine: EngineName,
    /// Hold the reference model to the traces instead of the store.
    #[arg(long)]
    pub(crate) model: bool,
    /// Print each file's outcome as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimArguments {
    #[command(flatten)]
    pub(crate) run: RunArguments,
    /// With scenario kill-gate: run one seed after another, from --seed or 1 on, one process each, until so many kills
    /// have fallen, and sum up.
    #[arg(long, value_name = "N", conflicts_with_all = ["plan", "trace", "write_plan", "twice", "hermetic"], value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) kills: Option<u64>,
    /// Write every event of the run to this file, one line each.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Write the plan to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) write_plan: Option<PathBuf>,
    /// Run it twice, and name the first event that differs, if one does.
    #[arg(long)]
    pub(crate) twice: bool,
    /// Let the kernel enforce that no system call leaves the machine.
    #[arg(long)]
    pub(crate) hermetic: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print milestones, engine findings and costs, too.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    pub(crate) run: RunArguments,
    /// Write the page to this file; without it, to SCENARIO-SEED.html, or the plan's name with .html, here.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) out: Option<PathBuf>,
    /// Write a trace for the Perfetto viewer (ui.perfetto.dev) to this file, too.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) perfetto: Option<PathBuf>,
    /// Print where the files are, and the run's report, as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SwarmArguments {
    /// Run these seeds, both ends included, as in 1..500.
    #[arg(long, value_name = "A..B", value_parser = seed_range, required_unless_present = "minutes")]
    pub(crate) seeds: Option<RangeInclusive<u64>>,
    /// Run seeds from 1 on, or from the first of --seeds, for so many minutes.
    #[arg(long)]
    pub(crate) minutes: Option<u64>,
    /// How many processes at the same time; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    pub(crate) jobs: usize,
    #[command(flatten)]
    pub(crate) variant: Variant,
    /// Run each seed twice, and compare the traces.
    #[arg(long)]
    pub(crate) twice: bool,
    /// Stop at this many violations; 0 is never.
    #[arg(long, default_value_t = 0)]
    pub(crate) stop_after: usize,
    /// Print each report as a line of JSON, and the summary as the last.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CorpusArguments {
    /// Only entries whose file name contains one of these.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Where the entries are; without it, this project's own.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
    /// How many processes at the same time; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    pub(crate) jobs: usize,
    /// Print each entry's outcome as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write an entry of this name, with the verdict that its run has.
    #[arg(long, value_name = "NAME", requires = "about", conflicts_with = "names")]
    pub(crate) add: Option<String>,
    /// One sentence on why the new entry is there.
    #[arg(long, value_name = "TEXT", requires = "add")]
    pub(crate) about: Option<String>,
    /// The scenario of the new entry.
    #[arg(long, default_value = "default", requires = "add")]
    pub(crate) scenario: Scenario,
    /// The seed of the new entry.
    #[arg(long, requires = "add", conflicts_with = "seeds")]
    pub(crate) seed: Option<u64>,
    /// Take the first of these seeds that shows what the new entry is about.
    #[arg(long, value_name = "A..B", value_parser = seed_range, requires = "add")]
    pub(crate) seeds: Option<RangeInclusive<u64>>,
    /// Change a choice of the protocol in the new entry. May be repeated.
    #[arg(long, value_name = "FIELD=VALUE", requires = "add")]
    pub(crate) design: Vec<String>,
    /// A milestone that the new entry must reach; if nothing is required of it, all that it reaches. May be
    /// repeated.
    #[arg(long, value_name = "MILESTONE", requires = "add")]
    pub(crate) require: Vec<String>,
    /// A way of snapshots that the new entry must have, as in "redb→fjall transcoded". May be repeated.
    #[arg(long, value_name = "ROUTE", requires = "add")]
    pub(crate) route: Vec<String>,
    /// A piece of text that must stand in the new entry's plan, as in "Mute(". May be repeated.
    #[arg(long, value_name = "TEXT", requires = "add")]
    pub(crate) plan_contains: Vec<String>,
    /// A piece of text that must not stand in the new entry's plan. May be repeated.
    #[arg(long, value_name = "TEXT", requires = "add")]
    pub(crate) plan_lacks: Vec<String>,
    /// An engine finding that the new entry must have: a part of its cause.
    #[arg(long, value_name = "CAUSE", requires = "add")]
    pub(crate) finding: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ZooArguments {
    /// Only this design, or all of a field. May be repeated.
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) only: Vec<String>,
    /// How many processes at the same time; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    pub(crate) jobs: usize,
    /// Print each design's outcome as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CrashArguments {
    /// The engine; `--engine list` says which there are, with their versions and what they promise.
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: String,
    /// What a crash may take: process-kill, ext4-ordered or posix.
    #[arg(long, default_value_t = Profile::Posix)]
    pub(crate) profile: Profile,
    /// How many steps the workload has.
    #[arg(long, value_name = "STEPS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ops: u32,
    /// Decides the workload and the samples.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Try every subset of what is pending, wherever that can be done.
    #[arg(long, conflicts_with = "sample")]
    pub(crate) exhaustive: bool,
    /// Random subsets at each boundary, beyond those that are always tried.
    #[arg(long, value_name = "K", default_value_t = 16)]
    pub(crate) sample: u32,
    /// How many processes at the same time; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    pub(crate) jobs: usize,
    /// Open this one state, as a report names it, and say what is wrong with it.
    #[arg(long, value_name = "STATE", conflicts_with_all = ["exhaustive", "sample", "jobs"])]
    pub(crate) state: Option<State>,
    /// Write a Rust test that shows the state without this project; with no --state, the first one found.
    #[arg(long, value_name = "FILE")]
    pub(crate) emit_test: Option<PathBuf>,
    /// Instead of crashing, let each call of the disk fail in turn: eio, enospc, fsync-error or short-write. May be
    /// repeated. What is left is opened as the process left it, and after a power failure: no profile is asked for.
    #[arg(
        long,
        value_name = "FAULT",
        conflicts_with_all = ["profile", "state", "emit_test", "exhaustive", "sample"]
    )]
    pub(crate) fault: Vec<FaultKind>,
    /// Let only this call fail, as a report names it: 17 is the 17th that changes the disk, r17 the 17th read.
    #[arg(long, value_name = "CALL", requires = "fault")]
    pub(crate) at: Option<CallNumber>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads `A..B`, both ends included.
fn seed_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once("..").ok_or("a range of seeds looks like 1..500")?;
    let number = |part: &str| part.parse::<u64>().map_err(|error| format!("`{part}` is no seed: {error}"));
    let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
    if first > last {
        return Err(format!("the first seed, {first}, is above the last, {last}"));
    }
    Ok(first..=last)
}
