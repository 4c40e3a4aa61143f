//! What survives on a file system with a journal: the rules of [`Profile::Ext4Ordered`](super::Profile), by name.
//!
//! Pending operations are decided over in the order in which they were done. What has certainly survived (`age`,
//! `sync-commits`, `replacement-flushes`) is kept, what needs a lost operation is lost with it, and the choices are
//! asked for the rest. A write is taken page by page: it may be that only some of its pages still can survive, and
//! then it is torn though it was to be kept whole.

use super::Disk;
use super::choices::{CrashChoices, Keep};
use super::commits::Allocation;
use super::content::{Content, PAGE_BYTES, Payload};
use super::image::Verdict;
use super::inode::InodeNumber;
use super::operation::{Change, PendingOperation};
use super::profile::Journalling;
use super::report::Fate;
use super::sectors::{SECTOR_BYTES, Sectors, Tear, TornSize};
use std::collections::BTreeMap;
use std::ops::Range;

/// What has been decided, and follows from it, for one power failure.
pub(super) struct Ordered {
    /// Metadata up to this operation have survived.
    metadata_up_to: u64,
    /// The first change of metadata that was lost: none survives after it.
    lost_metadata: Option<u64>,
    files: BTreeMap<InodeNumber, FileOrder>,
    /// Allocations that were not committed, with data that could be lost.
    allocations: Vec<Allocation>,
}

#[derive(Default)]
struct FileOrder {
    /// Data up to this operation have survived.
    data_up_to: u64,
    /// Pages that lack a pending write, and the first write that each lacks.
    lost_pages: BTreeMap<u64, u64>,
    /// The first byte that the file lacks because it did not grow, and by which write: it ends there.
    lost_growth: Option<(u64, u64)>,
    /// Pages that a lost operation was to free.
    not_freed: Vec<(Range<u64>, u64)>,
}

impl Ordered {
    pub(super) fn new(disk: &Disk, journalling: &Journalling, now_ns: u64) -> Self {
        let mut order = Self {
            metadata_up_to: disk.commits.up_to,
            lost_metadata: None,
            files: BTreeMap::new(),
            allocations: disk.commits.open_allocations(),
        };
        let pending = disk.pending();
        let certain = |operation: &&&PendingOperation, age_ns| {
            operation.promised_by.is_some() || now_ns.saturating_sub(operation.stamp.now_ns) >= age_ns
        };
        let metadata = pending.iter().filter(|operation| !is_write(operation));
        for operation in metadata.filter(|operation| certain(operation, journalling.metadata_age_ns)) {
            order.metadata_up_to = order.metadata_up_to.max(operation.sequence);
        }
        let writes = pending.iter().filter(|operation| is_write(operation));
        for operation in writes {
            let flushed_up_to = disk.inode(operation.inode).flushed_up_to;
            let file = order.files.entry(operation.inode).or_default();
            let last = if certain(&operation, journalling.data_age_ns) { operation.sequence } else { 0 };
            file.data_up_to = file.data_up_to.max(flushed_up_to).max(last);
        }
        let committed = order.metadata_up_to;
        for allocation in order.allocations.iter().filter(|allocation| allocation.after < committed) {
            let file = order.files.entry(allocation.file).or_default();
            file.data_up_to = file.data_up_to.max(allocation.after);
        }
        order
    }

    /// True where `operation` has certainly survived.
    pub(super) fn has_survived(&self, operation: &PendingOperation) -> bool {
        if is_write(operation) {
            let file = self.files.get(&operation.inode);
            file.is_some_and(|file| operation.sequence <= file.data_up_to)
        } else {
            operation.sequence <= self.metadata_up_to
        }
    }

    /// Decides over `operation`, where `image` holds what survived of those before it.
    pub(super) fn decide(
        &mut self,
        operation: &PendingOperation,
        image: &Disk,
        choices: &mut dyn CrashChoices,
    ) -> Verdict {
        if self.has_survived(operation) {
            self.note_kept(operation);
            return Verdict::Kept;
        }
        match &operation.change {
            Change::Write(payload) => self.decide_write(operation, payload, image, choices),
            Change::Resize { .. }
            | Change::Extend { .. }
            | Change::Allocate { .. }
            | Change::Punch { .. }
            | Change::SetAttributes(_)
            | Change::Entries(_) => self.decide_metadata(operation, choices),
        }
    }

    fn decide_metadata(&mut self, operation: &PendingOperation, choices: &mut dyn CrashChoices) -> Verdict {
        let fate = match self.lost_metadata.or_else(|| self.lost_data_before(operation.sequence)) {
            Some(need) => Fate::NeededLost(need),
            None => match choices.decide(operation) {
                Keep::Whole => {
                    self.note_kept(operation);
                    return Verdict::Kept;
                }
                Keep::Drop => Fate::Dropped,
                Keep::Torn(_) => panic!("only a write can be torn, not {}", operation.kind()),
            },
        };
        self.lost_metadata.get_or_insert(operation.sequence);
        if let Some(freed) = freed_pages(&operation.change) {
            self.file(operation.inode).not_freed.push((freed, operation.sequence));
        }
        Verdict::Lost(fate)
    }

    /// A lost write without which metadata changed by the operation numbered `sequence` do not survive
    /// (`replacement-flushes`).
    fn lost_data_before(&self, sequence: u64) -> Option<u64> {
        let bound = self.allocations.iter().filter(|allocation| allocation.after < sequence);
        let lost = bound.filter_map(|allocation| {
            let pages = &self.files.get(&allocation.file)?.lost_pages;
            pages.values().copied().filter(|&write| write <= allocation.after).min()
        });
        lost.min()
    }

    /// What a surviving change makes of losses before it: what it frees is no longer missed, and where it sets the
    /// size, the file has that size whatever its data.
    fn note_kept(&mut self, operation: &PendingOperation) {
        let Some(file) = self.files.get_mut(&operation.inode) else { return };
        match &operation.change {
            Change::Resize { to, .. } => {
                file.lost_pages.split_off(&to.div_ceil(PAGE_BYTES));
                file.lost_growth = None;
            }
            Change::Punch { offset, length } => {
                let freed = offset.div_ceil(PAGE_BYTES)..offset.saturating_add(*length) / PAGE_BYTES;
                file.lost_pages.retain(|page, _| !freed.contains(page));
            }
            Change::Extend { .. } | Change::Allocate { keep_size: false, .. } => file.lost_growth = None,
            Change::Write(_) | Change::Allocate { .. } | Change::SetAttributes(_) | Change::Entries(_) => {}
        }
    }

    fn decide_write(
        &mut self,
        operation: &PendingOperation,
        payload: &Payload,
        image: &Disk,
        choices: &mut dyn CrashChoices,
    ) -> Verdict {
        let content = &image.file(operation.inode).durable;
        let lost_metadata = self.lost_metadata;
        let file = self.file(operation.inode);
        let mut need = None;
        let pages: Vec<(Page, bool)> = pages(payload, content)
            .map(|page| {
                let lacks = file.lacks(&page, lost_metadata);
                need = need.or(lacks);
                (page, lacks.is_none())
            })
            .collect();
        let keep = match need {
            Some(need) if pages.iter().all(|(_, possible)| !possible) => {
                file.lose(pages.iter().map(|(page, _)| page), content, operation.sequence);
                return Verdict::Lost(Fate::NeededLost(need));
            }
            _ => choices.decide(operation),
        };
        let mut grows = true;
        let (kept, lost): (Vec<Page>, Vec<Page>) = pages
            .into_iter()
            .map(|(page, possible)| {
                let survives = possible && is_kept(&keep, payload, &page) && (grows || !page.grows);
                grows &= survives || !page.grows;
                (page, survives)
            })
            .fold(Default::default(), |(mut kept, mut lost), (page, survives)| {
                if survives {
                    kept.push(page)
                } else {
                    lost.push(page)
                }
                (kept, lost)
            });
        file.lose(lost.iter(), content, operation.sequence);
        if lost.is_empty() {
            return Verdict::Kept;
        }
        if kept.is_empty() {
            return Verdict::Lost(
                need.filter(|_| keep != Keep::Drop).map_or(Fate::Dropped, Fate::NeededLost),
            );
        }
        let first = payload.offset() / SECTOR_BYTES;
        let survives =
            |sector| kept.iter().any(|page| page.number == (first + sector) * SECTOR_BYTES / PAGE_BYTES);
        let sectors = Sectors::from_fn(Sectors::touched(payload.offset(), payload.length()), survives);
        Verdict::Torn(Tear::sectors(sectors, TornSize::FollowsData))
    }

    fn file(&mut self, file: InodeNumber) -> &mut FileOrder {
        self.files.entry(file).or_default()
    }
}

impl FileOrder {
    /// The lost operation, if any, without which a write to `page` cannot have survived.
    fn lacks(&self, page: &Page, lost_metadata: Option<u64>) -> Option<u64> {
        // page-holds-earlier-writes
        let earlier = self.lost_pages.get(&page.number).copied();
        // blocks-freed-first
        let not_freed = || {
            let freed = self.not_freed.iter().find(|(pages, _)| pages.contains(&page.number));
            freed.map(|&(_, operation)| operation)
        };
        // data-before-size
        let metadata = || lost_metadata.filter(|_| page.grows || page.is_hole);
        let growth = || {
            let (end, write) = self.lost_growth?;
            (page.grows && page.bytes.end > end).then_some(write)
        };
        earlier.or_else(not_freed).or_else(metadata).or_else(growth)
    }

    /// Takes note that `pages` lack the write numbered `write`.
    fn lose<'a>(&mut self, pages: impl Iterator<Item = &'a Page>, content: &Content, write: u64) {
        for page in pages {
            self.lost_pages.entry(page.number).or_insert(write);
            let first_lost = page.bytes.start.max(content.size());
            if page.grows && self.lost_growth.is_none_or(|(end, _)| first_lost < end) {
                self.lost_growth = Some((first_lost, write));
            }
        }
    }
}

/// What a write does to one page.
struct Page {
    number: u64,
    /// The bytes of the file that are written, all within the page.
    bytes: Range<u64>,
    /// Whether the file must grow for them.
    grows: bool,
    /// Whether there is no block for them yet.
    is_hole: bool,
}

fn pages<'a>(payload: &'a Payload, content: &'a Content) -> impl Iterator<Item = Page> + 'a {
    (payload.offset() / PAGE_BYTES..payload.end().div_ceil(PAGE_BYTES)).map(|number| {
        let start = payload.offset().max(number * PAGE_BYTES);
        let end = payload.end().min((number + 1) * PAGE_BYTES);
        let is_hole = content.pages_missing(start, 1) > 0;
        Page { number, bytes: start..end, grows: end > content.size(), is_hole }
    })
}

/// True where a choice spares all of a page; a lost size is lost with the pages behind the end of the file.
fn is_kept(keep: &Keep, payload: &Payload, page: &Page) -> bool {
    match keep {
        Keep::Whole => true,
        Keep::Drop => false,
        Keep::Torn(tear) => {
            let first = payload.offset() / SECTOR_BYTES;
            let mut sectors = page.bytes.start / SECTOR_BYTES..page.bytes.end.div_ceil(SECTOR_BYTES);
            sectors.all(|sector| tear.sectors.survives(sector - first))
                && tear.cut_at.is_none_or(|cut_at| page.bytes.end <= payload.offset() + cut_at)
                && !(page.grows && tear.size == TornSize::Lost)
        }
    }
}

/// The pages of which a change frees at least a part.
fn freed_pages(change: &Change) -> Option<Range<u64>> {
    match change {
        Change::Resize { from, to } if to < from => Some(to / PAGE_BYTES..u64::MAX),
        Change::Punch { offset, length } => {
            Some(offset / PAGE_BYTES..offset.saturating_add(*length).div_ceil(PAGE_BYTES))
        }
        Change::Write(_)
        | Change::Resize { .. }
        | Change::Extend { .. }
        | Change::Allocate { .. }
        | Change::SetAttributes(_)
        | Change::Entries(_) => None,
    }
}

const fn is_write(operation: &PendingOperation) -> bool {
    match operation.change {
        Change::Write(_) => true,
        Change::Resize { .. }
        | Change::Extend { .. }
        | Change::Allocate { .. }
        | Change::Punch { .. }
        | Change::SetAttributes(_)
        | Change::Entries(_) => false,
    }
}
