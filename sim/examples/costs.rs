//! What the machine's own operations cost, on this host: `cargo run -p sim --example costs`.
//!
//! Real time is taken outside the machine, around a child process that does an operation many times, and the cost
//! of a child that does it not at all is taken off.

use sim::entropy::Ratio;
use sim::isolation::{Allowance, run_isolated};
use sim::{Machine, NodeOptions, Options, Process};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const REPEATS: u32 = 100_000;
const PAGE_BYTES: usize = 4096;

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() {
    let hand_over = per_operation(|count| {
        in_machine(move |_| {
            (0..count).for_each(|_| std::thread::yield_now());
            Ok(())
        })
    });
    let virtual_sync = per_operation(|count| {
        in_machine(move |process| write_and_sync(&process.root, count).map_err(|error| error.to_string()))
    });
    println!("baton round trip                       {hand_over:>8.2?}");
    println!("write and fsync of 4 KiB, simulated    {virtual_sync:>8.2?}");
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let started = Instant::now();
        write_and_sync(memory, REPEATS).expect("the host's memory file system takes a few pages");
        println!("write and fsync of 4 KiB, host's tmpfs {:>8.2?}", started.elapsed() / REPEATS);
    }
}

/// The least of five measurements: whatever else the host does only adds.
fn per_operation(work: impl Fn(u32)) -> Duration {
    let time = |count| {
        let started = Instant::now();
        work(count);
        started.elapsed()
    };
    let least = |count| (0..5).map(|_| time(count)).min().expect("five measurements");
    (least(REPEATS).saturating_sub(least(0))) / REPEATS
}

/// Runs `main` as a node's process on a machine of its own.
fn in_machine(main: impl FnOnce(Process) -> Result<(), String> + Send + 'static) {
    let ended = run_isolated(Allowance::default(), move || {
        // Without preemption, so that what is measured is the call.
        let options = Options { preemption: Ratio::ZERO, ..Options::new(1) };
        let run = sim::run(options, None, async move |machine: Machine| {
            let node = machine.add_node(NodeOptions::new("one", 1));
            machine.start(node, main);
            machine.next_event().await;
        });
        assert!(run.is_ok(), "the run completes");
        Vec::new()
    });
    assert_eq!(ended.expect("the host has a process left").end, sim::isolation::End::Finished(Vec::new()));
}

/// Writes a page at rotating places of a file and syncs it, again and again.
fn write_and_sync(directory: &Path, count: u32) -> std::io::Result<()> {
    let path = directory.join(format!("brownout-costs-{}", std::process::id()));
    let file = File::create(&path)?;
    let page = [7; PAGE_BYTES];
    for round in 0..count {
        file.write_all_at(&page, u64::from(round % 1024) * PAGE_BYTES as u64)?;
        file.sync_data()?;
    }
    std::fs::remove_file(&path)
}
