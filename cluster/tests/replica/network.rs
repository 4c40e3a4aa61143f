//! A network inside one process: channels between threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::{CLIENT_ID_MIN, Inbound, Transport};

/// What happens to the pieces of snapshot streams on their way: (from, to, number of the piece, its bytes).
pub(crate) type StreamFault = Box<dyn FnMut(u64, u64, usize, &mut Vec<u8>) + Send>;

/// What becomes of a message between replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    Lost,
    Duplicated,
    /// It comes after the next message on the same link.
    Overtaken,
}

/// Decides the fate of a message (from, to, its bytes), and may damage it.
pub(crate) type MessageFault = Box<dyn FnMut(u64, u64, &mut Vec<u8>) -> Fate + Send>;

#[derive(Default)]
struct State {
    inboxes: BTreeMap<u64, Sender<Inbound>>,
    /// Directed pairs between which nothing passes.
    blocked: BTreeSet<(u64, u64)>,
    /// (from, to, pieces so far) of each open stream.
    streams: BTreeMap<u64, (u64, u64, usize)>,
    streams_opened: u64,
    stream_fault: Option<StreamFault>,
    message_fault: Option<MessageFault>,
    /// Messages that wait to be overtaken, by link.
    held: BTreeMap<(u64, u64), Vec<u8>>,
}

impl State {
    /// Delivers a message, as the fault has it.
    fn send(&mut self, from: u64, to: u64, mut bytes: Vec<u8>) {
        let fate = match &mut self.message_fault {
            Some(fault) if from < CLIENT_ID_MIN && to < CLIENT_ID_MIN => fault(from, to, &mut bytes),
            _ => Fate::Delivered,
        };
        let overtaken = self.held.remove(&(from, to));
        match fate {
            Fate::Delivered => self.deliver(from, to, Inbound::Message { from, bytes }),
            Fate::Lost => {}
            Fate::Duplicated => {
                self.deliver(from, to, Inbound::Message { from, bytes: bytes.clone() });
                self.deliver(from, to, Inbound::Message { from, bytes });
            }
            Fate::Overtaken => {
                self.held.insert((from, to), bytes);
            }
        }
        if let Some(bytes) = overtaken {
            self.deliver(from, to, Inbound::Message { from, bytes });
        }
    }

    fn deliver(&self, from: u64, to: u64, inbound: Inbound) {
        if !self.blocked.contains(&(from, to))
            && let Some(inbox) = self.inboxes.get(&to)
        {
            // An endpoint that has gone takes nothing.
            let _ = inbox.send(inbound);
        }
    }
}

/// The network. Messages arrive at once, in order and undamaged, unless told otherwise.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<State>>);

impl Network {
    /// An endpoint for `id`; it takes the place of an older one.
    pub(crate) fn endpoint(&self, id: u64) -> Endpoint {
        let (sender, inbox) = channel();
        self.0.lock().unwrap().inboxes.insert(id, sender);
        Endpoint { id, network: self.clone(), inbox }
    }

    /// Takes the endpoint's machine away: it is told so, and its streams break.
    pub(crate) fn close(&self, id: u64) {
        let mut state = self.0.lock().unwrap();
        let broken: Vec<_> = state
            .streams
            .iter()
            .filter(|(_, (from, to, _))| [*from, *to].contains(&id))
            .map(|(n, s)| (*n, *s))
            .collect();
        for (stream, (from, to, _)) in broken {
            state.streams.remove(&stream);
            let (survivor, peer) = if from == id { (to, from) } else { (from, to) };
            state.deliver(peer, survivor, Inbound::StreamBroken { peer, stream });
        }
        if let Some(inbox) = state.inboxes.remove(&id) {
            let _ = inbox.send(Inbound::Closed);
        }
    }

    /// Cuts `id` off from everybody, or lets it back in.
    pub(crate) fn isolate(&self, id: u64, isolated: bool) {
        let mut state = self.0.lock().unwrap();
        for other in (1..=9).filter(|other| *other != id) {
            for pair in [(id, other), (other, id)] {
                if isolated {
                    state.blocked.insert(pair);
                } else {
                    state.blocked.remove(&pair);
                }
            }
        }
    }

    /// What happens to snapshot streams from now on.
    pub(crate) fn set_stream_fault(&self, fault: Option<StreamFault>) {
        self.0.lock().unwrap().stream_fault = fault;
    }

    /// What happens to messages between replicas from now on.
    pub(crate) fn set_message_fault(&self, fault: Option<MessageFault>) {
        self.0.lock().unwrap().message_fault = fault;
    }

    /// Breaks every stream that is open, at both ends.
    pub(crate) fn break_streams(&self) {
        let mut state = self.0.lock().unwrap();
        for (stream, (from, to, _)) in std::mem::take(&mut state.streams) {
            state.deliver(from, to, Inbound::StreamBroken { peer: from, stream });
            state.deliver(to, from, Inbound::StreamBroken { peer: to, stream });
        }
    }
}

/// One end of the network.
pub(crate) struct Endpoint {
    id: u64,
    network: Network,
    inbox: Receiver<Inbound>,
}

impl Transport for Endpoint {
    fn send(&self, to: u64, bytes: Vec<u8>) {
        self.network.0.lock().unwrap().send(self.id, to, bytes);
    }

    fn open_stream(&self, to: u64) -> u64 {
        let mut state = self.network.0.lock().unwrap();
        state.streams_opened += 1;
        let stream = state.streams_opened;
        state.streams.insert(stream, (self.id, to, 0));
        state.deliver(self.id, to, Inbound::StreamOpened { from: self.id, stream });
        stream
    }

    fn write_stream(&self, stream: u64, mut bytes: Vec<u8>) {
        let mut guard = self.network.0.lock().unwrap();
        let state = &mut *guard;
        if let Some((from, to, pieces)) = state.streams.get_mut(&stream) {
            if let Some(fault) = &mut state.stream_fault {
                fault(*from, *to, *pieces, &mut bytes);
            }
            *pieces += 1;
            let (from, to) = (*from, *to);
            state.deliver(from, to, Inbound::StreamChunk { from, stream, bytes });
        }
    }

    fn finish_stream(&self, stream: u64) {
        let mut state = self.network.0.lock().unwrap();
        if let Some((from, to, _)) = state.streams.remove(&stream) {
            state.deliver(from, to, Inbound::StreamFinished { from, stream });
        }
    }

    fn receive(&self, timeout: Duration) -> Option<Inbound> {
        if timeout.is_zero() {
            return match self.inbox.try_recv() {
                Ok(inbound) => Some(inbound),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Inbound::Closed),
            };
        }
        match self.inbox.recv_timeout(timeout) {
            Ok(inbound) => Some(inbound),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Inbound::Closed),
        }
    }
}
