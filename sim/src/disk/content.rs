//! The bytes of a file: sparse, copied page by page only when they change.

use super::damage::{Damage, Damages};
use super::sectors::{SECTOR_BYTES, Tear, TornSize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of one page, the unit of allocation.
pub const PAGE_BYTES: u64 = 4096;
const PAGE: usize = 4096;
/// Pages of one chunk. Engines preallocate files of 64 MiB; a clone copies one pointer per 256 KiB.
const CHUNK: usize = 64;
static ZEROS: [u8; PAGE] = [0; PAGE];

/// Bytes within one page, shared. A piece of full length is a whole page.
type Piece = Arc<[u8]>;

/// The bytes of one write, cut at page boundaries and copied once. Whole pages are shared from here on
/// between this write, the content that reads see, and the content on the medium.
#[derive(Clone, Debug)]
pub struct Payload {
    offset: u64,
    length: u64,
    pieces: Pieces,
}

/// Most writes lie within one page and need no list.
#[derive(Clone, Debug)]
enum Pieces {
    One(Piece),
    Many(Arc<[Piece]>),
}

impl Payload {
    /// A copy of `bytes`, to be written at `offset` of a file.
    pub fn new(offset: u64, bytes: &[u8]) -> Self {
        let length = bytes.len() as u64;
        assert!(length > 0, "a write of nothing changes nothing, and is no operation");
        assert!(offset.checked_add(length).is_some(), "a write beyond the address space");
        let head = (PAGE - within(offset)).min(bytes.len());
        let pieces = if head == bytes.len() {
            Pieces::One(bytes.into())
        } else {
            let (first, rest) = bytes.split_at(head);
            Pieces::Many(std::iter::once(first).chain(rest.chunks(PAGE)).map(Piece::from).collect())
        };
        Self { offset, length, pieces }
    }

    /// Where in the file the first byte goes.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes are written.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The offset just behind the last byte.
    pub const fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// The bytes, a slice per page.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.shared_pieces().iter().map(|piece| &**piece)
    }

    fn shared_pieces(&self) -> &[Piece] {
        match &self.pieces {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// The pieces with the offset of each in the file.
    fn placed(&self) -> impl Iterator<Item = (u64, &Piece)> {
        self.shared_pieces().iter().scan(self.offset, |next, piece| {
            let offset = *next;
            *next += piece.len() as u64;
            Some((offset, piece))
        })
    }
}

/// The bytes of a file. Pages that were never written are holes and read as zeros; bytes at and beyond the
/// size are zeros always. Cloning shares every page.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    size: u64,
    pages: u64,
    chunks: BTreeMap<u64, Arc<Chunk>>,
    /// What is wrong with the bytes, which are kept as they were written.
    damages: Option<Box<Damages>>,
}

#[derive(Clone, Debug)]
struct Chunk {
    pages: [Option<Piece>; CHUNK],
}

impl Content {
    /// The file size in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Pages that are allocated (written, or reserved by [`Content::allocate`]).
    pub(super) const fn pages(&self) -> u64 {
        self.pages
    }

    /// What is wrong with the bytes, if anything is.
    pub(super) fn damages(&self) -> Option<&Damages> {
        self.damages.as_deref()
    }

    /// Damages a sector.
    pub(super) fn add_damage(&mut self, sector: u64, damage: Damage) {
        self.damages.get_or_insert_default().add(sector, damage);
    }

    /// What was wrong with these bytes is not any more.
    fn mend(&mut self, bytes: Range<u64>) {
        if let Some(damages) = &mut self.damages {
            damages.forget(bytes);
            if damages.is_empty() {
                self.damages = None;
            }
        }
    }

    /// Copies bytes from `offset` on into `buffer`, as a device gives them that damaged some; returns how many, fewer
    /// only where the file ends.
    pub(super) fn read_damaged(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let count = self.read(offset, buffer);
        if let Some(damages) = &self.damages {
            damages.apply(offset, &mut buffer[..count]);
        }
        count
    }

    /// Copies bytes from `offset` on into `buffer`, as they were written; returns how many, fewer only where the file
    /// ends.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let available = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(available);
        let mut done = 0;
        while done < length {
            let position = offset + done as u64;
            let start = within(position);
            let count = (PAGE - start).min(length - done);
            let target = &mut buffer[done..done + count];
            match self.page(position / PAGE_BYTES) {
                Some(page) => target.copy_from_slice(&page[start..start + count]),
                None => target.fill(0),
            }
            done += count;
        }
        length
    }

    /// Writes `payload`, growing the file where it reaches beyond its end.
    pub(super) fn write(&mut self, payload: &Payload) {
        for (offset, piece) in payload.placed() {
            self.put(offset, piece);
        }
        self.extend(payload.end());
    }

    /// Writes what `tear` left of `payload`.
    pub(super) fn write_torn(&mut self, payload: &Payload, tear: &Tear) {
        let first = payload.offset / SECTOR_BYTES;
        let end = tear.cut_at.map_or(payload.end(), |cut_at| payload.offset + cut_at.min(payload.length));
        let survived = tear.sectors.last_survivor().map_or(0, |last| (first + last + 1) * SECTOR_BYTES);
        let size = match tear.size {
            TornSize::Kept => self.size.max(payload.end()),
            TornSize::Lost => self.size,
            TornSize::FollowsData => self.size.max(survived.min(end)),
        };
        for (run, run_end) in tear.sectors.runs() {
            self.put_between(
                payload,
                (first + run) * SECTOR_BYTES,
                ((first + run_end) * SECTOR_BYTES).min(end).min(size),
            );
        }
        self.size = size;
    }

    /// Sets the size, cutting off or adding zeros.
    pub(super) fn resize(&mut self, size: u64) {
        if size < self.size {
            let kept_pages = size.div_ceil(PAGE_BYTES);
            self.remove_pages(kept_pages, u64::MAX);
            self.zero_within_page(size, PAGE - within(size));
        }
        self.size = size;
    }

    /// Grows the size to `size`, and never shrinks it.
    pub(super) fn extend(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Reserves pages for `length` bytes at `offset`; where `keep_size` is false the file grows to hold them.
    pub(super) fn allocate(&mut self, offset: u64, length: u64, keep_size: bool) {
        let zero_page = Piece::from(&ZEROS[..]);
        for page in offset / PAGE_BYTES..(offset + length).div_ceil(PAGE_BYTES) {
            if self.page(page).is_none() {
                *self.slot(page) = Some(zero_page.clone());
                self.pages += 1;
            }
        }
        if !keep_size {
            self.extend(offset + length);
        }
    }

    /// Makes `length` bytes at `offset` a hole. The size stays.
    pub(super) fn punch(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length);
        let (first_whole, end_whole) = (offset.div_ceil(PAGE_BYTES), end / PAGE_BYTES);
        if first_whole > end_whole {
            self.zero_within_page(offset, narrow(length));
            return;
        }
        self.zero_within_page(offset, narrow(first_whole * PAGE_BYTES - offset));
        self.remove_pages(first_whole, end_whole);
        self.zero_within_page(end_whole * PAGE_BYTES, narrow(end - end_whole * PAGE_BYTES));
    }

    /// The first offset from `offset` on that lies in an allocated page, below the size.
    pub(super) fn next_data(&self, offset: u64) -> Option<u64> {
        let first = offset / PAGE_BYTES;
        let page = self.allocated(first).next()?;
        Some((page * PAGE_BYTES).max(offset)).filter(|&found| found < self.size)
    }

    /// The first offset from `offset` on that lies in a hole; the end of the file counts as one.
    pub(super) fn next_hole(&self, offset: u64) -> u64 {
        let mut page = offset / PAGE_BYTES;
        for allocated in self.allocated(page) {
            if allocated != page {
                break;
            }
            page += 1;
        }
        (page * PAGE_BYTES).max(offset).min(self.size)
    }

    /// The pages that hold anything but zeros, each with its number, ascending.
    pub(super) fn data_pages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let held = self.chunks.iter().flat_map(|(chunk, held)| {
            let first = chunk * CHUNK as u64;
            (first..).zip(&held.pages).filter_map(|(page, piece)| Some((page, &**piece.as_ref()?)))
        });
        held.filter(|(_, bytes)| *bytes != ZEROS)
    }

    /// How many pages a write of `length` bytes at `offset` would have to allocate.
    pub(super) fn pages_missing(&self, offset: u64, length: u64) -> u64 {
        let range = offset / PAGE_BYTES..(offset + length).div_ceil(PAGE_BYTES);
        range.filter(|&page| self.page(page).is_none()).count() as u64
    }

    fn page(&self, index: u64) -> Option<&Piece> {
        let (chunk, slot) = split(index);
        self.chunks.get(&chunk)?.pages[slot].as_ref()
    }

    fn slot(&mut self, index: u64) -> &mut Option<Piece> {
        let (chunk, slot) = split(index);
        let chunk =
            self.chunks.entry(chunk).or_insert_with(|| Arc::new(Chunk { pages: [const { None }; CHUNK] }));
        &mut Arc::make_mut(chunk).pages[slot]
    }

    /// The numbers of the allocated pages from `first` on, ascending.
    fn allocated(&self, first: u64) -> impl Iterator<Item = u64> + '_ {
        let (first_chunk, _) = split(first);
        self.chunks
            .range(first_chunk..)
            .flat_map(|(chunk, held)| {
                let base = chunk * CHUNK as u64;
                held.pages
                    .iter()
                    .enumerate()
                    .filter(|(_, page)| page.is_some())
                    .map(move |(slot, _)| base + slot as u64)
            })
            .filter(move |&page| page >= first)
    }

    /// Stores a piece that lies within one page: shared where it is the whole page, copied where it is not.
    fn put(&mut self, offset: u64, piece: &Piece) {
        if piece.len() == PAGE {
            self.mend(offset..offset + PAGE_BYTES);
            let fresh = self.slot(offset / PAGE_BYTES).replace(piece.clone()).is_none();
            self.pages += u64::from(fresh);
        } else {
            self.copy_within_page(offset, piece);
        }
    }

    fn copy_within_page(&mut self, offset: u64, bytes: &[u8]) {
        self.mend(offset..offset + bytes.len() as u64);
        let slot = self.slot(offset / PAGE_BYTES);
        let fresh = slot.is_none();
        let page = Arc::make_mut(slot.get_or_insert_with(|| Piece::from(&ZEROS[..])));
        page[within(offset)..within(offset) + bytes.len()].copy_from_slice(bytes);
        self.pages += u64::from(fresh);
    }

    /// Stores those bytes of `payload` that lie in `begin..end` of the file.
    fn put_between(&mut self, payload: &Payload, begin: u64, end: u64) {
        for (offset, piece) in payload.placed() {
            let from = begin.max(offset);
            let to = end.min(offset + piece.len() as u64);
            if from == offset && to == offset + piece.len() as u64 {
                self.put(offset, piece);
            } else if from < to {
                self.copy_within_page(from, &piece[narrow(from - offset)..narrow(to - offset)]);
            }
        }
    }

    fn zero_within_page(&mut self, offset: u64, length: usize) {
        if length > 0 && length < PAGE && self.page(offset / PAGE_BYTES).is_some() {
            self.copy_within_page(offset, &ZEROS[..length]);
        }
    }

    /// Removes the pages `first..end`.
    fn remove_pages(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        self.mend(first * PAGE_BYTES..end.saturating_mul(PAGE_BYTES));
        let ((first_chunk, _), (last_chunk, _)) = (split(first), split(end - 1));
        let mut removed = 0;
        let mut empty = Vec::new();
        for (&index, chunk) in self.chunks.range_mut(first_chunk..=last_chunk) {
            let base = index * CHUNK as u64;
            let chunk = Arc::make_mut(chunk);
            for (slot, page) in chunk.pages.iter_mut().enumerate() {
                let number = base + slot as u64;
                if (first..end).contains(&number) && page.take().is_some() {
                    removed += 1;
                }
            }
            if chunk.pages.iter().all(Option::is_none) {
                empty.push(index);
            }
        }
        for index in empty {
            self.chunks.remove(&index);
        }
        self.pages -= removed;
    }
}

/// The place of `offset` in its page.
fn within(offset: u64) -> usize {
    narrow(offset % PAGE_BYTES)
}

fn narrow(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a length within memory")
}

/// The chunk and the slot in it of page `index`.
fn split(index: u64) -> (u64, usize) {
    (index / CHUNK as u64, narrow(index % CHUNK as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sectors::Sectors;
    use proptest::prelude::*;

    fn bytes_of(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0xff; narrow(content.size())];
        assert_eq!(content.read(0, &mut bytes), bytes.len());
        bytes
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Resize(u64),
        Punch(u64, u64),
        Allocate(u64, u64, bool),
        Torn(u64, Vec<u8>, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let offset = prop_oneof![0..40_000_u64, (0..10_u64).prop_map(|page| page * PAGE_BYTES)];
        let bytes = (1..=255_u8, prop_oneof![1..9_000_usize, Just(4096), Just(8192)])
            .prop_map(|(byte, length)| vec![byte; length]);
        prop_oneof![
            4 => (offset.clone(), bytes.clone()).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            2 => offset.clone().prop_map(Step::Resize),
            1 => (offset.clone(), 1..20_000_u64).prop_map(|(at, length)| Step::Punch(at, length)),
            1 => (offset.clone(), 1..20_000_u64, any::<bool>()).prop_map(|(a, b, c)| Step::Allocate(a, b, c)),
            2 => (offset, bytes, any::<u64>()).prop_map(|(at, bytes, mask)| Step::Torn(at, bytes, mask)),
        ]
    }

    /// The same step on a plain vector of bytes.
    fn on_vector(vector: &mut Vec<u8>, step: &Step) {
        match step {
            Step::Write(at, bytes) => {
                let end = narrow(*at) + bytes.len();
                vector.resize(vector.len().max(end), 0);
                vector[narrow(*at)..end].copy_from_slice(bytes);
            }
            Step::Resize(size) => vector.resize(narrow(*size), 0),
            Step::Punch(at, length) => {
                let end = narrow(at + length).min(vector.len());
                if narrow(*at) < end {
                    vector[narrow(*at)..end].fill(0);
                }
            }
            Step::Allocate(at, length, keep) => {
                if !keep {
                    vector.resize(vector.len().max(narrow(at + length)), 0);
                }
            }
            Step::Torn(at, bytes, mask) => {
                let end = narrow(*at) + bytes.len();
                vector.resize(vector.len().max(end), 0);
                for (index, byte) in bytes.iter().enumerate() {
                    let sector = (at + index as u64) / SECTOR_BYTES - at / SECTOR_BYTES;
                    if mask >> (sector % 64) & 1 == 1 {
                        vector[narrow(*at) + index] = *byte;
                    }
                }
            }
        }
    }

    fn on_content(content: &mut Content, step: &Step) {
        match step {
            Step::Write(at, bytes) => content.write(&Payload::new(*at, bytes)),
            Step::Resize(size) => content.resize(*size),
            Step::Punch(at, length) => content.punch(*at, *length),
            Step::Allocate(at, length, keep) => content.allocate(*at, *length, *keep),
            Step::Torn(at, bytes, mask) => {
                let count = Sectors::touched(*at, bytes.len() as u64);
                let sectors = Sectors::from_fn(count, |sector| mask >> (sector % 64) & 1 == 1);
                content.write_torn(&Payload::new(*at, bytes), &Tear::sectors(sectors, TornSize::Kept));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn content_behaves_as_a_vector_of_bytes(steps in prop::collection::vec(step(), 1..30)) {
            let (mut content, mut vector) = (Content::default(), Vec::new());
            for step in &steps {
                let before = content.clone();
                let bytes_before = vector.clone();
                on_content(&mut content, step);
                on_vector(&mut vector, step);
                prop_assert!(bytes_of(&content) == vector, "after {step:?}");
                prop_assert!(bytes_of(&before) == bytes_before, "a clone changed at {step:?}");
                prop_assert_eq!(content.pages(), content.allocated(0).count() as u64);
                let mut grown = content.clone();
                grown.extend(200_000);
                prop_assert!(bytes_of(&grown)[vector.len()..].iter().all(|&byte| byte == 0), "beyond the end");
            }
        }
    }

    #[test]
    fn a_torn_write_may_lose_its_size_or_only_its_data() {
        let payload = Payload::new(0, &[7; 1536]);
        let torn = |sectors: Sectors, size| {
            let mut content = Content::default();
            content.write_torn(&payload, &Tear::sectors(sectors, size));
            bytes_of(&content)
        };
        assert_eq!(torn(Sectors::none(3), TornSize::Kept), [0; 1536]);
        assert_eq!(torn(Sectors::all(3), TornSize::Lost), []);
        assert_eq!(torn(Sectors::prefix(3, 2), TornSize::FollowsData), [7; 1024]);
    }

    #[test]
    fn holes_are_found() {
        let mut content = Content::default();
        content.write(&Payload::new(3 * PAGE_BYTES + 10, &[1; 10]));
        content.resize(6 * PAGE_BYTES);
        assert_eq!(content.next_data(5), Some(3 * PAGE_BYTES));
        assert_eq!(content.next_data(3 * PAGE_BYTES + 7), Some(3 * PAGE_BYTES + 7));
        assert_eq!(content.next_data(4 * PAGE_BYTES), None);
        assert_eq!((content.next_hole(0), content.next_hole(3 * PAGE_BYTES)), (0, 4 * PAGE_BYTES));
    }
}
