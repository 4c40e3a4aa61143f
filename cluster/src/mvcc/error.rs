//! What can go wrong with the store.

use engines::EngineError;

/// A failure of the store. Refusals are none: they are answers.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed. After a failed write or flush the store is poisoned.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What the engine holds contradicts itself, though the engine did not complain: part of what was written
    /// is lost or was changed.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// An earlier call failed; the store does nothing until it is opened again.
    #[error("the store is poisoned until reopened, because of an earlier failure: {cause}")]
    Poisoned {
        /// That failure.
        cause: String,
    },
    /// The caller asked for what the store does not offer. Nothing was done.
    #[error("misuse of the store: {0}")]
    Misuse(String),
}

impl StoreError {
    /// The engine holds under `key` what is no record.
    pub(super) fn senseless_record(key: &[u8]) -> StoreError {
        StoreError::Corrupt(format!("the record under key {} makes no sense", key.escape_ascii()))
    }
}
