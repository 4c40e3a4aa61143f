//! Directory entries: how they change, and which change needs which.
//!
//! A power failure keeps some of the pending changes and loses others. So that what is left is always a tree
//! and a rename is never half done, a change states the earlier pending changes that it *needs*:
//!
//! 1. the last one on each name it touches, so that every name goes through its states in order;
//! 2. where it removes a directory (or replaces an empty one): every change in that directory;
//! 3. where it moves something into another directory: the making of that directory and of those above it,
//!    so that what was reachable before does not vanish into a directory that never was;
//! 4. where it moves a directory into another one: the previous such move, since two of them out of order
//!    can tie a knot (Linux, too, serialises these: `s_vfs_rename_mutex`, Documentation/filesystems/directory-locking).
//!
//! Nothing observable is excluded by rules 1 and 3 beyond that: a name whose earlier change is lost shows
//! either way only the later one.

use super::Disk;
use super::inode::{Attributes, Body, DirectoryBody, FileBody, FileType, Inode, InodeNumber};
use super::journal::Primitive;
use super::operation::{Binding, Bindings, Change, EntryChange, EntryKind, Name, PendingOperation, Stamp};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Disk {
    /// What `name` refers to in `directory`.
    pub fn entry(&self, directory: InodeNumber, name: &[u8]) -> Option<InodeNumber> {
        self.directory(directory).entries.get(name).copied()
    }

    /// The entries of `directory` in the order of their names' bytes, without `.` and `..`.
    pub fn entries(&self, directory: InodeNumber) -> impl Iterator<Item = (&Name, InodeNumber)> {
        self.directory(directory).entries.iter().map(|(name, &inode)| (name, inode))
    }

    /// True where `directory` has no entry.
    pub fn is_empty(&self, directory: InodeNumber) -> bool {
        self.directory(directory).entries.is_empty()
    }

    /// True for what has no name left and lives on only because it is open.
    pub fn is_removed(&self, inode: InodeNumber) -> bool {
        self.inode(inode).links == 0
    }

    /// The directory that holds `directory`; the root holds itself.
    pub fn parent(&self, directory: InodeNumber) -> InodeNumber {
        self.directory(directory).parent
    }

    /// True where `directory` is `below` or one of the directories above it.
    pub fn is_ancestor(&self, directory: InodeNumber, below: InodeNumber) -> bool {
        self.ancestors(below).any(|ancestor| ancestor == directory)
    }

    /// Creates an empty file called `name`, which must be free.
    pub fn create_file(
        &mut self,
        directory: InodeNumber,
        name: &[u8],
        permissions: u32,
        stamp: Stamp,
    ) -> InodeNumber {
        let body = Body::File(FileBody::default());
        let file = self.add_inode(Inode::new(body, Attributes::new(permissions, stamp.now_ns)));
        self.bind(EntryKind::Create, directory, name, Some(file), stamp);
        let change = || Primitive::CreateFile { directory, name: name.into(), permissions, made: file };
        self.journal.note(change);
        file
    }

    /// Gives `file` the further name `name`, which must be free.
    pub fn link(&mut self, file: InodeNumber, directory: InodeNumber, name: &[u8], stamp: Stamp) {
        assert_eq!(self.file_type(file), FileType::File, "directories have one name");
        self.bind(EntryKind::Link, directory, name, Some(file), stamp);
        self.inode_mut(file).attributes.changed_ns = stamp.now_ns;
        self.journal.note(|| Primitive::Link { file, directory, name: name.into() });
    }

    /// Removes the name `name` of a file. The file lives on while it has other names or is open.
    pub fn unlink(&mut self, directory: InodeNumber, name: &[u8], stamp: Stamp) {
        let file = self.entry(directory, name).expect("a name to be removed exists");
        assert_eq!(self.file_type(file), FileType::File, "a directory is not unlinked but removed");
        self.inode_mut(file).attributes.changed_ns = stamp.now_ns;
        self.bind(EntryKind::Unlink, directory, name, None, stamp);
        self.journal.note(|| Primitive::Unlink { directory, name: name.into() });
    }

    /// Makes a directory called `name`, which must be free.
    pub fn make_directory(
        &mut self,
        directory: InodeNumber,
        name: &[u8],
        permissions: u32,
        stamp: Stamp,
    ) -> InodeNumber {
        let body = Body::Directory(DirectoryBody::new(directory, self.sequence + 1));
        let made = self.add_inode(Inode::new(body, Attributes::new(permissions, stamp.now_ns)));
        self.bind(EntryKind::MakeDirectory, directory, name, Some(made), stamp);
        self.journal.note(|| Primitive::MakeDirectory { directory, name: name.into(), permissions, made });
        made
    }

    /// Removes the directory called `name`, which must be empty.
    pub fn remove_directory(&mut self, directory: InodeNumber, name: &[u8], stamp: Stamp) {
        let removed = self.entry(directory, name).expect("a directory to be removed exists");
        assert!(self.is_empty(removed), "only an empty directory is removed");
        self.bind(EntryKind::RemoveDirectory, directory, name, None, stamp);
        self.journal.note(|| Primitive::RemoveDirectory { directory, name: name.into() });
    }

    /// Renames `from`, an existing entry, to `to`, replacing what is there: a file by a file, or an empty
    /// directory by a directory. The caller has made sure that no directory moves below itself and that the
    /// two names do not refer to the same file.
    pub fn rename(&mut self, from: (InodeNumber, &[u8]), to: (InodeNumber, &[u8]), stamp: Stamp) {
        let moved = self.entry(from.0, from.1).expect("what is renamed exists");
        let moved_type = self.file_type(moved);
        let mut needs = BTreeSet::new();
        if let Some(replaced) = self.entry(to.0, to.1) {
            // The blocks of what replaces a file are allocated before it does: `auto_da_alloc` of ext4.
            self.note_allocation(moved, self.sequence);
            assert_ne!(replaced, moved, "renaming a file to another name of itself is no operation");
            assert_eq!(
                moved_type,
                self.file_type(replaced),
                "a file replaces files, a directory directories"
            );
            if moved_type == FileType::Directory {
                assert!(self.is_empty(replaced), "only an empty directory is replaced");
                needs.extend(&self.directory(replaced).pending);
            }
        }
        if from.0 != to.0 {
            let births = self.ancestors(to.0).map(|ancestor| self.directory(ancestor).birth);
            needs.extend(births);
            if moved_type == FileType::Directory {
                assert!(!self.is_ancestor(moved, to.0), "a directory cannot move below itself");
                needs.insert(self.last_directory_move);
                self.last_directory_move = self.sequence + 1;
                self.directory_mut(moved).parent = to.0;
            }
        }
        self.inode_mut(moved).attributes.changed_ns = stamp.now_ns;
        let bindings = Bindings::Two([
            Binding { directory: from.0, name: from.1.into(), target: None },
            Binding { directory: to.0, name: to.1.into(), target: Some(moved) },
        ]);
        self.change_entries(EntryKind::Rename, bindings, needs, stamp);
        let change = || Primitive::Rename { from: (from.0, from.1.into()), to: (to.0, to.1.into()) };
        self.journal.note(change);
    }

    /// Exchanges two existing entries, atomically (rename(2), `RENAME_EXCHANGE`). The caller has made sure that neither
    /// directory moves below itself and that the two names do not refer to the same file.
    pub fn exchange(&mut self, one: (InodeNumber, &[u8]), other: (InodeNumber, &[u8]), stamp: Stamp) {
        let first = self.entry(one.0, one.1).expect("what is exchanged exists");
        let second = self.entry(other.0, other.1).expect("what is exchanged exists");
        assert_ne!(first, second, "exchanging two names of a file is no operation");
        let mut needs = BTreeSet::new();
        if one.0 != other.0 {
            for directory in [one.0, other.0] {
                needs.extend(self.ancestors(directory).map(|ancestor| self.directory(ancestor).birth));
            }
            for (moved, to) in [(first, other.0), (second, one.0)] {
                if self.file_type(moved) == FileType::Directory {
                    assert!(!self.is_ancestor(moved, to), "a directory cannot move below itself");
                    needs.insert(self.last_directory_move);
                    self.directory_mut(moved).parent = to;
                }
            }
            let moves_directory =
                [first, second].iter().any(|&moved| self.file_type(moved) == FileType::Directory);
            if moves_directory {
                self.last_directory_move = self.sequence + 1;
            }
        }
        for moved in [first, second] {
            self.inode_mut(moved).attributes.changed_ns = stamp.now_ns;
        }
        let bindings = Bindings::Two([
            Binding { directory: one.0, name: one.1.into(), target: Some(second) },
            Binding { directory: other.0, name: other.1.into(), target: Some(first) },
        ]);
        self.change_entries(EntryKind::Rename, bindings, needs, stamp);
        let change = || Primitive::Exchange { one: (one.0, one.1.into()), other: (other.0, other.1.into()) };
        self.journal.note(change);
    }

    /// `directory` and those above it, up to the root.
    fn ancestors(&self, directory: InodeNumber) -> impl Iterator<Item = InodeNumber> + '_ {
        std::iter::successors(Some(directory), |&below| {
            let parent = self.parent(below);
            (parent != below).then_some(parent)
        })
    }

    fn add_inode(&mut self, inode: Inode) -> InodeNumber {
        let number = InodeNumber(self.next_inode);
        self.next_inode += 1;
        self.pages += inode.pages();
        self.inodes.insert(number, Arc::new(inode));
        number
    }

    fn bind(
        &mut self,
        kind: EntryKind,
        directory: InodeNumber,
        name: &[u8],
        target: Option<InodeNumber>,
        stamp: Stamp,
    ) {
        let old = self.entry(directory, name);
        assert_ne!(
            old.is_some(),
            target.is_some(),
            "{kind:?} of a name that is taken, or of one that is not there"
        );
        let needs = match (kind, old) {
            (EntryKind::RemoveDirectory, Some(removed)) => self.directory(removed).pending.clone(),
            _ => BTreeSet::new(),
        };
        let bindings = Bindings::One([Binding { directory, name: name.into(), target }]);
        self.change_entries(kind, bindings, needs, stamp);
    }

    fn change_entries(
        &mut self,
        kind: EntryKind,
        bindings: Bindings,
        mut needs: BTreeSet<u64>,
        stamp: Stamp,
    ) {
        let sequence = self.next_sequence();
        let mut replaced = [None; 2];
        for (binding, replaced) in bindings.iter().zip(&mut replaced) {
            needs.extend(self.directory(binding.directory).last_change.get(&binding.name));
            *replaced = self.rebind(binding, sequence, stamp);
        }
        needs.retain(|need| self.entry_operations.contains_key(need));
        let inode = bindings[0].directory;
        let change = Change::Entries(EntryChange { kind, bindings, needs: needs.into_iter().collect() });
        let operation = PendingOperation { sequence, inode, stamp, change, promised_by: None };
        self.entry_operations.insert(sequence, operation);
        for inode in replaced.into_iter().flatten() {
            self.release_unreferenced(inode);
        }
    }

    /// Changes one entry in the volatile state and counts the references; returns what it referred to.
    fn rebind(&mut self, binding: &Binding, sequence: u64, stamp: Stamp) -> Option<InodeNumber> {
        let became_directory =
            binding.target.is_some_and(|target| self.file_type(target) == FileType::Directory);
        let was_directory = self
            .entry(binding.directory, &binding.name)
            .is_some_and(|target| self.file_type(target) == FileType::Directory);
        let directory = self.directory_mut(binding.directory);
        directory.pending.insert(sequence);
        directory.last_change.insert(binding.name.clone(), sequence);
        directory.subdirectories += u32::from(became_directory);
        directory.subdirectories -= u32::from(was_directory);
        let old = match binding.target {
            Some(target) => directory.entries.insert(binding.name.clone(), target),
            None => directory.entries.remove(&binding.name),
        };
        let attributes = &mut self.inode_mut(binding.directory).attributes;
        (attributes.modified_ns, attributes.changed_ns) = (stamp.now_ns, stamp.now_ns);
        if let Some(target) = binding.target {
            let node = self.inode_mut(target);
            node.links += 1;
            node.pending_links += 1;
        }
        if let Some(old) = old {
            self.inode_mut(old).links -= 1;
        }
        old
    }
}
