//! Data and attributes of files.

use super::Disk;
use super::content::{Content, PAGE_BYTES, Payload};
use super::inode::{Attributes, Body, FileType, InodeNumber};
use super::journal::Primitive;
use super::operation::{Change, PendingOperation, Stamp};
use super::sectors::{SECTOR_BYTES, Sectors};

/// What `stat` tells about a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its number.
    pub inode: InodeNumber,
    /// File or directory.
    pub file_type: FileType,
    /// Permissions and times.
    pub attributes: Attributes,
    /// Names of a file; of a directory, two and its subdirectories. Zero once removed.
    pub links: u32,
    /// Bytes. A directory has one page.
    pub size: u64,
    /// Allocated units of 512 bytes.
    pub blocks: u64,
}

impl Metadata {
    /// `st_mode`: the type and the permissions.
    pub const fn mode(&self) -> u32 {
        let file_type = match self.file_type {
            FileType::File => libc::S_IFREG,
            FileType::Directory => libc::S_IFDIR,
        };
        file_type | self.attributes.permissions
    }
}

impl Disk {
    /// Whether `inode` is a file or a directory.
    pub fn file_type(&self, inode: InodeNumber) -> FileType {
        self.inode(inode).file_type()
    }

    /// What `stat` tells about `inode`.
    pub fn metadata(&self, inode: InodeNumber) -> Metadata {
        let node = self.inode(inode);
        let (size, links) = match &node.body {
            Body::File(file) => (file.content.size(), node.links),
            Body::Directory(_) if node.links == 0 => (0, 0),
            Body::Directory(directory) => (PAGE_BYTES, 2 + directory.subdirectories),
        };
        Metadata {
            inode,
            file_type: node.file_type(),
            attributes: node.attributes,
            links,
            size,
            blocks: node.pages() * (PAGE_BYTES / SECTOR_BYTES),
        }
    }

    /// The size of a file in bytes.
    pub fn size(&self, file: InodeNumber) -> u64 {
        self.file(file).content.size()
    }

    /// Copies bytes of a file from `offset` on into `buffer`; returns how many, fewer only where it ends.
    pub fn read(&self, file: InodeNumber, offset: u64, buffer: &mut [u8]) -> usize {
        self.file(file).content.read_damaged(offset, buffer)
    }

    /// The first offset from `offset` on that holds data, below the size (`SEEK_DATA`).
    pub fn next_data(&self, file: InodeNumber, offset: u64) -> Option<u64> {
        self.file(file).content.next_data(offset)
    }

    /// The first offset from `offset` on in a hole, or the size (`SEEK_HOLE`).
    pub fn next_hole(&self, file: InodeNumber, offset: u64) -> u64 {
        self.file(file).content.next_hole(offset)
    }

    /// How many of `length` bytes at `offset` of a file the capacity lets be written, from the first on.
    pub fn room(&self, file: InodeNumber, offset: u64, length: u64) -> u64 {
        if self.capacity_bytes == 0 {
            return length;
        }
        let mut free = self.free_pages();
        let content = &self.file(file).content;
        let mut end = offset;
        while end < offset + length {
            let page_end = (end / PAGE_BYTES + 1) * PAGE_BYTES;
            let missing = content.pages_missing(end, 1);
            if missing > free {
                break;
            }
            free -= missing;
            end = page_end;
        }
        end.min(offset + length) - offset
    }

    /// Pages that can still be allocated; without a limit, as good as endless.
    pub const fn free_pages(&self) -> u64 {
        if self.capacity_bytes == 0 {
            return u64::MAX / PAGE_BYTES;
        }
        (self.capacity_bytes / PAGE_BYTES).saturating_sub(self.pages)
    }

    /// Writes `bytes`, at least one, at `offset` of a file. One operation, which a power failure may tear.
    pub fn write(&mut self, file: InodeNumber, offset: u64, bytes: &[u8], stamp: Stamp) {
        if let Some(landing) = self.take_landing() {
            self.write_astray(file, offset, bytes, landing, stamp);
            return;
        }
        self.change_content(file, Change::Write(Payload::new(offset, bytes)), stamp);
        self.journal.note(|| Primitive::Write { file, offset, bytes: bytes.into() });
    }

    /// Writes only the `surviving` sectors of `bytes` at `offset` of a file, each run of them an operation:
    /// what a crash in the middle of a write leaves in the page cache. The sectors are those that a write of
    /// all of `bytes` touches.
    pub fn write_partially(
        &mut self,
        file: InodeNumber,
        offset: u64,
        bytes: &[u8],
        surviving: &Sectors,
        stamp: Stamp,
    ) {
        let end = offset + bytes.len() as u64;
        assert_eq!(
            surviving.count(),
            Sectors::touched(offset, bytes.len() as u64),
            "sectors of another write"
        );
        let first = offset / SECTOR_BYTES;
        for (run, run_end) in surviving.runs() {
            let from = ((first + run) * SECTOR_BYTES).max(offset);
            let to = ((first + run_end) * SECTOR_BYTES).min(end);
            let within = |position: u64| usize::try_from(position - offset).expect("a place within a slice");
            self.write(file, from, &bytes[within(from)..within(to)], stamp);
        }
    }

    /// Sets the size of a file, cutting off or adding zeros. Nothing happens where it has that size already.
    pub fn resize(&mut self, file: InodeNumber, size: u64, stamp: Stamp) {
        let from = self.size(file);
        if from != size {
            self.change_content(file, Change::Resize { from, to: size }, stamp);
            self.inode_mut(file).emptied |= size == 0;
            self.journal.note(|| Primitive::Resize { file, size });
        }
    }

    /// Reserves pages for `length` bytes at `offset`; the file grows to hold them unless `keep_size`.
    pub fn allocate(&mut self, file: InodeNumber, offset: u64, length: u64, keep_size: bool, stamp: Stamp) {
        self.change_content(file, Change::Allocate { offset, length, keep_size }, stamp);
        self.journal.note(|| Primitive::Allocate { file, offset, length, keep_size });
    }

    /// Makes `length` bytes at `offset` a hole. The size stays.
    pub fn punch(&mut self, file: InodeNumber, offset: u64, length: u64, stamp: Stamp) {
        self.change_content(file, Change::Punch { offset, length }, stamp);
        self.journal.note(|| Primitive::Punch { file, offset, length });
    }

    /// How many pages `length` bytes at `offset` lack.
    pub fn pages_missing(&self, file: InodeNumber, offset: u64, length: u64) -> u64 {
        self.file(file).content.pages_missing(offset, length)
    }

    /// Sets permissions and times.
    pub fn set_attributes(&mut self, inode: InodeNumber, attributes: Attributes, stamp: Stamp) {
        let sequence = self.next_sequence();
        let node = self.inode_mut(inode);
        node.attributes = Attributes { changed_ns: stamp.now_ns, ..attributes };
        let change = Change::SetAttributes(node.attributes);
        node.pending.push(PendingOperation { sequence, inode, stamp, change, promised_by: None });
        self.journal.note(|| Primitive::SetAttributes { inode, attributes });
    }

    fn change_content(&mut self, file: InodeNumber, change: Change, stamp: Stamp) {
        self.change_content_with(file, change.clone(), stamp, |content| change.apply(content));
    }

    /// As `work` changes what reads see, and as `change` what the medium will hold.
    pub(super) fn change_content_with(
        &mut self,
        file: InodeNumber,
        change: Change,
        stamp: Stamp,
        work: impl FnOnce(&mut Content),
    ) {
        let sequence = self.next_sequence();
        let node = self.inode_mut(file);
        let Body::File(body) = &mut node.body else { panic!("inode {file} is a directory, not a file") };
        let before = body.content.pages();
        work(&mut body.content);
        let after = body.content.pages();
        (node.attributes.modified_ns, node.attributes.changed_ns) = (stamp.now_ns, stamp.now_ns);
        node.pending.push(PendingOperation { sequence, inode: file, stamp, change, promised_by: None });
        self.pages = self.pages - before + after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_a_crash_cut_off_leaves_its_sectors_in_the_page_cache() {
        let mut disk = Disk::new();
        let stamp = Stamp::default();
        let file = disk.create_file(InodeNumber::ROOT, b"log", 0o644, stamp);
        // Bytes 500..1600 touch four sectors; the second is not written.
        let surviving = Sectors::from_fn(4, |sector| sector != 1);
        disk.write_partially(file, 500, &[7; 1100], &surviving, stamp);
        let mut bytes = vec![0; 2000];
        assert_eq!(disk.read(file, 0, &mut bytes), 1600);
        let written: Vec<usize> = (0..2000).filter(|&position| bytes[position] == 7).collect();
        assert_eq!(written, (500..512).chain(1024..1600).collect::<Vec<_>>());
        disk.check_invariants();
    }

    #[test]
    fn a_clone_and_its_origin_go_their_own_ways() {
        let mut disk = Disk::new();
        let stamp = Stamp::default();
        let file = disk.create_file(InodeNumber::ROOT, b"log", 0o644, stamp);
        disk.write(file, 0, &[1; 10_000], stamp);
        let mut fork = disk.clone();
        fork.write(file, 5_000, &[2; 10_000], stamp);
        fork.unlink(InodeNumber::ROOT, b"log", stamp);
        assert_eq!((disk.size(file), fork.size(file)), (10_000, 15_000));
        let mut bytes = [0; 1];
        disk.read(file, 5_000, &mut bytes);
        assert_eq!((bytes, disk.entry(InodeNumber::ROOT, b"log")), ([1], Some(file)));
        disk.check_invariants();
        fork.check_invariants();
    }
}
