//! What can be set when an engine is opened.

use std::time::Duration;

/// The sizes and intervals that every engine has in some form. An engine without the notion ignores the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the page or block cache.
    pub cache_bytes: u64,
    /// Bytes that a memtable (fjall, lsm-tree) may reach before it is written out as a table. Zero is refused.
    pub memtable_bytes: u64,
    /// How often the engine makes its log durable on its own, from a background thread (sled).
    /// `None`: only when [`crate::Backend::flush`] is called.
    pub background_flush: Option<Duration>,
    /// Whether a flush syncs the engine's own log (fjall's journal). Where it does not, a flush writes the
    /// memtable out as a table instead, and a log above the store (raft's) has to hold what no table holds. The
    /// default is the synced log. Engines without a log of their own, or with nothing else, ignore it.
    pub sync_engine_log: bool,
    /// Whether everything in the data directory, names included, is synced once after the engine has opened it:
    /// what a careful operator does for an engine that never syncs the names of its files (docs/findings, pages 02,
    /// 03 and 05). The default is to trust the engine.
    pub sync_after_open: bool,
}

impl Default for Options {
    /// Small on purpose, so that short runs see memtable rotations, table flushes and evictions.
    fn default() -> Options {
        Options {
            cache_bytes: 1 << 20,
            memtable_bytes: 32 << 10,
            background_flush: Some(Duration::from_millis(500)),
            sync_engine_log: true,
            sync_after_open: false,
        }
    }
}
