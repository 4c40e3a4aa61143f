//! Everything that happens on the machine, as one closed enumeration.

use crate::disk::{Damage, Landing, SECTOR_BYTES};
use std::fmt;

/// One event of a run. Every event goes into the running hash; as text, one line each, into the trace file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A thread was given the baton.
    Run {
        /// The thread's number, in order of creation.
        thread: u32,
    },
    /// A thread was created.
    ThreadStarted {
        /// The new thread's number.
        thread: u32,
        /// The node and incarnation it belongs to, if any.
        owner: Option<(u16, u32)>,
    },
    /// A thread ended.
    ThreadEnded {
        /// The thread's number.
        thread: u32,
    },
    /// A file-system call that changes a disk, before it is carried out.
    Disk {
        /// The node and incarnation whose mount is changed.
        owner: (u16, u32),
        /// The number of this operation on the mount, from 1.
        operation: u64,
        /// The call.
        call: &'static str,
        /// Hash of the path or paths.
        path: u64,
        /// Offset or new length in bytes.
        offset: u64,
        /// Bytes written.
        length: u64,
        /// Hash of the bytes written.
        data: u64,
    },
    /// A fault was injected into a file-system call.
    DiskFault {
        /// The node and incarnation.
        owner: (u16, u32),
        /// The number of the operation on the mount.
        operation: u64,
        /// What was done.
        fault: DiskFault,
    },
    /// A read of a disk.
    Read {
        /// The node and incarnation whose mount is read.
        owner: (u16, u32),
        /// Offset in bytes.
        offset: u64,
        /// Bytes read.
        length: u64,
        /// Hash of the bytes read.
        data: u64,
    },
    /// A message or a part of a stream was handed to the network.
    Send {
        /// The sender's address.
        from: u64,
        /// The receiver's address.
        to: u64,
        /// Bytes.
        length: u64,
        /// Hash of the bytes.
        data: u64,
    },
    /// A message or a part of a stream arrived.
    Deliver {
        /// The sender's address.
        from: u64,
        /// The receiver's address.
        to: u64,
        /// The delivery's number in the order of sending.
        sequence: u64,
    },
    /// A node started a new incarnation.
    Started {
        /// The node and its new incarnation.
        node: (u16, u32),
    },
    /// A node stopped.
    Stopped {
        /// The node and the incarnation that ended.
        node: (u16, u32),
        /// Why.
        cause: StopCause,
        /// Pending disk operations that survived.
        kept: u64,
        /// Pending disk operations that did not survive whole.
        lost: u64,
    },
    /// A node was frozen or went on.
    Paused {
        /// The node.
        node: u16,
        /// Frozen, or going on.
        paused: bool,
    },
    /// A node's wall clock was set.
    ClockStepped {
        /// The node.
        node: u16,
        /// How far, in nanoseconds.
        step_ns: i64,
    },
    /// Links were cut or mended.
    Network {
        /// How many directed links the partitions in force block afterwards.
        blocked_links: u64,
    },
    /// Something that a layer above the machine says happened: a raft transition, a client's call or return.
    Mark {
        /// The node it is about; 0 for the world outside.
        node: u16,
        /// What it is.
        topic: &'static str,
        /// Hash of the details, which stand in the trace file.
        details: u64,
    },
}

/// What was injected into a file-system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The call failed with this `errno`.
    Error(i32),
    /// Only this many bytes were transferred.
    Short(u64),
    /// A sync was acknowledged that the device did not honour.
    Lie,
    /// The disk is full from here on.
    Full,
    /// The capacity grew by this many bytes.
    Grown(u64),
    /// The file system was mounted read-only.
    ReadOnly,
    /// A write goes on the medium where it should not.
    Astray(Landing),
    /// A sector was damaged.
    Damage {
        /// Its number in its file.
        sector: u64,
        /// What became of it.
        damage: Damage,
    },
    /// A read gave an old version.
    Stale,
}

/// Why an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// Its main function returned, or it panicked.
    Exit,
    /// The process was killed; the page cache survives.
    ProcessKill,
    /// The power failed.
    PowerFailure,
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { thread } => write!(out, "run T{thread}"),
            Self::ThreadStarted { thread, owner } => match owner {
                Some((node, incarnation)) => write!(out, "thread T{thread} starts on n{node}.{incarnation}"),
                None => write!(out, "thread T{thread} starts"),
            },
            Self::ThreadEnded { thread } => write!(out, "thread T{thread} ends"),
            Self::Disk { owner, operation, call, path, offset, length, data } => write!(
                out,
                "disk n{}.{} #{operation} {call} path {path:016x} at {offset} length {length} data {data:016x}",
                owner.0, owner.1
            ),
            Self::DiskFault { owner, operation, fault } => {
                write!(out, "disk n{}.{} #{operation} fault {fault:?}", owner.0, owner.1)
            }
            Self::Read { owner, offset, length, data } => {
                write!(out, "read n{}.{} at {offset} length {length} data {data:016x}", owner.0, owner.1)
            }
            Self::Send { from, to, length, data } => {
                write!(out, "send {from}→{to} length {length} data {data:016x}")
            }
            Self::Deliver { from, to, sequence } => write!(out, "deliver {from}→{to} #{sequence}"),
            Self::Started { node } => write!(out, "node n{}.{} starts", node.0, node.1),
            Self::Stopped { node, cause, kept, lost } => {
                write!(out, "node n{}.{} stops: {cause:?}, {kept} kept, {lost} lost", node.0, node.1)
            }
            Self::Paused { node, paused } => {
                write!(out, "node n{node} {}", if *paused { "pauses" } else { "resumes" })
            }
            Self::ClockStepped { node, step_ns } => write!(out, "node n{node} clock steps by {step_ns} ns"),
            Self::Network { blocked_links } => write!(out, "network: {blocked_links} links blocked"),
            Self::Mark { node, topic, details } => write!(out, "mark n{node} {topic} {details:016x}"),
        }
    }
}

/// What of an event goes into the running hash: a tag and up to seven words.
pub(crate) type Words = [u64; 8];

impl Event {
    /// The event as words for the running hash. Every field is in it.
    pub(crate) fn words(&self) -> Words {
        let pair = |(node, incarnation): (u16, u32)| u64::from(node) << 32 | u64::from(incarnation);
        match *self {
            Self::Run { thread } => [1, thread.into(), 0, 0, 0, 0, 0, 0],
            Self::ThreadStarted { thread, owner } => {
                [2, thread.into(), owner.map_or(u64::MAX, pair), 0, 0, 0, 0, 0]
            }
            Self::ThreadEnded { thread } => [3, thread.into(), 0, 0, 0, 0, 0, 0],
            Self::Disk { owner, operation, call, path, offset, length, data } => {
                [4, pair(owner), operation, hash(call.as_bytes()), path, offset, length, data]
            }
            Self::DiskFault { owner, operation, fault } => {
                let (kind, value) = match fault {
                    DiskFault::Error(code) => (1, u64::from(code.unsigned_abs())),
                    DiskFault::Short(bytes) => (2, bytes),
                    DiskFault::Lie => (3, 0),
                    DiskFault::Full => (4, 0),
                    DiskFault::Grown(bytes) => (5, bytes),
                    DiskFault::ReadOnly => (6, 0),
                    DiskFault::Astray(Landing::Lost) => (7, 0),
                    DiskFault::Astray(Landing::Misdirected { to }) => (8, to),
                    DiskFault::Damage { sector, damage: Damage::Unreadable } => (9, sector),
                    DiskFault::Damage { sector, damage: Damage::Rot { bit } } => {
                        (10, sector * SECTOR_BYTES * 8 + u64::from(bit))
                    }
                    DiskFault::Stale => (11, 0),
                };
                [5, pair(owner), operation, kind, value, 0, 0, 0]
            }
            Self::Read { owner, offset, length, data } => [6, pair(owner), offset, length, data, 0, 0, 0],
            Self::Send { from, to, length, data } => [7, from, to, length, data, 0, 0, 0],
            Self::Deliver { from, to, sequence } => [8, from, to, sequence, 0, 0, 0, 0],
            Self::Started { node } => [9, pair(node), 0, 0, 0, 0, 0, 0],
            Self::Stopped { node, cause, kept, lost } => {
                let cause = match cause {
                    StopCause::Exit => 1,
                    StopCause::ProcessKill => 2,
                    StopCause::PowerFailure => 3,
                };
                [10, pair(node), cause, kept, lost, 0, 0, 0]
            }
            Self::Paused { node, paused } => [11, node.into(), paused.into(), 0, 0, 0, 0, 0],
            Self::ClockStepped { node, step_ns } => [12, node.into(), step_ns.cast_unsigned(), 0, 0, 0, 0, 0],
            Self::Network { blocked_links } => [13, blocked_links, 0, 0, 0, 0, 0, 0],
            Self::Mark { node, topic, details } => {
                [14, node.into(), hash(topic.as_bytes()), details, 0, 0, 0, 0]
            }
        }
    }
}

/// The hash that events carry of paths and bytes: XXH3, whose specification fixes its output.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
