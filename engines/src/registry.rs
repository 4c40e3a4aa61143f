//! The list of engines. A new engine is one file with an [`Engine`] and one line here.

use std::sync::OnceLock;

use crate::{Engine, EngineError, EngineId, Result};

static ENGINES: [&dyn Engine; 5] = [
    &crate::sled::Sled,
    &crate::fjall::Fjall,
    &crate::redb::Redb,
    &crate::lsm_tree::LsmTree,
    &crate::mem::Mem,
];

/// [`ENGINES`] and the guest, once there is one. The only state of this crate that outlives a store: an engine of
/// somebody else cannot stand in a list of ours in any other way.
static WITH_GUEST: OnceLock<[&'static dyn Engine; ENGINES.len() + 1]> = OnceLock::new();

/// Every engine of this program, the guest included, in the order of their bytes. A replica says in each hello
/// that it can read their snapshots.
pub fn registry() -> &'static [&'static dyn Engine] {
    WITH_GUEST.get().map_or(&ENGINES, |engines| engines.as_slice())
}

/// Makes an engine that this project does not know one of [`registry`], as [`EngineId::Guest`]. Call it before
/// anything else: a store or a replica that was opened earlier knows nothing of it.
///
/// # Errors
/// `Misuse` for a second guest, and for an engine that says it is another one than `Guest`.
pub fn register_guest(guest: &'static dyn Engine) -> Result<()> {
    if guest.id() != EngineId::Guest {
        return Err(EngineError::Misuse(format!("a guest says that it is {}", guest.id())));
    }
    let [sled, fjall, redb, lsm_tree, mem] = ENGINES;
    WITH_GUEST
        .set([sled, fjall, redb, lsm_tree, guest, mem])
        .map_err(|_| EngineError::Misuse("there is a guest already; a program has one".to_owned()))
}

/// The engine with this identity.
///
/// # Errors
/// `Misuse` for an identity without an adapter; the message names the engines that have one.
pub fn engine(id: EngineId) -> Result<&'static dyn Engine> {
    registry().iter().copied().find(|engine| engine.id() == id).ok_or_else(|| {
        let names: Vec<_> = registry().iter().map(|engine| engine.id().name()).collect();
        EngineError::Misuse(format!(
            "this program has no engine {id} (0x{:02x}); it has {}",
            id.byte(),
            names.join(", ")
        ))
    })
}
