//! Mapping files into memory: what the calls do, what a fault means, and what becomes of stores.
//!
//! | rule | source |
//! |---|---|
//! | a mapping shows the page cache: writes by calls are seen in it at once, stores by `read` at once | mmap(2) `MAP_SHARED`; POSIX mmap() asks for no more than msync |
//! | stores beyond the end of the file, within its last page, do not reach the file | mmap(2) NOTES |
//! | touching a page wholly beyond the end is SIGBUS; it ends the run by its name | mmap(2) ERRORS |
//! | a private page is a copy from the first store on; until then it shows the file | mmap(2) `MAP_PRIVATE`: unspecified; so on Linux |
//! | closing the descriptor ends neither the mapping nor a lock of the description | mmap(2); fs/file_table.c, `__fput` |
//! | a truncation takes pages behind it, private copies too | mm/memory.c, `unmap_mapping_range` with `even_cows` |
//! | `msync(MS_SYNC)` is an `fdatasync` of the range; `MS_ASYNC` does nothing | msync(2); mm/msync.c: `vfs_fsync_range(…, 1)` |
//! | a store for whose page the disk has no room is SIGBUS | `page_mkwrite`; it ends the run by its name |

use super::Vfs;
use super::descriptor::DescriptionId;
use super::error::{Error, Result};
use super::mapping::{Mapping, PAGE, Protection, Resident};
use super::memory::Access;
use super::mount::MountId;
use super::sync::OpenSync;
use crate::disk::{Errno, FileType, InodeNumber, OperationKind, Stamp, SyncScope};
use libc::c_int;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a fault on a page came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The access succeeds when it is made again, or faults once more: a first store to a page that was never touched
    /// faults for the load and for the store.
    Resolved,
    /// SIGSEGV: the mapping of this path does not allow the access.
    Denied(Arc<str>),
    /// SIGBUS: the page lies wholly beyond the end of the file of this path.
    BeyondEnd(Arc<str>),
    /// SIGBUS: a store into a hole of the file of this path, and the disk is full.
    NoSpace(Arc<str>),
    /// SIGSEGV: nothing is mapped there, or no longer.
    NotMapped,
}

/// What was stored to a page: a write of the disk now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The mount.
    pub mount: MountId,
    /// The file.
    pub inode: InodeNumber,
    /// The path within it by which the file was opened.
    pub path: Arc<str>,
    /// The place of the first byte in the file.
    pub offset: u64,
    /// From the first byte that differs to the last.
    pub bytes: Vec<u8>,
}

/// A range of whole pages.
fn pages(address: usize, length: usize, overflow: Errno) -> Result<(usize, usize)> {
    if !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let bytes = length.checked_next_multiple_of(PAGE).ok_or(overflow)?;
    Ok((address, address.checked_add(bytes).ok_or(overflow)?))
}

fn protection(bits: c_int, call: &'static str) -> Result<Protection> {
    if bits & !(libc::PROT_READ | libc::PROT_WRITE) != 0 {
        return Err(Error::Unsupported { call });
    }
    Ok(Protection { read: bits & libc::PROT_READ != 0, write: bits & libc::PROT_WRITE != 0 })
}

impl Vfs {
    /// `mmap` of a file, at an address of the machine's choice. Returns the address.
    ///
    /// Fails by name for `MAP_FIXED`, `MAP_FIXED_NOREPLACE` and `PROT_EXEC`. Flags that only concern paging
    /// (`MAP_POPULATE`, `MAP_LOCKED`, `MAP_NORESERVE`, …) change nothing, for nothing is ever paged out.
    pub fn mmap(
        &mut self,
        length: usize,
        bits: c_int,
        flags: c_int,
        descriptor: c_int,
        offset: i64,
    ) -> Result<usize> {
        // The order of ksys_mmap_pgoff and do_mmap (mm/mmap.c), which decides where several errors apply.
        if offset % PAGE as i64 != 0 {
            return Err(Errno::EINVAL.into());
        }
        let id = self.descriptors.id(descriptor)?;
        if length == 0 || flags & (libc::MAP_HUGETLB | libc::MAP_GROWSDOWN) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let bytes = length.checked_next_multiple_of(PAGE).filter(|&bytes| isize::try_from(bytes).is_ok());
        let bytes = bytes.ok_or(Errno::ENOMEM)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let end = offset.checked_add(bytes as u64).filter(|&end| i64::try_from(end).is_ok());
        end.ok_or(Errno::EOVERFLOW)?;
        let protection = protection(bits, "mmap of a file with PROT_EXEC")?;
        if flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0 {
            return Err(Error::Unsupported { call: "mmap of a file with MAP_FIXED" });
        }
        let description = self.descriptors.description(id);
        let shared = match flags & libc::MAP_TYPE {
            libc::MAP_SHARED => true,
            libc::MAP_SHARED_VALIDATE if flags & libc::MAP_SYNC != 0 => return Err(Errno::EOPNOTSUPP.into()),
            libc::MAP_SHARED_VALIDATE => true,
            libc::MAP_PRIVATE => false,
            _ => return Err(Errno::EINVAL.into()),
        };
        let may_write = !shared || description.writes();
        if !description.reads() || (protection.write && !may_write) {
            return Err(Errno::EACCES.into());
        }
        let (mount, inode) = (description.mount, description.inode);
        if self.disk(mount).file_type(inode) == FileType::Directory {
            return Err(Errno::ENODEV.into());
        }
        let start = self.memory.reserve(bytes).ok_or(Errno::ENOMEM)?;
        self.descriptors.retain(id);
        let resident = BTreeMap::new();
        let mapping =
            Mapping { bytes, mount, inode, description: id, offset, shared, protection, may_write, resident };
        self.mappings.insert(start, mapping);
        Ok(start)
    }

    /// `munmap`. What was stored must have been collected.
    pub fn munmap(&mut self, address: usize, length: usize) -> Result<()> {
        if length == 0 {
            return Err(Errno::EINVAL.into());
        }
        let (start, end) = pages(address, length, Errno::EINVAL)?;
        for (from, _) in self.cut_out(start, end) {
            self.drop_mapping(from);
        }
        Ok(())
    }

    /// `mprotect`. As on Linux, what lies before the first page that cannot be changed is changed.
    pub fn mprotect(&mut self, address: usize, length: usize, bits: c_int) -> Result<()> {
        let (start, end) = pages(address, length, Errno::ENOMEM)?;
        let protection = protection(bits, "mprotect of a file's mapping with PROT_EXEC")?;
        let mut next = start;
        for (from, to) in self.cut_out(start, end) {
            if from != next {
                return Err(Errno::ENOMEM.into());
            }
            let mapping = self.mappings.get_mut(from);
            if protection.write && !mapping.may_write {
                return Err(Errno::EACCES.into());
            }
            mapping.protection = protection;
            for (&page, &resident) in &mapping.resident {
                self.memory.protect(page, PAGE, mapping.access(resident));
            }
            next = to;
        }
        if next == end { Ok(()) } else { Err(Errno::ENOMEM.into()) }
    }

    /// `madvise`: advice about paging changes nothing; `MADV_DONTNEED` drops pages, private copies too.
    pub fn madvise(&mut self, address: usize, length: usize, advice: c_int) -> Result<()> {
        match advice {
            libc::MADV_NORMAL
            | libc::MADV_RANDOM
            | libc::MADV_SEQUENTIAL
            | libc::MADV_WILLNEED
            | libc::MADV_DONTNEED
            | libc::MADV_DONTFORK
            | libc::MADV_DOFORK
            | libc::MADV_HUGEPAGE
            | libc::MADV_NOHUGEPAGE
            | libc::MADV_DONTDUMP
            | libc::MADV_DODUMP
            | libc::MADV_KEEPONFORK
            | libc::MADV_COLD
            | libc::MADV_PAGEOUT => {}
            // For anonymous memory only.
            libc::MADV_FREE | libc::MADV_WIPEONFORK => return Err(Errno::EINVAL.into()),
            _ => return Err(Error::Unsupported { call: "madvise of a file's mapping with this advice" }),
        }
        let (start, end) = pages(address, length, Errno::EINVAL)?;
        if advice == libc::MADV_DONTNEED {
            for (from, to) in self.mappings.overlapping(start, end) {
                let (first, mapping) = self.mappings.find(from).expect("it was just found");
                let dropped: Vec<usize> = mapping.resident.range(from..to).map(|(&page, _)| page).collect();
                for page in dropped {
                    self.mappings.get_mut(first).resident.remove(&page);
                    self.memory.release(page, PAGE);
                }
            }
        }
        if self.mappings.covers(start, end) { Ok(()) } else { Err(Errno::ENOMEM.into()) }
    }

    /// `mremap`: shrinks in place, and grows by moving, since every mapping's neighbour may be another. Fails by name
    /// for `MREMAP_FIXED`, `MREMAP_DONTUNMAP` and an old size of zero.
    pub fn mremap(
        &mut self,
        address: usize,
        old_length: usize,
        new_length: usize,
        flags: c_int,
    ) -> Result<usize> {
        if flags & !libc::MREMAP_MAYMOVE != 0 || old_length == 0 {
            let call = "mremap of a file's mapping with MREMAP_FIXED, MREMAP_DONTUNMAP or no old size";
            return Err(Error::Unsupported { call });
        }
        let (start, old_end) = pages(address, old_length, Errno::EINVAL)?;
        let (_, new_end) = pages(address, new_length, Errno::EINVAL)?;
        if new_length == 0 {
            return Err(Errno::EINVAL.into());
        }
        let (first, mapping) = self.mappings.find(start).ok_or(Errno::EFAULT)?;
        if old_end > first + mapping.bytes {
            return Err(Errno::EFAULT.into());
        }
        if new_end <= old_end {
            if new_end < old_end {
                self.munmap(new_end, old_end - new_end)?;
            }
            return Ok(address);
        }
        if flags & libc::MREMAP_MAYMOVE == 0 {
            return Err(Errno::ENOMEM.into());
        }
        let bytes = new_end - start;
        let moved = self.memory.reserve(bytes).ok_or(Errno::ENOMEM)?;
        self.cut_out(start, old_end);
        let old = self.mappings.remove(start);
        let mut mapping = Mapping { bytes, resident: BTreeMap::new(), ..old.clone() };
        for (&page, &resident) in old.resident.iter().filter(|(_, page)| **page == Resident::Private) {
            let mut copy = [0; PAGE];
            self.memory.protect(page, PAGE, Access::Read);
            self.memory.load(page, &mut copy);
            let place = moved + (page - start);
            self.memory.fill(place, &copy, mapping.access(resident));
            mapping.resident.insert(place, resident);
        }
        self.memory.release(start, old.bytes);
        self.mappings.insert(moved, mapping);
        Ok(moved)
    }

    /// Begins an `msync`: the syncs that it consists of, one for each shared mapping in the range, none without
    /// `MS_SYNC`. What was stored must have been collected. `ENOMEM` is due after them where not all is mapped, which
    /// the second value tells.
    pub fn msync_begin(
        &self,
        address: usize,
        length: usize,
        flags: c_int,
    ) -> Result<(Vec<OpenSync>, Result<()>)> {
        let both = libc::MS_ASYNC | libc::MS_SYNC;
        if flags & !(both | libc::MS_INVALIDATE) != 0 || flags & both == both {
            return Err(Errno::EINVAL.into());
        }
        let (start, end) = pages(address, length, Errno::ENOMEM)?;
        let mapped = if self.mappings.covers(start, end) { Ok(()) } else { Err(Error::Errno(Errno::ENOMEM)) };
        if flags & libc::MS_SYNC == 0 {
            return Ok((Vec::new(), mapped));
        }
        let mut syncs = Vec::new();
        for (from, to) in self.mappings.overlapping(start, end) {
            let (first, mapping) = self.mappings.find(from).expect("it was just found");
            if mapping.shared {
                let position = mapping.position(first, from);
                let range = (position, position + (to - from) as u64);
                let path = self.descriptors.description(mapping.description).path.clone();
                syncs.push(self.sync_range(mapping.mount, mapping.inode, path, SyncScope::Data, range));
            }
        }
        Ok((syncs, mapped))
    }

    /// What the processor's fault at `address` means. A page that may be read is loaded first; if it can be read and
    /// faults, then it was stored to.
    pub fn page_fault(&mut self, address: usize) -> Fault {
        let page = address - address % PAGE;
        let Some((start, mapping)) = self.mappings.find(page) else { return Fault::NotMapped };
        let path = || self.descriptors.description(mapping.description).path.clone();
        let (position, resident) = (mapping.position(start, page), mapping.resident.get(&page).copied());
        if !mapping.protection.read && !mapping.protection.write {
            return Fault::Denied(path());
        }
        let disk = self.disk(mapping.mount);
        if position >= disk.size(mapping.inode) {
            return Fault::BeyondEnd(path());
        }
        let next = match resident {
            None => Resident::Clean,
            Some(Resident::Clean) if !mapping.protection.write => return Fault::Denied(path()),
            Some(Resident::Clean) if !mapping.shared => Resident::Private,
            Some(Resident::Clean) if !self.has_room_for_store(mapping, position) => {
                return Fault::NoSpace(path());
            }
            Some(Resident::Clean) => Resident::Stored,
            Some(Resident::Stored | Resident::Private) => return Fault::Denied(path()),
        };
        let access = mapping.access(next);
        if resident.is_none() {
            let mut bytes = [0; PAGE];
            disk.read(mapping.inode, position, &mut bytes);
            self.memory.fill(page, &bytes, access);
        } else {
            self.memory.protect(page, PAGE, access);
        }
        self.mappings.get_mut(start).resident.insert(page, next);
        if next == Resident::Stored {
            self.mappings.stored.push_back(page);
        }
        Fault::Resolved
    }

    /// Whether what is mapped lets a call read, or write, a buffer in it; where not, the call fails with `EFAULT`.
    pub fn may_access(&self, address: usize, length: usize, write: bool) -> bool {
        let (start, end) = (address - address % PAGE, (address + length).next_multiple_of(PAGE));
        let parts = self.mappings.overlapping(start, end);
        self.mappings.covers(start, end)
            && parts.into_iter().all(|(from, to)| {
                let (first, mapping) = self.mappings.find(from).expect("it was just found");
                let allowed = if write {
                    mapping.protection.write
                } else {
                    mapping.protection.read || mapping.protection.write
                };
                let last_page = mapping.position(first, to - PAGE);
                allowed && last_page < self.disk(mapping.mount).size(mapping.inode)
            })
    }

    /// What was stored to the shared page that was first stored to; none where nothing was. From now on the page is
    /// clean, so the store must be carried out, by [`Vfs::carry_out_store`]. To be done until none is left before every
    /// other call on these files, and when a thread gives its turn away.
    pub fn next_store(&mut self) -> Option<Store> {
        loop {
            let page = self.mappings.stored.pop_front()?;
            if let Some(store) = self.take_store(page) {
                return Some(store);
            }
        }
    }

    /// Makes a store a write of the disk.
    pub fn carry_out_store(&mut self, stamp: Stamp, store: &Store) {
        let Store { mount, inode, path, offset, bytes } = store;
        let (end, state) = (offset + bytes.len() as u64, self.mount_mut(*mount));
        state.disk.write(*inode, *offset, bytes, stamp);
        state.record(OperationKind::Write, path.clone(), (*offset, bytes.len() as u64), stamp);
        self.refresh(*mount, *inode, (*offset, end));
    }

    fn take_store(&mut self, page: usize) -> Option<Store> {
        let (start, mapping) = self.mappings.find(page).expect("a stored page is mapped");
        let (mount, inode, offset) = (mapping.mount, mapping.inode, mapping.position(start, page));
        let path = self.descriptors.description(mapping.description).path.clone();
        let (mut now, mut before) = ([0; PAGE], [0; PAGE]);
        self.memory.load(page, &mut now);
        let valid = self.disk(mount).read(inode, offset, &mut before);
        let mapping = self.mappings.get_mut(start);
        mapping.resident.insert(page, Resident::Clean);
        self.memory.protect(page, PAGE, mapping.access(Resident::Clean));
        let differs = |&place: &usize| now[place] != before[place];
        let (first, last) = ((0..valid).find(differs)?, (0..valid).rfind(differs)?);
        Some(Store { mount, inode, path, offset: offset + first as u64, bytes: now[first..=last].to_vec() })
    }

    /// Makes the pages that show `range` of a file equal to it, and takes those that lie behind its end.
    pub(super) fn refresh(&mut self, mount: MountId, inode: InodeNumber, range: (u64, u64)) {
        if self.mappings.is_empty() {
            return;
        }
        let size = self.disk(mount).size(inode);
        for start in self.mappings.of_file(mount, inode) {
            let mapping = self.mappings.get(start);
            let touched: Vec<(usize, Resident)> = mapping
                .resident
                .iter()
                .map(|(&page, &resident)| (page, resident))
                .filter(|&(page, _)| {
                    let position = mapping.position(start, page);
                    position < range.1 && range.0 < position + PAGE as u64
                })
                .collect();
            for (page, resident) in touched {
                self.refresh_page(start, page, resident, size);
            }
        }
    }

    fn refresh_page(&mut self, start: usize, page: usize, resident: Resident, size: u64) {
        let mapping = self.mappings.get(start);
        let position = mapping.position(start, page);
        if position >= size {
            self.mappings.get_mut(start).resident.remove(&page);
            self.mappings.stored.retain(|stored| *stored != page);
            self.memory.release(page, PAGE);
        } else if resident != Resident::Private {
            let mut bytes = [0; PAGE];
            self.disk(mapping.mount).read(mapping.inode, position, &mut bytes);
            self.memory.fill(page, &bytes, mapping.access(resident));
        }
    }

    /// How many mappings show files of `mount`.
    pub(super) fn mapping_count(&self, mount: MountId) -> usize {
        self.mappings.of_mount(mount).len()
    }

    /// Ends every mapping of a mount's files.
    pub(super) fn unmap_all(&mut self, mount: MountId) {
        for start in self.mappings.of_mount(mount) {
            self.drop_mapping(start);
        }
    }

    /// Cuts mappings at both ends of a range, and tells which lie in it then.
    fn cut_out(&mut self, start: usize, end: usize) -> Vec<(usize, usize)> {
        for place in [start, end] {
            if let Some(description) = self.mappings.split(place) {
                self.descriptors.retain(description);
            }
        }
        self.mappings.overlapping(start, end)
    }

    fn drop_mapping(&mut self, start: usize) {
        let mapping = self.mappings.remove(start);
        self.memory.release(start, mapping.bytes);
        self.release_description(mapping.description);
    }

    /// Gives up one reference to a description; with the last one its locks go, and the file if it has no name.
    pub(super) fn release_description(&mut self, id: DescriptionId) {
        if let Some(last) = self.descriptors.release(id) {
            let mount = self.mount_mut(last.mount);
            mount.locks.release_description(last.inode, id);
            mount.disk.close(last.inode);
        }
    }

    /// Whether the disk has room for every page of a hole that was stored to since the last call, and one more.
    fn has_room_for_store(&self, mapping: &Mapping, position: u64) -> bool {
        let disk = self.disk(mapping.mount);
        let lacks = |inode, position| disk.pages_missing(inode, position, 1);
        let promised: u64 = self
            .mappings
            .stored
            .iter()
            .filter_map(|&page| self.mappings.find(page).map(|(start, mapping)| (start, page, mapping)))
            .filter(|(.., other)| other.mount == mapping.mount)
            .map(|(start, page, other)| lacks(other.inode, other.position(start, page)))
            .sum();
        let missing = lacks(mapping.inode, position);
        missing == 0 || promised + missing <= disk.free_pages()
    }
}
