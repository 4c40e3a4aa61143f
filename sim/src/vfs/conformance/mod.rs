//! The same random calls on the virtual file system and on a real directory of the host: every result, every
//! errno and the final trees must be equal.
//!
//! The host's directory is a temporary one (`TMPDIR`, else `/tmp`), and must lie on a file system of a disk: tmpfs has
//! no direct I/O. The figures of docs/posix-surface.md were taken on ext4, Linux 6.18.
//!
//! `PROPTEST_CASES` sets the number of sequences; without it there are 400.
//!
//! | what is meant to differ, and is left out | why |
//! |---|---|
//! | access times | the disk is mounted `noatime` |
//! | block counts, `SEEK_DATA`, `SEEK_HOLE` | ext4 allocates late, and takes reserved space for a hole |
//! | paths that leave the mount by `..` | the mount is the disk; the run ends by name |
//! | bytes of a mapping behind the end of the file | undefined on Linux once the size changes (mmap(2)); SIGBUS ends the run by name |
//! | direct reads of parts of sectors, but for one fixed sequence | ext4 refuses them where there are blocks, and serves them from holes |
//! | direct writes that end within a later sector | ext4 writes the extents before it, and then fails; here nothing is written |
//! | copies from or to direct descriptors | the same, and what is copied passes through pages on the way |
//! | `sendfile` within one file | Linux goes on to read what it has just written behind the old end; fewer bytes are as legal |
//! | the addresses of buffers of direct I/O | we ask for whole sectors, as open(2) says; Linux 6.18 asks only that no page cuts one |
//! | `mremap` without `MREMAP_MAYMOVE` | whether a mapping can grow in place depends on its neighbours |
//! | what [`Error::Unsupported`](super::Error) names | the run ends by name |

mod call;
mod host;
mod mapped;
mod simulated;

use crate::disk::{Disk, Keep, PendingOperation, Profile, RandomChoices, View, crash_image};
use crate::entropy::Entropy;
use call::{At, Call, Outcome, SLOTS, call};
use host::Host;
use mapped::{MAPPINGS, MapCall};
use proptest::prelude::*;
use simulated::Virtual;

/// One side of the comparison.
trait Side {
    fn run(&mut self, call: &Call) -> Outcome;
}

/// Lists a tree by the calls under test: every path with its status and bytes.
fn tree(side: &mut dyn Side) -> Vec<(String, Outcome, Outcome)> {
    let root = |path: &str| At { slot: None, path: path.to_owned() };
    let mut unseen = vec![String::new()];
    let mut found = Vec::new();
    for map in 0..MAPPINGS {
        side.run(&Call::Mapped(map, MapCall::Unmap));
    }
    for slot in 0..SLOTS {
        side.run(&Call::Close(slot));
    }
    while let Some(directory) = unseen.pop() {
        let listed = if directory.is_empty() { ".".to_owned() } else { directory.clone() };
        let Outcome::Names(names) = side.run(&Call::List(root(&listed))) else {
            panic!("{listed} cannot be listed")
        };
        for (name, is_directory) in names.into_iter().filter(|(name, _)| name != "." && name != "..") {
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let status = side.run(&Call::Stat(root(&path)));
            let bytes = if is_directory {
                unseen.push(path.clone());
                Outcome::Skipped
            } else {
                side.run(&Call::Open { slot: 0, at: root(&path), flags: libc::O_RDONLY });
                side.run(&Call::Read(0, 200_000))
            };
            found.push((path, status, bytes));
        }
    }
    found
}

/// Makes the link count of a directory comparable where the host does not count subdirectories.
fn comparable(outcome: Outcome, host: &Host) -> Outcome {
    match outcome {
        Outcome::Status { directory: true, size, permissions, .. } if !host.counts_subdirectories => {
            Outcome::Status { directory: true, size, links: 0, permissions }
        }
        other => other,
    }
}

/// A small tree with open files, so that random calls soon have something to work on.
fn furniture() -> Vec<Call> {
    let root = |path: &str| At { slot: None, path: path.to_owned() };
    let create = libc::O_CREAT | libc::O_RDWR;
    vec![
        Call::Mkdir(root("d")),
        Call::Mkdir(root("d/e")),
        Call::Mkdir(root("e")),
        Call::Open { slot: 0, at: root("a"), flags: create },
        Call::Write(0, vec![1; 5000]),
        Call::Open { slot: 1, at: root("d/b"), flags: create | libc::O_APPEND },
        Call::Write(1, vec![2; 700]),
        Call::Open { slot: 2, at: root("d/e/a"), flags: create },
        Call::Open { slot: 3, at: root("d"), flags: libc::O_RDONLY | libc::O_DIRECTORY },
        Call::Link(root("a"), root("e/b")),
    ]
}

fn check(calls: &[Call]) {
    let directory = tempfile::tempdir().unwrap();
    let (mut host, mut machine) = (Host::new(directory.path()), Virtual::new());
    for (index, call) in calls.iter().enumerate() {
        let real = host.run(call);
        let real = comparable(real, &host);
        let simulated = comparable(machine.run(call), &host);
        assert!(real == simulated, "call {index}, {call:?}: the host says {real:?}, we say {simulated:?}");
    }
    let simulated: Vec<_> = tree(&mut machine)
        .into_iter()
        .map(|(path, status, bytes)| (path, comparable(status, &host), bytes))
        .collect();
    let real: Vec<_> = tree(&mut host)
        .into_iter()
        .map(|(path, status, bytes)| (path, comparable(status, &host), bytes))
        .collect();
    assert!(real == simulated, "the host's tree:\n{real:#?}\nours:\n{simulated:#?}");
    let disk = machine.vfs.disk(machine.mount);
    let (image, _) = crash_image(disk, Profile::Lying, 0, &mut |_: &PendingOperation| Keep::Whole);
    image.check_invariants();
    assert!(image.tree(View::Durable) == disk.tree(View::Volatile), "an image that keeps everything differs");
}

#[test]
fn direct_reads_of_data_ask_for_whole_sectors() {
    let at = At { slot: None, path: "file".to_owned() };
    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_DIRECT;
    let mut calls = vec![Call::Open { slot: 0, at, flags }, Call::DirectWrite(0, vec![7; 8192], 0)];
    for (length, place) in
        [(512, 0), (100, 0), (512, 100), (512, 512), (4096, 7680), (100, 8192), (100, 9001)]
    {
        calls.push(Call::DirectRead(0, length, place));
    }
    check(&calls);
}

/// As proptest reads it from the environment, with fewer cases where it says nothing of them.
fn configuration() -> ProptestConfig {
    let read = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { read.cases } else { 400 };
    ProptestConfig { cases, max_shrink_iters: 20_000, failure_persistence: None, ..read }
}

proptest! {
    #![proptest_config(configuration())]
    #[test]
    fn the_virtual_file_system_behaves_as_linux(
        furnished in prop::bool::weighted(0.8),
        calls in prop::collection::vec(call(), 1..80),
    ) {
        let first = if furnished { furniture() } else { Vec::new() };
        check(&[first, calls].concat());
    }

    #[test]
    fn what_was_done_to_a_disk_can_be_done_again(calls in prop::collection::vec(call(), 1..80)) {
        let mut machine = Virtual::new();
        machine.vfs.disk_mut(machine.mount).begin_journal();
        let mut again = Disk::new();
        for call in furniture().iter().chain(&calls) {
            machine.run(call);
            let stamp = machine.stamp();
            let disk = machine.vfs.disk_mut(machine.mount);
            for change in disk.take_journal() {
                again.replay(&change, stamp);
            }
            prop_assert_eq!((again.sequence(), again.fingerprint()), (disk.sequence(), disk.fingerprint()));
        }
        let disk = machine.vfs.disk(machine.mount);
        again.check_invariants();
        prop_assert_eq!(format!("{again:?}"), format!("{disk:?}"));
        for seed in 0..4 {
            let image = |disk| {
                let mut choices = RandomChoices::new(Entropy::stream(seed, "images"));
                format!("{:?}", crash_image(disk, Profile::Lying, 0, &mut choices))
            };
            prop_assert_eq!(image(&again), image(disk));
        }
    }
}

/// A size that grew, shrank and grew again, of which a synchronous write then makes a part durable.
#[test]
fn a_write_that_syncs_itself_after_the_size_has_moved() {
    let mut calls = furniture();
    calls.extend([25_998, 6_180, 6_181].map(|size| Call::Truncate(0, size)));
    calls.push(Call::WriteFlagged(0, vec![0], None, libc::RWF_DSYNC));
    check(&calls);
}
