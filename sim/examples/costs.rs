//! What the machine costs, against what it stands for: handing the baton over, and 4 KiB written and synced on the
//! virtual disk and on the host's memory file system. `cargo run -p sim --example costs`
//!
//! Ratios are taken in one run, A B A B, and medians are shown: the host is shared and noisy.

#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use sim::isolation::{Allowance, End, run_isolated};
use sim::{Completed, Machine, NodeEventKind, NodeOptions, Options, Process};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds of which the median is taken.
const ROUNDS: usize = 7;
/// Hand-overs, and writes with their syncs, of one round.
const TIMES: u64 = 20_000;
/// What is written each time.
const BLOCK: [u8; 4096] = [0xb7; 4096];
/// The block goes to one of so many places in the file.
const PLACES: u64 = 256;

fn main() {
    if let Err(error) = sim::isolation::settle_addresses() {
        println!("addresses stay random: {error}");
    }
    let mut costs = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        costs[0].push(on_the_machine(hand_over));
        costs[1].push(on_the_machine(write_and_sync));
        costs[2].push(on_the_host(Path::new("/dev/shm")));
        costs[3].push(on_the_machine(|_| Ok(())));
    }
    let [hand_overs, machine, host, empty] = costs.map(median);
    let each = |whole: Duration| whole.saturating_sub(empty).as_nanos() as f64 / TIMES as f64 / 1000.0;
    println!("a hand-over and back             {:>8.2} µs", each(hand_overs));
    println!("4 KiB written and synced");
    println!("  on the virtual disk            {:>8.2} µs, traced", each(machine));
    println!("  on /dev/shm of the host        {:>8.2} µs", host.as_nanos() as f64 / TIMES as f64 / 1000.0);
    println!("a machine with nothing to do     {:>8.2} ms", empty.as_secs_f64() * 1000.0);
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations[durations.len() / 2]
}

/// Real time that a machine takes to run `process` to its end, in a process of its own pinned to a core.
fn on_the_machine(process: fn(Process) -> Result<(), String>) -> Duration {
    let ended = run_isolated(Allowance::default(), move || {
        let begin = Instant::now();
        let completed = sim::run(Options::new(1), None, async move |machine: Machine| {
            let node = machine.add_node(NodeOptions::new("one", 1));
            machine.start(node, process);
            loop {
                if let NodeEventKind::Stopped(stop) = machine.next_event().await.what {
                    return stop.result;
                }
            }
        });
        match completed {
            Ok(Completed { value: Ok(()), .. }) => {
                u64::try_from(begin.elapsed().as_nanos()).expect("a short time").to_le_bytes().to_vec()
            }
            failed => format!("{failed:?}").into_bytes(),
        }
    })
    .expect("the host has room for a process");
    match ended.end {
        End::Finished(bytes) => match <[u8; 8]>::try_from(bytes.as_slice()) {
            Ok(nanoseconds) => Duration::from_nanos(u64::from_le_bytes(nanoseconds)),
            Err(_) => panic!("{}", String::from_utf8_lossy(&bytes)),
        },
        end => panic!("{end:?}: {}", ended.errors),
    }
}

/// Gives the baton back, to be given it again.
fn hand_over(_process: Process) -> Result<(), String> {
    (0..TIMES).for_each(|_| std::thread::yield_now());
    Ok(())
}

fn write_and_sync(process: Process) -> Result<(), String> {
    write_blocks(&process.root.join("blocks")).map_err(|error| error.to_string())
}

fn on_the_host(directory: &Path) -> Duration {
    let path = directory.join(format!("brownout-costs-{}", std::process::id()));
    let begin = Instant::now();
    let written = write_blocks(&path);
    let elapsed = begin.elapsed();
    // It is only memory; what cannot be removed goes with the host.
    drop(std::fs::remove_file(&path));
    written.expect("the host's memory file system can be written");
    elapsed
}

fn write_blocks(path: &Path) -> std::io::Result<()> {
    let file: File = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    for time in 0..TIMES {
        file.write_all_at(&BLOCK, time % PLACES * BLOCK.len() as u64)?;
        file.sync_all()?;
    }
    (&file).flush()
}
