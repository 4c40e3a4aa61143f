//! An ordered map that writes itself out whole on every flush: too simple to be wrong, for tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

use crate::guard::{self, FlushWork, Store};
use crate::sled::export;
use crate::{Backend, Batch, Change, Engine, EngineError, EngineId, Options, Result, View, Visit, durable};

/// The content as export frames, as of the last flush.
const DATA_FILE: &str = "mem.data";
const LOCK_FILE: &str = "mem.lock";

/// The `mem` engine.
pub(crate) struct Mem;

impl Engine for Mem {
    fn id(&self) -> EngineId {
        EngineId::Mem
    }

    fn open(&self, dir: &Path, _options: &Options) -> Result<Box<dyn Backend>> {
        guard::open(EngineId::Mem, || Ok(Box::new(MemStore::open(dir)?)))
    }

    fn encode_body(&self, source: &dyn View, scratch: &Path, body: &mut dyn Write) -> Result<u64> {
        durable::remove_dir_all(scratch)?;
        export::write_body(source, body)
    }

    fn restore(&self, body: &mut dyn Read, dir: &Path) -> Result<()> {
        let pairs = collect(body).map_err(as_body_of_mem)?;
        durable::create_vacant_dir(dir)?;
        write_out(&pairs, dir)
    }

    fn scan_body(&self, body: &mut dyn Read, scratch: &Path, visit: &mut Visit<'_>) -> Result<()> {
        durable::remove_dir_all(scratch)?;
        export::read_pairs(body, visit).map_err(as_body_of_mem)
    }
}

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

struct MemStore {
    pairs: Pairs,
    dir: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl MemStore {
    fn open(dir: &Path) -> Result<MemStore> {
        durable::create_dir_all(dir)?;
        let lock = durable::lock(dir, LOCK_FILE, EngineId::Mem)?;
        let path = dir.join(DATA_FILE);
        let pairs = match File::open(&path) {
            Ok(file) => collect(&mut BufReader::new(file)).map_err(|error| match error {
                EngineError::MalformedBody { reason, .. } => {
                    EngineError::Corrupt { engine: EngineId::Mem, message: reason }
                }
                other => other,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Pairs::new(),
            Err(error) => return Err(EngineError::io(format!("opening {}", path.display()))(error)),
        };
        Ok(MemStore { pairs, dir: dir.to_path_buf(), _lock: lock })
    }
}

impl Store for MemStore {
    fn view(&self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(MemView { pairs: &self.pairs }))
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        for change in batch.iter() {
            match change {
                Change::Put(key, value) => self.pairs.insert(key.to_vec(), value.to_vec()),
                Change::Delete(key) => self.pairs.remove(key),
            };
        }
        Ok(())
    }

    fn begin_flush(&mut self) -> Result<FlushWork> {
        write_out(&self.pairs, &self.dir).map(|()| FlushWork::Done)
    }

    fn size_bytes(&self) -> Result<u64> {
        let path = self.dir.join(DATA_FILE);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(EngineError::io(format!("measuring {}", path.display()))(error)),
        }
    }

    fn defragment(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct MemView<'a> {
    pairs: &'a Pairs,
}

impl View for MemView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.pairs.get(key).cloned())
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let after_start = self.pairs.range::<[u8], _>((Bound::Included(start), Bound::Unbounded));
        for (key, value) in after_start {
            if end.is_some_and(|end| key.as_slice() >= end) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn collect(source: &mut dyn Read) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    export::read_pairs(source, &mut |key, value| {
        pairs.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(pairs)
}

fn write_out(pairs: &Pairs, dir: &Path) -> Result<()> {
    durable::replace_file(&dir.join(DATA_FILE), |file| {
        export::write_body(&MemView { pairs }, file).map(|_| ())
    })
}

fn as_body_of_mem(error: EngineError) -> EngineError {
    match error {
        EngineError::MalformedBody { reason, .. } => {
            EngineError::MalformedBody { engine: EngineId::Mem, reason }
        }
        other => other,
    }
}
