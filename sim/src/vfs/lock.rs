//! `flock` and `fcntl` locks on files.

use super::Vfs;
use super::descriptor::DescriptionId;
use super::error::{Error, Result};
use crate::disk::{Errno, InodeNumber};
use libc::{c_int, c_short};
use std::collections::BTreeMap;

/// The locks of one mount.
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// `flock`: whole files, held by open file descriptions; true is exclusive.
    whole: BTreeMap<InodeNumber, BTreeMap<DescriptionId, bool>>,
    /// `fcntl`: ranges of bytes.
    ranges: BTreeMap<InodeNumber, Vec<RangeLock>>,
}

/// Who holds a range. The two kinds conflict with each other (fcntl_locking(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The process that has the disk mounted: `F_SETLK`.
    Process,
    /// An open file description: `F_OFD_SETLK`.
    Description(DescriptionId),
}

#[derive(Clone, Copy, Debug)]
struct RangeLock {
    start: u64,
    /// One past the last byte; `u64::MAX` is the end of the file, however it grows.
    end: u64,
    exclusive: bool,
    owner: Owner,
}

impl RangeLock {
    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner && (self.exclusive || other.exclusive) && self.overlaps(other)
    }
}

impl Locks {
    pub(super) fn release_description(&mut self, inode: InodeNumber, description: DescriptionId) {
        if let Some(holders) = self.whole.get_mut(&inode) {
            holders.remove(&description);
            if holders.is_empty() {
                self.whole.remove(&inode);
            }
        }
        self.release_ranges(inode, Owner::Description(description));
    }

    pub(super) fn release_process(&mut self, inode: InodeNumber) {
        self.release_ranges(inode, Owner::Process);
    }

    fn release_ranges(&mut self, inode: InodeNumber, owner: Owner) {
        if let Some(held) = self.ranges.get_mut(&inode) {
            held.retain(|lock| lock.owner != owner);
            if held.is_empty() {
                self.ranges.remove(&inode);
            }
        }
    }

    fn lock_whole(&mut self, inode: InodeNumber, description: DescriptionId, exclusive: bool) -> Result<()> {
        let holders = self.whole.entry(inode).or_default();
        let conflict = holders.iter().any(|(&holder, &held)| holder != description && (held || exclusive));
        // A conversion is not atomic: the old lock is given up first, and lost where the new one is refused
        // (flock(2)).
        holders.remove(&description);
        if conflict {
            return Err(Errno::EWOULDBLOCK.into());
        }
        holders.insert(description, exclusive);
        Ok(())
    }

    /// The first lock that `wanted` would conflict with.
    fn conflict(&self, inode: InodeNumber, wanted: &RangeLock) -> Option<RangeLock> {
        self.ranges.get(&inode)?.iter().find(|held| held.conflicts(wanted)).copied()
    }

    /// Gives up what `range.owner` holds in the range; where `kept`, it holds it as `range` says instead.
    fn replace(&mut self, inode: InodeNumber, range: RangeLock, kept: bool) {
        let held = self.ranges.entry(inode).or_default();
        let mut next = Vec::with_capacity(held.len() + 2);
        for lock in held.drain(..) {
            if lock.owner != range.owner || !lock.overlaps(&range) {
                next.push(lock);
                continue;
            }
            if lock.start < range.start {
                next.push(RangeLock { end: range.start, ..lock });
            }
            if range.end < lock.end {
                next.push(RangeLock { start: range.end, ..lock });
            }
        }
        if kept {
            next.push(range);
        }
        next.sort_by_key(|lock| lock.start);
        *held = next;
        if held.is_empty() {
            self.ranges.remove(&inode);
        }
    }
}

impl Vfs {
    /// `flock`. Fails with `EWOULDBLOCK` where another open file description holds a lock that conflicts,
    /// whether or not `LOCK_NB` is given: without it, the caller has to wait and ask again.
    pub fn flock(&mut self, descriptor: c_int, operation: c_int) -> Result<()> {
        let id = self.descriptors.id(descriptor)?;
        let (mount, inode) = self.file_of(descriptor)?;
        let locks = &mut self.mount_mut(mount).locks;
        match operation & !libc::LOCK_NB {
            libc::LOCK_SH => locks.lock_whole(inode, id, false),
            libc::LOCK_EX => locks.lock_whole(inode, id, true),
            libc::LOCK_UN => {
                if let Some(holders) = locks.whole.get_mut(&inode) {
                    holders.remove(&id);
                }
                Ok(())
            }
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// `fcntl` with `F_SETLK`, `F_SETLKW`, `F_GETLK` or their `F_OFD_` twins. Fails with `EAGAIN` where a
    /// lock conflicts, also for the waiting commands: their caller has to wait and ask again.
    pub fn fcntl_lock(&mut self, descriptor: c_int, command: c_int, lock: &mut libc::flock64) -> Result<()> {
        let id = self.descriptors.id(descriptor)?;
        let (mount, inode) = self.file_of(descriptor)?;
        let owner = match command {
            libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW => Owner::Process,
            libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW if lock.l_pid != 0 => {
                return Err(Errno::EINVAL.into());
            }
            libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => Owner::Description(id),
            _ => return Err(Error::Unsupported { call: "fcntl with this lock command" }),
        };
        let (start, end) = self.locked_range(descriptor, lock)?;
        let kind = c_int::from(lock.l_type);
        let wanted = RangeLock { start, end, exclusive: kind == libc::F_WRLCK, owner };
        if !matches!(kind, libc::F_RDLCK | libc::F_WRLCK | libc::F_UNLCK) {
            return Err(Errno::EINVAL.into());
        }
        if matches!(command, libc::F_GETLK | libc::F_OFD_GETLK) {
            let conflict = self.mount_ref(mount).locks.conflict(inode, &wanted);
            describe_conflict(conflict, lock);
            return Ok(());
        }
        let description = self.descriptors.get(descriptor)?;
        let may = match kind {
            libc::F_RDLCK => description.reads(),
            libc::F_WRLCK => description.writes(),
            _ => true,
        };
        if !may {
            return Err(Errno::EBADF.into());
        }
        let locks = &mut self.mount_mut(mount).locks;
        if kind != libc::F_UNLCK && locks.conflict(inode, &wanted).is_some() {
            return Err(Errno::EAGAIN.into());
        }
        locks.replace(inode, wanted, kind != libc::F_UNLCK);
        Ok(())
    }

    /// The bytes that `lock` names, as (first, one past the last).
    fn locked_range(&self, descriptor: c_int, lock: &libc::flock64) -> Result<(u64, u64)> {
        let (mount, inode) = self.file_of(descriptor)?;
        let description = self.descriptors.get(descriptor)?;
        let base = match c_int::from(lock.l_whence) {
            libc::SEEK_SET => 0,
            libc::SEEK_CUR => description.offset,
            libc::SEEK_END => self.mount_ref(mount).disk.metadata(inode).size,
            _ => return Err(Errno::EINVAL.into()),
        };
        let base = i128::from(base) + i128::from(lock.l_start);
        // A negative length names the bytes before the start; a length of zero, all to the end.
        let (start, end) = match lock.l_len {
            0 => (base, i128::from(u64::MAX)),
            length if length > 0 => (base, base + i128::from(length)),
            length => (base + i128::from(length), base),
        };
        let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
        let end = u64::try_from(end).map_err(|_| Errno::EINVAL)?;
        Ok((start, end))
    }
}

fn describe_conflict(conflict: Option<RangeLock>, lock: &mut libc::flock64) {
    let short = |kind: c_int| c_short::try_from(kind).expect("lock types are small");
    let Some(held) = conflict else {
        lock.l_type = short(libc::F_UNLCK);
        return;
    };
    lock.l_type = short(if held.exclusive { libc::F_WRLCK } else { libc::F_RDLCK });
    lock.l_whence = short(libc::SEEK_SET);
    lock.l_start = i64::try_from(held.start).unwrap_or(i64::MAX);
    lock.l_len =
        if held.end == u64::MAX { 0 } else { i64::try_from(held.end - held.start).unwrap_or(i64::MAX) };
    // The holder's process number: all processes of the simulated machine are one to the kernel; a lock of
    // a description has none (fcntl_locking(2)).
    lock.l_pid = if held.owner == Owner::Process { 1 } else { -1 };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Stamp};

    fn lock(kind: c_int, start: i64, length: i64) -> libc::flock64 {
        let short = |value: c_int| c_short::try_from(value).unwrap();
        libc::flock64 {
            l_type: short(kind),
            l_whence: short(libc::SEEK_SET),
            l_start: start,
            l_len: length,
            l_pid: 0,
        }
    }

    /// Two descriptions of one file.
    fn two() -> (Vfs, c_int, c_int) {
        let mut vfs = Vfs::new();
        vfs.mount("/m", Disk::new());
        let mut open =
            || vfs.openat(Stamp::default(), libc::AT_FDCWD, b"/m/lock", libc::O_CREAT | libc::O_RDWR, 0o644);
        let (first, second) = (open().unwrap(), open().unwrap());
        (vfs, first, second)
    }

    fn set(vfs: &mut Vfs, descriptor: c_int, kind: c_int, start: i64, length: i64) -> Result<()> {
        vfs.fcntl_lock(descriptor, libc::F_OFD_SETLK, &mut lock(kind, start, length))
    }

    #[test]
    fn ranges_of_two_descriptions_conflict_where_they_overlap() {
        let (mut vfs, first, second) = two();
        let again = Err(Error::Errno(Errno::EAGAIN));
        assert_eq!(set(&mut vfs, first, libc::F_WRLCK, 10, 10), Ok(()));
        assert_eq!(set(&mut vfs, second, libc::F_WRLCK, 0, 10), Ok(()));
        assert_eq!(set(&mut vfs, second, libc::F_RDLCK, 19, 1), again);
        assert_eq!(set(&mut vfs, second, libc::F_WRLCK, 20, 0), Ok(()));
        assert_eq!(
            set(&mut vfs, first, libc::F_RDLCK, 1 << 40, 1),
            again,
            "a length of zero reaches to the end"
        );
        // Giving up the middle leaves both sides locked.
        assert_eq!(set(&mut vfs, first, libc::F_UNLCK, 13, 4), Ok(()));
        assert_eq!(set(&mut vfs, second, libc::F_WRLCK, 13, 4), Ok(()));
        assert_eq!(set(&mut vfs, second, libc::F_WRLCK, 12, 1), again);
        assert_eq!(set(&mut vfs, second, libc::F_WRLCK, 17, 1), again);
        vfs.close(first).unwrap();
        assert_eq!(set(&mut vfs, second, libc::F_WRLCK, 0, 0), Ok(()));
    }

    #[test]
    fn readers_share_and_a_description_may_change_its_mind() {
        let (mut vfs, first, second) = two();
        assert_eq!(set(&mut vfs, first, libc::F_RDLCK, 0, 0), Ok(()));
        assert_eq!(set(&mut vfs, second, libc::F_RDLCK, 0, 0), Ok(()));
        assert_eq!(set(&mut vfs, first, libc::F_WRLCK, 0, 0), Err(Errno::EAGAIN.into()));
        assert_eq!(set(&mut vfs, second, libc::F_UNLCK, 0, 0), Ok(()));
        assert_eq!(set(&mut vfs, first, libc::F_WRLCK, 0, 0), Ok(()));
    }

    #[test]
    fn asking_names_the_lock_in_the_way() {
        let (mut vfs, first, second) = two();
        set(&mut vfs, first, libc::F_WRLCK, 5, 7).unwrap();
        let mut asked = lock(libc::F_RDLCK, 0, 0);
        vfs.fcntl_lock(second, libc::F_OFD_GETLK, &mut asked).unwrap();
        let found = (c_int::from(asked.l_type), asked.l_start, asked.l_len, asked.l_pid);
        assert_eq!(found, (libc::F_WRLCK, 5, 7, -1));
        let mut asked = lock(libc::F_RDLCK, 0, 5);
        vfs.fcntl_lock(second, libc::F_OFD_GETLK, &mut asked).unwrap();
        assert_eq!(c_int::from(asked.l_type), libc::F_UNLCK);
    }

    #[test]
    fn locks_of_the_process_never_conflict_with_each_other_and_go_with_any_close() {
        let (mut vfs, first, second) = two();
        let whole = || lock(libc::F_WRLCK, 0, 0);
        assert_eq!(vfs.fcntl_lock(first, libc::F_SETLK, &mut whole()), Ok(()));
        assert_eq!(vfs.fcntl_lock(second, libc::F_SETLK, &mut whole()), Ok(()));
        assert_eq!(vfs.fcntl_lock(second, libc::F_OFD_SETLK, &mut whole()), Err(Errno::EAGAIN.into()));
        let copy = vfs.dup(first).unwrap();
        vfs.close(copy).unwrap();
        assert_eq!(vfs.fcntl_lock(second, libc::F_OFD_SETLK, &mut whole()), Ok(()));
    }
}
