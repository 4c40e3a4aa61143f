//! A medium that does other than it was told: sectors that rot or cannot be read, writes that go astray, old versions.
//!
//! The page cache is between a program and all of this. A program reads what it wrote until its process is over and
//! the power has failed; only sectors whose newest version is on the medium show what is wrong with it there.

use super::Disk;
use super::content::{Content, Payload};
use super::damage::Damage;
use super::inode::{Body, InodeNumber};
use super::journal::Primitive;
use super::operation::{Change, PendingOperation, Stamp};
use super::sectors::SECTOR_BYTES;
use std::collections::BTreeMap;
use std::ops::Range;

/// Where on the medium a write goes that is acknowledged and does not go where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Landing {
    /// Nowhere.
    Lost,
    /// To this offset of its file.
    Misdirected {
        /// In bytes.
        to: u64,
    },
}

/// What a disk knows for the faults of its medium.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    /// Where the next write goes; where it should if none.
    landing: Option<Landing>,
    /// Whether what each file was before its last sync is kept.
    keeps_previous: bool,
    previous: BTreeMap<InodeNumber, Content>,
}

impl Media {
    /// After a power failure, nothing is on its way.
    pub(super) const fn settled(&self) -> Self {
        Self { landing: None, keeps_previous: self.keeps_previous, previous: BTreeMap::new() }
    }

    pub(super) fn forget(&mut self, inode: InodeNumber) {
        self.previous.remove(&inode);
    }
}

impl Disk {
    /// Decides where the next write goes, or takes the decision back.
    pub fn set_landing(&mut self, landing: Option<Landing>) {
        self.media.landing = landing;
    }

    /// Where the next write goes, if not where it should.
    pub const fn landing(&self) -> Option<Landing> {
        self.media.landing
    }

    pub(super) const fn take_landing(&mut self) -> Option<Landing> {
        self.media.landing.take()
    }

    /// Sets whether what files were before their last sync is kept, for [`Disk::read_previous`].
    pub fn set_keeps_previous(&mut self, keeps_previous: bool) {
        if self.media.keeps_previous != keeps_previous {
            self.media = Media { keeps_previous, ..Media::default() };
            self.journal.note(|| Primitive::KeepPrevious(keeps_previous));
        }
    }

    /// An honest sync of `inode` is about to end.
    pub(super) fn keep_previous(&mut self, inode: InodeNumber) {
        if self.media.keeps_previous
            && let Some(Body::File(file)) = self.inodes.get(&inode).map(|node| &node.body)
        {
            self.media.previous.insert(inode, file.durable.clone());
        }
    }

    /// Writes `bytes` to the page cache, as [`Disk::write`] does; on the medium they go to `landing`.
    pub fn write_astray(
        &mut self,
        file: InodeNumber,
        offset: u64,
        bytes: &[u8],
        landing: Landing,
        stamp: Stamp,
    ) {
        let payload = Payload::new(offset, bytes);
        let to = payload.end();
        // What is written in the place of nothing is there at once: it changes the page cache, and never the medium.
        self.change_content_with(file, Change::Extend { to }, stamp, |content| content.write(&payload));
        if let Landing::Misdirected { to } = landing {
            let sequence = self.next_sequence();
            let change = Change::Write(Payload::new(to, bytes));
            let operation = PendingOperation { sequence, inode: file, stamp, change, promised_by: None };
            self.inode_mut(file).pending.push(operation);
        }
        self.inode_mut(file).lost_writes += 1;
        self.journal.note(|| Primitive::WriteAstray { file, offset, bytes: bytes.into(), landing });
    }

    /// The sectors of a file among these bytes whose newest version is on the medium, and is no hole there.
    pub fn settled_sectors(&self, file: InodeNumber, bytes: Range<u64>) -> Vec<u64> {
        let node = self.inode(file);
        let Body::File(body) = &node.body else { return Vec::new() };
        let end = bytes.end.min(body.durable.size()).min(body.content.size());
        let sectors = bytes.start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
        let settled = |sector: &u64| {
            let (from, to) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
            let pending = node.pending.iter().any(|operation| match &operation.change {
                Change::Write(payload) => payload.offset() < to && from < payload.end(),
                Change::Punch { offset, length } => *offset < to && from < offset.saturating_add(*length),
                Change::Resize { from: size, to: new_size } => (*size).min(*new_size) < to,
                Change::Extend { to: size } => *size > from && body.durable.size() < to,
                Change::Allocate { .. } | Change::SetAttributes(_) | Change::Entries(_) => false,
            });
            let version = |content: &Content| {
                let mut bytes = [0; SECTOR_BYTES as usize];
                content.read(from, &mut bytes);
                bytes
            };
            let is_hole = body.durable.pages_missing(from, 1) > 0;
            !pending && !is_hole && version(&body.content) == version(&body.durable)
        };
        sectors.filter(settled).collect()
    }

    /// Damages a sector of a file, one of its [`Disk::settled_sectors`].
    pub fn damage(&mut self, file: InodeNumber, sector: u64, damage: Damage) {
        match &mut self.inode_mut(file).body {
            Body::File(body) => {
                body.content.add_damage(sector, damage);
                body.durable.add_damage(sector, damage);
            }
            Body::Directory(_) => panic!("inode {file} is a directory, not a file"),
        }
        self.journal.note(|| Primitive::Damage { file, sector, damage });
    }

    /// The first byte of the first page among these bytes of a file that cannot be read.
    pub fn first_unreadable(&self, file: InodeNumber, bytes: Range<u64>) -> Option<u64> {
        self.file(file).content.damages().and_then(|damages| damages.first_unreadable(bytes))
    }

    /// As [`Disk::read`], and every bit as it was written.
    pub fn read_pristine(&self, file: InodeNumber, offset: u64, buffer: &mut [u8]) -> usize {
        self.file(file).content.read(offset, buffer)
    }

    /// Makes of what a read of a file gave what it would have given before the last sync: in those sectors whose
    /// newest version is on the medium. Says whether that differs anywhere.
    pub fn read_previous(&self, file: InodeNumber, offset: u64, buffer: &mut [u8]) -> bool {
        let Some(previous) = self.media.previous.get(&file) else { return false };
        let end = offset + buffer.len() as u64;
        let mut differs = false;
        for sector in self.settled_sectors(file, offset..end) {
            let (from, to) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
            let mut old = [0; SECTOR_BYTES as usize];
            previous.read(from, &mut old);
            for position in from.max(offset)..to.min(end) {
                let place = |from| usize::try_from(position - from).expect("a place within a slice");
                differs |=
                    std::mem::replace(&mut buffer[place(offset)], old[place(from)]) != old[place(from)];
            }
        }
        differs
    }

    /// Bytes of the pending writes of a file: what a sync of it has to carry to the medium.
    pub fn pending_bytes(&self, inode: InodeNumber) -> u64 {
        let bytes = self.inode(inode).pending.iter().map(|operation| match &operation.change {
            Change::Write(payload) => payload.length(),
            Change::Resize { .. }
            | Change::Extend { .. }
            | Change::Allocate { .. }
            | Change::Punch { .. }
            | Change::SetAttributes(_)
            | Change::Entries(_) => 0,
        });
        bytes.sum()
    }
}
