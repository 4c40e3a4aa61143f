//! Programs that use the rest of the POSIX surface, through the C library as any program does, on a machine in a process
//! of its own.
#![allow(clippy::unwrap_used, reason = "what these functions unwrap fails the test that calls them")]

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::{DupFlags, Errno, ReadWriteFlags};
use sim::disk::{FaultOptions, Keep, PendingOperation};
use sim::entropy::Ratio;
use sim::isolation::{Allowance, End, run_isolated};
use sim::{Crash, Machine, NodeEventKind, NodeOptions, Options, PathFaults, Process};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Runs `first` on a node, crashes it by a power failure that loses all it may, and runs `second`; what that says.
fn story(faults: FaultOptions, first: fn(&Path), second: fn(&Path) -> String) -> String {
    let ended = run_isolated(Allowance::default(), move || {
        let told = sim::run(Options::new(3), None, async move |machine: Machine| {
            let faults = vec![PathFaults { path_contains: String::new(), options: faults }];
            let node = machine.add_node(NodeOptions { faults, ..NodeOptions::new("one", 1) });
            machine.choose_losses(node, |_: &PendingOperation| Keep::Drop);
            machine.start(node, move |process: Process| {
                first(&process.root);
                std::thread::sleep(Duration::from_secs(3600));
                Ok(())
            });
            machine.sleep(Duration::from_secs(1)).await;
            machine.crash(node, Crash::PowerFailure);
            machine.start(node, move |process: Process| Err(second(&process.root)));
            loop {
                if let NodeEventKind::Stopped(stop) = machine.next_event().await.what
                    && let Err(said) = stop.result
                {
                    return said;
                }
            }
        });
        told.map_or_else(|aborted| format!("{:?}", aborted.abort), |done| done.value).into_bytes()
    });
    let ended = ended.unwrap();
    match ended.end {
        End::Finished(bytes) => String::from_utf8(bytes).unwrap(),
        end => panic!("{end:?}: {}", ended.errors),
    }
}

fn healthy(second: fn(&Path) -> String) -> String {
    story(FaultOptions::default(), |_| {}, second)
}

fn create(root: &Path, name: &str, bytes: &[u8]) -> File {
    let path = root.join(name);
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn said(root: &Path, name: &str) -> String {
    String::from_utf8(std::fs::read(root.join(name)).unwrap()).unwrap()
}

#[test]
fn bytes_are_copied_between_files_without_passing_the_program() {
    let told = healthy(|root| {
        let (from, to) = (create(root, "from", b"0123456789"), create(root, "to", b"........"));
        let (mut start, mut place) = (2, 4);
        let copied = rustix::fs::copy_file_range(&from, Some(&mut start), &to, Some(&mut place), 3).unwrap();
        let overlapping = rustix::fs::copy_file_range(&from, Some(&mut 0), &from, Some(&mut 1), 3);
        let sent = rustix::fs::sendfile(&to, &from, Some(&mut 8), 100).unwrap();
        // The standard library copies by copy_file_range.
        let by_name = std::fs::copy(root.join("to"), root.join("copy")).unwrap();
        format!("{copied} {start} {place} {overlapping:?} {sent} {by_name} {}", said(root, "copy"))
    });
    assert_eq!(
        told,
        "3 5 7 Err(Os { code: 22, kind: InvalidInput, message: \"Invalid argument\" }) 2 10 ....234.89"
    );
}

#[test]
fn vectored_calls_with_offsets_and_flags() {
    let told = healthy(|root| {
        let file = create(root, "file", b"abcdef");
        let parts = [IoSlice::new(b"12"), IoSlice::new(b"34")];
        rustix::io::pwritev(&file, &parts, 1).unwrap();
        rustix::io::pwritev2(&file, &[IoSlice::new(b"end")], 0, ReadWriteFlags::APPEND).unwrap();
        let (mut first, mut second) = ([0; 3], [0; 20]);
        let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let count = rustix::io::preadv(&file, &mut buffers, 1).unwrap();
        let unknown =
            rustix::io::pwritev2(&file, &parts, 0, ReadWriteFlags::from_bits_retain(1 << 20)).unwrap_err();
        format!("{count} {} {} {unknown:?}", said(root, "file"), String::from_utf8_lossy(&first))
    });
    assert_eq!(
        told,
        "8 a1234fend 123 Os { code: 95, kind: Unsupported, message: \"Operation not supported\" }"
    );
}

#[test]
fn names_are_exchanged_times_set_and_descriptors_placed() {
    let told = healthy(|root| {
        let file = create(root, "a", b"first");
        create(root, "b", b"second");
        let directory = File::open(root).unwrap();
        rustix::fs::renameat_with(&directory, "a", &directory, "b", RenameFlags::EXCHANGE).unwrap();
        let time = Timespec { tv_sec: 77, tv_nsec: 5 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&file, &times).unwrap();
        let set = rustix::fs::stat(root.join("b").as_path()).unwrap();
        rustix::fs::utimensat(&directory, "a", &times, AtFlags::empty()).unwrap();
        let mut other: OwnedFd = rustix::io::dup(&directory).unwrap();
        let number = other.as_raw_fd();
        rustix::io::dup3(&file, &mut other, DupFlags::CLOEXEC).unwrap();
        let same = rustix::fs::fstat(&other).unwrap().st_ino == set.st_ino && other.as_raw_fd() == number;
        let space = rustix::fs::fstatvfs(&file).unwrap();
        let named = rustix::fs::statvfs(root).unwrap();
        format!(
            "{} {} {} {same} {} {}",
            said(root, "a"),
            said(root, "b"),
            set.st_mtime,
            space.f_bsize,
            named.f_bfree == space.f_bfree
        )
    });
    assert_eq!(told, "second first 77 true 4096 true");
}

#[test]
fn direct_io_asks_for_whole_sectors() {
    let told = healthy(|root| {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::DIRECT;
        let file = rustix::fs::open(root.join("file"), flags, Mode::from_raw_mode(0o644)).unwrap();
        let memory = vec![7; 4096];
        let start = memory.as_ptr().align_offset(512);
        let tried = [(start, 1024, 0), (start + 1, 512, 0), (start, 500, 0), (start, 512, 100)];
        let results = tried.map(|(at, length, offset)| {
            rustix::io::pwrite(&file, &memory[at..at + length], offset).map_err(Errno::raw_os_error)
        });
        format!("{results:?}")
    });
    assert_eq!(told, "[Ok(1024), Err(22), Err(22), Err(22)]");
}

#[test]
fn a_range_of_zeros_replaces_bytes_and_grows_the_file() {
    let told = healthy(|root| {
        let file = create(root, "file", b"abcdef");
        rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 2, 6).unwrap();
        rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, 7, 9).unwrap();
        said(root, "file")
    });
    assert_eq!(told, "ab\0\0\0\0\0\0");
    let refused = healthy(|root| {
        let file = create(root, "file", &[1; 8192]);
        format!("{:?}", rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096))
    });
    assert!(refused.contains("UnsupportedCall") && refused.contains("COLLAPSE_RANGE"), "{refused}");
}

fn write_to_synchronous_file(root: &Path) {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::DSYNC;
    let file = rustix::fs::open(root.join("file"), flags, Mode::from_raw_mode(0o644)).unwrap();
    File::open(root).unwrap().sync_all().unwrap();
    let before = std::time::Instant::now();
    let wrote = rustix::io::write(&file, b"durable");
    // What the write said, and how long it took, in a file that the crash leaves.
    let mut note = File::create(root.join("note")).unwrap();
    write!(note, "{wrote:?} {} ms", before.elapsed().as_millis()).unwrap();
    rustix::fs::sync();
}

#[test]
fn a_synchronous_write_takes_the_time_of_a_sync_and_fails_with_it() {
    let slow = FaultOptions { sync_latency_base_ns: 20_000_000, ..FaultOptions::default() };
    let both = |root: &Path| format!("{} · {}", said(root, "file"), said(root, "note"));
    assert_eq!(story(slow, write_to_synchronous_file, both), "durable · Ok(7) 20 ms");
    let failing = FaultOptions { sync_error: Ratio::ONE, ..FaultOptions::default() };
    let told = story(
        failing,
        |root| {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::SYNC;
            let file = rustix::fs::open(root.join("file"), flags, Mode::from_raw_mode(0o644)).unwrap();
            assert_eq!(rustix::io::write(&file, b"lost"), Err(Errno::IO));
            let mut bytes = String::new();
            File::open(root.join("file")).unwrap().read_to_string(&mut bytes).unwrap();
            assert_eq!(bytes, "lost", "it stands in the page cache");
        },
        |root| root.join("file").exists().to_string(),
    );
    assert_eq!(told, "false");
}

#[test]
fn sync_and_syncfs_make_everything_durable() {
    let first = |root: &Path| {
        std::fs::create_dir(root.join("d")).unwrap();
        create(&root.join("d"), "one", b"1");
        rustix::fs::syncfs(File::open(root).unwrap()).unwrap();
        create(root, "two", b"2");
        rustix::fs::sync();
        create(root, "three", b"3");
    };
    let second =
        |root: &Path| format!("{}{} {}", said(root, "d/one"), said(root, "two"), root.join("three").exists());
    assert_eq!(story(FaultOptions::default(), first, second), "12 false");
}
