//! What the machine's own operations cost.
//!
//! It is the processor time of a child process that does an operation many times; that of a child that does it not at
//! all is taken off.

use super::{Figure, Target, Untaken};
use sim::entropy::Ratio;
use sim::isolation::{Allowance, End, run_isolated};
use sim::{Machine, NodeOptions, Options, Process};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const REPEATS: u32 = 100_000;
const PAGE_BYTES: usize = 4096;

/// Where Linux keeps a file system in memory.
const TMPFS: &str = "/dev/shm";

pub(super) fn figures() -> Result<Vec<Figure>, Untaken> {
    let hand_over = per_operation(|count| {
        in_machine(move |_| {
            (0..count).for_each(|_| std::thread::yield_now());
            Ok(())
        });
    })?;
    let simulated = per_operation(|count| {
        in_machine(move |process| write_and_sync(&process.root, count).map_err(|error| error.to_string()));
    })?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let mut figures = vec![
        Figure::new("hand-over between threads and back", micros(hand_over), "CPU µs", Target::AtMost(3.0)),
        Figure::new("write and fsync of 4 KiB", micros(simulated), "CPU µs", Target::None),
    ];
    if Path::new(TMPFS).is_dir() {
        let host = per_operation(|count| {
            write_and_sync(Path::new(TMPFS), count).expect("the host's memory takes a few pages");
        })?;
        figures.push(Figure::new("the same on the host's tmpfs", micros(host), "CPU µs", Target::None));
        let factor = host.as_secs_f64() / simulated.as_secs_f64();
        figures.push(Figure::new("tmpfs beside simulated", factor, "times", Target::AtLeast(2.0)));
    }
    Ok(figures)
}

/// The least of five measurements: whatever else the host does only adds.
fn per_operation(work: impl Fn(u32)) -> Result<Duration, Untaken> {
    let least = |count| {
        let times = (0..5).map(|_| {
            let ended = run_isolated(Allowance::default(), || {
                work(count);
                Vec::new()
            })?;
            match ended.end {
                End::Finished(_) => Ok(ended.processor_time),
                other => {
                    Err(Untaken::Incomplete(format!("{count} operations to be measured ended as {other:?}")))
                }
            }
        });
        Ok::<_, Untaken>(times.collect::<Result<Vec<_>, _>>()?.into_iter().min().unwrap_or_default())
    };
    Ok(least(REPEATS)?.saturating_sub(least(0)?) / REPEATS)
}

/// Runs `main` as a node's process on a machine of its own.
fn in_machine(main: impl FnOnce(Process) -> Result<(), String> + Send + 'static) {
    // Without preemption, so that what is measured is the call.
    let options = Options { preemption: Ratio::ZERO, ..Options::new(1) };
    let run = sim::run(options, None, async move |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.start(node, main);
        machine.next_event().await;
    });
    assert!(run.is_ok(), "the run completes");
}

/// Writes a page at rotating places of a file and syncs it, again and again.
fn write_and_sync(directory: &Path, count: u32) -> io::Result<()> {
    let path = directory.join(format!("brownout-costs-{}", std::process::id()));
    let file = File::create(&path)?;
    let page = [7; PAGE_BYTES];
    for round in 0..count {
        file.write_all_at(&page, u64::from(round % 1024) * PAGE_BYTES as u64)?;
        file.sync_data()?;
    }
    std::fs::remove_file(&path)
}
