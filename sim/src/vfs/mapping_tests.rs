//! Stories of mappings, calls and crashes, without a machine around them.

use super::processor::Processor;
use super::{Error, Fault, MountId, Vfs};
use crate::disk::{Disk, Errno, Keep, Node, PendingOperation, Profile, Stamp, SyncFate, View, crash_image};
use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};

const BOTH: i32 = PROT_READ | PROT_WRITE;

struct Story {
    vfs: Vfs,
    mount: MountId,
    processor: Processor,
    file: i32,
}

fn stamp() -> Stamp {
    Stamp::new(1, 1)
}

/// A file of three pages of dots, durable, open for reading and writing.
fn begin() -> Story {
    let processor = Processor::default();
    let mut vfs = Vfs::with_memory(Box::new(processor.clone()));
    let mount = vfs.mount("/m", Disk::new());
    let flags = libc::O_CREAT | libc::O_RDWR;
    let file = vfs.openat(stamp(), libc::AT_FDCWD, b"/m/f", flags, 0o644).unwrap();
    vfs.pwrite(stamp(), file, &[b'.'; 3 * 4096], 0).unwrap();
    let all = vfs.sync_all_begin(mount);
    vfs.sync_end(stamp(), all, SyncFate::Honest).unwrap();
    assert_eq!(vfs.disk(mount).pending_count(), 0, "syncfs leaves nothing pending");
    Story { vfs, mount, processor, file }
}

impl Story {
    fn map(&mut self, flags: i32) -> usize {
        self.vfs.mmap(3 * 4096, BOTH, flags, self.file, 0).unwrap()
    }

    fn store(&mut self, address: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.processor.store_bytes(&mut self.vfs, address, bytes)
    }

    fn load(&mut self, address: usize) -> Result<char, Fault> {
        self.processor.load_bytes(&mut self.vfs, address, 1).map(|bytes| char::from(bytes[0]))
    }

    fn collect(&mut self) -> Vec<(u64, usize)> {
        let mut collected = Vec::new();
        while let Some(store) = self.vfs.next_store() {
            self.vfs.carry_out_store(stamp(), &store);
            collected.push((store.offset, store.bytes.len()));
        }
        collected
    }

    fn msync(&mut self, address: usize, length: usize) {
        self.collect();
        let (syncs, mapped) = self.vfs.msync_begin(address, length, libc::MS_SYNC).unwrap();
        mapped.unwrap();
        for sync in syncs {
            self.vfs.sync_end(stamp(), sync, SyncFate::Honest).unwrap();
        }
    }

    /// What stands at the beginning of each page after a power failure that loses all it may.
    fn survivors(&self) -> String {
        let disk = self.vfs.disk(self.mount);
        let (image, _) = crash_image(disk, Profile::Posix, 0, &mut |_: &PendingOperation| Keep::Drop);
        match &image.tree(View::Durable)["f"] {
            Node::File(bytes) => bytes.chunks(4096).map(|page| char::from(page[0])).collect(),
            Node::Directory => panic!("a file"),
        }
    }
}

#[test]
fn each_page_that_was_stored_to_is_one_write_in_the_order_of_first_stores() {
    let mut story = begin();
    let map = story.map(MAP_SHARED);
    story.store(map + 8192, b"three").unwrap();
    story.store(map + 4090, b"across the edge").unwrap();
    story.store(map + 8292, b"!").unwrap();
    story.store(map, b".").unwrap();
    assert_eq!(story.collect(), [(8192, 101), (4090, 6), (4096, 9)], "what is as it was is not written");
    assert_eq!(story.collect(), []);
    story.store(map + 8192, b"3").unwrap();
    assert_eq!(story.collect(), [(8192, 1)], "a page that was collected is watched again");
}

#[test]
fn msync_covers_its_range_and_what_lies_below_it() {
    let mut story = begin();
    let map = story.map(MAP_SHARED);
    for page in 0..3 {
        story.store(map + page * 4096, b"x").unwrap();
    }
    story.msync(map + 4096, 1);
    assert_eq!(story.survivors(), ".x.");
    // A write across two pages is covered by a sync of either, and with it what it was written over.
    story.store(map + 8192, b"y").unwrap();
    story.collect();
    story.vfs.pwrite(stamp(), story.file, &[b'z'; 4097], 4096).unwrap();
    story.msync(map + 4096, 4096);
    assert_eq!(story.survivors(), ".zz");
}

#[test]
fn a_mapping_keeps_the_file_and_the_lock_of_its_description() {
    let mut story = begin();
    let map = story.map(MAP_SHARED);
    story.vfs.flock(story.file, libc::LOCK_EX).unwrap();
    story.vfs.close(story.file).unwrap();
    assert_eq!(story.vfs.open_descriptors(story.mount), 1);
    let other = story.vfs.openat(stamp(), libc::AT_FDCWD, b"/m/f", libc::O_RDWR, 0).unwrap();
    assert_eq!(story.vfs.flock(other, libc::LOCK_EX), Err(Errno::EWOULDBLOCK.into()));
    story.vfs.unlinkat(stamp(), libc::AT_FDCWD, b"/m/f", 0).unwrap();
    story.store(map, b"still here").unwrap();
    assert_eq!(story.collect(), [(0, 10)]);
    story.vfs.munmap(map, 3 * 4096).unwrap();
    assert_eq!(story.vfs.flock(other, libc::LOCK_EX), Ok(()));
    assert_eq!(story.load(map), Err(Fault::NotMapped));
}

#[test]
fn a_truncation_takes_pages_private_ones_too_and_growing_gives_zeros() {
    let mut story = begin();
    let (shared, private) = (story.map(MAP_SHARED), story.map(MAP_PRIVATE));
    for map in [shared, private] {
        story.store(map + 8192, b"x").unwrap();
    }
    story.collect();
    story.vfs.ftruncate(stamp(), story.file, 5000).unwrap();
    for map in [shared, private] {
        assert_eq!(story.load(map + 8192), Err(Fault::BeyondEnd("f".into())));
        assert_eq!(story.load(map + 5000), Ok('\0'), "the rest of the last page is zeros");
    }
    assert!(story.vfs.may_access(shared, 8192, true) && !story.vfs.may_access(shared, 8193, true));
    story.vfs.ftruncate(stamp(), story.file, 3 * 4096).unwrap();
    assert_eq!((story.load(shared + 8192), story.load(private + 8192)), (Ok('\0'), Ok('\0')));
}

#[test]
fn what_may_not_be_stored_to_faults() {
    let mut story = begin();
    let map = story.map(MAP_SHARED);
    story.vfs.mprotect(map + 4096, 4096, PROT_READ).unwrap();
    assert_eq!(story.store(map + 4096, b"x"), Err(Fault::Denied("f".into())));
    assert_eq!((story.store(map, b"x"), story.store(map + 8192, b"x")), (Ok(()), Ok(())));
    let readable = story.vfs.openat(stamp(), libc::AT_FDCWD, b"/m/f", libc::O_RDONLY, 0).unwrap();
    assert_eq!(story.vfs.mmap(4096, BOTH, MAP_SHARED, readable, 0), Err(Errno::EACCES.into()));
    let other = story.vfs.mmap(4096, PROT_READ, MAP_SHARED, readable, 0).unwrap();
    assert_eq!(story.vfs.mprotect(other, 4096, BOTH), Err(Errno::EACCES.into()));
    let fixed = story.vfs.mmap(4096, PROT_READ, MAP_SHARED | libc::MAP_FIXED, readable, 0);
    assert!(matches!(fixed, Err(Error::Unsupported { .. })));
    story.vfs.ftruncate(stamp(), story.file, 0).unwrap();
    story.vfs.ftruncate(stamp(), story.file, 3 * 4096).unwrap();
    let used = story.vfs.disk(story.mount).used_bytes();
    story.vfs.disk_mut(story.mount).set_capacity_bytes(used + 4096);
    assert_eq!(story.store(map, b"x"), Ok(()));
    assert_eq!(story.store(map + 8192, b"x"), Err(Fault::NoSpace("f".into())), "the only page is promised");
}

#[test]
fn a_mapping_is_cut_moved_and_dropped_in_parts() {
    let mut story = begin();
    let map = story.map(MAP_PRIVATE);
    story.store(map, b"1").unwrap();
    story.store(map + 8192, b"3").unwrap();
    story.vfs.munmap(map + 4096, 4096).unwrap();
    assert_eq!(story.load(map + 4096), Err(Fault::NotMapped));
    assert_eq!(
        story.vfs.madvise(map, 3 * 4096, libc::MADV_WILLNEED),
        Err(Errno::ENOMEM.into()),
        "not all of it is mapped"
    );
    let moved = story.vfs.mremap(map + 8192, 4096, 8192, libc::MREMAP_MAYMOVE).unwrap();
    assert_eq!((story.load(moved), story.load(map)), (Ok('3'), Ok('1')));
    assert_eq!(story.load(map + 8192), Err(Fault::NotMapped));
    assert_eq!(story.load(moved + 4096), Err(Fault::BeyondEnd("f".into())));
    story.vfs.madvise(map, 4096, libc::MADV_DONTNEED).unwrap();
    assert_eq!(story.load(map), Ok('.'), "a private copy is dropped");
    story.vfs.unmount(story.mount);
    assert_eq!(story.load(moved), Err(Fault::NotMapped), "a mount takes its mappings with it");
}

#[test]
fn a_synchronous_write_makes_durable_what_it_wrote() {
    let mut story = begin();
    let flags = libc::O_RDWR | libc::O_DSYNC;
    let synchronous = story.vfs.openat(stamp(), libc::AT_FDCWD, b"/m/f", flags, 0).unwrap();
    story.vfs.pwrite(stamp(), story.file, b"x", 0).unwrap();
    let written = story.vfs.write_with(stamp(), synchronous, b"y", Some(4096), 0).unwrap();
    let sync = story.vfs.sync_of_write(synchronous, written, 0).unwrap();
    story.vfs.sync_end(stamp(), sync, SyncFate::Honest).unwrap();
    assert_eq!(story.survivors(), ".y.");
    let by_call = story.vfs.sync_of_write(story.file, written, libc::RWF_SYNC);
    assert!(by_call.is_some() && story.vfs.sync_of_write(story.file, written, 0).is_none());
}
