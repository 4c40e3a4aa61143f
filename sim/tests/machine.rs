//! Stories of whole machines, each in a process of its own.
#![allow(clippy::unwrap_used, reason = "what these functions unwrap fails the test that calls them")]

use sim::disk::FaultOptions;
use sim::entropy::Ratio;
use sim::isolation::{Allowance, End, Ended, run_isolated};
use sim::network::Inbound;
use sim::{
    Abort, Completed, Crash, CrashPoint, Machine, NodeEventKind, NodeOptions, OperationFilter, Options,
    PathFaults, Policy, Process, Received, Stop, StopCause,
};
use std::fmt::Debug;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs `main` on a machine of its own and gives back what it said, with the trace's hash.
fn story(options: Options, main: impl AsyncFnOnce(Machine) -> String + Send) -> (String, u64) {
    let ended = isolated(move || match sim::run(options, None, main) {
        Ok(Completed { value, trace, .. }) => format!("{:016x}{value}", trace.hash),
        Err(aborted) => format!("aborted: {:?}\n{}", aborted.abort, aborted.threads.join("\n")),
    });
    match ended.end {
        End::Finished(bytes) => {
            let text = String::from_utf8(bytes).unwrap();
            match text.strip_prefix("aborted: ") {
                Some(why) => (why.to_string(), 0),
                None => (text[16..].to_string(), u64::from_str_radix(&text[..16], 16).unwrap()),
            }
        }
        end => panic!("{end:?}: {}", ended.errors),
    }
}

fn isolated(work: impl FnOnce() -> String) -> Ended {
    run_isolated(Allowance::default(), move || work().into_bytes()).unwrap()
}

/// Runs one process on one node to its end.
fn process(seed: u64, main: fn(Process) -> Result<(), String>) -> (String, u64) {
    story(Options::new(seed), async move |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.start(node, main);
        text(next_stop(machine).await.result)
    })
}

async fn next_stop(machine: Machine) -> Stop {
    loop {
        if let NodeEventKind::Stopped(stop) = machine.next_event().await.what {
            return stop;
        }
    }
}

fn text(value: impl Debug) -> String {
    format!("{value:?}")
}

fn contend(_process: Process) -> Result<(), String> {
    let sum = Arc::new(Mutex::new(0));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let sum = Arc::clone(&sum);
            std::thread::spawn(move || {
                for _ in 0..100 {
                    std::thread::sleep(Duration::from_micros(number + 1));
                    *sum.lock().unwrap() += 1;
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let cores = std::thread::available_parallelism().unwrap();
    Err(format!("{} on {cores} cores", sum.lock().unwrap()))
}

#[test]
fn threads_locks_and_sleeps_run_in_virtual_time() {
    let (said, hash) = process(1, contend);
    assert_eq!(said, text(Err::<(), _>("400 on 2 cores")));
    assert_eq!(process(1, contend).1, hash, "the same seed gives the same trace");
    assert_ne!(process(2, contend).1, hash, "another seed gives another");
}

#[test]
fn every_policy_comes_to_an_end_and_repeats() {
    for policy in [Policy::Random, Policy::Fixed, Policy::Priority { change_points: 5 }] {
        let run = || {
            let options = Options { policy, ..Options::new(7) };
            story(options, async |machine: Machine| {
                let node = machine.add_node(NodeOptions::new("one", 1));
                machine.start(node, contend);
                text(next_stop(machine).await.result)
            })
        };
        let (said, hash) = run();
        assert_eq!((said, hash), run(), "{policy:?}");
        assert_ne!(hash, 0, "{policy:?} completed");
    }
}

#[test]
fn an_hour_of_sleep_costs_no_time() {
    let (said, _) = process(1, |_| {
        let (monotonic, wall) = (std::time::Instant::now(), std::time::SystemTime::now());
        std::thread::sleep(Duration::from_secs(3600));
        Err(format!(
            "{} {}",
            monotonic.elapsed().as_secs(),
            wall.elapsed().map_err(|e| e.to_string())?.as_secs()
        ))
    });
    assert_eq!(said, text(Err::<(), _>("3600 3600")));
}

#[test]
fn a_deadlock_is_reported_with_where_everybody_stands() {
    let (why, _) = process(1, |_| {
        let (left, right) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let (left2, right2) = (Arc::clone(&left), Arc::clone(&right));
        let other = std::thread::spawn(move || {
            let _right = right2.lock().unwrap();
            std::thread::sleep(Duration::from_millis(1));
            let _left = left2.lock().unwrap();
        });
        let _left = left.lock().unwrap();
        std::thread::sleep(Duration::from_millis(1));
        let _right = right.lock().unwrap();
        other.join().map_err(|_| "never".to_string())
    });
    assert!(why.starts_with("Deadlock"), "{why}");
    assert_eq!(why.matches("waits on a lock or condition").count(), 2, "{why}");
    assert!(why.matches("tests/machine.rs").count() >= 2, "{why}");
}

#[test]
fn a_call_that_leaves_the_machine_ends_the_run_by_name() {
    let refused = |main| process(1, main).0;
    let why = refused(|_| std::net::UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|e| e.to_string()));
    assert!(why.contains("EscapedCall") && why.contains("socket("), "{why}");
    let why = refused(|_| File::open("/etc/hostname").map(drop).map_err(|e| e.to_string()));
    assert!(why.contains("/etc/hostname"), "{why}");
    let why = refused(|p| std::os::unix::fs::symlink("a", p.root.join("b")).map_err(|e| e.to_string()));
    assert!(why.contains("UnsupportedCall") && why.contains("symlink"), "{why}");
    let why = refused(|_| std::process::Command::new("true").spawn().map(drop).map_err(|e| e.to_string()));
    assert!(why.contains("UnsupportedCall") && why.contains("posix_spawn"), "{why}");
}

#[test]
fn a_spin_without_system_calls_ends_in_time_with_its_backtrace() {
    let ended = isolated(|| {
        let options = Options { real_time_limit: Duration::from_secs(1), ..Options::new(1) };
        let run = sim::run(options, None, async |machine: Machine| {
            let node = machine.add_node(NodeOptions::new("one", 1));
            machine.start(node, |_| {
                loop {
                    std::hint::spin_loop();
                }
            });
            next_stop(machine).await;
        });
        text(run.map(|_| ()).map_err(|aborted| aborted.abort))
    });
    assert_eq!(ended.end, End::OutOfTime, "{}", ended.errors);
    assert!(ended.errors.contains("tests/machine.rs"), "{}", ended.errors);
}

fn write_two_files(process: Process) -> Result<(), String> {
    let write = |name: &str, sync: bool| -> std::io::Result<()> {
        let mut file = File::create(process.root.join(name))?;
        file.write_all(name.as_bytes())?;
        if sync {
            file.sync_all()?;
            File::open(&process.root)?.sync_all()?;
        }
        Ok(())
    };
    write("synced", true).and_then(|()| write("lost", false)).map_err(|e| e.to_string())?;
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}

fn listing(root: &Path) -> Result<(), String> {
    let entries = std::fs::read_dir(root).map_err(|e| e.to_string())?;
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    Err(names.join(" "))
}

/// What is left of two files after a crash, over many seeds.
fn survivors(crash: Crash) -> Vec<String> {
    let mut seen: Vec<String> = (0..20)
        .map(|seed| {
            let options = Options::new(seed);
            let (said, _) = story(options, async move |machine: Machine| {
                let node = machine.add_node(NodeOptions::new("one", 1));
                machine.start(node, write_two_files);
                machine.sleep(Duration::from_secs(10)).await;
                machine.crash(node, crash);
                assert_eq!(next_stop(machine).await.cause, crash_cause(crash));
                machine.start(node, |process| listing(&process.root));
                next_stop(machine).await.result.unwrap_err()
            });
            said
        })
        .collect();
    seen.sort();
    seen.dedup();
    seen
}

fn crash_cause(crash: Crash) -> StopCause {
    match crash {
        Crash::ProcessKill => StopCause::ProcessKill,
        Crash::PowerFailure => StopCause::PowerFailure,
    }
}

#[test]
fn a_process_kill_loses_nothing_and_a_power_failure_only_what_was_not_synced() {
    assert_eq!(survivors(Crash::ProcessKill), ["lost synced"]);
    assert_eq!(survivors(Crash::PowerFailure), ["lost synced", "synced"]);
}

#[test]
fn a_crash_falls_at_the_disk_operation_that_it_was_given() {
    let (said, _) = story(Options::new(1), async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        let filter =
            OperationFilter { path_contains: "lost".to_string(), writes_only: true, ..Default::default() };
        machine.crash_at(node, CrashPoint { crash: Crash::ProcessKill, operation: 1, inside: true, filter });
        machine.start(node, write_two_files);
        let site = next_stop(machine).await.site.unwrap();
        format!("{} {} inside: {}", site.call, site.path, site.inside)
    });
    assert_eq!(said, "write lost inside: true");
}

/// Changes names in every way, and a size by a name.
fn change_names(process: Process) -> Result<(), String> {
    let at = |name: &str| process.root.join(name);
    let change = || -> std::io::Result<()> {
        std::fs::create_dir(at("d"))?;
        File::create(at("d/a"))?.write_all(b"x")?;
        std::fs::rename(at("d/a"), at("b"))?;
        std::fs::hard_link(at("b"), at("c"))?;
        std::fs::remove_file(at("c"))?;
        std::fs::remove_dir(at("d"))?;
        File::create(at("b")).map(drop)
    };
    change().map_err(|error| error.to_string())
}

#[test]
fn a_crash_falls_at_a_change_of_names_as_at_a_write() {
    let calls: Vec<String> = (1..=9)
        .map(|operation| {
            let (said, _) = story(Options::new(1), async move |machine: Machine| {
                let node = machine.add_node(NodeOptions::new("one", 1));
                let (crash, filter) = (Crash::PowerFailure, OperationFilter::default());
                machine.crash_at(node, CrashPoint { crash, operation, inside: false, filter });
                machine.start(node, change_names);
                next_stop(machine).await.site.map_or("none".to_string(), |site| site.call)
            });
            said
        })
        .collect();
    assert_eq!(
        calls,
        ["mkdir", "create", "write", "rename", "link", "unlink", "rmdir", "truncate", "none"],
        "each call that changes the disk is one operation"
    );
}

#[test]
fn a_change_of_names_fails_by_its_own_option_and_does_nothing() {
    let (said, _) = story(Options::new(1), async |machine: Machine| {
        let options = FaultOptions { path_error: Ratio::ONE, ..FaultOptions::default() };
        let faults = vec![PathFaults { path_contains: "d".to_string(), options }];
        let node = machine.add_node(NodeOptions { faults, ..NodeOptions::new("one", 1) });
        machine.start(node, |process| {
            let errors: std::collections::BTreeSet<_> = (0..20)
                .map(|_| std::fs::create_dir(process.root.join("d")).unwrap_err().raw_os_error())
                .collect();
            std::fs::create_dir(process.root.join("e")).map_err(|error| error.to_string())?;
            Err(format!("{errors:?}, left: {}", listing(&process.root).unwrap_err()))
        });
        let said = next_stop(machine).await.result.unwrap_err();
        format!("{said}, counted: {}", machine.disk_faults(node)[0].path_errors)
    });
    assert_eq!(said, "{Some(5), Some(28)}, left: e, counted: 20");
}

/// What a power failure inside the second write of `length` bytes of ones over synced zeros leaves: a digit for every
/// byte. A share `byte_tears` of the tears fall at any byte.
fn torn(seed: u64, length: usize, byte_tears: Ratio) -> String {
    let (said, _) = story(Options::new(seed), async move |machine: Machine| {
        let node = machine.add_node(NodeOptions { byte_tears, ..NodeOptions::new("one", 1) });
        let (crash, filter) =
            (Crash::PowerFailure, OperationFilter { writes_only: true, ..OperationFilter::default() });
        machine.crash_at(node, CrashPoint { crash, operation: 2, inside: true, filter });
        machine.start(node, move |process| {
            let over = || -> std::io::Result<()> {
                let mut file = File::create(process.root.join("file"))?;
                file.write_all(&vec![0; length])?;
                file.sync_all()?;
                File::open(&process.root)?.sync_all()?;
                file.write_all_at(&vec![1; length], 0)
            };
            over().map_err(|error| error.to_string())
        });
        next_stop(machine).await;
        machine.start(node, |process| {
            let bytes = std::fs::read(process.root.join("file")).map_err(|error| error.to_string())?;
            Err(bytes.iter().map(u8::to_string).collect())
        });
        next_stop(machine).await.result.unwrap_err()
    });
    said
}

#[test]
fn a_power_failure_inside_a_write_tears_that_write() {
    let sectors =
        |left: &str| left.as_bytes().chunks(512).all(|sector| sector.iter().all(|it| *it == sector[0]));
    for seed in 0..20 {
        let left = torn(seed, 4096, Ratio::ZERO);
        assert!(left.contains('0') && left.contains('1') && left.len() == 4096, "seed {seed}: {left}");
        assert!(sectors(&left), "a tear falls between two sectors, seed {seed}: {left}");
        let left = torn(seed, 512, Ratio::ZERO);
        assert!(sectors(&left), "a sector is written whole or not at all, seed {seed}: {left}");
    }
}

#[test]
fn a_write_is_torn_at_a_byte_where_that_is_asked_for() {
    for seed in 0..20 {
        let left = torn(seed, 512, Ratio::ONE);
        let ones = left.find('0').expect("a torn write lacks its end");
        assert!(ones > 0 && !left[ones..].contains('1') && left.len() == 512, "seed {seed}: {left}");
    }
}

#[test]
fn a_sync_covers_what_was_written_before_it_began() {
    let left = |seed| {
        let (said, _) = story(Options::new(seed), async move |machine: Machine| {
            let options = FaultOptions { sync_latency_base_ns: 10_000_000, ..FaultOptions::default() };
            let faults = vec![PathFaults { path_contains: "file".to_string(), options }];
            let node = machine.add_node(NodeOptions { faults, ..NodeOptions::new("one", 1) });
            machine.start(node, |process| {
                let sync = || -> std::io::Result<()> {
                    let file = File::create(process.root.join("file"))?;
                    File::open(&process.root)?.sync_all()?;
                    file.write_all_at(b"before ", 0)?;
                    let other = file.try_clone()?;
                    let writer = std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(1));
                        other.write_all_at(b"meanwhile", 7)
                    });
                    file.sync_all()?;
                    writer.join().unwrap()
                };
                sync().map_err(|error| error.to_string())?;
                std::thread::sleep(Duration::from_secs(3600));
                Ok(())
            });
            machine.sleep(Duration::from_secs(1)).await;
            machine.crash(node, Crash::PowerFailure);
            next_stop(machine).await;
            machine.start(node, |process| {
                Err(std::fs::read_to_string(process.root.join("file")).map_err(|error| error.to_string())?)
            });
            next_stop(machine).await.result.unwrap_err()
        });
        said
    };
    let seen: Vec<String> = (0..20).map(left).collect();
    assert!(seen.iter().all(|left| left.starts_with("before ")), "{seen:?}");
    assert!(seen.iter().any(|left| left == "before "), "what was written meanwhile may be lost: {seen:?}");
    assert!(seen.iter().any(|left| left == "before meanwhile"), "or not: {seen:?}");
}

#[test]
fn a_paused_node_stands_still_while_the_world_goes_on() {
    let (said, _) = story(Options::new(1), async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("echo", 1));
        machine.start(node, |process| {
            loop {
                match process.endpoint.receive(Duration::from_secs(60)) {
                    Received::Inbound(Inbound::Message { from, bytes }) => process.endpoint.send(from, bytes),
                    Received::Inbound(_) | Received::TimedOut => {}
                    Received::Closed => return Ok(()),
                }
            }
        });
        let client = machine.endpoint(1000);
        let mut answers = Vec::new();
        for paused in [false, true, false] {
            if paused {
                machine.pause(node)
            } else {
                machine.resume(node)
            }
            client.send(1, vec![u8::from(paused)]);
            answers.push(client.receive(Duration::from_secs(1)).await.is_some());
        }
        machine.crash(node, Crash::ProcessKill);
        next_stop(machine).await;
        machine.sleep(Duration::from_secs(1)).await;
        format!("{answers:?}, {} ghost threads", machine.ghost_threads())
    });
    assert_eq!(said, "[true, false, true], 0 ghost threads");
}

#[test]
fn a_panic_of_the_main_thread_is_the_end_of_its_process_only() {
    let (said, _) = story(Options::new(1), async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.start(node, |_| panic!("a bug"));
        let stop = next_stop(machine).await;
        format!("{:?} {}", stop.cause, stop.result.unwrap_err())
    });
    assert!(said.starts_with("Exit a bug at "), "{said}");
}

#[test]
fn the_kernel_sees_no_system_call_that_leaves_the_machine() {
    let options = Options { enforce_hermetic: true, ..Options::new(3) };
    let (said, _) = story(options, async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.start(node, |process| {
            let done = contend(process.clone()).unwrap_err();
            std::fs::write(process.root.join("file"), &done).map_err(|e| e.to_string())?;
            std::fs::rename(process.root.join("file"), process.root.join("renamed"))
                .map_err(|e| e.to_string())?;
            listing(&process.root)
        });
        text(next_stop(machine).await.result)
    });
    assert_eq!(said, text(Err::<(), _>("renamed")));
}

#[test]
fn the_kernel_ends_a_run_whose_system_call_leaves_the_machine() {
    let ended = isolated(|| {
        let options = Options { enforce_hermetic: true, ..Options::new(3) };
        let run = sim::run(options, None, async |_: Machine| {
            // The driver's own thread is not interposed, so this call reaches the kernel.
            drop(File::open("/etc/hostname"));
        });
        text(run.is_ok())
    });
    assert_eq!(ended.end, End::Exited(122));
    assert!(ended.errors.contains("left the simulated machine"), "{}", ended.errors);
}

#[test]
fn a_virtual_time_limit_ends_what_a_periodic_timer_hides() {
    let options = Options { virtual_time_limit: Duration::from_secs(100), ..Options::new(1) };
    let (why, _) = story(options, async |machine: Machine| {
        let node = machine.add_node(NodeOptions::new("one", 1));
        machine.start(node, |_| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        text(next_stop(machine).await.result)
    });
    assert!(why.starts_with(&text(Abort::VirtualTimeLimit)), "{why}");
}
