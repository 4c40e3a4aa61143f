//! Stories of programs that map files, each on a machine in a process of its own. Here, because to map a file is
//! `unsafe` by every crate that does it.

use crate::disk::{Keep, PendingOperation};
use crate::isolation::{Allowance, End, run_isolated};
use crate::{Completed, Crash, Machine, NodeEventKind, NodeOptions, Options, Process, run};
use memmap2::{Advice, Mmap, MmapMut, MmapOptions};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Runs `first` on a node until it returns or sleeps, crashes the node, and runs `second`, which says what it found. A
/// power failure loses all that it may.
fn story(crash: Crash, first: fn(&Path), second: fn(&Path) -> String) -> (String, u64) {
    let ended = run_isolated(Allowance::default(), move || {
        let told = run(Options::new(7), None, async move |machine: Machine| {
            let node = machine.add_node(NodeOptions::new("one", 1));
            machine.choose_losses(node, |_: &PendingOperation| Keep::Drop);
            machine.start(node, move |process: Process| {
                first(&process.root);
                std::thread::sleep(Duration::from_secs(3600));
                Ok(())
            });
            machine.sleep(Duration::from_secs(1)).await;
            machine.crash(node, crash);
            machine.start(node, move |process: Process| Err(second(&process.root)));
            loop {
                if let NodeEventKind::Stopped(stop) = machine.next_event().await.what
                    && let Err(said) = stop.result
                {
                    return said;
                }
            }
        });
        match told {
            Ok(Completed { value, trace, .. }) => format!("{:016x}{value}", trace.hash).into_bytes(),
            Err(aborted) => format!("{:016x}{:?}", 0, aborted.abort).into_bytes(),
        }
    });
    match ended.unwrap() {
        ended if matches!(ended.end, End::Finished(_)) => {
            let End::Finished(bytes) = ended.end else { unreachable!() };
            let text = String::from_utf8(bytes).unwrap();
            (text[16..].to_string(), u64::from_str_radix(&text[..16], 16).unwrap())
        }
        ended => panic!("{:?}: {}", ended.end, ended.errors),
    }
}

/// A file of `pages` pages of dots, durable.
fn file_of(root: &Path, pages: usize) -> File {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(root.join("data"))
        .unwrap();
    file.write_all(&vec![b'.'; pages * 4096]).unwrap();
    file.sync_all().unwrap();
    File::open(root).unwrap().sync_all().unwrap();
    file
}

fn writable(file: &File) -> MmapMut {
    // SAFETY: the file is the test's own.
    unsafe { MmapMut::map_mut(file) }.unwrap()
}

/// What stands at the beginning of each page.
fn beginnings(root: &Path) -> String {
    let bytes = std::fs::read(root.join("data")).unwrap();
    bytes.chunks(4096).map(|page| char::from(page[0])).collect()
}

fn store_and_flush_one_page(root: &Path) {
    let mut map = writable(&file_of(root, 4));
    for page in 0..4 {
        map[page * 4096] = b'a' + u8::try_from(page).unwrap();
    }
    map.flush_range(4096, 10).unwrap();
    assert_eq!(beginnings(root), "abcd", "the page cache shows what was stored");
}

#[test]
fn a_power_failure_leaves_of_a_mapping_what_was_flushed() {
    let (said, hash) = story(Crash::PowerFailure, store_and_flush_one_page, beginnings);
    assert_eq!(said, ".b..");
    assert_eq!(story(Crash::PowerFailure, store_and_flush_one_page, beginnings).1, hash, "it repeats");
}

#[test]
fn a_process_kill_leaves_every_store() {
    let first = |root: &Path| {
        let mut map = writable(&file_of(root, 2));
        map[4096] = b'x';
        // Nothing else is called before the crash: the turn that the thread gives away collects it.
        std::mem::forget(map);
    };
    assert_eq!(story(Crash::ProcessKill, first, beginnings).0, ".x");
}

#[test]
fn a_mapping_and_calls_see_each_other() {
    let second = |root: &Path| {
        let mut file = file_of(root, 2);
        let (mut map, path) = (writable(&file), root.join("data"));
        // SAFETY: the file is the test's own.
        let other = unsafe { Mmap::map(&file) }.unwrap();
        assert_eq!((map[0], other[0]), (b'.', b'.'));
        file.write_all_at(b"call", 4094).unwrap();
        assert_eq!((&map[4094..4098], &other[4094..4098]), (&b"call"[..], &b"call"[..]));
        map[4096..4100].copy_from_slice(b"map!");
        let mut bytes = [0; 6];
        file.read_exact_at(&mut bytes, 4094).unwrap();
        assert_eq!((&bytes, &other[4096..4100]), (b"camap!", &b"map!"[..]));
        // A read into the mapping, and a write from it.
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_exact(&mut map[4096..8192]).unwrap();
        file.write_all_at(&map[4096..4100], 8190).unwrap();
        drop((file, other));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(map[8191], b'.', "it outlives descriptor and name");
        // The file grew by two bytes beyond what is mapped; nothing of it is left on the disk.
        format!("{} {}", map.len(), path.exists())
    };
    assert_eq!(story(Crash::ProcessKill, |_| {}, second).0, "8192 false");
}

#[test]
fn a_private_mapping_keeps_its_stores_to_itself() {
    let second = |root: &Path| {
        let file = file_of(root, 2);
        // SAFETY: the file is the test's own.
        let mut map = unsafe { MmapOptions::new().map_copy(&file) }.unwrap();
        map[0] = b'p';
        file.write_all_at(b"f", 0).unwrap();
        file.write_all_at(b"f", 4096).unwrap();
        map.advise(Advice::WillNeed).unwrap();
        format!("{}{} {}", char::from(map[0]), char::from(map[4096]), beginnings(root))
    };
    assert_eq!(story(Crash::ProcessKill, |_| {}, second).0, "pf ff");
}

#[test]
fn touching_a_page_beyond_the_end_ends_the_run_by_its_name() {
    let beyond = |root: &Path| {
        let file = file_of(root, 2);
        let map = writable(&file);
        file.set_len(4096).unwrap();
        let refused = file.write_all_at(&map[4096..4097], 0).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EFAULT), "a call says so instead");
        char::from(map[4096]).to_string()
    };
    let (why, _) = story(Crash::ProcessKill, |_| {}, beyond);
    assert!(why.contains("UnsupportedCall") && why.contains("SIGBUS") && why.contains("data"), "{why}");
    let read_only = |root: &Path| {
        let file = file_of(root, 1);
        // SAFETY: the file is the test's own; the store below is what is tested.
        unsafe {
            let map = Mmap::map(&file).unwrap();
            map.as_ptr().cast_mut().write_volatile(1);
        }
        String::new()
    };
    let (why, _) = story(Crash::ProcessKill, |_| {}, read_only);
    assert!(why.contains("SIGSEGV") && why.contains("does not allow"), "{why}");
}
