//! One replica: a single loop on a single thread.
//!
//! A round of the loop takes what has come in, advances raft's clock, carries out what the raft core has ready
//! (one fsync for all that came), applies what is committed, answers clients, and sees to flushes and snapshot
//! streams. The raft core does no I/O; nothing but this loop touches the disk or the network.

mod applying;
mod calls;
mod compacting;
mod comparing;
mod flushing;
mod inbound;
mod leases;
mod members;
mod proposals;
mod reads;
mod ready;
mod rebuild;
mod receiving;
mod sending;
mod space;
mod watching;

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raft::eraftpb::SnapshotMetadata;
use raft::{ReadOnlyOption, StateRole};

use crate::ballast::Ballast;
use crate::client::{Outcome, Reply, encode_reply};
use crate::config::ReplicaConfig;
use crate::design;
use crate::directory::Directory;
use crate::error::ReplicaError;
use crate::frame::FrameWriter;
use crate::hello::Hello;
use crate::lease::Lessor;
use crate::membership::Membership;
use crate::mvcc::Store;
use crate::observer::{Observer, Recovery, ReplicaEvent};
use crate::peers::Peers;
use crate::raft_log::RaftLog;
use crate::snapshot_receive::Receiving;
use crate::snapshot_send::Sending;
use crate::startup;
use crate::transport::Transport;
use crate::watch::Watches;

use calls::Handover;
use compacting::Forgetting;
use comparing::Comparison;
pub(crate) use comparing::StateHash;
use flushing::Flushing;
use inbound::Taken;
use proposals::Proposals;
use reads::Reads;
use rebuild::Rebuild;
use receiving::Staged;

/// Runs a replica on this thread until its machine is gone. One that runs out of space begins anew with what its
/// ballast gives back, and waits for more if that is not enough.
///
/// # Errors
/// Why it stopped. [`ReplicaError::restart_may_help`] says whether to start it again on the same directory. A
/// panic is returned as [`ReplicaError::Panicked`].
pub fn run(
    config: ReplicaConfig,
    transport: Box<dyn Transport>,
    observer: Arc<dyn Observer>,
) -> Result<(), ReplicaError> {
    // The replica is not used again after a panic: only what is on the disk counts then.
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| live(&config, &Rc::from(transport), &observer)));
    outcome.unwrap_or_else(|payload| Err(ReplicaError::Panicked { message: panic_text(&*payload) }))
}

/// Runs a replica until its machine is gone, with a new beginning whenever it is out of space, or its state is contradicted.
fn live(
    config: &ReplicaConfig,
    transport: &Rc<dyn Transport>,
    observer: &Arc<dyn Observer>,
) -> Result<(), ReplicaError> {
    loop {
        let error = match Replica::start(config.clone(), Rc::clone(transport), Arc::clone(observer)) {
            Err(error) => error,
            Ok(mut replica) => match replica.run() {
                Ok(()) => return replica.close(),
                Err(error) if error.is_out_of_space() => {
                    replica.abandon("the disk of this replica is full");
                    error
                }
                Err(ReplicaError::Diverged { applied_index, own, theirs }) => {
                    replica.abandon("the state of this replica is damaged");
                    comparing::set_aside(config, &**observer, (applied_index, own, theirs))?;
                    continue;
                }
                Err(error) => error,
            },
        };
        if !error.is_out_of_space() {
            return Err(error);
        }
        let directory = Directory::at(&config.directory);
        let had_ballast = Ballast::find(&directory, config.limits.ballast_bytes)?.release()?;
        observer.event(&ReplicaEvent::OutOfSpace { error: error.to_string(), had_ballast });
        if !had_ballast && !space::wait_for_space(&**transport, config.timing.space_check_interval) {
            return Ok(());
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "not a text".to_owned()
    }
}

/// Everything a running replica holds.
struct Replica {
    config: ReplicaConfig,
    directory: Directory,
    transport: Rc<dyn Transport>,
    observer: Arc<dyn Observer>,
    hello: Hello,
    frames: FrameWriter,
    node: raft::RawNode<RaftLog>,
    /// `None` while the state is being rebuilt.
    store: Option<Store>,
    peers: Peers,
    proposals: Proposals,
    reads: Reads,
    /// Clients that wait for the end of a compaction.
    forgetting: Vec<Forgetting>,
    handovers: Vec<Handover>,
    lessor: Lessor,
    watches: Watches,
    flushing: Flushing,
    sendings: Vec<Sending>,
    /// How many snapshot streams were begun.
    attempts: u64,
    receiving: Option<Receiving>,
    /// A snapshot that is laid out and was given to the raft core.
    staged: Option<Staged>,
    /// One that was acknowledged before it was installed; only the wrong design has any.
    uninstalled: Option<(Staged, SnapshotMetadata)>,
    rebuild: Option<Rebuild>,
    /// Whether the joint configuration in effect was proposed here, and is not left yet.
    has_entered_joint: bool,
    /// What was acknowledged before it was synced; only the wrong design has any.
    unsynced: bool,
    next_tick: Instant,
    /// Since when no leader is known; looked at once a tick.
    leaderless_since: Option<Instant>,
    ballast: Ballast,
    next_space_check: Instant,
    comparison: Comparison,
}

impl Replica {
    fn start(
        config: ReplicaConfig,
        transport: Rc<dyn Transport>,
        observer: Arc<dyn Observer>,
    ) -> Result<Replica, ReplicaError> {
        config.check()?;
        let directory = Directory::create(&config.directory)?;
        let startup::Ready { log, store, recovery, flushed } =
            startup::start(&config, &directory, &*observer)?;
        let applied = store.as_ref().map_or(0, Store::applied_index);
        let peers = Membership::of(log.conf_state()).ids().into_iter().chain(config.peers.iter().copied());
        let peers = peers.collect::<BTreeSet<u64>>();
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = raft::RawNode::new(&raft_config(&config, applied), log, &logger)?;
        let hello = Hello::of_this_start(config.release, config.engine);
        let mut ballast = Ballast::find(&directory, config.limits.ballast_bytes)?;
        ballast.restore()?;
        let mut replica = Replica {
            directory,
            transport,
            observer,
            frames: FrameWriter::new(&hello),
            hello,
            node,
            peers: Peers::new(config.id, peers),
            proposals: Proposals::default(),
            reads: Reads::default(),
            forgetting: Vec::new(),
            handovers: Vec::new(),
            lessor: Lessor::new(&config.design),
            watches: Watches::new(config.limits, &config.design),
            flushing: Flushing::new(flushed, applied),
            sendings: Vec::new(),
            attempts: 0,
            receiving: None,
            staged: None,
            uninstalled: None,
            rebuild: match recovery {
                Recovery::Rebuild | Recovery::Join => Some(Rebuild::default()),
                Recovery::Fresh | Recovery::Replay { .. } => None,
            },
            has_entered_joint: false,
            unsynced: false,
            next_tick: Instant::now() + config.timing.tick,
            leaderless_since: None,
            ballast,
            next_space_check: Instant::now(),
            comparison: Comparison::new(Instant::now() + config.timing.compare_interval),
            store,
            config,
        };
        replica.report_start(recovery)?;
        Ok(replica)
    }

    fn report_start(&mut self, recovery: Recovery) -> Result<(), ReplicaError> {
        let (log, raft) = (self.node.store(), &self.node.raft);
        self.observer.event(&ReplicaEvent::Started {
            hello: self.hello,
            recovery,
            applied_index: self.applied_index(),
            log_first: log.first_index(),
            log_last: log.last_index(),
            term: raft.term,
            vote: raft.vote,
            commit: raft.raft_log.committed,
        });
        self.report_membership();
        self.report_compaction(None);
        self.report_state_hash()
    }

    fn run(&mut self) -> Result<(), ReplicaError> {
        let hello = self.frames.hello();
        for peer in self.peers.ids() {
            self.transport.send(peer, hello.clone());
        }
        loop {
            match self.take_inbound()? {
                Taken::Closed => return Ok(()),
                Taken::Open => {}
            }
            self.install_what_is_left()?;
            self.tick_if_due()?;
            self.answer_snapshot_requests();
            self.issue_reads();
            self.carry_out_ready()?;
            self.leave_joint();
            self.serve_reads()?;
            self.serve_watches()?;
            self.compact_step()?;
            self.see_to_flushes()?;
            self.pump_sendings();
            self.check_divergence()?;
        }
    }

    /// Leaves the store with all that it has applied.
    fn close(self) -> Result<(), ReplicaError> {
        if let Some(mut store) = self.store {
            store.flush()?;
            store.close()?;
        }
        Ok(())
    }

    /// How long the loop may wait for something to come in.
    fn patience(&self, now: Instant) -> Duration {
        let is_busy = self.node.has_ready()
            || self.has_unfinished_sendings()
            || self.has_watches_to_serve()
            || self.is_compacting();
        if is_busy {
            return Duration::ZERO;
        }
        let deadline = self
            .flushing
            .deadline(&self.config.timing)
            .map_or(self.next_tick, |flush| flush.min(self.next_tick));
        deadline.saturating_duration_since(now)
    }

    /// Advances raft's clock by the ticks that have passed, or by some of them if the replica was kept from
    /// running: what a pause costs is made known by the messages that waited, which were taken before.
    fn tick_if_due(&mut self) -> Result<(), ReplicaError> {
        let now = Instant::now();
        let mut ticks = 0;
        while self.next_tick <= now {
            self.next_tick += self.config.timing.tick;
            ticks += 1;
            if ticks > self.config.timing.ticks_made_up_max {
                self.next_tick = now + self.config.timing.tick;
            }
        }
        for _ in 0..ticks.min(self.config.timing.ticks_made_up_max.max(1)) {
            match self.rebuild {
                None => {
                    self.node.tick();
                }
                Some(_) => self.tick_without_state(),
            }
        }
        if ticks > 0 {
            self.expire_requests(now);
            self.retry_reads();
            self.expire_sendings(now);
            self.forget_requests_ahead();
            self.answer_handovers(now);
            self.see_to_leader(now);
            self.see_to_leases();
            self.see_to_space(now)?;
            self.see_to_comparison(now)?;
        }
        Ok(())
    }

    /// Whether this replica leads the cluster, and belongs to it.
    fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader && self.is_member()
    }

    /// Who leads, as far as this replica knows. Without belonging to the cluster it does not know.
    fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|leader| *leader != raft::INVALID_ID && self.is_member())
    }

    /// What the store has applied; zero while there is none.
    fn applied_index(&self) -> u64 {
        self.store.as_ref().map_or(0, Store::applied_index)
    }

    fn reply(&self, client: u64, id: u64, outcome: Outcome) {
        self.transport.send(client, encode_reply(Reply { id, outcome }));
    }

    /// Tells the observer and the peers what the state is.
    fn report_state_hash(&mut self) -> Result<(), ReplicaError> {
        if let Some(store) = &self.store {
            let (applied_index, revision, hash) = (store.applied_index(), store.revision(), store.hash()?);
            self.observer.event(&ReplicaEvent::StateHash { applied_index, revision, hash });
            self.tell_state_hash(StateHash { applied_index, hash });
        }
        Ok(())
    }
}

fn raft_config(config: &ReplicaConfig, applied: u64) -> raft::Config {
    raft::Config {
        id: config.id,
        election_tick: config.timing.election_ticks,
        heartbeat_tick: config.timing.heartbeat_ticks,
        applied,
        max_size_per_msg: config.limits.message_bytes,
        max_inflight_msgs: config.limits.messages_in_flight,
        check_quorum: true,
        pre_vote: true,
        read_only_option: match config.design.reads {
            design::Reads::ReadIndex | design::Reads::Local => ReadOnlyOption::Safe,
            design::Reads::Lease => ReadOnlyOption::LeaseBased,
        },
        // Followers learn of a commit with the next entries or heartbeat: they serve nobody, and the separate
        // messages would double the traffic.
        skip_bcast_commit: true,
        // It makes appends that the receiver acknowledges without having all of their entries: see the test in
        // `inbound`. The proposals of a round are proposed together instead.
        batch_append: false,
        max_uncommitted_size: config.limits.uncommitted_bytes.max(config.limits.message_bytes),
        ..raft::Config::default()
    }
}
