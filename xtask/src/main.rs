//! The command line: parses, calls `scenarios`, prints. No logic of its own.
//!
//! Exit codes: 0 held, 1 a violation was found, 2 bad usage or input, 3 a run could not be completed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

mod arguments;
mod corpus;
mod failure;
mod render;
mod sim_command;
mod swarm;
mod zoo;

use arguments::{Arguments, Command};
use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match sim::isolation::settle_addresses() {
        Ok(()) => dispatch(),
        Err(error) => {
            Err(Failure::incomplete(format!("the program could not execute itself again: {error}")))
        }
    };
    outcome.unwrap_or_else(|failure| failure.report())
}

fn dispatch() -> Result<ExitCode, Failure> {
    // clap prints its own message and exits with 2 on bad usage.
    match Arguments::parse().command {
        Command::Sim(arguments) => sim_command::run(&arguments),
        Command::Swarm(arguments) => swarm::run(&arguments),
        Command::Corpus(arguments) => corpus::run(&arguments),
        Command::Zoo(arguments) => zoo::run(&arguments),
    }
}
