//! The same random calls on the virtual file system and on a real directory of the host: every result, every
//! errno and the final trees must be equal.
//!
//! Left out on purpose, because the virtual file system is stricter or simpler by design: access times, block
//! counts, paths that leave the mount by `..`, and what [`Error::Unsupported`](super::Error) names.

mod call;
mod host;
mod simulated;

use crate::disk::{Keep, PendingOperation, Profile, View, crash_image};
use call::{At, Call, Outcome, SLOTS, call};
use host::Host;
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
    let (image, _) = crash_image(disk, Profile::Lying, &mut |_: &PendingOperation| Keep::Whole);
    image.check_invariants();
    assert!(image.tree(View::Durable) == disk.tree(View::Volatile), "an image that keeps everything differs");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_virtual_file_system_behaves_as_linux(
        furnished in prop::bool::weighted(0.8),
        calls in prop::collection::vec(call(), 1..80),
    ) {
        let first = if furnished { furniture() } else { Vec::new() };
        check(&[first, calls].concat());
    }
}
