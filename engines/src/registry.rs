//! The list of engines. A new engine is one file with an [`Engine`] and one line here.

use crate::{Engine, EngineError, EngineId, Result};

static ENGINES: [&dyn Engine; 4] =
    [&crate::sled::Sled, &crate::fjall::Fjall, &crate::redb::Redb, &crate::mem::Mem];

/// Every engine of this build, in the order of their bytes.
pub fn registry() -> &'static [&'static dyn Engine] {
    &ENGINES
}

/// The engine with this identity.
///
/// # Errors
/// `Misuse` for an identity that is reserved but has no adapter; the message names the engines that exist.
pub fn engine(id: EngineId) -> Result<&'static dyn Engine> {
    ENGINES.iter().copied().find(|engine| engine.id() == id).ok_or_else(|| {
        let names: Vec<_> = ENGINES.iter().map(|engine| engine.id().name()).collect();
        EngineError::Misuse(format!(
            "engine {id} (0x{:02x}) is reserved, but this build has no adapter for it; it has {}",
            id.byte(),
            names.join(", ")
        ))
    })
}
