//! Stories of disks that fail: each fault as a program meets it.
#![allow(clippy::unwrap_used, reason = "what these functions unwrap fails the test that calls them")]

use sim::disk::{Disk, FaultCounters, FaultOptions, Keep, PendingOperation};
use sim::entropy::Ratio;
use sim::isolation::{Allowance, End, run_isolated};
use sim::{Crash, Machine, NodeEventKind, NodeOptions, Options, PathFaults, Process};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

type Main = fn(&Process) -> Result<String, String>;

/// Runs `first` on a node with such a disk, then lets the power fail, which loses nothing that was handed to the device,
/// and runs `second` on a healthy one. What the two said, and what was injected.
fn tell(options: FaultOptions, first: Main, second: Option<Main>) -> (String, String, FaultCounters) {
    let run = |options: FaultOptions| {
        let ended = run_isolated(Allowance::default(), move || {
            let completed = sim::run(Options::new(1), None, async move |machine: Machine| {
                let faults = vec![PathFaults { path_contains: String::new(), options }];
                let node = machine.add_node(NodeOptions { faults, ..NodeOptions::new("one", 1) });
                machine.choose_losses(node, |_: &PendingOperation| Keep::Whole);
                let first = live(machine, node, first).await;
                let counters = machine.disk_faults(node)[0];
                machine.mend_disk(node);
                let second = match second {
                    Some(second) => live(machine, node, second).await,
                    None => String::new(),
                };
                format!("{first}|{second}|{}", Counted(counters).list().map(|it| it.to_string()).join(" "))
            });
            let completed = completed.unwrap();
            format!("{}|{:x}", completed.value, completed.trace.hash).into_bytes()
        });
        let ended = ended.unwrap();
        let End::Finished(bytes) = ended.end else { panic!("{:?}: {}", ended.end, ended.errors) };
        String::from_utf8(bytes).unwrap()
    };
    let told = run(options.clone());
    assert_eq!(told, run(options), "the same seed tells the same story");
    let mut parts = told.split('|').map(str::to_owned);
    let (first, second) = (parts.next().unwrap(), parts.next().unwrap());
    let counted: Vec<u64> = parts.next().unwrap().split(" ").map(|it| it.parse().unwrap()).collect();
    (first, second, Counted::from_list(&counted))
}

/// Counters on their way between processes.
struct Counted(FaultCounters);

impl Counted {
    fn list(&self) -> [u64; 9] {
        let it = self.0;
        [
            it.stalls,
            it.rotten_bits,
            it.latent_errors,
            it.unreadable_reads,
            it.lost_writes,
            it.misdirected_writes,
            it.stale_reads,
            it.read_only_remounts,
            it.capacity_growths,
        ]
    }

    fn from_list(list: &[u64]) -> FaultCounters {
        FaultCounters {
            stalls: list[0],
            rotten_bits: list[1],
            latent_errors: list[2],
            unreadable_reads: list[3],
            lost_writes: list[4],
            misdirected_writes: list[5],
            stale_reads: list[6],
            read_only_remounts: list[7],
            capacity_growths: list[8],
            ..FaultCounters::default()
        }
    }
}

/// One life, ended by a power failure once it has said what it has to say.
async fn live(machine: Machine, node: sim::NodeId, main: Main) -> String {
    let (said, heard) = std::sync::mpsc::channel();
    machine.start(node, move |process| {
        said.send(main(&process).unwrap_or_else(|error| error)).unwrap();
        // A process that ends leaves its page cache; here the power takes it.
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    });
    let said = loop {
        machine.sleep(Duration::from_secs(60)).await;
        if let Ok(said) = heard.try_recv() {
            break said;
        }
    };
    machine.crash(node, Crash::PowerFailure);
    loop {
        if let NodeEventKind::Stopped(_) = machine.next_event().await.what {
            return said;
        }
    }
}

fn words(error: std::io::Error) -> String {
    format!("{:?}", error.kind())
}

fn open(process: &Process) -> Result<File, String> {
    let file =
        File::options().create(true).truncate(false).read(true).write(true).open(process.root.join("file"));
    file.map_err(words)
}

/// Each run of equal bytes as `count×byte`.
fn runs(bytes: &[u8]) -> String {
    bytes.chunk_by(|a, b| a == b).map(|run| format!("{}×{}", run.len(), run[0])).collect::<Vec<_>>().join(" ")
}

fn read(file: &File, length: usize) -> String {
    let mut bytes = vec![0; length];
    match file.read_at(&mut bytes, 0) {
        Ok(count) => runs(&bytes[..count]),
        Err(error) => words(error),
    }
}

/// Writes one sector of each digit and syncs.
fn write_sectors(process: &Process, digits: &[u8]) -> Result<File, String> {
    let file = open(process)?;
    for (sector, digit) in (0..).zip(digits) {
        file.write_all_at(&[*digit; 512], sector * 512).map_err(words)?;
    }
    file.sync_all().map_err(words)?;
    File::open(&process.root).and_then(|root| root.sync_all()).map_err(words)?;
    Ok(file)
}

#[test]
fn a_sync_takes_as_long_as_its_bytes_need() {
    let options = FaultOptions { bytes_per_second: 1 << 20, ..FaultOptions::default() };
    let (said, ..) = tell(
        options,
        |process| {
            let file = open(process)?;
            let start = Instant::now();
            file.write_all_at(&vec![1; 2 << 20], 0).map_err(words)?;
            let written = start.elapsed();
            file.sync_all().map_err(words)?;
            let synced = start.elapsed();
            file.sync_all().map_err(words)?;
            Ok(format!("{} {} {}", written.as_secs(), synced.as_secs(), start.elapsed().as_secs()))
        },
        None,
    );
    assert_eq!(said, "0 2 2", "2 MiB at 1 MiB/s; nothing takes no time");
}

#[test]
fn a_stall_takes_its_time_at_any_call() {
    let options = FaultOptions {
        stall: Ratio::ONE,
        stall_mean_ns: 1_000_000_000,
        stall_max_ns: 30_000_000_000,
        ..FaultOptions::default()
    };
    let (said, _, counters) = tell(
        options,
        |process| {
            let start = Instant::now();
            std::fs::create_dir(process.root.join("directory")).map_err(words)?;
            Ok((start.elapsed() > Duration::from_millis(10)).to_string())
        },
        None,
    );
    assert_eq!((said.as_str(), counters.stalls), ("true", 1));
}

#[test]
fn a_rotten_bit_stays_until_its_byte_is_written_again() {
    let options = FaultOptions { bit_rot: Ratio::ONE, ..FaultOptions::default() };
    let (said, later, counters) = tell(
        options,
        |process| {
            let file = open(process)?;
            file.write_all_at(&[7; 512], 0).map_err(words)?;
            let cached = read(&file, 512);
            file.sync_all().map_err(words)?;
            File::open(&process.root).and_then(|root| root.sync_all()).map_err(words)?;
            let mut bytes = [0; 512];
            file.read_at(&mut bytes, 0).map_err(words)?;
            let flipped: u32 = bytes.iter().map(|byte| (byte ^ 7).count_ones()).sum();
            Ok(format!("{cached}, then {flipped} bit"))
        },
        Some(|process| {
            let file = open(process)?;
            let mut bytes = [0; 512];
            file.read_at(&mut bytes, 0).map_err(words)?;
            let flipped: u32 = bytes.iter().map(|byte| (byte ^ 7).count_ones()).sum();
            file.write_all_at(&[7; 512], 0).map_err(words)?;
            Ok(format!("{flipped} bit, then {}", read(&file, 512)))
        }),
    );
    assert_eq!(said, "512×7, then 1 bit", "only what is on the medium rots");
    assert_eq!(later, "1 bit, then 512×7");
    assert_eq!(counters.rotten_bits, 1);
}

#[test]
fn an_unreadable_sector_fails_reads_until_it_is_written_whole() {
    let options = FaultOptions { latent_error: Ratio::ONE, ..FaultOptions::default() };
    let (said, later, counters) = tell(
        options,
        |process| {
            let file = write_sectors(process, &[1])?;
            file.write_all_at(&[2; 100], 4096).map_err(words)?;
            Ok(format!("{}, {}", read(&file, 512), read(&file, 512)))
        },
        Some(|process| {
            let file = open(process)?;
            let mut answers = vec![read(&file, 512)];
            let mut second_page = [0; 100];
            file.read_at(&mut second_page, 4096).map_err(words)?;
            answers.push(runs(&second_page));
            file.write_all_at(&[3; 100], 0).map_err(words)?;
            answers.push(read(&file, 512));
            file.write_all_at(&[4; 512], 0).map_err(words)?;
            answers.push(read(&file, 512));
            Ok(answers.join(", "))
        }),
    );
    let error = words(std::io::Error::from_raw_os_error(libc_eio()));
    assert_eq!(said, format!("{error}, {error}"));
    assert_eq!(later, format!("{error}, 100×2, {error}, 512×4"));
    assert_eq!((counters.latent_errors, counters.unreadable_reads), (2, 2));
}

/// `EIO`, the same number on every Linux.
const fn libc_eio() -> i32 {
    5
}

#[test]
fn a_read_ends_before_the_page_that_cannot_be_read() {
    let mut disk = Disk::new();
    let stamp = sim::disk::Stamp::default();
    let file = disk.create_file(sim::disk::InodeNumber::ROOT, b"file", 0o644, stamp);
    disk.write(file, 0, &[1; 12_288], stamp);
    for inode in [file, sim::disk::InodeNumber::ROOT] {
        disk.sync(inode, sim::disk::SyncScope::All, sim::disk::SyncFate::Honest);
    }
    disk.damage(file, 10, sim::disk::Damage::Unreadable);
    disk.damage(file, 1, sim::disk::Damage::Rot { bit: 8 });
    let (mut seen, mut pristine) = ([0; 1024], [0; 1024]);
    disk.read(file, 0, &mut seen);
    disk.read_pristine(file, 0, &mut pristine);
    assert_eq!((runs(&seen), runs(&pristine)), ("513×1 1×0 510×1".to_owned(), "1024×1".to_owned()));
    let ended = run_isolated(Allowance::default(), move || {
        let completed = sim::run(Options::new(1), None, async move |machine: Machine| {
            let node = machine.add_node(NodeOptions::new("one", 1));
            machine.set_disk(node, disk);
            live(machine, node, |process| {
                let file = open(process)?;
                let mut rest = [0; 100];
                let inside = file.read_at(&mut rest, 5000).map_err(words);
                let behind = file.read_at(&mut rest, 8192).map_err(words);
                let mut all = [0; 12_288];
                let count = file.read_at(&mut all, 0).map_err(words);
                Ok(format!("{} {} {}", count.is_ok_and(|it| it == 4096), inside.is_err(), behind.is_ok()))
            })
            .await
        });
        completed.unwrap().value.into_bytes()
    });
    assert_eq!(ended.unwrap().end, End::Finished(b"true true true".to_vec()));
}

#[test]
fn a_lost_write_is_seen_until_the_power_fails() {
    let options = FaultOptions { lost_write: Ratio::ONE, ..FaultOptions::default() };
    let (said, later, counters) = tell(
        options,
        |process| write_sectors(process, &[1, 2]).map(|file| read(&file, 2000)),
        Some(|process| open(process).map(|file| read(&file, 2000))),
    );
    assert_eq!((said.as_str(), later.as_str()), ("512×1 512×2", "1024×0"), "though it was synced");
    assert_eq!(counters.lost_writes, 2);
}

#[test]
fn a_misdirected_write_hits_another_sector() {
    let options = FaultOptions { misdirected_write: Ratio::ONE, ..FaultOptions::default() };
    let (said, later, counters) = tell(
        options,
        |process| {
            let file = open(process)?;
            file.set_len(1024).map_err(words)?;
            file.write_all_at(&[2; 512], 512).map_err(words)?;
            file.sync_all().map_err(words)?;
            File::open(&process.root).and_then(|root| root.sync_all()).map_err(words)?;
            Ok(read(&file, 2000))
        },
        Some(|process| open(process).map(|file| read(&file, 2000))),
    );
    assert_eq!((said.as_str(), later.as_str()), ("512×0 512×2", "512×2 512×0"));
    assert_eq!(counters.misdirected_writes, 1);
}

#[test]
fn a_stale_read_gives_what_was_there_before_the_last_sync() {
    let options = FaultOptions { stale_read: Ratio::ONE, ..FaultOptions::default() };
    let (said, later, counters) = tell(
        options,
        |process| {
            let file = write_sectors(process, &[1, 2])?;
            file.write_all_at(&[3; 512], 0).map_err(words)?;
            let cached = read(&file, 1024);
            file.sync_all().map_err(words)?;
            Ok(format!("{cached}, then {}", read(&file, 1024)))
        },
        Some(|process| open(process).map(|file| read(&file, 2000))),
    );
    assert_eq!(said, "512×3 512×0, then 512×1 512×2");
    assert_eq!(later, "512×3 512×2", "nothing was lost");
    assert_eq!(counters.stale_reads, 2);
}

#[test]
fn after_an_error_the_file_system_is_read_only_until_it_is_mounted_again() {
    let options =
        FaultOptions { sync_error: Ratio::ONE, remount_read_only: Ratio::ONE, ..FaultOptions::default() };
    let (said, later, counters) = tell(
        options,
        |process| {
            let file = open(process)?;
            file.write_all_at(&[1; 100], 0).map_err(words)?;
            let failed = file.sync_all().is_err();
            let refused = [
                file.write_at(&[2; 100], 0).map(drop),
                file.sync_all(),
                file.set_len(0),
                std::fs::create_dir(process.root.join("directory")),
                std::fs::remove_file(process.root.join("file")),
            ];
            let refused = refused
                .into_iter()
                .all(|it| it.is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem));
            Ok(format!("{failed} {refused} {}", read(&file, 200)))
        },
        Some(|process| write_sectors(process, &[3]).map(|file| read(&file, 200))),
    );
    assert_eq!((said.as_str(), later.as_str()), ("true true 100×1", "200×3"));
    assert_eq!(counters.read_only_remounts, 1);
}

#[test]
fn a_full_disk_grows_some_time_after_it_was_met() {
    let options = FaultOptions {
        capacity_bytes: 2 * 4096,
        capacity_growth_bytes: 2 * 4096,
        capacity_growth_after_ns: 1_000_000_000,
        ..FaultOptions::default()
    };
    let (said, _, counters) = tell(
        options,
        |process| {
            let file = open(process)?;
            let mut answers = Vec::new();
            for wait_s in [0, 0, 0, 2, 0, 0] {
                std::thread::sleep(Duration::from_secs(wait_s));
                let length = file.metadata().map_err(words)?.len();
                let written = file.write_at(&[1; 4096], length);
                answers.push(written.map_or_else(words, |count| count.to_string()));
            }
            Ok(answers.join(" "))
        },
        None,
    );
    assert_eq!(said, "4096 StorageFull StorageFull 4096 4096 StorageFull");
    assert_eq!(counters.capacity_growths, 1);
}
