//! The watches of one replica.
//!
//! ```text
//! created ─► synced ──── no room in the window, or a snapshot ────► behind
//!               ▲  stands after the state; is sent each entry's        │  stands somewhere before; is sent
//!               │  events as it is applied                             │  what the store still knows, in
//!               └────────────── everything is sent ◄───────────────────┘  portions
//! canceled: by the client, or because it stands below the compacted revision
//! ```
//!
//! A watch is nothing but where it stands: the first revision that is not sent. Nothing is queued for a slow
//! client. What is under way is bounded by a window that the client's acknowledgements move on. All watches die
//! with the process; clients create them anew, here or elsewhere, from where they stand.

mod packing;
mod watcher;
mod watches;

pub(crate) use watcher::{Standing, Watcher};
pub(crate) use watches::{Sent, WatchId, Watches};
