//! Raft's invariants, over what replicas report of themselves (D. Ongaro, "Consensus: Bridging Theory and
//! Practice", 2014, figure 3.2):
//! - election safety: a term has at most one leader;
//! - log matching: entries of the same index and term are the same, and so are those before them;
//! - leader completeness: a leader's log reaches over every entry committed in an earlier term;
//! - state-machine safety: no two replicas apply different entries at the same index;
//! - within an incarnation, term, commit and applied index never go back, and no entry is left out;
//! - a node votes once per term, restarts or not, and a restart forgets no vote;
//! - the members are the same for all: a configuration takes effect with its entry and stays until the next one, on
//!   every node that has applied as much, restarts or not.
//!
//! None of them asks how many nodes there are, or which of them vote: quorums are the business of the nodes, and two
//! that do not meet show in the other invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::verdict::{Check, Violation};

/// Something that a replica reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftEvent {
    /// The replica.
    pub node: u64,
    /// Which life of the replica.
    pub incarnation: u64,
    /// When, in virtual nanoseconds; for evidence only.
    pub at_ns: u64,
    /// What.
    pub kind: RaftEventKind,
}

/// What a replica reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftEventKind {
    /// It starts, with what it found on its disk.
    Started {
        /// Its term.
        term: u64,
        /// Whom it voted for in that term; zero: nobody.
        vote: u64,
        /// What it knows to be committed.
        commit: u64,
        /// What its store has applied.
        applied: u64,
    },
    /// It relies on this hard state: synced, or told to others.
    HardState {
        /// Its term.
        term: u64,
        /// Whom it voted for in that term; zero: nobody.
        vote: u64,
        /// What it knows to be committed.
        commit: u64,
    },
    /// It was elected.
    BecameLeader {
        /// The term it leads in.
        term: u64,
        /// The last entry of its log, before any entry of its own term.
        last_index: u64,
        /// The term of that entry.
        last_term: u64,
    },
    /// It put an entry into its log, in the place of whatever stood there and after. Reports of these are
    /// optional; without them log matching is checked on the entries applied.
    Appended(Entry),
    /// It applied an entry to its store.
    Applied(Entry),
    /// It goes by this configuration from now on, or still does after a start.
    Configured(Configuration),
    /// It replaced its store and its log by a snapshot.
    SnapshotInstalled {
        /// The last entry that the snapshot includes.
        index: u64,
    },
}

impl fmt::Display for RaftEventKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let for_whom = |vote: u64| if vote == 0 { "nobody".to_owned() } else { format!("node {vote}") };
        match self {
            Self::Started { term, vote, commit, applied } => write!(
                formatter,
                "started in term {term}, its vote for {}, {commit} committed and {applied} applied",
                for_whom(*vote)
            ),
            Self::HardState { term, vote, commit } => {
                write!(
                    formatter,
                    "relies on term {term}, its vote for {}, {commit} committed",
                    for_whom(*vote)
                )
            }
            Self::BecameLeader { term, last_index, last_term } => write!(
                formatter,
                "was elected leader of term {term}, its log ending with entry {last_index} of term {last_term}"
            ),
            Self::Appended(entry) => write!(formatter, "took {entry} into its log"),
            Self::Applied(entry) => write!(formatter, "applied {entry}"),
            Self::Configured(Configuration { index, voters, outgoing, learners }) => write!(
                formatter,
                "goes by the configuration of entry {index}: voters {voters:?}, leaving {outgoing:?}, learners \
                 {learners:?}"
            ),
            Self::SnapshotInstalled { index } => {
                write!(formatter, "replaced its state by a snapshot of entry {index}")
            }
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, term, hash } = self;
        write!(formatter, "entry {index} of term {term}, hash {hash:016x}")
    }
}

/// One entry of the raft log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// A hash of its data.
    pub hash: u64,
}

/// Who belongs to the cluster, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The entry, or the snapshot, that a node has it from; zero for the first one, or none.
    pub index: u64,
    /// The voters, of both configurations if it is joint.
    pub voters: NodeSet,
    /// The voters of the configuration that is being left, if it is joint.
    pub outgoing: NodeSet,
    /// The members without a vote.
    pub learners: NodeSet,
}

impl Configuration {
    fn members(&self) -> (NodeSet, NodeSet, NodeSet) {
        (self.voters, self.outgoing, self.learners)
    }
}

/// A set of nodes with ids from 0 to 63.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeSet(u64);

impl FromIterator<u64> for NodeSet {
    /// # Panics
    /// For an id above 63.
    fn from_iter<T: IntoIterator<Item = u64>>(ids: T) -> NodeSet {
        let bit = |id: u64| {
            assert!(id < 64, "node {id} is out of range");
            1u64 << id
        };
        NodeSet(ids.into_iter().map(bit).fold(0, |set, bit| set | bit))
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries((0..64).filter(|id| self.0 >> id & 1 == 1)).finish()
    }
}

/// Checks a list of events, in the order in which they happened. `forgetful` are the nodes whose disks may
/// have lost what was synced: their votes are not held against them.
pub fn check(events: &[RaftEvent], forgetful: &BTreeSet<u64>) -> Vec<Violation> {
    let mut check = RaftCheck::new(forgetful.clone());
    events.iter().filter_map(|event| check.observe(event)).collect()
}

/// The check, event by event.
#[derive(Clone, Debug, Default)]
pub struct RaftCheck {
    forgetful: BTreeSet<u64>,
    nodes: BTreeMap<u64, Node>,
    leaders: BTreeMap<u64, RaftEvent>,
    /// By index and term: the entry's hash, the term of the entry before where known, and who reported it.
    entries: BTreeMap<(u64, u64), (u64, Option<u64>, RaftEvent)>,
    applied: BTreeMap<u64, (Entry, RaftEvent)>,
    /// By index: the lowest term in which a node knew it to be committed.
    committed: BTreeMap<u64, (u64, RaftEvent)>,
    /// By index: the configuration that is in effect there, and who told of it first.
    configurations: BTreeMap<u64, (Configuration, RaftEvent)>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    incarnation: u64,
    term: u64,
    commit: u64,
    /// None until it has said so after its start, or has applied an entry.
    applied: Option<u64>,
    /// What the node goes by; none until it has said so after its start.
    configuration: Option<Configuration>,
    /// The term of each entry that was reported since the start.
    log: BTreeMap<u64, u64>,
    /// Whom the node voted for in each term, over all incarnations.
    votes: BTreeMap<u64, (u64, RaftEvent)>,
    /// The last hard state relied on, over all incarnations.
    relied_on: Option<(u64, u64, RaftEvent)>,
}

impl RaftCheck {
    /// A check that has seen nothing yet; `forgetful` as in [`check`].
    pub fn new(forgetful: BTreeSet<u64>) -> RaftCheck {
        RaftCheck { forgetful, ..RaftCheck::default() }
    }

    /// Takes note of the next event, and says which invariant it breaks, if one.
    pub fn observe(&mut self, event: &RaftEvent) -> Option<Violation> {
        let node = self.nodes.entry(event.node).or_default();
        if node.incarnation != event.incarnation {
            node.begin_incarnation(event.incarnation);
        }
        match event.kind {
            RaftEventKind::Started { term, vote, commit, applied } => {
                let forgetful = self.forgetful.contains(&event.node);
                let forgot = if forgetful { None } else { node.check_restart(event, term, vote) };
                node.begin_incarnation(event.incarnation);
                (node.term, node.commit, node.applied) = (term, commit, Some(applied));
                forgot.or_else(|| self.vote(event, term, vote))
            }
            RaftEventKind::HardState { term, vote, commit } => self.hard_state(event, term, vote, commit),
            RaftEventKind::BecameLeader { term, last_index, last_term } => {
                self.elected(event, term, last_index, last_term)
            }
            RaftEventKind::Appended(entry) => {
                let previous_term = node.append(entry);
                self.entry(event, entry, previous_term)
            }
            RaftEventKind::Applied(entry) => {
                self.apply(event, entry).or_else(|| self.check_configuration(event))
            }
            RaftEventKind::Configured(configuration) => self.configured(event, configuration),
            RaftEventKind::SnapshotInstalled { index } => {
                let went_back = node.check_forward(event, "applied index", node.applied.unwrap_or(0), index);
                node.log.clear();
                node.applied = Some(index);
                node.commit = node.commit.max(index);
                went_back
            }
        }
    }

    fn hard_state(&mut self, event: &RaftEvent, term: u64, vote: u64, commit: u64) -> Option<Violation> {
        let node = self.nodes.entry(event.node).or_default();
        let went_back = node
            .check_forward(event, "term", node.term, term)
            .or_else(|| node.check_forward(event, "commit index", node.commit, commit));
        (node.term, node.commit) = (term, commit);
        node.relied_on = Some((term, vote, *event));
        if commit > 0 {
            let known = self.committed.entry(commit).or_insert((term, *event));
            if term < known.0 {
                *known = (term, *event);
            }
        }
        went_back.or_else(|| self.vote(event, term, vote))
    }

    fn vote(&mut self, event: &RaftEvent, term: u64, vote: u64) -> Option<Violation> {
        if vote == 0 || self.forgetful.contains(&event.node) {
            return None;
        }
        let node = self.nodes.entry(event.node).or_default();
        let (voted_for, earlier) = node.votes.entry(term).or_insert((vote, *event));
        (*voted_for != vote).then(|| {
            let message = format!("node {} voted in term {term} for {voted_for} and for {vote}", event.node);
            violation(message, &[earlier, event])
        })
    }

    fn elected(&mut self, event: &RaftEvent, term: u64, index: u64, last_term: u64) -> Option<Violation> {
        let leader = self.leaders.entry(term).or_insert(*event);
        if leader.node != event.node {
            let message = format!("term {term} has two leaders, nodes {} and {}", leader.node, event.node);
            return Some(violation(message, &[leader, event]));
        }
        let (committed, committed_in, by) = self.committed_before(term)?;
        if index < committed {
            let message = format!(
                "node {} leads term {term} with a log up to {index}, but {committed} was committed in term {committed_in}",
                event.node
            );
            return Some(violation(message, &[&by, event]));
        }
        self.check_last_term(event, committed, last_term).or_else(|| self.check_leader_log(event, committed))
    }

    /// The highest index that a node knew to be committed in an earlier term than `term`, that node's term, and
    /// its report. All entries below are committed too.
    fn committed_before(&self, term: u64) -> Option<(u64, u64, RaftEvent)> {
        let mut newest_first = self.committed.iter().rev();
        let (index, (committed_in, by)) = newest_first.find(|(_, (committed_in, _))| *committed_in < term)?;
        Some((*index, *committed_in, *by))
    }

    /// A log that holds a committed entry ends in no earlier term than that entry's.
    fn check_last_term(&self, event: &RaftEvent, committed: u64, last_term: u64) -> Option<Violation> {
        let (_, (entry, by)) = self.applied.range(..=committed).next_back()?;
        (last_term < entry.term).then(|| {
            let message = format!(
                "node {} leads with a log that ends in term {last_term}, but entry {} of term {} was committed",
                event.node, entry.index, entry.term
            );
            violation(message, &[by, event])
        })
    }

    /// Where the leader's entries were reported, they must be the committed ones.
    fn check_leader_log(&self, event: &RaftEvent, committed: u64) -> Option<Violation> {
        let log = &self.nodes.get(&event.node)?.log;
        let mut applied = self.applied.range(..=committed);
        let (_, (entry, by)) =
            applied.find(|(index, (entry, _))| log.get(index).is_some_and(|term| *term != entry.term))?;
        let message = format!(
            "node {} leads with another entry at {} than the committed one of term {}",
            event.node, entry.index, entry.term
        );
        Some(violation(message, &[by, event]))
    }

    fn configured(&mut self, event: &RaftEvent, configuration: Configuration) -> Option<Violation> {
        self.nodes.entry(event.node).or_default().configuration = Some(configuration);
        if configuration.members() == (NodeSet::default(), NodeSet::default(), NodeSet::default()) {
            // A node that is yet to join knows of nobody.
            return None;
        }
        let index = configuration.index;
        let (known, by) = *self.configurations.entry(index).or_insert((configuration, *event));
        if known.members() != configuration.members() {
            let message =
                format!("nodes {} and {} have different configurations at {index}", by.node, event.node);
            return Some(violation(message, &[&by, event]));
        }
        self.check_configuration(event)
    }

    /// What a node goes by must be the last configuration that is known up to what it has applied.
    fn check_configuration(&self, event: &RaftEvent) -> Option<Violation> {
        let node = self.nodes.get(&event.node)?;
        let own = node.configuration?;
        let reached = own.index.max(node.applied.unwrap_or(0));
        let (index, (last, by)) = self.configurations.range(..=reached).next_back()?;
        (last.members() != own.members()).then(|| {
            let message = format!(
                "node {} goes by the configuration of {}, though it has come to {reached} and there is one of {index}",
                event.node, own.index
            );
            violation(message, &[by, event])
        })
    }

    fn entry(&mut self, event: &RaftEvent, entry: Entry, previous_term: Option<u64>) -> Option<Violation> {
        let Entry { index, term, hash } = entry;
        let known = self.entries.entry((index, term)).or_insert((hash, previous_term, *event));
        let same_before = match (known.1, previous_term) {
            (Some(known), Some(found)) => known == found,
            (None, _) | (_, None) => true,
        };
        if known.0 == hash && same_before {
            known.1 = known.1.or(previous_term);
            return None;
        }
        let what = if known.0 == hash { "follow entries of different terms" } else { "differ" };
        let message = format!("two entries of index {index} and term {term} {what}");
        Some(violation(message, &[&known.2, event]))
    }

    fn apply(&mut self, event: &RaftEvent, entry: Entry) -> Option<Violation> {
        let node = self.nodes.entry(event.node).or_default();
        let out_of_turn = node.applied.filter(|last| entry.index != last + 1).map(|last| {
            let how = if entry.index <= last { "again, after" } else { "right after" };
            violation(format!("node {} applied entry {} {how} {last}", event.node, entry.index), &[event])
        });
        node.applied = node.applied.max(Some(entry.index));
        // A node that has not reported its term yet dates nothing.
        let term = if node.term == 0 { u64::MAX } else { node.term };
        let index = entry.index;
        let (known, by) = *self.applied.entry(index).or_insert((entry, *event));
        let known_committed = self.committed.entry(index).or_insert((term, *event));
        if term < known_committed.0 {
            *known_committed = (term, *event);
        }
        let differs = (known != entry).then(|| {
            let message =
                format!("nodes {} and {} applied different entries at {index}", by.node, event.node);
            violation(message, &[&by, event])
        });
        out_of_turn.or(differs).or_else(|| self.entry(event, entry, None))
    }
}

impl Node {
    fn begin_incarnation(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        (self.term, self.commit, self.applied) = (0, 0, None);
        self.configuration = None;
        self.log.clear();
    }

    fn check_restart(&self, event: &RaftEvent, term: u64, vote: u64) -> Option<Violation> {
        let (relied_term, relied_vote, earlier) = self.relied_on.as_ref()?;
        let forgot_vote = term == *relied_term && *relied_vote != 0 && vote != *relied_vote;
        (term < *relied_term || forgot_vote).then(|| {
            let message = format!(
                "node {} relied on term {relied_term} and its vote for {relied_vote}, and restarted with term {term} and vote {vote}",
                event.node
            );
            violation(message, &[earlier, event])
        })
    }

    fn check_forward(&self, event: &RaftEvent, what: &str, from: u64, to: u64) -> Option<Violation> {
        (to < from).then(|| {
            violation(format!("the {what} of node {} went back from {from} to {to}", event.node), &[event])
        })
    }

    /// Puts an entry into the log and returns the term of the one before, where that is known.
    fn append(&mut self, entry: Entry) -> Option<u64> {
        self.log.split_off(&entry.index);
        self.log.insert(entry.index, entry.term);
        self.log.get(&entry.index.checked_sub(1)?).copied()
    }
}

fn violation(message: String, events: &[&RaftEvent]) -> Violation {
    events.iter().fold(Violation::new(Check::Raft, message), |violation, event| {
        let RaftEvent { node, incarnation, at_ns, kind } = event;
        violation.with(format!("at {at_ns} ns, node {node}, incarnation {incarnation}: {kind}"))
    })
}
