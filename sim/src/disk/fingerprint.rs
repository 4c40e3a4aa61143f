//! One number for everything that a program can see on a disk.

use super::Disk;
use super::content::Content;
use super::damage::Damages;
use super::inode::{Body, InodeNumber};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3;

/// What stands in the hashed text before a directory, a file, and a further name of a file.
const DIRECTORY: u64 = 1;
const FILE: u64 = 2;
const LINK: u64 = 3;
/// The number that ends a list: of entries, and of pages. No length and no page has it.
const END: u64 = u64::MAX;

impl Disk {
    /// XXH3 (128 bits) over the tree that reads see: names, what is a file and what a directory, sizes, bytes, and
    /// which names are of the same file. A hole equals zeros. Times, permissions, inode numbers, and what is durable
    /// of it play no part.
    ///
    /// Two disks with the same fingerprint look the same to a program that asks neither for times nor for inode
    /// numbers. The number is not kept between versions of this crate.
    pub fn fingerprint(&self) -> u128 {
        let mut text = Text { hash: Xxh3::new(), seen: BTreeMap::new() };
        text.directory(self, InodeNumber::ROOT);
        text.hash.digest128()
    }
}

struct Text {
    hash: Xxh3,
    /// Files with several names, in the order in which they were met.
    seen: BTreeMap<InodeNumber, u64>,
}

impl Text {
    fn directory(&mut self, disk: &Disk, directory: InodeNumber) {
        self.number(DIRECTORY);
        for (name, inode) in disk.entries(directory) {
            self.number(name.len() as u64);
            self.hash.update(name);
            match &disk.inode(inode).body {
                Body::Directory(_) => self.directory(disk, inode),
                Body::File(file) => self.file(inode, &file.content, disk.inode(inode).links),
            }
        }
        self.number(END);
    }

    fn file(&mut self, inode: InodeNumber, content: &Content, links: u32) {
        if links > 1 {
            let next = self.seen.len() as u64;
            if let Some(&earlier) = self.seen.get(&inode) {
                self.number(LINK);
                self.number(earlier);
                return;
            }
            self.seen.insert(inode, next);
        }
        self.number(FILE);
        self.number(content.size());
        for (page, bytes) in content.data_pages() {
            self.number(page);
            self.hash.update(bytes);
        }
        self.number(END);
        content.damages().into_iter().flat_map(Damages::numbers).for_each(|number| self.number(number));
    }

    fn number(&mut self, number: u64) {
        self.hash.update(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Stamp;

    const ROOT: InodeNumber = InodeNumber::ROOT;

    /// A disk with a directory and a file of 10 000 bytes, as `change` left it.
    fn fingerprint(change: impl FnOnce(&mut Disk, InodeNumber)) -> u128 {
        let mut disk = Disk::new();
        let stamp = Stamp::new(1, 1);
        disk.make_directory(ROOT, b"directory", 0o755, stamp);
        let file = disk.create_file(ROOT, b"file", 0o644, stamp);
        disk.write(file, 0, &[7; 10_000], stamp);
        change(&mut disk, file);
        disk.fingerprint()
    }

    #[test]
    fn what_a_program_sees_has_another_fingerprint_when_it_changes() {
        let stamp = Stamp::new(2, 2);
        let mut seen = vec![fingerprint(|_, _| {})];
        let mut check = |what: &str, change: &dyn Fn(&mut Disk, InodeNumber)| {
            let fingerprint = fingerprint(change);
            assert!(!seen.contains(&fingerprint), "{what} does not show");
            seen.push(fingerprint);
        };
        check("a byte", &|disk, file| disk.write(file, 5_000, &[8], stamp));
        check("a zero", &|disk, file| disk.write(file, 5_000, &[0], stamp));
        check("a hole", &|disk, file| disk.punch(file, 4096, 4096, stamp));
        check("a size", &|disk, file| disk.resize(file, 10_001, stamp));
        check("a large size", &|disk, file| disk.resize(file, 1_000_000, stamp));
        check("a name", &|disk, _| disk.rename((ROOT, b"file"), (ROOT, b"other"), stamp));
        check("a removal", &|disk, _| disk.unlink(ROOT, b"file", stamp));
        check("a link", &|disk, file| disk.link(file, ROOT, b"link", stamp));
        check("a copy", &|disk, _| {
            let copy = disk.create_file(ROOT, b"link", 0o644, stamp);
            disk.write(copy, 0, &[7; 10_000], stamp);
        });
        check("an empty file", &|disk, _| {
            disk.create_file(ROOT, b"new", 0o644, stamp);
        });
        check("a directory", &|disk, _| {
            disk.make_directory(ROOT, b"new", 0o755, stamp);
        });
        check("a place", &|disk, _| {
            let directory = disk.entry(ROOT, b"directory").unwrap();
            disk.rename((ROOT, b"file"), (directory, b"file"), stamp);
        });
    }

    #[test]
    fn what_a_program_does_not_see_leaves_the_fingerprint_alone() {
        let stamp = Stamp::new(2, 2);
        let plain = fingerprint(|_, _| {});
        let check = |what: &str, change: &dyn Fn(&mut Disk, InodeNumber)| {
            assert_eq!(fingerprint(change), plain, "{what} shows");
        };
        check("reserved space", &|disk, file| disk.allocate(file, 8_192, 100_000, true, stamp));
        check("the same bytes again", &|disk, file| disk.write(file, 100, &[7; 5_000], stamp));
        check("times", &|disk, file| {
            let attributes = disk.metadata(file).attributes;
            disk.set_attributes(file, attributes, Stamp::new(99, 9));
        });
        check("another inode", &|disk, _| {
            disk.unlink(ROOT, b"file", stamp);
            let file = disk.create_file(ROOT, b"file", 0o644, stamp);
            disk.write(file, 0, &[7; 10_000], stamp);
        });
        let with = |zero: &dyn Fn(&mut Disk, InodeNumber)| fingerprint(|disk, file| zero(disk, file));
        let hole = with(&|disk, file| disk.resize(file, 50_000, stamp));
        assert_eq!(
            hole,
            with(&|disk, file| disk.write(file, 10_000, &[0; 40_000], stamp)),
            "zeros are a hole"
        );
        assert_eq!(
            hole,
            with(&|disk, file| disk.allocate(file, 0, 50_000, false, stamp)),
            "so is reserved space"
        );
    }
}
