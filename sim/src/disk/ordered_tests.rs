//! Stories of what ext4 leaves, each with every image that there can be.

use super::image_tests::{History, config, history, random};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ROOT: InodeNumber = InodeNumber::ROOT;
const PAGE: usize = 4096;
const SECOND_NS: u64 = 1_000_000_000;

/// A disk that is worked on at a time of its own, file by file of the root directory.
struct Story {
    disk: Disk,
    now_ns: u64,
}

impl Story {
    fn new() -> Self {
        Self { disk: Disk::new(), now_ns: 0 }
    }

    /// Begins with these files, durable.
    fn with(files: &[(&str, &[u8])]) -> Self {
        let mut story = Self::new();
        for (name, bytes) in files {
            story.create(name);
            if !bytes.is_empty() {
                story.write(name, 0, bytes);
            }
            story.sync(name);
        }
        story.disk.sync(ROOT, SyncScope::All, SyncFate::Honest);
        story
    }

    fn stamp(&self) -> Stamp {
        Stamp::new(self.now_ns, 1)
    }

    fn file(&self, name: &str) -> InodeNumber {
        self.disk.entry(ROOT, name.as_bytes()).unwrap()
    }

    fn create(&mut self, name: &str) {
        self.disk.create_file(ROOT, name.as_bytes(), 0o644, self.stamp());
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) {
        self.disk.write(self.file(name), offset as u64, bytes, self.stamp());
    }

    fn resize(&mut self, name: &str, size: u64) {
        self.disk.resize(self.file(name), size, self.stamp());
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.disk.rename((ROOT, from.as_bytes()), (ROOT, to.as_bytes()), self.stamp());
    }

    fn sync(&mut self, name: &str) {
        self.disk.sync(self.file(name), SyncScope::All, SyncFate::Honest);
    }

    fn sync_data(&mut self, name: &str) {
        self.disk.sync(self.file(name), SyncScope::Data, SyncFate::Honest);
    }

    /// Every image under `profile`: each operation kept, lost, or torn between pages in every way.
    fn images(&self, profile: Profile) -> BTreeSet<String> {
        let pages = |operation: &PendingOperation| match (&operation.change, operation.range()) {
            (Change::Write(_), Some((offset, length))) => {
                (offset + length).div_ceil(PAGE_BYTES) - offset / PAGE_BYTES
            }
            _ => 1,
        };
        let bits: u64 = choosable(&self.disk, profile, self.now_ns).into_iter().map(pages).sum();
        let mut images = BTreeSet::new();
        for choice in 0..1_u64 << bits {
            let mut rest = choice;
            let mut choose = |operation: &PendingOperation| {
                let count = pages(operation);
                let kept = rest & ((1 << count) - 1);
                rest >>= count;
                match kept {
                    0 => Keep::Drop,
                    _ if kept == (1 << count) - 1 => Keep::Whole,
                    _ => torn(operation, &|page| kept >> page & 1 == 1),
                }
            };
            let (image, _) = crash_image(&self.disk, profile, self.now_ns, &mut choose);
            image.check_invariants();
            images.insert(describe(&image));
        }
        images
    }

    /// Compares the images that ext4 can leave with `expected`.
    fn check(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|&image| image.to_owned()).collect();
        assert_eq!(self.images(Profile::Ext4Ordered), expected);
    }
}

/// A write of which these pages survive.
fn torn(operation: &PendingOperation, survives: &dyn Fn(u64) -> bool) -> Keep {
    let (offset, length) = operation.range().unwrap();
    let first = offset / SECTOR_BYTES;
    let page = |sector: u64| (first + sector) * SECTOR_BYTES / PAGE_BYTES - offset / PAGE_BYTES;
    let sectors = Sectors::from_fn(Sectors::touched(offset, length), |sector| survives(page(sector)));
    Keep::Torn(Tear::sectors(sectors, TornSize::FollowsData))
}

/// `a=x×3,·×4 d/`: runs of bytes, zeros as `·`; whole pages counted as `p`.
fn describe(disk: &Disk) -> String {
    let shown = disk.tree(View::Durable).into_iter().map(|(path, node)| match node {
        Node::Directory => format!("{path}/"),
        Node::File(bytes) => {
            let runs = bytes.chunk_by(|one, next| one == next).map(|run| {
                let byte = if run[0] == 0 { '·' } else { char::from(run[0]) };
                match run.len() {
                    1 => byte.to_string(),
                    length if length % PAGE == 0 => format!("{byte}{}p", length / PAGE),
                    length => format!("{byte}{length}"),
                }
            });
            format!("{path}={}", runs.collect::<Vec<_>>().join(","))
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_synced_new_file_has_its_name() {
    let mut story = Story::new();
    story.create("log");
    story.write("log", 0, b"aaa");
    story.sync("log");
    story.check(&["log=a3"]);
    assert!(story.images(Profile::Posix).contains(""), "not so on the weakest machine");
}

#[test]
fn an_append_leaves_a_prefix() {
    let mut story = Story::with(&[("log", b"aaa")]);
    story.write("log", 3, &[b'b'; 3 * PAGE]);
    story.check(&["log=a3", "log=a3,b4093", "log=a3,b8189", "log=a3,b12285", "log=a3,b3p"]);
    assert!(story.images(Profile::Posix).iter().any(|image| image.contains('·')), "posix leaves zeros");
}

#[test]
fn appends_survive_in_their_order() {
    let mut story = Story::with(&[("log", b"")]);
    for byte in [b'a', b'b', b'c'] {
        let end = story.disk.size(story.file("log"));
        story.write("log", usize::try_from(end).unwrap(), &[byte; PAGE]);
    }
    story.check(&["log=", "log=a1p", "log=a1p,b1p", "log=a1p,b1p,c1p"]);
}

#[test]
fn a_file_replaced_by_rename_is_the_old_or_the_new_one() {
    let mut story = Story::with(&[("file", b"ooo")]);
    story.create("new");
    story.write("new", 0, b"nnn");
    story.rename("new", "file");
    story.check(&["file=o3", "file=o3 new=", "file=o3 new=n3", "file=n3"]);
    assert!(story.images(Profile::Posix).contains("file="), "posix leaves an empty one");
    // A sync of the directory keeps the rename, and with it the data.
    story.disk.sync(ROOT, SyncScope::All, SyncFate::Honest);
    story.check(&["file=n3"]);
    assert!(story.images(Profile::Posix).contains("file="));
}

#[test]
fn a_rename_to_a_free_name_may_be_empty() {
    let mut story = Story::new();
    story.create("new");
    story.write("new", 0, b"nnn");
    story.rename("new", "file");
    story.check(&["", "new=", "new=n3", "file=", "file=n3"]);
}

#[test]
fn a_file_that_was_emptied_gets_its_new_content_before_what_follows_its_close() {
    let mut story = Story::with(&[("file", b"ooo")]);
    let file = story.file("file");
    story.disk.open(file);
    story.resize("file", 0);
    story.write("file", 0, b"nnn");
    let mut unclosed = Story { disk: story.disk.clone(), ..story };
    unclosed.create("x");
    unclosed.check(&["file=o3", "file=", "file=n3", "file= x=", "file=n3 x="]);
    story.disk.close(file);
    story.check(&["file=o3", "file=", "file=n3"]);
    story.create("x");
    story.check(&["file=o3", "file=", "file=n3", "file=n3 x="]);
    story.sync("x");
    story.check(&["file=n3 x="]);
}

#[test]
fn pages_of_a_file_survive_each_on_its_own() {
    let mut story = Story::with(&[("data", &[b'o'; 3 * PAGE])]);
    story.write("data", 0, &[b'a'; 2 * PAGE]);
    story.check(&["data=o3p", "data=a1p,o2p", "data=o1p,a1p,o1p", "data=a2p,o1p"]);
    story.write("data", 2 * PAGE, &[b'b'; 10]);
    assert_eq!(story.images(Profile::Ext4Ordered).len(), 8);
}

#[test]
fn a_page_holds_its_earlier_writes() {
    let mut story = Story::with(&[("data", &[b'o'; 2 * PAGE])]);
    story.write("data", 0, b"aa");
    story.write("data", 2, &[b'b'; PAGE]);
    story.check(&[
        "data=o2p",
        "data=a2,o8190",
        "data=a2,b1p,o4094",
        "data=a2,b4094,o1p",
        // The second page of the second write is another page.
        "data=o1p,b2,o4094",
        "data=a2,o4094,b2,o4094",
    ]);
}

#[test]
fn metadata_survive_in_order_whatever_they_change() {
    let mut story = Story::with(&[("old", &[b'o'; PAGE])]);
    story.create("a");
    story.resize("old", 2 * PAGE_BYTES);
    story.disk.make_directory(ROOT, b"d", 0o755, story.stamp());
    story.rename("a", "b");
    story.check(&["old=o1p", "a= old=o1p", "a= old=o1p,·1p", "a= d/ old=o1p,·1p", "b= d/ old=o1p,·1p"]);
}

#[test]
fn a_file_grows_no_earlier_than_metadata_before_its_growth() {
    let mut story = Story::with(&[("log", &[b'o'; PAGE])]);
    story.create("x");
    story.write("log", PAGE, &[b'n'; PAGE]);
    story.check(&["log=o1p", "log=o1p x=", "log=o1p,n1p x="]);
    // What is only overwritten does not wait for it.
    story.write("log", 0, b"wwww");
    assert!(story.images(Profile::Ext4Ordered).contains("log=w4,o4092"));
}

#[test]
fn a_sync_commits_the_metadata_of_others_and_not_their_data() {
    let mut story = Story::new();
    story.create("a");
    story.write("a", 0, b"aaa");
    story.create("b");
    story.sync_data("b");
    story.check(&["a= b=", "a=a3 b="]);
}

#[test]
fn a_sync_commits_only_what_was_done_before_it_began() {
    let mut story = Story::new();
    story.create("a");
    let begun = story.disk.sync_begin(story.file("a"));
    story.create("b");
    story.disk.sync_end(begun, SyncScope::All, SyncFate::Honest);
    story.check(&["a=", "a= b="]);
}

#[test]
fn a_sync_of_overwritten_blocks_commits_nothing_else() {
    let mut story = Story::with(&[("data", &[b'o'; PAGE])]);
    story.create("x");
    story.write("data", 0, b"aaaa");
    story.sync_data("data");
    story.check(&["data=a4,o4092", "data=a4,o4092 x="]);
    story.write("data", PAGE, b"bbbb");
    story.sync_data("data");
    story.check(&["data=a4,o4092,b4 x="]);
}

#[test]
fn a_sync_of_a_file_keeps_a_new_modification_time_and_a_sync_of_data_does_not() {
    let mut story = Story::with(&[("data", &[b'o'; PAGE])]);
    story.now_ns = SECOND_NS;
    story.create("x");
    story.write("data", 0, b"aaaa");
    story.sync_data("data");
    story.check(&["data=a4,o4092", "data=a4,o4092 x="]);
    story.sync("data");
    story.check(&["data=a4,o4092 x="]);
}

#[test]
fn a_sync_of_a_renamed_file_keeps_its_name() {
    let mut story = Story::with(&[("a", b"aaa")]);
    story.rename("a", "b");
    story.sync_data("b");
    story.check(&["a=a3", "b=a3"]);
    story.sync("b");
    story.check(&["b=a3"]);
}

#[test]
fn a_sync_of_a_directory_commits_the_journal_whatever_has_changed_in_it() {
    let mut story = Story::with(&[("data", b"aaa")]);
    let directory = story.disk.make_directory(InodeNumber::ROOT, b"quiet", 0o755, story.stamp());
    story.disk.sync(InodeNumber::ROOT, SyncScope::All, SyncFate::Honest);
    for scope in [SyncScope::All, SyncScope::Data] {
        story.resize("data", story.disk.size(story.file("data")) - 1);
        assert_eq!(choosable(&story.disk, Profile::Ext4Ordered, story.now_ns).len(), 1);
        story.disk.sync(directory, scope, SyncFate::Honest);
        assert!(choosable(&story.disk, Profile::Ext4Ordered, story.now_ns).is_empty());
        assert_eq!(choosable(&story.disk, Profile::Posix, story.now_ns).len(), 1);
        story.disk.sync(story.file("data"), SyncScope::All, SyncFate::Honest);
    }
}

#[test]
fn a_failed_sync_commits_nothing() {
    let mut story = Story::new();
    story.create("a");
    story.disk.sync(story.file("a"), SyncScope::All, SyncFate::Failed);
    story.check(&["", "a="]);
}

#[test]
fn a_lying_sync_is_honest_here() {
    let mut story = Story::new();
    story.create("x");
    story.create("a");
    story.write("a", 0, b"aaa");
    story.disk.sync(story.file("a"), SyncScope::Data, SyncFate::Lying);
    story.check(&["a=a3 x="]);
}

#[test]
fn a_write_to_what_was_cut_off_needs_the_truncation() {
    let mut story = Story::with(&[("data", &[b'o'; 2 * PAGE])]);
    story.resize("data", PAGE_BYTES);
    story.write("data", PAGE, &[b'n'; PAGE]);
    story.write("data", 0, &[b'w'; PAGE]);
    story.check(&["data=o2p", "data=w1p,o1p", "data=o1p", "data=w1p", "data=o1p,n1p", "data=w1p,n1p"]);
    let mut story = Story::with(&[("data", &[b'o'; 2 * PAGE])]);
    story.disk.punch(story.file("data"), PAGE_BYTES, PAGE_BYTES, story.stamp());
    story.write("data", PAGE, &[b'n'; PAGE]);
    story.check(&["data=o2p", "data=o1p,·1p", "data=o1p,n1p"]);
}

#[test]
fn a_size_that_was_set_shows_zeros_where_data_are_late() {
    let mut story = Story::with(&[("data", b"")]);
    story.write("data", 0, &[b'a'; PAGE]);
    story.resize("data", 2 * PAGE_BYTES);
    story.write("data", PAGE, &[b'b'; PAGE]);
    story.check(&["data=", "data=a1p", "data=·2p", "data=a1p,·1p", "data=·1p,b1p", "data=a1p,b1p"]);
}

#[test]
fn what_is_old_has_survived() {
    let mut story = Story::new();
    story.create("a");
    story.write("a", 0, b"aaa");
    story.now_ns = 5 * SECOND_NS - 1;
    story.check(&["", "a=", "a=a3"]);
    story.now_ns += 1;
    story.check(&["a=", "a=a3"]);
    story.now_ns = 40 * SECOND_NS - 1;
    assert_eq!(choosable(&story.disk, Profile::Ext4Ordered, story.now_ns).len(), 1);
    story.now_ns += 1;
    story.check(&["a=a3"]);
    assert!(choosable(&story.disk, Profile::Ext4Ordered, story.now_ns).is_empty());
    assert!(story.images(Profile::Posix).contains(""), "nothing is ever old enough on the weakest machine");
}

#[test]
fn an_old_rename_has_taken_its_data_with_it() {
    let mut story = Story::with(&[("file", b"ooo")]);
    story.create("new");
    story.write("new", 0, b"nnn");
    story.rename("new", "file");
    story.now_ns = 5 * SECOND_NS;
    story.check(&["file=n3"]);
}

#[test]
fn a_tear_goes_by_whole_pages() {
    let mut story = Story::with(&[("data", &[b'o'; 2 * PAGE])]);
    story.write("data", 0, &[b'a'; 2 * PAGE]);
    let image = |profile: Profile, tear: &Tear| {
        let mut choose = |_: &PendingOperation| Keep::Torn(tear.clone());
        describe(&crash_image(&story.disk, profile, 0, &mut choose).0)
    };
    let sectors = Tear::sectors(Sectors::from_fn(16, |sector| sector != 3), TornSize::Kept);
    assert_eq!(image(Profile::Posix, &sectors), "data=a1536,o512,a6144");
    assert_eq!(image(Profile::Ext4Ordered, &sectors), "data=o1p,a1p");
    let bytes = Tear::at_byte(0, 2 * PAGE_BYTES, 5000, TornSize::Kept);
    assert_eq!(image(Profile::Posix, &bytes), "data=a5000,o3192");
    assert_eq!(image(Profile::Ext4Ordered, &bytes), "data=a1p,o1p");
}

#[test]
fn an_append_torn_at_a_byte_ends_there_or_in_zeros() {
    let mut story = Story::with(&[("log", b"aaa")]);
    story.write("log", 3, &[b'b'; 1000]);
    let image = |size, cut_at| {
        let mut choose = |_: &PendingOperation| Keep::Torn(Tear::at_byte(3, 1000, cut_at, size));
        describe(&crash_image(&story.disk, Profile::Posix, 0, &mut choose).0)
    };
    assert_eq!(image(TornSize::FollowsData, 700), "log=a3,b700");
    assert_eq!(image(TornSize::Kept, 700), "log=a3,b700,·300");
    assert_eq!(image(TornSize::Lost, 700), "log=a3");
    assert_eq!(image(TornSize::FollowsData, 0), "log=a3");
    assert_eq!(image(TornSize::Kept, 1000), "log=a3,b1000");
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn lost_metadata_are_the_last_ones(steps in history(), seed in any::<u64>()) {
        let history = History::run(&steps, true);
        for seed in (0..8).map(|nth| seed.wrapping_add(nth)) {
            let (image, report) = crash_image(&history.disk, Profile::Ext4Ordered, 0, &mut random(seed));
            history.check(&image, &report);
            let lost: BTreeSet<u64> = report.losses.iter().map(|loss| loss.sequence).collect();
            let metadata = history.disk.pending().into_iter()
                .filter(|operation| operation.kind() != OperationKind::Write)
                .map(|operation| operation.sequence);
            let kept: Vec<bool> = metadata.map(|sequence| !lost.contains(&sequence)).collect();
            prop_assert!(kept.is_sorted_by_key(|kept| !kept), "kept and lost in turn: {:?}", report.losses);
        }
    }

    /// What was certain stays certain, and what is asked for is what can be lost.
    #[test]
    fn what_is_not_choosable_survives_every_choice(steps in history(), seed in any::<u64>()) {
        let history = History::run(&steps, true);
        let choosable: BTreeSet<u64> = choosable(&history.disk, Profile::Ext4Ordered, 0)
            .into_iter().map(|operation| operation.sequence).collect();
        let (_, report) = crash_image(&history.disk, Profile::Ext4Ordered, 0, &mut random(seed));
        prop_assert!(report.losses.iter().all(|loss| choosable.contains(&loss.sequence)));
        let (_, report) = crash_image(&history.disk, Profile::Ext4Ordered, 0, &mut |_: &PendingOperation| Keep::Drop);
        let lost: BTreeSet<u64> = report.losses.iter().map(|loss| loss.sequence).collect();
        prop_assert_eq!(lost, choosable);
    }
}
