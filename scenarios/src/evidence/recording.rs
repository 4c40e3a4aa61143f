//! What the machine did in a run, as far as a reader wants to see it.

use crate::client::FIRST_ADDRESS;
use serde::{Deserialize, Serialize};
use sim::disk::Damage;
use sim::{DiskFault, Event, TraceSink};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// Messages are counted over spans of so many virtual nanoseconds.
pub(crate) const BUCKET_NS: u64 = 50_000_000;

/// A run as the machine saw it. Times are virtual nanoseconds; nodes are numbered from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The threads, by their number.
    pub threads: BTreeMap<u32, Thread>,
    /// Calls and paths, which repeat: others name them by their place here.
    pub texts: Vec<String>,
    /// What was injected into calls of the file system.
    pub disk_faults: Vec<InjectedFault>,
    /// Starts and ends of incarnations, pauses, clock steps.
    pub node_events: Vec<NodeEvent>,
    /// When links were cut or mended, and how many are cut afterwards.
    pub blocked_links: Vec<(u64, u64)>,
    /// Messages by sender, receiver and number of the span ([`BUCKET_NS`]); clients left out.
    pub messages: BTreeMap<u64, BTreeMap<u64, u32>>,
    /// What clients sent: when, who and to whom.
    pub requests: Vec<(u64, u64, u64)>,
}

/// A thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its name; empty if it has none.
    pub name: String,
    /// The node and incarnation that it was created for.
    pub owner: Option<(u64, u32)>,
    /// When it was created.
    pub from_ns: u64,
    /// When it ended; none where it did not.
    pub until_ns: Option<u64>,
    /// Its calls that change a disk.
    pub calls: Vec<DiskCall>,
}

/// A call that changes a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskCall {
    /// When it began.
    pub from_ns: u64,
    /// When it was over. Only syncs take time.
    pub until_ns: u64,
    /// Its number on the node's disk.
    pub operation: u64,
    /// The call, a place in [`Recording::texts`].
    pub call: u32,
    /// The path below the node's root, a place in [`Recording::texts`].
    pub path: u32,
    /// Offset, or new length, in bytes.
    pub offset: u64,
    /// Bytes written.
    pub length: u64,
}

/// Something injected into a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedFault {
    /// When.
    pub at_ns: u64,
    /// The node.
    pub node: u64,
    /// What was done to which call.
    pub what: String,
}

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// When.
    pub at_ns: u64,
    /// The node.
    pub node: u64,
    /// What.
    pub kind: NodeEventKind,
}

/// What happens to nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeEventKind {
    /// A new incarnation began.
    Started,
    /// The incarnation ended; its cause is told by who saw it end.
    Stopped,
    /// It was frozen, or goes on.
    Paused(bool),
    /// Its wall clock was set, by so many nanoseconds.
    ClockStepped(i64),
}

/// A recording that is being made: given to the machine, and read when the run is over.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    recording: Recording,
    places: BTreeMap<u64, u32>,
    calls: BTreeMap<&'static str, u32>,
    /// Who has the baton.
    running: u32,
    /// The call of each node and incarnation that came last: operation, call and path.
    last: BTreeMap<(u16, u32), (u64, u32, u32)>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("recording does not panic")
    }

    /// The recording, taken out.
    pub(crate) fn take(&self) -> Recording {
        std::mem::take(&mut self.lock().recording)
    }
}

impl TraceSink for Recorder {
    fn event(&mut self, now_ns: u64, event: &Event, details: &dyn Fn() -> String) -> io::Result<()> {
        self.lock().event(now_ns, event, details);
        Ok(())
    }

    fn thread_named(&mut self, thread: u32, name: &str) {
        self.lock().recording.threads.entry(thread).or_default().name = name.to_string();
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn event(&mut self, now_ns: u64, event: &Event, details: &dyn Fn() -> String) {
        match *event {
            Event::Run { thread } => {
                self.running = thread;
                self.call_returns(thread, now_ns);
            }
            Event::ThreadStarted { thread, owner } => {
                let started = self.recording.threads.entry(thread).or_default();
                started.owner = owner.map(|(node, incarnation)| (number(node), incarnation));
                started.from_ns = now_ns;
            }
            Event::ThreadEnded { thread } => {
                self.recording.threads.entry(thread).or_default().until_ns = Some(now_ns);
            }
            Event::Disk { owner, operation, call, path, offset, length, data: _ } => {
                let (call, path) = (self.call(call), self.path(path, details));
                self.last.insert(owner, (operation, call, path));
                let begun =
                    DiskCall { from_ns: now_ns, until_ns: now_ns, operation, call, path, offset, length };
                self.recording.threads.entry(self.running).or_default().calls.push(begun);
            }
            Event::DiskFault { owner, operation, fault } => {
                let call = match self.last.get(&owner) {
                    Some(&(last, call, path)) if last == operation => {
                        format!("{} {}", self.text(call), self.text(path))
                    }
                    _ => "a read".to_string(),
                };
                let what = format!("{call}: {}", fault_in_words(fault));
                self.recording.disk_faults.push(InjectedFault { at_ns: now_ns, node: number(owner.0), what });
            }
            Event::Send { from, to, .. } => self.sent(now_ns, from, to),
            Event::Started { node } => self.node_event(now_ns, number(node.0), NodeEventKind::Started),
            Event::Stopped { node, .. } => self.node_event(now_ns, number(node.0), NodeEventKind::Stopped),
            Event::Paused { node, paused } => {
                self.node_event(now_ns, number(node), NodeEventKind::Paused(paused));
            }
            Event::ClockStepped { node, step_ns } => {
                self.node_event(now_ns, number(node), NodeEventKind::ClockStepped(step_ns));
            }
            Event::Network { blocked_links } => self.recording.blocked_links.push((now_ns, blocked_links)),
            Event::Read { .. } | Event::Deliver { .. } | Event::Mark { .. } => {}
        }
    }

    /// The thread goes on: a sync that it had begun is over.
    fn call_returns(&mut self, thread: u32, now_ns: u64) {
        let texts = &self.recording.texts;
        let Some(thread) = self.recording.threads.get_mut(&thread) else { return };
        if let Some(call) = thread.calls.last_mut()
            && call.until_ns == call.from_ns
            && texts[call.call as usize].contains("sync")
        {
            call.until_ns = now_ns;
        }
    }

    fn sent(&mut self, now_ns: u64, from: u64, to: u64) {
        if from >= FIRST_ADDRESS {
            self.recording.requests.push((now_ns, from, to));
        } else if to < FIRST_ADDRESS {
            *self.recording.messages.entry(from).or_default().entry(now_ns / BUCKET_NS).or_default() += 1;
        }
    }

    fn node_event(&mut self, at_ns: u64, node: u64, kind: NodeEventKind) {
        self.recording.node_events.push(NodeEvent { at_ns, node, kind });
    }

    fn call(&mut self, call: &'static str) -> u32 {
        if let Some(place) = self.calls.get(call) {
            return *place;
        }
        let place = self.new_text(call.to_string());
        self.calls.insert(call, place);
        place
    }

    fn path(&mut self, hash: u64, details: &dyn Fn() -> String) -> u32 {
        if let Some(place) = self.places.get(&hash) {
            return *place;
        }
        let place = self.new_text(details());
        self.places.insert(hash, place);
        place
    }

    fn new_text(&mut self, text: String) -> u32 {
        self.recording.texts.push(text);
        u32::try_from(self.recording.texts.len() - 1).expect("a run has fewer paths")
    }

    fn text(&self, place: u32) -> &str {
        &self.recording.texts[place as usize]
    }
}

/// Nodes are numbered from 1 for readers, from 0 by the machine.
fn number(node: u16) -> u64 {
    u64::from(node) + 1
}

fn fault_in_words(fault: DiskFault) -> String {
    match fault {
        DiskFault::Error(errno) => match errno {
            4 => "interrupted (EINTR)".to_string(),
            5 => "failed with EIO".to_string(),
            28 => "failed with ENOSPC".to_string(),
            30 => "failed with EROFS".to_string(),
            other => format!("failed with errno {other}"),
        },
        DiskFault::Short(bytes) => format!("cut short after {bytes} bytes"),
        DiskFault::Lie => "acknowledged, not honoured by the device".to_string(),
        DiskFault::Full => "the disk is full from here on".to_string(),
        DiskFault::Grown(bytes) => format!("the disk has grown by {bytes} bytes"),
        DiskFault::ReadOnly => "mounted read-only".to_string(),
        DiskFault::Astray(sim::disk::Landing::Lost) => "the write never reached the medium".to_string(),
        DiskFault::Astray(sim::disk::Landing::Misdirected { to }) => {
            format!("the write landed elsewhere, at offset {to}")
        }
        DiskFault::Damage { sector, damage: Damage::Unreadable } => format!("sector {sector} cannot be read"),
        DiskFault::Damage { sector, damage: Damage::Rot { bit } } => {
            format!("bit {bit} of sector {sector} has rotted")
        }
        DiskFault::Stale => "gave an old version".to_string(),
    }
}
