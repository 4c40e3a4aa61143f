//! What a crash leaves: a pure function from disk, profile and choices to disk.

use super::choices::{CrashChoices, Keep};
use super::inode::{Body, DirectoryBody, FileBody, Inode, InodeNumber};
use super::journal::Journal;
use super::operation::{Change, PendingOperation};
use super::ordered::Ordered;
use super::profile::Profile;
use super::report::{CrashReport, Fate, Loss};
use super::sectors::{Sectors, Tear};
use super::tree::View;
use super::{Disk, Promised};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The disk that the next incarnation finds after a crash of `disk` under `profile`, and what was lost.
///
/// `now_ns` is the virtual time of the crash, in nanoseconds: some profiles write by themselves what is old enough.
/// What a profile says has certainly survived is kept without asking `choices`.
///
/// After a power failure the new disk is settled: what survived is durable. After a process kill it is as
/// before, with nothing open: what was pending is still pending. Files and directories without a name that
/// can be reached from the root are gone. `disk` itself is not changed, and the cost is that of its files and
/// pending operations, not of its bytes.
pub fn crash_image(
    disk: &Disk,
    profile: Profile,
    now_ns: u64,
    choices: &mut dyn CrashChoices,
) -> (Disk, CrashReport) {
    let mut report = CrashReport {
        profile,
        kept: 0,
        dropped: 0,
        torn: 0,
        lying_syncs: disk.promised.outstanding,
        broken_promises: 0,
        inodes_lost: 0,
        losses: Vec::new(),
    };
    if profile.rules().page_cache_survives {
        report.kept = disk.pending_count();
        return (process_kill(disk), report);
    }
    let (image, losses) = power_failure(disk, profile, now_ns, choices);
    report.torn = losses.iter().filter(|(_, fate)| matches!(fate, Fate::Torn { .. })).count();
    report.dropped = losses.len() - report.torn;
    report.kept = disk.pending_count() - losses.len();
    describe_losses(disk, &image, &losses, &mut report);
    (image, report)
}

/// The disk of [`crash_image`] alone, for whoever makes many and describes none: telling what was lost costs more
/// than losing it.
pub fn crash_disk(disk: &Disk, profile: Profile, now_ns: u64, choices: &mut dyn CrashChoices) -> Disk {
    match profile.rules().page_cache_survives {
        true => process_kill(disk),
        false => power_failure(disk, profile, now_ns, choices).0,
    }
}

/// The pending operations of `disk` over which a crash under `profile` at the virtual time `now_ns` leaves a choice
/// as long as nothing is lost, in order. What depends on one of them may be lost with it.
pub fn choosable(disk: &Disk, profile: Profile, now_ns: u64) -> Vec<&PendingOperation> {
    let rules = profile.rules();
    if rules.page_cache_survives {
        return Vec::new();
    }
    let ordered = rules.journalling.map(|journalling| Ordered::new(disk, &journalling, now_ns));
    let mut pending = disk.pending();
    pending.retain(|operation| match &ordered {
        Some(ordered) => !ordered.has_survived(operation),
        None => operation.promised_by.is_none() || rules.device_cache_is_lost,
    });
    pending
}

fn process_kill(disk: &Disk) -> Disk {
    let mut image = disk.clone();
    let open: Vec<_> =
        disk.inodes.iter().filter(|(_, node)| node.open > 0).map(|(&inode, _)| inode).collect();
    for inode in open {
        image.note_close(inode);
        image.inode_mut(inode).open = 0;
        image.release_unreferenced(inode);
    }
    image
}

/// What a power failure leaves, and what it takes.
fn power_failure<'a>(
    disk: &'a Disk,
    profile: Profile,
    now_ns: u64,
    choices: &mut dyn CrashChoices,
) -> (Disk, Vec<(&'a PendingOperation, Fate)>) {
    let journalling = profile.rules().journalling;
    let mut ordered = journalling.map(|journalling| Ordered::new(disk, &journalling, now_ns));
    let pending = disk.pending();
    choices.begin(&pending);
    let mut image = disk.medium();
    let mut dropped = BTreeSet::new();
    let mut losses = Vec::new();
    for operation in pending {
        let verdict = match &mut ordered {
            Some(ordered) => ordered.decide(operation, &image, choices),
            None => decide(operation, profile, choices, &dropped),
        };
        match verdict {
            Verdict::Kept => image.carry_out(operation),
            Verdict::Torn(tear) => {
                let fate = Fate::Torn { survivors: tear.sectors.survivors(), sectors: tear.sectors.count() };
                image.carry_out_torn(operation, &tear);
                losses.push((operation, fate));
            }
            Verdict::Lost(fate) => {
                dropped.insert(operation.sequence);
                losses.push((operation, fate));
            }
        }
    }
    image.settle();
    (image, losses)
}

/// What becomes of one pending operation.
pub(super) enum Verdict {
    Kept,
    Torn(Tear),
    Lost(Fate),
}

/// Decides where what is pending survives in any order.
fn decide(
    operation: &PendingOperation,
    profile: Profile,
    choices: &mut dyn CrashChoices,
    dropped: &BTreeSet<u64>,
) -> Verdict {
    let rules = profile.rules();
    if operation.promised_by.is_some() && !rules.device_cache_is_lost {
        return Verdict::Kept;
    }
    let lost_need =
        operation.entries().and_then(|change| change.needs.iter().find(|need| dropped.contains(need)));
    if let Some(&need) = lost_need {
        return Verdict::Lost(Fate::NeededLost(need));
    }
    match choices.decide(operation) {
        Keep::Whole => Verdict::Kept,
        Keep::Drop => Verdict::Lost(Fate::Dropped),
        Keep::Torn(tear) => {
            assert!(rules.writes_tear, "no write tears under {profile}");
            let whole = operation.range().is_some_and(|(_, length)| tear.is_whole(length));
            if whole { Verdict::Kept } else { Verdict::Torn(tear) }
        }
    }
}

impl Disk {
    /// The medium alone: durable states, with the volatile ones still to be filled in by [`Disk::settle`].
    fn medium(&self) -> Self {
        Self {
            inodes: self.inodes.iter().map(|(&inode, node)| (inode, on_medium(node))).collect(),
            entry_operations: BTreeMap::new(),
            promised: Promised { last: self.promised.last, ..Promised::default() },
            commits: self.commits.settled(),
            media: self.media.settled(),
            journal: Journal::default(),
            ..*self
        }
    }

    /// Carries out `operation`, which survived, on the medium.
    fn carry_out(&mut self, operation: &PendingOperation) {
        let Some(change) = operation.entries() else {
            self.inode_mut(operation.inode).make_durable(operation);
            return;
        };
        for binding in change.bindings.iter() {
            let entries = &mut self.directory_mut(binding.directory).durable;
            match binding.target {
                Some(target) => entries.insert(binding.name.clone(), target),
                None => entries.remove(&binding.name),
            };
        }
    }

    fn carry_out_torn(&mut self, operation: &PendingOperation, tear: &Tear) {
        let Change::Write(payload) = &operation.change else {
            panic!("only a write can be torn, not {}", operation.kind());
        };
        let expected = Sectors::touched(payload.offset(), payload.length());
        assert_eq!(tear.sectors.count(), expected, "the tear of another write");
        match &mut self.inode_mut(operation.inode).body {
            Body::File(file) => file.durable.write_torn(payload, tear),
            Body::Directory(_) => unreachable!("a write to a directory"),
        }
    }

    /// Makes the volatile state what the medium holds, counts the links anew, and forgets what no path from
    /// the root reaches.
    fn settle(&mut self) {
        let reached = self.reached();
        self.inodes.retain(|inode, _| reached.contains_key(inode));
        for (inode, found) in reached {
            let node = self.inodes.get_mut(&inode).expect("what is reached is kept");
            if found.describes(node) {
                continue;
            }
            let node = Arc::make_mut(node);
            (node.links, node.durable_links) = (found.links, found.links);
            node.attributes = node.durable_attributes;
            match &mut node.body {
                Body::File(file) => file.content = file.durable.clone(),
                Body::Directory(directory) => {
                    directory.entries = directory.durable.clone();
                    (directory.parent, directory.subdirectories) = (found.parent, found.subdirectories);
                }
            }
        }
        self.pages = self.inodes.values().map(|node| node.pages()).sum();
    }

    /// What a walk over the durable entries from the root finds.
    fn reached(&self) -> BTreeMap<InodeNumber, Reached> {
        let root = Reached { links: 1, parent: InodeNumber::ROOT, subdirectories: 0 };
        let mut reached = BTreeMap::from([(InodeNumber::ROOT, root)]);
        let mut unseen = vec![InodeNumber::ROOT];
        while let Some(inode) = unseen.pop() {
            let mut subdirectories = 0;
            for &child in self.directory(inode).durable.values() {
                let found =
                    reached.entry(child).or_insert(Reached { links: 0, parent: inode, subdirectories: 0 });
                found.links += 1;
                if matches!(self.inode(child).body, Body::Directory(_)) {
                    assert_eq!(found.links, 1, "directory {child} has two names on the medium");
                    subdirectories += 1;
                    unseen.push(child);
                }
            }
            reached.get_mut(&inode).expect("it was reached").subdirectories = subdirectories;
        }
        reached
    }
}

/// What a walk found of one file or directory.
struct Reached {
    links: u32,
    /// The directory it was first found in.
    parent: InodeNumber,
    subdirectories: u32,
}

impl Reached {
    /// True where `node` needs no change, and can stay shared with the disk that crashed. What came from
    /// the medium alone has no links yet, and never passes.
    fn describes(&self, node: &Inode) -> bool {
        let same_place = match &node.body {
            Body::File(_) => true,
            Body::Directory(directory) => {
                directory.parent == self.parent && directory.subdirectories == self.subdirectories
            }
        };
        node.is_settled() && same_place && node.links == self.links && node.durable_links == self.links
    }
}

/// The durable state of `node`; shared where that is all there is.
fn on_medium(node: &Arc<Inode>) -> Arc<Inode> {
    if node.is_settled() {
        return Arc::clone(node);
    }
    let body = match &node.body {
        Body::File(file) => Body::File(FileBody { durable: file.durable.clone(), ..FileBody::default() }),
        Body::Directory(directory) => Body::Directory(DirectoryBody {
            durable: directory.durable.clone(),
            ..DirectoryBody::new(directory.parent, directory.birth)
        }),
    };
    Arc::new(Inode::new(body, node.durable_attributes))
}

fn describe_losses(
    disk: &Disk,
    image: &Disk,
    losses: &[(&PendingOperation, Fate)],
    report: &mut CrashReport,
) {
    if losses.is_empty() {
        return;
    }
    let mut reachable = BTreeSet::new();
    disk.walk(View::Volatile, &mut |_, inode| {
        reachable.insert(inode);
    });
    report.inodes_lost = reachable.iter().filter(|&&inode| !image.exists(inode)).count();
    let promises: BTreeSet<u64> = losses.iter().filter_map(|(operation, _)| operation.promised_by).collect();
    report.broken_promises = promises.len();
    let paths = disk.paths();
    report.losses = losses
        .iter()
        .map(|&(operation, fate)| Loss {
            sequence: operation.sequence,
            kind: operation.kind(),
            path: path_of(operation, &paths),
            range: operation.range(),
            stamp: operation.stamp,
            promised_by: operation.promised_by,
            fate,
        })
        .collect();
}

fn path_of(operation: &PendingOperation, paths: &BTreeMap<InodeNumber, String>) -> String {
    let path = |inode: InodeNumber| match paths.get(&inode) {
        Some(path) => path.clone(),
        None => format!("(unlinked inode {inode})"),
    };
    let Some(change) = operation.entries() else { return path(operation.inode) };
    let names = change.bindings.iter().map(|binding| {
        let directory = path(binding.directory);
        let separator = if directory.is_empty() { "" } else { "/" };
        format!("{directory}{separator}{}", String::from_utf8_lossy(&binding.name))
    });
    names.collect::<Vec<_>>().join(" → ")
}
