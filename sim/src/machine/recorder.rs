//! Recordings: every change of a node's disk over one life, with the call that made it.

use super::Machine;
use super::gate::Call;
use super::kernel::{self, Kernel};
use super::node::{Incarnation, NodeId, Process};
use crate::disk::{OperationKind, Primitive, Stamp};
use crate::interpose;
use crate::vfs::MountId;
use std::collections::BTreeMap;

/// What was done to the disk of one incarnation, from its start on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Recording {
    /// The calls, in the order in which they passed the gate; numbers ascend. Also those that then failed or
    /// changed nothing.
    pub operations: Vec<RecordedOperation>,
    /// What they did to the disk, and what the program noted, in the order in which it happened.
    pub events: Vec<Recorded>,
}

/// A call that may change the disk, or syncs it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecordedOperation {
    /// Its number in this recording, from 1. [`Machine::fault_at`] given before the start counts the same way.
    pub number: u64,
    /// The call.
    pub kind: OperationKind,
    /// The path within the mount; of a rename or link `old → new`.
    pub path: String,
    /// The first byte, or the new size.
    pub offset: u64,
    /// Bytes that it is about.
    pub length: u64,
    /// The name of the thread that made it.
    pub thread: String,
    /// Virtual nanoseconds when it was made.
    pub now_ns: u64,
    /// Return addresses, innermost first, for [`crate::describe_frames`]; none where they were not asked for.
    pub frames: Vec<usize>,
}

/// An event of a recording.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Recorded {
    /// The disk was changed.
    Change {
        /// The number of the call that did it; 0 where no call that is counted did: opening what exists, closing.
        operation: u64,
        /// When, and by which thread.
        stamp: Stamp,
        /// What was done.
        change: Primitive,
    },
    /// The program noted this number.
    Note(u64),
}

/// Records one node's lives, one after another.
#[derive(Debug)]
pub(crate) struct Recorder {
    call_sites: bool,
    /// The mount of the life that is recorded; none before the first and after each.
    mount: Option<MountId>,
    last: u64,
    /// The last call of each thread.
    current: BTreeMap<u64, u64>,
    recording: Recording,
}

impl Recorder {
    fn new(call_sites: bool) -> Self {
        Self { call_sites, mount: None, last: 0, current: BTreeMap::new(), recording: Recording::default() }
    }

    fn add_changes(&mut self, changes: Vec<Primitive>, stamp: Stamp) {
        let current = self.current.get(&stamp.thread).copied().unwrap_or(0);
        self.recording.events.extend(changes.into_iter().map(|change| {
            let operation = match change {
                // Descriptors come and go without passing the gate.
                Primitive::Open(_) | Primitive::Close(_) => 0,
                Primitive::CreateFile { .. }
                | Primitive::MakeDirectory { .. }
                | Primitive::Link { .. }
                | Primitive::Unlink { .. }
                | Primitive::RemoveDirectory { .. }
                | Primitive::Rename { .. }
                | Primitive::Exchange { .. }
                | Primitive::Write { .. }
                | Primitive::WriteAstray { .. }
                | Primitive::Damage { .. }
                | Primitive::KeepPrevious(_)
                | Primitive::Resize { .. }
                | Primitive::Allocate { .. }
                | Primitive::Punch { .. }
                | Primitive::SetAttributes { .. }
                | Primitive::Sync { .. }
                | Primitive::WriteBack(_)
                | Primitive::SetCapacity { .. } => current,
            };
            Recorded::Change { operation, stamp, change }
        }));
    }
}

impl Kernel {
    /// A life begins on `mount`: it is recorded anew, if its node is to be.
    pub(crate) fn begin_recording(&mut self, id: NodeId, mount: MountId) {
        let Some(recorder) = &mut self.nodes[usize::from(id.0)].recorder else { return };
        *recorder = Recorder { mount: Some(mount), ..Recorder::new(recorder.call_sites) };
        self.files.disk_mut(mount).begin_journal();
    }

    /// A life ended: its ghost is not recorded.
    pub(crate) fn end_recording(&mut self, id: NodeId) {
        let stamp = self.stamp();
        self.record_changes(stamp);
        if let Some(recorder) = &mut self.nodes[usize::from(id.0)].recorder
            && let Some(mount) = recorder.mount.take()
        {
            self.files.disk_mut(mount).end_journal();
        }
    }

    /// Takes note of a call that the current incarnation makes.
    pub(crate) fn record_operation(&mut self, owner: Incarnation, call: &Call<'_>) {
        if self.node(owner.node).recorder.as_ref().is_none_or(|recorder| recorder.mount.is_none()) {
            return;
        }
        let (stamp, thread) = (self.stamp(), self.current_thread_name());
        let Some(recorder) = &mut self.node(owner.node).recorder else { return };
        interpose::bypass_heap(|| {
            recorder.last += 1;
            recorder.current.insert(stamp.thread, recorder.last);
            recorder.recording.operations.push(RecordedOperation {
                number: recorder.last,
                kind: call.kind,
                path: call.path.to_string(),
                offset: call.offset,
                length: call.length,
                thread: thread.as_str().to_owned(),
                now_ns: stamp.now_ns,
                frames: if recorder.call_sites { interpose::own_frames() } else { Vec::new() },
            });
        });
    }

    /// Takes over what was done to the recorded disks since the last time.
    pub(crate) fn record_changes(&mut self, stamp: Stamp) {
        for recorder in self.nodes.iter_mut().filter_map(|node| node.recorder.as_mut()) {
            let Some(mount) = recorder.mount else { continue };
            interpose::bypass_heap(|| {
                recorder.add_changes(self.files.disk_mut(mount).take_journal(), stamp);
            });
        }
    }
}

impl Machine {
    /// From the next start of a node on, everything done to its disk is kept, each life anew. With `call_sites`,
    /// each call comes with where in the program it was made, which costs some microseconds each.
    ///
    /// The run is the same with and without it.
    pub fn record(&self, id: NodeId, call_sites: bool) {
        kernel::with(|kernel| kernel.node(id).recorder = Some(Recorder::new(call_sites)));
    }

    /// Takes what was recorded of the node's latest life since the last time; nothing where nothing was.
    pub fn take_recording(&self, id: NodeId) -> Recording {
        kernel::with(|kernel| {
            let recorder = kernel.node(id).recorder.as_mut();
            recorder.map(|recorder| std::mem::take(&mut recorder.recording)).unwrap_or_default()
        })
    }
}

impl Process {
    /// Puts `number` into the recording of this incarnation, if it is recorded and still the current one, between
    /// what was done to its disk before and after.
    pub fn note(&self, number: u64) {
        let incarnation = Incarnation { node: self.node, number: self.incarnation };
        kernel::with(|kernel| {
            let node = kernel.node(self.node);
            if node.is_current(incarnation)
                && let Some(recorder) = &mut node.recorder
            {
                interpose::bypass_heap(|| recorder.recording.events.push(Recorded::Note(number)));
            }
        });
    }

    /// What this incarnation does from here on is not recorded, if it is the current one.
    pub fn end_recording(&self) {
        let incarnation = Incarnation { node: self.node, number: self.incarnation };
        kernel::with(|kernel| {
            if kernel.node(self.node).is_current(incarnation) {
                kernel.end_recording(self.node);
            }
        });
    }
}
