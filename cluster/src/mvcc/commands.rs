//! Carrying out what stands in an entry, as far as memory goes: the answer, and what is to be changed.

use super::compaction::{Kept, Scheduled};
use super::lease_table::{LEASE_TTL_MAX_S, LEASE_TTL_MIN_S, LeaseChange};
use super::transaction::{Executed, Transaction};
use super::{Record, Store, StoreError, check, path};
use crate::api::{Answer, Command, Refusal, Request, TxnRequest};

/// What an entry changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What it writes to keys, in order.
    pub(super) records: Vec<Record>,
    pub(super) leases: Vec<LeaseChange>,
    /// A member, and whether its disk is full from now on.
    pub(super) alarm: Option<(u64, bool)>,
    pub(super) compaction: Option<Scheduled>,
}

/// What became of an entry: its answer if anybody can wait for one, and its changes.
pub(super) type Outcome = Result<(Option<Answer>, Changes), Refusal>;

impl Store {
    pub(super) fn carry_out(&self, command: &Command) -> Result<Outcome, StoreError> {
        Ok(match command {
            Command::Kv(request) => self.carry_out_request(request)?,
            Command::Compact { revision } => self.begin_compaction(*revision),
            Command::LeaseGrant { id, ttl_s } => self.grant(*id, *ttl_s),
            Command::LeaseRevoke { id } => self.revoke(*id),
            Command::LeaseCheckpoint { remaining } => Ok((None, self.checkpoint_leases(remaining))),
            Command::Alarm { member, activate } => {
                let answer = if *activate { None } else { Some(Answer::AlarmDisarm) };
                Ok((answer, Changes { alarm: Some((*member, *activate)), ..Changes::default() }))
            }
        })
    }

    fn carry_out_request(&self, request: &Request) -> Result<Outcome, StoreError> {
        if let Err(refusal) = check(request) {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = self.check_space(request) {
            return Ok(Err(refusal));
        }
        Ok(self.execute(request)?.map(|(response, records)| {
            (Some(Answer::Kv(response)), Changes { records, ..Changes::default() })
        }))
    }

    /// Carries out a request that has passed [`check`].
    pub(super) fn execute(&self, request: &Request) -> Result<Executed, StoreError> {
        match path::resolve(self, request)? {
            Ok(path) => Transaction::new(self, path).execute(request),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// From here on reads below `revision` are refused; [`Store::compact_step`] does the work.
    fn begin_compaction(&self, revision: i64) -> Outcome {
        if revision <= self.compacted_revision {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        let kept = Kept::of(&self.index, revision, self.rules.compaction_tombstone);
        let compaction = Some(Scheduled { revision, kept });
        Ok((Some(Answer::Compact { revision: self.revision }), Changes { compaction, ..Changes::default() }))
    }

    /// In the order of `lessor.Grant` of etcd, where zero is no lease.
    fn grant(&self, id: i64, ttl_s: i64) -> Outcome {
        if self.has_alarm() {
            return Err(Refusal::NoSpace);
        }
        if id == 0 {
            return Err(Refusal::LeaseNotFound);
        }
        if ttl_s > LEASE_TTL_MAX_S {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.leases.get(id).is_some() {
            return Err(Refusal::LeaseExists);
        }
        let ttl_s = ttl_s.max(LEASE_TTL_MIN_S);
        let change = LeaseChange::Set { id, granted_ttl_s: ttl_s, remaining_ttl_s: 0 };
        let answer = Answer::LeaseGrant { revision: self.revision, id, ttl_s };
        Ok((Some(answer), Changes { leases: vec![change], ..Changes::default() }))
    }

    /// The keys of a lease go in one revision, ascending; without keys there is none.
    fn revoke(&self, id: i64) -> Outcome {
        let lease = self.leases.get(id).ok_or(Refusal::LeaseNotFound)?;
        let records = Transaction::new(self, Vec::new().into_iter()).delete_keys(lease.keys.iter());
        let revision = records.last().map_or(self.revision, |record| record.revision.main);
        let leases = vec![LeaseChange::Remove { id }];
        Ok((Some(Answer::LeaseRevoke { revision }), Changes { records, leases, ..Changes::default() }))
    }

    /// Leases that have ended meanwhile are passed over.
    fn checkpoint_leases(&self, remaining: &[(i64, i64)]) -> Changes {
        let leases = remaining.iter().filter_map(|(id, remaining_ttl_s)| {
            let granted_ttl_s = self.leases.get(*id)?.granted_ttl_s;
            Some(LeaseChange::Set { id: *id, granted_ttl_s, remaining_ttl_s: (*remaining_ttl_s).max(0) })
        });
        Changes { leases: leases.collect(), ..Changes::default() }
    }

    /// Refuses what needs space while the disk of a member is full.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn check_space(&self, request: &Request) -> Result<(), Refusal> {
        if self.has_alarm() && takes_space(request) { Err(Refusal::NoSpace) } else { Ok(()) }
    }

    fn has_alarm(&self) -> bool {
        !self.alarms.is_empty()
    }
}

/// Whether a request is refused while a disk is full (`applierV3Capped` and `costTxn` in etcd): puts, and
/// transactions with a put. Puts of transactions inside it do not count there, nor here.
fn takes_space(request: &Request) -> bool {
    match request {
        Request::Put(_) => true,
        Request::Range(_) | Request::DeleteRange(_) => false,
        Request::Txn(TxnRequest { compares: _, success, failure }) => {
            success.iter().chain(failure).any(|request| matches!(request, Request::Put(_)))
        }
    }
}

/// A transaction without the reads that stand in it directly, for [`crate::design::TxnRanges::WhereAsked`]
/// (`removeNeedlessRangeReqs` in etcd's `server.go`).
pub fn without_ranges(command: Command) -> Command {
    match command {
        Command::Kv(Request::Txn(mut txn)) => {
            for list in [&mut txn.success, &mut txn.failure] {
                list.retain(|request| !matches!(request, Request::Range(_)));
            }
            Command::Kv(Request::Txn(txn))
        }
        Command::Kv(Request::Range(_) | Request::Put(_) | Request::DeleteRange(_))
        | Command::Compact { .. }
        | Command::LeaseGrant { .. }
        | Command::LeaseRevoke { .. }
        | Command::LeaseCheckpoint { .. }
        | Command::Alarm { .. } => command,
    }
}
