//! Descriptors, and the open file descriptions they share.

use super::Vfs;
use super::error::{Error, Result};
use super::mount::MountId;
use crate::disk::{Errno, InodeNumber};
use libc::c_int;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// The number of the first virtual descriptor, far above any that the kernel gives.
pub const FIRST_DESCRIPTOR: c_int = 1 << 24;

/// An open file description: what `dup` shares.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub(super) mount: MountId,
    pub(super) inode: InodeNumber,
    pub(super) offset: u64,
    /// Access mode and status flags, as `F_GETFL` shows them.
    pub(super) flags: c_int,
    /// The path within the mount by which it was opened.
    pub(super) path: Arc<str>,
    references: u32,
}

impl Description {
    pub(super) const fn new(mount: MountId, inode: InodeNumber, flags: c_int, path: Arc<str>) -> Self {
        Self { mount, inode, offset: 0, flags, path, references: 0 }
    }

    pub(super) const fn reads(&self) -> bool {
        matches!(self.flags & libc::O_ACCMODE, libc::O_RDONLY | libc::O_RDWR)
    }

    pub(super) const fn writes(&self) -> bool {
        matches!(self.flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)
    }

    pub(super) const fn appends(&self) -> bool {
        self.flags & libc::O_APPEND != 0
    }
}

/// How many descriptors there can be (as `fs.nr_open`).
const MOST_DESCRIPTORS: usize = 1 << 20;

/// The number of an open file description, which locks are held by.
pub(super) type DescriptionId = usize;

#[derive(Clone, Copy, Debug)]
struct Descriptor {
    description: DescriptionId,
    close_on_exec: bool,
}

/// The descriptors in use. As POSIX asks, a new one gets the lowest free number.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    slots: Vec<Option<Descriptor>>,
    free_slots: BinaryHeap<Reverse<usize>>,
    descriptions: Vec<Option<Description>>,
    free_descriptions: Vec<DescriptionId>,
}

impl Descriptors {
    pub(super) fn insert(&mut self, description: Description, close_on_exec: bool) -> c_int {
        let id = match self.free_descriptions.pop() {
            Some(id) => {
                self.descriptions[id] = Some(description);
                id
            }
            None => {
                self.descriptions.push(Some(description));
                self.descriptions.len() - 1
            }
        };
        self.refer(id, close_on_exec, 0)
    }

    pub(super) fn id(&self, descriptor: c_int) -> Result<DescriptionId> {
        Ok(self.slot(descriptor)?.description)
    }

    pub(super) fn get(&self, descriptor: c_int) -> Result<&Description> {
        Ok(self.description(self.id(descriptor)?))
    }

    pub(super) fn get_mut(&mut self, descriptor: c_int) -> Result<&mut Description> {
        let id = self.id(descriptor)?;
        Ok(self.descriptions[id].as_mut().expect("a descriptor refers to a description"))
    }

    pub(super) fn description(&self, id: DescriptionId) -> &Description {
        self.descriptions[id].as_ref().expect("a descriptor refers to a description")
    }

    /// A further descriptor for the description of `descriptor`, the lowest free one from `minimum` on.
    pub(super) fn duplicate(
        &mut self,
        descriptor: c_int,
        minimum: c_int,
        close_on_exec: bool,
    ) -> Result<c_int> {
        let id = self.id(descriptor)?;
        let first_slot = usize::try_from(minimum.saturating_sub(FIRST_DESCRIPTOR)).unwrap_or(0);
        Ok(self.refer(id, close_on_exec, first_slot))
    }

    /// Lets `descriptor`, any from the first on, refer to the description of `from`; it must not be open.
    pub(super) fn place(&mut self, from: c_int, descriptor: c_int, close_on_exec: bool) -> Result<()> {
        let id = self.id(from)?;
        let slot = slot_index(descriptor).filter(|&slot| slot < MOST_DESCRIPTORS).ok_or(Errno::EBADF)?;
        while self.slots.len() <= slot {
            self.free_slots.push(Reverse(self.slots.len()));
            self.slots.push(None);
        }
        self.free_slots.retain(|Reverse(free)| *free != slot);
        self.retain(id);
        self.slots[slot] = Some(Descriptor { description: id, close_on_exec });
        Ok(())
    }

    /// Closes `descriptor`, which gave up its reference to the description that is returned.
    pub(super) fn remove(&mut self, descriptor: c_int) -> Result<DescriptionId> {
        let Descriptor { description: id, .. } = *self.slot(descriptor)?;
        let slot = slot_index(descriptor).expect("it was just found");
        self.slots[slot] = None;
        self.free_slots.push(Reverse(slot));
        Ok(id)
    }

    /// Refers to a description once more.
    pub(super) fn retain(&mut self, id: DescriptionId) {
        self.descriptions[id].as_mut().expect("what refers to a description keeps it").references += 1;
    }

    /// Gives up a reference to a description; returns it if that was the last one.
    pub(super) fn release(&mut self, id: DescriptionId) -> Option<Description> {
        let description = self.descriptions[id].as_mut().expect("what refers to a description keeps it");
        description.references -= 1;
        if description.references > 0 {
            return None;
        }
        self.free_descriptions.push(id);
        self.descriptions[id].take()
    }

    pub(super) fn close_on_exec(&self, descriptor: c_int) -> Result<bool> {
        Ok(self.slot(descriptor)?.close_on_exec)
    }

    pub(super) fn set_close_on_exec(&mut self, descriptor: c_int, close_on_exec: bool) -> Result<()> {
        self.slot(descriptor)?;
        let slot = slot_index(descriptor).expect("it was just found");
        self.slots[slot].as_mut().expect("it was just found").close_on_exec = close_on_exec;
        Ok(())
    }

    pub(super) fn count(&self, mount: MountId) -> usize {
        self.of_mount(mount).count()
    }

    /// The descriptors of `mount`, ascending.
    pub(super) fn of_mount(&self, mount: MountId) -> impl Iterator<Item = c_int> + '_ {
        self.slots.iter().enumerate().filter_map(move |(slot, descriptor)| {
            let description = self.description(descriptor.as_ref()?.description);
            (description.mount == mount).then(|| number(slot))
        })
    }

    fn slot(&self, descriptor: c_int) -> Result<&Descriptor> {
        slot_index(descriptor)
            .and_then(|slot| self.slots.get(slot)?.as_ref())
            .ok_or(Error::Errno(Errno::EBADF))
    }

    /// Lets the lowest free slot from `first_slot` on refer to `id`.
    fn refer(&mut self, id: DescriptionId, close_on_exec: bool, first_slot: usize) -> c_int {
        let description = self.descriptions[id].as_mut().expect("a descriptor refers to a description");
        description.references += 1;
        while self.slots.len() < first_slot {
            self.free_slots.push(Reverse(self.slots.len()));
            self.slots.push(None);
        }
        let mut too_low = Vec::new();
        let slot = loop {
            match self.free_slots.pop() {
                Some(Reverse(slot)) if slot < first_slot => too_low.push(Reverse(slot)),
                Some(Reverse(slot)) => break slot,
                None => {
                    self.slots.push(None);
                    break self.slots.len() - 1;
                }
            }
        };
        self.free_slots.extend(too_low);
        self.slots[slot] = Some(Descriptor { description: id, close_on_exec });
        number(slot)
    }
}

fn slot_index(descriptor: c_int) -> Option<usize> {
    usize::try_from(descriptor.checked_sub(FIRST_DESCRIPTOR)?).ok()
}

fn number(slot: usize) -> c_int {
    FIRST_DESCRIPTOR + c_int::try_from(slot).expect("fewer than 2³⁰ descriptors")
}

/// What a descriptor refers to, for the caller's trace and faults.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// The mount.
    pub mount: MountId,
    /// The file or directory.
    pub inode: InodeNumber,
    /// The path within the mount by which it was opened, without a leading slash.
    pub path: &'a Arc<str>,
    /// Where the next sequential read begins.
    pub offset: u64,
    /// Where the next sequential write begins: the size of the file for `O_APPEND`, else the offset.
    pub write_offset: u64,
    /// True for a directory.
    pub is_directory: bool,
}

impl Vfs {
    /// What `descriptor` refers to; `None` where it is no open virtual descriptor.
    pub fn describe(&self, descriptor: c_int) -> Option<Described<'_>> {
        let description = self.descriptors.get(descriptor).ok()?;
        let disk = &self.mount_ref(description.mount).disk;
        let is_directory = disk.file_type(description.inode) == crate::disk::FileType::Directory;
        let appends = description.appends() && !is_directory;
        Some(Described {
            mount: description.mount,
            inode: description.inode,
            path: &description.path,
            offset: description.offset,
            write_offset: if appends { disk.size(description.inode) } else { description.offset },
            is_directory,
        })
    }

    /// `close`: frees the descriptor and, with the last one of a description, its locks and the file if it
    /// has no name. Every lock that the process holds on the file by `F_SETLK` goes with any close
    /// (fcntl_locking(2)).
    pub fn close(&mut self, descriptor: c_int) -> Result<()> {
        let (mount, inode) = self.file_of(descriptor)?;
        let id = self.descriptors.remove(descriptor)?;
        self.mount_mut(mount).locks.release_process(inode);
        self.release_description(id);
        Ok(())
    }

    /// `dup`.
    pub fn dup(&mut self, descriptor: c_int) -> Result<c_int> {
        self.descriptors.duplicate(descriptor, 0, false)
    }

    /// `dup2`, and with `exclusive` `dup3`: `to` refers to what `from` does, and is closed before where it is open.
    /// Numbers below [`FIRST_DESCRIPTOR`] are none of ours.
    pub fn dup_to(&mut self, from: c_int, to: c_int, exclusive: bool, close_on_exec: bool) -> Result<c_int> {
        if from == to && exclusive {
            return Err(Errno::EINVAL.into());
        }
        self.descriptors.get(from)?;
        if from == to {
            return Ok(to);
        }
        if (0..FIRST_DESCRIPTOR).contains(&to) {
            return Err(Error::Unsupported { call: "dup2 of a file to the number of a host's descriptor" });
        }
        if self.descriptors.get(to).is_ok() {
            self.close(to)?;
        }
        self.descriptors.place(from, to, close_on_exec)?;
        Ok(to)
    }

    /// `fcntl` with a command that takes a number or nothing: `F_DUPFD`, `F_DUPFD_CLOEXEC`, `F_GETFD`,
    /// `F_SETFD`, `F_GETFL`, `F_SETFL`. Locks are at [`Vfs::fcntl_lock`].
    pub fn fcntl(&mut self, descriptor: c_int, command: c_int, argument: c_int) -> Result<c_int> {
        match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
                if argument < 0 {
                    return Err(Errno::EINVAL.into());
                }
                self.descriptors.duplicate(descriptor, argument, command == libc::F_DUPFD_CLOEXEC)
            }
            libc::F_GETFD => {
                let close_on_exec = self.descriptors.close_on_exec(descriptor)?;
                Ok(if close_on_exec { libc::FD_CLOEXEC } else { 0 })
            }
            libc::F_SETFD => {
                self.descriptors.set_close_on_exec(descriptor, argument & libc::FD_CLOEXEC != 0)?;
                Ok(0)
            }
            libc::F_GETFL => Ok(self.descriptors.get(descriptor)?.flags),
            libc::F_SETFL => {
                let is_directory = self.describe(descriptor).is_some_and(|it| it.is_directory);
                let description = self.descriptors.get_mut(descriptor)?;
                if is_directory && argument & libc::O_DIRECT != 0 {
                    return Err(Errno::EINVAL.into());
                }
                let changeable = libc::O_APPEND | libc::O_DIRECT | libc::O_NONBLOCK | libc::O_NOATIME;
                description.flags = description.flags & !changeable | argument & changeable;
                Ok(0)
            }
            _ => {
                self.descriptors.get(descriptor)?;
                Err(Error::Unsupported { call: "fcntl with this command" })
            }
        }
    }

    /// Ends every descriptor, directory stream and mapping of `mount`.
    pub(super) fn close_all(&mut self, mount: MountId) {
        let open: Vec<_> = self.descriptors.of_mount(mount).collect();
        self.streams.retain(|_, stream| !open.contains(&stream.descriptor()));
        for descriptor in open {
            self.close(descriptor).expect("a descriptor in the table is open");
        }
        self.unmap_all(mount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Stamp};

    fn open(vfs: &mut Vfs, path: &str) -> c_int {
        let flags = libc::O_CREAT | libc::O_RDWR | libc::O_CLOEXEC;
        vfs.openat(Stamp::default(), libc::AT_FDCWD, path.as_bytes(), flags, 0o644).unwrap()
    }

    #[test]
    fn a_new_descriptor_gets_the_lowest_free_number() {
        let mut vfs = Vfs::new();
        vfs.mount("/m", Disk::new());
        let opened: Vec<_> =
            (0..4).map(|number| open(&mut vfs, &format!("/m/{number}")) - FIRST_DESCRIPTOR).collect();
        assert_eq!(opened, [0, 1, 2, 3]);
        vfs.close(FIRST_DESCRIPTOR + 2).unwrap();
        vfs.close(FIRST_DESCRIPTOR + 1).unwrap();
        assert_eq!(
            vfs.fcntl(FIRST_DESCRIPTOR, libc::F_DUPFD, FIRST_DESCRIPTOR + 2),
            Ok(FIRST_DESCRIPTOR + 2)
        );
        assert_eq!(vfs.dup(FIRST_DESCRIPTOR), Ok(FIRST_DESCRIPTOR + 1));
        assert_eq!(
            vfs.fcntl(FIRST_DESCRIPTOR, libc::F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR + 9),
            Ok(FIRST_DESCRIPTOR + 9)
        );
        assert_eq!(open(&mut vfs, "/m/4"), FIRST_DESCRIPTOR + 4);
        assert_eq!(vfs.close(FIRST_DESCRIPTOR + 8), Err(Errno::EBADF.into()));
        assert_eq!(vfs.close(3), Err(Errno::EBADF.into()));
    }

    #[test]
    fn flags_of_descriptors_and_of_descriptions() {
        let mut vfs = Vfs::new();
        vfs.mount("/m", Disk::new());
        let file = open(&mut vfs, "/m/f");
        let copy = vfs.dup(file).unwrap();
        assert_eq!(vfs.fcntl(file, libc::F_GETFD, 0), Ok(libc::FD_CLOEXEC));
        assert_eq!(vfs.fcntl(copy, libc::F_GETFD, 0), Ok(0));
        vfs.fcntl(copy, libc::F_SETFD, libc::FD_CLOEXEC).unwrap();
        assert_eq!(vfs.fcntl(copy, libc::F_GETFD, 0), Ok(libc::FD_CLOEXEC));
        vfs.fcntl(copy, libc::F_SETFL, libc::O_APPEND).unwrap();
        assert_eq!(vfs.fcntl(file, libc::F_GETFL, 0), Ok(libc::O_RDWR | libc::O_APPEND));
        vfs.write(Stamp::default(), file, b"hello").unwrap();
        vfs.lseek(file, 0, libc::SEEK_SET).unwrap();
        let described = vfs.describe(copy).unwrap();
        assert_eq!((described.offset, described.write_offset, described.is_directory), (0, 5, false));
    }

    #[test]
    fn ending_a_mount_closes_what_was_open_on_it_and_nothing_else() {
        let mut vfs = Vfs::new();
        let (one, two) = (vfs.mount("/one", Disk::new()), vfs.mount("/two", Disk::new()));
        let (first, second) = (open(&mut vfs, "/one/f"), open(&mut vfs, "/two/f"));
        let directory = vfs.openat(Stamp::default(), libc::AT_FDCWD, b"/one", libc::O_RDONLY, 0).unwrap();
        let stream = vfs.fdopendir(directory).unwrap();
        vfs.unlinkat(Stamp::default(), libc::AT_FDCWD, b"/one/f", 0).unwrap();
        assert_eq!((vfs.open_descriptors(one), vfs.open_descriptors(two)), (2, 1));
        let disk = vfs.unmount(one);
        disk.check_invariants();
        assert!(!vfs.is_mounted(one) && vfs.is_mounted(two));
        assert!(vfs.describe(first).is_none() && vfs.describe(second).is_some());
        assert_eq!(vfs.readdir(stream), Err(Errno::EBADF.into()));
        let again = vfs.mount("/one", disk);
        assert_ne!(again, one);
        assert_eq!(vfs.open_descriptors(again), 0);
    }
}
