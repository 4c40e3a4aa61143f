//! Faults at chosen calls, for whoever tries them one by one.

use super::Machine;
use super::crash::CrashSite;
use super::gate::Call;
use super::kernel::{self, Kernel};
use super::node::{Incarnation, NodeId};
use crate::disk::{Decision, Errno, OperationKind, SyncFate};
use crate::event::{DiskFault, Event};

/// One fault at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FaultPoint {
    /// What goes wrong.
    pub fault: PointFault,
    /// At which call from now on, counted from 1.
    pub operation: u64,
    /// Whether reads are counted, in place of calls that change or sync the disk.
    pub reads: bool,
}

/// What goes wrong at a chosen call. At a call that it does not fit, nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum PointFault {
    /// The call fails with this error and does nothing. Fits every call.
    Error(Errno),
    /// The disk is full from here to the end of the incarnation: its capacity is what is in use. Fits the calls that
    /// may need space: writes, reservations, new directories.
    FullDisk,
    /// The sync fails and what it should have written is marked clean ([`SyncFate::Failed`]). Fits `fsync` and
    /// `fdatasync`.
    SyncError,
    /// So many bytes are read or written and no more. Fits reads and writes of more bytes than that, if it is not
    /// zero.
    Short(u64),
}

impl PointFault {
    /// What becomes of a call by this fault; none where it does not fit.
    fn decide(self, kind: OperationKind, length: u64) -> Option<Decision> {
        let moves_bytes = matches!(kind, OperationKind::Read | OperationKind::Write);
        let syncs = matches!(kind, OperationKind::Sync | OperationKind::DataSync);
        let fills =
            matches!(kind, OperationKind::Write | OperationKind::Allocate | OperationKind::MakeDirectory);
        match self {
            Self::Error(errno) => Some(Decision::Error(errno)),
            Self::FullDisk => fills.then_some(Decision::Proceed),
            Self::SyncError => syncs.then_some(Decision::Sync(SyncFate::Failed)),
            Self::Short(bytes) => {
                (moves_bytes && 0 < bytes && bytes < length).then_some(Decision::Short(bytes))
            }
        }
    }
}

/// A node's fault point, and where it fell.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArmedFault {
    point: Option<FaultPoint>,
    fell: Option<CrashSite>,
}

impl ArmedFault {
    /// The fault that is due at this call, if one is.
    fn due(&mut self, is_read: bool) -> Option<PointFault> {
        let point = self.point.as_mut().filter(|point| point.reads == is_read)?;
        point.operation = point.operation.saturating_sub(1);
        if point.operation > 0 {
            return None;
        }
        self.point.take().map(|point| point.fault)
    }

    /// An incarnation ended: a fault that was not reached in it is not for the next one.
    pub(crate) fn forget(&mut self) {
        self.point = None;
    }
}

impl Kernel {
    /// Counts a change of the disk that no call made, and that nobody could be told of: a fault due there falls nowhere.
    pub(crate) fn fault_passes_by(&mut self, owner: Incarnation) {
        self.node(owner.node).armed_fault.due(false);
    }

    /// Counts the call against the node's fault point; what becomes of it where the fault falls here.
    pub(crate) fn fault_falls(
        &mut self,
        owner: Incarnation,
        call: &Call<'_>,
        operation: u64,
    ) -> Option<Decision> {
        let fault = self.node(owner.node).armed_fault.due(call.kind == OperationKind::Read)?;
        let decision = fault.decide(call.kind, call.length)?;
        if fault == PointFault::FullDisk {
            let disk = self.files.disk_mut(call.mount);
            disk.set_capacity_bytes(disk.used_bytes());
            let owner = (owner.node.0, owner.number);
            self.record(&Event::DiskFault { owner, operation, fault: DiskFault::Full });
        }
        let site = self.site(call, operation);
        self.node(owner.node).armed_fault.fell = Some(site);
        Some(decision)
    }
}

impl Machine {
    /// Lets one fault fall at one of the next calls of a node, once. A node has one fault point: the latest given. Of
    /// a node that is down, the calls are counted from its next start on; an incarnation's end takes the point back.
    pub fn fault_at(&self, id: NodeId, point: FaultPoint) {
        kernel::with(|kernel| {
            kernel.node(id).armed_fault = ArmedFault { point: Some(point), fell: None };
        });
    }

    /// Where the latest fault point given to a node fell; none where it was not reached, or did not fit the call.
    pub fn fault_fell(&self, id: NodeId) -> Option<CrashSite> {
        kernel::with(|kernel| kernel.node(id).armed_fault.fell.clone())
    }
}
