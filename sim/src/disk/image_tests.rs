//! Properties of crash images, over random histories and random choices.

use super::*;
use crate::entropy::Entropy;
use proptest::prelude::*;

/// A step of a history. Numbers choose among what exists; a step that is not possible is passed over.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Create { directory: usize, name: u8 },
    MakeDirectory { directory: usize, name: u8 },
    Remove { directory: usize, name: u8 },
    Rename { from: (usize, u8), to: (usize, u8) },
    Link { file: usize, directory: usize, name: u8 },
    Write { file: usize, offset: u64, length: usize, byte: u8 },
    Resize { file: usize, size: u64 },
    Punch { file: usize, offset: u64, length: u64 },
    Permissions { inode: usize, permissions: u32 },
    Sync { inode: usize, scope: SyncScope, fate: SyncFate },
    SyncEverything,
    WriteBack { mask: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (which, name) = (0..20_usize, 0..4_u8);
    let scope = prop::sample::select(vec![SyncScope::All, SyncScope::Data]);
    let fate =
        prop_oneof![4 => Just(SyncFate::Honest), 2 => Just(SyncFate::Lying), 1 => Just(SyncFate::Failed)];
    prop_oneof![
        4 => (which.clone(), name.clone()).prop_map(|(directory, name)| Step::Create { directory, name }),
        3 => (which.clone(), name.clone()).prop_map(|(directory, name)| Step::MakeDirectory { directory, name }),
        3 => (which.clone(), name.clone()).prop_map(|(directory, name)| Step::Remove { directory, name }),
        8 => ((which.clone(), name.clone()), (which.clone(), name.clone())).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => (which.clone(), which.clone(), name).prop_map(|(file, directory, name)| Step::Link { file, directory, name }),
        6 => (which.clone(), 0..9000_u64, 1..6000_usize, 1..=255_u8)
            .prop_map(|(file, offset, length, byte)| Step::Write { file, offset, length, byte }),
        2 => (which.clone(), 0..12_000_u64).prop_map(|(file, size)| Step::Resize { file, size }),
        1 => (which.clone(), 0..9000_u64, 1..9000_u64).prop_map(|(file, offset, length)| Step::Punch { file, offset, length }),
        1 => (which.clone(), 0..0o1000_u32).prop_map(|(inode, permissions)| Step::Permissions { inode, permissions }),
        4 => (which, scope, fate).prop_map(|(inode, scope, fate)| Step::Sync { inode, scope, fate }),
        1 => Just(Step::SyncEverything),
        1 => any::<u64>().prop_map(|mask| Step::WriteBack { mask }),
    ]
}

pub(super) fn history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

/// What a history promises of every image after it.
#[derive(Default)]
struct Promises {
    /// The bytes of files that were synced and not changed since.
    bytes: BTreeMap<InodeNumber, Vec<u8>>,
    /// The entries of directories that were synced, without those that changed since.
    entries: BTreeMap<InodeNumber, BTreeMap<Name, InodeNumber>>,
    /// Files and directories that were safe with every directory above them, and only renamed since.
    safe: BTreeSet<InodeNumber>,
}

pub(super) struct History {
    pub(super) disk: Disk,
    promises: Promises,
    time_ns: u64,
}

impl History {
    /// Runs `steps`. Syncs fail only if `syncs_fail`; else those that would are honest.
    pub(super) fn run(steps: &[Step], syncs_fail: bool) -> Self {
        let mut history = Self { disk: Disk::new(), promises: Promises::default(), time_ns: 0 };
        for step in steps {
            history.time_ns += 1;
            history.step(step, syncs_fail);
            history.disk.check_invariants();
        }
        history
    }

    fn of_type(&self, wanted: FileType) -> Vec<InodeNumber> {
        let mut found = BTreeSet::new();
        self.disk.walk(View::Volatile, &mut |_, inode| {
            if self.disk.file_type(inode) == wanted {
                found.insert(inode);
            }
        });
        found.into_iter().collect()
    }

    fn pick(&self, wanted: FileType, which: usize) -> Option<InodeNumber> {
        let found = self.of_type(wanted);
        (!found.is_empty()).then(|| found[which % found.len()])
    }

    fn directory(&self, which: usize) -> InodeNumber {
        self.pick(FileType::Directory, which).unwrap()
    }

    fn touch_entry(&mut self, directory: InodeNumber, name: &[u8]) {
        if let Some(entries) = self.promises.entries.get_mut(&directory) {
            entries.remove(name);
        }
    }

    fn step(&mut self, step: &Step, syncs_fail: bool) {
        let stamp = Stamp::new(self.time_ns, 1);
        match *step {
            Step::Create { directory, name } => {
                let directory = self.directory(directory);
                if self.disk.entry(directory, &[name]).is_none() {
                    self.touch_entry(directory, &[name]);
                    self.disk.create_file(directory, &[name], 0o644, stamp);
                }
            }
            Step::MakeDirectory { directory, name } => {
                let directory = self.directory(directory);
                if self.disk.entry(directory, &[name]).is_none() {
                    self.touch_entry(directory, &[name]);
                    self.disk.make_directory(directory, &[name], 0o755, stamp);
                }
            }
            Step::Remove { directory, name } => self.remove(self.directory(directory), name, stamp),
            Step::Rename { from, to } => {
                self.rename((self.directory(from.0), from.1), (self.directory(to.0), to.1), stamp)
            }
            Step::Link { file, directory, name } => {
                let directory = self.directory(directory);
                let Some(file) = self.pick(FileType::File, file) else { return };
                if self.disk.entry(directory, &[name]).is_none() {
                    self.touch_entry(directory, &[name]);
                    self.disk.link(file, directory, &[name], stamp);
                    self.promises.safe.remove(&file);
                }
            }
            Step::Write { file, offset, length, byte } => {
                let Some(file) = self.pick(FileType::File, file) else { return };
                self.disk.write(file, offset, &vec![byte; length], stamp);
                self.promises.bytes.remove(&file);
            }
            Step::Resize { file, size } => {
                let Some(file) = self.pick(FileType::File, file) else { return };
                self.disk.resize(file, size, stamp);
                self.promises.bytes.remove(&file);
            }
            Step::Punch { file, offset, length } => {
                let Some(file) = self.pick(FileType::File, file) else { return };
                self.disk.punch(file, offset, length, stamp);
                self.promises.bytes.remove(&file);
            }
            Step::Permissions { inode, permissions } => {
                let Some(inode) = self.pick(FileType::File, inode) else { return };
                let attributes = self.disk.metadata(inode).attributes;
                self.disk.set_attributes(inode, Attributes { permissions, ..attributes }, stamp);
            }
            Step::Sync { inode, scope, fate } => {
                let all = [self.of_type(FileType::File), self.of_type(FileType::Directory)].concat();
                let inode = all[inode % all.len()];
                let fate = if fate == SyncFate::Failed && !syncs_fail { SyncFate::Honest } else { fate };
                self.disk.sync(inode, scope, fate);
                if fate == SyncFate::Honest {
                    self.promise(inode);
                }
            }
            Step::SyncEverything => {
                let all = [self.of_type(FileType::File), self.of_type(FileType::Directory)].concat();
                for &inode in &all {
                    self.disk.sync(inode, SyncScope::All, SyncFate::Honest);
                    self.promise(inode);
                }
                let one_name = |&inode: &InodeNumber| self.disk.inode(inode).links == 1;
                self.promises.safe.extend(all.into_iter().filter(one_name));
            }
            Step::WriteBack { mask } => {
                let pending = self.disk.pending_count();
                let durable =
                    self.disk.write_back(&mut |operation| mask >> (operation.sequence % 64) & 1 == 1);
                assert_eq!(self.disk.pending_count() + durable, pending);
            }
        }
    }

    fn remove(&mut self, directory: InodeNumber, name: u8, stamp: Stamp) {
        let Some(inode) = self.disk.entry(directory, &[name]) else { return };
        match self.disk.file_type(inode) {
            FileType::File => self.disk.unlink(directory, &[name], stamp),
            FileType::Directory if self.disk.is_empty(inode) => {
                self.disk.remove_directory(directory, &[name], stamp)
            }
            FileType::Directory => return,
        }
        self.touch_entry(directory, &[name]);
        self.promises.safe.remove(&inode);
    }

    fn rename(&mut self, from: (InodeNumber, u8), to: (InodeNumber, u8), stamp: Stamp) {
        let Some(moved) = self.disk.entry(from.0, &[from.1]) else { return };
        let is_directory = self.disk.file_type(moved) == FileType::Directory;
        if is_directory && self.disk.is_ancestor(moved, to.0) {
            return;
        }
        if let Some(replaced) = self.disk.entry(to.0, &[to.1]) {
            let fits = self.disk.file_type(replaced) == self.disk.file_type(moved);
            if replaced == moved || !fits || is_directory && !self.disk.is_empty(replaced) {
                return;
            }
            self.promises.safe.remove(&replaced);
        }
        self.disk.rename((from.0, &[from.1]), (to.0, &[to.1]), stamp);
        self.touch_entry(from.0, &[from.1]);
        self.touch_entry(to.0, &[to.1]);
    }

    /// Takes down what an honest sync of `inode` promises.
    fn promise(&mut self, inode: InodeNumber) {
        match self.disk.file_type(inode) {
            // What a failed sync lost, a later one does not write.
            FileType::File if self.disk.inode(inode).lost_writes > 0 => {}
            FileType::File => {
                self.promises.bytes.insert(inode, bytes(&self.disk, inode));
            }
            FileType::Directory => {
                let entries = self.disk.entries(inode).map(|(name, inode)| (name.clone(), inode)).collect();
                self.promises.entries.insert(inode, entries);
            }
        }
    }

    /// Panics where `image` breaks a promise.
    pub(super) fn check(&self, image: &Disk, report: &CrashReport) {
        image.check_invariants();
        assert_eq!(image.pending_count(), 0, "an image of a power failure is settled");
        assert_eq!(image.tree(View::Volatile), image.tree(View::Durable));
        assert_eq!(report.kept + report.dropped + report.torn, self.disk.pending_count());
        assert_eq!(report.losses.len(), report.dropped + report.torn);
        for (&file, expected) in &self.promises.bytes {
            assert!(!image.exists(file) || bytes(image, file) == *expected, "synced bytes of {file} changed");
        }
        for (&directory, entries) in &self.promises.entries {
            for (name, &inode) in entries {
                let kept = !image.exists(directory) || image.entry(directory, name) == Some(inode);
                assert!(kept, "a synced entry of {directory} is gone");
            }
        }
        for &inode in &self.promises.safe {
            assert!(image.exists(inode), "{inode} was safe, was only renamed, and is gone");
            assert_eq!(image.inode(inode).links, 1, "{inode} has both names of a rename");
        }
    }
}

fn bytes(disk: &Disk, file: InodeNumber) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.size(file)).unwrap()];
    disk.read(file, 0, &mut bytes);
    bytes
}

fn keep_all(_: &PendingOperation) -> Keep {
    Keep::Whole
}

fn drop_all(_: &PendingOperation) -> Keep {
    Keep::Drop
}

pub(super) fn random(seed: u64) -> RandomChoices {
    RandomChoices::new(Entropy::stream(seed, "crash"))
}

pub(super) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn an_image_that_keeps_everything_is_what_reads_saw(steps in history()) {
        let history = History::run(&steps, false);
        for profile in [Profile::Ext4Ordered, Profile::Lying] {
            let (image, report) = crash_image(&history.disk, profile, 0, &mut keep_all);
            history.check(&image, &report);
            prop_assert_eq!(image.tree(View::Durable), history.disk.tree(View::Volatile));
            prop_assert_eq!((report.dropped, report.torn, report.inodes_lost), (0, 0, 0));
            prop_assert_eq!(image.fingerprint(), history.disk.fingerprint());
        }
    }

    #[test]
    fn an_image_that_keeps_nothing_is_what_the_medium_held(steps in history()) {
        let history = History::run(&steps, true);
        let (image, report) = crash_image(&history.disk, Profile::Lying, 0, &mut drop_all);
        history.check(&image, &report);
        prop_assert_eq!(image.tree(View::Durable), history.disk.tree(View::Durable));
        prop_assert_eq!((report.kept, report.torn), (0, 0));
    }

    #[test]
    fn whatever_is_lost_no_promise_is_broken(steps in history(), seed in any::<u64>()) {
        let history = History::run(&steps, true);
        for seed in (0..8).map(|nth| seed.wrapping_add(nth)) {
            let (image, report) = crash_image(&history.disk, Profile::Lying, 0, &mut random(seed));
            history.check(&image, &report);
        }
    }

    #[test]
    fn an_image_is_a_function_of_its_choices(steps in history(), seed in any::<u64>()) {
        let history = History::run(&steps, false);
        let before = history.disk.tree(View::Volatile);
        let first = crash_image(&history.disk, Profile::Lying, 0, &mut random(seed));
        let second = crash_image(&history.disk, Profile::Lying, 0, &mut random(seed));
        prop_assert_eq!(first.1, second.1);
        prop_assert_eq!(first.0.tree(View::Durable), second.0.tree(View::Durable));
        prop_assert_eq!(history.disk.tree(View::Volatile), before);
        history.disk.check_invariants();
    }

    #[test]
    fn what_was_synced_survives_in_every_profile(steps in history(), seed in any::<u64>()) {
        let mut history = History::run(&steps, false);
        history.step(&Step::SyncEverything, false);
        for profile in Profile::ALL {
            let (image, _) = crash_image(&history.disk, profile, 0, &mut random(seed));
            prop_assert_eq!(image.tree(View::Volatile), history.disk.tree(View::Volatile));
            prop_assert_eq!(image.fingerprint(), history.disk.fingerprint());
            prop_assert!(choosable(&history.disk, profile, 0).is_empty());
        }
    }

    /// Where the profile knows no lies, a sync that lied is as good as an honest one.
    #[test]
    fn posix_keeps_what_lying_syncs_promised(steps in history(), seed in any::<u64>()) {
        let mut history = History::run(&steps, false);
        let all = [history.of_type(FileType::File), history.of_type(FileType::Directory)].concat();
        for inode in all {
            history.disk.sync(inode, SyncScope::All, SyncFate::Lying);
        }
        for profile in [Profile::Posix, Profile::Ext4Ordered] {
            let (image, report) = crash_image(&history.disk, profile, 0, &mut random(seed));
            history.check(&image, &report);
            prop_assert_eq!(image.tree(View::Durable), history.disk.tree(View::Volatile));
        }
    }

    #[test]
    fn an_honest_sync_of_anything_keeps_every_promise(steps in history(), seed in any::<u64>()) {
        let mut history = History::run(&steps, false);
        let all = [history.of_type(FileType::File), history.of_type(FileType::Directory)].concat();
        for inode in all {
            history.disk.sync(inode, SyncScope::All, SyncFate::Lying);
        }
        history.disk.sync(InodeNumber::ROOT, SyncScope::All, SyncFate::Honest);
        let (image, report) = crash_image(&history.disk, Profile::Lying, 0, &mut random(seed));
        history.check(&image, &report);
        prop_assert_eq!(report.lying_syncs, 0);
        prop_assert_eq!(image.tree(View::Durable), history.disk.tree(View::Volatile));
    }

    #[test]
    fn a_killed_process_loses_nothing_and_nothing_is_safer(steps in history(), seed in any::<u64>()) {
        let history = History::run(&steps, true);
        let (killed, report) = crash_image(&history.disk, Profile::ProcessKill, 0, &mut drop_all);
        killed.check_invariants();
        prop_assert_eq!(killed.tree(View::Volatile), history.disk.tree(View::Volatile));
        prop_assert_eq!(killed.tree(View::Durable), history.disk.tree(View::Durable));
        prop_assert_eq!(report.dropped, 0);
        let at_once = crash_image(&history.disk, Profile::Lying, 0, &mut random(seed)).0;
        let later = crash_image(&killed, Profile::Lying, 0, &mut random(seed)).0;
        prop_assert_eq!(at_once.tree(View::Durable), later.tree(View::Durable));
    }

    /// An image is a disk like any other: one can go on working on it, and crash again.
    #[test]
    fn images_of_images_keep_their_promises(first in history(), second in history(), seed in any::<u64>()) {
        let before = History::run(&first, false);
        let (disk, _) = crash_image(&before.disk, Profile::Lying, 0, &mut random(seed));
        let mut after = History { disk, promises: Promises::default(), time_ns: before.time_ns };
        after.step(&Step::SyncEverything, false);
        for step in &second {
            after.step(step, true);
            after.disk.check_invariants();
        }
        let (image, report) = crash_image(&after.disk, Profile::Lying, 0, &mut random(seed ^ 1));
        after.check(&image, &report);
    }
}
