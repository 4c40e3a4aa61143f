//! Comparison of states between replicas: what an engine does not notice of its own damage, its peers do.
//!
//! At equal applied index all replicas have equal logical hashes. So each tells its peers the hash of its state
//! at every so many entries, where they are busy, and after every so much time, where they are not. Whoever finds
//! that a quorum of its peers agrees on another hash than its own sets its store aside and begins without a
//! state: see [`super::run`]. It keeps its vote and its log, for what is acknowledged there is not in question.
//! Where no quorum agrees, nobody can tell who is right, and nothing is done.
//!
//! Release 1 knows nothing of this: it tells nobody, and is told nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use snapshots::Release;

use super::Replica;
use crate::directory::Directory;
use crate::error::ReplicaError;
use crate::observer::{Observer, ReplicaEvent};

/// Hashes that are remembered of each replica: enough for one that lags a little.
const REMEMBERED: usize = 8;

/// The logical hash of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateHash {
    pub(crate) applied_index: u64,
    pub(crate) hash: u64,
}

/// A state that a quorum of the peers contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Divergence {
    applied_index: u64,
    own: u64,
    theirs: u64,
}

/// What is known of everybody's states.
#[derive(Debug)]
pub(super) struct Comparison {
    own: Hashes,
    peers: BTreeMap<u64, Hashes>,
    next: Instant,
    found: Option<Divergence>,
}

/// The last hashes of one replica, by applied index.
#[derive(Debug, Default)]
struct Hashes(BTreeMap<u64, u64>);

impl Hashes {
    fn insert(&mut self, state: StateHash) {
        self.0.insert(state.applied_index, state.hash);
        if self.0.len() > REMEMBERED {
            self.0.pop_first();
        }
    }

    fn at(&self, applied_index: u64) -> Option<u64> {
        self.0.get(&applied_index).copied()
    }
}

impl Comparison {
    pub(super) fn new(first: Instant) -> Comparison {
        Comparison { own: Hashes::default(), peers: BTreeMap::new(), next: first, found: None }
    }

    /// What was told of this replica's state was told of another one.
    pub(super) fn forget_own(&mut self) {
        self.own = Hashes::default();
        self.found = None;
    }

    /// The peers that agree on another hash than this replica has at an index, with that hash: the most of them.
    fn against(&self, applied_index: u64) -> Option<(Divergence, Vec<u64>)> {
        let own = self.own.at(applied_index)?;
        let mut camps: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (peer, hashes) in &self.peers {
            if let Some(hash) = hashes.at(applied_index).filter(|hash| *hash != own) {
                camps.entry(hash).or_default().push(*peer);
            }
        }
        let (theirs, peers) = camps.into_iter().max_by_key(|(_, peers)| peers.len())?;
        Some((Divergence { applied_index, own, theirs }, peers))
    }
}

impl Replica {
    /// Tells the peers the hash of this replica's state.
    pub(super) fn tell_state_hash(&mut self, state: StateHash) {
        if self.config.release == Release::One {
            return;
        }
        let frame = self.frames.state_hash(state);
        for peer in self.peers.ids().collect::<Vec<_>>() {
            if self.peers.knows_release_two(peer) {
                self.transport.send(peer, frame.clone());
            }
        }
        self.comparison.own.insert(state);
        self.compare(state.applied_index);
    }

    /// Takes the hash of a peer's state.
    pub(super) fn hear_state_hash(&mut self, from: u64, state: StateHash) {
        self.comparison.peers.entry(from).or_default().insert(state);
        self.compare(state.applied_index);
    }

    fn compare(&mut self, applied_index: u64) {
        if let Some((divergence, peers)) = self.comparison.against(applied_index)
            && self.node.raft.prs().has_quorum(&peers.into_iter().collect())
        {
            self.comparison.found = Some(divergence);
        }
    }

    /// Tells the hash of the state when it is time to, also where nothing is applied meanwhile. Called at every
    /// tick.
    pub(super) fn see_to_comparison(&mut self, now: Instant) -> Result<(), ReplicaError> {
        if now < self.comparison.next {
            return Ok(());
        }
        self.comparison.next = now + self.config.timing.compare_interval;
        self.report_state_hash()
    }

    /// Ends the service of a state that a quorum of the peers contradicts.
    ///
    /// # Errors
    /// `Diverged`.
    pub(super) fn check_divergence(&mut self) -> Result<(), ReplicaError> {
        match (self.comparison.found.take(), &self.store) {
            (Some(Divergence { applied_index, own, theirs }), Some(_)) => {
                Err(ReplicaError::Diverged { applied_index, own, theirs })
            }
            (Some(_) | None, _) => Ok(()),
        }
    }
}

/// Sets the store aside that a quorum of the peers has contradicted. The next start does without.
pub(super) fn set_aside(
    config: &crate::config::ReplicaConfig,
    observer: &dyn Observer,
    divergence: (u64, u64, u64),
) -> Result<(), ReplicaError> {
    let (applied_index, own, theirs) = divergence;
    let set_aside = Directory::at(&config.directory).set_store_aside()?;
    let engine = config.engine;
    observer.event(&ReplicaEvent::StoreDiverged { engine, applied_index, own, theirs, set_aside });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(own: &[(u64, u64)], peers: &[(u64, u64, u64)]) -> Comparison {
        let mut comparison = Comparison::new(Instant::now());
        for &(applied_index, hash) in own {
            comparison.own.insert(StateHash { applied_index, hash });
        }
        for &(peer, applied_index, hash) in peers {
            comparison.peers.entry(peer).or_default().insert(StateHash { applied_index, hash });
        }
        comparison
    }

    #[test]
    fn those_who_agree_on_another_hash_stand_against_this_replica() {
        let comparison = comparison(&[(64, 7)], &[(2, 64, 8), (3, 64, 8), (4, 64, 9), (5, 64, 7)]);
        let divergence = Divergence { applied_index: 64, own: 7, theirs: 8 };
        assert_eq!(comparison.against(64), Some((divergence, vec![2, 3])));
        assert_eq!(comparison.against(128), None, "this replica has not been there");
    }

    #[test]
    fn only_the_last_word_of_each_counts_and_old_ones_are_forgotten() {
        let one = comparison(&[(64, 7)], &[(2, 64, 8), (2, 64, 7)]);
        assert_eq!(one.against(64), None);
        let many: Vec<_> = (1..=20).map(|index| (index, index)).collect();
        let mut many = comparison(&many, &[(2, 1, 0), (2, 20, 0)]);
        assert_eq!(many.against(1), None);
        assert!(many.against(20).is_some());
        many.forget_own();
        assert_eq!(many.against(20), None);
    }
}
