//! Rebuilding the store from what the engine holds.

use std::ops::ControlFlow;

use engines::Backend;

use super::index::{KeyIndex, Revision};
use super::layout::{self, Record, RecordValue};
use super::{EMPTY_REVISION, StoreError};

/// What the engine holds.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) index: KeyIndex,
    pub(super) revision: i64,
    pub(super) applied_index: u64,
    pub(super) applied_term: u64,
    pub(super) format_written: bool,
}

/// Reads everything, and checks that nothing is missing in it: each write made the next revision, each record
/// continues the life of its key, and the last record has the revision that was written down with it. An engine
/// that lost part of a batch, or an older batch but not a newer one, shows here.
pub(super) fn restore(backend: &dyn Backend) -> Result<Restored, StoreError> {
    let format_written = check_format(backend)?;
    let mut rebuild = Rebuild { index: KeyIndex::default(), last: None };
    records(backend, &mut |record| rebuild.add(record))?;
    let found = rebuild.last.map_or(EMPTY_REVISION, |last| last.main);
    let revision = match backend.get(layout::REVISION_KEY)? {
        Some(bytes) => layout::decode_revision(&bytes).ok_or_else(|| malformed("revision"))?,
        None => EMPTY_REVISION,
    };
    if revision != found {
        return Err(corrupt(format!("the revision is {revision}, but the last record has {found}")));
    }
    let applied_index = number(backend, engines::APPLIED_INDEX_KEY, "applied index")?;
    if !format_written && (applied_index, revision) != (0, EMPTY_REVISION) {
        return Err(corrupt("the format is missing".to_owned()));
    }
    let applied_term = number(backend, layout::TERM_KEY, "applied term")?;
    Ok(Restored { index: rebuild.index, revision, applied_index, applied_term, format_written })
}

/// Visits every record in the order of their revisions.
pub(super) fn records(
    backend: &dyn Backend,
    visit: &mut dyn FnMut(Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut result = Ok(());
    backend.scan(layout::RECORDS_START, Some(layout::RECORDS_END), &mut |key, value| {
        result = match layout::decode_record(key, value) {
            Some(record) => visit(record),
            None => Err(corrupt(format!("the record under key {} makes no sense", key.escape_ascii()))),
        };
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    result
}

/// The index being rebuilt.
struct Rebuild {
    index: KeyIndex,
    last: Option<Revision>,
}

impl Rebuild {
    fn add(&mut self, record: Record) -> Result<(), StoreError> {
        self.check_revision(record.revision)?;
        let before = self.index.get(&record.key, record.revision.main);
        let follows = match (&record.value, before) {
            (RecordValue::Put { create_revision, version, .. }, Some(before)) => {
                (*create_revision, *version) == (before.create_revision, before.version + 1)
            }
            (RecordValue::Put { create_revision, version, .. }, None) => {
                (*create_revision, *version) == (record.revision.main, 1)
            }
            (RecordValue::Tombstone, Some(_)) => true,
            (RecordValue::Tombstone, None) => false,
        };
        if !follows {
            let Revision { main, sub } = record.revision;
            return Err(corrupt(format!(
                "the record of key {} at revision {main}.{sub} does not follow the one before it",
                record.key.escape_ascii()
            )));
        }
        self.index.insert(record.key, record.revision, record.value.is_tombstone());
        Ok(())
    }

    fn check_revision(&mut self, revision: Revision) -> Result<(), StoreError> {
        let (same, next) = match self.last {
            Some(last) => (Some(Revision { main: last.main, sub: last.sub + 1 }), last.main + 1),
            None => (None, EMPTY_REVISION + 1),
        };
        if Some(revision) != same && revision != (Revision { main: next, sub: 0 }) {
            let Revision { main, sub } = revision;
            return Err(corrupt(format!("records are missing before revision {main}.{sub}")));
        }
        self.last = Some(revision);
        Ok(())
    }
}

/// Whether the engine knows its format, which is then this one.
fn check_format(backend: &dyn Backend) -> Result<bool, StoreError> {
    match backend.get(layout::FORMAT_KEY)? {
        None => Ok(false),
        Some(bytes) if bytes == layout::FORMAT.to_le_bytes() => Ok(true),
        Some(bytes) => Err(corrupt(format!("format {} is unknown", bytes.escape_ascii()))),
    }
}

pub(super) fn number(backend: &dyn Backend, key: &[u8], name: &str) -> Result<u64, StoreError> {
    match backend.get(key)? {
        None => Ok(0),
        Some(bytes) => Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| malformed(name))?)),
    }
}

fn malformed(name: &str) -> StoreError {
    corrupt(format!("the {name} is malformed"))
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt(what)
}
