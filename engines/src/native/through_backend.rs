//! Any [`Engine`] as a [`Native`]: one space, atomic batches, one durability call.

use std::ops::ControlFlow;
use std::path::Path;

use super::contain::contain;
use super::{
    Abilities, Call, Contents, Failure, Mutation, Native, NativeStore, ONLY_SPACE, Promises, Step, Survives,
    TestSource,
};
use crate::{Backend, Batch, Engine, EngineId, Options};

static PROMISES: Promises = Promises {
    writes: &[Call {
        name: "Backend::write",
        survives: Survives::Nothing,
        source: "\"Visible on return, durable only after the next `Backend::flush`\" (engines/src/backend.rs, \
                 Backend::write)",
    }],
    persists: &[Call {
        name: "Backend::flush",
        survives: Survives::PowerFailure,
        source: "\"Makes everything written before durable.\" (engines/src/backend.rs, Backend::flush)",
    }],
    flush: None,
    drops: None,
    abilities: Abilities {
        spaces: false,
        range_delete: false,
        batch_across_spaces: false,
        flush: false,
        compact: true,
    },
    atomic: Some(
        "\"Applies a batch: all of it or, after a crash, perhaps nothing.\" (engines/src/backend.rs, \
         Backend::write)",
    ),
    order: None,
    reopens: "\"Opens the store in `dir`, or creates one there if the directory is empty or missing.\" \
              (engines/src/backend.rs, Engine::open)",
};

/// An [`Engine`], driven through [`Backend`], with one space, [`ONLY_SPACE`]. It promises what those traits promise.
///
/// For an engine of another repository this is how one adapter serves the crash explorer, too; see
/// docs/bring-your-own-engine.md.
pub struct ThroughBackend {
    /// [`Native::name`]; it may say more than [`Engine::id`].
    pub name: &'static str,
    /// [`Native::version`], best the `CARGO_PKG_VERSION` of the engine's crate.
    pub version: &'static str,
    /// The engine.
    pub engine: &'static dyn Engine,
    /// [`TestSource::dependencies`].
    pub dependencies: &'static str,
    /// [`TestSource::contents`].
    pub contents: &'static str,
}

/// The ordered map of this crate.
pub(crate) static MEM: ThroughBackend = ThroughBackend {
    name: EngineId::Mem.name(),
    version: env!("CARGO_PKG_VERSION"),
    engine: &crate::mem::Mem,
    dependencies: concat!("engines = \"=", env!("CARGO_PKG_VERSION"), "\"\n"),
    contents: include_str!("reopen/mem.rs"),
};

impl Native for ThroughBackend {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> &'static str {
        self.version
    }

    fn promises(&self) -> &'static Promises {
        &PROMISES
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn NativeStore>, Failure> {
        let backend = contain(|| Ok(self.engine.open(dir, &Options::default())?))?;
        Ok(Box::new(BackendStore { backend }))
    }

    fn test_source(&self) -> TestSource {
        TestSource { dependencies: self.dependencies.to_owned(), contents: self.contents }
    }
}

struct BackendStore {
    backend: Box<dyn Backend>,
}

impl NativeStore for BackendStore {
    fn run(&mut self, step: &Step) -> Result<(), Failure> {
        contain(|| match step {
            Step::CreateSpace(space) => only_space(space),
            Step::DropSpace(_) => Err(Failure::unable("call to drop its only space")),
            Step::Write { batch, mode: 0 } => Ok(self.backend.write(&translated(batch)?)?),
            Step::Write { batch: _, mode } => Err(Failure::out_of_table("way to write", *mode)),
            Step::Persist(0) => Ok(self.backend.flush()?),
            Step::Persist(other) => Err(Failure::out_of_table("durability call", *other)),
            Step::Flush => Err(Failure::unable("memtables")),
            Step::Compact => Ok(self.backend.defragment()?),
        })
    }

    fn contents(&self) -> Result<Contents, Failure> {
        contain(|| {
            let mut contents = Contents::new();
            self.backend.scan(b"", None, &mut |key, value| {
                contents.insert((ONLY_SPACE.to_owned(), key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            })?;
            Ok(contents)
        })
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        contain(|| Ok(self.backend.close()?))
    }
}

fn translated(mutations: &[Mutation]) -> Result<Batch, Failure> {
    let mut batch = Batch::new();
    for mutation in mutations {
        only_space(mutation.space())?;
        match mutation {
            Mutation::Put { key, value, .. } => batch.put(key.as_slice(), value.as_slice()),
            Mutation::Delete { key, .. } => batch.delete(key.as_slice()),
            Mutation::DeleteRange { .. } => return Err(Failure::unable("range deletes")),
        }
    }
    Ok(batch)
}

fn only_space(space: &str) -> Result<(), Failure> {
    if space == ONLY_SPACE { Ok(()) } else { Err(Failure::unable("spaces but \"kv\"")) }
}

#[cfg(test)]
mod tests {
    use super::super::reading::check_reader;
    use super::*;

    extern crate self as engines;

    #[expect(clippy::type_complexity, reason = "the text needs no type of this crate")]
    mod reader {
        use super::{Contents, engines};

        include!("reopen/mem.rs");

        pub(super) fn read(dir: &Path) -> Result<Contents, String> {
            contents(dir)
        }
    }

    #[test]
    fn the_reader_reads() {
        check_reader(&MEM, &[ONLY_SPACE], reader::read);
    }
}
