//! A cluster of replicas on threads, with a client.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cluster::api::{Answer, Call, Refusal, Request, Response, WatchCall, WatchMessage};
use cluster::client::{Outcome, Reply, ServerMessage, decode_message, encode_request};
use cluster::{Inbound, Observer, ReplicaConfig, ReplicaError, ReplicaEvent, Transport};
use engines::EngineId;
use tempfile::TempDir;

use crate::network::{Endpoint, Network};

/// Far longer than anything takes, also on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a replica has told, over all its lives.
#[derive(Default)]
pub(crate) struct Events {
    list: Mutex<Vec<ReplicaEvent>>,
    grown: Condvar,
}

impl Observer for Events {
    fn event(&self, event: &ReplicaEvent) {
        self.list.lock().unwrap().push(event.clone());
        self.grown.notify_all();
    }
}

impl Events {
    pub(crate) fn all(&self) -> Vec<ReplicaEvent> {
        self.list.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.lock().unwrap().len()
    }

    /// Waits until `find` finds something among the events from number `since` on.
    pub(crate) fn wait<T>(&self, what: &str, since: usize, find: impl Fn(&ReplicaEvent) -> Option<T>) -> T {
        self.wait_at_most(PATIENCE, since, find).unwrap_or_else(|| {
            let list = self.all();
            panic!("{what} did not happen; last events: {:#?}", &list[list.len().saturating_sub(12)..])
        })
    }

    /// Waits until the raft log begins behind an index: it was cut, or a replica that lagged was given a snapshot.
    pub(crate) fn wait_for_short_log(&self, since: usize, behind: u64) {
        self.wait("a short log", since, |event| match event {
            ReplicaEvent::LogCompacted { index } | ReplicaEvent::SnapshotInstallEnd { index } => {
                (*index > behind).then_some(())
            }
            _ => None,
        });
    }

    /// As [`Events::wait`], for a time; `None` if it runs out.
    fn wait_at_most<T>(
        &self,
        patience: Duration,
        since: usize,
        find: impl Fn(&ReplicaEvent) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut list = self.list.lock().unwrap();
        let mut seen = since;
        loop {
            if let Some(found) = list[seen..].iter().find_map(&find) {
                return Some(found);
            }
            seen = list.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            list = self.grown.wait_timeout(list, left).unwrap().0;
        }
    }
}

struct Running {
    thread: JoinHandle<Result<(), ReplicaError>>,
}

/// Replicas with ids from 1 on, and one client.
pub(crate) struct Nodes {
    pub(crate) network: Network,
    pub(crate) configs: BTreeMap<u64, ReplicaConfig>,
    pub(crate) events: BTreeMap<u64, Arc<Events>>,
    running: BTreeMap<u64, Running>,
    client: Endpoint,
    requests: u64,
    leader: u64,
    /// Messages of watches that were not looked at yet, in the order in which they came.
    watched: Vec<WatchMessage>,
    _directory: TempDir,
}

const CLIENT: u64 = 1000;

impl Nodes {
    /// One replica for each engine, none of them started.
    pub(crate) fn new(engines: &[EngineId]) -> Nodes {
        let directory = tempfile::tempdir().unwrap();
        let peers: Vec<u64> = (1..=engines.len() as u64).collect();
        let network = Network::default();
        let configs = peers
            .iter()
            .zip(engines)
            .map(|(id, engine)| {
                let path = directory.path().join(format!("node-{id}"));
                (*id, quick(ReplicaConfig::new(*id, peers.clone(), *engine, path)))
            })
            .collect();
        Nodes {
            client: network.endpoint(CLIENT),
            network,
            configs,
            events: peers.iter().map(|id| (*id, Arc::default())).collect(),
            running: BTreeMap::new(),
            requests: 0,
            leader: 1,
            watched: Vec::new(),
            _directory: directory,
        }
    }

    /// As [`Nodes::new`], with all of them started.
    pub(crate) fn started(engines: &[EngineId]) -> Nodes {
        let mut nodes = Nodes::new(engines);
        nodes.start_all();
        nodes
    }

    pub(crate) fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id);
        }
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.configs.keys().copied().collect()
    }

    pub(crate) fn configure(&mut self, id: u64, change: impl FnOnce(&mut ReplicaConfig)) {
        change(self.configs.get_mut(&id).unwrap());
    }

    pub(crate) fn start(&mut self, id: u64) {
        let (config, endpoint) = (self.configs[&id].clone(), self.network.endpoint(id));
        let observer = Arc::clone(&self.events[&id]);
        let thread = thread::spawn(move || cluster::run(config, Box::new(endpoint), observer));
        assert!(self.running.insert(id, Running { thread }).is_none(), "node {id} runs already");
    }

    /// Takes a replica's machine away, and returns how it ended.
    pub(crate) fn stop(&mut self, id: u64) -> Result<(), ReplicaError> {
        self.network.close(id);
        self.running.remove(&id).expect("it runs").thread.join().unwrap()
    }

    /// Waits until a replica has stopped by itself.
    pub(crate) fn join(&mut self, id: u64) -> Result<(), ReplicaError> {
        self.running.remove(&id).expect("it runs").thread.join().unwrap()
    }

    pub(crate) fn restart(&mut self, id: u64) {
        self.stop(id).unwrap();
        self.start(id);
    }

    pub(crate) fn store(&self, id: u64) -> PathBuf {
        self.configs[&id].directory.join("store")
    }

    /// Sends one request to one replica and waits for the reply; `None` if none comes in a second.
    pub(crate) fn ask(&mut self, id: u64, request: &Request) -> Option<Outcome> {
        self.ask_call(id, &Call::Kv(request.clone()))
    }

    /// As [`Nodes::ask`], for any call.
    pub(crate) fn ask_call(&mut self, id: u64, call: &Call) -> Option<Outcome> {
        self.requests += 1;
        self.client.send(id, encode_request(self.requests, call).unwrap());
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            if let Reply { id, outcome } = self.receive(deadline)?
                && id == self.requests
            {
                return Some(outcome);
            }
        }
    }

    /// The next reply, until `deadline`. Messages of watches are put by.
    fn receive(&mut self, deadline: Instant) -> Option<Reply> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.client.receive(left.max(Duration::from_millis(1)))? {
                Inbound::Message { bytes, .. } => match decode_message(&bytes).unwrap() {
                    ServerMessage::Reply(reply) => return Some(reply),
                    ServerMessage::Watch(message) => self.watched.push(message),
                },
                other => panic!("clients get messages only, not {other:?}"),
            }
        }
    }

    /// Tells a replica something about watches.
    pub(crate) fn watch(&mut self, id: u64, call: WatchCall) {
        self.requests += 1;
        self.client.send(id, encode_request(self.requests, &Call::Watch(call)).unwrap());
    }

    /// The messages of watches that came since the last time, once they are enough.
    pub(crate) fn watched(&mut self, is_enough: impl Fn(&[WatchMessage]) -> bool) -> Vec<WatchMessage> {
        let deadline = Instant::now() + PATIENCE;
        while !is_enough(&self.watched) {
            assert!(Instant::now() < deadline, "only {:#?} came", self.watched);
            let late = self.receive(Instant::now() + Duration::from_millis(50));
            assert_eq!(late.filter(|reply| reply.id == self.requests), None, "watches get no replies");
        }
        std::mem::take(&mut self.watched)
    }

    /// Asks whoever leads until the request is answered.
    pub(crate) fn call(&mut self, request: &Request) -> Response {
        match self.answer(&Call::Kv(request.clone())) {
            Answer::Kv(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Asks whoever leads until the call is answered.
    pub(crate) fn answer(&mut self, call: &Call) -> Answer {
        self.decided(call).unwrap_or_else(|refusal| panic!("{call:?}: {refusal}"))
    }

    /// Asks whoever leads until the call is answered or refused.
    pub(crate) fn decided(&mut self, call: &Call) -> Result<Answer, Refusal> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            match self.ask_call(self.leader, call) {
                Some(Outcome::Answer(answer)) => return Ok(answer),
                Some(Outcome::Refused { refusal: Some(refusal), .. }) => return Err(refusal),
                Some(Outcome::NotLeader { leader: Some(leader) }) if self.running.contains_key(&leader) => {
                    self.leader = leader;
                }
                other => {
                    last = other;
                    thread::sleep(Duration::from_millis(20));
                    self.leader = self.leader % self.configs.len() as u64 + 1;
                }
            }
        }
        panic!("{call:?} was not answered; last: {last:?}");
    }

    /// Who leads, found out by asking.
    pub(crate) fn leader(&mut self) -> u64 {
        self.call(&Request::get("leader?"));
        self.leader
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        self.call(&Request::put(key, value)).revision
    }

    pub(crate) fn put_many(&mut self, name: &str, count: usize) {
        for number in 0..count {
            self.put(&format!("{name}-{number}"), &"value".repeat(number % 7 + 1));
        }
    }

    /// Waits until all of `ids` have reported a hash at one applied index, which is at least that of now, and
    /// compares. Hashes are reported at every applied index in these tests; but a replica that catches up by a
    /// snapshot may jump over the one that is waited for, so it is tried again.
    pub(crate) fn assert_equal(&mut self, ids: &[u64]) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.put("equality", "now");
            let target =
                last_applied(&self.events[&self.leader].all()).expect("the leader has applied the put");
            let hashes: Vec<_> = ids.iter().filter_map(|id| self.hash_at(*id, target)).collect();
            if hashes.len() == ids.len() {
                assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?} at {target}: {hashes:?}");
                return;
            }
        }
        panic!("{ids:?} did not come to the same applied index");
    }

    fn hash_at(&self, id: u64, target: u64) -> Option<u64> {
        self.events[&id].wait_at_most(Duration::from_secs(2), 0, |event| match event {
            ReplicaEvent::StateHash { applied_index, hash, .. } if *applied_index == target => Some(*hash),
            _ => None,
        })
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.network.close(id);
            let result = self.running.remove(&id).unwrap().thread.join().unwrap();
            if !thread::panicking() {
                result.unwrap();
            }
        }
    }
}

fn last_applied(events: &[ReplicaEvent]) -> Option<u64> {
    events.iter().rev().find_map(|event| match event {
        ReplicaEvent::Applied { index, .. } => Some(*index),
        _ => None,
    })
}

/// Short intervals, and a log that is cut early, so that peers soon need snapshots.
fn quick(mut config: ReplicaConfig) -> ReplicaConfig {
    config.timing.tick = Duration::from_millis(20);
    // A busy machine must not end a watch.
    config.timing.leaderless_ticks = u32::MAX;
    config.timing.flush_interval = Duration::from_millis(50);
    config.timing.snapshot_retry_interval = Duration::from_millis(20);
    config.timing.snapshot_answer_timeout = Duration::from_secs(2);
    config.limits.flush_entries = 8;
    config.limits.trailing_entries = 4;
    config.limits.compaction_entries = 4;
    config.limits.hash_entries = 1;
    config.limits.stream_chunk_bytes = 1 << 10;
    config
}
