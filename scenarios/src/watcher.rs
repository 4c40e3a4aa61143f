//! Watchers: clients that do nothing but watch, and remember all that they are told.
//!
//! A watcher acknowledges what it takes. It asks its replica every second how far that is, and for progress; one that
//! answers nothing, or has gone further and does not say so on the watch, has crashed or forgotten the watch. Then,
//! when the watch is ended, and when its plan says so, it goes on at another replica, after the last event that it
//! has.

mod draw;
mod oracle;
mod plan;

pub(crate) use draw::{add, scenario};
pub(crate) use oracle::{check as judge, reached};
pub(crate) use plan::check;
pub use plan::{PlannedWatcher, WatchStart, WatchedKeys, WatcherAction, WatcherStep};

use crate::client::{Client, key};
use crate::translate;
use crate::world::World;
use cluster::api::{self, Answer, Call, Request, WatchCall, WatchMessage};
use cluster::client::{Outcome, ServerMessage, decode_message, encode_request};
use model::kv::{WatchKind, WatchRequest};
use model::watch::{WatchAttempt, WatchRecord};
use sim::OutsideEndpoint;
use sim::network::Inbound;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// The address of the first watcher.
const FIRST_ADDRESS: u64 = 3000;
/// How often a watcher asks how far its replica is.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The same when all that is left is to hear of the rest.
const LAST_PING_INTERVAL: Duration = Duration::from_millis(100);
/// How long a replica may owe a watcher a message.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// How long a watcher waits for one answer about a revision.
const REPLY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Pause before it asks another replica.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Virtual time in which, all replicas having converged, everything comes that must.
const BOUND: Duration = Duration::from_secs(30);

/// What watchers were told.
#[derive(Clone, Default)]
pub(crate) struct Watched {
    /// The watches, each with its attempts.
    pub(crate) records: Vec<WatchRecord>,
    /// Those that have not heard, in time, of everything up to a revision: index of the record, and that revision.
    pub(crate) late: Vec<(usize, i64)>,
}

/// What there is still to do for watchers when the load is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Everything up to this revision has to come.
    Reach(i64),
    /// Nothing: the cluster never came to rest.
    GiveUp,
}

/// What one watcher has seen so far.
#[derive(Default)]
struct Seen {
    records: Vec<WatchRecord>,
    /// Whether it wants to know what comes; not before it begins, nor between two watches.
    wants: bool,
    is_done: bool,
}

/// The watchers of a run.
pub(crate) struct Watchers {
    ending: Rc<Cell<Option<Ending>>>,
    seen: Vec<Rc<RefCell<Seen>>>,
}

/// Starts the watchers of the plan.
pub(crate) fn start(world: &Rc<World>) -> Watchers {
    let ending = Rc::new(Cell::new(None));
    let begin = |(number, plan): (u32, &PlannedWatcher)| {
        let seen = Rc::new(RefCell::new(Seen::default()));
        let watcher =
            Watcher::new(number, plan.clone(), Rc::clone(world), Rc::clone(&ending), Rc::clone(&seen));
        world.machine.spawn(watcher.run());
        seen
    };
    Watchers { seen: (0..).zip(&world.plan.watchers).map(begin).collect(), ending }
}

impl Watchers {
    /// Waits until the watchers have heard of everything, if the replicas have converged; what they were told.
    pub(crate) async fn finish(self, world: &Rc<World>, converged: bool) -> Watched {
        if self.seen.is_empty() {
            return Watched::default();
        }
        let goal = if converged { last_revision(world).await } else { None };
        self.ending.set(Some(goal.map_or(Ending::GiveUp, Ending::Reach)));
        let deadline = world.machine.now() + BOUND;
        while self.seen.iter().any(|seen| !seen.borrow().is_done) && world.machine.now() < deadline {
            world.machine.sleep(Duration::from_millis(20)).await;
        }
        let mut watched = Watched::default();
        for seen in &self.seen {
            watched.take(&mut seen.borrow_mut(), goal);
        }
        watched
    }
}

impl Watched {
    fn take(&mut self, seen: &mut Seen, goal: Option<i64>) {
        self.records.append(&mut seen.records);
        let Some(goal) = goal.filter(|_| seen.wants) else { return };
        let last = self.records.last_mut().and_then(|record| record.attempts.last_mut());
        let Some(last) = last else { return };
        last.must_reach = Some(goal);
        if !seen.is_done {
            self.late.push((self.records.len() - 1, goal));
        }
    }
}

/// A revision that every replica has reached which has converged before.
async fn last_revision(world: &Rc<World>) -> Option<i64> {
    // One more client than those of the load, and the one that has written last.
    let number = world.plan.clients() + 1;
    let mut client = Client::new(number, world.count(), world.machine, world.log.clone());
    let read = Call::Kv(Request::get(key(0)));
    client.perform(read, BOUND).await?.ok()?.revision()
}

/// Whether a watch stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It was asked for, and not heard to be over.
    Asked,
    /// It has to be asked for.
    Gone,
    /// The replica does not serve it, so that it has to be asked for elsewhere.
    Refused,
}

/// One watcher.
struct Watcher {
    number: u32,
    plan: PlannedWatcher,
    world: Rc<World>,
    ending: Rc<Cell<Option<Ending>>>,
    seen: Rc<RefCell<Seen>>,
    endpoint: OutsideEndpoint,
    node: u64,
    standing: Standing,
    /// Where the attempts stand in what was seen, by their watch ids, the first of which is 1: record and attempt.
    places: Vec<(usize, usize)>,
    /// Whether the next attempt is the first one of another watch.
    is_new: bool,
    /// The first revision to ask for at the next attempt; none before it is known.
    next: Option<i64>,
    /// Everything up to this revision has come in this attempt; none before that is known.
    covered: Option<i64>,
    last_request: u64,
    /// Since when the replica owes a message, if it owes one.
    waits_since: Duration,
    next_ping: Duration,
}

impl Watcher {
    fn new(
        number: u32,
        plan: PlannedWatcher,
        world: Rc<World>,
        ending: Rc<Cell<Option<Ending>>>,
        seen: Rc<RefCell<Seen>>,
    ) -> Self {
        Self {
            endpoint: world.machine.endpoint(FIRST_ADDRESS + u64::from(number)),
            number,
            plan,
            world,
            ending,
            seen,
            node: 0,
            standing: Standing::Gone,
            places: Vec::new(),
            is_new: true,
            next: None,
            covered: None,
            last_request: 0,
            waits_since: Duration::ZERO,
            next_ping: Duration::ZERO,
        }
    }

    async fn run(mut self) {
        self.world.machine.sleep_until(Duration::from_millis(self.plan.at_ms)).await;
        self.node = self.world.resolve(self.plan.on);
        self.seen.borrow_mut().wants = true;
        for step in std::mem::take(&mut self.plan.steps) {
            self.listen(Some(Duration::from_millis(step.at_ms))).await;
            self.take_step(step.action).await;
        }
        self.listen(None).await;
        self.seen.borrow_mut().is_done = true;
    }

    async fn take_step(&mut self, action: WatcherAction) {
        match action {
            WatcherAction::Sleep { for_ms } => {
                self.world.machine.sleep(Duration::from_millis(for_ms)).await;
                self.waits_since = self.world.machine.now();
            }
            WatcherAction::Move { to } => {
                self.leave();
                self.node = self.world.resolve(to);
                self.standing = Standing::Gone;
            }
            WatcherAction::Unwatch { for_ms } => {
                self.leave();
                self.seen.borrow_mut().wants = false;
                self.take_for(Duration::from_millis(for_ms)).await;
                self.seen.borrow_mut().wants = true;
                (self.is_new, self.next, self.standing) = (true, None, Standing::Gone);
            }
        }
    }

    /// Keeps the watch going until a time, or until the run is over and everything due has come.
    async fn listen(&mut self, until: Option<Duration>) {
        loop {
            let now = self.world.machine.now();
            if self.is_over() || until.is_some_and(|until| now >= until) {
                return;
            }
            match self.standing {
                Standing::Asked if now >= self.waits_since + PATIENCE => {
                    self.leave();
                    self.go_elsewhere().await;
                }
                Standing::Asked => {
                    if now >= self.next_ping {
                        self.ping(now);
                    }
                    let due = until.map_or(self.next_ping, |until| until.min(self.next_ping));
                    self.take_one(due.saturating_sub(now)).await;
                }
                Standing::Gone => self.begin().await,
                Standing::Refused => self.go_elsewhere().await,
            }
        }
    }

    /// Whether nothing more is due.
    fn is_over(&self) -> bool {
        match self.ending.get() {
            None => false,
            Some(Ending::GiveUp) => true,
            Some(Ending::Reach(goal)) => {
                self.standing == Standing::Asked && self.covered.is_some_and(|covered| covered >= goal)
            }
        }
    }

    async fn go_elsewhere(&mut self) {
        self.node = 1 + self.node % self.world.count();
        self.standing = Standing::Gone;
        self.world.machine.sleep(RETRY_PAUSE).await;
    }

    /// Asks for the watch.
    async fn begin(&mut self) {
        if self.next.is_none() && self.plan.start != WatchStart::Now {
            let Some(revision) = self.ask_revision().await else {
                return self.go_elsewhere().await;
            };
            self.next = Some(match self.plan.start {
                WatchStart::Now => unreachable!("asked above"),
                WatchStart::Behind(revisions) => (revision - i64::from(revisions)).max(1),
                WatchStart::Ahead(revisions) => revision + i64::from(revisions),
            });
        }
        let watch_id = i64::try_from(self.places.len() + 1).expect("few attempts");
        let request = self.request(watch_id);
        self.note(&format!("asks node {} for watch {watch_id} from {:?} on", self.node, self.next));
        self.note_attempt(translate::watch_request(&request));
        self.ask(&Call::Watch(WatchCall::Create(request)));
        self.standing = Standing::Asked;
        self.covered = self.next.map(|next| next - 1);
        self.waits_since = self.world.machine.now();
        self.next_ping = self.waits_since + self.ping_interval();
    }

    fn request(&self, watch_id: i64) -> api::WatchRequest {
        let (first, range_end) = match self.plan.keys {
            WatchedKeys::One { key: number } => (key(number), None),
            WatchedKeys::Span { from, to } => (key(from), Some(key(to))),
            WatchedKeys::All => (vec![0], Some(vec![0])),
        };
        api::WatchRequest {
            watch_id,
            key: first,
            range_end,
            start_revision: self.next.unwrap_or(0),
            prev_kv: self.plan.prev_kv,
            no_put: self.plan.no_put,
            no_delete: self.plan.no_delete,
            progress_notify: self.plan.progress_notify,
            fragment: self.plan.fragment,
        }
    }

    fn note_attempt(&mut self, request: WatchRequest) {
        let mut seen = self.seen.borrow_mut();
        if std::mem::take(&mut self.is_new) {
            seen.records.push(WatchRecord { client: self.number, attempts: Vec::new() });
        }
        let record = seen.records.len() - 1;
        let attempts = &mut seen.records[record].attempts;
        self.places.push((record, attempts.len()));
        attempts.push(WatchAttempt { node: self.node, request, messages: Vec::new(), must_reach: None });
    }

    /// Says that it wants no more of the present attempt.
    fn leave(&mut self) {
        if self.standing == Standing::Asked {
            let watch_id = self.watch_id();
            self.ask(&Call::Watch(WatchCall::Cancel { watch_id }));
            self.standing = Standing::Gone;
        }
    }

    fn watch_id(&self) -> i64 {
        i64::try_from(self.places.len()).expect("few attempts")
    }

    fn ask(&mut self, call: &Call) -> u64 {
        self.last_request += 1;
        let message = encode_request(self.last_request, call).expect("a call of a watcher fits a message");
        self.endpoint.send(self.node, message);
        self.last_request
    }

    fn ping(&mut self, now: Duration) {
        self.next_ping = now + self.ping_interval();
        self.ask(&Call::Watch(WatchCall::Progress));
        self.ask(&Call::Status);
    }

    fn ping_interval(&self) -> Duration {
        if self.ending.get().is_some() { LAST_PING_INTERVAL } else { PING_INTERVAL }
    }

    /// The revision that the replica is at; none if it does not say, or has none.
    async fn ask_revision(&mut self) -> Option<i64> {
        let id = self.ask(&Call::Status);
        let deadline = self.world.machine.now() + REPLY_TIMEOUT;
        loop {
            let left = deadline.saturating_sub(self.world.machine.now());
            let Inbound::Message { from, bytes } = self.endpoint.receive(left).await? else { continue };
            match decode(&bytes) {
                ServerMessage::Reply(reply) if reply.id == id => {
                    return revision(&reply.outcome).filter(|revision| *revision > 0);
                }
                ServerMessage::Reply(_) => {}
                ServerMessage::Watch(message) => self.take(from, &message),
            }
        }
    }

    async fn take_for(&mut self, duration: Duration) {
        let until = self.world.machine.now() + duration;
        while self.world.machine.now() < until {
            self.take_one(until.saturating_sub(self.world.machine.now())).await;
        }
    }

    /// Takes the next message, if one comes in time.
    async fn take_one(&mut self, timeout: Duration) {
        let Some(Inbound::Message { from, bytes }) = self.endpoint.receive(timeout).await else { return };
        match decode(&bytes) {
            ServerMessage::Reply(reply) => {
                // A replica that is no further than what it has sent owes nothing, as long as others may be ahead of it.
                let is_even = |revision| self.covered.is_some_and(|covered| revision <= covered);
                let may_lag = self.ending.get().is_none();
                if from == self.node && may_lag && revision(&reply.outcome).is_some_and(is_even) {
                    self.waits_since = self.world.machine.now();
                }
            }
            ServerMessage::Watch(message) => self.take(from, &message),
        }
    }

    /// Takes a message of any of its attempts: what comes late has to be right, too.
    fn take(&mut self, from: u64, message: &WatchMessage) {
        let WatchMessage { watch_id, revision, .. } = *message;
        let kind = translate::watch_message(message).kind;
        let known = usize::try_from(watch_id - 1).ok().and_then(|place| self.places.get(place));
        // A number that was never asked for is for the oracle to find.
        let Some(&(record, attempt)) = known.or(self.places.last()) else { return };
        let mut seen = self.seen.borrow_mut();
        let messages = &mut seen.records[record].attempts[attempt].messages;
        // A watch that is refused has never been one.
        if !(messages.is_empty() && is_refusal(&kind)) {
            messages.push(translate::watch_message(message));
        }
        drop(seen);
        self.note(&format!("hears of watch {watch_id} at {revision}: {}", brief(&kind)));
        if matches!(kind, WatchKind::Events { .. } | WatchKind::Progress) && from == self.node {
            self.ask(&Call::Watch(WatchCall::Ack { watch_id, messages: 1 }));
        }
        if self.standing == Standing::Asked && watch_id == self.watch_id() {
            self.waits_since = self.world.machine.now();
            self.follow(revision, &kind);
        }
    }

    /// Notes how far the present attempt has come.
    fn follow(&mut self, revision: i64, kind: &WatchKind) {
        match kind {
            WatchKind::Created => {
                self.next = self.next.or(Some(revision + 1));
                self.covered = self.covered.or(Some(revision));
            }
            WatchKind::Events { events, fragment: false } => {
                let last = events.last().map(|event| event.kv.mod_revision);
                self.covered = self.covered.max(last);
                self.next = self.next.max(last.map(|last| last + 1));
            }
            WatchKind::Events { events: _, fragment: true } => {}
            WatchKind::Progress => {
                self.covered = self.covered.max(Some(revision));
                if self.plan.bookmarks {
                    self.next = self.next.max(Some(revision + 1));
                }
            }
            // It goes on where what is compacted ends.
            WatchKind::Canceled { compact_revision, reason: _ } if *compact_revision > 0 => {
                (self.next, self.standing) = (Some(*compact_revision), Standing::Gone);
            }
            WatchKind::Canceled { .. } => self.standing = Standing::Refused,
        }
    }

    fn note(&self, what: &str) {
        self.world.machine.mark("watcher", &format!("watcher {} {what}", self.number));
    }
}

fn decode(bytes: &[u8]) -> ServerMessage {
    decode_message(bytes).expect("client links damage nothing")
}

/// The revision in a status.
fn revision(outcome: &Outcome) -> Option<i64> {
    match outcome {
        Outcome::Answer(Answer::Status(status)) => Some(status.revision),
        Outcome::Answer(_)
        | Outcome::NotLeader { .. }
        | Outcome::Refused { .. }
        | Outcome::Unavailable { .. } => None,
    }
}

fn is_refusal(kind: &WatchKind) -> bool {
    matches!(kind, WatchKind::Canceled { compact_revision: 0, .. })
}

/// What a message says, for the trace.
fn brief(kind: &WatchKind) -> String {
    match kind {
        WatchKind::Created => "it stands".to_string(),
        WatchKind::Events { events, fragment } => {
            let revisions: Vec<i64> = events.iter().map(|event| event.kv.mod_revision).collect();
            format!("events of {revisions:?}{}", if *fragment { ", more follows" } else { "" })
        }
        WatchKind::Progress => "progress".to_string(),
        WatchKind::Canceled { compact_revision, reason } => {
            format!("over, compacted at {compact_revision}, {reason}")
        }
    }
}
