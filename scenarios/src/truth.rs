//! The true history of a run: what stands in the raft log, carried out by the reference store.
//!
//! Which entry stands at which index is raft's affair, and the raft oracle's; what it means is the model's. So
//! every revision has one true content, even where compaction has long taken it from the replicas.

use crate::translate;
use cluster::api::{Command, Request};
use cluster::wire;
use model::kv::{Call, CallResult, Refusal};
use model::store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// What an entry did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Its index in the raft log.
    pub(crate) index: u64,
    /// What it asked for.
    pub(crate) call: Call,
    /// What became of it.
    pub(crate) result: CallResult,
}

/// The true history.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    /// The store after it.
    pub(crate) store: Store,
    /// The entries that clients, or leaders for leases, asked for, in order.
    pub(crate) steps: Vec<Step>,
}

impl Truth {
    /// Carries out the entries, each by its index.
    ///
    /// # Errors
    /// An index that no replica was seen to apply, or an entry that is no command: then nothing is known from there on.
    pub(crate) fn of(entries: &BTreeMap<u64, Vec<u8>>) -> Result<Self, String> {
        let mut truth = Self { store: Store::default(), steps: Vec::new() };
        let mut full_disks = BTreeSet::new();
        let first = entries.keys().next().copied().unwrap_or(1);
        for (expected, (&index, data)) in (first..).zip(entries) {
            if index != expected {
                return Err(format!("nobody was seen to apply entry {expected}"));
            }
            // The first entry of a leader.
            if data.is_empty() {
                continue;
            }
            let command = wire::decode::<Command>(data).map_err(|error| format!("entry {index}: {error}"))?;
            truth.carry_out(index, &command, &mut full_disks)?;
        }
        Ok(truth)
    }

    fn carry_out(
        &mut self,
        index: u64,
        command: &Command,
        full_disks: &mut BTreeSet<u64>,
    ) -> Result<(), String> {
        let call = match command {
            Command::Kv(request) => Call::Kv(translate::request(request)),
            Command::Compact { revision } => Call::Compact { revision: *revision, physical: false },
            Command::LeaseGrant { id, ttl_s } => Call::LeaseGrant { id: *id, ttl_s: *ttl_s },
            Command::LeaseRevoke { id } => Call::LeaseRevoke { id: *id },
            Command::LeaseCheckpoint { .. } => return Ok(()),
            Command::Alarm { member, activate } => {
                if *activate {
                    full_disks.insert(*member)
                } else {
                    full_disks.remove(member)
                };
                return Ok(());
            }
        };
        let result = if !full_disks.is_empty() && takes_space(command) {
            Err(Refusal::NoSpace)
        } else {
            self.store.call(&call).ok_or_else(|| format!("entry {index} has no meaning to the model"))?
        };
        self.steps.push(Step { index, call, result });
        Ok(())
    }
}

/// Whether a command is refused while a disk is full (etcd's `applierV3Capped`): grants, puts, and transactions in
/// which a put stands directly.
fn takes_space(command: &Command) -> bool {
    match command {
        Command::Kv(Request::Put(_)) | Command::LeaseGrant { .. } => true,
        Command::Kv(Request::Txn(txn)) => {
            txn.success.iter().chain(&txn.failure).any(|request| matches!(request, Request::Put(_)))
        }
        Command::Kv(Request::Range(_) | Request::DeleteRange(_))
        | Command::Compact { .. }
        | Command::LeaseRevoke { .. }
        | Command::LeaseCheckpoint { .. }
        | Command::Alarm { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::api::PutRequest;

    fn entries(commands: &[Command]) -> BTreeMap<u64, Vec<u8>> {
        (1..).zip(commands.iter().map(|command| wire::encode(command).unwrap())).collect()
    }

    fn put(key: &str, lease: i64) -> Command {
        Command::Kv(Request::Put(PutRequest { key: key.into(), lease, ..PutRequest::default() }))
    }

    #[test]
    fn what_stands_in_the_log_happened_in_its_order() {
        let grant = Command::LeaseGrant { id: 7, ttl_s: 5 };
        let commands = [grant, put("a", 7), Command::Compact { revision: 2 }, Command::LeaseRevoke { id: 7 }];
        let truth = Truth::of(&entries(&commands)).unwrap();
        assert_eq!((truth.store.revision(), truth.store.compacted_revision()), (3, 2));
        assert_eq!(truth.steps.len(), 4);
        assert!(!truth.store.has_lease(7));
    }

    #[test]
    fn a_full_disk_refuses_what_takes_space() {
        let alarm = |activate| Command::Alarm { member: 2, activate };
        let commands = [alarm(true), put("a", 0), alarm(false), put("b", 0)];
        let results: Vec<_> = Truth::of(&entries(&commands)).unwrap().steps;
        assert_eq!(results[0].result, Err(Refusal::NoSpace));
        assert!(results[1].result.is_ok());
    }

    #[test]
    fn a_missing_entry_is_named() {
        let mut entries = entries(&[put("a", 0), put("b", 0), put("c", 0)]);
        entries.remove(&2);
        assert_eq!(Truth::of(&entries).unwrap_err(), "nobody was seen to apply entry 2");
    }
}
