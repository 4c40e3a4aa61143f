//! A program of your own on the machine: it replaces a file by rename, and forgets a sync. 200 seeds, each with a power
//! failure at one of its first disk operations, show what that costs. `cargo run -p sim --example own_program`
//!
//! What a program outside this workspace needs beside this is in `docs/bring-your-own-engine.md`.

use sim::isolation::{Allowance, End, run_isolated, settle_addresses};
use sim::{Crash, CrashPoint, Machine, NodeEventKind, NodeOptions, OperationFilter, Options, Process, Stop};
use std::fs;

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() {
    settle_addresses().expect("the program can execute itself again");
    for seed in 1..=200 {
        let ended = run_isolated(Allowance::default(), move || one_power_failure(seed).into_bytes());
        match ended.expect("the host has room for a process").end {
            End::Finished(said) if said.is_empty() => {}
            End::Finished(said) => println!("seed {seed}: {}", String::from_utf8_lossy(&said)),
            end => println!("seed {seed}: {end:?}"),
        }
    }
}

/// Lets the power fail at a disk operation, starts the program again on what is left, and says what is wrong with it.
fn one_power_failure(seed: u64) -> String {
    let run = sim::run(Options::new(seed), None, async move |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        let (crash, filter) = (Crash::PowerFailure, OperationFilter::default());
        machine.crash_at(
            node,
            CrashPoint { crash, operation: 1 + seed % 8, inside: seed.is_multiple_of(2), filter },
        );
        machine.start(node, |process| replace_config(process).map_err(|error| error.to_string()));
        next_stop(machine).await;
        machine.start(node, |process| check_config(&process));
        next_stop(machine).await.result.err().unwrap_or_default()
    });
    run.map_or_else(|aborted| format!("{:?}", aborted.abort), |completed| completed.value)
}

/// The program under test. The name is synced, with its directory; what is in the file is not.
fn replace_config(process: Process) -> std::io::Result<()> {
    for version in ["first", "second"] {
        fs::write(process.root.join("config.new"), version)?;
        fs::rename(process.root.join("config.new"), process.root.join("config"))?;
        fs::File::open(&process.root)?.sync_all()?;
    }
    Ok(())
}

fn check_config(process: &Process) -> Result<(), String> {
    match fs::read_to_string(process.root.join("config")) {
        Ok(text) if text == "first" || text == "second" => Ok(()),
        Ok(text) => Err(format!("config is {text:?}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

async fn next_stop(machine: Machine) -> Stop {
    loop {
        if let NodeEventKind::Stopped(stop) = machine.next_event().await.what {
            return stop;
        }
    }
}
