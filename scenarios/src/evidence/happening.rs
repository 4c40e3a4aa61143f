//! What replicas tell of themselves, in words.

use super::node::{MarkKind, engine};
use super::sentence::list;
use super::stream::shipped;
use cluster::{InstallStep, Membership, Recovery, ReplicaEvent, SendOutcome, SnapshotOutcome};
use std::collections::BTreeSet;

/// How an event is marked on the time line; none where it is not.
pub(super) fn mark(event: &ReplicaEvent) -> Option<(MarkKind, String)> {
    Some(match event {
        ReplicaEvent::Started { .. } => (MarkKind::Start, started(event)),
        ReplicaEvent::BecameLeader { term, last_index, .. } => {
            (MarkKind::Elected, format!("elected leader of term {term}, with a log up to {last_index}"))
        }
        ReplicaEvent::SteppedDown { term } => {
            (MarkKind::Elected, format!("was removed while it led term {term}, and leads no more"))
        }
        ReplicaEvent::SnapshotSent { .. }
        | ReplicaEvent::SnapshotSendEnded { .. }
        | ReplicaEvent::SnapshotReceived { .. }
        | ReplicaEvent::SnapshotInstallEnd { .. }
        | ReplicaEvent::HeldBack { .. }
        | ReplicaEvent::SnapshotRequested { .. } => (MarkKind::Snapshot, of_snapshot(event)?),
        ReplicaEvent::TornTail { .. }
        | ReplicaEvent::InstallResumed { .. }
        | ReplicaEvent::EngineFinding { .. }
        | ReplicaEvent::StoreDiverged { .. }
        | ReplicaEvent::StoreDiscarded { .. }
        | ReplicaEvent::Converted { .. }
        | ReplicaEvent::FlushedIndexBehind { .. }
        | ReplicaEvent::OutOfSpace { .. }
        | ReplicaEvent::SpaceRegained
        | ReplicaEvent::Alarm { .. } => (MarkKind::Finding, of_damage(event)?),
        ReplicaEvent::MembersChanged { .. }
        | ReplicaEvent::FlushEnd { .. }
        | ReplicaEvent::LogCompacted { .. }
        | ReplicaEvent::FrameDropped { .. }
        | ReplicaEvent::LeaseExpired { .. }
        | ReplicaEvent::LeaseRevoked { .. }
        | ReplicaEvent::CompactionScheduled { .. }
        | ReplicaEvent::CompactionFinished(_) => (MarkKind::Upkeep, of_upkeep(event)?),
        ReplicaEvent::StateChanged { .. }
        | ReplicaEvent::Applied { .. }
        | ReplicaEvent::SnapshotInstallBegin { .. }
        | ReplicaEvent::HardState { .. }
        | ReplicaEvent::Entry { .. }
        | ReplicaEvent::StateHash { .. }
        | ReplicaEvent::FlushBegin { .. }
        | ReplicaEvent::ReadIndexRetried { .. }
        | ReplicaEvent::PeerHello { .. }
        | ReplicaEvent::LeaseGranted { .. }
        | ReplicaEvent::LeasesTakenOver { .. }
        | ReplicaEvent::KeepAliveAnswered { .. }
        | ReplicaEvent::LeasesCheckpointed { .. }
        | ReplicaEvent::CompactionStep { .. }
        | ReplicaEvent::CompactedRevision { .. }
        | ReplicaEvent::WatchCreated { .. }
        | ReplicaEvent::WatchCaughtUp { .. }
        | ReplicaEvent::WatchFellBehind { .. }
        | ReplicaEvent::WatchCanceled { .. } => return None,
    })
}

fn started(event: &ReplicaEvent) -> String {
    let ReplicaEvent::Started { hello, recovery, applied_index, log_first, log_last, .. } = event else {
        return String::new();
    };
    let how = match recovery {
        Recovery::Fresh => "with nothing".to_string(),
        Recovery::Replay { from } => format!("applies its raft log from entry {from} on"),
        Recovery::Join => "new to the cluster, waits for a snapshot".to_string(),
        Recovery::Rebuild => "without state, to be rebuilt from a peer".to_string(),
    };
    let who = format!("{}, release {}", engine(hello.peer.engine), hello.peer.release.number());
    format!("takes part ({who}); applied {applied_index}, raft log {log_first}..{log_last}; {how}")
}

fn of_snapshot(event: &ReplicaEvent) -> Option<String> {
    Some(match event {
        ReplicaEvent::SnapshotSent { to, index, wire_bytes, shipment, .. } => {
            let what = shipped(shipment);
            format!("sends node {to} a snapshot of index {index}: {what}, {wire_bytes} bytes")
        }
        ReplicaEvent::SnapshotSendEnded { to, index, outcome } => {
            let how = match outcome {
                SendOutcome::Installed => "was installed".to_string(),
                SendOutcome::Refused => "was refused".to_string(),
                SendOutcome::Broken => "broke off".to_string(),
                SendOutcome::Unanswered => "was not answered in time".to_string(),
                SendOutcome::Deposed => "was given up, since this node leads no more".to_string(),
                SendOutcome::Failed { error } => format!("could not be produced: {error}"),
            };
            format!("its snapshot of index {index} for node {to} {how}")
        }
        ReplicaEvent::SnapshotReceived { from, index, outcome, .. } => {
            let how = match outcome {
                SnapshotOutcome::Installed => "accepts it as it came".to_string(),
                SnapshotOutcome::Transcoded { from } => format!("transcodes it from {}", engine(*from)),
                SnapshotOutcome::Refused { error } => format!("refuses it: {error}"),
                SnapshotOutcome::Outdated => "needs it no more".to_string(),
                SnapshotOutcome::Abandoned => "gives it up: it broke off, or a newer one came".to_string(),
            };
            format!("received a snapshot of index {index} from node {from}, and {how}")
        }
        ReplicaEvent::SnapshotInstallEnd { index } => {
            format!("a snapshot of index {index} is its state now")
        }
        ReplicaEvent::HeldBack { peer, why } => {
            format!("sends node {peer} no snapshot, though it needs one: {why}")
        }
        ReplicaEvent::SnapshotRequested { leader, term } => {
            format!("asks node {leader}, the leader of term {term}, for a snapshot")
        }
        _of_something_else => return None,
    })
}

fn of_damage(event: &ReplicaEvent) -> Option<String> {
    Some(match event {
        ReplicaEvent::TornTail { bytes } => {
            format!("a torn tail of its raft log was cut off: {bytes} bytes")
        }
        ReplicaEvent::InstallResumed { step, .. } => {
            format!("a snapshot's installation was interrupted {}, and is brought to an end", before(*step))
        }
        ReplicaEvent::EngineFinding { engine, cause, .. } => {
            format!("{} broke a promise: {cause}; its store is set aside", engine.name())
        }
        ReplicaEvent::StoreDiverged { engine, applied_index, .. } => format!(
            "a quorum has another state at applied index {applied_index} than {} gives back; its store is set aside",
            engine.name()
        ),
        ReplicaEvent::StoreDiscarded { from, to, .. } => {
            format!("its store of {} is set aside, to go on with {}", from.name(), to.name())
        }
        ReplicaEvent::Converted { from, to, .. } => {
            format!("its store was converted from {} to {}", from.name(), to.name())
        }
        ReplicaEvent::FlushedIndexBehind { flushed: Some(flushed), log_first } => format!(
            "the file that says what is flushed says {flushed}, though its raft log begins with entry {log_first}; it \
             is written anew"
        ),
        ReplicaEvent::FlushedIndexBehind { flushed: None, .. } => {
            "the file that says what is flushed is gone; it is written anew".to_string()
        }
        ReplicaEvent::OutOfSpace { error, had_ballast } => {
            let ballast = if *had_ballast { "; it gives up its ballast" } else { "" };
            format!("its disk is full: {error}{ballast}")
        }
        ReplicaEvent::SpaceRegained => "there is space on its disk again".to_string(),
        ReplicaEvent::Alarm { member, active: true } => {
            format!("knows from now on that the disk of node {member} is full")
        }
        ReplicaEvent::Alarm { member, active: false } => {
            format!("knows from now on that node {member} has space again")
        }
        _of_something_else => return None,
    })
}

fn before(step: InstallStep) -> &'static str {
    match step {
        InstallStep::WriteRecord => "before it was written down",
        InstallStep::MoveOldAway => "before the old state was out of the way",
        InstallStep::MoveNewIn => "before the new state was in its place",
        InstallStep::ResetLog => "before the raft log began after it",
        InstallStep::RemoveRecord => "before its record was removed",
        InstallStep::RemoveOld => "before the old state was removed",
        InstallStep::PutOldBack => "and the new state is gone, so that the old one is put back",
    }
}

fn of_upkeep(event: &ReplicaEvent) -> Option<String> {
    Some(match event {
        ReplicaEvent::MembersChanged { index, members } => members_in_words(*index, members),
        ReplicaEvent::FlushEnd { index } => format!("flushed: its store is durable up to entry {index}"),
        ReplicaEvent::LogCompacted { index } => format!("raft log cut up to entry {index}"),
        ReplicaEvent::FrameDropped { from, error } => {
            format!("drops a message of node {from}: {error}")
        }
        ReplicaEvent::LeaseExpired { id, .. } => {
            format!("finds the time of lease {id} over, and proposes its end")
        }
        ReplicaEvent::LeaseRevoked { id, revision, .. } => {
            format!("lease {id} has ended, and its keys with it, at revision {revision}")
        }
        ReplicaEvent::CompactionScheduled { revision } => {
            format!("nothing below revision {revision} can be read from here on")
        }
        ReplicaEvent::CompactionFinished(metrics) => format!(
            "has forgotten what lay below revision {}: {} records",
            metrics.revision, metrics.records_removed
        ),
        _of_something_else => return None,
    })
}

fn members_in_words(index: u64, members: &Membership) -> String {
    let nodes = |ids: &BTreeSet<u64>| list("node", &ids.iter().map(u64::to_string).collect::<Vec<_>>());
    if members.voters.is_empty() && members.learners.is_empty() {
        return "does not know yet who the members are".to_string();
    }
    let since = match index {
        0 => "from the beginning".to_string(),
        index => format!("since entry {index}"),
    };
    let mut text = format!("{since} the voters are {}", nodes(&members.voters));
    if members.is_joint() {
        text += &format!("; {} voted before, and some are leaving", nodes(&members.outgoing));
    }
    if !members.learners.is_empty() {
        text += &format!("; without a vote: {}", nodes(&members.learners));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_in_words() {
        let set = |ids: &[u64]| ids.iter().copied().collect();
        let told = |index, voters: &[u64], outgoing: &[u64], learners: &[u64]| {
            let members =
                Membership { voters: set(voters), outgoing: set(outgoing), learners: set(learners) };
            members_in_words(index, &members)
        };
        assert_eq!(told(0, &[1, 2, 3], &[], &[]), "from the beginning the voters are nodes 1, 2 and 3");
        assert_eq!(
            told(9, &[1, 2], &[], &[4]),
            "since entry 9 the voters are nodes 1 and 2; without a vote: node 4"
        );
        assert_eq!(
            told(12, &[1, 2, 4], &[1, 2], &[]),
            "since entry 12 the voters are nodes 1, 2 and 4; nodes 1 and 2 voted before, and some are leaving"
        );
        assert_eq!(told(0, &[], &[], &[]), "does not know yet who the members are");
    }
}
