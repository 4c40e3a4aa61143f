//! What Brownout needs of the engine: the one file that is written for it.
//!
//! [`Engine`] and [`Store`] serve both commands. `crash` drives them through [`ThroughBackend`], under a name of the
//! engine's own; `sim` runs a cluster on them, as `guest`.

use crate::engine::{AppendLog, Change, Compaction};
use engines::guard::{self, FlushWork, Store};
use engines::native::ThroughBackend;
use engines::{Backend, Batch, Engine, EngineError, EngineId, Options, Result, View, Visit};
use std::io::{self, ErrorKind};
use std::path::Path;

/// What `main` hands over.
pub static GUESTS: xtask::Guests = xtask::Guests {
    natives: &[&APPEND_LOG, &APPEND_LOG_CAREFUL],
    engine: Some(&Kind { compaction: Compaction::Careless }),
};

/// The engine as it is.
static APPEND_LOG: ThroughBackend = native("append-log", &Kind { compaction: Compaction::Careless });

/// The engine without its bug.
static APPEND_LOG_CAREFUL: ThroughBackend =
    native("append-log-careful", &Kind { compaction: Compaction::Careful });

const fn native(name: &'static str, engine: &'static dyn Engine) -> ThroughBackend {
    ThroughBackend {
        name,
        version: env!("CARGO_PKG_VERSION"),
        engine,
        // For `crash --emit-test`: how a test without Brownout reads a store.
        dependencies: concat!("append-log = { path = \"", env!("CARGO_MANIFEST_DIR"), "\" }\n"),
        contents: include_str!("reader.rs"),
    }
}

/// The engine, as something that can be opened.
struct Kind {
    compaction: Compaction,
}

impl Engine for Kind {
    fn id(&self) -> EngineId {
        EngineId::Guest
    }

    fn open(&self, dir: &Path, _options: &Options) -> Result<Box<dyn Backend>> {
        // From here on its errors and panics are Brownout's, once and for good.
        guard::open(EngineId::Guest, || match AppendLog::open(dir, self.compaction) {
            Ok(log) => Ok(Box::new(Opened(log))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(EngineError::Locked { engine: EngineId::Guest, directory: dir.to_path_buf() })
            }
            Err(error) => Err(translate(error)),
        })
    }
}

/// An open store.
struct Opened(AppendLog);

impl Store for Opened {
    fn view(&self) -> Result<Box<dyn View + '_>> {
        // Nobody writes while a view lives, so the store is its own picture.
        Ok(Box::new(Picture(&self.0)))
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let changes: Vec<Change<'_>> = batch.outcome().into_iter().collect();
        self.0.write(&changes).map_err(translate)
    }

    fn begin_flush(&mut self) -> Result<FlushWork> {
        // All of it at once; an engine that can go on in the background returns the work instead.
        self.0.sync().map(|()| FlushWork::Done).map_err(translate)
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(self.0.size_bytes())
    }

    fn defragment(&mut self) -> Result<()> {
        self.0.compact().map_err(translate)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // No threads to wait for; the lock goes with the file.
        Ok(())
    }
}

struct Picture<'a>(&'a AppendLog);

impl View for Picture<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(key).map_err(translate)
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        for pair in self.0.scan(start) {
            let (key, value) = pair.map_err(translate)?;
            if end.is_some_and(|end| key >= end) || visit(key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn translate(error: io::Error) -> EngineError {
    EngineError::engine_io(EngineId::Guest, error)
}
