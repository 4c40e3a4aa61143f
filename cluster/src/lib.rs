//! The replicated store under test: raft replica, raft log, MVCC, snapshot transfer.
//!
//! Ordinary synchronous Rust on `std::fs`, `std::thread`, `std::time` and the [`Transport`] trait. [`run`] is
//! one replica from its start to the end of its machine; everything it does that an outsider may want to know
//! goes to an [`Observer`].
//!
//! ```text
//! DIRECTORY/raft/          the raft log                                   raft_log
//! DIRECTORY/store/         the data directory of the engine               engines::marker, mvcc
//! DIRECTORY/store.new/     a state that is being received or converted    snapshot_receive, conversion
//! DIRECTORY/store.old/     the state that it replaced                     install
//! DIRECTORY/last-flushed-index   up to where the engine has flushed           flushed_index
//! DIRECTORY/INSTALL        says that store.new must take its place        install
//! DIRECTORY/store.aside-N/ stores that could not be used any more         startup
//! DIRECTORY/scratch/       temporary files
//! DIRECTORY/ballast        zeros, given up when the disk is full            ballast
//! ```

pub mod api;
mod ballast;
pub mod client;
pub mod config;
mod conversion;
pub mod design;
mod directory;
mod error;
mod flushed_index;
mod frame;
pub mod hello;
mod install;
mod lease;
mod membership;
pub mod mvcc;
mod observer;
mod peers;
pub mod raft_log;
mod replica;
mod snapshot_receive;
mod snapshot_send;
mod snapshot_stream;
pub mod startup;
mod transport;
mod watch;
pub mod wire;

pub use config::{EngineChange, Limits, ReplicaConfig, Timing};
pub use design::Design;
pub use error::ReplicaError;
pub use frame::FrameError;
pub use hello::Hello;
pub use membership::Membership;
pub use observer::{
    HeldBack, InstallStep, Observer, Recovery, ReplicaEvent, RevokedBy, Role, SendOutcome, SnapshotOutcome,
};
pub use replica::run;
pub use snapshots::Release;
pub use transport::{CLIENT_ID_MIN, Inbound, Transport};
