//! The command line: parses, calls `scenarios`, prints. No logic of its own.
//!
//! It is a library, so that another repository can have every command for an engine of its own: see
//! `docs/bring-your-own-engine.md`.
//!
//! Exit codes: 0 held, 1 a violation was found, 2 bad usage or input, 3 a run could not be completed, 141 nobody
//! reads standard output any more.

mod arguments;
mod bench;
mod check;
mod corpus;
mod crash;
mod etcd_trace;
mod failure;
mod kill_gate;
mod output;
mod render;
mod render_crash;
mod report;
mod run_arguments;
mod sim_command;
mod swarm;
mod zoo;

use arguments::{Arguments, Command};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use failure::Failure;
use scenarios::Engine;
use scenarios::explorer::Native;
use std::process::ExitCode;

/// The engines that a program of another repository brings along.
#[derive(Clone, Copy, Default)]
pub struct Guests {
    /// What `crash` knows beside the engines of this project, each by its own name.
    pub natives: &'static [&'static dyn Native],
    /// What `sim` and `swarm` know as `guest`; its identity is `EngineId::Guest`.
    pub engine: Option<&'static dyn Engine>,
}

/// What this project's own program is called; whoever brings guests calls his own with `cargo run`.
const OWN_COMMAND: &str = "cargo xtask";
const COMMAND_WITH_GUESTS: &str = "cargo run --";

/// The whole program, with engines of the caller's own.
///
/// Call it first in `main`: it may execute the program again, to settle the addresses of the process.
pub fn main(guests: &Guests) -> ExitCode {
    let outcome = match sim::isolation::settle_addresses() {
        Ok(()) => dispatch(guests),
        Err(error) => {
            Err(Failure::incomplete(format!("the program could not execute itself again: {error}")))
        }
    };
    outcome.unwrap_or_else(|failure| failure.report())
}

fn dispatch(guests: &Guests) -> Result<ExitCode, Failure> {
    if let Some(engine) = guests.engine {
        scenarios::register_guest(engine).map_err(Failure::usage)?;
    }
    if !guests.natives.is_empty() || guests.engine.is_some() {
        output::say_command(COMMAND_WITH_GUESTS);
    }
    // clap prints its own message and exits with 2 on bad usage.
    let matches = named(Arguments::command(), output::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match arguments.command {
        Command::Sim(arguments) => sim_command::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Swarm(arguments) => swarm::run(&arguments),
        Command::Corpus(arguments) => corpus::run(&arguments),
        Command::Zoo(arguments) => zoo::run(&arguments),
        Command::EtcdTrace(arguments) => etcd_trace::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Crash(arguments) => crash::run(&arguments, &given(&matches), guests.natives),
    }
}

/// The options of the command that were typed, not left to their defaults, each as `--name`.
fn given(matches: &ArgMatches) -> Vec<String> {
    let Some((command, matches)) = matches.subcommand() else { return Vec::new() };
    let all = Arguments::command();
    let options = all.find_subcommand(command).into_iter().flat_map(clap::Command::get_arguments);
    let typed = options
        .filter(|option| matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine));
    typed.filter_map(|option| option.get_long().map(|name| format!("--{name}"))).collect()
}

/// The command line under the name that it is called by, in its examples, too.
fn named(commands: clap::Command, name: &'static str) -> clap::Command {
    commands.bin_name(name).mut_subcommands(|command| match command.get_after_help() {
        Some(examples) => {
            let examples = examples.to_string().replace(OWN_COMMAND, name);
            command.after_help(examples)
        }
        None => command,
    })
}
