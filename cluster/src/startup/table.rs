//! What a start does about what it finds on the disk: one table.
//!
//! ```text
//! raft log    flushed    engine                            decision
//! last < N    N          any                               refuse: the log has lost entries
//! no members  any        any                               join: wait for a snapshot that says who they are
//! untouched   any        no store                          fresh
//! untouched   no or 0    opens, proves 0                   fresh
//! any         any        no store                          without a state (below), nothing to set aside
//! any         any        does not open                     set aside, then without a state
//! last < P    any        opens, proves P                   refuse: the log has lost entries
//! any         damaged    opens                             set aside, then without a state
//! any         N > P      opens, proves P                   set aside, then without a state
//! P < first-1 any        opens, proves P                   set aside, then without a state
//! otherwise   any        opens, proves P                   replay from P + 1
//!
//! without a state: the log begins with entry 1      -> replay all of it into a fresh store
//!                  it does not, there are peers     -> rebuild from a peer's snapshot
//!                  it does not, and nobody to ask   -> refuse
//! ```
//!
//! `flushed` is the file `last-flushed-index`. The log is never cut behind what it says, so one that is missing, or
//! says less than first-1, is made good for by the log itself.
//!
//! The rule behind it: an acknowledged vote or entry stands in the raft log, so a log that lost something may
//! not be used; a store only repeats what the log and the peers hold, so a store may always be thrown away, as
//! long as the replica serves nothing until it has caught up again. And a replica whose state is gone must not
//! lead: it keeps its vote and its log, and does not campaign.

use std::fmt;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The store.
    pub engine: EngineState,
    /// The raft log.
    pub log: LogState,
    /// What the file says that the store had flushed.
    pub flushed: FlushedIndex,
    /// What the raft log says of the cluster.
    pub cluster: Cluster,
}

/// What a replica knows of the cluster that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// Nothing: it was never told who the members are.
    Unknown,
    /// There is no other member.
    Alone,
    /// There are other members to fetch a snapshot from.
    HasPeers,
}

/// The store, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// There is none.
    Absent,
    /// It opens.
    Opens {
        /// The applied index that it proves to hold.
        proves: u64,
    },
    /// It does not open, or not as a store of ours; or it is not wanted any more.
    Unusable(Finding),
}

/// The file `last-flushed-index`, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushedIndex {
    /// There is none: nothing was flushed yet.
    Absent,
    /// The store had flushed everything up to there.
    Known(u64),
    /// It is there, but its checksum is wrong.
    Damaged,
}

/// The raft log, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The index of its first entry; one above `last` if it has none.
    pub first: u64,
    /// The index of its last entry, compacted or not.
    pub last: u64,
    /// The term of its hard state.
    pub term: u64,
}

impl LogState {
    /// The last entry that was cut off; zero if none was.
    pub fn cut(&self) -> u64 {
        self.first - 1
    }

    /// Whether nothing was ever written to it.
    fn is_untouched(&self) -> bool {
        self.first == 1 && self.last == 0 && self.term == 0
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Begin with nothing.
    Fresh,
    /// Begin with nothing, and wait to be added to the cluster.
    Join,
    /// Go on with the store, and apply the log from there.
    Replay {
        /// The first entry to apply.
        from: u64,
    },
    /// Set the store aside and go on without it.
    SetAside {
        /// What is wrong with it.
        finding: Finding,
        /// How to go on.
        then: WithoutState,
    },
    /// There is no store; go on without it.
    NoState(WithoutState),
    /// Do not start.
    Refuse(Refusal),
}

/// How to come to a state when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutState {
    /// Apply the whole raft log, from entry 1 on, to a fresh store.
    ReplayAll,
    /// Follow without campaigning until a peer's snapshot is installed.
    Rebuild,
}

/// Why a store is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It does not open.
    Broken {
        /// The words of the engine or of the store.
        cause: String,
    },
    /// It opens, but has lost what it had flushed.
    ProvesTooLittle {
        /// The applied index that it proves.
        proves: u64,
        /// What it had flushed at least: the file says so, or the raft log was cut there.
        flushed: u64,
    },
    /// Nothing says what it had flushed.
    FlushedIndexDamaged,
    /// It belongs to an engine that is configured no more, and is to be fetched anew.
    NotWanted,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Broken { cause } => write!(formatter, "the store does not open: {cause}"),
            Finding::ProvesTooLittle { proves, flushed } => write!(
                formatter,
                "the store proves applied index {proves}, but had flushed at least {flushed}"
            ),
            Finding::FlushedIndexDamaged => {
                write!(formatter, "the file that says what the store had flushed is damaged")
            }
            Finding::NotWanted => write!(formatter, "the store belongs to another engine than configured"),
        }
    }
}

/// Why a replica does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The raft log must have lost entries that were acknowledged: an entry is applied only after it is durable
    /// there.
    #[error(
        "the store holds applied index {proves}, but the raft log ends at {last}: the log has lost entries that \
         this replica acknowledged"
    )]
    LogBehindStore {
        /// The applied index that the store proves.
        proves: u64,
        /// The last entry of the log.
        last: u64,
    },
    /// The raft log must have lost entries that were acknowledged: what is flushed was applied, and so durable there.
    #[error(
        "the store had flushed up to index {flushed}, but the raft log ends at {last}: the log has lost entries \
         that this replica acknowledged"
    )]
    LogBehindFlushed {
        /// What the store had flushed.
        flushed: u64,
        /// The last entry of the log.
        last: u64,
    },
    /// The state is gone, and the only replica cannot fetch it from anybody.
    #[error("the state up to index {} is gone, and there is no peer to fetch it from ({finding})", log_first - 1)]
    NobodyToAsk {
        /// The first entry that the raft log holds.
        log_first: u64,
        /// What is wrong with the store.
        finding: String,
    },
    /// The data directory belongs to another engine, and nothing says what to do about that.
    #[error(
        "the data directory belongs to {found}, but {wanted} is configured; set the engine to {found}, or allow \
         the change by converting in place or by fetching the state from a peer"
    )]
    EngineMismatch {
        /// The engine it belongs to.
        found: engines::EngineId,
        /// The engine configured.
        wanted: engines::EngineId,
    },
    /// Release 1 cannot convert a store of an engine that it does not know.
    #[error("release 1 knows no engine but sled, and cannot convert a data directory of {found}")]
    EngineUnknownToRelease {
        /// The engine it belongs to.
        found: engines::EngineId,
    },
}

/// The table.
pub fn decide(found: &Found) -> Decision {
    let Found { engine, log, flushed, cluster } = found;
    let flushed_index = match flushed {
        FlushedIndex::Absent | FlushedIndex::Damaged => 0,
        FlushedIndex::Known(index) => *index,
    };
    if flushed_index > log.last {
        return Decision::Refuse(Refusal::LogBehindFlushed { flushed: flushed_index, last: log.last });
    }
    let has_peers = match cluster {
        Cluster::Unknown => return Decision::Join,
        Cluster::Alone => false,
        Cluster::HasPeers => true,
    };
    let flushed_index = flushed_index.max(log.cut());
    let without_state = |finding: Option<&Finding>| match (log.first, has_peers) {
        (1, _) => Ok(WithoutState::ReplayAll),
        (_, true) => Ok(WithoutState::Rebuild),
        (log_first, false) => Err(Decision::Refuse(Refusal::NobodyToAsk {
            log_first,
            finding: finding.map_or_else(|| "there is no store".to_owned(), Finding::to_string),
        })),
    };
    let set_aside = |finding: Finding| match without_state(Some(&finding)) {
        Ok(then) => Decision::SetAside { finding, then },
        Err(refusal) => refusal,
    };
    match engine {
        EngineState::Absent if log.is_untouched() => Decision::Fresh,
        EngineState::Opens { proves: 0 } if log.is_untouched() && *flushed != FlushedIndex::Damaged => {
            Decision::Fresh
        }
        EngineState::Absent => without_state(None).map_or_else(|refusal| refusal, Decision::NoState),
        EngineState::Unusable(finding) => set_aside(finding.clone()),
        EngineState::Opens { proves } if *proves > log.last => {
            Decision::Refuse(Refusal::LogBehindStore { proves: *proves, last: log.last })
        }
        EngineState::Opens { .. } if *flushed == FlushedIndex::Damaged => {
            set_aside(Finding::FlushedIndexDamaged)
        }
        EngineState::Opens { proves } if *proves < flushed_index => {
            set_aside(Finding::ProvesTooLittle { proves: *proves, flushed: flushed_index })
        }
        EngineState::Opens { proves } => Decision::Replay { from: proves + 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> EngineState {
        EngineState::Unusable(Finding::Broken { cause: "checksum".to_owned() })
    }

    /// One line for a decision.
    fn check(engine: EngineState, log: (u64, u64, u64), flushed: FlushedIndex, has_peers: bool) -> String {
        let (first, last, term) = log;
        let cluster = if has_peers { Cluster::HasPeers } else { Cluster::Alone };
        let decision = decide(&Found { engine, log: LogState { first, last, term }, flushed, cluster });
        match decision {
            Decision::Join => unreachable!("the members are known"),
            Decision::Fresh => "fresh".to_owned(),
            Decision::Replay { from } => format!("replay from {from}"),
            Decision::NoState(then) => format!("{then:?}"),
            Decision::SetAside { finding: Finding::Broken { .. }, then } => format!("broken, {then:?}"),
            Decision::SetAside { finding: Finding::NotWanted, then } => format!("not wanted, {then:?}"),
            Decision::SetAside { finding: Finding::ProvesTooLittle { proves, flushed }, then } => {
                format!("proves {proves} of {flushed}, {then:?}")
            }
            Decision::SetAside { finding: Finding::FlushedIndexDamaged, then } => {
                format!("damaged, {then:?}")
            }
            Decision::Refuse(Refusal::LogBehindFlushed { flushed, last }) => {
                format!("refuse flushed {flushed} > {last}")
            }
            Decision::Refuse(Refusal::LogBehindStore { proves, last }) => format!("refuse {proves} > {last}"),
            Decision::Refuse(Refusal::NobodyToAsk { log_first, .. }) => {
                format!("refuse alone under {log_first}")
            }
            Decision::Refuse(Refusal::EngineMismatch { .. } | Refusal::EngineUnknownToRelease { .. }) => {
                unreachable!("decided before the table")
            }
        }
    }

    #[test]
    fn each_row_of_the_table() {
        use EngineState::{Absent, Opens, Unusable};
        /// The store; the raft log's first index, last index and term; whether there are peers; the decision.
        type Row = (EngineState, (u64, u64, u64), bool, &'static str);
        let rows: &[Row] = &[
            // Nothing yet, or a crash before the first entry.
            (Absent, (1, 0, 0), true, "fresh"),
            (Opens { proves: 0 }, (1, 0, 0), true, "fresh"),
            (Opens { proves: 0 }, (1, 0, 0), false, "fresh"),
            // A vote was cast, but there is no entry yet.
            (Opens { proves: 0 }, (1, 0, 1), true, "replay from 1"),
            (Absent, (1, 0, 1), true, "ReplayAll"),
            // The ordinary restart, at both ends of what the log can replay.
            (Opens { proves: 0 }, (1, 9, 2), true, "replay from 1"),
            (Opens { proves: 9 }, (1, 9, 2), true, "replay from 10"),
            (Opens { proves: 4 }, (5, 9, 2), true, "replay from 5"),
            (Opens { proves: 9 }, (5, 9, 2), true, "replay from 10"),
            // A log without entries, after a snapshot at 9.
            (Opens { proves: 9 }, (10, 9, 2), true, "replay from 10"),
            (Opens { proves: 8 }, (10, 9, 2), true, "proves 8 of 9, Rebuild"),
            (Opens { proves: 10 }, (10, 9, 2), true, "refuse 10 > 9"),
            // The store has lost what it had flushed.
            (Opens { proves: 3 }, (5, 9, 2), true, "proves 3 of 4, Rebuild"),
            (Opens { proves: 0 }, (5, 9, 2), true, "proves 0 of 4, Rebuild"),
            (Opens { proves: 3 }, (5, 9, 2), false, "refuse alone under 5"),
            // The log has lost what was applied.
            (Opens { proves: 10 }, (5, 9, 2), true, "refuse 10 > 9"),
            (Opens { proves: 1 }, (1, 0, 0), true, "refuse 1 > 0"),
            // The store does not open.
            (broken(), (1, 0, 0), true, "broken, ReplayAll"),
            (broken(), (1, 9, 2), true, "broken, ReplayAll"),
            (broken(), (1, 9, 2), false, "broken, ReplayAll"),
            (broken(), (5, 9, 2), true, "broken, Rebuild"),
            (broken(), (5, 9, 2), false, "refuse alone under 5"),
            // A crash after the store was set aside, before the rebuild was done.
            (Absent, (1, 9, 2), true, "ReplayAll"),
            (Absent, (5, 9, 2), true, "Rebuild"),
            (Absent, (5, 9, 2), false, "refuse alone under 5"),
            // The engine was changed, and the state is to be fetched anew.
            (Unusable(Finding::NotWanted), (5, 9, 2), true, "not wanted, Rebuild"),
            (Unusable(Finding::NotWanted), (1, 9, 2), true, "not wanted, ReplayAll"),
        ];
        for (engine, log, has_peers, expected) in rows {
            // The log was cut where the store had flushed, or no file says more than the log does.
            for flushed in [FlushedIndex::Absent, FlushedIndex::Known(log.0 - 1)] {
                let decision = check(engine.clone(), *log, flushed, *has_peers);
                assert_eq!(decision, *expected, "{engine:?} {log:?} {flushed:?} {has_peers}");
            }
        }
    }

    #[test]
    fn whoever_knows_no_member_joins_whatever_its_log_holds() {
        for (first, last, term) in [(1, 0, 0), (1, 0, 3), (1, 9, 3)] {
            let log = LogState { first, last, term };
            let found = Found {
                engine: EngineState::Absent,
                log,
                flushed: FlushedIndex::Absent,
                cluster: Cluster::Unknown,
            };
            assert_eq!(decide(&found), Decision::Join, "{log:?}");
        }
    }

    #[test]
    fn each_row_that_the_flushed_index_decides() {
        use EngineState::{Absent, Opens};
        use FlushedIndex::{Damaged, Known};
        type Row = (EngineState, (u64, u64, u64), FlushedIndex, bool, &'static str);
        let rows: &[Row] = &[
            // The ordinary restart: the tables hold what was flushed, and perhaps more.
            (Opens { proves: 7 }, (5, 9, 2), Known(7), true, "replay from 8"),
            (Opens { proves: 9 }, (5, 9, 2), Known(7), true, "replay from 10"),
            (Opens { proves: 7 }, (1, 9, 2), Known(7), false, "replay from 8"),
            // The tables lost what was flushed, though the log could still replay it.
            (Opens { proves: 6 }, (5, 9, 2), Known(7), true, "proves 6 of 7, Rebuild"),
            (Opens { proves: 6 }, (5, 9, 2), Known(7), false, "refuse alone under 5"),
            (Opens { proves: 6 }, (1, 9, 2), Known(7), false, "proves 6 of 7, ReplayAll"),
            (Opens { proves: 0 }, (1, 9, 2), Known(1), true, "proves 0 of 1, ReplayAll"),
            // The file is older than the cut of the log.
            (Opens { proves: 4 }, (5, 9, 2), Known(3), true, "replay from 5"),
            (Opens { proves: 3 }, (5, 9, 2), Known(3), true, "proves 3 of 4, Rebuild"),
            // Nothing says what was flushed.
            (Opens { proves: 7 }, (5, 9, 2), Damaged, true, "damaged, Rebuild"),
            (Opens { proves: 7 }, (1, 9, 2), Damaged, true, "damaged, ReplayAll"),
            (Opens { proves: 7 }, (5, 9, 2), Damaged, false, "refuse alone under 5"),
            (Opens { proves: 0 }, (1, 0, 0), Damaged, true, "damaged, ReplayAll"),
            (Opens { proves: 10 }, (5, 9, 2), Damaged, true, "refuse 10 > 9"),
            (broken(), (5, 9, 2), Damaged, true, "broken, Rebuild"),
            (Absent, (5, 9, 2), Damaged, true, "Rebuild"),
            // The log has lost what was applied, and no store needs to say so.
            (Absent, (1, 0, 0), Known(1), true, "refuse flushed 1 > 0"),
            (Absent, (5, 9, 2), Known(10), true, "refuse flushed 10 > 9"),
            (broken(), (5, 9, 2), Known(10), true, "refuse flushed 10 > 9"),
            (Opens { proves: 9 }, (5, 9, 2), Known(10), true, "refuse flushed 10 > 9"),
            // The store was set aside, and the file tells of it.
            (Absent, (1, 9, 2), Known(7), true, "ReplayAll"),
            (Absent, (5, 9, 2), Known(7), true, "Rebuild"),
            (broken(), (1, 9, 2), Known(7), true, "broken, ReplayAll"),
        ];
        for (engine, log, flushed, has_peers, expected) in rows {
            let decision = check(engine.clone(), *log, *flushed, *has_peers);
            assert_eq!(decision, *expected, "{engine:?} {log:?} {flushed:?} {has_peers}");
        }
    }

    /// Every combination of small numbers, judged by what must hold of any decision.
    #[test]
    fn no_combination_serves_less_than_was_applied_or_uses_a_log_that_lost_something() {
        let mut engines = vec![EngineState::Absent, broken(), EngineState::Unusable(Finding::NotWanted)];
        engines.extend((0..=5).map(|proves| EngineState::Opens { proves }));
        let mut combinations = 0;
        for engine in &engines {
            for first in 1..=5 {
                for last in first - 1..=5 {
                    for term in 0..=2 {
                        for (flushed, cluster) in flushed_and_clusters() {
                            let log = LogState { first, last, term };
                            let found = Found { engine: engine.clone(), log, flushed, cluster };
                            must_hold(&found, &decide(&found));
                            combinations += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(combinations, 9 * 20 * 3 * 8 * 3);
    }

    fn flushed_and_clusters() -> Vec<(FlushedIndex, Cluster)> {
        let mut flushed = vec![FlushedIndex::Absent, FlushedIndex::Damaged];
        flushed.extend((0..=5).map(FlushedIndex::Known));
        let clusters = [Cluster::Unknown, Cluster::Alone, Cluster::HasPeers];
        flushed.into_iter().flat_map(|flushed| clusters.map(|cluster| (flushed, cluster))).collect()
    }

    fn must_hold(found: &Found, decision: &Decision) {
        let log = &found.log;
        let flushed = match found.flushed {
            FlushedIndex::Absent | FlushedIndex::Damaged => 0,
            FlushedIndex::Known(index) => index,
        };
        // A log that lost what was applied is never used.
        assert_eq!(
            flushed > log.last,
            matches!(decision, Decision::Refuse(Refusal::LogBehindFlushed { .. })),
        );
        // Whoever knows no member uses nothing that it finds, unless it must not start at all.
        assert_eq!(
            found.cluster == Cluster::Unknown && flushed <= log.last,
            matches!(decision, Decision::Join),
        );
        match decision {
            Decision::Join => {}
            Decision::Fresh => {
                assert!(log.is_untouched() && flushed == 0);
                assert!(matches!(found.engine, EngineState::Absent | EngineState::Opens { proves: 0 }));
            }
            // Every entry that the store lacks is in the log, and none that it has is missing there.
            Decision::Replay { from } => {
                assert_eq!(found.engine, EngineState::Opens { proves: from - 1 });
                assert!(log.first <= *from && *from <= log.last + 1);
                assert!(*from > flushed, "a store that lost what it had flushed is not used");
                assert_ne!(found.flushed, FlushedIndex::Damaged);
            }
            Decision::SetAside { then, finding } => {
                assert!(match &found.engine {
                    EngineState::Absent => false,
                    EngineState::Unusable(expected) => finding == expected,
                    EngineState::Opens { proves } => {
                        found.flushed == FlushedIndex::Damaged || *proves < flushed.max(log.first - 1)
                    }
                });
                assert_eq!(*then == WithoutState::ReplayAll, log.first == 1);
            }
            Decision::NoState(then) => {
                assert_eq!(found.engine, EngineState::Absent);
                assert_eq!(*then == WithoutState::ReplayAll, log.first == 1);
            }
            Decision::Refuse(Refusal::LogBehindStore { proves, last }) => assert!(proves > last),
            Decision::Refuse(Refusal::LogBehindFlushed { .. }) => {}
            Decision::Refuse(Refusal::NobodyToAsk { .. }) => {
                assert!(found.cluster == Cluster::Alone && log.first > 1);
            }
            Decision::Refuse(other) => panic!("{other}"),
        }
        let rebuilds = matches!(
            decision,
            Decision::NoState(WithoutState::Rebuild) | Decision::SetAside { then: WithoutState::Rebuild, .. }
        );
        assert!(!rebuilds || found.cluster == Cluster::HasPeers);
    }
}
